"""Forward proxies, as the environment names them: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

The lower-case name wins over the upper-case one, and an empty value switches the proxy off. NO_PROXY is a
list with commas: `*` for everything, `example.com` or `.example.com` for that host and all below it, an IP
address, a network such as `10.0.0.0/8`; each but the network may carry a `:port`.

A proxy is `http://`, `https://`, `socks5://` or `socks5h://`. The last one resolves names itself; for `socks5://` they are
resolved here, as curl has it.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from dragoman.errors import ConfigError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_LONGEST_LOGIN = 255
"""Bytes that SOCKS has room for, of a user name and of a password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """`scheme` says how the proxy itself is spoken to. `authorization` is the value of Proxy-Authorization, `credentials` are
    user name and password for SOCKS."""

    scheme: Literal["http", "https", "socks5", "socks5h"]
    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)
    credentials: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def is_socks(self) -> bool:
        return self.scheme in {"socks5", "socks5h"}

    @property
    def peer(self) -> str:
        return host_and_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of NO_PROXY. `host` is a name without its leading dot; `port` None means every port."""

    host: str | None = None
    network: IPNetwork | None = None
    port: int | None = None

    def covers(self, host: str, address: IPAddress | None, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return self.host is not None and (host == self.host or host.endswith("." + self.host))


class Proxies:
    """Which proxy a connection goes through. Loopback hosts are reached directly unless `loopback` is set."""

    def __init__(
        self, *, http: Proxy | None = None, https: Proxy | None = None, no_proxy: str = "", loopback: bool = False
    ) -> None:
        self._by_scheme = {"http": http, "https": https}
        self._loopback = loopback
        entries = [entry.strip().lower() for entry in no_proxy.split(",")]
        self._nowhere = "*" in entries
        self._exceptions = [_parse_exception(entry) for entry in entries if entry and entry != "*"]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, loopback: bool = False) -> Proxies:
        """Raises `ConfigError` when a variable that would be used names no usable proxy."""
        chosen: dict[str, Proxy | None] = {}
        for scheme in ("http", "https"):
            name = f"{scheme}_proxy"
            value = _lookup(environ, name)
            if value is None:
                name, value = "all_proxy", _lookup(environ, "all_proxy")
            chosen[scheme] = parse_proxy(value, name.upper()) if value else None
        return cls(http=chosen["http"], https=chosen["https"], no_proxy=_lookup(environ, "no_proxy") or "", loopback=loopback)

    def choose(self, scheme: str, host: str, port: int) -> Proxy | None:
        """`host` in lower case, an IPv6 address without brackets."""
        proxy = self._by_scheme.get(scheme)
        if proxy is None or self._nowhere:
            return None
        address = _address_or_none(host)
        if not self._loopback and _is_loopback(host, address):
            return None
        if any(exception.covers(host, address, port) for exception in self._exceptions):
            return None
        return proxy


def parse_proxy(url: str, source: str) -> Proxy:
    """`source` is where the URL stood, for the message of the `ConfigError`; the URL itself may hold a password."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{source} is not a proxy's URL: {_without_value(error)}") from None
    scheme = parts.scheme
    if scheme not in ("http", "https", "socks5", "socks5h"):
        raise ConfigError(f"{source} asks for a proxy of the kind {scheme!r}; http, https, socks5 and socks5h are supported")
    if not host:
        raise ConfigError(f"{source} is not a proxy's URL: it names no host")
    proxy = Proxy(scheme, host, port or _DEFAULT_PORTS[scheme])
    if parts.username is None:
        return proxy
    login = unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or "")
    if not proxy.is_socks:
        return replace(proxy, authorization=b"Basic " + base64.b64encode(b":".join(login)))
    if not all(0 < len(each) <= _LONGEST_LOGIN for each in login):
        raise ConfigError(f"{source} needs a user name and a password of 1 to {_LONGEST_LOGIN} bytes each, or neither")
    return replace(proxy, credentials=login)


def host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _without_value(error: ValueError) -> str:
    # urllib quotes what it could not read, and that may be a part of the password.
    return "its port is not a number" if "port" in str(error).lower() else "it cannot be parsed"


def _lookup(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name)
    if value is None:
        value = environ.get(name.upper())
    return value.strip() if value is not None else None


def _parse_exception(entry: str) -> _Exception:
    bare = entry.strip("[]")
    try:
        return _Exception(network=ipaddress.ip_network(bare, strict=False))
    except ValueError:
        pass
    host, colon, digits = entry.rpartition(":")
    port = int(digits) if colon and digits.isdecimal() else None
    if port is None:
        host = entry
    host = host.strip("[]").removeprefix("*").removeprefix(".")
    address = _address_or_none(host)
    if address is not None:
        return _Exception(network=ipaddress.ip_network(address), port=port)
    return _Exception(host=host, port=port)


def _address_or_none(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str, address: IPAddress | None) -> bool:
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")
