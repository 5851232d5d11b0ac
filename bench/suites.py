"""What is measured. Each suite asks the same of every contestant that can answer it.

load      32 connections, each with its next request as soon as it has its answer: CPU time per request
paced     50 streams at once, 100 events each, 10 ms apart: CPU time per event, and how late each event is
latency   one request at a time over 1 connection, and a few a second over 10: what a caller waits longer than without
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import msgspec

from bench import generator, processes
from bench.contestants import Contestant, Failed, Running, ask
from bench.exchanges import Dialect, Size, body, request
from bench.generator import Load, Outcome, Tools

EVENTS = 100
CONNECTIONS = 32
STREAMS = 50
PACE = 10
SHORT = 10
"""Events in a stream whose first byte is waited for."""
RATE = 40.0
"""Requests a second over 10 connections: few enough for the slowest."""
_WARM_UP = 0.4


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    dialect: Dialect
    kind: Literal["load", "paced", "latency"]
    size: Size = "small"
    events: int = 0


ALL: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(name="chat", title="Chat JSON", dialect="chat", kind="load"),
        Suite(name="messages", title="Messages to Chat JSON", dialect="messages", kind="load"),
        Suite(name="large", title="Messages to Chat JSON, 66 kB, 20 tools", dialect="messages", kind="load", size="large"),
        Suite(name="chat-burst", title="Chat stream, 100 events at once", dialect="chat", kind="load", events=EVENTS),
        Suite(
            name="messages-burst",
            title="Messages to Chat stream, 100 events at once",
            dialect="messages",
            kind="load",
            events=EVENTS,
        ),
        Suite(name="chat-paced", title="Chat stream, an event each 10 ms", dialect="chat", kind="paced", events=EVENTS),
        Suite(
            name="messages-paced",
            title="Messages to Chat stream, an event each 10 ms",
            dialect="messages",
            kind="paced",
            events=EVENTS,
        ),
        Suite(name="latency", title="Chat, latency", dialect="chat", kind="latency"),
    )
}


class Measured(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One suite, one contestant, one round. `cpu_us`: microseconds of CPU in the contestant's processes, per request;
    `event_us` per event; `busy`: share of its core that it used. Histograms are pairs of bucket and count, of nanoseconds;
    their names say what and over how many connections."""

    requests: int = 0
    cpu_us: float | None = None
    event_us: float | None = None
    per_second: float | None = None
    busy: float | None = None
    failed: int = 0
    complaint: str = ""
    histograms: dict[str, list[tuple[int, int]]] = {}


class Bench(msgspec.Struct, frozen=True):
    """What a measurement needs. `seconds` is the length of one."""

    tools: Tools
    core: int | None
    folder: Path
    seconds: float

    def load(self, suite: Suite, port: int, load: Load, *, events: int = 0, pace: int = 0) -> Outcome:
        path = self.folder / "request"
        path.write_bytes(request(suite.dialect, port, body(suite.dialect, suite.size, events=events, pace=pace)))
        return generator.run(self.tools, self.core, port, path, load)


def measures(suite: Suite, contestant: Contestant) -> bool:
    """Whether the contestant can answer it. Without a gateway there is nothing but latency."""
    return suite.dialect in contestant.dialects and (contestant.launch is not None or suite.kind == "latency")


def expected_seconds(suite: Suite, seconds: float) -> float:
    """About how long it takes with a gateway that keeps up."""
    match suite.kind:
        case "load":
            return _WARM_UP + seconds + 0.1
        case "paced":
            return 1.7
        case "latency":
            return 4 * seconds + 0.2


def measure(bench: Bench, suite: Suite, running: Running) -> Measured:
    """Raises `Failed` where the answers are not right in the first place."""
    wrong = ask(running.port, suite.dialect, events=suite.events, large=suite.size == "large")
    if wrong:
        raise Failed(wrong)
    match suite.kind:
        case "load":
            return _load(bench, suite, running)
        case "paced":
            return _paced(bench, suite, running)
        case "latency":
            return _latency(bench, suite, running)


def _load(bench: Bench, suite: Suite, running: Running) -> Measured:
    marks = suite.events or 1
    bench.load(suite, running.port, Load(connections=CONNECTIONS, seconds=_WARM_UP, marks=marks), events=suite.events)
    load = Load(connections=CONNECTIONS, seconds=bench.seconds, marks=marks)
    spent = _Spent(running.pid)
    outcome = bench.load(suite, running.port, load, events=suite.events)
    return spent.over(outcome, events=suite.events)


def _paced(bench: Bench, suite: Suite, running: Running) -> Measured:
    load = Load(connections=STREAMS, seconds=2, at_most=STREAMS, ramp=0.5, marks=suite.events)
    spent = _Spent(running.pid)
    outcome = bench.load(suite, running.port, load, events=suite.events, pace=PACE)
    measured = spent.over(outcome, events=suite.events)
    measured.histograms = {"delay": outcome.delay}
    return measured


def _latency(bench: Bench, suite: Suite, running: Running) -> Measured:
    measured = Measured()
    for connections in (1, 10):
        rate = 0.0 if connections == 1 else RATE
        whole = bench.load(suite, running.port, Load(connections=connections, seconds=bench.seconds, rate=rate))
        load = Load(connections=connections, seconds=bench.seconds, rate=rate, marks=SHORT)
        stream = bench.load(suite, running.port, load, events=SHORT)
        measured.histograms |= {f"answer-{connections}": whole.latency, f"first-byte-{connections}": stream.first_byte}
        for outcome in (whole, stream):
            measured.requests += outcome.answered
            measured.failed += outcome.failed
            measured.complaint = measured.complaint or outcome.complaint
    return measured


class _Spent:
    """CPU time of a tree of processes since now."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = processes.cpu_ns(processes.tree(pid))

    def over(self, outcome: Outcome, *, events: int) -> Measured:
        used = processes.used_between(self._before, processes.cpu_ns(processes.tree(self._pid)))
        right = outcome.answered
        return Measured(
            requests=right,
            cpu_us=used / 1e3 / right if right else None,
            event_us=used / 1e3 / (right * events) if right and events else None,
            per_second=right / outcome.seconds,
            busy=used / 1e9 / outcome.seconds,
            failed=outcome.failed,
            complaint=outcome.complaint,
        )


def settled(running: Running) -> float:
    """Resident memory in MB, a moment after the last answer."""
    time.sleep(0.2)
    return processes.memory_mb(processes.tree(running.pid))
