"""The load generators and the upstreams, each pair over real sockets: they must agree with each other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import contestants, generator, ports
from bench.contestant import Running, Upstreams
from bench.exchanges import body, request
from bench.generator import Load, Outcome, Tools
from bench.stats import bucket_of


def pairs() -> dict[str, Tools]:
    """Every combination that this machine has."""
    plain, usual = generator.find(python_only=True), generator.find()
    tools = {"python": plain, "usual": usual}
    return {
        f"{load} load on {upstream} upstream": Tools(tools[load].load, tools[upstream].upstream, "")
        for load in tools
        for upstream in tools
    }


PAIRS = pairs()


@pytest.fixture(params=list(PAIRS), scope="module")
def tools(request: pytest.FixtureRequest) -> Tools:
    return PAIRS[request.param]


@pytest.fixture(scope="module")
def port(tools: Tools) -> Iterator[int]:
    number = ports.free_port()
    with generator.upstream(tools, None, number, 60):
        yield number


def ask(tools: Tools, port: int, folder: Path, load: Load, *, events: int = 0, pace: int = 0) -> Outcome:
    path = folder / "request"
    path.write_bytes(request("chat", port, body("chat", events=events, pace=pace)))
    return generator.run(tools, None, port, path, load)


def nobody_between(port: int) -> Running:
    return Running(port, 0, 0.0, contestants.direct(), Upstreams(port, port))


def test_the_upstream_answers_rightly(port: int) -> None:
    assert contestants.ask(nobody_between(port), "chat", "chat", events=0) == ""
    assert contestants.ask(nobody_between(port), "chat", "chat", events=12) == ""


def test_so_many_requests_are_sent_and_each_is_answered(tools: Tools, port: int, tmp_path: Path) -> None:
    outcome = ask(tools, port, tmp_path, Load(connections=3, seconds=10, at_most=20))
    assert (outcome.sent, outcome.answered, outcome.failed, outcome.marks) == (20, 20, 0, 20)
    assert len(outcome.histogram("latency")) == len(outcome.histogram("first_byte")) == 20
    assert outcome.seconds < 5


def test_every_event_of_a_stream_is_counted(tools: Tools, port: int, tmp_path: Path) -> None:
    outcome = ask(tools, port, tmp_path, Load(connections=2, seconds=10, at_most=4, marks=30), events=30)
    assert (outcome.answered, outcome.failed, outcome.marks) == (4, 0, 120)


def test_paced_events_come_one_by_one_and_say_how_late_they_are(tools: Tools, port: int, tmp_path: Path) -> None:
    outcome = ask(tools, port, tmp_path, Load(connections=2, seconds=10, at_most=2, marks=10), events=10, pace=5)
    assert (outcome.answered, outcome.failed) == (2, 0)
    assert len(outcome.histogram("delay")) >= 18  # one that was cut in two is not timed
    assert outcome.seconds >= 0.05
    first, whole = outcome.histogram("first_byte").quantile(1), outcome.histogram("latency").quantile(0)
    assert first is not None
    assert whole is not None
    assert whole >= 0.9 * 50e6


def test_an_answer_with_fewer_events_than_expected_is_wrong(tools: Tools, port: int, tmp_path: Path) -> None:
    outcome = ask(tools, port, tmp_path, Load(connections=1, seconds=10, at_most=2, marks=30), events=29)
    assert (outcome.answered, outcome.wrong) == (0, 2)
    assert "29" in outcome.complaint


def test_an_open_loop_keeps_its_rate(tools: Tools, port: int, tmp_path: Path) -> None:
    outcome = ask(tools, port, tmp_path, Load(connections=4, seconds=0.5, rate=100))
    assert 40 <= outcome.answered <= 51
    assert outcome.failed == 0


def test_a_port_on_which_nobody_listens_is_a_failure_of_each_request(tools: Tools, tmp_path: Path) -> None:
    outcome = ask(tools, ports.free_port(), tmp_path, Load(connections=2, seconds=0.2))
    assert outcome.answered == 0
    assert outcome.broken >= 2
    assert "connecting failed" in outcome.complaint


SAYINGS = {
    "status": (b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nno~!", "refused", "503"),
    "cut": (b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\nno", "broken", "broke off"),
    "silent": (b"", "broken", "broke off"),
}


@pytest.mark.parametrize("name", SAYINGS)
def test_refusals_and_broken_answers_are_told_apart(tools: Tools, tmp_path: Path, name: str) -> None:
    said, kind, word = SAYINGS[name]
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say_once, args=(server, said))
        thread.start()
        outcome = ask(tools, server.getsockname()[1], tmp_path, Load(connections=1, seconds=10, at_most=1))
        thread.join(10)
    assert (outcome.sent, outcome.answered, getattr(outcome, kind)) == (1, 0, 1)
    assert word in outcome.complaint


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n\r\n~;",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n~;",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n~\r\n1\r\n;\r\n0\r\n\r\n",
    ],
    ids=["ended by closing", "counted", "chunked after an interim answer"],
)
def test_every_framing_is_understood(tools: Tools, tmp_path: Path, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say_once, args=(server, said))
        thread.start()
        outcome = ask(tools, server.getsockname()[1], tmp_path, Load(connections=1, seconds=10, at_most=1))
        thread.join(10)
    assert (outcome.answered, outcome.failed, outcome.complaint) == (1, 0, "")


def _say_once(server: socket.socket, said: bytes) -> None:
    server.settimeout(10)
    connection, _ = server.accept()
    with connection:
        connection.settimeout(10)
        got = b""
        while not got.endswith(b"}"):
            got += connection.recv(65536)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def test_times_fall_into_the_same_buckets_in_both_languages(tools: Tools, port: int, tmp_path: Path) -> None:
    """A stream that takes 60 ms, seen in the histogram where it belongs."""
    outcome = ask(tools, port, tmp_path, Load(connections=1, seconds=10, at_most=1, marks=5), events=5, pace=10)
    ((bucket, count),) = outcome.latency
    assert count == 1
    assert bucket_of(45_000_000) <= bucket <= bucket_of(10**9)


def test_a_program_that_cannot_be_compiled_is_replaced_by_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    monkeypatch.setattr(generator, "HERE", tmp_path)
    (tmp_path / "native").mkdir()
    for name in ("load", "upstream"):
        (tmp_path / "native" / f"{name}.c").write_text("int main(void) { return 0; }")
    found = generator.find()
    assert found.load[-1] == "bench.fallback.load"
    assert "Python" in found.about
    capsys.readouterr()
