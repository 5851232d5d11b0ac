"""What a gateway weighs when many streams are over. As a user runs it."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dragoman.io.process import resident
from dragoman.testing import ScriptedUpstream
from tests.cli.test_cli import PATIENCE
from tests.cli.test_workers import STALL, settings, started

STREAMS = 300
GAVE_BACK = "the allocator gave back"


def weight(pid: int) -> float:
    """In MB."""
    return (resident(pid) or 0) / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else says what a process weighs")
def test_memory_goes_back_to_the_system_when_the_streams_are_over(tmp_path: Path) -> None:
    words = "word " * 18_000
    body = json.dumps({"model": STALL, "stream": True, "messages": [{"role": "user", "content": words}]}).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with ScriptedUpstream.in_thread() as upstream:
        config = settings(upstream, workers=1, log={"level": "debug"})
        with started(tmp_path, config=config) as gateway:
            pid = gateway.process.pid
            before = weight(pid)
            assert before < 80
            with ExitStack() as opened:
                at = (urlsplit(gateway.url).hostname or "", gateway.port)
                clients = [opened.enter_context(socket.create_connection(at, PATIENCE)) for _ in range(STREAMS)]
                for client in clients:
                    client.sendall(head.encode() + body)
                for client in clients:
                    said = b""
                    while b"Hel" not in said:
                        said += client.recv(65536)
                during = weight(pid)
                so_far = sum(GAVE_BACK in line for line in gateway.said)
            gateway.wait_for(GAVE_BACK, so_far + 1)
            assert during > before + 20
            assert weight(pid) < before + 0.6 * (during - before)
