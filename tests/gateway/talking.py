"""How the tests of this folder talk to a gateway: bytes in, bytes out, with nothing that a friendly client would mend."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
from collections.abc import Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from dragoman.flow.call import Report
from dragoman.logs import Log, setup
from dragoman.testing import VOICES, View
from tests.serving import PATIENCE, Served

T = TypeVar("T")
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
DIALECTS = tuple(PATHS)
Pairs = Sequence[tuple[str, str]]


class Said(msgspec.Struct):
    """An answer. `whole` is false when its connection broke before its end."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Of an error in either dialect."""
        return self.json["error"]["message"]

    def view(self, dialect: str) -> View:
        """What a strict client makes of it."""
        voice = VOICES[dialect]
        return (
            voice.fold(self.body)
            if (self.header("content-type") or "").startswith(("text/event-stream", "application/vnd.amazon.eventstream"))
            else voice.read(self.body)
        )


class Stream:
    """An answer that is still coming."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = response.getheaders()
        self.seen = b""

    def until(self, needle: bytes) -> bytes:
        """All that has come, once the needle has."""
        while needle not in self.seen:
            piece = self._response.read1(65536)
            assert piece, f"the answer ended without {needle!r}: {self.seen!r}"
            self.seen += piece
        return self.seen

    def rest(self) -> Said:
        """The whole answer, to its end."""
        whole = True
        try:
            while piece := self._response.read1(65536):
                self.seen += piece
        except (http.client.IncompleteRead, ConnectionError):
            whole = False
        return Said(self.status, self.headers, self.seen, whole)

    def leave(self) -> None:
        """Hang up in the middle, as a client that is stopped does."""
        self._response.close()
        self._connection.close()


@contextmanager
def sending(
    served: Served, method: str, target: str, headers: Pairs = (), body: bytes | None = None
) -> Generator[http.client.HTTPConnection]:
    """The request, sent with exactly these headers beside Host and Content-Length."""
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        yield connection
    finally:
        connection.close()


@contextmanager
def streaming(served: Served, method: str, target: str, headers: Pairs = (), body: bytes | None = None) -> Generator[Stream]:
    with sending(served, method, target, headers, body) as connection:
        response = connection.getresponse()
        try:
            yield Stream(connection, response)
        finally:
            response.close()


def say(served: Served, method: str, target: str, headers: Pairs = (), body: bytes | None = None) -> Said:
    with streaming(served, method, target, headers, body) as stream:
        return stream.rest()


def question(model: str, *, stream: bool = True, **more: Any) -> dict[str, Any]:
    """A body that both dialects understand."""
    return {"model": model, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": "Hi"}], **more}


JSON = ("content-type", "application/json")


def ask(
    served: Served, dialect: str, model: str, *, stream: bool = True, headers: Pairs = (), more: Mapping[str, Any] | None = None
) -> Said:
    body = json.dumps(question(model, stream=stream, **(more or {}))).encode()
    return say(served, "POST", PATHS[dialect], [JSON, *headers], body)


@contextmanager
def asking(served: Served, dialect: str, model: str, *, headers: Pairs = ()) -> Generator[Stream]:
    body = json.dumps(question(model)).encode()
    with streaming(served, "POST", PATHS[dialect], [JSON, *headers], body) as stream:
        yield stream


def raw(served: Served, data: bytes) -> bytes:
    """All that comes back for these bytes, until the gateway closes the connection."""
    parts = urlsplit(served.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


class Reports:
    """What the gateway reports of its requests, one after the other."""

    def __init__(self, served: Served) -> None:
        self._all: list[Report] = []
        self._came = threading.Condition()
        core = served.engine.gateway.core
        logged = core.observe

        def observe(report: Report) -> None:
            logged(report)
            with self._came:
                self._all.append(report)
                self._came.notify_all()

        core.observe = observe

    def __len__(self) -> int:
        return len(self._all)

    def of(self, request_id: str) -> Report:
        """The report of this request, once it is there."""
        with self._came:
            assert self._came.wait_for(lambda: self._find(request_id) is not None, PATIENCE), f"nothing of {request_id}"
            found = self._find(request_id)
            assert found is not None
            return found

    def last(self, count: int) -> Report:
        """The report that is number `count`, once there are so many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self._all) >= count, PATIENCE), f"{len(self._all)} reports"
            return self._all[count - 1]

    def _find(self, request_id: str) -> Report | None:
        return next((one for one in self._all if one.request_id == request_id), None)


@contextmanager
def logging_to(lines: list[dict[str, Any]]) -> Generator[None]:
    """What the gateway logs, as it would stand in its file; the lines are there at the end."""
    stream = io.StringIO()
    close = setup(Log(level="debug", format="json"), stream=stream)
    try:
        yield
    finally:
        close()
        lines += [json.loads(line) for line in stream.getvalue().splitlines()]


class Tasks:
    """The tasks of the gateway's loop at one moment."""

    def __init__(self, served: Served) -> None:
        self._loop = served.loop
        self._before = self._run(self._others())

    def settled(self) -> bool:
        """Whether every task that has come since then ends by itself."""

        async def ended() -> bool:
            new = await self._others() - self._before
            return not new or not (await asyncio.wait(new, timeout=PATIENCE / 2))[1]

        return self._run(ended())

    async def _others(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[operator]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


def lines(body: bytes) -> Iterator[bytes]:
    """The events of a stream, as they stand."""
    return (event for event in body.split(b"\n\n") if event)
