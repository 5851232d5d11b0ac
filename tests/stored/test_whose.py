"""Whose the ids at a provider are, in records of a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from dragoman.stored.shelf import Shelf
from dragoman.stored.whose import KIND
from tests.hands import Hands
from tests.stored.shelves import sharing

DAY = 86_400.0


def test_what_was_made_for_one_is_foreign_to_all_others(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        own = [uuid4().hex for _ in range(3)]
        await one.whose.note("alice", own)
        assert await other.whose.foreign("alice", own) is None
        assert await other.whose.foreign("bob", ["unknown", *own]) == own[0]
        assert await other.whose.foreign("bob", ["unknown"]) is None
        assert (await other.whose.owns("alice", own[0]), await other.whose.owns("bob", own[0])) == (True, False)
        await other.whose.note("bob", own[:1])
        assert await one.whose.foreign("bob", own[:1]) is None
        assert await one.whose.foreign("alice", own[:1]) is None
        assert await one.whose.foreign("carol", own[:1]) == own[0]

    sharing(shared_store, use)


def test_ids_may_be_anything_that_a_caller_can_say(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        odd = ["", "a\0b", "\ud800", "x" * 100_000, "a\nb", uuid4().hex]
        assert await one.whose.foreign("bob", odd) is None
        for own_id in odd[1:]:
            assert await one.whose.claim("alice", own_id)
            assert not await other.whose.claim("bob", own_id)
        await one.records.delete(KIND, "", *[record.id for record in await one.records.page(KIND, "")])

    sharing(shared_store, use)


def test_it_is_known_for_as_long_as_a_provider_keeps_it_and_a_conversation_for_as_long_as_it_is_used(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        item, talk = uuid4().hex, uuid4().hex
        await one.whose.note("alice", [item])
        assert await one.whose.claim("alice", talk)
        clock.at += 30 * DAY
        assert await other.whose.foreign("bob", [item]) == item, "though the answers here were kept for an hour only"
        clock.at += 2 * DAY
        assert await other.whose.foreign("bob", [item]) is None
        for _ in range(3):
            clock.at += 300 * DAY
            assert await other.whose.claim("alice", talk)
            assert await other.whose.foreign("bob", [talk]) == talk
        clock.at += 401 * DAY
        assert await other.whose.claim("bob", talk)
        assert not await one.whose.claim("alice", talk)

    sharing(shared_store, use)


def test_of_many_who_claim_at_once_one_has_it(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        for _ in range(5):
            talk = uuid4().hex
            callers = [(shelf, f"caller {number}") for number in range(8) for shelf in (one, other)]
            told = await asyncio.gather(*(shelf.whose.claim(name, talk) for shelf, name in callers))
            winners = {name for (_, name), mine in zip(callers, told, strict=True) if mine}
            assert len(winners) == 1
            assert sum(told) == 2, "the same in both"

    sharing(shared_store, use)
