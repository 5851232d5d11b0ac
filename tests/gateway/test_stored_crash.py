"""What a caller has the end of survives a gateway that is killed in the next moment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import openai

from dragoman.testing import ScriptedUpstream
from tests.serving import PATIENCE, upstream


@contextmanager
def killed(config: Path, state: Path) -> Generator[openai.OpenAI]:
    """A gateway in a process of its own, killed at the end without a word."""
    command = [sys.executable, "-m", "dragoman", "serve", "--config", str(config), "--port", "0", "--no-local"]
    env = {**os.environ, "XDG_STATE_HOME": str(state)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            found = next(match for line in process.stdout if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
            with openai.OpenAI(base_url=f"{found[0]}/v1", api_key="any", max_retries=0, timeout=PATIENCE) as gpt:
                yield gpt
        finally:
            process.kill()


def test_an_answer_is_on_the_disk_before_its_end_is_told(tmp_path: Path) -> None:
    config, state = tmp_path / "gateway.json", tmp_path / "state"
    with ScriptedUpstream.in_thread() as scripted:
        config.write_text(json.dumps({"providers": {"up": upstream(scripted.url, "messages")}, "store": {"ttl": "1h"}}))
        with killed(config, state) as gpt:
            stream = gpt.responses.create(model="up/text", input="My name is Ada.", stream=True)
            last = next(event for event in stream if event.type == "response.completed")
        assert (state / "dragoman" / "dragoman.db").exists()
        with killed(config, state) as gpt:
            assert gpt.responses.retrieve(last.response.id).to_dict() == last.response.to_dict()
            gpt.responses.create(model="up/text", input="Who am I?", previous_response_id=last.response.id)
        assert b"My name is Ada." in scripted.requests[-1].body
