"""The way of one request, from the caller's bytes to the caller's bytes. It reads from top to bottom:

    attend     do the work of a request, tell its errors, report it
    infer      find the route, try its endpoints until one has answered
    _attempt   one endpoint: prepare the body, send it, look at the head of the answer
    _refused   a status that is no answer
    _whole     an answer in one piece, untouched (T0) or through the hub (T2)
    streams    in `flow/streams.py`

This is the only file that sees every stage. It awaits the two seams of `wire/http.py` and nothing else: it knows
no sockets, no event loop and no clock but the one it is given.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from dragoman.dialects.base import Dialect
from dragoman.errors import DragomanError, Internal, UpstreamGarbled
from dragoman.flow.answer import Answer
from dragoman.flow.call import Call, Core, Regular, Report, Sent, Verbatim, body_of, head_of, reply_for
from dragoman.flow.continuity import witness_of
from dragoman.flow.envelope import Caller, response_headers
from dragoman.flow.prepare import addressed, asks_strictly, begin, body_for, fitted, refuse_losses, way
from dragoman.flow.streams import relay, translate
from dragoman.flow.tries import notes, tried, unreadable
from dragoman.ir.events import Event, Response, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.ir.names import restored
from dragoman.route.plan import Attempt, Outcome
from dragoman.wire.http import Inbound, Outbound, UpstreamRequest
from dragoman.wire.sse import BOM

log = logging.getLogger("dragoman.gateway")

_CLIENT_LEFT = 499

# What Claude Code calls its conversation (https://code.claude.com/docs/en/llm-gateway-protocol).
_SESSION_HEADERS = {
    b"x-claude-code-session-id": "session",
    b"x-claude-code-agent-id": "agent",
    b"x-claude-code-parent-agent-id": "parent_agent",
}

_LONGEST_SESSION = 200
"""Bytes of such a name that are kept: it stands in every line of the log."""

Work: TypeAlias = Callable[[Call], Awaitable[None]]
"""What is done for a request: `infer`, or `count` of `flow/counting.py`. Raises what the caller is still to be told."""


def regular(inbound: Inbound, caller: Caller) -> Regular:
    """What follows from the head of a request."""
    session = {
        _SESSION_HEADERS[name]: value[:_LONGEST_SESSION].decode("latin-1")
        for name, value in inbound.headers
        if name in _SESSION_HEADERS
    }
    return Regular(caller, session, asks_strictly(inbound))


async def attend(
    work: Work,
    core: Core,
    dialect: Dialect,
    *,
    inbound: Inbound,
    caller: Caller,
    out: Outbound,
    request_id: str,
    known: Regular | None = None,
) -> None:
    """Do the work of one request, answer in its own dialect whatever happens, and say how it went. `known`: what follows from
    its head, where that is kept for others with the same."""
    report = Report(
        request_id=request_id,
        dialect=dialect.name,
        caller=caller,
        started=core.clock.now(),
        path=inbound.path,
        session=(known or regular(inbound, caller)).session,
    )
    answer = Answer(out, dialect, request_id, core.clock)
    try:
        try:
            call = Call(core, dialect, inbound, answer, report)
            call.regular = known
            await work(call)
        except DragomanError as error:
            report.error = error.bare()
        except Exception:
            log.exception("a fault in the gateway on %s %s", inbound.method, inbound.path)
            report.error = Internal("the gateway failed; its log says why")
        if report.error is not None:
            if isinstance(report.error, Verbatim) and not answer.begun:
                await answer.whole(report.error.status, report.error.headers, report.error.body)
            else:
                await answer.error(report.error)
    finally:
        report.status = answer.status if answer.complete else _CLIENT_LEFT
        report.ended = core.clock.now()
        core.observe(report)


def infer(call: Call) -> Awaitable[None]:
    """Try the endpoints of the route until one has answered. No coroutine of its own: that would cost at every event."""
    return tried(call, begin(call), _attempt)


async def _attempt(call: Call, attempt: Attempt) -> Outcome:
    endpoint, report = attempt.endpoint, call.report
    call.endpoint = endpoint
    upstream, verbatim = way(call, endpoint)
    report.provider, report.target, report.upstream_dialect = endpoint.provider, endpoint.model, upstream.name
    report.tier = "verbatim" if verbatim else "translated"
    if call.regular is not None:
        call.regular.translated = not verbatim
    report.usage = None
    if attempt.number > 1 or call.stripped:
        report.ledger = Ledger()  # what the one before it lost is of no interest any more
    ledger = report.ledger
    request = await fitted(call, endpoint, upstream, ledger) if not verbatim and call.has_attachments() else None
    if not verbatim and call.core.continuity is not None and call.core.continuity.may_recall(call):
        request = await call.core.continuity.recall(call, endpoint, upstream, request)
    if verbatim and call.core.continuity is not None and call.core.continuity.may_learn(call, endpoint):
        await call.core.continuity.learn(call, endpoint)
    body = body_for(call, endpoint, upstream, ledger, verbatim=verbatim, request=request)
    refuse_losses(call, endpoint, ledger)
    url, headers, own_key = addressed(call, endpoint, upstream, verbatim=verbatim)
    call.answer.headers = notes(report.request_id, attempt, ledger, verbatim=verbatim)
    sending = UpstreamRequest(
        method="POST",
        url=url,
        headers=headers,
        body=body,
        timeouts=endpoint.timeouts,
    )
    exchange = await call.core.transport.open(sending, call.wait())
    del body, sending, request  # a stream may last an hour, and requests of agents are large
    try:
        sent = Sent(exchange, await head_of(call, exchange), endpoint, upstream, verbatim, ledger, own_key)
        if sent.head.status != 200:
            return await _refused(call, sent)
        wrong = unreadable(sent)
        if wrong is not None:
            return Outcome(wrong)
        if not sent.streams and not sent.streams_as(call.core.dialects[upstream.name]):
            return await _whole(call, sent)
        if sent.verbatim:
            return await relay(call, sent)
        return await (translate(call, sent) if call.stream else _gather(call, sent))
    finally:
        exchange.close()


# ---------------------------------------------------------------- answers in one piece


async def _refused(call: Call, sent: Sent) -> Outcome:
    """Any status but 200. The last word is kept as the provider said it, if it said it in the caller's dialect."""
    wrong = unreadable(sent)
    if wrong is not None:
        return Outcome(wrong)
    return Outcome(sent.refusal(sent.head.status, await body_of(call, sent.exchange)))


async def _whole(call: Call, sent: Sent) -> Outcome:
    body = (await body_of(call, sent.exchange)).removeprefix(BOM)
    if sent.upstream.error_in_body(body):
        return Outcome(sent.refusal(0, body))
    call.report.first_byte = call.core.clock.now()
    if sent.verbatim and not call.answer.begun:
        if body[:1] != b"{" and not body.lstrip().startswith(b"{"):
            return Outcome(UpstreamGarbled(f"the answer is not a JSON object: {body[:80].decode('utf-8', 'replace')!r}"))
        call.report.usage = sent.upstream.usage_of(body, b"")
        witness = witness_of(call, sent.upstream, sent.endpoint)
        if witness is not None:
            witness(body)
        await call.answer.whole(200, response_headers(sent.head), body)
        return Outcome(committed=True)
    return await _answer(call, sent, sent.upstream.decode_response(body, sent.endpoint.issuer))


async def _gather(call: Call, sent: Sent) -> Outcome:
    """The provider streams what was not asked for as a stream: the events fold to the answer."""
    parser, decoder = sent.upstream.framing.parser(), sent.upstream.stream_decoder(sent.endpoint.issuer)
    events: list[Event] = []
    for frame in [*parser.feed(await body_of(call, sent.exchange)), *parser.end()]:
        events += decoder.feed(frame)
    return await _answer(call, sent, fold([*events, *decoder.end()]))


async def _answer(call: Call, sent: Sent, response: Response) -> Outcome:
    """A whole answer in the caller's dialect, as a stream if that was asked for."""
    reply = reply_for(call, sent, counted=response.usage is not None and not call.stream)
    answer = call.answer
    continuity = call.core.continuity
    if continuity is not None and continuity.keeps(call):
        await continuity.remember(call, response, sent.ledger)
    response = restored(response, call.names)
    call.report.usage = response.usage
    if call.stream:
        encoder = call.dialect.stream_encoder(reply)
        await answer.begin_stream()
        answer.content = True
        await answer.finish(b"".join(encoder.feed(event) for event in unfold(response)))
        return Outcome(committed=True)
    body = call.dialect.encode_response(response, reply)
    if sent.ledger.losses:
        # The answer may have lost something too.
        answer.headers = [pair for pair in answer.headers if pair[0] != b"x-dragoman-losses"]
        answer.headers.append((b"x-dragoman-losses", sent.ledger.header().encode()))
    await answer.whole(200, [(b"content-type", b"application/json")], body)
    return Outcome(committed=True)
