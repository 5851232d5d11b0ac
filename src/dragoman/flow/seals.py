"""Who sealed what went through verbatim, so that it is taken out of a body that goes verbatim to somebody else.

Nothing in a seal says whose it is, and an answer that goes through verbatim is not the place to write it down. So it is
remembered: in the process, and, for dialects that configured providers of more than one issuer speak, in the store as well
(`io/seals.py`), for the processes beside this one and those after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dragoman.dialects.base import Dialect
from dragoman.dialects.sealing import Foreign, Sealing
from dragoman.wire.http import Clock

_MOST_KNOWN = 50_000
_ASKED_FOR = 60.0
"""Seconds for which nobody is asked again for a seal that nobody knew."""
_RIVALS_FOR = 1.0
"""Seconds for which it is believed who seals at all."""


class Memory(Protocol):
    """What is known of seals beyond this process. They do not leave it as they are."""

    def keep(self, dialect: str, values: Sequence[str], issuer: str) -> None:
        """Soon on the disk. Returns at once, and never raises."""
        ...

    async def sealers(self) -> set[tuple[str, str]]:
        """Who has sealed anything, and in which dialect. Soon, as what follows: without an answer a request goes on without."""
        ...

    async def issuers(self, values: Sequence[str]) -> dict[str, str]:
        """Those of the values that are known."""
        ...


class Witness:
    """Remembers who sealed what. `contested` are the dialects that providers of more than one issuer speak; in any other no
    seal can meet a stranger. `shared` are those of them for which `memory` is kept and asked."""

    __slots__ = (
        "_asked",
        "_asked_since",
        "_clock",
        "_contested",
        "_known",
        "_memory",
        "_most",
        "_number",
        "_refused",
        "_sealers",
        "_sealers_since",
        "shared",
    )

    def __init__(
        self,
        contested: Iterable[str],
        clock: Clock,
        most: int = _MOST_KNOWN,
        *,
        memory: Memory | None = None,
        shared: Iterable[str] = (),
    ) -> None:
        self._contested = frozenset(contested)
        self._clock = clock
        self._known: dict[int, str] = {}
        self._number: dict[str, int] = {}
        self._refused: dict[int, None] = {}
        """Seals, each with an issuer who has refused it."""
        self._most = most
        self._memory = memory
        self.shared = frozenset(shared) if memory is not None else frozenset[str]()
        self._asked: set[int] = set()
        """Seals that nobody knew."""
        self._asked_since = 0.0
        self._sealers: set[tuple[str, str]] = set()
        self._sealers_since = -_RIVALS_FOR

    def of(self, dialect: Dialect) -> Sealing | None:
        """How to find what is to be noted in a verbatim answer; None where nothing is."""
        return dialect.sealing if dialect.name in self._contested else None

    def saw(self, dialect: Dialect, values: Sequence[str], issuer: str) -> None:
        """This issuer has sealed these."""
        if self._memory is not None and dialect.name in self.shared:
            fresh = [value for value in values if self._known.get(hash(value)) != issuer]
            if fresh:
                self._memory.keep(dialect.name, fresh, issuer)
        self.note(values, issuer)

    def note(self, values: Iterable[str], issuer: str) -> None:
        known, number = self._known, self._number
        for value in values:
            key = hash(value)
            before = known.pop(key, None)
            known[key] = issuer
            number[issuer] = number.get(issuer, 0) + 1
            if before is not None:
                number[before] -= 1
        while len(known) > self._most:
            number[known.pop(next(iter(known)))] -= 1

    def note_refused(self, values: Iterable[str], issuer: str) -> None:
        """This issuer knows none of these: they are not shown to it again, unless it is known to have sealed them."""
        for value in values:
            if hash(value) not in self._known:
                self._refused[hash((value, issuer))] = None
        while len(self._refused) > self._most:
            self._refused.pop(next(iter(self._refused)))

    def has_rivals(self, dialect: Dialect, issuer: str) -> bool:
        """Whether anybody else may have sealed something in this dialect, as far as is known. Asked of every request."""
        if self._clock.now() - self._sealers_since >= _RIVALS_FOR:
            return True
        return any(name == dialect.name and of != issuer for name, of in self._sealers)

    async def learn(self, dialect: Dialect, issuer: str, find: Callable[[], list[str]]) -> None:
        """Ask the others who sealed what is not known here. `find` gives the seals of the request."""
        assert self._memory is not None
        now = self._clock.now()
        if now - self._sealers_since >= _RIVALS_FOR:
            self._sealers_since = now
            self._sealers = await self._memory.sealers()
            if not self.has_rivals(dialect, issuer):
                return
        values = find()
        if now - self._asked_since > _ASKED_FOR or len(self._asked) > self._most:
            self._asked.clear()
            self._asked_since = now
        unknown = [value for value in values if hash(value) not in self._known and hash(value) not in self._asked]
        if not unknown:
            return
        found = await self._memory.issuers(unknown)
        for value, whose in found.items():
            self.note([value], whose)
        self._asked.update(hash(value) for value in unknown if value not in found)

    def foreign(self, issuer: str) -> Foreign | None:
        """Whether a seal is known to be another's, or unknown to this one; None when nothing is known of any other."""
        if not self._number and not self._refused:
            return None
        others = any(count and of != issuer for of, count in self._number.items())
        if not others and not self._refused:
            return None
        known, refused = self._known, self._refused

        def is_foreign(value: str) -> bool:
            found = known.get(hash(value))
            return found != issuer if found is not None else hash((value, issuer)) in refused

        return is_foreign
