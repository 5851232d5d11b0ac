"""The kit judged by the official SDKs: what they parse is what the oracle says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from dragoman.testing import (
    Scenario,
    ScriptedUpstream,
    ThreadedUpstream,
    View,
    read_chat,
    read_messages,
    scenarios_for,
)

WAIT = 20.0


@pytest.fixture(scope="module", params=["event", "bytes:7"])
def upstream(request: pytest.FixtureRequest) -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread(split=request.param) as served:
        served.open_gate()
        yield served


@pytest.fixture(scope="module")
def claude(upstream: ThreadedUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-test", base_url=upstream.url, max_retries=0, timeout=WAIT) as client:
        yield client


@pytest.fixture(scope="module")
def gpt(upstream: ThreadedUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-test", base_url=f"{upstream.url}/v1", max_retries=0, timeout=WAIT) as client:
        yield client


def judged(dialect: str, *, fails: bool, unary: bool | None = None) -> list[Any]:
    return [
        pytest.param(one, id=one.name)
        for one in scenarios_for(dialect, regular=True)
        if one.expected is not None
        and (one.expected.error is not None) == fails
        and (unary is None or one.unary == unary)
        and one.name not in ("text-long", "tools-large-arguments", "endless-10k")  # slow in an SDK, and nothing new
    ]


def whole(view: View) -> bool:
    return all(block.whole for block in view.blocks)


# ---------------------------------------------------------------- anthropic


def ask_claude(one: Scenario) -> Any:
    return {"model": f"scenario:{one.name}", "max_tokens": 1024, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("one", judged("messages", fails=False))
def test_the_anthropic_sdk_reads_the_stream(claude: anthropic.Anthropic, one: Scenario) -> None:
    with claude.messages.stream(**ask_claude(one)) as stream:
        message = stream.get_final_message()
    assert one.expected is not None
    seen = read_messages(message.to_dict(mode="json"))
    if whole(one.expected):
        assert seen.gist == one.expected.gist
    assert seen.finish == one.expected.finish
    assert seen.tokens == one.expected.tokens
    assert [b.id for b in seen.calls] == [b.id for b in one.expected.calls]
    assert [b.signature for b in seen.blocks] == [b.signature for b in one.expected.blocks]
    assert [b.citations for b in seen.blocks] == [b.citations for b in one.expected.blocks]


@pytest.mark.parametrize("one", judged("messages", fails=False, unary=True))
def test_the_anthropic_sdk_reads_the_whole_answer(claude: anthropic.Anthropic, one: Scenario) -> None:
    message = claude.messages.create(**ask_claude(one))
    assert one.expected is not None
    seen = read_messages(message.to_dict(mode="json"))
    assert seen.gist == one.expected.gist
    assert seen.tokens == one.expected.tokens


@pytest.mark.parametrize("one", judged("messages", fails=True))
def test_the_anthropic_sdk_raises_on_a_failed_stream(claude: anthropic.Anthropic, one: Scenario) -> None:
    assert one.expected is not None
    assert one.expected.error is not None
    expected = one.expected.error
    with pytest.raises((anthropic.APIError, httpx2.HTTPError)) as raised, claude.messages.stream(**ask_claude(one)) as stream:
        stream.until_done()
    check_failure(raised.value, expected.word, expected.status, anthropic.APIStatusError, read_messages)


# ---------------------------------------------------------------- openai


def ask_gpt(one: Scenario) -> Any:
    return {"model": f"scenario:{one.name}", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("one", judged("chat", fails=False))
def test_the_openai_sdk_reads_the_stream(gpt: openai.OpenAI, one: Scenario) -> None:
    options: Any = {"stream_options": {"include_usage": True}}
    if one.name == "tools-custom":
        # The SDK's helper for streams knows no custom tools; its plain stream does.
        chunks = list(gpt.chat.completions.create(**ask_gpt(one), stream=True, **options))
        assert any(chunk.choices and chunk.choices[0].finish_reason == "tool_calls" for chunk in chunks)
        return
    with gpt.chat.completions.stream(**ask_gpt(one), **options) as stream:
        stream.until_done()
        completion = stream.current_completion_snapshot  # the final one is refused when the answer was cut short
    assert one.expected is not None
    seen, expected = read_chat(completion.to_dict(mode="json")).merged(), one.expected.merged()
    assert seen.gist == expected.gist
    assert seen.tokens == expected.tokens
    assert seen.others == expected.others
    assert seen.logprobs == expected.logprobs


@pytest.mark.parametrize("one", judged("chat", fails=False, unary=True))
def test_the_openai_sdk_reads_the_whole_answer(gpt: openai.OpenAI, one: Scenario) -> None:
    completion = gpt.chat.completions.create(**ask_gpt(one))
    assert one.expected is not None
    seen, expected = read_chat(completion.to_dict(mode="json")).merged(), one.expected.merged()
    assert seen.gist == expected.gist
    assert seen.tokens == expected.tokens
    assert seen.others == expected.others


@pytest.mark.parametrize("one", judged("chat", fails=True))
def test_the_openai_sdk_raises_on_a_failed_stream(gpt: openai.OpenAI, one: Scenario) -> None:
    assert one.expected is not None
    assert one.expected.error is not None
    expected = one.expected.error
    with (
        pytest.raises((openai.APIError, httpx2.HTTPError)) as raised,
        gpt.chat.completions.create(**ask_gpt(one), stream=True) as stream,
    ):
        for _ in stream:
            pass
    check_failure(raised.value, expected.word, expected.status, openai.APIStatusError, read_chat)


def check_failure(error: Exception, word: str, status: int | None, by_status: type[Any], read: Any) -> None:
    if status is not None:
        assert isinstance(error, by_status)
        assert error.status_code == status  # pyright: ignore[reportAttributeAccessIssue]
        return
    if word == "cut":
        assert isinstance(error, (anthropic.APIConnectionError, openai.APIConnectionError, httpx2.HTTPError))
        return
    body: Any = getattr(error, "body", None)
    assert isinstance(body, dict)
    # The OpenAI SDK keeps what stands under `error`, the Anthropic SDK all of the event.
    assert read(body if "error" in body else {"error": body}).error.word == word


# ---------------------------------------------------------------- the other paths


def test_the_sdks_list_the_models(upstream: ThreadedUpstream, claude: anthropic.Anthropic, gpt: openai.OpenAI) -> None:
    assert "scenario:text" in [model.id for model in claude.models.list(limit=1000)]
    assert "scenario:text" in [model.id for model in gpt.models.list()]


def test_the_anthropic_sdk_counts_tokens(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model="scenario:text", messages=[{"role": "user", "content": "Hi"}])
    assert counted.input_tokens > 0
