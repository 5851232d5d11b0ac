"""The way of one request, from the caller's bytes to the caller's bytes. It reads from top to bottom:

    infer      peek at the body, find the route, try its endpoints until one has answered
    _attempt   one endpoint: prepare the body, send it, look at the head of the answer
    _refused   a status that is no answer
    _whole     an answer in one piece, untouched (T0) or through the hub (T2)
    streams    in `flow/streams.py`

This is the only file that sees every stage. It awaits the two seams of `wire/http.py` and nothing else: it knows
no sockets, no event loop and no clock but the one it is given.
"""

from __future__ import annotations

from dragoman.dialects.base import Dialect, Target
from dragoman.errors import DragomanError, LossRefused, MalformedBody, UpstreamError, UpstreamGarbled
from dragoman.flow.answer import SSE_HEADERS, Answer
from dragoman.flow.call import Call, Core, Report, Sent, Verbatim, next_chunk, reply_for
from dragoman.flow.envelope import Caller, request_headers, response_headers
from dragoman.flow.streams import relay, translate
from dragoman.ir import carrier
from dragoman.ir.events import Event, Response, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.route.plan import Attempt, Outcome, chain
from dragoman.route.target import Endpoint
from dragoman.wire.body import peek, swap_model
from dragoman.wire.http import Exchange, Head, Inbound, Outbound, RawHeaders, UpstreamRequest
from dragoman.wire.sse import SseParser

_BODY_MOST = 512 * 1024 * 1024
_CLIENT_LEFT = 499
_YES = frozenset({b"true", b"1", b"yes", b"on"})

# What Claude Code calls its conversation (https://code.claude.com/docs/en/llm-gateway-protocol).
_SESSION_HEADERS = {
    b"x-claude-code-session-id": "session",
    b"x-claude-code-agent-id": "agent",
    b"x-claude-code-parent-agent-id": "parent_agent",
}


async def infer(core: Core, dialect: Dialect, inbound: Inbound, caller: Caller, out: Outbound, *, request_id: str) -> None:
    """Answer one inference request in its own dialect, whatever happens."""
    session = {_SESSION_HEADERS[name]: value.decode("latin-1") for name, value in inbound.headers if name in _SESSION_HEADERS}
    report = Report(request_id=request_id, dialect=dialect.name, caller=caller, started=core.clock.now(), session=session)
    answer = Answer(out, dialect, request_id)
    call = Call(core, dialect, inbound, answer, report)
    try:
        try:
            report.error = await _infer(call)
        except DragomanError as error:
            report.error = error
        if isinstance(report.error, Verbatim) and not answer.begun:
            await answer.whole(report.error.status, report.error.headers, report.error.body)
        elif report.error is not None:
            await answer.error(report.error)
    finally:
        report.status = answer.status if answer.finished else _CLIENT_LEFT
        report.ended = core.clock.now()
        core.observe(report)


async def _infer(call: Call) -> DragomanError | None:
    """Try the endpoints of the route. Returns the error that the caller is still to be told, or None."""
    seen = peek(call.inbound.body)
    if not isinstance(seen.model, str) or not seen.model:
        raise MalformedBody("model: the name of a model is required", param="model")
    call.model = call.report.model = seen.model
    call.stream = call.answer.stream = call.report.stream = seen.stream is True
    route = call.core.route(seen.model)
    call.strict = route.strict or (call.inbound.header(b"x-dragoman-strict") or b"").lower() in _YES
    call.deadline = call.report.started + max(endpoint.timeouts.total for endpoint in route.endpoints)
    plan = chain(route.endpoints)
    attempt = next(plan)
    while True:
        try:
            outcome = await _attempt(call, attempt)
        except DragomanError as error:
            if isinstance(error, UpstreamError) and not error.provider:
                error.provider = attempt.endpoint.provider
            outcome = Outcome(error, committed=call.answer.content)
        try:
            attempt = plan.send(outcome)
        except StopIteration as stop:
            call.report.trail = stop.value.trail
            return stop.value.error


async def _attempt(call: Call, attempt: Attempt) -> Outcome:
    endpoint, report = attempt.endpoint, call.report
    verbatim = call.dialect.name in endpoint.urls
    upstream = call.dialect if verbatim else call.core.dialects[next(iter(endpoint.urls))]
    report.provider, report.target, report.upstream_dialect = endpoint.provider, endpoint.model, upstream.name
    report.tier = "verbatim" if verbatim else "translated"
    report.ledger = ledger = Ledger()
    body = _untouched(call, endpoint) if verbatim else _encoded(call, endpoint, upstream, ledger)
    headers, own_key = request_headers(call.inbound, endpoint, report.caller, verbatim=verbatim)
    call.answer.headers = _notes(report.request_id, attempt, ledger)
    request = UpstreamRequest(
        method="POST", url=_url(call, endpoint, upstream), headers=headers, body=body, timeouts=endpoint.timeouts
    )
    exchange = await call.core.transport.open(request)
    try:
        head = await _head(call, exchange)
        sent = Sent(exchange, head, endpoint, upstream, verbatim, ledger, own_key)
        if head.status != 200:
            return await _refused(call, sent)
        if not sent.streams:
            return await _whole(call, sent)
        if verbatim:
            return await relay(call, sent)
        return await (translate(call, sent) if call.stream else _gather(call, sent))
    finally:
        exchange.close()


def _untouched(call: Call, endpoint: Endpoint) -> bytes:
    """T0: the caller's own bytes, with the model's name swapped and our carriers taken out where there are any."""
    body = call.inbound.body
    if carrier.carries(body):
        body = call.dialect.scrub(body, endpoint.issuer)
    return body if endpoint.model == call.model else swap_model(body, endpoint.model)


def _encoded(call: Call, endpoint: Endpoint, upstream: Dialect, ledger: Ledger) -> bytes:
    """T2: through the hub."""
    body = upstream.encode_request(call.request(), Target(endpoint.model, endpoint.issuer, endpoint.profile), ledger)
    if call.strict and ledger.losses:
        what = "; ".join(f"{loss.path}: {loss.what}" for loss in ledger.losses[:20])
        more = f" (and {len(ledger.losses) - 20} more)" if len(ledger.losses) > 20 else ""
        message = f"strict mode: {endpoint.label} cannot be told everything in this request: {what}{more}"
        raise LossRefused(message, param=ledger.losses[0].path)
    return body


def _url(call: Call, endpoint: Endpoint, upstream: Dialect) -> str:
    """A query (`?beta=true`) belongs to the caller's dialect: it goes along only where that goes."""
    url = endpoint.urls[upstream.name]
    query = call.inbound.query if upstream is call.dialect else b""
    return f"{url}{'&' if '?' in url else '?'}{query.decode('latin-1')}" if query else url


def _notes(request_id: str, attempt: Attempt, ledger: Ledger) -> RawHeaders:
    """The gateway's own headers on the answer."""
    notes = [
        (b"x-dragoman-request-id", request_id.encode()),
        (b"x-dragoman-provider", _printable(attempt.endpoint.provider)),
        (b"x-dragoman-model", _printable(attempt.endpoint.model)),
        (b"x-dragoman-attempts", b"%d" % attempt.number),
    ]
    if ledger.losses:
        notes.append((b"x-dragoman-losses", ledger.header().encode()))
    return notes


def _printable(text: str) -> bytes:
    return "".join(char if " " <= char <= "~" else "?" for char in text).encode()


async def _head(call: Call, exchange: Exchange) -> Head:
    while True:
        head = await exchange.head(call.wait())
        if head is not None:
            return head
        await call.answer.ping()


async def _body(call: Call, exchange: Exchange) -> bytes:
    """All of a body that is wanted in one piece."""
    pieces: list[bytes] = []
    size = 0
    while piece := await next_chunk(call, exchange):
        pieces.append(piece)
        size += len(piece)
        if size > _BODY_MOST:
            raise UpstreamGarbled(f"the answer is larger than {_BODY_MOST} bytes")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# ---------------------------------------------------------------- answers in one piece


async def _refused(call: Call, sent: Sent) -> Outcome:
    """Any status but 200. The last word is kept as the provider said it, if it said it in the caller's dialect."""
    body = await _body(call, sent.exchange)
    status = sent.head.status
    if 300 <= status < 400:
        where = (sent.head.get(b"location") or b"elsewhere").decode("latin-1")
        return Outcome(UpstreamGarbled(f"the provider redirects to {where!r}, which is not followed"))
    if status < 300:
        return Outcome(UpstreamGarbled(f"the provider answered with status {status}"))
    return Outcome(sent.refusal(status, body, response_headers(sent.head)))


async def _whole(call: Call, sent: Sent) -> Outcome:
    body = await _body(call, sent.exchange)
    if sent.upstream.error_in_body(body):
        return Outcome(sent.refusal(0, body, [(b"content-type", b"application/json")]))
    call.report.first_byte = call.core.clock.now()
    if sent.verbatim and not call.answer.begun:
        call.report.usage = sent.upstream.usage_of(body, b"")
        await call.answer.whole(200, response_headers(sent.head), body)
        return Outcome(committed=True)
    return await _answer(call, sent, sent.upstream.decode_response(body, sent.endpoint.issuer))


async def _gather(call: Call, sent: Sent) -> Outcome:
    """The provider streams what was not asked for as a stream: the events fold to the answer."""
    parser, decoder = SseParser(), sent.upstream.stream_decoder(sent.endpoint.issuer)
    events: list[Event] = []
    for frame in [*parser.feed(await _body(call, sent.exchange)), *parser.end()]:
        events += decoder.feed(frame)
    return await _answer(call, sent, fold([*events, *decoder.end()]))


async def _answer(call: Call, sent: Sent, response: Response) -> Outcome:
    """A whole answer in the caller's dialect, as a stream if that was asked for."""
    reply = reply_for(call, sent)
    answer = call.answer
    call.report.usage = response.usage
    if call.stream:
        encoder = call.dialect.stream_encoder(reply)
        await answer.begin(200, SSE_HEADERS)
        answer.content = True
        await answer.finish(b"".join(encoder.feed(event) for event in unfold(response)))
        return Outcome(committed=True)
    body = call.dialect.encode_response(response, reply)
    if sent.ledger.losses:
        # The answer may have lost something too.
        answer.headers = [pair for pair in answer.headers if pair[0] != b"x-dragoman-losses"]
        answer.headers.append((b"x-dragoman-losses", sent.ledger.header().encode()))
    request_id = call.report.request_id.encode()
    # Both customary names of a request's id: each client logs its own.
    headers = [(b"content-type", b"application/json"), (b"request-id", request_id), (b"x-request-id", request_id)]
    await answer.whole(200, headers, body)
    return Outcome(committed=True)
