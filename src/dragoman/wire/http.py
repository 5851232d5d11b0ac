"""The seam between the core and its edges: HTTP as values and three small protocols.

`pipeline.py` and the handlers know only this. `io/upstream.py` implements `Transport` on sockets, `io/asgi.py`
drives the handler with an `Inbound` and an `Outbound`; the simulator and the tests bring their own.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol

import msgspec

RawHeaders = list[tuple[bytes, bytes]]
"""Names in lower case, in the order they came; a name may repeat."""


class SettledHeaders(RawHeaders):
    """Headers that go out again and again and that nobody changes any more. `lines` is for the transport, to keep them in as
    they stand on the wire."""

    __slots__ = ("lines",)

    def __init__(self, headers: RawHeaders) -> None:
        super().__init__(headers)
        self.lines = b""


# RFC 9110, section 7.6.1: these are about one connection, not about the message.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Clock(Protocol):
    def now(self) -> float:
        """Seconds that never go backwards."""
        ...

    def time(self) -> float:
        """Seconds since 1970."""
        ...


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `first_byte` runs from the end of the request to the head of the answer, `idle` between two
    reads of its body, `total` over everything from the first attempt on."""

    connect: float = 10.0
    first_byte: float = 300.0
    idle: float = 300.0
    total: float = 3600.0


class UpstreamRequest(msgspec.Struct, kw_only=True):
    """`url` is absolute, `headers` complete but for Host, Content-Length and Connection, which the transport writes."""

    method: str
    url: str
    headers: RawHeaders
    body: bytes
    timeouts: Timeouts = Timeouts()


class Head(msgspec.Struct):
    status: int
    headers: RawHeaders

    def get(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Exchange(Protocol):
    """One request under way. Every method raises `UpstreamTimeout` or `UpstreamUnreachable`/`UpstreamGarbled`."""

    async def head(self, wait: float) -> Head | None:
        """The answer's head, or None when it has not come within `wait` seconds (ask again)."""
        ...

    async def read(self, wait: float) -> bytes | None:
        """The next bytes of the body, b"" at its proper end, None when nothing came within `wait` seconds.
        A body that broke off raises `UpstreamGarbled`, never ends."""
        ...

    def at_hand(self) -> bytes | None:
        """All of a body that has come to its end already, or None: then it is read."""
        ...

    def close(self) -> None:
        """Done with it. A body that was read to its end returns its connection to the pool; otherwise the
        connection is closed at once, which is what tells the provider to stop. Safe to call twice."""
        ...


class Transport(Protocol):
    async def open(self, request: UpstreamRequest, wait: float = math.inf) -> Exchange:
        """Connect (or take an idle connection) and send. Returns at the latest after `wait` seconds; what is not done
        by then goes on while `head` is waited for."""
        ...

    async def aclose(self) -> None: ...


class Inbound(msgspec.Struct, kw_only=True):
    """A request as a driver hands it over. `path` is percent-decoded, `raw_path` as it stood on the wire, `query`
    without its question mark. `body` is whole: drivers enforce the size limit.

    `same` is for whoever answers, to keep what follows from the head alone: a driver hands on the same one with each request
    whose head is that of another before it, byte for byte but for the length of the body. None: nothing can be kept."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: RawHeaders
    body: bytes
    client: str = ""
    same: dict[Any, Any] | None = None

    def header(self, name: bytes) -> bytes | None:
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Outbound(Protocol):
    """Where the answer goes. A handler calls `start` once, `write` any number of times, `finish` once; or `whole` alone; or
    `abort`. The driver cancels the handler's task when the client leaves."""

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> Awaitable[None]:
        """Names in lower case, as everywhere."""
        ...

    def write(self, data: bytes) -> Awaitable[None]:
        """Returns when the client can take more: this is the backpressure."""
        ...

    def finish(self, data: bytes = b"") -> Awaitable[None]: ...

    def whole(self, status: int, headers: RawHeaders, body: bytes) -> Awaitable[None]:
        """An answer in one piece. `headers` are those for `start`, but without its length."""
        return _in_two(self, status, headers, body)

    def bound(self, seconds: float) -> None:
        """From now on, the answer may take so long: a client that is not done taking it then is given up. Whoever makes the
        answer keeps to it; this is about a `write` that does not return."""
        ...

    def abort(self) -> None:
        """Break the connection: the answer cannot be completed and must not look complete."""
        ...


class Tap(Outbound):
    """What every `Outbound` in front of another one has in common that looks at what goes by, or changes it."""

    def __init__(self, out: Outbound) -> None:
        self._out = out

    def bound(self, seconds: float) -> None:
        self._out.bound(seconds)

    def abort(self) -> None:
        self._out.abort()


async def _in_two(out: Outbound, status: int, headers: RawHeaders, body: bytes) -> None:
    await out.start(status, [*headers, (b"content-length", b"%d" % len(body))])
    await out.finish(body)
