"""The native pass-through: any path and method of a provider, forwarded without being read.

Bytes, status, headers, error bodies and redirects are the provider's own, in both directions. Only the headers about
the connection and the gateway's key stay behind, and the provider's key is put in where the caller shows none.
"""

from __future__ import annotations

from dragoman.errors import DragomanError
from dragoman.flow.call import Clock
from dragoman.flow.envelope import Caller, passed_back, passed_headers
from dragoman.route.target import PassThrough
from dragoman.wire.http import Inbound, Outbound, Transport, UpstreamRequest

_FOREVER = 3600.0


async def forward(
    transport: Transport, target: PassThrough, path: str, inbound: Inbound, caller: Caller, *, out: Outbound, clock: Clock
) -> None:
    """`path` begins with a slash and is as it stood on the wire. Raises while nothing has been sent; later failures break
    the connection off, so that half an answer cannot pass for a whole one."""
    headers, _ = passed_headers(inbound, target, caller)
    url = f"{target.root}{path}" + (f"?{inbound.query.decode('latin-1')}" if inbound.query else "")
    started = clock.now()
    exchange = await transport.open(
        UpstreamRequest(method=inbound.method, url=url, headers=headers, body=inbound.body, timeouts=target.timeouts)
    )
    try:
        head = None
        while head is None:
            head = await exchange.head(_FOREVER)
        await out.start(head.status, [*passed_back(head), (b"x-dragoman-provider", target.provider.encode())])
        try:
            while (chunk := await exchange.read(max(0.0, started + target.timeouts.total - clock.now()))) != b"":
                if chunk is None:
                    out.abort()
                    return
                await out.write(chunk)
        except DragomanError:
            out.abort()
            return
        await out.finish()
    finally:
        exchange.close()
