"""JSON as servers really send it.

Python servers write `NaN` and `-Infinity` (log probabilities), and servers that send UTF-16 as it comes write the two halves
of a character in two strings. Neither is JSON, and both are harmless: read here with the standard library, after the fast
way failed."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import msgspec

_HALF = frozenset(chr(code) for code in range(0xD800, 0xDC00))
_OTHER_HALF = frozenset(chr(code) for code in range(0xDC00, 0xE000))

# The strings of a chunk that go on in the next one, and the way to them.
_GROWING = frozenset({"content", "reasoning_content", "reasoning", "refusal", "arguments", "input", "text"})
_WAY = _GROWING | {"choices", "delta", "message", "tool_calls", "function", "custom", "function_call"}


def decode(data: bytes, *, stream: bool = False) -> Any:
    """The value. Raises ValueError when it is not even nearly JSON. In a stream, a half character at the edge of a text stays,
    as its other half may come in the next chunk."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return _clean(json.loads(data.decode("utf-8", "replace")), stream=stream)
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _clean(value: Any, *, stream: bool, key: str = "") -> Any:
    if isinstance(value, str):
        return _mended_inside(value) if stream and key in _GROWING else mended(value)
    if isinstance(value, list):
        return [_clean(item, stream=stream and key not in _GROWING, key=key) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {mended(name): _clean(item, stream=stream and name in _WAY, key=name) for name, item in members.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def mended(text: str) -> str:
    """The text with its halves joined, and U+FFFD for those that have no other."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _mended_inside(text: str) -> str:
    first = text[:1] if text[:1] in _OTHER_HALF else ""
    last = text[-1:] if len(text) > len(first) and text[-1:] in _HALF else ""
    return first + mended(text[len(first) : len(text) - len(last)]) + last


class Halves:
    """The halves of characters that wait for the next piece of their text, by the text's name."""

    def __init__(self) -> None:
        self._waiting: dict[object, str] = {}

    def join(self, name: object, text: str) -> str:
        """The text with what waited before it, and without a half at its end, which waits in turn."""
        text = self._waiting.pop(name, "") + text
        if text and text[-1] in _HALF:
            self._waiting[name] = text[-1]
            text = text[:-1]
        return mended(text)

    def rest(self, name: object) -> str:
        """What goes in place of a half whose other never came."""
        return "\ufffd" if self._waiting.pop(name, None) else ""
