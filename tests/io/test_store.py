"""The store, on a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dragoman.config import load
from dragoman.errors import ConfigError, StoreUnavailable
from dragoman.io.clock import SystemClock
from dragoman.io.store import Store, store_of
from dragoman.records import Record
from tests.hands import Hands


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'deep' / 'store.db'}"


def on(url: str, talk: Callable[[Store], Coroutine[Any, Any, None]], clock: Hands | None = None) -> None:
    async def run() -> None:
        store = Store(url, clock or SystemClock())
        try:
            async with asyncio.timeout(20):
                await talk(store)
        finally:
            await store.aclose()

    asyncio.run(run())


def record(
    key: str, *, owner: str = "", kind: str = "", body: bytes = b"x", expires: float | None = None, **more: Any
) -> Record:
    return Record(
        kind=kind or "thing", owner=owner, id=key, body=body, created=more.pop("created", 1.0), expires=expires, **more
    )


def fresh() -> str:
    """PostgreSQL is the same for all tests."""
    return uuid4().hex


def test_what_was_put_is_got_as_it_was(url: str) -> None:
    kind, body = fresh(), bytes(range(256)) * 300

    async def talk(store: Store) -> None:
        assert await store.get(kind, "alice", "ä b") is None
        await store.put(record("ä b", kind=kind, owner="alice", body=body), record("2", kind=kind, owner="alice"))
        found = await store.get(kind, "alice", "ä b")
        assert found is not None
        assert (found.body, found.created, found.expires, found.version) == (body, 1.0, None, 1)
        await store.put(record("2", kind=kind, owner="alice", body=b"new"))
        several = await store.several(kind, "alice", ["2", "ä b", "3", "2"])
        assert {key: (one.body == body, one.version) for key, one in several.items()} == {"2": (False, 2), "ä b": (True, 1)}

    on(url, talk)


def test_nothing_is_found_under_another_owner_or_kind(url: str) -> None:
    kind = fresh()

    async def talk(store: Store) -> None:
        await store.put(record("1", kind=kind, owner="alice"))
        assert await store.get(kind, "bob", "1") is None
        assert await store.get(kind, "", "1") is None
        assert await store.get(fresh(), "alice", "1") is None
        assert await store.delete(kind, "bob", "1") == 0
        assert [one.id for one in await store.page(kind, "bob")] == []
        assert [one.id for one in await store.page(kind, None)] == ["1"]
        assert await store.get(kind, "alice", "1") is not None

    on(url, talk)


def test_what_has_expired_is_gone_and_is_swept_away(url: str) -> None:
    kind, clock = fresh(), Hands()

    async def talk(store: Store) -> None:
        await store.put(record("soon", kind=kind, expires=clock.at + 10), record("later", kind=kind, expires=clock.at + 100))
        await store.keep(kind, "", ["soon"], clock.at + 20)
        await store.keep(kind, "", ["later"], clock.at + 1)
        clock.at += 15
        assert set(await store.several(kind, "", ["soon", "later"])) == {"soon", "later"}
        clock.at += 5
        assert await store.get(kind, "", "soon") is None
        assert [one.id for one in await store.page(kind, "")] == ["later"]
        assert await store.delete(kind, "", "soon") == 0
        await store.put(*(record(str(number), kind=kind, expires=clock.at - 1) for number in range(1200)))
        assert await store.sweep() >= 1200
        assert await store.swap(record("soon", kind=kind, body=b"again"))
        assert await store.sweep() == 0

    on(url, talk, clock)


def test_a_page_holds_the_newest_first(url: str) -> None:
    kind = fresh()

    async def talk(store: Store) -> None:
        await store.put(*(record(f"{number:02}", kind=kind, created=float(number // 2)) for number in range(10)))
        assert [one.id for one in await store.page(kind, "", limit=3)] == ["09", "08", "07"]
        assert [one.id for one in await store.page(kind, "", after="07", limit=3)] == ["06", "05", "04"]
        assert [one.id for one in await store.page(kind, "", after="00")] == []
        assert await store.delete(kind, "", "09", "08", "nope") == 2
        assert [one.id for one in await store.page(kind, "", limit=1)] == ["07"]

    on(url, talk)


def test_only_one_of_two_writers_of_the_same_version_succeeds(url: str) -> None:
    kind = fresh()

    async def talk(store: Store) -> None:
        assert await store.swap(record("1", kind=kind))
        assert not await store.swap(record("1", kind=kind))
        assert await store.swap(record("1", kind=kind, version=1))
        assert not await store.swap(record("1", kind=kind, version=1))
        assert not await store.swap(record("2", kind=kind, version=1))

    on(url, talk)


def test_many_writers_at_once_all_get_their_turn(url: str) -> None:
    kind = fresh()

    async def talk(store: Store) -> None:
        await asyncio.gather(*(store.put(record(f"{n % 7}", kind=kind), record(f"{n % 5}", kind=kind)) for n in range(300)))
        found = await store.several(kind, "", [str(n) for n in range(7)])
        assert sum(one.version for one in found.values()) == 600

    on(url, talk)


def test_ids_that_no_record_can_have_are_not_found(url: str) -> None:
    async def talk(store: Store) -> None:
        for key in ("", "a\0b", "\ud800", "x" * 5000, "a\nb"):
            assert await store.get("thing", "", key) is None
            assert await store.delete("thing", "", key) == 0
            with pytest.raises(ValueError, match="cannot be the id"):
                await store.put(record(key))

    on(url, talk)


# ---------------------------------------------------------------- several processes

_COUNTER = """
import asyncio, sys
from dragoman.io.clock import SystemClock
from dragoman.io.store import Store
from dragoman.records import Record

async def count(url, kind):
    store, done = Store(url, SystemClock()), 0
    while done < 40:
        found = await store.get(kind, "", "counter")
        number = int(found.body) if found else 0
        version = found.version if found else 0
        record = Record(kind=kind, owner="", id="counter", body=b"%d" % (number + 1), created=0.0, version=version)
        done += await store.swap(record)
    await store.aclose()

asyncio.run(count(*sys.argv[1:]))
"""

_WRITER = """
import asyncio, sys
from dragoman.io.clock import SystemClock
from dragoman.io.store import Store
from dragoman.records import Record

async def write(url, kind):
    store = Store(url, SystemClock())
    for number in range(1_000_000):
        await store.put(Record(kind=kind, owner="", id=str(number), body=b"x" * 500, created=0.0))
        print(number, flush=True)

asyncio.run(write(*sys.argv[1:]))
"""


def test_two_processes_share_a_store(shared_store: str) -> None:
    kind = fresh()
    processes = [subprocess.Popen([sys.executable, "-c", _COUNTER, shared_store, kind]) for _ in range(2)]
    assert [process.wait(30) for process in processes] == [0, 0]

    async def talk(store: Store) -> None:
        found = await store.get(kind, "", "counter")
        assert found is not None
        assert (found.body, found.version) == (b"80", 80)

    on(shared_store, talk)


def test_what_was_written_survives_a_process_that_is_killed(shared_store: str) -> None:
    kind = fresh()
    with subprocess.Popen([sys.executable, "-c", _WRITER, shared_store, kind], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline().strip() for _ in range(30)]
        os.kill(process.pid, signal.SIGKILL)
        seen += process.stdout.read().split()
    assert seen[:3] == ["0", "1", "2"]

    async def talk(store: Store) -> None:
        found = await store.several(kind, "", seen)
        assert len(found) == len(seen) >= 30
        assert all(one.body == b"x" * 500 for one in found.values())

    on(shared_store, talk)


# ---------------------------------------------------------------- what it is kept in


def test_nothing_is_imported_or_opened_before_it_is_used(tmp_path: Path) -> None:
    script = (
        "import sys, json; from dragoman.config import load; from dragoman.io.engine import Engine;"
        "Engine(load(json.dumps({'store': sys.argv[1]}), '.json', {}, 'test')); print('sqlalchemy' in sys.modules)"
    )
    path = tmp_path / "store.db"
    said = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=20, check=True)
    assert said.stdout.strip() == "False"
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="has no modes")
def test_only_its_user_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "store.db"

    async def talk(store: Store) -> None:
        await store.put(record("1", body=b"secret"))
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}

    on(f"sqlite:///{path}", talk)


def test_what_was_deleted_is_no_longer_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def talk(store: Store) -> None:
        await store.put(record("1", body=b"a well-kept secret"))
        await store.delete("thing", "", "1")

    on(f"sqlite:///{path}", talk)
    assert b"well-kept" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("sqlite:////dev/null/store.db", "the store cannot be opened: "),
        ("sqlite:///{garbage}", "the store cannot be used: file is not a database"),
        ("postgresql://bob:the-password@127.0.0.1:1/x", "the store cannot be used: connection failed"),
        (None, "there is no home directory to keep the store in; set store.path"),
    ],
)
def test_a_store_that_cannot_be_used_says_so_in_a_sentence(
    location: str | None, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database " * 100)
    caplog.set_level(logging.WARNING)

    async def talk() -> None:
        store = Store(location.format(garbage=garbage) if location else None, SystemClock())
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                await store.put(record("1"))
            assert caught.value.message.startswith(why)
            assert caught.value.status == 503
            assert "\n" not in caught.value.message
            assert "the-password" not in caught.value.message
        await store.aclose()

    asyncio.run(talk())
    assert "the-password" not in caplog.text


def test_it_is_tried_again_when_it_could_not_be_opened(tmp_path: Path) -> None:
    blocker, clock = tmp_path / "folder", Hands()
    blocker.write_text("a file where a folder should be")

    async def talk(store: Store) -> None:
        with pytest.raises(StoreUnavailable):
            await store.put(record("1"))
        blocker.unlink()
        clock.at += 2
        await store.put(record("1"))
        assert await store.get("thing", "", "1") is not None

    on(f"sqlite:///{blocker}/store.db", talk, clock)


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def write(store: Store) -> None:
        await store.put(record("1"))

    on(f"sqlite:///{path}", write)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE dragoman_schema SET version = 99").connection.commit()
    connection.close()

    async def read(store: Store) -> None:
        with pytest.raises(StoreUnavailable, match="newer version"):
            await store.get("thing", "", "1")

    on(f"sqlite:///{path}", read)


def test_its_thread_ends_with_it() -> None:
    async def talk(store: Store) -> None:
        await store.put(record("1"))
        assert "dragoman-store" in [thread.name for thread in threading.enumerate()]

    on("sqlite:///:memory:", talk)
    assert "dragoman-store" not in [thread.name for thread in threading.enumerate()]


# ---------------------------------------------------------------- its configuration


@pytest.mark.parametrize(
    ("said", "env", "location"),
    [
        ("", {"XDG_STATE_HOME": "/state", "HOME": "/home/x"}, "sqlite:////state/dragoman/dragoman.db"),
        ("store: /data/d.db", {}, "sqlite:////data/d.db"),
        ("store: {file: /data/d.db}", {}, "sqlite:////data/d.db"),
        ("store: postgres://u:pw@db/x", {}, "postgresql://u:pw@db/x"),
        ("store: {url: 'env:DB'}", {"DB": "postgresql://u:pw@db/x"}, "postgresql://u:pw@db/x"),
        ("", {"DRAGOMAN_STORE__PATH": "/e/d.db"}, "sqlite:////e/d.db"),
        ("store: /data/d.db", {"DRAGOMAN_STORE__URL": "", "DRAGOMAN_STORE__TTL": "1h"}, "sqlite:////data/d.db"),
        ("", {}, None),
    ],
)
def test_where_it_is(said: str, env: dict[str, str], location: str | None) -> None:
    env = {key: value for key, value in env.items() if value}
    config = load(said, ".yaml", env, "gateway.yaml")
    assert config.store.location == location
    assert config.store.ttl == (3600 if "DRAGOMAN_STORE__TTL" in env else 30 * 86400)
    assert "pw" not in config.store.label
    assert "pw" not in repr(config)


@pytest.mark.parametrize("said", ["store: false", "store: {enabled: no}"])
def test_it_can_be_switched_off(said: str) -> None:
    assert store_of(load(said, ".yaml", {"HOME": "/home/x"}, "gateway.yaml").store, SystemClock()) is None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "store: {url: 'mysql://x/y'}",
            "is not the URL of a database that can be used here; allowed: sqlite:///PATH, or postgresql",
        ),
        ("store: {path: a.db, url: 'sqlite:///b.db'}", "store.path: is given beside a `url`; keep one of them"),
        ("store: {ttl: forever}", "store.ttl: 'forever' is not a time"),
        ("store: {pth: x}", "did you mean 'path'?"),
    ],
)
def test_mistakes_in_its_configuration(said: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(said, ".yaml", {}, "gateway.yaml")
    assert message in str(caught.value)
