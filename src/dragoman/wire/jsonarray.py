"""A JSON array that arrives in pieces: bytes cut anywhere in, whole elements out.

Google's APIs stream this way unless they are asked for server-sent events: `[{...}`, then `,{...}` for each further
element, then `]`. Elements are found by counting brackets outside strings, never parsed; whoever gets them does that. An answer
that is a single object (an error) is its only element.
"""

from __future__ import annotations

import re

from dragoman.errors import UpstreamGarbled

_OUTSIDE = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'["\\]')
_BETWEEN = b" \t\r\n,"


class JsonArrayReader:
    """Feed it bytes, take elements. `whole`: the array has been closed. `limit` bounds one element, in bytes."""

    __slots__ = ("_at", "_buffer", "_depth", "_in_array", "_in_string", "_limit", "whole")

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._buffer = b""
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._in_array = False
        self._limit = limit
        self.whole = False

    def feed(self, chunk: bytes) -> list[bytes]:
        self._buffer += chunk
        found: list[bytes] = []
        while not self.whole:
            if self._depth == 0 and not self._enter():
                break
            element = self._element()
            if element is None:
                break
            found.append(element)
        if len(self._buffer) > self._limit:
            raise UpstreamGarbled(f"one element of the array is larger than {self._limit} bytes")
        return found

    def end(self) -> bool:
        """The bytes are over. Whether they ended where the array does."""
        return self.whole or not (self._in_array or self._buffer.strip())

    def _enter(self) -> bool:
        """Go on to the next element's first byte. False when it has not come, or when there is none."""
        buffer = self._buffer.lstrip(_BETWEEN if self._in_array else b" \t\r\n\xef\xbb\xbf")
        if not self._in_array and buffer.startswith(b"["):
            self._in_array = True
            buffer = buffer[1:].lstrip(_BETWEEN)
        self._buffer, self._at = buffer, 0
        if not buffer:
            return False
        if self._in_array and buffer.startswith(b"]"):
            self.whole = True
            self._buffer = b""
            return False
        if not buffer.startswith(b"{"):
            raise UpstreamGarbled(f"an object was expected in the array, not {buffer[:40]!r}")
        return True

    def _element(self) -> bytes | None:
        buffer, at = self._buffer, self._at
        while True:
            mark = (_INSIDE if self._in_string else _OUTSIDE).search(buffer, at)
            if mark is None:
                self._at = len(buffer)
                return None
            at, sign = mark.end(), mark.group()
            if sign == b"\\":
                if at == len(buffer):
                    # What it escapes has not come yet.
                    self._at = at - 1
                    return None
                at += 1
            elif sign == b'"':
                self._in_string = not self._in_string
            elif sign in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    self._buffer, self._at = buffer[at:], 0
                    if not self._in_array:
                        self.whole = True
                    return buffer[:at]
