"""A chain: the next target when one fails, in order, for the failures that another can mend, and never after content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dragoman.testing import HttpError, Scenario, ScriptedUpstream, ThreadedUpstream
from tests.gateway.talking import DIALECTS, JSON, PATHS, Reports, ask, say
from tests.serving import Served, serving, upstream

HELLO = "Hello! How can I help you today?"
PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]


@pytest.fixture(scope="module")
def first() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def second() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(first: ThreadedUpstream, second: ThreadedUpstream) -> Iterator[Served]:
    providers = {f"{name}-{d}": upstream(server.url, d) for d in DIALECTS for name, server in (("a", first), ("b", second))}
    providers["gone"] = upstream("http://127.0.0.1:9", "chat")
    providers["keyless"] = {"dialect": "chat", "base_url": first.url}
    providers["two-keys"] = upstream(first.url, "chat") | {"api_key": ["sk-first-key", "sk-second-key"]}
    models: dict[str, Any] = {f"{up}-{then}": [f"a-{up}/m", f"b-{then}/n"] for up in DIALECTS for then in DIALECTS}
    models["three"] = ["gone/x", "keyless/y", "b-messages/z"]
    models["strict"] = {"targets": ["a-chat/m", "b-messages/n"], "strict": True}
    with serving({"providers": providers, "models": models}) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 425, 429, 500, 502, 503, 504, 520, 524, 529])
def test_what_another_may_do_better_goes_on(
    gateway: Served, first: ThreadedUpstream, reports: Reports, status: int, stream: bool
) -> None:
    count = len(reports)
    first.script(Scenario("failing", (HttpError(status, "Not today."),)))
    said = ask(gateway, "messages", "chat-messages", stream=stream)
    assert said.view("messages").text == HELLO
    assert said.header("x-dragoman-attempts") == "2"
    assert said.header("x-dragoman-provider") == "b-messages"
    report = reports.last(count + 1)
    assert [line.split(":")[0] for line in report.trail] == ["a-chat/m", "b-messages/n"]
    assert "Not today." in report.trail[0]
    assert (report.status, report.provider, report.target, report.error) == (200, "b-messages", "n", None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_the_callers_own_mistake_goes_back_at_once(
    gateway: Served, first: ThreadedUpstream, second: ThreadedUpstream, up: str, client: str, status: int, stream: bool
) -> None:
    asked = len(second.requests)
    first.script(Scenario("failing", (HttpError(status, "Your own fault."),)))
    said = ask(gateway, client, f"{up}-messages", stream=stream)
    assert said.status == status
    assert said.message == "Your own fault."
    assert len(second.requests) == asked


@pytest.mark.parametrize("name", ["error-midway", "error-in-arguments", "cut-midway", "tools-cut"])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_nothing_else_is_tried_once_the_caller_has_seen_content(
    gateway: Served, first: ThreadedUpstream, second: ThreadedUpstream, up: str, client: str, name: str
) -> None:
    asked = len(second.requests)
    first.script(name)
    said = ask(gateway, client, f"{up}-{client}")
    assert said.status == 200
    assert said.view(client).error is not None
    assert len(second.requests) == asked


def test_the_order_is_that_of_the_chain_and_each_reason_is_kept(gateway: Served, reports: Reports) -> None:
    count = len(reports)
    said = ask(gateway, "chat", "three")
    assert said.view("chat").text == HELLO
    assert said.header("x-dragoman-attempts") == "3"
    trail = reports.last(count + 1).trail
    assert "refused" in trail[0]
    assert "no key" in trail[1]
    assert trail[2] == "b-messages/z: ok"


def test_a_body_goes_to_each_target_in_its_own_form(gateway: Served, first: ThreadedUpstream, second: ThreadedUpstream) -> None:
    first.script("http-503")
    body = b'{ "model":"messages-chat", "max_tokens":5, "future":1.0, "messages":[{"role":"user","content":"Hi"}] }'
    assert say(gateway, "POST", PATHS["messages"], [JSON], body).status == 200
    assert first.requests[-1].body == body.replace(b"messages-chat", b"m")
    assert second.requests[-1].json["messages"] == [{"role": "user", "content": "Hi"}]
    assert second.requests[-1].json["model"] == "n"


def test_the_keys_of_one_provider_are_tried_in_turn(gateway: Served, first: ThreadedUpstream) -> None:
    first.script("http-429", "text")
    said = ask(gateway, "chat", "two-keys/m")
    assert said.view("chat").text == HELLO
    assert [one.header("authorization") for one in first.requests[-2:]] == ["Bearer sk-first-key", "Bearer sk-second-key"]


def test_strictness_moves_on_to_a_target_that_can_be_told_everything(
    gateway: Served, first: ThreadedUpstream, second: ThreadedUpstream
) -> None:
    asked = len(first.requests)
    said = ask(gateway, "messages", "strict", more={"top_k": 3, "future": True})
    assert said.view("messages").text == HELLO
    assert len(first.requests) == asked
    assert second.requests[-1].json["future"] is True


def test_a_client_that_may_wait_is_told_to_wait(gateway: Served, first: ThreadedUpstream, second: ThreadedUpstream) -> None:
    """A 404 at the end of the chain makes clients give a model up that would be there again in a moment."""
    first.script("http-429")
    second.script("http-404")
    said = ask(gateway, "messages", "chat-messages")
    assert said.status == 429
    assert said.header("retry-after") == "2"
    assert "1. a-chat/m: 429 Too many requests." in said.message
    assert "2. b-messages/n: 404 model: no-such-model" in said.message
