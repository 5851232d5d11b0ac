"""One answer on its way to a client of the native driver: an `Outbound` that frames and writes.

What is written in one turn of the loop leaves in one system call at its end, the head with the first pieces of the body: on
uvloop every write is a call of its own, and that is most of what an event costs. All answers' writes come one behind the other:
whoever reads them on this machine is woken up once and not for each. Nothing waits for a later turn.

What ends the body is decided once, from the head: the length that the handler announced, chunks, the end of the connection
(HTTP/1.0), or nothing at all (HEAD, 204, 304).
"""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from dragoman.io.date import http_date
from dragoman.io.eager import DONE
from dragoman.wire.http import Inbound, RawHeaders

if TYPE_CHECKING:
    from dragoman.io.server_connection import ServerConnection

log = logging.getLogger("dragoman.server")

JOIN_LIMIT = 16 * 1024
"""Pieces up to this size are copied into one buffer with their framing: cheaper than several buffers."""

_GRACE = 1.0
"""Seconds that whoever makes an answer gets to end it in before."""
_LOOKED_AT = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date"})
_BODILESS = frozenset({204, 304})
_END = (b"", b"")
_colon = b": ".join
_CHUNKED, _LENGTH, _UNTIL_CLOSE, _NOTHING = range(4)


def status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: status_line(status) for status in range(200, 600)}


class ServerAnswer:
    """`done` once the answer is whole or broken off. Everything is a no-op when the client has left."""

    __slots__ = (
        "_close",
        "_connection",
        "_due",
        "_framing",
        "_is_head",
        "_left",
        "_pending",
        "_size",
        "begun",
        "deadline",
        "done",
        "in_step",
        "inbound",
        "is_old",
    )

    def __init__(self, connection: ServerConnection, inbound: Inbound, *, is_old: bool) -> None:
        self._connection = connection
        self.inbound = inbound
        """What it answers."""
        self._is_head = inbound.method == "HEAD"
        self.in_step = False
        self.is_old = is_old
        """HTTP/1.0: chunks are not understood."""
        self.begun = False
        self.deadline = math.inf
        """Loop time at which a client that still has not taken everything is given up."""
        self._pending: list[bytes] = []
        self._size = 0
        """Bytes in `_pending`."""
        self._due = False
        """`_pending` will be sent at the end of this turn."""
        self._framing = _NOTHING
        self._left = 0
        self._close = False
        self.done = False

    # Outbound

    # No coroutines where there is nothing to wait for: they would cost at every event.

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> Awaitable[None]:
        """Raises `ValueError` for a head that would not be the head that was meant."""
        if self.begun:
            raise RuntimeError("the answer has already begun")
        self._put(self._encoded(status, headers))
        self.begun = True
        return DONE

    def write(self, data: bytes) -> Awaitable[None]:
        if self.done or not data:
            return DONE
        framing = self._framing
        if framing == _CHUNKED:
            if self.in_step and not self._pending and len(data) <= JOIN_LIMIT:
                # An event on its own: it leaves when the step ends.
                self._pending.append(b"%x\r\n%b\r\n" % (len(data), data))
                self._size = len(data)
            else:
                self._put_chunk(data, b"\r\n")
        elif framing != _NOTHING:
            if framing == _LENGTH:
                self._count(data)
            self._put(data)
        elif not self.begun:
            raise RuntimeError("the answer has not begun")
        connection = self._connection
        return connection.room() if connection.is_full else DONE

    async def finish(self, data: bytes = b"") -> None:
        if self.done:
            return
        framing = self._framing
        # Sent below, in this turn or at once: no need to be called for it.
        self._due = True
        if framing == _LENGTH:
            if data:
                self._count(data)
            if self._left:
                missing = self._left
                self.abort()
                raise ValueError(f"the answer ends {missing} bytes short of its content-length")
            self._put(data)
        elif framing == _CHUNKED:
            if data:
                self._put_chunk(data, b"\r\n0\r\n\r\n")
            else:
                self._put(b"0\r\n\r\n")
        elif framing == _UNTIL_CLOSE:
            self._put(data)
        elif not self.begun:
            raise RuntimeError("the answer has not begun")
        self._flush()
        self.done = True
        self._connection.answered(close=self._close)

    async def whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """The same as all of the above with one write."""
        if self.begun:
            raise RuntimeError("the answer has already begun")
        head = self._encoded(status, headers, body)
        self.begun = True
        if self.done:
            return
        connection = self._connection
        if self._framing != _LENGTH or not body:
            connection.send(head)
        elif len(body) <= JOIN_LIMIT:
            connection.send(head + body)
        else:
            connection.send_all((head, body))
        self.done = True
        connection.answered(close=self._close)

    def bound(self, seconds: float) -> None:
        self.deadline = self._connection.loop.time() + seconds + _GRACE

    def abort(self) -> None:
        """An answer of which nothing has been said yet becomes a 500."""
        if self.done:
            return
        self._flush()
        self.done = True
        if self.begun:
            # Without a length or chunks the end of the connection would be the proper end of the body.
            self._connection.break_off(reset=self._framing == _UNTIL_CLOSE)
        else:
            self._connection.failed(is_head=self._is_head)

    # Stepped

    def step_ended(self) -> None:
        if self._pending and not self._due and not self.done:
            self._due = True
            self._connection.flush_soon(self)

    def flush(self) -> None:
        """What `flush_soon` leads to."""
        self._due = False
        if not self.done:
            self._flush()

    def task_ended(self, error: BaseException | None) -> None:
        if error is not None:
            log.error("the handler failed on %s %s", self.inbound.method, self.inbound.path, exc_info=error)
        self._connection.running.pop(self, None)
        if not self.done:
            self.abort()

    # Its own affairs

    def _encoded(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes | None = None) -> bytes:
        """The head. `body`: all of it, where it is known."""
        lines: list[bytes] = []
        length = b"%d" % len(body) if body is not None else None
        is_dated = False
        close = self._connection.is_last
        for pair in headers:
            name, value = pair
            if name in _LOOKED_AT:
                if name == b"content-length" and body is None:
                    length = value
                elif name == b"date":
                    is_dated = True
                    lines.append(_colon(pair))
                elif name == b"connection" and b"close" in value.lower():
                    close = True
                continue
            lines.append(_colon(pair))
        if not is_dated:
            lines.append(b"date: " + http_date())
        if self._is_head or status in _BODILESS:
            self._framing = _NOTHING
            if length is not None and status != 204:
                lines.append(b"content-length: %d" % int(length))
        elif length is not None:
            self._framing = _LENGTH
            self._left = int(length)
            lines.append(b"content-length: %d" % self._left)
        elif self.is_old:
            self._framing = _UNTIL_CLOSE
            close = True
        else:
            self._framing = _CHUNKED
            lines.append(b"transfer-encoding: chunked")
        if close:
            self._close = True
            lines.append(b"connection: close")
        lines += _END
        block = b"\r\n".join(lines)
        # One pass over the whole instead of one for each field: as many line ends as lines, and no others.
        ends = len(lines) - 1
        if block.count(b"\n") != ends or block.count(b"\r") != ends or block.find(b"\0") >= 0:
            raise ValueError("a header of the answer holds a line break or NUL")
        return STATUS_LINES[status] + block

    def _count(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.abort()
            raise ValueError("the answer is longer than its content-length")

    def _put_chunk(self, data: bytes, tail: bytes) -> None:
        if len(data) <= JOIN_LIMIT:
            self._put(b"%x\r\n%b%b" % (len(data), data, tail))
        else:
            self._pending += (b"%x\r\n" % len(data), data)
            self._size += len(data)
            self._put(tail)

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)
        if self._size > JOIN_LIMIT:
            self._flush()
        elif not self._due and not self.in_step:
            self._due = True
            self._connection.flush_soon(self)

    def _flush(self) -> None:
        pending = self._pending
        if not pending:
            return
        if len(pending) == 1:
            self._connection.send(pending[0])
        elif self._size <= 2 * JOIN_LIMIT:
            self._connection.send(b"".join(pending))
        else:
            self._connection.send_all(pending)
        self._pending = []
        self._size = 0
