"""Both server drivers under one small handler, and a client that speaks in raw bytes.

async def scenario() -> None:
    async with serving(driver) as served, served.client() as client:
        await client.send(get("/echo"))
        assert (await client.answer()).status == 200

run(scenario())                            # `run` and `driver` are a test's arguments, see `on_all_drivers`
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec
import pytest
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dragoman.config import ServerLimits, load
from dragoman.errors import DragomanError, Unauthenticated
from dragoman.io.mount import Mount
from dragoman.io.server import Server
from dragoman.io.uvicorn_server import UvicornServer
from dragoman.wire.http import Inbound, Outbound
from tests.io.scripted_peer import run_on, until

on_all_drivers = pytest.mark.parametrize(
    ("driver", "run"),
    [
        ("native", run_on(uvloop.new_event_loop)),
        ("native", run_on(asyncio.new_event_loop)),
        ("asgi", run_on(uvloop.new_event_loop)),
    ],
    ids=["native-uvloop", "native-asyncio", "asgi"],
)

PIECE = bytes(range(256)) * 256
"""64 KB."""


@dataclass
class Site:
    max_body: int = 1024 * 1024


class Echo:
    """A handler of the gateway's shape. What it does is in the path."""

    def __init__(self, max_body: int = 1024 * 1024) -> None:
        self._site = Site(max_body)
        self.seen: list[Inbound] = []
        self.screened: list[int] = []
        """Bytes of the body that were shown."""
        self.cancelled: list[str] = []
        self.pieces = 0
        self.is_native = False
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.gate = asyncio.Event()

    @property
    def site(self) -> Site:
        return self._site

    def owns(self, inbound: Inbound) -> bool:
        return not inbound.path.startswith("/app")

    def screen(self, inbound: Inbound) -> DragomanError | None:
        self.screened.append(len(inbound.body))
        return Unauthenticated("a stranger") if inbound.header(b"x-key") == b"wrong" else None

    async def handle(self, inbound: Inbound, out: Outbound) -> None:
        self.seen.append(inbound)
        name = inbound.path.strip("/*") or "echo"
        work: Callable[[Inbound, Outbound], Awaitable[None]] = getattr(self, f"do_{name.replace('-', '_')}")
        self.entered.set()
        try:
            await work(inbound, out)
        except asyncio.CancelledError:
            self.cancelled.append(inbound.path)
            raise
        finally:
            self.left.set()

    async def refuse(self, inbound: Inbound, out: Outbound, error: DragomanError) -> None:
        body = f"refused {inbound.path}: {error}".encode()
        await out.start(error.status, [(b"content-length", b"%d" % len(body))])
        await out.finish(body)

    async def do_echo(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"content-length", b"%d" % len(inbound.body)), (b"x-query", inbound.query)])
        await out.finish(inbound.body)

    async def do_wait(self, inbound: Inbound, out: Outbound) -> None:
        await self.gate.wait()
        await self.do_echo(inbound, out)

    async def do_stream(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"content-type", b"text/event-stream")])
        for number in range(3):
            await out.write(b"data: %d\n\n" % number)
        await out.finish(PIECE)

    async def do_begin_and_wait(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"content-type", b"text/event-stream")])
        await self.gate.wait()
        await out.finish(b"late")

    async def do_flood(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [])
        while True:
            await out.write(PIECE)
            self.pieces += 1

    async def do_bounded_flood(self, inbound: Inbound, out: Outbound) -> None:
        out.bound(-0.9)  # with a driver's own grace, in a tenth of a second
        await self.do_flood(inbound, out)

    async def do_bounded_wait(self, inbound: Inbound, out: Outbound) -> None:
        out.bound(0.01 if self.is_native else 5)
        await self.do_wait(inbound, out)

    async def do_no_content(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(204, [])
        await out.finish()

    async def do_not_modified(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(304, [(b"etag", b'"1"')])
        await out.finish()

    async def do_inject(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"x-a", b"1\r\nx-evil: 2"), (b"content-length", b"0")])
        await out.finish()

    async def do_inject_newline(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"x-a", b"1\nx-evil: 2"), (b"content-length", b"0")])
        await out.finish()

    async def do_say_nothing(self, inbound: Inbound, out: Outbound) -> None: ...

    async def do_fail(self, inbound: Inbound, out: Outbound) -> None:
        raise LookupError("on purpose")

    async def do_break_off(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [])
        await out.write(b"half")
        out.abort()

    async def do_too_short(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"content-length", b"10")])
        await out.finish(b"short")

    async def do_too_long(self, inbound: Inbound, out: Outbound) -> None:
        await out.start(200, [(b"content-length", b"2")])
        await out.finish(b"longer")


@dataclass
class Answered:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list[bytes])

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def send_bytewise(self, data: bytes) -> None:
        """Each byte in a segment of its own, and the server reads it before the next."""
        for at in range(len(data)):
            self.writer.write(data[at : at + 1])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def head(self) -> Answered:
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        pairs = [each.partition(b": ") for each in lines]
        return Answered(int(status), [(name.lower(), value) for name, _, value in pairs])

    async def answer(self, method: str = "GET") -> Answered:
        """The next answer, framed as its head says."""
        got = await self.head()
        length, coding = got.header(b"content-length"), got.header(b"transfer-encoding")
        assert length is None or coding is None, "two framings"
        if method == "HEAD" or got.status in {100, 204, 304}:
            return got
        if coding == b"chunked":
            while chunk := await self.chunk():
                got.chunks.append(chunk)
            got.body = b"".join(got.chunks)
        elif length is not None:
            got.body = await self.reader.readexactly(int(length))
        else:
            got.body = await self.reader.read()
        return got

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def rest(self) -> bytes:
        """What comes until the server hangs up, be it by a reset."""
        got = bytearray()
        with suppress(ConnectionError):
            while data := await self.reader.read(65536):
                got += data
        return bytes(got)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Served:
    handler: Echo
    port: int
    drain: Callable[[], Awaitable[None]]
    """Graceful, with the patience given to `serving`. May be called again."""
    open: Callable[[], int]
    """Connections."""
    transports: Callable[[], list[asyncio.Transport]]
    tls: ssl.SSLContext | None = None

    def nodelay(self) -> bool:
        """On every accepted socket."""
        sockets = [each.get_extra_info("socket") for each in self.transports()]
        return bool(sockets) and all(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets)

    @asynccontextmanager
    async def client(self, *, buffers: int = 0) -> AsyncGenerator[Client]:
        """`buffers`: of its socket, in bytes, where not the usual."""
        sock = socket.socket()
        if buffers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = "localhost" if self.tls is not None else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=self.tls, server_hostname=name, limit=1 << 22)
        client = Client(reader, writer)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def serving(
    driver: str,
    handler: Echo | None = None,
    *,
    limits: ServerLimits | None = None,
    patience: int = 5,
    buffers: int = 0,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
    mount: Mount | None = None,
) -> AsyncGenerator[Served]:
    """`limits` are the native driver's; of which uvicorn has some."""
    handler = handler or Echo()
    handler.is_native = driver == "native"
    listener = socket.socket()
    if buffers:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    port = listener.getsockname()[1]
    start = _native if driver == "native" else _uvicorn
    if mount is not None:
        await mount.start()
    drain, transports = await start(handler, listener, limits or ServerLimits(), patience, server_tls, mount)
    drained = False

    async def once() -> None:
        nonlocal drained
        if not drained:
            drained = True
            await drain()

    try:
        yield Served(handler, port, once, lambda: len(transports()), transports, client_tls)
    finally:
        handler.gate.set()
        await once()
        assert transports() == []
        if mount is not None:
            await mount.stop()


Started = tuple[Callable[[], Awaitable[None]], Callable[[], list[asyncio.Transport]]]


async def _native(
    handler: Echo, listener: socket.socket, limits: ServerLimits, patience: int, tls: ssl.SSLContext | None, mount: Mount | None
) -> Started:
    server = Server(handler, limits=limits, tls=tls, mount=mount)
    await server.start(listener)
    return lambda: server.drain(patience), server.transports


async def _uvicorn(
    handler: Echo, listener: socket.socket, limits: ServerLimits, patience: int, tls: ssl.SSLContext | None, mount: Mount | None
) -> Started:
    async def on_start() -> None: ...

    settings = msgspec.structs.replace(load("", "", {}, "test").server, limits=limits, drain=patience)
    server = UvicornServer(handler, settings, tls, on_start, mount)
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    state = server.server_state

    async def drain() -> None:
        await server.shutdown(sockets=[listener])
        await until(lambda: not state.connections and not state.tasks)

    def transports() -> list[asyncio.Transport]:
        return [connection.transport for connection in state.connections if isinstance(connection, HttpToolsProtocol)]

    return drain, transports


def get(path: str, *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    lines = [b"%b %b HTTP/%b" % (method, path.encode(), version), b"host: test", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(path: str, body: bytes, *fields: bytes) -> bytes:
    return get(path, b"content-length: %d" % len(body), *fields, method=b"POST") + body


def chunked(path: str, *chunks: bytes, trailer: bytes = b"") -> bytes:
    head = get(path, b"transfer-encoding: chunked", method=b"POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
