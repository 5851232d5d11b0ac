"""Tier T0, where Gemini goes to Gemini untouched: what may be looked at in passing, and the one thing taken out."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, cast

import msgspec

from dragoman.dialects.base import Sniff
from dragoman.dialects.gemini import seals
from dragoman.dialects.gemini.citations import searches_of
from dragoman.dialects.gemini.finish import blocked, word_of
from dragoman.dialects.gemini.names import Names
from dragoman.dialects.gemini.usage import decode_usage
from dragoman.errors import MalformedBody
from dragoman.ir import carrier
from dragoman.ir.usage import Usage
from dragoman.wire.json import loads
from dragoman.wire.jsonarray import is_closed, last_element
from dragoman.wire.sse import Frame, SseParser

Block = dict[str, Any]

_USAGE = re.compile(rb'"usageMetadata"\s*:\s*(?=\{)')
_FINISH = re.compile(rb'"finishReason"\s*:\s*"(?!FINISH_REASON_UNSPECIFIED)|"blockReason"\s*:\s*"')
_raw_decode = json.JSONDecoder().raw_decode
_TRIES = 16
"""So many members of that name are tried, from the last one on."""
_encode = msgspec.json.Encoder().encode


def sniff(frame: Frame) -> Sniff:
    """A chunk whose parts are all empty shows nothing yet; a finish reason does, whichever it is."""
    data = frame.data.strip()
    if not data or data == b"[DONE]":
        return "wait"
    try:
        native = _answer(loads(data))
    except ValueError:
        return "error"
    if native is None or native.get("error"):
        return "error"
    if blocked(native) is not None:
        return "content"
    return "content" if any(word_of(one) or _shows(one) for one in _candidates(native)) else "wait"


def _answer(native: Any) -> Block | None:
    """The object that an answer is; also when it stands alone in a list."""
    if isinstance(native, list) and len(cast("list[Any]", native)) == 1:
        native = cast("list[Any]", native)[0]
    return cast("Block", native) if isinstance(native, dict) else None


def _candidates(native: Block) -> list[Block]:
    found = native.get("candidates")
    return [cast("Block", one) for one in cast("list[Any]", found) if isinstance(one, dict)] if isinstance(found, list) else []


def _shows(candidate: Block) -> bool:
    content = candidate.get("content")
    parts = cast("Block", content).get("parts") if isinstance(content, dict) else None
    return isinstance(parts, list) and any(
        any(value not in ("", None, False) for value in cast("Block", part).values())
        for part in cast("list[Any]", parts)
        if isinstance(part, dict)
    )


def error_in_body(body: bytes) -> bool:
    """Whether a 200 body is an error all the same. What is no JSON at all is for the decoder to judge."""
    try:
        native = _answer(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return native is not None and bool(native.get("error")) and not native.get("candidates")


def ends(events: bytes, *, closed: bool) -> bool:
    """The last chunk has a finish reason and the usage. Arguments of a call are objects and may have members of these names,
    so chunks are parsed; only the end of one too large to be here whole is searched."""
    begin = events.find(b"Reason")
    if events.rfind(b"\\u00") >= 0:
        begin = 0  # it may stand there in letters that are written by their numbers
    elif begin < 0:
        return False
    begin = max(0, events.rfind(b"\n\n", 0, begin), events.rfind(b"\n\r\n", 0, begin))
    whole = False
    for frame in SseParser().feed(events[begin:] + b"\n\n"):
        try:
            native = _answer(loads(frame.data))
        except ValueError:
            continue
        if native is not None:
            said = blocked(native) is not None or any(word_of(one) for one in _candidates(native))
            whole = whole or (said and (closed or "usageMetadata" in native))
    return whole or (closed and _FINISH.search(_torn(events)) is not None)


def array_ends(events: bytes, *, closed: bool) -> bool:
    """The array is closed, and no error stands at its end."""
    del closed
    if not is_closed(events):
        return False
    element = last_element(events)
    return element is None or not error_in_body(element)


def _torn(events: bytes) -> bytes:
    """The first event, where it lacks its beginning."""
    first = events.replace(b"\r\n", b"\n").partition(b"\n\n")[0].strip()
    return b"" if first.startswith((b"data:", b":")) or not first.endswith(b"}") else first


def usage_of(head: bytes, tail: bytes) -> Usage | None:
    """The last usage in a body or a stream, given its two ends. Where that key stands in somebody's text its quotes
    are escaped; in arguments of a call it would hardly hold counts."""
    for data in (tail, head):
        for found in reversed(deque(_USAGE.finditer(data), _TRIES)):
            try:
                native, _ = _raw_decode(data[found.end() :].decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            usage = decode_usage(native, _searches(head))
            if usage is not None:
                return usage
    return None


def _searches(body: bytes) -> int:
    """How often the provider searched, for a whole body that tells it."""
    if b'"webSearchQueries"' not in body or body.lstrip()[:1] != b"{":
        return 0
    try:
        native = _answer(loads(body))
    except ValueError:
        return 0
    return max((searches_of(one) for one in _candidates(native or {})), default=0)


# ---------------------------------------------------------------- what is taken out


def scrub(body: bytes, issuer: str) -> bytes:
    """The body without our carriers: thoughts of another provider go, its calls are signed as the documentation says, and
    what `issuer` itself had signed gets its own signature back. Values that hold no carrier keep their order and
    meaning, not their white space."""
    try:
        native = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    contents = native.get("contents") if isinstance(native, dict) else None
    if not isinstance(contents, list):
        return body
    kept: list[Any] = []
    for content in cast("list[Any]", contents):
        parts = cast("Block", content).get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list):
            bare = [one for part in cast("list[Any]", parts) if (one := _bare(part, issuer)) is not None]
            if not bare and parts:
                continue
            _sign_first(bare)
            content["parts"] = bare
        kept.append(content)
    native["contents"] = kept
    return _encode(native)


_FOREIGN = "\0"
"""Stands in place of a signature that was taken off a call, until it is known whether the call needs one."""


def _bare(part: Any, issuer: str) -> Any:
    if not isinstance(part, dict):
        return part
    native = cast("Block", part)
    fields = Names(native, None)
    for holder in ("functionCall", "functionResponse"):
        inner = native.get(fields.own(holder))
        if isinstance(inner, dict) and isinstance(cast("Block", inner).get("id"), str):
            inner["id"] = carrier.original_id(carrier.detach(inner["id"])[0])
    key = fields.own("thoughtSignature")
    signature = native.get(key)
    held = seals.opened(signature) if isinstance(signature, str) else None
    if held is None:
        return native
    is_call = fields.own("functionCall") in native
    del native[key]
    own = next((part.seal for part in held if part.seal is not None and _is_of(part.seal.issuer, issuer)), None)
    if own is not None and own.dialect == "gemini":
        of_call = seals.call_of(own)
        native[key] = of_call[1] if of_call is not None else seals.part_of(own) or own.value
    elif is_call:
        native[key] = _FOREIGN
    elif native.get("thought") is True or not any(native.values()):
        return None
    return native


def _is_of(of: str | None, issuer: str) -> bool:
    return of == issuer


def _sign_first(parts: list[Any]) -> None:
    """Only the first call of a turn needs a signature."""
    first = True
    for part in parts:
        if not isinstance(part, dict):
            continue
        native = cast("Block", part)
        try:
            fields = Names(native, None)
        except MalformedBody:
            continue
        if fields.own("functionCall") not in native:
            continue
        key = fields.own("thoughtSignature")
        if native.get(key) == _FOREIGN:
            if first:
                native[key] = seals.UNSIGNED
            else:
                del native[key]
        first = False
