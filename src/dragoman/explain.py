"""What would become of a request, without sending it: `POST /v1/explain` and `dragoman explain`.

The same steps as in `pipeline.py`, up to the point where a connection would be opened, for every target of the route and
not only for the first that answers. Secrets are masked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import msgspec

from dragoman.config.resolved import secret_header
from dragoman.errors import DragomanError, LossRefused
from dragoman.flow.call import Call
from dragoman.flow.embedding import estimated, prepared
from dragoman.flow.envelope import CREDENTIAL_HEADERS
from dragoman.flow.prepare import addressed, begin, body_for, fitted, refuse_losses, url_for, way
from dragoman.flow.tries import headed
from dragoman.ir.losses import Ledger, Loss
from dragoman.ir.usage import Usage
from dragoman.models.catalogue import catalogue
from dragoman.models.prices import Cost
from dragoman.models.tokens import tokens_of_request
from dragoman.pipeline import Work
from dragoman.route.target import Endpoint
from dragoman.secret import mask
from dragoman.wire.http import RawHeaders

Pricing: TypeAlias = Callable[[Endpoint, Usage], Awaitable[Cost | None]]
"""What usage costs at an endpoint, in US dollars; None where nobody knows."""


class Tokens(msgspec.Struct, kw_only=True):
    """Estimates. `output_most` None: neither the caller nor the catalogue names a limit. `input` None: the body cannot be
    read, and a provider of its own dialect gets it all the same."""

    input: int | None
    output_most: int | None


class Estimate(msgspec.Struct, kw_only=True):
    """`most`: with the longest answer there could be, nothing of the input read from a cache. In `currency`."""

    currency: Literal["USD"] = "USD"
    input: float
    most: float | None


class Explained(msgspec.Struct, kw_only=True):
    """One target. `verdict` `refused`: in strict mode, for its losses; `failed`: it cannot be sent for another reason, which
    `error` says, and then `body` or `headers` may be missing. `tokens` and `cost` are estimates."""

    number: int
    provider: str
    model: str
    key: int
    dialect: str | None = None
    tier: Literal["verbatim", "translated"] | None = None
    verdict: Literal["sent", "refused", "failed"] = "sent"
    error: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    body: msgspec.Raw | None = None
    losses: list[Loss] = []
    tokens: Tokens
    cost: Estimate | None = None


class Explanation(msgspec.Struct, kw_only=True):
    """`targets` in the order in which they would be tried: the next one when one fails."""

    dialect: str
    model: str
    stream: bool
    strict: bool
    targets: list[Explained]


Explainer: TypeAlias = Callable[[Call, Endpoint, Explained], Awaitable[None]]
"""Fills in what one endpoint would be sent. Raises what an attempt would end with."""


def explaining(price: Pricing, one: Explainer) -> Work:
    """The work that answers a request with its explanation. `one` is `inference` or `embedding`."""

    async def explain(call: Call) -> None:
        call.report.path = f"/v1/explain{call.inbound.path}"
        targets: list[Explained] = []
        for number, endpoint in enumerate(begin(call), 1):
            target = await explained(call, endpoint, number, one)
            target.cost = await _cost(price, endpoint, target.tokens)
            targets.append(target)
        told = Explanation(dialect=call.dialect.name, model=call.model, stream=call.stream, strict=call.strict, targets=targets)
        headers = [(b"content-type", b"application/json"), (b"x-dragoman-request-id", call.report.request_id.encode())]
        await call.answer.whole(200, headers, msgspec.json.encode(told))

    return explain


async def explained(call: Call, endpoint: Endpoint, number: int, one: Explainer) -> Explained:
    """`begin` must have been called. What the request links to is fetched where it would be."""
    known = catalogue().find(endpoint.model)
    nothing = Tokens(input=None, output_most=known.output if known is not None else None)
    target = Explained(number=number, provider=endpoint.provider, model=endpoint.model, key=endpoint.key, tokens=nothing)
    try:
        await one(call, endpoint, target)
    except LossRefused as error:
        target.verdict, target.error = "refused", error.message
    except DragomanError as error:
        target.verdict, target.error = "failed", error.message
    return target


async def inference(call: Call, endpoint: Endpoint, target: Explained) -> None:
    ledger = Ledger()
    target.tokens = _tokens(call, endpoint, target.tokens.output_most)
    upstream, verbatim = way(call, endpoint)
    target.dialect, target.tier = upstream.name, "verbatim" if verbatim else "translated"
    target.url = _shown_url(url_for(call, endpoint, upstream, own_key=True))
    request = await fitted(call, endpoint, upstream, ledger) if not verbatim and call.has_attachments() else None
    call.report.ledger = ledger
    if not verbatim and call.core.continuity is not None:
        request = await call.core.continuity.recall(call, endpoint, upstream, request)
    body = body_for(call, endpoint, upstream, ledger, verbatim=verbatim, request=request)
    target.body, target.losses = _shown_body(body), ledger.losses
    url, headers, _ = addressed(call, endpoint, upstream, verbatim=verbatim)
    target.url, target.headers = _shown_url(url), _shown_headers(headers)
    refuse_losses(call, endpoint, ledger)


async def embedding(call: Call, endpoint: Endpoint, target: Explained) -> None:
    """Several bodies, where one is not enough, are shown as a list."""
    ledger = Ledger()
    asking = prepared(call, endpoint, ledger)
    target.dialect, target.tier = asking.upstream.name, "verbatim" if asking.verbatim else "translated"
    bodies = asking.bodies
    target.body = _shown_body(bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]")
    target.losses = ledger.losses
    url, headers, _ = headed(call, endpoint, asking.url, same=asking.same)
    target.url, target.headers = _shown_url(url), _shown_headers(headers)
    request = asking.request
    if request is None and call.dialect.embeddings is not None:
        request = call.dialect.embeddings.decode(call.inbound)
    target.tokens = Tokens(input=estimated(request, endpoint.model) if request is not None else None, output_most=0)
    refuse_losses(call, endpoint, ledger)


def _tokens(call: Call, endpoint: Endpoint, limit: int | None) -> Tokens:
    try:
        request = call.request()
    except DragomanError:
        # What is not understood here may still go through verbatim.
        return Tokens(input=None, output_most=limit)
    return Tokens(input=tokens_of_request(request, endpoint.model), output_most=request.max_tokens or limit)


async def _cost(price: Pricing, endpoint: Endpoint, tokens: Tokens) -> Estimate | None:
    if tokens.input is None:
        return None
    cost = await price(endpoint, Usage(input=tokens.input, output=tokens.output_most or 0, estimated=True))
    if cost is None:
        return None
    most = None if tokens.output_most is None else float(cost.total)
    return Estimate(input=float(cost.total - cost.output), most=most)


# ---------------------------------------------------------------- without secrets


def _shown_body(body: bytes) -> msgspec.Raw:
    """A verbatim body was never read, so its strings may hold bytes that are no text; the explanation may not."""
    return msgspec.Raw(body.decode("utf-8", "replace").encode())


def _shown_headers(headers: RawHeaders) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, value in headers:
        text, key = value.decode("latin-1"), name.decode("latin-1")
        if name in CREDENTIAL_HEADERS or secret_header(key):
            scheme = "Bearer " if text.startswith("Bearer ") else ""
            text = scheme + mask(text.removeprefix(scheme))
        shown[key] = f"{shown[key]}, {text}" if key in shown else text
    return shown


def _shown_url(url: str) -> str:
    """A caller's own key may stand in its query."""
    base, mark, query = url.partition("?")
    fields: list[Any] = []
    for field in query.split("&"):
        name, equals, value = field.partition("=")
        fields.append(f"{name}={mask(value)}" if equals and secret_header(name) else field)
    return f"{base}{mark}{'&'.join(fields)}"
