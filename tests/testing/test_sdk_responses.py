"""The kit's Responses upstream judged by the official SDK: what it parses is what the oracle says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from dragoman.testing import Scenario, ScriptedUpstream, ThreadedUpstream, read_responses, scenarios_for

WAIT = 20.0
_SLOW = ("text-long", "tools-large-arguments", "endless-10k")
"""In an SDK these take long, and show nothing new."""


@pytest.fixture(scope="module", params=["event", "bytes:7"])
def gpt(request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with ScriptedUpstream.in_thread(split=request.param) as upstream:
        upstream.open_gate()
        with openai.OpenAI(api_key="sk-test", base_url=f"{upstream.url}/v1", max_retries=0, timeout=WAIT) as client:
            yield client


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as served:
        yield served


def judged(*, fails: bool, unary: bool | None = None) -> list[Any]:
    return [
        pytest.param(one, id=one.name)
        for one in scenarios_for("responses", regular=True)
        if one.expected is not None
        and (one.expected.error is not None) == fails
        and (unary is None or one.unary == unary)
        and one.name not in _SLOW
    ]


def ask(one: Scenario) -> Any:
    return {"model": f"scenario:{one.name}", "input": "Hi"}


@pytest.mark.parametrize("one", judged(fails=False))
def test_the_sdk_reads_the_stream(gpt: openai.OpenAI, one: Scenario) -> None:
    assert one.expected is not None
    with gpt.responses.stream(**ask(one)) as stream:
        events = list(stream)
    last: Any = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    seen = read_responses(last.response.to_dict(mode="json"))
    assert seen.gist == one.expected.gist
    assert seen.tokens == one.expected.tokens
    assert [b.id for b in seen.calls if b.id] == [b.id for b in one.expected.calls if b.id] or one.name.endswith("namespace")
    assert [b.signature for b in seen.blocks] == [b.signature for b in one.expected.blocks]


@pytest.mark.parametrize("one", judged(fails=False, unary=True))
def test_the_sdk_reads_the_whole_answer(gpt: openai.OpenAI, one: Scenario) -> None:
    assert one.expected is not None
    response = gpt.responses.create(**ask(one))
    seen = read_responses(response.to_dict(mode="json"))
    assert seen.gist == one.expected.gist
    assert seen.tokens == one.expected.tokens
    assert response.output_text == one.expected.text


@pytest.mark.parametrize("one", judged(fails=True))
def test_the_sdk_notices_a_failed_stream(gpt: openai.OpenAI, one: Scenario) -> None:
    assert one.expected is not None
    assert one.expected.error is not None
    expected = one.expected.error
    status, last = read_to_its_end(gpt, one)
    assert status == expected.status
    assert last in ("", "error", "response.failed") or expected.word in ("cut", "unavailable")


def read_to_its_end(gpt: openai.OpenAI, one: Scenario) -> tuple[int | None, str]:
    """The HTTP status where the SDK raised on one, and the last event where it raised on nothing."""
    last = ""
    try:
        for event in gpt.responses.create(**ask(one), stream=True):
            last = event.type
    except openai.APIStatusError as error:
        return error.status_code, ""
    except (openai.APIError, httpx2.HTTPError):
        # The connection ended, or the event was of the form that the SDK raises on.
        return None, ""
    return None, last


def test_the_path_ends_in_responses(upstream: ThreadedUpstream) -> None:
    with openai.OpenAI(api_key="sk-test", base_url=f"{upstream.url}/some/where/v1", max_retries=0) as client:
        assert client.responses.create(model="text", input="Hi").output_text
    assert upstream.requests[-1].path == "/some/where/v1/responses"
