"""An ASGI application beside the gateway, in the same process: it gets the paths that the gateway does not own.

    mount = Mount(app)
    await mount.start()              its lifespan; then a driver may hand it requests
    ...
    await mount.stop()

Whoever makes the server starts and stops it, whatever the driver. HTTP only: there are no WebSockets here. Its bodies, both
ways, are streams.

**Lifespan** (https://asgi.readthedocs.io/en/latest/specs/lifespan.html). An application that says `lifespan.startup.failed` is
not served. One that raises has no lifespan, and is served without. One that does not answer is waited for, but not for ever:
a server that cannot start, and even more one that cannot end, is worse than an application that is cut short.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dragoman.errors import DragomanError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Started = Callable[[], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("dragoman.server")

VERSION = {"version": "3.0", "spec_version": "2.3"}
"""2.3: what is sent to a client that has left is thrown away, and the application hears of its leaving from `receive`."""

START_LIMIT = 45.0
"""Seconds for its start-up. Less than a worker gets (`supervisor.START_LIMIT`), so that it is said whose fault it is."""
STOP_LIMIT = 5.0
_LAST_WORDS = 1.0
"""Seconds for a lifespan that is cancelled. Then it is left to itself."""


class MountFailed(DragomanError):
    """The application did not start. The reason is its own."""


class Mount:
    """`start_limit` and `stop_limit` in seconds."""

    def __init__(self, app: Application, *, start_limit: float = START_LIMIT, stop_limit: float = STOP_LIMIT) -> None:
        self.app = app
        self._start_limit = start_limit
        self._stop_limit = stop_limit
        self._state: dict[str, Any] = {}
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._life: asyncio.Task[None] | None = None
        self._kind = ""
        """Of the message that it is to answer."""
        self._step: asyncio.Future[str] | None = None
        """Why it failed, or nothing."""

    async def start(self) -> None:
        """Run the application's own start-up. One that has none is fine. Raises `MountFailed`."""
        life = self._life = asyncio.get_running_loop().create_task(self._live())
        try:
            failure = await self._tell("lifespan.startup", life, self._start_limit)
        except BaseException:
            await self._end()
            raise
        if failure:
            await self._end()
            raise MountFailed(f"the mounted application did not start: {failure}")

    async def stop(self) -> None:
        """Within `stop_limit`, and a moment. May be called whatever has happened."""
        life = self._life
        if life is not None and not life.done():
            failure = await self._tell("lifespan.shutdown", life, self._stop_limit)
            if failure:
                log.error("the mounted application failed as it was stopped: %s", failure)
        await self._end()

    def state(self) -> dict[str, Any]:
        """A request's copy of what the application's start-up has left for it."""
        return self._state.copy()

    async def _tell(self, kind: str, life: asyncio.Task[None], limit: float) -> str:
        """Why it failed, or nothing. One whose life has ended, before it was told or meanwhile, has nothing against it."""
        step = asyncio.get_running_loop().create_future()
        self._kind, self._step = kind, step
        self._told.put_nowait({"type": kind})
        await asyncio.wait([step, life], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        self._step = None
        if step.done():
            return step.result()
        return "" if life.done() else f"it did not answer {kind} within {limit:g} s"

    async def _end(self) -> None:
        life, self._life = self._life, None
        if life is None:
            return
        life.cancel()
        await asyncio.wait([life], timeout=_LAST_WORDS)
        if not life.done():
            log.error("the mounted application does not end when it is cancelled, and is left to itself")

    async def _live(self) -> None:
        taken: list[str] = []

        async def receive() -> Message:
            message = await self._told.get()
            taken.append(message["type"])
            return message

        try:
            await self.app({"type": "lifespan", "asgi": VERSION, "state": self._state}, receive, self._said)
        except Exception as error:  # the protocol's way of saying that an application has no lifespan
            if taken:
                # But this one has begun it.
                log.exception("the mounted application failed in its lifespan, behind %s; it is served without", taken[-1])
            else:
                log.debug("the mounted application takes no lifespan: %s", error)

    async def _said(self, message: Message) -> None:
        step, kind = self._step, message["type"]
        if kind not in {f"{self._kind}.complete", f"{self._kind}.failed"}:
            raise RuntimeError(f"there is no {kind!r} in answer to {self._kind!r}")
        if step is not None and not step.done():
            step.set_result((message.get("message") or "no reason given") if kind.endswith(".failed") else "")
