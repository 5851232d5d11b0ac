"""JSON as servers really send it.

Servers that cut text between UTF-16 halves write lone surrogates, and Python ones write `NaN`. Neither is JSON and both
are harmless: read here with the standard library, after the fast way has failed. What is given on is proper Unicode:
the two halves of a character that came in two events are one again (`Halves`), a half that stays alone becomes U+FFFD.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

import msgspec

_decode = msgspec.json.Decoder().decode


def loads(data: bytes) -> Any:
    """The value; its strings may hold lone surrogates. Raises `ValueError` when it is not even nearly JSON."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return _finite(json.loads(data.decode("utf-8", "replace")))
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def whole_text(text: str) -> str:
    """The text with paired surrogates joined and lone ones replaced."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """Joins the pieces of one text. `join` gives what can be given on, `rest` what was left over at the end."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        if not self._half and text.isascii():
            return text
        text = self._half + text
        self._half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
        return whole_text(text.removesuffix(self._half) if self._half else text)

    def rest(self) -> str:
        half, self._half = self._half, ""
        return "\ufffd" if half else ""


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast("dict[Any, Any]", value).items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clean(value: Any) -> Any:
    """A tree whose every string is proper Unicode, for a whole body that was read with `loads`."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, list):
        return [clean(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value
