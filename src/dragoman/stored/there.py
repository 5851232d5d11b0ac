"""Asking the provider that keeps an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dragoman.flow.call import Call, Sent, body_of, head_of, next_chunk, untouched
from dragoman.flow.envelope import request_headers, response_headers, without_key
from dragoman.flow.tries import unreadable
from dragoman.ir.losses import Ledger
from dragoman.route.target import Endpoint
from dragoman.stored.keeping import DIALECT
from dragoman.wire.http import UpstreamRequest


async def hand_on(
    call: Call, endpoint: Endpoint, method: str, path: str, *, done: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Send the request to a path below the provider's own, and what it says back to the caller; in between, `done`. Raises its
    refusals."""
    call.report.provider, call.report.target, call.report.tier = endpoint.provider, endpoint.model, "passed"
    call.deadline = call.report.started + endpoint.timeouts.total
    headers, own_key = request_headers(call.inbound, endpoint, call.report.caller, verbatim=True)
    query = without_key(call.inbound.query) if own_key else call.inbound.query
    url = endpoint.urls[DIALECT] + path
    request = UpstreamRequest(
        method=method,
        url=f"{url}?{query.decode('latin-1')}" if query else url,
        headers=headers,
        body=untouched(call, endpoint) if call.model else call.inbound.body,
        timeouts=endpoint.timeouts,
    )
    exchange = await call.core.transport.open(request, call.wait())
    try:
        sent = Sent(exchange, await head_of(call, exchange), endpoint, call.dialect, True, Ledger(), own_key)
        wrong = unreadable(sent)
        if wrong is not None:
            raise wrong
        if sent.head.status != 200:
            raise sent.refusal(sent.head.status, await body_of(call, sent.exchange))
        if not sent.streams:
            body = await body_of(call, sent.exchange)
            if done is not None:
                await done()
            await call.answer.whole(200, response_headers(sent.head), body)
            return
        await call.answer.begin(200, response_headers(sent.head, stream=True))
        while chunk := await next_chunk(call, sent.exchange):
            await call.answer.write(chunk)
        await call.answer.finish()
    finally:
        exchange.close()
