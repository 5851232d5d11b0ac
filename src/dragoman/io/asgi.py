"""The ASGI driver: a plain callable between an ASGI server and the gateway's handler, with nothing in its way.

Its whole work is to gather the body within the limit, to hand over, and to cancel the handler when the client leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from dragoman.errors import BodyTooLarge, DragomanError, RequestError
from dragoman.io.date import http_date
from dragoman.io.handler import Handler
from dragoman.io.mount import Message, Mount, Receive, Scope, Send
from dragoman.wire.http import Inbound, Outbound

_CLOSE = (b"connection", b"close")
_GRACE = 1.0
"""Seconds that whoever makes an answer gets to end it in, before a client that does not take it is given up."""


class AsgiApp:
    """`on_start` and `on_stop` run in the server's lifespan; `mount` gets what the handler does not own: whoever makes this
    starts and stops it. `body_timeout`: seconds between two pieces of a body that the handler is to get."""

    def __init__(
        self,
        gateway: Handler,
        *,
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
        mount: Mount | None = None,
        body_timeout: float | None = None,
    ) -> None:
        self._gateway = gateway
        self._mount = mount
        self._body_timeout = body_timeout
        self._on_start = on_start
        self._on_stop = on_stop
        self.is_closing = False
        """The server stops: each answer is the last one on its connection, and says so."""

    def swap(self, gateway: Handler, body_timeout: float | None = None) -> None:
        """Another handler from here on."""
        self._gateway = gateway
        self._body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)
            case _:
                # No WebSockets yet: refusing the handshake is answered by the server with 403.
                await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._on_start is not None:
                    await self._on_start()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._on_stop is not None:
                    await self._on_stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        inbound = Inbound(
            method=scope["method"],
            path=scope["path"],
            raw_path=scope.get("raw_path") or scope["path"].encode(),
            query=scope["query_string"],
            headers=list(scope["headers"]),
            body=b"",
            client=client[0] if client else "",
        )
        if self._mount is not None and not self._gateway.owns(inbound):
            scope["state"] = self._mount.state()
            await self._mount.app(scope, receive, _last(send) if self.is_closing else send)
            return
        handler = asyncio.current_task()
        assert handler is not None
        out = _AsgiOut(send, handler, self)
        body = await _body(inbound, receive, self._gateway, self._body_timeout)
        if body is None:
            return
        if isinstance(body, _TooSlow):
            out.closes = True  # or the server would wait for the rest
        if isinstance(body, DragomanError):
            await self._gateway.refuse(inbound, out, body)
            return
        inbound.body = body
        watch = _Watch(receive, handler, out)
        watcher = asyncio.get_running_loop().create_task(watch.run())
        try:
            await self._gateway.handle(inbound, out)
        except asyncio.CancelledError:
            # The client left: nobody is there to be told. Any other cancellation is the server's, and goes on.
            if not (watch.left or out.overdue):
                raise
            handler.uncancel()
        finally:
            out.settle()
            watcher.cancel()


class _Watch:
    """Cancels the handler as soon as its client is gone, so that the provider stops working for nobody. A server also
    says `disconnect` once the answer is complete: then the handler is left to tidy up."""

    __slots__ = ("_handler", "_out", "_receive", "left")

    def __init__(self, receive: Receive, handler: asyncio.Task[Any], out: _AsgiOut) -> None:
        self._receive = receive
        self._handler = handler
        self._out = out
        self.left = False

    async def run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._out.done:
            self.left = True
            self._handler.cancel()


def _last(send: Send) -> Send:
    """For an answer of the mounted application's behind which the connection ends."""

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
        await send(message)

    return send_last


class _TooSlow(RequestError):
    """The rest of the body did not come."""


async def _body(inbound: Inbound, receive: Receive, handler: Handler, patience: float | None) -> bytes | DragomanError | None:
    """The whole body, or why it is not wanted; None when the client left before its end."""
    most = handler.site.max_body
    length = inbound.header(b"content-length")
    too_large = BodyTooLarge(f"the request body is larger than {most} bytes (server.max_body)")
    if length is not None and length.isdigit() and int(length) > most:
        return too_large
    # The first `receive` tells a client to go on that asked.
    screened = inbound.header(b"expect") is not None
    if screened and (refusal := handler.screen(inbound)) is not None:
        return refusal
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(patience):
                message = await receive()
        except TimeoutError:
            return _TooSlow(f"nothing came of the request body for {patience:g} s", status=408, category="timeout")
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        if piece:
            size += len(piece)
            if size > most:
                return too_large
            pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not screened:
            screened = True
            if (refusal := handler.screen(inbound)) is not None:
                return refusal


class _AsgiOut(Outbound):
    """The handler's way to the client. The server's `send` waits while the client is slow."""

    __slots__ = ("_aborted", "_app", "_handler", "_overdue", "_send", "closes", "done", "overdue")

    def __init__(self, send: Send, handler: asyncio.Task[Any], app: AsgiApp) -> None:
        self._send = send
        self._handler = handler
        self._app = app
        self._aborted = False
        self._overdue: asyncio.TimerHandle | None = None
        self.overdue = False
        """The client took the answer too slowly, and the handler was cancelled."""
        self.done = False
        self.closes = False
        """No other request is taken behind this answer."""

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        said = list(headers)
        if all(name != b"date" for name, _ in said):
            said.append((b"date", http_date()))
        if self.closes or self._app.is_closing:
            said.append(_CLOSE)
        await self._send({"type": "http.response.start", "status": status, "headers": said})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        if not self._aborted:
            self.done = True
            await self._send({"type": "http.response.body", "body": data})
            self.settle()

    def bound(self, seconds: float) -> None:
        self.settle()
        self._overdue = self._handler.get_loop().call_later(seconds + _GRACE, self._give_up)

    def settle(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _give_up(self) -> None:
        self.overdue = True
        self._handler.cancel()

    def abort(self) -> None:
        """An ASGI application breaks an answer off by returning without its end: the server then closes the connection."""
        self._aborted = True
