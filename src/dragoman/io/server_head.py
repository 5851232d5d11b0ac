"""A head that comes again: the same client sends the same bytes with each of its requests, but for the length of the body.

Once llhttp has read a head and nothing in it was unusual, the next one on that connection is compared with it. What is
equal up to the digits of its length means the same, so it is not read again: neither by the parser nor by whoever has
worked out before what follows from it (`Inbound.same`). A head that differs in anything else is read like any other.

Only the last head is remembered, on its own connection: nothing is shared between clients, and nothing outlives them.
"""

from __future__ import annotations

from typing import Any

from dragoman.wire.http import RawHeaders

_NAME = b"\r\ncontent-length:"
_MOST_DIGITS = 12


class KnownHead:
    """The head of a POST with a length, on a connection that stays: `before` and `after` are its bytes round the digits."""

    __slots__ = ("_at", "_headers", "after", "before", "length", "path", "query", "raw_path", "same", "url")

    def __init__(self, before: bytes, after: bytes, length: bytes, headers: RawHeaders) -> None:
        self.before = before
        self.after = after
        self.length = length
        self.url = b""
        self.path = ""
        self.raw_path = b""
        self.query = b""
        self.same: dict[Any, Any] = {}
        self._headers = headers
        self._at = next(number for number, (name, _) in enumerate(headers) if name == b"content-length")

    def length_in(self, data: bytes) -> bytes | None:
        """The digits, where the bytes begin with this head."""
        before = self.before
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + _MOST_DIGITS)
        digits = data[at:end] if end > 0 else b""
        return digits if digits.isdigit() and data.startswith(self.after, end) else None

    def headers(self, length: bytes) -> RawHeaders:
        if length == self.length:
            return self._headers
        # The old list may still be read.
        headers = self._headers.copy()
        headers[self._at] = (b"content-length", length)
        return headers


def known_head(head: bytes, length: bytes, headers: RawHeaders) -> KnownHead | None:
    """What to compare the next head with. `head`: with its blank line. None where the length does not stand there plainly."""
    at = head.lower().find(_NAME)
    if at < 0:
        return None
    at = head.find(length, at + len(_NAME))
    end = at + len(length)
    if at < 0 or not length.isdigit() or head[end : end + 1] != b"\r" or len(length) >= _MOST_DIGITS:
        return None
    return KnownHead(head[:at], head[end:], length, headers)
