"""What the dialects' questions for tokens have in common: fewer fields than an inference, and one number in the answer."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from dragoman.errors import UpstreamGarbled
from dragoman.wire.body import fields_of
from dragoman.wire.json import loads


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
