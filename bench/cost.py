"""What the core costs, beside a fixed piece of pure Python measured in the same moment: `python -m bench.cost`.

No socket, no server: requests are handed to the gateway as a driver would, and a transport that has every answer at hand stands
for the provider. What is kept (`cost.json`) are ratios, CPU time of a request by that of the reference, so that they mean the
same on a slow and on a fast machine. A test fails where one is more than twice what it was (`tests/bench/test_bench_cost.py`).

    python -m bench.cost              measures, and compares with what is kept
    python -m bench.cost --write      and keeps what was measured
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from bench.answers import answer_files
from bench.exchanges import CHAT_MODEL, KEY, PATHS, Dialect, Size, body
from dragoman.config import load
from dragoman.io.engine import Engine
from dragoman.wire.http import Head, Inbound, Outbound, RawHeaders, Transport, UpstreamRequest

KEPT = Path(__file__).with_name("cost.json")
BAND = 2.0
ROUNDS = 12
MORE = 3
"""So often again as many rounds, where a ratio is beyond its band: a busy machine lets the smallest come late."""
_EVENTS = 100
_PIECE = 16_384
"""Bytes that a read of a socket gives at most."""
_CONFIG = {
    "auto": False,
    "keys": [{"name": "bench", "key": KEY}],
    "providers": {"up": {"dialect": "chat", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-bench-upstream-0001"}},
    "models": {CHAT_MODEL: f"up/{CHAT_MODEL}"},
    "local": {"enabled": False},
    "store": {"enabled": False},
}
CASES: dict[str, tuple[Dialect, Size, int, int]] = {
    "verbatim": ("chat", "small", 0, 60),
    "translated": ("messages", "small", 0, 40),
    "translated, 66 kB": ("messages", "large", 0, 10),
    "verbatim burst": ("chat", "small", _EVENTS, 30),
    "translated burst": ("messages", "small", _EVENTS, 10),
}
"""Client's dialect, size, events, and how many requests make up one measurement."""


def reference() -> int:
    """The fixed piece: names, numbers, text and small containers, as any Python program has them. About 20 microseconds."""
    found: dict[str, int] = {}
    total = 0
    for number in range(60):
        name = f"key{number % 17}"
        found[name] = found.get(name, 0) + len(name)
        total += found[name] * (number & 7)
    words = ["a", "line", "of", "plain", "text", "that", "is", "cut", "into", "words"]
    return total + len(" ".join(sorted(words)).encode())


_REFERENCES = 250


class _Canned:
    """An exchange whose whole answer is at hand. `wire.http.Exchange`."""

    def __init__(self, head: Head, pieces: Sequence[bytes]) -> None:
        self._head = head
        self._left = iter(pieces)

    async def head(self, wait: float) -> Head | None:  # noqa: ARG002
        return self._head

    async def read(self, wait: float) -> bytes | None:  # noqa: ARG002
        return next(self._left, b"")

    def at_hand(self) -> bytes | None:
        return b"".join(self._left)

    def close(self) -> None: ...


class _Provider(Transport):
    def __init__(self, events: int) -> None:
        files = answer_files()
        if events:
            said = _unchunked(files["begin.http"].partition(b"\r\n\r\n")[2] + files["event.http"] * events + files["end.http"])
            kind = b"text/event-stream; charset=utf-8"
        else:
            said, kind = files["whole.http"].partition(b"\r\n\r\n")[2], b"application/json"
        self._headers: RawHeaders = [(b"content-type", kind), (b"x-request-id", b"req_1")]
        self._pieces = [said[at : at + _PIECE] for at in range(0, len(said), _PIECE)]

    async def open(self, request: UpstreamRequest, wait: float = math.inf) -> _Canned:  # noqa: ARG002
        return _Canned(Head(200, list(self._headers)), self._pieces)

    async def aclose(self) -> None: ...


def _unchunked(stream: bytes) -> bytes:
    said = b""
    while stream:
        size, _, rest = stream.partition(b"\r\n")
        length = int(size, 16)
        said += rest[:length]
        stream = rest[length + 2 :]
    return said


class _Client(Outbound):
    """Counts what it is given."""

    def __init__(self) -> None:
        self.status = 0
        self.marks = 0

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:  # noqa: ARG002
        self.status = status

    async def write(self, data: bytes) -> None:
        self.marks += data.count(b"~")

    async def finish(self, data: bytes = b"") -> None:
        self.marks += data.count(b"~")

    def bound(self, seconds: float) -> None: ...

    def abort(self) -> None:
        self.status = 0


def _inbound(dialect: Dialect, content: bytes) -> Inbound:
    key = (b"authorization", f"Bearer {KEY}".encode()) if dialect == "chat" else (b"x-api-key", KEY.encode())
    path = PATHS[dialect]
    headers = [(b"host", b"127.0.0.1:4000"), (b"content-type", b"application/json"), (b"user-agent", b"bench"), key]
    return Inbound(method="POST", path=path, raw_path=path.encode(), query=b"", headers=headers, body=content)


class _Case:
    """Requests of one kind to a gateway of its own."""

    def __init__(self, dialect: Dialect, size: Size, events: int, repeat: int) -> None:
        self.repeat = repeat
        self._engine = Engine(load(json.dumps(_CONFIG), ".json", {}, "cost"), transport=_Provider(events))
        self._body = body(dialect, size, events=events)
        self._inbound = _inbound(dialect, self._body)
        self._marks = events or 1

    async def once(self) -> None:
        client = _Client()
        self._inbound.body = self._body  # the gateway lets go of what it has passed on
        await self._engine.gateway.handle(self._inbound, client)
        if client.status != 200 or client.marks != self._marks:
            raise SystemExit(f"cost: answered with {client.status} and {client.marks} of {self._marks} marks")

    async def run(self) -> None:
        for _ in range(self.repeat):
            await self.once()

    async def aclose(self) -> None:
        await self._engine.aclose()


class Meter:
    """The smallest CPU times seen, in seconds: of the reference, and of a request of each case."""

    def __init__(self) -> None:
        self.reference = math.inf
        self.cases = dict.fromkeys(CASES, math.inf)

    async def measure(self, cases: dict[str, _Case], rounds: int) -> None:
        """Interleaved, so that a slow moment of the machine is everybody's."""
        for _ in range(rounds):
            self.reference = min(self.reference, await _spent(_references) / _REFERENCES)
            for name, case in cases.items():
                self.cases[name] = min(self.cases[name], await _spent(case.run) / case.repeat)

    def ratios(self) -> dict[str, float]:
        return {name: used / self.reference for name, used in self.cases.items()}


async def _references() -> None:
    for _ in range(_REFERENCES):
        reference()


async def _spent(work: Callable[[], Awaitable[None]]) -> float:
    """CPU time of this process, in seconds."""
    began = time.process_time()
    await work()
    return time.process_time() - began


async def measured(kept: dict[str, float], band: float = BAND) -> Meter:
    """Measures until every ratio is within the band, or it has been tried often enough."""
    cases = {name: _Case(*how) for name, how in CASES.items()}
    meter = Meter()
    try:
        for case in cases.values():
            await case.once()
        gc.collect()
        gc.disable()
        try:
            for _ in range(1 + MORE):
                await meter.measure(cases, ROUNDS)
                if not beyond(meter.ratios(), kept, band):
                    break
        finally:
            gc.enable()
    finally:
        for case in cases.values():
            await case.aclose()
    return meter


def beyond(ratios: dict[str, float], kept: dict[str, float], band: float = BAND) -> list[str]:
    """What costs more than `band` times what it did, as sentences; and what is not kept at all."""
    found = [f"{name}: nothing is kept of it; say `python -m bench.cost --write`" for name in ratios if name not in kept]
    return found + [
        f"{name}: {ratio:.2f} times the reference, where {kept[name]:.2f} is kept ({ratio / kept[name]:.1f} times as much)"
        for name, ratio in ratios.items()
        if name in kept and ratio > band * kept[name]
    ]


def keep() -> dict[str, float]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def main(said: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description="What the core costs, by a fixed reference.")
    parser.add_argument("--write", action="store_true", help="keep what was measured")
    options = parser.parse_args(said)
    kept = keep()
    meter = asyncio.run(measured({} if options.write else kept))
    ratios = meter.ratios()
    print(f"reference: {meter.reference * 1e6:.2f} us")
    for name, ratio in ratios.items():
        events = CASES[name][2]
        per = f", {ratio * meter.reference * 1e6 / events:.2f} us an event" if events else ""
        beside = f"{ratio:.2f} times the reference, kept {kept.get(name, 0):.2f}"
        print(f"{name:20} {ratio * meter.reference * 1e6:9.1f} us{per}; {beside}")
    if options.write:
        KEPT.write_text(json.dumps({name: round(ratio, 2) for name, ratio in ratios.items()}, indent=2) + "\n")
        return 0
    wrong = beyond(ratios, kept)
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
