"""AWS event streams, read strictly and written.

Shares no code with `dragoman.wire.eventstream`, on purpose: a kit that used the parser under test could not find its faults.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from dragoman.testing.sse import strict_json
from dragoman.testing.view import IllegalStream

MEDIA_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


class AwsEvent(msgspec.Struct, frozen=True):
    """`number` counts from 1, for messages. `exception`: it is an error, and `name` its type."""

    number: int
    name: str
    exception: bool
    data: bytes

    def json(self) -> dict[str, Any]:
        """The payload as a JSON object. Raises `IllegalStream` when it is none."""
        value = strict_json(self.data, f"event {self.number}")
        if not isinstance(value, dict):
            raise IllegalStream(f"event {self.number}: the payload is not a JSON object: {self.data[:80]!r}")
        return value


def read_messages(stream: bytes) -> Iterator[AwsEvent]:
    """All messages of a whole stream. Raises `IllegalStream` for a wrong length or checksum, a message that is not whole,
    or headers other than those that AWS's services send."""
    at = number = 0
    while at < len(stream):
        number += 1
        if len(stream) - at < 16:
            raise IllegalStream(f"message {number} broke off in its prelude")
        total, named, crc = struct.unpack(">III", stream[at : at + 12])
        if binascii.crc32(stream[at : at + 8]) != crc:
            raise IllegalStream(f"message {number}: the checksum of its prelude is wrong")
        message = stream[at : at + total]
        if len(message) < total:
            raise IllegalStream(f"message {number} broke off: {len(message)} of {total} bytes")
        if binascii.crc32(message[:-4]) != int.from_bytes(message[-4:]):
            raise IllegalStream(f"message {number} broke off or was changed: its checksum is wrong")
        headers = _headers(message[12 : 12 + named], number)
        yield _event(number, headers, message[12 + named : -4])
        at += total


def _event(number: int, headers: Mapping[str, str], payload: bytes) -> AwsEvent:
    kind = headers.get(":message-type")
    exception = kind == "exception"
    if kind not in {"event", "exception"}:
        raise IllegalStream(f"message {number} is of type {kind!r}")
    name = headers.get(":exception-type" if exception else ":event-type")
    if not name or headers.get(":content-type") != "application/json":
        raise IllegalStream(f"message {number} has no name, or is no JSON: {dict(headers)}")
    return AwsEvent(number, name, exception, payload)


def _headers(raw: bytes, number: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        name = raw[at + 1 : end].decode()
        if raw[end] != _STRING:
            raise IllegalStream(f"message {number}: the header {name!r} is of type {raw[end]}, not a string")
        size = int.from_bytes(raw[end + 1 : end + 3])
        if name in headers:
            raise IllegalStream(f"message {number}: the header {name!r} stands there twice")
        headers[name] = raw[end + 3 : end + 3 + size].decode()
        at = end + 3 + size
    return headers


def write_message(name: str, payload: bytes, *, exception: bool = False) -> bytes:
    kind = "exception" if exception else "event"
    headers = b"".join(
        bytes([len(key)]) + key.encode() + bytes([_STRING]) + len(value).to_bytes(2) + value.encode()
        for key, value in ((f":{kind}-type", name), (":content-type", "application/json"), (":message-type", kind))
    )
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack(">I", binascii.crc32(lengths)) + headers + payload
    return message + struct.pack(">I", binascii.crc32(message))
