"""The real clock and the real dice, for the core that is given both."""

from __future__ import annotations

import os
import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"


class SystemClock:
    # As they are: each request asks several times.
    now = staticmethod(time.monotonic)
    time = staticmethod(time.time)


_LENGTH = 24
_AT_ONCE = 256
_LETTERS = (_ALPHABET * 5)[: 256 - 256 % len(_ALPHABET)].encode()
_TABLE = _LETTERS + bytes(256 - len(_LETTERS))
_UNFAIR = bytes(range(len(_LETTERS), 256))
"""Bytes that would make some letters likelier than others."""
_ready: list[str] = []


def new_id() -> str:
    """24 letters and digits, about 136 bits. Made in stock: asking the system for dice is what costs."""
    while True:
        try:
            return _ready.pop()
        except IndexError:
            letters = secrets.token_bytes(_AT_ONCE * _LENGTH).translate(_TABLE, _UNFAIR).decode()
            _ready.extend(letters[at : at + _LENGTH] for at in range(0, len(letters) - _LENGTH + 1, _LENGTH))


if hasattr(os, "register_at_fork"):
    # Two processes must not draw from one stock.
    os.register_at_fork(after_in_child=_ready.clear)
