from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from dragoman.testing import ScriptedUpstream, ThreadedUpstream


@pytest.fixture(scope="module")
def scripted() -> Iterator[ThreadedUpstream]:
    """A provider of the tests. A file that wants it scripted beforehand has a fixture of this name of its own."""
    with ScriptedUpstream.in_thread() as server:
        yield server


@pytest.fixture
def backlog() -> Iterator[str]:
    """The URL of a port that listens and never accepts: its queue is full, so a connection is never made."""
    with ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
