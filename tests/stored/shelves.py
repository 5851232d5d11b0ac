"""Two gateways' shelves on one real store, with one clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from dragoman.io.store import Store
from dragoman.stored.shelf import Shelf
from tests.hands import Hands
from tests.serving import PATIENCE

Use = Callable[[Shelf, Shelf, Hands], Coroutine[Any, Any, None]]


def sharing(url: str, use: Use, ttl: float = 3600.0) -> None:
    """As two processes would: each shelf has a store, and a store threads and connections, of its own."""

    async def run() -> None:
        clock = Hands()
        stores = [Store(url, clock), Store(url, clock)]
        try:
            async with asyncio.timeout(PATIENCE):
                await use(Shelf(stores[0], clock, ttl), Shelf(stores[1], clock, ttl), clock)
        finally:
            for store in stores:
                await store.aclose()

    asyncio.run(run())
