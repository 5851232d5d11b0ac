"""Forms with files (`multipart/form-data`, RFC 7578), as far as routing needs them: read two small fields, change at most
one, touch no other byte. A recording of 25 MB is searched for its boundary, and neither copied nor parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from dragoman.errors import MalformedBody

_BOUNDARY = re.compile(r'(?:^|;)\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'(?:^|;)\s*name\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_HEAD_MOST = 8192
_FIELD_MOST = 4096
_PARTS_MOST = 1000


class Field(msgspec.Struct, frozen=True):
    """One part of the form: `body[start:end]` is its value."""

    name: str
    start: int
    end: int


def boundary_of(content_type: str) -> bytes | None:
    """That of a form with files, None for any other content type. Raises `MalformedBody` for one without."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        return None
    found = _BOUNDARY.search(content_type.partition(";")[2])
    if found is None:
        raise MalformedBody("the content type multipart/form-data names no boundary")
    return (found[1] or found[2]).encode("latin-1")


def fields_of(body: bytes, boundary: bytes) -> Iterator[Field]:
    """In order. Raises `MalformedBody` where the form is none."""
    line = b"--" + boundary
    at = 0 if body.startswith(line) else body.find(b"\r\n" + line) + 2
    if at < 2 and not body.startswith(line):
        raise MalformedBody("the request body is not the form that its content type promises: its boundary is nowhere in it")
    for _ in range(_PARTS_MOST):
        at += len(line)
        if body.startswith(b"--", at):
            return
        ending = body.find(b"\r\n", at, at + _HEAD_MOST)
        if ending < 0 or body[at:ending].strip(b" \t"):
            raise MalformedBody(f"the form in the request body is broken at byte {at}: a line end is missing")
        start = ending + 2
        head = body.find(b"\r\n\r\n", ending, start + _HEAD_MOST)
        if head < 0:
            raise MalformedBody(f"the form in the request body is broken at byte {start}: a part has no end of its headers")
        end = body.find(b"\r\n" + line, head + 2)
        if end < 0:
            raise MalformedBody(f"the form in the request body breaks off in the part that begins at byte {start}")
        yield Field(_name_in(body[start:head]), head + 4, max(head + 4, end))
        at = end + 2
    raise MalformedBody(f"the form in the request body has more than {_PARTS_MOST} parts")


def _name_in(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            found = _NAME.search(value.partition(b";")[2])
            if found is not None:
                return (found[1] or found[2] or b"").decode("utf-8", "replace")
    return ""


def text_of(body: bytes, field: Field) -> str:
    return body[field.start : min(field.end, field.start + _FIELD_MOST)].decode("utf-8", "replace").strip()


def with_field(body: bytes, boundary: bytes, name: str, value: str) -> bytes:
    """The same form with this value in the field of that name, which is put first where there is none."""
    field = next((one for one in fields_of(body, boundary) if one.name == name), None)
    if field is not None:
        return body[: field.start] + value.encode() + body[field.end :]
    start = 0 if body.startswith(b"--" + boundary) else body.find(b"\r\n--" + boundary) + 2
    part = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name.encode(), value.encode())
    return body[:start] + part + body[start:]
