"""One client's connection to the native driver: an `asyncio.Protocol` that reads HTTP/1.1 requests with httptools.

    idle      between two requests
    head      a part of a request's head has come
    body      its head is whole, its body is not
    busy      its answer is being made; what comes meanwhile is held and not parsed
    leaving   the last answer is written; what comes is thrown away
    closed    the socket is gone; never left

The parser is fed at most one request at a time, cut where a head or a chunked body must end, so nothing that a client
sends ahead is understood before its turn: the answers come in order, and what is read ahead is bounded in bytes. Above
that bound the socket is not read.

A client that closes its side is taken for gone, even if only its sending half is closed: its handler is cancelled. That
is what nginx (as a proxy) and uvicorn do; a client that died looks the same, and generating for nobody costs money.

One timer serves all timeouts. It comes round every few seconds and looks at a deadline, so that a request sets a number
and touches no timer; a timeout may therefore be late by the length of the shortest one, never early.

HTTP/1.0 gets one answer for each connection, without chunks.

A request that is for the mounted application is answered while its body comes: it is busy in the phase `body` already, and
its application is told when the client leaves, not cancelled (`server_mounted.py`).

A server that stops (`Shared.draining`) still takes one request on each connection, and its answer says `connection: close`:
the client may have sent it already. Idle connections are closed after a moment of grace for the same reason.

What is not HTTP is refused by llhttp, strict as it is by default, and in `server_request.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import struct
from collections.abc import Iterable
from typing import cast

import httptools

from dragoman.config import ServerLimits
from dragoman.errors import DragomanError, RequestError
from dragoman.io.date import http_date
from dragoman.io.eager import EagerTask
from dragoman.io.handler import Handler
from dragoman.io.mount import Mount
from dragoman.io.server_answer import ServerAnswer, status_line
from dragoman.io.server_mounted import MountedExchange
from dragoman.io.server_request import BODY, BUSY, CLOSED, END, HEAD, IDLE, LEAVING, RequestReader, TurnedAwayError
from dragoman.wire.http import Inbound

log = logging.getLogger("dragoman.server")

_SMALL = 4096
"""A piece up to this size that can hold only one request goes to the parser whole."""
_LATE_GRACE = 1.0
"""Seconds that a connection gets for its request which was made while the server stops."""
_WARN_EVERY = 60.0
"""Seconds between two warnings that there are too many connections."""
_TIMER_SLACK = 0.001  # a timer may fire a millisecond early on uvloop


class Shared:
    """What the connections of one server have in common."""

    __slots__ = (
        "connections", "draining", "emptied", "former", "former_left", "grace", "handler", "limits", "loop", "mount", "pace",
        "running", "surplus", "unwritten", "warned_at",
    )  # fmt: skip

    def __init__(
        self, handler: Handler, limits: ServerLimits, loop: asyncio.AbstractEventLoop, mount: Mount | None = None
    ) -> None:
        self.handler = handler
        self.mount = mount
        self.limits = limits
        self.loop = loop
        self.pace = limits.pace
        self.connections: set[ServerConnection] = set()
        self.running: dict[ServerAnswer, asyncio.Task[None] | EagerTask] = {}
        """The loop itself holds tasks only weakly, if at all."""
        self.unwritten: list[ServerAnswer] = []
        """Answers with something to be written in this turn."""
        self.draining = False
        self.grace = 0.0
        """Seconds that an idle connection gets then."""
        self.emptied = asyncio.Event()
        self.former: set[ServerConnection] = set()
        """Those of `connections` that were there when the draining began."""
        self.surplus: set[ServerConnection] = set()
        """Those of `connections` that were one too many, and are still being told so."""
        self.warned_at = -math.inf
        self.former_left = asyncio.Event()

    def swap(self, handler: Handler, limits: ServerLimits) -> None:
        self.handler = handler
        self.limits, self.pace = limits, limits.pace
        for connection in self.connections:
            connection.swap(handler)

    def begin_draining(self, grace: float) -> None:
        self.draining, self.grace = True, grace
        self.former = set(self.connections)
        for connection in self.former:
            connection.retire()
        self._look_who_is_left()

    def flush_soon(self, answer: ServerAnswer) -> None:
        """Write what it has when all that this turn of the loop brings has been read."""
        if not self.unwritten:
            self.loop.call_soon(self._flush)
        self.unwritten.append(answer)

    def _flush(self) -> None:
        unwritten, self.unwritten = self.unwritten, []
        for answer in unwritten:
            answer.flush()

    def leave(self, connection: ServerConnection) -> None:
        self.connections.discard(connection)
        self.surplus.discard(connection)
        if self.draining:
            self.former.discard(connection)
            self._look_who_is_left()

    def ends(self) -> list[asyncio.Future[None]]:
        """One for each handler at work, done when that is."""
        return [task.ended() if isinstance(task, EagerTask) else task for task in self.running.values()]

    def _look_who_is_left(self) -> None:
        if not self.former:
            self.former_left.set()
        if not self.connections:
            self.emptied.set()
        else:
            self.emptied.clear()


class ServerConnection(RequestReader):
    __slots__ = (
        "_answer", "_deadline", "_held", "_held_size", "_reading_paused", "_room", "_shared", "_small", "_taken", "_taken_at",
        "_task", "_timer", "_transport", "_unbegun", "_written", "flush_soon", "is_full", "loop", "running",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.handler, shared.limits, has_mount=shared.mount is not None)
        self._shared = shared
        self.loop = shared.loop
        self.running = shared.running
        self.flush_soon = shared.flush_soon
        self.is_full = False
        """More waits for the client than `write_buffer`."""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf
        self._room: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._held: list[bytes] = []
        self._held_size = 0
        self._small = min(_SMALL, shared.limits.max_header_size)
        self._written = 0
        self._taken = 0
        self._taken_at = 0.0
        self._answer: ServerAnswer | None = None
        """The one being made; None once it is whole, though its handler may still be at work."""
        self._task: asyncio.Task[None] | EagerTask | None = None
        self._unbegun: EagerTask | None = None
        """Begins when nothing of the parser is on the stack any more."""

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    @property
    def is_last(self) -> bool:
        """No other request will be taken after this one."""
        return self._shared.draining or not self._keep

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(high=self._limits.write_buffer)
        peer = stream.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        shared = self._shared
        shared.connections.add(self)
        most = self._limits.max_connections
        if most is not None and len(shared.connections) - len(shared.surplus) > most:
            self._one_too_many(most)
            return
        if shared.draining:
            shared.emptied.clear()
            self._set_timer(max(shared.grace, _LATE_GRACE))
            return
        now = self.loop.time()
        self._deadline = now + self._limits.idle_timeout
        self._timer = self.loop.call_at(now + shared.pace, self._tick)

    def _one_too_many(self, most: int) -> None:
        shared, now = self._shared, self.loop.time()
        shared.emptied.clear()
        if now - shared.warned_at >= _WARN_EVERY:
            shared.warned_at = now
            log.warning("%d connections are open (server.limits.max_connections): who comes now is turned away", most)
        if len(shared.surplus) >= most:  # there is no telling all of them
            self.drop()
            return
        shared.surplus.add(self)
        self._timer = self.loop.call_at(now + shared.pace, self._tick)
        self._reason = 503, f"{most} connections are open, and there may be no more (server.limits.max_connections)"
        self._turn_away()

    def data_received(self, data: bytes) -> None:
        if self._phase == IDLE and self._known is not None and (start := self._recognise(data)):
            self._more_again(data[start:])
            if self._phase == BODY:
                self._wait_for_more(from_start=False)
        elif self._phase == IDLE and len(data) <= self._small and data.count(END) <= 1:
            # The usual case: one request in one piece, without a second pass over it.
            self._phase = HEAD
            self._parse(data)
            if self._phase == BUSY and not self._begun:
                self._remember(data[: data.find(END) + 4])
            else:
                self._tail = data[-3:]
                self._framing = len(data)
                self._wait_for_more(from_start=True)
        else:
            self._feed(data)
        task = self._unbegun
        if task is not None:
            self._unbegun = None
            task.go_on()

    def eof_received(self) -> None:
        if self._answer is not None and self._transport is not None:
            self._leave_handler()
            self._phase = LEAVING
            # In the next turn: asyncio's TLS is in the middle of its own ending, and takes an abort from within for a fault.
            self.loop.call_soon(self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the loop's signature
        self._phase = CLOSED
        self._transport = None
        self._parser = None  # it holds bound methods of this object
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        self._pieces.clear()
        self._bulk = None
        self._leave_handler()
        self._shared.leave(self)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)
        if self._phase == BUSY and self._answer is None:
            self._next()  # it had been put off

    # ------------------------------------------------------------ reading

    def _feed(self, data: bytes) -> None:
        """The next bytes, one request at a time. What belongs to a later one is held."""
        view = memoryview(data)
        at, end = 0, len(data)
        fresh = self._phase == IDLE
        while at < end:
            phase = self._phase
            if phase == BUSY:
                self._hold(data[at:] if at else data)
                break
            if phase >= LEAVING:
                return
            if phase == BODY and self._left >= 0:
                stop = min(end, at + self._left)
                if self._is_again:
                    self._more_again(data if stop - at == end else bytes(view[at:stop]))
                    at = stop
                    continue
            else:
                stop = self._cut(data, at)
                if phase == IDLE:
                    self._phase = HEAD
                    self._framing = 0
                    fresh = True
                self._framing += stop - at
                if phase != BODY and self._framing > self._limits.max_header_size:
                    self._too_much_framing()
                    return
            if not self._parse(view[at:stop]):
                return
            if self._phase == BODY and self._framing > self._limits.max_header_size:
                self._too_much_framing()
                return
            if phase == IDLE and self._phase == BODY:
                self._remember(data[at:stop])
            at = stop
        if self._phase != BUSY:
            self._wait_for_more(from_start=fresh)

    def _parse(self, piece: bytes | memoryview) -> bool:
        """False when there is nothing more to be parsed on this connection, or not now."""
        parser = self._parser
        assert parser is not None
        try:
            parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade()
            rest = bytes(piece[offer.args[0] :])
            if rest:
                self._feed(rest)
            return not rest
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError) and not isinstance(error.__context__, TurnedAwayError):
                log.error("a fault in the server", exc_info=error.__context__)
            if self._reason is None:
                self._reason = 400, f"this is not HTTP/1.1: {error}"
            if self._phase == BUSY:
                # Behind a request that is being answered: its turn comes. Or the request itself was turned away.
                if not self._keep:
                    self._reason = None
            else:
                self._turn_away()
            return False
        return True

    def _hold(self, data: bytes) -> None:
        if not self._keep:
            return
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > self._limits.read_ahead and not self._reading_paused:
            self._reading_paused = True
            assert self._transport is not None
            self._transport.pause_reading()

    def _wait_for_more(self, *, from_start: bool) -> None:
        """Set the deadline of what is now being waited for. That of a head runs from its first byte."""
        if self._phase == BODY:
            self._deadline = self.loop.time() + self._limits.body_timeout
            if not self._screened and self._mounted is None:
                self._screen()
        elif self._phase == HEAD and from_start:
            self._deadline = self.loop.time() + self._limits.header_timeout

    def _too_much_framing(self) -> None:
        if self._phase == BODY:
            self._reason = 400, f"more than {self._limits.max_header_size} bytes of framing without content"
        else:
            self._reason = 431, f"the head of the request is larger than {self._limits.max_header_size} bytes"
        self._turn_away()

    def _turn_away(self, *, is_head: bool = False) -> None:
        """Answer what is not a request, and take no other."""
        assert self._reason is not None
        (status, text), self._reason = self._reason, None
        self._keep = False
        if self._answer is not None:
            # The mounted application was being answered by.
            begun = self._answer.begun
            self._leave_handler()
            if begun:
                self.drop()
                return
        body = text.encode("utf-8", "replace")
        head = b"content-type: text/plain; charset=utf-8\r\ndate: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        head %= http_date(), len(body)
        self.send(status_line(status) + head + (b"" if is_head else body))
        self._part(unread=True)

    # ------------------------------------------------------------ answering

    def _start(self, error: DragomanError | None, body: bytes | None = None) -> None:
        """The request is whole, or refused: its handler begins as soon as its bytes have been dealt with (`_begin`)."""
        self._phase = BUSY
        self._deadline = math.inf
        if error is not None:
            self._pieces.clear()
            self._bulk = None
        inbound = self._inbound(self._take_body() if body is None else body)
        answer = self._answer = ServerAnswer(self, inbound, is_old=self._is_old)
        shared = self._shared
        handler = shared.handler
        work = handler.handle(inbound, answer) if error is None else handler.refuse(inbound, answer, error)
        self._unbegun = self._task = shared.running[answer] = EagerTask(self.loop, work, answer)

    def _begin(self) -> None:
        task, self._unbegun = self._unbegun, None
        if task is not None:
            task.go_on()

    def _start_mounted(self, inbound: Inbound, *, expects: bool) -> MountedExchange:
        answer = self._answer = ServerAnswer(self, inbound, is_old=self._is_old)
        exchange = MountedExchange(self, inbound, answer, expects=expects)
        self._task = self._shared.running[answer] = self.loop.create_task(self._serve_mounted(exchange, inbound, answer))
        return exchange

    async def _serve_mounted(self, exchange: MountedExchange, inbound: Inbound, answer: ServerAnswer) -> None:
        assert self._shared.mount is not None
        try:
            await exchange.run(self._shared.mount)
        except Exception:
            log.exception("the mounted application failed on %s %s", inbound.method, inbound.path)
        finally:
            self._shared.running.pop(answer, None)
            if not answer.done:
                answer.abort()

    def _mounted_body_came(self, exchange: MountedExchange, *, whole: bool) -> None:
        if whole:
            self._deadline = math.inf
            if self._reading_paused:
                self._resume_reading()  # the client's leaving is to be seen
        elif exchange.size > self._limits.read_ahead and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def body_taken(self) -> None:
        """The mounted application wants more of the body."""
        if self._phase == BODY:
            self._deadline = self.loop.time() + self._limits.body_timeout
            if self._reading_paused:
                self._resume_reading()

    def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None:
            self._written += len(data)
            transport.write(data)

    def send_all(self, pieces: Iterable[bytes]) -> None:
        transport = self._transport
        if transport is not None:
            self._written += sum(map(len, pieces))
            transport.writelines(pieces)

    async def room(self) -> None:
        """Returns when the client has taken enough. Its leaving cancels whoever waits."""
        if self._transport is None:
            return
        answer = self._answer
        overdue = None
        if answer is not None and answer.deadline < math.inf:
            overdue = self.loop.call_at(answer.deadline, self.drop)
        self._room = self.loop.create_future()
        try:
            await self._room
        finally:
            self._room = None
            if overdue is not None:
                overdue.cancel()

    def answered(self, *, close: bool) -> None:
        """The answer is whole. Its handler may still have something to tidy up, and is no longer disturbed."""
        self._answer = self._task = self._mounted = None
        if self._phase != BUSY:
            if self._phase == BODY:
                self._part(unread=True)  # the mounted application did not want all of it
            return
        if close or not self._keep:
            self._part(unread=bool(self._held) or self._left != 0)
        elif self.is_full or self._held or self._begun or self._reason is not None:
            if not self.is_full:
                self._next()
        else:
            self._phase = IDLE
            self._deadline = self.loop.time() + self._limits.idle_timeout
            if self._shared.draining:
                self._set_timer(self._shared.grace)  # its head did not say that it would be the last

    def _next(self) -> None:
        """Go on with what was sent ahead."""
        if self._reason is not None:
            self._turn_away()
            return
        limits = self._limits
        self._phase = HEAD if self._begun else IDLE
        self._deadline = self.loop.time() + (limits.header_timeout if self._begun else limits.idle_timeout)
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._held_size = 0
            self._feed(data)
            if self._unbegun is not None:
                self.loop.call_soon(self._begin)  # the one before it has not ended yet
        if self._reading_paused and self._held_size <= limits.read_ahead:
            self._resume_reading()

    # ------------------------------------------------------------ endings

    def retire(self) -> None:
        """The server stops: go soon where nothing is under way, else after the answer."""
        if self._phase == IDLE:
            self._set_timer(self._shared.grace)

    def drop(self) -> None:
        """Go now, whatever is under way."""
        self._leave_handler()
        self._phase = LEAVING
        if self._transport is not None:
            self._transport.abort()

    def failed(self, *, is_head: bool) -> None:
        """The handler ended without a word."""
        self._answer = self._task = self._mounted = None
        if self._transport is not None:
            self._reason = 500, "Internal Server Error"
            self._turn_away(is_head=is_head)

    def break_off(self, *, reset: bool) -> None:
        """What was written is still sent, and then the connection ends in the middle of its answer."""
        self._answer = self._task = self._mounted = None
        transport = self._transport
        if transport is None:
            return
        if reset:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._part(unread=False)

    def _part(self, *, unread: bool) -> None:
        """Close once everything is written. With `unread`, the client may be in the middle of sending: let it finish for a
        while, so that it reads the answer instead of a reset."""
        transport = self._transport
        if transport is None:
            return
        self._phase = LEAVING
        self._held.clear()
        self._held_size = 0
        if unread and transport.can_write_eof():
            transport.write_eof()
            self._set_timer(self._limits.linger_timeout)
            if self._reading_paused:
                self._resume_reading()
        else:
            transport.close()
            self._deadline = self.loop.time() + self._limits.send_timeout

    def _leave_handler(self) -> None:
        answer, task, mounted = self._answer, self._task, self._mounted
        self._answer = self._task = self._mounted = None
        if answer is None or task is None:
            return
        answer.done = True
        if mounted is not None:
            mounted.leave()
        else:
            task.cancel()

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if self._transport is not None:
            self._transport.resume_reading()

    # ------------------------------------------------------------ time

    def _set_timer(self, seconds: float) -> None:
        """For the deadlines that may be sooner than the timer's next round."""
        if self._timer is not None:
            self._timer.cancel()
        self._deadline = self.loop.time() + seconds
        self._timer = self.loop.call_at(self._deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.loop.time()
        if self._phase == BUSY:
            self._look_for_stall(now)
        elif now >= self._deadline - _TIMER_SLACK:
            self._expired(now)
        if self._timer is None and self._transport is not None:
            self._timer = self.loop.call_at(min(self._deadline, now + self._shared.pace), self._tick)

    def _look_for_stall(self, now: float) -> None:
        """Whether the client has taken anything since the last round."""
        assert self._transport is not None
        waiting = self._transport.get_write_buffer_size()
        taken = self._written - waiting
        if not waiting or taken != self._taken:
            self._taken = taken
            self._taken_at = now
        elif now - self._taken_at >= self._limits.send_timeout - _TIMER_SLACK:
            self.drop()

    def _expired(self, now: float) -> None:
        transport = self._transport
        assert transport is not None
        self._deadline = now + self._limits.send_timeout
        if self._phase == IDLE:
            self._part(unread=False)
        elif self._phase == HEAD:
            self._reason = 408, f"the head of the request did not come within {self._limits.header_timeout:g} s"
            self._turn_away()
        elif self._phase == BODY and self._mounted is not None:
            if not (self._reading_paused or self._mounted.expects):  # else it is not the client who is slow
                self._reason = 408, f"nothing came of the request body for {self._limits.body_timeout:g} s"
                self._turn_away()
        elif self._phase == BODY:
            self._keep = False
            sentence = f"nothing came of the request body for {self._limits.body_timeout:g} s"
            self._start(RequestError(sentence, status=408, category="timeout"))
            self._begin()
        elif not transport.is_closing():
            transport.close()
        elif self._taken == (taken := self._written - transport.get_write_buffer_size()):
            transport.abort()
        else:
            self._taken = taken  # slowly, but it takes the last answer
