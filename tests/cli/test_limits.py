"""What a server takes from one client, as an operator sets it: each limit through a gateway that runs, and a reload of them."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import PATIENCE
from tests.cli.test_workers import Gateway, started

CONFIG: dict[str, Any] = {
    "local": False,
    "providers": {"up": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-0123456789ab"}},
}
MANY = [f"model-{number}-{'x' * 60}" for number in range(500)]
"""That a list of them fills buffers."""
SMALL = {
    "max_headers": 12,
    "max_header_size": "4KiB",
    "max_url_size": "1KiB",
    "read_ahead": "2KiB",
    "write_buffer": "2KiB",
    "header_timeout": "200ms",
    "body_timeout": "200ms",
    "idle_timeout": "200ms",
    "send_timeout": "400ms",
    "linger_timeout": "100ms",
}


class Wire:
    """One connection, in raw bytes."""

    def __init__(self, port: int, buffers: int = 0) -> None:
        self.socket = socket.socket()
        if buffers:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Status and head of the next answer; its body is read as well."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"it hung up behind {head!r}"
            head += byte
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        left = int(lengths[0].partition(b":")[2]) if lengths else 0
        while left:
            piece = self.socket.recv(left)
            assert piece, "it hung up within a body"
            left -= len(piece)
        return int(head.split(b" ", 2)[1]), head.lower()

    def send_until_it_hangs_up(self, data: bytes) -> int:
        """How often that went."""
        times = 0
        try:
            while True:
                self.send(data)
                times += 1
        except ConnectionError:
            return times

    def is_closed(self) -> bool:
        """By the server, in time."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True


@contextmanager
def wire(gateway: Gateway, buffers: int = 0) -> Generator[Wire]:
    made = Wire(gateway.port, buffers)
    with closing(made.socket):
        yield made


def get(path: str = "/health", *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % path.encode(), b"host: x", *fields]) + b"\r\n\r\n"


def post(length: int, body: bytes) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (length, body)


def settings(driver: str, limits: dict[str, Any], **server: Any) -> dict[str, Any]:
    return {**CONFIG, "server": {"driver": driver, "limits": limits, "drain": 1, **server}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    config = settings("native", SMALL, max_body=4000)
    config["providers"]["up"]["models"] = MANY
    with started(tmp_path_factory.mktemp("small"), config=config) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get("/health", *[b"x-%d: 1" % number for number in range(20)]), 431),
        (get("/health", b"x-long: " + b"a" * 5000), 431),
        (get("/health?" + "a" * 1500), 414),
        (post(5000, b""), 413),
        (get()[:-2], 408),
        (post(100, b"{"), 408),
    ],
    ids=["max_headers", "max_header_size", "max_url_size", "max_body", "header_timeout", "body_timeout"],
)
def test_what_goes_beyond_a_limit_is_refused_and_let_go(small: Gateway, sent: bytes, status: int) -> None:
    with wire(small) as one:
        one.send(sent)
        told, head = one.answer()
        assert told == status
        assert b"connection: close" in head
        assert one.is_closed()


@pytest.mark.parametrize("requests", [0, 1])
def test_an_idle_connection_is_closed_when_its_time_is_over(small: Gateway, requests: int) -> None:
    with wire(small) as one:
        for _ in range(requests):
            one.send(get())
            assert one.answer()[0] == 200
        assert one.is_closed()


def test_a_client_that_takes_nothing_is_dropped_and_neither_read_on_nor_written_for(small: Gateway) -> None:
    """More is asked for than `read_ahead` and the buffers of the system hold, so sending stops, and then ends."""
    with wire(small, buffers=4096) as one:
        assert one.send_until_it_hangs_up(get("/v1/models") * 100) < 10_000
    with wire(small) as one:
        one.send(get())
        assert one.answer()[0] == 200


def test_who_was_turned_away_may_go_on_sending_for_a_moment(small: Gateway) -> None:
    with wire(small) as one:
        one.send(post(1_000_000, b"x" * 1000))
        assert one.answer()[0] == 413
        one.send_until_it_hangs_up(b"x" * 1000)


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_one_connection_too_many_is_told_so(tmp_path: Path, driver: str) -> None:
    with started(tmp_path, config=settings(driver, {"max_connections": 3})) as gateway:
        with ExitStack() as opened:
            most = [opened.enter_context(wire(gateway)) for _ in range(3)]
            for one in most:
                one.send(get())
                assert one.answer()[0] == 200
            with wire(gateway) as other:
                if driver == "asgi":  # only a request is refused
                    other.send(get())
                told, head = other.answer()
                assert told == 503
                assert b"connection: close" in head
                assert other.is_closed()
            for one in most:
                one.send(get())
                assert one.answer()[0] == 200

        def free() -> bool:
            with wire(gateway) as one:
                one.send(get())
                return one.answer()[0] == 200

        until(free)


def test_uvicorn_has_the_limits_that_it_can_have(tmp_path: Path) -> None:
    limits = {"body_timeout": "200ms", "idle_timeout": "1s", "header_timeout": "1s"}
    with started(tmp_path, config=settings("asgi", limits, max_body=4000)) as gateway:
        assert any("server.limits.header_timeout: has no effect" in line for line in gateway.said)
        with wire(gateway) as one, wire(gateway) as other, wire(gateway) as idle:
            one.send(post(100, b"{"))
            told, head = one.answer()
            assert (told, b"connection: close" in head, one.is_closed()) == (408, True, True)
            other.send(post(5000, b""))
            assert other.answer()[0] == 413
            idle.send(get())
            assert idle.answer()[0] == 200
            assert idle.is_closed()


@pytest.mark.parametrize(("driver", "workers"), [("native", 1), ("native", 2), ("asgi", 1)])
def test_a_reload_puts_other_limits_in_force_for_who_connects_from_then_on(tmp_path: Path, driver: str, workers: int) -> None:
    name = "max_headers" if driver == "native" else "max_connections"
    more = [b"x-%d: 1" % number for number in range(20)]
    status = 431 if driver == "native" else 503
    with started(tmp_path, config=settings(driver, {}, workers=workers)) as gateway, wire(gateway) as before:
        before.send(get("/health", *more))
        assert before.answer()[0] == 200
        tighter = settings(driver, {name: 12 if driver == "native" else 1}, workers=workers)
        (tmp_path / "dragoman.yaml").write_text(json.dumps(tighter))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("the configuration was reloaded")
        with wire(gateway) as after:
            after.send(get("/health", *more))
            assert after.answer()[0] == status
        # As it was when it was made; a retired worker answers as well.
        before.send(get("/health", *more))
        assert before.answer()[0] == 200


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
    pytest.fail("it never came")
