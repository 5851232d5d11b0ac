"""A JSON array that arrives in pieces: bytes cut anywhere in, whole elements out.

Google's APIs stream this way unless they are asked for server-sent events: `[{...}`, then `,{...}` for each further
element, then `]`. Elements are found by counting brackets outside strings, never parsed; whoever gets them does that. An answer
that is a single object (an error) is its only element.
"""

from __future__ import annotations

import math
import re

import msgspec

from dragoman.errors import UpstreamGarbled
from dragoman.wire.sse import Frame

_OUTSIDE = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'["\\]')
_BETWEEN = re.compile(rb"[ \t\r\n,]*")
_BEFORE = re.compile(rb"[ \t\r\n\xef\xbb\xbf]*")
_CLOSING = b"] \t\r\n"
_MOST_TRIES = 512
MEDIA_TYPE = b"application/json"


class JsonArrayReader:
    """Feed it bytes, take elements. `whole`: the array has been closed. `past`: where in the last bytes that were fed the last
    element ends that is whole, or the array; 0 if none does. `limit` bounds one element, in bytes. With `keep` false it only
    looks, and gives no bytes."""

    __slots__ = ("_depth", "_escaped", "_in_array", "_in_string", "_keep", "_limit", "_pieces", "_size", "past", "whole")

    def __init__(self, limit: float = 32 * 1024 * 1024, *, keep: bool = True) -> None:
        self._keep = keep
        self.past = 0
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
        at = self.past = 0
        while not self.whole:
            if self._depth == 0:
                at = self._enter(chunk, at)
                if at < 0:
                    break
            end = self._element(chunk, at)
            if end < 0:
                if self._keep:
                    self._pieces.append(chunk[at:])
                self._size += len(chunk) - at
                break
            if self._keep:
                found.append(b"".join([*self._pieces, chunk[at:end]]))
                self._pieces.clear()
            self._size = 0
            self.whole = not self._in_array
            at = self.past = end
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
            self.past = len(chunk)
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


class ArrayParser:
    """The elements as frames (`wire.framing.Parser`)."""

    def __init__(self) -> None:
        self._reader = JsonArrayReader()

    def feed(self, chunk: bytes) -> list[Frame]:
        return [Frame("", element) for element in self._reader.feed(chunk)]

    def end(self) -> list[Frame]:
        return []


class ArrayAligner:
    """Cuts an array that is passed on verbatim between its elements (`wire.framing.Cutter`). An element larger than `limit`
    bytes is given out before it is complete. Only the array's own end ends in a `]`."""

    __slots__ = ("_limit", "_scanner", "_tail", "between")

    def __init__(self, limit: int = 256 * 1024) -> None:
        self._scanner = JsonArrayReader(math.inf, keep=False)
        self._limit = limit
        self._tail = b""
        self.between = True

    def feed(self, chunk: bytes) -> bytes:
        if self._scanner.whole:
            return chunk
        self._scanner.feed(chunk)
        past = self._scanner.past
        if past:
            ready, self._tail = self._tail + chunk[:past], chunk[past:]
            self.between = True
            return ready
        held = self._tail + chunk
        ready = held.rstrip(_CLOSING) if len(held) > self._limit else b""
        self._tail = held[len(ready) :]
        self.between = self.between and not ready
        return ready

    @property
    def rest(self) -> bytes:
        """The element that has begun and not ended."""
        return self._tail


def is_closed(data: bytes) -> bool:
    """Whether an array that was cut by `ArrayAligner` ends with these bytes."""
    return data.rstrip().endswith(b"]")


def last_element(data: bytes) -> bytes | None:
    """The last element, from the last bytes of an array; None where it begins before them."""
    data = data.rstrip(_CLOSING)
    begin = len(data)
    for _ in range(_MOST_TRIES):
        begin = data.rfind(b"{", 0, begin)
        if begin < 0:
            break
        try:
            # Whatever begins later within the element lacks its beginning, and does not end where that does.
            msgspec.json.decode(data[begin:], type=msgspec.Raw)
        except msgspec.DecodeError:
            continue
        return data[begin:]
    return None


def last_elements(data: bytes, torn: bool) -> list[Frame]:
    """The last one as a frame (`wire.framing.Framing.last`)."""
    del torn
    element = last_element(data)
    return [Frame("", element)] if element is not None else []


def _past(blanks: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    """Where something other than these begins."""
    found = blanks.match(chunk, at)
    return found.end() if found is not None else at
