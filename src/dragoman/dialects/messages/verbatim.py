"""Tier T0, where Messages goes to Messages untouched: what may be looked at in passing, and the one thing taken out."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Sniff
from dragoman.dialects.messages.response import decode_usage
from dragoman.errors import UpstreamGarbled
from dragoman.ir import carrier
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame, SseParser

Block = dict[str, Any]


class _Type(msgspec.Struct):
    type: str = ""


class _Body(msgspec.Struct):
    type: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Start(msgspec.Struct):
    content_block: dict[str, Any] = {}


class _Counted(msgspec.Struct):
    type: str = ""
    usage: dict[str, Any] | None = None
    message: dict[str, Any] | None = None


_NEAR = 64
"""So far before the name of the last event stands what makes it one, with any white space that anybody writes."""
_STOP = re.compile(rb'[\r\n]event: ?message_stop|"type"\s*:\s*"message_stop"')
_REASON = re.compile(rb'"stop_reason"\s*:\s*"')
_type = msgspec.json.Decoder(_Type)
_body = msgspec.json.Decoder(_Body)
_start = msgspec.json.Decoder(_Start)
_counted = msgspec.json.Decoder(_Counted)


def sniff(frame: Frame) -> Sniff:
    """A block's start shows nothing yet, unless it is a call or comes filled."""
    kind = frame.event
    try:
        if not kind or kind == "message":
            found = _body.decode(frame.data)
            kind = found.type or ("" if bytes(found.error) in {b"", b"null"} else "error")
        if kind == "content_block_start":
            block = _start.decode(frame.data).content_block
            empty = block.get("type") in ("text", "thinking") and not (block.get("text") or block.get("thinking"))
            return "wait" if empty else "content"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "content"
    if kind == "error":
        return "error"
    return "content" if kind in {"content_block_delta", "message_delta", "message_stop"} else "wait"


def ends(events: bytes, *, closed: bool) -> bool:
    """`message_stop`, or at a proper end a stop reason. In a text both would stand within a line, or with escaped quotes."""
    at = len(events)
    while (at := events.rfind(b"message_stop", 0, at)) >= 0:
        before = max(0, at - _NEAR)
        start = max(events.rfind(b'"type"', before, at), events.rfind(b"event:", before, at) - 1, before)
        if _STOP.search(events, start, at + 13):
            return True
    return closed and _REASON.search(events) is not None


def error_in_body(body: bytes) -> bool:
    """Whether a 200 body is an error all the same, of this dialect or of whoever answers in its place."""
    try:
        found = _body.decode(body)
        return found.type == "error" or (not bytes(found.content) and bytes(found.error) not in {b"", b"null"})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def usage_of(head: bytes, tail: bytes) -> Usage | None:
    """Usage of a whole body (`head` is it) or of a stream, from its first events and its last ones."""
    try:
        if head.lstrip()[:1] == b"{":
            return decode_usage(_counted.decode(head).usage)
        counts: dict[str, Any] = {}
        for part in (head, tail):
            for frame in SseParser().feed(_with_usage(part) + b"\n\n"):
                if b'"usage"' in frame.data:
                    found = _counted.decode(frame.data)
                    native = found.usage or (found.message or {}).get("usage")
                    if isinstance(native, dict):
                        counts.update({key: value for key, value in native.items() if value is not None})
        return decode_usage(counts) if counts else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, UpstreamGarbled):
        return None


def _with_usage(events: bytes) -> bytes:
    """The events that hold usage, and perhaps others. In a text the quotes of that word are escaped."""
    at = events.find(b'"usage"')
    if at < 0 or b"\r" in events:
        return events if at >= 0 else b""
    found: list[bytes] = []
    while at >= 0:
        end = events.find(b"\n\n", at)
        end = end if end >= 0 else len(events)
        found.append(events[max(0, events.rfind(b"\n\n", 0, at)) : end])
        at = events.find(b'"usage"', end)
    return b"\n\n".join(found)


def scrub(body: bytes, issuer: str) -> bytes:  # noqa: ARG001 - the dialect's signature; no token here is ever its issuer's
    """The body without our carriers: ids as their provider gave them, and no thinking of another provider, whose
    signature Anthropic would refuse. Values that hold no carrier keep their order and meaning, not their white space."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    messages = request.get("messages") if isinstance(request, dict) else None
    if not isinstance(messages, list):
        return body
    kept: list[Any] = []
    for message in cast("list[Any]", messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            blocks = [block for block in map(_bare, cast("list[Any]", content)) if block is not None]
            if not blocks and content:
                continue
            message["content"] = blocks
        kept.append(message)
    request["messages"] = kept
    return msgspec.json.encode(request)


def _bare(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    match block.get("type"):
        case "thinking" if carrier.is_token(block.get("signature")):
            return None
        case "redacted_thinking" if carrier.is_token(block.get("data")):
            return None
        case "tool_use":
            _bare_id(block, "id")
        case "tool_result":
            _bare_id(block, "tool_use_id")
        case _:
            pass
    return block


def _bare_id(block: Block, key: str) -> None:
    """Carriers off. A foreign id stays escaped: this API would refuse the original."""
    if isinstance(block.get(key), str):
        block[key] = carrier.detach(block[key])[0]
