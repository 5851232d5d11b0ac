from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import UpstreamGarbled
from dragoman.wire.sse import Aligner, Frame, SseParser, last_boundary, one_by_one, parse_event, write_frame

CASES: dict[str, tuple[bytes, list[Frame]]] = {
    "one event": (b"data: a\n\n", [Frame("", b"a")]),
    "named": (b"event: ping\ndata: {}\n\n", [Frame("ping", b"{}")]),
    "no space after the colon": (b"event:x\ndata:1\n\n", [Frame("x", b"1")]),
    "crlf": (b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [Frame("a", b"1"), Frame("", b"2")]),
    "cr": (b"data: 1\r\rdata: 2\r\r", [Frame("", b"1"), Frame("", b"2")]),
    "mixed line ends": (b"data: 1\r\n\ndata: 2\n\r\ndata: 3\n\n", [Frame("", b"1"), Frame("", b"2"), Frame("", b"3")]),
    "comments are no events": (b": hello\n\ndata: 1\n\n:\n\n", [Frame("", b"1")]),
    "a comment inside an event": (b"event: a\n: note\ndata: 1\n\n", [Frame("a", b"1")]),
    "several data lines": (b"data: a\ndata: b\n\n", [Frame("", b"a\nb")]),
    "an empty data line": (b"data\n\n", [Frame("", b"")]),
    "id and retry are passed over": (b"id: 7\nretry: 10\ndata: x\n\n", [Frame("", b"x")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\n", [Frame("", b"1")]),
    "many blank lines": (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [Frame("", b"1"), Frame("", b"2")]),
    "without the last blank line": (b"data: 1\n\ndata: [DONE]", [Frame("", b"1"), Frame("", b"[DONE]")]),
    "only one space is taken off": (b"data:  x\n\n", [Frame("", b" x")]),
    "utf-8": ("data: \U0001f600é\n\n".encode(), [Frame("", "\U0001f600é".encode())]),
}


def read(pieces: list[bytes]) -> list[Frame]:
    parser = SseParser()
    frames = [frame for piece in pieces for frame in parser.feed(piece)]
    return frames + parser.end()


@pytest.mark.parametrize("name", CASES)
def test_events_are_read_as_the_standard_says_at_every_cut(name: str) -> None:
    body, expected = CASES[name]
    assert read([body]) == expected
    for cut in range(1, len(body)):
        assert read([body[:cut], body[cut:]]) == expected
    assert read([body[i : i + 1] for i in range(len(body))]) == expected


@given(
    st.lists(st.sampled_from([b"data: a", b"event: b", b": c", b"\n", b"\r\n", b"\r", b"\n\n", b"x"]), max_size=30), st.data()
)
def test_where_a_stream_is_cut_never_matters(tokens: list[bytes], data: st.DataObject) -> None:
    body = b"".join(tokens)
    cut = data.draw(st.integers(0, len(body)))
    assert read([body[:cut], body[cut:]]) == read([body])


def test_an_event_beyond_the_limit_is_garbled() -> None:
    parser = SseParser(limit=100)
    with pytest.raises(UpstreamGarbled, match="larger than 100"):
        parser.feed(b"data: " + b"x" * 200)


def test_a_frame_is_written_as_it_is_read() -> None:
    assert parse_event(write_frame(b"{}", "ping").rstrip(b"\n")) == Frame("ping", b"{}")
    assert write_frame(b"1") == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("data", "boundary"),
    [
        (b"", 0),
        (b"data: 1", 0),
        (b"data: 1\n\n", 9),
        (b"data: 1\n\ndata", 9),
        (b"a\r\n\r\nb", 5),
        (b"a\r\n\r", 0),
        (b"a\r\rb", 3),
    ],
)
def test_the_last_whole_event_is_found(data: bytes, boundary: int) -> None:
    assert last_boundary(data) == boundary


@given(
    st.lists(st.sampled_from([b"data: a\n\n", b"data: b\r\n\r\n", b": c\n\n", b"event: d\ndata: e\n\n"]), max_size=8), st.data()
)
def test_an_aligned_stream_loses_no_byte_and_stands_between_events(events: list[bytes], data: st.DataObject) -> None:
    body = b"".join(events)
    cut = data.draw(st.integers(0, len(body)))
    aligner = Aligner()
    out = aligner.feed(body[:cut])
    assert aligner.between
    assert out == b"" or last_boundary(out) == len(out) or out.endswith(b"\n")
    out += aligner.feed(body[cut:])
    assert out + aligner.rest == body


def test_a_huge_event_goes_on_before_it_is_whole() -> None:
    aligner = Aligner(limit=10)
    assert aligner.feed(b"data: 0123456789") == b"data: 0123456789"
    assert not aligner.between
    assert aligner.feed(b"\n\n") == b"\n\n"
    assert aligner.between


def test_an_error_that_stands_bare_in_a_stream_is_an_event() -> None:
    error = b'{\n  "error": {\n    "code": 503\n  }\n}'
    for end in (b"", b"\n", b"\n\n"):
        parser = SseParser()
        frames = [*parser.feed(b"data: 1\n\n" + error + end), *parser.end()]
        assert frames == [Frame("", b"1"), Frame("", error)]


def test_words_that_are_no_field_and_no_json_are_skipped() -> None:
    assert parse_event(b"hello\nid: 7") is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_chunk_is_cut_into_its_events_for_who_reads_no_further_than_the_first(end: bytes) -> None:
    events = [b"data: %d" % number + end + end for number in range(3)]
    assert list(one_by_one(b"".join(events) + b"data: 4")) == [*events, b"data: 4"]


def test_a_boundary_of_another_kind_behind_one_of_crlf_is_found() -> None:
    assert last_boundary(b"data: 1\r\n\r\ndata: 2\n\ndata: 3") == len(b"data: 1\r\n\r\ndata: 2\n\n")
    assert last_boundary(b"data: 1\r\n\r\ndata: 2\r\n\r") == len(b"data: 1\r\n\r\n")
