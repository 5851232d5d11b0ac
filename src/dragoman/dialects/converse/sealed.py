"""Signatures in bodies that go from Converse to Converse untouched."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.sealing import Foreign, Sealing, values_of

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_NOTHING = msgspec.Raw(b'[{"text":"(no text)"}]')
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError)

# In a text the quotes would be escaped. A member of that name in a call's input does no harm here.
_VALUES = re.compile(rb'"(?:signature|redactedContent)"\s*:\s*"([^"\\]+)"')


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    """Reasoning with a foreign signature is left out. In the middle of a tool loop, thinking that was asked for by a budget is
    off then: a turn that calls must begin with its thinking, or is refused."""
    try:
        fields = _fields.decode(body)
        messages = _items.decode(fields["messages"])
    except _NOT_READ:
        return body, 0
    kept: list[msgspec.Raw] = []
    taken = 0
    bare_turn = False
    for raw in messages:
        message, count = _message(raw, foreign) if b"reasoningContent" in bytes(raw) else (raw, 0)
        taken += count
        kept.append(message)
        if _role(raw) == "assistant":
            bare_turn = count > 0
    if not taken:
        return body, 0
    fields["messages"] = msgspec.Raw(_encode(kept))
    if bare_turn and kept and b'"toolResult"' in bytes(kept[-1]):
        _unthinking(fields)
    return _encode(fields), taken


def _unthinking(fields: dict[str, msgspec.Raw]) -> None:
    try:
        more = _fields.decode(fields["additionalModelRequestFields"])
    except _NOT_READ:
        return
    for key in ("thinking", "reasoning_config"):
        if b'"enabled"' in bytes(more.get(key, b"")):
            more[key] = msgspec.Raw(b'{"type":"disabled"}')
            fields["additionalModelRequestFields"] = msgspec.Raw(_encode(more))


class _Turn(msgspec.Struct):
    role: str = ""


def _role(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=_Turn).role
    except _NOT_READ:
        return ""


def _message(raw: msgspec.Raw, foreign: Foreign) -> tuple[msgspec.Raw, int]:
    try:
        fields = _fields.decode(raw)
        blocks = _items.decode(fields["content"])
    except _NOT_READ:
        return raw, 0
    kept = [block for block in blocks if not (b"reasoningContent" in bytes(block) and _is_foreign(block, foreign))]
    if len(kept) == len(blocks):
        return raw, 0
    # A turn of nothing else stays, for turns must alternate.
    fields["content"] = msgspec.Raw(_encode(kept)) if kept else _NOTHING
    return msgspec.Raw(_encode(fields)), len(blocks) - len(kept)


def _is_foreign(raw: msgspec.Raw, foreign: Foreign) -> bool:
    try:
        block: Any = msgspec.json.decode(raw)
    except _NOT_READ:
        return False
    reasoning = cast("dict[str, Any]", block).get("reasoningContent") if isinstance(block, dict) else None
    if not isinstance(reasoning, dict):
        return False
    held = cast("dict[str, Any]", reasoning)
    inner = held.get("reasoningText")
    value = cast("dict[str, Any]", inner).get("signature") if isinstance(inner, dict) else held.get("redactedContent")
    return isinstance(value, str) and value != "" and foreign(value)


SEALING = Sealing((b'"signature"', b'"redactedContent"'), values_of(_VALUES), _without)
