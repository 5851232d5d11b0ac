"""What a request refers to and does not hold: URLs are fetched, PDFs are read, once however many targets are tried.

Two seams, implemented in `io/fetch.py` and `io/documents.py`. A request without attachments never comes here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from dragoman.dialects.base import Dialect
from dragoman.flow.media import (
    Attachment,
    Blob,
    Fetched,
    Fitting,
    Key,
    Pages,
    Takes,
    Unfetched,
    Unread,
    attachments_of,
    blob_of,
    is_link,
    is_pdf,
    link_of,
    takes_of,
)
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Request
from dragoman.route.target import Endpoint

Pictures = Literal["never", "bare", "always"]
"""Of which pages of a PDF pictures are made: of none, of those without a text, of all."""


class Meanwhile(msgspec.Struct, frozen=True):
    """What is done again and again while something else is waited for, each time after so many seconds: a client that hears
    nothing for long gives up."""

    every: float
    do: Callable[[], Awaitable[None]]


class Fetcher(Protocol):
    async def fetch(
        self, urls: Sequence[str], patience: float, meanwhile: Meanwhile | None = None
    ) -> list[Fetched | Unfetched]:
        """What each URL leads to, in order, within so many seconds. Raises nothing for whatever is wrong with one; but where
        one fails the request does, so the others may be skipped then."""
        ...


class Reader(Protocol):
    @property
    def pictures(self) -> Pictures:
        """What is done about pictures of pages where a model sees images."""
        ...

    async def read(
        self, pdfs: Sequence[bytes], patience: float, meanwhile: Meanwhile | None = None, *, pictures: bool
    ) -> list[Pages | Unread]:
        """What each PDF says, in order, within so many seconds. `pictures`: the model sees images. Raises nothing for whatever
        is wrong with one."""
        ...


class Attachments:
    """Those of one request."""

    __slots__ = ("_blobs", "_fetched", "_fetcher", "_read", "_reader", "_request", "parts")

    def __init__(self, request: Request, fetcher: Fetcher | None, reader: Reader | None) -> None:
        self._request = request
        self._fetcher = fetcher
        self._reader = reader
        self.parts: list[Attachment] = attachments_of(request)
        self._fetched: dict[str, Fetched | Unfetched] = {}
        self._blobs: dict[int, Blob] = {}
        self._read: dict[Key, Pages | Unread] = {}

    async def fit(
        self, endpoint: Endpoint, upstream: Dialect, ledger: Ledger, patience: float, meanwhile: Meanwhile | None = None
    ) -> Request:
        """The request as this target can be told it, with what that cost in the ledger. Raises `MalformedBody` and
        `UnfitMedia`."""
        takes = takes_of(upstream.forms, endpoint)
        await self._fetch(takes, patience, meanwhile)
        for part in self.parts:
            if id(part) not in self._blobs and (blob := blob_of(part, self._wanted(part, takes))) is not None:
                self._blobs[id(part)] = blob
        pictures = self._reader is not None and self._reader.pictures != "never"
        if takes.pdfs == "none":
            await self._read_pdfs(takes, patience, meanwhile, pictures=pictures)
        blobs = {
            id(part): self._blobs[id(part)]
            for part in self.parts
            if id(part) in self._blobs and (not is_link(part) or link_of(part, takes) is not None)
        }
        return Fitting(takes, ledger, blobs, self._read, pictures=pictures).request(self._request)

    def _wanted(self, part: Attachment, takes: Takes) -> dict[str, Fetched | Unfetched]:
        """What an earlier target had to have fetched does not concern one that fetches it itself."""
        return self._fetched if link_of(part, takes) is not None else {}

    async def _fetch(self, takes: Takes, patience: float, meanwhile: Meanwhile | None) -> None:
        links = (link_of(part, takes) for part in self.parts)
        urls = [url for url in dict.fromkeys(links) if url is not None and url not in self._fetched]
        if not urls:
            return
        if self._fetcher is None:
            off = Unfetched("is not fetched by this gateway, and the target takes it as bytes only")
            self._fetched.update(dict.fromkeys(urls, off))
            return
        found = dict(zip(urls, await self._fetcher.fetch(urls, patience, meanwhile), strict=True))
        # Another target may want only those that were skipped.
        self._fetched |= {url: one for url, one in found.items() if not (isinstance(one, Unfetched) and one.skipped)}
        for part in self.parts:
            if isinstance(self._fetched.get(link_of(part, takes) or ""), Unfetched):
                blob_of(part, self._fetched)  # raises, naming the first that failed

    async def _read_pdfs(self, takes: Takes, patience: float, meanwhile: Meanwhile | None, *, pictures: bool) -> None:
        shown = pictures and takes.images != "none"
        blobs = {id(part): blob for part in self.parts if is_pdf(part, blob := self._blobs.get(id(part))) and blob is not None}
        wanted = {number: blob for number, blob in blobs.items() if (number, shown) not in self._read}
        if self._reader is None or not wanted:
            return
        found = await self._reader.read([blob.data for blob in wanted.values()], patience, meanwhile, pictures=shown)
        self._read.update(zip(((number, shown) for number in wanted), found, strict=True))
