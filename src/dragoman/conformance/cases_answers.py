"""Cases of answers: the upstream says it, and every client must come to the conclusion of the scenario's oracle, whole and
streamed, and the same in both. Then the same answers cut at odd places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.conformance.case import Case, Differs, Group, Judge, Mode
from dragoman.conformance.compare import differences, unusable_ids
from dragoman.conformance.prompt import Prompt, Tool, User
from dragoman.conformance.seat import Seat
from dragoman.conformance.titles import title_of
from dragoman.testing import (
    SCENARIOS,
    Finish,
    Parallel,
    Scenario,
    Text,
    Thinking,
    Tokens,
    ToolCall,
    Usage,
    View,
    scenario,
)
from dragoman.testing.library_text import U, says, text, thinking
from dragoman.testing.library_tools import PARIS, ROME, call


class Told(msgspec.Struct, frozen=True):
    """What stands beside a scenario of the library in the battery."""

    title: str
    why: str = ""
    sources: tuple[str, ...] = ()
    clients: tuple[str, ...] | None = None


def _told(title: str, why: str = "", *sources: str, clients: tuple[str, ...] | None = None) -> Told:
    return Told(title, why, sources, clients)


_LOOP = "An agent runs its tools when the stop reason says so: told that the turn is over it stops in its middle."
_LOST = "A call whose arguments are lost runs a tool with nothing, or with half of what the model said."
NAMED: dict[str, Told] = {
    "tools-two-in-one-chunk": _told(
        "Two whole calls in one chunk are two calls",
        "Readers that take the first element of `tool_calls` lose every other call.",
        "LL#15315",
        "new-api#6394",
    ),
    "tools-interleaved": _told(
        "Arguments of two calls that take turns stay apart",
        "Appended to whichever block is open, the JSON of both is garbage.",
        "LL#15315",
        "sub2api#4294",
    ),
    "tools-ghost-index": _told(
        "An empty piece for a call that never began opens no call",
        "A delta for a block that is not open breaks strict clients.",
        "LL#15315",
        "sub2api#4294",
        "new-api#6394",
    ),
    "tools-finish-stop": _told(
        "A call that ends with `stop` is still a call to run", _LOOP, "weave-router#250", "9router#354", "BF#4900"
    ),
    "tools-no-finish": _told("A call without any finish reason is still a call to run", _LOOP, "BF#4900"),
    "tools-finish-without-call": _told(
        "`tool_calls` without a call is the end of the turn",
        "A client that waits for calls which never come loops or crashes.",
        "opencode2api#27",
    ),
    "tools-length": _told(
        "A call cut short by the token limit is not presented as one to run",
        "Half of a command is another command.",
        "CPA#5836",
    ),
    "responses-arguments-only-in-done": _told(
        "Arguments that come only with their end are not lost", _LOST, "LL#25321", "LL#29491"
    ),
    "responses-arguments-longer-in-done": _told(
        "The end of the arguments is said once when the deltas left it out", _LOST, "LL#25321", "LL#29491"
    ),
    "responses-arguments-only-in-item": _told(
        "Arguments that come only with the finished item are not lost", _LOST, "LL#25321"
    ),
    "responses-informational-events": _told(
        "Events that say nothing of the answer do not end it",
        "A notice about rate limits must not kill a stream.",
        "CPA#3798",
    ),
    "unknown-event": _told(
        "An event of a kind that nobody knows passes", "APIs grow: what is new must not break what is old.", "CPA#3798"
    ),
    "tools-after-text": _told(
        "A call that comes after text is not dropped",
        "A translator that decides by the first item what kind of answer it is loses the rest.",
        "LL#17246",
    ),
    "tools-between-texts": _told(
        "Reasoning, text, call, text: each part in its own block, in order",
        "Blocks that are opened twice or never break strict clients.",
        "LL#13373",
        "LL#32357",
        "new-api#2854",
    ),
    "style-no-done": _told(
        "A stream that ends without `[DONE]` after its finish is whole", "The protocol's own last event suffices.", "CPA#5028"
    ),
    "thinking-interleaved": _told(
        "Thinking between calls keeps its place",
        "Blocks told under the wrong index or type are dropped by clients.",
        "new-api#2854",
        "LL#32357",
    ),
    "thinking-signature-only": _told(
        "Thinking that is signed and not shown is kept",
        "Without its signature the next request is refused.",
        "LL#38809",
        "strands#2704",
    ),
    "thinking": _told(
        "Thinking and its signature arrive", "A signature told in the wrong event is lost to the SDK.", "BF#5638"
    ),
    "server-tool": _told(
        "A search by the provider, its result and its citation arrive",
        "Renumbered blocks drift from the deltas that follow.",
        "BF#4890",
    ),
    "usage-cached": _told(
        "Tokens from and to the cache are counted once",
        "Counted as fresh input too, they are paid for twice.",
        "LL#9812",
        "LL#11789",
        "LL#40016",
    ),
    "gemini-usage-cached": _told(
        "Cached tokens are counted once", "Counted as fresh input too, they are paid for twice.", "LL#9812"
    ),
    "usage-late": _told("Counts that come at the end are told", "", "CPA#1700", "LL#31069"),
    "unicode": _told(
        "Text of every script arrives exact",
        "Readers that split lines as text, not as bytes, also split at U+2028, U+2029 and U+0085, which stand within the JSON.",
        "CCR#1672",
    ),
    "tools-strange-id": _told(
        "An id that the client's API would refuse is made legal",
        "The next request, which repeats it, is refused.",
        "BF#5097",
        "vis#152",
    ),
    "tools-long-id": _told("An id of 94 characters reaches the client in a legal form", "Responses takes 64.", "BF#5097"),
    "tools-missing-id": _told("A call without an id gets one", "", "langchain#37756"),
    "tools-custom": _told("A free-text tool is called with free text", clients=("chat", "responses")),
    "choices-two": _told("Two choices arrive as two", clients=("chat",)),
    "logprobs": _told("Log probabilities arrive", clients=("chat",)),
    "gemini-candidates": _told("Two candidates arrive as two", clients=("gemini",)),
    "gemini-logprobs": _told("Log probabilities do not disturb the text", clients=("gemini",)),
    "responses-call-in-namespace": _told("A call of a tool in a namespace arrives", clients=("responses",)),
}

_LEFT_OUT = ("text-long", "tools-large-arguments", "endless", "endless-10k")
"""Long in an SDK, and nothing new."""
_WAITING = ("slow-", "stall-")
"""They wait at gates, and are what `silence` is about."""


def _group(name: str) -> Group:
    if "thinking" in name or "reasoning" in name or "thoughts" in name or "signed" in name:
        return "reasoning"
    if "tools" in name or "call" in name or "arguments" in name:
        return "tools"
    if name.startswith(("style-", "chat-", "responses-", "pings", "comments")):
        return "streams"
    return "answers"


def prompt_for(one: Scenario) -> Prompt:
    """A question to which this may be the answer: it offers the tools that are called."""
    expected = one.expected or View()
    custom = {block.name for block in expected.blocks if block.kind == "custom_tool_call"}
    tools = [Tool(name, schema=None if name in custom else _FREE) for name in dict.fromkeys(b.name for b in expected.calls)]
    native: dict[str, Any] = {}
    if one.name == "choices-two":
        native = {"n": 2}
    elif one.name == "logprobs":
        native = {"logprobs": True}
    elif one.name == "gemini-candidates":
        native = {"config": {"candidate_count": 2}}
    elif one.name == "gemini-logprobs":
        native = {"config": {"response_logprobs": True}}
    thinks = any(block.kind in ("thinking", "redacted_thinking") for block in expected.blocks)
    return Prompt(turns=(User("Say what you have to say."),), tools=tuple(tools), thinking=thinks, native=native)


_FREE = {"type": "object", "properties": {}, "additionalProperties": True}


def answers(one: Scenario, *, counts: bool = False) -> Judge:
    """The judge of a scenario: the client's conclusion is its oracle's. Usage is judged by the cases about it: a gateway
    that forgets it everywhere has one fault, not a hundred."""
    prompt = prompt_for(one)
    expected = one.expected
    assert expected is not None
    if not counts:
        expected = msgspec.structs.replace(expected, tokens=None)

    async def judge(seat: Seat) -> None:
        said = await seat.ask(prompt, one)
        got = said.answered()
        seat.view = got
        found = differences(expected, got, seat.dialect, seat.upstream, seat.mode)
        if one.name in _IDS:
            found += unusable_ids(got, seat.dialect)
        if found:
            raise Differs(*found)

    return judge


_IDS = frozenset(
    {"tools-strange-id", "tools-long-id", "tools-missing-id", "tools-duplicate-id", "gemini-call-without-id"}
    | {"responses-call-without-id", "responses-call-long-id"}
)
"""Cases of the ids themselves."""


def _library() -> Iterator[Case]:
    for name, one in SCENARIOS.items():
        expected = one.expected
        if expected is None or expected.error is not None or name in _LEFT_OUT or name.startswith(_WAITING):
            continue
        beside = NAMED.get(name, Told(title_of(one)))
        modes: tuple[Mode, ...] = ("unary", "stream", "both") if one.unary else ("stream",)
        yield Case(
            id=name,
            group=_group(name),
            title=beside.title,
            why=beside.why,
            sources=beside.sources,
            judge=answers(one, counts="usage" in name),
            modes=modes,
            clients=frozenset(beside.clients) if beside.clients else None,
            upstreams=frozenset(one.dialects),
            elsewhere=not one.regular,
        )


# ---------------------------------------------------------------- cut anywhere

# Characters of two, three and four bytes, but none that some take for the end of a line: that is what `unicode` is about.
_WORDS = "naïve Ångström 👩\u200d👩\u200d👧 👍🏽 🇺🇦 漢字かな 한국어 שלום مرحبا 𝒳𝔘 end"
_MIXED = (
    Text((_WORDS,)),
    ToolCall("note", ('{"text": "naïve 👩\u200d🚀 漢', '字 \\ud83d\\ude00"}'), id="call_1"),
    ToolCall("get_forecast", ROME, id="call_2"),
    U,
    Finish("tool_calls"),
)
_MIXED_SEEN = says(
    text(_WORDS),
    call("note", {"text": "naïve 👩\u200d🚀 漢字 😀"}),
    call("get_forecast", ROME, "call_2"),
    finish="tool_calls",
)
_SHORT = (Text(("naïve 👩\u200d🚀 漢字",)), ToolCall("note", ('{"text": "ʘ "}',), id="call_1"), U, Finish("tool_calls"))
_SHORT_SEEN = says(text("naïve 👩\u200d🚀 漢字"), call("note", {"text": "ʘ "}), finish="tool_calls")
_SPLITS: tuple[tuple[str, str, str], ...] = (
    ("bytes:1", "cut-every-byte", "An answer that comes one byte at a time is the same answer"),
    ("bytes:3", "cut-every-3-bytes", "An answer in pieces of three bytes, which cut most characters in two"),
    ("bytes:7", "cut-every-7-bytes", "An answer in pieces of seven bytes"),
    ("bytes:61", "cut-every-61-bytes", "An answer in pieces of 61 bytes, most of which cut the JSON"),
    ("whole", "cut-nowhere", "All events of an answer in one piece"),
)


def _cut() -> Iterator[Case]:
    for split, name, title in _SPLITS:
        steps, seen = (_SHORT, _SHORT_SEEN) if split == "bytes:1" else (_MIXED, _MIXED_SEEN)
        one = scenario(name, *steps, expected=seen, split=split)
        yield Case(
            id=name,
            group="streams",
            title=title,
            why="Networks cut where they like: a reader of chunks in place of events loses text, or shows U+FFFD.",
            sources=("CCR#1672", "plano#980", "CCR#198"),
            judge=answers(one),
            modes=("unary", "stream", "both"),
        )


# ---------------------------------------------------------------- whole turns

_ORDER = scenario(
    "turn-in-order",
    Thinking("I need the weather of both."),
    Text("Let me look."),
    Parallel((ToolCall("get_weather", PARIS, id="call_1"), ToolCall("get_forecast", ROME, id="call_2")), "interleaved"),
    U,
    Finish("tool_calls"),
    expected=says(
        thinking("I need the weather of both."),
        text("Let me look."),
        call("get_weather", PARIS),
        call("get_forecast", ROME, "call_2"),
        finish="tool_calls",
    ),
)
_CLOSES = scenario(
    "reasoning-then-text-closes",
    Thinking(("The user ", "greets me.")),
    Text(("Hello", "")),
    U,
    Finish(),
    expected=says(thinking("The user greets me."), text("Hello")),
)
_COUNTED = scenario(
    "usage-told",
    Text("Let me look."),
    ToolCall("get_weather", PARIS, id="call_1"),
    Usage(input=321, output=45),
    Finish("tool_calls"),
    expected=says(text("Let me look."), call("get_weather", PARIS), finish="tool_calls", tokens=Tokens(321, 45)),
)
_OWN: tuple[tuple[Scenario, Told, Group], ...] = (
    (
        _ORDER,
        _told("A whole turn: reasoning, text and two calls at once", "", "LL#13373", "LL#32357", "new-api#2854"),
        "tools",
    ),
    (_COUNTED, _told("What the provider counted is told, whole and streamed", "Who pays by tokens must know them."), "answers"),
    (
        _CLOSES,
        _told(
            "Reasoning, then text, then an empty last piece: every block is closed, and the stream ended",
            "A client waits for ever for the end of a block that nobody closes.",
            "new-api#4697",
        ),
        "reasoning",
    ),
)


def _owned() -> Iterator[Case]:
    for one, beside, group in _OWN:
        yield Case(
            id=one.name,
            group=group,
            title=beside.title,
            why=beside.why,
            sources=beside.sources,
            judge=answers(one, counts="usage" in one.name),
            modes=("unary", "stream", "both"),
        )


CASES: tuple[Case, ...] = (*_library(), *_cut(), *_owned())
