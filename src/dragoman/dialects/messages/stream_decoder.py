"""A Messages stream to events. The grammar, which servers that imitate the API bend in every way:

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

with `ping` anywhere and `error` instead of the rest. The server's indices are only a name for its blocks: the
hub's are our own, given in the order in which blocks open.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.messages.decode_request import decode_citation
from dragoman.dialects.messages.errors import decode_error
from dragoman.dialects.messages.response import REASON_OF_STOP, decode_usage, skeleton, text_of
from dragoman.errors import MalformedBody, UpstreamGarbled
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, FinishReason, Open, Ping, Sealed, Start, settled
from dragoman.ir.request import Part, Reasoning, Seal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage
from dragoman.wire.json import Halves, clean, loads
from dragoman.wire.partial import arguments_object, whole
from dragoman.wire.sse import Frame

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_TEXTS = ("text_delta", "thinking_delta", "input_json_delta")


def _odd(data: Any) -> Any:
    """An event that is not JSON by the book. Only in a text may half a character stand: the next event brings the other."""
    delta = data.get("delta") if isinstance(data, dict) else None
    return data if isinstance(delta, dict) and delta.get("type") in _TEXTS else clean(data)


class _Block:
    """One open block: our index, what it is, and for a call what its arguments amount to so far."""

    __slots__ = ("arguments", "early", "halves", "index", "native", "part")

    def __init__(self, index: int, part: Part, early: str, native: dict[str, Any] | None = None) -> None:
        self.index = index
        self.part = part
        self.arguments: list[str] = []
        self.halves = Halves()
        self.native = native
        """The block as it stands, for a kind that the hub has no word for: it is given on whole, when it closes."""
        self.early = early
        """Arguments that stood in the block's start. They count when no delta follows."""


class StreamDecoder:
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._open: dict[int, _Block] = {}
        self._next = 0
        self._calls = False
        self._broken = False
        self._usage: dict[str, Any] = {}
        self._reason: FinishReason | None = None
        self._stop_sequence: str | None = None
        self._explanation: str | None = None
        self._started = False
        self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        if self._over:
            return []
        try:
            data = _decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:
                data = _odd(loads(frame.data))
            except (ValueError, RecursionError):
                return self._fault(UpstreamGarbled(f"an event of the stream is not JSON: {frame.data[:80]!r}"))
        if not isinstance(data, dict):
            return self._fault(UpstreamGarbled(f"an event of the stream is not a JSON object: {frame.data[:80]!r}"))
        try:
            return self._event(str(data.get("type") or frame.event), data, frame)
        except (KeyError, TypeError, AttributeError, ValueError, MalformedBody) as error:
            return self._fault(UpstreamGarbled(f"an event of the stream has a wrong shape ({error!r}): {frame.data[:80]!r}"))

    def _event(self, kind: str, data: dict[str, Any], frame: Frame) -> list[Event]:
        match kind:
            case "content_block_delta":
                return self._delta(data)
            case "content_block_start":
                return self._block_start(data)
            case "content_block_stop":
                block = self._open.pop(data["index"], None)
                return [] if block is None else self._close(block)
            case "message_start":
                return self._message_start(data.get("message") or {})
            case "message_delta":
                self._message_delta(data)
                return []
            case "message_stop":
                return self._finish()
            case "ping":
                return [Ping()]
            case "error":
                self._over = True
                return [Fault(decode_error(0, {}, frame.data, self._issuer))]
            case "" if data.get("error"):
                # Of another API's form: whoever stands in between has failed.
                self._over = True
                return [Fault(decode_error(0, {}, frame.data, self._issuer))]
            case _:
                # An event that this version of the API does not know yet. It holds no content block of ours.
                return []

    def end(self) -> list[Event]:
        if self._over:
            return []
        if self._reason is not None:
            return self._finish()
        return self._fault(UpstreamGarbled("the stream broke off before its end", provider=self._issuer))

    def _fault(self, error: UpstreamGarbled) -> list[Event]:
        self._over = True
        return [Fault(error)]

    def _message_start(self, message: dict[str, Any]) -> list[Event]:
        if self._started:
            return []
        self._started = True
        usage = message.get("usage")
        if isinstance(usage, dict):
            self._usage.update(usage)
        return [Start(str(message.get("id") or ""), str(message.get("model") or ""), self._count())]

    def _block_start(self, data: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        stale = self._open.pop(data["index"], None)
        if stale is not None:
            events += self._close(stale)
        native = data["content_block"]
        part = skeleton(native, self._issuer)
        early = ""
        if isinstance(part, ToolCall):
            self._calls = True
            given = native.get("input")
            early = _encode(given).decode() if given else ""
        if isinstance(part, Unknown):
            self._open[data["index"]] = _Block(-1, part, "", dict(native))
            return events if self._started else events + self._message_start({})
        return events + self._opened(data["index"], part, early)

    def _opened(self, name: int, part: Part, early: str = "") -> list[Event]:
        events: list[Event] = []
        if not self._started:
            events += self._message_start({})
        self._open[name] = _Block(self._next, part, early)
        events.append(Open(self._next, part))
        self._next += 1
        return events

    def _delta(self, data: dict[str, Any]) -> list[Event]:
        delta = data["delta"]
        kind = delta["type"]
        events: list[Event] = []
        block = self._open.get(data["index"])
        if block is None:
            # A delta for a block that was never started: some servers leave the start of a text out.
            implied: Part | None = {"text_delta": Text(text=""), "thinking_delta": Reasoning()}.get(kind)
            if implied is None:
                return []
            events = self._opened(data["index"], implied)
            block = self._open[data["index"]]
        if block.native is not None:
            if kind == "input_json_delta":
                block.arguments.append(block.halves.join(delta["partial_json"] or ""))
        elif kind == "text_delta":
            events.append(Delta(block.index, block.halves.join(delta["text"] or "")))
        elif kind == "input_json_delta":
            piece = block.halves.join(delta["partial_json"] or "")
            block.arguments.append(piece)
            events.append(Delta(block.index, piece))
        elif kind == "thinking_delta" and not (isinstance(block.part, Reasoning) and block.part.redacted):
            events.append(Delta(block.index, block.halves.join(delta["thinking"] or "")))
        elif kind == "signature_delta" and isinstance(delta["signature"], str):
            events.append(Sealed(block.index, Seal(delta["signature"], self._issuer, "messages")))
        elif kind == "citations_delta":
            events.append(Cited(block.index, decode_citation(delta["citation"], None)))
        return events

    def _close(self, block: _Block) -> list[Event]:
        if block.native is not None:
            return self._close_unknown(block, block.native)
        rest = block.halves.rest()
        events: list[Event] = [Delta(block.index, rest)] if rest else []
        if not isinstance(block.part, ToolCall):
            return [*events, Close(block.index)]
        arguments = "".join(block.arguments) + rest
        if not arguments.strip():
            arguments = block.early or "{}"
            events.append(Delta(block.index, arguments))
        complete = whole(arguments)
        self._broken = self._broken or not complete
        return [*events, Close(block.index, complete)]

    def _close_unknown(self, block: _Block, native: dict[str, Any]) -> list[Event]:
        given = arguments_object("".join(block.arguments))
        if given:
            native["input"] = given
        self._next += 1
        return [Open(self._next - 1, Unknown(native=native, dialect="messages")), Close(self._next - 1)]

    def _message_delta(self, data: dict[str, Any]) -> None:
        usage = data.get("usage")
        if isinstance(usage, dict):
            # Cumulative, and what it leaves out keeps its earlier value.
            self._usage.update({key: value for key, value in usage.items() if value is not None})
        delta = data.get("delta") or {}
        if delta.get("stop_reason"):
            self._reason = REASON_OF_STOP.get(delta["stop_reason"], "stop")
            self._stop_sequence = text_of(delta.get("stop_sequence"))
            details = delta.get("stop_details")
            self._explanation = text_of(details.get("explanation")) if isinstance(details, dict) else None

    def _finish(self) -> list[Event]:
        self._over = True
        events: list[Event] = [] if self._started else self._message_start({})
        for block in self._open.values():
            events += self._close(block)
        reason = settled(self._reason or "stop", calls=self._calls, broken=self._broken)
        events.append(Finish(reason, self._count(), self._stop_sequence, self._explanation))
        return events

    def _count(self) -> Usage | None:
        return decode_usage(self._usage) if self._usage else None
