"""What the caller has seen of its answer so far: the one place that knows whether another target may still be tried.

Before anything was written an error is a status of its own. Once a stream has begun (a ping is enough) the status is
gone, and an error becomes an event in the caller's dialect. Pings are no content: failover goes on after them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dragoman.dialects.base import Dialect
from dragoman.errors import DragomanError
from dragoman.wire.http import Clock, Outbound, RawHeaders

_STREAMING: RawHeaders = [
    (b"cache-control", b"no-cache"),
    # Or nginx and others in front would hold events back.
    (b"x-accel-buffering", b"no"),
]


class Answer:
    """`headers` are put on whatever is sent first, but for those that the answer brings along. `quiet_since` is when the
    caller last got a byte, by the clock. `torn`: what it got ends within an event, so nothing of ours can follow.
    `complete`: it has all of its answer, though perhaps not yet its end. `failing` is how an answer that has begun to be
    told in the caller's dialect tells of its failure; otherwise an error is an event of its own."""

    __slots__ = (
        "_clock",
        "_dialect",
        "_out",
        "begun",
        "complete",
        "content",
        "failing",
        "finished",
        "headers",
        "quiet_since",
        "request_id",
        "status",
        "stream",
        "torn",
    )

    def __init__(self, out: Outbound, dialect: Dialect, request_id: str, clock: Clock) -> None:
        self._out = out
        self._dialect = dialect
        self._clock = clock
        self.request_id = request_id
        self.stream = False
        self.headers: RawHeaders = []
        self.quiet_since = clock.now()
        self.begun = False
        self.content = False
        self.torn = False
        self.failing: Callable[[DragomanError], bytes] | None = None
        self.complete = False
        self.finished = False
        self.status = 0

    def through(self, tap: Callable[[Outbound], Outbound]) -> None:
        """From now on everything passes through this on its way to the caller."""
        self._out = tap(self._out)

    async def ping(self) -> None:
        """Tell a waiting client that its answer is still coming. Only between events, only on streams."""
        if self.stream and self._dialect.ping:
            await self.begin_stream()
            await self._out.write(self._dialect.ping)
            self.quiet_since = self._clock.now()

    async def begin_stream(self) -> None:
        """Send the head of a stream of our own making."""
        await self.begin(200, [(b"content-type", self._dialect.stream_type), *_STREAMING])

    async def begin(self, status: int, headers: RawHeaders) -> None:
        """Send the head, unless a ping has sent one already."""
        if not self.begun:
            self.begun = True
            self.status = status
            await self._out.start(status, self._with_ours(headers))

    async def whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """A complete answer in one piece."""
        if self.begun:
            self.content = True
            await self.finish(body)
            return
        await self._out.whole(status, self._with_ours(headers), body)
        # Not before: where something on the way fails, the caller is still to be told.
        self.status = status
        self.begun = self.content = self.complete = self.finished = True

    def _with_ours(self, headers: RawHeaders) -> RawHeaders:
        said = dict(headers)
        headers = headers.copy()
        for pair in self.headers:
            if pair[0] not in said:
                headers.append(pair)
        return headers

    def write(self, data: bytes) -> Awaitable[None]:
        """Done when the caller can take more. No coroutine of its own: it would cost at every event."""
        self.content = True
        self.quiet_since = self._clock.now()
        return self._out.write(data)

    async def finish(self, data: bytes = b"") -> None:
        self.complete = self.finished = True
        await self._out.finish(data)

    def bound(self, seconds: float) -> None:
        """See `Outbound`."""
        self._out.bound(seconds)

    async def error(self, error: DragomanError) -> None:
        """The end of an answer that failed, in the caller's dialect. Where not even an event can follow what the caller
        has, the connection is broken off. Nothing, if the caller has all of its answer or was told by the provider."""
        if self.finished:
            return
        if self.torn:
            self.finished = True
            self._out.abort()
        elif self.begun:
            told = self.failing(error) if self.failing else self._dialect.stream_error(error, self.request_id)
            await self.finish(told)
        else:
            refusal = self._dialect.encode_error(error, self.request_id)
            await self.whole(refusal.status, refusal.raw, refusal.body)
