"""A clock for tests that run no time off."""

from __future__ import annotations


class Hands:
    """Time stands still until somebody moves it."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def time(self) -> float:
        return self.at
