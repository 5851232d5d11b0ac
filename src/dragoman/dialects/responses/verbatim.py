"""Tier T0, where Responses goes to Responses untouched: what may be looked at in passing, and the one thing taken out."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Sniff
from dragoman.dialects.responses import compaction
from dragoman.dialects.responses.ids import legal_id, own_id
from dragoman.dialects.responses.usage import decode_usage
from dragoman.ir import carrier
from dragoman.ir.usage import Usage
from dragoman.wire.json import loads
from dragoman.wire.sse import Frame

Block = dict[str, Any]


class _Event(msgspec.Struct):
    type: Any = None
    error: Any = None
    item: Any = None
    response: msgspec.Raw = msgspec.Raw(b"null")


class _Ends(msgspec.Struct):
    type: Any = None
    object: Any = None
    status: Any = None
    error: Any = None


_event = msgspec.json.Decoder(_Event)
_ends = msgspec.json.Decoder(_Ends)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_raw_decode = json.JSONDecoder().raw_decode
_TRIES = 16
"""So many members of that name are tried, from the last one on."""

_WAITING = frozenset({"response.created", "response.queued", "response.in_progress", "response.content_part.added"}) | {
    "response.reasoning_summary_part.added"
}
_LAST = (b"response.completed", b"response.incomplete")
_NEAR = 64
"""So far before the name of the last event stands what makes it one, with any white space that anybody writes."""
_END = re.compile(rb'[\r\n]event: ?response\.(?:completed|incomplete)\b|"type"\s*:\s*"response\.(?:completed|incomplete)"')
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')


def sniff(frame: Frame) -> Sniff:
    """What tells of the answer's beginning shows nothing yet, nor does an item that is to be filled; all else does."""
    data = frame.data.strip()
    if not data or data == b"[DONE]":
        return "wait"
    try:
        event = _event.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _sniff_odd(frame)
    kind = event.type if type(event.type) is str and event.type else frame.event
    if kind in {"error", "response.failed"} or (not kind and event.error):
        return "error"
    if kind in _WAITING or not kind.startswith("response."):
        return "wait"
    if kind == "response.output_item.added":
        return "wait" if type(event.item) is dict and event.item.get("type") in ("message", "reasoning") else "content"
    if kind == "response.completed" and error_in_body(bytes(event.response)):
        return "error"
    return "content"


def _sniff_odd(frame: Frame) -> Sniff:
    """Not JSON by the book: half a character at the edge of a text, or no JSON at all."""
    if frame.event == "error":
        return "error"
    try:
        native = loads(frame.data)
    except ValueError:
        return "error"
    return "content" if isinstance(native, dict) else "wait"


def ends(events: bytes, *, closed: bool) -> bool:  # noqa: ARG001 - nothing but the last event ends an answer here
    """The last event of an answer (not of a failure). In a text its name would stand within a line, or with escaped quotes."""
    for word in _LAST:
        at = len(events)
        while (at := events.rfind(word, 0, at)) >= 0:
            if _END.search(events, max(0, at - _NEAR), at + len(word) + 1):
                return True
    return False


def error_in_body(body: bytes) -> bool:
    """Whether a 200 body is an error all the same. What is no JSON object at all is for the decoder to judge."""
    try:
        ends = _ends.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return bool(ends.error) or ends.type == "error" or ends.object == "error" or ends.status == "failed"


def usage_of(head: bytes, tail: bytes) -> Usage | None:
    """The last usage in a body or a stream, given its two ends. Where that key stands in somebody's text its quotes
    are escaped, so what matches is never content."""
    for data in (tail, head):
        for found in reversed(deque(_USAGE.finditer(data), _TRIES)):
            try:
                native, _ = _raw_decode(data[found.end() :].decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            usage = decode_usage(native)
            if usage is not None:
                return usage
    return None


def scrub(body: bytes, issuer: str) -> bytes:
    """The body without our carriers: reasoning that another provider thought is left out, what this one sealed gets its own
    form back, and ids have theirs. Only items that hold one are written anew."""
    try:
        fields = _fields.decode(body)
        items = _items.decode(fields["input"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body
    kept = [native for raw in items if (native := _bare(raw, issuer)) is not None]
    if kept == items:
        return body
    fields["input"] = msgspec.Raw(_encode(kept))
    return _encode(fields)


def _bare(raw: msgspec.Raw, issuer: str) -> msgspec.Raw | None:
    if not carrier.carries(bytes(raw)):
        return raw
    try:
        native = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    if not isinstance(native, dict):
        return raw
    item = cast("Block", native)
    changed = False
    if type(item.get("call_id")) is str and carrier.carries(item["call_id"].encode("utf-8", "surrogatepass")):
        item["call_id"] = legal_id(own_id(item["call_id"]))
        changed = True
    if item.get("type") == "compaction" and (summary := compaction.told(item)) is not None:
        return msgspec.Raw(_encode({"type": "message", "role": "user", "content": summary}))
    token = item.get("encrypted_content")
    if item.get("type") == "reasoning" and carrier.is_token(token):
        part = next(iter(carrier.unpack(cast("str", token)) or ()), None)
        seal = part.seal if part is not None else None
        if seal is None or seal.dialect != "responses" or seal.issuer != issuer or not seal.value:
            return None
        item["encrypted_content"] = seal.value
        changed = True
    return msgspec.Raw(_encode(item)) if changed else raw
