"""A gateway on a real socket for the tests, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

from dragoman.config import load
from dragoman.io.asgi import AsgiApp
from dragoman.io.engine import Engine
from dragoman.io.local import LocalModel
from dragoman.io.server import Server

PATIENCE = 20.0


class Served:
    """`url` is the root; `base` ends in `/v1`, as the OpenAI SDK wants it."""

    def __init__(self, url: str, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.base = f"{url}/v1"
        self.engine = engine
        self.loop = loop


@contextmanager
def serving(
    config: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    *,
    local: LocalModel | None = None,
    driver: str | None = None,
) -> Generator[Served]:
    """The gateway with this configuration, listening on a free port. `driver` is `asgi` or `native`; where a test does not
    care, the environment's DRAGOMAN_TEST_DRIVER."""
    said = {"local": {"enabled": local is not None}, "store": {"path": ":memory:"}, **config}
    engine = Engine(load(json.dumps(said), ".json", env or {}, "test"), local=local)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def started() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()

    run = _native if (driver or os.environ.get("DRAGOMAN_TEST_DRIVER", "native")) == "native" else _uvicorn
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        main, stop = run(engine, listener, started)
        thread = threading.Thread(target=main, name="gateway")
        thread.start()
        try:
            assert ready.wait(PATIENCE), "the gateway did not start"
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", engine, loops[0])
        finally:
            stop()
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the gateway did not stop"


Started = Callable[[], Awaitable[None]]
Driver = tuple[Callable[[], None], Callable[[], None]]
"""What the gateway's thread runs, and what ends it from another thread."""


def _uvicorn(engine: Engine, listener: socket.socket, started: Started) -> Driver:
    app = AsgiApp(engine.gateway, on_start=started, on_stop=engine.aclose)
    options = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, date_header=False, proxy_headers=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(options)

    def stop() -> None:
        server.should_exit = True

    return lambda: server.run(sockets=[listener]), stop


def _native(engine: Engine, listener: socket.socket, started: Started) -> Driver:
    stopped = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        server = Server(engine.gateway)
        try:
            port = listener.dup()  # the caller asks for its name and closes it
            await server.start(port)
            await started()
            await stopped.wait()
            await server.drain(2)
        finally:
            await engine.aclose()

    def main() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    def stop() -> None:
        for loop in loops:
            loop.call_soon_threadsafe(stopped.set)

    return main, stop


def upstream(url: str, dialect: str, **more: Any) -> dict[str, Any]:
    """A provider of the configuration that is the scripted upstream."""
    base = url if dialect == "messages" else f"{url}/v1"
    return {"dialect": dialect, "base_url": base, "api_key": "sk-upstream", **more}
