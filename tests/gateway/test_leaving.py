"""A client that leaves takes its request along; a client that reads slowly slows its upstream down."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from dragoman.testing import (
    Begin,
    Endless,
    Finish,
    Scenario,
    ScriptedUpstream,
    SlowHead,
    Stall,
    Text,
    ThreadedUpstream,
    Usage,
    scenario,
)
from tests.gateway.talking import DIALECTS, JSON, PATHS, Reports, Tasks, ask, asking, question, sending
from tests.serving import PATIENCE, Served, serving, upstream

PAIRS = [(up, client) for up in DIALECTS for client in DIALECTS]
SOON = 1.0
"""Seconds within which an upstream must see that nobody listens any more."""


@pytest.fixture(scope="module")
def gateway(scripted: ThreadedUpstream) -> Iterator[Served]:
    providers = {dialect: upstream(scripted.url, dialect) for dialect in DIALECTS}
    with serving({"providers": providers}) as served:
        yield served


@pytest.fixture(scope="module")
def reports(gateway: Served) -> Reports:
    return Reports(gateway)


class Leaving:
    """What must be true when a client has left. Made before its request."""

    def __init__(self, gateway: Served, scripted: ThreadedUpstream, reports: Reports) -> None:
        self._scripted = scripted
        self._reports = reports
        self._tasks = Tasks(gateway)
        self._left = len(scripted.connections.closed_early)
        self._reported = len(reports)
        self._at = 0.0

    def now(self) -> None:
        self._at = time.monotonic()

    def check(self) -> None:
        seen = self._scripted.closed_early(count=self._left + 1)
        assert seen.at - self._at < SOON
        report = self._reports.last(self._reported + 1)
        assert (report.status, report.error) == (499, None)
        assert self._tasks.settled()


@pytest.fixture
def leaving(gateway: Served, scripted: ThreadedUpstream, reports: Reports) -> Leaving:
    return Leaving(gateway, scripted, reports)


STILL = {
    "no head": Scenario("no-head", (SlowHead("never"), Text("Hello"))),
    "no first byte": Scenario("no-byte", (Stall("never"), Text("Hello"))),
    "no content": scenario("no-content", Begin(), Stall("never")),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("still", ["no head", "no first byte", "no content"])
@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_client_that_leaves_before_the_answer_ends_the_upstreams_work(
    gateway: Served, scripted: ThreadedUpstream, leaving: Leaving, up: str, client: str, still: str, stream: bool
) -> None:
    asked = len(scripted.requests)
    scripted.script(STILL[still])
    body = json.dumps(question(f"{up}/m", stream=stream)).encode()
    with sending(gateway, "POST", PATHS[client], [JSON], body):
        scripted.wait_for_requests(asked + 1)
        leaving.now()
    leaving.check()


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_client_that_leaves_in_the_middle_ends_the_upstreams_work(
    gateway: Served, scripted: ThreadedUpstream, leaving: Leaving, reports: Reports, up: str, client: str
) -> None:
    text = "Once upon a time there was a gateway. "
    scripted.script(scenario("middle", Text((text, Stall("never"))), Usage(input=40, output=500), Finish()))
    count = len(reports)
    with asking(gateway, client, f"{up}/m") as stream:
        stream.until(b"gateway")
        leaving.now()
        stream.leave()
    leaving.check()
    usage = reports.last(count + 1).usage
    if (up, client) == ("chat", "chat"):
        assert usage is None  # nobody has counted, and nothing was looked at
    else:
        assert usage is not None
        assert usage.input_total == 40 if up == "messages" else usage.input_total > 0
        if up != client:
            assert usage.estimated
            assert usage.output == pytest.approx(len(text) / 4, abs=2)


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_client_that_leaves_a_busy_stream_ends_the_upstreams_work(
    gateway: Served, scripted: ThreadedUpstream, leaving: Leaving, up: str, client: str
) -> None:
    scripted.script("endless")
    with asking(gateway, client, f"{up}/m") as stream:
        stream.until(b"Jack")
        leaving.now()
        stream.leave()
    leaving.check()


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_client_that_hangs_up_after_the_last_event_has_its_answer(
    gateway: Served, scripted: ThreadedUpstream, reports: Reports, up: str, client: str
) -> None:
    """As the OpenAI SDK does when it has read `[DONE]`."""
    count = len(reports)
    with asking(gateway, client, f"{up}/scenario:text") as stream:
        stream.until(b"message_stop" if client == "messages" else b"[DONE]")
        stream.leave()
    report = reports.last(count + 1)
    assert (report.status, report.error) == (200, None)


def test_a_client_that_leaves_between_two_targets_stops_the_second(
    gateway: Served, scripted: ThreadedUpstream, backlog: str
) -> None:
    config = {
        "providers": {"deaf": upstream(backlog, "chat", timeouts={"connect": 60}), "good": upstream(scripted.url, "chat")},
        "models": {"both": ["deaf/m", "good/m"]},
    }
    asked = len(scripted.requests)
    with serving(config) as served:
        tasks, seen = Tasks(served), Reports(served)
        body = json.dumps(question("both")).encode()
        with sending(served, "POST", PATHS["chat"], [JSON], body):
            # A second request shows that the first has been taken up.
            assert ask(served, "chat", "good/scenario:text").whole
        assert seen.last(2).status == 499
        assert tasks.settled()
    assert len(scripted.requests) == asked + 1


@pytest.mark.parametrize(("up", "client"), PAIRS)
def test_a_slow_client_slows_the_upstream(up: str, client: str) -> None:
    """Everything between the two, kernels' buffers included, holds no more than a few megabytes."""
    endless = Scenario("endless", (Begin(), Endless("x" * 4000, 50_000), Finish()))
    with (
        ScriptedUpstream.in_thread(send_buffer=64 * 1024) as scripted,
        serving({"providers": {"up": upstream(scripted.url, up)}}) as served,
    ):
        scripted.script(endless)
        parts = urlsplit(served.url)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            connection.settimeout(PATIENCE)
            connection.connect((parts.hostname, parts.port))
            body = json.dumps(question("up/m")).encode()
            head = f"POST {PATHS[client]} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            written = scripted.settled()
            assert 0 < written < 20_000_000
            # It goes on as soon as somebody reads.
            received = 0
            while received < 2 * written:
                received += len(connection.recv(1 << 20))
            assert scripted.bytes_written > written
        scripted.closed_early()
