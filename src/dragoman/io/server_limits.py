"""How much the native server takes from one client, and how long it waits for it."""

from __future__ import annotations

import msgspec

BACKLOG = 65_535
"""Connections that may wait to be accepted: as many as the system allows. A client whose connection does not fit asks again
after a second, and then after two more."""


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds."""

    headers: int = 100
    head_size: int = 64 * 1024
    """The whole head of a request; also framing within a chunked body that carries no content."""
    target_size: int = 16 * 1024
    read_ahead: int = 64 * 1024
    """What a client may send before the answer to its last request is done; then it is not read."""
    write_high: int = 256 * 1024
    """What may wait for a slow client before the handler waits too."""
    head_timeout: float = 10.0
    """From the first byte of a request to the end of its head."""
    body_timeout: float = 30.0
    """Between two pieces of a body."""
    idle_timeout: float = 75.0
    """Between two requests, and before the first."""
    stall_timeout: float = 60.0
    """A client that takes nothing for so long while data waits for it is given up."""
    linger: float = 2.0
    """How long a client that was turned away may go on sending. A connection closed upon unread data is reset, and the
    client might never see why."""

    @property
    def pace(self) -> float:
        return min(self.head_timeout, self.body_timeout, self.idle_timeout, self.stall_timeout)
