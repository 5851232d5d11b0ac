"""A Converse stream to events. The grammar:

    messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata

Only calls, results and images have a `contentBlockStart`; text and reasoning begin with their first delta. An exception
may stand instead of the rest. The server's indices are only names of its blocks; ours are given in the order in which
blocks open. Types: `ConverseStreamOutput`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Any

import msgspec

from dragoman.dialects.converse.decode_content import decode_citation, decode_reasoning
from dragoman.dialects.converse.errors import decode_error
from dragoman.dialects.converse.response import finish_of
from dragoman.dialects.converse.usage import decode_usage
from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Open, Sealed, Start
from dragoman.ir.request import Image, Part, Reasoning, Seal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.wire.eventstream import FAULT
from dragoman.wire.json import Halves, clean, loads
from dragoman.wire.partial import arguments_object, whole
from dragoman.wire.sse import Frame

Block = dict[str, Any]


class _Open:
    """One open block. `index` is ours, -1 while nothing of it has been given on (`native` and `image` are given on whole,
    when they close)."""

    __slots__ = ("arguments", "halves", "image", "index", "kind", "native", "part", "redacted", "signature")

    def __init__(self, kind: str, index: int, part: Part) -> None:
        self.kind = kind
        self.index = index
        self.part = part
        self.halves = Halves()
        self.arguments: list[str] = []
        self.signature = ""
        self.redacted: list[str] = []
        self.native: Block = {}
        self.image: list[str] = []


class StreamDecoder:
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._open: dict[int, _Open] = {}
        self._next = 0
        self._parts: list[Part] = []
        self._broken = False
        self._stop: Block | None = None
        self._usage: Usage | None = None
        self._started = False
        self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        if self._over:
            return []
        if frame.event.startswith(FAULT):
            return self._fault(self._error(frame))
        try:
            data = loads(frame.data)
        except ValueError:
            return self._fault(UpstreamGarbled(f"an event of the stream is not JSON: {frame.data[:80]!r}"))
        try:
            return self._event(frame.event, data)
        except DragomanError as error:
            # A citation or a reasoning of a wrong shape is the provider's fault here, not the caller's.
            return self._fault(error if isinstance(error, UpstreamGarbled) else UpstreamGarbled(error.message))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return self._fault(UpstreamGarbled(f"an event of the stream has a wrong shape ({error!r}): {frame.data[:80]!r}"))

    def _error(self, frame: Frame) -> DragomanError:
        refused = decode_error(0, {}, frame.data, self._issuer)
        return refused if frame.event != FAULT else UpstreamGarbled(refused.message, provider=self._issuer)

    def _event(self, kind: str, data: Any) -> list[Event]:
        match kind:
            case "contentBlockDelta":
                return self._delta(int(data["contentBlockIndex"]), data["delta"])
            case "contentBlockStart":
                return self._start(int(data["contentBlockIndex"]), clean(data["start"]))
            case "contentBlockStop":
                block = self._open.pop(int(data["contentBlockIndex"]), None)
                return [] if block is None else self._close(block)
            case "messageStart":
                return self._begin()
            case "messageStop":
                self._stop = dict(clean(data))
                return []
            case "metadata":
                self._usage = decode_usage(data.get("usage")) or self._usage
                return self._finish() if self._stop is not None else []
            case _:
                # An event that this version of the API does not know yet, or a ping.
                return []

    def end(self) -> list[Event]:
        if self._over:
            return []
        if self._stop is not None:
            return self._finish()
        return self._fault(UpstreamGarbled("the stream broke off before its end", provider=self._issuer))

    def _fault(self, error: DragomanError) -> list[Event]:
        self._over = True
        return [Fault(error)]

    def _begin(self) -> list[Event]:
        if self._started:
            return []
        self._started = True
        return [Start("", "")]

    # ------------------------------------------------------------ blocks

    def _start(self, name: int, start: Block) -> list[Event]:
        stale = self._open.pop(name, None)
        events = [] if stale is None else self._close(stale)
        kind = next(iter(start), "")
        held = start.get(kind)
        if kind == "toolUse" and isinstance(held, dict) and held.get("type") is None:
            call = ToolCall(id=str(held.get("toolUseId") or ""), name=str(held.get("name") or ""))
            return events + self._opened(name, kind, call)
        if kind:
            # A call that the provider itself runs, its result, an image: given on whole, when it closes.
            block = _Open(kind, -1, Unknown(native={}, dialect="converse"))
            block.native = dict(held) if isinstance(held, dict) else {}
            self._open[name] = block
        return events + self._begin()

    def _opened(self, name: int, kind: str, part: Part) -> list[Event]:
        events = self._begin()
        self._open[name] = _Open(kind, self._next, part)
        events.append(Open(self._next, part))
        self._next += 1
        self._parts.append(part)
        return events

    def _delta(self, name: int, delta: Block) -> list[Event]:
        kind = next(iter(delta), "")
        # A citation belongs to the text that it stands in.
        of = "text" if kind == "citation" else kind
        block = self._open.get(name)
        events: list[Event] = []
        if block is None or block.kind != of:
            if block is not None:
                del self._open[name]
                events = self._close(block)
            if of == "text":
                events += self._opened(name, of, Text(text=""))
            elif of == "reasoningContent":
                events += self._reasoning_opened(name, delta[kind])
            elif of == "toolUse":
                raise UpstreamGarbled("a call's input came without its beginning", provider=self._issuer)
            else:
                # Nothing that could be told without its beginning.
                return events
            block = self._open[name]
        return events + self._more(block, kind, delta[kind])

    def _reasoning_opened(self, name: int, held: Block) -> list[Event]:
        if "redactedContent" not in held:
            return self._opened(name, "reasoningContent", Reasoning())
        self._open[name] = _Open("reasoningContent", -1, Reasoning(redacted=True))
        return self._begin()

    def _more(self, block: _Open, kind: str, held: Any) -> list[Event]:
        match kind:
            case "text":
                return [Delta(block.index, block.halves.join(held))]
            case "citation":
                return [Cited(block.index, decode_citation(clean(held), None))]
            case "toolUse":
                piece = block.halves.join(held["input"])
                block.arguments.append(piece)
                return [Delta(block.index, piece)] if block.index >= 0 else []
            case "reasoningContent":
                return self._reasoning(block, held)
            case "toolResult":
                block.native.setdefault("content", []).extend(clean(held))
                return []
            case "image":
                if isinstance(held.get("source"), dict):
                    block.image.append(clean(str(held["source"].get("bytes") or "")))
                return []
            case _:
                return []

    def _reasoning(self, block: _Open, held: Block) -> list[Event]:
        if "redactedContent" in held:
            block.redacted.append(clean(str(held["redactedContent"])))
        if "signature" in held:
            block.signature += clean(str(held["signature"]))
        if "text" in held and block.index >= 0:
            return [Delta(block.index, block.halves.join(held["text"]))]
        return []

    def _close(self, block: _Open) -> list[Event]:
        if block.index < 0:
            part = self._whole_part(block)
            self._parts.append(part)
            self._next += 1
            return [Open(self._next - 1, part), Close(self._next - 1)]
        rest = block.halves.rest()
        events: list[Event] = [Delta(block.index, rest)] if rest else []
        if block.kind == "reasoningContent":
            if block.signature:
                events.append(Sealed(block.index, Seal(block.signature, self._issuer, "converse")))
        elif block.kind == "toolUse":
            arguments = "".join(block.arguments) + rest
            if not arguments.strip():
                arguments = "{}"
                events.append(Delta(block.index, arguments))
            complete = whole(arguments)
            self._broken = self._broken or not complete
            return [*events, Close(block.index, complete)]
        return [*events, Close(block.index)]

    def _whole_part(self, block: _Open) -> Part:
        """What was kept until it closed."""
        if block.kind == "reasoningContent":
            redacted = block.redacted[0] if len(block.redacted) == 1 else _joined(block.redacted)
            reasoning = decode_reasoning({"redactedContent": redacted}, None, self._issuer)
            return reasoning if reasoning is not None else Reasoning(redacted=True)
        if block.kind == "image":
            return Image(media_type=f"image/{block.native.get('format')}", data=_joined(block.image))
        native = block.native
        if block.kind == "toolUse":
            native["input"] = arguments_object("".join(block.arguments)) or {}
        return Unknown(native={block.kind: native}, dialect="converse")

    def _finish(self) -> list[Event]:
        assert self._stop is not None
        events = self._begin()
        for block in self._open.values():
            events += self._close(block)
        self._open.clear()
        try:
            finish = finish_of(self._stop.get("stopReason"), self._stop, self._parts, self._issuer, broken=self._broken)
        except UpstreamGarbled as error:
            return events + self._fault(error)
        self._over = True
        return [*events, msgspec.structs.replace(finish, usage=self._usage)]


def _joined(pieces: list[str]) -> str:
    """Base64 of the bytes of several pieces, each base64 by itself."""
    try:
        return b64encode(b"".join(b64decode(piece) for piece in pieces)).decode()
    except (Base64Error, ValueError):
        return "".join(pieces)
