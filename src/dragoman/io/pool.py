"""The connections to one origin: idle ones are reused last in, first out; those that wait are served in turn.

A connection, being made or made, holds one of `limit` slots until its socket is gone. Nothing overtakes:
while somebody waits there is neither an idle connection nor a free slot, because whoever gives one of them
back hands it to the first in the queue.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from dragoman.errors import UpstreamTimeout, UpstreamUnreachable
from dragoman.io.connection import Connection
from dragoman.io.dial import Dialer, Origin


class Pool:
    """`idle_age` is how many seconds an unused connection is trusted: servers close theirs after a time that
    they do not tell, and a request written at that very moment is lost. `most_idle` bounds how many are kept."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        dialer: Dialer,
        *,
        limit: int,
        idle_age: float,
        most_idle: int | None = None,
    ) -> None:
        self.origin = origin
        self.closed = False
        self.made = 0
        """Connections made since the start."""
        self._loop = loop
        self._dialer = dialer
        self._limit = limit
        self._idle_age = idle_age
        self._most_idle = most_idle
        self._slots = 0
        self._connections: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # oldest first
        self._queue: OrderedDict[asyncio.Future[Connection | None], None] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    @property
    def open(self) -> int:
        return len(self._connections)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def connecting(self) -> int:
        return self._slots - len(self._connections)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def is_unused(self) -> bool:
        return self._slots == 0 and not self._queue

    def take(self, now: float) -> Connection | None:
        """The idle connection used last, unless it has been idle too long."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.ended:
                continue
            if (idle_for := now - connection.idle_since) <= self._idle_age and idle_for <= connection.idle_limit:
                return connection
            connection.abort()
        return None

    async def connect(self, deadline: float, patience: float) -> Connection:
        """A new connection, or when all slots are taken the first that is given back. `patience` is what
        `deadline` (loop time) was made from, for the message. Raises `UpstreamTimeout(phase="connect")`."""
        is_back = False
        while True:
            if self.closed:
                raise UpstreamUnreachable(f"the connections to {self.origin.peer} are closed")
            if self._slots < self._limit:
                self._slots += 1
                return await self._dial(deadline, patience)
            given = await self._wait_in_line(deadline, patience, first=is_back)
            if given is None:
                return await self._dial(deadline, patience)
            if not given.ended:
                return given
            is_back = True  # it died on the way to us, and its slot went where slots go

    def release(self, connection: Connection) -> None:
        """Give back a connection that `is_clean`."""
        connection.rest()
        if self.closed:
            connection.abort()
            return
        waiter = self._next_in_line()
        if waiter is not None:
            waiter.set_result(connection)
            return
        if self._most_idle is not None and len(self._idle) >= self._most_idle:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle[connection] = None
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._idle_age, self._sweep)

    def discard_older(self, than: float) -> None:
        """One connection turned out stale; those that have been idle since `than` or longer will be too."""
        for connection in [each for each in self._idle if each.idle_since <= than]:
            del self._idle[connection]
            connection.abort()

    def close(self) -> None:
        """Break every connection, used or not, and send away those who wait."""
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while (waiter := self._next_in_line()) is not None:
            waiter.set_exception(UpstreamUnreachable(f"the connections to {self.origin.peer} are closed"))
        self._idle.clear()
        for connection in list(self._connections):
            connection.abort()

    async def wait_closed(self) -> None:
        """After `close`: returns when the sockets are gone."""
        if self._connections:
            await self._emptied.wait()

    async def _dial(self, deadline: float, patience: float) -> Connection:
        """For the owner of a slot, which goes back when there comes no connection of it."""
        begun = self._loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._dialer.dial(self.origin)
        except TimeoutError:
            self._free_slot()
            message = f"no connection to {self.origin.peer} within {patience:g} s"
            raise UpstreamTimeout(message, phase="connect") from None
        except BaseException:
            self._free_slot()
            raise
        self.made += 1
        connection.made_in = self._loop.time() - begun
        self._connections.add(connection)
        connection.when_lost = self._lost
        if self.closed:
            connection.abort()
            raise UpstreamUnreachable(f"the connections to {self.origin.peer} are closed")
        return connection

    async def _wait_in_line(self, deadline: float, patience: float, *, first: bool) -> Connection | None:
        """A connection, or None for a slot."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._queue[waiter] = None
        if first:
            self._queue.move_to_end(waiter, last=False)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            self._leave_line(waiter)
            busy = f"all {self._limit} connections to {self.origin.peer} are in use"
            raise UpstreamTimeout(f"{busy}, and none came free within {patience:g} s", phase="connect") from None
        except BaseException:
            self._leave_line(waiter)
            raise

    def _leave_line(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Pass on what was handed over in the moment in which its receiver gave up."""
        self._queue.pop(waiter, None)
        if waiter.cancelled() or not waiter.done() or waiter.exception() is not None:
            return
        given = waiter.result()
        if given is None:
            self._free_slot()
        elif not given.ended:
            self.release(given)

    def _next_in_line(self) -> asyncio.Future[Connection | None] | None:
        while self._queue:
            waiter, _ = self._queue.popitem(last=False)
            if not waiter.done():
                return waiter
        return None

    def _free_slot(self) -> None:
        waiter = self._next_in_line()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._slots -= 1

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._free_slot()
        if self.closed and not self._connections:
            self._emptied.set()

    def _sweep(self) -> None:
        """Close what nobody has used for `idle_age`; come again when the next is due."""
        self._sweeper = None
        now = self._loop.time()
        for connection in list(self._idle):
            age = now - connection.idle_since
            if age < self._idle_age:
                self._sweeper = self._loop.call_later(self._idle_age - age, self._sweep)
                return
            del self._idle[connection]
            connection.abort()
