"""Embeddings: texts in, vectors out, in the caller's shape whatever the provider's.

Verbatim where both speak the same shape. Otherwise through the hub, and also where the provider takes fewer inputs at a time
than were given (they go in several requests, and come back in order, their usage added up) or cannot be asked for a length
of the vectors (they are cut to it here, which the ledger says). Another endpoint of the chain is asked for all of them anew:
vectors of two models never stand in one answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from dragoman.dialects.base import Dialect, Embeddings, Target
from dragoman.errors import MalformedBody, UnknownRoute, UpstreamGarbled, UpstreamRefused
from dragoman.flow.call import Call
from dragoman.flow.envelope import response_headers
from dragoman.flow.prepare import begin, refuse_losses
from dragoman.flow.tries import asked, notes, tried
from dragoman.ir.embedding import Embedded, Embedding
from dragoman.ir.losses import Ledger
from dragoman.ir.usage import Usage
from dragoman.models.tokens import tokens_of_text
from dragoman.route.plan import Attempt, Outcome
from dragoman.route.target import Endpoint

_CUT = "cut to {} numbers and set to length 1 by the gateway: the model was not asked for fewer"


async def embed(call: Call) -> None:
    """Try the endpoints of the route until one has answered."""
    if call.dialect.embeddings is None:
        raise UnknownRoute(f"{call.dialect.name} has no embeddings")
    endpoints = begin(call)
    call.stream = call.answer.stream = call.report.stream = False  # whatever the body says: a stream of these there is not
    await tried(call, endpoints, _attempt)


class Asking(msgspec.Struct):
    """What goes to one endpoint. `same`: in the caller's own shape. `parts` are the inputs of each of the bodies; there are
    none where the body goes verbatim, and `request` is None then."""

    upstream: Dialect
    theirs: Embeddings
    verbatim: bool
    same: bool
    url: str
    bodies: list[bytes]
    parts: list[Embedding] = []
    request: Embedding | None = None


def prepared(call: Call, endpoint: Endpoint, ledger: Ledger) -> Asking:
    """Raises `UpstreamRefused`, `MalformedBody` and `LossRefused`."""
    upstream, theirs, verbatim = way(call, endpoint)
    ours = call.dialect.embeddings
    assert ours is not None
    url, same = endpoint.urls[upstream.name], theirs is ours
    if verbatim:
        body = call.inbound.body
        if endpoint.model != call.model:
            body = theirs.renamed(body, endpoint.model)
        url = theirs.address(url, endpoint.model, theirs.single(call.inbound))
        return Asking(upstream, theirs, verbatim, same, url, [body])
    request = ours.decode(call.inbound)
    parts = list(parts_of(request, endpoint.profile.embed_most))
    bodies = [body_for(part, theirs, endpoint, ledger) for part in parts]
    url = theirs.address(url, endpoint.model, request.single)
    return Asking(upstream, theirs, verbatim, same, url, bodies, parts, request)


async def _attempt(call: Call, attempt: Attempt) -> Outcome:
    endpoint, report = attempt.endpoint, call.report
    report.provider, report.target = endpoint.provider, endpoint.model
    report.usage = None
    report.ledger = ledger = Ledger()
    asking = prepared(call, endpoint, ledger)
    report.upstream_dialect, report.tier = asking.upstream.name, "verbatim" if asking.verbatim else "translated"
    if asking.request is None:
        return await _relay(call, attempt, asking, ledger)
    refuse_losses(call, endpoint, ledger)
    return await _translate(call, attempt, asking, asking.request, ledger)


def way(call: Call, endpoint: Endpoint) -> tuple[Dialect, Embeddings, bool]:
    """In which dialect the endpoint is asked, and whether verbatim. Raises `UpstreamRefused` where it has no embeddings."""
    ours = call.dialect.embeddings
    speaks = [call.core.dialects[name] for name in endpoint.urls]
    for upstream in speaks:
        if ours is not None and upstream.embeddings is ours:
            most, profile = endpoint.profile.embed_most, endpoint.profile
            whole = most is None or ours.size(call.inbound) <= most
            return upstream, ours, whole and profile.embed_dimensions and profile.embed_base64
    for upstream in speaks:
        if upstream.embeddings is not None:
            return upstream, upstream.embeddings, False
    raise UpstreamRefused(
        f"the provider {endpoint.provider} has no embeddings",
        provider=endpoint.provider,
        status=404,
        category="not_found",
        code="model_not_found",
        param="model",
    )


async def _relay(call: Call, attempt: Attempt, asking: Asking, ledger: Ledger) -> Outcome:
    call.answer.headers = notes(call.report.request_id, attempt, ledger, verbatim=True)
    sent, answer = await asked(
        call, attempt.endpoint, asking.upstream, asking.url, asking.bodies[0], same=True, verbatim=True, ledger=ledger
    )
    if not answer.lstrip().startswith(b"{"):
        raise UpstreamGarbled(f"the answer is not a JSON object: {answer[:80].decode('utf-8', 'replace')!r}")
    call.report.first_byte = call.core.clock.now()
    call.report.usage = asking.theirs.usage_of(answer) or _uncounted(call, asking.theirs, attempt.endpoint.model)
    await call.answer.whole(200, response_headers(sent.head), answer)
    return Outcome(committed=True)


async def _translate(call: Call, attempt: Attempt, asking: Asking, request: Embedding, ledger: Ledger) -> Outcome:
    endpoint, ours = attempt.endpoint, call.dialect.embeddings
    assert ours is not None
    answer = Embedded([], 0, endpoint.model)
    for part, body in zip(asking.parts, asking.bodies, strict=True):
        _, said = await asked(
            call, endpoint, asking.upstream, asking.url, body, same=asking.same, verbatim=False, ledger=ledger
        )
        found = asking.theirs.decode_embedded(said, endpoint.issuer)
        if len(found.vectors) != len(part.inputs):
            what = f"{len(found.vectors)} vectors came for {len(part.inputs)} inputs"
            raise UpstreamGarbled(f"the answer does not fit the question: {what}")
        answer.vectors += _fitting(found, part, endpoint, ledger)
        answer.tokens = None if answer.tokens is None or found.tokens is None else answer.tokens + found.tokens
    counted = answer.tokens is not None
    if answer.tokens is None:
        answer.tokens = estimated(request, endpoint.model)
    call.report.first_byte = call.core.clock.now()
    call.report.usage = Usage(input=answer.tokens, estimated=not counted)
    call.answer.headers = notes(call.report.request_id, attempt, ledger, verbatim=False)
    if not counted:
        call.answer.headers.append((b"x-dragoman-estimate", b"true"))
    await call.answer.whole(200, [(b"content-type", b"application/json")], ours.encode_embedded(answer, request))
    return Outcome(committed=True)


def body_for(request: Embedding, theirs: Embeddings, endpoint: Endpoint, ledger: Ledger) -> bytes:
    """Raises `LossRefused` for what the endpoint cannot embed at all."""
    if not endpoint.profile.embed_dimensions:
        for dimensions, one in {(one.dimensions, one.dimensions_at): one for one in request.inputs}.items():
            if dimensions[0] is not None:
                ledger.add(one.dimensions_at, None, _CUT.format(dimensions[0]), "degraded")
    return theirs.encode(request, Target(endpoint.model, endpoint.issuer, endpoint.profile), ledger)


def parts_of(request: Embedding, most: int | None) -> Iterator[Embedding]:
    """The request in as many as it takes: inputs of one length of vectors, and no more than `most` of them."""
    start = 0
    inputs = request.inputs
    for end in range(1, len(inputs) + 1):
        full = most is not None and end - start >= most
        if end == len(inputs) or full or inputs[end].dimensions != inputs[start].dimensions:
            yield msgspec.structs.replace(request, inputs=inputs[start:end])
            start = end


def _fitting(found: Embedded, part: Embedding, endpoint: Endpoint, ledger: Ledger) -> list[list[float]]:
    """Vectors of the length that was asked for, also of a provider that does not care."""
    length = part.inputs[0].dimensions
    if length is None or all(len(vector) <= length for vector in found.vectors):
        return found.vectors
    if endpoint.profile.embed_dimensions:
        # Otherwise it is there already.
        ledger.add(part.inputs[0].dimensions_at, None, _CUT.format(length), "degraded")
    return [_cut(vector, length) for vector in found.vectors]


def _cut(vector: list[float], length: int) -> list[float]:
    """To the first numbers, which hold the most in models that are made for it; of length 1, as clients expect it."""
    kept = vector[:length]
    norm = math.hypot(*kept)
    return [value / norm for value in kept] if norm else kept


def _uncounted(call: Call, theirs: Embeddings, model: str) -> Usage | None:
    """For the log, where the provider is silent about it. The caller has its answer as it came."""
    try:
        return Usage(input=estimated(theirs.decode(call.inbound), model), estimated=True)
    except MalformedBody:
        return None


def estimated(request: Embedding, model: str) -> int:
    """Tokens of all inputs, where nobody has counted."""
    return sum(len(one.ids) if one.ids is not None else tokens_of_text(one.text or "", model) for one in request.inputs)
