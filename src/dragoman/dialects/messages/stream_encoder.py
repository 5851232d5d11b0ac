"""Events to a Messages stream, always in its grammar: blocks one after the other, indices without gaps, one start,
one `message_delta` with the full usage, then `message_stop`, or one `error` and nothing after it.

The hub lets several parts be open at once (a provider may interleave two calls). Here the first is written
through as it comes, later ones are held until it closes.
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.messages.errors import stream_error
from dragoman.dialects.messages.response import (
    encode_citation,
    encode_part,
    encode_usage,
    estimated_usage,
    message_head,
    signature_of,
    stop_fields,
)
from dragoman.ir import carrier
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start
from dragoman.ir.request import Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage

PING = b'event: ping\ndata: {"type": "ping"}\n\n'

_encode = msgspec.json.Encoder().encode


def _event(kind: str, data: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **data}))


class _Live:
    """The block being written. `head` is its delta up to the text; `begun`: its start has gone out; `writes`: so has that of
    a text."""

    __slots__ = ("begun", "head", "key", "part", "sealed", "text", "writes")

    def __init__(self, key: int, part: Part) -> None:
        self.key = key
        self.part = part
        self.begun = False
        self.writes = False
        self.sealed = False
        self.head = b""
        self.text: list[str] = []


class StreamEncoder:
    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._live: _Live | None = None
        self._held: dict[int, list[Open | Delta | Sealed | Cited | Close]] = {}
        self._index = 0
        self._started = False
        self._over = False
        self._refused = False
        self._others: set[int] = set()
        self._last: Finish | None = None
        self._characters = 0

    def feed(self, event: Event) -> bytes:
        if self._over:
            return b""
        live = self._live
        if type(event) is Delta and live is not None and live.writes and event.index == live.key and event.text:
            # Most events by far: more of a text whose block has begun.
            self._characters += len(event.text)
            live.text.append(event.text)
            return live.head + _encode(event.text) + b"}}\n\n"
        match event:
            case Delta() | Sealed() | Cited():
                return self._write(event) if self._live is not None and event.index == self._live.key else self._hold(event)
            case Open():
                return self._open(event)
            case Close():
                if self._live is None or event.index != self._live.key:
                    return self._hold(event)
                return self._close() + self._promote()
            case Start():
                return self._start(event)
            case Finish():
                return self._finish(event)
            case Ping():
                return PING
            case Fault():
                self._over = True
                return stream_error(event.error, self._reply.request_id)

    def _start(self, event: Start) -> bytes:
        if self._started:
            return b""
        self._started = True
        # Clients show and bill from this number, so an estimate is better than nought; `message_delta` corrects it.
        usage = event.usage or Usage(input=self._reply.input_estimate, output=1, estimated=True)
        message = {
            **message_head(event.id, event.model, self._reply),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(usage),
        }
        return _event("message_start", {"message": message})

    def _open(self, event: Open) -> bytes:
        if event.choice:
            if not self._others:
                self._reply.ledger.add(None, "choices", "only the first of several answers fits", "lost")
            self._others.add(event.choice)
            return b""
        if self._live is not None:
            self._held[event.index] = [event]
            return b""
        self._live = _Live(event.index, event.part)
        return self._begin_with(event.part)

    def _hold(self, event: Delta | Sealed | Cited | Close) -> bytes:
        held = self._held.get(event.index)
        if held is not None:
            held.append(event)
        return b""

    def _promote(self) -> bytes:
        """The next part that waited, with all that was held for it, and the next one if that is closed already."""
        out = b""
        while self._live is None and self._held:
            key = next(iter(self._held))
            for event in self._held.pop(key):
                if isinstance(event, Open):
                    self._live = _Live(event.index, event.part)
                    out += self._begin_with(event.part)
                elif isinstance(event, Close):
                    out += self._close()
                else:
                    out += self._write(event)
        return out

    def _begin_with(self, part: Part) -> bytes:
        """What can be written when a part opens. A text or a thinking that is still empty waits: many never fill."""
        assert self._live is not None
        live = self._live
        match part:
            case Text() | Refusal():
                self._refused = self._refused or isinstance(part, Refusal)
                out = self._write(Delta(live.key, part.text)) if part.text else b""
                for citation in part.citations if isinstance(part, Text) else ():
                    out += self._write(Cited(live.key, citation))
                return out
            case Reasoning():
                if part.redacted:
                    return self._block_start({"type": "redacted_thinking", "data": signature_of(part, self._reply)})
                out = self._write(Delta(live.key, part.text)) if part.text else b""
                return out + (self._write(Sealed(live.key, part.seal)) if part.seal is not None else b"")
            case ToolCall():
                head: dict[str, object] = {"type": "tool_use", "id": carrier.safe_id(part.id), "name": part.name, "input": {}}
                out = self._block_start(head)
                return out + (self._write(Delta(live.key, part.arguments)) if part.arguments else b"")
            case Unknown():
                block = encode_part(part, self._reply)
                if block is None or not block.get("input"):
                    return self._block_start(block) if block is not None else b""
                # A call of the provider's own tool: like any call's, its input follows its start.
                start = self._block_start({**block, "input": {}})
                return start + self._small_delta({"type": "input_json_delta", "partial_json": _encode(block["input"]).decode()})
            case _:
                encode_part(part, self._reply)
                return b""

    def _block_start(self, block: dict[str, object]) -> bytes:
        assert self._live is not None
        live = self._live
        live.begun = True
        live.writes = isinstance(live.part, Text)
        delta = {
            "tool_use": b'{"type":"input_json_delta","partial_json":',
            "thinking": b'{"type":"thinking_delta","thinking":',
            "text": b'{"type":"text_delta","text":',
        }.get(str(block.get("type")), b"")
        number = b"%d" % self._index
        live.head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":' + number + b',"delta":' + delta
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _write(self, event: Delta | Sealed | Cited) -> bytes:
        assert self._live is not None
        live = self._live
        out = b""
        if not live.begun:
            if isinstance(event, Delta) and not event.text:
                return b""
            match live.part:
                case Text() | Refusal():
                    out = self._block_start({"type": "text", "text": ""})
                case Reasoning():
                    out = self._block_start({"type": "thinking", "thinking": "", "signature": ""})
                case _:
                    return b""
        match event:
            case Delta():
                if isinstance(live.part, Unknown) or not event.text:
                    return out
                self._characters += len(event.text)
                if isinstance(live.part, ToolCall) and live.part.kind == "custom":
                    live.text.append(event.text)
                    return out
                if isinstance(live.part, Text):
                    live.text.append(event.text)
                return out + live.head + _encode(event.text) + b"}}\n\n"
            case Sealed():
                if not isinstance(live.part, Reasoning):
                    return out
                live.sealed = True
                sealed = msgspec.structs.replace(live.part, seal=event.seal)
                return out + self._signature(signature_of(sealed, self._reply))
            case Cited():
                citation = encode_citation(event.citation, "".join(live.text))
                return out + self._small_delta({"type": "citations_delta", "citation": citation})

    def _signature(self, signature: str) -> bytes:
        return self._small_delta({"type": "signature_delta", "signature": signature})

    def _small_delta(self, delta: dict[str, object]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> bytes:
        live = self._live
        assert live is not None
        self._live = None
        if not live.begun:
            return b""
        out = b""
        if isinstance(live.part, Reasoning) and not live.part.redacted and not live.sealed:
            # Unsigned thinking is another provider's: its signature is a token that says whose.
            out = self._signature(signature_of(msgspec.structs.replace(live.part, seal=None), self._reply))
        elif isinstance(live.part, ToolCall) and live.part.kind == "custom":
            out = live.head + _encode(_encode({"input": "".join(live.text)}).decode()) + b"}}\n\n"
        out += _event("content_block_stop", {"index": self._index})
        self._index += 1
        return out

    def _finish(self, event: Finish) -> bytes:
        # Of several answers only the first is told, but the count of all of them stands at the last one's end.
        self._others.discard(event.choice)
        if event.choice == 0:
            self._last = event
        elif event.usage is not None and self._last is not None:
            self._last = msgspec.structs.replace(self._last, usage=event.usage)
        if self._last is None or (self._others and self._last.usage is None):
            return b""
        return self._end(self._last)

    def _end(self, event: Finish) -> bytes:
        self._over = True
        out = b"" if self._started else self._start(Start("", ""))
        if self._live is not None:
            out += self._close()
        out += self._promote()
        usage = event.usage or estimated_usage(self._reply, self._characters)
        out += _event(
            "message_delta", {"delta": stop_fields(event, self._reply, refused=self._refused), "usage": encode_usage(usage)}
        )
        return out + _event("message_stop", {})
