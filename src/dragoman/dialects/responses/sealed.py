"""Encrypted reasoning in bodies that go from Responses to Responses untouched."""

from __future__ import annotations

import re

import msgspec

from dragoman.dialects.sealing import Foreign, Sealing, sifted, values_of

_MARK = b"encrypted_content"
_VALUES = re.compile(rb'"encrypted_content"\s*:\s*"([^"\\]+)"')


class _Item(msgspec.Struct):
    type: str = ""
    encrypted_content: str | None = None


_item = msgspec.json.Decoder(_Item)


def _without(body: bytes, foreign: Foreign) -> tuple[bytes, int]:
    """A reasoning item that another provider encrypted is left out: without its content nobody knows it."""

    def item(raw: msgspec.Raw) -> tuple[msgspec.Raw | None, int]:
        return (None, 1) if _MARK in bytes(raw) and _is_foreign(raw, foreign) else (raw, 0)

    found = sifted(body, "input", item)
    return (found.encoded(), found.taken) if found is not None else (body, 0)


def _is_foreign(raw: msgspec.Raw, foreign: Foreign) -> bool:
    try:
        item = _item.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return item.type == "reasoning" and bool(item.encrypted_content) and foreign(item.encrypted_content or "")


SEALING = Sealing((_MARK,), values_of(_VALUES), _without)
