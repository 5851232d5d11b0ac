"""Records in SQLite or PostgreSQL, by SQLAlchemy Core. Blocking, and imported only when a store is first used: SQLAlchemy
takes about 0.15 s and 25 MB, which a gateway that remembers nothing need not pay. `io/store.py` drives it from threads.

SQLite runs in WAL mode, so that readers and a writer of several processes do not wait for each other, and syncs at every
commit: what `commit` has returned from survives a crash of the process and of the machine.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

from dragoman.errors import StoreUnavailable
from dragoman.records import Record

_SCHEMA = 1
"""Raised by one with each step that is added to `_STEPS`."""
_BUSY = 5.0
"""Seconds to wait for another process that writes, or for a connection to PostgreSQL."""
_AT_ONCE = 500
"""So many ids stand in one statement; so many expired records are removed in one transaction."""
_PORTIONS = 40
"""So often free pages are given back after a sweep."""
_LOCK = 0x6472_6167
"""PostgreSQL's advisory lock under which the tables are made: two processes may start at once."""

_LOG = f"journal_size_limit={16 * 2**20}"
"""The write-ahead log keeps the size that it had at its largest, unless it is told otherwise."""

_meta = sa.MetaData()
_version = sa.Table("dragoman_schema", _meta, sa.Column("version", sa.Integer, nullable=False))
_records = sa.Table(
    "dragoman_records",
    _meta,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("expires", sa.Double),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("dragoman_records_expires", "expires"),
    sa.Index("dragoman_records_newest", "kind", "created"),
)
_STEPS: dict[int, Callable[[sa.Connection], None]] = {}
"""What leads from the version before to this one."""


class Conflict(StoreUnavailable):
    """Two processes wrote at once in a way that only one of them could; nothing of the other was written."""


_CONFLICTS = frozenset({"40001", "40P01"})
"""https://www.postgresql.org/docs/current/errcodes-appendix.html: serialization_failure, deadlock_detected"""


class Database:
    """`url` is SQLAlchemy's. Not safe for several threads but for `reading` and `writing`, each of which takes a connection.
    Raises `StoreUnavailable` with a sentence that shows no password."""

    conflict = Conflict

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
            if self.url.get_backend_name() == "postgresql" and self.url.get_driver_name() != "psycopg":
                self.url = self.url.set(drivername="postgresql+psycopg")
            self.sqlite = self.url.get_backend_name() == "sqlite"
            if self.sqlite:
                self._engine = _sqlite_engine(self.url)
            else:
                self._engine = sa.create_engine(
                    self.url, pool_pre_ping=True, pool_size=4, max_overflow=4, connect_args={"connect_timeout": int(_BUSY)}
                )
        except ModuleNotFoundError as error:
            raise StoreUnavailable(f"the store needs a package that is not installed: {error.name}") from error
        except (exc.ArgumentError, exc.NoSuchModuleError, OSError) as error:
            raise StoreUnavailable(f"the store cannot be opened: {_reason(error)}") from error
        self._insert = sqlite.insert if self.sqlite else postgresql.insert
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Generator[sa.Connection]:
        with _told(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[sa.Connection]:
        """What is done within is written together at the end, or not at all."""
        with _told(), self._engine.begin() as connection:
            if self.sqlite:
                # The write lock at once: a transaction that began as a reader cannot wait for it.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def _prepare(self) -> None:
        with self.writing() as connection:
            if not self.sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            _meta.create_all(connection)
            found = connection.execute(sa.select(_version.c.version)).scalar()
            if found is None:
                connection.execute(_version.insert().values(version=_SCHEMA))
            elif found > _SCHEMA:
                raise StoreUnavailable("the store was written by a newer version of Dragoman, which alone can use it")
            elif found < _SCHEMA:
                for step in range(found + 1, _SCHEMA + 1):
                    _STEPS[step](connection)
                connection.execute(_version.update().values(version=_SCHEMA))

    # ------------------------------------------------------------ what `Records` promises, on a connection

    def put(self, on: sa.Connection, records: Sequence[Record]) -> None:
        # In one order for everybody, or two processes could wait for each other.
        for record in sorted(records, key=lambda one: (one.kind, one.owner, one.id)):
            new = self._insert(_records).values(**_row(record), version=1)
            again = {
                "body": record.body,
                "created": record.created,
                "expires": record.expires,
                "version": _records.c.version + 1,
            }
            on.execute(new.on_conflict_do_update(index_elements=["kind", "owner", "id"], set_=again))

    def swap(self, on: sa.Connection, record: Record, now: float) -> bool:
        name = _named(record.kind, record.owner, [record.id])
        if record.version:
            new = {"body": record.body, "created": record.created, "expires": record.expires, "version": record.version + 1}
            here = _records.update().where(name, _alive(now), _records.c.version == record.version)
            return on.execute(here.values(**new)).rowcount == 1
        on.execute(_records.delete().where(name, ~_alive(now)))
        fresh = self._insert(_records).values(**_row(record), version=1).on_conflict_do_nothing()
        return on.execute(fresh.returning(_records.c.id)).first() is not None

    def several(self, on: sa.Connection, kind: str, owner: str, keys: Sequence[str], now: float) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for some in _portions(keys):
            for row in on.execute(_records.select().where(_named(kind, owner, some), _alive(now))):
                found[row.id] = _record(row)
        return found

    def page(
        self, on: sa.Connection, kind: str, owner: str | None, *, after: str | None, limit: int, now: float
    ) -> list[Record]:
        table = _records
        wanted = table.select().where(table.c.kind == kind, _alive(now))
        if owner is not None:
            wanted = wanted.where(table.c.owner == owner)
        if after is not None:
            mark = sa.select(table.c.created).where(table.c.kind == kind, table.c.id == after).limit(1)
            if owner is not None:
                mark = mark.where(table.c.owner == owner)
            created = on.execute(mark).scalar()
            if created is not None:
                behind = (table.c.created < created) | ((table.c.created == created) & (table.c.id < after))
                wanted = wanted.where(behind)
        wanted = wanted.order_by(table.c.created.desc(), table.c.id.desc()).limit(limit)
        return [_record(row) for row in on.execute(wanted)]

    def keep(self, on: sa.Connection, kind: str, owner: str, keys: Sequence[str], *, expires: float | None, now: float) -> None:
        sooner = _records.c.expires.is_not(None)
        if expires is not None:
            sooner &= _records.c.expires < expires
        for some in _portions(sorted(keys)):
            on.execute(_records.update().where(_named(kind, owner, some), _alive(now), sooner).values(expires=expires))

    def delete(self, on: sa.Connection, kind: str, owner: str, keys: Sequence[str], now: float) -> int:
        count = 0
        for some in _portions(sorted(keys)):
            name = _named(kind, owner, some)
            count += on.execute(_records.delete().where(name, _alive(now))).rowcount
            on.execute(_records.delete().where(name))
        return count

    def sweep(self, now: float, most: float = math.inf) -> int:
        """In transactions of its own, none of them long; no more than about `most` records."""
        count = 0
        columns = (_records.c.kind, _records.c.owner, _records.c.id)
        over = sa.select(*columns).where(_records.c.expires <= now).limit(_AT_ONCE)
        while count < most:
            with self.writing() as on:
                gone = on.execute(_records.delete().where(sa.tuple_(*columns).in_(over))).rowcount
            count += gone
            if gone < _AT_ONCE:
                break
        if count and self.sqlite:
            self._shrink()
        return count

    def _shrink(self) -> None:
        """Give some of the free pages back. Not all at once: they go through the log first, which would grow as large."""
        with self.reading() as on:
            plain = on.connection.driver_connection
            assert isinstance(plain, sqlite3.Connection)
            for _ in range(_PORTIONS):
                if not plain.execute("PRAGMA freelist_count").fetchone()[0]:
                    break
                # As a script: each step of it gives one page back, and only a script is stepped to its end.
                plain.executescript(f"PRAGMA incremental_vacuum({_AT_ONCE})")


# ---------------------------------------------------------------- rows


def _named(kind: str, owner: str, keys: Sequence[str]) -> sa.ColumnElement[bool]:
    which = _records.c.id == keys[0] if len(keys) == 1 else _records.c.id.in_(keys)
    return sa.and_(_records.c.kind == kind, _records.c.owner == owner, which)


def _alive(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(_records.c.expires.is_(None), _records.c.expires > now)


def _row(record: Record) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "owner": record.owner,
        "id": record.id,
        "body": record.body,
        "created": record.created,
        "expires": record.expires,
    }


def _record(row: sa.Row[Any]) -> Record:
    return Record(
        kind=row.kind,
        owner=row.owner,
        id=row.id,
        body=bytes(row.body),
        created=row.created,
        expires=row.expires,
        version=row.version,
    )


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE))


# ---------------------------------------------------------------- connections


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    file = url.database
    if not file or file == ":memory:":
        # One connection, or each would have a database of its own.
        made = sa.create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        path = Path(file).expanduser()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Conversations are nobody else's business; SQLite gives its other files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        made = sa.create_engine(url.set(database=str(path)), connect_args={"timeout": _BUSY, "check_same_thread": False})
    event.listen(made, "connect", _settle_sqlite)
    return made


def _settle_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `writing` says so
    for setting in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", _LOG):
        connection.execute(f"PRAGMA {setting}").close()


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        said = f"the store cannot be used: {_reason(error)}"
        if isinstance(error, exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in _CONFLICTS:
            raise Conflict(said) from error
        raise StoreUnavailable(said) from error


def _reason(error: Exception) -> str:
    """In one line, in the driver's words: SQLAlchemy's own show the statement and its parameters."""
    said = str(error)
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        said = str(error.orig)
    elif isinstance(error, OSError):
        said = error.strerror or said
    return " ".join(said.split()) or type(error).__name__
