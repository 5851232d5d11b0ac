"""An answer on its way to the caller, read along. What is to be kept is kept before the caller has the end of it: the answer
in one piece is held until then, and of a stream its last event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from dragoman.dialects.responses.keeping import ending, id_of, id_within, sound
from dragoman.errors import DragomanError
from dragoman.wire.http import Outbound
from dragoman.wire.sse import SseParser

Refusal: TypeAlias = Callable[[DragomanError, bool], tuple[int, list[tuple[bytes, bytes]], bytes]]
"""An error as the caller is told it: status, headers, body; the flag says that it stands within a stream."""


class Recorder:
    """`whole(id, response)` keeps an answer, given its JSON, and raises what the caller is to be told in its place. `there()`
    says whether its id is all that is to be kept (asked when the answer begins): then `whole` gets no JSON."""

    def __init__(
        self,
        out: Outbound,
        whole: Callable[[str, bytes], Awaitable[None]],
        there: Callable[[], bool],
        refusal: Refusal,
    ) -> None:
        self._out = out
        self._whole = whole
        self._there = there
        self._refusal = refusal
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._parser: SseParser | None = None
        self._kept = False
        self._over = False

    def bound(self, seconds: float) -> None:
        self._out.bound(seconds)

    def abort(self) -> None:
        self._out.abort()

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        said = list(headers)
        kind = next((value for name, value in said if name == b"content-type"), b"")
        if status != 200:
            self._kept = True  # a refusal is nothing to keep
        elif kind.lower().startswith(b"text/event-stream"):
            self._parser = SseParser()
        else:
            self._head = (status, said)
            return
        await self._out.start(status, said)

    async def write(self, data: bytes) -> None:
        if self._over:
            return
        told = await self._read(data)
        if told is None:
            await self._out.write(data)
        else:
            self._over = True
            await self._out.finish(told)

    async def finish(self, data: bytes = b"") -> None:
        if self._head is not None:
            await self._finish_whole(self._head, data)
            return
        if self._over:
            return
        told = await self._read(data)
        await self._out.finish(data if told is None else told)

    async def _finish_whole(self, head: tuple[int, list[tuple[bytes, bytes]]], body: bytes) -> None:
        kept = sound(body)
        own_id = id_of(kept)
        status, headers = head
        if own_id:
            try:
                await self._whole(own_id, b"" if self._there() else kept)
            except DragomanError as error:
                status, headers, body = self._refusal(error, False)
        await self._out.start(status, headers)
        await self._out.finish(body)

    async def _read(self, data: bytes) -> bytes | None:
        """Look at what is about to go out, and keep what is to be kept; what to tell the caller instead, if that fails."""
        if self._kept or self._parser is None or not data:
            return None
        there = self._there()
        for frame in self._parser.feed(data):
            response = b"" if there else ending(frame)
            own_id = id_within(frame) if there else id_of(response or b"")
            if not own_id or response is None:
                continue
            self._kept = True
            try:
                await self._whole(own_id, response)
            except DragomanError as error:
                return self._refusal(error, True)[2]
            break
        return None
