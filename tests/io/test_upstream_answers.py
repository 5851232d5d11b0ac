"""What the client makes of the answers that servers give, good and bad."""

from __future__ import annotations

import asyncio

import pytest

from dragoman.errors import UpstreamGarbled, UpstreamUnreachable
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
    until_failure,
)

pytestmark = on_both_loops

OK_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_header_names_come_in_lower_case_with_order_and_repeats_kept(run: Run) -> None:
    raw = answer(b"{}", extra=b"X-B: 2 \r\nSet-Cookie: a=1\r\nx-a:1\r\nSET-COOKIE: b=2\r\nempty:\r\n")

    async def scenario() -> None:
        async with Peer(always(raw)) as peer, client() as transport:
            head, body = await fetch(transport, post(peer.url("/x")))
            assert head.status == 200
            assert head.headers == [
                (b"x-b", b"2"),
                (b"set-cookie", b"a=1"),
                (b"x-a", b"1"),
                (b"set-cookie", b"b=2"),
                (b"empty", b""),
                (b"content-length", b"2"),
            ]
            assert body == b"{}"

    run(scenario())


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (answer(b"hello"), b"hello"),
        (OK_CHUNKED + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n", b"abcde"),
        (OK_CHUNKED + b"0\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"late"), b"late"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 400\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
    ids=["length", "chunked-with-trailer", "chunked-empty", "interim", "204", "304", "no-reason"],
)
def test_every_framing_is_read_whole_or_byte_by_byte_and_leaves_the_connection_usable(
    run: Run, raw: bytes, body: bytes
) -> None:
    async def bytewise(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send_bytewise(raw)

    async def scenario() -> None:
        for script in (always(raw), bytewise):
            async with Peer(script) as peer, client() as transport:
                for _ in range(2):
                    head, got = await fetch(transport, post(peer.url("/x")))
                    assert got == body
                    assert head.get(b"x-trailer") is None
                    assert head.get(b"a") is None
                assert peer.connections == 1

    run(scenario())


def test_a_body_without_length_ends_when_the_server_closes(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end")

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            for _ in range(2):
                assert (await fetch(transport, post(peer.url("/x"))))[1] == b"until the end"
            assert peer.connections == 2

    run(scenario())


def test_http_1_0_is_understood_and_its_connection_not_kept(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            assert (await fetch(transport, post(peer.url("/x"))))[1] == b"ok"
            assert (await fetch(transport, post(peer.url("/x"))))[1] == b"ok"
            assert peer.connections == 2

    run(scenario())


def test_an_answer_that_says_connection_close_is_read_and_the_connection_dropped(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok", extra=b"Connection: close\r\n"))
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            for _ in range(2):
                assert (await fetch(transport, post(peer.url("/x"))))[1] == b"ok"
            assert peer.connections == 2

    run(scenario())


def test_an_offer_to_upgrade_is_ignored(run: Run) -> None:
    raw = answer(b"ok", extra=b"Upgrade: h2,h2c\r\nConnection: Upgrade\r\n")

    async def scenario() -> None:
        async with Peer(always(raw)) as peer, client() as transport:
            for _ in range(2):
                assert (await fetch(transport, post(peer.url("/x"))))[1] == b"ok"

    run(scenario())


def test_the_answer_to_head_has_no_body_and_its_connection_serves_again(run: Run) -> None:
    async def script(wire: Wire) -> None:
        while True:
            received = await wire.request()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            await wire.send(head if received.line.startswith(b"HEAD") else head + b"hello")

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            for method, body in (("HEAD", b""), ("GET", b"hello"), ("HEAD", b""), ("HEAD", b""), ("GET", b"hello")):
                head, got = await fetch(transport, get(peer.url("/x"), method=method))
                assert (head.get(b"content-length"), got) == (b"5", body)
            assert peer.connections == 1

    run(scenario())


def test_a_body_sent_in_answer_to_head_costs_the_connection(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"hello"))) as peer, client() as transport:
            for _ in range(2):
                assert (await fetch(transport, get(peer.url("/x"), method="HEAD")))[1] == b""
            assert peer.connections == 2

    run(scenario())


def test_coded_content_is_left_as_it_came(run: Run) -> None:
    coded = b"\x1f\x8b\x08\x00not really gzip"
    raw = answer(coded, extra=b"Content-Encoding: gzip\r\n")

    async def scenario() -> None:
        async with Peer(always(raw)) as peer, client() as transport:
            head, body = await fetch(transport, post(peer.url("/x")))
            assert (head.get(b"content-encoding"), body) == (b"gzip", coded)

    run(scenario())


def test_redirects_are_answers(run: Run) -> None:
    raw = answer(b"", status=b"307 Temporary Redirect", extra=b"Location: /elsewhere\r\n")

    async def scenario() -> None:
        async with Peer(always(raw)) as peer, client() as transport:
            head, _ = await fetch(transport, post(peer.url("/x")))
            assert (head.status, len(peer.requests)) == (307, 1)

    run(scenario())


def test_what_has_come_is_given_joined_and_without_waiting(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK_CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in b"abcdef") + b"0\r\n\r\n")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            await head_of(exchange)
            reading = exchange.read(WAIT)
            with pytest.raises(StopIteration) as first:
                reading.send(None)  # it would yield if it had to wait
            assert first.value.value == b"abcdef"
            assert await exchange.read(0.0) == b""
            assert await exchange.read(0.0) == b""
            exchange.close()

    run(scenario())


BROKEN_BODIES = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd", b"abcd", "broke off after 4 bytes"),
    (OK_CHUNKED + b"4\r\nabcd\r\n", b"abcd", "broke off after 4 bytes"),
    (OK_CHUNKED + b"8\r\nabcd", b"abcd", "broke off after 4 bytes"),
    (OK_CHUNKED + b"4\r\nabcd\r\n0\r\n", b"abcd", "broke off after 4 bytes"),
    (OK_CHUNKED + b"4\r\nabcd\r\nzz\r\n", b"abcd", "broke off after 4 bytes"),
]


@pytest.mark.parametrize(("raw", "body", "message"), BROKEN_BODIES, ids=["length", "chunks", "in-chunk", "last", "size"])
def test_a_body_cut_short_is_given_as_far_as_it_came_and_then_raises(run: Run, raw: bytes, body: bytes, message: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(raw)

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            await head_of(exchange)
            got, why = await until_failure(exchange, UpstreamGarbled)
            assert got == body
            assert message in why
            assert f"127.0.0.1:{peer.port}" in why
            assert transport.stats().idle == 0

    run(scenario())


def test_a_reset_within_the_body_raises_even_when_the_body_has_no_length(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nabcd")
        await read.wait()
        wire.reset()

    read = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            await head_of(exchange)
            assert await exchange.read(WAIT) == b"abcd"
            read.set()
            with pytest.raises(UpstreamGarbled, match="broke off after 4 bytes: connection reset"):
                await exchange.read(WAIT)

    run(scenario())


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_lost_before_the_head_is_unreachable_and_not_tried_again(run: Run, how: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        wire.close() if how == "close" else wire.reset()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            with pytest.raises(UpstreamUnreachable, match="hung up before it answered"):
                await exchange.head(WAIT)
            assert peer.connections == 1

    run(scenario())


def test_a_head_cut_short_is_garbled(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            with pytest.raises(UpstreamGarbled, match="broke off within its head"):
                await exchange.head(WAIT)

    run(scenario())


GARBAGE = {
    "text": b"hello, this is no HTTP\r\n\r\n",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "http-2": b"HTTP/2.0 200 OK\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare-line-feeds": b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x00",
    "status-99": b"HTTP/1.1 099 What\r\n\r\n",
    "status-600": b"HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n",
    "status-999": b"HTTP/1.1 999 Request denied\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_not_http_is_garbled_and_the_connection_closed(run: Run, garbage: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(garbage)
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x"), headers=[(b"authorization", b"Bearer sk-secret")]))
            with pytest.raises(UpstreamGarbled, match=f"127.0.0.1:{peer.port}") as caught:
                await exchange.head(WAIT)
            assert "secret" not in str(caught.value)

    run(scenario())


HUGE = b"x" * 70_000
OVERSIZED = {
    "one-value": b"HTTP/1.1 200 OK\r\nA: " + HUGE + b"\r\n\r\n",
    "many-headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 12_000 + b"\r\n",
    "never-ends": b"HTTP/1.1 200 OK\r\nA: " + HUGE,
    "interim-answers": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2_000,
}


@pytest.mark.parametrize("raw", OVERSIZED.values(), ids=OVERSIZED.keys())
def test_a_head_above_64_kb_is_garbled(run: Run, raw: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(raw)
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            with pytest.raises(UpstreamGarbled, match="larger than 65536 bytes"):
                await exchange.head(WAIT)

    run(scenario())


@pytest.mark.parametrize("tail", [b"1;" + HUGE, b"0\r\nTrailer: " + HUGE], ids=["extension", "trailer"])
def test_framing_that_never_ends_is_garbled(run: Run, tail: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK_CHUNKED)
        await seen.wait()
        await wire.send(tail, tail)
        await wire.until_closed()

    seen = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            await head_of(exchange)
            seen.set()
            with pytest.raises(UpstreamGarbled, match="framing without content"):
                await exchange.read(WAIT)

    run(scenario())


def test_a_long_stream_of_small_chunks_is_not_mistaken_for_endless_framing(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK_CHUNKED)
        for _ in range(300):
            await wire.send(b"1;" + b"x" * 300 + b"\r\n")
            await asyncio.sleep(0)
            await wire.send(b"a\r\n")
        await wire.send(b"0\r\n\r\n")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            assert (await fetch(transport, post(peer.url("/x"))))[1] == b"a" * 300

    run(scenario())


def test_bytes_after_an_answer_cost_the_connection_but_not_the_answer(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok") + answer(b"smuggled"))) as peer, client() as transport:
            for _ in range(2):
                assert (await fetch(transport, post(peer.url("/x"))))[1] == b"ok"
            assert peer.connections == 2

    run(scenario())


def test_a_slow_reader_holds_the_server_back_and_loses_nothing(run: Run) -> None:
    size = 8 * 1024 * 1024
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(range(256)) * 256
        while sent < size:
            await wire.send(piece)
            sent += len(piece)
        all_sent.set()
        await wire.until_closed()

    all_sent = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            await head_of(exchange)
            with pytest.raises(TimeoutError):  # the whole takes a hundredth of a second when nobody holds it back
                await asyncio.wait_for(all_sent.wait(), 0.3)
            assert sent < size
            body = await body_of(exchange)
            assert body == bytes(range(256)) * (size // 256)
            exchange.close()
            assert transport.stats().idle == 1

    run(scenario())


def test_a_body_can_be_asked_for_before_the_head(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/x")))
            assert await body_of(exchange) == b"ok"
            assert (await head_of(exchange)).status == 200
            exchange.close()

    run(scenario())
