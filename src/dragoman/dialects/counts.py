"""Numbers of tokens as servers tell them, in the usage of an answer; and what the dialects' questions for tokens have in
common: fewer fields than an inference, and one number in the answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from dragoman.errors import UpstreamGarbled
from dragoman.wire.body import fields_of
from dragoman.wire.json import loads

_BEYOND_COUNTING = 10**15


def count_in(holder: object, key: str) -> int:
    """The number under a key of what should be an object: 0 where it is none, or no number that anybody can have counted."""
    if type(holder) is not dict:
        return 0
    value: Any = holder.get(key)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if type(value) is int:
        return value if 0 < value < _BEYOND_COUNTING else 0
    return int(value) if type(value) is float and 0 < value < _BEYOND_COUNTING else 0


def only(body: bytes, keys: Collection[str]) -> bytes:
    """The body without its other members: an endpoint that counts refuses those that have no part in it."""
    return msgspec.json.encode({key: value for key, value in fields_of(body).items() if key in keys})


def count_of(body: bytes, key: str, issuer: str, usual: int | None = None) -> int:
    """The number of tokens in an answer, `usual` where it is left out. Raises `UpstreamGarbled`."""
    try:
        native = loads(body)
    except ValueError:
        native = None
    total = native.get(key, usual) if isinstance(native, dict) and "error" not in native else None
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise UpstreamGarbled(f"the answer is not a count of tokens: {body[:80]!r}", provider=issuer)
    return total
