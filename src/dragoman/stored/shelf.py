"""What is kept of an answer. An entry is a record of the kind `response`; beside it stand, as records of their own, the ids
of its items (`item`), that another answer goes on from it (`followed`), and the events of its stream (`events`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import msgspec

from dragoman.dialects.responses.keeping import Items, ids_of, output_of
from dragoman.errors import RequestError, StoreUnavailable
from dragoman.flow.envelope import Caller
from dragoman.records import Record, Records, can_be_id
from dragoman.stored.whose import Whose
from dragoman.wire.http import Clock

log = logging.getLogger("dragoman.stored")

_QUIET = 60.0
"""Seconds between two complaints."""
_EMPTY = msgspec.Raw(b"null")


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`held` `here`: `response` is the answer as JSON, `input` its request's own items, `previous` the ids of the answers it
    goes on from, the oldest first; `issuer` whose reasoning stands in it. `there`: `provider` has it, under its `key`th key,
    and `model` is the caller's name for the way to it. `deleted`: kept only for those that go on from it."""

    held: Literal["here", "there"] = "here"
    response: msgspec.Raw = _EMPTY
    input: list[msgspec.Raw] = []
    previous: list[str] = []
    issuer: str = ""
    provider: str = ""
    model: str = ""
    key: int = 1
    background: bool = False
    streamed: bool = False
    deleted: bool = False


class Found(msgspec.Struct):
    """An entry as it was read."""

    id: str
    owner: str
    entry: Entry
    record: Record


class Context(msgspec.Struct):
    """A conversation up to some answer. `issuers` says for each item whose reasoning it may be, `names` how an item is called
    that has no id; `ids` are the answers."""

    items: Items
    issuers: list[str]
    names: list[str]
    ids: list[str]


_decode = msgspec.json.Decoder(Entry).decode
_encode = msgspec.json.Encoder().encode


def owner_of(caller: Caller, *, own_key: bool) -> str:
    """Whose an answer is: the holder's of the gateway's key (everybody's where it asks for none). What a provider's key of the
    caller's own has paid for (`own_key`) is seen with that key alone."""
    return f"{caller.name}/key:{caller.fingerprint}" if own_key else caller.name


def owners(caller: Caller) -> list[str]:
    """Under which names a caller's answers may stand."""
    return [caller.name, owner_of(caller, own_key=True)] if caller.brings_key else [caller.name]


class Shelf:
    """`ttl` in seconds."""

    def __init__(self, records: Records, clock: Clock, ttl: float) -> None:
        self.records = records
        self.clock = clock
        self.ttl = ttl
        self.whose = Whose(records, clock, ttl)
        """Of what providers keep."""
        self._complained = -_QUIET

    def complain(self, error: StoreUnavailable) -> None:
        """Say in the log, now and then, that answers are not kept that nobody has asked to keep."""
        if self.clock.now() - self._complained >= _QUIET:
            self._complained = self.clock.now()
            log.warning("answers are not kept: %s", error.message)

    async def note(self, name: str, ids: Sequence[str], conversations: Sequence[str] = ()) -> None:
        """Remember that a provider has made these for this caller, if that can be."""
        try:
            await self.whose.note(name, ids, conversations)
        except StoreUnavailable as error:
            self.complain(error)

    async def read(self, owner: str, own_id: str) -> Found | None:
        record = await self.records.get("response", owner, own_id)
        if record is None:
            return None
        entry = _decode(record.body)
        return None if entry.deleted else Found(own_id, owner, entry, record)

    async def find(self, caller: Caller, own_id: str) -> Found | None:
        """An answer of this caller's. Raises `StoreUnavailable`, as every method here."""
        for owner in owners(caller):
            if (found := await self.read(owner, own_id)) is not None:
                return found
        return None

    async def context(self, found: Found) -> Context:
        """The whole conversation, with this answer at its end."""
        ids = found.entry.previous
        earlier = await self.records.several("response", found.owner, ids) if ids else {}
        context = Context([], [], [], [*ids, found.id])
        for one in ids:
            record = earlier.get(one)
            if record is None:
                raise not_found(one, previous=True, follower=found.id)
            _add(context, one, _decode(record.body))
        _add(context, found.id, found.entry)
        return context

    async def before(self, found: Found) -> Context:
        """What an answer was made of: the conversation without the answer itself."""
        without = msgspec.structs.replace(found.entry, response=_EMPTY)
        return await self.context(msgspec.structs.replace(found, entry=without))

    async def items(self, caller: Caller, ids: Sequence[str]) -> dict[str, tuple[msgspec.Raw, str]]:
        """Single items of earlier answers by their ids, each with its issuer."""
        found: dict[str, tuple[msgspec.Raw, str]] = {}
        for owner in owners(caller):
            places = await self.records.several("item", owner, [one for one in ids if one not in found])
            answers = {record.body.decode() for record in places.values()}
            for record in (await self.records.several("response", owner, sorted(answers))).values():
                entry = _decode(record.body)
                for item in output_of(bytes(entry.response)):
                    for one in ids_of([item]):
                        if one in places and not entry.deleted:
                            found[one] = (item, entry.issuer)
        return found

    async def keep(self, owner: str, own_id: str, entry: Entry, beside: Sequence[Record] = ()) -> None:
        """Durable when it returns, with what stands `beside` it; and what it goes on from lives as long as it does. Items are
        found by ids that can be kept; some providers make them of all that an item says."""
        if not can_be_id(own_id):
            if beside:
                await self.records.put(*beside)
            raise StoreUnavailable(f"the provider calls its answer {own_id[:80]!r}, and nothing can be kept by that name")
        now = self.clock.time()
        expires = now + self.ttl

        def record(kind: str, key: str, body: bytes) -> Record:
            return Record(kind=kind, id=key, owner=owner, body=body, created=now, expires=expires)

        records = [record("response", own_id, _encode(entry)), *beside]
        if entry.held == "here":
            made = ids_of(output_of(bytes(entry.response)))
            records += [record("item", one, own_id.encode()) for one in made if can_be_id(one)]
        if entry.previous:
            records.append(record("followed", entry.previous[-1], b""))
        await self.records.put(*records)
        if entry.previous:
            await self.records.keep("response", owner, entry.previous, expires)
            await self.records.keep("followed", owner, entry.previous, expires)

    async def keep_events(self, owner: str, own_id: str, events: bytes) -> None:
        """The stream of an answer, to be read again."""
        now = self.clock.time()
        record = Record(kind="events", id=own_id, owner=owner, body=events, created=now, expires=now + self.ttl)
        await self.records.put(record)

    async def change(self, found: Found, entry: Entry) -> bool:
        """False when somebody else has changed it meanwhile."""
        return await self.records.swap(msgspec.structs.replace(found.record, body=_encode(entry)))

    async def ask_to_stop(self, found: Found) -> None:
        """Whichever process works on it."""
        now = self.clock.time()
        await self.records.put(Record(kind="stop", id=found.id, owner=found.owner, body=b"", created=now, expires=now + 600))

    async def remove(self, found: Found) -> None:
        """What others go on from is kept for them, and no longer shown."""
        entry, owner = found.entry, found.owner
        if entry.held == "here" and await self.records.get("followed", owner, found.id) is not None:
            now: Found | None = found
            while now is not None and not await self.change(now, msgspec.structs.replace(now.entry, deleted=True)):
                now = await self.read(owner, found.id)
        else:
            await self.records.delete("response", owner, found.id)
        if entry.held == "here":
            await self.records.delete("item", owner, *ids_of(output_of(bytes(entry.response))))
            await self.records.delete("events", owner, found.id)


def _add(context: Context, own_id: str, entry: Entry) -> None:
    output = output_of(bytes(entry.response))
    context.items += [*entry.input, *output]
    stem = own_id.removeprefix("resp_")
    context.names += [f"{stem}_in{number}" for number in range(len(entry.input))]
    context.names += [f"{stem}_{number}" for number in range(len(output))]
    # Reasoning among the items that the caller sent is anybody's.
    context.issuers += [""] * len(entry.input) + [entry.issuer] * len(output)


def not_found(own_id: str, *, previous: bool = False, follower: str = "") -> RequestError:
    """In the API's own words, by which clients know it."""
    shown = own_id[:80]
    if follower:
        message = f"Previous response with id '{shown}' not found: it is gone, and '{follower}' goes on from it."
    elif previous:
        message = f"Previous response with id '{shown}' not found."
    else:
        return RequestError(f"Response with id '{shown}' not found.", status=404, code="response_not_found")
    return RequestError(message, code="previous_response_not_found", param="previous_response_id")


def no_conversation(own_id: str) -> RequestError:
    return RequestError(f"Conversation with id '{own_id[:80]}' not found.", status=404, param="conversation")


def no_item(own_id: str) -> RequestError:
    return RequestError(f"Item with id '{own_id[:80]}' not found.", status=404, param="input")
