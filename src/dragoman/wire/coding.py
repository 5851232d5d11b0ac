"""Bodies that come packed: requests of clients that do so to send less (Codex packs with zstd), and answers although nobody
asked for it: some servers, and proxies before them, do so whatever a request says that it takes (RFC 9110, 12.5.3)."""

from __future__ import annotations

import sys
import zlib
from typing import Protocol

from dragoman.errors import BodyTooLarge, MalformedBody, UpstreamGarbled
from dragoman.wire.http import Exchange, Head

CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})
TAKEN = "gzip, deflate, zstd"
"""What a request may be packed with, for the header `accept-encoding`."""
_ANY = zlib.MAX_WBITS | 32
"""The window is found in the data, and so is whether its head is that of gzip or of zlib."""
_MEMBER = b"\x1f"
"""Some servers pack each piece that they send: gzip is a series of members, which begin so (RFC 1952, 2.2 and 2.3.1)."""
_WINDOW = 23
"""The largest window of zstd, as a power of two: RFC 9659 has no larger ones on the web, and it is memory."""
_MOST = 256 * 1024
"""No more than this comes out of one read, in bytes, however far it was packed."""


def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """The body of a request as it was before. Raises `MalformedBody`, and `BodyTooLarge` above `most` bytes."""
    if coding.encode("latin-1", "replace") in CODINGS:
        unpack, wrong = zlib.decompressobj(wbits=_ANY), zlib.error
    elif coding == "zstd" and (found := _zstd()) is not None:
        unpack, wrong = found
    else:
        raise MalformedBody(f"content-encoding {coding!r} is not understood; send one of {TAKEN}, or none", status=415)
    try:
        whole = unpack.decompress(body, most + 1)
    except wrong as error:
        raise MalformedBody(f"the body is not valid {coding}: {error}") from None
    if len(whole) > most:
        raise BodyTooLarge(f"the body is larger than {most} bytes when unpacked")
    if not unpack.eof or unpack.unused_data:
        raise MalformedBody(f"the body is not valid {coding}: it is cut short, or something follows it")
    return whole


def glimpse(data: bytes, coding: bytes, most: int) -> bytes:
    """The beginning of what was packed, as far as it can be read: no more than `most` bytes of it. The same bytes where it
    cannot be read."""
    if coding not in CODINGS:
        return data
    try:
        return zlib.decompressobj(wbits=_ANY).decompress(data, most)
    except zlib.error:
        return data


class _Unpacker(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


def _zstd() -> tuple[_Unpacker, type[Exception]] | None:
    """None where there is no wheel of it for this machine. Imported when it is first needed: few clients do."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        return None
    limits = {int(zstd.DecompressionParameter.window_log_max): _WINDOW}
    return zstd.ZstdDecompressor(options=limits), zstd.ZstdError


class Unpacking:
    """An exchange whose body is given on as it was before it was packed."""

    def __init__(self, exchange: Exchange, coding: bytes) -> None:
        self._exchange = exchange
        self._name = coding.decode("latin-1")
        self._unzip = zlib.decompressobj(wbits=_ANY)
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
        if self._unzip.eof:
            if not packed.startswith(_MEMBER):
                return b""  # what stands behind the end belongs to nobody
            self._unzip = zlib.decompressobj(wbits=_ANY)
        if not packed:
            return b""
        try:
            piece = self._unzip.decompress(packed, _MOST)
        except zlib.error as error:
            raise UpstreamGarbled(f"the answer is not the {self._name} that it is called: {error}") from None
        self._rest = self._unzip.unconsumed_tail or self._unzip.unused_data
        return piece

    def at_hand(self) -> bytes | None:
        return None

    def close(self) -> None:
        self._exchange.close()
