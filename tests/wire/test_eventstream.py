"""AWS event streams, judged by botocore's reader."""

from __future__ import annotations

from datetime import UTC, datetime
from struct import pack
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st

from dragoman.wire.eventstream import (
    EventStreamParser,
    HeaderValue,
    Kind,
    Message,
    MessageAligner,
    MessageReader,
    Typed,
    frames_within,
    message_start,
    write_event,
    write_exception,
    write_message,
)
from dragoman.wire.sse import Frame

# From botocore's own tests (tests/unit/test_eventstream.py).
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
INT32 = b"\x00\x00\x00+\x00\x00\x00\x0e4\x8b\xec{\x08event-id\x04\x00\x00\xa0\x0c{'foo':'bar'}\xd3\x89\x02\x85"
PAYLOAD = b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96"
STRING = b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96\x0ccontent-type\x07\x00\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1"
KNOWN = [
    (EMPTY, Message({}, b"")),
    (INT32, Message({"event-id": Typed(Kind.INTEGER, 40972)}, b"{'foo':'bar'}")),
    (PAYLOAD, Message({}, b"{'foo':'bar'}")),
    (STRING, Message({"content-type": "application/json"}, b"{'foo':'bar'}")),
]

EVERY: dict[str, HeaderValue] = {
    "yes": Typed(Kind.TRUE, True),
    "no": Typed(Kind.FALSE, False),
    "byte": Typed(Kind.BYTE, -49),
    "short": Typed(Kind.SHORT, 42),
    "integer": Typed(Kind.INTEGER, 40972),
    "long": Typed(Kind.LONG, -424242424242),
    "bytes": Typed(Kind.BYTES, b"\x00\xff"),
    "text": "\u00c9t\u00e9",
    "time": Typed(Kind.TIMESTAMP, 8675309),
    "id": Typed(Kind.UUID, UUID(int=0x0102030405060708090A0B0C0D0E0F10)),
}


def cut(whole: bytes, size: int) -> list[bytes]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def read(*chunks: bytes) -> tuple[list[Message], str | None]:
    reader = MessageReader()
    found = [message for chunk in chunks for message in reader.feed(chunk)]
    reader.end()
    return found, reader.fault


def by_botocore(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer: Any = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


def test_published_messages_are_read_and_written_byte_for_byte() -> None:
    for raw, message in KNOWN:
        assert read(raw) == ([message], None)
        assert write_message(message.headers, message.payload) == raw


def test_every_type_of_header_goes_out_and_in_again() -> None:
    raw = write_message(EVERY, b"{}")
    assert read(raw) == ([Message(EVERY, b"{}")], None)
    ((headers, payload),) = by_botocore(raw)
    assert payload == b"{}"
    told = {name: value.value if isinstance(value, Typed) else value for name, value in EVERY.items()}
    assert headers == {**told, "id": UUID(int=0x0102030405060708090A0B0C0D0E0F10).bytes}
    assert datetime.fromtimestamp(headers["time"] / 1000, UTC).year == 1970


@given(st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=300)), max_size=5), st.integers(1, 40))
def test_messages_come_out_the_same_wherever_the_bytes_are_cut(told: list[tuple[str, bytes]], size: int) -> None:
    raw = b"".join(write_message({":event-type": kind}, payload) for kind, payload in told)
    expected = [Message({":event-type": kind}, payload) for kind, payload in told]
    assert read(*cut(raw, size)) == (expected, None)
    assert by_botocore(raw) == [({":event-type": kind}, payload) for kind, payload in told]


def test_a_stream_that_ends_within_a_message_is_told_from_one_that_ends() -> None:
    raw = EMPTY + STRING
    for end in range(len(raw) + 1):
        found, fault = read(raw[:end])
        assert len(found) == (end >= len(EMPTY)) + (end == len(raw))
        assert (fault is None) == (end in {0, len(EMPTY), len(raw)})


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_came_before_a_damaged_message_is_still_given_and_nothing_after(size: int) -> None:
    for at in range(len(STRING)):
        damaged = bytearray(STRING)
        damaged[at] ^= 1
        found, fault = read(*cut(EMPTY + bytes(damaged) + EMPTY, size))
        assert found == [Message({}, b"")]
        assert fault is not None


def sealed(headers: bytes) -> bytes:
    """A message with these bytes as headers, its checksums right."""
    head = pack("!II", 16 + len(headers), len(headers))
    head += pack("!I", crc32(head)) + headers
    return head + pack("!I", crc32(head))


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (b"\x01a\x07\x00\x05abc", "longer than its headers"),
        (b"\x01a", "cannot be read"),
        (b"\x05a", "cannot be read"),
        (b"\x01a\x07\x00\x01\xff", "cannot be read"),
        (b"\x01a\x04\x00", "cannot be read"),
        (b"\x01a\x09\x00", "cannot be read"),
        (b"\x01a\x0b", "unknown type 11"),
        (b"\x01a\x00\x01a\x00", "stands there twice"),
    ],
)
def test_headers_that_make_no_sense_are_a_fault(headers: bytes, why: str) -> None:
    found, fault = read(sealed(headers))
    assert not found
    assert why in (fault or "")


def test_a_message_that_says_it_is_huge_is_refused_before_it_comes() -> None:
    for total, headers in ((0xFFFFFFFF, 0), (30_000_000, 0), (200_000, 150_000), (15, 0), (20, 8)):
        lengths = pack("!II", total, headers)
        reader = MessageReader()
        assert reader.feed(lengths + pack("!I", crc32(lengths))) == []
        assert reader.fault is not None


def test_a_message_that_nobody_could_read_is_not_written() -> None:
    wrong: list[dict[str, HeaderValue]] = [
        {"": "x"},
        {"n" * 256: "x"},
        {"long": "x" * 65536},
        {"byte": Typed(Kind.BYTE, 128)},
        {"flag": Typed(Kind.TRUE, 1)},
        {"id": Typed(Kind.UUID, b"x")},
        {f"name{number}": "x" * 60000 for number in range(3)},
    ]
    for headers in wrong:
        with pytest.raises(ValueError, match=r"."):
            write_message(headers)
    with pytest.raises(ValueError, match="too large"):
        write_message({}, bytes(26_000_000))


# ---------------------------------------------------------------- frames


def test_an_exception_and_an_error_are_frames_that_hold_their_type() -> None:
    parser = EventStreamParser()
    error = write_message({":message-type": "error", ":error-code": "InternalError", ":error-message": "An error"})
    assert parser.feed(
        write_event("messageStart", b'{"role":"assistant"}')
        + write_exception("throttlingException", b'{"message":"Too many"}')
        + write_exception("validationException", b"<html>")
        + error
    ) == [
        Frame("messageStart", b'{"role":"assistant"}'),
        Frame("!ThrottlingException", b'{"__type":"ThrottlingException","message":"Too many"}'),
        Frame("!ValidationException", b'{"__type":"ValidationException","message":"<html>"}'),
        Frame("!InternalError", b'{"__type":"InternalError","message":"An error"}'),
    ]
    assert parser.end() == []


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_what_cannot_be_read_is_one_frame_at_the_end(size: int) -> None:
    event = write_event("messageStart", b"{}")
    for tail in (event[:-1], event[:-1] + b"x", b"HTTP/1.1 502 Bad Gateway"):
        parser = EventStreamParser()
        frames = [frame for chunk in cut(event + tail, size) for frame in parser.feed(chunk)] + parser.end()
        assert [frame.event for frame in frames] == ["messageStart", "!"]
        assert parser.feed(event) == parser.end() == []


# ---------------------------------------------------------------- verbatim


@pytest.mark.parametrize("size", [1, 2, 7, 50, 5000])
def test_a_stream_that_goes_through_is_cut_between_messages_only(size: int) -> None:
    messages = [write_event("a", b"{}"), write_event("b", b"x" * 3000), EMPTY, write_event("c", b"y" * 10)]
    bounds = {sum(map(len, messages[:number])) for number in range(len(messages) + 1)}
    whole = b"".join(messages)
    aligner = MessageAligner(limit=1000)
    given_out, seen = b"", set[int]()
    for chunk in cut(whole, size):
        given_out += aligner.feed(chunk)
        assert aligner.between == (len(given_out) in bounds)
        if aligner.between:
            seen.add(len(given_out))
    assert given_out + aligner.rest == whole
    assert len(whole) in seen


def test_a_stream_that_is_none_goes_through_and_nothing_comes_between() -> None:
    aligner = MessageAligner()
    assert aligner.feed(EMPTY + b"data: hello, world\n\n") == EMPTY + b"data: hello, world\n\n"
    assert not aligner.between
    assert aligner.feed(EMPTY) == EMPTY
    assert not aligner.between


def test_a_piece_of_a_stream_shows_the_messages_that_are_whole_in_it() -> None:
    first, second = write_event("a", b"{}" * 50), write_event("b", b"{}")
    whole = first + second + first
    for start in range(1, len(first) + 1):
        assert message_start(whole[start:]) == len(first) - start
        assert [frame.event for frame in frames_within(whole[start:])] == ["b", "a"]
    assert [frame.event for frame in frames_within(whole[:-1])] == ["a", "b"]
    assert frames_within(b"data: x\n\n") == frames_within(b"") == []
