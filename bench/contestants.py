"""Who is measured: how each is found, configured and started. A peer that is not installed says how to get it."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import processes
from bench.cores import bound
from bench.exchanges import PATHS, Dialect, body, request, what_is_wrong
from dragoman import __version__

HERE = Path(__file__).parent
NGINX_ELSEWHERE = ["/usr/sbin", "/usr/local/sbin"]
"""Debian keeps it where the PATH of ordinary users does not lead."""
_LITELLM = HERE / "peers" / ".venv" / "bin" / "litellm"


class Failed(Exception):
    """A contestant does not start, or answers wrongly: a sentence."""


class Launch(msgspec.Struct, frozen=True):
    """A command, and what it finds in its environment besides the little that all are given."""

    command: list[str]
    env: dict[str, str] = {}


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """`launch` is given its own port, that of the upstream, and an empty folder. `missing` says how it would be installed,
    when it is not. Without `launch` there is no gateway at all: the load generator talks to the upstream."""

    name: str
    about: str
    dialects: tuple[Dialect, ...]
    version: str = ""
    launch: Callable[[int, int, Path], Launch] | None = None
    missing: str = ""
    patience: float = 30.0
    """Seconds to the first answer, after which it is given up."""


class Running(msgspec.Struct):
    """`started` is the time in seconds from the start of the process to its first right answer. `pid` is 0 for no gateway."""

    port: int
    pid: int
    started: float


def direct() -> Contestant:
    return Contestant(name="direct", about="no gateway: what the others are compared with", dialects=("chat",))


def dragoman() -> Contestant:
    def launch(port: int, upstream: int, folder: Path) -> Launch:
        config = str(HERE / "dragoman.yaml")
        command = [sys.executable, "-m", "dragoman", "serve", "--config", config, "--port", str(port), "--no-local"]
        return Launch(command, {"BENCH_UPSTREAM": f"http://127.0.0.1:{upstream}", "BENCH_LOG": str(folder / "gateway.log")})

    return Contestant(
        name="dragoman",
        about="key check and a log line for each request",
        dialects=("chat", "messages"),
        version=_with_commit(__version__),
        launch=launch,
    )


def nginx() -> Contestant:
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), *NGINX_ELSEWHERE]))

    def launch(port: int, upstream: int, folder: Path) -> Launch:
        text = (HERE / "peers" / "nginx.conf").read_text()
        config = folder / "nginx.conf"
        config.write_text(text.replace("@LISTEN@", str(port)).replace("@UPSTREAM@", str(upstream)))
        return Launch([program or "nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)])

    return Contestant(
        name="nginx",
        about="a plain proxy, the floor: no key check, no log",
        dialects=("chat",),
        version=_first_number([program, "-v"]) if program else "",
        launch=launch,
        missing="" if program else "not installed: `apt install nginx-light`",
    )


def litellm() -> Contestant:
    found = _LITELLM.is_file()

    def launch(port: int, upstream: int, folder: Path) -> Launch:
        config = str(HERE / "peers" / "litellm.yaml")
        command = [str(_LITELLM), "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        return Launch(
            command,
            {
                "BENCH_UPSTREAM_V1": f"http://127.0.0.1:{upstream}/v1",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it is fetched at each start
                "LITELLM_LOG": "ERROR",
                "LITELLM_MODE": "PRODUCTION",
                "HOME": str(folder),
            },
        )

    return Contestant(
        name="litellm",
        about="key check; logs errors only",
        dialects=("chat", "messages"),
        version=_package_version(_LITELLM, "litellm") if found else "",
        launch=launch,
        missing="" if found else "not installed: `make bench-peers`",
        patience=60.0,
    )


ALL: Mapping[str, Callable[[], Contestant]] = {
    "direct": direct,
    "nginx": nginx,
    "dragoman": dragoman,
    "litellm": litellm,
}
"""In the order of a round."""


# ---------------------------------------------------------------- running one


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(contestant: Contestant, core: int | None, upstream: int) -> Generator[Running]:
    """The contestant, alone on its core, until the block ends. Raises `Failed`."""
    if contestant.launch is None:
        yield Running(upstream, 0, 0.0)
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        launch = contestant.launch(port, upstream, folder)
        said = folder / "console"
        began = time.monotonic()
        with bound(core), said.open("wb") as console:
            process = subprocess.Popen(
                launch.command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=folder,
                env=_environment() | launch.env, start_new_session=True,
            )  # fmt: skip
        try:
            _await_answer(contestant, process, port, said)
            yield Running(port, process.pid, time.monotonic() - began)
        finally:
            processes.stop(process)


def _environment() -> dict[str, str]:
    """Nobody's keys, proxies or settings: the same little for all."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _await_answer(contestant: Contestant, process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    until = time.monotonic() + contestant.patience
    last = "it does not listen"
    while time.monotonic() < until:
        try:
            last = ask(port, contestant.dialects[0], events=0)
            if not last:
                return
        except OSError:
            pass
        if process.poll() is not None:
            raise Failed(f"ended with exit code {process.returncode}: {_last_line(said)}")
        time.sleep(0.01)
    raise Failed(f"no right answer within {contestant.patience:g} s: {last}; {_last_line(said)}")


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def ask(port: int, dialect: Dialect, *, events: int, large: bool = False) -> str:
    """One request, and what is wrong with its answer: nothing, if all is well. Raises `OSError` where nobody answers."""
    raw = request(dialect, port, body(dialect, "large" if large else "small", events=events))
    head, _, content = raw.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", PATHS[dialect], content, headers)
        answer = connection.getresponse()
        said = answer.read()
    except http.client.HTTPException as error:
        return f"the answer is not HTTP: {error!r}"
    finally:
        connection.close()
    if answer.status != 200:
        return f"status {answer.status}: {said[:200].decode(errors='replace')}"
    return what_is_wrong(dialect, events, answer.getheader("content-type") or "", said)


# ---------------------------------------------------------------- versions


def _with_commit(version: str) -> str:
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5, cwd=HERE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} ({said.stdout.strip()})"


def _first_number(command: list[str]) -> str:
    """The first word with a digit that a command says about itself."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    words = (said.stdout + said.stderr).replace("/", " ").split()
    return next((word for word in words if word[:1].isdigit()), "")


def _package_version(program: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    said = subprocess.run([str(program.parent / "python"), "-c", code], capture_output=True, text=True, timeout=30, check=False)
    return said.stdout.strip()
