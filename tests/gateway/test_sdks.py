"""The official SDKs, unchanged but for the base URL, on an upstream of either dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from dragoman.testing import Finish, ScriptedUpstream, Text, Thinking, ThreadedUpstream, ToolCall, Usage, scenario
from tests.serving import Served, serving, upstream

WEATHER = scenario(
    "sdk-weather",
    Thinking("Two cities.", signature="c2ln"),
    Text("Let me look."),
    ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
    ToolCall("get_weather", {"city": "Rome"}, id="call_2"),
    Usage(input=20, output=9),
    Finish("tool_calls"),
)
PERSON = scenario("sdk-person", Text('{"name": "Ada", "age": 36}'), Usage(input=5, output=8), Finish("stop"))

TOOL_SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DIALECTS = ("messages", "chat")


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        for one in (WEATHER, PERSON):
            server.script(one, model=one.name)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers = {dialect: upstream(scripted.url, dialect, profile={"thinking": "adaptive"}) for dialect in DIALECTS}
    with serving({"providers": providers, "keys": ["gw-key-0123456789"]}) as served:
        yield served


def claude(gateway: Served) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key="gw-key-0123456789", max_retries=0)


def gpt(gateway: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.base, api_key="gw-key-0123456789", max_retries=0)


CLAUDE_TOOL: Any = {"name": "get_weather", "description": "Weather", "input_schema": TOOL_SCHEMA}
GPT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": TOOL_SCHEMA}}
ASK: Any = [{"role": "user", "content": "Weather in Paris and Rome?"}]


def check_claude(message: anthropic.types.Message) -> None:
    assert [block.type for block in message.content][-3:] == ["text", "tool_use", "tool_use"]
    calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [("call_1", "get_weather", {"city": "Paris"}), ("call_2", "get_weather", {"city": "Rome"})]
    assert [block.thinking for block in message.content if block.type == "thinking"] == ["Two cities."]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (20, 9)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_anthropic_sdk_calls_tools(gateway: Served, dialect: str) -> None:
    with claude(gateway) as client:
        check_claude(client.messages.create(model=f"{dialect}/sdk-weather", max_tokens=99, messages=ASK, tools=[CLAUDE_TOOL]))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_anthropic_sdks_stream_helper(gateway: Served, dialect: str) -> None:
    with (
        claude(gateway) as client,
        client.messages.stream(model=f"{dialect}/sdk-weather", max_tokens=99, messages=ASK, tools=[CLAUDE_TOOL]) as stream,
    ):
        kinds = [event.type for event in stream]
        check_claude(stream.get_final_message())
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert "input_json" in kinds


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_async_anthropic_sdk(gateway: Served, dialect: str) -> None:
    async def talk() -> None:
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="gw-key-0123456789", max_retries=0) as client:
            model = f"{dialect}/sdk-weather"
            check_claude(await client.messages.create(model=model, max_tokens=99, messages=ASK, tools=[CLAUDE_TOOL]))
            async with client.messages.stream(model=model, max_tokens=99, messages=ASK, tools=[CLAUDE_TOOL]) as stream:
                check_claude(await stream.get_final_message())

    asyncio.run(talk())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_anthropic_sdk_parses_structured_output(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    with claude(gateway) as client:
        message = client.messages.parse(
            model=f"{dialect}/sdk-person", max_tokens=99, messages=[{"role": "user", "content": "Who?"}], output_format=Person
        )
    assert message.parsed_output == Person(name="Ada", age=36)
    body: Any = scripted.requests[-1].json
    if dialect == "chat":
        schema = body["response_format"]["json_schema"]["schema"]
    else:
        schema = body["output_config"]["format"]["schema"]
    assert set(schema["properties"]) == {"name", "age"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_anthropic_sdk_carries_a_tool_loop(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    with claude(gateway) as client:
        model = f"{dialect}/sdk-weather"
        first = client.messages.create(model=model, max_tokens=99, messages=ASK, tools=[CLAUDE_TOOL])
        results: Any = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
            for block in first.content
            if block.type == "tool_use"
        ]
        client.messages.create(
            model=model,
            max_tokens=99,
            tools=[CLAUDE_TOOL],
            messages=[*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}],
        )
    body: Any = scripted.requests[-1].json
    if dialect == "chat":
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool"]
        assert [call["id"] for call in body["messages"][1]["tool_calls"]] == ["call_1", "call_2"]
        assert json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
    else:
        assert body["messages"][1]["content"][0]["signature"] == "c2ln"


def check_gpt(completion: Any) -> None:
    choice = completion.choices[0]
    assert choice.message.content == "Let me look."
    calls = [
        (call.id.split("-dgm1-")[0], call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls
    ]
    assert calls == [("call_1", "get_weather", {"city": "Paris"}), ("call_2", "get_weather", {"city": "Rome"})]
    assert choice.finish_reason == "tool_calls"
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (20, 9)
    assert choice.message.reasoning_content == "Two cities."


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_openai_sdk_calls_tools(gateway: Served, dialect: str) -> None:
    with gpt(gateway) as client:
        check_gpt(client.chat.completions.create(model=f"{dialect}/sdk-weather", messages=ASK, tools=[GPT_TOOL]))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_openai_sdks_stream_helper(gateway: Served, dialect: str) -> None:
    with (
        gpt(gateway) as client,
        client.chat.completions.stream(
            model=f"{dialect}/sdk-weather", messages=ASK, tools=[GPT_TOOL], stream_options={"include_usage": True}
        ) as stream,
    ):
        kinds = {event.type for event in stream}
        check_gpt(stream.get_final_completion())
    assert {"chunk", "content.delta", "content.done", "tool_calls.function.arguments.done"} <= kinds


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_async_openai_sdk(gateway: Served, dialect: str) -> None:
    async def talk() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.base, api_key="gw-key-0123456789", max_retries=0) as client:
            check_gpt(await client.chat.completions.create(model=f"{dialect}/sdk-weather", messages=ASK, tools=[GPT_TOOL]))
            stream = await client.chat.completions.create(model=f"{dialect}/sdk-person", messages=ASK, stream=True)
            text = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert json.loads("".join(text)) == {"name": "Ada", "age": 36}

    asyncio.run(talk())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_openai_sdk_parses_structured_output(gateway: Served, dialect: str) -> None:
    with gpt(gateway) as client:
        completion = client.chat.completions.parse(model=f"{dialect}/sdk-person", messages=ASK, response_format=Person)
    assert completion.choices[0].message.parsed == Person(name="Ada", age=36)


@pytest.mark.parametrize("keep", ["the message as it came", "only what the types know"])
def test_thinking_goes_back_to_its_issuer_through_an_openai_client(
    gateway: Served, scripted: ThreadedUpstream, keep: str
) -> None:
    with gpt(gateway) as client:
        model = "messages/sdk-weather"
        message = (
            client.chat.completions.create(model=model, messages=ASK, tools=[GPT_TOOL], reasoning_effort="high")
            .choices[0]
            .message
        )
        assert message.tool_calls
        if keep == "only what the types know":
            calls = [call.model_dump() for call in message.tool_calls]
            said: Any = {"role": "assistant", "content": message.content, "tool_calls": calls}
        else:
            said = message.model_dump(exclude_none=True)
        results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
        client.chat.completions.create(model=model, messages=[*ASK, said, *results], tools=[GPT_TOOL], reasoning_effort="high")
    body: Any = scripted.requests[-1].json
    assert body["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Two cities.", "signature": "c2ln"}
    assert [block["id"] for block in body["messages"][1]["content"] if block["type"] == "tool_use"] == ["call_1", "call_2"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["call_1", "call_2"]


def test_no_foreign_thinking_reaches_another_provider(gateway: Served, scripted: ThreadedUpstream) -> None:
    """A, then B, then A again: B sees nothing of A's state, A gets it back."""
    with gpt(gateway) as client:
        message = (
            client.chat.completions.create(model="messages/sdk-weather", messages=ASK, tools=[GPT_TOOL]).choices[0].message
        )
        assert message.tool_calls
        said: Any = message.model_dump(exclude_none=True)
        results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
        history: Any = [*ASK, said, *results]
        client.chat.completions.create(model="chat/sdk-person", messages=history, tools=[GPT_TOOL])
        raw = scripted.requests[-1].body
        assert b"c2ln" not in raw
        assert b"dgm1" not in raw
        client.chat.completions.create(model="messages/sdk-weather", messages=history, tools=[GPT_TOOL])
    back: Any = scripted.requests[-1].json
    assert back["messages"][1]["content"][0]["signature"] == "c2ln"
