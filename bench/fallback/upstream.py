"""The upstream in Python. Same arguments, same bytes as `native/upstream.c`, where both are explained.

python -m bench.fallback.upstream PORT FOLDER SECONDS
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import cast

import httptools

from bench.fallback import loop_factory

_EVENTS = re.compile(rb"events=(\d+)")
_PACE = re.compile(rb"pace=(\d+)")
_STREAMS = re.compile(rb'"stream": ?true')


class Script:
    """What is said, as it goes over the wire."""

    def __init__(self, folder: Path) -> None:
        self.whole, self.begin, self.event, self.end = (
            (folder / f"{name}.http").read_bytes() for name in ("whole", "begin", "event", "end")
        )
        self.before, _, self.after = self.event.partition(b"~" + b"0" * 19)

    def stamped(self) -> bytes:
        return b"%b~%019d%b" % (self.before, time.monotonic_ns(), self.after)


class _Connection(asyncio.Protocol):
    def __init__(self, script: Script) -> None:
        self._script = script
        self._body = self._url = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._body = self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        body, script, write = self._body, self._script, self._transport.write
        if _STREAMS.search(body) is None and b"stream" not in self._url:
            write(script.whole)
            return
        events, pace = _number(_EVENTS, body, 100), _number(_PACE, body, 0) / 1000
        if pace:
            write(script.begin)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(pace, self._tick, loop.time() + pace, events, pace)
        else:
            write(script.begin + script.event * events + script.end)

    def _tick(self, due: float, left: int, pace: float) -> None:
        if not left:
            self._transport.write(self._script.end)
            return
        self._transport.write(self._script.stamped())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due + pace, self._tick, due + pace, left - 1, pace)


def _number(pattern: re.Pattern[bytes], body: bytes, otherwise: int) -> int:
    found = pattern.search(body)
    return int(found[1]) if found else otherwise


async def serve(port: int, folder: Path, seconds: float) -> None:
    script = Script(folder)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(script), "127.0.0.1", port, backlog=1024)
    async with server:
        await asyncio.sleep(seconds)


def main(arguments: list[str]) -> int:
    port, folder, seconds = arguments
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(int(port), Path(folder), float(seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
