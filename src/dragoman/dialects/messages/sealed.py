"""Signatures in bodies that go from Messages to Messages untouched."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.sealing import Foreign, Sealing, values_of

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode

# In a text the quotes would be escaped. A member of that name in a call's input does no harm here.
_VALUES = re.compile(rb'"(?:signature|data)"\s*:\s*"([^"\\]+)"')
_THINKING = {"thinking": "signature", "redacted_thinking": "data"}


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    """Thinking with a foreign signature is left out. In the middle of a tool loop, thinking that was asked for with a budget is
    off then: a turn that calls must begin with its thinking, or is refused."""
    try:
        fields = _fields.decode(body)
        messages = _items.decode(fields["messages"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body, 0
    kept: list[msgspec.Raw] = []
    taken = 0
    bare_turn = False
    for raw in messages:
        message, count = _message(raw, foreign) if b"thinking" in bytes(raw) else (raw, 0)
        taken += count
        if message is not None:
            kept.append(message)
        if b'"assistant"' in bytes(raw):
            bare_turn = count > 0
    if not taken:
        return body, 0
    fields["messages"] = msgspec.Raw(_encode(kept))
    if bare_turn and kept and b'"tool_result"' in bytes(kept[-1]) and b'"enabled"' in bytes(fields.get("thinking", b"")):
        fields["thinking"] = msgspec.Raw(b'{"type":"disabled"}')
    return _encode(fields), taken


def _message(raw: msgspec.Raw, foreign: Foreign) -> tuple[msgspec.Raw | None, int]:
    try:
        fields = _fields.decode(raw)
        blocks = _items.decode(fields["content"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return raw, 0
    kept = [block for block in blocks if not (b"thinking" in bytes(block) and _is_foreign(block, foreign))]
    if len(kept) == len(blocks):
        return raw, 0
    if not kept:
        return None, len(blocks)
    fields["content"] = msgspec.Raw(_encode(kept))
    return msgspec.Raw(_encode(fields)), len(blocks) - len(kept)


def _is_foreign(raw: msgspec.Raw, foreign: Foreign) -> bool:
    try:
        block: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(block, dict):
        return False
    native = cast("dict[str, Any]", block)
    kind = native.get("type")
    value = native.get(_THINKING[kind]) if isinstance(kind, str) and kind in _THINKING else None
    return isinstance(value, str) and value != "" and foreign(value)


SEALING = Sealing((b'"signature"', b"redacted_thinking"), values_of(_VALUES), _without)
