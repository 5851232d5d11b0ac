"""A worker: one of the processes that serve under a supervisor. `python -m dragoman.io.worker`, with a socket and no words.

It listens on no port of its own accord. The supervisor, which keeps every listening socket open, says on which; so a worker
may come, go or die without any of them being closed, and with it the connections that wait in its queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Protocol, assert_never

import msgspec

from dragoman import logs
from dragoman.config import Config
from dragoman.errors import DragomanError
from dragoman.io.engine import Engine
from dragoman.io.housekeeping import Housekeeper, make_room_for_files, settle
from dragoman.io.mount import Mount
from dragoman.io.process import end_within
from dragoman.io.reloading import MountOf
from dragoman.io.server import TIDY, Server
from dragoman.io.serving import loop_factory
from dragoman.io.supervising import CONTROL, LONGEST_LINE, Brief, News, Order, SharedLock, line
from dragoman.io.tls import server_context

if TYPE_CHECKING:
    from dragoman.io.uvicorn_server import UvicornServer

log = logging.getLogger("dragoman.worker")

FAILED = 70
LAST_WORDS = 5.0
"""Seconds in which a worker that has nothing more to do may clean up."""
_LOOK = 1.0
"""Seconds between two looks at whether uvicorn's last client has left."""


class _Serving(Protocol):
    def connections(self) -> int: ...

    async def listen(self, port: int, listener: socket.socket) -> None: ...

    def leave(self, port: int, /) -> None: ...

    async def hand_over(self) -> None: ...

    async def drain(self, patience: float) -> None: ...

    def hurry(self) -> None: ...


class _Native:
    def __init__(self, engine: Engine, mount: Mount | None) -> None:
        settings = engine.config.server
        tls = server_context(settings.tls) if settings.tls is not None else None
        self._server = Server(engine.gateway, limits=settings.limits, tls=tls, mount=mount)
        self.leave = self._server.leave
        self.hand_over = self._server.hand_over
        self.drain = self._server.drain
        self.hurry = self._server.hurry

    def connections(self) -> int:
        return self._server.open

    async def listen(self, port: int, listener: socket.socket) -> None:
        await self._server.start(listener, port)


class _Uvicorn:
    """It takes its sockets at the start and keeps them to its end."""

    def __init__(self, engine: Engine, mount: Mount | None) -> None:
        settings = engine.config.server
        self._mount = mount
        self._tls = server_context(settings.tls) if settings.tls is not None else None
        self._engine = engine
        self._server: UvicornServer | None = None
        self._task: asyncio.Task[None] | None = None

    def connections(self) -> int:
        return len(self._server.server_state.connections) if self._server is not None else 0

    async def listen(self, port: int, listener: socket.socket) -> None:  # noqa: ARG002  there is one
        from dragoman.io.uvicorn_server import UvicornServer

        loop = asyncio.get_running_loop()
        started: asyncio.Future[None] = loop.create_future()

        async def on_start() -> None:
            started.set_result(None)

        self._server = UvicornServer(self._engine.gateway, self._engine.config.server, self._tls, on_start, self._mount)
        self._task = loop.create_task(self._server.serve(sockets=[listener]))
        await asyncio.wait([started, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            self._task.result()
            raise RuntimeError("uvicorn ended before it had begun")

    def leave(self, port: int) -> None: ...

    async def hand_over(self) -> None:
        await self._end(None)

    async def drain(self, patience: float) -> None:
        # It may be handing over already, and that has no end of its own.
        alarm = asyncio.get_running_loop().call_later(patience, self.hurry)
        try:
            await self._end(max(1, round(patience)))
        finally:
            alarm.cancel()

    async def _end(self, patience: int | None) -> None:
        server, task = self._server, self._task
        if server is None or task is None:
            return
        server.config.timeout_graceful_shutdown = patience
        server.should_exit = True
        alone = 0.0
        while not task.done():
            await asyncio.wait([task], timeout=_LOOK)
            alone = 0.0 if server.server_state.connections else alone + _LOOK
            if alone > TIDY:
                server.force_exit = True

    def hurry(self) -> None:
        if self._server is not None:
            self._server.force_exit = True


class Worker:
    def __init__(self, brief: Brief, config: Config, control: asyncio.StreamWriter, mount_of: MountOf | None) -> None:
        self._brief = brief
        self._control = control
        self.engine = Engine(config, local=brief.model())
        self._mount = mount_of(lambda: self.engine) if mount_of is not None else None
        driver = _Native if config.server.driver == "native" else _Uvicorn
        self._serving: _Serving = driver(self.engine, self._mount)
        self._ending: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    async def serve(self, orders: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: self._end(drains=True))
        # Ctrl-C goes to the whole group, and so does a terminal's end; the supervisor decides what becomes of them.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            if self._mount is not None:
                await self._mount.start()
            settle()
            self._say(News("ready"))
            reading = loop.create_task(self._obey(orders))
            try:
                with Housekeeper(self._serving.connections):
                    await self.ended.wait()
            finally:
                reading.cancel()
                await asyncio.wait([reading])
                if self._mount is not None:
                    await self._mount.stop()
        finally:
            await self.engine.aclose()

    async def _obey(self, orders: asyncio.StreamReader) -> None:
        try:
            await self._follow(orders)
        except ConnectionError:
            pass  # as good as its end
        except Exception as error:
            # One that hears nothing any more would never end.
            log.exception("a fault in worker %d", self._brief.number)
            self._say(News("failed", f"{type(error).__name__}: {error}"))
        self._end(drains=True)  # nobody is left who would say so

    def _say(self, news: News) -> None:
        """To nobody, if the supervisor is gone: uvloop would raise."""
        if not self._control.is_closing():
            self._control.write(line(news))

    async def _follow(self, orders: asyncio.StreamReader) -> None:
        while said := await orders.readline():
            order = msgspec.json.decode(said, type=Order)
            match order.do:
                case "listen":
                    # A copy: the descriptor itself stays for the next time.
                    listener = socket.socket(fileno=os.dup(self._brief.ports[order.port]))
                    await self._serving.listen(order.port, listener)
                case "leave":
                    self._serving.leave(order.port)
                case "team":
                    self.engine.team = order.team
                case "retire":
                    self._end(drains=False)
                case "drain":
                    self._end(drains=True)
                case "hurry":
                    self._serving.hurry()
                case "report":
                    self._say(News("alive"))
                case _:
                    assert_never(order.do)

    def _end(self, *, drains: bool) -> None:
        """Begin to end. Draining makes short what a retirement takes its time over, and is not undone by one."""
        if not drains and self.engine.draining:
            return
        loop = asyncio.get_running_loop()
        if drains:
            self.engine.begin_draining()
        work = self._serving.drain(self.engine.config.server.drain) if drains else self._serving.hand_over()
        before, self._ending = self._ending, loop.create_task(work)
        if before is not None:
            before.cancel()
        ending = self._ending
        ending.add_done_callback(lambda _: self.ended.set() if self._ending is ending else None)


def main(mount_of: MountOf | None = None) -> int:
    """What a module does that `Supervisor` is to start."""
    control = socket.socket(fileno=int(os.environ.pop(CONTROL)))
    make_room_for_files()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(_main(control, mount_of))
        end_within(LAST_WORDS, code)
    return code


async def _main(control: socket.socket, mount_of: MountOf | None) -> int:
    reader, writer = await asyncio.open_connection(sock=control, limit=LONGEST_LINE)
    try:
        first = await reader.readline()
        if not first:
            return FAILED
        brief = msgspec.json.decode(first, type=Brief)
        try:
            config = brief.source.load(os.environ)
            close_logs = logs.setup(config.server.log, secrets=config.secrets(), lock=SharedLock(brief.lock))
            try:
                await Worker(brief, config, writer, mount_of).serve(reader)
            finally:
                close_logs()
        except DragomanError as error:
            if not writer.is_closing():
                writer.write(line(News("failed", str(error))))
            return FAILED
        return 0
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()  # the last news is out


if __name__ == "__main__":
    sys.exit(main())
