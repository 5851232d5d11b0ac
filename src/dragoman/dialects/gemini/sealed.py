"""Thought signatures in bodies that go from Gemini to Gemini untouched."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.gemini import seals
from dragoman.dialects.gemini.names import Names
from dragoman.dialects.sealing import Foreign, Sealing
from dragoman.errors import MalformedBody

Block = dict[str, Any]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode

_MARKS = (b"thoughtSignature", b"thought_signature")
_VALUES = re.compile(rb'"thought(?:S|_s)ignature"\s*:\s*"([^"\\]+)"')


def _values(data: bytes) -> list[str]:
    """In the standard alphabet: clients re-encode them."""
    return [seals.native(found.decode("ascii", "replace")) for found in _VALUES.findall(data)]


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    """A foreign thought is left out; a call that another signed is signed as the documentation says for such calls."""
    try:
        fields = _fields.decode(body)
        contents = _items.decode(fields["contents"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return body, 0
    kept: list[msgspec.Raw] = []
    taken = 0
    for raw in contents:
        marked = any(mark in bytes(raw) for mark in _MARKS)
        content, count = _content(raw, foreign) if marked else (raw, 0)
        taken += count
        if content is not None:
            kept.append(content)
    if not taken:
        return body, 0
    fields["contents"] = msgspec.Raw(_encode(kept))
    return _encode(fields), taken


def _content(raw: msgspec.Raw, foreign: Foreign) -> tuple[msgspec.Raw | None, int]:
    try:
        fields = _fields.decode(raw)
        parts: Any = msgspec.json.decode(fields["parts"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return raw, 0
    if not isinstance(parts, list):
        return raw, 0
    kept: list[Any] = []
    taken = 0
    first_call = True
    for part in cast("list[Any]", parts):
        found, was_foreign = _part(part, foreign, first_call=first_call)
        taken += was_foreign
        if found is not None:
            kept.append(found)
        first_call = first_call and not (isinstance(part, dict) and part.keys() & {"functionCall", "function_call"})
    if not taken:
        return raw, 0
    if not kept:
        return None, taken
    fields["parts"] = msgspec.Raw(_encode(kept))
    return msgspec.Raw(_encode(fields)), taken


def _part(part: Any, foreign: Foreign, *, first_call: bool) -> tuple[Any, bool]:
    if not isinstance(part, dict):
        return part, False
    native = cast("Block", part)
    try:
        names = Names(native, None)
    except MalformedBody:
        return part, False
    key = names.own("thoughtSignature")
    value = native.get(key)
    if not isinstance(value, str) or not value or value == seals.UNSIGNED or not foreign(seals.native(value)):
        return part, False
    bare = {name: held for name, held in native.items() if name != key}
    if names.own("functionCall") in native:
        return (bare | {key: seals.UNSIGNED} if first_call else bare), True
    if native.get("thought") is True or not any(bare.values()):
        return None, True
    return bare, True


SEALING = Sealing(_MARKS, _values, _without)
