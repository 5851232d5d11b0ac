"""What keeps a process that serves even and small: when it looks for garbage, and when it gives memory back.

**Garbage.** The collector stops everything while it walks through objects, up to half a microsecond for each, and an open
stream is some eighty of them: to look at all of 5,000 streams takes 200 ms, in which no event is relayed. What is no longer
referred to is freed without it; all that it finds are cycles, and those are left behind by faults alone. So it looks at young
objects in small portions, and at everything only when that is little beside the time since it did so last.

**Memory.** glibc keeps what was freed for the next time: after mixed traffic, as much again as is in use. Left to itself it
gives back what is free at the very top of its heap, and there is always something at the top. `malloc_trim` gives back
whole pages from anywhere.

**Files.** When a process with threads opens more files than its table has room for, it waits until all processors have taken
notice of a larger one: 10 ms, whenever the number doubles (`expand_fdtable` in fs/file.c of Linux). So there is room before.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

log = logging.getLogger("dragoman.server")

_YOUNG, _PORTIONS = 2_000, 2
"""So many more objects made than freed are looked at, in 0.2 ms; every third time with those before them, in 1 ms."""
_NEVER = 1 << 30

_BEAT = 1.0
"""Seconds."""
_CONNECTION = 40e-6
"""Seconds for which the objects of one connection with a stream stop everything."""
_SHARE = 0.001
"""Of the time, at most, in which everything is stopped..."""
_SELDOM = 5.0
"""...and no more often than after so many seconds; but surely"""
_ENOUGH = 5_000
"""when young ones were looked at so often: up to thirty million objects."""

_WORKED = 0.02
"""Seconds of CPU time since the last time, after which the allocator may have something to give back: 300 requests, or as many
connections closed."""
_IDLE = 0.1
"""The share of a processor below which a process is idle."""
_TRIM_IDLE, _TRIM_BUSY = 5.0, 30.0
"""Seconds between two times, when idle and when not: what was given back must be got again."""

_FILES = 16_384
"""Room for 8,000 streams, which is 128 kB."""
_MOST_FILES = 65_536
_FEWER_FILES = 10_240
"""macOS says that there is no limit, and refuses what is above one of its own (kern.maxfilesperproc). This it takes."""


if sys.platform == "win32":

    def make_room_for_files() -> None:
        """Windows has no such limit."""

else:
    import fcntl
    import resource

    def make_room_for_files() -> None:
        """As many may be open as the system lets this user have: the usual limit, 1,024, is 500 streams. Best before there are
        threads."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = resource.RLIM_INFINITY
        most = _MOST_FILES if hard == unlimited else min(hard, _MOST_FILES)
        for files in (most, min(most, _FEWER_FILES)):
            if soft == unlimited or soft >= files:
                break
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
                soft = files
            except (OSError, ValueError) as error:
                log.debug("%d files cannot be open at once: %s", files, error)
        room = _FILES if soft == unlimited else min(soft, _FILES)
        try:
            with Path(os.devnull).open("rb") as file:
                os.close(fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, room - 1))
        except (OSError, ValueError) as error:
            log.debug("there is no more room for files: %s", error)


def settle() -> None:
    """What has been made until now stays: the collector need not walk through it again. From here on a `Housekeeper` says when
    it looks at everything."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _PORTIONS, _NEVER)


def sweep_is_due(since: float, looked: int, connections: int) -> bool:
    """Whether to look at everything: `since` the last time so many seconds have passed, and young objects were `looked` at so
    often."""
    if not looked or since < _SELDOM:
        return False
    return since * _SHARE >= connections * _CONNECTION or looked >= _ENOUGH


def trim_is_due(since: float, worked: float, share: float) -> bool:
    """Whether to ask the allocator for what it does not need: `since` the last time so many seconds have passed, in which the
    process has `worked` so many seconds; `share` of a processor it has used just now."""
    return worked >= _WORKED and since >= (_TRIM_IDLE if share < _IDLE else _TRIM_BUSY)


class Housekeeper:
    """For as long as the block lasts, on the loop that runs. `connections`: how many are open. `pace`: 10 does all ten times as
    often."""

    def __init__(self, connections: Callable[[], int], *, pace: float = 1.0) -> None:
        self._connections = connections
        self._pace = pace
        self._give_back = _trimmer()
        self._loop = asyncio.get_running_loop()
        self._beat_at = self._swept_at = self._trimmed_at = self._loop.time()
        self._used = self._used_after_trim = time.process_time()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Housekeeper:
        self._timer = self._loop.call_later(_BEAT / self._pace, self._beat)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        now, used = self._loop.time(), time.process_time()
        share = (used - self._used) / max(now - self._beat_at, 1e-3)
        self._beat_at, self._used = now, used
        self._timer = self._loop.call_later(_BEAT / self._pace, self._beat)
        if sweep_is_due((now - self._swept_at) * self._pace, gc.get_count()[2], self._connections()):
            gc.collect()
            self._swept_at = self._loop.time()
        since = (now - self._trimmed_at) * self._pace
        if self._give_back is not None and trim_is_due(since, used - self._used_after_trim, share):
            self._trimmed_at = now
            # In a thread, as it takes milliseconds for which the loop need not wait as long as it has memory at hand.
            self._loop.run_in_executor(None, self._give_back).add_done_callback(self._given_back)

    def _given_back(self, _: object) -> None:
        self._used_after_trim = time.process_time()  # that was no work


def _trimmer() -> Callable[[], None] | None:
    """What makes the allocator give back; None where it is not glibc."""
    if sys.platform != "linux":
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl has none, and keeps less
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int

    def give_back() -> None:
        began = time.monotonic()
        trim(0)
        log.debug("the allocator gave back what it had in stock, in %.1f ms", (time.monotonic() - began) * 1000)

    return give_back
