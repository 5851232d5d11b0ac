"""Tools of Anthropic's that the caller runs itself, asked of models that know nothing of their types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.tools import BetaLocalFilesystemMemoryTool

from dragoman.testing import Finish, ScriptedUpstream, ThreadedUpstream, ToolCall, scenario
from tests.gateway.talking import JSON, PATHS, say
from tests.serving import PATIENCE, Served, serving, upstream

TOOLS: list[dict[str, Any]] = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 1000},
    {"type": "memory_20250818", "name": "memory"},
    {"type": "web_search_20250305", "name": "web_search"},
]


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    with serving({"providers": {up: upstream(scripted.url, up) for up in ("messages", "chat")}}) as served:
        yield served


def asked(gateway: Served, scripted: ThreadedUpstream, up: str) -> tuple[list[dict[str, Any]], str]:
    body = {"model": f"{up}/scenario:text", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}], "tools": TOOLS}
    said = say(gateway, "POST", PATHS["messages"], [JSON], json.dumps(body).encode())
    assert said.status == 200
    return scripted.requests[-1].json["tools"], said.header("x-dragoman-losses") or ""


def test_they_are_functions_to_others(gateway: Served, scripted: ThreadedUpstream) -> None:
    tools, losses = asked(gateway, scripted, "chat")
    assert [tool["function"]["name"] for tool in tools] == ["bash", "str_replace_based_edit_tool", "memory"]
    assert all(tool["function"]["description"] and tool["function"]["parameters"]["properties"] for tool in tools)
    told = "tools[0] degraded; tools[1] degraded; tools[2] degraded"
    assert losses == f"5; {told}; tools[1].max_characters lost; tools[3] lost"


def test_they_are_what_they_are_to_their_makers_models(gateway: Served, scripted: ThreadedUpstream) -> None:
    assert asked(gateway, scripted, "messages") == (TOOLS, "")


def test_the_sdks_memory_works_on_another_providers_model(gateway: Served, scripted: ThreadedUpstream, tmp_path: Path) -> None:
    note = {"command": "create", "path": "/memories/note.txt", "file_text": "remembered"}
    scripted.script(scenario("writes-a-note", ToolCall("memory", note, id="call_1"), Finish("tool_calls")))
    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0, timeout=PATIENCE) as client:
        client.beta.messages.tool_runner(
            model="chat/m",
            max_tokens=50,
            messages=[{"role": "user", "content": "note it"}],
            tools=[BetaLocalFilesystemMemoryTool(base_path=str(tmp_path))],
            max_iterations=1,
        ).until_done()
    assert [file.read_text() for file in tmp_path.rglob("note.txt")] == ["remembered"]
