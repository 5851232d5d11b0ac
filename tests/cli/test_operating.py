"""What goes wrong round a gateway that runs: files that vanish or fill up, processes that are killed, too many clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
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


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_workers_whose_supervisor_is_killed_end(tmp_path: Path, upstream: ThreadedUpstream, driver: str) -> None:
    (tmp_path / "dragoman.yaml").write_text(json.dumps(settings(upstream, driver=driver, drain=2)))
    process = subprocess.Popen(
        [sys.executable, "-m", "dragoman", "serve", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        assert "listens" in process.stdout.readline()
        workers = children_of(process.pid)
        assert len(workers) == 2
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not any(map(alive, workers)), "the end of the workers")


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


def test_the_model_ends_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "dragoman.yaml").write_text("store: false")
    process = subprocess.Popen(
        [sys.executable, "-m", "dragoman", "serve", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        assert "listens" in process.stdout.readline()
        [model] = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        until(lambda: not alive(model), "the end of the model")
