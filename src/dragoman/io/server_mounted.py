"""A request of the native driver that is for the mounted ASGI application: `receive` and `send`, over one connection.

Unlike the gateway's handler, the application is called as soon as the head is whole, takes the body as it comes, and is not
cancelled when its client leaves: it is told so, and what it sends from then on is thrown away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dragoman.io.mount import VERSION, Message, Mount, Scope

if TYPE_CHECKING:
    from dragoman.io.server_answer import ServerAnswer
    from dragoman.io.server_connection import ServerConnection
from dragoman.wire.http import Inbound


class MountedExchange:
    """`size` are the bytes of the body that have come and were not taken."""

    __slots__ = ("_answer", "_connection", "_ended", "_inbound", "_left", "_pieces", "_waiter", "expects", "size")

    def __init__(self, connection: ServerConnection, inbound: Inbound, answer: ServerAnswer, *, expects: bool) -> None:
        self._connection = connection
        self._inbound = inbound
        self._answer = answer
        self._pieces: list[bytes] = []
        self._ended = False
        self._left = False
        self._waiter: asyncio.Future[None] | None = None
        self.expects = expects
        """The client waits for a word before it sends the body."""
        self.size = 0

    # What the connection tells it

    def feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.size += len(piece)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def leave(self) -> None:
        """The client is gone, or has all of its answer."""
        self._left = True
        self._wake()

    # ASGI

    async def run(self, mount: Mount) -> None:
        """Returns when the application does; raises what it raises."""
        await mount.app(self._scope(mount), self._receive, self._send)

    async def _receive(self) -> Message:
        if self.expects:
            self.expects = False
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._pieces or self._ended or self._left):
            self._waiter = self._connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._left:
            return {"type": "http.disconnect"}
        body = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        if not self._ended:
            self._connection.body_taken()
            return {"type": "http.request", "body": body, "more_body": True}
        # Whoever asks once more wants to know when the client leaves.
        self._ended = False
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        answer = self._answer
        if self._left:
            return
        match message["type"]:
            case "http.response.start":
                self.expects = False  # too late to ask for the body
                await answer.start(message["status"], [(name.lower(), value) for name, value in message.get("headers", ())])
            case "http.response.body":
                body = bytes(message.get("body", b""))
                if message.get("more_body", False):
                    await answer.write(body)
                else:
                    await answer.finish(body)
                    self.leave()
            case other:
                raise RuntimeError(f"there is no {other!r} in an answer over HTTP")

    def _scope(self, mount: Mount) -> Scope:
        inbound, transport = self._inbound, self._connection.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        here = transport.get_extra_info("sockname") if transport is not None else None
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": VERSION,
            "http_version": "1.0" if self._answer.is_old else "1.1",
            "method": inbound.method,
            "scheme": "https" if transport is not None and transport.get_extra_info("sslcontext") is not None else "http",
            "path": inbound.path,
            "raw_path": inbound.raw_path,
            "query_string": inbound.query,
            "root_path": "",
            "headers": inbound.headers,
            "client": tuple(peer[:2]) if isinstance(peer, tuple) else None,
            "server": tuple(here[:2]) if isinstance(here, tuple) else None,
            "state": mount.state(),
        }
        return scope

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
