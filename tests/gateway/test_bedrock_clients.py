"""AWS's SDK, unchanged but for the endpoint, on an upstream of every dialect; others on one that speaks Converse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from google import genai
from google.genai import types

from dragoman.dialects import DIALECTS
from dragoman.dialects.converse.stream_encoder import PING
from dragoman.testing import (
    SCENARIOS,
    Cut,
    ErrorEvent,
    Finish,
    ScriptedUpstream,
    Stall,
    Text,
    Thinking,
    ThreadedUpstream,
    ToolCall,
    Usage,
    scenario,
)
from dragoman.testing.speak_converse import render_converse
from tests.gateway.talking import say, streaming
from tests.serving import Served, serving

KEY = "gw-key-0123456789"
AUTH = ("authorization", f"Bearer {KEY}")
WEATHER = scenario(
    "aws-weather",
    Thinking("Two cities.", signature="c2ln"),
    Text("Let me look."),
    ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
    ToolCall("get_weather", {"city": "Rome"}, id="call_2"),
    Usage(input=20, output=9),
    Finish("tool_calls"),
)
TOOLS: Any = {
    "tools": [
        {
            "toolSpec": {
                "name": "get_weather",
                "description": "Weather",
                "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
            }
        }
    ]
}
ASK: Any = [{"role": "user", "content": [{"text": "Weather?"}]}]
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.script(WEATHER, default=True)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    bases = {name: f"{scripted.url}/v1" if name in {"chat", "responses"} else scripted.url for name in DIALECTS}
    providers: dict[str, Any] = {
        name: {"dialect": name, "base_url": base, "api_key": "sk-upstream-0123"} for name, base in bases.items()
    }
    providers["spare"] = providers["messages"]
    models = {"chain": ["converse/first", "spare/second"]}
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


@pytest.fixture(scope="module")
def bedrock(gateway: Served) -> Iterator[Any]:
    """With a key of the gateway's as the id of its access key: a bearer token it would send over TLS only."""
    client = aws(gateway, KEY)
    yield client
    client.close()


def aws(gateway: Served, key_id: str) -> Any:
    return boto3.client(  # pyright: ignore[reportUnknownMemberType]
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=gateway.url,
        aws_access_key_id=key_id,
        aws_secret_access_key="any-secret-will-do",
        aws_session_token="half-a-key",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20),
    )


def talk(bedrock: Any, model: str, **more: Any) -> list[dict[str, Any]]:
    return list(bedrock.converse_stream(modelId=model, messages=ASK, **more)["stream"])


def folded(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content that a program puts together from the events."""
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            blocks[start["contentBlockIndex"]] = {"toolUse": {**start["start"]["toolUse"], "input": ""}}
        elif "contentBlockDelta" in event:
            delta = event["contentBlockDelta"]["delta"]
            block = blocks.setdefault(event["contentBlockDelta"]["contentBlockIndex"], {})
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            else:
                inner = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
                inner["text"] += delta["reasoningContent"].get("text", "")
                inner |= {key: value for key, value in delta["reasoningContent"].items() if key == "signature"}
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
    assert list(blocks) == list(range(len(blocks)))
    return list(blocks.values())


def check(content: list[dict[str, Any]]) -> None:
    said = [block for block in content if "reasoningContent" not in block]
    assert said[0] == {"text": "Let me look."}
    calls = [block["toolUse"] for block in said[1:]]
    assert [(call["name"], call["input"]) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
    ]
    assert len({call["toolUseId"] for call in calls}) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_calls_tools(bedrock: Any, dialect: str) -> None:
    answer = bedrock.converse(modelId=f"{dialect}/m", messages=ASK, toolConfig=TOOLS)
    check(answer["output"]["message"]["content"])
    assert answer["stopReason"] == "tool_use"
    assert (answer["usage"]["inputTokens"], answer["usage"]["outputTokens"], answer["usage"]["totalTokens"]) == (20, 9, 29)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_streams(bedrock: Any, dialect: str) -> None:
    events = talk(bedrock, f"{dialect}/m", toolConfig=TOOLS)
    check(folded(events))
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart"
    assert kinds[-2:] == ["messageStop", "metadata"]
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"
    assert events[-1]["metadata"]["usage"]["totalTokens"] == 29


@pytest.mark.parametrize("dialect", DIALECTS)
def test_thinking_comes_back_to_who_thought_it_and_results_to_their_calls(
    bedrock: Any, scripted: ThreadedUpstream, dialect: str
) -> None:
    said = bedrock.converse(modelId=f"{dialect}/m", messages=ASK, toolConfig=TOOLS)["output"]["message"]
    calls = [block["toolUse"]["toolUseId"] for block in said["content"] if "toolUse" in block]
    results = [{"toolResult": {"toolUseId": call, "content": [{"json": {"sky": "clear"}}]}} for call in calls]
    bedrock.converse(modelId=f"{dialect}/m", messages=[*ASK, said, {"role": "user", "content": results}], toolConfig=TOOLS)
    sent = json.dumps(scripted.requests[-1].json)
    assert "dgm1" not in sent
    assert "ZGdtMS" not in sent
    assert sent.count("clear") == 2
    if dialect in {"messages", "converse", "gemini"}:
        assert '"c2ln"' in sent


# ---------------------------------------------------------------- untouched


@pytest.mark.parametrize("name", ["text", "tools-interleaved", "converse-signed-call", "unicode", "text-large-event"])
def test_what_bedrock_streams_reaches_its_client_byte_for_byte(gateway: Served, name: str) -> None:
    body = b'{ "messages":[{"role":"user","content":[{"text":"hi"}]}],  "future":1e2 }'
    said = say(gateway, "POST", f"/model/converse%2F{name}/converse-stream", [AUTH], body)
    expected = render_converse(SCENARIOS[name], model=name)
    assert said.body == expected.body
    assert said.header("content-type") == "application/vnd.amazon.eventstream"
    assert said.header("x-amzn-requestid") == "5c8a1f0e-scripted"
    whole = say(gateway, "POST", f"/model/converse%2F{name}/converse", [AUTH], body)
    assert whole.body == render_converse(SCENARIOS[name], False, model=name).body


def test_what_its_client_asks_reaches_bedrock_byte_for_byte(gateway: Served, scripted: ThreadedUpstream) -> None:
    body = b'{ "messages":[{"role":"user","content":[{"text":"hi"}]}],  "future":1e2 }'
    headers = [AUTH, ("content-type", "application/json"), ("x-amzn-bedrock-guardrailidentifier", "gr1"),
               ("x-amz-security-token", "half-a-key"), ("amz-sdk-invocation-id", "7")]  # fmt: skip
    assert say(gateway, "POST", "/model/converse%2Fa.b-v1%3A0/converse?x=1", headers, body).status == 200
    sent = scripted.requests[-1]
    assert sent.body == body
    assert sent.target == "/model/a.b-v1%3A0/converse?x=1"
    told = {name.lower(): value for name, value in sent.headers}
    assert told["authorization"] == "Bearer sk-upstream-0123"
    assert told["x-amzn-bedrock-guardrailidentifier"] == "gr1"
    assert "x-amz-security-token" not in told


def test_a_model_may_be_an_arn(bedrock: Any, scripted: ThreadedUpstream) -> None:
    bedrock.converse(modelId=f"converse/{ARN}", messages=ASK)
    assert scripted.requests[-1].target == f"/model/{ARN.replace(':', '%3A').replace('/', '%2F')}/converse"


# ---------------------------------------------------------------- what goes wrong


def test_its_errors_are_awss(bedrock: Any, scripted: ThreadedUpstream) -> None:
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException, match="nope"):
        bedrock.converse(modelId="nope", messages=ASK)
    with pytest.raises(bedrock.exceptions.ValidationException, match="at least one message"):
        bedrock.converse(modelId="chat/m", messages=[])
    scripted.script("http-429")
    with pytest.raises(bedrock.exceptions.ThrottlingException) as limited:
        bedrock.converse(modelId="messages/m", messages=ASK)
    assert limited.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    scripted.script("converse-throttled-first")
    with pytest.raises(bedrock.exceptions.ThrottlingException, match="Too many tokens"):
        bedrock.converse_stream(modelId="converse/m", messages=ASK)


def test_a_stranger_is_told_so(gateway: Served) -> None:
    client = aws(gateway, "AKIAIOSFODNN7EXAMPLE")
    with pytest.raises(ClientError, match=r"UnrecognizedClientException.*AWS_ACCESS_KEY_ID"):
        client.converse(modelId="chat/m", messages=ASK)
    client.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_breaks_off_is_an_exception_in_the_stream(bedrock: Any, scripted: ThreadedUpstream, dialect: str) -> None:
    scripted.script(scenario("aws-cut", Text(("Hel", Cut()))))
    with (
        closing(bedrock.converse_stream(modelId=f"{dialect}/m", messages=ASK)["stream"]) as events,
        pytest.raises(EventStreamError, match="modelStreamErrorException"),
    ):
        list(events)


def test_an_exception_of_bedrocks_own_is_told_once(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.script("converse-stream-error")
    body = json.dumps({"messages": ASK}).encode()
    said = say(gateway, "POST", "/model/converse%2Fm/converse-stream", [AUTH], body)
    assert said.body == render_converse(SCENARIOS["converse-stream-error"]).body


@pytest.mark.parametrize("first", ["converse-throttled-first", "converse-damaged-first", "http-503", "cut-before-content"])
@pytest.mark.parametrize("verbatim", [True, False])
def test_what_fails_before_content_is_tried_elsewhere(
    gateway: Served, scripted: ThreadedUpstream, first: str, verbatim: bool
) -> None:
    broken: dict[str, Any] = {
        "converse-damaged-first": scenario("damaged-first", *SCENARIOS["converse-damaged"].steps[2:]),
        "cut-before-content": scenario("cut-first", Cut()),
    }
    scripted.script(broken.get(first, first), "text")
    if verbatim:
        body = json.dumps({"messages": ASK}).encode()
        said = say(gateway, "POST", "/model/chain/converse-stream", [AUTH], body)
        assert said.view("converse").text == "Hello! How can I help you today?"
    else:
        ask: Any = {"model": "chain", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        said = say(gateway, "POST", "/v1/messages", [AUTH, ("content-type", "application/json")], json.dumps(ask).encode())
        assert said.view("messages").text == "Hello! How can I help you today?"
    assert said.header("x-dragoman-attempts") == "2"


@pytest.mark.parametrize("dialect", ["converse", "chat"])
def test_when_the_client_leaves_the_provider_is_told(gateway: Served, scripted: ThreadedUpstream, dialect: str) -> None:
    before = len(scripted.connections.closed_early)
    scripted.script(scenario("aws-stall", Text(("Hel", Stall(f"aws-{dialect}"), "lo"))))
    body = json.dumps({"messages": ASK}).encode()
    with streaming(gateway, "POST", f"/model/{dialect}%2Fm/converse-stream", [AUTH], body) as stream:
        stream.until(b'"Hel"')
        stream.leave()
    scripted.closed_early(count=before + 1)
    scripted.open_gate(f"aws-{dialect}")


def test_a_ping_is_an_event_that_the_sdk_passes_over(scripted: ThreadedUpstream) -> None:
    provider = {"dialect": "chat", "base_url": f"{scripted.url}/v1", "api_key": "sk-upstream-0123"}
    scripted.script(scenario("aws-silent", Stall("aws-silent"), Text("Here."), Usage(input=1, output=1), Finish()))
    with serving({"providers": {"slow": provider}}) as served:
        served.engine.gateway.core.ping_every = 0.02
        body = json.dumps({"messages": ASK}).encode()
        with streaming(served, "POST", "/model/slow%2Fm/converse-stream", [], body) as stream:
            stream.until(PING * 2)
            scripted.open_gate("aws-silent")
            said = stream.rest()
    assert said.view("converse").text == "Here."
    scripted.shut_gate("aws-silent")
    scripted.script(scenario("aws-silent", Stall("aws-silent"), Text("Here."), Usage(input=1, output=1), Finish()))
    with serving({"providers": {"slow": provider}}) as served:
        served.engine.gateway.core.ping_every = 0.02
        client = aws(served, "any")
        with closing(client.converse_stream(modelId="slow/m", messages=ASK)["stream"]) as events:
            scripted.open_gate("aws-silent")
            assert folded(list(events)) == [{"text": "Here."}]
        client.close()


# ---------------------------------------------------------------- counting


def test_it_counts_tokens(bedrock: Any) -> None:
    counted = bedrock.count_tokens(modelId="messages/m", input={"converse": {"messages": ASK, "toolConfig": TOOLS}})
    assert counted["inputTokens"] > 0


# ---------------------------------------------------------------- others on Bedrock


def test_claude_code_keeps_bedrocks_signature(gateway: Served, scripted: ThreadedUpstream) -> None:
    tool: Any = {"name": "get_weather", "input_schema": {"type": "object"}}
    ask: Any = [{"role": "user", "content": "Weather?"}]
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as claude:
        with claude.messages.stream(model="converse/m", max_tokens=99, messages=ask, tools=[tool]) as stream:
            message = stream.get_final_message()
        assert message.stop_reason == "tool_use"
        results: Any = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
            for block in message.content
            if block.type == "tool_use"
        ]
        said: Any = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}
        history: Any = [*ask, said, {"role": "user", "content": results}]
        claude.messages.create(model="converse/m", max_tokens=99, messages=history, tools=[tool])
    sent: Any = scripted.requests[-1].json
    thought = {"reasoningContent": {"reasoningText": {"text": "Two cities.", "signature": "c2ln"}}}
    assert sent["messages"][1]["content"][0] == thought
    assert [block["toolResult"]["toolUseId"] for block in sent["messages"][2]["content"]] == ["call_1", "call_2"]


def test_openais_and_googles_clients_stream_from_it(gateway: Served, scripted: ThreadedUpstream) -> None:
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as gpt:
        asked: Any = [{"role": "user", "content": "Weather?"}]
        chunks = list(gpt.chat.completions.create(model="converse/m", messages=asked, stream=True))
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    told = {name.lower(): value for name, value in scripted.requests[-1].headers}
    assert told["accept"] == "application/json, application/vnd.amazon.eventstream"
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url)) as gemini:
        answer = gemini.models.generate_content(model="converse/m", contents="Weather?")
        assert answer.function_calls
        assert len(answer.function_calls) == 2
    assert scripted.requests[-1].target == "/model/m/converse"


def test_an_exception_is_told_in_each_clients_words(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.script(scenario("aws-busy", ErrorEvent("overloaded", "Busy now.")))
    with (
        openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as gpt,
        pytest.raises(openai.InternalServerError, match=r"Busy now\."),
    ):
        gpt.chat.completions.create(model="converse/m", messages=[{"role": "user", "content": "hi"}], stream=True)
