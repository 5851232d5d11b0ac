"""Making a connection: addresses of a name, TCP, a proxy's tunnel, TLS.

All addresses of a name are tried, each a quarter of a second after the one before it or at once when that
one failed; the first to answer wins (RFC 8305). Whatever fails, or is cancelled, closes its sockets.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import httptools

from dragoman.errors import UpstreamError, UpstreamGarbled, UpstreamUnreachable
from dragoman.io.connection import HEAD_LIMIT, Connection
from dragoman.io.proxies import Proxy, host_and_port
from dragoman.io.socks import open_tunnel

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family and what `socket.connect` takes in it."""
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""From a host's name and a port to its addresses, best first. Raises `OSError`."""

STAGGER = 0.25
"""Seconds before the next address is tried beside one that has not answered."""
_KEEPALIVE_IDLE = 60
"""Seconds of silence before TCP asks whether the peer is still there: a model may think for minutes, and a
NAT on the way forgets connections that say nothing."""
_HANDSHAKE_LIMIT = 3600.0  # the connect timeout is what bounds a handshake


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go; connections are shared by those that agree in all of it. `host` in lower case."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    proxy: Proxy | None = None

    @property
    def authority(self) -> str:
        """What the Host header says: the port only where it is not the scheme's own."""
        if self.port == (443 if self.scheme == "https" else 80):
            return f"[{self.host}]" if ":" in self.host else self.host
        return host_and_port(self.host, self.port)

    @property
    def peer(self) -> str:
        """For messages."""
        direct = host_and_port(self.host, self.port)
        return direct if self.proxy is None else f"{direct} through the proxy {self.proxy.peer}"

    @property
    def is_tunnelled(self) -> bool:
        return self.proxy is not None and (self.scheme == "https" or self.proxy.is_socks)


class Dialer:
    """`ssl_context` None means the system's certificate authorities, or those SSL_CERT_FILE names."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, resolve: Resolve | None = None) -> None:
        self._ssl_context = ssl_context
        self._resolve = resolve if resolve is not None else resolve_by_system

    async def dial(self, origin: Origin) -> Connection:
        """A connection ready for `begin`. Raises `UpstreamUnreachable`, and `UpstreamGarbled` for a proxy that does
        not speak HTTP. Time is bounded by whoever calls."""
        try:
            return await self._dial(origin)
        except ssl.SSLCertVerificationError as error:
            raise UpstreamUnreachable(f"TLS with {origin.peer} failed: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise UpstreamUnreachable(f"TLS with {origin.peer} failed: {error.reason or 'handshake refused'}") from error
        except socket.gaierror as error:
            name = origin.proxy.host if origin.proxy is not None else origin.host
            raise UpstreamUnreachable(f"the name {name} could not be resolved: {error.strerror}") from error
        except UnicodeError as error:
            raise UpstreamUnreachable(f"the name {origin.host} could not be resolved: it is not a host name") from error
        except ConnectionRefusedError as error:
            raise UpstreamUnreachable(f"connection to {origin.peer} refused") from error
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error) or "connection closed"
            raise UpstreamUnreachable(f"connection to {origin.peer} failed: {why}") from error

    async def _dial(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        proxy = origin.proxy
        host, port = (proxy.host, proxy.port) if proxy is not None else (origin.host, origin.port)
        sock = await connect_first(await self._addresses(host, port))
        connection = Connection(loop, origin.peer)
        try:
            if proxy is not None and proxy.is_socks:
                await open_tunnel(loop, sock, proxy, await self._host_for(proxy, origin), origin.port)
                await self._wrap(loop, lambda: connection, sock, origin.host if origin.scheme == "https" else None)
            elif proxy is not None and origin.scheme == "https":
                await self._tunnel(loop, sock, proxy, origin, connection)
            else:
                secured = origin.scheme == "https" or (proxy is not None and proxy.scheme == "https")
                await self._wrap(loop, lambda: connection, sock, host if secured else None)
        except BaseException:
            connection.abort()
            sock.close()
            raise
        if connection.ended:
            raise UpstreamUnreachable(f"{origin.peer} closed the connection as soon as it was made")
        return connection

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return await self._resolve(host, port)
        return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (host, port))]

    async def _host_for(self, proxy: Proxy, origin: Origin) -> str:
        """What a SOCKS proxy is to connect to: the name, or its first address where names are resolved here."""
        if proxy.scheme == "socks5h":
            return origin.host
        try:
            addresses = await self._addresses(origin.host, origin.port)
        except socket.gaierror as error:
            raise UpstreamUnreachable(f"the name {origin.host} could not be resolved: {error.strerror}") from error
        return str(addresses[0][1][0])

    async def _wrap(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.Protocol],
        sock: socket.socket,
        tls_name: str | None,
    ) -> asyncio.Transport:
        """A transport over a connected socket, with TLS when there is a name to verify."""
        if tls_name is None:
            transport, _ = await loop.create_connection(factory, sock=sock)
        else:
            transport, _ = await loop.create_connection(
                factory,
                sock=sock,
                ssl=self._context(),
                server_hostname=tls_name.rstrip("."),
                ssl_handshake_timeout=_HANDSHAKE_LIMIT,
            )
        return transport

    async def _tunnel(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, origin: Origin, connection: Connection
    ) -> None:
        tunnel = _Tunnel(loop, origin, proxy)
        transport = await self._wrap(loop, lambda: tunnel, sock, proxy.host if proxy.scheme == "https" else None)
        try:
            await tunnel.opened
            secured = await loop.start_tls(
                transport,
                connection,
                self._context(),
                server_hostname=origin.host.rstrip("."),
                ssl_handshake_timeout=_HANDSHAKE_LIMIT,
            )
        except BaseException:
            transport.abort()
            raise
        # `start_tls` upgrades what is connected already and so does not say it again.
        connection.connection_made(cast("asyncio.Transport", secured))

    def _context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel; `opened` is done when there is one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: Origin, proxy: Proxy) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._origin = origin
        self._proxy = proxy
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        target = host_and_port(self._origin.host, self._origin.port).encode()
        request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (target, target)
        if self._proxy.authorization is not None:
            request += b"Proxy-Authorization: %b\r\n" % self._proxy.authorization
        cast("asyncio.Transport", transport).write(request + b"\r\n")

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return  # TLS begins with the client, so what comes now is not the origin's
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UpstreamGarbled(f"what the proxy {self._proxy.peer} answered is not HTTP: {error}"))
        if self._received > HEAD_LIMIT:
            self._fail(UpstreamGarbled(f"the head of the answer of the proxy {self._proxy.peer} is too large"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 200 <= status < 300:
            if not self.opened.done():
                self.opened.set_result(None)
        elif status >= 200:
            target = host_and_port(self._origin.host, self._origin.port)
            self._fail(UpstreamUnreachable(f"the proxy {self._proxy.peer} refused a tunnel to {target}: status {status}"))

    def eof_received(self) -> None:
        self._fail(UpstreamUnreachable(f"the proxy {self._proxy.peer} closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        why = "reset" if isinstance(exc, ConnectionResetError) else "closed"
        self._fail(UpstreamUnreachable(f"the proxy {self._proxy.peer} {why} the connection"))

    def _fail(self, error: UpstreamError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # looked at here, lest a cancelled dial leaves it unread


async def resolve_by_system(host: str, port: int) -> Sequence[Address]:
    """getaddrinfo, with the families taking turns."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in infos))
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    first = [address for address in found if address[0] == found[0][0]]
    other = [address for address in found if address[0] != found[0][0]]
    mixed: list[Address] = []
    for position in range(max(len(first), len(other))):
        mixed += first[position : position + 1] + other[position : position + 1]
    return mixed


async def connect_first(addresses: Sequence[Address]) -> socket.socket:
    """A socket connected to the first address that answers. Raises the last attempt's `OSError`."""
    if len(addresses) == 1:
        return await _connect(*addresses[0])
    loop = asyncio.get_running_loop()
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    running: set[asyncio.Task[socket.socket]] = set()
    waiting = list(reversed(addresses))
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_connect(*waiting.pop())))
            done, _ = await asyncio.wait(running, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    running.discard(attempt)
                    return attempt.result()
                running.discard(attempt)
                if not isinstance(error, OSError):
                    raise error
                failure = error
        raise failure
    finally:
        for attempt in running:
            attempt.cancel()
            attempt.add_done_callback(_discard)


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
