"""Clients that are set up for a cloud, unchanged but for the base URL: Anthropic's for Bedrock and for Vertex AI, AWS's own,
and Google's on Vertex AI. Each on upstreams that only know Messages, only Chat, only Gemini."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anthropic
import boto3
import httpx
import pytest
from anthropic.lib.bedrock import AnthropicBedrock, AsyncAnthropicBedrock
from anthropic.lib.vertex import AnthropicVertex, AsyncAnthropicVertex
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError, EventStreamError
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.genai import errors, types

from dragoman.testing import (
    ErrorEvent,
    Finish,
    HttpError,
    Ping,
    ScriptedUpstream,
    Text,
    Thinking,
    ThreadedUpstream,
    ToolCall,
    Usage,
    scenario,
)
from tests.gateway.talking import Reports
from tests.serving import Served, serving

KEY = "gw-key-0123456789"
OWN = {"x-dragoman-key": KEY}
UPSTREAMS = ("messages", "chat", "gemini", "converse")

WEATHER = scenario(
    "cloud-weather",
    Thinking("Two cities.", signature="c2ln"),
    Text("Let me look."),
    Ping(),
    ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
    ToolCall("get_weather", {"city": "Rome"}, id="call_2"),
    Usage(input=20, output=9, cache_read=4),
    Finish("tool_calls"),
)
FULL = scenario("cloud-full", HttpError(429, "Slow down.", headers=(("retry-after", "7"),)))
BUSY = scenario("cloud-busy", HttpError(529, "Overloaded."))
BREAKS = scenario("cloud-breaks", Text(("Once ", "upon ", ErrorEvent("overloaded", "Busy."))), Usage(input=1, output=1))

TOOL: Any = {
    "name": "get_weather",
    "description": "Weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASK: Any = [{"role": "user", "content": "Weather in Paris and Rome?"}]


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.script(WEATHER, default=True)
        for one in (FULL, BUSY, BREAKS):
            server.script(one, model=one.name)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    def provider(dialect: str) -> dict[str, Any]:
        base = scripted.url if dialect != "chat" else f"{scripted.url}/v1"
        return {"dialect": dialect, "base_url": base, "api_key": "sk-upstream-0123", "profile": {"thinking": "adaptive"}}

    providers: dict[str, Any] = {name: provider(name) for name in UPSTREAMS}
    providers["keyless"] = {"dialect": "messages", "base_url": scripted.url}
    models = {
        "claude-*": "messages/*",
        "us.anthropic.claude-exact-v1:0": "chat/exact",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123": "chat/profiled",
        "gemini-*": "gemini/*",
    }
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


def bedrock(gateway: Served, **more: Any) -> AnthropicBedrock:
    said: dict[str, Any] = {"api_key": KEY, **more} if "aws_access_key" not in more else more
    return AnthropicBedrock(base_url=gateway.url, aws_region="us-east-1", max_retries=0, **said)


def vertex(gateway: Served, path: str = "/v1", **more: Any) -> AnthropicVertex:
    said: dict[str, Any] = {"access_token": KEY, "region": "us-east5", "project_id": "p", **more}
    return AnthropicVertex(base_url=gateway.url + path, max_retries=0, **said)


@pytest.fixture
def aws(gateway: Served) -> Iterator[Any]:
    """AWS's own SDK. It signs what it sends; the gateway's key stands beside the signature."""
    client: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType]
        "bedrock-runtime",
        endpoint_url=gateway.url,
        region_name="us-east-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="secret-of-aws",
        aws_session_token="token-of-aws",
        config=BotoConfig(retries={"max_attempts": 0, "mode": "standard"}),
    )
    client.meta.events.register("before-send", lambda request, **_: request.headers.update(OWN))
    with closing(client):
        yield client


def check(message: Any) -> None:
    said = [block for block in message.content if block.type == "text"]
    assert "".join(block.text for block in said) == "Let me look."
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (20, 9)


Cloud = AnthropicBedrock | AnthropicVertex


@pytest.fixture(params=["bedrock", "vertex"])
def claude(request: pytest.FixtureRequest, gateway: Served) -> Iterator[Cloud]:
    made: Cloud = bedrock(gateway) if request.param == "bedrock" else vertex(gateway)
    with made:
        yield made


@pytest.mark.parametrize("up", UPSTREAMS)
def test_it_calls_tools(claude: Cloud, up: str) -> None:
    check(claude.messages.create(model=f"{up}/m", max_tokens=99, messages=ASK, tools=[TOOL]))


@pytest.mark.parametrize("up", UPSTREAMS)
def test_it_streams(claude: Cloud, up: str) -> None:
    with claude.messages.stream(model=f"{up}/m", max_tokens=99, messages=ASK, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        check(stream.get_final_message())
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("cloud", ["bedrock", "vertex"])
def test_it_streams_asynchronously(gateway: Served, cloud: str) -> None:
    async def talk() -> None:
        options: dict[str, Any] = {"base_url": gateway.url, "max_retries": 0}
        client = (
            AsyncAnthropicBedrock(api_key=KEY, aws_region="us-east-1", **options)
            if cloud == "bedrock"
            else AsyncAnthropicVertex(access_token=KEY, region="us-east5", project_id="p", **options)
        )
        async with client:
            check(await client.messages.create(model="chat/m", max_tokens=99, messages=ASK, tools=[TOOL]))
            async with client.messages.stream(model="chat/m", max_tokens=99, messages=ASK, tools=[TOOL]) as stream:
                check(await stream.get_final_message())

    asyncio.run(talk())


@pytest.mark.parametrize("up", UPSTREAMS)
def test_a_turn_with_tools_goes_on(claude: Cloud, up: str, scripted: ThreadedUpstream) -> None:
    said = claude.messages.create(model=f"{up}/m", max_tokens=99, messages=ASK, tools=[TOOL])
    results: Any = [
        {"type": "tool_result", "tool_use_id": b.id, "content": "sunny"} for b in said.content if b.type == "tool_use"
    ]
    history: Any = [*ASK, {"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
    claude.messages.create(model=f"{up}/m", max_tokens=99, messages=history, tools=[TOOL])
    assert json.dumps(scripted.requests[-1].json).count("sunny") == 2


# ---------------------------------------------------------------- what stands round the body


def test_anthropics_own_api_is_told_in_its_own_places(gateway: Served, scripted: ThreadedUpstream, claude: Cloud) -> None:
    with claude.beta.messages.stream(
        model="claude-m", max_tokens=9, messages=ASK, betas=["one-2026-01-01", "two-2026-01-01"],
        extra_body={"anthropic_beta": ["two-2026-01-01", "three-2026-01-01"], "own": {"a": [1]}, "user_profile_id": "uprof_1"},
    ) as stream:  # fmt: skip
        stream.get_final_message()
    sent = scripted.requests[-1]
    assert sent.path == "/v1/messages"
    assert sent.json == {"model": "m", "stream": True, "max_tokens": 9, "messages": ASK, "own": {"a": [1]}} | {
        "model": "claude-m"
    }
    headers = dict(sent.headers)
    assert headers["anthropic-beta"] == "one-2026-01-01,two-2026-01-01,three-2026-01-01"
    assert headers["anthropic-version"] == "2026-10-21"  # as the SDK says in the body
    assert headers["anthropic-user-profile-id"] == "uprof_1"
    assert headers["x-api-key"] == "sk-upstream-0123"
    assert "authorization" not in headers


def test_values_keep_their_bytes(gateway: Served, scripted: ThreadedUpstream) -> None:
    schema = '{ "type":"object",  "properties":{"n":{"maximum":1e400,"const":1.0}} }'
    body = f'{{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":{json.dumps(ASK)},"schema":{schema}}}'
    url = f"{gateway.url}/model/claude-m/invoke"
    answer = httpx.post(url, content=body, headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"})
    assert answer.status_code == 200
    assert schema.encode() in scripted.requests[-1].body
    assert dict(scripted.requests[-1].headers)["anthropic-version"] == "2023-06-01"
    assert answer.headers["x-amzn-bedrock-input-token-count"] == "20"
    assert answer.headers["x-amzn-requestid"] == answer.headers["x-dragoman-request-id"]


NAMES = {
    "us.anthropic.claude-haiku-4-5-20251001-v1:0": "claude-haiku-4-5-20251001",
    "anthropic.claude-opus-4-6-v1": "claude-opus-4-6",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0": (
        "claude-haiku-4-5-20251001"
    ),
    "us.anthropic.claude-exact-v1:0": "exact",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123": "profiled",
}


@pytest.mark.parametrize("name", NAMES)
def test_bedrocks_names_lead_to_models(aws: Any, gateway: Served, scripted: ThreadedUpstream, name: str) -> None:
    with bedrock(gateway) as client:
        client.messages.create(model=name, max_tokens=9, messages=ASK)
    assert scripted.requests[-1].json["model"] == NAMES[name]  # type: ignore[index]
    aws.invoke_model(modelId=name, body=json.dumps({"max_tokens": 9, "messages": ASK}))
    assert scripted.requests[-1].json["model"] == NAMES[name]  # type: ignore[index]


def test_vertexs_names_lead_to_models(gateway: Served, scripted: ThreadedUpstream) -> None:
    for path in ("", "/v1", "/v1beta1"):
        with vertex(gateway, path) as client:
            client.messages.create(model="claude-haiku-4-5@20251001", max_tokens=9, messages=ASK)
        assert scripted.requests[-1].json["model"] == "claude-haiku-4-5-20251001"  # type: ignore[index]


def test_tokens_are_counted(aws: Any, gateway: Served, scripted: ThreadedUpstream) -> None:
    with vertex(gateway) as client:
        counted = client.messages.count_tokens(model="claude-m", messages=ASK).input_tokens
        assert client.messages.count_tokens(model="chat/m", messages=ASK).input_tokens > 0
    asked = next(one for one in reversed(scripted.requests) if one.path.endswith("count_tokens"))
    assert asked.json == {"model": "claude-m", "messages": ASK}
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": ASK})
    told = aws.count_tokens(modelId="claude-m", input={"invokeModel": {"body": body}})
    assert told["inputTokens"] == counted
    assert scripted.requests[-1].json == asked.json


# ---------------------------------------------------------------- AWS's own SDK


@pytest.mark.parametrize("up", UPSTREAMS)
def test_awss_own_sdk_reads_answers_and_streams(aws: Any, up: str) -> None:
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": ASK, "tools": [TOOL]})
    whole = aws.invoke_model(modelId=f"{up}/m", body=body)
    assert json.loads(whole["body"].read())["stop_reason"] == "tool_use"
    assert whole["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-output-token-count"] == "9"
    answer = aws.invoke_model_with_response_stream(modelId=f"{up}/m", body=body)
    assert answer["contentType"] == "application/json"
    events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"] if "chunk" in event]
    assert events[0]["type"] == "message_start"
    assert "ping" not in {event["type"] for event in events}
    counted = events[-1]["amazon-bedrock-invocationMetrics"]
    assert (counted["inputTokenCount"], counted["outputTokenCount"], counted["cacheReadInputTokenCount"]) == (20, 9, 4)
    assert 0 <= counted["firstByteLatency"] <= counted["invocationLatency"]


@pytest.mark.parametrize(
    ("model", "code", "status"),
    [
        ("cloud-full", "ThrottlingException", 429),
        ("cloud-busy", "ServiceUnavailableException", 503),
        ("", "ResourceNotFoundException", 404),
    ],
)
@pytest.mark.parametrize("up", ["messages", "chat"])
def test_errors_are_awss(aws: Any, gateway: Served, up: str, model: str, code: str, status: int) -> None:
    name = f"{up}/{model}" if model else "nobody-knows"
    with pytest.raises(ClientError) as refused:
        aws.invoke_model(modelId=name, body=json.dumps({"max_tokens": 9, "messages": ASK}))
    error: Any = refused.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert error["Error"]["Message"]
    assert error["error"]["type"] if "error" in error else True
    with bedrock(gateway) as client, pytest.raises(anthropic.APIStatusError) as told:
        client.messages.create(model=name, max_tokens=9, messages=ASK)
    assert told.value.status_code == status
    assert error["Error"]["Message"] in told.value.message


@pytest.mark.parametrize("up", ["messages", "chat"])
def test_an_error_within_a_stream_is_an_exception(aws: Any, gateway: Served, up: str) -> None:
    body = json.dumps({"max_tokens": 9, "messages": ASK})
    answer = aws.invoke_model_with_response_stream(modelId=f"{up}/cloud-breaks", body=body)
    with closing(answer["body"]) as events, pytest.raises(EventStreamError, match=r"serviceUnavailableException.*Busy"):
        list(events)
    with (
        bedrock(gateway) as client,
        pytest.raises(anthropic.APIError, match="Busy"),
        client.messages.stream(model=f"{up}/cloud-breaks", max_tokens=9, messages=ASK) as stream,
    ):
        stream.get_final_message()


@pytest.mark.parametrize("up", ["messages", "chat"])
def test_vertexs_errors_are_anthropics(gateway: Served, up: str) -> None:
    with vertex(gateway) as client:
        with pytest.raises(anthropic.RateLimitError, match="Slow down") as limited:
            client.messages.create(model=f"{up}/cloud-full", max_tokens=9, messages=ASK)
        assert limited.value.response.headers["retry-after"] == "7"
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="nobody-knows", max_tokens=9, messages=ASK)


MALFORMED = ["", "[]", '{"messages": ', '{"anthropic_beta": 3}', '{"anthropic_beta": ["a\\nb"]}', '{"anthropic_version": {}}']


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize(
    "path", ["/model/claude-m/invoke", "/v1/projects/p/locations/l/publishers/anthropic/models/claude-m:rawPredict"]
)
def test_a_malformed_body_is_told_so(gateway: Served, path: str, body: str) -> None:
    answer = httpx.post(gateway.url + path, content=body, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert (answer.headers.get("x-amzn-errortype") == "ValidationException") is path.startswith("/model/")


def test_a_guardrail_that_would_not_guard_is_refused(aws: Any) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*guardrail"):
        aws.invoke_model(modelId="claude-m", guardrailIdentifier="g", guardrailVersion="1", body="{}")


# ---------------------------------------------------------------- credentials


def test_a_clouds_own_credential_is_no_key_and_goes_nowhere(gateway: Served, scripted: ThreadedUpstream) -> None:
    signed = {"aws_access_key": "AKIAEXAMPLE", "aws_secret_key": "secret-of-aws", "aws_session_token": "token-of-aws"}
    with bedrock(gateway, **signed) as client, pytest.raises(anthropic.AuthenticationError, match="AWS_BEARER_TOKEN_BEDROCK"):
        client.messages.create(model="claude-m", max_tokens=9, messages=ASK)
    with (
        vertex(gateway, access_token="ya29.a0Example") as client,
        pytest.raises(anthropic.AuthenticationError, match="Google access token"),
    ):
        client.messages.create(model="claude-m", max_tokens=9, messages=ASK)
    with bedrock(gateway, **signed, default_headers=OWN) as client:
        client.messages.create(model="claude-m", max_tokens=9, messages=ASK)
    with vertex(gateway, access_token="ya29.a0Example", default_headers=OWN) as client:
        client.messages.create(model="claude-m", max_tokens=9, messages=ASK)
    for sent in scripted.requests[-2:]:
        told = json.dumps(dict(sent.headers))
        assert not any(secret in told for secret in ("AKIAEXAMPLE", "token-of-aws", "ya29", KEY))
        assert not any(name.startswith(("x-amz-", "x-amzn-")) for name, _ in sent.headers)


@pytest.mark.parametrize("driver", ["asgi", "native"])
def test_a_stranger_is_told_so_in_awss_words(driver: str) -> None:
    with serving({"keys": [KEY]}, driver=driver) as served:
        answer = httpx.post(f"{served.url}/model/claude-m/invoke", json={}, headers={"authorization": "Bearer wrong"})
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (401, "UnrecognizedClientException")
    assert answer.json()["message"] == answer.json()["error"]["message"]


def test_a_clouds_credential_never_stands_in_for_a_missing_key(gateway: Served, scripted: ThreadedUpstream) -> None:
    before = len(scripted.requests)
    with (
        vertex(gateway, access_token="ya29.a0Example", default_headers=OWN) as client,
        pytest.raises(anthropic.APIError) as told,
    ):
        client.messages.create(model="keyless/m", max_tokens=9, messages=ASK)
    assert "no key for the provider keyless" in str(told.value)
    assert len(scripted.requests) == before


def test_the_callers_own_path_stands_in_the_report(gateway: Served) -> None:
    reports = Reports(gateway)
    with bedrock(gateway) as client:
        client.messages.create(model="claude-m", max_tokens=9, messages=ASK)
    report = reports.last(1)
    assert (report.path, report.model, report.tier) == ("/model/claude-m/invoke", "claude-m", "verbatim")


def test_what_would_be_sent_is_explained(gateway: Served) -> None:
    url = f"{gateway.url}/v1/explain/model/us.anthropic.claude-opus-4-6-v1/invoke-with-response-stream"
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": ASK}
    told = httpx.post(url, json=body, headers=OWN).json()
    assert (told["model"], told["stream"]) == ("us.anthropic.claude-opus-4-6-v1", True)
    assert told["targets"][0]["model"] == "claude-opus-4-6"


# ---------------------------------------------------------------- Gemini on Vertex AI


def google(gateway: Served, **more: Any) -> genai.Client:
    return genai.Client(vertexai=True, http_options=types.HttpOptions(base_url=gateway.url, headers=OWN), **more)


FUNCTION = types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=TOOL["input_schema"])
CONFIG = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[FUNCTION])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)
PROJECT: dict[str, Any] = {"project": "p", "location": "us-central1"}


def check_parts(parts: list[types.Part]) -> None:
    assert "".join(part.text or "" for part in parts if part.text and not part.thought) == "Let me look."
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    assert calls == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize("up", UPSTREAMS)
def test_googles_sdk_on_vertex(gateway: Served, scripted: ThreadedUpstream, up: str) -> None:
    before = len(scripted.requests)
    with google(gateway, credentials=Token(), **PROJECT) as client:
        answer = client.models.generate_content(model=f"publishers/google/models/{up}/m", contents="Weather?", config=CONFIG)
        assert answer.candidates
        assert answer.candidates[0].content
        check_parts(answer.candidates[0].content.parts or [])
        parts: list[types.Part] = []
        for chunk in client.models.generate_content_stream(
            model=f"publishers/google/models/{up}/m", contents="Weather?", config=CONFIG
        ):
            for candidate in chunk.candidates or []:
                parts += (candidate.content.parts or []) if candidate.content else []
        check_parts(parts)
        assert (client.models.count_tokens(model=f"publishers/google/models/{up}/m", contents="Hello").total_tokens or 0) > 0
    for sent in scripted.requests[before:]:
        assert "ya29" not in json.dumps(sent.headers)
        assert "x-goog-user-project" not in dict(sent.headers)


class Token(AnonymousCredentials):
    """A Google access token, as the SDK takes it from the environment of a machine in Google's cloud."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "ya29.a0Example"


def test_googles_sdk_on_vertex_in_express_mode(scripted: ThreadedUpstream, gateway: Served) -> None:
    options = types.HttpOptions(base_url=gateway.url)
    with genai.Client(vertexai=True, api_key=KEY, http_options=options) as client:
        assert client.models.generate_content(model="gemini-m", contents="Weather?").text == "Let me look."
        assert scripted.requests[-1].path == "/v1beta/models/gemini-m:generateContent"
        with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
            client.models.generate_content(model="google/gemini/cloud-full", contents="Weather?")
    with (
        genai.Client(vertexai=True, api_key="wrong-key-012345", http_options=options) as stranger,
        pytest.raises(errors.ClientError, match="UNAUTHENTICATED"),
    ):
        stranger.models.generate_content(model="gemini-m", contents="Weather?")
