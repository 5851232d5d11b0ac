"""Work that goes on when no request waits for it: a bounded number of tasks, ended when the gateway stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from dragoman.errors import Busy
from dragoman.stored.workshop import Running

log = logging.getLogger("dragoman.workshop")

_LAST_WORDS = 5.0
"""Seconds in which tasks that were told to end may do so."""


class TaskBell:
    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        # Who waits from now on waits for the next time.
        rung, self._event = self._event, asyncio.Event()
        rung.set()

    async def wait(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class TaskWorkshop:
    """`most`: so many tasks before another piece of work is turned away."""

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self) -> None:
        if len(self._tasks) >= self._most:
            raise Busy("the gateway works on as many responses in the background as it can; try again soon", retry_after=5)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def join(self, running: Running) -> None:
        assert isinstance(running, asyncio.Task)
        await asyncio.wait({running})

    def bell(self) -> TaskBell:
        return TaskBell()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WORDS)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fault in work in the background", exc_info=error)
