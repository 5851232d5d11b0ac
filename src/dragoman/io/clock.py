"""The real clock and the real dice, for the core that is given both."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"


class SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()


def new_id() -> str:
    """24 letters and digits, about 136 bits."""
    number = int.from_bytes(secrets.token_bytes(17))
    letters: list[str] = []
    for _ in range(24):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)
