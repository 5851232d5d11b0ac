"""Ids of tool calls, as clients really send them: missing, the same on every turn, the same twice within one.

The hub has one id for each call and for each result the id of its call. What is made up here depends on the conversation
alone, so that it is the same on every turn.
"""

from __future__ import annotations


class Pairs:
    """One id for each call, and for each result the id of its call."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._latest: dict[str, str] = {}
        self._unanswered: list[tuple[str, str, str]] = []

    def turn(self) -> None:
        """A new turn calls: what was left unanswered before it stays so."""
        self._unanswered.clear()

    def call(self, given: str, fallback: str, name: str) -> str:
        own = given or fallback
        while own in self._used:
            # The nth call of that id; a later one must not get the same.
            base = given or fallback
            self._used[base] += 1
            own = f"{base}_{self._used[base]}"
        self._used[own] = 1
        self._latest[given] = own
        self._unanswered.append((given, name, own))
        return own

    def result(self, given: str, name: str | None) -> str | None:
        for position, (of, its_name, own) in enumerate(self._unanswered):
            if (of == given) if given else (name is None or name == its_name):
                del self._unanswered[position]
                return own
        return self._latest.get(given, given) if given else None
