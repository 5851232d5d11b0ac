"""A key that cannot be printed by accident."""

from __future__ import annotations

import hmac

_LEAST_SHOWN = 16
"""Of a shorter value nothing is shown: six characters would be too much of it."""


def mask(value: str) -> str:
    """`sk-a…9f`: enough to tell two keys apart, not enough to use one."""
    return f"{value[:4]}…{value[-2:]}" if len(value) >= _LEAST_SHOWN else "…"


class Secret:
    """Holds a string whose `repr`, `str` and `format` are masked. `reveal()` is the one way to it, so that a
    search for that word finds every place where a key leaves its wrapper. No encoder knows the type."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({mask(self._value)!r})"

    def __str__(self) -> str:
        return mask(self._value)

    def __format__(self, spec: str) -> str:
        return format(mask(self._value), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)
