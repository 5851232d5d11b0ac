"""An ASGI application beside the gateway, in the same process: it gets the paths that the gateway does not own.

    mount = Mount(app)
    await mount.start()              its lifespan; then a driver may hand it requests
    ...
    await mount.stop()

Both drivers take one. HTTP only: there are no WebSockets here. Its bodies, both ways, are streams.
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


class MountFailed(DragomanError):
    """The application refused to start. The message is its own."""


class Mount:
    def __init__(self, app: Application) -> None:
        self.app = app
        self._state: dict[str, Any] = {}
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._life: asyncio.Task[None] | None = None
        self._step: asyncio.Future[str] | None = None
        """Why it failed, or nothing."""

    async def start(self) -> None:
        """Run the application's own start-up. One that has none is fine. Raises `MountFailed`."""
        self._life = asyncio.get_running_loop().create_task(self._live())
        failure = await self._tell("lifespan.startup")
        if failure:
            raise MountFailed(failure)

    async def stop(self) -> None:
        life, self._life = self._life, None
        if life is None:
            return
        if not life.done():
            failure = await self._tell("lifespan.shutdown", life)
            if failure:
                log.error("the mounted application failed as it was stopped: %s", failure)
        life.cancel()
        await asyncio.wait([life])

    def state(self) -> dict[str, Any]:
        """A request's copy of what the application's start-up has left for it."""
        return self._state.copy()

    async def _tell(self, kind: str, life: asyncio.Task[None] | None = None) -> str:
        step = self._step = asyncio.get_running_loop().create_future()
        self._told.put_nowait({"type": kind})
        life = life or self._life
        assert life is not None
        await asyncio.wait([step, life], return_when=asyncio.FIRST_COMPLETED)
        return step.result() if step.done() else ""

    async def _live(self) -> None:
        scope = {"type": "lifespan", "asgi": VERSION, "state": self._state}
        try:
            await self.app(scope, self._told.get, self._said)
        except Exception as error:  # noqa: BLE001  the protocol's way of saying that an application has no lifespan
            log.debug("the mounted application takes no lifespan: %s", error)

    async def _said(self, message: Message) -> None:
        step = self._step
        if step is not None and not step.done():
            step.set_result(message.get("message", "no reason given") if message["type"].endswith(".failed") else "")
