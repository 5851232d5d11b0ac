"""JSON that may have broken off: tool arguments arrive in pieces, and sometimes not all of them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_MARKS = re.compile(r'["\\{}\[\],]')
_CLOSING = {"{": "}", "[": "]"}
_CLOSED_BY = frozenset({"}", "]"})
_MOST_TRIED = 64


def whole(text: str) -> bool:
    """Whether this is one complete JSON value. Blank text counts as the empty object that it stands for."""
    if not text or text.isspace():
        return True
    try:
        msgspec.json.decode(text.encode("utf-8", "surrogatepass"), type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def arguments_object(text: str) -> dict[str, Any] | None:
    """A call's arguments as the object that dialects with an `input` object want; None when they are not one."""
    if not text or text.isspace():
        return {}
    try:
        value = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def mended_object(text: str) -> dict[str, Any]:
    """As much of a broken-off object as arrived: members that are whole, none that is not."""
    for position, closing in reversed(_cuts(text)):
        found = arguments_object(text[:position] + closing) if text[:position].strip() else None
        if found is not None:
            return found
    return {}


def _cuts(text: str) -> list[tuple[int, str]]:
    """Where the text could be cut, the last places only, with what would have to be closed there."""
    in_string = False
    # Brackets as they open and close, and the place behind each mark; a snapshot of the open ones at every place would
    # grow with the square of the depth.
    stack: list[str] = []
    places: list[tuple[int, str]] = []
    escaped_until = -1
    for mark in _MARKS.finditer(text):
        at, sign = mark.start(), mark.group()
        if in_string:
            if sign == "\\" and at > escaped_until:
                escaped_until = at + 1
            elif sign == '"' and at > escaped_until:
                in_string = False
        elif sign == '"':
            in_string = True
        elif sign == ",":
            places.append((at, sign))
        elif sign != "\\":
            places.append((at + 1, sign))
    if not in_string:
        places.append((len(text), ""))
    tried = len(places) - _MOST_TRIED
    cuts: list[tuple[int, str]] = []
    for number, (position, sign) in enumerate(places):
        if sign in _CLOSING:
            stack.append(_CLOSING[sign])
        elif sign in _CLOSED_BY and stack:
            stack.pop()
        if number >= tried:
            cuts.append((position, "".join(reversed(stack))))
    return cuts
