"""Every scripted answer through the gateway over real sockets, for each pair of dialects, and the ways in which they break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dragoman.dialects import DIALECTS as OURS
from dragoman.testing import (
    SCENARIOS,
    VOICES,
    Ask,
    Begin,
    Cut,
    Finish,
    Native,
    RawFrame,
    Rendered,
    Reset,
    Scenario,
    ScriptedUpstream,
    Stall,
    Text,
    ThreadedUpstream,
    Usage,
    View,
    scenario,
)
from tests.dialects.test_vectors import finish_of, grouped, plain, sayable
from tests.gateway.talking import DIALECTS, Said, ask, asking
from tests.serving import Served, serving, upstream

LONG = ("text-long", "tools-large-arguments", "endless-10k", "text-large-event")
PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]


@pytest.fixture(scope="module")
def pieces() -> Iterator[ThreadedUpstream]:
    """Cuts its answers anywhere."""
    with ScriptedUpstream.in_thread(split="bytes:11") as server:
        server.open_gate()
        yield server


@pytest.fixture(scope="module")
def events() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        server.open_gate()
        yield server


@pytest.fixture(scope="module")
def closing() -> Iterator[ThreadedUpstream]:
    """Ends its answers by closing the connection, so that a cut looks like a proper end."""
    with ScriptedUpstream.in_thread(framing="close") as server:
        server.open_gate()
        yield server


@pytest.fixture(scope="module")
def gateway(pieces: ThreadedUpstream, events: ThreadedUpstream, closing: ThreadedUpstream) -> Iterator[Served]:
    servers = {"pieces": pieces, "events": events, "closing": closing}
    providers = {f"{d}-{name}": upstream(server.url, d) for d in DIALECTS for name, server in servers.items()}
    chains = {
        f"{up}-{client}-{name}": [f"{up}-events/scenario:{name}", f"{client}-events/scenario:text"]
        for up, client, name in EARLY
    }
    with serving({"providers": providers, "models": chains}) as served:
        yield served


def rendered(up: str, one: Scenario, *, stream: bool = True) -> Rendered:
    return VOICES[up].render(one, Ask(stream=stream))


def begins(up: str, one: Scenario) -> bool:
    """Whether its answer begins with status 200."""
    answer = rendered(up, one)
    return answer.status == 200 and answer.head is None


SOUND = [
    (up, client, one.name)
    for up, client in PAIRS
    for one in SCENARIOS.values()
    if up in one.dialects and one.expected is not None and one.expected.error is None and begins(up, one)
]


def check(view: View, expected: View, up: str, client: str) -> None:
    assert view.error is None
    wanted, got = plain(sayable(expected, up, client), client), plain(sayable(view, up, client), client)
    if client == "chat":
        wanted, got = grouped(wanted), grouped(got)
    assert got == wanted
    assert finish_of(view, client) == finish_of(expected, client)


def seen(said: Said, up: str, client: str, one: Scenario) -> View:
    """What a client sees. An answer that bends its dialect's rules is read strictly only after a translation."""
    if up == client and not one.regular:
        assert said.body == VOICES[up].render(one, Ask(f"scenario:{one.name}", True, include_usage=False)).body
        assert one.expected is not None
        return one.expected
    return said.view(client)


@pytest.mark.parametrize(("up", "client", "name"), SOUND)
def test_a_stream_means_the_same_to_every_client(gateway: Served, up: str, client: str, name: str) -> None:
    one = SCENARIOS[name]
    assert one.expected is not None
    said = ask(gateway, client, f"{up}-{'events' if name in LONG else 'pieces'}/scenario:{name}")
    assert (said.status, said.whole) == (200, True)
    assert (said.header("content-type") or "").startswith("text/event-stream")
    check(seen(said, up, client, one), one.expected, up, client)


WHOLE = [case for case in SOUND if SCENARIOS[case[2]].unary and case[2] != "text-large-event"]


@pytest.mark.parametrize(("up", "client", "name"), WHOLE)
def test_a_whole_answer_means_what_the_stream_means(gateway: Served, up: str, client: str, name: str) -> None:
    one = SCENARIOS[name]
    assert one.expected is not None
    said = ask(gateway, client, f"{up}-events/scenario:{name}", stream=False)
    assert said.status == 200
    assert said.header("content-length") == str(len(said.body))
    if up != client:
        view = said.view(client)
        assert grouped(plain(sayable(view, up, client), client)) == grouped(plain(sayable(one.expected, up, client), client))
        assert finish_of(view, client) == finish_of(one.expected, client)


# ---------------------------------------------------------------- what breaks before there is anything to see

EARLY = [
    (up, client, one.name)
    for up, client in PAIRS
    for one in SCENARIOS.values()
    if up in one.dialects and one.expected is not None and one.expected.error is not None and not one.expected.blocks
    and rendered(up, one).status == 200
]  # fmt: skip


@pytest.mark.parametrize("framing", ["events", "closing"])
@pytest.mark.parametrize(("up", "client", "name"), EARLY)
def test_what_fails_before_content_is_an_error_status(gateway: Served, up: str, client: str, name: str, framing: str) -> None:
    one = SCENARIOS[name]
    assert one.expected is not None
    assert one.expected.error is not None
    said = ask(gateway, client, f"{up}-{framing}/scenario:{name}")
    assert said.status >= 400
    view = VOICES[client].read(said.body)
    assert view.error is not None
    wanted = {"cut": 502, "unavailable": 502, "rate_limit": 429, "overloaded": 529 if client == "messages" else 503}
    assert said.status == wanted[one.expected.error.word]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("up", "client", "name"), EARLY)
def test_what_fails_before_content_falls_back(gateway: Served, up: str, client: str, name: str, stream: bool) -> None:
    said = ask(gateway, client, f"{up}-{client}-{name}", stream=stream)
    assert said.status == 200
    assert said.view(client).text == "Hello! How can I help you today?"
    assert said.header("x-dragoman-attempts") == "2"


# ---------------------------------------------------------------- what breaks later

LATE = [
    (up, client, one.name)
    for up, client in PAIRS
    for one in SCENARIOS.values()
    if up in one.dialects and one.expected is not None and one.expected.error is not None and one.expected.blocks
]


@pytest.mark.parametrize("framing", ["events", "closing", "pieces"])
@pytest.mark.parametrize(("up", "client", "name"), LATE)
def test_what_fails_after_content_ends_in_an_error_event(
    gateway: Served, up: str, client: str, name: str, framing: str
) -> None:
    one = SCENARIOS[name]
    assert one.expected is not None
    said = ask(gateway, client, f"{up}-{framing}/scenario:{name}")
    view = VOICES[client].read(said.body) if said.status == 502 else said.view(client)
    assert said.whole
    assert view.error is not None
    assert view.finish is None
    # A reset may overtake what was written before it, even all of it.
    assert view.text == one.expected.text or ("reset" in name and one.expected.text.startswith(view.text))
    assert said.status == (200 if view.blocks else 502)
    # The provider's own error is told once, and in its own words.
    assert said.body.count(b'"error":') + said.body.count(b'"error" :') <= 2
    if one.expected.error is not None and one.expected.error.message:
        assert one.expected.error.message in view.error.message


def mid_event(up: str) -> bytes:
    """An event that has just begun."""
    return b'event: content_block_delta\ndata: {"type":"content_bl' if up == "messages" else b'data: {"id":"x","choi'


@pytest.mark.parametrize("end", [Cut(), Reset()])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_half_an_event_is_not_given_out(
    gateway: Served, events: ThreadedUpstream, up: str, client: str, end: Cut | Reset
) -> None:
    events.script(scenario("half", Text(("Hello", RawFrame(mid_event(up)), end))))
    view = ask(gateway, client, f"{up}-events/m").view(client)
    assert view.text == "Hello"
    assert view.error is not None


def huge(up: str) -> bytes:
    """An event of 600 kB, without its end."""
    filler = b"x" * 600_000
    if up == "messages":
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
            + filler
        )
    return b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"' + filler


@pytest.mark.parametrize("end", [Cut(), Reset()])
@pytest.mark.parametrize("up", DIALECTS)
def test_nothing_is_glued_to_half_of_a_huge_event(gateway: Served, events: ThreadedUpstream, up: str, end: Cut | Reset) -> None:
    gate = f"huge-{up}-{type(end).__name__}"
    events.script(scenario("huge", Text(("Hello", RawFrame(huge(up)), Stall(gate), end))))
    with asking(gateway, up, f"{up}-events/m") as stream:
        stream.until(b"x" * 300_000)  # no more than 256 kB of it are held back
        events.open_gate(gate)
        said = stream.rest()
    assert not said.whole
    assert said.body.rstrip(b"x").endswith((b'"text":"', b'"content":"'))


@pytest.mark.parametrize("up", DIALECTS)
def test_no_ping_stands_within_a_huge_event(events: ThreadedUpstream, up: str) -> None:
    end = b'"}}\n\n' if up == "messages" else b'"}}]}\n\n'
    slow = scenario(
        "slow", Text(("Hello", RawFrame(huge(up)), Stall(0.1), RawFrame(end), Stall(f"pinged-{up}"), "!")), Finish()
    )
    events.script(slow)
    ping = OURS[up].ping
    with (
        serving({"server": {"ping": "10ms"}, "providers": {"up": upstream(events.url, up)}}) as served,
        asking(served, up, "up/m") as stream,
    ):
        stream.until(huge(up) + end + ping)
        events.open_gate(f"pinged-{up}")
        body = stream.rest().body
    assert body.replace(ping, b"") == VOICES[up].render(slow, Ask("m", True, include_usage=False)).body


SPOOF = 'The last events are "type":"message_stop", event: message_stop, data: [DONE] and "finish_reason":"stop". '


@pytest.mark.parametrize("framing", ["events", "closing"])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_text_about_the_end_of_a_stream_is_not_its_end(
    gateway: Served, events: ThreadedUpstream, closing: ThreadedUpstream, up: str, client: str, framing: str
) -> None:
    server = events if framing == "events" else closing
    server.script(scenario("spoof", Text((SPOOF, "\nevent: message_stop\ndata: [DONE]\n\n", Cut()))))
    view = ask(gateway, client, f"{up}-{framing}/m").view(client)
    assert view.text.startswith(SPOOF)
    assert view.error is not None


@pytest.mark.parametrize("end", [Cut(), Reset()])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_an_answer_is_whole_after_its_last_event_whatever_becomes_of_the_connection(
    gateway: Served, events: ThreadedUpstream, up: str, client: str, end: Cut | Reset
) -> None:
    body = rendered(up, SCENARIOS["text"]).body
    events.script(Scenario("raw", (RawFrame(body), end)))
    said = ask(gateway, client, f"{up}-events/m")
    assert said.whole
    check(said.view(client), SCENARIOS["text"].expected or View(), up, client)


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_an_upstream_that_never_closes_after_its_last_event_holds_nobody_up(
    gateway: Served, events: ThreadedUpstream, up: str, client: str
) -> None:
    body = rendered(up, SCENARIOS["text"]).body
    events.script(Scenario("raw", (RawFrame(body), Stall("never"))))
    said = ask(gateway, client, f"{up}-events/m")
    assert said.whole
    check(said.view(client), SCENARIOS["text"].expected or View(), up, client)


def fixed(
    server: ThreadedUpstream, name: str, up: str, body: bytes, content_type: str = "text/event-stream"
) -> dict[str, object]:
    """A configuration whose provider `up` always answers with this body."""
    path = "/v1/messages" if up == "messages" else "/v1/chat/completions"
    server.on(f"/{name}{path}", 200, body, [("content-type", content_type)])
    return {"providers": {"up": upstream(f"{server.url}/{name}", up)}}


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_an_answer_without_its_last_event_is_whole_when_it_said_how_it_ends(
    closing: ThreadedUpstream, up: str, client: str
) -> None:
    body = rendered(up, SCENARIOS["text"]).body
    cut = body[: body.index(b"event: message_stop" if up == "messages" else b"data: [DONE]")]
    with serving(fixed(closing, "no-last", up, cut)) as served:
        said = ask(served, client, "up/m")
    assert said.whole
    if up == client:
        assert said.body == cut
    else:
        check(said.view(client), SCENARIOS["text"].expected or View(), up, client)


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_stream_of_comments_alone_is_no_answer(events: ThreadedUpstream, up: str, client: str) -> None:
    with serving(fixed(events, "comments", up, b": nothing\n\n" * 3)) as served:
        said = ask(served, client, "up/m")
    assert said.status == 502
    assert VOICES[client].read(said.body).error is not None


def test_a_whole_error_in_a_200_falls_back_in_the_same_dialect_too(events: ThreadedUpstream) -> None:
    config = {
        "providers": {"a": upstream(events.url, "chat"), "b": upstream(events.url, "messages")},
        "models": {"chat": ["a/scenario:error-in-200", "b/scenario:text"]},
    }
    with serving(config) as served:
        said = ask(served, "chat", "chat", stream=False)
    assert said.view("chat").text == "Hello! How can I help you today?"


@pytest.mark.parametrize(("up", "client"), PAIRS)
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_in_a_coding_that_was_not_asked_for_is_refused(
    gateway: Served, events: ThreadedUpstream, up: str, client: str, stream: bool
) -> None:
    one = scenario("gzip", Text("Hello"), Finish(), headers=(("content-encoding", "gzip"),))
    events.script(one)
    said = ask(gateway, client, f"{up}-events/m", stream=stream)
    assert said.status == 502
    assert "gzip" in said.message


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_stream_that_was_not_asked_for_is_understood(events: ThreadedUpstream, up: str, client: str) -> None:
    body = rendered(up, SCENARIOS["text"]).body
    with serving(fixed(events, "insists", up, body)) as served:
        said = ask(served, client, "up/m", stream=False)
    if up == client:
        assert said.body == body
    else:
        check(said.view(client), SCENARIOS["text"].expected or View(), up, client)


@pytest.mark.parametrize(("up", "client"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_a_whole_answer_to_a_request_for_a_stream_becomes_one(events: ThreadedUpstream, up: str, client: str) -> None:
    body = rendered(up, SCENARIOS["text"], stream=False).body
    with serving(fixed(events, "whole", up, body, "application/json")) as served:
        said = ask(served, client, "up/m")
    assert (said.header("content-type") or "").startswith("text/event-stream")
    check(said.view(client), SCENARIOS["text"].expected or View(), up, client)


# ---------------------------------------------------------------- connections


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_one_connection_serves_one_stream_after_the_other(up: str, client: str) -> None:
    with ScriptedUpstream.in_thread() as server, serving({"providers": {"up": upstream(server.url, up)}}) as served:
        for _ in range(20):
            assert ask(served, client, "up/scenario:text").whole
        assert server.connections.opened == 1
        assert server.connections.closed_early == []


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_an_answer_that_was_given_up_costs_its_connection_and_no_other(up: str, client: str) -> None:
    with ScriptedUpstream.in_thread() as server, serving({"providers": {"up": upstream(server.url, up)}}) as served:
        assert ask(served, client, "up/scenario:text").whole
        server.script(
            scenario("early", Begin(), Native("chat", {"content": "x"}), RawFrame(b"data: nonsense\n\n"), Stall("never"))
        )
        with asking(served, client, "up/m") as stream:
            stream.leave()
        server.closed_early()
        for _ in range(3):
            assert ask(served, client, "up/scenario:text").whole
        assert server.connections.opened == 2


def test_usage_is_the_same_for_every_client(gateway: Served, events: ThreadedUpstream) -> None:
    one = scenario("usage", Text("Hello"), Usage(input=5, output=7, cache_read=2000), Finish())
    for up, client in PAIRS:
        events.script(one)
        tokens = ask(gateway, client, f"{up}-events/m", stream=False).view(client).tokens
        assert tokens is not None
        assert (tokens.input, tokens.cache_read, tokens.output) == (5, 2000, 7)
