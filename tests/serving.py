"""A gateway on a real socket for the tests, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from dragoman.config import load
from dragoman.io.asgi import AsgiApp
from dragoman.io.engine import Engine
from dragoman.io.local import LocalModel

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
    config: Mapping[str, Any], env: Mapping[str, str] | None = None, *, local: LocalModel | None = None
) -> Iterator[Served]:
    """The gateway with this configuration, listening on a free port."""
    said = {"local": {"enabled": local is not None}, **config}
    engine = Engine(load(json.dumps(said), ".json", env or {}, "test"), local=local)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def started() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()

    app = AsgiApp(engine.gateway, on_start=started, on_stop=engine.aclose)
    options = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="on", log_config=None, access_log=False,
        server_header=False, date_header=False, proxy_headers=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(options)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway")
        thread.start()
        try:
            assert ready.wait(PATIENCE), "the gateway did not start"
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", engine, loops[0])
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the gateway did not stop"


def upstream(url: str, dialect: str, **more: Any) -> dict[str, Any]:
    """A provider of the configuration that is the scripted upstream."""
    base = url if dialect == "messages" else f"{url}/v1"
    return {"dialect": dialect, "base_url": base, "api_key": "sk-upstream", **more}
