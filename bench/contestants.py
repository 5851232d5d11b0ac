"""Who is measured, in the order of a round; and how one is started."""

from __future__ import annotations

import http.client
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import processes
from bench.contestant import DIALECTS, EVERY_WAY, FEW_WAYS, Contestant, Failed, Launch, Running, Upstreams
from bench.cores import allowed, bound
from bench.exchanges import UPSTREAMS, Dialect, Size, Upstream, body, request, what_is_wrong
from bench.features import features
from bench.ours import ours
from bench.peers import ccr, ferrogw, litellm, nginx, portkey, rolter, smg, tensorzero
from bench.ports import free_port


def direct() -> Contestant:
    return Contestant(name="direct", about="no gateway: what the others are compared with", ways=("chat",))


def dragoman() -> Contestant:
    return ours("dragoman", "key check, a log line for every tenth request", ways=EVERY_WAY)


def on_uvicorn() -> Contestant:
    return ours("dragoman-asgi", "the same on uvicorn (`--driver asgi`)", ways=FEW_WAYS, driver="asgi")


def several(workers: int) -> Contestant:
    about = f"{workers} worker{'s' if workers > 1 else ''}"
    return ours(f"workers-{workers}", about, ways=("chat",), workers=workers, only=("workers",))


TEAMS = tuple(workers for workers in (1, 2, 4) if workers <= max(2, len(allowed()) - 1))
"""Numbers of workers: more than two where each can have a core."""

ALL: Mapping[str, Callable[[], Contestant]] = {
    "direct": direct,
    "nginx": nginx.contestant,
    "dragoman": dragoman,
    **features(),
    **{f"workers-{workers}": partial(several, workers) for workers in TEAMS},
    "dragoman-asgi": on_uvicorn,
    "rolter": rolter.contestant,
    "smg": smg.contestant,
    "tensorzero": tensorzero.contestant,
    "ferrogw": ferrogw.contestant,
    "portkey": portkey.contestant,
    "ccr": ccr.contestant,
    "litellm": litellm.contestant,
}
"""In the order of a round. What a feature costs is measured right after the whole, which it is compared with."""


# ---------------------------------------------------------------- running one


@contextmanager
def running(contestant: Contestant, core: int | Set[int] | None, upstreams: Upstreams) -> Generator[Running]:
    """The contestant, alone on its core or cores, until the block ends. Raises `Failed`."""
    if contestant.launch is None:
        yield Running(upstreams.chat, 0, 0.0, contestant, upstreams)
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        launch = contestant.launch(port, upstreams, folder)
        said = folder / "console"
        began = time.monotonic()
        with bound(core), said.open("wb") as console:
            process = subprocess.Popen(
                launch.command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=folder,
                env=_environment() | launch.env, start_new_session=True,
            )  # fmt: skip
        try:
            running = Running(port, process.pid, 0.0, contestant, upstreams)
            _await_answer(running, process, launch, said)
            running.started = time.monotonic() - began
            yield running
        finally:
            processes.stop(process)


def _environment() -> dict[str, str]:
    """Nobody's keys, proxies or settings: the same little for all."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _await_answer(running: Running, process: subprocess.Popen[bytes], launch: Launch, said: Path) -> None:
    contestant = running.contestant
    way = contestant.ways[0]
    until = time.monotonic() + contestant.patience
    last = "it does not listen"
    while time.monotonic() < until:
        if launch.port_file is not None:
            told = launch.port_file.read_text() if launch.port_file.exists() else ""
            running.port = int(told) if told.endswith("\n") else running.port
        try:
            last = ask(running, dialect_of(way), upstream_of(way), events=0)
            if not last:
                return
        except OSError:
            pass
        if process.poll() is not None:
            raise Failed(f"ended with exit code {process.returncode}: {_last_line(said)}")
        time.sleep(0.01)
    raise Failed(f"no right answer within {contestant.patience:g} s: {last}; {_last_line(said)}")


def dialect_of(way: str) -> Dialect:
    found = way.partition(">")[0]
    return next(dialect for dialect in DIALECTS if dialect == found)


def upstream_of(way: str) -> Upstream:
    found = way.rpartition(">")[2]
    return next(upstream for upstream in UPSTREAMS if upstream == found)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def asked(
    running: Running, dialect: Dialect, upstream: Upstream, *, events: int = 0, pace: int = 0, size: Size = "small"
) -> bytes:
    """The request, as it goes over the wire to this contestant."""
    contestant = running.contestant
    model = contestant.model(upstream)
    content = body(dialect, size, events=events, pace=pace, model=model)
    path = contestant.path(dialect, stream=events > 0).replace("MODEL", model)
    return request(dialect, running.port, content, path=path, headers=contestant.headers(upstream, running.upstreams))


def ask(running: Running, dialect: Dialect, upstream: Upstream, *, events: int, size: Size = "small") -> str:
    """One request, and what is wrong with its answer: nothing, if all is well. Raises `OSError` where nobody answers."""
    head, _, content = asked(running, dialect, upstream, events=events, size=size).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        connection.request("POST", first.split(" ")[1], content, headers)
        answer = connection.getresponse()
        said = answer.read()
    except http.client.HTTPException as error:
        return f"the answer is not HTTP: {error!r}"
    finally:
        connection.close()
    if answer.status != 200:
        return f"status {answer.status}: {said[:200].decode(errors='replace')}"
    return what_is_wrong(dialect, events, answer.getheader("content-type") or "", said)
