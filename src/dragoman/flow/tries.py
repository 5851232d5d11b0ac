"""What every kind of work that asks providers has in common: one endpoint after the other, and an answer in one piece.

tried       each endpoint of a route until one has answered
notes       the gateway's own headers on the answer
asked       one question, one whole answer
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

from dragoman.dialects.base import Dialect
from dragoman.errors import DragomanError, UpstreamError, UpstreamGarbled
from dragoman.flow.call import Call, Sent, body_of, head_of, shown_to, without_keys
from dragoman.flow.continuity import refused
from dragoman.flow.envelope import request_headers, without_key
from dragoman.flow.prepare import joined
from dragoman.ir.losses import Ledger
from dragoman.route.plan import Attempt, Outcome, chain
from dragoman.route.target import Endpoint
from dragoman.wire.coding import CODINGS, Unpacking
from dragoman.wire.http import Head, RawHeaders, UpstreamRequest
from dragoman.wire.sse import BOM

Try: TypeAlias = Callable[[Call, Attempt], Awaitable[Outcome]]
"""Asks one endpoint. May raise its errors, or return them in the outcome."""


async def tried(call: Call, endpoints: Sequence[Endpoint], one: Try) -> None:
    """Raises what the caller is to be told where none has answered."""
    plan = chain(endpoints)
    attempt = next(plan)
    while True:
        try:
            outcome = await one(call, attempt)
        except DragomanError as error:
            outcome = _failed(call, error)
        if outcome.error is not None:
            _clean(outcome.error, attempt.endpoint)
            if refused(call, attempt.endpoint, outcome):
                outcome = await _without_seals(call, attempt, one, outcome.error)
            if isinstance(outcome.error, UpstreamError) and not outcome.error.provider:
                outcome.error.provider = attempt.endpoint.provider
        elif attempt.number == 1 and not outcome.note:
            # The usual case: nothing is left to be planned.
            plan.close()
            call.report.trail = [f"{attempt.endpoint.label}: ok"]
            return
        try:
            attempt = plan.send(outcome)
        except StopIteration as stop:
            call.report.trail = stop.value.trail
            if stop.value.error is not None:
                raise stop.value.error from None
            return


def _failed(call: Call, error: DragomanError) -> Outcome:
    return Outcome(error.bare(), committed=call.answer.content)


def _clean(error: DragomanError, endpoint: Endpoint) -> None:
    """What stood inside a stream came here by way of the hub, which knows of no keys."""
    words = error.message.encode("utf-8", "surrogatepass")
    cleaned = without_keys(words, shown_to(endpoint))
    if cleaned is not words:
        error.message = cleaned.decode("utf-8", "replace")
        error.args = (error.message,)


async def _without_seals(call: Call, attempt: Attempt, one: Try, first: DragomanError) -> Outcome:
    """The same endpoint once more, without the sealed state that it has refused: a key was rotated, an account changed, or
    the client brought along what another has sealed. The question can be answered all the same."""
    call.stripped = True
    try:
        outcome = await one(call, attempt)
    except DragomanError as error:
        outcome = _failed(call, error)
    finally:
        call.stripped = False
    if outcome.error is not None:
        _clean(outcome.error, attempt.endpoint)
    elif call.core.continuity is not None:
        call.core.continuity.refused_by(call, attempt.endpoint)
    outcome.note = f" (without what is sealed in the request, which it refused: {first.status} {first.message})"
    return outcome


def notes(request_id: str, attempt: Attempt, ledger: Ledger, *, verbatim: bool) -> RawHeaders:
    """The gateway's own headers on the answer."""
    told = request_id.encode()
    found = [(b"x-dragoman-request-id", told), *_notes_of(attempt.endpoint.provider, attempt.endpoint.model, attempt.number)]
    if not verbatim:
        # Both customary names of a request's id: each client logs its own.
        found += [(b"request-id", told), (b"x-request-id", told)]
    if ledger.losses:
        found.append((b"x-dragoman-losses", ledger.header().encode()))
    return found


@lru_cache(256)
def _notes_of(provider: str, model: str, number: int) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-dragoman-provider", _printable(provider)),
        (b"x-dragoman-model", _printable(model)),
        (b"x-dragoman-attempts", b"%d" % number),
    )


def _printable(text: str) -> bytes:
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(char if " " <= char <= "~" else "?" for char in text).encode()


async def asked(
    call: Call, endpoint: Endpoint, upstream: Dialect, url: str, body: bytes, *, same: bool, verbatim: bool, ledger: Ledger
) -> tuple[Sent, bytes]:
    """Send the body, read all of the answer. `same`: in the caller's own dialect, so that its headers and its query go along;
    `verbatim`: and in the caller's own bytes. Raises whatever the provider refuses or breaks."""
    url, headers, own_key = headed(call, endpoint, url, same=same)
    request = UpstreamRequest(method="POST", url=url, headers=headers, body=body, timeouts=endpoint.timeouts)
    exchange = await call.core.transport.open(request, call.wait())
    try:
        sent = Sent(exchange, await head_of(call, exchange), endpoint, upstream, verbatim, ledger, own_key)
        wrong = unreadable(sent)
        if wrong is not None:
            raise wrong
        answer = (await body_of(call, sent.exchange)).removeprefix(BOM)
    finally:
        exchange.close()
    if sent.head.status != 200:
        raise sent.refusal(sent.head.status, answer)
    if upstream.error_in_body(answer):
        raise sent.refusal(0, answer)
    return sent, answer


def headed(call: Call, endpoint: Endpoint, url: str, *, same: bool) -> tuple[str, RawHeaders, bool]:
    """The URL with what the caller's query says, the headers, and whether the credential among them is the gateway's own.
    Raises `NoCredential`."""
    first = endpoint.provider == call.first
    headers, own_key = request_headers(call.inbound, endpoint, call.report.caller, verbatim=same, first=first)
    if same:
        query = without_key(call.inbound.query) if own_key else call.inbound.query
        url = joined(url, query.decode("latin-1"))
    return url, headers, own_key


def unreadable(sent: Sent) -> UpstreamGarbled | None:
    """An answer that is neither one nor an error. One that came packed is unpacked from here on."""
    status = sent.head.status
    if status == 200 or status >= 400:
        coding = sent.head.get(b"content-encoding")
        if coding is None or coding.lower() == b"identity":
            return None
        if coding.lower() in CODINGS:
            sent.exchange = Unpacking(sent.exchange, coding.lower())
            sent.head = Head(status, [pair for pair in sent.head.headers if pair[0] != b"content-encoding"])
            return None
        if status == 200:
            return UpstreamGarbled(f"the answer is encoded as {coding.decode('latin-1')!r}, which was not asked for")
        return None  # what is refused is at least told by its status
    if 300 <= status < 400:
        where = (sent.head.get(b"location") or b"elsewhere").decode("latin-1")
        return UpstreamGarbled(f"the provider redirects to {where!r}, which is not followed")
    return UpstreamGarbled(f"the provider answered with status {status}") if status < 300 else None
