"""`python -m dragoman.testing`, as a process."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from dragoman.testing import SCENARIOS, fold_messages, read_chat

COMMAND = [sys.executable, "-m", "dragoman.testing"]
WAIT = 20


@contextmanager
def running(*arguments: str) -> Generator[tuple[subprocess.Popen[str], int], None, None]:
    """The process and the port that it printed. Ends it whatever happens, and itself after a while."""
    command = [*COMMAND, "--port", "0", "--seconds", str(WAIT), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            port = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert port is not None, line
            yield process, int(port[1])
        finally:
            process.kill()


def ask(port: int, path: str, body: dict[str, object]) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    try:
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        assert response.status == 200
        return response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop_and_says_nothing_more(number: signal.Signals) -> None:
    with running("--default", "text-one-piece", "--split", "bytes:9") as (process, port):
        assert fold_messages(ask(port, "/v1/messages", {"model": "scenario:tools-one", "stream": True})).calls
        assert read_chat(ask(port, "/v1/chat/completions", {"model": "anything"})).text == "Hello! How can I help you today?"
        # A stall would last for ever by hand: its gate stands open here.
        assert fold_messages(ask(port, "/v1/messages", {"model": "stall-midway", "stream": True})).text == "Hello"
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT)
        assert (process.returncode, out, err) == (0, "", "")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=WAIT, check=False)


def test_it_stops_by_itself_when_its_time_is_up() -> None:
    done = run("--port", "0", "--seconds", "0.05")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_lists_the_scenarios() -> None:
    done = run("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(SCENARIOS)


def test_a_wrong_argument_is_a_plain_sentence() -> None:
    for arguments, word in ((("--default", "txt"), "no scenario is called 'txt'"), (("--split", "word"), "split is")):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_a_plain_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.startswith("cannot listen on 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1
