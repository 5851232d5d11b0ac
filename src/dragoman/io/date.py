"""The header `date` of an answer, which whoever has a clock puts on one that has none (RFC 9110, section 6.6.1)."""

from __future__ import annotations

import time
from email.utils import formatdate

_second = -1
_value = b""


def http_date() -> bytes:
    """Now, written once in a second."""
    global _second, _value  # noqa: PLW0603  two words for the whole process, and any second's pair is a right one
    now = int(time.time())
    if now != _second:
        _value = formatdate(now, usegmt=True).encode()
        _second = now
    return _value
