"""Events to a Converse stream, always in its grammar: blocks one after the other, indices without gaps, one `messageStart`,
one `messageStop` and then `metadata`; or one exception and nothing after it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.answers import signature_of
from dragoman.dialects.base import Reply
from dragoman.dialects.converse.errors import stream_error
from dragoman.dialects.converse.formats import image_format
from dragoman.dialects.converse.response import (
    call_head,
    count_fields,
    encode_citation,
    encode_part,
    redacted_of,
    stop_fields,
)
from dragoman.dialects.serial import Growth, LivePart, SerialEncoder
from dragoman.errors import DragomanError
from dragoman.ir.events import Cited, Delta, Finish, Sealed, Start
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


class _Live(LivePart):
    """`head` and `tail` enclose the text of a delta of it, in the block `index`."""

    __slots__ = ("head", "sealed", "tail")

    def __init__(self, key: int, part: Part, index: int) -> None:
        super().__init__(key, part)
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


class StreamEncoder(SerialEncoder[_Live]):
    ping = PING

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._index = 0

    def _head(self, event: Start) -> bytes:  # noqa: ARG002  neither id nor model is told
        return _write_start(b'{"role":"assistant"}')

    def _part(self, key: int, part: Part) -> _Live:
        return _Live(key, part, self._index)

    def _begin(self, live: _Live) -> bytes:
        """What can be written when a part opens: of a text or a thinking that is still empty, nothing."""
        part = live.part
        match part:
            case Text() | Refusal():
                self._refused = self._refused or isinstance(part, Refusal)
                out = self._grow(live, Delta(live.key, part.text)) if part.text else b""
                for citation in part.citations if isinstance(part, Text) else ():
                    out += self._grow(live, Cited(live.key, citation))
                return out
            case Reasoning():
                if part.redacted:
                    return self._delta(live, {"reasoningContent": {"redactedContent": redacted_of(part, self._reply)}})
                out = self._grow(live, Delta(live.key, part.text)) if part.text else b""
                return out + (self._grow(live, Sealed(live.key, part.seal)) if part.seal is not None else b"")
            case ToolCall():
                out = self._block_start(live, {"toolUse": call_head(part)})
                return out + (self._grow(live, Delta(live.key, part.arguments)) if part.arguments else b"")
            case Image() if part.data is not None and image_format(part.media_type):
                start = self._block_start(live, {"image": {"format": image_format(part.media_type)}})
                return start + self._delta(live, {"image": {"source": {"bytes": part.data}}})
            case Unknown() if part.dialect == "converse":
                return self._unknown(live, part.native)
            case _:
                encode_part(part, self._reply)
                return b""

    def _unknown(self, live: _Live, native: Block) -> bytes:
        """A call that the provider ran, or its result, as a stream tells them."""
        kind = next(iter(native), "")
        inner: Block = native.get(kind) or {}
        if kind == "toolUse":
            start = self._block_start(live, {kind: {key: value for key, value in inner.items() if key != "input"}})
            return start + self._delta(live, {kind: {"input": _encode(inner.get("input") or {}).decode()}})
        if kind == "toolResult":
            start = self._block_start(live, {kind: {key: value for key, value in inner.items() if key != "content"}})
            return start + self._delta(live, {kind: inner.get("content") or []})
        self._reply.ledger.add(None, "content", f"a stream has no form for {kind}", "lost")
        return b""

    def _block_start(self, live: _Live, start: Block) -> bytes:
        live.begun = True
        return _write_block_start(_encode({"contentBlockIndex": self._index, "start": start}))

    def _delta(self, live: _Live, delta: Block) -> bytes:
        live.begun = True
        return _write_delta(_encode({"contentBlockIndex": self._index, "delta": delta}))

    def _grow(self, live: _Live, event: Growth) -> bytes:
        match event:
            case Delta():
                if not event.text or isinstance(live.part, Unknown | Image):
                    return b""
                live.text.append(event.text)
                if isinstance(live.part, ToolCall) and live.part.kind == "custom":
                    return b""
                live.begun = True
                return _write_delta(live.head + _encode(event.text) + live.tail)
            case Sealed():
                if not isinstance(live.part, Reasoning):
                    return b""
                live.sealed = True
                sealed = msgspec.structs.replace(live.part, seal=event.seal)
                return self._delta(live, {"reasoningContent": {"signature": signature_of(sealed, self._reply, "converse")}})
            case Cited():
                return self._delta(live, {"citation": encode_citation(event.citation, "".join(live.text))})

    def _end(self, live: _Live, *, complete: bool) -> bytes:  # noqa: ARG002  a block has no word for it
        if not live.begun:
            return b""
        out = b""
        if isinstance(live.part, Reasoning) and not live.part.redacted and not live.sealed:
            # Unsigned thinking: a token says whose it is.
            unsigned = msgspec.structs.replace(live.part, seal=None)
            out = self._delta(live, {"reasoningContent": {"signature": signature_of(unsigned, self._reply, "converse")}})
        elif isinstance(live.part, ToolCall) and live.part.kind == "custom":
            out = self._delta(live, {"toolUse": {"input": _encode({"input": "".join(live.text)}).decode()}})
        out += _write_block_stop(b'{"contentBlockIndex":%d}' % self._index)
        self._index += 1
        return out

    def _tail(self, event: Finish) -> bytes:
        # Why the model declined: the API has no other place for it than the text that stands there instead.
        out = self._whole(Text(text=event.explanation)) if event.explanation and not self._refused else b""
        out += _write_stop(_encode(stop_fields(event, self._reply, refused=self._refused)))
        usage = event.usage or self._reply.estimated_usage(self._characters)
        return out + _write_metadata(_encode(count_fields(usage)))

    def _fault(self, error: DragomanError) -> bytes:
        return stream_error(error, self._reply.request_id)
