"""Free ports, and enough of file descriptors."""

from __future__ import annotations

import resource
import socket


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raise_file_limit() -> int:
    """As many open files as the system lets us have, for this process and all that it starts. Returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        # macOS refuses "infinity" and more than its own constant.
        wanted = min(65_536, hard) if hard != resource.RLIM_INFINITY else 10_240
        if wanted > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft
