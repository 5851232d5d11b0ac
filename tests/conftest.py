"""For all tests."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Thousands of tests and the SDKs behind them are there to stay: the garbage collector, which some tests call on
    purpose, would walk through all of them each time."""
    gc.collect()
    gc.freeze()
