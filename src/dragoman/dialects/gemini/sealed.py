"""Thought signatures in bodies that go from Gemini to Gemini untouched."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.dialects.gemini import seals
from dragoman.dialects.gemini.names import Names
from dragoman.dialects.sealing import Foreign, Sealing, object_of, sifted
from dragoman.errors import MalformedBody

Block = dict[str, Any]

_encode = msgspec.json.Encoder().encode

_MARKS = (b"thoughtSignature", b"thought_signature")
_VALUES = re.compile(rb'"thought(?:S|_s)ignature"\s*:\s*"([^"\\]+)"')


def _values(data: bytes) -> list[str]:
    """In the standard alphabet: clients re-encode them."""
    return [seals.native(found.decode("ascii", "replace")) for found in _VALUES.findall(data)]


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    """A foreign thought is left out; a call that another signed is signed as the documentation says for such calls."""

    def content(raw: msgspec.Raw) -> tuple[msgspec.Raw | None, int]:
        return _content(raw, foreign) if any(mark in bytes(raw) for mark in _MARKS) else (raw, 0)

    found = sifted(body, "contents", content)
    return (found.encoded(), found.taken) if found is not None else (body, 0)


def _content(raw: msgspec.Raw, foreign: Foreign) -> tuple[msgspec.Raw | None, int]:
    first_call = True

    def part(raw: msgspec.Raw) -> tuple[msgspec.Raw | None, int]:
        nonlocal first_call
        native = object_of(raw)
        left, was_foreign = _part(native, foreign, first_call=first_call)
        first_call = first_call and not native.keys() & {"functionCall", "function_call"}
        if not was_foreign:
            return raw, 0
        return (msgspec.Raw(_encode(left)) if left else None), 1

    found = sifted(raw, "parts", part)
    if found is None:
        return raw, 0
    return (msgspec.Raw(found.encoded()) if found.items else None), found.taken


def _part(native: Block, foreign: Foreign, *, first_call: bool) -> tuple[Block | None, bool]:
    """What is left of a part, None for nothing, and whether it was another's."""
    try:
        names = Names(native, None)
    except MalformedBody:
        return native, False
    key = names.own("thoughtSignature")
    value = native.get(key)
    if not isinstance(value, str) or not value or value == seals.UNSIGNED or not foreign(seals.native(value)):
        return native, False
    bare = {name: held for name, held in native.items() if name != key}
    if names.own("functionCall") in native:
        return (bare | {key: seals.UNSIGNED} if first_call else bare), True
    if native.get("thought") is True or not any(bare.values()):
        return None, True
    return bare, True


SEALING = Sealing(_MARKS, _values, _without)
