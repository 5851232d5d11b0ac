"""The HTTP/1.1 client towards providers: `HttpTransport` implements `wire.http.Transport` on sockets.

    HttpTransport      url -> Pool; writes the head of a request
      Pool             idle connections, slots, the queue           (pool.py)
        Dialer         addresses, proxy, TLS                        (dial.py)
          Connection   bytes -> head, body, end, failure            (connection.py)
    HttpExchange       one request and its answer, over one Connection (or two: see below)

No task is made for a request that finds an idle connection (unless its body is large), and no future when what is asked
for has come already.

**When a request is sent twice.** A server may close an idle connection in the moment in which the next
request is written to it. So, and only so: the connection had served a request before, the peer closed or
reset it so soon after our last byte that it cannot have been for what we sent (`_stale_for`), and not one byte
of an answer had come. Then the request is
sent once more, over another connection. Anything else is the caller's to decide: a model's answer costs
money, and a request that may have been processed is never repeated here.

Bodies are left as they come: whoever sends `accept-encoding` gets the coding it asked for. Redirects are
answers like any other.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import ssl
from collections.abc import Coroutine, Mapping
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from dragoman.errors import RequestError, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from dragoman.io.connection import Connection
from dragoman.io.dial import Dialer, Origin, Resolve
from dragoman.io.pool import Pool
from dragoman.io.proxies import Proxies
from dragoman.wire.http import HOP_BY_HOP, Head, RawHeaders, SettledHeaders, Transport, UpstreamRequest

STALE_WINDOW = 2.0
"""Seconds after the last byte of a request after which a hang-up is never that of an idle connection."""
STALE_SLACK = 0.25
"""Seconds by which it may be late beside the way of a packet there and back: this loop and the server are busy."""
_ROUND_TRIPS = 3
PIECE = 128 * 1024
"""Bodies above this size are written in pieces, each when the one before it has left."""
_ORIGINS_KEPT = 1024
_URLS_KEPT = 256

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(r"[0-9a-z._~-]+")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# The transport writes these, or they would change how the message is framed.
_NOT_FOR_CALLERS = HOP_BY_HOP | {b"host", b"content-length"}


class HostStats(msgspec.Struct, frozen=True, kw_only=True):
    """Connections to one origin now; `made` counts since the start, `waiting` are requests in the queue."""

    open: int
    idle: int
    in_use: int
    connecting: int
    waiting: int
    made: int


class TransportStats(msgspec.Struct, frozen=True, kw_only=True):
    open: int
    idle: int
    in_use: int
    resent: int
    """Requests sent a second time because an idle connection turned out to be closed."""
    hosts: dict[str, HostStats]
    """By scheme and authority, and the proxy where there is one."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Most connections to one origin, and most of them kept idle. None: as for every other."""

    connections: int | None = None
    idle: int | None = None


class HttpTransport(Transport):
    """Belongs to the event loop of its first `open`.

    `per_host` bounds the connections to one origin, `idle_age` (seconds) is how long an unused one is kept.
    `limits` are for single origins, by `scheme://host[:port]` as it stands in their URLs.
    `proxies` None means those of the environment. `resolve` replaces the system's name resolution.
    """

    def __init__(
        self,
        *,
        per_host: int = 512,
        idle_age: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
        resolve: Resolve | None = None,
        limits: Mapping[str, Limits] | None = None,
    ) -> None:
        self._per_host = per_host
        self._limits = limits or {}
        self._idle_age = idle_age
        self._dialer = Dialer(ssl_context=ssl_context, resolve=resolve)
        self._proxies = proxies if proxies is not None else Proxies.from_environment(os.environ)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: dict[Origin, Pool] = {}
        self._by_prefix: dict[str, _Destination] = {}
        self._located: dict[str, tuple[_Destination, str]] = {}
        self._closed = False
        self._resent = 0

    async def open(self, request: UpstreamRequest, wait: float = math.inf) -> HttpExchange:
        """Connect (or take an idle connection) and send. Returns when the request has been written, as soon as an
        answer to a part of it has come, or after `wait` seconds. Raises `RequestError` for what cannot be put into a
        request."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if self._closed:
            raise UpstreamUnreachable("the transport is closed")
        destination, target = self._locate(request.url)
        head = request_head(request, target, destination)
        exchange = HttpExchange(self, loop, destination.pool, head, request)
        now = loop.time()
        connection = destination.pool.take(now)
        if connection is None:
            await exchange.start(exchange.start_fresh(now), now + wait)
        elif len(request.body) <= PIECE:
            exchange.send_whole(connection, now)
        else:
            exchange.hold(connection)
            await exchange.start(exchange.send_in_pieces(connection), now + wait)
        return exchange

    async def aclose(self) -> None:
        """Breaks exchanges under way too. Returns when every socket is closed."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        for pool in self._pools.values():
            await pool.wait_closed()

    def stats(self) -> TransportStats:
        hosts = {
            label_of(origin): HostStats(
                open=pool.open,
                idle=pool.idle,
                in_use=pool.open - pool.idle,
                connecting=pool.connecting,
                waiting=pool.waiting,
                made=pool.made,
            )
            for origin, pool in self._pools.items()
        }
        return TransportStats(
            open=sum(host.open for host in hosts.values()),
            idle=sum(host.idle for host in hosts.values()),
            in_use=sum(host.in_use for host in hosts.values()),
            resent=self._resent,
            hosts=hosts,
        )

    def count_resent(self) -> None:
        self._resent += 1

    def _locate(self, url: str) -> tuple[_Destination, str]:
        """Where a URL leads, and the target to put into the request line."""
        known = self._located.get(url)
        if known is None:
            known = self._look_up(url)
            if "?" not in url:  # what stands there comes from callers, and may be a key
                if len(self._located) >= _URLS_KEPT:
                    self._located.clear()
                self._located[url] = known
        return known

    def _look_up(self, url: str) -> tuple[_Destination, str]:
        slash = url.find("/", 8)
        destination = self._by_prefix.get(url[:slash]) if slash > 0 else None
        if destination is None:
            prefix, target = _split(url)
            destination = self._by_prefix.get(prefix)
            if destination is None:
                destination = self._new_destination(prefix)
        else:
            target = url[slash:]
        if not target.isascii() or not target.isprintable() or " " in target:
            raise RequestError("a URL holds a character that must be percent-encoded")
        if "#" in target:
            target = target.partition("#")[0]
        return destination, destination.absolute + target if destination.absolute else target

    def _new_destination(self, prefix: str) -> _Destination:
        origin = _origin_of(prefix, self._proxies)
        if len(self._by_prefix) >= _ORIGINS_KEPT:
            self._forget_unused()
        pool = self._pools.get(origin)
        if pool is None:
            assert self._loop is not None
            limits = self._limits.get(prefix, Limits())
            pool = Pool(
                self._loop,
                origin,
                self._dialer,
                limit=limits.connections or self._per_host,
                idle_age=self._idle_age,
                most_idle=limits.idle,
            )
            self._pools[origin] = pool
        destination = self._by_prefix[prefix] = _Destination(pool)
        return destination

    def _forget_unused(self) -> None:
        """Somebody builds URLs of many hosts: keep only what has connections."""
        self._by_prefix.clear()
        self._located.clear()
        self._pools = {origin: pool for origin, pool in self._pools.items() if not pool.is_unused}


class HttpExchange:
    """One request under way; implements `wire.http.Exchange`.

    It does not survive an error or a cancellation: both close it, so a caller that is cancelled leaves nothing
    behind. After `close` every call raises `UpstreamUnreachable`.
    """

    __slots__ = (
        "_connection",
        "_head_bytes",
        "_loop",
        "_pool",
        "_request",
        "_reused",
        "_sending",
        "_sent_at",
        "_silent_since",
        "_timeouts",
        "_transport",
    )

    def __init__(
        self, transport: HttpTransport, loop: asyncio.AbstractEventLoop, pool: Pool, head: bytes, request: UpstreamRequest
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._pool = pool
        self._head_bytes = head
        self._request: UpstreamRequest | None = request  # until it can no longer be needed for sending it again
        self._timeouts = request.timeouts
        self._connection: Connection | None = None
        self._sending: asyncio.Task[None] | None = None
        self._reused = False
        self._sent_at: float | None = None
        self._silent_since: float | None = None

    # Sending

    def hold(self, connection: Connection) -> None:
        """From here on `close` sees to the connection, whether or not anything is ever sent over it."""
        self._connection = connection

    async def start(self, sending: Coroutine[None, None, None], until: float) -> None:
        """Send, or at `until` (loop time) leave what is not done yet to a task that `head` waits for."""
        if until == math.inf:
            await sending
            return
        self._sending = self._loop.create_task(sending)
        self._sending.add_done_callback(_look_at)
        try:
            await self._is_sent(until)
        except BaseException:
            self.close()
            raise

    async def start_fresh(self, now: float) -> None:
        """Send over a connection that is not at hand: a new one, or one that somebody gives back."""
        timeouts = self._timeouts
        assert self._request is not None
        connection = await self._pool.connect(now + timeouts.connect, timeouts.connect)
        if len(self._request.body) <= PIECE:
            self.send_whole(connection, self._loop.time())
        else:
            await self.send_in_pieces(connection)

    def send_whole(self, connection: Connection, now: float) -> None:
        request = self._request
        assert request is not None
        self._connection = connection
        self._reused = connection.served > 0
        connection.begin(request.method)
        connection.write(self._head_bytes, request.body)
        self._sent_at = now

    async def send_in_pieces(self, connection: Connection) -> None:
        """Stops when an answer comes: it may be a refusal of the very size. A peer that takes nothing for
        `first_byte` seconds is given up."""
        request, loop = self._request, self._loop
        assert request is not None
        self._connection = connection
        self._reused = connection.served > 0
        self._sent_at = None
        connection.begin(request.method)
        connection.write_piece(self._head_bytes, last=False)
        view, size, at = memoryview(request.body), len(request.body), 0
        patience = self._timeouts.first_byte
        try:
            while at < size:
                connection.write_piece(view[at : at + PIECE], last=at + PIECE >= size)
                at += PIECE
                deadline = loop.time() + patience
                while not (connection.writable or connection.ended or connection.head is not None):
                    if not await connection.wait(deadline, for_room=True):
                        raise UpstreamTimeout(
                            f"{connection.peer} took no more of the request for {patience:g} s", phase="first_byte"
                        )
                if connection.ended or connection.head is not None:
                    return
        except BaseException:
            connection.abort()
            raise
        self._sent_at = loop.time()

    # Receiving

    async def head(self, wait: float) -> Head | None:
        """See `wire.http.Exchange`."""
        connection = self._connection
        if connection is not None and connection.head is not None:
            self._request = None
            return connection.head
        now = self._loop.time()
        until = now + wait
        patience = self._timeouts.first_byte
        try:
            while True:
                if self._sending is not None and not await self._is_sent(until):
                    return None
                connection = self._connection
                if connection is None:
                    raise _closed()
                if connection.head is not None:
                    self._request = None
                    return connection.head
                if connection.failure is not None:
                    self._start_resending(connection)
                    continue
                if connection.ended:
                    raise UpstreamUnreachable(f"the connection to {connection.peer} was closed")
                if self._sent_at is None:
                    self._sent_at = now
                deadline = self._sent_at + patience
                if now >= deadline:
                    raise UpstreamTimeout(f"{connection.peer} did not answer within {patience:g} s", phase="first_byte")
                if now >= until:
                    return None
                deadline = min(until, deadline)
                now = self._loop.time() if await connection.wait(deadline) else deadline
        except BaseException:
            self.close()
            raise

    async def read(self, wait: float) -> bytes | None:
        """See `wire.http.Exchange`. Asked for before the head, it waits for that first."""
        connection = self._connection
        if connection is None or connection.head is None:
            if await self.head(wait) is None:
                return None
            connection = self._connection
            assert connection is not None
        if connection.chunks:
            self._silent_since = None
            return connection.take()
        if connection.complete:
            return b""
        now = self._loop.time()
        until = now + wait
        if self._silent_since is None:
            self._silent_since = now
        patience = self._timeouts.idle
        deadline = self._silent_since + patience
        try:
            while True:
                if connection.chunks:
                    self._silent_since = None
                    return connection.take()
                if connection.complete:
                    return b""
                if connection.failure is not None:
                    raise _error_of(connection)
                if connection.ended:
                    raise UpstreamUnreachable(f"the connection to {connection.peer} was closed")
                if now >= deadline:
                    raise UpstreamTimeout(f"{connection.peer} fell silent for {patience:g} s", phase="idle")
                if now >= until:
                    return None
                soonest = deadline if deadline < until else until
                now = self._loop.time() if await connection.wait(soonest, for_body=True) else soonest
        except BaseException:
            self.close()
            raise

    def at_hand(self) -> bytes | None:
        """See `wire.http.Exchange`."""
        connection = self._connection
        if connection is None or not connection.complete:
            return None
        return connection.take() if connection.chunks else b""

    def close(self) -> None:
        """See `wire.http.Exchange`."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
        connection, self._connection = self._connection, None
        self._request = None
        if connection is None:
            return
        if connection.is_clean():
            self._pool.release(connection)
        else:
            connection.abort()

    # Sending again

    def _start_resending(self, connection: Connection) -> None:
        """Raises what became of the connection unless the rule at the top of this file allows a second try."""
        in_time = self._sent_at is None or self._loop.time() - self._sent_at < _stale_for(connection)
        if not (self._reused and connection.hung_up and not connection.got_bytes and in_time):
            raise _error_of(connection)
        assert self._request is not None
        self._connection = None
        self._transport.count_resent()
        self._pool.discard_older(connection.idle_since)
        # A task, because `head` must return after `wait` seconds however long the connecting takes.
        self._sending = self._loop.create_task(self._resend())
        self._sending.add_done_callback(_look_at)

    async def _resend(self) -> None:
        await self.start_fresh(self._loop.time())
        self._reused = False  # whatever becomes of it now, there is no third time

    async def _is_sent(self, until: float) -> bool:
        """Whether what the task does is done; raises what went wrong with it."""
        sending = self._sending
        assert sending is not None
        if not sending.done():
            await asyncio.wait({sending}, timeout=max(0.0, until - self._loop.time()))
        if not sending.done():
            return False
        self._sending = None
        sending.result()
        return True


class _Destination:
    """What is the same for all requests whose URLs begin alike."""

    __slots__ = ("absolute", "pool", "tail", "tail_lines")

    def __init__(self, pool: Pool) -> None:
        origin = pool.origin
        self.pool = pool
        self.tail = b" HTTP/1.1\r\nHost: %b\r\n" % origin.authority.encode()
        self.absolute = ""
        """What stands before the path in the request line: something only for a proxy without a tunnel."""
        if origin.proxy is not None and not origin.is_tunnelled:
            self.absolute = f"http://{origin.authority}"
            if origin.proxy.authorization is not None:
                self.tail += b"Proxy-Authorization: %b\r\n" % origin.proxy.authorization
        self.tail_lines = self.tail.count(b"\r\n")


def request_head(request: UpstreamRequest, target: str, destination: _Destination) -> bytes:
    """The request line and the headers, with the empty line. Raises `RequestError` for what would break out."""
    method, headers = request.method, request.headers
    if type(headers) is SettledHeaders and method == "POST":
        lines = headers.lines or _settled(headers)
        start, tail = f"POST {target}".encode(), destination.tail
        return b"%b%bContent-Length: %d\r\n%b" % (start, tail, len(request.body), lines)
    if method not in _METHODS and _TOKEN.fullmatch(method.encode("utf-8", "replace")) is None:
        raise RequestError("the method of a request is not a token")
    parts = [f"{method} {target}".encode(), destination.tail]
    if request.body or method in _METHODS_WITH_BODY:
        parts.append(b"Content-Length: %d\r\n" % len(request.body))
    for name, value in headers:
        if name not in _known_names:
            _check_name(name)
        parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"\r\n")
    head = b"".join(parts)
    # Every line end in it must be one of ours: counting is cheaper than looking at each value.
    lines = destination.tail_lines + len(parts) - 2
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise RequestError(f"the header {_broken_header(headers)} holds a line break or a null byte")
    return head


def _settled(headers: SettledHeaders) -> bytes:
    """Their lines, with the empty one behind them; looked at once."""
    for name, _ in headers:
        _check_name(name)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n"
    if lines.count(b"\n") != len(headers) + 1 or lines.count(b"\r") != len(headers) + 1 or b"\0" in lines:
        raise RequestError(f"the header {_broken_header(headers)} holds a line break or a null byte")
    headers.lines = lines
    return lines


_known_names: set[bytes] = set()


def _check_name(name: bytes) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise RequestError("the name of a header is not a token")
    if name.lower() in _NOT_FOR_CALLERS:
        raise RequestError(f"the header {name.decode()} is written by the transport and cannot be given")
    if len(_known_names) < 1024:  # names may come from clients, who must not fill the memory
        _known_names.add(name)


def _broken_header(headers: RawHeaders) -> str:
    return next((name.decode() for name, value in headers if any(byte in value for byte in b"\r\n\0")), "of a proxy")


def label_of(origin: Origin) -> str:
    direct = f"{origin.scheme}://{origin.authority}"
    return direct if origin.proxy is None else f"{direct} through {origin.proxy.peer}"


def _split(url: str) -> tuple[str, str]:
    """Scheme with authority, and the rest, which begins with a slash."""
    start = url.find("://") + 3
    if start < 3:
        raise RequestError("a URL must begin with http:// or https://")
    ends = [at for at in (url.find(mark, start) for mark in "/?#") if at >= 0]
    end = min(ends, default=len(url))
    rest = url[end:]
    return url[:end], rest if rest.startswith("/") else "/" + rest


def _origin_of(prefix: str, proxies: Proxies) -> Origin:
    """Raises `RequestError`, without the user information that the prefix may hold."""
    if not prefix.isprintable() or " " in prefix or "%" in prefix:
        raise RequestError("the host of a URL holds a character that no host name has")
    try:
        parts = urlsplit(prefix)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise RequestError("the host or the port of a URL cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise RequestError("a URL must begin with http:// or https://")
    if "@" in parts.netloc:
        raise RequestError("a URL must not hold a user name or password; give them as a header")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise RequestError("the host of a URL is not a host name") from None
    if ":" not in host and _HOST.fullmatch(host) is None:
        raise RequestError("the host of a URL is not a host name")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    port = port if port is not None else (443 if scheme == "https" else 80)
    return Origin(scheme, host, port, proxies.choose(scheme, host, port))


def _stale_for(connection: Connection) -> float:
    """Seconds within which a server that had hung up before our request came is heard of: a way there and back, which is what
    connecting took at least. Later, it had the request and may have worked on it."""
    return min(STALE_WINDOW, STALE_SLACK + _ROUND_TRIPS * connection.made_in)


def _error_of(connection: Connection) -> UpstreamError:
    assert connection.failure is not None
    kind, message = connection.failure
    return kind(message)


def _closed() -> UpstreamError:
    return UpstreamUnreachable("the exchange was closed")


def _look_at(task: asyncio.Task[None]) -> None:
    """So that a failure nobody asks about any more is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
