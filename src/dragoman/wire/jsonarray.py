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
_BETWEEN = re.compile(rb"[ \t\r\n,]*")
_BEFORE = re.compile(rb"[ \t\r\n\xef\xbb\xbf]*")


class JsonArrayReader:
    """Feed it bytes, take elements. `whole`: the array has been closed. `limit` bounds one element, in bytes."""

    __slots__ = ("_depth", "_escaped", "_in_array", "_in_string", "_limit", "_pieces", "_size", "whole")

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._pieces: list[bytes] = []
        """Of the element that has begun. Put together when it is whole, so that nothing is copied again and again."""
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        """The last chunk ended within a string, behind a backslash."""
        self._in_array = False
        self._limit = limit
        self.whole = False

    def feed(self, chunk: bytes) -> list[bytes]:
        found: list[bytes] = []
        at = 0
        while not self.whole:
            if self._depth == 0:
                at = self._enter(chunk, at)
                if at < 0:
                    break
            end = self._element(chunk, at)
            if end < 0:
                self._pieces.append(chunk[at:])
                self._size += len(chunk) - at
                break
            found.append(b"".join([*self._pieces, chunk[at:end]]))
            self._pieces.clear()
            self._size = 0
            self.whole = not self._in_array
            at = end
        if self._size > self._limit:
            raise UpstreamGarbled(f"one element of the array is larger than {self._limit} bytes")
        return found

    def end(self) -> bool:
        """The bytes are over. Whether they ended where the array does."""
        return self.whole or not (self._in_array or self._depth)

    def _enter(self, chunk: bytes, at: int) -> int:
        """Where the next element begins; -1 when it has not come, or when there is none."""
        at = _past(_BETWEEN if self._in_array else _BEFORE, chunk, at)
        if not self._in_array and chunk[at : at + 1] == b"[":
            self._in_array = True
            at = _past(_BETWEEN, chunk, at + 1)
        if at == len(chunk):
            return -1
        if self._in_array and chunk[at : at + 1] == b"]":
            self.whole = True
            return -1
        if chunk[at : at + 1] != b"{":
            raise UpstreamGarbled(f"an object was expected in the array, not {chunk[at : at + 40]!r}")
        return at

    def _element(self, chunk: bytes, at: int) -> int:
        """Where the element ends; -1 when that has not come."""
        if self._escaped and at < len(chunk):
            self._escaped = False
            at += 1
        while True:
            mark = (_INSIDE if self._in_string else _OUTSIDE).search(chunk, at)
            if mark is None:
                return -1
            at, sign = mark.end(), mark.group()
            if sign == b"\\":
                if at == len(chunk):
                    self._escaped = True
                    return -1
                at += 1
            elif sign == b'"':
                self._in_string = not self._in_string
            elif sign in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    return at


def _past(blanks: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    """Where something other than these begins."""
    found = blanks.match(chunk, at)
    return found.end() if found is not None else at
