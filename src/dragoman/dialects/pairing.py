"""Ids of tool calls, as clients really send them: missing, the same on every turn, the same twice within one.

The hub has one id for each call and for each result the id of its call. What is made up here depends on the conversation
alone, so that it is the same on every turn. Ids that came from us may carry sealed thinking (`ir/carrier.py`).
"""

from __future__ import annotations

from collections import deque

import msgspec

from dragoman.ir import carrier
from dragoman.ir.request import Part, Reasoning, ToolCall


def unpacked(parts: list[Part], key: str) -> list[Part]:
    """The parts of an assistant's turn whose calls have their own ids back; what rode in an id stands before the call again,
    once. `key` is that of an id in a call."""
    if not any(isinstance(part, ToolCall) and carrier.is_changed(part.id) for part in parts):
        return parts
    known = {part.seal.value for part in parts if isinstance(part, Reasoning) and part.seal is not None}
    own: list[Part] = []
    for part in parts:
        if isinstance(part, ToolCall):
            bare, held = carrier.detach(part.id)
            part.id = carrier.original_id(bare)
            for reasoning in held:
                if reasoning.seal is None or reasoning.seal.value not in known:
                    own.append(msgspec.structs.replace(reasoning, at=(part.at, key)))
                    if reasoning.seal is not None:
                        known.add(reasoning.seal.value)
        own.append(part)
    return own


class Pairs:
    """One id for each call, and for each result the id of its call."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._latest: dict[str, str] = {}
        # The calls that wait for their result, by number and in order; and the same by the id that was given and by name, where
        # those that have theirs are passed over.
        self._calls = 0
        self._unanswered: dict[int, str] = {}
        self._of_id: dict[str, deque[int]] = {}
        self._of_name: dict[str, deque[int]] = {}

    def turn(self) -> None:
        """A new turn calls: what was left unanswered before it stays so."""
        self._unanswered.clear()
        self._of_id.clear()
        self._of_name.clear()

    def call(self, given: str, fallback: str, name: str) -> str:
        own = given or fallback
        while own in self._used:
            # The nth call of that id; a later one must not get the same.
            base = given or fallback
            self._used[base] += 1
            own = f"{base}_{self._used[base]}"
        self._used[own] = 1
        self._latest[given] = own
        self._unanswered[self._calls] = own
        self._of_id.setdefault(given, deque()).append(self._calls)
        self._of_name.setdefault(name, deque()).append(self._calls)
        self._calls += 1
        return own

    def result(self, given: str, name: str | None) -> str | None:
        if not given and name is None:
            number = next(iter(self._unanswered), None)
        else:
            waiting = self._of_id.get(given) if given else self._of_name.get(name or "")
            number = self._first(waiting) if waiting else None
        if number is not None:
            return self._unanswered.pop(number)
        return self._latest.get(given, given) if given else None

    def _first(self, waiting: deque[int]) -> int | None:
        while waiting:
            number = waiting.popleft()
            if number in self._unanswered:
                return number
        return None
