"""A Responses stream to events.

The grammar says everything three times: in deltas, in the `done` of a part, and in the `done` of its item; the last event
holds the whole answer once more. Servers that imitate the API leave out any of these: arguments come only in
`arguments.done`, a text only with its item, or only in `response.completed`; `added` events are missing. So each part
remembers what has been said, and whatever tells the whole of it adds what is missing, once.

Which item an event is about is told twice, by `item_id` and by `output_index`, and both are unreliable: some servers give every
item the index 0, others a new id in each event. The id is believed where it is known, else the index, unless the item
that had it is done.

Items may be open at the same time. Of a reasoning item the first kind of text that comes is its text: the summary, or the
thinking itself.
"""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.responses.citations import decode_citation
from dragoman.dialects.responses.errors import fault_of
from dragoman.dialects.responses.output import (
    CALLS,
    CallIds,
    as_arguments,
    blocks,
    call_arguments,
    call_of,
    content_part,
    reasoning_text,
    seal_of,
    text_of,
)
from dragoman.dialects.responses.response import is_error, reason_of
from dragoman.dialects.responses.usage import decode_usage
from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, FinishReason, Open, Ping, Sealed, Start, settled
from dragoman.ir.request import Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.wire.json import Halves, clean, loads
from dragoman.wire.partial import whole
from dragoman.wire.sse import Frame

Block = dict[str, Any]

_TERMINAL = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_TEXTS = {"response.output_text": "text", "response.refusal": "refusal"}
_THOUGHTS = {"response.reasoning_summary_text": "summary", "response.reasoning_text": "content"}
_ARGUMENTS = {"response.function_call_arguments": "arguments", "response.custom_tool_call_input": "input"}
_KIND_OF_EVENT = {"text": "message", "refusal": "message", "summary": "reasoning", "content": "reasoning"}
_SPOKEN = frozenset({"message", "reasoning", *CALLS})
"""Items that have parts of their own; all others are given on whole."""


class _Piece:
    """One part of the hub's on its way: our index once it has opened, and what has been said of it."""

    __slots__ = ("_halves", "cited", "closed", "index", "said")

    def __init__(self) -> None:
        self.index = -1
        self.closed = False
        self.cited = 0
        self.said: list[str] = []
        self._halves: Halves | None = None

    def join(self, text: str) -> str:
        if self._halves is None:
            if text.isascii():
                return text
            self._halves = Halves()
        return self._halves.join(text)

    def rest(self) -> str:
        return self._halves.rest() if self._halves is not None else ""

    def missing(self, full: str) -> str:
        """What a whole text has beyond what was said; nothing where the two disagree."""
        said = "".join(self.said)
        if len(full) > len(said) and full.startswith(said):
            self._halves = None  # half a character at the end of what was said is whole in the full text
            return full[len(said) :]
        return ""


class _Item:
    """One item of the output."""

    __slots__ = ("call", "done", "id", "index", "kind", "mode", "native", "pieces", "section", "section_at")

    def __init__(self, kind: str, item_id: str, index: Any) -> None:
        self.kind = kind
        self.id = item_id
        self.index = index
        self.done = False
        self.native: Block = {}
        self.pieces: dict[int, _Piece] = {}
        """By `content_index`; a reasoning and a call have one, at 0."""
        self.call: ToolCall | None = None
        self.mode = ""
        """Of a reasoning: which of its two texts is told."""
        self.section = -1
        """Of a reasoning: the part of its text that is being told, and where in what was said it begins."""
        self.section_at = 0

    def piece(self, index: int) -> _Piece:
        found = self.pieces.get(index)
        if found is None:
            found = self.pieces[index] = _Piece()
        return found

    @property
    def said(self) -> str:
        return "".join(text for piece in self.pieces.values() for text in piece.said)


class StreamDecoder:
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._next = 0
        self._items: list[_Item] = []
        self._by_id: dict[str, _Item] = {}
        self._by_index: dict[int, _Item] = {}
        self._ids: CallIds | None = None
        self._events: list[Event] = []
        self._started = False
        self._refused = False
        self._calls = False
        self._broken = False
        self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        if self._over or frame.data.strip() in (b"", b"[DONE]"):
            return []
        try:
            data = loads(frame.data)
        except ValueError:
            return self._fault(
                UpstreamGarbled(f"an event of the stream is not JSON: {frame.data[:80]!r}", provider=self._issuer)
            )
        if not isinstance(data, dict):
            return []
        native = cast("Block", data)
        if b"\\u" in frame.data:
            # Half a character at the edge of a delta has its other half in the next one; anywhere else it is alone.
            native = {key: value if key == "delta" else clean(value) for key, value in native.items()}
        try:
            self._event(text_of(native.get("type")) or frame.event, native)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            what = f"an event of the stream has a wrong shape ({error!r}): {frame.data[:80]!r}"
            return self._fault(UpstreamGarbled(what, provider=self._issuer))
        except DragomanError as error:
            return self._fault(error)
        events, self._events = self._events, []
        return events

    def end(self) -> list[Event]:
        return [] if self._over else self._fault(UpstreamGarbled("the stream broke off before its end", provider=self._issuer))

    def _fault(self, error: DragomanError) -> list[Event]:
        """Nothing that the same event has brought so far is lost."""
        self._over = True
        events, self._events = [*self._events, Fault(error)], []
        return events

    # ------------------------------------------------------------ events

    def _event(self, kind: str, data: Block) -> None:
        name, _, last = kind.rpartition(".")
        if name in _TEXTS and last in {"delta", "done"}:
            self._text_event(_TEXTS[name], last, data)
        elif name in _ARGUMENTS and last in {"delta", "done"}:
            self._call_event(_ARGUMENTS[name], last, data)
        elif name in _THOUGHTS and last in {"delta", "done"}:
            self._thought_event(_THOUGHTS[name], last, data)
        elif kind in _TERMINAL:
            self._terminal(kind, data)
        elif kind == "error" or (not kind and data.get("error")):
            raise fault_of(data, self._issuer)
        else:
            self._other(kind, data)

    def _other(self, kind: str, data: Block) -> None:
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                response = data.get("response")
                self._start(cast("Block", response) if isinstance(response, dict) else {})
            case "response.output_item.added":
                if isinstance(data.get("item"), dict):
                    self._added(data["item"], data.get("output_index"))
            case "response.output_item.done":
                if isinstance(data.get("item"), dict):
                    self._item_done(data["item"], data.get("output_index"))
            case "response.content_part.done":
                part = data.get("part")
                if isinstance(part, dict):
                    item = self._find(data, "reasoning" if part.get("type") == "reasoning_text" else "message")
                    if item.kind == "message":
                        self._whole_part(item, _number(data.get("content_index")), part)
            case "response.output_text.annotation.added":
                if isinstance(data.get("annotation"), dict):
                    self._cite(data, data["annotation"])
            case "response.reasoning_summary_part.done":
                part = data.get("part")
                if isinstance(part, dict):
                    self._thought_event("summary", "done", {**data, "text": part.get("text")})
            case "keepalive" | "ping":
                self._events.append(Ping())
            case _:
                # What a tool of the provider is doing, what is left of a quota, and what this API may yet say.
                pass

    def _start(self, response: Block) -> None:
        if not self._started:
            self._started = True
            answer_id = text_of(response.get("id"))
            self._ids = CallIds(answer_id)
            self._events.append(Start(answer_id, text_of(response.get("model"))))

    # ------------------------------------------------------------ which item

    def _find(self, data: Block, kind: str) -> _Item:
        """The item that an event is about; a new one where none fits."""
        item_id, index = text_of(data.get("item_id")), data.get("output_index")
        found = self._by_id.get(item_id) if item_id else None
        if found is None and isinstance(index, int):
            found = self._by_index.get(index)
            if found is not None and ((found.done and item_id) or found.kind != kind):
                found = None
        if found is None and not item_id and not isinstance(index, int):
            found = next((item for item in reversed(self._items) if item.kind == kind and not item.done), None)
        if found is not None and found.kind == kind:
            return found
        return self._new(kind, item_id, index)

    def _new(self, kind: str, item_id: str, index: Any) -> _Item:
        self._start({})
        item = _Item(kind, item_id, index)
        self._items.append(item)
        if item_id:
            self._by_id[item_id] = item
        if isinstance(index, int):
            self._by_index[index] = item
        return item

    def _added(self, native: Block, index: Any) -> None:
        kind, item_id = text_of(native.get("type")), text_of(native.get("id"))
        known = self._by_id.get(item_id) if item_id else None
        if not kind or (known is not None and known.kind == kind):
            return
        item = self._new(kind, item_id, index)
        item.native = native
        if kind in CALLS and text_of(native.get("name")):
            self._open_call(item, native)

    def _known(self, native: Block, index: Any) -> _Item | None:
        """The item that a whole one repeats."""
        kind, item_id = text_of(native.get("type")), text_of(native.get("id"))
        found = self._by_id.get(item_id) if item_id else None
        if found is not None and found.kind == kind:
            return found
        call_id = text_of(native.get("call_id"))
        if call_id:
            for item in self._items:
                same_place = item.index == index or not isinstance(item.index, int) or not isinstance(index, int)
                if item.kind == kind and same_place and text_of(item.native.get("call_id")) == call_id:
                    return item
        found = self._by_index.get(index) if isinstance(index, int) else None
        if found is not None and found.kind == kind and not found.done:
            return found
        return None

    # ------------------------------------------------------------ parts

    def _open(self, piece: _Piece, part: Part) -> None:
        self._start({})
        piece.index = self._next
        self._next += 1
        self._events.append(Open(piece.index, part))

    def _say(self, piece: _Piece, text: str, logprobs: list[object] | None = None) -> None:
        if text or logprobs:
            piece.said.append(text)
            self._events.append(Delta(piece.index, text, logprobs or None))

    def _close(self, piece: _Piece, complete: bool = True) -> None:
        if piece.index < 0 or piece.closed:
            return
        self._say(piece, piece.rest())
        piece.closed = True
        self._events.append(Close(piece.index, complete))

    # ------------------------------------------------------------ messages

    def _text_event(self, kind: str, last: str, data: Block) -> None:
        item = self._find(data, "message")
        piece = item.piece(_number(data.get("content_index")))
        if piece.closed:
            return
        if last == "delta":
            text = piece.join(text_of(data.get("delta")))
            probs = data.get("logprobs") if kind == "text" else None
            self._more(piece, kind, text, probs if isinstance(probs, list) and probs else None)
        else:
            self._more(piece, kind, piece.missing(text_of(data.get("refusal" if kind == "refusal" else "text"))))

    def _more(self, piece: _Piece, kind: str, text: str, logprobs: list[object] | None = None) -> None:
        if not text and (not logprobs or piece.index < 0):
            return
        if piece.index < 0:
            self._refused = self._refused or kind == "refusal"
            self._open(piece, Refusal(text="") if kind == "refusal" else Text(text=""))
        self._say(piece, text, logprobs)

    def _cite(self, data: Block, annotation: Block) -> None:
        piece = self._find(data, "message").piece(_number(data.get("content_index")))
        if not piece.closed:
            self._cited(piece, annotation)

    def _cited(self, piece: _Piece, annotation: Block) -> None:
        if piece.index < 0:
            self._open(piece, Text(text=""))
        piece.cited += 1
        self._events.append(Cited(piece.index, decode_citation(annotation)))

    def _whole_part(self, item: _Item, number: int, native: Block) -> None:
        """All of a message's part: what of it has not been said, and its end."""
        piece = item.piece(number)
        if piece.closed:
            return
        match content_part(native):
            case Text(text=text, citations=citations):
                self._more(piece, "text", piece.missing(text))
                for citation in citations[piece.cited :]:
                    self._cited(piece, citation.native)
            case Refusal(text=text):
                self._more(piece, "refusal", piece.missing(text))
            case Unknown() as part if piece.index < 0:
                self._open(piece, part)
            case _:
                pass
        self._close(piece)

    # ------------------------------------------------------------ reasoning

    def _thought_event(self, kind: str, last: str, data: Block) -> None:
        item = self._find(data, "reasoning")
        piece = item.piece(0)
        if piece.closed or (item.mode and item.mode != kind):
            return
        section = _number(data.get("summary_index" if kind == "summary" else "content_index"))
        text = text_of(data.get("delta" if last == "delta" else "text"))
        if last == "delta" and text:
            self._section(item, piece, kind, section)
            self._say(piece, piece.join(text))
        elif text and section >= item.section:
            # The end of a part: its deltas may have broken off, or never come.
            self._section(item, piece, kind, section)
            said = "".join(piece.said)[item.section_at :]
            if text.startswith(said):
                self._say(piece, text[len(said) :])

    def _section(self, item: _Item, piece: _Piece, kind: str, section: int) -> None:
        self._thought(item, kind)
        if section != item.section:
            if piece.said:
                self._say(piece, piece.rest() + "\n\n")
            item.section = section
            item.section_at = sum(map(len, piece.said))

    def _thought(self, item: _Item, kind: str) -> None:
        if not item.mode:
            item.mode = kind
            self._open(item.piece(0), Reasoning(summary=kind == "summary"))

    def _whole_reasoning(self, item: _Item, native: Block) -> None:
        piece = item.piece(0)
        text, summary = reasoning_text(native)
        seal = seal_of(native, self._issuer)
        if piece.index < 0:
            if not text and seal is None:
                return
            item.mode = "summary" if summary else "content"
            self._open(piece, Reasoning(summary=summary))
        if summary == (item.mode == "summary"):
            self._say(piece, piece.missing(text))
        if seal is not None:
            self._events.append(Sealed(piece.index, seal))
        self._close(piece)

    # ------------------------------------------------------------ calls

    def _call_event(self, key: str, last: str, data: Block) -> None:
        item = self._find(data, "custom_tool_call" if key == "input" else "function_call")
        piece = item.piece(0)
        if piece.closed:
            return
        if item.call is None and text_of(data.get("name")):
            self._open_call(item, {"id": item.id, **item.native, "name": data["name"]})
        text = piece.join(text_of(data.get("delta"))) if last == "delta" else piece.missing(as_arguments(data.get(key)))
        if item.call is None:
            # Its name comes with the whole item.
            piece.said.append(text)
        elif text:
            self._say(piece, text)

    def _open_call(self, item: _Item, native: Block) -> None:
        self._start({})
        assert self._ids is not None
        native = {"type": item.kind, **native}
        item.native = native
        item.call = call_of(native, self._ids)
        self._calls = True
        piece = item.piece(0)
        held = "".join(piece.said)
        piece.said = []
        self._open(piece, item.call)
        self._say(piece, held)

    def _whole_call(self, item: _Item, native: Block) -> None:
        if item.call is None:
            if not text_of(native.get("name")):
                raise UpstreamGarbled("a tool call of the answer has no name", provider=self._issuer)
            self._open_call(item, native)
        piece = item.piece(0)
        if not piece.closed:
            self._say(piece, piece.missing(call_arguments(native)))
            self._close_call(item, broken=native.get("status") == "incomplete")

    def _close_call(self, item: _Item, *, broken: bool) -> None:
        """`broken`: nothing more will come although the call was not said to be done."""
        piece = item.piece(0)
        if piece.closed or item.call is None:
            return
        self._say(piece, piece.missing(call_arguments(item.native)))
        self._say(piece, piece.rest())
        arguments = "".join(piece.said)
        complete = True
        if item.kind == "function_call":
            blank = not arguments.strip()
            complete = whole(arguments) and not (blank and broken)
            if blank and complete:
                self._say(piece, "{}")
        elif broken:
            complete = False
        self._broken = self._broken or not complete
        self._close(piece, complete)

    # ------------------------------------------------------------ whole items

    def _item_done(self, native: Block, index: Any) -> None:
        kind = text_of(native.get("type"))
        if kind:
            self._whole_item(self._known(native, index) or self._new(kind, text_of(native.get("id")), index), native)

    def _whole_item(self, item: _Item, native: Block) -> None:
        """All of an item: what of it has not been said, and its end."""
        if item.done:
            return
        item.done = True
        match item.kind:
            case "message":
                for number, part in enumerate(blocks(native.get("content"))):
                    self._whole_part(item, number, part)
                for piece in item.pieces.values():
                    self._close(piece)
            case "reasoning":
                self._whole_reasoning(item, native)
            case "function_call" | "custom_tool_call":
                self._whole_call(item, native)
            case _:
                piece = item.piece(0)
                self._open(piece, Unknown(native=native, dialect="responses"))
                self._close(piece)

    # ------------------------------------------------------------ the end

    def _terminal(self, kind: str, data: Block) -> None:
        held = data.get("response")
        response = cast("Block", held) if isinstance(held, dict) else {}
        status = text_of(response.get("status")) or _TERMINAL[kind]
        if kind == "response.failed" or is_error(response) or status == "failed":
            raise fault_of(data, self._issuer)
        if status == "cancelled":
            raise UpstreamGarbled("the provider broke the answer off: it was cancelled", provider=self._issuer)
        if kind == "response.incomplete":
            response = {**response, "status": "incomplete"}
        self._start(response)
        self._over = True
        for position, native in enumerate(blocks(response.get("output"))):
            item = self._known(native, position) or self._same(native)
            if item is None and (kind := text_of(native.get("type"))) and not self._is_told(native, position):
                item = self._new(kind, text_of(native.get("id")), None)
            if item is not None:
                self._whole_item(item, native)
        self._close_all(cut=response.get("status") == "incomplete")
        reason: FinishReason = reason_of(response, refused=self._refused)
        reason = settled(reason, calls=self._calls, broken=self._broken)
        usage = decode_usage(response.get("usage"), response.get("tool_usage"))
        self._events.append(Finish(reason, usage))

    def _same(self, native: Block) -> _Item | None:
        """The item of another id that says the same."""
        kind = text_of(native.get("type"))
        told = _told(native)
        return next((item for item in self._items if item.kind == kind and kind in _SPOKEN and item.said == told), None)

    def _is_told(self, native: Block, position: int) -> bool:
        """Whether the item in this place was done under another id."""
        found = self._by_index.get(position)
        return found is not None and found.done and found.kind == text_of(native.get("type"))

    def _close_all(self, *, cut: bool) -> None:
        for item in self._items:
            if item.kind in CALLS:
                if item.call is None and item.said.strip():
                    raise UpstreamGarbled("a tool call of the answer has no name", provider=self._issuer)
                self._close_call(item, broken=cut)
            elif item.kind == "reasoning" and not item.done:
                # What was sealed at its beginning is not all of it.
                self._whole_reasoning(item, {**item.native, "encrypted_content": None})
            for piece in item.pieces.values():
                self._close(piece)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _told(native: Block) -> str:
    """What a whole item says, to be compared with what was said of one."""
    match native.get("type"):
        case "message":
            return "".join(text_of(part.get("text")) or text_of(part.get("refusal")) for part in blocks(native.get("content")))
        case "reasoning":
            return reasoning_text(native)[0]
        case _:
            return call_arguments(native)
