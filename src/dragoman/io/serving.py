"""One process that serves: the gateway on a socket, under the driver that the configuration names."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
from collections.abc import Callable

from dragoman.config import Config
from dragoman.io.housekeeping import Housekeeper
from dragoman.io.local import LocalModel
from dragoman.io.mount import Mount, Started
from dragoman.io.process import Terminal, ignore_signals
from dragoman.io.reloading import Current, MountOf, Reread
from dragoman.io.server import Server, serve_until_told
from dragoman.io.tls import server_context


def serve(
    config: Config,
    listener: socket.socket,
    started: Started,
    *,
    model: LocalModel | None = None,
    mount_of: MountOf | None = None,
    reread: Reread | None = None,
) -> signal.Signals:
    """Serve until a signal comes; answers under way get `server.drain` seconds then. Returns the signal; from then on signals
    are ignored, as this process is about to end. For the main thread only. `model` runs, and is stopped at the end. `reread`
    is what SIGHUP does."""
    tls = server_context(config.server.tls) if config.server.tls is not None else None
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        current = Current(config, model, tls, reread)
        return runner.run(_serve(current, listener, started, tls, mount_of))


async def _serve(
    current: Current, listener: socket.socket, started: Started, tls: ssl.SSLContext | None, mount_of: MountOf | None
) -> signal.Signals:
    mount = mount_of(lambda: current.engine) if mount_of is not None else None
    run = _natively if current.engine.config.server.driver == "native" else _by_uvicorn
    try:
        if mount is not None:
            await mount.start()
        try:
            return await run(current, listener, started, tls, mount)
        finally:
            ignore_signals()
            if mount is not None:
                await mount.stop()
    finally:
        await current.aclose()


async def _natively(
    current: Current, listener: socket.socket, started: Started, tls: ssl.SSLContext | None, mount: Mount | None
) -> signal.Signals:
    server = Server(current.engine.gateway, limits=current.engine.config.server.limits, tls=tls, mount=mount)
    current.swap = lambda engine: server.swap(engine.gateway, engine.config.server.limits)
    with Housekeeper(lambda: server.open):
        return await serve_until_told(
            server,
            listener,
            on_start=started,
            patience=current.patience,
            on_drain=current.begin_draining,
            on_hangup=current.reload,
        )


async def _by_uvicorn(
    current: Current, listener: socket.socket, started: Started, tls: ssl.SSLContext | None, mount: Mount | None
) -> signal.Signals:
    # Not for those who have no use for it: it is a quarter of the time to start in.
    from dragoman.io.uvicorn_server import UvicornServer

    settings = current.engine.config.server
    server = UvicornServer(current.engine.gateway, settings, tls, started, mount, on_signal=current.begin_draining)
    current.swap = lambda engine: server.swap(engine.gateway, engine.config.server)
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        terminal = Terminal()

        def hung_up() -> None:
            if terminal.is_gone():
                server.handle_exit(signal.SIGHUP, None)
            else:
                current.reload()

        loop.add_signal_handler(signal.SIGHUP, hung_up)
    try:
        with Housekeeper(lambda: len(server.server_state.connections)):
            await server.serve(sockets=[listener])
    finally:
        if sys.platform != "win32":
            loop.remove_signal_handler(signal.SIGHUP)
    return server.told or signal.SIGTERM


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
