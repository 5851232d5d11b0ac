"""One client's connection to the scripted upstream: the only file of the kit that writes to a socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, assert_never, cast

import msgspec

from dragoman.testing.http1 import (
    LAST_CHUNK,
    BadRequest,
    Framing,
    Request,
    RequestReader,
    chunk_bytes,
    head_bytes,
)
from dragoman.testing.scenario import Cut, Part, Rendered, Repeat, Reset, SlowHead, Stall, Waitable

_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time to linger: closing the socket sends RST instead of FIN."""


_BURST = 16


class Wire(msgspec.Struct, frozen=True):
    """How answers are written. `split` is `whole` (up to the next thing that happens), `event`, or `bytes:N`: pieces of N
    bytes, cut anywhere. Each piece is flushed, and between two the other tasks have their turn; `pace` is a pause between
    them, in seconds. `gzip` compresses for clients that accept it. `requests_per_connection` closes a connection without
    notice after so many answers. `send_buffer` is the kernel's, in bytes."""

    split: str = "event"
    framing: Framing = "auto"
    keep_alive: bool = True
    gzip: bool = False
    pace: float = 0.0
    requests_per_connection: int | None = None
    send_buffer: int | None = None

    def __post_init__(self) -> None:
        kind, _, size = self.split.partition(":")
        if not (self.split in ("whole", "event") or (kind == "bytes" and size.isdigit() and int(size) > 0)):
            raise ValueError(f"split is 'whole', 'event' or 'bytes:N', not {self.split!r}")


class ClosedEarly(msgspec.Struct, frozen=True):
    """The client left while it was being answered. `at` is in seconds on the monotonic clock."""

    at: float
    request: Request


class Host(Protocol):
    """What a connection needs of its upstream."""

    wire: Wire

    def connected(self, connection: Connection) -> int: ...
    def lost(self, connection: Connection) -> None: ...
    def answer(self, request: Request) -> Rendered: ...
    def wrote(self, request: Request, size: int) -> None: ...
    def left(self, event: ClosedEarly) -> None: ...
    async def hold(self, on: float | str | Waitable) -> None: ...


class _Left(Exception):
    """The client has gone."""


class Connection(asyncio.Protocol):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._wire = host.wire
        self._reader = RequestReader()
        self._arrived = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone_at = 0.0
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._number = 0
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None

    # ------------------------------------------------------------ called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the base class.
        self.transport = transport = cast("asyncio.Transport", transport)
        # Nothing waits in the transport: what has been written is in the kernel's hands, and is counted as such. (Not zero:
        # asyncio's TLS transport would pause at once and for ever.)
        transport.set_write_buffer_limits(high=1, low=0)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._wire.send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._wire.send_buffer)
        self._number = self._host.connected(self)
        self.task = asyncio.get_running_loop().create_task(self._serve(transport))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._arrived.set()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._leave()
        self._host.lost(self)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def _leave(self) -> None:
        if not self._gone.is_set():
            self._gone_at = time.monotonic()
            self._gone.set()
        self._can_write.set()
        self._arrived.set()

    # ------------------------------------------------------------ requests

    async def _serve(self, transport: asyncio.Transport) -> None:
        served = 0
        try:
            while (request := await self._next_request(transport)) is not None:
                request.connection = self._number
                request.at = time.monotonic()
                rendered = self._host.answer(request)
                try:
                    goes_on = await _Answer(self, transport, request, rendered).send()
                except _Left:
                    self._host.left(ClosedEarly(self._gone_at, request))
                    return
                served += 1
                # A connection that is closed without notice after a whole answer: a client's pool must cope with it.
                if not goes_on or served == self._wire.requests_per_connection:
                    return
        except BadRequest as error:
            body = str(error).encode()
            headers = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close")]
            transport.write(head_bytes(400, headers) + body)
        finally:
            transport.close()

    async def _next_request(self, transport: asyncio.Transport) -> Request | None:
        while True:
            request = self._reader.take()
            if request is not None:
                return request
            if self._gone.is_set():
                return None
            if self._reader.wants_continue():
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._arrived.clear()
            await self._arrived.wait()

    # ------------------------------------------------------------ for the answer

    @property
    def wire(self) -> Wire:
        return self._wire

    async def write(self, transport: asyncio.Transport, data: bytes, *, turn: bool = True) -> None:
        """Returns when the kernel has taken all of it. Raises `_Left`. `turn`: the other tasks have theirs before it does."""
        if self._gone.is_set():
            raise _Left
        transport.write(data)
        await self._can_write.wait()
        # The other side's turn, if it runs on this loop: what was flushed apart is also read apart.
        if turn:
            await asyncio.sleep(self._wire.pace)
        if self._gone.is_set():
            raise _Left

    async def hold(self, on: float | str | Waitable) -> None:
        """Waits for what a stall waits for, or for the client to leave, whichever comes first."""
        held: asyncio.Future[Any] = asyncio.ensure_future(self._host.hold(on))
        gone: asyncio.Future[Any] = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((held, gone), return_when=asyncio.FIRST_COMPLETED)
            if held.done():
                held.result()
        finally:
            held.cancel()
            gone.cancel()
            await asyncio.gather(held, gone, return_exceptions=True)
        if self._gone.is_set():
            raise _Left

    def count(self, request: Request, size: int) -> None:
        self._host.wrote(request, size)


class _Answer:
    """One answer on its way out."""

    def __init__(self, connection: Connection, transport: asyncio.Transport, request: Request, rendered: Rendered) -> None:
        self._connection = connection
        self._transport = transport
        self._request = request
        self._rendered = rendered
        wire = connection.wire
        self._split = rendered.split or wire.split
        self._keeps = wire.keep_alive and request.keeps_alive and wire.framing != "close"
        single = all(isinstance(p, bytes | Stall) for p in rendered.parts[:-1]) and _bodies(rendered.parts) <= 1
        self._framing: Literal["length", "chunked", "close"] = "length" if single else "chunked"
        if wire.framing != "auto":
            self._framing = wire.framing
        accepts = request.header("accept-encoding") or ""
        self._gzip = zlib.compressobj(wbits=31) if wire.gzip and "gzip" in accepts else None
        if self._gzip is not None and self._framing == "length":
            self._framing = "chunked"
        if request.version == "HTTP/1.0" and self._framing == "chunked":
            self._framing, self._keeps = "close", False

    async def send(self) -> bool:
        """True when the connection can take another request. Raises `_Left`."""
        before = self._rendered.head
        match before:
            case SlowHead(on):
                await self._connection.hold(on)
            case Cut() | Reset() as end:
                return self._break(end)
            case None:
                pass
            case _:
                assert_never(before)
        head = head_bytes(self._rendered.status, self._headers())
        if self._request.method == "HEAD":
            await self._connection.write(self._transport, head)
            return self._keeps
        if self._split != "whole":
            await self._connection.write(self._transport, head)
            head = b""
        for number, part in enumerate(split_parts(self._rendered.parts, self._split)):
            match part:
                case bytes():
                    # One answer in thousands of pieces, among many answers: a turn for each would take minutes.
                    await self._send(part, head, turn=not self._rendered.split or number % _BURST == 0)
                    head = b""
                case Stall(on):
                    if head:
                        await self._connection.write(self._transport, head)
                        head = b""
                    await self._connection.hold(on)
                case Repeat(data, times):
                    sent = 0
                    while times is None or sent < times:
                        await self._send(data, head)
                        head = b""
                        sent += 1
                case Cut() | Reset():
                    if head:
                        await self._connection.write(self._transport, head)
                    return self._break(part)
                case _:
                    assert_never(part)
        await self._end(head)
        return self._keeps

    def _headers(self) -> list[tuple[str, str]]:
        headers = list(self._rendered.headers)
        if self._framing == "chunked":
            headers.append(("transfer-encoding", "chunked"))
        elif self._framing == "length":
            size = sum(len(p) for p in self._rendered.parts if isinstance(p, bytes))
            # A body that will be cut short is announced longer than it becomes.
            broken = any(isinstance(p, Cut | Reset) for p in self._rendered.parts)
            headers.append(("content-length", str(size * 2 + 2 if broken else size)))
        if self._gzip is not None:
            headers.append(("content-encoding", "gzip"))
        if not self._keeps:
            headers.append(("connection", "close"))
        return headers

    async def _send(self, data: bytes, head: bytes, *, turn: bool = True) -> None:
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        framed = chunk_bytes(data) if self._framing == "chunked" else data
        await self._connection.write(self._transport, head + framed, turn=turn)
        self._connection.count(self._request, len(data))

    async def _end(self, head: bytes) -> None:
        rest = self._gzip.flush() if self._gzip is not None else b""
        if self._framing == "chunked":
            rest = chunk_bytes(rest) + LAST_CHUNK
        if head or rest:
            await self._connection.write(self._transport, head + rest)

    def _break(self, end: Cut | Reset) -> bool:
        if isinstance(end, Reset):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            self._transport.abort()
        return False


def _bodies(parts: Sequence[Part]) -> int:
    return sum(2 if isinstance(p, Repeat) else isinstance(p, bytes) for p in parts)


def split_parts(parts: Sequence[Part], split: str) -> Iterator[Part]:
    """The parts, their bytes joined and cut anew."""
    if split == "event":
        yield from parts
        return
    cut: Callable[[bytes], Iterator[bytes]] = lambda joined: iter([joined])  # noqa: E731
    if split != "whole":
        size = int(split.partition(":")[2])
        cut = lambda joined: (joined[i : i + size] for i in range(0, len(joined), size))  # noqa: E731
    held: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            held.append(part)
            continue
        if held:
            yield from cut(b"".join(held))
            held.clear()
        yield part
    if held:
        yield from cut(b"".join(held))
