"""Fetches what a request links to, for providers that take images and documents as bytes only. `guard.py` says what may be
asked for; this file keeps to it, and to its limits of time and size.

    guard.link        the URL alone: scheme, host, port, an address in it
    guard.resolver    every address of the name, at the moment in which it is connected to
    each redirect     begins anew with both; never from https to http

Nothing of the caller goes along: no credential, no cookie, no header. Proxies of the environment are not used: a proxy would
resolve the name itself, and what was checked here would not be what is connected to.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Sequence
from urllib.parse import urljoin

from dragoman.errors import RequestError, UpstreamError
from dragoman.flow.attachments import Meanwhile
from dragoman.flow.envelope import USER_AGENT
from dragoman.flow.media import Fetched, Unfetched
from dragoman.io.dial import Resolve, resolve_by_system
from dragoman.io.guard import Guard, Link, Refused
from dragoman.io.meanwhile import with_meanwhile
from dragoman.io.proxies import Proxies
from dragoman.io.upstream import HttpTransport
from dragoman.wire.http import Exchange, Head, RawHeaders, Timeouts, UpstreamRequest

MOST_REDIRECTS = 5
_AT_ONCE = 6
"""Of one request."""
_AT_ONCE_IN_ALL = 256
_TOTAL = 4
"""All that one request links to may be so many times as large as a single file."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS: RawHeaders = [
    (b"accept", b"image/*, application/pdf, text/*;q=0.8, */*;q=0.5"),
    (b"accept-encoding", b"identity"),
    (b"user-agent", USER_AGENT + b" (a gateway; fetches what its users link to)"),
]


class HttpFetcher:
    """Implements `flow.attachments.Fetcher`. Belongs to the event loop of its first use. `max_bytes` of one file, `timeout` in
    seconds for one with all its redirects. `resolve` replaces the system's name resolution, not the check of its answers."""

    def __init__(
        self,
        guard: Guard,
        *,
        max_bytes: int,
        timeout: float,
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._guard = guard
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._timeouts = Timeouts(connect=timeout, first_byte=timeout, idle=timeout, total=timeout)
        self._transport = HttpTransport(
            per_host=16, idle_age=2.0, ssl_context=ssl_context, proxies=Proxies(), resolve=guard.resolver(resolve)
        )
        self._gate = asyncio.Semaphore(_AT_ONCE_IN_ALL)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def fetch(
        self, urls: Sequence[str], patience: float, meanwhile: Meanwhile | None = None
    ) -> list[Fetched | Unfetched]:
        """See `flow.attachments.Fetcher`."""
        return await with_meanwhile(self._all(urls, patience), meanwhile)

    async def _all(self, urls: Sequence[str], patience: float) -> list[Fetched | Unfetched]:
        mine = asyncio.Semaphore(_AT_ONCE)
        budget = _Budget(self._max_bytes * _TOTAL)
        until = asyncio.get_running_loop().time() + patience

        async def one(url: str) -> Fetched | Unfetched:
            try:
                async with asyncio.timeout_at(until), mine, self._gate, asyncio.timeout(self._timeout):
                    return await self._follow(url, budget)
            except TimeoutError:
                return Unfetched(f"could not be fetched: it took longer than {min(self._timeout, patience):g} s")
            except Refused as refusal:
                return Unfetched(str(refusal))
            except (UpstreamError, RequestError) as error:
                return Unfetched(f"could not be fetched: {error.message}")

        return await _all_or_first_failure([asyncio.ensure_future(one(url)) for url in urls])

    async def _follow(self, url: str, budget: _Budget) -> Fetched | Unfetched:
        link = self._guard.link(url)
        for _ in range(MOST_REDIRECTS + 1):
            exchange = await self._transport.open(
                UpstreamRequest(method="GET", url=link.url, headers=_HEADERS, body=b"", timeouts=self._timeouts)
            )
            try:
                head = await exchange.head(self._timeout)
                if head is None:
                    raise TimeoutError
                if head.status not in _REDIRECTS:
                    return await self._read(exchange, head, budget)
            finally:
                exchange.close()
            link = self._next(link, head)
        return Unfetched(f"could not be fetched: it redirects more than {MOST_REDIRECTS} times")

    def _next(self, link: Link, head: Head) -> Link:
        """Where a redirect leads. Raises `Refused`."""
        location = (head.get(b"location") or b"").decode("latin-1")
        if not location:
            raise Refused(f"could not be fetched: it answered with status {head.status}, and redirects nowhere")
        try:
            following = self._guard.link(urljoin(link.url, location))
        except Refused as refusal:
            raise Refused(f"redirects to a URL that {refusal}") from None
        except ValueError:
            raise Refused("redirects to something that is not a URL") from None
        if link.scheme == "https" and following.scheme != "https":
            raise Refused("could not be fetched: it redirects from https to http")
        return following

    async def _read(self, exchange: Exchange, head: Head, budget: _Budget) -> Fetched | Unfetched:
        if head.status != 200:
            return Unfetched(f"could not be fetched: it answered with status {head.status}")
        unpack = _Unpacker(head, self._max_bytes)
        length = head.get(b"content-length") or b""
        if length.isdigit() and int(length) > self._max_bytes:
            raise unpack.too_large()
        pieces: list[bytes] = []
        while True:
            raw = await exchange.read(self._timeout)
            if raw is None:
                raise TimeoutError
            piece = unpack.feed(raw) if raw else unpack.end()
            budget.spend(len(piece))
            pieces.append(piece)
            if not raw:
                return Fetched(b"".join(pieces), (head.get(b"content-type") or b"").decode("latin-1"))


async def _all_or_first_failure(tasks: list[asyncio.Future[Fetched | Unfetched]]) -> list[Fetched | Unfetched]:
    """In order. Where one fails the request does, so nobody waits for the others then. Leaves no task behind."""
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(task.result(), Unfetched) for task in done):
                break
    finally:
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
    return [_SKIPPED if task.cancelled() else task.result() for task in tasks]


_SKIPPED = Unfetched("was not fetched, as another link failed", skipped=True)


class _Budget:
    """Bytes that may still come, for all links of one request together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Refused(
                f"could not be fetched: all that this request links to is larger than {self._size / 1e6:g} MB together"
            )


class _Unpacker:
    """Counts what comes, and unpacks what was packed though nobody asked: never more than `most` bytes of it."""

    def __init__(self, head: Head, most: int) -> None:
        coding = (head.get(b"content-encoding") or b"identity").strip().lower()
        if coding not in {b"identity", b"", b"gzip", b"x-gzip", b"deflate"}:
            raise Refused(f"could not be fetched: it came in the coding {coding.decode('latin-1')!r}, which was not asked for")
        self._inflate = None if coding in {b"identity", b""} else zlib.decompressobj(wbits=47)
        self._most = most
        self._had = 0

    def feed(self, data: bytes) -> bytes:
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, self._most - self._had + 1)
            except zlib.error:
                raise Refused("could not be fetched: what came is packed, and the packing is broken") from None
        self._had += len(data)
        if self._had > self._most:
            raise self.too_large()
        return data

    def end(self) -> bytes:
        if self._inflate is not None and not self._inflate.eof:
            raise Refused("could not be fetched: what came is packed, and breaks off")
        return b""

    def too_large(self) -> Refused:
        return Refused(f"could not be fetched: it is larger than {self._most / 1e6:g} MB")
