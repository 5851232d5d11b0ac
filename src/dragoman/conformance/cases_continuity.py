"""Cases of conversations: reasoning state belongs to the provider that issued it. It comes back to it through any client, and
reaches no other, however often the provider is changed in between."""

from __future__ import annotations

import base64
from typing import Any

from dragoman.conformance.case import Case, Difference, Differs, Judge, demand, expect
from dragoman.conformance.cases_requests import paired
from dragoman.conformance.heard import Heard
from dragoman.conformance.prompt import Again, Prompt, Result, Results, Tool, Turn, User
from dragoman.conformance.seat import Said, Seat
from dragoman.testing import Finish, HttpError, RedactedThinking, Scenario, Text, Thinking, ToolCall, Usage, scenario
from dragoman.testing.http1 import Request

_SEALS = frozenset({"messages", "responses", "gemini"})
"""Dialects whose providers seal their reasoning."""
_TOOLS = (Tool("get_weather"), Tool("get_forecast"))
_U = Usage(input=20, output=9)


def seal(name: str) -> str:
    """Sealed state as a provider writes it: base64 that nobody else can read."""
    return base64.b64encode(f"sealed by {name}, for nobody else: {'0123456789' * 4}".encode()).decode()


def _thinks(name: str, call_id: str, *, shown: bool = True, redacted: bool = False) -> Scenario:
    thought = Thinking("I should look it up." if shown else (), seal(name))
    first = (RedactedThinking(seal(name)), thought) if redacted else (thought,)
    return scenario(name, *first, ToolCall("get_weather", {"city": "Paris"}, id=call_id), _U, Finish("tool_calls"))


_PLAIN = scenario("plain", Text("It is sunny."), _U, Finish())


def _after(said: Said, seat: Seat) -> tuple[Turn, ...]:
    """The model's turn as the client keeps it, and the results of its calls."""
    view = said.answered()
    calls = view.calls
    if not calls:
        raise Differs(Difference("the calls", "get_weather", "none"))
    results = tuple(Result(call.id, f"sunny in {call.value}", call.name) for call in calls)
    return Again(seat.client.replay(said.native)), Results(results)


def _ask(turns: tuple[Turn, ...]) -> Prompt:
    return Prompt(turns=turns, tools=_TOOLS, thinking=True)


_OPENING: tuple[Turn, ...] = (User("Weather in Paris?"),)


def _holds(heard: Heard, secret: str, what: str) -> None:
    seals = [bit.seal for turn in heard.turns for bit in turn.bits if bit.seal]
    demand(secret in seals, what, expected=f"{secret[:24]}... on its part", got=[one[:24] for one in seals] or "none")


def _lacks(heard: Heard, secret: str, what: str) -> None:
    demand(secret not in heard.raw, what, expected="none of another's state", got=f"{secret[:24]}...")


# ---------------------------------------------------------------- to and fro


def _comes_back(*, shown: bool = True, redacted: bool = False) -> Judge:
    async def judge(seat: Seat) -> None:
        name = f"first-{seat.upstream}"
        first = await seat.ask(_ask(_OPENING), _thinks(name, "call_1", shown=shown, redacted=redacted))
        second = await seat.ask(_ask((*_OPENING, *_after(first, seat))), _PLAIN)
        second.answered()
        heard = seat.heard(second)
        _holds(heard, seal(name), "the state that comes back")
        paired(seat, heard)
        _results(heard)

    return judge


def _results(heard: Heard) -> None:
    got = heard.bits("result")
    expect("the number of results", expected=len(heard.bits("call")), got=len(got))
    for bit in got:
        demand("sunny" in bit.value, "a result", expected="sunny in ...", got=bit.value)


def _other(seat: Seat) -> str:
    """Another upstream: the next one of the bench."""
    names = seat.bench.upstreams
    return names[(names.index(seat.upstream) + 1) % len(names)]


async def _stays_home(seat: Seat) -> None:
    """A, then B: B is told nothing of what A sealed, and all that was said."""
    name, other = f"home-{seat.upstream}", _other(seat)
    first = await seat.ask(_ask(_OPENING), _thinks(name, "call_1"))
    second = await seat.ask(_ask((*_OPENING, *_after(first, seat))), _PLAIN, upstream=other)
    second.answered()
    heard = seat.heard(second, other)
    _lacks(heard, seal(name), f"what {other} is told of {seat.upstream}'s state")
    calls = [(bit.name, bit.value) for bit in heard.bits("call")]
    expect(f"the calls that {other} is told of", expected=[("get_weather", {"city": "Paris"})], got=calls)
    paired(seat, heard, other)
    _results(heard)


async def _there_and_back(seat: Seat) -> None:
    """A, then B, then A: A has its own again and nothing of B's."""
    name, other = f"there-{seat.upstream}", _other(seat)
    theirs = f"their-{other}"
    first = await seat.ask(_ask(_OPENING), _thinks(name, "call_1"))
    so_far = (*_OPENING, *_after(first, seat))
    second = await seat.ask(_ask(so_far), _thinks(theirs, "call_2"), upstream=other)
    _lacks(seat.heard(second, other), seal(name), f"what {other} is told of {seat.upstream}'s state")
    so_far = (*so_far, *_after(second, seat))
    third = await seat.ask(_ask(so_far), _PLAIN)
    third.answered()
    heard = seat.heard(third)
    _holds(heard, seal(name), "the state that comes back")
    _lacks(heard, seal(theirs), f"what {seat.upstream} is told of {other}'s state")
    expect("the number of calls", expected=2, got=len(heard.bits("call")))
    paired(seat, heard)
    _results(heard)


async def _without_state(seat: Seat) -> None:
    """A model that signs nothing: a call and its result all the same, with the id that the provider gave."""
    spoken = scenario("unsigned", ToolCall("get_weather", {"city": "Paris"}, id="call_abc"), _U, Finish("tool_calls"))
    first = await seat.ask(_ask(_OPENING), spoken)
    second = await seat.ask(_ask((*_OPENING, *_after(first, seat))), _PLAIN)
    second.answered()
    heard = seat.heard(second)
    if seat.upstream != "gemini":
        expect("the call's id at its provider", expected=["call_abc"], got=[bit.id for bit in heard.bits("call")])
    paired(seat, heard)
    _results(heard)


async def _byte_stable(seat: Seat) -> None:
    """What comes back is what was issued, part by part, also where nothing needs to be translated."""
    name = "stable-messages"
    thought, call = Thinking("  I look… \n\n twice.  ", seal(name)), ToolCall("get_weather", {"city": "Paris"}, id="toolu_1")
    spoken = scenario(name, thought, Text("Let me look. \n"), call, _U, Finish("tool_calls"))
    first = await seat.ask(_ask(_OPENING), spoken)
    second = await seat.ask(_ask((*_OPENING, *_after(first, seat))), _PLAIN)
    second.answered()
    body: Any = seat.heard(second).body
    wanted = [
        {"type": "thinking", "thinking": "  I look… \n\n twice.  ", "signature": seal(name)},
        {"type": "text", "text": "Let me look. \n"},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
    ]
    got = [{key: block.get(key) for key in want} for block, want in zip(body["messages"][1]["content"], wanted, strict=False)]
    expect("the turn that comes back", expected=wanted, got=got)


_STALE = HttpError(
    400,
    body=b'{"error": {"message": "The encrypted content could not be verified.", "type": "invalid_request_error", '
    b'"param": null, "code": "invalid_encrypted_content"}}',
)


async def _stale(seat: Seat) -> None:
    """The provider no longer takes what it sealed: without it the request can be answered all the same."""
    name = "stale-responses"

    def answer(request: Request, _: int) -> Scenario:
        return scenario("stale", _STALE) if seal(name).encode() in request.body else _PLAIN

    first = await seat.ask(_ask(_OPENING), _thinks(name, "call_1"))
    second = await seat.ask(_ask((*_OPENING, *_after(first, seat))), answer)
    expect("the text", expected="It is sunny.", got=second.answered().text)


def _case(name: str, title: str, judge: Judge, why: str, *sources: str, **more: Any) -> Case:
    return Case(id=name, group="continuity", title=title, why=why, sources=sources, judge=judge, **more)


_BREAKS = "The provider refuses the next request, or thinks it all over again."
_ONLY_MESSAGES = frozenset({"messages"})
CASES: tuple[Case, ...] = (
    _case(
        "state-comes-back",
        "Sealed reasoning beside a call comes back to the provider that sealed it",
        _comes_back(),
        _BREAKS,
        "LL#15601",
        "adk#3289",
        "LL#16893",
        "LL#16895",
        "CPA#2098",
        "PK#1442",
        "LL#28668",
        "BF#5410",
        upstreams=_SEALS,
    ),
    _case(
        "unshown-state-comes-back",
        "Reasoning that is sealed and not shown comes back too",
        _comes_back(shown=False),
        _BREAKS,
        "LL#38809",
        "strands#2704",
        upstreams=_SEALS,
    ),
    _case(
        "redacted-state-comes-back",
        "Redacted thinking comes back beside the thinking that is shown",
        _comes_back(redacted=True),
        _BREAKS,
        "LL#15601",
        upstreams=_ONLY_MESSAGES,
    ),
    _case(
        "state-stays-home",
        "No other provider is told what one has sealed",
        _stays_home,
        "A foreign signature is a 400; and it is nobody else's business.",
        "CPA#517",
        upstreams=_SEALS,
    ),
    _case(
        "there-and-back",
        "A conversation that goes from A to B and back gives A its own again, and nothing of B's",
        _there_and_back,
        _BREAKS,
        "CPA#517",
        "LL#16893",
        "LL#28668",
        upstreams=_SEALS,
    ),
    _case("ids-come-back", "The provider gets the ids of its own calls back", _without_state, "", "BF#5097", "langchain#37756"),
    _case(
        "replay-stable",
        "A turn that is replayed to Anthropic is the turn that came",
        _byte_stable,
        "Thinking that was touched is refused, and the prompt cache missed.",
        "BF#6342",
        clients=_ONLY_MESSAGES,
        upstreams=_ONLY_MESSAGES,
    ),
    _case(
        "stale-state-dropped",
        "Encrypted reasoning that its provider no longer takes is left out, and the request tried once more",
        _stale,
        "A conversation must not die of a key that was rotated.",
        "experiential#965",
        "sub2api#3138",
        upstreams=frozenset({"responses"}),
        elsewhere=True,
    ),
)
