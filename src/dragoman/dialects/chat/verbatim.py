"""Tier T0, where Chat goes to Chat untouched: what may be looked at in passing, and the one thing taken out."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Sniff
from dragoman.dialects.chat.reasoning import FORMAT, native_item, token_of
from dragoman.dialects.chat.response import is_broken
from dragoman.dialects.chat.stream_decoder import ChunkDelta, read_chunk
from dragoman.dialects.openai_usage import decode_usage, read_usage
from dragoman.ir import carrier
from dragoman.ir.usage import Usage
from dragoman.wire.sse import Frame

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_raw_decode = json.JSONDecoder().raw_decode

_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_TRIES = 16
"""So many members of that name are tried; in arguments of calls, which are no text, there may be some."""
_ESCAPED_ID = re.compile(rb'"dgmid-[A-Za-z0-9_-]+"')


def sniff(frame: Frame) -> Sniff:
    """A chunk with the role alone shows nothing yet; any text, call, finish or refusal does."""
    if frame.event == "error":
        return "error"
    data = frame.data.strip()
    if not data or data.startswith(b"[DONE]"):
        return "wait"
    try:
        chunk = read_chunk(data)
    except ValueError:
        return "error"
    if chunk is None:
        return "wait"
    if chunk.error or chunk.object == "error":
        return "error"
    found: Sniff = "wait"
    for choice in chunk.choices or ():
        if is_broken(choice.finish_reason):
            return "error"
        delta = choice.delta if choice.delta is not None else choice.message
        if choice.finish_reason or (delta is not None and _shows(delta)):
            found = "content"
    return found


def _shows(delta: ChunkDelta) -> bool:
    return any(getattr(delta, name) for name in delta.__struct_fields__)


def ends(events: bytes, *, closed: bool) -> bool:
    """`[DONE]`, or at a proper end a reason to finish. In a text both would stand within a line, or with escaped quotes."""
    at = len(events)
    while (at := events.rfind(b"[DONE]", 0, at)) >= 0:
        if _DONE.search(events, max(0, at - 7), at + 6):
            return True
    return closed and _FINISH.search(events) is not None


def usage_of(head: bytes, tail: bytes) -> Usage | None:
    """The last usage in a body or a stream, given its two ends. Where that key stands in somebody's text its quotes
    are escaped, so what matches is never content."""
    for data in (tail, head):
        at = len(data)
        tries = _TRIES
        while tries and (at := data.rfind(b'"usage"', 0, at)) >= 0:
            found = _USAGE.match(data, at)
            tries -= found is not None
            usage = _usage_at(data, found.end()) if found is not None else None
            if usage is not None:
                return usage
    return None


def _usage_at(data: bytes, start: int) -> Usage | None:
    """The object that begins there, if it is whole and tells the usage."""
    # As a rule two braces end it: its own, and that of the last details in it or that of what holds it.
    end = data.find(b"}}", start)
    if end >= 0:
        for stop in (end + 2, end + 1):
            try:
                return read_usage(data[start:stop])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
    try:
        return decode_usage(_raw_decode(data[start:].decode("utf-8", "replace"))[0])
    except (ValueError, RecursionError):
        return None


def scrub(body: bytes, issuer: str) -> bytes:
    """The body without our carriers. Ids get their own form back, on the bytes; entries of `reasoning_details` are taken
    out, or put back as `issuer` wrote them where they are its own. Only messages that hold one are written anew."""
    body = carrier.strip_ids(body)
    body = _ESCAPED_ID.sub(_original, body)
    if b'"dgm1-' not in body:
        return body
    try:
        fields = _fields.decode(body)
        messages = _items.decode(fields["messages"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body
    fields["messages"] = msgspec.Raw(_encode([_message(raw, issuer) for raw in messages]))
    return _encode(fields)


def _original(found: re.Match[bytes]) -> bytes:
    return _encode(carrier.original_id(found.group()[1:-1].decode()))


def _message(raw: msgspec.Raw, issuer: str) -> msgspec.Raw:
    if b'"dgm1-' not in bytes(raw):
        return raw
    try:
        fields = _fields.decode(raw)
        items = msgspec.json.decode(fields["reasoning_details"], type=list[Any])
    except (msgspec.DecodeError, KeyError):
        return raw
    kept: list[Any] = []
    for item in items:
        kept += _restored(cast("dict[str, Any]", item), issuer) if isinstance(item, dict) else [item]
    if kept:
        fields["reasoning_details"] = msgspec.Raw(_encode(kept))
    else:
        del fields["reasoning_details"]
    return msgspec.Raw(_encode(fields))


def _restored(item: dict[str, Any], issuer: str) -> list[dict[str, Any]]:
    token = token_of(item)
    if token is None:
        return [] if item.get("format") == FORMAT else [item]
    restored: list[dict[str, Any]] = []
    for part in carrier.unpack(token) or ():
        if part.seal is not None and part.seal.issuer == issuer:
            native = native_item(part.seal)
            if native is not None and "extra_content" not in native:
                restored.append(native)
    return restored
