"""What the client writes, and what it refuses to write."""

from __future__ import annotations

import asyncio

import pytest

from dragoman.errors import RequestError, UpstreamUnreachable
from dragoman.wire.http import RawHeaders
from tests.io.scripted_peer import (
    WAIT,
    Peer,
    Run,
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
)

pytestmark = on_both_loops


def test_a_request_is_its_line_host_length_and_the_given_headers_and_nothing_else(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer, client() as transport:
            headers = [(b"x-api-key", b"k"), (b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"), (b"X-Odd", b"")]
            await fetch(transport, post(peer.url("/v1/m?beta=true"), b'{"a":1}', headers=headers))
            received = peer.requests[0]
            assert received.line == b"POST /v1/m?beta=true HTTP/1.1"
            assert received.fields == [
                b"Host: 127.0.0.1:%d" % peer.port,
                b"Content-Length: 7",
                b"x-api-key: k",
                b"anthropic-beta: a",
                b"anthropic-beta: b",
                b"X-Odd: ",
            ]
            assert received.body == b'{"a":1}'

    run(scenario())


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", False),
        ("HEAD", b"", False),
        ("DELETE", b"", False),
        ("DELETE", b"x", True),
        ("POST", b"", True),
        ("PUT", b"", True),
    ],
)
def test_content_length_is_written_where_a_body_is_or_is_expected(run: Run, method: str, body: bytes, length: bool) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer, client() as transport:
            request = get(peer.url("/"), method=method)
            request.body = body
            await fetch(transport, request)
            assert (b"Content-Length: %d" % len(body) in peer.requests[0].fields) is length

    run(scenario())


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", b"/"),
        ("/", b"/"),
        ("?a=/b", b"/?a=/b"),
        ("/v1beta/models/a%2Fb:generate?alt=sse&x=%41", b"/v1beta/models/a%2Fb:generate?alt=sse&x=%41"),
        ("//double/./../slash", b"//double/./../slash"),
        ("/a#fragment", b"/a"),
    ],
)
def test_path_and_query_go_out_as_they_stand(run: Run, path: str, target: bytes) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer, client() as transport:
            for _ in range(2):  # the second goes the short way, over the prefix that is known
                await fetch(transport, get(peer.url(path)))
            assert [received.line for received in peer.requests] == [b"GET %b HTTP/1.1" % target] * 2

    run(scenario())


@pytest.mark.parametrize(
    "headers",
    [
        [(b"a", b"b\r\nHost: evil")],
        [(b"a", b"b\ncookie: x")],
        [(b"a", b"b\rc")],
        [(b"a", b"b\0c")],
        [(b"a\r\nb", b"c")],
        [(b"a b", b"c")],
        [(b"", b"c")],
        [(b"a:", b"c")],
        [(b"host", b"elsewhere")],
        [(b"Content-Length", b"1")],
        [(b"Transfer-Encoding", b"chunked")],
        [(b"connection", b"close")],
    ],
)
def test_headers_that_would_break_out_or_change_the_framing_are_refused(run: Run, headers: RawHeaders) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer, client() as transport:
            with pytest.raises(RequestError) as caught:
                await transport.open(post(peer.url("/"), headers=[(b"authorization", b"sk-secret"), *headers]))
            assert "sk-secret" not in str(caught.value)
            assert "evil" not in str(caught.value)
            assert peer.connections == 0

    run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        "http://HOST/a b",
        "http://HOST/a\r\nHost: evil",
        "http://HOST/\u00e4",
        "http://HOST/\x7f",
        "http://user:sk-secret@HOST/",
        "ftp://HOST/",
        "HOST/",
        "http:///path",
        "http://ho st/",
        "http://ex%41mple/",
        "http://example:port/",
        "http://exa\\mple/",
        "http://exa<mple/",
        "http://[::1/",
        "http://\n/",
    ],
)
def test_urls_that_cannot_be_meant_are_refused(run: Run, url: str) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer, client() as transport:
            known = f"127.0.0.1:{peer.port}"
            await fetch(transport, get(f"http://{known}/"))
            with pytest.raises(RequestError) as caught:
                await transport.open(get(url.replace("HOST", known)))
            assert "sk-secret" not in str(caught.value)
            assert len(peer.requests) == 1

    run(scenario())


@pytest.mark.parametrize("method", ["GET /evil HTTP/1.1\r\nA: b\r\n\r\nGET", "G\xc4T", ""])
def test_a_method_that_is_no_token_is_refused(run: Run, method: str) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer, client() as transport:
            with pytest.raises(RequestError):
                await transport.open(get(peer.url("/"), method=method))
            assert peer.connections == 0

    run(scenario())


@pytest.mark.parametrize("size", [0, 20_000, 128 * 1024, 5_000_000])
def test_bodies_of_all_sizes_arrive_whole_and_the_connection_serves_again(run: Run, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client() as transport:
            for _ in range(2):
                assert (await fetch(transport, post(peer.url("/"), body)))[1] == b"ok"
            assert [received.body == body for received in peer.requests] == [True, True]
            assert peer.connections == 1

    run(scenario())


def test_a_large_body_waits_until_the_server_takes_it(run: Run) -> None:
    body = b"x" * (16 * 1024 * 1024)

    async def script(wire: Wire) -> None:
        await wire.head()
        await take.wait()
        await wire.reader.readexactly(len(body))
        await wire.send(answer(b"ok"))

    take = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            opening = asyncio.ensure_future(transport.open(post(peer.url("/"), body)))
            done, _ = await asyncio.wait({opening}, timeout=0.2)
            assert not done, "the whole body was put into the buffer"
            take.set()
            exchange = await opening
            assert await body_of(exchange) == b"ok"
            exchange.close()

    run(scenario())


@pytest.mark.parametrize("ending", ["stays open", "closes"])
def test_a_refusal_that_comes_before_the_body_was_sent_is_read(run: Run, ending: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(answer(b"too large", status=b"413 Content Too Large"))
        if ending == "stays open":
            await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/"), b"x" * (32 * 1024 * 1024)))
            assert (await head_of(exchange)).status == 413
            assert await body_of(exchange) == b"too large"
            exchange.close()
            assert transport.stats().idle == 0, "the rest of the body was never sent"

    run(scenario())


def test_a_closed_transport_opens_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer())) as peer:
            async with client() as transport:
                exchange = await transport.open(post(peer.url("/")))
            with pytest.raises(UpstreamUnreachable, match="closed"):
                await exchange.head(WAIT)
            with pytest.raises(UpstreamUnreachable, match="closed"):
                await transport.open(post(peer.url("/")))

    run(scenario())
