"""`dragoman explain`, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BODY = {"model": "best", "max_tokens": 100, "logit_bias": {"5": 1}, "messages": [{"role": "user", "content": "Hi"}]}
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-0123456789abcdef", "OPENAI_API_KEY": "sk-0123456789abcdef0"}


def explain(folder: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """In a folder with a configuration and a request, where nothing can be reached."""
    (folder / "dragoman.yaml").write_text(
        "keys: [gw-key-0123456789]\nmodels: {best: [anthropic/claude-opus-5-5, openai/gpt-6-luna]}\n"
    )
    (folder / "request.json").write_text(json.dumps(BODY))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "dragoman", "explain", *arguments],
        input=said, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env=kept | KEYS,
    )  # fmt: skip


def test_it_shows_every_target_and_no_secret(tmp_path: Path) -> None:
    done = explain(tmp_path, "request.json")
    assert done.returncode == 0
    assert "best: a request in chat" in done.stdout
    assert "1. anthropic/claude-opus-5-5\n   translated, in messages: sent" in done.stdout
    assert "2. openai/gpt-6-luna\n   verbatim, in chat: sent" in done.stdout
    assert "lost: logit_bias" in done.stdout
    assert "POST https://api.anthropic.com/v1/messages" in done.stdout
    assert "about $0." in done.stdout
    for key in KEYS.values():
        assert key not in done.stdout + done.stderr


def test_it_prints_the_answer_of_the_endpoint(tmp_path: Path) -> None:
    done = explain(tmp_path, "-", "--json", "--dialect", "messages", "--model", "openai/gpt-6-luna", said=json.dumps(BODY))
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["dialect"], told["model"]) == ("messages", "openai/gpt-6-luna")
    assert told["targets"][0]["body"]["model"] == "gpt-6-luna"


def test_it_fails_when_no_target_would_be_sent_anything(tmp_path: Path) -> None:
    done = explain(tmp_path, "request.json", "--model", "anthropic/claude-opus-5-5", "--strict")
    assert done.returncode == 1
    assert "translated, in messages: refused" in done.stdout
    assert "logit_bias" in done.stdout


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    for arguments, said, code, words in (
        (("none.json",), "", 2, "none.json cannot be read"),
        (("-",), "{", 1, "not a valid JSON object"),
        (("-", "--model", "x"), "[1]", 2, "not a JSON object"),
        (("-",), '{"model": "nowhere"}', 1, "No model 'nowhere'"),
    ):
        done = explain(tmp_path, *arguments, said=said)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_model_that_stands_in_the_path_is_named_by_an_option(tmp_path: Path) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    done = explain(tmp_path, "-", "--json", "-d", "gemini", "-m", "gemini/gemini-4-argon", said=json.dumps(body))
    (target,) = json.loads(done.stdout)["targets"]
    assert target["body"] == body
    assert target["url"].endswith("/models/gemini-4-argon:generateContent")
