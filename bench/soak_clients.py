"""The traffic of a soak: clients of every dialect before providers of every dialect, and all that goes wrong between.

Each client is a coroutine that does one thing once; `Mix` picks the next one. What must succeed says so when it does not.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import httptools

from bench.exchanges import KEY, PATHS, Dialect, request, what_is_wrong

CLIENTS: tuple[Dialect, ...] = ("chat", "messages", "responses", "gemini")
PROVIDERS = ("chat", "messages", "responses", "gemini", "converse")
GOOD = ("text", "unicode", "thinking", "tools-one", "tools-two", "text-long", "usage-absent")
BAD = (
    "http-429", "http-503", "http-529", "http-502-html", "http-200-html", "error-midway", "error-first", "cut-midway",
    "cut-before-head", "reset-midway", "reset-before-head", "stall-midway", "slow-head", "style-bom", "tools-missing-id",
)  # fmt: skip
HELD = "held"
"""A stream that has said something, and then nothing more until its client leaves."""
ENDLESS = "endless"
_PATIENCE = 30.0


def model(scenario: str, provider: str) -> str:
    return f"{scenario}--{provider}"


def asking(dialect: Dialect, port: int, name: str, *, stream: bool, text: str = "Hello") -> bytes:
    """A request on the wire."""
    user = {"role": "user", "content": text}
    tree: dict[str, Any] = {"model": name, "stream": stream}
    match dialect:
        case "chat":
            tree |= {"messages": [user]}
        case "messages":
            tree |= {"messages": [user], "max_tokens": 100}
        case "responses":
            tree |= {"input": text, "store": False}
        case "gemini":
            tree = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    path = PATHS[dialect].replace("MODEL", name).replace("VERB", verb)
    return request(dialect, port, json.dumps(tree).encode(), path=path)


class Answer:
    """An answer as `httptools` reads it."""

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.type = ""
        self.whole = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.type = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True


class Clients:
    """All that clients do to a gateway on `port`. `seen` counts what happened, `wrong` what should not have."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self.port = port
        self.dice = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.probes: list[tuple[float, float]] = []
        """When a probe was sent, and what it took; seconds."""
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    # ------------------------------------------------------------ connections

    async def connect(self, *, receive: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """`receive`: the size of the kernel's buffer, for clients that read slowly."""
        if not receive:
            return await asyncio.open_connection("127.0.0.1", self.port)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=sock, limit=receive)

    async def exchange(self, asked: bytes) -> Answer:
        """One request over a kept connection, if one is at hand. One that the gateway has closed meanwhile, as it may with an
        idle one, says nothing: then over the next."""
        while self._kept:
            answer = await self._over(*self._kept.pop(), asked)
            if answer is not None:
                return answer
            self.seen["a kept connection had been closed"] += 1
        return await self._over(*await self.connect(), asked) or Answer()

    async def _over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> Answer | None:
        """None where not a byte came."""
        answer = Answer()
        said = False
        try:
            writer.write(asked)
            while not answer.whole:
                data = await reader.read(65536)
                if not data:
                    break
                said = True
                answer.feed(data)
        except BaseException:
            writer.close()
            raise
        if answer.whole and not reader.at_eof() and len(self._kept) < 16:
            self._kept.append((reader, writer))
        else:
            writer.close()
        return answer if said else None

    def close(self) -> None:
        while self._kept:
            self._kept.pop()[1].close()

    # ------------------------------------------------------------ what they do

    async def probe(self) -> None:
        """What must be answered rightly, whatever else happens. Over a connection of its own."""
        stream = self.dice.random() < 0.5
        dialect = self.dice.choice(CLIENTS)
        began = time.monotonic()
        answer = Answer()
        reader, writer = await self.connect()
        try:
            writer.write(asking(dialect, self.port, model("text", self.dice.choice(PROVIDERS)), stream=stream))
            while not answer.whole and (data := await reader.read(65536)):
                answer.feed(data)
        finally:
            writer.close()
        took = time.monotonic() - began
        if answer.status != 200 or not answer.whole:
            said = bytes(answer.body[:200]).decode(errors="replace")
            self.wrong.append(f"a probe ({dialect}) was answered with {answer.status}: {said}")
        elif what_is_wrong(dialect, 1 if stream else 0, answer.type, bytes(answer.body)).startswith("the answer ("):
            self.wrong.append(f"a probe ({dialect}) was answered with what cannot be read")
        self.probes.append((began, took))

    async def good(self) -> None:
        await self._asked(self.dice.choice(GOOD), must=True)

    async def bad(self) -> None:
        await self._asked(self.dice.choice(BAD))

    async def _asked(self, scenario: str, *, must: bool = False) -> None:
        dialect, provider, stream = self.dice.choice(CLIENTS), self.dice.choice(PROVIDERS), self.dice.random() < 0.6
        try:
            answer = await self.exchange(asking(dialect, self.port, model(scenario, provider), stream=stream))
        except (OSError, httptools.HttpParserError) as error:
            self.seen[f"{scenario}: {type(error).__name__}"] += 1
            return
        self.seen[f"{scenario}: {answer.status if answer.whole else 'broken off'}"] += 1
        if must and (answer.status >= 500 or answer.status == 0):
            said = bytes(answer.body[:200]).decode(errors="replace")
            self.wrong.append(f"{scenario}, {dialect} on {provider}: {answer.status} {said}")

    async def leaver(self) -> None:
        """Leaves in the middle of a stream, politely or not."""
        reader, writer = await self.connect()
        try:
            name = model(self.dice.choice([ENDLESS, HELD, "text-long"]), self.dice.choice(PROVIDERS))
            writer.write(asking(self.dice.choice(CLIENTS), self.port, name, stream=True))
            with suppress(TimeoutError):
                async with asyncio.timeout(self.dice.random()):
                    for _ in range(self.dice.randint(0, 4)):
                        if not await reader.read(4096):
                            break
            if self.dice.random() < 0.5:
                _reset_on_close(writer)
            self.seen["left"] += 1
        finally:
            writer.close()

    async def slow(self) -> None:
        """Reads much more slowly than the provider speaks, then leaves."""
        reader, writer = await self.connect(receive=4096)
        try:
            writer.write(asking(self.dice.choice(CLIENTS), self.port, model(ENDLESS, self.dice.choice(PROVIDERS)), stream=True))
            for _ in range(20):
                if not await reader.read(512):
                    break
                await asyncio.sleep(0.05)
            self.seen["slow"] += 1
        finally:
            writer.close()

    async def nonsense(self) -> None:
        """Bodies that are none, requests that are none, uploads that stop."""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
        head += "Content-Type: application/json\r\n"
        said = self.dice.choice(
            [
                (head + 'Content-Length: 9\r\n\r\n{"model":').encode(),
                (head + "Content-Length: 2\r\n\r\n[]").encode(),
                (head + "Content-Length: 1000\r\n\r\n{").encode(),
                (head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n").encode(),
                (head + 'Content-Length: 23\r\n\r\n{"model":"nobody-there"}').encode(),
                b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n" * 3,
                b"\x16\x03\x01\x02\x00\x01\x00",
                b"POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
                b"",
            ]
        )
        reader, writer = await self.connect()
        try:
            writer.write(said)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await reader.read(4096)
            self.seen["nonsense"] += 1
        finally:
            writer.close()

    async def abandoned(self, count: int, at_once: int = 100) -> int:
        """So many streams, open together, then left together. Returns how many had begun."""
        opened: list[asyncio.StreamWriter] = []
        begun = 0
        gate = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            nonlocal begun
            async with gate:
                reader, writer = await self.connect()
                opened.append(writer)
                dialect = CLIENTS[number % len(CLIENTS)]
                name = model(HELD, PROVIDERS[number // len(CLIENTS) % len(PROVIDERS)])
                writer.write(asking(dialect, self.port, name, stream=True))
                said = await reader.read(4096)
                begun += said.startswith(b"HTTP/1.1 200")

        try:
            await asyncio.gather(*(one(number) for number in range(count)))
        finally:
            for number, writer in enumerate(opened):
                if number % 2:
                    _reset_on_close(writer)
                writer.close()
        return begun


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Mix:
    """So many clients at once, each doing one thing after the other until `until` (seconds of `time.monotonic`)."""

    def __init__(self, clients: Clients, at_once: int) -> None:
        self._clients = clients
        self._at_once = at_once
        does: Sequence[tuple[Callable[[], Awaitable[None]], int]] = (
            (clients.good, 10), (clients.bad, 6), (clients.leaver, 4), (clients.slow, 1), (clients.nonsense, 2),
        )  # fmt: skip
        self._kinds = [kind for kind, _ in does]
        self._weights = [weight for _, weight in does]

    async def run(self, until: float, on_second: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._worker(until))
            group.create_task(self._prober(until, on_second))

    async def _worker(self, until: float) -> None:
        while time.monotonic() < until:
            (kind,) = self._clients.dice.choices(self._kinds, self._weights)
            await self._bounded(kind)

    async def _prober(self, until: float, on_second: Callable[[], None]) -> None:
        number = 0
        while time.monotonic() < until:
            if number % 5 == 0:
                on_second()
            number += 1
            await self._bounded(self._clients.probe)
            await asyncio.sleep(0.2)

    async def _bounded(self, kind: Callable[[], Awaitable[None]]) -> None:
        name = getattr(kind, "__name__", "?")
        try:
            async with asyncio.timeout(_PATIENCE):
                await kind()
        except TimeoutError:
            self._clients.wrong.append(f"{name}: nothing within {_PATIENCE:g} s")
        except (ConnectionError, httptools.HttpParserError) as error:
            if name in {"probe", "good"}:
                self._clients.wrong.append(f"{name}: {error!r}")
            self._clients.seen[f"{name}: {type(error).__name__}"] += 1
