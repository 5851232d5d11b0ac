"""Streamed answers: passed on untouched, or event by event through the hub.

Both hold the head back until there is something to see. What goes wrong before that can still go right with another
target, so it is an `Outcome` and not yet an answer.
"""

from __future__ import annotations

from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.flow.answer import SSE_HEADERS
from dragoman.flow.call import Call, Sent, next_chunk, reply_for
from dragoman.flow.envelope import response_headers
from dragoman.ir.events import Delta, Event, Fault, Finish, Open, Sealed
from dragoman.ir.request import Reasoning, Refusal, Text
from dragoman.route.plan import Outcome
from dragoman.wire.sse import Aligner, SseParser

_HELD_MOST = 1024 * 1024
"""No more than this is held back before the first content, in bytes."""
_METERED = 8 * 1024
"""Usage and the end are looked for in the last so many bytes of a verbatim stream."""
_LINGER = 0.1
"""Seconds to wait for the proper end of a body after the last event, so that its connection can be used again."""


async def relay(call: Call, sent: Sent) -> Outcome:
    """T0: the provider's bytes, whole events at a time, so that pings and errors of ours can stand between them."""
    held, error = await _until_content(call, sent)
    if error is not None:
        return Outcome(error)
    answer, upstream = call.answer, sent.upstream
    call.report.first_byte = call.core.clock.now()
    await answer.begin(200, response_headers(sent.head, stream=True))
    aligner = Aligner()
    recent = b""
    chunk = held
    try:
        while chunk:
            ready = aligner.feed(chunk)
            if ready:
                recent = (recent + ready)[-_METERED:]
                await answer.write(ready)
            chunk = await next_chunk(call, sent.exchange, may_ping=aligner.between)
    finally:
        call.report.usage = upstream.usage_of(held[:_METERED], recent)
    ended = any(mark in recent for mark in upstream.terminal)
    rest = aligner.rest
    if not ended and any(mark in rest for mark in upstream.terminal):
        # Several servers leave out the last blank line.
        ended = True
        await answer.write(rest)
    if not ended:
        raise UpstreamGarbled("the stream broke off before its end", provider=sent.endpoint.provider)
    await answer.finish()
    return Outcome(committed=True)


async def _until_content(call: Call, sent: Sent) -> tuple[bytes, DragomanError | None]:
    """The beginning of a stream, up to the first chunk with content in it; or the error that stood there instead."""
    parser = SseParser()
    held = b""
    while len(held) < _HELD_MOST:
        chunk = await next_chunk(call, sent.exchange)
        held += chunk
        for frame in parser.feed(chunk) if chunk else parser.end():
            match sent.upstream.sniff(frame):
                case "error":
                    return b"", sent.refusal(0, frame.data, [(b"content-type", b"application/json")])
                case "content":
                    return held, None
                case "wait":
                    pass
        if not chunk:
            if not held.strip():
                return b"", UpstreamGarbled("the stream was empty", provider=sent.endpoint.provider)
            break
    return held, None


async def translate(call: Call, sent: Sent) -> Outcome:
    """T2: frames to events to the caller's frames."""
    answer = call.answer
    parser, decoder = SseParser(), sent.upstream.stream_decoder(sent.endpoint.issuer)
    encoder = call.dialect.stream_encoder(reply_for(call, sent))
    out: list[bytes] = []
    chunk = b""
    shown = over = False
    while not over:
        chunk = await next_chunk(call, sent.exchange)
        events: list[Event] = []
        for frame in parser.feed(chunk) if chunk else parser.end():
            events += decoder.feed(frame)
        if not chunk:
            events += decoder.end()
            over = True
        for event in events:
            if isinstance(event, Fault):
                if out and shown:
                    await answer.write(b"".join(out))
                return Outcome(event.error, committed=shown)
            if isinstance(event, Finish):
                call.report.usage = event.usage or call.report.usage
                over = True
            shown = shown or _shows(event)
            out.append(encoder.feed(event))
        if shown and out:
            if not answer.content:
                call.report.first_byte = call.core.clock.now()
                await answer.begin(200, SSE_HEADERS)
            await answer.write(b"".join(out))
            out.clear()
    await answer.finish()
    if chunk:
        # The caller has its answer. What is left is the body's end, without which the connection is lost.
        await sent.exchange.read(_LINGER)
    return Outcome(committed=True)


def _shows(event: Event) -> bool:
    """Whether the caller's client would show or do something on this event."""
    match event:
        case Delta(text=text):
            return bool(text)
        case Open(part=Text() | Reasoning() | Refusal() as part):
            return bool(part.text) or (isinstance(part, Reasoning) and part.seal is not None)
        case Open() | Sealed() | Finish():
            return True
        case _:
            return False
