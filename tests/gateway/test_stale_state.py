"""Sealed reasoning that its own provider no longer takes is left out, and the request sent once more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.flow.turns import named
from dragoman.ir.request import Message
from dragoman.ir.request import Text as TextPart
from dragoman.ir.request import ToolCall as Call
from dragoman.testing import Finish, HttpError, Scenario, ScriptedUpstream, Text, Thinking, ThreadedUpstream, ToolCall, scenario
from dragoman.testing.http1 import Request
from tests.gateway.talking import JSON, Said, say
from tests.serving import Served, serving

SEAL = "c2VhbGVkIGJ5IGl0cyBwcm92aWRlcg=="
THINKS = scenario("thinks", Thinking("I look.", SEAL), ToolCall("look", {"at": 1}, id="call_1"), Finish("tool_calls"))
FINE = scenario("fine", Text("It is sunny."), Finish())
OPENAI = {
    "error": {"message": "It could not be verified.", "type": "invalid_request_error", "code": "invalid_encrypted_content"}
}
ANTHROPIC = {
    "type": "error",
    "error": {"type": "invalid_request_error", "message": "messages.1.content.0: Invalid `signature` in `thinking` block"},
}
GOOGLE = {"error": {"code": 400, "message": "Thought signature is not valid.", "status": "INVALID_ARGUMENT"}}
REFUSALS = [("responses", OPENAI), ("messages", ANTHROPIC), ("gemini", GOOGLE)]


@pytest.fixture
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    bases = {"responses": f"{scripted.url}/v1", "messages": scripted.url, "gemini": scripted.url}
    providers = {name: {"dialect": name, "base_url": base, "api_key": "sk-upstream-0123"} for name, base in bases.items()}
    with serving({"providers": providers}) as served:
        yield served


def chat(gateway: Served, model: str, *turns: Any) -> Said:
    body = {"model": model, "messages": [{"role": "user", "content": "Weather?"}, *turns], "tools": [TOOL]}
    return say(gateway, "POST", "/v1/chat/completions", [JSON], json.dumps(body).encode())


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def history(gateway: Served, model: str) -> list[Any]:
    """A turn of the model, as a Chat client keeps it, and the result of its call."""
    message = chat(gateway, model).json["choices"][0]["message"]
    return [message, {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}]


@pytest.mark.parametrize(("dialect", "refusal"), REFUSALS)
def test_what_a_provider_no_longer_takes_is_left_out(
    gateway: Served, scripted: ThreadedUpstream, dialect: str, refusal: dict[str, Any]
) -> None:
    def answer(request: Request) -> Scenario:
        refused = SEAL.encode() in request.body
        return scenario("stale", HttpError(400, body=json.dumps(refusal).encode())) if refused else FINE

    scripted.script(THINKS)
    turns = history(gateway, f"{dialect}/m")
    scripted.script(answer, default=True)
    said = chat(gateway, f"{dialect}/m", *turns)
    assert said.status == 200
    assert said.json["choices"][0]["message"]["content"] == "It is sunny."
    assert [SEAL.encode() in request.body for request in scripted.requests] == [False, True, False]


@pytest.mark.parametrize(("dialect", "refusal"), REFUSALS)
def test_it_is_tried_once_and_no_more(
    gateway: Served, scripted: ThreadedUpstream, dialect: str, refusal: dict[str, Any]
) -> None:
    scripted.script(THINKS)
    turns = history(gateway, f"{dialect}/m")
    scripted.script(scenario("stale", HttpError(400, body=json.dumps(refusal).encode())), default=True)
    said = chat(gateway, f"{dialect}/m", *turns)
    assert said.status == 400
    assert len(scripted.requests) == 3


@pytest.mark.parametrize(("dialect", "refusal"), REFUSALS)
def test_without_anything_sealed_there_is_nothing_to_leave_out(
    gateway: Served, scripted: ThreadedUpstream, dialect: str, refusal: dict[str, Any]
) -> None:
    scripted.script(scenario("stale", HttpError(400, body=json.dumps(refusal).encode())), default=True)
    assert chat(gateway, f"{dialect}/m").status == 400
    assert len(scripted.requests) == 1


def test_any_other_refusal_is_not_repeated(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.script("http-400", default=True)
    assert chat(gateway, "responses/m").status == 400
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(("call_id", "names"), [("call_1", 1), ("functions.Bash:0", 1), ("toolu_01A09q90qw90lq917835lq9", 2)])
def test_an_id_that_a_server_counts_names_no_turn(call_id: str, names: int) -> None:
    """It is that of many conversations, and one must not get the thoughts of another."""
    messages = [
        Message(role="user", parts=[TextPart(text="Weather?")]),
        Message(role="assistant", parts=[Call(id=call_id, name="look", arguments="{}")]),
    ]
    assert len(named(messages, 1)) == names
