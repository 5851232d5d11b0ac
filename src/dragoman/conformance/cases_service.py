"""Cases of what surrounds the answers: ids, usage, lists, counts, silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dragoman.conformance.case import Case, Difference, Differs, Judge, demand, expect
from dragoman.conformance.cases_requests import FORECAST, HELLOS, WEATHER
from dragoman.conformance.prompt import Prompt, User
from dragoman.conformance.seat import Seat
from dragoman.testing import SCENARIOS, VOICES, Begin, Finish, SlowHead, Stall, Text, Usage, read_events, scenario
from dragoman.testing.library_text import HELLO, U

HI = Prompt(turns=(User("Hi."),))


async def _events(seat: Seat, script: Any = HELLOS) -> list[dict[str, Any]]:
    said = await seat.ask(HI, script)
    said.answered()
    events = [json.loads(event.data) for event in read_events(said.recorded.body) if event.data.startswith("{")]
    if not events:
        raise Differs(Difference("the stream", "events", "none"))
    return events


_USAGE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


async def _usage_shape(seat: Seat) -> None:
    if not seat.streams:
        said = await seat.ask(HI, HELLOS)
        said.answered()
        _whole_usage(json.loads(said.recorded.body)["usage"], "usage", _USAGE)
        return
    for event in await _events(seat):
        if event.get("type") == "message_start":
            _whole_usage(event["message"].get("usage"), "the usage of message_start", _USAGE)
        elif event.get("type") == "message_delta":
            _whole_usage(event.get("usage"), "the usage of message_delta", ("output_tokens",))


def _whole_usage(usage: Any, what: str, keys: tuple[str, ...]) -> None:
    lacking = [key for key in keys if not isinstance((usage or {}).get(key), int)]
    demand(not lacking, what, expected=f"{', '.join(keys)} as numbers", got=usage)


_LATE = scenario("usage-at-the-end", Text(HELLO), Usage(input=1234, output=56, cache_read=1000, at_start=False), Finish())


async def _usage_at_start(seat: Seat) -> None:
    events = await _events(seat, _LATE)
    starts = [event["message"]["usage"] for event in events if event.get("type") == "message_start"]
    demand(
        starts and starts[0].get("input_tokens"), "input_tokens of message_start", expected="an estimate above 0", got=starts
    )
    ends = [event["usage"] for event in events if event.get("type") == "message_delta"]
    told = ends[-1] if ends else {}
    expect("input_tokens at the end", expected=1234, got=told.get("input_tokens"))
    expect("cache_read_input_tokens at the end", expected=1000, got=told.get("cache_read_input_tokens"))
    expect("output_tokens at the end", expected=56, got=told.get("output_tokens"))


async def _one_id(seat: Seat) -> None:
    events = await _events(seat)
    ids = {event["response"]["id"] for event in events if isinstance(event.get("response"), dict)}
    expect("the ids of the response", expected=1, got=len(ids))
    numbers = [event.get("sequence_number") for event in events]
    expect("the numbers of the events", expected=list(range(len(events))), got=numbers)


_OWN_WORDS = {
    "messages": "server-tool",
    "chat": "tools-interleaved",
    "responses": "responses-reasoning-between-calls",
    "gemini": "gemini-signed-call",
}


async def _same_events(seat: Seat) -> None:
    """What the provider sent and what the client got, event by event."""
    one = SCENARIOS[_OWN_WORDS[seat.dialect]]
    said = await seat.ask(HI, one)
    said.answered()
    voice, request = VOICES[seat.upstream], said.sent()
    asked = voice.hears(request.method, request.path, request.json)
    assert asked is not None
    sent, got = (_data(body) for body in (voice.render(one, asked).body, said.recorded.body))
    for number, (one_sent, one_got) in enumerate(zip(sent, got, strict=False), 1):
        expect(f"event {number}", expected=one_sent, got=one_got)
    expect("the number of events", expected=len(sent), got=len(got))


def _data(body: bytes) -> list[Any]:
    """The events without pings and comments, and without the name of the model, which a gateway may tell as its own."""
    found = [json.loads(event.data) for event in read_events(body) if event.data.startswith("{")]
    return [_unnamed(data) for data in found if data.get("type") != "ping"]


def _unnamed(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    return {key: _unnamed(value) for key, value in data.items() if key not in ("model", "modelVersion")}


async def _goes_on(seat: Seat) -> None:
    """The client names the response before instead of telling it again."""
    first = await seat.ask(Prompt(turns=(User("My name is Ada."),), native={"store": True}), HELLOS)
    first.answered()
    named = {"store": True, "previous_response_id": first.native.id}
    second = await seat.ask(Prompt(turns=(User("What is it?"),), native=named), HELLOS)
    second.answered()
    heard = seat.heard(second)
    for role, words in (("user", "My name is Ada."), ("assistant", HELLO), ("user", "What is it?")):
        demand(words in heard.said(role), f"what the {role} said", expected=words, got=heard.said(role))


async def _counts(seat: Seat) -> None:
    try:
        bare = await seat.client.count(HI, seat.bench.models[seat.upstream])
        tools = Prompt(turns=HI.turns, tools=(WEATHER, FORECAST), system="You are a weather bot. " * 20)
        more = await seat.client.count(tools, seat.bench.models[seat.upstream])
    except Exception as error:  # noqa: BLE001  whatever a client raises is a finding, and is told as one
        raise Differs(Difference("the count", "a number", f"{type(error).__name__}: {error}"[:300])) from None
    demand(bare > 0, "the count", expected="above 0", got=bare)
    if seat.dialect != "gemini":  # its SDK counts contents alone
        demand(more > bare + 40, "the count with tools and instructions", expected=f"well above {bare}", got=more)


async def _listed(seat: Seat) -> None:
    try:
        names = await seat.client.models()
    except Exception as error:  # noqa: BLE001  whatever a client raises is a finding, and is told as one
        raise Differs(Difference("the list of models", "a list", f"{type(error).__name__}: {error}"[:300])) from None
    wanted = seat.bench.models[seat.upstream]
    demand(wanted in names, "the list of models", expected=f"with {wanted}", got=names[:20])


# ---------------------------------------------------------------- silence

_SILENCE = 21.0
_PATIENCE = 18.0
"""A ping is due every 15 seconds; three are the machine's, which may be busy."""


def _silent(where: str) -> Judge:
    stall = Stall(_SILENCE)
    steps = {
        "before": (SlowHead(_SILENCE), Text("Hello"), U, Finish()),
        "first": (Begin(), stall, Text("Hello"), U, Finish()),
        "midway": (Text(("Hel", stall, "lo")), U, Finish()),
    }[where]
    one = scenario(f"silence-{where}", *steps)

    async def judge(seat: Seat) -> None:
        said = await seat.ask(HI, one)
        expect("the text", expected="Hello", got=said.answered().text)
        gap = max(said.recorded.gaps, default=0.0)
        if seat.dialect != "gemini":  # whose SDK takes a comment for a chunk
            demand(gap <= _PATIENCE, "the longest silence", expected="15 seconds, 18 at most", got=f"{gap:.1f} seconds")

    return judge


def _silences() -> Iterator[Case]:
    places = (
        ("before", "before its first byte"),
        ("first", "before the first content"),
        ("midway", "in the middle of an answer"),
    )
    for where, title in places:
        yield Case(
            id=f"silence-{where}",
            group="service",
            title=f"A provider that is silent {title} does not cost the connection",
            why="Proxies and clients give up on a stream that is silent: signs of life must come between events.",
            sources=("LL#36024", "LL#37322", "openclaw#70739"),
            judge=_silent(where),
            modes=("stream",),
            patience=60.0,
        )


CASES: tuple[Case, ...] = (
    *_silences(),
    Case(
        id="usage-shape",
        group="answers",
        title="The usage of a Messages answer has all its fields",
        why="Strict clients refuse an answer whose usage is partial.",
        sources=("LL#24176",),
        judge=_usage_shape,
        clients=frozenset({"messages"}),
    ),
    Case(
        id="usage-at-start",
        group="answers",
        title="`message_start` estimates the input, `message_delta` tells it exactly",
        why="Claude Code shows, and compacts by, what it is told at the start.",
        sources=("CPA#1700", "LL#41406", "LL#31069", "sglang#20678"),
        judge=_usage_at_start,
        modes=("stream",),
        clients=frozenset({"messages"}),
        elsewhere=True,
    ),
    Case(
        id="one-id",
        group="answers",
        title="A response has one id from its first event to its last, and its events are numbered",
        why="A client that looks its response up by the first id does not find it.",
        sources=("LL#37956", "LL#26167"),
        judge=_one_id,
        modes=("stream",),
        clients=frozenset({"responses"}),
    ),
    Case(
        id="previous-response",
        group="continuity",
        title="A conversation that goes on by `previous_response_id` is told whole",
        why="The model answers without knowing what was said.",
        sources=("LL#37956", "LL#26167"),
        judge=_goes_on,
        clients=frozenset({"responses"}),
        elsewhere=True,
    ),
    Case(
        id="same-events",
        group="streams",
        title="Where client and provider speak the same dialect, events arrive as they were sent",
        why="What is put together anew loses what the gateway does not know, and renumbered blocks drift from their deltas.",
        sources=("BF#4890", "BF#6342"),
        judge=_same_events,
        modes=("stream",),
        clients=frozenset(_OWN_WORDS),
        alike=True,
    ),
    Case(
        id="counted",
        group="service",
        title="Tokens can be counted before they are spent",
        why="Without a count agents overrun the context; with one that leaves the tools out they do too.",
        sources=("LL#37102", "CPA#4103", "LL#13252"),
        judge=_counts,
        modes=("unary",),
        clients=frozenset({"messages", "responses", "gemini"}),
    ),
    Case(
        id="listed",
        group="service",
        title="The SDK finds the model in the list of models",
        why="Clients let their users choose from it.",
        judge=_listed,
        modes=("unary",),
    ),
)
