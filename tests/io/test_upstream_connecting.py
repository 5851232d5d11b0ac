"""Names and addresses, TLS, proxies: everything before the first byte of a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import pytest

from dragoman.errors import UpstreamGarbled, UpstreamTimeout, UpstreamUnreachable
from dragoman.io.dial import Address
from dragoman.io.proxies import Proxies, Proxy, parse_proxy
from tests.io.authority import Authority
from tests.io.scripted_peer import (
    Peer,
    Run,
    Script,
    Wire,
    always,
    answer,
    body_of,
    client,
    fetch,
    get,
    head_of,
    on_both_loops,
    post,
    settle,
)

pytestmark = on_both_loops


# Names and addresses


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def resolving_to(*hosts: str) -> object:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [(socket.AF_INET, (address, port)) for address in hosts]

    return resolve


def test_a_refused_connection_says_so(run: Run) -> None:
    async def scenario() -> None:
        port = unused_port()
        async with client() as transport:
            with pytest.raises(UpstreamUnreachable, match=f"connection to 127.0.0.1:{port} refused"):
                await transport.open(get(f"http://127.0.0.1:{port}/", headers=[(b"x-api-key", b"sk-secret")]))
            assert transport.stats().hosts[f"http://127.0.0.1:{port}"].connecting == 0

    run(scenario())


def test_a_name_that_does_not_resolve_says_so(run: Run) -> None:
    async def nowhere(host: str, port: int) -> Sequence[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def scenario() -> None:
        async with client(resolve=nowhere) as transport:
            with pytest.raises(UpstreamUnreachable, match=r"the name nowhere\.test could not be resolved: Name or service"):
                await transport.open(get("https://nowhere.test/"))

    run(scenario())


def test_localhost_is_found_whichever_family_the_server_listens_on(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client() as transport:
            assert (await fetch(transport, get(f"http://localhost:{peer.port}/")))[1] == b"ok"
            assert peer.requests[0].fields[0] == b"Host: localhost:%d" % peer.port

    run(scenario())


def test_an_ipv6_host_is_written_in_brackets(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok")), host="::1") as peer, client() as transport:
            assert (await fetch(transport, get(f"http://[::1]:{peer.port}/")))[1] == b"ok"
            assert peer.requests[0].fields[0] == b"Host: [::1]:%d" % peer.port

    run(scenario())


def test_every_address_of_a_name_is_tried(run: Run) -> None:
    async def scenario() -> None:
        async with (
            Peer(always(answer(b"ok"))) as peer,
            client(resolve=resolving_to("127.0.0.3", "127.0.0.2", "127.0.0.1")) as transport,
        ):
            assert (await fetch(transport, get(f"http://many.test:{peer.port}/")))[1] == b"ok"

    run(scenario())


def test_when_every_address_fails_the_failure_is_told(run: Run) -> None:
    async def scenario() -> None:
        port = unused_port()
        async with client(resolve=resolving_to("127.0.0.2", "127.0.0.1")) as transport:
            with pytest.raises(UpstreamUnreachable, match=f"connection to many.test:{port} refused"):
                await transport.open(get(f"http://many.test:{port}/"))

    run(scenario())


@contextmanager
def deaf_listener(port: int) -> Generator[None]:
    """On 127.0.0.2: a listener whose queue is full, so that a further connection is neither made nor refused."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        fillers: list[socket.socket] = []
        try:
            for _ in range(8):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.2", port))
                fillers.append(filler)
            yield
        finally:
            for filler in fillers:
                filler.close()


def test_an_address_that_does_not_answer_holds_the_next_up_only_briefly(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client(resolve=resolving_to("127.0.0.2", "127.0.0.1")) as transport:
            with deaf_listener(peer.port):
                started = asyncio.get_running_loop().time()
                assert (await fetch(transport, get(f"http://many.test:{peer.port}/")))[1] == b"ok"
                assert asyncio.get_running_loop().time() - started < 2.0

    run(scenario())


def test_connecting_is_bounded_when_no_address_answers(run: Run) -> None:
    async def scenario() -> None:
        port = unused_port()
        async with client(resolve=resolving_to("127.0.0.2", "127.0.0.2")) as transport:
            with deaf_listener(port):
                with pytest.raises(UpstreamTimeout, match=f"no connection to many.test:{port} within 0.1 s"):
                    await transport.open(get(f"http://many.test:{port}/", connect=0.1))
                await settle()

    run(scenario())


def test_cancellation_while_connecting_gives_the_slot_back(run: Run) -> None:
    async def scenario() -> None:
        port = unused_port()
        async with client(resolve=resolving_to("127.0.0.2", "127.0.0.2"), per_host=1) as transport:
            with deaf_listener(port):
                opening = asyncio.ensure_future(transport.open(get(f"http://many.test:{port}/")))
                await settle()
                assert transport.stats().hosts[f"http://many.test:{port}"].connecting == 1
                opening.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await opening
                await settle()
                assert transport.stats().hosts[f"http://many.test:{port}"].connecting == 0

    run(scenario())


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_is_verified_names_its_host_and_is_kept_alive(run: Run, authority: Authority) -> None:
    names: list[str | None] = []
    context = authority.serving("localhost")
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def scenario() -> None:
        async with (
            Peer(always(answer(b"ok")), tls=context, host="localhost") as peer,
            client(ssl_context=authority.trusting()) as transport,
        ):
            for size in (10, 60_000, 3_000_000):
                assert (await fetch(transport, post(peer.url("/"), b"x" * size)))[1] == b"ok"
            assert peer.connections == 1
            assert names == ["localhost"]

    run(scenario())


def test_the_file_that_ssl_cert_file_names_is_trusted(run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    async def scenario() -> None:
        async with Peer(always(answer(b"ok")), tls=authority.serving("127.0.0.1")) as peer, client() as transport:
            assert (await fetch(transport, get(peer.url("/"))))[1] == b"ok"

    run(scenario())


def quiet(_loop: asyncio.AbstractEventLoop, _context: object) -> None:
    """The server's loop reports a handshake that its client broke off."""


@pytest.mark.parametrize(
    ("name", "trusting", "why"),
    [("localhost", False, "unable to get local issuer certificate"), ("elsewhere.test", True, "Hostname mismatch")],
)
def test_a_certificate_that_does_not_hold_is_unreachable(
    run: Run, authority: Authority, name: str, trusting: bool, why: str
) -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(quiet)
        context = authority.trusting() if trusting else None
        async with (
            Peer(always(answer(b"ok")), tls=authority.serving(name), host="localhost") as peer,
            client(ssl_context=context) as transport,
        ):
            with pytest.raises(UpstreamUnreachable, match=f"TLS with localhost:{peer.port} failed: .*{why}"):
                await transport.open(get(peer.url("/")))
            await settle()
            assert transport.stats().hosts[f"https://localhost:{peer.port}"].connecting == 0

    run(scenario())


def test_a_server_that_does_not_speak_tls_is_unreachable(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            with pytest.raises(UpstreamUnreachable, match=f"TLS with 127.0.0.1:{peer.port} failed: "):
                await transport.open(get(peer.url("/").replace("http:", "https:")))

    run(scenario())


def test_over_tls_too_a_closed_idle_connection_is_replaced_and_a_cut_body_raises(run: Run, authority: Authority) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await wire.request()
        if wire.number == 2:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd")

    async def scenario() -> None:
        context = authority.serving("127.0.0.1")
        async with Peer(script, tls=context) as peer, client(ssl_context=authority.trusting()) as transport:
            assert (await fetch(transport, post(peer.url("/"))))[1] == b"ok"
            assert (await fetch(transport, post(peer.url("/"))))[1] == b"ok"
            assert transport.stats().resent == 1
            exchange = await transport.open(post(peer.url("/")))
            await head_of(exchange)
            with pytest.raises(UpstreamGarbled, match="broke off after 4 bytes"):
                await body_of(exchange)

    run(scenario())


# Proxies


def tunnelling(*, says: bytes = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n") -> Script:
    """A proxy: opens tunnels to whatever port on 127.0.0.1 was asked for."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def script(wire: Wire) -> None:
        received = await wire.request()
        port = int(received.line.split()[1].rpartition(b":")[2])
        await wire.send(says)
        if b" 200 " in says:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(copy(wire.reader, writer), copy(reader, wire.writer))
            finally:
                writer.close()

    return script


def through(proxy: Peer, userinfo: str = "") -> Proxies:
    url = proxy.url("").replace("://", f"://{userinfo}")
    return Proxies(http=parse_proxy(url, "test"), https=parse_proxy(url, "test"), loopback=True)


def test_https_goes_through_a_tunnel_and_the_proxy_sees_only_the_name(run: Run, authority: Authority) -> None:
    async def scenario() -> None:
        context = authority.serving("api.test")
        async with Peer(always(answer(b"ok")), tls=context) as peer, Peer(tunnelling()) as proxy:
            proxies = through(proxy, "user:p%40ss@")
            async with client(ssl_context=authority.trusting(), proxies=proxies) as transport:
                for _ in range(2):
                    request = post(f"https://api.test:{peer.port}/v1?a=b", headers=[(b"x-api-key", b"sk-secret")])
                    assert (await fetch(transport, request))[1] == b"ok"
                assert proxy.connections == 1
                assert proxy.requests[0].line == b"CONNECT api.test:%d HTTP/1.1" % peer.port
                assert proxy.requests[0].fields == [
                    b"Host: api.test:%d" % peer.port,
                    b"Proxy-Authorization: Basic dXNlcjpwQHNz",
                ]
                assert peer.requests[0].line == b"POST /v1?a=b HTTP/1.1"
                assert not any(b"roxy" in field for field in peer.requests[0].fields)

    run(scenario())


def test_a_proxy_may_itself_be_spoken_to_over_tls(run: Run, authority: Authority) -> None:
    async def scenario() -> None:
        origin, proxied = authority.serving("api.test"), authority.serving("localhost")
        async with (
            Peer(always(answer(b"ok")), tls=origin) as peer,
            Peer(tunnelling(), tls=proxied, host="localhost") as proxy,
            client(ssl_context=authority.trusting(), proxies=through(proxy)) as transport,
        ):
            assert (await fetch(transport, post(f"https://api.test:{peer.port}/")))[1] == b"ok"

    run(scenario())


def test_http_is_asked_for_in_absolute_form(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as proxy, client(proxies=through(proxy, "user:pw@")) as transport:
            for _ in range(2):
                await fetch(transport, post("http://api.test/v1/x?a=b"))
            assert proxy.connections == 1
            assert proxy.requests[1].line == b"POST http://api.test/v1/x?a=b HTTP/1.1"
            assert proxy.requests[1].fields[:2] == [b"Host: api.test", b"Proxy-Authorization: Basic dXNlcjpwdw=="]

    run(scenario())


@pytest.mark.parametrize(
    ("says", "kind", "why"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
            UpstreamUnreachable,
            "refused a tunnel to api.test:443: status 407",
        ),
        (b"", UpstreamUnreachable, "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n", UpstreamGarbled, "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, UpstreamGarbled, "too large"),
    ],
    ids=["407", "closed", "garbage", "oversized"],
)
def test_a_proxy_that_refuses_is_told_from_the_origin(run: Run, says: bytes, kind: type[Exception], why: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(says)
        if says:
            await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as proxy, client(proxies=through(proxy, "user:sk-secret@")) as transport:
            with pytest.raises(kind, match=f"proxy 127.0.0.1:{proxy.port} .*{why}") as caught:
                await transport.open(post("https://api.test/"))
            assert "sk-secret" not in str(caught.value)
            await settle()
            assert transport.stats().hosts[f"https://api.test through 127.0.0.1:{proxy.port}"].connecting == 0

    run(scenario())


def test_cancellation_within_a_tunnel_leaves_nothing(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        reached.set()
        await wire.until_closed()
        hung_up.set()

    reached, hung_up = asyncio.Event(), asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as proxy, client(proxies=through(proxy)) as transport:
            opening = asyncio.ensure_future(transport.open(post("https://api.test/")))
            await reached.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await hung_up.wait()

    run(scenario())


def test_a_loopback_host_is_reached_without_the_proxy(run: Run) -> None:
    async def scenario() -> None:
        nowhere = Proxy("http", "127.0.0.1", unused_port())
        async with Peer(always(answer(b"ok"))) as peer, client(proxies=Proxies(http=nowhere)) as transport:
            assert (await fetch(transport, get(peer.url("/"))))[1] == b"ok"

    run(scenario())
