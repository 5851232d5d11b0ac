"""Which URLs and addresses may be asked for what a user linked to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.io.dial import Address
from dragoman.io.guard import Guard, Refused, kind_of

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808")
NOT_PUBLIC = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.1.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "fc00::1",
    "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "4000::1",
)  # fmt: skip


def addressed(address: str) -> str:
    return f"http://[{address}]/x" if ":" in address else f"http://{address}/x"


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="cannot be fetched"):
        Guard().link(addressed(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_asked(address: str) -> None:
    assert Guard().link(addressed(address)).port == 80


@given(st.integers(0, 2**32 - 1))
def test_an_address_within_another_is_judged_like_itself(number: int) -> None:
    inner = ipaddress.IPv4Address(number)
    try:
        Guard().link(f"http://[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]/")
    except Refused:
        assert kind_of(inner)
    else:
        assert not kind_of(inner)
    with pytest.raises(Refused):
        Guard().link(f"http://[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x", "file:///etc/passwd", "gopher://example.com/", "data:text/plain,x", "//example.com/x", "x", "",
        "http://", "http:///x", "http://user@example.com/", "http://user:pass@example.com/", "http://example.com:pass/",
        "http://example.com\\@127.0.0.1/", "http://exa mple.com/", "http://example.com/\r\nX: y", "http://[::1%25eth0]/",
        "http://[::1", "http://-x.example/", "http://ex%61mple.com/", "http://１２７.0.0.1/", "http://" + "a" * 9000,
        "http://example.com:22/", "http://example.com:25/", "http://example.com:6379/", "http://example.com:0/",
        "http://example.com:99999/",
    ],
)  # fmt: skip
def test_a_url_that_is_not_a_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        Guard().link(url)


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("HTTPS://Example.COM", "https://example.com:443/"),
        ("http://example.com:8080/a b?q=é&x=%41#frag", "http://example.com:8080/a%20b?q=%C3%A9&x=%41"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example:443/%C3%BC"),
        ("http://example.com./x", "http://example.com.:80/x"),
        (" https://s3.example/k?X-Amz-Signature=a%2Bb ", "https://s3.example:443/k?X-Amz-Signature=a%2Bb"),
    ],
)
def test_a_url_is_written_anew_from_its_parts(url: str, written: str) -> None:
    with_space = url.replace("a b", "a%20b")
    assert Guard().link(with_space).url == written


def resolved(guard: Guard, host: str, *addresses: str, port: int = 80) -> Sequence[Address]:
    async def system(name: str, at: int) -> Sequence[Address]:
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, (text, at, 0, 0) if ":" in text else (text, at))
            for text in addresses
        ]

    return asyncio.run(_call(guard.resolver(system), host, port))


async def _call(resolve: Any, host: str, port: int) -> Sequence[Address]:
    return await resolve(host, port)


def test_every_address_of_a_name_is_checked() -> None:
    assert len(resolved(Guard(), "example.com", *PUBLIC)) == len(PUBLIC)
    for address in NOT_PUBLIC:
        with pytest.raises(Refused):
            resolved(Guard(), "rebind.example", PUBLIC[0], address)
    with pytest.raises(Refused):
        resolved(Guard(), "example.com", "fe80::1%eth0")


@pytest.mark.parametrize("spelling", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1.", "localhost"])
def test_what_the_system_makes_of_an_odd_spelling_is_checked(spelling: str) -> None:
    guard = Guard()
    try:
        link = guard.link(f"http://{spelling}/")
    except Refused:
        return
    with pytest.raises((Refused, OSError)):
        asyncio.run(_call(guard.resolver(), link.host, link.port))


def test_private_networks_may_be_let_through_and_nothing_else_with_them() -> None:
    guard = Guard(allow_private=True)
    for address in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1"):
        guard.link(addressed(address))
        resolved(guard, "inside.example", address)
    for address in (
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "168.63.129.16",
    ):
        with pytest.raises(Refused):
            guard.link(addressed(address))


def test_single_hosts_may_be_let_through() -> None:
    guard = Guard(allow_hosts=["images.corp.example", "*.pics.example", "10.1.0.0/16", "10.2.0.1:81", "minio:22", "fd00::/8"])
    for host, address, port in (
        ("images.corp.example", "10.9.9.9", 80),
        ("images.corp.example.", "127.0.0.1", 8080),
        ("a.b.pics.example", "192.168.0.1", 80),
        ("anything.example", "10.1.2.3", 80),
        ("anything.example", "fd00::1", 80),
        ("minio", "10.9.9.9", 22),
    ):
        assert resolved(guard, host, address, port=port)
        assert guard.link(f"http://{host}:{port}/").port == port
    for host, address, port in (
        ("corp.example", "10.9.9.9", 80),
        ("images.corp.example.evil.example", "10.9.9.9", 80),
        ("pics.example", "10.9.9.9", 80),
        ("images.corp.example", "169.254.169.254", 80),
        ("minio", "10.9.9.9", 80),
        ("x.example", "10.2.0.1", 80),
    ):
        with pytest.raises(Refused):
            resolved(guard, host, address, port=port)
    with pytest.raises(Refused, match="port 25"):
        guard.link("http://images.corp.example:25/")
    assert guard.link("http://10.2.0.1:81/").host == "10.2.0.1"
    assert Guard(allow_hosts=["169.254.169.254"]).link("http://169.254.169.254/").host == "169.254.169.254"
