"""The native server: a handler on a listening socket, on `asyncio` alone, beside the ASGI driver.

server = Server(gateway)
await server.start(listener)
...
await server.drain(10)
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable

from dragoman.io.handler import Handler
from dragoman.io.server_connection import ServerConnection, Shared
from dragoman.io.server_limits import ServerLimits

_BACKLOG = 2048
_AT_ONCE = 1.0
"""Seconds that cancelled handlers get to unwind in."""


class Server:
    """`tls` makes it speak TLS only. One listening socket, one loop."""

    def __init__(self, handler: Handler, *, limits: ServerLimits | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._limits = limits or ServerLimits()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._shared: Shared | None = None

    @property
    def open(self) -> int:
        """Connections."""
        return len(self._shared.connections) if self._shared is not None else 0

    @property
    def running(self) -> int:
        """Handlers at work."""
        return len(self._shared.running) if self._shared is not None else 0

    def transports(self) -> list[asyncio.Transport]:
        """Of the connections that are open."""
        connections = self._shared.connections if self._shared is not None else ()
        return [each.transport for each in connections if each.transport is not None]

    async def start(self, listener: socket.socket) -> None:
        """Accept connections from a bound socket, which is closed by `drain`."""
        loop = asyncio.get_running_loop()
        shared = self._shared = Shared(self._handler, self._limits, loop)
        if listener.family in {socket.AF_INET, socket.AF_INET6}:
            # Accepted sockets inherit it: no answer waits for the acknowledgement of the one before.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = await loop.create_server(
            lambda: ServerConnection(shared),
            sock=listener,
            backlog=_BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.head_timeout if self._tls is not None else None,
        )

    async def drain(self, patience: float) -> None:
        """Stop: nobody is accepted, idle connections are closed, answers under way say `connection: close` and get
        `patience` seconds; what is left then is broken off."""
        shared = self._shared
        if shared is None or self._server is None:
            return
        self._server.close()
        shared.draining = True
        for connection in list(shared.connections):
            connection.retire()
        try:
            async with asyncio.timeout(patience):
                if shared.connections:
                    await shared.emptied.wait()
                if shared.running:
                    await asyncio.wait(list(shared.running.values()))
        except TimeoutError:
            self.hurry()
        if shared.running:
            # Of an answer that is whole, the handler is left to tidy up; but not for ever.
            for task in shared.running.values():
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(list(shared.running.values()), timeout=_AT_ONCE)
        if shared.connections:
            await shared.emptied.wait()

    def hurry(self) -> None:
        """Break off everything that `drain` is still waiting for."""
        if self._shared is not None:
            for connection in list(self._shared.connections):
                connection.drop()


async def serve_until_told(
    server: Server, listener: socket.socket, *, on_start: Callable[[], Awaitable[None]], patience: float
) -> signal.Signals:
    """Serve until a signal comes, then drain for at most `patience` seconds; a second signal ends that at once.
    Returns the first signal. For the main thread only."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(number: signal.Signals) -> None:
        if told.done():
            server.hurry()
        else:
            told.set_result(number)

    signals = [signal.SIGINT, signal.SIGTERM]
    for number in signals:
        # Windows has no handlers on a loop: there, Ctrl-C cancels whoever runs this.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, tell, number)
    try:
        await server.start(listener)
        await on_start()
        number = await told
        await server.drain(patience)
        return number
    finally:
        server.hurry()
        for each in signals:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(each)
