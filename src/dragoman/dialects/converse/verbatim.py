"""Tier T0, where Converse goes to Converse untouched: what may be looked at in passing, and the one thing taken out."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.dialects.base import Sniff
from dragoman.dialects.converse.decode_content import is_carrier
from dragoman.dialects.converse.usage import decode_usage
from dragoman.ir import carrier
from dragoman.ir.usage import Usage
from dragoman.wire.eventstream import FAULT, frames_within
from dragoman.wire.sse import Frame

Block = dict[str, Any]


class _Body(msgspec.Struct):
    usage: dict[str, Any] | None = None


class _Error(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw(b"")
    message: Any = None
    error: Any = None
    type_: Any = msgspec.field(default=None, name="__type")
    unknown: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="Output")


_body = msgspec.json.Decoder(_Body)
_error = msgspec.json.Decoder(_Error)
_EMPTY = (b'"delta":{"text":""}', b'"reasoningContent":{"text":""}')


def sniff(frame: Frame) -> Sniff:
    """A message's start shows nothing yet, and neither does an empty delta."""
    kind = frame.event
    if kind.startswith(FAULT):
        return "error"
    if kind == "contentBlockDelta":
        return "wait" if any(empty in frame.data for empty in _EMPTY) else "content"
    return "content" if kind in {"contentBlockStart", "messageStop"} else "wait"


def ends(events: bytes, *, closed: bool) -> bool:
    """`metadata`, or at a proper end of the body `messageStop`."""
    if b"metadata" not in events and not (closed and b"messageStop" in events):
        return False
    last = ("metadata", "messageStop") if closed else ("metadata",)
    return any(frame.event in last for frame in frames_within(events))


def error_in_body(body: bytes) -> bool:
    """Whether a body with status 200 is an error all the same: an operation that the endpoint does not know is one."""
    try:
        found = _error.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    said = (found.type_, found.message, found.error)
    return not bytes(found.output) and (said != (None, None, None) or bool(bytes(found.unknown)))


def usage_of(head: bytes, tail: bytes) -> Usage | None:
    """Usage of a whole body (`head` is it) or of a stream, from its last events."""
    try:
        if head.lstrip()[:1] == b"{":
            return decode_usage(_body.decode(head).usage)
        for data in (tail, head):
            if b"metadata" not in data:
                continue
            for frame in frames_within(data):
                if frame.event == "metadata":
                    return decode_usage(_body.decode(frame.data).usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return None


# ---------------------------------------------------------------- what is taken out


def scrub(body: bytes, issuer: str) -> bytes:  # noqa: ARG001 - the dialect's signature; no token here is ever its issuer's
    """The body without our carriers: ids as their provider gave them, and no thinking of another provider, whose
    signature the model would refuse. Values that hold no carrier keep their order and meaning, not their white space."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    holder = request
    if isinstance(request, dict) and isinstance(cast("Block", request).get("input"), dict):
        holder = cast("Block", request)["input"].get("converse")  # of CountTokens
    messages = cast("Block", holder).get("messages") if isinstance(holder, dict) else None
    if not isinstance(messages, list):
        return body
    kept: list[Any] = []
    for message in cast("list[Any]", messages):
        content = cast("Block", message).get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            blocks = [_bare(block) for block in cast("list[Any]", content) if not _is_foreign(block)]
            if not blocks and content:
                continue
            message["content"] = blocks
        kept.append(message)
    holder["messages"] = kept
    return msgspec.json.encode(request)


def _is_foreign(block: Any) -> bool:
    return isinstance(block, dict) and is_carrier(cast("Block", block).get("reasoningContent"))


def _bare(block: Any) -> Any:
    """Carriers off. A foreign id stays escaped, as long as it was given: the API may refuse the original."""
    if isinstance(block, dict):
        for holder in ("toolUse", "toolResult"):
            inner = cast("Block", block).get(holder)
            if isinstance(inner, dict) and isinstance(cast("Block", inner).get("toolUseId"), str):
                inner["toolUseId"] = carrier.detach(inner["toolUseId"])[0]
    return block
