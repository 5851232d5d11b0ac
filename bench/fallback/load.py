"""The load generator in Python. Same arguments, same output as `native/load.c`, where both are explained.

    python -m bench.fallback.load PORT REQUEST-FILE CONNECTIONS SECONDS RATE AT-MOST RAMP MARKS

It costs about as much as the gateway that it drives, so it finds what a request costs but not how many a core could take.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httptools

from bench.fallback import loop_factory
from bench.stats import Histogram

_GIVE_UP = 200
_STAMP = re.compile(rb"~(\d{19});")
_SECOND = 1_000_000_000
_PATIENCE = 10 * _SECOND


class Load:
    """All connections together. Times in nanoseconds of `time.monotonic_ns`."""

    def __init__(
        self, port: int, request: bytes, connections: int, seconds: float, rate: float, at_most: int, ramp: float, marks: int
    ) -> None:
        self.port = port
        self.request = request
        self.rate = rate
        self.at_most = at_most
        self.ramp = ramp
        self.marks = marks
        self.sent = self.answered = self.refused = self.wrong = self.broken = self.seen = self.active = 0
        self.complaint = ""
        self.latency, self.first_byte, self.delay = Histogram(), Histogram(), Histogram()
        self.connections = [_Connection(self) for _ in range(connections)]
        self.began = time.monotonic_ns()
        self.end = self.began + int(seconds * _SECOND)
        self.freed = asyncio.Event()

    def may_send(self) -> bool:
        return time.monotonic_ns() < self.end and (not self.at_most or self.sent < self.at_most) and self.broken < _GIVE_UP

    def complain(self, sentence: str) -> None:
        self.complaint = self.complaint or sentence

    async def run(self) -> None:
        if self.rate:
            await self._open()
        else:
            await self._closed()
            await self._while(self.may_send, self.end)
        await self._while(lambda: self.active > 0, self.end + _PATIENCE)

    async def _while(self, going: Callable[[], bool], until: int) -> None:
        """Looks again after each answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, (until - time.monotonic_ns()) / _SECOND)):
                while going():
                    self.freed.clear()
                    await self.freed.wait()

    async def _closed(self) -> None:
        for number, connection in enumerate(self.connections):
            await _sleep_until(self.began + int(self.ramp * _SECOND) * number // len(self.connections))
            if self.may_send():
                await connection.send(time.monotonic_ns())

    async def _open(self) -> None:
        scheduled = 0
        while self.may_send():
            due = self.began + int(scheduled * _SECOND / self.rate)
            if due >= self.end:
                return
            await _sleep_until(due)
            free = next((one for one in self.connections if not one.busy), None)
            if free is None:
                self.freed.clear()
                await self.freed.wait()
            elif self.may_send():
                await free.send(due)
                scheduled += 1

    def result(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "sent": self.sent,
            "answered": self.answered,
            "refused": self.refused,
            "wrong": self.wrong,
            "broken": self.broken,
            "unfinished": self.active,
            "marks": self.seen,
            "seconds": (time.monotonic_ns() - self.began) / _SECOND,
            "cpu": used.ru_utime + used.ru_stime,
            "complaint": self.complaint,
            "latency": self.latency.pairs(),
            "first_byte": self.first_byte.pairs(),
            "delay": self.delay.pairs(),
        }


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._due = 0
        self._pieces: list[bytes] = []
        self._framed = False
        self.busy = False

    async def send(self, due: int) -> None:
        self._begin(due)
        if self._transport is None:
            self._parser = httptools.HttpResponseParser(self)
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._load.port)
            except OSError as error:
                self._fail(f"connecting failed: {error.strerror}")
                return
        assert self._transport is not None
        self._transport.write(self._load.request)

    def _begin(self, due: int) -> None:
        self._load.sent += 1
        self._load.active += 1
        self.busy = True
        self._due = due
        self._pieces = []
        self._framed = False

    def _next(self) -> None:
        """The next request of a closed loop."""
        load = self._load
        load.freed.set()
        if not load.rate and load.may_send():
            if self._transport is None:
                self._sending = asyncio.get_running_loop().create_task(self.send(time.monotonic_ns()))
            else:
                self._begin(time.monotonic_ns())
                self._transport.write(load.request)

    def _fail(self, sentence: str) -> None:
        self._load.complain(sentence)
        self._load.broken += 1
        self._load.active -= 1
        self.busy = False
        self._load.freed.set()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.busy:
                self._fail(f"what was answered is not HTTP: {error}")
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.busy and self._pieces and not self._framed and exc is None:
            self._finish(close=True)
        elif self.busy:
            self._fail(f"an answer broke off: {exc or 'closed'}")
            self._next()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # httptools

    def on_body(self, body: bytes) -> None:
        now = time.monotonic_ns()
        if not self._pieces and self._parser.get_status_code() == 200:
            self._load.first_byte.note(now - self._due)
        self._pieces.append(body)
        # A stamp that was cut in two is not timed, but counted with the others at the end.
        for digits in _STAMP.findall(body):
            sent = int(digits)
            if 0 < sent < now:
                self._load.delay.note(now - sent)

    def on_header(self, name: bytes, _: bytes) -> None:
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_message_complete(self) -> None:
        if self.busy and self._parser.get_status_code() >= 200:
            self._finish(close=not self._parser.should_keep_alive())

    def _finish(self, *, close: bool) -> None:
        load, status = self._load, self._parser.get_status_code()
        marks = sum(piece.count(b"~") for piece in self._pieces)
        load.active -= 1
        load.seen += marks
        self.busy = False
        if status != 200:
            load.refused += 1
            load.complain(f"answered with status {status}")
        elif marks != load.marks:
            load.wrong += 1
            load.complain(f"marks in an answer: {marks}")
        else:
            load.answered += 1
            load.latency.note(time.monotonic_ns() - self._due)
        if close:
            self._close()
        self._next()


async def _sleep_until(at: int) -> None:
    # A timer may fire up to its resolution (a millisecond on uvloop) too early.
    while (left := at - time.monotonic_ns()) > 0:  # noqa: ASYNC110  it is the time that is waited for
        await asyncio.sleep(left / _SECOND)


def main(arguments: list[str]) -> int:
    port, path, connections, seconds, rate, at_most, ramp, marks = arguments
    content = Path(path).read_bytes()

    async def go() -> Load:
        load = Load(int(port), content, int(connections), float(seconds), float(rate), int(at_most), float(ramp), int(marks))
        await load.run()
        return load

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        load = runner.run(go())
    print(json.dumps(load.result()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
