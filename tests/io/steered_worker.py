"""A worker that does as the variable STEER says: what a supervisor's test starts in the place of the usual one.

gate:FILE   waits before it begins, until there is such a file
die         ends before it has said anything
mute        has an application that never answers its shutdown, nor can be cancelled
refuse      has an application that does not start
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from dragoman.io import worker
from dragoman.io.mount import Mount, Receive, Scope, Send

STEER = os.environ.get("STEER", "")


async def mute(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def main() -> int:
    what, _, file = STEER.partition(":")
    if what == "die":
        return 7
    end = time.monotonic() + 30
    while what == "gate" and not Path(file).exists() and time.monotonic() < end:
        time.sleep(0.01)
    worker.LAST_WORDS = 0.2
    app = {"mute": mute, "refuse": refuse}.get(what)
    return worker.main((lambda _: Mount(app, stop_limit=0.1)) if app is not None else None)


if __name__ == "__main__":
    sys.exit(main())
