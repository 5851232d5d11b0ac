"""Counting tokens: the provider's own count, or an estimate that says so."""

from __future__ import annotations

from dragoman.errors import UnknownRoute
from dragoman.flow.call import Call, Sent, body_of, head_of, untouched
from dragoman.flow.envelope import request_headers, response_headers, without_key
from dragoman.ir.estimate import input_tokens
from dragoman.ir.losses import Ledger
from dragoman.route.target import Endpoint
from dragoman.wire.http import UpstreamRequest

_NOT_THERE = frozenset({404, 405, 501})


async def count(call: Call) -> None:
    """The first target of the model's route counts, if it speaks the dialect and has this endpoint. Raises its refusals."""
    counting = call.dialect.counting
    if counting is None:
        raise UnknownRoute(f"{call.dialect.name} counts no tokens")
    endpoint = call.route().endpoints[0]
    call.deadline = call.report.started + endpoint.timeouts.total
    call.report.provider, call.report.target = endpoint.provider, endpoint.model
    url = endpoint.urls.get(call.dialect.name)
    if url is not None and await _asked(call, endpoint, counting.address(url, endpoint.model)):
        return
    tokens = input_tokens(counting.decode(call.inbound.body))
    headers = [(b"content-type", b"application/json"), (b"x-dragoman-estimate", b"true")]
    await call.answer.whole(200, headers, counting.encode(tokens))


async def _asked(call: Call, endpoint: Endpoint, url: str) -> bool:
    """Whether the provider has given an answer, which the caller then has."""
    inbound = call.inbound
    headers, own_key = request_headers(inbound, endpoint, call.report.caller, verbatim=True)
    query = without_key(inbound.query) if own_key else inbound.query
    request = UpstreamRequest(
        method="POST",
        url=f"{url}?{query.decode('latin-1')}" if query else url,
        headers=headers,
        body=untouched(call, endpoint),
        timeouts=endpoint.timeouts,
    )
    exchange = await call.core.transport.open(request, call.wait())
    try:
        sent = Sent(exchange, await head_of(call, exchange), endpoint, call.dialect, True, Ledger(), own_key)
        body = await body_of(call, exchange)
    finally:
        exchange.close()
    if sent.head.status in _NOT_THERE:
        return False
    if sent.head.status != 200:
        raise sent.refusal(sent.head.status, body)
    await call.answer.whole(200, response_headers(sent.head), body)
    return True
