"""The shelf where two processes are at it, on a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import msgspec
import pytest

from dragoman.errors import RequestError
from dragoman.stored.shelf import Entry, Found, Shelf
from tests.hands import Hands
from tests.stored.shelves import sharing

OWNER = "alice"


def answer(own_id: str, text: str, **more: object) -> Entry:
    item = {"type": "message", "id": f"msg_{own_id}", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    response = msgspec.json.encode({"id": own_id, "status": "completed", "output": [item]})
    return Entry(response=msgspec.Raw(response), input=[], **more)  # type: ignore[arg-type]


async def followed(shelf: Shelf) -> tuple[Found, Found]:
    """An answer, and one that goes on from it."""
    first, second = f"resp_{uuid4().hex}", f"resp_{uuid4().hex}"
    await shelf.keep(OWNER, first, answer(first, "One."))
    await shelf.keep(OWNER, second, answer(second, "Two.", previous=[first]))
    found = await shelf.read(OWNER, first), await shelf.read(OWNER, second)
    assert found[0] is not None
    assert found[1] is not None
    return found[0], found[1]


async def change(shelf: Shelf, own_id: str, once: asyncio.Event) -> int:
    """Again and again until it is gone, or enough is enough, but once for certain; how often."""
    changed = tries = 0
    while not changed or tries < 20:
        tries += 1
        if (found := await shelf.read(OWNER, own_id)) is None:
            break
        changed += await shelf.change(found, msgspec.structs.replace(found.entry, model=f"m{changed}"))
        if changed:
            once.set()
    return changed


async def remove(shelf: Shelf, found: Found, *begun: asyncio.Event) -> None:
    """Once everybody else is at it. By then what was read is old, so that the first swap fails for certain."""
    for one in begun:
        await one.wait()
    await shelf.remove(found)


async def marked(shelf: Shelf, own_id: str) -> Entry | None:
    record = await shelf.records.get("response", OWNER, own_id)
    return msgspec.json.decode(record.body, type=Entry) if record is not None else None


def test_an_answer_that_others_go_on_from_is_removed_though_somebody_changes_it_meanwhile(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        first, second = await followed(one)
        # What is to be removed is no longer as it was read.
        assert await other.change(first, msgspec.structs.replace(first.entry, model="m0"))
        await one.remove(first)
        entry = await marked(other, first.id)
        assert entry is not None
        assert entry.deleted
        assert entry.model == "m0", "what the other has written is not lost"
        assert await other.read(OWNER, first.id) is None
        assert len((await other.context(second)).items) == 2, "and whoever goes on from it still can"

    sharing(shared_store, use)


def test_two_who_remove_and_two_who_change_it_at_once_leave_it_removed(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        for _ in range(3):
            first, second = await followed(one)
            begun = asyncio.Event(), asyncio.Event()
            _, mine, _, theirs = await asyncio.gather(
                remove(one, first, *begun), change(one, first.id, begun[0]),
                remove(other, first, *begun), change(other, first.id, begun[1]),
            )  # fmt: skip
            assert min(mine, theirs) >= 1
            entry = await marked(other, first.id)
            assert entry is not None
            assert entry.deleted, "a change that was begun before must not bring it back"
            assert await one.read(OWNER, first.id) is None
            assert len((await one.context(second)).items) == 2
            # What was named by its items is gone with it.
            assert await one.records.several("item", OWNER, [f"msg_{first.id}"]) == {}

    sharing(shared_store, use)


def test_an_answer_that_nobody_goes_on_from_is_gone_though_somebody_changes_it_meanwhile(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        first = f"resp_{uuid4().hex}"
        await one.keep(OWNER, first, answer(first, "One."))
        found = await one.read(OWNER, first)
        assert found is not None
        begun = asyncio.Event()
        await asyncio.gather(remove(one, found, begun), change(other, first, begun))
        assert await marked(one, first) is None
        assert not await other.change(found, found.entry), "and nobody brings it back"
        assert await marked(one, first) is None

    sharing(shared_store, use)


def test_who_goes_on_from_what_has_expired_is_told_which(shared_store: str) -> None:
    async def use(one: Shelf, other: Shelf, clock: Hands) -> None:
        first, second = await followed(one)
        await one.records.delete("response", OWNER, first.id)
        with pytest.raises(RequestError, match=f"{first.id}.*it is gone, and '{second.id}' goes on from it"):
            await other.context(second)

    sharing(shared_store, use)
