"""Patience: how long `head` and `read` wait, and which phase runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dragoman.errors import UpstreamTimeout
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
    head_of,
    on_both_loops,
    post,
    settle,
)

pytestmark = on_both_loops

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def ask_until_it_raises(ask: Callable[[], Awaitable[object]]) -> tuple[UpstreamTimeout, int]:
    """The error, and how often nothing came before it."""
    silences = 0
    while True:
        try:
            assert await ask() is None
        except UpstreamTimeout as error:
            return error, silences
        silences += 1


def test_head_and_read_come_back_with_nothing_and_lose_nothing(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        for piece in (HEAD, b"3\r\nabc\r\n", b"3\r\ndef\r\n", b"0\r\n\r\n"):
            await go.wait()
            go.clear()
            await wire.send(piece)
        await wire.until_closed()

    go = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/")))
            assert await exchange.head(0.01) is None
            assert await exchange.head(0.0) is None
            go.set()
            assert (await head_of(exchange)).status == 200
            for expected in (b"abc", b"def", b""):
                assert await exchange.read(0.01) is None
                assert await exchange.read(0.0) is None
                go.set()
                assert await exchange.read(WAIT) == expected
            exchange.close()
            assert transport.stats().idle == 1

    run(scenario())


def test_first_byte_runs_on_over_repeated_calls(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.until_closed()
        hung_up.set()

    hung_up = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            started = asyncio.get_running_loop().time()
            exchange = await transport.open(post(peer.url("/"), first_byte=0.1))
            error, silences = await ask_until_it_raises(lambda: exchange.head(0.02))
            assert str(error) == f"127.0.0.1:{peer.port} did not answer within 0.1 s"
            assert error.phase == "first_byte"
            assert silences >= 2
            assert 0.09 < asyncio.get_running_loop().time() - started < 2.0
            await hung_up.wait()
            assert transport.stats().open == 0

    run(scenario())


def test_idle_runs_on_over_repeated_calls_and_anew_after_each_piece(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD)
        for _ in range(4):
            await go.wait()
            go.clear()
            await wire.send(b"1\r\na\r\n")
        await wire.until_closed()

    go = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/"), idle=0.2))
            await head_of(exchange)
            for _ in range(4):
                assert await exchange.read(0.1) is None  # more than half of the patience, four times over
                go.set()
                assert await exchange.read(WAIT) == b"a"
            error, silences = await ask_until_it_raises(lambda: exchange.read(0.05))
            assert str(error) == f"127.0.0.1:{peer.port} fell silent for 0.2 s"
            assert error.phase == "idle"
            assert silences >= 2
            assert transport.stats().idle == 0

    run(scenario())


def test_a_reader_that_takes_its_time_is_no_silence_of_the_server(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD, b"1\r\na\r\n")
        await go.wait()
        await wire.send(b"1\r\nb\r\n0\r\n\r\n")
        await wire.until_closed()

    go = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/"), idle=0.05))
            await head_of(exchange)
            assert await exchange.read(WAIT) == b"a"
            with pytest.raises(TimeoutError):  # the reader is busy elsewhere for longer than `idle`
                await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.1)
            asyncio.get_running_loop().call_soon(go.set)
            assert await body_of(exchange) == b"b"
            exchange.close()

    run(scenario())


def test_a_server_that_does_not_take_the_request_runs_out_of_the_first_byte_patience(run: Run) -> None:
    async def script(wire: Wire) -> None:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.get_running_loop().create_future()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            with pytest.raises(UpstreamTimeout, match="took no more of the request") as caught:
                await transport.open(post(peer.url("/"), b"x" * 32_000_000, first_byte=0.1))
            assert caught.value.phase == "first_byte"
            await settle()
            assert transport.stats().open == 0

    run(scenario())


def test_a_tls_handshake_that_never_comes_runs_out_of_the_connect_patience(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            url = peer.url("/").replace("http:", "https:")
            with pytest.raises(UpstreamTimeout, match=f"no connection to 127.0.0.1:{peer.port} within 0.1 s") as caught:
                await transport.open(post(url, connect=0.1))
            assert caught.value.phase == "connect"
            await settle()
            stats = transport.stats().hosts[f"https://127.0.0.1:{peer.port}"]
            assert (stats.open, stats.connecting) == (0, 0)

    run(scenario())


def test_the_timer_of_one_request_does_not_cut_the_next_one_short(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await wire.request()
        await go.wait()
        await wire.send(answer(b"late"))
        await wire.until_closed()

    go = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/"), first_byte=0.05))
            assert await body_of(exchange) == b"ok"  # leaves its timer behind, due in 0.05 s
            exchange.close()
            second = await transport.open(post(peer.url("/")))
            assert await second.head(0.15) is None
            go.set()
            assert await body_of(second) == b"late"
            second.close()
            assert peer.connections == 1

    run(scenario())


def test_a_busy_stream_arms_one_timer_and_not_one_for_each_piece(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD)
        for _ in range(50):
            await go.wait()
            go.clear()
            await wire.send(b"1\r\na\r\n")
        await wire.send(b"0\r\n\r\n")
        await wire.until_closed()

    go = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            loop = asyncio.get_running_loop()
            armed = 0

            class Counting:
                """The loop as a connection sees it."""

                def __getattr__(self, name: str) -> object:
                    return getattr(loop, name)

                def call_at(self, *args: object) -> object:
                    nonlocal armed
                    armed += 1
                    return loop.call_at(*args)  # type: ignore[arg-type]

            exchange = await transport.open(post(peer.url("/")))
            assert exchange._connection is not None  # pyright: ignore[reportPrivateUsage]
            exchange._connection._loop = Counting()  # type: ignore[assignment]  # pyright: ignore
            await head_of(exchange)
            for _ in range(50):
                loop.call_soon(go.set)
                assert await exchange.read(WAIT) == b"a"
            assert await body_of(exchange) == b""
            exchange.close()
            assert armed == 1

    run(scenario())


def test_an_answer_at_hand_is_given_even_when_its_time_was_over(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client() as transport:
            await fetch(transport, post(peer.url("/")))
            exchange = await transport.open(post(peer.url("/"), first_byte=0.02, idle=0.02))
            with pytest.raises(TimeoutError):  # nobody asks while the answer comes
                await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.06)
            assert (await head_of(exchange)).status == 200
            assert await body_of(exchange) == b"ok"
            exchange.close()

    run(scenario())
