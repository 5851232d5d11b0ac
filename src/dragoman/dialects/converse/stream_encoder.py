"""Events to a Converse stream, always in its grammar: blocks one after the other, indices without gaps, one `messageStart`,
one `messageStop` and then `metadata`; or one exception and nothing after it.

The hub lets several parts be open at once (a provider may interleave two calls). Here the first is written through as it
comes, later ones are held until it closes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.converse.errors import stream_error
from dragoman.dialects.converse.formats import image_format
from dragoman.dialects.converse.response import (
    call_head,
    count_fields,
    encode_citation,
    encode_part,
    redacted_of,
    signature_of,
    stop_fields,
)
from dragoman.dialects.converse.usage import estimated_usage
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start
from dragoman.ir.request import Image, Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.wire.eventstream import event_writer

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_write_start = event_writer("messageStart")
_write_block_start = event_writer("contentBlockStart")
_write_delta = event_writer("contentBlockDelta")
_write_block_stop = event_writer("contentBlockStop")
_write_stop = event_writer("messageStop")
_write_metadata = event_writer("metadata")

# The API has no ping. An event of a kind that they do not know is passed over by AWS's SDKs.
PING = event_writer("ping")(b"{}")


class _Live:
    """The block being written. `tail`: what stands behind a delta's text; `begun`: something of it has gone out."""

    __slots__ = ("begun", "head", "key", "part", "sealed", "tail", "text")

    def __init__(self, key: int, part: Part, index: int) -> None:
        self.key = key
        self.part = part
        self.begun = False
        self.sealed = False
        match part:
            case Text() | Refusal():
                kind = b'{"text":'
            case ToolCall():
                kind = b'{"toolUse":{"input":'
            case _:
                kind = b'{"reasoningContent":{"text":'
        self.head = b'{"contentBlockIndex":%d,"delta":' % index + kind
        self.tail = b"}}" if isinstance(part, Text | Refusal) else b"}}}"
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
                return self._start()
            case Finish():
                return self._finish(event)
            case Ping():
                return PING
            case Fault():
                self._over = True
                return stream_error(event.error, self._reply.request_id)

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return _write_start(b'{"role":"assistant"}')

    def _open(self, event: Open) -> bytes:
        if event.choice:
            if not self._others:
                self._reply.ledger.add(None, "choices", "only the first of several answers fits", "lost")
            self._others.add(event.choice)
            return b""
        if self._live is not None:
            self._held[event.index] = [event]
            return b""
        self._live = _Live(event.index, event.part, self._index)
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
                    self._live = _Live(event.index, event.part, self._index)
                    out += self._begin_with(event.part)
                elif isinstance(event, Close):
                    out += self._close()
                else:
                    out += self._write(event)
        return out

    def _begin_with(self, part: Part) -> bytes:
        """What can be written when a part opens: of a text or a thinking that is still empty, nothing."""
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
                    return self._delta({"reasoningContent": {"redactedContent": redacted_of(part, self._reply)}})
                out = self._write(Delta(live.key, part.text)) if part.text else b""
                return out + (self._write(Sealed(live.key, part.seal)) if part.seal is not None else b"")
            case ToolCall():
                out = self._block_start({"toolUse": call_head(part)})
                return out + (self._write(Delta(live.key, part.arguments)) if part.arguments else b"")
            case Image() if part.data is not None and image_format(part.media_type):
                start = self._block_start({"image": {"format": image_format(part.media_type)}})
                return start + self._delta({"image": {"source": {"bytes": part.data}}})
            case Unknown() if part.dialect == "converse":
                return self._unknown(part.native)
            case _:
                encode_part(part, self._reply)
                return b""

    def _unknown(self, native: Block) -> bytes:
        """A call that the provider ran, or its result, as a stream tells them."""
        kind = next(iter(native), "")
        inner: Block = native.get(kind) or {}
        if kind == "toolUse":
            start = self._block_start({kind: {key: value for key, value in inner.items() if key != "input"}})
            return start + self._delta({kind: {"input": _encode(inner.get("input") or {}).decode()}})
        if kind == "toolResult":
            start = self._block_start({kind: {key: value for key, value in inner.items() if key != "content"}})
            return start + self._delta({kind: inner.get("content") or []})
        self._reply.ledger.add(None, "content", f"a stream has no form for {kind}", "lost")
        return b""

    def _block_start(self, start: Block) -> bytes:
        assert self._live is not None
        self._live.begun = True
        return _write_block_start(_encode({"contentBlockIndex": self._index, "start": start}))

    def _delta(self, delta: Block) -> bytes:
        assert self._live is not None
        self._live.begun = True
        return _write_delta(_encode({"contentBlockIndex": self._index, "delta": delta}))

    def _write(self, event: Delta | Sealed | Cited) -> bytes:
        assert self._live is not None
        live = self._live
        match event:
            case Delta():
                if not event.text or isinstance(live.part, Unknown | Image):
                    return b""
                self._characters += len(event.text)
                if isinstance(live.part, ToolCall):
                    if live.part.kind == "custom":
                        live.text.append(event.text)
                        return b""
                elif isinstance(live.part, Text):
                    live.text.append(event.text)
                live.begun = True
                return _write_delta(live.head + _encode(event.text) + live.tail)
            case Sealed():
                if not isinstance(live.part, Reasoning):
                    return b""
                live.sealed = True
                sealed = msgspec.structs.replace(live.part, seal=event.seal)
                return self._delta({"reasoningContent": {"signature": signature_of(sealed, self._reply)}})
            case Cited():
                return self._delta({"citation": encode_citation(event.citation, "".join(live.text))})

    def _close(self) -> bytes:
        live = self._live
        assert live is not None
        out = b""
        if live.begun:
            if isinstance(live.part, Reasoning) and not live.part.redacted and not live.sealed:
                # Unsigned thinking: a token says whose it is.
                unsigned = msgspec.structs.replace(live.part, seal=None)
                out = self._delta({"reasoningContent": {"signature": signature_of(unsigned, self._reply)}})
            elif isinstance(live.part, ToolCall) and live.part.kind == "custom":
                out = self._delta({"toolUse": {"input": _encode({"input": "".join(live.text)}).decode()}})
            out += _write_block_stop(b'{"contentBlockIndex":%d}' % self._index)
            self._index += 1
        self._live = None
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
        out = self._start()
        if self._live is not None:
            out += self._close()
        out += self._promote()
        if event.explanation and not self._refused:
            # Why the model declined: the API has no other place for it than the text that stands there instead.
            self._live = _Live(-1, Text(text=""), self._index)
            out += self._write(Delta(-1, event.explanation)) + self._close()
        out += _write_stop(_encode(stop_fields(event, self._reply, refused=self._refused)))
        usage = event.usage or estimated_usage(self._reply, self._characters)
        return out + _write_metadata(_encode(count_fields(usage)))
