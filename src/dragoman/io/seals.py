"""Who sealed what, in the store: `flow/seals.py` beyond one process. Of a seal only a hash is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from dragoman.errors import StoreUnavailable
from dragoman.records import Record, Records
from dragoman.wire.http import Clock

log = logging.getLogger("dragoman.seals")

KIND = "seal"
SEALER = "sealer"
_NOBODY = ""
"""The owner of these records: they are of the gateway's own."""
_SOON = 0.02
"""Seconds in which what is to be written is collected. A client needs longer to send back what it has just got."""
_MOST_FRESH = 10_000
_MOST_SEALERS = 1000
_PATIENCE = 1.0
"""Seconds. A request can go on without; what is foreign in it is then refused, and left out the second time."""
_QUIET = 60.0
"""Seconds between two lines in the log about the same trouble."""

_sealer = msgspec.json.Decoder(tuple[str, str])


class StoreSeals:
    """`ttl` in seconds: how long a seal is known after it was last asked for."""

    def __init__(self, records: Records, clock: Clock, ttl: float) -> None:
        self._records = records
        self._clock = clock
        self._ttl = ttl
        self._fresh: dict[str, str] = {}
        self._writing: asyncio.Task[None] | None = None
        self._sealers: set[tuple[str, str]] = set()
        """Who has sealed anything in this process."""
        self._told: dict[tuple[str, str], float] = {}
        """Until when that is written down."""
        self._lost = 0
        """Of what was to be written, since the log has told of it."""
        self._complained = -_QUIET

    def keep(self, dialect: str, values: Sequence[str], issuer: str) -> None:
        self._sealers.add((dialect, issuer))
        if len(self._fresh) < _MOST_FRESH:
            self._fresh.update((_digest(value), issuer) for value in values)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def sealers(self) -> set[tuple[str, str]]:
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._records.page(SEALER, _NOBODY, limit=_MOST_SEALERS)
        except (StoreUnavailable, TimeoutError):
            return set(self._sealers)  # its log says why
        return self._sealers | {_sealer.decode(one.body) for one in found}

    async def issuers(self, values: Sequence[str]) -> dict[str, str]:
        digests = {value: _digest(value) for value in values}
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._records.several(KIND, _NOBODY, list(digests.values()))
                await self._renew(list(found.values()))
        except (StoreUnavailable, TimeoutError):
            return {}  # its log says why
        return {value: found[digest].body.decode() for value, digest in digests.items() if digest in found}

    async def aclose(self) -> None:
        """What is to be written still is."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    async def _renew(self, found: list[Record]) -> None:
        now = self._clock.time()
        old = [one.id for one in found if (one.expires or now) - now < self._ttl / 2]
        if old:
            # The conversation goes on.
            await self._records.keep(KIND, _NOBODY, old, now + self._ttl)

    def _record(self, kind: str, key: str, body: bytes, now: float) -> Record:
        return Record(kind=kind, owner=_NOBODY, id=key, body=body, created=now, expires=now + self._ttl)

    async def _write(self) -> None:
        try:
            while self._fresh:
                await asyncio.sleep(_SOON)
                fresh, self._fresh = self._fresh, {}
                now = self._clock.time()
                untold = [one for one in self._sealers if self._told.get(one, 0.0) < now]
                records = [
                    *(self._record(KIND, digest, issuer.encode(), now) for digest, issuer in fresh.items()),
                    *(self._record(SEALER, _digest("\0".join(one)), msgspec.json.encode(one), now) for one in untold),
                ]
                try:
                    await self._records.put(*records)
                    self._told.update(dict.fromkeys(untold, now + self._ttl / 2))
                except StoreUnavailable as error:
                    self._complain(len(fresh), error)
        finally:
            self._writing = None

    def _complain(self, lost: int, error: StoreUnavailable) -> None:
        self._lost += lost
        now = self._clock.now()
        if now - self._complained >= _QUIET:
            log.warning("who sealed %d parts of answers is known to this process alone: %s", self._lost, error.message)
            self._lost, self._complained = 0, now


def _digest(value: str) -> str:
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
