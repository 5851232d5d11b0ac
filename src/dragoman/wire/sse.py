"""Server-sent events: bytes to frames, frames to bytes (WHATWG HTML, section 9.2.6).

The parser is fed bytes cut anywhere and gives whole events. It works on bytes up to the blank line, so
neither a character nor a JSON value is ever split. Accepted as the standard says: LF, CRLF and CR line ends (even mixed),
a byte order mark, comments, several `data:` lines, a missing space after the colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from dragoman.errors import UpstreamGarbled

_LINE = re.compile(rb"\r\n|\n|\r")
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_BARE = frozenset({b"{", b"["})
BOM = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, gc=False):
    """One event. `event` is empty where the stream named none; `data` is its lines joined by LF."""

    event: str
    data: bytes


class SseParser:
    """Feed it bytes, take frames. `limit` bounds one event in bytes: beyond it the stream is garbled."""

    __slots__ = ("_buffer", "_first", "_limit", "_more", "_size", "_tail")

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._buffer = b""
        self._more: list[bytes] = []
        """What follows the buffer without ending its event: put together only when something does, or an event that comes in
        small pieces would be copied with each of them."""
        self._size = 0
        self._tail = b""
        self._first = True
        self._limit = limit

    def feed(self, chunk: bytes) -> list[Frame]:
        buffer = chunk
        if self._buffer:
            seam = self._tail + chunk
            if not self._first and not (b"\n\n" in seam if b"\r" not in seam else _BLANK.search(seam)):
                self._tail = seam[-3:]
                self._more.append(chunk)
                self._grown(self._size + len(chunk))
                return []
            buffer = b"".join([self._buffer, *self._more, chunk])
            self._more.clear()
        if self._first:
            if len(buffer) < 3 and BOM.startswith(buffer):
                self._buffer = buffer
                return []
            buffer = buffer.removeprefix(BOM)
            self._first = False
        frames: list[Frame] = []
        if b"\r" in buffer and not buffer.endswith(b"\r"):
            # Google's streams are all CRLF. No line end can stand within a line, so they may as well be LF.
            buffer = buffer.replace(b"\r\n", b"\n")
        if b"\r" in buffer:
            rest = self._split_any(buffer, frames)
        else:
            # The common case: LF only.
            end = buffer.rfind(b"\n\n")
            if end >= 0 and not _read_lines(buffer[: end + 1].split(b"\n"), frames):
                *events, _ = buffer[: end + 2].split(b"\n\n")
                frames = [frame for event in events if (frame := parse_event(event)) is not None]
            rest = buffer[end + 2 :] if end >= 0 else buffer
        self._buffer = rest
        if rest:
            self._tail = rest[-3:]
            self._grown(len(rest))
        return frames

    def _grown(self, size: int) -> None:
        self._size = size
        if size > self._limit:
            raise UpstreamGarbled(f"one event of the stream is larger than {self._limit} bytes")

    def _split_any(self, buffer: bytes, frames: list[Frame]) -> bytes:
        start = 0
        # A CR at the very end may be half of a CRLF: leave it for the next chunk.
        end = len(buffer) - 1 if buffer.endswith(b"\r") else len(buffer)
        for blank in _BLANK.finditer(buffer, 0, end):
            frame = parse_event(buffer[start : blank.start()])
            if frame is not None:
                frames.append(frame)
            start = blank.end()
        return buffer[start:]

    def end(self) -> list[Frame]:
        """The stream is over. An event without its blank line still counts if its last line is whole enough to
        be read: several servers leave the last blank line out."""
        rest, self._buffer = b"".join([self._buffer, *self._more]), b""
        self._more.clear()
        frame = parse_event(rest.strip(b"\r\n"))
        return [frame] if frame is not None else []

    @property
    def pending(self) -> int:
        """Bytes of an event that has begun and not ended."""
        return len(self._buffer)


def _read_lines(lines: list[bytes], frames: list[Frame]) -> bool:
    """The events of lines of which the last is blank; false where something stands there that only `parse_event` reads. It
    takes half the time of cutting at every two line ends, and then at every one."""
    name = ""
    data: bytes | None = None
    more: list[bytes] = []
    add = frames.append
    for line in lines:
        if not line:
            if data is not None:
                add(Frame(name, b"\n".join([data, *more]) if more else data))
                data = None
                more = []
            name = ""
        elif data is None and line.startswith(b"data: "):
            data = line[6:]
        elif line.startswith(b"event: "):
            name = line[7:].decode("utf-8", "replace")
        else:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                if data is None:
                    data = value
                else:
                    more.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif line[:1] in _BARE:
                return False
    return True


def parse_event(block: bytes) -> Frame | None:
    """The event in the lines between two blank ones; None for comments alone. JSON that stands there bare counts as data."""
    if block.startswith(b"data: ") and b"\n" not in block and b"\r" not in block:
        return Frame("", block[6:])
    event = ""
    data: list[bytes] = []
    for line in _LINE.split(block):
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    if not data:
        # Some servers end a stream with their error as it is: JSON over several lines, without `data:`. Nothing else that
        # is no field begins so, and to skip it would be to take a failure for a stream that broke off.
        return Frame(event, block) if block[:1] in _BARE else None
    return Frame(event, data[0] if len(data) == 1 else b"\n".join(data))


def one_by_one(chunk: bytes) -> Iterator[bytes]:
    """A chunk in pieces of one event each (if all its lines end in LF, or in CRLF), for who does not want to read further than
    it must."""
    blank = b"\n\n" if b"\r" not in chunk else b"\r\n\r\n"
    size = len(blank)
    start = 0
    while start < len(chunk):
        end = chunk.find(blank, start) + size
        if end < size:
            end = len(chunk)
        yield chunk[start:end]
        start = end


def last_boundary(data: bytes) -> int:
    """Where the last whole event of `data` ends: an index, 0 when none has ended."""
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    # Behind the last one that is CRLF throughout, as all are or none, there may be one of another kind.
    end = data.rfind(b"\r\n\r\n") + 4
    end = end if end > 3 else 0
    for blank in _BLANK.finditer(data, end):
        if not (blank.end() == len(data) and data.endswith(b"\r") and not data.endswith(b"\r\r")):
            end = blank.end()
    return end


class Aligner:
    """Cuts a stream that is passed on verbatim between its events, so that something of ours can stand there.

    `between`: what was given out so far ends with a whole event. An event larger than `limit` bytes is given out
    before it is complete, and `between` is false until it is."""

    __slots__ = ("_limit", "_tail", "between")

    def __init__(self, limit: int = 256 * 1024) -> None:
        self._limit = limit
        self._tail = b""
        self.between = True

    def feed(self, chunk: bytes) -> bytes:
        if not self._tail and chunk.endswith((b"\n\n", b"\r\n\r\n")):
            self.between = True
            return chunk
        data = self._tail + chunk if self._tail else chunk
        cut = last_boundary(data)
        if cut:
            self.between = True
        elif len(data) > self._limit:
            cut = len(data)
            self.between = False
        self._tail = data[cut:]
        return data[:cut]

    @property
    def rest(self) -> bytes:
        """The event that has begun and not ended."""
        return self._tail


def write_frame(data: bytes, event: str = "") -> bytes:
    """`data` must hold no line end (JSON from an encoder does not)."""
    if event:
        return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
