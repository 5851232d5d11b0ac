"""Events to a Messages stream, always in its grammar: blocks one after the other, indices without gaps, one start,
one `message_delta` with the full usage, then `message_stop`, or one `error` and nothing after it.
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.answers import call_input, signature_of
from dragoman.dialects.base import Reply
from dragoman.dialects.messages.errors import stream_error
from dragoman.dialects.messages.response import (
    encode_citation,
    encode_part,
    encode_usage,
    message_head,
    stop_fields,
)
from dragoman.dialects.serial import Growth, LivePart, SerialEncoder
from dragoman.errors import DragomanError
from dragoman.ir import carrier
from dragoman.ir.events import Cited, Delta, Event, Finish, Sealed, Start
from dragoman.ir.request import Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.ir.usage import Usage

PING = b'event: ping\ndata: {"type": "ping"}\n\n'

_encode = msgspec.json.Encoder().encode


def _event(kind: str, data: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **data}))


class _Live(LivePart):
    """`head` is a delta of it up to the text; `writes`: it has begun, and what comes of it goes out as it
    comes."""

    __slots__ = ("head", "sealed", "writes")

    def __init__(self, key: int, part: Part) -> None:
        super().__init__(key, part)
        self.head = b""
        self.sealed = False
        self.writes = False


class StreamEncoder(SerialEncoder[_Live]):
    ping = PING

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._index = 0

    def feed(self, event: Event) -> bytes:
        live = self._live
        if live is not None and live.writes and type(event) is Delta and event.index == live.key and (text := event.text):
            # Most events by far: more of a text whose block has begun.
            live.text.append(text)
            return live.head + _encode(text) + b"}}\n\n"
        return super().feed(event)

    def _head(self, event: Start) -> bytes:
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

    def _part(self, key: int, part: Part) -> _Live:
        return _Live(key, part)

    def _begin(self, live: _Live) -> bytes:
        """What can be written when a part opens. A text or a thinking that is still empty waits: many never fill."""
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
                    sealed = signature_of(part, self._reply, "messages")
                    return self._block_start(live, {"type": "redacted_thinking", "data": sealed})
                out = self._grow(live, Delta(live.key, part.text)) if part.text else b""
                return out + (self._grow(live, Sealed(live.key, part.seal)) if part.seal is not None else b"")
            case ToolCall():
                head: dict[str, object] = {"type": "tool_use", "id": carrier.safe_id(part.id), "name": part.name, "input": {}}
                out = self._block_start(live, head)
                return out + (self._grow(live, Delta(live.key, part.arguments)) if part.arguments else b"")
            case Unknown():
                block = encode_part(part, self._reply)
                if block is None or not block.get("input"):
                    return self._block_start(live, block) if block is not None else b""
                # A call of the provider's own tool: like any call's, its input follows its start.
                start = self._block_start(live, {**block, "input": {}})
                return start + self._small_delta({"type": "input_json_delta", "partial_json": _encode(block["input"]).decode()})
            case _:
                encode_part(part, self._reply)
                return b""

    def _block_start(self, live: _Live, block: dict[str, object]) -> bytes:
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

    def _grow(self, live: _Live, event: Growth) -> bytes:
        out = b""
        if not live.begun:
            if isinstance(event, Delta) and not event.text:
                return b""
            match live.part:
                case Text() | Refusal():
                    out = self._block_start(live, {"type": "text", "text": ""})
                case Reasoning():
                    out = self._block_start(live, {"type": "thinking", "thinking": "", "signature": ""})
                case _:
                    return b""
        match event:
            case Delta():
                if isinstance(live.part, Unknown) or not event.text:
                    return out
                live.text.append(event.text)
                if isinstance(live.part, ToolCall) and not live.writes:
                    return out + self._arguments(live, live.part)
                return out + live.head + _encode(event.text) + b"}}\n\n"
            case Sealed():
                if not isinstance(live.part, Reasoning):
                    return out
                live.sealed = True
                sealed = msgspec.structs.replace(live.part, seal=event.seal)
                return out + self._signature(signature_of(sealed, self._reply, "messages"))
            case Cited():
                citation = encode_citation(event.citation, "".join(live.text))
                return out + self._small_delta({"type": "citations_delta", "citation": citation})

    def _arguments(self, live: _Live, call: ToolCall) -> bytes:
        """The first of a call's arguments. Clients read them as they come, and fail on what cannot become an object: such a
        call is held back, and told at its end as far as it is one."""
        first = next((piece for piece in live.text if not piece.isspace()), "")
        if call.kind == "custom" or not first.lstrip().startswith("{"):
            return b""
        live.writes = True
        return live.head + _encode("".join(live.text)) + b"}}\n\n"

    def _signature(self, signature: str) -> bytes:
        return self._small_delta({"type": "signature_delta", "signature": signature})

    def _small_delta(self, delta: dict[str, object]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _end(self, live: _Live, *, complete: bool) -> bytes:
        if not live.begun:
            return b""
        out = b""
        if isinstance(live.part, Reasoning) and not live.part.redacted and not live.sealed:
            # Unsigned thinking is another provider's: its signature is a token that says whose.
            out = self._signature(signature_of(msgspec.structs.replace(live.part, seal=None), self._reply, "messages"))
        elif isinstance(live.part, ToolCall) and not live.writes and (live.text or live.part.kind == "custom"):
            whole = msgspec.structs.replace(live.part, arguments="".join(live.text))
            out = live.head + _encode(_encode(call_input(whole, complete)).decode()) + b"}}\n\n"
        out += _event("content_block_stop", {"index": self._index})
        self._index += 1
        return out

    def _tail(self, event: Finish) -> bytes:
        usage = event.usage or self._reply.estimated_usage(self._characters)
        delta = stop_fields(event, self._reply, refused=self._refused)
        return _event("message_delta", {"delta": delta, "usage": encode_usage(usage)}) + _event("message_stop", {})

    def _fault(self, error: DragomanError) -> bytes:
        return stream_error(error, self._reply.request_id)
