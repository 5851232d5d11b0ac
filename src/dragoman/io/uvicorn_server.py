"""uvicorn, set up for the gateway: the other driver."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from dragoman.config import Server as Settings
from dragoman.io.asgi import AsgiApp
from dragoman.io.engine import Engine
from dragoman.io.handler import Handler
from dragoman.io.mount import Mount, Started
from dragoman.io.server_limits import BACKLOG

_KEEP_ALIVE = 75


class UvicornServer(uvicorn.Server):
    """uvicorn, set up for the gateway. `told` is the signal that ended it."""

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
        app = self._app = AsgiApp(engine.gateway, on_start=started, mount=mount)
        config = uvicorn_config(engine.config.server, app)
        config.load()
        config.ssl = tls
        super().__init__(config)
        self.told: signal.Signals | None = None
        self._on_signal = on_signal
        logging.getLogger("uvicorn.error").addFilter(_not_our_own_doing)

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

    def swap(self, gateway: Handler) -> list[asyncio.Task[None]]:
        """See `Server.swap`."""
        self._app.swap(gateway)
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
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
    )


def _not_our_own_doing(record: logging.LogRecord) -> bool:
    """An answer that the gateway broke off on purpose is not the server's news."""
    return "without completing response" not in record.getMessage()
