"""What the supervisor and its workers tell each other, and what they share.

A worker is a process of its own, started afresh. It is handed a `Brief` in one line of JSON, over the socket that then carries
orders one way and news the other, a line each. When that socket ends, the supervisor is gone, and the worker follows.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dragoman.config import Config, load
from dragoman.io.local import LentModel, LocalModel
from dragoman.providers import plugins
from dragoman.secret import Secret

CONTROL = "DRAGOMAN_WORKER_CONTROL"
"""The variable that names the descriptor of a worker's socket. Its value is a number."""
LONGEST_LINE = 1 << 26
"""Bytes. A brief holds the configuration, and news may hold every mistake in it."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was read: whatever the file says later, a worker that is started again gets this one."""

    text: str = ""
    suffix: str = ""
    name: str = "(no file)"
    overrides: dict[str, Any] = {}

    def load(self, env: Mapping[str, str]) -> Config:
        """Raises `ConfigError`."""
        table, notes = plugins.installed()
        return load(self.text, self.suffix, env, self.name, overrides=self.overrides, table=table, notes=notes)


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """`number` counts from 1. `ports` are descriptors of listening sockets, by their names; `lock` one of a file that is
    locked while a log is written. `local`: URL and key of the model that the supervisor runs."""

    number: int
    source: Source
    ports: dict[int, int]
    lock: int
    local: tuple[str, str] | None = None

    def model(self) -> LentModel | None:
        return LentModel(self.local[0], Secret(self.local[1])) if self.local is not None else None


def lent(model: LocalModel | None) -> tuple[str, str] | None:
    return (model.base_url, model.api_key.reveal()) if model is not None else None


class Order(msgspec.Struct, frozen=True):
    """`listen` and `leave` are about one port; `team` are all workers, by number, with their process ids. `retire`: go when
    the last client has left; `drain`: in bounded time; `hurry`: now. `report`: say that you are alive."""

    do: Literal["listen", "leave", "retire", "drain", "hurry", "team", "report"]
    port: int = 0
    team: dict[int, int] = {}


class News(msgspec.Struct, frozen=True):
    say: Literal["ready", "failed", "alive"]
    why: str = ""


def line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


class SharedLock:
    """Held by one process at a time; of the threads of a process, one only may use it. Ends with the process. Not for
    Windows, where there are no workers."""

    def __init__(self, descriptor: int) -> None:
        import fcntl

        self._descriptor = descriptor
        # The kind that belongs to a process: descriptors that are inherited share the other one.
        self._lock = fcntl.lockf
        self._take, self._give = fcntl.LOCK_EX, fcntl.LOCK_UN

    def __enter__(self) -> None:
        self._lock(self._descriptor, self._take)

    def __exit__(self, *_: object) -> None:
        self._lock(self._descriptor, self._give)


def lock_file() -> int:
    """A descriptor for `SharedLock`, of a file that has no name."""
    if sys.platform == "linux":
        return os.memfd_create("dragoman-log")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
