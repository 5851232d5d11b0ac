"""Encrypted reasoning in bodies that go from Responses to Responses untouched."""

from __future__ import annotations

import re

import msgspec

from dragoman.dialects.sealing import Foreign, Sealing, values_of

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode

_MARK = b"encrypted_content"
_VALUES = re.compile(rb'"encrypted_content"\s*:\s*"([^"\\]+)"')


class _Item(msgspec.Struct):
    type: str = ""
    encrypted_content: str | None = None


_item = msgspec.json.Decoder(_Item)


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    """A reasoning item that another provider encrypted is left out: without its content nobody knows it."""
    try:
        fields = _fields.decode(body)
        items = _items.decode(fields["input"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body, 0
    kept = [raw for raw in items if not (_MARK in bytes(raw) and _is_foreign(raw, foreign))]
    if len(kept) == len(items):
        return body, 0
    fields["input"] = msgspec.Raw(_encode(kept))
    return _encode(fields), len(items) - len(kept)


def _is_foreign(raw: msgspec.Raw, foreign: Foreign) -> bool:
    try:
        item = _item.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return item.type == "reasoning" and bool(item.encrypted_content) and foreign(item.encrypted_content or "")


SEALING = Sealing((_MARK,), values_of(_VALUES), _without)
