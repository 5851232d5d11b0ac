"""The native server: a handler on a listening socket, on `asyncio` alone, beside the ASGI driver.

server = Server(gateway)
await server.start(listener)
...
await server.drain(10)

There are two ways to stop. `drain` is for the end of the gateway: nobody else will answer, so the port stays open until
what was under way is done, and that is bounded. `hand_over` is for a process that has a successor on the same port: it
accepts nobody, and otherwise goes on until its last client has its last answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable

from dragoman.config import ServerLimits
from dragoman.io.handler import Handler
from dragoman.io.mount import Mount
from dragoman.io.process import Terminal
from dragoman.io.server_connection import ServerConnection, Shared
from dragoman.io.server_limits import BACKLOG, fitted

log = logging.getLogger("dragoman.server")

AT_ONCE = 1.0
"""Seconds that cancelled handlers get to unwind in."""
GRACE = 0.2
"""Seconds that an idle connection gets when the gateway stops: its client may have sent a request already."""
GRACE_WITH_SUCCESSOR = 5.0
"""The same when there is no hurry."""
TIDY = 30.0
"""Seconds that handlers get, when there is no hurry, after the last client has left: theirs, or a mounted application's that
takes no notice of it."""


class Server:
    """`tls` makes it speak TLS only. One loop; one listening socket as a rule. `mount` gets what the handler does not own:
    whoever makes the server starts and stops it."""

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ServerLimits | None = None,
        tls: ssl.SSLContext | None = None,
        mount: Mount | None = None,
    ) -> None:
        self._handler = handler
        self._limits = fitted(limits or ServerLimits())
        self._tls = tls
        self._mount = mount
        self._listening: dict[int, asyncio.Server] = {}
        self._closed = False
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

    async def start(self, listener: socket.socket, name: int = 0) -> None:
        """Accept connections from a bound socket, which is closed at the end. May be called again with others, under other
        names. One that comes when all have been closed is closed as well."""
        if self._closed:
            listener.close()
            return
        loop = asyncio.get_running_loop()
        shared = self._shared
        if shared is None:
            shared = self._shared = Shared(self._handler, self._limits, loop, self._mount)
        if listener.family in {socket.AF_INET, socket.AF_INET6}:
            # Accepted sockets inherit it: no answer waits for the acknowledgement of the one before.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listening[name] = await loop.create_server(
            lambda: ServerConnection(shared),
            sock=listener,
            backlog=BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.header_timeout if self._tls is not None else None,
        )

    def leave(self, name: int) -> None:
        """Accept no more from this one. Clients that are connected stay."""
        listening = self._listening.pop(name, None)
        if listening is not None:
            listening.close()

    def swap(self, handler: Handler, limits: ServerLimits | None = None) -> list[asyncio.Future[None]]:
        """Another handler from here on, and other limits for whoever connects from here on; but the time that TLS has to be
        agreed on in stays. Returns what the handler before it is still at work on."""
        self._handler = handler
        self._limits = fitted(limits) if limits is not None else self._limits
        if self._shared is None:
            return []
        self._shared.swap(handler, self._limits)
        return self._shared.ends()

    async def drain(self, patience: float) -> None:
        """Stop. The port stays open, and whoever comes is answered, while what was under way now is not done; its clients are
        told `connection: close`, and idle ones are hung up on. What takes longer than `patience` seconds is broken off."""
        shared = self._shared
        if shared is None:
            return
        shared.begin_draining(GRACE)
        try:
            async with asyncio.timeout(patience):
                await shared.former_left.wait()
                self._close_ports()
                await self._last_one(shared)
        except TimeoutError:
            self.hurry()
        self._close_ports()
        await self._cancel_the_rest(shared)
        if shared.connections:
            await shared.emptied.wait()

    async def hand_over(self) -> None:
        """Another process answers new clients from now on. Returns when the last of ours has left, however long that takes;
        `drain` makes it short."""
        self._close_ports()
        if self._shared is not None:
            self._shared.begin_draining(GRACE_WITH_SUCCESSOR)
            await self._last_one(self._shared)
            await self._cancel_the_rest(self._shared)

    def hurry(self) -> None:
        """Break off everything that is still under way."""
        if self._shared is not None:
            for connection in list(self._shared.connections):
                connection.drop()

    def _close_ports(self) -> None:
        self._closed = True
        for name in list(self._listening):
            self.leave(name)

    async def _last_one(self, shared: Shared) -> None:
        while shared.connections:
            await shared.emptied.wait()
        if shared.running:
            await asyncio.wait(shared.ends(), timeout=TIDY)

    async def _cancel_the_rest(self, shared: Shared) -> None:
        """Of an answer that is whole, the handler is left to tidy up; but not for ever."""
        if shared.running:
            for task in shared.running.values():
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(shared.ends(), timeout=AT_ONCE)


async def serve_until_told(
    server: Server,
    listener: socket.socket,
    *,
    on_start: Callable[[], Awaitable[None]],
    patience: Callable[[], float],
    on_drain: Callable[[], None] | None = None,
    on_hangup: Callable[[], None] | None = None,
) -> signal.Signals:
    """Serve until a signal comes, then drain for at most `patience()` seconds; a second signal ends that at once.
    Returns the first signal. SIGHUP is none of them if it means something. For the main thread only."""
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
    if on_hangup is not None and sys.platform != "win32":
        terminal, reload = Terminal(), on_hangup
        loop.add_signal_handler(signal.SIGHUP, lambda: tell(signal.SIGHUP) if terminal.is_gone() else reload())
        signals.append(signal.SIGHUP)
    try:
        await server.start(listener)
        await on_start()
        number = await told
        if on_drain is not None:
            on_drain()
        if under_way := server.running:
            # Else somebody at a terminal sees nothing happen.
            waits = {"answers": under_way, "seconds": patience()}
            log.info("stops when the answers under way are finished; told again, at once", extra=waits)
        await server.drain(patience())
        return number
    finally:
        server.hurry()
        for each in signals:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(each)
