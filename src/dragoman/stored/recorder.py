"""An answer on its way to the caller, read along. What is to be kept is kept before the caller has the end of it: an answer in
one piece is held until then, and of a stream its last event."""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.dialects.responses.keeping import ending, failed_event, id_of, id_within, ids_of, output_of, sound
from dragoman.errors import DragomanError
from dragoman.flow.call import Call
from dragoman.stored.keeping import Keeping
from dragoman.stored.workshop import Running, Workshop
from dragoman.wire.http import Outbound, RawHeaders, Tap
from dragoman.wire.sse import Frame, SseParser, one_by_one

LARGEST = 512 * 1024 * 1024
"""Bytes of one event. What is passed on untouched is not refused for its size here."""
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")


class Recorder(Tap):
    """Where the answer is kept there, only its id is looked for, and written down while the stream goes on. Where it is kept
    here and cannot be, and the caller counts on it, it is told so in place of the answer's end."""

    def __init__(self, out: Outbound, call: Call, keeping: Keeping, shop: Workshop) -> None:
        super().__init__(out)
        self._call = call
        self._keeping = keeping
        self._shop = shop
        self._head: tuple[int, RawHeaders] | None = None
        self._parser: SseParser | None = None
        self._named = False
        self._writing: list[Running] = []
        self._over = False

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        said = list(headers)
        kind = next((value for name, value in said if name == b"content-type"), b"")
        if status == 200 and not kind.lower().startswith(b"text/event-stream"):
            self._head = (status, said)
            return
        if status == 200:
            self._parser = SseParser(LARGEST)
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
        head, self._head = self._head, None
        if head is not None:
            await self._finish_whole(head, data)
        elif not self._over:
            told = await self._read(data)
            if self._parser is not None and self._keeping.there():
                await self._read_there(self._parser.end())
            await self._written()
            await self._out.finish(data if told is None else told)

    # ------------------------------------------------------------ in one piece

    async def _finish_whole(self, head: tuple[int, RawHeaders], body: bytes) -> None:
        kept = sound(body)
        own_id = id_of(kept)
        status, headers = head[0], [pair for pair in head[1] if pair[0] != b"content-length"]
        if own_id:
            try:
                await self._keep_whole(own_id, kept)
            except DragomanError as error:
                status, headers, body = self._refusal(error)
        await self._out.whole(status, headers, body)

    async def _keep_whole(self, own_id: str, kept: bytes) -> None:
        if not self._keeping.there():
            await self._keeping.keep(own_id, kept)
        else:
            await self._keeping.keep(own_id, b"", ids_of(output_of(kept)) if self._keeping.noted else [])

    def _refusal(self, error: DragomanError) -> tuple[int, RawHeaders, bytes]:
        call = self._call
        call.report.error = error
        told = call.dialect.encode_error(error, call.report.request_id)
        return told.status, told.raw, told.body

    # ------------------------------------------------------------ a stream

    async def _read(self, data: bytes) -> bytes | None:
        """Look at what is about to go out, and keep what is to be kept; what to tell the caller instead, if that fails."""
        if self._parser is None or not data:
            return None
        if self._keeping.there():
            # Events come whole, if they are not very large, and these alone tell of the whole answer.
            if b'"response"' in data or self._parser.pending or not data.endswith(_EVENT_ENDS):
                await self._read_there(self._parser.feed(data))
            return None
        for frame in self._parser.feed(data):
            response = ending(frame)
            own_id = id_of(response) if response is not None else ""
            if response is None or not own_id:
                continue
            self._parser = None
            try:
                await self._keeping.keep(own_id, response)
            except DragomanError as error:
                self._call.report.error = error
                return _before_the_end(data) + failed_event(frame, error)
            break
        return None

    async def _read_there(self, frames: list[Frame]) -> None:
        for frame in frames:
            if not self._named and (own_id := id_within(frame)):
                self._named = True
                self._writing.append(self._shop.start(self._keeping.keep(own_id, b"")))
            response = ending(frame)
            if response is None:
                continue
            await self._written()
            if self._keeping.noted and (made := ids_of(output_of(response))):
                # Written while the caller has the last event already, and not yet the end of its answer: nobody else can
                # know these ids before.
                self._writing.append(self._shop.start(self._keeping.note(made)))

    async def _written(self) -> None:
        while self._writing:
            await self._shop.join(self._writing.pop())


def _before_the_end(data: bytes) -> bytes:
    """The events before the last one of the answer. Nothing, where that began earlier than these bytes."""
    at = 0
    for piece in one_by_one(data):
        if any(ending(frame) is not None for frame in SseParser(LARGEST).feed(piece)):
            return data[:at]
        at += len(piece)
    return b""
