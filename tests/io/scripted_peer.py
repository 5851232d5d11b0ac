"""A loopback server that does byte for byte what a script says, and the loops that tests run on.

async def script(wire: Wire) -> None:      # once for each connection
    await wire.request()
    await wire.send(b"HTTP/1.1 200 OK\\r\\n\\r\\n")

async def scenario() -> None:
    async with Peer(script) as peer, client() as transport: ...

run(scenario())                            # `run` is a test's argument, see `on_both_loops`
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from dragoman.errors import DragomanError
from dragoman.io.proxies import Proxies
from dragoman.io.upstream import HttpExchange, HttpTransport
from dragoman.wire.http import Head, RawHeaders, Timeouts, UpstreamRequest

LIMIT = 20.0
"""Seconds that one scenario may take; none is meant to take one."""
WAIT = 5.0
"""Patience of `head` and `read` where the answer is on its way."""

Run = Callable[[Coroutine[Any, Any, None]], None]


def run_on(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Run:
    def run(scenario: Coroutine[Any, Any, None]) -> None:
        complaints: list[dict[str, Any]] = []
        gc.freeze()  # what earlier tests keep alive need not be walked through below

        async def bounded() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(LIMIT):
                await scenario
            await settle()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(bounded())
        gc.collect()  # so that what was left open or unread is reported within the test that left it
        assert not complaints, f"the loop complains: {complaints}"

    return run


on_both_loops = pytest.mark.parametrize(
    "run", [run_on(asyncio.new_event_loop), run_on(uvloop.new_event_loop)], ids=["asyncio", "uvloop"]
)


async def settle() -> None:
    """Let callbacks that are due run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until this holds; the scenario's time bounds it."""
    for _ in iter(condition, True):
        await asyncio.sleep(0)


@dataclass
class Received:
    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def fields(self) -> list[bytes]:
        return self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]


class Wire:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, seen: list[Received]) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """Counted from 1."""
        self._seen = seen

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Received:
        """A whole request. Raises `IncompleteReadError` when the client hangs up instead."""
        head = await self.head()
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        received = Received(head, await self.reader.readexactly(length))
        self._seen.append(received)
        return received

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def send_bytewise(self, data: bytes) -> None:
        """Each byte in a segment of its own."""
        for at in range(len(data)):
            self.writer.write(data[at : at + 1])
            await asyncio.sleep(0)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """A TCP reset, as from a peer that crashed."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Returns when the client has hung up."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


Script = Callable[[Wire], Awaitable[None]]


class Peer:
    """Runs the script on each connection; an error in a script fails the test, a client's hanging up does not.
    When a script returns its connection is closed."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._script = script
        self._tls = tls
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0
        self.requests: list[Received] = []

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}{path}"

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors and exc[0] is None:
            raise self._errors[0]

    async def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._script(Wire(reader, writer, self.connections, self.requests))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001  re-raised when the peer is left
            self._errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


def answer(body: bytes = b"", *, status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, extra, len(body), body)


def always(data: bytes) -> Script:
    """Give this answer to every request, as long as the client stays."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(data)

    return script


@asynccontextmanager
async def client(
    *,
    per_host: int = 512,
    idle_age: float = 30.0,
    ssl_context: ssl.SSLContext | None = None,
    proxies: Proxies | None = None,
    resolve: Any = None,
) -> AsyncGenerator[HttpTransport]:
    transport = HttpTransport(
        per_host=per_host,
        idle_age=idle_age,
        ssl_context=ssl_context,
        proxies=proxies if proxies is not None else Proxies(),
        resolve=resolve,
    )
    try:
        yield transport
    finally:
        await transport.aclose()
        assert transport.stats().open == 0


def post(url: str, body: bytes = b"{}", *, headers: RawHeaders | None = None, **timeouts: float) -> UpstreamRequest:
    return UpstreamRequest(method="POST", url=url, headers=headers or [], body=body, timeouts=Timeouts(**timeouts))


def get(url: str, *, method: str = "GET", headers: RawHeaders | None = None, **timeouts: float) -> UpstreamRequest:
    return UpstreamRequest(method=method, url=url, headers=headers or [], body=b"", timeouts=Timeouts(**timeouts))


async def head_of(exchange: HttpExchange) -> Head:
    head = await exchange.head(WAIT)
    assert head is not None
    return head


async def body_of(exchange: HttpExchange) -> bytes:
    """The rest of the body, to its proper end."""
    body = b""
    while True:
        data = await exchange.read(WAIT)
        assert data is not None
        if not data:
            return body
        body += data


async def until_failure(exchange: HttpExchange, kind: type[DragomanError]) -> tuple[bytes, str]:
    """What of the body came, and the message of the error that ended it."""
    body = b""
    try:
        while data := await exchange.read(WAIT):
            body += data
    except kind as error:
        return body, str(error)
    raise AssertionError("the body ended well")


async def fetch(transport: HttpTransport, request: UpstreamRequest) -> tuple[Head, bytes]:
    exchange = await transport.open(request)
    try:
        return await head_of(exchange), await body_of(exchange)
    finally:
        exchange.close()
