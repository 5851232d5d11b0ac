"""Streamed answers: passed on untouched, or event by event through the hub.

Both hold the head back until there is something to see. What goes wrong before that can still go right with another
target, so it is an `Outcome` and not yet an answer. What goes wrong later is told within the stream.

A stream is whole when the dialect's last event has come, whatever becomes of the connection after it; or when it ended
properly after everything but that event, which several servers leave out (`Dialect.ends`). Anything else broke off.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dragoman.dialects.base import Reply
from dragoman.errors import DragomanError, UpstreamError, UpstreamGarbled
from dragoman.flow.call import Call, Sent, next_chunk, reply_for
from dragoman.flow.continuity import witness_of
from dragoman.flow.envelope import response_headers
from dragoman.ir.estimate import tokens_of
from dragoman.ir.events import Delta, Event, Fault, Finish, Open, Sealed, Start, fold
from dragoman.ir.names import restored_event
from dragoman.ir.request import Reasoning, Refusal, Text
from dragoman.ir.usage import Usage
from dragoman.route.plan import Outcome
from dragoman.wire.framing import Cutter
from dragoman.wire.http import Exchange

_HELD_MOST = 1024 * 1024
"""No more than this is held back before the first content, in bytes."""
_RECENT = 8 * 1024
"""Usage, the end and an error are looked for in the last so many bytes of a verbatim stream."""
_MOST_UNSEEN = 16 * 1024
"""Events are looked at so many bytes at a time."""
_MOMENT = 0.01
"""Seconds to wait for the end of a body behind its last event. It is there at once as a rule, and then the caller's answer
ends with that event too: many clients hang up when they have seen it, and a connection is only used again after its end."""
_AFTERWORD = 0.5
"""Seconds in which something may still follow a verbatim stream's last event."""
_LINGER = 0.1
"""Seconds to wait for the end of a body whose caller has its answer already, so that its connection can be used again."""


# ---------------------------------------------------------------- T0


async def relay(call: Call, sent: Sent) -> Outcome:
    """The provider's bytes, whole events at a time, so that pings and errors of ours can stand between them."""
    held, error = await _until_content(call, sent)
    if error is not None:
        return Outcome(error)
    answer, upstream = call.answer, sent.upstream
    call.report.first_byte = call.core.clock.now()
    await answer.begin(200, response_headers(sent.head, stream=True))
    call.let_go(words=True)
    aligner, chunk, ready = upstream.framing.aligner(), held, b""
    passed = _Passed(witness_of(call, upstream, sent.endpoint))
    ended = False
    failure: DragomanError | None = None
    try:
        while chunk:
            ready = aligner.feed(chunk)
            if ready:
                answer.torn = not aligner.between
                ended = upstream.ends(passed.add(ready), closed=False)
                if ended:
                    break
                await answer.write(ready)
            chunk = await next_chunk(call, sent.exchange, may_ping=aligner.between)
    except DragomanError as broken:
        failure = broken
    finally:
        recent = passed.recent()
        call.report.usage = upstream.usage_of(held[:_RECENT], recent)
    if ended:
        await _epilogue(call, sent.exchange, aligner, ready)
        return Outcome(committed=True)
    if failure is None and upstream.ends(recent + aligner.rest, closed=True):
        await answer.finish(aligner.rest)
        return Outcome(committed=True)
    told = _last_error(sent, recent) if aligner.between else None
    if told is not None:
        # The provider's own words have reached the caller already.
        await answer.finish()
    return Outcome(told or failure or UpstreamGarbled("the stream broke off before its end"), committed=True)


class _Passed:
    """What went by: its last bytes, and what `witness` is to see of it, which is all, some events at a time."""

    __slots__ = ("_pieces", "_seen", "_size", "_witness")

    def __init__(self, witness: Callable[[bytes], None] | None) -> None:
        self._pieces = [b"\n"]
        self._size = 0
        self._seen = 1
        """Bytes of the first piece that were shown to the witness."""
        self._witness = witness

    def add(self, ready: bytes) -> bytes:
        """The same with the byte before it."""
        both = self._pieces[-1][-1:] + ready
        if len(ready) >= _RECENT:
            self._show()
            if self._witness is not None:
                self._witness(ready)
            self._pieces, self._seen = [both], len(both)
        else:
            self._pieces.append(ready)
            self._size += len(ready)
            if self._size > _MOST_UNSEEN:
                self._show()
        return both

    def recent(self) -> bytes:
        """The last `_RECENT` bytes, or more: the last event may be larger. In Responses it holds the whole answer, and all
        tools of the request."""
        self._show()
        return self._pieces[0]

    def _show(self) -> None:
        if self._size:
            data = b"".join(self._pieces)
            if self._witness is not None:
                self._witness(data[self._seen :])
            data = data[-_RECENT:]
            self._pieces, self._seen, self._size = [data], len(data), 0


async def _epilogue(call: Call, exchange: Exchange, aligner: Cutter, last: bytes) -> None:
    """The last event has come: the answer is whole, and nothing that happens from here on is a failure."""
    patience = _MOMENT
    while (chunk := await _more(exchange, patience)) != b"":
        if last:
            await call.answer.write(last)
        call.answer.complete = True
        last = aligner.feed(chunk) if chunk else b""
        if (chunk is None and patience == _AFTERWORD) or call.core.clock.now() > call.deadline:
            break
        patience = _AFTERWORD
    await call.answer.finish(last + aligner.rest)


async def _more(exchange: Exchange, wait: float) -> bytes | None:
    """What follows the last event: b"" at the end of the body, however it ended, None when nothing came in time."""
    try:
        return await exchange.read(wait)
    except UpstreamError:
        return b""


async def _until_content(call: Call, sent: Sent) -> tuple[bytes, DragomanError | None]:
    """The beginning of a stream, up to the first chunk with content in it; or the error that stood there instead."""
    framing = sent.upstream.framing
    parser = framing.parser()
    held: list[bytes] = []
    size = 0
    while size < _HELD_MOST:
        chunk = await next_chunk(call, sent.exchange)
        held.append(chunk)
        size += len(chunk)
        # A burst shows content in its first events, and nobody asks what the others say.
        for frames in map(parser.feed, framing.pieces(chunk)) if chunk else (parser.end(),):
            for frame in frames:
                match sent.upstream.sniff(frame):
                    case "error":
                        return b"", sent.refusal(0, frame.data)
                    case "content":
                        return b"".join(held), None
                    case "wait":
                        pass
        if not chunk:
            empty = not any(map(bytes.strip, held))
            return b"", UpstreamGarbled("the stream was empty" if empty else "the stream ended without an answer")
    return b"".join(held), None


def _last_error(sent: Sent, recent: bytes) -> UpstreamError | None:
    """The error that the provider itself has put at the end of the stream."""
    for frame in reversed(sent.upstream.framing.last(recent, len(recent) == _RECENT)):
        match sent.upstream.sniff(frame):
            case "error":
                return sent.refusal(0, frame.data)
            case "content":
                return None
            case "wait":
                pass
    return None


# ---------------------------------------------------------------- T2


async def translate(call: Call, sent: Sent) -> Outcome:
    """Frames to events to the caller's frames."""
    answer, report = call.answer, call.report
    reply = reply_for(call, sent)
    encoder = call.dialect.stream_encoder(reply)
    parser, decoder = sent.upstream.framing.parser(), sent.upstream.stream_decoder(sent.endpoint.issuer)
    continuity = call.core.continuity
    whole: list[Event] | None = [] if continuity is not None and continuity.keeps(call) else None
    out: list[bytes] = []
    usage: Usage | None = None
    said = 0
    shown = over = False
    chunk = b"..."
    before = last = b""
    """The last two pieces: the end of the last event, at least."""
    try:
        while chunk and not over:
            before, last = last, chunk
            try:
                chunk = await next_chunk(call, sent.exchange)
            except UpstreamError:
                if not sent.upstream.ends(b"\n" + before + last, closed=False):
                    raise
                # A dialect without a last event of its own: all that it says at the end has been said.
                chunk = b""
            events: list[Event] = []
            for frame in parser.feed(chunk) if chunk else parser.end():
                events += decoder.feed(frame)
            if not chunk:
                events += decoder.end()
            fault = events.pop() if events and isinstance(events[-1], Fault) else None
            if whole is not None:
                whole += events
            for event in events:
                if type(event) is Delta:
                    said += len(event.text)
                    if shown:
                        out.append(encoder.feed(event))
                        continue
                elif isinstance(event, Start | Finish):
                    usage = event.usage or usage
                    over = over or isinstance(event, Finish)
                shown = shown or _shows(event)
                out.append(encoder.feed(restored_event(event, call.names) if call.names else event))
            if shown and not report.first_byte:
                report.first_byte = call.core.clock.now()
                await answer.begin_stream()
                answer.failing = lambda error: encoder.feed(Fault(error))
                call.let_go(words=whole is None)
            if shown and out and not over:
                await answer.write(b"".join(out))
                out.clear()
            if isinstance(fault, Fault):
                return Outcome(fault.error, committed=shown)
    finally:
        report.usage = usage if over and usage is not None else _so_far(usage, reply, said)
    if whole is not None and continuity is not None and any(map(_seals, whole)):
        await continuity.remember(call, fold(whole), sent.ledger)
    ended = not chunk or await _more(sent.exchange, _MOMENT) == b""
    await answer.finish(b"".join(out))
    if not ended:
        await _linger(call, sent.exchange)
    return Outcome(committed=True)


async def _linger(call: Call, exchange: Exchange) -> None:
    until = call.core.clock.now() + _LINGER
    while await _more(exchange, max(0.0, until - call.core.clock.now())):
        pass


def _so_far(counted: Usage | None, reply: Reply, said: int) -> Usage:
    """What an answer has cost that broke off, or that nobody counted. `said`: characters of it so far."""
    output = tokens_of(said)
    if counted is None:
        return Usage(input=reply.input_estimate, output=output, estimated=True)
    return msgspec.structs.replace(counted, output=max(counted.output, output), estimated=True)


def _seals(event: Event) -> bool:
    return type(event) is Sealed or (type(event) is Open and type(event.part) is Reasoning and event.part.seal is not None)


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
