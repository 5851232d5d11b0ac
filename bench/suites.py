"""What is measured. Each suite asks the same of every contestant that can answer it.

load      32 connections, each with its next request as soon as it has its answer: CPU time per request
paced     50 streams at once, 100 events each, 10 ms apart: CPU time per event, and how late each event is
held      1,000 or 5,000 streams at once, 10,000 events a second in all: what arrives, how late, and memory per open stream
workers   256 connections that do not pause, over 1, 2 and 4 workers: requests a second, and how the kernel shares them out
latency   one request at a time over 1 connection, a few a second over 10, and 32 that do not pause: what a caller waits longer
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from bench import generator, processes
from bench.contestant import EVERY_WAY, FEW_WAYS, Contestant, Failed, Running
from bench.contestants import ask, asked, dialect_of, upstream_of
from bench.exchanges import Size
from bench.generator import Load, Outcome, Tools

EVENTS = 100
CONNECTIONS = 32
MANY = 256
"""Connections that several workers have between them: so many that chance spreads them evenly."""
STREAMS = 50
PACE = 10
SHORT = 10
"""Events in a stream whose first byte is waited for."""
RATE = 40.0
"""Requests a second over 10 connections: few enough for the slowest."""
LATENCIES: dict[int, float] = {1: 0.0, 10: RATE, 32: 0.0}
"""By the number of connections: requests a second, or 0 where each connection sends as soon as it has its answer."""
HELD_EVENTS_PER_SECOND = 10_000
HELD_SECONDS = 4.0
"""How long each of the streams lasts."""
_WARM_UP = 0.4


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """`streams` are held open at once. `core`: one of the few that `--quick` is about. `once`: its figures vary little and take
    long, so that it is measured in the first round only."""

    name: str
    title: str
    way: str
    kind: Literal["load", "paced", "held", "latency", "workers"]
    size: Size = "small"
    events: int = 0
    streams: int = 0
    core: bool = False
    once: bool = False

    @property
    def marks(self) -> int:
        """In a right answer. Responses says its whole text four times more when it ends; our upstream does not."""
        told = 5 if self.way.startswith("responses") and not self.way.endswith("responses") else 1
        return self.events * told or 1

    @property
    def pace(self) -> int:
        """Milliseconds between the events of a stream."""
        return round(self.streams * 1000 / HELD_EVENTS_PER_SECOND) if self.kind == "held" else PACE


def _load(name: str, title: str, way: str, *, size: Size = "small", events: int = 0, core: bool = False) -> Suite:
    return Suite(name=name, title=title, way=way, kind="load", size=size, events=events, core=core)


def _held(streams: int, way: str, name: str, title: str) -> Suite:
    events = round(HELD_SECONDS * HELD_EVENTS_PER_SECOND / streams)
    return Suite(name=name, title=title, way=way, kind="held", streams=streams, events=events, once=True)


NAMES = {"chat": "Chat", "messages": "Messages", "responses": "Responses", "gemini": "Gemini", "converse": "Converse"}


def _further() -> Iterator[Suite]:
    """The directions that Dragoman alone is measured in."""
    for way in EVERY_WAY:
        client, _, upstream = way.partition(">")
        if way not in FEW_WAYS:
            for events, more in ((0, ""), (EVENTS, "-burst")):
                title = f"{NAMES[client]} to {NAMES[upstream]}{' stream' if events else ' JSON'}"
                yield _load(f"{client}-to-{upstream}{more}", title, way, events=events)


FURTHER = {suite.name: suite for suite in _further()}
ALL: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        _load("chat", "Chat JSON", "chat", core=True),
        _load("messages", "Messages to Chat JSON", "messages>chat", core=True),
        _load("large", "Messages to Chat JSON, 66 kB, 20 tools", "messages>chat", size="large", core=True),
        _load("chat-large", "Chat JSON, 66 kB, 20 tools", "chat", size="large", core=True),
        _load("chat-burst", "Chat stream, 100 events at once", "chat", events=EVENTS, core=True),
        _load("messages-burst", "Messages to Chat stream, 100 events at once", "messages>chat", events=EVENTS, core=True),
        _load("losses", "Messages to Chat JSON, one loss", "messages>chat", size="lossy"),
        _load("chat-messages", "Chat to Messages JSON", "chat>messages"),
        _load("chat-messages-burst", "Chat to Messages stream", "chat>messages", events=EVENTS),
        _load("responses", "Responses to Chat JSON", "responses>chat"),
        _load("responses-burst", "Responses to Chat stream", "responses>chat", events=EVENTS),
        _load("gemini", "Gemini to Chat JSON", "gemini>chat"),
        _load("gemini-burst", "Gemini to Chat stream", "gemini>chat", events=EVENTS),
        *FURTHER.values(),
        Suite(name="chat-paced", title="Chat", way="chat", kind="paced", events=EVENTS, core=True),
        Suite(name="messages-paced", title="Messages to Chat", way="messages>chat", kind="paced", events=EVENTS, core=True),
        _held(1_000, "chat", "streams-1000", "1,000 Chat streams"),
        _held(5_000, "chat", "streams-5000", "5,000 Chat streams"),
        _held(5_000, "messages>chat", "translated-5000", "5,000 streams, Messages to Chat"),
        Suite(name="workers", title="Chat JSON, several workers", way="chat", kind="workers"),
        Suite(name="latency", title="Chat, latency", way="chat", kind="latency", core=True),
    )
}
DIRECTIONS = ("losses", "chat-messages", "chat-messages-burst", "responses", "responses-burst", "gemini", "gemini-burst")
"""Those that have a table of their own."""


class Measured(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One suite, one contestant, one round. `cpu_us`: microseconds of CPU in the contestant's processes, per request;
    `event_us` per event; `busy`: share of its core that it used; `shares`: of the CPU time, what each of several processes has
    used, most first. `stream_kb`: resident memory for each open stream, in kB; `delivered`: share of the events asked for that
    arrived. Histograms are pairs of bucket and count, of nanoseconds; their names say what and over how many connections."""

    requests: int = 0
    cpu_us: float | None = None
    event_us: float | None = None
    per_second: float | None = None
    busy: float | None = None
    stream_kb: float | None = None
    delivered: float | None = None
    shares: list[float] = []
    failed: int = 0
    complaint: str = ""
    histograms: dict[str, list[tuple[int, int]]] = {}


class Bench(msgspec.Struct, frozen=True):
    """What a measurement needs. `seconds` is the length of one."""

    tools: Tools
    core: int | None
    folder: Path
    seconds: float

    def begin(self, suite: Suite, running: Running, load: Load, *, events: int = 0, pace: int = 0) -> generator.Asking:
        path = self.folder / "request"
        way = suite.way
        path.write_bytes(asked(running, dialect_of(way), upstream_of(way), events=events, pace=pace, size=suite.size))
        return generator.begin(self.tools, self.core, running.port, path, load)

    def load(self, suite: Suite, running: Running, load: Load, *, events: int = 0, pace: int = 0) -> Outcome:
        return self.begin(suite, running, load, events=events, pace=pace).outcome()


def measures(suite: Suite, contestant: Contestant) -> bool:
    """Whether the contestant can answer it. Without a gateway there is nothing but latency."""
    if (suite.kind == "workers") != (contestant.group == "workers"):
        return False
    if suite.way not in contestant.ways or (contestant.only and suite.name not in contestant.only):
        return False
    if contestant.launch is None:
        return suite.kind == "latency"
    return suite.streams <= contestant.most_streams


def expected_seconds(suite: Suite, seconds: float) -> float:
    """About how long it takes with a gateway that keeps up."""
    match suite.kind:
        case "load" | "workers":
            return _WARM_UP + seconds + 0.1
        case "paced":
            return 1.7
        case "held":
            return _ramp(suite) + HELD_SECONDS + 2.5
        case "latency":
            return 2 * len(LATENCIES) * seconds + 0.2


def measure(bench: Bench, suite: Suite, running: Running) -> Measured:
    """Raises `Failed` where the answers are not right in the first place."""
    events = suite.events
    wrong = ask(running, dialect_of(suite.way), upstream_of(suite.way), events=events, size=suite.size)
    if wrong:
        raise Failed(wrong)
    match suite.kind:
        case "load" | "workers":
            return _measure_load(bench, suite, running)
        case "paced":
            return _measure_paced(bench, suite, running)
        case "held":
            return _measure_held(bench, suite, running)
        case "latency":
            return _measure_latency(bench, suite, running)


def _measure_load(bench: Bench, suite: Suite, running: Running) -> Measured:
    connections = MANY if suite.kind == "workers" else CONNECTIONS
    bench.load(suite, running, Load(connections=connections, seconds=_WARM_UP, marks=suite.marks), events=suite.events)
    load = Load(connections=connections, seconds=bench.seconds, marks=suite.marks)
    spent = _Spent(running.pid)
    outcome = bench.load(suite, running, load, events=suite.events)
    return spent.over(outcome, events=suite.events)


def _measure_paced(bench: Bench, suite: Suite, running: Running) -> Measured:
    load = Load(connections=STREAMS, seconds=2, at_most=STREAMS, ramp=0.5, marks=suite.marks)
    spent = _Spent(running.pid)
    outcome = bench.load(suite, running, load, events=suite.events, pace=suite.pace)
    measured = spent.over(outcome, events=suite.events)
    measured.histograms = {"delay": outcome.delay}
    return measured


def _ramp(suite: Suite) -> float:
    """Seconds over which the streams begin: 2,000 a second. All are open for the rest of the first one's time."""
    return suite.streams / 2_000


def _measure_held(bench: Bench, suite: Suite, running: Running) -> Measured:
    ramp = _ramp(suite)
    load = Load(
        connections=suite.streams, seconds=ramp + HELD_SECONDS, at_most=suite.streams, ramp=ramp, marks=suite.marks
    )  # fmt: skip
    before = settled(running)
    spent = _Spent(running.pid)
    asking = bench.begin(suite, running, load, events=suite.events, pace=suite.pace)
    # When the last has begun and before the first has ended.
    time.sleep(ramp + (HELD_SECONDS - ramp) / 2)
    during = processes.memory_mb(processes.tree(running.pid))
    outcome = asking.outcome()
    measured = spent.over(outcome, events=suite.events)
    measured.stream_kb = (during - before) * 1024 / suite.streams
    measured.delivered = outcome.marks / (suite.streams * suite.events)
    measured.histograms = {"delay": outcome.delay}
    return measured


def _measure_latency(bench: Bench, suite: Suite, running: Running) -> Measured:
    measured = Measured()
    for connections, rate in LATENCIES.items():
        whole = bench.load(suite, running, Load(connections=connections, seconds=bench.seconds, rate=rate))
        load = Load(connections=connections, seconds=bench.seconds, rate=rate, marks=SHORT)
        stream = bench.load(suite, running, load, events=SHORT)
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
        after = processes.cpu_ns(processes.tree(self._pid))
        used = processes.used_between(self._before, after)
        each = sorted((processes.used_between(self._before, {pid: spent}) / used for pid, spent in after.items()), reverse=True)
        right = outcome.answered
        return Measured(
            requests=right,
            cpu_us=used / 1e3 / right if right else None,
            event_us=used / 1e3 / (right * events) if right and events else None,
            per_second=right / outcome.seconds,
            busy=used / 1e9 / outcome.seconds,
            shares=each if len(each) > 1 else [],
            failed=outcome.failed,
            complaint=outcome.complaint,
        )


def settled(running: Running) -> float:
    """Resident memory in MB, a moment after the last answer."""
    time.sleep(0.2)
    return processes.memory_mb(processes.tree(running.pid))
