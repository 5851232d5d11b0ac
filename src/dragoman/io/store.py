"""The store: `Records` on a database, off the event loop.

Whatever waits is done together: a thread takes all that has been asked for meanwhile, and writes it in one transaction. So
the more there is to write, the less each write costs, and none returns before it is on the disk.

    store = Store("sqlite:////var/lib/dragoman/dragoman.db", SystemClock())
    await store.put(Record(kind="response", owner="alice", id="resp_1", body=b"{}", created=..., expires=...))

Nothing is opened and nothing imported before the first use. A store that cannot be used says so to those who need it, and is
tried again a moment later.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dragoman.config import StoreConfig
from dragoman.errors import StoreUnavailable
from dragoman.records import Record, can_be_id
from dragoman.wire.http import Clock

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dragoman.io.database import Database

log = logging.getLogger("dragoman.store")

T = TypeVar("T")
Work = Callable[["Database", "Connection"], T]

_PATIENCE = 10.0
"""Seconds after which whoever waits for the store is told that it cannot be used."""
_TOGETHER = 64
_MOST_WAITING = 10_000
_SWEEP_EVERY = 600.0
_SWEPT_AT_ONCE = 2000
"""Records that are swept away while others wait."""
_REST = 1.0
"""Seconds after a failure to open before it is tried again."""
_TRIES = 4
"""So often a write is tried that conflicts with another process's."""
_LANES = 4
"""Threads, each with a connection, where the database is another machine. SQLite writes one at a time anyway."""


class _Job(msgspec.Struct, eq=False):
    work: Work[Any]
    writes: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def settle(self, result: Any, error: Exception | None) -> None:
        """From the store's thread. Whoever asked may have left, and its loop may be over."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(_settle, self.future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if not future.done():
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def store_of(config: StoreConfig, clock: Clock) -> Store | None:
    """The configured store, unopened; None where it is switched off."""
    if not config.enabled:
        return None
    return Store(config.location, clock, label=f"the store {config.label}")


class Store:
    """`url` as SQLAlchemy has it; it may hold a password, and is not shown. None: nobody knows a place for it, which is told
    to those who need it. `label` is how the log calls the store."""

    def __init__(self, url: str | None, clock: Clock, *, label: str = "the store") -> None:
        self._url = url
        self._clock = clock
        self._label = label
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._pen = threading.Lock()
        """Held by the thread that writes: more than one would only wait for each other's rows."""
        self._database: Database | None = None
        self._failure: str | None = None
        self._failed_at = 0.0
        self._swept_at = 0.0
        self._closed = False

    # ------------------------------------------------------------ Records

    async def put(self, *records: Record) -> None:
        for record in records:
            _must_be_possible(record.id)
        await self._do(lambda database, on: database.put(on, records), writes=True)

    async def swap(self, record: Record) -> bool:
        _must_be_possible(record.id)
        now = self._clock.time()
        return await self._do(lambda database, on: database.swap(on, record, now), writes=True)

    async def get(self, kind: str, owner: str, key: str) -> Record | None:
        return (await self.several(kind, owner, [key])).get(key)

    async def several(self, kind: str, owner: str, keys: Sequence[str]) -> dict[str, Record]:
        wanted = _wanted(keys)
        if not wanted:
            return {}
        now = self._clock.time()
        return await self._do(lambda database, on: database.several(on, kind, owner, wanted, now))

    async def page(self, kind: str, owner: str | None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        now = self._clock.time()
        after = after if after is not None and can_be_id(after) else None
        return await self._do(lambda database, on: database.page(on, kind, owner, after=after, limit=limit, now=now))

    async def keep(self, kind: str, owner: str, keys: Sequence[str], expires: float | None) -> None:
        now = self._clock.time()
        wanted = _wanted(keys)
        if wanted:
            await self._do(lambda database, on: database.keep(on, kind, owner, wanted, expires=expires, now=now), writes=True)

    async def delete(self, kind: str, owner: str, *keys: str) -> int:
        now = self._clock.time()
        wanted = _wanted(keys)
        if not wanted:
            return 0
        return await self._do(lambda database, on: database.delete(on, kind, owner, wanted, now), writes=True)

    async def sweep(self) -> int:
        now = self._clock.time()
        return await self._do(lambda database, _: database.sweep(now))

    async def aclose(self) -> None:
        """What was asked for before is still done."""
        self._closed = True
        if not self._threads:
            return
        for _ in self._threads:
            self._jobs.put(None)
        await asyncio.to_thread(self._ended)

    def _ended(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._database is not None:
            self._database.close()
            self._database = None

    # ------------------------------------------------------------ from the event loop

    async def _do(self, work: Work[T], *, writes: bool = False) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed: the gateway is stopping")
        if self._jobs.qsize() > _MOST_WAITING:
            raise StoreUnavailable("the store cannot keep up", retry_after=1)
        if self._url is None:
            raise StoreUnavailable("there is no home directory to keep the store in; set store.path in the configuration")
        if not self._threads:
            self._start(1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, writes, loop, future))
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError:
            raise StoreUnavailable(f"the store did not answer within {_PATIENCE:g} s") from None

    def _start(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._run, name="dragoman-store", daemon=True)
            self._threads.append(thread)
            thread.start()

    # ------------------------------------------------------------ from the store's threads

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_SWEEP_EVERY)
            except queue.Empty:
                self._sweep()
                continue
            if job is None:
                return
            jobs = [job]
            while len(jobs) < _TOGETHER:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    self._jobs.put(None)  # whoever closes has nothing asked for after it
                    break
                jobs.append(job)
            try:
                self._work(jobs)
                self._sweep()
            except Exception:
                # The thread must live on: nobody would ever be answered again.
                log.exception("a fault in the store")
                for job in jobs:
                    job.settle(None, StoreUnavailable("the store failed; the log says why"))

    def _work(self, jobs: list[_Job]) -> None:
        try:
            database = self._open()
        except StoreUnavailable as error:
            for job in jobs:
                job.settle(None, StoreUnavailable(error.message))
            return
        for job in jobs:
            if not job.writes:
                self._alone(database, job)
        writing = [job for job in jobs if job.writes]
        if not writing:
            return
        with self._pen:
            if len(writing) > 1 and self._together(database, writing):
                return
            for job in writing:
                self._alone(database, job)

    def _together(self, database: Database, jobs: list[_Job]) -> bool:
        """All in one transaction; False if one of them failed, and then none is done."""
        try:
            with database.writing() as on:
                results = [job.work(database, on) for job in jobs]
        except Exception as error:  # noqa: BLE001 - each is tried alone now, and the one at fault is told
            log.debug("records are written one by one: %s", error)
            return False
        for job, result in zip(jobs, results, strict=True):
            job.settle(result, None)
        return True

    def _alone(self, database: Database, job: _Job, tries: int = _TRIES) -> None:
        try:
            with database.writing() if job.writes else database.reading() as on:
                result = job.work(database, on)
        except Exception as error:
            if tries > 1 and isinstance(error, database.conflict):
                self._alone(database, job, tries - 1)
                return
            if isinstance(error, StoreUnavailable):
                log.warning("%s: %s", self._label, error.message)
            else:
                log.exception("a fault in the store")
            job.settle(None, error)
        else:
            job.settle(result, None)

    def _open(self) -> Database:
        with self._lock:
            if self._database is not None:
                return self._database
            if self._failure is not None and self._clock.now() - self._failed_at < _REST:
                raise StoreUnavailable(self._failure)
            from dragoman.io.database import Database

            assert self._url is not None
            try:
                self._database = Database(self._url)
            except StoreUnavailable as error:
                log.warning("%s: %s", self._label, error.message)
                self._failure, self._failed_at = error.message, self._clock.now()
                raise
            self._failure = None
            if gc.get_freeze_count():
                # What was imported just now is as little for the garbage collector as the rest (`housekeeping.settle`).
                gc.freeze()
            if not self._database.sqlite:
                self._start(_LANES - 1)
            return self._database

    def _sweep(self) -> None:
        """Now and then, when nobody waits for it."""
        now = self._clock.now()
        with self._lock:
            database = self._database
            if database is None or (self._swept_at and now - self._swept_at < _SWEEP_EVERY):
                return
            self._swept_at = now
        try:
            if database.sweep(self._clock.time(), _SWEPT_AT_ONCE) >= _SWEPT_AT_ONCE:
                self._swept_at = now - _SWEEP_EVERY + _REST  # there is more; whoever waits goes first
        except StoreUnavailable as error:
            log.warning("%s: %s", self._label, error.message)


def _wanted(keys: Iterable[str]) -> list[str]:
    """Each of these ids once, and only those of which there can be a record."""
    return [key for key in dict.fromkeys(keys) if can_be_id(key)]


def _must_be_possible(key: str) -> None:
    if not can_be_id(key):
        raise ValueError(f"{key[:80]!r} cannot be the id of a record")
