"""How a dialect's streams are cut into events: server-sent events, an event stream of AWS, or the elements of a JSON array.

Each dialect names its framing (`Dialect.framing`); what passes streams on or translates them asks that, and never which
framing it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from dragoman.wire import eventstream, jsonarray, sse
from dragoman.wire.sse import Frame


class Parser(Protocol):
    """Feed it bytes, take frames. Raises `UpstreamGarbled` for a stream that cannot be read, or tells it in a frame."""

    def feed(self, chunk: bytes) -> list[Frame]: ...

    def end(self) -> list[Frame]:
        """The stream is over: what is left of it."""
        ...


class Cutter(Protocol):
    """Gives a stream out again, whole events at a time. `between`: what was given out ends with a whole event."""

    between: bool

    def feed(self, chunk: bytes) -> bytes: ...

    @property
    def rest(self) -> bytes:
        """The event that has begun and not ended."""
        ...


class Framing(msgspec.Struct, frozen=True, kw_only=True):
    """`media` begins the media type of such a stream, `accept` asks for one (or for JSON). `pieces` is a chunk in
    pieces, for who stops reading as soon as there is content. `last(data, torn=)` are the frames of a stream's last
    bytes; `torn`: they begin within an event."""

    media: bytes
    accept: bytes
    parser: Callable[[], Parser]
    aligner: Callable[[], Cutter]
    pieces: Callable[[bytes], Iterable[bytes]]
    last: Callable[[bytes, bool], list[Frame]]


def _last_events(data: bytes, torn: bool) -> list[Frame]:
    frames = sse.SseParser().feed(data + b"\n\n")
    return frames[1:] if torn else frames


def _last_messages(data: bytes, torn: bool) -> list[Frame]:
    del torn  # messages are found by their checksums
    return eventstream.frames_within(data)


def _whole(chunk: bytes) -> tuple[bytes]:
    return (chunk,)


SSE = Framing(
    media=b"text/event-stream",
    accept=b"application/json, text/event-stream",
    parser=sse.SseParser,
    aligner=sse.Aligner,
    pieces=sse.one_by_one,
    last=_last_events,
)

EVENT_STREAM = Framing(
    media=eventstream.MEDIA_TYPE,
    accept=b"application/json, " + eventstream.MEDIA_TYPE,
    parser=eventstream.EventStreamParser,
    aligner=eventstream.MessageAligner,
    pieces=_whole,
    last=_last_messages,
)

JSON_ARRAY = Framing(
    media=jsonarray.MEDIA_TYPE,
    accept=jsonarray.MEDIA_TYPE,
    parser=jsonarray.ArrayParser,
    aligner=jsonarray.ArrayAligner,
    pieces=_whole,
    last=jsonarray.last_elements,
)
