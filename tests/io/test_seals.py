"""Who sealed what, in records of a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dragoman.io.seals import KIND, StoreSeals
from dragoman.io.store import Store
from tests.hands import Hands
from tests.serving import PATIENCE

Use = Callable[[StoreSeals, Store, Hands], Coroutine[Any, Any, None]]


def using(url: str, use: Use, ttl: float = 100.0) -> None:
    async def run() -> None:
        clock = Hands()
        store = Store(url, clock)
        try:
            async with asyncio.timeout(PATIENCE):
                await use(StoreSeals(store, clock, ttl), store, clock)
        finally:
            await store.aclose()

    asyncio.run(run())


def test_what_is_kept_is_known_to_others_when_it_is_written(shared_store: str) -> None:
    mine, its = uuid4().hex, uuid4().hex

    async def keep(seals: StoreSeals, store: Store, clock: Hands) -> None:
        seals.keep("messages", [mine, its], "a")
        seals.keep("messages", [its], "b")
        await seals.aclose()

    async def look(seals: StoreSeals, store: Store, clock: Hands) -> None:
        assert {("messages", "a"), ("messages", "b")} <= await seals.sealers()
        assert await seals.issuers([mine, "unknown", its, "\ud800"]) == {mine: "a", its: "b"}

    using(shared_store, keep)
    using(shared_store, look)


def test_no_seal_stands_in_the_file(tmp_path: Path) -> None:
    async def keep(seals: StoreSeals, store: Store, clock: Hands) -> None:
        seals.keep("messages", ["what-a-provider-sealed"], "a")
        await seals.aclose()
        assert len(await store.page(KIND, None)) == 1

    using(f"sqlite:///{tmp_path / 'd.db'}", keep)
    assert b"what-a-provider" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_seal_is_known_for_its_time_and_longer_when_the_conversation_goes_on(tmp_path: Path) -> None:
    async def use(seals: StoreSeals, store: Store, clock: Hands) -> None:
        seals.keep("messages", ["one", "two"], "a")
        await seals.aclose()
        for _ in range(3):
            clock.at += 80
            assert await seals.issuers(["one"]) == {"one": "a"}
        assert await seals.issuers(["one", "two"]) == {"one": "a"}
        clock.at += 101
        assert await seals.issuers(["one"]) == {}
        assert await StoreSeals(store, clock, 100.0).sealers() == set()
        seals.keep("messages", ["three"], "a")
        await seals.aclose()
        assert await StoreSeals(store, clock, 100.0).sealers() == {("messages", "a")}

    using(f"sqlite:///{tmp_path / 'd.db'}", use)


def test_without_a_store_nothing_is_raised_and_nothing_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")

    async def use(seals: StoreSeals, store: Store, clock: Hands) -> None:
        seals.keep("messages", ["one"], "a")
        assert await seals.issuers(["one"]) == {}
        assert await seals.sealers() == {("messages", "a")}, "what this process has seen itself"
        await seals.aclose()
        assert "known to this process alone" in caplog.text
        for number in range(3):
            seals.keep("messages", [f"more {number}"], "a")
            await seals.aclose()
        clock.at += 60
        seals.keep("messages", ["last"], "a")
        await seals.aclose()
        told = [record.message for record in caplog.records if record.name == "dragoman.seals"]
        assert [line.partition(" is known")[0] for line in told] == [
            "who sealed 1 parts of answers",
            "who sealed 4 parts of answers",
        ]

    using(f"sqlite:///{tmp_path / 'file' / 'd.db'}", use)
