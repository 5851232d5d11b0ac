"""The request body at tier T0: look at two values, change at most one, touch no other byte."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.errors import MalformedBody


class Peek(msgspec.Struct):
    """What routing needs of a body; everything else is skipped, only checked to be JSON."""

    model: Any = None
    stream: Any = None


class _Named(msgspec.Struct):
    model: msgspec.Raw


_CANDIDATES = 8
"""So many members called `model` are tried as the top-level one; then the body is put together anew."""

_peek = msgspec.json.Decoder(Peek)
_named = msgspec.json.Decoder(_Named)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def peek(body: bytes) -> Peek:
    """`model` and `stream` of a body. Raises `MalformedBody` with line and column when it is not a JSON object."""
    try:
        return _peek.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None


def swap_model(body: bytes, model: str) -> bytes:
    """The body with another `model`; every other byte is kept. Where the name cannot be found as it is usually written
    (its key is escaped, say), the members keep their bytes and their order, and the white space between them goes."""
    try:
        old = bytes(_named.decode(body).model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None
    new = msgspec.json.encode(model)
    for number, found in enumerate(re.finditer(rb'"model"[ \t\r\n]*:[ \t\r\n]*' + re.escape(old), body)):
        if number == _CANDIDATES:
            break
        swapped = body[: found.end() - len(old)] + new + body[found.end() :]
        # A member of something deeper may be called so too.
        if peek(swapped).model == model:
            return swapped
    fields = fields_of(body)
    fields["model"] = msgspec.Raw(new)
    return msgspec.json.encode(fields)


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members of a JSON object, their values unread. The body is UTF-8 throughout: what is left unread and goes
    out again (a schema) would not be checked by anybody else."""
    try:
        if not body.isascii():
            body.decode()
        return _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(body, error) from None


def malformed(body: bytes, error: Exception) -> MalformedBody:
    """A sentence that says what is wrong with the body, and where."""
    if not body.strip():
        return MalformedBody("The request body is empty; a JSON object is expected.")
    text = str(error)
    where = ""
    marker = "(byte "
    if marker in text:
        offset = int(text.split(marker)[1].split(")", maxsplit=1)[0])
        line = body.count(b"\n", 0, offset) + 1
        column = offset - (body.rfind(b"\n", 0, offset) + 1) + 1
        where = f" at line {line} column {column} (byte {offset})"
        text = text.split(marker, maxsplit=1)[0].strip().removesuffix(":")
    elif isinstance(error, UnicodeDecodeError):
        where = f" at byte {error.start}"
        text = "it is not UTF-8"
    elif isinstance(error, RecursionError):
        text = "it is nested too deeply"
    text = text.removeprefix("JSON is malformed: ").removeprefix("JSON is malformed")
    return MalformedBody(f"The request body is not a valid JSON object{where}: {text}")
