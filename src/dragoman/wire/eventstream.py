"""AWS event streams, `application/vnd.amazon.eventstream`: bytes to messages, messages to bytes.

    prelude   total length, length of the headers: 4 bytes each, big endian; CRC-32 of these eight
    headers   length of the name (1 byte), name, type (1 byte), value
    payload   whatever is left
    CRC-32 of everything before it

Source: https://smithy.io/2.0/aws/amazon-eventstream.html and `botocore.eventstream`.

`MessageReader` gives messages, whatever they mean. `EventStreamParser` gives the frames that a dialect reads, as `SseParser`
does: `:event-type` is the frame's event and the payload its data. An exception's frame is named `!` and its type, and its data
has that type as `__type`, which is how AWS writes an error into a body of JSON. What cannot be read is the last frame, `!`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, TypeAlias
from uuid import UUID
from zlib import crc32

import msgspec

from dragoman.wire.sse import Frame

MEDIA_TYPE = b"application/vnd.amazon.eventstream"
MOST_HEADERS = 128 * 1024
MOST_MESSAGE = 24 * 1024 * 1024
"""Bytes, as AWS's own libraries bound them."""
FAULT = "!"
"""The event of a frame that is an error begins with this; no event of AWS does."""

_PRELUDE = Struct("!III")
_LENGTHS = Struct("!II")
_CRC = Struct("!I")
_LENGTH16 = Struct("!H")
_LEAST = _PRELUDE.size + _CRC.size


class Kind(IntEnum):
    """Types of header values, by their byte on the wire."""

    TRUE = 0
    FALSE = 1
    BYTE = 2
    SHORT = 3
    INTEGER = 4
    LONG = 5
    BYTES = 6
    STRING = 7
    TIMESTAMP = 8
    UUID = 9


class Typed(NamedTuple):
    """A header's value with its type. A timestamp is in milliseconds since 1970."""

    kind: Kind
    value: bool | int | bytes | str | UUID


HeaderValue: TypeAlias = str | Typed
"""A string, which nearly all are, or a value of another type."""

_SIZED: dict[int, tuple[Kind, Struct]] = {
    Kind.BYTE: (Kind.BYTE, Struct("!b")),
    Kind.SHORT: (Kind.SHORT, Struct("!h")),
    Kind.INTEGER: (Kind.INTEGER, Struct("!i")),
    Kind.LONG: (Kind.LONG, Struct("!q")),
    Kind.TIMESTAMP: (Kind.TIMESTAMP, Struct("!q")),
}


class Message(msgspec.Struct, frozen=True, gc=False):
    headers: dict[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """The value of a string header, empty where there is none."""
        value = self.headers.get(name, "")
        return value if isinstance(value, str) else ""


class Unreadable(ValueError):
    """This is no message, or a damaged one. What comes behind it cannot be found."""


# ---------------------------------------------------------------- reading


class MessageReader:
    """Feed it bytes cut anywhere, take messages. Never raises: `fault` says why no more can be read, and then nothing is."""

    __slots__ = ("_buffer", "_limit", "fault")

    def __init__(self, limit: int = MOST_MESSAGE) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self.fault: str | None = None

    def feed(self, chunk: bytes) -> list[Message]:
        if self.fault is not None:
            return []
        buffer = self._buffer
        buffer += chunk
        messages: list[Message] = []
        start, size = 0, len(buffer)
        try:
            while size - start >= _PRELUDE.size:
                total, headers = prelude(buffer, start, self._limit)
                if size - start < total:
                    break
                messages.append(_message(bytes(buffer[start : start + total]), headers))
                start += total
        except Unreadable as error:
            self.fault = str(error)
            buffer.clear()
            return messages
        if start:
            del buffer[:start]
        return messages

    def end(self) -> None:
        """The stream is over: `fault` says so if that was within a message."""
        if self._buffer and self.fault is None:
            self.fault = f"the stream broke off within a message, {len(self._buffer)} bytes after its beginning"
            self._buffer.clear()


def prelude(data: bytes | bytearray, start: int = 0, limit: int = MOST_MESSAGE) -> tuple[int, int]:
    """The length of the message that begins at `start`, and that of its headers. Raises `Unreadable`."""
    total, headers, crc = _PRELUDE.unpack_from(data, start)
    if crc32(data[start : start + _LENGTHS.size]) != crc:
        raise Unreadable("the checksum of a message's prelude is wrong")
    if total < _LEAST + headers or headers > MOST_HEADERS:
        raise Unreadable(f"a message of {total} bytes cannot have {headers} bytes of headers")
    if total > limit:
        raise Unreadable(f"a message of {total} bytes is larger than {limit} bytes")
    return total, headers


def _message(raw: bytes, headers: int) -> Message:
    end = len(raw) - _CRC.size
    if crc32(memoryview(raw)[:end]) != _CRC.unpack_from(raw, end)[0]:
        raise Unreadable("the checksum of a message is wrong")
    body = _PRELUDE.size + headers
    return Message(_headers(raw[_PRELUDE.size : body]), raw[body:end])


def _headers(raw: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at, size = 0, len(raw)
    try:
        while at < size:
            name_end = at + 1 + raw[at]
            kind = raw[name_end]
            name = raw[at + 1 : name_end].decode()
            at = name_end + 1
            value: HeaderValue
            if kind in {Kind.STRING, Kind.BYTES}:
                (length,) = _LENGTH16.unpack_from(raw, at)
                at += 2
                held = raw[at : at + length]
                at += length
                value = held.decode() if kind == Kind.STRING else Typed(Kind.BYTES, held)
            elif kind in _SIZED:
                known, form = _SIZED[kind]
                value = Typed(known, form.unpack_from(raw, at)[0])
                at += form.size
            elif kind <= Kind.FALSE:
                value = Typed(Kind(kind), kind == Kind.TRUE)
            elif kind == Kind.UUID:
                value = Typed(Kind.UUID, UUID(bytes=raw[at : at + 16]))
                at += 16
            else:
                raise Unreadable(f"a header has the unknown type {kind}")
            if name in headers:
                raise Unreadable(f"the header {name!r} stands there twice")
            headers[name] = value
    except Unreadable:
        raise
    except (IndexError, ValueError, struct.error):
        raise Unreadable("the headers of a message cannot be read") from None
    if at != size:
        raise Unreadable("a header of a message is longer than its headers")
    return headers


# ---------------------------------------------------------------- writing


def write_message(headers: Mapping[str, HeaderValue], payload: bytes = b"") -> bytes:
    """Raises `ValueError` for a name or a value that is too long, or a number that does not fit its type."""
    named = b"".join(_header(name, value) for name, value in headers.items())
    total = _LEAST + len(named) + len(payload)
    if len(named) > MOST_HEADERS or total > MOST_MESSAGE:
        raise ValueError(f"a message of {total} bytes, {len(named)} of them headers, is too large")
    lengths = _LENGTHS.pack(total, len(named))
    head = lengths + _CRC.pack(crc32(lengths)) + named
    return head + payload + _CRC.pack(crc32(payload, crc32(head)))


def _header(name: str, value: HeaderValue) -> bytes:
    raw = name.encode()
    if not 0 < len(raw) < 256:
        raise ValueError(f"the name of a header has 1 to 255 bytes, not {len(raw)}")
    kind, held = (Kind.STRING, value) if isinstance(value, str) else value
    return bytes([len(raw)]) + raw + bytes([kind]) + _value(kind, held)


def _value(kind: Kind, held: bool | int | bytes | str | UUID) -> bytes:
    if kind in _SIZED and isinstance(held, int):
        try:
            return _SIZED[kind][1].pack(held)
        except struct.error as error:
            raise ValueError(str(error)) from None
    match kind, held:
        case ((Kind.TRUE | Kind.FALSE), bool()):
            return b""
        case Kind.UUID, UUID():
            return held.bytes
        case Kind.STRING, str():
            held = held.encode()
        case Kind.BYTES, bytes():
            pass
        case _:
            raise ValueError(f"{held!r} is no value of the type {kind.name.lower()}")
    if len(held) > 0xFFFF:
        raise ValueError(f"the value of a header has at most 65535 bytes, not {len(held)}")
    return _LENGTH16.pack(len(held)) + held


_JSON = "application/json"


def write_event(kind: str, payload: bytes, content_type: str = _JSON) -> bytes:
    """An event as AWS's services send them."""
    return write_message({":event-type": kind, ":content-type": content_type, ":message-type": "event"}, payload)


def event_writer(kind: str) -> Callable[[bytes], bytes]:
    """Writes many events of one kind, with JSON in them."""
    named = b"".join(map(_header, (":event-type", ":content-type", ":message-type"), (kind, _JSON, "event")))
    size = len(named)

    def write(payload: bytes) -> bytes:
        lengths = _LENGTHS.pack(_LEAST + size + len(payload), size)
        head = lengths + _CRC.pack(crc32(lengths)) + named
        return head + payload + _CRC.pack(crc32(payload, crc32(head)))

    return write


def write_exception(kind: str, payload: bytes, content_type: str = _JSON) -> bytes:
    """An exception that its API knows; it ends the stream."""
    return write_message({":exception-type": kind, ":content-type": content_type, ":message-type": "exception"}, payload)


# ---------------------------------------------------------------- frames


def frame_of(message: Message) -> Frame:
    """What a dialect reads of a message."""
    match message.text(":message-type"):
        case "exception":
            return fault_frame(message.text(":exception-type"), message.payload)
        case "error":
            told = msgspec.json.encode({"message": message.text(":error-message")})
            return fault_frame(message.text(":error-code"), told)
        case _:
            return Frame(message.text(":event-type"), message.payload)


def fault_frame(kind: str, payload: bytes) -> Frame:
    """`throttlingException` is the name of a member; the error's own is `ThrottlingException`."""
    name = kind[:1].upper() + kind[1:]
    try:
        told = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = {"message": msgspec.Raw(msgspec.json.encode(payload.decode("utf-8", "replace")))}
    return Frame(FAULT + name, msgspec.json.encode({"__type": name, **told} if name else told))


class EventStreamParser:
    """Feed it bytes, take frames. Never raises."""

    __slots__ = ("_reader", "_told")

    def __init__(self, limit: int = MOST_MESSAGE) -> None:
        self._reader = MessageReader(limit)
        self._told = False

    def feed(self, chunk: bytes) -> list[Frame]:
        frames = [frame_of(message) for message in self._reader.feed(chunk)]
        return frames if self._reader.fault is None else frames + self._fault()

    def end(self) -> list[Frame]:
        self._reader.end()
        return self._fault()

    def _fault(self) -> list[Frame]:
        if self._reader.fault is None or self._told:
            return []
        self._told = True
        return [fault_frame("", msgspec.json.encode({"message": self._reader.fault}))]


# ---------------------------------------------------------------- verbatim


def frames_within(data: bytes) -> list[Frame]:
    """The whole messages of a piece of a stream that may begin and end within one."""
    start = message_start(data)
    return [frame_of(message) for message in MessageReader().feed(data[start:])]


def message_start(data: bytes) -> int:
    """Where the first message of `data` begins: the first place with a prelude whose checksum is right. The end, if none."""
    for at in range(len(data) - _PRELUDE.size + 1):
        # Nearly every other place fails here: a length has its first byte 0 or 1, and so have the headers.
        if data[at] > 1 or data[at + 4] or data[at + 5] > 2:
            continue
        try:
            prelude(data, at)
        except Unreadable:
            continue
        return at
    return len(data)


class MessageAligner:
    """Cuts a stream that is passed on verbatim between its messages, as `Aligner` does for server-sent events. Behind
    a prelude that cannot be read there are no places to cut: then everything goes through, and nothing comes between."""

    __slots__ = ("_left", "_limit", "_tail", "between")

    def __init__(self, limit: int = 256 * 1024) -> None:
        self._limit = limit
        self._tail = b""
        self._left = 0
        self.between = True

    def feed(self, chunk: bytes) -> bytes:
        """`_left` is how much of a large message is to come that is given out already; below 0: there is no telling."""
        if self._left < 0 or len(chunk) < self._left:
            self._left -= len(chunk) if self._left > 0 else 0
            return chunk
        data = self._tail + chunk if self._tail else chunk
        cut, size, self._left = self._left, len(data), 0
        while size - cut >= _PRELUDE.size:
            try:
                total, _ = prelude(data, cut)
            except Unreadable:
                self._left, cut = -1, size
                break
            if size - cut < total:
                if total > self._limit:
                    self._left, cut = cut + total - size, size
                break
            cut += total
        if cut:
            self.between = self._left == 0
        self._tail = data[cut:]
        return data[:cut]

    @property
    def rest(self) -> bytes:
        """The message that has begun and not ended."""
        return self._tail
