"""What the servers ask of the system, and what the system has for them."""

from __future__ import annotations

import sys

import msgspec

from dragoman.config import ServerLimits

BACKLOG = 65_535
"""Connections that may wait to be accepted: as many as the system allows. A client whose connection does not fit asks again
after a second, and then after two more."""

_LEAST_KEPT, _SHARE_KEPT = 32, 4
"""Files that are kept for what is not a client's connection: so many, or one in so many."""


def fitted(limits: ServerLimits) -> ServerLimits:
    """Where no number of connections is given, as many as there are files for, with some left for the connections to providers.
    When there are no more files, the system takes and drops connections without a word to anybody."""
    if limits.max_connections is not None or sys.platform == "win32":
        return limits
    import resource  # there is none on Windows

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return limits
    most = max(files - max(_LEAST_KEPT, files // _SHARE_KEPT), files // 2)
    return msgspec.structs.replace(limits, max_connections=most)
