"""Through a SOCKS 5 proxy: names resolved here or there, logins, and proxies that refuse or are none."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import pytest

from dragoman.errors import UpstreamGarbled, UpstreamUnreachable
from dragoman.io.dial import Address
from dragoman.io.proxies import Proxies, parse_proxy
from tests.io.authority import Authority
from tests.io.scripted_peer import Peer, Run, Script, Wire, always, answer, client, fetch, on_both_loops, post, settle, until

pytestmark = on_both_loops


async def resolved(host: str, port: int) -> Sequence[Address]:
    return [(socket.AF_INET, ("127.0.0.1", port))]


async def unresolved(host: str, port: int) -> Sequence[Address]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def through(proxy: Peer, scheme: str = "socks5h", userinfo: str = "") -> Proxies:
    one = parse_proxy(f"{scheme}://{userinfo}127.0.0.1:{proxy.port}", "test")
    return Proxies(http=one, https=one, loopback=True)


class Socks:
    """A proxy; `asked` is what it was asked to connect to, `logins` what it was shown. Everything leads to `port`."""

    def __init__(self, port: int, *, login: bytes = b"", piecemeal: bool = False) -> None:
        self.port = port
        self.asked: list[tuple[str, int]] = []
        self.logins: list[bytes] = []
        self._login = login
        self._piecemeal = piecemeal

    async def say(self, wire: Wire, data: bytes) -> None:
        await (wire.send_bytewise(data) if self._piecemeal else wire.send(data))

    async def __call__(self, wire: Wire) -> None:
        version, count = await wire.reader.readexactly(2)
        methods = await wire.reader.readexactly(count)
        assert version == 5
        if self._login:
            assert 2 in methods
            await self.say(wire, b"\x05\x02")
            _, size = await wire.reader.readexactly(2)
            user = await wire.reader.readexactly(size)
            [size] = await wire.reader.readexactly(1)
            self.logins.append(user + b":" + await wire.reader.readexactly(size))
            if self.logins[-1] != self._login:
                await self.say(wire, b"\x01\x01")
                return
            await self.say(wire, b"\x01\x00")
        else:
            await self.say(wire, b"\x05\x00")
        assert await wire.reader.readexactly(3) == b"\x05\x01\x00"
        [kind] = await wire.reader.readexactly(1)
        if kind == 3:
            [size] = await wire.reader.readexactly(1)
            host = (await wire.reader.readexactly(size)).decode()
        else:
            host = str(ipaddress.ip_address(await wire.reader.readexactly(4 if kind == 1 else 16)))
        self.asked.append((host, int.from_bytes(await wire.reader.readexactly(2), "big")))
        await self.say(wire, b"\x05\x00\x00\x03\x04here\x00\x50")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(_copy(wire.reader, writer), _copy(reader, wire.writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.parametrize("piecemeal", [False, True])
def test_socks5h_leaves_names_to_the_proxy(run: Run, piecemeal: bool) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer:
            socks = Socks(peer.port, piecemeal=piecemeal)
            async with Peer(socks) as proxy, client(proxies=through(proxy), resolve=unresolved) as transport:
                for _ in range(2):
                    assert (await fetch(transport, post("http://api.test/v1?a=b")))[1] == b"ok"
                assert socks.asked == [("api.test", 80)]  # one tunnel, kept
                assert peer.requests[0].line == b"POST /v1?a=b HTTP/1.1"
                assert peer.requests[0].fields[0] == b"Host: api.test"

    run(scenario())


@pytest.mark.parametrize(("host", "asked"), [("api.test", "127.0.0.1"), ("[::1]", "::1"), ("127.0.0.9", "127.0.0.9")])
def test_socks5_gets_addresses(run: Run, host: str, asked: str) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer:
            socks = Socks(peer.port)
            async with Peer(socks) as proxy, client(proxies=through(proxy, "socks5"), resolve=resolved) as transport:
                assert (await fetch(transport, post(f"http://{host}:8080/")))[1] == b"ok"
                assert socks.asked == [(asked, 8080)]

    run(scenario())


def test_tls_goes_through_the_tunnel_with_the_names_of_the_origin(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("authority"))

    async def scenario() -> None:
        async with Peer(always(answer(b"ok")), tls=authority.serving("api.test")) as peer:
            socks = Socks(peer.port, login=b"us@er:p:w")
            async with Peer(socks) as proxy:
                proxies = through(proxy, userinfo="us%40er:p%3Aw@")
                async with client(proxies=proxies, ssl_context=authority.trusting()) as transport:
                    assert (await fetch(transport, post("https://api.test/")))[1] == b"ok"
                    assert socks.asked == [("api.test", 443)]
                    assert not any(b"roxy" in field for field in peer.requests[0].fields)

    run(scenario())


async def silent(wire: Wire) -> None:
    await wire.until_closed()


def says(*replies: bytes) -> Script:
    """Whatever it is asked."""

    async def script(wire: Wire) -> None:
        for reply in replies:
            await wire.reader.read(1024)
            await wire.send(reply)

    return script


@pytest.mark.parametrize(
    ("script", "kind", "why"),
    [
        (says(b"\x05\xff"), UpstreamUnreachable, "wants another kind of login"),
        (says(b"\x05\x02", b"\x01\x01"), UpstreamUnreachable, "does not take this user name and password"),
        (says(b"\x05\x00", b"\x05\x05\x00\x01\0\0\0\0\0\0"), UpstreamUnreachable, "tunnel to api.test:443: connection refused"),
        (says(b"\x05\x00", b"\x05\x02\x00\x01\0\0\0\0\0\0"), UpstreamUnreachable, "not allowed by its rules"),
        (says(b"\x05\x00", b"\x05\x63\x00\x01\0\0\0\0\0\0"), UpstreamUnreachable, "code 99"),
        (says(b"\x05\x00", b"\x05\x00\x00"), UpstreamUnreachable, "closed the connection"),
        (says(b""), UpstreamUnreachable, "closed the connection"),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), UpstreamGarbled, "is not SOCKS 5"),
        (says(b"\x05\x00", b"HTTP"), UpstreamGarbled, "is not SOCKS 5"),
    ],
    ids=["method", "login", "refused", "rules", "code", "cut", "closed", "http", "http-later"],
)
def test_a_proxy_that_refuses_says_why_and_keeps_the_password_to_itself(
    run: Run, script: Script, kind: type[Exception], why: str
) -> None:
    async def scenario() -> None:
        async with Peer(script) as proxy, client(proxies=through(proxy, userinfo="user:sk-secret@")) as transport:
            with pytest.raises(kind, match=f"proxy 127.0.0.1:{proxy.port} .*{why}") as caught:
                await transport.open(post("https://api.test/"))
            assert "sk-secret" not in str(caught.value)
            await settle()
            assert all(host.connecting == 0 for host in transport.stats().hosts.values())

    run(scenario())


def test_a_proxy_that_wants_a_login_and_a_name_that_nobody_knows_are_told(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(says(b"\x05\xff")) as proxy, client(proxies=through(proxy)) as transport:
            with pytest.raises(UpstreamUnreachable, match="wants a user name and password"):
                await transport.open(post("https://api.test/"))
        async with Peer(silent) as proxy, client(proxies=through(proxy, "socks5"), resolve=unresolved) as transport:
            with pytest.raises(UpstreamUnreachable, match=r"the name api\.test could not be resolved"):
                await transport.open(post("https://api.test/"))
            await until(lambda: proxy.connections == 1)

    run(scenario())


def test_a_proxy_that_says_nothing_runs_out_of_the_connect_patience(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(silent) as proxy, client(proxies=through(proxy)) as transport:
            with pytest.raises(Exception, match=r"no connection to api\.test:443 through the proxy"):
                await transport.open(post("https://api.test/", connect=0.05))

    run(scenario())
