"""Connections: kept, bounded, waited for, found dead, given back, broken off."""

from __future__ import annotations

import asyncio

import pytest

from dragoman.errors import UpstreamTimeout, UpstreamUnreachable
from dragoman.io.dial import Dialer, Origin
from dragoman.io.pool import Pool
from dragoman.io.upstream import HttpExchange, HttpTransport
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
    until,
)

pytestmark = on_both_loops


def test_one_connection_serves_one_request_after_another(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client() as transport:
            for _ in range(20):
                await fetch(transport, post(peer.url("/")))
            assert peer.connections == 1
            stats = transport.stats()
            assert (stats.open, stats.idle, stats.in_use, stats.resent) == (1, 1, 0, 0)
            assert stats.hosts[f"http://127.0.0.1:{peer.port}"].made == 1

    run(scenario())


def test_spellings_of_one_origin_share_its_connections(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok")), host="localhost") as peer, client() as transport:
            for url in (peer.url("/a"), peer.url("?b"), peer.url("/c").replace("http://localhost", "HTTP://LocalHost")):
                await fetch(transport, post(url))
            assert peer.connections == 1

    run(scenario())


def test_the_connection_used_last_is_reused_first(run: Run) -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(answer(b"%d" % wire.number))

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            first = await transport.open(post(peer.url("/")))
            second = await transport.open(post(peer.url("/")))
            numbers = [await body_of(first), await body_of(second)]
            assert sorted(numbers) == [b"1", b"2"]
            second.close()
            first.close()
            assert [(await fetch(transport, post(peer.url("/"))))[1] for _ in range(3)] == [numbers[0]] * 3

    run(scenario())


def test_a_connection_idle_for_too_long_is_not_used(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer:
            loop = asyncio.get_running_loop()
            pool = Pool(loop, Origin("http", "127.0.0.1", peer.port), Dialer(), limit=2, idle_age=30.0)
            connection = await pool.connect(loop.time() + WAIT, WAIT)
            pool.release(connection)
            assert pool.take(loop.time() + 29.0) is connection
            pool.release(connection)
            assert pool.take(loop.time() + 31.0) is None
            assert connection.ended
            pool.close()
            await pool.wait_closed()
            assert pool.is_unused

    run(scenario())


def test_idle_connections_are_closed_when_their_time_is_over_though_nobody_asks(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await wire.until_closed()
        hung_up.set()

    hung_up = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client(idle_age=0.05) as transport:
            await fetch(transport, post(peer.url("/")))
            await hung_up.wait()
            await settle()
            assert transport.stats().open == 0

    run(scenario())


def test_a_connection_the_server_closed_while_idle_is_noticed_at_once(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            for _ in range(3):
                await fetch(transport, post(peer.url("/")))
                await until(lambda: transport.stats().open == 0)
            assert peer.connections == 3
            assert transport.stats().resent == 0

    run(scenario())


@pytest.mark.parametrize(("said", "connections"), [(b"timeout=1, max=100", 2), (b"timeout=60", 1), (b"max=5", 1)])
def test_a_connection_is_not_used_any_more_shortly_before_the_server_would_close_it(
    run: Run, said: bytes, connections: int
) -> None:
    async def scenario() -> None:
        raw = answer(b"ok", extra=b"Connection: keep-alive\r\nKeep-Alive: %b\r\n" % said)
        async with Peer(always(raw)) as peer, client() as transport:
            await fetch(transport, post(peer.url("/")))
            [pool] = transport._pools.values()
            [connection] = pool._idle
            connection.idle_since -= 0.9  # as if so much time had passed
            await fetch(transport, post(peer.url("/")))
            assert peer.connections == connections

    run(scenario())


def test_an_unasked_answer_on_an_idle_connection_is_never_taken_for_the_next_one(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await finished.wait()
        finished.clear()
        await wire.send(answer(b"", status=b"408 Request Timeout"))
        await wire.until_closed()

    finished = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            for _ in range(2):
                head, _ = await fetch(transport, post(peer.url("/")))
                assert head.status == 200
                finished.set()
                await until(lambda: transport.stats().open == 0)

    run(scenario())


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_request_written_to_a_connection_just_closed_is_sent_once_more(run: Run, how: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first"))
        if wire.number == 1:
            await wire.request()
            wire.close() if how == "close" else wire.reset()
        else:
            await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            await fetch(transport, post(peer.url("/a")))
            assert (await fetch(transport, post(peer.url("/b"))))[1] == b"first"
            assert [received.line.split()[1] for received in peer.requests] == [b"/a", b"/b", b"/b"]
            assert transport.stats().resent == 1

    run(scenario())


def test_a_large_request_is_sent_once_more_when_its_connection_was_just_closed(run: Run) -> None:
    body = b"x" * 4_000_000

    async def script(wire: Wire) -> None:
        if wire.number == 1:
            await wire.request()
            await wire.send(answer(b"ok"))
            await wire.head()
            wire.reset()
        else:
            await wire.request()
            await wire.send(answer(b"whole"))
            await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            await fetch(transport, post(peer.url("/a")))
            assert (await fetch(transport, post(peer.url("/b"), body)))[1] == b"whole"
            assert peer.requests[-1].body == body

    run(scenario())


def test_a_request_is_not_sent_a_third_time(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number == 1:
            await wire.send(answer(b"ok"))
            await wire.request()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            await fetch(transport, post(peer.url("/")))
            exchange = await transport.open(post(peer.url("/")))
            with pytest.raises(UpstreamUnreachable, match="hung up before it answered"):
                await exchange.head(WAIT)
            assert (peer.connections, len(peer.requests)) == (2, 3)

    run(scenario())


def test_a_request_is_not_sent_again_once_a_byte_of_the_answer_has_come(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await wire.request()
        await wire.send(b"H")

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            await fetch(transport, post(peer.url("/")))
            exchange = await transport.open(post(peer.url("/")))
            with pytest.raises(Exception, match="broke off within its head"):
                await exchange.head(WAIT)
            assert len(peer.requests) == 2

    run(scenario())


@pytest.mark.parametrize("most", ["STALE_WINDOW", "STALE_SLACK"])
def test_a_request_is_not_sent_again_when_the_server_had_time_to_work_on_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    # Connecting takes no time here, so a hang-up that was on its way comes at once.
    monkeypatch.setattr(f"dragoman.io.upstream.{most}", 0.01)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await wire.request()
        await asked_twice.wait()

    asked_twice = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            await fetch(transport, post(peer.url("/")))
            exchange = await transport.open(post(peer.url("/")))
            assert await exchange.head(0.05) is None
            asked_twice.set()
            with pytest.raises(UpstreamUnreachable, match="hung up before it answered"):
                await exchange.head(WAIT)
            assert len(peer.requests) == 2

    run(scenario())


def test_head_keeps_to_its_wait_while_a_request_is_being_sent_again(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first"))
        if wire.number == 1:
            await wire.request()
        else:
            await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client(resolve=resolve, per_host=1) as transport:
            resolving.set()
            await fetch(transport, post(f"http://upstream.test:{peer.port}/"))
            resolving.clear()
            exchange = await transport.open(post(f"http://upstream.test:{peer.port}/"))
            while not transport.stats().resent:
                assert await exchange.head(0.01) is None
            assert await exchange.head(0.01) is None
            resolving.set()
            assert await body_of(exchange) == b"first"
            exchange.close()

    resolving = asyncio.Event()

    async def resolve(host: str, port: int) -> object:
        await resolving.wait()
        return [(2, ("127.0.0.1", port))]

    run(scenario())


def test_an_exchange_closed_while_it_is_sent_again_leaves_nothing(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"first"))
        await wire.request()

    async def scenario() -> None:
        async with Peer(script) as peer, client(resolve=resolve) as transport:
            url = f"http://upstream.test:{peer.port}/"
            await fetch(transport, post(url))
            stuck.set()
            exchange = await transport.open(post(url))
            while not transport.stats().resent:
                assert await exchange.head(0.01) is None
            exchange.close()
            await settle()
            assert transport.stats().hosts[url.rstrip("/")].connecting == 0

    stuck = asyncio.Event()

    async def resolve(host: str, port: int) -> object:
        if stuck.is_set():
            await asyncio.get_running_loop().create_future()
        return [(2, ("127.0.0.1", port))]

    run(scenario())


def test_connections_to_a_host_are_bounded_and_waiters_are_served_in_turn(run: Run) -> None:
    at_once = most = 0

    async def script(wire: Wire) -> None:
        nonlocal at_once, most
        while True:
            await wire.request()
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            await wire.send(answer(b"ok"))

    async def scenario() -> None:
        async with Peer(script) as peer, client(per_host=3) as transport:
            order: list[int] = []

            async def one(number: int) -> None:
                exchange = await transport.open(post(peer.url("/")))
                order.append(number)
                await body_of(exchange)
                exchange.close()

            await asyncio.gather(*[one(number) for number in range(40)])
            assert peer.connections == 3
            assert most <= 3
            # The three that dial may finish in any order, and late; the others are the queue's.
            assert [number for number in order if number > 2] == list(range(3, 40))
            assert sorted(order) == list(range(40))

    run(scenario())


def test_a_broken_connection_gives_its_place_to_the_next_in_line(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number > 1:
            await wire.send(answer(b"ok"))
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client(per_host=1) as transport:
            first = await transport.open(post(peer.url("/")))
            second = asyncio.ensure_future(fetch(transport, post(peer.url("/"))))
            await settle()
            assert transport.stats().hosts[f"http://127.0.0.1:{peer.port}"].waiting == 1
            first.close()
            assert (await second)[1] == b"ok"

    run(scenario())


def test_waiting_for_a_connection_counts_as_connecting(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client(per_host=1) as transport:
            first = await transport.open(post(peer.url("/")))
            with pytest.raises(UpstreamTimeout, match=r"all 1 connections to .* are in use") as caught:
                await transport.open(post(peer.url("/"), connect=0.05))
            assert caught.value.phase == "connect"
            assert await body_of(first) == b"ok"
            first.close()
            assert (await fetch(transport, post(peer.url("/"))))[1] == b"ok"

    run(scenario())


def test_a_waiter_that_is_cancelled_as_it_is_served_passes_the_connection_on(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client(per_host=1) as transport:
            first = await transport.open(post(peer.url("/")))
            await body_of(first)
            second = asyncio.ensure_future(transport.open(post(peer.url("/"))))
            third = asyncio.ensure_future(fetch(transport, post(peer.url("/"))))
            await settle()
            first.close()  # hands it to the second ...
            second.cancel()  # ... which is cancelled before it wakes
            assert (await third)[1] == b"ok"
            assert second.cancelled()
            assert peer.connections == 1

    run(scenario())


def test_a_cancelled_waiter_leaves_the_queue(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client(per_host=1) as transport:
            first = await transport.open(post(peer.url("/")))
            second = asyncio.ensure_future(transport.open(post(peer.url("/"))))
            await settle()
            second.cancel()
            await settle()
            assert transport.stats().hosts[f"http://127.0.0.1:{peer.port}"].waiting == 0
            await body_of(first)
            first.close()
            assert transport.stats().idle == 1

    run(scenario())


async def _open_and_head(transport: HttpTransport, url: str) -> HttpExchange:
    exchange = await transport.open(post(url))
    await head_of(exchange)
    return exchange


def test_closing_within_an_answer_hangs_up_at_once(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await wire.until_closed()
        hung_up.set_result(asyncio.get_running_loop().time())

    hung_up: asyncio.Future[float]

    async def scenario() -> None:
        nonlocal hung_up
        loop = asyncio.get_running_loop()
        hung_up = loop.create_future()
        async with Peer(script) as peer, client() as transport:
            exchange = await _open_and_head(transport, peer.url("/"))
            closed_at = loop.time()
            exchange.close()
            exchange.close()
            assert await hung_up - closed_at < 0.5
            assert transport.stats().open == 0
            with pytest.raises(UpstreamUnreachable, match="closed"):
                await exchange.read(WAIT)

    run(scenario())


def test_closing_before_the_head_hangs_up_at_once(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.until_closed()
        hung_up.set()

    hung_up = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/")))
            exchange.close()
            await hung_up.wait()

    run(scenario())


def test_an_exchange_closed_twice_does_not_disturb_the_next_user_of_its_connection(run: Run) -> None:
    async def scenario() -> None:
        async with Peer(always(answer(b"ok"))) as peer, client() as transport:
            first = await transport.open(post(peer.url("/")))
            await body_of(first)
            first.close()
            second = await transport.open(post(peer.url("/")))
            first.close()
            assert await body_of(second) == b"ok"
            second.close()
            assert peer.connections == 1

    run(scenario())


@pytest.mark.parametrize("stage", ["open", "head", "read"])
def test_cancellation_leaves_neither_connection_nor_task(run: Run, stage: str) -> None:
    async def script(wire: Wire) -> None:
        if stage == "open":
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            reached.set()
            await asyncio.get_running_loop().create_future()
        await wire.request()
        if stage == "read":
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        reached.set()
        await wire.until_closed()

    reached = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:

            async def go() -> None:
                exchange = await transport.open(post(peer.url("/"), b"x" * (16_000_000 if stage == "open" else 10)))
                await head_of(exchange)
                await exchange.read(WAIT)

            task = asyncio.ensure_future(go())
            await reached.wait()
            await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settle()
            assert transport.stats().open == 0

    run(scenario())


def test_closing_the_transport_breaks_what_is_under_way_and_those_who_wait(run: Run) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client(per_host=1) as transport:
            exchange = await _open_and_head(transport, peer.url("/"))
            reading = asyncio.ensure_future(exchange.read(WAIT))
            waiting = asyncio.ensure_future(transport.open(post(peer.url("/"))))
            await settle()
            await transport.aclose()
            with pytest.raises(UpstreamUnreachable):
                await reading
            with pytest.raises(UpstreamUnreachable):
                await waiting
            assert transport.stats().open == 0
            await transport.aclose()

    run(scenario())


def test_hosts_that_nobody_uses_any_more_are_forgotten(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.io.upstream._ORIGINS_KEPT", 3)

    async def resolve(host: str, port: int) -> object:
        return [(2, ("127.0.0.1", port))]

    async def scenario() -> None:
        async with Peer(always(answer(b"ok", extra=b"connection: close\r\n"))) as peer, client(resolve=resolve) as transport:
            for number in range(20):
                await fetch(transport, post(f"http://host{number}.test:{peer.port}/"))
                await settle()
            assert len(transport.stats().hosts) <= 4

    run(scenario())
