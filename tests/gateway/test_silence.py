"""While an upstream is silent its client gets pings: between events only, before the first byte too, and never as content."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dragoman.dialects import DIALECTS as OURS
from dragoman.testing import (
    SCENARIOS,
    VOICES,
    Ask,
    Begin,
    ErrorEvent,
    Finish,
    Ping,
    Scenario,
    ScriptedUpstream,
    SlowHead,
    Stall,
    Text,
    ThreadedUpstream,
    ToolCall,
    Usage,
    scenario,
)
from tests.gateway.talking import DIALECTS, ask, asking
from tests.serving import Served, serving, upstream

PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]
EVERY = 0.03


@pytest.fixture
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers = {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}
    chains = {"both": ["messages/scenario:slow-head", "messages/scenario:text"]}
    with serving({"server": {"ping": EVERY}, "providers": providers, "models": chains}) as served:
        yield served


STALLED = [
    pytest.param(up, client, name, id=f"{up}-{client}-{name}")
    for up, client in PAIRS
    for name, one in SCENARIOS.items()
    if up in one.dialects and name.startswith(("stall", "slow"))
]


@pytest.mark.parametrize(("up", "client", "name"), STALLED)
def test_a_silent_upstream_is_filled_with_pings(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, name: str
) -> None:
    one = SCENARIOS[name]
    assert one.expected is not None
    ping = OURS[client].ping
    with asking(gateway, client, f"{up}/scenario:{name}") as stream:
        scripted.reached()
        stream.until(ping * 3)
        scripted.open_gate()
        said = stream.rest()
    assert said.status == 200
    # Taken out again, what is left is a whole answer: no ping stood within an event.
    body = said.body.replace(ping, b"")
    assert b"ping" not in body
    view = VOICES[client].fold(said.body)
    assert view.gist == one.expected.gist
    if up == client:
        assert body == VOICES[up].render(one, Ask(f"scenario:{name}", True, include_usage=False)).body


@pytest.mark.parametrize("wait", [SlowHead(EVERY * 5), Stall(EVERY * 5)])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_whole_answer_gets_no_pings(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str, wait: SlowHead | Stall
) -> None:
    scripted.script(Scenario("slow", (wait, Text("Hello"), Finish())))
    said = ask(gateway, client, f"{up}/m", stream=False)
    assert said.header("content-length") == str(len(said.body))
    assert said.view(client).text == "Hello"


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_an_upstream_that_sends_nothing_to_show_is_silent_too(
    gateway: Served, scripted: ThreadedUpstream, up: str, client: str
) -> None:
    """Its opening and its own pings are held back, so they keep nobody awake."""
    trickle = [step for _ in range(12) for step in (Ping(), Stall(EVERY / 2))]
    scripted.script(scenario("trickle", Begin(), *trickle, Stall("content"), Text("Hello"), Usage(input=1, output=1), Finish()))
    with asking(gateway, client, f"{up}/m") as stream:
        stream.until(OURS[client].ping * 3)
        scripted.open_gate("content")
        assert stream.rest().view(client).text == "Hello"


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_busy_stream_gets_no_pings(scripted: ThreadedUpstream, up: str, client: str) -> None:
    with serving({"server": {"ping": 0.3}, "providers": {up: upstream(scripted.url, up)}}) as served:
        steps = [step for word in ["every", "word", "comes", "in", "good", "time"] for step in (word, Stall(0.06))]
        scripted.script(scenario("busy", Text(tuple(steps)), Usage(input=1, output=1), Finish()))
        said = ask(served, client, f"{up}/m")
    assert OURS[client].ping not in said.body


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_after_a_ping_another_target_may_still_answer(scripted: ThreadedUpstream, up: str, client: str) -> None:
    config = {
        "server": {"ping": EVERY},
        "providers": {"first": upstream(scripted.url, up), "second": upstream(scripted.url, client)},
        "models": {"both": ["first/a", "second/b"]},
    }
    scripted.script(Scenario("slow", (Stall("fail"), ErrorEvent("overloaded", "Overloaded"))), "text")
    with serving(config) as served, asking(served, client, "both") as stream:
        stream.until(OURS[client].ping)
        scripted.open_gate("fail")
        said = stream.rest()
    assert said.view(client).text == "Hello! How can I help you today?"
    assert VOICES[client].fold(said.body).error is None


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_after_a_ping_an_error_is_an_event(gateway: Served, scripted: ThreadedUpstream, up: str, client: str) -> None:
    scripted.script(Scenario("slow", (Stall("fail"), ErrorEvent("overloaded", "Come back later."))))
    with asking(gateway, client, f"{up}/m") as stream:
        stream.until(OURS[client].ping)
        scripted.open_gate("fail")
        said = stream.rest()
    assert (said.status, said.whole) == (200, True)
    error = said.view(client).error
    assert error is not None
    assert error.message == "Come back later."


def test_while_it_connects_a_client_gets_pings(scripted: ThreadedUpstream, backlog: str) -> None:
    """Nobody accepts at the first target: until its patience ends, and on to the second, the client hears something."""
    config = {
        "server": {"ping": EVERY},
        "providers": {
            "deaf": upstream(backlog, "messages", timeouts={"connect": EVERY * 6}),
            "good": upstream(scripted.url, "messages"),
        },
        "models": {"both": ["deaf/m", "good/m"]},
    }
    with serving(config) as served:
        said = ask(served, "messages", "both")
    assert said.body.startswith(OURS["messages"].ping * 3)
    assert said.view("messages").text == "Hello! How can I help you today?"


def test_a_tool_call_is_not_cut_by_a_ping(gateway: Served, scripted: ThreadedUpstream) -> None:
    steps = ('{"path": "a', Stall(EVERY * 3), '.txt", "n"', Stall(EVERY * 3), ": 1}")
    scripted.script(scenario("call", ToolCall("write", steps), Usage(input=1, output=1), Finish("tool_calls")))
    view = ask(gateway, "messages", "chat/m").view("messages")
    assert [call.value for call in view.calls] == [{"path": "a.txt", "n": 1}]
