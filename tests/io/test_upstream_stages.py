"""A server that leaves, in each of the ways there are, at each stage of a request and its answer; and servers in a hurry."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dragoman.errors import UpstreamError, UpstreamGarbled, UpstreamUnreachable
from dragoman.wire.http import Timeouts, UpstreamRequest
from tests.io.scripted_peer import (
    WAIT,
    Peer,
    Run,
    Wire,
    answer,
    body_of,
    client,
    fetch,
    head_of,
    on_both_loops,
    post,
    until,
    until_failure,
)  # fmt: skip

pytestmark = on_both_loops

LARGE = b"x" * 30_000_000
"""More than sockets hold."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
UNSIZED = b"HTTP/1.1 200 OK\r\n\r\n"

STAGES: dict[str, tuple[bytes | None, bytes, type[UpstreamError]]] = {
    "before-the-request": (None, b"", UpstreamUnreachable),
    "before-the-answer": (b"", b"", UpstreamUnreachable),
    "in-an-interim-answer": (b"HTTP/1.1 103 Early Hints\r\nLi", b"", UpstreamGarbled),
    "after-an-interim-answer": (b"HTTP/1.1 100 Continue\r\n\r\n", b"", UpstreamGarbled),
    "in-the-status-line": (b"HTTP/1.", b"", UpstreamGarbled),
    "in-the-head": (b"HTTP/1.1 200 OK\r\nConte", b"", UpstreamGarbled),
    "before-the-body": (SIZED, b"", UpstreamGarbled),
    "in-the-body": (SIZED + b"12345", b"12345", UpstreamGarbled),
    "before-a-chunk": (CHUNKED, b"", UpstreamGarbled),
    "in-a-chunk-size": (CHUNKED + b"3\r\nabc\r\n1", b"abc", UpstreamGarbled),
    "in-a-chunk": (CHUNKED + b"5\r\nabc", b"abc", UpstreamGarbled),
    "before-the-last-chunk": (CHUNKED + b"3\r\nabc\r\n", b"abc", UpstreamGarbled),
    "in-the-last-chunk": (CHUNKED + b"3\r\nabc\r\n0\r\n", b"abc", UpstreamGarbled),
    "in-the-trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nx-a: 1\r\n", b"abc", UpstreamGarbled),
    "in-a-body-without-length": (UNSIZED + b"abc", b"abc", UpstreamGarbled),
}
"""What it says before it leaves (None: it does not even read the request), what of the body came, and the error."""


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["close", "half", "reset"])
def test_a_server_that_leaves_before_the_end_is_an_error_of_its_own_kind(run: Run, stage: str, how: str) -> None:
    said, came, kind = STAGES[stage]
    taken = asyncio.Event()

    async def script(wire: Wire) -> None:
        if said is not None:
            await wire.request()
            await wire.send(said)
            if came or how == "reset":
                await taken.wait()  # or a reset might overtake what was said
        if how == "reset":
            wire.reset()
        elif how == "half":
            # The sending half only. Nothing can come any more, so there is nothing to wait for.
            wire.writer.write_eof()
            await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            if how != "reset" and stage == "in-a-body-without-length":
                # That is how such a body ends.
                asyncio.get_running_loop().call_soon(taken.set)
                assert (await fetch(transport, post(peer.url("/"))))[1] == b"abc"
                return
            exchange = await transport.open(post(peer.url("/")))
            asyncio.get_running_loop().call_later(0.02, taken.set)
            body, message = await until_failure(exchange, UpstreamError)
            assert body == came
            assert f"127.0.0.1:{peer.port}" in message
            await until(lambda: transport.stats().open == 0)
            assert transport.stats().resent == 0
            assert peer.connections == 1

    async def kinds() -> None:
        async with Peer(script) as peer, client() as transport:
            if how != "reset" and stage == "in-a-body-without-length":
                return
            await until_failure(await transport.open(post(peer.url("/"))), kind)

    run(scenario())
    taken.set()
    if how != "reset":  # a reset may be noticed before what was said has been read
        run(kinds())


@pytest.mark.parametrize("how", ["close", "reset", "keep"])
@pytest.mark.parametrize("status", [b"413 Content Too Large", b"401 Unauthorized", b"200 OK"])
def test_an_answer_that_comes_while_a_large_body_is_being_sent_is_the_answer(run: Run, how: str, status: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.reader.readexactly(1000)
        await wire.send(answer(b"enough", status=status))
        if how == "reset":
            await read.wait()
            wire.reset()
        elif how == "keep":
            await asyncio.Event().wait()  # and reads no further

    read = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/"), LARGE))
            head = await head_of(exchange)
            assert head.status == int(status[:3])
            assert await body_of(exchange) == b"enough"
            read.set()
            exchange.close()
            # The request was never whole, so nothing else can be asked on this connection.
            await until(lambda: transport.stats().open == 0)

    run(scenario())


def test_an_answer_that_is_there_before_the_request_is_not_taken_for_its_answer(run: Run) -> None:
    """Such as a banner, or the 408 for a connection that was made too early."""

    async def script(wire: Wire) -> None:
        await wire.send(answer(b"too early", status=b"408 Request Timeout"))
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            pool_request = post(peer.url("/"), connect=1, first_byte=1)
            try:
                exchange = await transport.open(pool_request)
                head = await exchange.head(WAIT)
            except UpstreamError:
                return  # it was seen before the request went out
            assert head is not None
            assert head.status == 408
            exchange.close()

    run(scenario())


@pytest.mark.parametrize("pause", [False, True])
def test_any_number_of_interim_answers_within_the_limit_is_passed_over(run: Run, pause: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        for number in range(300):
            await wire.send(b"HTTP/1.1 %d Whatever\r\nLink: </a>; rel=preload\r\n\r\n" % (102 + number % 3))
            if pause:
                await asyncio.sleep(0)
        await wire.send(answer(b"at last"))
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            head, body = await fetch(transport, post(peer.url("/")))
            assert (head.status, body) == (200, b"at last")
            assert head.get(b"link") is None

    run(scenario())


def test_interim_answers_do_not_buy_time(run: Run) -> None:
    """One now and then is no answer: the patience for the first byte of one runs on."""

    async def script(wire: Wire) -> None:
        await wire.request()
        while True:
            await wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/"), first_byte=0.1))
            with pytest.raises(UpstreamError, match=r"did not answer within 0\.1 s"):
                await exchange.head(WAIT)

    run(scenario())


@pytest.mark.parametrize(
    "tail",
    [
        b"zz\r\nabc\r\n", b"-1\r\na\r\n", b"0x3\r\nabc\r\n", b" 3\r\nabc\r\n", b"3\r\nabcd\r\n", b"3\nabc\n0\n\n",
        b"fffffffffffffffff\r\na", b"3\r\nabc", b"\r\n3\r\nabc\r\n", b"3 3\r\nabc\r\n",
    ],
)  # fmt: skip
def test_chunks_that_are_none_never_make_a_whole_answer(run: Run, tail: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"2\r\nok\r\n" + tail)
        if tail == b"3\r\nabc":
            await wire.send(b"XX0\r\n\r\n")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            body, _ = await until_failure(await transport.open(post(peer.url("/"))), UpstreamGarbled)
            assert body[:2] in {b"ok", b""}
            await until(lambda: transport.stats().open == 0)

    run(scenario())


@pytest.mark.parametrize("trailer", [b"x-checksum: 1\r\n", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n"])
def test_trailers_change_neither_the_head_nor_the_framing(run: Run, trailer: bytes) -> None:
    async def script(wire: Wire) -> None:
        for _ in range(2):
            await wire.request()
            await wire.send(CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            try:
                for _ in range(2):
                    head, body = await fetch(transport, post(peer.url("/")))
                    assert (head.headers, body) == ([(b"transfer-encoding", b"chunked")], b"abc")
            except UpstreamGarbled:
                # Refused is as good as ignored, where framing is spoken of.
                assert b"-length" in trailer or b"-encoding" in trailer

    run(scenario())


def test_a_listener_whose_queue_is_full_runs_out_of_the_connect_patience(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            try:
                for one in waiting:
                    one.setblocking(False)
                    one.connect_ex(listener.getsockname())
                async with client() as transport:
                    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
                    patience = Timeouts(connect=0.05)
                    with pytest.raises(UpstreamError, match=r"no connection to .* within 0\.05 s"):
                        await transport.open(UpstreamRequest(method="POST", url=url, headers=[], body=b"", timeouts=patience))
            finally:
                for one in waiting:
                    one.close()

    run(scenario())
