"""uvicorn, set up for the gateway: the other driver.

Its own way to stop closes the port and every idle connection at once, so that whoever sent a request at that moment loses it.
Here it stops as the native server does (`server.py`): `drain` and `hand_over` mean the same for both.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dragoman.config import Server as Settings
from dragoman.io.asgi import AsgiApp
from dragoman.io.handler import Handler
from dragoman.io.mount import Mount, Started
from dragoman.io.server import AT_ONCE, GRACE, GRACE_WITH_SUCCESSOR
from dragoman.io.server_limits import BACKLOG

_LOOK = 0.05
"""Seconds between two looks at who is left."""


class UvicornServer(uvicorn.Server):
    """uvicorn, set up for the gateway. `told` is the signal that ended it; `started` is called when it accepts. Whoever makes
    it starts and stops what is mounted."""

    def __init__(
        self,
        handler: Handler,
        settings: Settings,
        tls: ssl.SSLContext | None,
        started: Started,
        mount: Mount | None = None,
        *,
        on_signal: Callable[[], None] | None = None,
    ) -> None:
        """Without `on_signal`, somebody else sees to signals."""
        app = self._app = AsgiApp(handler, mount=mount, body_timeout=settings.limits.body_timeout)
        config = uvicorn_config(settings, app)
        config.load()
        config.ssl = tls
        super().__init__(config)
        self.told: signal.Signals | None = None
        self._on_signal = on_signal
        self._on_start = started
        self._idle: dict[object, tuple[object, float]] = {}
        """Connections without a request, while it stops: behind which one, and since when."""
        logging.getLogger("uvicorn.error").addFilter(_not_our_own_doing)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """In place of uvicorn's own. Without `timeout_graceful_shutdown` there is a successor on the port."""
        self._app.is_closing = True
        patience = self.config.timeout_graceful_shutdown
        if patience is None:
            self._close_ports(sockets)
        former = set(self.server_state.connections)
        try:
            async with asyncio.timeout(patience):
                if patience is not None:
                    await self._leave(former, GRACE)
                    self._close_ports(sockets)
                await self._leave(self.server_state.connections, GRACE if patience is not None else GRACE_WITH_SUCCESSOR)
                while self.server_state.tasks and not self.force_exit:
                    await asyncio.wait(list(self.server_state.tasks), timeout=_LOOK)
        except TimeoutError:
            pass
        self._close_ports(sockets)
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=AT_ONCE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _close_ports(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()

    async def _leave(self, these: Collection[object], grace: float) -> None:
        """Until they have left, each after its answer, or when it has been idle for so many seconds."""
        loop = asyncio.get_running_loop()
        while not self.force_exit:
            open_now = list(self.server_state.connections)
            if not any(connection in these for connection in open_now):
                return
            for connection in open_now:
                assert isinstance(connection, HttpToolsProtocol)
                behind = connection.cycle
                if not getattr(behind, "response_complete", True):  # there is none before the first request
                    continue
                known, since = self._idle.get(connection, (None, 0.0))
                if known is not behind or not since:
                    self._idle[connection] = behind, loop.time()
                elif loop.time() - since >= grace:
                    connection.transport.close()
            await asyncio.sleep(_LOOK)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """In place of uvicorn's own, which raises what it has caught once more when all is done."""
        caught = (signal.SIGINT, signal.SIGTERM) if self._on_signal is not None else ()
        for number in caught:
            signal.signal(number, self.handle_exit)
        yield  # and then they are ignored, or somebody else's business
        for number in caught:
            signal.signal(number, signal.SIG_IGN)

    def swap(self, handler: Handler, settings: Settings) -> list[asyncio.Task[None]]:
        """See `Server.swap`. `drain` is another one as well."""
        self._app.swap(handler, settings.limits.body_timeout)
        for name, value in _bounds(settings).items():
            setattr(self.config, name, value)
        return list(self.server_state.tasks)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature of a signal's handler
        if self._on_signal is not None:
            self._on_signal()
        self.told = self.told or signal.Signals(sig)
        # Told twice, it does not wait for anybody.
        self.force_exit = self.should_exit
        self.should_exit = True


def uvicorn_config(settings: Settings, app: AsgiApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        backlog=BACKLOG,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        **_bounds(settings),
    )


def _bounds(settings: Settings) -> dict[str, Any]:
    """What may be another one for the connections that are made from here on: uvicorn looks at it for each of them."""
    most = settings.limits.max_connections
    return {
        # It refuses the one with which there are so many.
        "limit_concurrency": most + 1 if most is not None else None,
        "timeout_keep_alive": max(1, round(settings.limits.idle_timeout)),
        "timeout_graceful_shutdown": max(1, round(settings.drain)),
    }


def _not_our_own_doing(record: logging.LogRecord) -> bool:
    """An answer that the gateway broke off on purpose is not the server's news."""
    return "without completing response" not in record.getMessage()
