"""The load generator and the upstream: in C where a compiler is at hand, else in Python. Both speak the same arguments."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import processes
from bench.answers import write_answers
from bench.cores import bound
from bench.exchanges import Upstream
from bench.stats import Histogram

HERE = Path(__file__).parent
_DRAIN = 25.0
"""Seconds beyond its own time that the load generator may take: it waits 10 for answers under way."""


class Broken(Exception):
    """The tools themselves failed: a sentence."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask. See `native/load.c`."""

    connections: int
    seconds: float
    rate: float = 0.0
    at_most: int = 0
    ramp: float = 0.0
    marks: int = 1


class Outcome(msgspec.Struct, kw_only=True):
    """What the load generator saw. `answered` are right answers; `cpu` is its own, in seconds; the histograms are pairs of
    bucket and count, of nanoseconds."""

    sent: int
    answered: int
    refused: int
    wrong: int
    broken: int
    unfinished: int
    marks: int
    seconds: float
    cpu: float
    complaint: str
    latency: list[tuple[int, int]]
    first_byte: list[tuple[int, int]]
    delay: list[tuple[int, int]]

    @property
    def failed(self) -> int:
        return self.refused + self.wrong + self.broken + self.unfinished

    def histogram(self, name: str) -> Histogram:
        return Histogram(getattr(self, name))


class Tools(msgspec.Struct, frozen=True):
    """Commands to which the arguments are put. `about` is for the report."""

    load: tuple[str, ...]
    upstream: tuple[str, ...]
    about: str


def find(*, python_only: bool = False) -> Tools:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler and sys.platform == "linux" and not python_only:
        try:
            return native(compiler, HERE / "build")
        except (subprocess.SubprocessError, OSError) as error:
            told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            print(
                f"bench: the load generator cannot be compiled ({told[0] if told else error}): the one in Python is used",
                file=sys.stderr,
            )
    python = (sys.executable, "-m")
    return Tools(
        (*python, "bench.fallback.load"),
        (*python, "bench.fallback.upstream"),
        "load generator and upstream in Python (no C compiler on this machine)"
        if not compiler
        else "load generator and upstream in Python",
    )


def native(compiler: str, build: Path) -> Tools:
    """Compiles what has changed since the last time. Raises what `subprocess` raises."""
    build.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    for name in ("load", "upstream"):
        source = HERE / "native" / f"{name}.c"
        program = build / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
        if not program.exists():
            fresh = program.with_suffix(f".{os.getpid()}")
            command = [compiler, "-O2", "-o", str(fresh), str(source)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
            fresh.replace(program)  # at once: another run may look for it
        made.append(str(program))
    return Tools((made[0],), (made[1],), "load generator and upstream in C")


class Asking:
    """A load generator at work. `outcome` waits for its end."""

    def __init__(self, process: subprocess.Popen[bytes], patience: float) -> None:
        self._process = process
        self._until = time.monotonic() + patience

    def outcome(self) -> Outcome:
        """Raises `Broken` when the generator fails; failed requests are in the outcome."""
        process = self._process
        with process:
            try:
                out, told = process.communicate(timeout=max(0.1, self._until - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Broken("the load generator did not come to its end") from None
            finally:
                process.kill()
        if process.returncode:
            raise Broken(f"the load generator failed: {told.decode(errors='replace').strip()[-300:]}")
        return msgspec.json.decode(out, type=Outcome)


def begin(tools: Tools, core: int | None, port: int, request: Path, load: Load) -> Asking:
    arguments: Sequence[object] = (
        port, request, load.connections, load.seconds, load.rate, load.at_most, load.ramp, load.marks,
    )  # fmt: skip
    with bound(core):
        process = subprocess.Popen(
            [*tools.load, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=HERE.parent
        )
    return Asking(process, load.seconds + _DRAIN)


def run(tools: Tools, core: int | None, port: int, request: Path, load: Load) -> Outcome:
    """Raises `Broken` when the generator fails; failed requests are in the outcome."""
    return begin(tools, core, port, request, load).outcome()


@contextmanager
def upstream(tools: Tools, core: int | None, port: int, lifetime: float, speaks: Upstream = "chat") -> Generator[None]:
    """The upstream on this port, until the block ends, or `lifetime` seconds at most."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        write_answers(Path(name), speaks)
        with bound(core):
            process = subprocess.Popen(
                [*tools.upstream, str(port), name, str(int(lifetime))], stdin=subprocess.DEVNULL, start_new_session=True,
                cwd=HERE.parent,
            )  # fmt: skip
        try:
            _await(process, port)
            yield
        finally:
            processes.stop(process)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Broken(f"the upstream ended with exit code {process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("POST", "/v1/chat/completions", b"{}")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    raise Broken("the upstream does not answer")
