"""Which addresses may be asked for what a user linked to: the guard against server-side request forgery.

A gateway stands inside somebody's network, and whoever may send it a prompt may put a URL into it. So:

- http and https only, no user name or password in the URL, a host that is a plain name or address, no port of a service
  that is not a web server's (https://fetch.spec.whatwg.org/#port-blocking, and below 1024 only 80 and 443);
- a name is resolved once, every address that it has is checked, and the connection is made to the addresses that were
  checked: a name that changes its mind in between (DNS rebinding) gains nothing. Odd spellings of addresses (`127.1`,
  `0x7f000001`) are names to this code, so what the system makes of them is checked like any other answer;
- everything that is not a public unicast address is refused, also where it hides in an IPv6 address (mapped, 6to4,
  Teredo, NAT64), and so are the addresses at which clouds tell a machine its secrets.

The configuration may let through private networks (`allow_private`) or single hosts (`allow_hosts`). Link-local
addresses, and with them those of the clouds, are let through by no name, only by themselves in `allow_hosts`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from dragoman.io.dial import Address, Resolve, resolve_by_system
from dragoman.io.proxies import IPAddress, IPNetwork, host_and_port

# https://fetch.spec.whatwg.org/#port-blocking, those from 1024 up: no web server answers there, and what does may
# understand a line of HTTP.
_BAD_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, *range(6665, 6670), 6679, 6697, 10080, 11211}
)
_WEB_PORTS = frozenset({80, 443})
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_MOST_URL = 8192

# Where clouds tell a machine its credentials, beside 169.254.169.254 and its kind: those are link-local.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "168.63.129.16",  # Azure: learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
)
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """A URL that may not be asked for. The text is the end of a sentence that begins with the URL."""


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that may be asked for if its addresses may. `url` is written anew from its parts, so that whoever reads it next
    reads the same host."""

    scheme: str
    host: str
    port: int
    url: str


class Guard:
    """`allow_hosts`: names (`images.corp.example`, `*.corp.example`), addresses and networks, each perhaps with a `:port`."""

    def __init__(self, *, allow_private: bool = False, allow_hosts: Sequence[str] = ()) -> None:
        self._allow_private = allow_private
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[IPNetwork, int | None]] = []
        for entry in allow_hosts:
            self._allow(entry.strip().lower())

    def _allow(self, entry: str) -> None:
        try:
            self._networks.append((ipaddress.ip_network(entry.strip("[]"), strict=False), None))
            return
        except ValueError:
            pass
        host, colon, digits = entry.rpartition(":")
        port = int(digits) if colon and digits.isdecimal() else None
        host = (host if port is not None else entry).strip("[]")
        try:
            self._networks.append((ipaddress.ip_network(host, strict=False), port))
        except ValueError:
            self._names.append((host.removesuffix("."), port))

    # ------------------------------------------------------------ URLs

    def link(self, url: str) -> Link:
        """Raises `Refused` for what the URL alone forbids. Addresses in it are checked too, names when they are resolved."""
        if len(url) > _MOST_URL:
            raise Refused("is too long for a URL")
        try:
            parts = urlsplit(url.strip())
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise Refused("is not a URL") from None
        if parts.scheme not in {"http", "https"}:
            raise Refused(f"cannot be fetched: only http and https can, not {parts.scheme or 'a relative URL'}")
        if parts.username is not None or parts.password is not None:
            raise Refused("cannot be fetched: it holds a user name or password")
        if "\\" in parts.netloc or any(char.isspace() or not char.isprintable() for char in url.strip()):
            raise Refused("is not a URL")
        host = _plain_host(host)
        port = port if port is not None else (443 if parts.scheme == "https" else 80)
        address = _address(host)
        if address is not None:
            self.check(host, port, address)
        self._check_port(host, port, address)
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?") if parts.query else ""
        return Link(parts.scheme, host, port, f"{parts.scheme}://{host_and_port(host, port)}{path}{query}")

    def _check_port(self, host: str, port: int, address: IPAddress | None) -> None:
        if port in _WEB_PORTS or self._named(host, port, exactly=True) or self._networked(address, port, exactly=True):
            return
        if port < 1024 or port in _BAD_PORTS:
            raise Refused(f"cannot be fetched: port {port} is not that of a web server")

    # ------------------------------------------------------------ addresses

    def check(self, host: str, port: int, address: IPAddress) -> None:
        """Raises `Refused` unless this address of the host may be connected to."""
        if self._networked(address, port):
            return
        inner = _inner(address)
        kind = kind_of(address) if inner is None else kind_of(inner) or _hidden(address)
        if not kind:
            return
        private = kind == "private" and inner is None
        if private and (self._allow_private or self._named(host, port)):
            return
        raise Refused(f"cannot be fetched: its address is {_A.get(kind, kind)}, and this gateway may only ask public ones")

    def _named(self, host: str, port: int, *, exactly: bool = False) -> bool:
        """`exactly`: only by an entry that names the port."""
        host = host.removesuffix(".")
        for name, only in self._names:
            if only != port and (exactly or only is not None):
                continue
            if host == name or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False

    def _networked(self, address: IPAddress | None, port: int, *, exactly: bool = False) -> bool:
        return address is not None and any(
            network.version == address.version and address in network
            for network, only in self._networks
            if only == port or (only is None and not exactly)
        )

    def resolver(self, resolve: Resolve = resolve_by_system) -> Resolve:
        """A name's addresses, all of them checked: one that is refused refuses the name. Raises `Refused` and `OSError`."""

        async def checked(host: str, port: int) -> Sequence[Address]:
            found = await resolve(host, port)
            for _, sockaddr in found:
                self.check(host, port, ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]))
            return found

        return checked


_A = {"private": "private", "link-local": "link-local", "metadata": "that of a cloud's metadata service"}


def kind_of(address: IPAddress) -> str:
    """Why an address is not one of the public Internet; empty where it is one."""
    if address in _METADATA:
        return "metadata"
    if address.is_link_local or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local):
        return "link-local"
    if any(network.version == address.version and address in network for network in _PRIVATE):
        return "private"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified or address.is_reserved or not address.is_global:
        return "reserved"
    return ""


def _inner(address: IPAddress) -> IPAddress | None:
    """The IPv4 address that an IPv6 address stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _hidden(address: IPAddress) -> str:
    """Networks without IPv4 reach all of it through NAT64, so a public address in that is one. Nobody needs the others."""
    return "" if address in _NAT64 else "another in disguise"


def _plain_host(host: str) -> str:
    """In the form in which it is resolved and named in TLS. Raises `Refused`."""
    if ":" in host:
        address = _address(host.partition("%")[0])
        if address is None or "%" in host:
            raise Refused("is not a URL")
        return str(address)
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise Refused("is not a URL: its host is not a host name") from None
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise Refused("is not a URL: its host is not a host name")
    return host


def _address(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
