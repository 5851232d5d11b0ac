"""Several workers on one port: a reload loses nothing, a dead worker is replaced, the end is bounded. As a user runs it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dragoman.testing import ScriptedUpstream, ThreadedUpstream
from tests.cli.test_cli import PATIENCE, dragoman, environment
from tests.io.authority import Authority

STALL = "up/scenario:stall-midway"


class Gateway:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        """Lines on standard error."""
        self.url = ""
        self._heard = threading.Condition()
        self._ear = threading.Thread(target=self._listen)
        self._ear.start()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard:
                self.said.append(line.rstrip("\n"))
                self._heard.notify_all()

    def wait_for(self, words: str, times: int = 1) -> str:
        """The line of the log with these words that makes it so many."""

        def found() -> list[str]:
            return [line for line in self.said if words in line]

        with self._heard:
            assert self._heard.wait_for(lambda: len(found()) >= times, PATIENCE), self.said
            return found()[times - 1]

    def health(self) -> dict[str, Any]:
        return json.loads(get(self.url, "/health/detailed")[1])

    def pids(self) -> dict[int, int]:
        return {one["worker"]: one["pid"] for one in self.health()["workers"]}

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._ear.join(PATIENCE)
        return code


@contextmanager
def started(
    folder: Path, *arguments: str, config: Mapping[str, Any], env: Mapping[str, str] | None = None, through: Sequence[str] = ()
) -> Generator[Gateway]:
    """`through`: the beginning of a command line that runs the rest of it."""
    (folder / "dragoman.yaml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [*through, sys.executable, "-m", "dragoman", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment(env),
    )  # fmt: skip
    assert process.stdout is not None
    gateway = Gateway(process)
    try:
        first = process.stdout.readline()
        found = re.search(r"https?://(127\.0\.0\.1|\[::1\]):\d+", first)
        assert found is not None, (first, gateway.said)
        gateway.url = found[0]
        yield gateway
    finally:
        if process.poll() is None:
            gateway.end()
        with process.stdout:
            pass
        gateway._ear.join(PATIENCE)
        assert process.stderr is not None
        process.stderr.close()
    assert children_of(process.pid) == []


def get(url: str, path: str) -> tuple[int, str]:
    """Over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def settings(upstream: ThreadedUpstream, **server: Any) -> dict[str, Any]:
    provider = {"dialect": "chat", "base_url": f"{upstream.url}/v1", "api_key": "sk-0123456789abcdef"}
    return {"server": {"workers": 2, "drain": 5, **server}, "local": False, "providers": {"up": provider}}


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """Linux only; elsewhere nothing is known."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def listeners(port: int) -> list[str]:
    """Sockets that listen on it. Linux only."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [line[9] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]


@pytest.fixture(scope="module")
def upstream() -> Generator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as server:
        yield server


# ---------------------------------------------------------------- load


class Load:
    """Clients that keep their connections, and clients that make a new one for each request, until told to stop."""

    def __init__(self, port: int, *, keeping: int, dropping: int) -> None:
        self._port = port
        self._clients = [True] * keeping + [False] * dropping
        self._over = False
        self.answered = 0
        self.lost: list[str] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(PATIENCE)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(keeps) for keeps in self._clients))

    async def _client(self, keeps: bool) -> None:
        body = json.dumps({"model": "up/scenario:text", "messages": [{"role": "user", "content": "hi"}]}).encode()
        end = b"" if keeps else b"connection: close\r\n"
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (end, len(body))
        while not self._over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.lost.append(f"no connection: {error}")
                return
            try:
                while not self._over:
                    writer.write(head + body)
                    got = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", got)
                    assert length is not None, got
                    await reader.readexactly(int(length[1]))
                    assert got.startswith(b"HTTP/1.1 200 "), got
                    self.answered += 1
                    if b"connection: close" in got:
                        break
            except (OSError, asyncio.IncompleteReadError, AssertionError) as error:
                self.lost.append(f"{error!r}")
                return
            finally:
                writer.close()


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_a_reload_under_load_replaces_every_worker_and_loses_nothing(
    tmp_path: Path, upstream: ThreadedUpstream, driver: str
) -> None:
    log = {"format": "json", "level": "info"}
    with started(tmp_path, config=settings(upstream, log=log, driver=driver)) as gateway:
        first = gateway.pids()
        assert sorted(first) == [1, 2]
        upstream.shut_gate()
        question = {"model": STALL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with (
            httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=question, timeout=PATIENCE) as stream,
            Load(gateway.port, keeping=6, dropping=3) as load,
        ):
            lines = stream.iter_lines()
            assert next(lines).startswith("data:")
            for times in (1, 2):
                before = load.answered
                gateway.process.send_signal(signal.SIGHUP)
                gateway.wait_for("the configuration was reloaded", times)
                until(lambda before=before: load.answered > before + 50 or bool(load.lost), "answers after the reload")
            assert not set(gateway.pids().values()) & set(first.values())
            # A stream of before the first reload is still under way, in a worker that has been retired since.
            upstream.open_gate()
            assert list(lines)[-2] == "data: [DONE]"
        assert load.lost == []
        assert load.answered > 100
        assert gateway.end() == 0
        # And every line of every process is whole.
        records = [json.loads(line) for line in gateway.said]
        assert sum(record["message"] == "answered" for record in records) >= load.answered


def test_others_answer_while_a_dead_worker_is_replaced(tmp_path: Path, upstream: ThreadedUpstream) -> None:
    with started(tmp_path, config=settings(upstream)) as gateway:
        before = gateway.pids()
        os.kill(before[1], signal.SIGKILL)
        for _ in range(20):
            assert get(gateway.url, "/health")[0] == 200
        until(lambda: gateway.pids().get(1) not in {None, before[1]}, "a new worker 1")
        assert gateway.pids()[2] == before[2]
        assert "worker 1" in gateway.wait_for("SIGKILL")
        # One that is told to end itself, by somebody else, ends well and is replaced as well.
        os.kill(before[2], signal.SIGTERM)
        until(lambda: gateway.pids().get(2) not in {None, before[2]}, "a new worker 2")
        memory = [one["memory"] for one in gateway.health()["workers"]]
        assert all(size is None or size > 10_000_000 for size in memory)
        env = {"DRAGOMAN_SERVER__PORT": str(gateway.port)}
        told = dragoman("doctor", cwd=tmp_path, env=env).stdout
        assert f"a gateway runs on {gateway.url}" in told
        assert re.search(r"workers 1 \(process \d+, .*\), 2 \(process \d+, ", told)


def test_a_bad_configuration_is_refused_and_a_good_one_is_put_in_force(tmp_path: Path, upstream: ThreadedUpstream) -> None:
    good = settings(upstream)
    with started(tmp_path, config=good) as gateway:
        before = gateway.pids()
        for bad, words in [
            ("server: {prt: 1}", "did you mean 'port'"),
            (json.dumps({**good, "server": {**good["server"], "host": "localhost"}}), "cannot change while the gateway runs"),
            (json.dumps({**good, "server": {**good["server"], "tls": {"cert": "no.pem"}}}), "no.pem cannot be read"),
        ]:
            (tmp_path / "dragoman.yaml").write_text(bad)
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for(words)
        assert gateway.pids() == before
        # A worker that is started meanwhile gets what was good.
        os.kill(before[2], signal.SIGKILL)
        until(lambda: gateway.pids().get(2) not in {None, before[2]}, "a new worker 2")
        new = {**good, "aliases": {"mine": "up/scenario:text"}, "server": {**good["server"], "workers": 3}}
        (tmp_path / "dragoman.yaml").write_text(json.dumps(new))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("the configuration was reloaded")
        assert sorted(gateway.pids()) == [1, 2, 3]
        for _ in range(5):
            assert '"mine"' in get(gateway.url, "/v1/models")[1]
        if sys.platform == "linux":
            until(lambda: len(listeners(gateway.port)) == 3, "a port for each")
        (tmp_path / "dragoman.yaml").write_text(json.dumps(good))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("the configuration was reloaded", 2)
        until(lambda: sorted(gateway.pids()) == [1, 2], "two workers")
        assert gateway.end(signal.SIGINT) == 130


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_a_single_process_takes_a_new_configuration_without_a_pause(
    tmp_path: Path, upstream: ThreadedUpstream, driver: str
) -> None:
    good = settings(upstream, workers=1, driver=driver)
    with started(tmp_path, config=good) as gateway:
        before = gateway.pids()
        upstream.shut_gate()
        question = {"model": STALL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with (
            httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=question, timeout=PATIENCE) as stream,
            Load(gateway.port, keeping=2, dropping=1) as load,
        ):
            lines = stream.iter_lines()
            assert next(lines).startswith("data:")
            (tmp_path / "dragoman.yaml").write_text("server: {prt: 1}")
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for("did you mean 'port'")
            (tmp_path / "dragoman.yaml").write_text(json.dumps({**good, "server": {**good["server"], "workers": 2}}))
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for("server.workers cannot change while the gateway runs")
            new = {**good, "aliases": {"mine": "up/scenario:text"}}
            (tmp_path / "dragoman.yaml").write_text(json.dumps(new))
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for("the configuration was reloaded")
            assert '"mine"' in get(gateway.url, "/v1/models")[1]
            answered = load.answered
            until(lambda: load.answered > answered + 20 or bool(load.lost), "answers after the reload")
            upstream.open_gate()
            assert list(lines)[-2] == "data: [DONE]"
        assert load.lost == []
        assert gateway.pids() == before
        assert gateway.end() == 0


@pytest.mark.parametrize(("driver", "workers"), [("native", 1), ("native", 2), ("asgi", 1), ("asgi", 2)])
def test_while_it_stops_it_says_so_and_finishes_what_is_under_way(
    tmp_path: Path, upstream: ThreadedUpstream, driver: str, workers: int
) -> None:
    with started(tmp_path, config=settings(upstream, driver=driver, workers=workers, drain=20)) as gateway:
        upstream.shut_gate()
        question = {"model": STALL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=question, timeout=PATIENCE) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data:")
            assert get(gateway.url, "/health/ready")[0] == 200
            gateway.process.send_signal(signal.SIGTERM)

            def says_so() -> bool:
                status, body = get(gateway.url, "/health/ready")
                return status == 503 and json.loads(body)["status"] == "draining"

            until(says_so, "draining")
            assert gateway.process.poll() is None
            upstream.open_gate()
            assert list(lines)[-2] == "data: [DONE]"
        assert gateway.process.wait(PATIENCE) == 0


def test_the_end_is_bounded_and_a_second_signal_makes_it_short(tmp_path: Path, upstream: ThreadedUpstream) -> None:
    upstream.shut_gate()
    for drain, signals in ((0.3, 1), (60, 2)):
        with started(tmp_path, config=settings(upstream, drain=drain)) as gateway:
            question = {"model": STALL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
            with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=question, timeout=PATIENCE) as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("data:")
                gateway.process.send_signal(signal.SIGTERM)
                if signals == 2:
                    # The first one has been heard.
                    until(lambda url=gateway.url: get(url, "/health/ready")[0] == 503, "draining")
                    gateway.process.send_signal(signal.SIGTERM)
                assert gateway.process.wait(20) == 0
    upstream.open_gate()


@pytest.mark.parametrize("driver", ["native", "asgi"])
def test_the_end_is_bounded_for_workers_that_were_retired_before(
    tmp_path: Path, upstream: ThreadedUpstream, driver: str
) -> None:
    upstream.shut_gate()
    with started(tmp_path, config=settings(upstream, drain=0.3, driver=driver)) as gateway:
        question = {"model": STALL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=question, timeout=PATIENCE) as stream:
            assert next(stream.iter_lines()).startswith("data:")
            gateway.process.send_signal(signal.SIGHUP)
            gateway.wait_for("the configuration was reloaded")
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(20) == 0
        assert not [line for line in gateway.said if "did not end" in line]
    upstream.open_gate()


@pytest.mark.parametrize("options", [["--workers", "2"], ["--driver", "native"], ["--driver", "asgi"]])
def test_a_gateway_whose_terminal_is_closed_ends_instead_of_reloading(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "dragoman.yaml").write_text('{"local": false, "providers": {"groq": {"api_key": "gsk_0123456789abcdef"}}}')
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, "serve", "--port", "0", *options],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment(), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"curl " not in said or not said.endswith(b"\r\n\r\n"):
        try:
            said += os.read(ours, 65536)
        except OSError:
            pytest.fail(f"it ended with {process.wait(PATIENCE)}: {said.decode()}")
    os.close(ours)
    assert process.wait(PATIENCE) == 0


_ON_A_TERMINAL = """
import fcntl, sys, termios
from dragoman.cli.main import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main(sys.argv[1:]))
"""


def test_workers_that_never_start_are_the_end(tmp_path: Path) -> None:
    """Sabotaged by a module that Python imports at its start."""
    (tmp_path / "sitecustomize.py").write_text("import os\nif 'DRAGOMAN_WORKER_CONTROL' in os.environ: os._exit(7)\n")
    config = {"local": False, "server": {"workers": 2}, "providers": {"groq": {"api_key": "gsk_0123456789abcdef"}}}
    (tmp_path / "dragoman.yaml").write_text(json.dumps(config))
    done = dragoman("serve", "--port", "0", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "does not start" in done.stderr
    assert "failed as soon as it was started" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_local_model_is_started_once_and_the_other_driver_has_workers_too(tmp_path: Path) -> None:
    with started(tmp_path, "--driver", "asgi", "--workers", "2", config={}) as gateway:
        assert len(children_of(gateway.process.pid)) in {0, 3}  # two workers and llama.cpp
        body = {"model": "local", "max_tokens": 2, "messages": [{"role": "user", "content": "Say hello."}]}
        before = gateway.pids()
        assert httpx.post(f"{gateway.url}/v1/messages", json=body, timeout=PATIENCE).status_code == 200
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("the configuration was reloaded")
        until(lambda: not set(gateway.pids().values()) & set(before.values()), "new workers")
        assert httpx.post(f"{gateway.url}/v1/messages", json=body, timeout=PATIENCE).status_code == 200
        until(lambda: len(children_of(gateway.process.pid)) in {0, 3}, "the old workers to end")


def test_two_gateways_do_not_share_a_port(tmp_path: Path, upstream: ThreadedUpstream) -> None:
    with started(tmp_path, config=settings(upstream)) as gateway:
        for workers in ("1", "2"):
            done = dragoman("serve", "--port", str(gateway.port), "--workers", workers, cwd=tmp_path)
            assert done.returncode == 3
            assert "is taken" in done.stderr


# ---------------------------------------------------------------- TLS


@pytest.mark.parametrize(("driver", "workers"), [("native", "2"), ("asgi", "1")])
def test_it_speaks_tls_with_the_files_it_is_given(
    tmp_path: Path, upstream: ThreadedUpstream, driver: str, workers: str
) -> None:
    authority = Authority(tmp_path)
    authority.serving("127.0.0.1")
    options = ["--driver", driver, "--workers", workers, "--tls-cert", "127.0.0.1.pem"]
    with started(tmp_path, *options, config=settings(upstream)) as gateway:
        assert gateway.url.startswith("https://")
        trusting = authority.trusting()
        assert httpx.get(f"{gateway.url}/health", verify=trusting, timeout=PATIENCE).json()["status"] == "ok"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{gateway.url}/health", timeout=PATIENCE)
        trusting.maximum_version = ssl.TLSVersion.TLSv1_2
        plain = socket.create_connection(("127.0.0.1", gateway.port))
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            assert secured.version() == "TLSv1.2"
            first = secured.getpeercert(binary_form=True)
        authority.serving("127.0.0.1")  # renewed
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("the configuration was reloaded")
        plain = socket.create_connection(("127.0.0.1", gateway.port))
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            assert secured.getpeercert(binary_form=True) != first


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("nowhere.pem", None, "server.tls.cert: nowhere.pem cannot be read: No such file"),
        ("one.pem", "nowhere.pem", "server.tls.key: nowhere.pem cannot be read: No such file"),
        ("one.pem", "two.pem", "the key in two.pem does not belong to the certificate in one.pem"),
        ("empty.pem", None, "empty.pem hold no certificate and key in PEM format"),
    ],
)
def test_tls_files_that_cannot_be_used_are_a_sentence(tmp_path: Path, cert: str, key: str | None, words: str) -> None:
    authority = Authority(tmp_path)
    authority.serving("one")
    authority.serving("two")
    (tmp_path / "empty.pem").write_text("")
    more = ["--tls-key", key] if key else []
    done = dragoman("serve", "--port", "0", "--tls-cert", cert, *more, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
