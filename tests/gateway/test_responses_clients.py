"""The OpenAI SDK's Responses API and what Codex sends, on an upstream of every dialect; others on one that speaks Responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from dragoman.dialects import DIALECTS
from dragoman.testing import (
    Cut,
    ErrorEvent,
    Finish,
    Scenario,
    ScriptedUpstream,
    Text,
    Thinking,
    ThreadedUpstream,
    ToolCall,
    Usage,
    fold_responses,
    scenario,
)
from tests.gateway.talking import JSON, say
from tests.serving import Served, serving

KEY = "gw-key-0123456789"
SHOWN = ("authorization", f"Bearer {KEY}")
PATH = "/v1/responses"
CORPUS = Path(__file__).parent.parent / "corpus" / "responses"

WEATHER = scenario(
    "responses-weather",
    Thinking("Two cities.", signature="c2ln"),
    Text("Let me look."),
    ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
    ToolCall("get_weather", {"city": "Rome"}, id="call_2"),
    Usage(input=20, output=9),
    Finish("tool_calls"),
)
PERSON = scenario("responses-person", Text('{"name": "Ada", "age": 36}'), Usage(input=5, output=8), Finish())
STEPS: tuple[Scenario, ...] = (
    scenario(
        "responses-step-1",
        Thinking("I look.", signature="c2lnMQ=="),
        ToolCall("mcp__tracker__find_tickets", {"query": "parser"}, id="call_a"),
        ToolCall("exec_command", {"cmd": "ls"}, id="call_b"),
        Usage(input=20, output=9),
        Finish("tool_calls"),
    ),
    scenario(
        "responses-step-2",
        Thinking("I write.", signature="c2lnMg=="),
        ToolCall("apply_patch", {"input": "*** Begin Patch\n*** End Patch\n"}, id="call_c"),
        Usage(input=30, output=9),
        Finish("tool_calls"),
    ),
    scenario("responses-step-3", Text("Done."), Usage(input=40, output=2), Finish()),
)
SCRIPT = scenario(
    "responses-script",
    Text("I look."),
    ToolCall("functions__exec", {"input": "await tools.exec_command({cmd: 'ls'})"}, id="call_d"),
    Usage(input=30, output=9),
    Finish("tool_calls"),
)
CUT = scenario("responses-cut", Text(("Once upon ", "a time", Cut())), Usage(input=1, output=1))
BREAKS = scenario("responses-breaks", Text(("Once ", "upon ", ErrorEvent("overloaded", "Busy."))), Usage(input=1, output=1))

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": False,
}


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        for one in (WEATHER, PERSON, CUT, BREAKS, SCRIPT, *STEPS):
            server.script(one, model=one.name)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    bases = {name: scripted.url if name in {"messages", "gemini"} else f"{scripted.url}/v1" for name in DIALECTS}
    providers = {
        name: {"dialect": name, "base_url": base, "api_key": "sk-upstream-0123", "profile": {"thinking": "adaptive"}}
        for name, base in bases.items()
    }
    with serving({"providers": providers, "keys": [KEY]}) as served:
        yield served


@pytest.fixture
def gpt(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
        yield client


def check(response: Any) -> None:
    assert response.id.startswith("resp_")
    assert response.status == "completed"
    assert response.output_text == "Let me look."
    calls = [(item.call_id, item.name, item.arguments) for item in response.output if item.type == "function_call"]
    assert [name for _, name, _ in calls] == ["get_weather", "get_weather"]
    assert [json.loads(arguments) for _, _, arguments in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({call_id for call_id, _, _ in calls}) == 2
    assert response.usage.total_tokens == 29
    thinking = [item for item in response.output if item.type == "reasoning"]
    assert "".join(part.text for item in thinking for part in item.summary) == "Two cities."


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_calls_tools(gpt: openai.OpenAI, dialect: str) -> None:
    check(
        gpt.responses.create(model=f"{dialect}/responses-weather", input="Weather?", tools=[TOOL], reasoning={"effort": "low"})
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_its_stream_helper(gpt: openai.OpenAI, dialect: str) -> None:
    with gpt.responses.stream(model=f"{dialect}/responses-weather", input="Weather?", tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        check(stream.get_final_response())
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    # Gemini's signature is an item of its own.
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 4 + (dialect == "gemini")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_asynchronous_client(gateway: Served, dialect: str) -> None:
    async def talk() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
            check(await client.responses.create(model=f"{dialect}/responses-weather", input="Weather?", tools=[TOOL]))
            async with client.responses.stream(model=f"{dialect}/responses-weather", input="Weather?", tools=[TOOL]) as stream:
                check(await stream.get_final_response())

    asyncio.run(talk())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_parses_structured_output(gpt: openai.OpenAI, scripted: ThreadedUpstream, dialect: str) -> None:
    response = gpt.responses.parse(model=f"{dialect}/responses-person", input="Who?", text_format=Person)
    assert response.output_parsed == Person(name="Ada", age=36)
    assert '"age"' in json.dumps(scripted.requests[-1].json).replace("\\", "")


# ---------------------------------------------------------------- Codex


def codex(model: str) -> Any:
    """The request that was recorded, at the beginning of its conversation."""
    body = json.loads((CORPUS / "codex" / "request.json").read_bytes())
    return {**body, "model": model, "input": body["input"][:3]}


def turn(gateway: Served, body: Any) -> list[Any]:
    """One request of an agent: the items of the answer, as they are done, from a stream that is legal."""
    said = say(gateway, "POST", PATH, [JSON, SHOWN], json.dumps(body).encode())
    assert said.status == 200
    fold_responses(said.body)
    events = [json.loads(block.partition(b"data: ")[2]) for block in said.body.split(b"\n\n") if block.startswith(b"event")]
    return [event["item"] for event in events if event["type"] == "response.output_item.done"]


def answered(items: list[Any]) -> list[Any]:
    """The items, as Codex sends them back, and the outputs of the calls among them."""
    history: list[Any] = []
    for item in items:
        kept = {key: value for key, value in item.items() if key != "status"}
        history.append({**kept, "content": None} if item["type"] == "reasoning" else kept)
    for item in items:
        if item["type"] in ("function_call", "custom_tool_call"):
            history.append({"type": f"{item['type']}_output", "call_id": item["call_id"], "output": f"ran {item['name']}"})
    return history


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "responses"])
def test_codex_runs_a_whole_agentic_turn(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    body = codex(f"{dialect}/responses-step-1")
    first = turn(gateway, body)
    calls = [item for item in first if item["type"] == "function_call"]
    assert [(item.get("namespace"), item["name"]) for item in calls] == [
        ("mcp__tracker__", "find_tickets"),
        (None, "exec_command"),
    ]
    body["input"] += answered(first)

    second = turn(gateway, {**body, "model": f"{dialect}/responses-step-2"})
    [patch] = [item for item in second if item["type"] == "custom_tool_call"]
    assert (patch["name"], patch["input"]) == ("apply_patch", "*** Begin Patch\n*** End Patch\n")
    body["input"] += answered(second)

    third = turn(gateway, {**body, "model": f"{dialect}/responses-step-3"})
    assert third[-1]["content"][0]["text"] == "Done."
    sent = scripted.requests[-1].body.decode()
    for output in ("ran find_tickets", "ran exec_command", "ran apply_patch"):
        assert output in sent
    assert "dgm1" not in sent
    assert "mcp__tracker__find_tickets" in sent


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "responses"])
def test_tools_that_codex_puts_into_the_input_can_be_called(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    body: Any = json.loads((CORPUS / "codex-tools-in-input" / "request.json").read_bytes())
    items = turn(gateway, {**body, "model": f"{dialect}/responses-script"})
    sent = scripted.requests[-1].body.decode()
    for name in ("functions__exec", "functions__wait", "clock__sleep", "collaboration__followup_task"):
        assert f'"name":"{name}"' in sent
    assert "dragoman-was-here" in sent
    call = items[-1]
    assert (call["type"], call["namespace"], call["name"]) == ("custom_tool_call", "functions", "exec")
    assert call["input"] == "await tools.exec_command({cmd: 'ls'})"


def test_what_a_messages_provider_signed_goes_back_to_it(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = codex("messages/responses-step-1")
    body["input"] += answered(turn(gateway, body))
    turn(gateway, {**body, "model": "messages/responses-step-3"})
    sent: Any = scripted.requests[-1].json
    assert sent["messages"][-2]["content"][0] == {"type": "thinking", "thinking": "I look.", "signature": "c2lnMQ=="}
    # ... and to nobody else.
    turn(gateway, {**body, "model": "chat/responses-step-3"})
    assert "c2lnMQ==" not in scripted.requests[-1].body.decode()
    turn(gateway, {**body, "model": "responses/responses-step-3"})
    passed: Any = scripted.requests[-1].json
    assert "reasoning" not in [item["type"] for item in passed["input"]]
    assert "dgm1" not in scripted.requests[-1].body.decode()


# ---------------------------------------------------------------- verbatim


def test_a_request_to_its_own_dialect_goes_through_byte_for_byte(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = (CORPUS / "codex" / "request.json").read_bytes().replace(b'"gpt-6.2-sol"', b'"responses/responses-step-3"', 1)
    assert say(gateway, "POST", PATH, [JSON, SHOWN], body).status == 200
    assert scripted.requests[-1].path == PATH
    assert scripted.requests[-1].body == body.replace(b'"responses/responses-step-3"', b'"responses-step-3"', 1)


def test_a_last_event_that_is_larger_than_all_before_it_ends_the_stream(gateway: Served) -> None:
    """The Response at the end holds everything: it must be known as the end whatever its size."""
    body = json.dumps({"model": "responses/text-large-event", "input": "x", "stream": True}).encode()
    said = say(gateway, "POST", PATH, [JSON, SHOWN], body)
    assert said.whole
    assert len(fold_responses(said.body).text) == 262_144


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "responses"])
@pytest.mark.parametrize("model", ["responses-cut", "responses-breaks"])
def test_an_answer_that_breaks_off_has_failed_and_is_never_completed(gateway: Served, dialect: str, model: str) -> None:
    body = json.dumps({"model": f"{dialect}/{model}", "input": "x", "stream": True}).encode()
    view = fold_responses(say(gateway, "POST", PATH, [JSON, SHOWN], body).body)
    assert view.error is not None
    assert view.finish is None
    assert view.text.startswith("Once ")


def test_a_verbatim_failure_is_told_once_and_in_the_providers_words(gateway: Served) -> None:
    body = json.dumps({"model": "responses/responses-breaks", "input": "x", "stream": True}).encode()
    said = say(gateway, "POST", PATH, [JSON, SHOWN], body)
    assert said.whole
    view = fold_responses(said.body)
    assert view.error is not None
    assert view.error.message == "Busy."


def test_errors_are_the_sdks_own(gpt: openai.OpenAI, gateway: Served) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        gpt.responses.create(model="nope", input="x")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        gpt.responses.create(model="chat/text", input=[{"role": "observer", "content": "x"}])  # type: ignore[list-item]
    assert wrong.value.param == "input[0].role"
    with pytest.raises(openai.RateLimitError):
        gpt.responses.create(model="messages/http-429", input="x")
    with (
        openai.OpenAI(base_url=gateway.base, api_key="wrong-key-0123", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.responses.create(model="chat/text", input="x")


# ---------------------------------------------------------------- others, and counting


def test_others_reach_a_responses_upstream(gateway: Served, scripted: ThreadedUpstream) -> None:
    ask: Any = [{"role": "user", "content": "Weather?"}]
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": TOOL["parameters"]}}
    model = "responses/responses-weather"
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as client:
        message = client.chat.completions.create(model=model, messages=ask, tools=[tool]).choices[0].message
    assert message.tool_calls
    assert len(message.tool_calls) == 2
    assert scripted.requests[-1].path == PATH
    sent: Any = scripted.requests[-1].json
    assert (sent["store"], sent["include"]) == (False, ["reasoning.encrypted_content"])
    claude_tool: Any = {"name": "get_weather", "input_schema": TOOL["parameters"]}
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as claude:
        with claude.messages.stream(model=model, max_tokens=99, messages=ask, tools=[claude_tool]) as stream:
            said = stream.get_final_message()
        assert said.stop_reason == "tool_use"
        results: Any = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
            for block in said.content
            if block.type == "tool_use"
        ]
        history: Any = [*ask, {"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
        claude.messages.create(model=model, max_tokens=99, messages=history, tools=[claude_tool])
    again: Any = scripted.requests[-1].json
    kinds = [item["type"] for item in again["input"]]
    assert kinds == ["message", "reasoning", "message", *["function_call"] * 2, *["function_call_output"] * 2]
    assert again["input"][1]["encrypted_content"] == "c2ln"


def test_tokens_are_counted(gpt: openai.OpenAI) -> None:
    assert gpt.responses.input_tokens.count(model="chat/text", input="Hello, world!").input_tokens > 0
