"""What goes to one endpoint, before it goes: for those who send it (`pipeline.py`) and those who only show it (`explain.py`).

begin       which endpoints are tried, how strictly, for how long
way         in which dialect, verbatim or translated
fitted      images, documents and sounds as the target takes them
body_for    the bytes
addressed   the URL and the headers
"""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Dialect, Target
from dragoman.errors import LossRefused, ThreadUnknown, UpstreamUnreachable
from dragoman.flow.attachments import Meanwhile
from dragoman.flow.call import Call, untouched
from dragoman.flow.continuity import unsealed
from dragoman.flow.envelope import brings_own, request_headers, without_key
from dragoman.ir.losses import Ledger
from dragoman.ir.names import fit
from dragoman.ir.request import Request, Tool
from dragoman.route.target import Endpoint
from dragoman.wire.http import Inbound, RawHeaders, SettledHeaders

_YES = frozenset({b"true", b"1", b"yes", b"on"})
_MOST_LOSSES_SAID = 20
_MOST_WAYS = 16


def begin(call: Call) -> list[Endpoint]:
    """The endpoints that are tried, in order. Raises `MalformedBody` and `UnknownModel`."""
    route = call.route()
    call.strict = route.strict or (call.regular.strict if call.regular is not None else asks_strictly(call.inbound))
    several = len(route.endpoints) > 1
    patience = max([one.timeouts.total for one in route.endpoints]) if several else route.endpoints[0].timeouts.total
    call.deadline = call.report.started + patience
    call.answer.bound(patience)
    call.first = route.endpoints[0].provider
    # Several keys of one provider are no choice where the caller brings its own.
    endpoints = list(route.endpoints)
    if several:
        endpoints = [one for one in endpoints if one.key == 1 or not brings_own(one, call.report.caller)]
    return endpoints if call.kept is None else call.kept.among(endpoints)


def asks_strictly(inbound: Inbound) -> bool:
    return (inbound.header(b"x-dragoman-strict") or b"").lower() in _YES


def way(call: Call, endpoint: Endpoint) -> tuple[Dialect, bool]:
    """The dialect for this endpoint, and whether the body goes there verbatim. Raises `UpstreamUnreachable`."""
    if not endpoint.urls:
        raise UpstreamUnreachable("the gateway speaks none of the dialects of this provider")
    opens_calls = endpoint.profile.call_opening and call.dialect.tool_names
    verbatim = call.dialect.name in endpoint.urls and not opens_calls
    if call.kept is not None and verbatim and not call.kept.lets_through(endpoint):
        return call.dialect, False
    return (call.dialect if verbatim else call.core.dialects[next(iter(endpoint.urls))]), verbatim


async def fitted(call: Call, endpoint: Endpoint, upstream: Dialect, ledger: Ledger) -> Request:
    """The request with its images, documents and sounds as the target takes them. Raises `MalformedBody` and `UnfitMedia`."""
    pinging = Meanwhile(call.core.ping_every, call.answer.ping) if call.stream and call.dialect.ping else None
    return await call.attachments().fit(endpoint, upstream, ledger, call.wait(may_ping=False), pinging)


def body_for(
    call: Call, endpoint: Endpoint, upstream: Dialect, ledger: Ledger, *, verbatim: bool, request: Request | None = None
) -> bytes:
    """The body as it goes out, with what it lost on the way in the ledger. `request`: what `fitted` made of it. Raises
    `MalformedBody`."""
    if verbatim:
        return untouched(call, endpoint)
    request = request or call.request()
    if upstream is not call.dialect:
        _answerable(request, endpoint)
        if request.stand_ins:
            request = _stood_in(request, ledger)
    if call.stripped:
        request = unsealed(request, ledger)
    request, call.names = fit(request, upstream.tool_names)
    # Sealed state of another issuer is left out: where all of it must be, nobody is the issuer.
    target = Target(endpoint.model, endpoint.issuer, endpoint.profile)
    if call.kept is None:
        return upstream.encode_request(request, target, ledger)
    body = upstream.encode_request(call.kept.sent(request, native=upstream is call.dialect), target, ledger)
    call.kept.placed(ledger)
    return body


def _answerable(request: Request, endpoint: Endpoint) -> None:
    """Where what is said stands elsewhere, any answer would be to something else. Raises `LossRefused`."""
    if request.goes_on_from is not None:
        raise ThreadUnknown(f"{endpoint.label} does not keep this conversation: send all of it", param="thread")
    if request.template is not None:
        what = f"{request.template}: {endpoint.label} does not have this prompt: send its text"
        raise LossRefused(what, code="unsupported_parameter", param=request.template)


def _stood_in(request: Request, ledger: Ledger) -> Request:
    tools: list[Tool] = []
    for tool in request.tools:
        if tool.stand_in is not None:
            ledger.add(tool.at, None, "told as a function: its type means something to its maker's models alone", "degraded")
        tools.append(tool.stand_in or tool)
    return msgspec.structs.replace(request, tools=tools)


def refuse_losses(call: Call, endpoint: Endpoint, ledger: Ledger) -> None:
    """In strict mode. Raises `LossRefused` where there are any."""
    if not (call.strict and ledger.losses):
        return
    what = "; ".join(f"{loss.path}: {loss.what}" for loss in ledger.losses[:_MOST_LOSSES_SAID])
    left = len(ledger.losses) - _MOST_LOSSES_SAID
    more = f" (and {left} more)" if left > 0 else ""
    message = f"strict mode: {endpoint.label} cannot be told everything in this request: {what}{more}"
    raise LossRefused(message, param=ledger.losses[0].path)


def addressed(call: Call, endpoint: Endpoint, upstream: Dialect, *, verbatim: bool) -> tuple[str, RawHeaders, bool]:
    """The URL, the headers, and whether the credential among them is the gateway's own. Raises `NoCredential`."""
    first = endpoint.provider == call.first
    accept = upstream.framing.accept
    # What is more than its body says is still in the caller's dialect, and its headers and keys are the provider's too.
    spoken = verbatim or (call.kept is not None and upstream is call.dialect)
    # Worked out once for all requests with the same head that go the same way.
    key = (id(endpoint), upstream.name, call.stream, spoken, first)
    ways = call.regular.ways if call.regular is not None else None
    if ways is not None and (known := ways.get(key)) is not None:
        return known[1:]
    headers, own_key = request_headers(call.inbound, endpoint, call.report.caller, verbatim=spoken, first=first, accept=accept)
    url = url_for(call, endpoint, upstream, own_key=own_key)
    if ways is not None:
        headers = SettledHeaders(headers)
        if len(ways) >= _MOST_WAYS:
            ways.clear()
        ways[key] = endpoint, url, headers, own_key
    return url, headers, own_key


def url_for(call: Call, endpoint: Endpoint, upstream: Dialect, *, own_key: bool) -> str:
    """A query (`?beta=true`) belongs to the caller's dialect: it goes along only where that goes."""
    url = upstream.address(endpoint.urls[upstream.name], endpoint.model, call.stream)
    query = call.inbound.query if upstream is call.dialect else b""
    if own_key:
        query = without_key(query)
    return joined(url, query.decode("latin-1"))


def joined(url: str, query: str) -> str:
    """The URL with what the query says beside it. A field that stands in the URL already counts once."""
    if not query:
        return url
    said = set(url.partition("?")[2].split("&"))
    more = "&".join(field for field in query.split("&") if field and field not in said)
    return f"{url}{'&' if '?' in url else '?'}{more}" if more else url
