"""Four patiences, each of which ends in a 504 or, once the answer has begun, in an error event."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from dragoman.testing import (
    VOICES,
    Begin,
    Finish,
    Scenario,
    SlowHead,
    Stall,
    Text,
    ThreadedUpstream,
    Usage,
    scenario,
)
from tests.gateway.talking import DIALECTS, Reports, ask
from tests.serving import Served, serving, upstream

PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]
SHORT = 0.08
LONGER = 0.5
QUICK = 3.0
"""Seconds in which each of these answers must be there, on a machine that is busy."""


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    patience = {
        **{name: {name: SHORT} for name in ("first_byte", "idle", "total")},
        "longer": {"first_byte": LONGER, "idle": LONGER},
    }
    providers = {
        f"{dialect}-{name}": upstream(scripted.url, dialect, timeouts=timeouts)
        for dialect in DIALECTS
        for name, timeouts in patience.items()
    }
    with serving({"providers": providers}) as served:
        yield served


SILENT: list[tuple[str, Scenario, str]] = [
    ("first_byte", Scenario("no-head", (SlowHead("never"), Text("Hello"))), "did not answer within"),
    ("idle", Scenario("no-byte", (Stall("never"), Text("Hello"))), "fell silent"),
    ("idle", scenario("no-content", Begin(), Stall("never")), "fell silent"),
    # No single patience is longer than the total, so either may be named.
    ("total", Scenario("no-head", (SlowHead("never"), Text("Hello"))), "total timeout|did not answer within"),
    ("total", Scenario("no-byte", (Stall("never"), Text("Hello"))), "total timeout|fell silent"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("patience", "one", "words"), SILENT, ids=[f"{name}-{one.name}" for name, one, _ in SILENT])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_silence_before_the_answer_is_a_504(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, patience: str, one: Scenario, words: str, stream: bool
) -> None:
    scripted.script(one)
    left = len(scripted.connections.closed_early)
    began = time.monotonic()
    said = ask(gateway, client, f"{up}-{patience}/m", stream=stream)
    assert time.monotonic() - began < QUICK
    assert said.status == 504
    assert re.search(words, said.message)
    error = VOICES[client].read(said.body).error
    assert error is not None
    assert error.word == "timeout"
    scripted.closed_early(count=left + 1)


@pytest.mark.parametrize("patience", ["idle", "total"])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_silence_in_the_middle_is_an_error_event(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, patience: str
) -> None:
    scripted.script(scenario("middle", Text(("Hello", Stall("never"))), Usage(input=1, output=1), Finish()))
    began = time.monotonic()
    said = ask(gateway, client, f"{up}-{patience}/m")
    assert time.monotonic() - began < QUICK
    view = said.view(client)
    assert view.text == "Hello"
    assert view.finish is None
    assert view.error is not None
    assert view.error.word == "timeout"


def test_an_answer_that_keeps_coming_may_take_longer_than_each_patience(gateway: Served, scripted: ThreadedUpstream) -> None:
    steps = [step for _ in range(6) for step in ("word ", Stall(LONGER / 5))]
    scripted.script(scenario("long", Text(tuple(steps)), Usage(input=1, output=1), Finish()))
    view = ask(gateway, "messages", "chat-longer/m").view("messages")
    assert (view.text, view.error) == ("word " * 6, None)


def test_the_total_ends_an_answer_that_keeps_coming(gateway: Served, scripted: ThreadedUpstream) -> None:
    scripted.script("endless")
    view = ask(gateway, "chat", "messages-total/m").view("chat")
    assert view.error is not None
    assert view.error.word == "timeout"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", DIALECTS)
def test_a_connection_that_is_never_made_is_a_504(backlog: str, client: str, stream: bool) -> None:
    with serving({"providers": {"deaf": upstream(backlog, "chat", timeouts={"connect": SHORT})}}) as served:
        began = time.monotonic()
        said = ask(served, client, "deaf/m", stream=stream)
    assert time.monotonic() - began < QUICK
    assert said.status == 504
    assert "127.0.0.1" in said.message


@pytest.mark.parametrize("patience", [{"connect": SHORT}, {"first_byte": SHORT}, {"idle": SHORT}])
def test_another_target_gets_its_turn(scripted: ThreadedUpstream, backlog: str, patience: dict[str, float]) -> None:
    config = {
        "providers": {
            "slow": upstream(backlog if "connect" in patience else scripted.url, "chat", timeouts=patience),
            "good": upstream(scripted.url, "messages"),
        },
        "models": {"both": ["slow/m", "good/m"]},
    }
    if "connect" not in patience:
        scripted.script(Scenario("slow", (SlowHead("never") if "first_byte" in patience else Stall("never"), Text("x"))))
    with serving(config) as served:
        reports = Reports(served)
        said = ask(served, "messages", "both")
        report = reports.last(1)
    assert said.view("messages").text == "Hello! How can I help you today?"
    assert report.trail[0].startswith("slow/m: 504 ")
    assert report.trail[1] == "good/m: ok"


def test_when_the_total_is_over_no_other_target_is_asked(scripted: ThreadedUpstream) -> None:
    config = {
        "providers": {"a": upstream(scripted.url, "chat"), "b": upstream(scripted.url, "messages")},
        "models": {"both": ["a/m", "b/m"]},
        "timeouts": {"total": SHORT},
    }
    asked = len(scripted.requests)
    scripted.script(Scenario("slow", (SlowHead("never"), Text("x"))))
    with serving(config) as served:
        said = ask(served, "chat", "both")
    assert said.status == 504
    assert len(scripted.requests) == asked + 1


def test_a_client_that_gives_up_first_has_its_own_timeout(gateway: Served, scripted: ThreadedUpstream) -> None:
    asking: Any = [{"role": "user", "content": "Hi"}]
    scripted.script(*[Scenario("slow", (SlowHead("never"), Text("x")))] * 2)
    left = len(scripted.connections.closed_early)
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0, timeout=0.5) as claude,
        pytest.raises(anthropic.APITimeoutError),
    ):
        claude.messages.create(model="messages-idle/m", max_tokens=9, messages=asking)
    scripted.closed_early(count=left + 1)
    with (
        openai.OpenAI(base_url=gateway.base, api_key="any", max_retries=0, timeout=0.5) as gpt,
        pytest.raises(openai.APITimeoutError),
    ):
        gpt.chat.completions.create(model="messages-idle/m", messages=asking)
    scripted.closed_early(count=left + 2)
