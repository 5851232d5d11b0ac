"""uvicorn, set up for the gateway: the other driver."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from dragoman.config import Server as Settings
from dragoman.io.asgi import AsgiApp
from dragoman.io.engine import Engine
from dragoman.io.handler import Handler
from dragoman.io.mount import Mount, Started
from dragoman.io.server_limits import BACKLOG


class UvicornServer(uvicorn.Server):
    """uvicorn, set up for the gateway. `told` is the signal that ended it; `started` is called when it accepts. Whoever makes
    it starts and stops what is mounted."""

    def __init__(
        self,
        engine: Engine,
        tls: ssl.SSLContext | None,
        started: Started,
        mount: Mount | None = None,
        *,
        on_signal: Callable[[], None] | None = None,
    ) -> None:
        """Without `on_signal`, somebody else sees to signals."""
        settings = engine.config.server
        app = self._app = AsgiApp(engine.gateway, mount=mount, body_timeout=settings.limits.body_timeout)
        config = uvicorn_config(settings, app)
        config.load()
        config.ssl = tls
        super().__init__(config)
        self.told: signal.Signals | None = None
        self._on_signal = on_signal
        self._on_start = started
        logging.getLogger("uvicorn.error").addFilter(_not_our_own_doing)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._on_start()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """In place of uvicorn's own, which raises what it has caught once more when all is done."""
        caught = (signal.SIGINT, signal.SIGTERM) if self._on_signal is not None else ()
        before = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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
