"""Waiting for something while something else is done now and then: pings to a client, most often."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from dragoman.flow.attachments import Meanwhile

T = TypeVar("T")


async def with_meanwhile(work: Coroutine[Any, Any, T], meanwhile: Meanwhile | None) -> T:
    """What the work comes to. Whatever ends the waiting ends the work too."""
    if meanwhile is None:
        return await work
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=meanwhile.every))[0]:
            await meanwhile.do()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
