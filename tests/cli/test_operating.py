"""What goes wrong round a gateway that runs: files that vanish or fill up, processes that are killed, too many clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dragoman.testing import ScriptedUpstream, ThreadedUpstream
from tests.cli.test_cli import PATIENCE, environment
from tests.cli.test_limits import get as head_of
from tests.cli.test_limits import wire
from tests.cli.test_workers import Gateway, children_of, settings, started, until

KEY = "gw-0123456789abcdef"


@pytest.fixture(scope="module")
def upstream() -> Generator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


def status(gateway: Gateway, path: str, key: str = "", host: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection(host, gateway.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status


def reload(gateway: Gateway) -> None:
    gateway.process.send_signal(signal.SIGHUP)


def test_a_configuration_that_has_vanished_is_not_taken_for_an_empty_one(tmp_path: Path, upstream: ThreadedUpstream) -> None:
    """The gateway would be without its keys, open to whoever reaches it."""
    config = {**settings(upstream, workers=1), "keys": [KEY]}
    with started(tmp_path, config=config) as gateway:
        (tmp_path / "dragoman.yaml").unlink()
        reload(gateway)
        gateway.wait_for("dragoman.yaml cannot be read: No such file")
        assert (status(gateway, "/v1/models"), status(gateway, "/v1/models", KEY)) == (401, 200)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_cannot_be_written_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, upstream: ThreadedUpstream, workers: int
) -> None:
    config: dict[str, Any] = settings(upstream, workers=workers)
    with started(tmp_path, config=config) as gateway:
        config["server"]["log"] = {"file": str(tmp_path / "dragoman.yaml" / "gateway.log")}
        (tmp_path / "dragoman.yaml").write_text(json.dumps(config))
        reload(gateway)
        gateway.wait_for("not reloaded, the old one stays in force")
        assert "server.log.file" in gateway.said[-1]
        config["server"]["log"] = {"file": str(tmp_path / "gateway.log"), "level": "info"}
        (tmp_path / "dragoman.yaml").write_text(json.dumps(config))
        reload(gateway)
        file = tmp_path / "gateway.log"
        until(lambda: file.exists() and "the configuration was reloaded" in file.read_text(), "the new log")
        # And the console says only what is amiss.
        before = len(gateway.said)
        assert status(gateway, "/v1/nothing") == 404
        assert gateway.end() == 0
        assert not [line for line in gateway.said[before:] if "INFO" in line]


@contextlib.contextmanager
def beginning(folder: Path, config: dict[str, Any], *arguments: str) -> Generator[subprocess.Popen[str]]:
    """A gateway that may not serve yet."""
    (folder / "dragoman.yaml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "dragoman", "serve", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        with process.stdout:
            yield process
    finally:
        process.kill()
        process.wait(PATIENCE)


def line_with(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    pytest.fail(f"it never said {words!r}")


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_workers_whose_supervisor_is_killed_end(tmp_path: Path, upstream: ThreadedUpstream, driver: str) -> None:
    with beginning(tmp_path, settings(upstream, driver=driver, drain=2), "--port", "0") as process:
        line_with(process, "listens")
        workers = children_of(process.pid)
        assert len(workers) == 2
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not any(map(alive, workers)), "the end of the workers")


def test_the_model_ends_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    with beginning(tmp_path, {"store": False}, "--port", "0") as process:
        line_with(process, "listens")
        [model] = children_of(process.pid)
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not alive(model), "the end of the model")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_while_it_starts_is_heeded_and_leaves_nothing_behind(
    tmp_path: Path, workers: str, number: signal.Signals, code: int
) -> None:
    """The port is taken first, and the model takes a while to load."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with beginning(tmp_path, {"store": False}, "--port", str(port), "--workers", workers) as process:
        until(lambda: reachable(port), "the port")
        until(lambda: bool(children_of(process.pid)), "the model")
        children = children_of(process.pid)
        process.send_signal(number)
        if number == signal.SIGHUP:
            line_with(process, "listens")
            line_with(process, "the configuration was reloaded")
            process.terminate()
        assert process.wait(PATIENCE) == code
        assert not any(map(alive, children))


def reachable(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("driver", "workers"), [("native", 1), ("asgi", 1), ("native", 2)])
def test_an_end_that_is_told_again_and_again_is_a_good_end(
    tmp_path: Path, upstream: ThreadedUpstream, driver: str, workers: int
) -> None:
    with started(tmp_path, config=settings(upstream, driver=driver, workers=workers)) as gateway:
        gateway.process.terminate()
        while gateway.process.poll() is None:
            gateway.process.terminate()
            time.sleep(0.1)
        assert gateway.process.returncode == 0


def alive(pid: int) -> bool:
    """Also one that has ended and that nobody has asked after yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_when_files_run_out_new_clients_are_told_and_the_old_ones_are_served(
    tmp_path: Path, upstream: ThreadedUpstream
) -> None:
    few = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    question = json.dumps({"model": "up/scenario:text", "messages": [{"role": "user", "content": "hi"}]}).encode()
    asked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(question), question)
    with started(tmp_path, config=settings(upstream, workers=1), through=few) as gateway, ExitStack() as opened:
        served = [opened.enter_context(wire(gateway)) for _ in range(32)]
        for one in served:
            one.send(head_of())
            assert one.answer()[0] == 200
        others = [opened.enter_context(wire(gateway)) for _ in range(10)]
        assert [one.answer()[0] for one in others] == [503] * 10
        gateway.wait_for("32 connections are open (server.limits.max_connections): who comes now is turned away")
        for one in served:
            one.send(asked)
            assert one.answer()[0] == 200
        assert sum("who comes now is turned away" in line for line in gateway.said) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_listens_on_ipv6(tmp_path: Path, upstream: ThreadedUpstream, workers: str) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
    with started(tmp_path, "--host", "[::1]", "--workers", workers, config=settings(upstream)) as gateway:
        assert gateway.url.startswith("http://[::1]:")
        assert status(gateway, "/health", host="::1") == 200
