"""`dragoman serve` with a peephole: on SIGUSR1 it writes how many tasks and objects there are into the file SOAK_GAUGES.

Nothing else is other than in `python -m dragoman serve`.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path

from dragoman.cli.main import main


def _tell(number: int, frame: object) -> None:  # noqa: ARG001
    file = Path(os.environ["SOAK_GAUGES"])
    gc.collect()
    found = gc.get_objects()  # what start-up made is frozen, and not among them
    # By `type`, as `isinstance` asks objects, and some of them are proxies of what is gone.
    tasks = [one for one in found if issubclass(type(one), asyncio.Task) and not one.done()]
    named = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in found)
    gauges = {
        "tasks": len(tasks),
        "task_names": Counter(getattr(task.get_coro(), "__qualname__", "?") for task in tasks),
        "objects": len(found),
        "ours": {name: count for name, count in named.items() if name.startswith(("dragoman.", "asyncio.", "uvloop."))},
        "threads": threading.active_count(),
        "traced": _traced(),
    }
    # What the allocator only keeps for next time is no leak: with it given back, what is left is what is used.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(gauges))
    fresh.replace(file)


def _traced() -> list[str]:
    """Who has allocated what is there, if PYTHONTRACEMALLOC asks for it."""
    if not tracemalloc.is_tracing():
        return []
    now, most = tracemalloc.get_traced_memory()
    found = tracemalloc.take_snapshot().statistics("lineno")[:25]
    return [f"{now / 1e6:.1f} MB, {most / 1e6:.1f} at most", *map(str, found)]


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    sys.exit(main(["serve", *sys.argv[1:]]))
