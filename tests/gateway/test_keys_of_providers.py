"""Several keys of one provider, and how many connections it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from dragoman.io.upstream import HttpTransport
from dragoman.testing import SCENARIOS, HttpError, ScriptedUpstream, ThreadedUpstream, scenario
from tests.serving import serving, upstream

BODY = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def scripted() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.mark.parametrize("status", [401, 429, 402])
def test_when_a_key_is_refused_or_used_up_the_next_one_is_tried(scripted: ThreadedUpstream, status: int) -> None:
    refused = scenario("refused", HttpError(status, body=b'{"error":{"message":"no","type":"x"}}'))
    scripted.script(refused, SCENARIOS["text"])
    provider = upstream(scripted.url, "chat", api_key=["sk-first-0123456789", "sk-second-0123456789"])
    with serving({"providers": {"up": provider}}) as gateway, httpx.Client() as client:
        answer = client.post(f"{gateway.base}/chat/completions", json=BODY)
    assert answer.status_code == 200
    assert answer.headers["x-dragoman-attempts"] == "2"
    shown = [dict(request.headers)["authorization"] for request in scripted.requests]
    assert shown == ["Bearer sk-first-0123456789", "Bearer sk-second-0123456789"]


def test_a_providers_own_limits_on_connections_are_kept(scripted: ThreadedUpstream) -> None:
    provider = upstream(scripted.url, "chat", max_connections=3, max_keepalive=1)
    with serving({"providers": {"up": provider}}) as gateway, httpx.Client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(f"{gateway.base}/chat/completions", json=BODY).status_code, range(24)))
        assert answers == [200] * 24
        transport = gateway.engine.transport
        assert isinstance(transport, HttpTransport)
        (host,) = transport.stats().hosts.values()
        for _ in range(1000):
            if host.open == 1:
                break
            # A connection goes back when its answer has gone out: let the gateway take another turn.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), gateway.loop).result(20)
            (host,) = transport.stats().hosts.values()
        assert host.open == host.idle == 1
