"""The rest of OpenAI's API that names a model: pictures made and changed, speech, transcription, moderation.

Routed like inference, over the same chain of targets with their credentials, and passed through: what goes out is the
caller's body with the model's name swapped, JSON or form, and what comes back is the provider's answer. An answer that
is one JSON object is read for its usage; anything else (sound, subtitles, events) is passed on as it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dragoman.dialects.base import Dialect
from dragoman.errors import MalformedBody, UpstreamGarbled, UpstreamRefused
from dragoman.flow.call import Call, Sent, body_of, head_of, next_chunk
from dragoman.flow.envelope import passed_back, request_headers, response_headers, without_key
from dragoman.flow.prepare import begin, joined
from dragoman.flow.tries import notes, tried, unreadable
from dragoman.ir.losses import Ledger
from dragoman.ir.usage import Usage
from dragoman.route.plan import Attempt, Outcome
from dragoman.route.target import Endpoint
from dragoman.wire.body import Peek, fields_of, peek, swap_model
from dragoman.wire.http import Inbound, UpstreamRequest
from dragoman.wire.multipart import boundary_of, text_of, with_field
from dragoman.wire.multipart import fields_of as form_fields_of

# Path, and whose model is asked where the caller names none, as far as the API lets them.
PATHS: dict[str, str] = {
    "/v1/images/generations": "gpt-image-2",
    "/v1/images/edits": "gpt-image-2",
    "/v1/images/variations": "dall-e-2",
    "/v1/audio/speech": "",
    "/v1/audio/transcriptions": "",
    "/v1/audio/translations": "",
    "/v1/moderations": "omni-moderation-latest",
}

_BASES = {"chat": "/chat/completions", "responses": "/responses"}
_TAIL = 64 * 1024
"""So much of the end of a stream is kept, for the usage in its last event."""


def asking(dialect: Dialect, default: str) -> Dialect:
    """The dialect, as the one who reads bodies of these paths: its errors, and the model where it stands in them."""

    def asked(inbound: Inbound) -> Peek:
        boundary = boundary_of((inbound.header(b"content-type") or b"").decode("latin-1"))
        seen = peek(inbound.body) if boundary is None else _peek_form(inbound.body, boundary)
        return Peek(default, seen.stream) if seen.model is None and default else seen

    return msgspec.structs.replace(dialect, asked=asked)


def _peek_form(body: bytes, boundary: bytes) -> Peek:
    found = Peek()
    for field in form_fields_of(body, boundary):
        if field.name == "model":
            found.model = text_of(body, field)
        elif field.name == "stream":
            found.stream = text_of(body, field).lower() in {"true", "1"}
    return found


async def serve(call: Call) -> None:
    """Try the endpoints of the route until one has answered."""
    endpoints = begin(call)
    # What is answered is told by the answer's own type; a ping would break into sound.
    call.stream = call.answer.stream = False
    await tried(call, endpoints, _attempt)


async def _attempt(call: Call, attempt: Attempt) -> Outcome:
    endpoint, report = attempt.endpoint, call.report
    report.provider, report.target, report.tier = endpoint.provider, endpoint.model, "verbatim"
    report.upstream_dialect, report.usage = call.dialect.name, None
    report.ledger = ledger = Ledger()
    body = _body(call, endpoint)
    inbound, first = call.inbound, endpoint.provider == call.first
    headers, own_key = request_headers(inbound, endpoint, report.caller, verbatim=True, first=first)
    query = without_key(inbound.query) if own_key else inbound.query
    url = joined(_url(endpoint, inbound.path), query.decode("latin-1"))
    call.answer.headers = notes(report.request_id, attempt, ledger, verbatim=True)
    request = UpstreamRequest(method="POST", url=url, headers=headers, body=body, timeouts=endpoint.timeouts)
    exchange = await call.core.transport.open(request, call.wait())
    try:
        sent = Sent(exchange, await head_of(call, exchange), endpoint, call.dialect, True, ledger, own_key)
        wrong = unreadable(sent)
        if wrong is not None:
            return Outcome(wrong)
        if sent.head.status != 200:
            return Outcome(sent.refusal(sent.head.status, await body_of(call, sent.exchange)))
        if (sent.head.get(b"content-type") or b"").lower().startswith(b"application/json"):
            return await _whole(call, sent)
        return await _passed_on(call, sent)
    finally:
        exchange.close()


def _url(endpoint: Endpoint, path: str) -> str:
    """Raises `UpstreamRefused` for a provider that does not speak OpenAI's API, so that another may be tried."""
    for name, ending in _BASES.items():
        url = endpoint.urls.get(name, "")
        if url.endswith(ending):
            return url.removesuffix(ending) + path.rstrip("/").removeprefix("/v1")
    raise UpstreamRefused(
        f"the provider {endpoint.provider} has no {path.rstrip('/').removeprefix('/v1')}",
        provider=endpoint.provider,
        status=404,
        category="not_found",
        code="model_not_found",
        param="model",
    )


def _body(call: Call, endpoint: Endpoint) -> bytes:
    """The caller's own bytes, with the model's name swapped where it is another."""
    body = call.inbound.body
    if endpoint.model == call.model:
        return body
    boundary = boundary_of((call.inbound.header(b"content-type") or b"").decode("latin-1"))
    if boundary is not None:
        if b"\r" in endpoint.model.encode() or b"\n" in endpoint.model.encode():
            raise MalformedBody("model: a name has no line breaks", param="model")
        return with_field(body, boundary, "model", endpoint.model)
    if peek(body).model is not None:
        return swap_model(body, endpoint.model)
    return msgspec.json.encode({**fields_of(body), "model": endpoint.model})


# ---------------------------------------------------------------- answers


async def _whole(call: Call, sent: Sent) -> Outcome:
    answer = await body_of(call, sent.exchange)
    if sent.upstream.error_in_body(answer):
        return Outcome(sent.refusal(0, answer))
    call.report.first_byte = call.core.clock.now()
    call.report.usage = usage_in(answer)
    await call.answer.whole(200, response_headers(sent.head), answer)
    return Outcome(committed=True)


async def _passed_on(call: Call, sent: Sent) -> Outcome:
    """Piece by piece. Nothing is written before the first has come, so that another target may still be asked."""
    events = (sent.head.get(b"content-type") or b"").lower().startswith(b"text/event-stream")
    piece = await next_chunk(call, sent.exchange, may_ping=False)
    if not piece and events:
        return Outcome(UpstreamGarbled("the stream ended before its first event"))
    call.report.first_byte, call.report.stream = call.core.clock.now(), events
    await call.answer.begin(200, response_headers(sent.head, stream=True) if events else passed_back(sent.head))
    # Half a sound or half an event cannot be followed by an error of ours: the connection breaks off instead.
    call.answer.torn = True
    tail = b""
    while piece:
        await call.answer.write(piece)
        if events:
            tail = (tail + piece)[-_TAIL:]
        piece = await next_chunk(call, sent.exchange, may_ping=False)
    call.report.usage = usage_in(_last_event(tail)) if events else None
    call.answer.torn = False
    await call.answer.finish()
    return Outcome(committed=True)


def _last_event(tail: bytes) -> bytes:
    """The data of the last event that names a usage."""
    lines = [line[5:].strip() for line in tail.splitlines() if line.startswith(b"data:") and b'"usage"' in line]
    return lines[-1] if lines else b""


class _Counted(msgspec.Struct):
    usage: dict[str, Any] | None = None


_counted: Callable[[bytes], _Counted] = msgspec.json.Decoder(_Counted).decode


def usage_in(answer: bytes) -> Usage | None:
    """Tokens, where it counts them. Other things that are paid for (seconds, pictures, letters) are no tokens."""
    try:
        usage = _counted(answer).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if usage is None:
        return None
    read, made = _number(usage, "input_tokens", "prompt_tokens"), _number(usage, "output_tokens", "completion_tokens")
    if read is None and made is None:
        return None
    details = usage.get("input_tokens_details")
    cached = _number(details, "cached_tokens") if isinstance(details, dict) else None
    held = min(cached or 0, read or 0)
    return Usage(input=(read or 0) - held, cache_read=held, output=made or 0)


def _number(usage: dict[str, Any], *names: str) -> int | None:
    found = next((usage[name] for name in names if name in usage), None)
    return found if type(found) is int and found >= 0 else None
