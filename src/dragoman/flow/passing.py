"""The native pass-through: any path and method of a provider, forwarded without being read.

Bytes, status, headers, error bodies and redirects are the provider's own, in both directions. Only the headers about
the connection and the gateway's key stay behind, and the provider's key is put in where the caller shows none.
"""

from __future__ import annotations

from dragoman.errors import DragomanError, UpstreamGarbled, UpstreamTimeout
from dragoman.flow.call import Report, shown_to, without_keys
from dragoman.flow.envelope import passed_back, passed_headers, without_key
from dragoman.route.target import PassThrough
from dragoman.wire.coding import glimpse
from dragoman.wire.http import Clock, Exchange, Head, Inbound, Outbound, RawHeaders, Transport, UpstreamRequest

_BODILESS = frozenset({204, 304})
_REFUSED = 400
_MOST_OF_REFUSAL = 256 * 1024
"""Bytes of an error that are looked at."""
_OF_THE_BYTES = frozenset({b"content-length", b"content-encoding"})
"""Headers that are no longer true of a body that was changed."""


async def forward(
    transport: Transport, target: PassThrough, path: str, inbound: Inbound, report: Report, *, out: Outbound, clock: Clock
) -> None:
    """`path` begins with a slash and is as it stood on the wire. Raises while nothing has been sent; later failures break
    the connection off, so that half an answer cannot pass for a whole one, and stand in the report."""
    headers, own_key = passed_headers(inbound, target, report.caller)
    query = inbound.query
    if own_key and any(name == b"x-goog-api-key" for name, _ in target.auth):
        # Such a provider looks for its key in both places, and ours is to count.
        query = without_key(query)
    url = f"{target.root}{_beyond(target.root, path)}" + (f"?{query.decode('latin-1')}" if query else "")
    deadline = clock.now() + target.timeouts.total
    out.bound(target.timeouts.total)
    exchange = await transport.open(
        UpstreamRequest(method=inbound.method, url=url, headers=headers, body=inbound.body, timeouts=target.timeouts)
    )
    try:
        head = await exchange.head(max(0.0, deadline - clock.now()))
        if head is None:
            raise _too_long(target)
        if not 200 <= head.status < 600:
            raise UpstreamGarbled(f"the provider answered with status {head.status}", provider=target.provider)
        report.first_byte = clock.now()
        headers, begun, broken = _headers(head, target), b"", None
        if own_key and head.status >= _REFUSED:
            headers, begun, broken = await _refusal(exchange, headers, deadline, clock, target)
        await out.start(head.status, headers)
        try:
            if begun:
                await out.write(begun)
            if broken is not None:
                raise broken
            await _copy(exchange, out, deadline, clock, target)
        except DragomanError as error:
            report.error = error
            out.abort()
        else:
            await out.finish()
        report.status = head.status
    finally:
        exchange.close()


def _beyond(root: str, path: str) -> str:
    """The path without what the root ends in: a provider's address is written with all of its path, too, so that
    `/openrouter/api/v1/models` is the same as `/openrouter/v1/models`."""
    base = "/" + root.partition("://")[2].partition("/")[2]
    return path[len(base) :] if base != "/" and path.startswith(f"{base}/") else path


async def _copy(exchange: Exchange, out: Outbound, deadline: float, clock: Clock, target: PassThrough) -> None:
    while chunk := await _next(exchange, deadline, clock, target):
        await out.write(chunk)


async def _refusal(
    exchange: Exchange, headers: RawHeaders, deadline: float, clock: Clock, target: PassThrough
) -> tuple[RawHeaders, bytes, DragomanError | None]:
    """The headers of an error and the beginning of its body, as a rule all of it, without our key: some providers repeat what
    they were shown. Also what went wrong meanwhile: the caller still gets what came before."""
    pieces: list[bytes] = []
    size, broken = 0, None
    try:
        while size < _MOST_OF_REFUSAL and (chunk := await _next(exchange, deadline, clock, target)):
            pieces.append(chunk)
            size += len(chunk)
    except DragomanError as error:
        broken = error
    shown = shown_to(target)
    packed = b"".join(pieces)
    said = glimpse(packed, _coding(headers), _MOST_OF_REFUSAL)
    body = without_keys(said, shown)
    if body == said:
        body = packed
    else:
        headers = [pair for pair in headers if pair[0] not in _OF_THE_BYTES]
        if said is not packed and max(size, len(said)) >= _MOST_OF_REFUSAL:
            # What follows is packed, and this no more.
            broken = UpstreamGarbled("the error is too long to be told without the gateway's key", provider=target.provider)
    return [(name, without_keys(value, shown)) for name, value in headers], body, broken


def _coding(headers: RawHeaders) -> bytes:
    return next((value.strip().lower() for name, value in headers if name == b"content-encoding"), b"identity")


async def _next(exchange: Exchange, deadline: float, clock: Clock, target: PassThrough) -> bytes:
    chunk = await exchange.read(max(0.0, deadline - clock.now()))
    if chunk is None:
        raise _too_long(target)
    return chunk


def _headers(head: Head, target: PassThrough) -> RawHeaders:
    headers = [*passed_back(head), (b"x-dragoman-provider", target.provider.encode("ascii", "replace"))]
    if head.status in _BODILESS:
        # A length here speaks of another answer's body.
        headers = [pair for pair in headers if pair[0] != b"content-length"]
    return headers


def _too_long(target: PassThrough) -> UpstreamTimeout:
    return UpstreamTimeout("the request took longer than its total timeout", phase="total", provider=target.provider)
