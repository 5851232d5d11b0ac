"""The parsers of HTTP/1.1, fed without a socket: what a client may send to the native server, what a provider may answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from dragoman.config import ServerLimits
from dragoman.errors import DragomanError
from dragoman.io.connection import Connection
from dragoman.io.server_connection import ServerConnection, Shared
from dragoman.wire.http import Inbound, Outbound

_TURNS = 4
"""Turns of the loop in which an answer is made and written."""


class _Socket:
    """A transport that takes everything and says so."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.sent += piece

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any: ...


class _Site(msgspec.Struct):
    max_body: int = 4096


class _Handler:
    """Answers every request with its size."""

    def __init__(self) -> None:
        self.site = _Site()
        self.asked: list[Inbound] = []

    def owns(self, inbound: Inbound) -> bool:
        return True

    def screen(self, inbound: Inbound) -> DragomanError | None:
        return None

    async def handle(self, inbound: Inbound, out: Outbound) -> None:
        self.asked.append(inbound)
        await out.start(200, [(b"content-length", b"2")])
        await out.finish(b"ok")

    async def refuse(self, inbound: Inbound, out: Outbound, error: DragomanError) -> None:
        await out.start(error.status, [(b"content-length", b"0")])
        await out.finish(inbound.body[:0])


class Faults(logging.Handler):
    """What the server logs as a fault of its own is one."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage())


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


_loops: list[asyncio.AbstractEventLoop] = []
_faults = Faults()


def _loop() -> asyncio.AbstractEventLoop:
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]


def close() -> None:
    while _loops:
        _loops.pop().close()


def _serve(pieces: Iterable[bytes]) -> tuple[list[tuple[str, bytes, bytes]], bytes]:
    log = logging.getLogger("dragoman.server")
    log.addHandler(_faults)
    try:
        return _served(pieces)
    finally:
        log.removeHandler(_faults)


def _served(pieces: Iterable[bytes]) -> tuple[list[tuple[str, bytes, bytes]], bytes]:
    loop, handler, socket = _loop(), _Handler(), _Socket()
    connection = ServerConnection(Shared(handler, ServerLimits(max_header_size=8192, max_headers=20), loop))
    connection.connection_made(cast("asyncio.Transport", socket))
    for piece in pieces:
        if socket.closed:
            break
        connection.data_received(piece)
        loop.run_until_complete(_turns())
    loop.run_until_complete(_turns())
    connection.connection_lost(None)
    loop.run_until_complete(_turns())
    return [(asked.method, asked.raw_path, asked.body) for asked in handler.asked], bytes(socket.sent)


def request(data: bytes) -> None:
    """Whether it comes whole or in pieces, the same requests are understood."""
    step = data[0] % 5 + 1 if data else 1
    told = data[1:]
    whole, sent = _serve((told,))
    split, sent_for_split = _serve(told[at : at + step] for at in range(0, len(told), step))
    assert split == whole
    for answers in (sent, sent_for_split):
        assert not answers or answers.startswith(b"HTTP/1.1 ")
        assert b"HTTP/1.1 500" not in answers


def answer(data: bytes) -> None:
    """Whether it comes whole or in pieces, the same answer is understood, or none."""
    step = data[0] % 5 + 1 if data else 1
    head = bool(data) and data[0] & 128 != 0
    told = data[1:]
    assert _read((told,), head) == _read((told[at : at + step] for at in range(0, len(told), step)), head)


def _read(pieces: Iterable[bytes], head: bool) -> tuple[int | None, bytes, bool]:
    connection = Connection(_loop(), "up")
    connection.connection_made(cast("asyncio.Transport", _Socket()))
    connection.begin("HEAD" if head else "POST")
    for piece in pieces:
        if connection.ended or connection.complete or connection.failure is not None:
            break
        connection.data_received(piece)
    connection.connection_lost(None)
    if connection.failure is not None:
        return None, b"", False
    assert connection.complete
    return connection.head.status if connection.head is not None else None, connection.take(), True
