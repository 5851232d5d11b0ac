"""SOCKS 5 (RFC 1928), with a user name and password where the proxy wants one (RFC 1929): a tunnel to one address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from dragoman.errors import UpstreamGarbled, UpstreamUnreachable
from dragoman.io.proxies import Proxy, host_and_port

_VERSION = 5
_NO_LOGIN, _PASSWORD, _NOTHING = 0, 2, 255
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REFUSALS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "it took too long",
    7: "it makes no connections",
    8: "it does not take this kind of address",
}
_LONGEST = 255
"""Bytes of a name, a user name or a password."""


async def open_tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Over a socket that is connected to the proxy; `host` is an address, or a name for the proxy to resolve. Raises
    `UpstreamUnreachable` where the proxy does not want to, `UpstreamGarbled` where it is none."""
    target = _address(host)
    login = proxy.credentials
    await loop.sock_sendall(sock, bytes((_VERSION, 2, _NO_LOGIN, _PASSWORD) if login is not None else (_VERSION, 1, _NO_LOGIN)))
    version, method = await _read(loop, sock, proxy, 2)
    if version != _VERSION:
        raise UpstreamGarbled(f"what the proxy {proxy.peer} answered is not SOCKS 5")
    if method == _PASSWORD and login is not None:
        await _log_in(loop, sock, proxy, login)
    elif method != _NO_LOGIN:
        wants = "a user name and password" if method in {_PASSWORD, _NOTHING} and login is None else "another kind of login"
        raise UpstreamUnreachable(f"the proxy {proxy.peer} wants {wants}")
    await loop.sock_sendall(sock, bytes((_VERSION, 1, 0)) + target + port.to_bytes(2, "big"))
    version, refusal, _, kind = await _read(loop, sock, proxy, 4)
    if version != _VERSION:
        raise UpstreamGarbled(f"what the proxy {proxy.peer} answered is not SOCKS 5")
    if refusal:
        why = _REFUSALS.get(refusal, f"code {refusal}")
        raise UpstreamUnreachable(f"the proxy {proxy.peer} refused a tunnel to {host_and_port(host, port)}: {why}")
    # The address that it uses itself is of no interest.
    length = {_IPV4: 4, _IPV6: 16}.get(kind) or (await _read(loop, sock, proxy, 1))[0]
    await _read(loop, sock, proxy, length + 2)


async def _log_in(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, login: tuple[bytes, bytes]) -> None:
    user, password = login
    await loop.sock_sendall(sock, b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password)
    if (await _read(loop, sock, proxy, 2))[1] != 0:
        raise UpstreamUnreachable(f"the proxy {proxy.peer} does not take this user name and password")


async def _read(loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, size: int) -> bytes:
    """Exactly so many bytes: those that follow are the target's."""
    got = b""
    while len(got) < size:
        piece = await loop.sock_recv(sock, size - len(got))
        if not piece:
            raise UpstreamUnreachable(f"the proxy {proxy.peer} closed the connection")
        got += piece
    return got


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode()
        if len(name) > _LONGEST:
            raise UpstreamUnreachable("the name of the host is too long for a SOCKS proxy") from None
        return bytes((_NAME, len(name))) + name
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed
