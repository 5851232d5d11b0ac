"""One process that serves: an engine on a socket, under the driver that the configuration names."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable

from dragoman.io.engine import Engine
from dragoman.io.mount import Mount, Started
from dragoman.io.server import Server, serve_until_told
from dragoman.io.tls import server_context

_GARBAGE = (5_000, 20, 20)
"""So many objects are made and not freed before it looks at the young ones (half a millisecond), and then at the older."""


def serve(engine: Engine, listener: socket.socket, started: Started, *, mount: Mount | None = None) -> signal.Signals:
    """Serve until a signal comes; answers under way get `server.drain` seconds then. Returns the signal. For the main
    thread only."""
    settings = engine.config.server
    tls = server_context(settings.tls) if settings.tls is not None else None
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        if settings.driver == "native":
            return runner.run(_natively(engine, listener, started, tls, mount))
        return runner.run(_by_uvicorn(engine, listener, started, tls, mount))


async def _natively(
    engine: Engine, listener: socket.socket, started: Started, tls: ssl.SSLContext | None, mount: Mount | None
) -> signal.Signals:
    try:
        if mount is not None:
            await mount.start()
        try:
            return await serve_until_told(
                Server(engine.gateway, tls=tls, mount=mount),
                listener,
                on_start=started,
                patience=engine.config.server.drain,
                on_drain=engine.begin_draining,
            )
        finally:
            if mount is not None:
                await mount.stop()
    finally:
        await engine.aclose()


async def _by_uvicorn(
    engine: Engine, listener: socket.socket, started: Started, tls: ssl.SSLContext | None, mount: Mount | None
) -> signal.Signals:
    # Not for those who have no use for it: it is a quarter of the time to start in.
    from dragoman.io.uvicorn_server import UvicornServer

    server = UvicornServer(engine, tls, started, mount)
    await server.serve(sockets=[listener])
    return server.told or signal.SIGTERM


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def settle() -> None:
    """What has been made until now stays: the garbage collector need not walk through it again, which is what its long pauses
    are. Requests make few cycles, so it looks for new ones less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
