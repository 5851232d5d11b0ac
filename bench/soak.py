"""`make soak`: the gateway under mixed traffic with faults, as long as you like; then whether anything grew, leaked or slowed.

    make soak                                 five minutes, half of them on each driver
    make soak ARGS='--minutes 60'             an hour
    make soak ARGS='--minutes 10 --driver asgi --streams 1000'

Exit code 0: nothing is amiss; 1: something is, and what is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench import drift, processes
from bench.exchanges import KEY
from bench.ports import free_port, raise_file_limit
from bench.soak_clients import BAD, ENDLESS, GOOD, HELD, PROVIDERS, Clients, Mix, model
from dragoman.testing import ScriptedUpstream

HERE = Path(__file__).parent
MINUTES = 5.0
STREAMS = 5_000
AT_ONCE = 24
WARM = 10.0
"""Seconds, at least, that are not counted."""
_SETTLING = 60.0
"""Seconds that the gateway gets to let go of everything: an idle connection to a provider is kept for 30."""
_MAY_GROW = 60.0
_MAY_ADD = 16.0
"""Memory leaks when the slope is surely above `_MAY_GROW` MB an hour, and when what is in use afterwards, the allocator's stock
given back, is above what was before by `_MAY_ADD` MB: in a few minutes that stock alone grows by more."""


class Gauges(msgspec.Struct, kw_only=True):
    """What the gateway has at one moment. `memory` in MB."""

    files: int
    memory: float
    kept: float = 0.0
    """Before the allocator gave back what it had kept for next time."""
    threads: int
    tasks: int
    task_names: dict[str, int] = {}
    objects: int = 0
    traced: list[str] = []
    """Who has allocated what is there, where PYTHONTRACEMALLOC is set."""
    ours: dict[str, int] = {}


class Soaked(msgspec.Struct, kw_only=True):
    """One driver's run. Latencies of probes in ms, by the third of the run; slopes in MB an hour."""

    driver: str
    minutes: float
    requests: int
    memory: tuple[float, float, float] | None
    grown: float
    before: Gauges
    after: Gauges
    at_upstream: int
    streams: int
    p99: tuple[float, float, float] | None
    samples: list[tuple[float, float]] = []
    """Seconds since the beginning, and MB."""
    seen: dict[str, int]
    amiss: list[str]


def main(said: list[str] | None = None) -> int:
    options = arguments(said)
    raise_file_limit()
    drivers = ["native", "asgi"] if options.driver == "both" else [options.driver]
    runs = [asyncio.run(soaked(driver, options.minutes / len(drivers), options.streams)) for driver in drivers]
    for run in runs:
        print("\n".join(lines(run)))
    kept = HERE / "results" / f"soak-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(runs)))
    return 1 if any(run.amiss for run in runs) else 0


def arguments(said: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Whether the gateway leaks or slows down.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"how long, in all ({MINUTES:g})")
    parser.add_argument("--driver", choices=("native", "asgi", "both"), default="both", help="of the gateway's server (both)")
    parser.add_argument("--streams", type=int, default=STREAMS, help=f"opened at once and abandoned ({STREAMS})")
    return parser.parse_args(said)


# ---------------------------------------------------------------- the gateway


def configuration(upstream: str, log: Path, store: Path) -> dict[str, Any]:
    """Every scenario behind providers of every dialect. Silence is given up soon, except where it is held on purpose."""
    scenarios = {**{name: name for name in (*GOOD, *BAD, ENDLESS)}, HELD: "stall-midway"}
    models: dict[str, Any] = {
        model(name, provider): {"targets": [f"{provider}/{scenario}"]}
        for name, scenario in scenarios.items()
        for provider in PROVIDERS
    }
    for provider in PROVIDERS:
        models[model(HELD, provider)]["timeouts"] = {"idle": 120, "total": 300}
    base = {"chat": "/v1", "messages": "/v1", "responses": "/v1", "gemini": "/v1beta", "converse": ""}
    return {
        "server": {"log": {"level": "info", "format": "json", "file": str(log)}},
        "keys": [{"name": "soak", "key": KEY}],
        "auto": False,
        "providers": {
            name: {"dialect": name, "base_url": upstream + base[name], "api_key": "sk-soak-0001", "max_connections": 10_000}
            for name in PROVIDERS
        },
        "models": models,
        "timeouts": {"connect": 5, "first_byte": 2, "idle": 2, "total": 30},
        "store": {"path": str(store)},
    }


class Gateway:
    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self._gauges = folder / "gauges.json"
        self._folder = folder

    def memory(self) -> float:
        return processes.memory_mb(processes.tree(self.process.pid))

    def files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    async def gauges(self) -> Gauges:
        kept = self.memory()
        self._gauges.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(30):
            while not self._gauges.exists():  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.05)
        return msgspec.convert(
            json.loads(self._gauges.read_text()) | {"files": self.files(), "memory": self.memory(), "kept": kept}, Gauges
        )

    def complaints(self) -> list[str]:
        """What it said that no gateway should ever have to say."""
        said = "".join(path.read_text(errors="replace") for path in self._folder.glob("gateway.log*"))
        said += (self._folder / "console").read_text(errors="replace")
        words = ("Traceback", "never retrieved", "never awaited", "ResourceWarning")
        return [line[:300] for line in said.splitlines() if any(word in line for word in words)]


@contextmanager
def gateway(driver: str, upstream: str) -> Generator[Gateway]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        config = folder / "dragoman.json"
        config.write_text(json.dumps(configuration(upstream, folder / "gateway.log", folder / "store.db")))
        command = [sys.executable, "-W", "default::ResourceWarning", "-m", "bench.soak_gateway", "--config", str(config)]
        kept = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "PYTHONPATH", "PYTHONTRACEMALLOC", "MALLOC_ARENA_MAX")
            if name in os.environ
        }
        with (folder / "console").open("wb") as console:
            process = subprocess.Popen(
                [*command, "--port", str(port), "--no-local", "--driver", driver], cwd=HERE.parent, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env=kept | {"SOAK_GAUGES": str(folder / "gauges.json"), "HOME": name},
            )  # fmt: skip
        try:
            yield Gateway(process, port, folder)
        except BaseException:
            print((folder / "console").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            processes.stop(process)


# ---------------------------------------------------------------- one run


async def soaked(driver: str, minutes: float, streams: int) -> Soaked:
    with ScriptedUpstream.in_thread(keep=10) as upstream, gateway(driver, upstream.url) as running:
        clients = Clients(running.port)
        await _until(lambda: _answers(clients), 30, "the gateway does not answer")
        mix = Mix(clients, AT_ONCE)
        began = time.monotonic()
        # What is imported at first use, pools that fill, and memory that the allocator keeps after many streams at once are no
        # leaks: a tenth of the time, and a first lot of streams, are not counted.
        await clients.abandoned(streams)
        await mix.run(began + max(WARM, 6 * minutes), lambda: None)
        await _let_go(clients, running, upstream, least=0)
        before = await running.gauges()
        clients.probes.clear()
        samples: list[tuple[float, float]] = []
        middle = began + 30 * minutes
        _say(driver, "warm", before)
        await mix.run(middle, lambda: samples.append((time.monotonic(), running.memory())))
        begun = await clients.abandoned(streams)
        _say(driver, f"{begun} of {streams} streams opened and abandoned", None)
        await mix.run(began + 60 * minutes, lambda: samples.append((time.monotonic(), running.memory())))
        await _let_go(clients, running, upstream, least=before.files)
        after = await running.gauges()
        _say(driver, "after", after)
        found = Soaked(
            driver=driver,
            minutes=minutes,
            requests=sum(clients.seen.values()) + len(clients.probes),
            memory=_growth(samples),
            grown=after.memory - before.memory,
            before=before,
            after=after,
            at_upstream=upstream.connections.open,
            streams=begun,
            p99=thirds(clients.probes),
            samples=[(round(at - began, 1), round(memory, 2)) for at, memory in samples],
            seen=dict(clients.seen.most_common()),
            amiss=[*dict.fromkeys(clients.wrong[:10]), *running.complaints()[:5]],
        )
        if running.process.poll() is not None:
            found.amiss.append(f"the gateway ended with exit code {running.process.returncode}")
        if begun < streams:
            found.amiss.append(f"only {begun} of {streams} streams began")
        found.amiss += verdict(found)
        return found


async def _answers(clients: Clients) -> bool:
    try:
        await clients.probe()
    except OSError:
        return False
    fine = not clients.wrong
    clients.wrong.clear()
    return fine


async def _let_go(clients: Clients, running: Gateway, upstream: Any, *, least: int) -> None:
    """Until it has nothing open any more that it had not before; whoever still has then is judged."""
    clients.close()
    until = time.monotonic() + _SETTLING
    while time.monotonic() < until:
        await asyncio.sleep(1)
        if upstream.connections.open == 0 and (not least or running.files() <= least):
            return


async def _until(ready: Callable[[], Any], seconds: float, otherwise: str) -> None:
    until = time.monotonic() + seconds
    while not await ready():
        if time.monotonic() > until:
            raise SystemExit(f"soak: {otherwise}")
        await asyncio.sleep(0.1)


def _say(driver: str, what: str, gauges: Gauges | None) -> None:
    told = ""
    if gauges is not None:
        told = f": {gauges.memory:.1f} MB ({gauges.kept:.1f} before trimming), {gauges.files} files, {gauges.tasks} tasks, "
        told += f"{gauges.objects:,} objects"
    print(f"{driver}  {what}{told}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the verdict


def _growth(samples: list[tuple[float, float]]) -> tuple[float, float, float] | None:
    found = drift.slope(drift.averaged(samples, 20))
    return None if found is None else (found.middle * 3600, found.low * 3600, found.high * 3600)


def thirds(probes: list[tuple[float, float]]) -> tuple[float, float, float] | None:
    """The 99th percentile of each third of the probes, in milliseconds."""
    size = len(probes) // 3
    if size < 20:
        return None
    parts = [sorted(took for _, took in probes[size * number : size * (number + 1)]) for number in range(3)]
    first, second, third = (part[int(len(part) * 0.99)] * 1000 for part in parts)
    return first, second, third


def verdict(run: Soaked) -> list[str]:
    """What is amiss, as sentences."""
    found: list[str] = []
    before, after = run.before, run.after
    for name, had, has in (
        ("file descriptors", before.files, after.files),
        ("tasks", before.tasks, after.tasks),
        ("threads", before.threads, after.threads),
    ):
        if has > had:
            found.append(f"{has - had} {name} more than before ({had} to {has})")
    if after.tasks > before.tasks:
        found.append(f"tasks now: {after.task_names}")
    for name in sorted(after.ours):
        if after.ours[name] - before.ours.get(name, 0) > 50 and after.ours[name] > 1.5 * before.ours.get(name, 0):
            found.append(f"{after.ours[name]} objects {name}, where {before.ours.get(name, 0)} were")
    if run.at_upstream:
        found.append(f"{run.at_upstream} connections to the provider are still open")
    if run.memory and run.memory[1] > _MAY_GROW and run.grown > _MAY_ADD:
        found.append(f"memory grows by {run.memory[0]:.0f} MB an hour, at least {run.memory[1]:.0f}")
    if run.p99 and run.p99[2] > 3 * run.p99[0] and run.p99[2] - run.p99[0] > 200:
        found.append(f"p99 went from {run.p99[0]:.0f} to {run.p99[2]:.0f} ms")
    return found


def lines(run: Soaked) -> list[str]:
    before, after = run.before, run.after
    told = [f"{run.driver}: {run.minutes:g} minutes, {run.requests:,} requests, {run.streams:,} streams abandoned"]
    told.append(f"  memory   in use {before.memory:.1f} to {after.memory:.1f} MB")
    told[-1] += f"; with the allocator's stock {before.kept:.1f} to {after.kept:.1f}"
    if run.memory:
        middle, low, high = run.memory
        told[-1] += f", slope {middle:+.1f} MB an hour ({low:+.1f} to {high:+.1f})"
    told.append(f"  open     files {before.files} to {after.files}, tasks {before.tasks} to {after.tasks}")
    told[-1] += f", threads {before.threads} to {after.threads}, objects {before.objects:,} to {after.objects:,}"
    if run.p99:
        told.append("  p99      " + ", ".join(f"{value:.0f}" for value in run.p99) + " ms by thirds")
    told += [f"  AMISS    {sentence}" for sentence in run.amiss] or ["  nothing is amiss"]
    return told


if __name__ == "__main__":
    sys.exit(main())
