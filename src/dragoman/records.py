"""The seam between what must be remembered and where it is kept: small records that survive the process.

`io/store.py` keeps them in SQLite or PostgreSQL. Who remembers something (stored Responses, sealed state, jobs) gives its
records a `kind` of its own and decides what stands in `body`; the store never looks inside.

A record belongs to its `owner` (the name of a caller's key, empty where the gateway has no keys): nothing is found without
naming the owner, so nobody can read what is another's by guessing an id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

_LONGEST_ID = 512
"""Characters. PostgreSQL's index takes no more than about 2,700 bytes."""


def can_be_id(key: str) -> bool:
    """Whether there can be a record of this id at all. Ids come from callers and providers."""
    return 0 < len(key) <= _LONGEST_ID and key.isprintable()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`(kind, owner, id)` is its name. `created` and `expires` in seconds since 1970; `expires` None: kept until deleted.
    `version` counts how often it was written, from 1; 0: not written yet. `body` may hold secrets, so it is not shown."""

    kind: str
    id: str
    owner: str
    body: bytes
    created: float
    expires: float | None = None
    version: int = 0

    def __repr__(self) -> str:
        return f"Record({self.kind}/{self.id}, {len(self.body)} bytes, version {self.version})"


class Records(Protocol):
    """Every method raises `StoreUnavailable` when the store cannot be used, and has written or read all or nothing. What was
    written is on the disk when the method returns, and seen by every other process that uses the same store. A record whose
    time has come is gone, whether or not it has been swept away yet."""

    async def put(self, *records: Record) -> None:
        """Write these, all or none, in place of any of the same name. Their ids are such as can be (`can_be_id`)."""
        ...

    async def swap(self, record: Record) -> bool:
        """Write it in place of the one whose `version` it carries, or, with version 0, where there is none. False when
        somebody else was faster; then nothing is written. This is how two processes take turns."""
        ...

    async def get(self, kind: str, owner: str, key: str) -> Record | None:
        """The record with this id."""
        ...

    async def several(self, kind: str, owner: str, keys: Sequence[str]) -> dict[str, Record]:
        """Those of these ids that are there, by id."""
        ...

    async def page(self, kind: str, owner: str | None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """The newest first, from behind the one with the id `after`. `owner` None: of everybody, for the gateway's own jobs,
        never for a caller."""
        ...

    async def keep(self, kind: str, owner: str, keys: Sequence[str], expires: float | None) -> None:
        """Let these live on until then. Nothing is made to die sooner."""
        ...

    async def delete(self, kind: str, owner: str, *keys: str) -> int:
        """How many of them were there."""
        ...

    async def sweep(self) -> int:
        """Remove what has expired; how many that was. The store does so by itself from time to time."""
        ...

    async def aclose(self) -> None: ...
