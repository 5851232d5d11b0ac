"""Counting tokens: the provider's own count where it has one, in whatever dialect; otherwise an estimate that says so.

Counted is what an inference would send, so the way there is the same: verbatim in the caller's dialect, or through the hub.
What a provider cannot say now (it has no such endpoint, it is busy, it does not answer) is estimated, by the family of the
model (`models/tokens.py`), of the same body. What it refuses for a reason of the caller's, or for its key, is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.dialects.base import Counting, Dialect
from dragoman.errors import Category, MalformedBody, NoCredential, UnknownRoute, UpstreamError
from dragoman.flow.call import Call, untouched
from dragoman.flow.envelope import brings_own, response_headers
from dragoman.flow.prepare import begin, body_for, fitted, way
from dragoman.flow.tries import asked, notes
from dragoman.ir.losses import Ledger
from dragoman.ir.request import Request
from dragoman.models.tokens import tokens_of_request
from dragoman.route.plan import Attempt
from dragoman.route.target import Endpoint
from dragoman.wire.http import RawHeaders

_TOLD: frozenset[Category] = frozenset(
    {"invalid_request", "authentication", "permission", "billing", "too_large", "capability"}
)
"""Refusals that an inference would meet as well."""

_NOT_THERE = frozenset({404, 405, 501})

_PATIENCE = 20.0
"""Seconds. An estimate now is worth more than a number later: clients count while they wait."""


async def count(call: Call) -> None:
    """The first target of the model's route that there is a key for counts, or is estimated. Raises its refusals."""
    counting = call.dialect.counting
    if counting is None:
        raise UnknownRoute(f"{call.dialect.name} counts no tokens")
    endpoint = _first(call, begin(call))
    call.stream = call.answer.stream = call.report.stream = False
    call.deadline = min(call.deadline, call.report.started + _PATIENCE)
    report = call.report
    report.provider, report.target = endpoint.provider, endpoint.model
    ledger = report.ledger = Ledger()
    attempt = Attempt(endpoint, 1)
    upstream, theirs, verbatim = counter(call, endpoint)
    if theirs is not None:
        report.upstream_dialect, report.tier = upstream.name, "verbatim" if verbatim else "translated"
        call.answer.headers = notes(report.request_id, attempt, ledger, verbatim=verbatim)
        if verbatim and await _relayed(call, endpoint, upstream, theirs):
            return
    call.given(counting.decode(call.inbound.body))
    asking = theirs is not None and not verbatim
    body = b"" if way(call, endpoint)[1] and not asking else await _translated(call, endpoint, upstream, ledger)
    tokens = await _asked(call, endpoint, upstream, theirs, body) if theirs is not None and asking else None
    headers: RawHeaders = [(b"content-type", b"application/json")]
    if tokens is None:
        tokens = tokens_of_request(_read_back(call, upstream, body), endpoint.model)
        headers.append((b"x-dragoman-estimate", b"true"))
    call.answer.headers = notes(report.request_id, attempt, ledger, verbatim=False)
    await call.answer.whole(200, headers, counting.encode(tokens))


def _first(call: Call, endpoints: Sequence[Endpoint]) -> Endpoint:
    """The first that an inference could be sent to."""
    caller = call.report.caller
    return next((one for one in endpoints if one.auth or one.keyless or brings_own(one, caller)), endpoints[0])


def counter(call: Call, endpoint: Endpoint) -> tuple[Dialect, Counting | None, bool]:
    """In which dialect the endpoint counts, that of the inference where it has the choice, and whether verbatim. None: in
    none, and the dialect is that of the inference."""
    upstream, verbatim = way(call, endpoint)
    dialects = call.core.dialects
    names = [name for name in endpoint.counts if name in endpoint.urls and dialects[name].counting is not None]
    if upstream.name in names:
        return upstream, upstream.counting, verbatim
    if not names:
        return upstream, None, verbatim
    upstream = dialects[names[0]]
    return upstream, upstream.counting, False


async def _translated(call: Call, endpoint: Endpoint, upstream: Dialect, ledger: Ledger) -> bytes:
    """What an inference would send."""
    request = await fitted(call, endpoint, upstream, ledger) if call.has_attachments() else None
    return body_for(call, endpoint, upstream, ledger, verbatim=False, request=request)


def _read_back(call: Call, upstream: Dialect, body: bytes) -> Request:
    """What would be sent. Empty: the caller's own bytes."""
    if not body:
        return call.request()
    try:
        return upstream.decode_request(body)
    except MalformedBody:
        # Of nothing but instructions, for one, which cannot be asked of this dialect.
        return call.request()


async def _relayed(call: Call, endpoint: Endpoint, upstream: Dialect, theirs: Counting) -> bool:
    """Whether the provider has counted; the caller then has its answer, untouched."""
    url = theirs.address(endpoint.urls[upstream.name], endpoint.model)
    if call.core.continuity is not None and call.core.continuity.may_learn(call, endpoint):
        await call.core.continuity.learn(call, endpoint)
    body = untouched(call, endpoint)
    try:
        sent, answer = await asked(call, endpoint, upstream, url, body, same=True, verbatim=True, ledger=call.report.ledger)
    except UpstreamError as error:
        if _matters(error):
            raise
        call.report.trail.append(f"{endpoint.label}: {error.status} {error.message}")
        return False
    await call.answer.whole(200, response_headers(sent.head), answer)
    return True


async def _asked(call: Call, endpoint: Endpoint, upstream: Dialect, theirs: Counting, body: bytes) -> int | None:
    """The provider's number, None where it has none."""
    url = theirs.address(endpoint.urls[upstream.name], endpoint.model)
    question = theirs.asked(body, endpoint.model)
    try:
        _, answer = await asked(call, endpoint, upstream, url, question, same=False, verbatim=False, ledger=call.report.ledger)
        return theirs.counted(answer, endpoint.issuer)
    except UpstreamError as error:
        if _matters(error):
            raise
        call.report.trail.append(f"{endpoint.label}: {error.status} {error.message}")
        return None


def _matters(error: UpstreamError) -> bool:
    """Whether an inference would fail as well, and the caller had better know."""
    return isinstance(error, NoCredential) or (error.category in _TOLD and error.status not in _NOT_THERE)
