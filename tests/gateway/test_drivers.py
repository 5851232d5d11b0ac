"""The gateway under each server driver. That the drivers themselves agree is tested in `tests/io/test_server_drivers.py`."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from dragoman.testing import Finish, Scenario, Text, ThreadedUpstream
from tests.gateway.talking import JSON, PATHS, Reports, ask, asking, say
from tests.serving import PATIENCE, Served, serving, upstream

KEY = "gw-0123456789abcdef0123"
HELD = ("x-api-key", KEY)


@pytest.fixture(scope="module", params=["native", "asgi"])
def gateway(request: pytest.FixtureRequest, scripted: ThreadedUpstream) -> Iterator[Served]:
    providers = {"chat": upstream(scripted.url, "chat"), "slow": upstream(scripted.url, "chat", timeouts={"total": 0.3})}
    with serving({"keys": [KEY], "providers": providers}, driver=request.param) as served:
        yield served


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", ["chat", "messages"])
def test_answers_come_whole(gateway: Served, client: str, stream: bool) -> None:
    said = ask(gateway, client, "chat/scenario:text", stream=stream, headers=[HELD])
    assert said.status == 200
    assert b"Hello" in said.body


def test_a_client_that_leaves_ends_the_upstreams_work(gateway: Served, scripted: ThreadedUpstream) -> None:
    reports, left = Reports(gateway), len(scripted.connections.closed_early)
    with asking(gateway, "messages", "chat/scenario:endless", headers=[HELD]) as stream:
        stream.until(b"Jack")
        stream.leave()
    scripted.closed_early(count=left + 1)
    assert reports.last(1).status == 499


@pytest.mark.parametrize("path", [*PATHS.values(), "/chat/v1/files", "/v1/nothing", "/health"])
@pytest.mark.parametrize("key", ["", "gw-of-somebody-else-000"])
def test_a_stranger_is_told_so_before_the_body_has_come(gateway: Served, path: str, key: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 50000000\r\n\r\n"
    with socket.create_connection(_address(gateway), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + b'{"model": "chat/m"')
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 401
        told = json.loads(answer.read())
        assert "key" in told["error"]["message"]


def test_whoever_has_a_key_may_take_the_time_for_a_body(gateway: Served) -> None:
    body = json.dumps({"model": "chat/scenario:text", "messages": [{"role": "user", "content": "x" * 300_000}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(_address(gateway), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        for at in range(0, len(body), 50_000):
            connection.sendall(body[at : at + 50_000])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        answer.read()


def test_a_client_that_does_not_take_its_answer_is_given_up_when_the_total_time_is_over(
    gateway: Served, scripted: ThreadedUpstream
) -> None:
    left = len(scripted.connections.closed_early)
    began = time.monotonic()
    with asking(gateway, "chat", "slow/scenario:endless", headers=[HELD]) as stream:
        stream.until(b"Jack")
        # It is read no more, and nothing of what it has not taken can be taken back: it is broken off.
        scripted.closed_early(count=left + 1)
        assert time.monotonic() - began < PATIENCE
        stream.leave()


def test_what_is_unknown_is_refused_in_the_callers_dialect(gateway: Served) -> None:
    said = say(gateway, "POST", "/v1/nothing", [JSON, HELD], b"{}")
    assert said.status == 404
    assert said.json["error"]["message"]


def _address(gateway: Served) -> tuple[str, int]:
    parts = urlsplit(gateway.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def test_every_answer_has_one_date(gateway: Served, scripted: ThreadedUpstream) -> None:
    """That of the provider, if it has one (RFC 9110, section 6.6.1)."""
    past = "Sun, 06 Nov 1994 08:49:37 GMT"
    scripted.script(Scenario("dated", (Text(("Hello",)), Finish()), headers=(("date", past),)))
    answers = {
        "made here": say(gateway, "GET", "/health"),
        "refused": say(gateway, "GET", "/nothing/here"),
        "passed on": ask(gateway, "chat", "chat/m", headers=[HELD]),
    }
    dates = {name: [value for key, value in said.headers if key.lower() == "date"] for name, said in answers.items()}
    assert dates.pop("passed on") == [past]
    for [date] in dates.values():
        assert abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()) < 60
