"""A request whose connecting or sending takes long: `open` comes back in time, and `head` goes on with it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dragoman.errors import UpstreamTimeout, UpstreamUnreachable
from dragoman.io.dial import Address
from tests.io.scripted_peer import (
    WAIT,
    Peer,
    Run,
    Wire,
    always,
    answer,
    body_of,
    client,
    head_of,
    on_both_loops,
    post,
    settle,
    until,
)

pytestmark = on_both_loops


class Names:
    """A resolver that answers when it is allowed to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = self.given_up = 0

    async def resolve(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return [(socket.AF_INET, ("127.0.0.1", port))]


def test_open_comes_back_while_the_connecting_goes_on(run: Run) -> None:
    async def scenario() -> None:
        names = Names()
        async with Peer(always(answer(b"ok"))) as peer, client(resolve=names.resolve) as transport:
            exchange = await transport.open(post(peer.url("/").replace("127.0.0.1", "slow.test")), 0.01)
            assert await exchange.head(0.01) is None
            assert await exchange.head(0.0) is None
            names.go.set()
            assert (await head_of(exchange)).status == 200
            assert await body_of(exchange) == b"ok"
            exchange.close()
            assert names.asked == 1
            assert transport.stats().idle == 1

    run(scenario())


def test_what_goes_wrong_in_time_is_raised_by_open_and_later_by_head(run: Run) -> None:
    async def scenario() -> None:
        names = Names()
        async with client(resolve=names.resolve) as transport:
            exchange = await transport.open(post("http://slow.test:9/", connect=0.05), 0.01)
            assert await exchange.head(0.01) is None
            with pytest.raises(UpstreamTimeout) as timeout:
                await exchange.head(WAIT)
            assert timeout.value.phase == "connect"
            with pytest.raises(UpstreamTimeout):
                await transport.open(post("http://slow.test:9/", connect=0.01), WAIT)
            names.go.set()
            with pytest.raises(UpstreamUnreachable, match="refused"):
                await transport.open(post("http://slow.test:9/"), WAIT)

    run(scenario())


def test_closing_it_ends_the_connecting(run: Run) -> None:
    async def scenario() -> None:
        names = Names()
        async with client(resolve=names.resolve, per_host=1) as transport:
            exchange = await transport.open(post("http://slow.test:9/"), 0.01)
            exchange.close()
            await until(lambda: names.given_up == 1)
            # Its place is free again.
            opening = asyncio.ensure_future(transport.open(post("http://slow.test:9/"), 0.01))
            await until(lambda: names.asked == 2)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await until(lambda: names.given_up == 2)
            assert transport.stats().hosts["http://slow.test:9"].connecting == 0

    run(scenario())


LARGE = b"x" * 20_000_000


def test_a_large_body_goes_on_while_its_head_is_waited_for(run: Run) -> None:
    async def script(wire: Wire) -> None:
        for body in (b"{}", LARGE):
            if body is LARGE:
                await go.wait()
            request = await wire.request()
            assert len(request.body) == len(body)
            await wire.send(answer(b"ok"))
        await wire.until_closed()

    go = asyncio.Event()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            for body in (b"{}", LARGE):
                exchange = await transport.open(post(peer.url("/"), body), 0.01)
                if body is LARGE:
                    assert await exchange.head(0.01) is None
                    go.set()
                assert (await head_of(exchange)).status == 200
                assert await body_of(exchange) == b"ok"
                exchange.close()
            assert transport.stats().idle == 1

    run(scenario())


@pytest.mark.parametrize("turns", range(4))
def test_a_large_body_that_is_given_up_takes_its_connection_along(run: Run, turns: int) -> None:
    """Whenever that is, and even before the first byte was written."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer(b"ok"))
        await wire.until_closed()

    async def scenario() -> None:
        async with Peer(script) as peer, client() as transport:
            exchange = await transport.open(post(peer.url("/")), WAIT)
            assert (await head_of(exchange)).status == 200
            assert await body_of(exchange) == b"ok"
            exchange.close()
            opening = asyncio.ensure_future(transport.open(post(peer.url("/"), LARGE), WAIT))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await settle()
            assert transport.stats().in_use == 0

    run(scenario())
