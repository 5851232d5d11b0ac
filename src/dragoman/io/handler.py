"""What a server driver needs to know of the gateway: the whole of it, so that a driver runs under anything of this shape."""

from __future__ import annotations

from typing import Protocol

from dragoman.errors import DragomanError
from dragoman.wire.http import Inbound, Outbound


class Bounds(Protocol):
    @property
    def max_body(self) -> int:
        """Bytes. A larger body never reaches the handler; `refuse` answers it."""
        ...


class Handler(Protocol):
    @property
    def site(self) -> Bounds: ...

    def owns(self, inbound: Inbound) -> bool:
        """Whether a request, its body aside, is for the handler. Asked only where something else is mounted beside it,
        which then gets the rest."""
        ...

    def screen(self, inbound: Inbound) -> DragomanError | None:
        """Asked when a head has come whose body is still to be waited for: why the request will be refused whatever the
        body says, or None. Strangers are not to make anybody hold what they send."""
        ...

    async def handle(self, inbound: Inbound, out: Outbound) -> None:
        """Answers a whole request."""
        ...

    async def refuse(self, inbound: Inbound, out: Outbound, error: DragomanError) -> None:
        """Answers in its place, in the caller's dialect, what the driver itself had to turn away."""
        ...
