"""Marks for the prompt cache, what was read from it, and sources: told in every dialect, by every dialect's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from dragoman.testing import Citation, Finish, ScriptedUpstream, Text, ThreadedUpstream, Usage, scenario
from tests.gateway.talking import JSON, Said, say
from tests.serving import Served, serving

UPSTREAMS = ("messages", "chat", "responses", "gemini")
CACHED = scenario("cached", Text("Warm."), Usage(input=10, cache_read=70, output=5), Finish("stop"))
WRITTEN = scenario("written", Text("Cold."), Usage(input=10, cache_read=70, cache_write=20, output=5), Finish("stop"))
SOURCED = scenario("sourced", Text("It rains in Paris."), Citation("Weather", "https://weather.example/paris"), Finish("stop"))


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        for one in (CACHED, WRITTEN, SOURCED):
            server.script(one, model=one.name)
        yield server


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    def provider(dialect: str, **profile: Any) -> dict[str, Any]:
        base = scripted.url if dialect in {"messages", "gemini"} else f"{scripted.url}/v1"
        return {"dialect": dialect, "base_url": base, "api_key": "sk-upstream-0123", "profile": profile}

    providers = {dialect: provider(dialect) for dialect in UPSTREAMS}
    providers["openrouter-like"] = provider("chat", cache_marks="cache_control")
    providers["openai-like"] = provider("chat", cache_marks="breakpoint")
    providers["openai-like-responses"] = provider("responses", cache_marks="breakpoint")
    providers["caching"] = provider("messages", auto_cache=True)
    with serving({"providers": providers}) as served:
        yield served


@pytest.fixture
def claude(gateway: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def gpt(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(gateway: Served) -> Iterator[genai.Client]:
    with genai.Client(api_key="x", http_options=types.HttpOptions(base_url=gateway.url)) as client:
        yield client


def heard(scripted: ThreadedUpstream) -> Any:
    return scripted.requests[-1].json


# ---------------------------------------------------------------- what was read from the cache


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_cached_tokens_are_counted_in_every_dialect(
    claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client, upstream: str
) -> None:
    model = f"{upstream}/cached"
    message = claude.messages.create(model=model, max_tokens=99, messages=[{"role": "user", "content": "Hi"}])
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (10, 70, 5)
    chat = gpt.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}]).usage
    assert chat
    assert chat.prompt_tokens_details
    assert (chat.prompt_tokens, chat.prompt_tokens_details.cached_tokens, chat.total_tokens) == (80, 70, 85)
    response = gpt.responses.create(model=model, input="Hi", store=False).usage
    assert response
    assert (response.input_tokens, response.input_tokens_details.cached_tokens, response.total_tokens) == (80, 70, 85)
    counted = gemini.models.generate_content(model=model, contents="Hi").usage_metadata
    assert counted
    assert (counted.prompt_token_count, counted.cached_content_token_count, counted.total_token_count) == (80, 70, 85)


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_cached_tokens_are_counted_in_streams(claude: anthropic.Anthropic, gpt: openai.OpenAI, upstream: str) -> None:
    model = f"{upstream}/cached"
    with claude.messages.stream(model=model, max_tokens=99, messages=[{"role": "user", "content": "Hi"}]) as stream:
        usage = stream.get_final_message().usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (10, 70, 5)
    ask: Any = [{"role": "user", "content": "Hi"}]
    chunks = list(gpt.chat.completions.create(model=model, messages=ask, stream=True, stream_options={"include_usage": True}))
    counted = chunks[-1].usage
    assert counted
    assert counted.prompt_tokens_details
    assert (counted.prompt_tokens, counted.prompt_tokens_details.cached_tokens) == (80, 70)


def test_what_was_written_to_the_cache_is_a_bucket_of_its_own(claude: anthropic.Anthropic, gpt: openai.OpenAI) -> None:
    message = claude.messages.create(model="messages/written", max_tokens=99, messages=[{"role": "user", "content": "Hi"}])
    assert message.usage.cache_creation_input_tokens == 20
    usage = gpt.chat.completions.create(model="messages/written", messages=[{"role": "user", "content": "Hi"}]).usage
    assert usage
    # The whole prompt, however much of it was new to the cache.
    assert usage.prompt_tokens == 100
    assert usage.prompt_tokens_details
    assert usage.prompt_tokens_details.cached_tokens == 70


# ---------------------------------------------------------------- marks


def marked_texts(count: int) -> list[dict[str, Any]]:
    mark = {"type": "ephemeral"}
    return [{"type": "text", "text": f"part {number}", "cache_control": mark} for number in range(count)]


def test_marks_of_a_messages_client_reach_who_takes_them_and_only_the_last_four(
    claude: anthropic.Anthropic, scripted: ThreadedUpstream
) -> None:
    content: Any = marked_texts(6)
    for model, key, mark in (
        ("openrouter-like/m", "cache_control", {"type": "ephemeral"}),
        ("openai-like/m", "prompt_cache_breakpoint", {"mode": "explicit"}),
        ("openai-like-responses/m", "prompt_cache_breakpoint", {"mode": "explicit"}),
    ):
        answer = claude.messages.with_raw_response.create(
            model=model, max_tokens=99, messages=[{"role": "user", "content": content}]
        )
        turn = (heard(scripted).get("messages") or heard(scripted)["input"])[-1]["content"]
        assert [part.get(key) for part in turn] == [None, None, mark, mark, mark, mark], model
        losses = answer.headers["x-dragoman-losses"]
        assert losses.startswith("2; messages[0].content[0].cache_control info; messages[0].content[1].cache_control info")


def test_marks_of_an_openai_client_reach_messages_and_only_the_last_four(gateway: Served, scripted: ThreadedUpstream) -> None:
    breakpoints = [
        {"type": "text", "text": f"part {number}", "prompt_cache_breakpoint": {"mode": "explicit"}} for number in range(3)
    ]
    body = {
        "model": "messages/m",
        "messages": [
            {"role": "system", "content": marked_texts(3)},
            {"role": "user", "content": breakpoints},
        ],
    }
    said = say(gateway, "POST", "/v1/chat/completions", [JSON], json.dumps(body).encode())
    assert said.status == 200
    sent = heard(scripted)
    assert ["cache_control" in block for block in sent["system"]] == [False, False, True]
    assert ["cache_control" in block for block in sent["messages"][0]["content"]] == [True, True, True]
    assert (said.header("x-dragoman-losses") or "").startswith("2; messages[0].content[0].cache_control info")


def test_caching_of_the_whole_request_takes_one_of_the_four(gateway: Served, scripted: ThreadedUpstream) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object"}},
        "cache_control": {"type": "ephemeral"},
    }
    body = {
        "model": "messages/m",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "tools": [tool],
        "messages": [{"role": "user", "content": marked_texts(3)}],
    }
    assert say(gateway, "POST", "/v1/chat/completions", [JSON], json.dumps(body).encode()).status == 200
    sent = heard(scripted)
    whole = sent.get("cache_control")
    marks = ["cache_control" in sent["tools"][0], *("cache_control" in part for part in sent["messages"][0]["content"])]
    assert sum(marks) + (whole is not None) == 4
    assert marks[-3:] == [True, True, True]


def test_a_client_that_never_marks_is_cached_where_that_is_wished(
    gateway: Served, scripted: ThreadedUpstream, gpt: openai.OpenAI
) -> None:
    gpt.chat.completions.create(model="caching/m", messages=[{"role": "user", "content": "Hi"}])
    assert heard(scripted)["cache_control"] == {"type": "ephemeral"}
    body = {"model": "caching/m", "messages": [{"role": "user", "content": marked_texts(1)}]}
    say(gateway, "POST", "/v1/chat/completions", [JSON], json.dumps(body).encode())
    assert "cache_control" not in heard(scripted)
    gpt.chat.completions.create(model="messages/m", messages=[{"role": "user", "content": "Hi"}])
    assert "cache_control" not in heard(scripted)


# ---------------------------------------------------------------- keys and lifetimes


@pytest.mark.parametrize(("client", "upstream"), [("chat", "responses"), ("responses", "chat")])
def test_key_and_lifetime_of_a_cache_pass_between_openais_dialects(
    gpt: openai.OpenAI, scripted: ThreadedUpstream, client: str, upstream: str
) -> None:
    told: Any = {
        "prompt_cache_key": "k-1",
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "explicit", "ttl": "12h"},
    }
    if client == "chat":
        answer: Any = gpt.chat.completions.with_raw_response.create(
            model=f"{upstream}/m", messages=[{"role": "user", "content": "Hi"}], **told
        )
    else:
        answer = gpt.responses.with_raw_response.create(model=f"{upstream}/m", input="Hi", store=False, **told)
        assert answer.parse().prompt_cache_retention == "24h"
    sent = heard(scripted)
    assert {key: sent[key] for key in told} == told
    assert "prompt_cache" not in (answer.headers.get("x-dragoman-losses") or "")


@pytest.mark.parametrize("upstream", ["messages", "gemini"])
def test_key_and_lifetime_of_a_cache_are_small_losses_elsewhere(gpt: openai.OpenAI, upstream: str) -> None:
    answer = gpt.chat.completions.with_raw_response.create(
        model=f"{upstream}/m",
        messages=[{"role": "user", "content": "Hi"}],
        prompt_cache_key="k-1",
        prompt_cache_retention="24h",
    )
    losses = set((answer.headers["x-dragoman-losses"]).split("; ")[1:])
    assert {"prompt_cache_key info", "prompt_cache_retention info"} <= losses


def test_cached_content_of_gemini_stays_with_gemini(gemini: genai.Client, gateway: Served, scripted: ThreadedUpstream) -> None:
    config = types.GenerateContentConfig(cached_content="cachedContents/abc")
    gemini.models.generate_content(model="gemini/m", contents="Hi", config=config)
    assert heard(scripted)["cachedContent"] == "cachedContents/abc"
    body = json.dumps({"contents": [{"parts": [{"text": "Hi"}]}], "cachedContent": "cachedContents/abc"}).encode()
    said = say(gateway, "POST", "/v1beta/models/messages/m:generateContent", [JSON], body)
    # What is in it is missing from the prompt, so this is no small loss.
    assert "cachedContent lost" in (said.header("x-dragoman-losses") or "")
    strict = [JSON, ("x-dragoman-strict", "true")]
    assert say(gateway, "POST", "/v1beta/models/messages/m:generateContent", strict, body).status == 400


# ---------------------------------------------------------------- the same prompt is the same bytes


TOOLS = [
    {
        "name": name,
        "description": f"Does {name}.",
        "input_schema": {"type": "object", "properties": {"z": {}, "a": {"type": "string"}}},
    }
    for name in ("write", "bash", "read", "edit", "ask")
]


def talk(gateway: Served, model: str, turns: int) -> Said:
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        call = {"type": "tool_use", "id": f"toolu_{turn}", "name": "bash", "input": {"z": 1, "a": "ls"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": [{"type": "text", "text": f"file {turn}"}]}
        messages += [
            {"role": "user", "content": [{"type": "text", "text": f"Question {turn}"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}, call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": f"Answer {turn}"},
        ]
    messages.append({"role": "user", "content": "And now?"})
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    body = {"model": model, "max_tokens": 99, "system": system, "tools": TOOLS, "messages": messages}
    return say(gateway, "POST", "/v1/messages", [JSON], json.dumps(body).encode())


@pytest.mark.parametrize("upstream", ["chat", "openrouter-like", "responses", "openai-like-responses", "gemini"])
def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one(
    gateway: Served, scripted: ThreadedUpstream, upstream: str
) -> None:
    bodies: list[bytes] = []
    for turns in (2, 2, 3):
        assert talk(gateway, f"{upstream}/m", turns).status == 200
        bodies.append(scripted.requests[-1].body)
    assert bodies[0] == bodies[1]
    short, long = (json.loads(body) for body in bodies[1:])
    key = next(key for key in ("messages", "input", "contents") if key in short)
    # All but the last turn, which is another question.
    assert long[key][: len(short[key]) - 1] == short[key][:-1]
    again = json.dumps(short[key][:-1], separators=(",", ":"), ensure_ascii=False)[:-1].encode()
    assert again in bodies[1]
    assert again in bodies[2]
    assert json.dumps(long["tools"]) == json.dumps(short["tools"])
    names = json.dumps(short["tools"])
    assert sorted(TOOLS, key=lambda tool: names.index(f'"{tool["name"]}"')) == TOOLS


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_sources_are_told_in_every_dialect(
    claude: anthropic.Anthropic, gpt: openai.OpenAI, gemini: genai.Client, upstream: str
) -> None:
    model = f"{upstream}/sourced"
    block: Any = claude.messages.create(model=model, max_tokens=99, messages=[{"role": "user", "content": "Hi"}]).content[0]
    assert [(one.url, one.title) for one in block.citations] == [("https://weather.example/paris", "Weather")]
    message = gpt.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}]).choices[0].message
    assert [one.url_citation.url for one in message.annotations or []] == ["https://weather.example/paris"]
    output: Any = gpt.responses.create(model=model, input="Hi", store=False).output[-1]
    assert [(one.type, one.url) for one in output.content[0].annotations] == [("url_citation", "https://weather.example/paris")]
    answer = gemini.models.generate_content(model=model, contents="Hi")
    assert answer.candidates
    grounding = answer.candidates[0].grounding_metadata
    assert grounding
    assert [chunk.web.uri for chunk in grounding.grounding_chunks or [] if chunk.web] == ["https://weather.example/paris"]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_sources_are_told_in_streams(claude: anthropic.Anthropic, gpt: openai.OpenAI, upstream: str) -> None:
    model = f"{upstream}/sourced"
    with claude.messages.stream(model=model, max_tokens=99, messages=[{"role": "user", "content": "Hi"}]) as stream:
        block: Any = stream.get_final_message().content[0]
    assert [one.url for one in block.citations] == ["https://weather.example/paris"]
    with gpt.responses.stream(model=model, input="Hi", store=False) as events:
        output: Any = events.get_final_response().output[-1]
    assert [one.url for one in output.content[0].annotations] == ["https://weather.example/paris"]
