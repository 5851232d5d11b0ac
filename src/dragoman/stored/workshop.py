"""The seam to where work goes on that no request waits for. `io/workshop.py` implements it with tasks."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol


class Running(Protocol):
    def cancel(self) -> object: ...


class Bell(Protocol):
    """Wakes everybody who waits for it."""

    def ring(self) -> None: ...

    async def wait(self, seconds: float) -> bool:
        """Whether it rang within so many seconds."""
        ...


class Workshop(Protocol):
    def admit(self) -> None:
        """Raises `Busy` where there is too much going on for another work to begin."""
        ...

    def start(self, work: Coroutine[Any, Any, None]) -> Running: ...

    async def join(self, running: Running) -> None:
        """Returns when it has ended, however it has."""
        ...

    def bell(self) -> Bell: ...

    async def pause(self, seconds: float) -> None: ...
