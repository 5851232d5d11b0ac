"""Bodies that come packed although nobody asked for it: some servers, and proxies before them, do so whatever a request says
that it takes (RFC 9110, 12.5.3)."""

from __future__ import annotations

import zlib

from dragoman.errors import UpstreamGarbled
from dragoman.wire.http import Exchange, Head

CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})
_MOST = 256 * 1024
"""No more than this comes out of one read, in bytes, however far it was packed."""


class Unpacking:
    """An exchange whose body is given on as it was before it was packed."""

    def __init__(self, exchange: Exchange, coding: bytes) -> None:
        self._exchange = exchange
        self._name = coding.decode("latin-1")
        # With this the window is found in the data, and so is whether its head is that of gzip or of zlib.
        self._unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._rest = b""
        self._ended = False

    async def head(self, wait: float) -> Head | None:
        return await self._exchange.head(wait)

    async def read(self, wait: float) -> bytes | None:
        while not self._ended:
            packed, self._rest = self._rest, b""
            if not packed:
                chunk = await self._exchange.read(wait)
                if chunk is None:
                    return None
                self._ended = not chunk
                packed = chunk
            if piece := self._unpacked(packed):
                return piece
        if not self._unzip.eof:
            raise UpstreamGarbled(f"the answer broke off: its {self._name} has no end")
        return b""

    def _unpacked(self, packed: bytes) -> bytes:
        if not packed or self._unzip.eof:
            return b""  # what stands behind the end belongs to nobody
        try:
            piece = self._unzip.decompress(packed, _MOST)
        except zlib.error as error:
            raise UpstreamGarbled(f"the answer is not the {self._name} that it is called: {error}") from None
        self._rest = self._unzip.unconsumed_tail
        return piece

    def close(self) -> None:
        self._exchange.close()
