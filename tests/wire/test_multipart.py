"""A form is read for two fields and changed in one, to the byte."""

from __future__ import annotations

import contextlib
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import MalformedBody
from dragoman.wire.multipart import boundary_of, fields_of, text_of, with_field

SOUND = bytes(range(256)) + b"\r\n--not the boundary\r\n"


def form(*parts: tuple[str, bytes], boundary: str = "B", preamble: bytes = b"", epilogue: bytes = b"") -> bytes:
    written = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary.encode(), head.encode(), value) for head, value in parts)
    return preamble + written + f"--{boundary}--\r\n".encode() + epilogue


def named(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


FORM = form(
    ('Content-Type: audio/wav\r\ncontent-disposition: form-data; filename="name=model.wav"; name=file', SOUND),
    (named("model"), b"whisper-1"),
    (named("prompt"), b""),
    (named("stream"), b"true"),
)


def values(body: bytes, boundary: bytes = b"B") -> dict[str, bytes]:
    return {field.name: body[field.start : field.end] for field in fields_of(body, boundary)}


def test_fields_are_found_where_they_stand() -> None:
    assert values(FORM) == {"file": SOUND, "model": b"whisper-1", "prompt": b"", "stream": b"true"}
    assert [text_of(FORM, field) for field in fields_of(FORM, b"B") if field.name == "model"] == ["whisper-1"]
    assert values(form((named("a"), b"1"), preamble=b"to be ignored\r\n", epilogue=b"this too")) == {"a": b"1"}


def test_one_field_changes_and_no_other_byte() -> None:
    changed = with_field(FORM, b"B", "model", "other-model")
    assert changed == FORM.replace(b"whisper-1", b"other-model")
    without = form((named("file"), SOUND))
    assert values(with_field(without, b"B", "model", "m")) == {"model": b"m", "file": SOUND}
    assert with_field(without, b"B", "model", "m").endswith(without)


@given(st.lists(st.tuples(st.from_regex(r"[a-z\[\]]{1,9}", fullmatch=True), st.binary(max_size=40)), min_size=1, max_size=5))
def test_the_standard_librarys_reader_sees_the_same(parts: list[tuple[str, bytes]]) -> None:
    body = form(*[(named(name), value) for name, value in parts], boundary="0123456789abcdef")
    found = [(field.name, body[field.start : field.end]) for field in fields_of(body, b"0123456789abcdef")]
    assert found == parts
    if not all(value.isascii() and b"\r" not in value and b"\n" not in value for _, value in parts):
        return
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: multipart/form-data; boundary=0123456789abcdef\r\n\r\n" + body
    )
    assert [part.get_param("name", header="content-disposition") for part in message.iter_parts()] == [
        name for name, _ in parts
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_an_error(body: bytes) -> None:
    for tried in (body, b"--B\r\n" + body, form((named("a"), b"1"))[:-7] + body):
        with contextlib.suppress(MalformedBody):
            list(fields_of(tried, b"B"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "its boundary is nowhere in it"),
        (b"--B", "a line end is missing"),
        (b"--Bx\r\n", "a line end is missing"),
        (b"--B\r\nno end of the headers", "no end of its headers"),
        (b"--B\r\n" + named("a").encode() + b"\r\n\r\nno boundary", "breaks off"),
    ],
)
def test_a_broken_form_says_what_is_wrong(body: bytes, why: str) -> None:
    with pytest.raises(MalformedBody, match=why):
        list(fields_of(body, b"B"))


def test_boundaries_are_read_as_they_are_written() -> None:
    assert boundary_of("multipart/form-data; boundary=abc") == b"abc"
    assert boundary_of('Multipart/Form-Data; charset=utf-8; Boundary="a b;c"') == b"a b;c"
    assert boundary_of("application/json") is None
    with pytest.raises(MalformedBody, match="names no boundary"):
        boundary_of("multipart/form-data")
