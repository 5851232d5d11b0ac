"""JSON that may have broken off: tool arguments arrive in pieces, and sometimes not all of them."""

from __future__ import annotations

from typing import Any

import msgspec


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
    stack: list[str] = []
    in_string = escaped = False
    # Where the text could be cut, with what would have to be closed there.
    cuts: list[tuple[int, str]] = []
    for position, char in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
            continue
        if char == '"':
            in_string = True
        elif char in "{[":
            stack.append("}" if char == "{" else "]")
            cuts.append((position + 1, "".join(reversed(stack))))
        elif char in "}]" and stack:
            stack.pop()
            cuts.append((position + 1, "".join(reversed(stack))))
        elif char == ",":
            cuts.append((position, "".join(reversed(stack))))
    if not in_string:
        cuts.append((len(text), "".join(reversed(stack))))
    for position, closing in reversed(cuts[-64:]):
        found = arguments_object(text[:position] + closing) if text[:position].strip() else None
        if found is not None:
            return found
    return {}
