"""One upstream connection: an `asyncio.Protocol` that reads HTTP/1.1 answers with httptools.

A connection is in one of three states:

    resting     nobody uses it; any byte that comes, or an end, makes it worthless
    in use      `begin` was called; one request, one answer
    ended       the peer is gone, or `abort` was called; never leaves this state

While in use it collects: `head` once the head is whole, `chunks` as body bytes come, `complete` at the
proper end of the answer, `failure` when there will be no proper end. `upstream.HttpExchange` looks at
these and sleeps in `wait` only when it finds nothing, so data at hand costs no future and no timer.

There is one timer for each connection, armed lazily: a wait that ends early leaves it running, and the
next wait moves only the deadline that it is compared with when it fires. A busy stream thus touches the
loop's timers once in `wait` seconds and not once for each chunk.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Callable
from typing import cast

import httptools

from dragoman.errors import UpstreamError, UpstreamGarbled, UpstreamUnreachable
from dragoman.io.eager import Waiter
from dragoman.wire.http import Head, RawHeaders

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head (with the 1xx answers before it), and of framing between two pieces of body."""
HIGH_WATER = 256 * 1024
"""Body bytes held for a reader that is slow; above it the socket is not read. A read empties the buffer."""
JOIN_LIMIT = 16 * 1024
"""A body up to this size is copied behind its head: cheaper than a second buffer, and one TLS record."""

# A timer may fire up to its resolution (a millisecond on uvloop) before the time it was set for.
_TIMER_SLACK = 0.001

_KEPT_FOR = re.compile(rb"(?i)\btimeout\s*=\s*(\d{1,6})(?!\d)")
_SPACE = 32
_TRUSTED_PART = 0.8
_LAST_STATUS = 599
_HANGUPS = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


class _NotAskedForError(Exception):
    """Stops the parser: an answer began that no request waits for."""


class Connection(asyncio.Protocol):
    """`peer` is host and port, for messages. `when_lost` is called once, when the socket is gone."""

    __slots__ = (
        "_as_head",
        "_buffered",
        "_deadline",
        "_framing",
        "_headers",
        "_loop",
        "_parser",
        "_parser_is_spent",
        "_reading_paused",
        "_sent_whole",
        "_spoiled",
        "_taken",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "_wants_body",
        "_wants_room",
        "chunks",
        "complete",
        "ended",
        "failure",
        "got_bytes",
        "head",
        "hung_up",
        "idle_limit",
        "idle_since",
        "made_in",
        "on_body",
        "peer",
        "resting",
        "served",
        "when_lost",
        "writable",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: str) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self.chunks: list[bytes] = []
        # As it is, for the parser: a stream calls it for each of its events.
        self.on_body = self.chunks.append
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser_is_spent = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline = 0.0
        self._waiter = Waiter(loop)
        self._wants_body = False
        self._wants_room = False
        self._as_head = False
        self._sent_whole = False
        self._spoiled = False
        self._headers: RawHeaders = []
        self._framing = 0  # bytes since the last piece of content
        self._buffered = 0
        self._taken = 0
        self._reading_paused = False
        self.peer = peer
        self.when_lost: Callable[[Connection], None] | None = None
        self.head: Head | None = None
        self.complete = False
        self.failure: tuple[type[UpstreamError], str] | None = None
        """Class and message: an error is built when it is raised, so that it keeps no frames alive."""
        self.got_bytes = False
        """Whether a byte of the present answer has come."""
        self.hung_up = False
        """The peer closed or reset it, as it does with a connection that it holds for idle."""
        self.ended = False
        self.resting = True
        self.idle_since = 0.0
        self.idle_limit = math.inf
        """Seconds that the server keeps it for us, if it has said so, less a margin for what is on its way."""
        self.served = 0
        """Requests begun on it."""
        self.made_in = 0.0
        """Seconds that connecting took."""
        self.writable = True

    # What an exchange does with it

    def begin(self, method: str) -> None:
        """A request is about to be written."""
        self.resting = False
        self.served += 1
        if self._parser_is_spent:
            self._parser = httptools.HttpResponseParser(self)
            self._parser_is_spent = False
        self._as_head = method == "HEAD"
        self._wants_body = False

    def write(self, head: bytes, body: bytes) -> None:
        """Hand all of it to the socket at once."""
        transport = self._transport
        if transport is None or self.ended:
            return
        if len(body) <= JOIN_LIMIT:
            transport.write(head + body if body else head)
        else:
            transport.writelines((head, body))
        self._sent_whole = True

    def write_piece(self, piece: bytes | memoryview, *, last: bool) -> None:
        """A part of a large request; look at `writable` before the next."""
        if self._transport is not None and not self.ended:
            self._transport.write(piece)
            self._sent_whole = last

    def wait(self, deadline: float, *, for_body: bool = False, for_room: bool = False) -> Waiter:
        """To be awaited: sleep until there is something to look at: the head, with `for_body` bytes or the end, with
        `for_room` also room to write. False when `deadline` (loop time) came first."""
        loop = self._loop
        self._wants_body = for_body
        self._wants_room = for_room
        self._deadline = deadline
        if self._timer is None:
            self._timer_at = deadline
            self._timer = loop.call_at(deadline, self._tick)
        elif deadline < self._timer_at:
            self._timer.cancel()
            self._timer_at = deadline
            self._timer = loop.call_at(deadline, self._tick)
        return self._waiter.arm()

    def take(self) -> bytes:
        """All body bytes at hand."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._taken += len(data)
        self._buffered = 0
        if self._reading_paused:
            self._reading_paused = False
            if self._transport is not None and not self.ended:
                self._transport.resume_reading()
        return data

    def is_clean(self) -> bool:
        """Whether another request may follow: the answer is whole, so was the request, and both sides agree to go on."""
        return (
            self.complete
            and self._sent_whole
            and not self._spoiled
            and self.writable
            and not self.ended
            and not self._reading_paused
        )

    def rest(self) -> None:
        """The exchange is over and the connection `is_clean`."""
        self.resting = True
        self.complete = False
        self.got_bytes = False
        self.head = None
        self._sent_whole = False
        self._headers = []
        self._framing = 0
        self._buffered = 0
        self._taken = 0
        if self.chunks:
            self.chunks.clear()

    def abort(self) -> None:
        """Close at once, with no farewell: the peer sees it immediately. Safe to call again."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        if self.resting or self.complete or self.ended:
            # An answer to nothing, such as the 408 some servers send before they close an idle connection.
            self._spoil()
            return
        self.got_bytes = True
        chunks = self.chunks
        before = len(chunks)
        self._framing += len(data)
        assert self._parser is not None
        stopped: Exception | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _NotAskedForError):
                raise  # a fault of ours
            self._spoil()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            stopped = error
        if self._as_head and chunks:
            chunks.clear()
            self._spoil()
        came = len(chunks) - before
        has_more = came > 0
        if came == 1:
            self._buffered += len(chunks[-1])
        elif came:
            self._buffered += sum(map(len, chunks[before:] if before else chunks))
        if stopped is not None:
            self._parser_stopped(stopped)
        if has_more:
            self._framing = 0
            if self._buffered > HIGH_WATER and not self.complete and not self.ended and not self._reading_paused:
                self._pause_reading()
        elif self._framing > HEAD_LIMIT and not self.complete and self.failure is None:
            self._fail_oversized()
        if self._waiter.armed and (
            self.chunks or self.complete or self.failure is not None or (self.head is not None and not self._wants_body)
        ):
            self._waiter.wake(True)

    def eof_received(self) -> None:
        self._end(None)
        self._waiter.wake(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self._parser = None  # it holds bound methods of this object
        if self.when_lost is not None:
            self.when_lost(self)
            self.when_lost = None
        self._waiter.wake(True)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._wants_room:
            self._waiter.wake(True)

    # httptools

    def on_message_begin(self) -> None:
        if self.complete:
            raise _NotAskedForError

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # otherwise it is a trailer
            if value and value[-1] <= _SPACE:
                value = value.rstrip(b" \t")
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        headers = self._headers
        if status < 200:
            self._interim(status)
            return
        if status > _LAST_STATUS:
            self._fail_status(status)
            return
        if self._framing > HEAD_LIMIT and sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_LIMIT:
            self._fail_oversized()
        elif self.served == 1 and parser.get_http_version() not in ("1.1", "1.0"):
            self._fail(UpstreamGarbled, f"{self.peer} answered in HTTP/{parser.get_http_version()}, not in HTTP/1.1")
        else:
            self.head = Head(status, headers)
            if self.served == 1:
                self._note_idle_limit(headers)
            if self._as_head:
                # The parser would wait for the body that the length announces: it is of no use after this answer.
                self.complete = self._parser_is_spent = True
                if not parser.should_keep_alive():
                    self._spoil()

    def on_message_complete(self) -> None:
        if self.head is not None and not self.complete:
            self.complete = True
            assert self._parser is not None
            if not self._parser.should_keep_alive():
                self._spoil()

    # Its own affairs

    def _interim(self, status: int) -> None:
        self._headers = []
        if status == 101:
            self._fail(UpstreamGarbled, f"{self.peer} switched protocols without being asked")
        elif status < 100:
            self._fail_status(status)

    def _fail_status(self, status: int) -> None:
        """Invalid (RFC 9110, section 15): it means nothing to a client, and no server could hand it on."""
        self._fail(UpstreamGarbled, f"{self.peer} answered with the status {status}")

    def _note_idle_limit(self, headers: RawHeaders) -> None:
        """`Keep-Alive: timeout=5, max=100`. Servers say the same each time."""
        for name, value in headers:
            if name == b"keep-alive" and (found := _KEPT_FOR.search(value)) is not None:
                self.idle_limit = int(found[1]) * _TRUSTED_PART

    def _spoil(self) -> None:
        """No other request may be written here. What has come of the answer stays good."""
        self._spoiled = True
        if self.resting:
            self.abort()

    def _pause_reading(self) -> None:
        if self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _fail_oversized(self) -> None:
        """A head that does not end, or chunk extensions or trailers that do not."""
        if self.head is None:
            self._fail(UpstreamGarbled, f"the head of the answer of {self.peer} is larger than {HEAD_LIMIT} bytes")
        else:
            self._fail(UpstreamGarbled, f"{self.peer} sent more than {HEAD_LIMIT} bytes of framing without content")

    def _parser_stopped(self, error: Exception) -> None:
        if self.complete:
            self._spoil()
        elif self.failure is None:
            if self.head is None:
                self._fail(UpstreamGarbled, f"what {self.peer} answered is not HTTP: {error}")
            else:
                self._fail(UpstreamGarbled, f"{self._broke_off()}: {error}")

    def _broke_off(self) -> str:
        return f"the answer of {self.peer} broke off after {self._taken + self._buffered} bytes"

    def _fail(self, kind: type[UpstreamError], message: str) -> None:
        self.failure = kind, message
        self.abort()

    def _end(self, exc: Exception | None) -> None:
        if self.ended:
            return
        self.ended = True
        self.hung_up = exc is None or isinstance(exc, _HANGUPS)
        if not (self.resting or self.complete or self.failure is not None):
            if self.head is not None and exc is None and self._is_delimited_by_close():
                self.complete = True
            else:
                self.failure = self._failure_of(exc)

    def _is_delimited_by_close(self) -> bool:
        assert self.head is not None
        if self.head.get(b"content-length") is not None:
            return False
        coding = self.head.get(b"transfer-encoding")
        return coding is None or not coding.lower().endswith(b"chunked")

    def _failure_of(self, exc: Exception | None) -> tuple[type[UpstreamError], str]:
        if isinstance(exc, ConnectionResetError):
            cause = "connection reset"
        elif isinstance(exc, OSError) and exc.errno:
            cause = os.strerror(exc.errno)
        else:
            cause = str(exc) if exc is not None else "connection closed"
        if self.head is not None:
            return UpstreamGarbled, f"{self._broke_off()}: {cause}"
        if self.got_bytes:
            return UpstreamGarbled, f"the answer of {self.peer} broke off within its head: {cause}"
        return UpstreamUnreachable, f"{self.peer} hung up before it answered: {cause}"

    def _tick(self) -> None:
        self._timer = None
        if not self._waiter.armed:
            return
        if self._deadline - self._loop.time() > _TIMER_SLACK:
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._tick)
        else:
            self._waiter.wake(False)
