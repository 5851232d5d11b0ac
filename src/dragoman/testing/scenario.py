"""A scenario: one answer of an upstream, described once and rendered in any dialect.

    scenario(
        "weather",
        Text("Let me look."),
        ToolCall("get_weather", {"city": "Paris"}, id="call_1"),
        Usage(input=20, output=9),
        Finish("tool_calls"),
    )

Steps are plain data. Content steps (`Text`, `Thinking`, `ToolCall`, ...) become the dialect's events; their text may be given
as a tuple of pieces, one event each, and between pieces may stand anything that can happen to a stream:

    Text(("Hel", Stall("gate"), "lo"))        ToolCall("f", ('{"a":', Cut()))

Wire steps (`Stall`, `Cut`, `Reset`, `RawFrame`, `Native`, ...) say what happens on the socket. A step that a dialect has no
form for is left out of its rendering; `Scenario.dialects` says in which dialects the whole makes sense.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from dragoman.testing.view import FinishWord, TroubleWord, View

DIALECTS = ("chat", "messages", "gemini", "responses", "converse")
"""The dialects that the kit speaks today (`voices.VOICES`)."""


class Waitable(Protocol):
    """An `asyncio.Event`, or anything like it."""

    async def wait(self) -> object: ...


# ---------------------------------------------------------------- what happens on the wire


class Stall(msgspec.Struct, frozen=True):
    """Nothing comes. `on` is a number of seconds, the name of a gate (opened by `upstream.open_gate(name)`), or an event."""

    on: float | str | Waitable


class SlowHead(msgspec.Struct, frozen=True):
    """Not even the status line comes. First step only; `on` as in `Stall`."""

    on: float | str | Waitable


class Cut(msgspec.Struct, frozen=True):
    """The connection is closed (FIN) before the answer is complete. `before_head`: before any byte of it."""

    before_head: bool = False


class Reset(msgspec.Struct, frozen=True):
    """The connection is reset (RST) before the answer is complete. `before_head`: before any byte of it."""

    before_head: bool = False


class ErrorEvent(msgspec.Struct, frozen=True):
    """An error inside an answer that began with status 200. `unary` says how it looks where no stream was asked for:
    as an HTTP error, or as an error in the body of a 200. `payload` replaces what the dialect would write."""

    word: TroubleWord
    message: str = "Something went wrong."
    unary: Literal["status", "in_200"] = "status"
    payload: Mapping[str, Any] | None = None


class Comment(msgspec.Struct, frozen=True):
    """An SSE comment line."""

    text: str = "keep-alive"


class Ping(msgspec.Struct, frozen=True):
    """The dialect's sign of life: an event in Messages, a comment elsewhere."""


class RawFrame(msgspec.Struct, frozen=True):
    """Bytes that go out as they are, in every dialect. Streams only."""

    data: bytes


class Native(msgspec.Struct, frozen=True):
    """Something only one dialect can say, written in its words. For `chat` a `delta` of the current choice (or, with a
    key `choices`, a whole chunk); for `messages` a whole event, for `responses` one without its number, for `converse` one as
    `{name: payload}`. Streams only."""

    dialect: str
    payload: Mapping[str, Any]


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a kind that no client knows. Messages, Responses and Converse only."""

    name: str
    payload: Mapping[str, Any] = {}


class Endless(msgspec.Struct, frozen=True):
    """The same text again and again, `times` events, or until the client leaves. Streams only."""

    text: str
    times: int | None = None


Interruption: TypeAlias = Stall | Cut | Reset | ErrorEvent | Comment | Ping | RawFrame | Native | UnknownEvent
Pieces: TypeAlias = "str | tuple[str | Interruption, ...]"

# ---------------------------------------------------------------- what the answer holds


class Begin(msgspec.Struct, frozen=True):
    """The answer's opening event, now. Otherwise it comes with the first content."""


class Text(msgspec.Struct, frozen=True):
    """Text. Two of them in a row are one block unless `Break` stands between. `logprobs`: one entry for each piece."""

    text: Pieces
    logprobs: bool = False


class Break(msgspec.Struct, frozen=True):
    """The next text is a block of its own, where the dialect has blocks."""


class Thinking(msgspec.Struct, frozen=True):
    """A block of thinking. `signature` is None where the provider signs nothing. `field` is its name in Chat."""

    text: Pieces = ""
    signature: str | None = None
    field: Literal["reasoning_content", "reasoning", "reasoning_details"] = "reasoning_content"


class RedactedThinking(msgspec.Struct, frozen=True):
    data: str


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is a JSON value, or JSON text (or pieces of it). `id` None leaves the id out.

    The rest is how Chat providers differ: `whole` puts id, name and all arguments into one chunk; `index` replaces the running
    number or leaves it out; `repeats` writes id and name into every chunk; `blanks` writes them empty into later chunks;
    `kind` `custom` takes free text, `legacy` is the old `function_call`."""

    name: str
    arguments: Any = ""
    id: str | None = "call_1"
    whole: bool = False
    index: int | Literal["auto", "missing"] = "auto"
    repeats: bool = False
    blanks: bool = False
    kind: Literal["function", "custom", "legacy"] = "function"

    @property
    def pieces(self) -> tuple[str | Interruption, ...]:
        if isinstance(self.arguments, tuple):
            return self.arguments
        text = self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)
        if self.whole or not text:
            return (text,)
        return tuple(text[i : i + 7] for i in range(0, len(text), 7))


class Parallel(msgspec.Struct, frozen=True):
    """Calls made at once. In Chat: all in `one_chunk`, or their arguments `interleaved`. Elsewhere: one after the other."""

    calls: tuple[ToolCall, ...]
    how: Literal["one_chunk", "interleaved"]


class Refusal(msgspec.Struct, frozen=True):
    """The model declines, in these words. Pair it with `Finish("refusal")`."""

    text: Pieces


class ServerToolUse(msgspec.Struct, frozen=True):
    """A tool that the provider runs. Messages only."""

    name: str
    input: Mapping[str, Any]
    id: str


class ServerToolResult(msgspec.Struct, frozen=True):
    """Its result, as the provider's block holds it. Messages only."""

    type: str
    tool_use_id: str
    content: Any


class UnknownBlock(msgspec.Struct, frozen=True):
    """A block of a kind that no client knows, with its deltas. Messages only."""

    block: Mapping[str, Any]
    deltas: tuple[Mapping[str, Any], ...] = ()


class Citation(msgspec.Struct, frozen=True):
    """A source of the text before it. `native` replaces what Messages would write."""

    title: str = ""
    url: str = ""
    cited_text: str = ""
    native: Mapping[str, Any] | None = None


class Choice(msgspec.Struct, frozen=True):
    """What follows belongs to this choice of `n`. Chat only."""

    index: int


class Usage(msgspec.Struct, frozen=True):
    """The counts, in disjoint buckets; each dialect adds them up its own way. Its place among the steps does not matter.

    `where` is for Chat streams: `asked`, a chunk of its own, when the client asked for it; `always`, the same unasked;
    `with_finish`, in the chunk with the finish; `every_chunk`, growing. `at_start` false writes zeros into `message_start`."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    searches: int = 0
    where: Literal["asked", "always", "with_finish", "every_chunk"] = "asked"
    at_start: bool = True


class Finish(msgspec.Struct, frozen=True):
    """How the answer ends. `word` replaces the dialect's own word for `reason`."""

    reason: FinishWord = "stop"
    stop_sequence: str | None = None
    word: str | None = None


class HttpError(msgspec.Struct, frozen=True):
    """The whole answer is an HTTP error. Without `body` it is the dialect's own for this status and message."""

    status: int
    message: str = "Something went wrong."
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = "application/json"


Content: TypeAlias = (
    Text
    | Thinking
    | RedactedThinking
    | ToolCall
    | Parallel
    | Refusal
    | ServerToolUse
    | ServerToolResult
    | UnknownBlock
    | Citation
)
Step: TypeAlias = Content | Interruption | SlowHead | Endless | Begin | Break | Choice | Usage | Finish | HttpError


class Style(msgspec.Struct, frozen=True):
    """How the events are written. `ascii` escapes every other character (astral ones as surrogate pairs), `pad` puts
    spaces before a JSON object's last brace as Anthropic does, `lines` spreads it over several `data:` lines, `done` ends a
    Chat stream with `[DONE]`, `last_blank` ends the last event with its blank line."""

    newline: str = "\n"
    space: bool = True
    ascii: bool = False
    bom: bool = False
    pad: int = 0
    lines: bool = False
    done: bool = True
    last_blank: bool = True


class Scenario(msgspec.Struct, frozen=True):
    """`expected` is what a correct client concludes. `regular` is false for an answer that bends its dialect's rules, so
    that a client by the book may read it otherwise. `unary` is false where only the stream makes sense. `headers` are added
    to the answer's. `split` is how its bytes are cut, where not as the upstream cuts all others (`Wire.split`)."""

    name: str
    steps: tuple[Step, ...]
    expected: View | None = None
    about: str = ""
    dialects: tuple[str, ...] = DIALECTS
    regular: bool = True
    unary: bool = True
    style: Style = Style()
    headers: tuple[tuple[str, str], ...] = ()
    split: str = ""

    @property
    def usage(self) -> Usage | None:
        return next((s for s in self.steps if isinstance(s, Usage)), None)


def scenario(name: str, *steps: Step, **options: Any) -> Scenario:
    """`Scenario(name, steps, **options)`, without the parentheses round the steps."""
    return Scenario(name, steps, **options)


_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+$")


def pieces_of(text: Pieces) -> Sequence[str | Interruption]:
    """The pieces as given, or the words of a text."""
    if isinstance(text, tuple):
        return text
    return _WORD.findall(text)


def plain(pieces: Sequence[str | Interruption]) -> str:
    """The text of the pieces up to where the answer breaks off."""
    held: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            held.append(piece)
        elif isinstance(piece, Cut | Reset | ErrorEvent):
            break
    return "".join(held)


# ---------------------------------------------------------------- what a renderer makes of it


class Ask(msgspec.Struct, frozen=True):
    """What the upstream must know of a request to answer it."""

    model: str = "scripted"
    stream: bool = True
    include_usage: bool = True


class Repeat(msgspec.Struct, frozen=True):
    """`data` again and again: `times`, or until the client leaves."""

    data: bytes
    times: int | None = None


Part: TypeAlias = bytes | Stall | Cut | Reset | Repeat


class Rendered(msgspec.Struct, frozen=True):
    """An answer as it goes over the wire: its parts in order, one `bytes` for each event (or for a whole body), between them
    what else happens. `head` is what happens before the status line. `split` as in `Scenario`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    head: SlowHead | Cut | Reset | None = None
    split: str = ""

    @property
    def body(self) -> bytes:
        """The bytes that are sent, without what happens between. An answer without end counts once."""
        if isinstance(self.head, Cut | Reset):
            return b""
        return b"".join(
            p if isinstance(p, bytes) else p.data * (p.times or 1) if isinstance(p, Repeat) else b"" for p in self.parts
        )
