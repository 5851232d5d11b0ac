"""The parsing half of a connection, without a socket: any bytes, cut anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.io.connection import Connection
from tests.io.scripted_peer import answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = [
    answer(b"hello", extra=b"A: b\r\na: c \r\n"),
    CHUNKED + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nLink: x\r\n\r\n" + answer(b"hello"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcd",
    CHUNKED + b"4\r\nabcd\r\nzz\r\n",
    answer(b"ok") + answer(b"smuggled"),
    answer(b"ok") + b"garbage",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def outcome(loop: asyncio.AbstractEventLoop, pieces: Sequence[bytes]) -> tuple[object, ...]:
    """What an exchange would see of an answer that comes in these pieces and then ends."""
    connection = Connection(loop, "peer:1")
    connection.begin("POST")
    connection.write(b"", b"")
    for piece in pieces:
        connection.data_received(piece)
    connection.eof_received()
    connection.connection_lost(None)
    kind = connection.failure[0] if connection.failure is not None else None
    return connection.head, connection.take(), connection.complete, kind


@pytest.mark.parametrize("raw", ANSWERS)
def test_an_answer_means_the_same_wherever_it_is_cut(loop: asyncio.AbstractEventLoop, raw: bytes) -> None:
    whole = outcome(loop, [raw])
    assert whole[2] is not (whole[3] is not None), "an answer is either complete or failed"
    for at in range(1, len(raw)):
        assert outcome(loop, [raw[:at], raw[at:]]) == whole
    assert outcome(loop, [raw[at : at + 1] for at in range(len(raw))]) == whole


@pytest.mark.parametrize("raw", ANSWERS[:4])
def test_an_answer_cut_short_anywhere_is_never_complete(loop: asyncio.AbstractEventLoop, raw: bytes) -> None:
    for at in range(len(raw)):
        _, _, complete, kind = outcome(loop, [raw[:at]])
        assert not complete
        assert kind is not None


fragments = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([*ANSWERS, b"\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"]),
    st.sampled_from(ANSWERS).flatmap(lambda raw: st.integers(0, len(raw)).map(lambda at: raw[:at])),
)


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(fragments, max_size=8))
def test_any_bytes_end_in_an_answer_or_in_a_failure_and_never_in_an_exception(pieces: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    try:
        head, body, complete, kind = outcome(loop, pieces)
    finally:
        loop.close()
    assert complete is not (kind is not None)
    assert head is not None or not (complete or body)
