"""Whose is what a provider keeps itself: responses, their items, conversations.

A provider that is asked with one key for everybody cannot tell the gateway's callers apart. So the gateway remembers for which
of its keys an id was made, and to everybody else it is not there:

made for another        is not there
made for the caller     is asked for
unknown                 was made elsewhere, or long ago. A conversation is from now on the caller's who uses it first: what is
                        said in it is said through the gateway. Anything else is the provider's own affair, but that nobody
                        goes on from an unknown response (`keeping.py`).

What is remembered are records of the kind `whose`. Their id is a hash of the provider's (which may be of any length), so that
two of them never meet; their body is the names of those for whom it was made: more than one where a provider counts its ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from dragoman.records import Record, Records
from dragoman.wire.http import Clock

KIND = "whose"
_NOBODY = ""
"""The owner of these records: they are of the gateway's own."""
_KEPT = 31 * 86_400.0
"""Seconds. Providers keep a response for 30 days, and so long at the least it must be known whose it is."""
_CONVERSATION = 400 * 86_400.0
"""Seconds. Conversations are kept until they are deleted; this runs anew with each use."""
_MOST_NAMES = 16

_names = msgspec.json.Decoder(list[str])


class Whose:
    """`ttl` in seconds: how long answers are kept here. Every method raises `StoreUnavailable`."""

    def __init__(self, records: Records, clock: Clock, ttl: float) -> None:
        self._records = records
        self._clock = clock
        self._ttl = max(ttl, _KEPT)

    async def foreign(self, name: str, ids: Sequence[str]) -> str | None:
        """The first of these ids that is known to be another's and not this caller's."""
        found = await self._found(ids)
        return next((one for one in ids if (names := found.get(one)) is not None and name not in names), None)

    async def owns(self, name: str, own_id: str) -> bool:
        """Whether it is known to be this caller's."""
        return name in (await self._found([own_id])).get(own_id, [])

    async def made(self, name: str, ids: Sequence[str], conversations: Sequence[str] = ()) -> list[Record]:
        """The records that say so, to be written with others."""
        found = await self._found([*ids, *conversations])
        now = self._clock.time()
        return [
            _record(one, [*[other for other in found.get(one, []) if other != name], name], now, now + ttl)
            for some, ttl in ((ids, self._ttl), (conversations, _CONVERSATION))
            for one in dict.fromkeys(some)
        ]

    async def note(self, name: str, ids: Sequence[str], conversations: Sequence[str] = ()) -> None:
        """Durable when it returns."""
        if ids or conversations:
            await self._records.put(*await self.made(name, ids, conversations))

    async def claim(self, name: str, conversation: str) -> bool:
        """Whether it is this caller's, who has it from now on if nobody had."""
        key = _key(conversation)
        now = self._clock.time()
        fresh = _record(conversation, [name], now, now + _CONVERSATION)
        while (found := await self._records.get(KIND, _NOBODY, key)) is None:
            if await self._records.swap(fresh):
                return True
        if name not in _names.decode(found.body):
            return False
        if (found.expires or now) - now < _CONVERSATION * 0.9:
            await self._records.keep(KIND, _NOBODY, [key], now + _CONVERSATION)
        return True

    async def _found(self, ids: Sequence[str]) -> dict[str, list[str]]:
        keys = {one: _key(one) for one in ids}
        found = await self._records.several(KIND, _NOBODY, list(keys.values())) if keys else {}
        return {one: _names.decode(found[key].body) for one, key in keys.items() if key in found}


def _key(own_id: str) -> str:
    return sha256(own_id.encode("utf-8", "surrogatepass")).hexdigest()


def _record(own_id: str, names: list[str], created: float, expires: float) -> Record:
    body = msgspec.json.encode(names[-_MOST_NAMES:])
    return Record(kind=KIND, owner=_NOBODY, id=_key(own_id), body=body, created=created, expires=expires)
