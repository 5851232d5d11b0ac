"""An agent says the same with each of its requests, and its provider is told it each time."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from dragoman.testing import ThreadedUpstream
from tests.gateway.talking import JSON
from tests.serving import PATIENCE, serving

LONG = "Mind the gap. " * 500
TOOLS = [{"name": f"tool_{number}", "description": LONG[:800], "input_schema": {"type": "object"}} for number in range(8)]
TURNS = 5


def session(turns: int) -> bytes:
    messages: list[dict[str, Any]] = [{"role": "user", "content": LONG}]
    for number in range(turns):
        call = f"toolu_{number}"
        messages += [
            {"role": "assistant", "content": [{"type": "tool_use", "id": call, "name": "tool_1", "input": {"n": number}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": f"found {number}"}]},
        ]
    marked = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    return json.dumps({"model": "up/m", "max_tokens": 9, "system": marked, "messages": messages, "tools": TOOLS}).encode()


def test_what_was_said_before_reaches_the_provider_as_it_does_from_somebody_new(scripted: ThreadedUpstream) -> None:
    providers = {"up": {"dialect": "chat", "base_url": f"{scripted.url}/v1", "api_key": "sk-upstream-0123"}}
    with serving({"providers": providers}) as served:
        parts = urlsplit(served.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)

        def told(caller: str, body: bytes) -> tuple[Any, str | None]:
            """What the provider is told, and what the caller is told of losses."""
            connection.request("POST", "/v1/messages", body, dict([JSON, ("x-api-key", f"sk-of-{caller}-0123456789")]))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            return scripted.requests[-1].body, answer.getheader("x-dragoman-losses")

        try:
            for turn in range(TURNS):
                assert told("one", session(turn)) == told(f"somebody-new-{turn}", session(turn))
            # And when it goes back.
            assert told("one", session(1)) == told("another", session(1))
        finally:
            connection.close()
