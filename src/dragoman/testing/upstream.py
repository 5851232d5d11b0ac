"""The scripted upstream: a server on a real socket that answers with scenarios and remembers what it was asked.

    async with ScriptedUpstream() as upstream:
        upstream.script("http-529", "text")          # the next two requests
        ...                                          # point a client at f"{upstream.url}/v1"
        assert upstream.requests[0].json["model"] == "gpt-6-sol"

Which scenario answers a request, first match first: the queue that `script(...)` filled; `script(..., model=name)`; a model
called `scenario:NAME` or `NAME` after one of the library; `script(..., default=True)`, at first `text`. What is spoken follows
from the path: `.../chat/completions`, `.../completions`, `.../messages`, `.../models/NAME:generateContent`,
`/model/NAME/converse`, whatever stands before. `.../models`, `.../messages/count_tokens`, `.../input_tokens`, `...:countTokens`
and `.../count-tokens` answer too, so do `.../embeddings`, `...:embedContent` and `...:batchEmbedContents` (see `vector_of`),
and any other request is answered with a description of itself.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import difflib
import json
import ssl as tls
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import msgspec

from dragoman.testing.connection import ClosedEarly, Connection, Wire
from dragoman.testing.http1 import Framing, Request
from dragoman.testing.library import SCENARIOS
from dragoman.testing.library_faults import GATE
from dragoman.testing.scenario import HttpError, Rendered, Scenario, Waitable
from dragoman.testing.speak_embeddings import heard_embeddings, render_embeddings
from dragoman.testing.speak_gemini import as_array
from dragoman.testing.voices import heard, models_body

_T = TypeVar("_T")
PREFIX = "scenario:"
PATIENCE = 5.0
"""How many seconds a wait for the client lasts unless it is told otherwise."""


class Flaky:
    """Fails at first. `Flaky(2)` answers two requests with `http-503`, and every later one with `text`."""

    def __init__(
        self, first_n_fail: int, error: Scenario | str | HttpError = "http-503", then: Scenario | str = "text"
    ) -> None:
        self._left = first_n_fail
        self._error = Scenario("flaky", (error,)) if isinstance(error, HttpError) else error
        self._then = then

    def next(self) -> Scenario | str:
        if self._left > 0:
            self._left -= 1
            return self._error
        return self._then

    @property
    def healed(self) -> bool:
        """Whether it has failed as often as it should."""
        return self._left == 0


Script: TypeAlias = Scenario | str | Flaky | Callable[[Request], "Scenario | str"]


class Connections(msgspec.Struct):
    """How many connections were ever opened, how many still are, and which clients left while they were answered."""

    opened: int = 0
    open: int = 0
    closed_early: list[ClosedEarly] = []

    @property
    def closed(self) -> int:
        return self.opened - self.open


class ScriptedUpstream:
    """`split`, `framing`, ... as in `Wire`. `ssl` is a server's context; `models` what `.../models` lists (the library's
    scenarios, by default). `keep` bounds `requests`: the oldest are forgotten."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        split: str = "event",
        framing: Framing = "auto",
        keep_alive: bool = True,
        gzip: bool = False,
        pace: float = 0.0,
        requests_per_connection: int | None = None,
        send_buffer: int | None = None,
        ssl: tls.SSLContext | None = None,
        models: Sequence[str] | None = None,
        keep: int = 10_000,
    ) -> None:
        self.wire = Wire(split, framing, keep_alive, gzip, pace, requests_per_connection, send_buffer)
        self.requests: list[Request] = []
        self.connections = Connections()
        self.bytes_written = 0
        """Bytes of answers' bodies that the kernel has taken."""
        self._address = (host, port)
        self._ssl = ssl
        self._models = list(models) if models is not None else [PREFIX + name for name in SCENARIOS]
        self._keep = keep
        self._queue: deque[Script] = deque()
        self._by_model: dict[str, Script] = {}
        self._default: Script = "text"
        self._fixed: dict[str, Rendered] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, int] = {}
        self._watchers: set[asyncio.Future[None]] = set()
        self._live: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._url = ""

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._address
        self._server = await loop.create_server(lambda: Connection(self), host, port, ssl=self._ssl)
        port = self._server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self._url = f"{'https' if self._ssl else 'http'}://{shown}:{port}"

    async def aclose(self) -> None:
        """Closes the socket and every connection, and waits until none is left."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks: list[asyncio.Task[None]] = []
        for connection in list(self._live):
            if connection.transport is not None:
                connection.transport.abort()
            if connection.task is not None:
                connection.task.cancel()
                tasks.append(connection.task)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._until(lambda: not self._live, PATIENCE)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @classmethod
    def in_thread(cls, **options: Any) -> ThreadedUpstream:
        """The same for code without an event loop: a context manager, on a thread of its own. Options as for the class."""
        return ThreadedUpstream(cls(**options))

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a path."""
        return self._url

    @property
    def port(self) -> int:
        return int(self._url.rpartition(":")[2])

    # ------------------------------------------------------------ the script

    def script(self, *scripts: Script, model: str | None = None, default: bool = False) -> None:
        """What to answer: the next requests in turn; or every request for `model`; or, with `default`, every other one.
        Names are those of `SCENARIOS`. Raises `LookupError` for one that is not there."""
        for script in scripts:
            if isinstance(script, str):
                named(script)
        if model is None and not default:
            self._queue.extend(scripts)
            return
        (script,) = scripts
        if default:
            self._default = script
        if model is not None:
            self._by_model[model] = script

    def on(self, path: str, status: int = 200, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        """A fixed answer to every request whose path ends in `path`; it goes before any scenario."""
        self._fixed[path] = Rendered(status, tuple(headers), (body,))

    def open_gate(self, name: str = GATE) -> None:
        """Lets go what is stalled at this gate, and whatever comes to it later."""
        self._gate(name).set()

    def shut_gate(self, name: str = GATE) -> None:
        self._gate(name).clear()

    # ------------------------------------------------------------ waiting for the client

    async def wait_for_requests(self, count: int, timeout: float = PATIENCE) -> list[Request]:
        """The requests, once there are `count`. Raises `TimeoutError`."""
        await self._until(lambda: len(self.requests) >= count, timeout)
        return self.requests

    async def closed_early(self, timeout: float = PATIENCE, *, count: int = 1) -> ClosedEarly:
        """The `count`th time that a client left while it was being answered. Raises `TimeoutError`."""
        await self._until(lambda: len(self.connections.closed_early) >= count, timeout)
        return self.connections.closed_early[count - 1]

    async def reached(self, gate: str = GATE, timeout: float = PATIENCE) -> None:
        """Returns when an answer is stalled at the gate: all that comes before it has been written."""
        await self._until(lambda: self._waiting.get(gate, 0) > 0, timeout)

    async def all_closed(self, timeout: float = PATIENCE) -> None:
        """Returns when no connection is open."""
        await self._until(lambda: self.connections.open == 0, timeout)

    async def settled(self, quiet: float = 0.3, timeout: float = PATIENCE) -> int:
        """`bytes_written`, once it has not grown for `quiet` seconds: a client that does not read has stopped us."""
        async with asyncio.timeout(timeout):
            while True:
                before = self.bytes_written
                with suppress(TimeoutError):
                    await self._until(lambda: self.bytes_written != before, quiet)  # noqa: B023
                if self.bytes_written == before:
                    return before

    async def _until(self, holds: Callable[[], bool], timeout: float) -> None:
        async with asyncio.timeout(timeout):
            while not holds():
                watcher = asyncio.get_running_loop().create_future()
                self._watchers.add(watcher)
                try:
                    await watcher
                finally:
                    self._watchers.discard(watcher)

    def _changed(self) -> None:
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    # ------------------------------------------------------------ called by the connections

    def connected(self, connection: Connection) -> int:
        self._live.add(connection)
        self.connections.opened += 1
        self.connections.open += 1
        self._changed()
        return self.connections.opened

    def lost(self, connection: Connection) -> None:
        self._live.discard(connection)
        self.connections.open -= 1
        self._changed()

    def left(self, event: ClosedEarly) -> None:
        self.connections.closed_early.append(event)
        self._changed()

    def wrote(self, request: Request, size: int) -> None:
        request.sent += size
        self.bytes_written += size
        self._changed()

    async def hold(self, on: float | str | Waitable) -> None:
        match on:
            case str():
                self._waiting[on] = self._waiting.get(on, 0) + 1
                self._changed()
                try:
                    await self._gate(on).wait()
                finally:
                    self._waiting[on] -= 1
            case float() | int():
                await asyncio.sleep(on)
            case _:
                await on.wait()

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def answer(self, request: Request) -> Rendered:
        self.requests.append(request)
        del self.requests[: -self._keep]
        rendered = self._decide(request)
        self._changed()
        return rendered

    def _decide(self, request: Request) -> Rendered:
        path = request.path
        fixed = next((answer for suffix, answer in self._fixed.items() if path.endswith(suffix)), None)
        if fixed is not None:
            return fixed
        body = request.json
        talk = heard(request.method, path, body if isinstance(body, dict) else None)
        if talk is not None:
            voice, ask = talk
            chosen = self._choose(request, ask.model)
            request.scenario = chosen.name
            rendered = voice.render(chosen, ask)
            if voice.name == "gemini" and ask.stream and "alt=sse" not in request.query and rendered.status == HTTPStatus.OK:
                rendered = as_array(rendered)  # as Google's servers stream to who does not ask for events
            return msgspec.structs.replace(rendered, split=chosen.split) if chosen.split else rendered
        embed = heard_embeddings(request)
        if embed is not None:
            chosen = self._choose(request, embed.model)
            request.scenario = chosen.name
            return render_embeddings(chosen, embed)
        if path.endswith("/messages/count_tokens") and request.method == "POST":
            # A crude count, but the same for the same body.
            return _json({"input_tokens": max(1, len(request.body) // 4)})
        if path.endswith("/input_tokens") and request.method == "POST":
            return _json({"object": "response.input_tokens", "input_tokens": max(1, len(request.body) // 4)})
        if path.endswith("/count-tokens") and request.method == "POST":
            return _json({"inputTokens": max(1, len(request.body) // 4)})
        if path.endswith(":countTokens") and request.method == "POST":
            return _json({"totalTokens": max(1, len(request.body) // 4)})
        if path.endswith("/models") and request.method in ("GET", "HEAD"):
            lowered = {name.lower(): value for name, value in request.headers}
            return Rendered(200, (("content-type", "application/json"),), (models_body(self._models, lowered),))
        return _json(describe(request))

    def _choose(self, request: Request, model: str) -> Scenario:
        script: Script
        if self._queue:
            script = self._queue[0]
            if not isinstance(script, Flaky):
                self._queue.popleft()
        elif model in self._by_model:
            script = self._by_model[model]
        elif model.startswith(PREFIX) or model in SCENARIOS:
            script = model.removeprefix(PREFIX)
        else:
            script = self._default
        if isinstance(script, Flaky):
            if self._queue and self._queue[0] is script and script.healed:
                self._queue.popleft()
            script = script.next()
        elif callable(script):
            script = script(request)
        if isinstance(script, Scenario):
            return script
        try:
            return named(script)
        except LookupError as error:
            return Scenario("unknown", (HttpError(404, str(error)),))


class ThreadedUpstream:
    """A `ScriptedUpstream` on a thread of its own, with the same names; what is awaited there returns here."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait(self._upstream.start())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._wait(self._upstream.aclose())
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _do(self, action: Callable[[], _T]) -> _T:
        async def done() -> _T:
            return action()

        return self._wait(done())

    @property
    def url(self) -> str:
        return self._upstream.url

    @property
    def port(self) -> int:
        return self._upstream.port

    @property
    def requests(self) -> list[Request]:
        """The requests so far: a copy."""
        return self._do(lambda: list(self._upstream.requests))

    @property
    def connections(self) -> Connections:
        """The connections so far: a copy."""
        return self._do(lambda: copy.copy(self._upstream.connections))

    @property
    def bytes_written(self) -> int:
        return self._upstream.bytes_written

    def script(self, *scripts: Script, model: str | None = None, default: bool = False) -> None:
        self._do(lambda: self._upstream.script(*scripts, model=model, default=default))

    def on(self, path: str, status: int = 200, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        self._do(lambda: self._upstream.on(path, status, body, headers))

    def open_gate(self, name: str = GATE) -> None:
        self._do(lambda: self._upstream.open_gate(name))

    def shut_gate(self, name: str = GATE) -> None:
        self._do(lambda: self._upstream.shut_gate(name))

    def wait_for_requests(self, count: int, timeout: float = PATIENCE) -> list[Request]:
        return self._wait(self._upstream.wait_for_requests(count, timeout))

    def closed_early(self, timeout: float = PATIENCE, *, count: int = 1) -> ClosedEarly:
        return self._wait(self._upstream.closed_early(timeout, count=count))

    def reached(self, gate: str = GATE, timeout: float = PATIENCE) -> None:
        self._wait(self._upstream.reached(gate, timeout))

    def all_closed(self, timeout: float = PATIENCE) -> None:
        self._wait(self._upstream.all_closed(timeout))

    def settled(self, quiet: float = 0.3, timeout: float = PATIENCE) -> int:
        return self._wait(self._upstream.settled(quiet, timeout))


def named(name: str) -> Scenario:
    """The library's scenario of this name. Raises `LookupError`, with names like it."""
    known = SCENARIOS.get(name)
    if known is None:
        near = difflib.get_close_matches(name, SCENARIOS, n=3)
        raise LookupError(f"no scenario is called {name!r}" + (f"; there are {', '.join(near)}" if near else ""))
    return known


def _json(value: Any) -> Rendered:
    return Rendered(200, (("content-type", "application/json"),), (json.dumps(value).encode(),))


def describe(request: Request) -> dict[str, Any]:
    """The request as JSON: what the upstream answers to a path that it has no scenario for."""
    try:
        text: dict[str, Any] = {"body": request.body.decode("utf-8")}
    except UnicodeDecodeError:
        text = {"body_base64": base64.b64encode(request.body).decode()}
    return {
        "method": request.method,
        "target": request.target,
        "path": request.path,
        "query": request.query,
        "headers": [list(pair) for pair in request.headers],
        **text,
    }
