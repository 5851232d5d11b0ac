"""Google's SDK, unchanged but for the base URL, on an upstream of every dialect; others on one that speaks Gemini."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import msgspec
import openai
import pytest
from google import genai
from google.genai import errors, types

from dragoman.dialects import DIALECTS
from dragoman.testing import (
    SCENARIOS,
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
    fold_gemini,
    fold_gemini_array,
    render_gemini,
    scenario,
)
from tests.serving import Served, serving

WEATHER = scenario(
    "google-weather",
    Thinking("Two cities.", signature="c2ln"),
    Text("Let me look."),
    ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
    ToolCall("get_weather", {"city": "Rome"}, id="call_2"),
    Usage(input=20, output=9),
    Finish("tool_calls"),
)
FUNCTION = types.FunctionDeclaration(
    name="get_weather",
    description="Weather",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
KEY = "gw-key-0123456789"


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.script(WEATHER, default=True)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    bases = {name: scripted.url if name in {"messages", "gemini"} else f"{scripted.url}/v1" for name in DIALECTS}
    providers = {name: {"dialect": name, "base_url": base, "api_key": "sk-upstream-0123"} for name, base in bases.items()}
    models = {"listed": "messages/m"}
    with serving({"providers": providers, "models": models, "keys": [KEY]}) as served:
        yield served


@pytest.fixture
def client(gateway: Served) -> Iterator[genai.Client]:
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url)) as made:
        yield made


def config() -> types.GenerateContentConfig:
    return types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[FUNCTION])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=types.ThinkingConfig(include_thoughts=True),
    )


def check(parts: list[types.Part]) -> None:
    assert "".join(part.text or "" for part in parts if part.text and not part.thought) == "Let me look."
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    assert calls == [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_calls_tools(client: genai.Client, dialect: str) -> None:
    answer = client.models.generate_content(model=f"{dialect}/m", contents="Weather?", config=config())
    assert answer.candidates
    assert answer.candidates[0].content
    check(answer.candidates[0].content.parts or [])
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata
    assert answer.usage_metadata.total_token_count == 29


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_streams(client: genai.Client, dialect: str) -> None:
    parts: list[types.Part] = []
    for chunk in client.models.generate_content_stream(model=f"{dialect}/m", contents="Weather?", config=config()):
        for candidate in chunk.candidates or []:
            parts += (candidate.content.parts or []) if candidate.content else []
    check(parts)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_it_streams_asynchronously(gateway: Served, dialect: str) -> None:
    async def talk() -> None:
        client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url)).aio
        parts: list[types.Part] = []
        async for chunk in await client.models.generate_content_stream(
            model=f"{dialect}/m", contents="Weather?", config=config()
        ):
            for candidate in chunk.candidates or []:
                parts += (candidate.content.parts or []) if candidate.content else []
        check(parts)
        await client.aclose()

    asyncio.run(talk())


@pytest.mark.parametrize("version", ["v1beta", "v1"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_without_alt_sse_is_one_json_array(gateway: Served, dialect: str, version: str) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}]}
    url = f"{gateway.url}/{version}/models/{dialect}/m:streamGenerateContent"
    answer = httpx.post(url, json=body, headers={"x-goog-api-key": KEY})
    assert answer.headers["content-type"].startswith("application/json")
    assert len(answer.json()) > 1
    assert answer.json()[-1]["candidates"][0]["finishReason"] == "STOP"


def array(gateway: Served, scripted: ThreadedUpstream, story: Scenario) -> httpx.Response:
    scripted.script(story)
    body = {"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}]}
    return httpx.post(
        f"{gateway.url}/v1beta/models/gemini/m:streamGenerateContent", json=body, headers={"x-goog-api-key": KEY}, timeout=20
    )


@pytest.mark.parametrize(
    "name", ["text", "unicode", "text-large-event", "tools-many", "gemini-signed-call", "gemini-image", "gemini-candidates"]
)
@pytest.mark.parametrize("split", ["", "size:7"])
def test_an_array_that_gemini_sends_arrives_byte_for_byte(
    gateway: Served, scripted: ThreadedUpstream, name: str, split: str
) -> None:
    story = msgspec.structs.replace(SCENARIOS[name], split=split)
    answer = array(gateway, scripted, story)
    assert answer.content == render_gemini(story, model="m", array=True).body
    assert scripted.requests[-1].query == ""


def test_events_that_come_where_an_array_was_asked_for_become_one(gateway: Served, scripted: ThreadedUpstream) -> None:
    events = render_gemini(SCENARIOS["text"])
    scripted.on("/models/always:streamGenerateContent", 200, events.body, list(events.headers))
    body = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
    url = f"{gateway.url}/v1beta/models/gemini/always:streamGenerateContent"
    answer = httpx.post(url, json=body, headers={"x-goog-api-key": KEY}, timeout=20)
    assert answer.headers["content-type"].startswith("application/json")
    assert fold_gemini_array(answer.content).text == fold_gemini(events.body).text


def test_an_array_that_breaks_off_ends_in_an_error(gateway: Served, scripted: ThreadedUpstream) -> None:
    answer = array(gateway, scripted, Scenario("cut", (Text(("Hello", " there", Cut())),)))
    *chunks, last = answer.json()
    assert chunks[0]["candidates"][0]["content"]["parts"] == [{"text": "Hello"}]
    assert last["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("said", [(), (Text(("Hello",)),)])
def test_an_error_in_an_array_is_told_once(gateway: Served, scripted: ThreadedUpstream, said: tuple[Text, ...]) -> None:
    answer = array(gateway, scripted, Scenario("error", (*said, ErrorEvent("overloaded", "Too busy."))))
    assert answer.status_code == (200 if said else 503)
    told = answer.json()[-1] if said else answer.json()
    assert told["error"]["message"] == "Too busy."
    assert answer.text.count('"error"') == 1


def test_a_thought_signature_comes_back_on_its_call(client: genai.Client, scripted: ThreadedUpstream) -> None:
    """What Anthropic signed survives a Gemini client, and goes back as it was."""
    answer = client.models.generate_content(model="messages/m", contents="Weather?", config=config())
    assert answer.candidates
    assert answer.candidates[0].content
    said = answer.candidates[0].content
    results = types.Content(
        role="user",
        parts=[types.Part.from_function_response(name="get_weather", response={"output": "sunny"}) for _ in range(2)],
    )
    history: Any = [types.Content(role="user", parts=[types.Part(text="Weather?")]), said, results]
    client.models.generate_content(model="messages/m", contents=history, config=config())
    sent: Any = scripted.requests[-1].json
    assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Two cities.", "signature": "c2ln"}
    ids = [block["id"] for block in sent["messages"][1]["content"] if block["type"] == "tool_use"]
    assert [block["tool_use_id"] for block in sent["messages"][2]["content"]] == ids


def test_it_counts_and_lists(client: genai.Client) -> None:
    assert (client.models.count_tokens(model="chat/m", contents="Hello, world!").total_tokens or 0) > 0
    assert "models/listed" in [model.name for model in client.models.list()]
    assert client.models.get(model="listed").name == "models/listed"


def test_what_cannot_be_done_with_a_model_is_a_404(gateway: Served) -> None:
    url = f"{gateway.url}/v1beta/models/gemini/m:predictLongRunning"
    answer = httpx.post(url, json={}, headers={"x-goog-api-key": KEY})
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert "predictLongRunning" in answer.json()["error"]["message"]


def test_its_errors_are_googles(client: genai.Client, gateway: Served) -> None:
    with pytest.raises(errors.ClientError, match="NOT_FOUND") as unknown:
        client.models.generate_content(model="nope", contents="hi")
    assert unknown.value.code == 404
    options = types.HttpOptions(base_url=gateway.url)
    with (
        genai.Client(api_key="wrong-key-0123456", http_options=options) as stranger,
        pytest.raises(errors.ClientError, match="UNAUTHENTICATED"),
    ):
        stranger.models.generate_content(model="chat/m", contents="hi")


def test_others_reach_a_gemini_upstream(gateway: Served, scripted: ThreadedUpstream) -> None:
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    ask: Any = [{"role": "user", "content": "Weather?"}]
    with openai.OpenAI(base_url=gateway.base, api_key=KEY, max_retries=0) as gpt:
        message = gpt.chat.completions.create(model="gemini/m", messages=ask, tools=[tool]).choices[0].message
        assert message.tool_calls
        said: Any = {"role": "assistant", "tool_calls": [call.model_dump() for call in message.tool_calls]}
        results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
        gpt.chat.completions.create(model="gemini/m", messages=[*ask, said, *results], tools=[tool])
    sent = json.dumps(scripted.requests[-1].json)
    assert "dgm1" not in sent
    assert scripted.requests[-1].target == "/v1beta/models/m:generateContent"
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as claude,
        claude.messages.stream(model="gemini/m", max_tokens=9, messages=ask) as stream,
    ):
        assert stream.get_final_message().stop_reason == "tool_use"
    assert scripted.requests[-1].target == "/v1beta/models/m:streamGenerateContent?alt=sse"
