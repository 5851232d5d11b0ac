"""The HTTP client that all SDKs share: it keeps the bytes of every answer, for judges stricter than the SDKs are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextvars import ContextVar

import httpx2


class Recorded:
    """The last exchange of one question. `ended` is false while the body is coming, and stays so when it breaks off; `gaps` are
    the silences, in seconds, before each piece. After `leave_after` bytes the client hangs up, at `left_at`."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.gaps: list[float] = []
        self.ended = False
        self.leave_after: int | None = None
        self.left_at: float | None = None
        self._heard = time.monotonic()

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """The head of an answer, in place of any before it."""
        self.status, self.headers, self.ended = status, headers, False
        self.pieces.clear()

    def add(self, piece: bytes) -> None:
        now = time.monotonic()
        self.gaps.append(now - self._heard)
        self._heard = now
        self.pieces.append(piece)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


RECORDED: ContextVar[Recorded | None] = ContextVar("recorded", default=None)
"""Where the exchanges of this task are kept."""


class _Tee(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, recorded: Recorded) -> None:
        self._stream = stream
        self._recorded = recorded

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._recorded.add(piece)
            yield piece
            most = self._recorded.leave_after
            if most is not None and sum(map(len, self._recorded.pieces)) > most:
                await self._stream.aclose()
                self._recorded.left_at = time.monotonic()
                raise httpx2.ReadError("the client has left")
        self._recorded.ended = True

    async def aclose(self) -> None:
        await self._stream.aclose()


class Recording(httpx2.AsyncBaseTransport):
    def __init__(self, connections: int) -> None:
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30)
        # No proxy of the environment: what is measured is the gateway.
        self._inner = httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        recorded = RECORDED.get()
        if recorded is not None:
            recorded.begin(response.status_code, {name.lower(): value for name, value in response.headers.items()})
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Tee(response.stream, recorded)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def recording_client(connections: int, patience: float) -> httpx2.AsyncClient:
    """Bodies come as they are, not compressed: the SDKs would read them, the judges of bytes would not."""
    return httpx2.AsyncClient(
        transport=Recording(connections),
        timeout=patience,
        headers={"accept-encoding": "identity"},
        trust_env=False,
        follow_redirects=True,
    )
