"""What is fuzzed: every reader of bytes that strangers send. A target takes any bytes and returns, or it has found a bug.

The dialects come from their table, so that a further one is fuzzed without a word here. What a reader may raise is its
contract: the codecs raise their typed error, a stream's decoder nothing at all. Beyond "no traceback" a target holds what
must be true of every input: that a split stream means the same, that what is encoded is JSON, that events come in order.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from dragoman.config import load
from dragoman.dialects import EVERY as DIALECTS
from dragoman.dialects.base import Dialect, Reply, Target
from dragoman.dialects.gemini import embeddings
from dragoman.dialects.gemini.schema import compile_schema, openapi_to_json
from dragoman.errors import ConfigError, DragomanError, MalformedBody, RequestError, UpstreamError
from dragoman.ir import carrier
from dragoman.ir.estimate import input_tokens
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start, fold, unfold
from dragoman.ir.losses import Ledger
from dragoman.ir.names import fit, restored
from dragoman.ir.profile import Profile
from dragoman.ir.request import ReasoningAsk, Request
from dragoman.wire import eventstream, media, multipart
from dragoman.wire.body import fields_of, peek, swap_model
from dragoman.wire.json import clean, loads
from dragoman.wire.jsonarray import JsonArrayReader
from dragoman.wire.partial import arguments_object, mended_object, whole
from dragoman.wire.sse import Aligner, Frame, SseParser, last_boundary, one_by_one
from tests.fuzz import http1

Run = Callable[[bytes], None]

_ODD = Profile(
    reasoning="reasoning", reasoning_replay="reasoning_details", thinking="adaptive", sampling=False, structured=False,
    forced_tools=False, json_schema=False, media_results=False, format_with_tools=False, thinking_config="budget",
    max_stop=1, inline_system=True, cache_marks="cache_control", extra_sampling=True,
)  # fmt: skip
_TARGETS = (Target("m", "up", Profile()), Target("m", "up", _ODD))


def reply(dialect: Dialect, request: Request | None = None) -> Reply:
    asked = request or Request(
        model="m", dialect=dialect.name, include_usage=True, reasoning=ReasoningAsk(display="summarized")
    )
    return Reply(asked, "m", 1_700_000_000, dialect.id_prefix + "1", 7, "up", Ledger())


def is_json(data: bytes) -> None:
    """By a strict reader: proper UTF-8, no NaN. Numbers may be of any size, where a schema that is only carried holds them."""
    msgspec.json.decode(data, type=msgspec.Raw)
    data.decode()


# ---------------------------------------------------------------- the dialects


def request(dialect: Dialect) -> Run:
    def run(data: bytes) -> None:
        try:
            asked = dialect.decode_request(data)
        except RequestError:
            return
        input_tokens(asked)
        for other in DIALECTS.values():
            fitted, _ = fit(asked, other.tool_names)
            for target in _TARGETS:
                ledger = Ledger()
                with suppress(RequestError):
                    is_json(other.encode_request(fitted, target, ledger))
                assert ledger.header().isascii()
        # The answer to it, which repeats some of it.
        answer = reply(dialect, asked)
        encoder = dialect.stream_encoder(answer)
        encoder.feed(Start("", ""))
        encoder.feed(Finish("stop"))

    return run


def answer(dialect: Dialect) -> Run:
    def run(data: bytes) -> None:
        dialect.error_in_body(data)
        try:
            response = dialect.decode_response(data, "up")
        except UpstreamError:
            return
        assert response.choices
        again = fold(unfold(response))
        for other in DIALECTS.values():
            is_json(other.encode_response(restored(response, {}), reply(other)))
            speak(other, unfold(again))

    return run


def stream(dialect: Dialect) -> Run:
    def run(data: bytes) -> None:
        cut = data[:1][0] if data else 0
        body = data[1:]
        events = events_of(dialect, (body,))
        legal(events)
        assert isinstance(events[-1], Finish | Fault)
        step = cut % 7 + 1
        split = events_of(dialect, (body[at : at + step] for at in range(0, len(body), step)))
        assert gist(split) == gist(events)
        for other in DIALECTS.values():
            speak(other, events)
        with suppress(DragomanError):
            fold(events)

    return run


def speak(dialect: Dialect, events: Iterable[Event]) -> None:
    """The events as that dialect puts them: whole frames, each of them JSON."""
    encoder = dialect.stream_encoder(reply(dialect))
    out = b"".join(encoder.feed(event) for event in events)
    parser = dialect.framing.parser()
    for frame in [*parser.feed(out), *parser.end()]:
        if frame.data != b"[DONE]":
            is_json(frame.data)
    aligner = dialect.framing.aligner()
    assert aligner.feed(out) == out


def events_of(dialect: Dialect, pieces: Iterable[bytes]) -> list[Event]:
    """The frames come as server-sent events in any dialect: no input that is found by chance has AWS's checksums."""
    parser, decoder = SseParser(), dialect.stream_decoder("up")
    events: list[Event] = []
    for piece in pieces:
        for frame in parser.feed(piece):
            events += decoder.feed(frame)
    for frame in parser.end():
        events += decoder.feed(frame)
    return [*events, *decoder.end()]


def gist(events: list[Event]) -> list[Any]:
    return [(type(event.error), event.error.message) if isinstance(event, Fault) else event for event in events]


def legal(events: list[Event]) -> None:
    opened: set[int] = set()
    closed: set[int] = set()
    over = begun = False
    for event in events:
        assert not over, "something follows the end"
        match event:
            case Start():
                assert not begun
                begun = True
            case Open(index):
                assert begun
                assert index == len(opened), "indices count up"
                opened.add(index)
            case Delta(index) | Sealed(index) | Cited(index):
                assert index in opened - closed, "only of what is open"
            case Close(index):
                assert index in opened - closed
                closed.add(index)
            case Fault():
                over = True
            case Finish() | Ping():
                assert begun or isinstance(event, Ping)


def error(dialect: Dialect) -> Run:
    def run(data: bytes) -> None:
        status = (0, 200, 400, 401, 403, 404, 429, 500, 503, 529)[data[0] % 10] if data else 0
        found = dialect.decode_error(status, {"retry-after": data[-4:].decode("latin-1")}, data[1:], "up")
        assert found.message
        assert 400 <= found.status < 600
        for other in DIALECTS.values():
            told = other.encode_error(found, "req_1")
            is_json(told.body)
            for name, value in told.headers:
                assert "\n" not in name + value
            other.stream_error(found, "req_1")

    return run


def verbatim(dialect: Dialect) -> Run:
    """What looks at bytes that go through untouched."""

    def run(data: bytes) -> None:
        for frame in [*SseParser().feed(data), *SseParser().end(), Frame("", data)]:
            assert dialect.sniff(frame) in {"wait", "content", "error"}
        dialect.error_in_body(data)
        for closed in (False, True):
            dialect.ends(data, closed=closed)
        dialect.usage_of(data, b"")
        dialect.usage_of(data[: len(data) // 2], data[len(data) // 2 :])
        with suppress(MalformedBody):
            named = dialect.renamed(data, 'other "model"\n')
            assert dialect.renamed is not swap_model or peek(named).model == 'other "model"\n'
        scrubbed = dialect.scrub(data, "up")
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            msgspec.json.decode(data)
            msgspec.json.decode(scrubbed)
        if dialect.sealing is not None:
            sealing = dialect.sealing
            sealing.values(data)
            assert sealing.without(data, lambda _: False) == (data, 0)
            bare, taken = sealing.without(data, lambda _: True)
            assert sealing.without(bare, lambda _: True)[1] == 0
            if taken and data.isascii():
                is_json(bare)
        if dialect.counting is not None:
            with suppress(RequestError):
                input_tokens(dialect.counting.decode(data))

    return run


# ---------------------------------------------------------------- the wire


def sse(data: bytes) -> None:
    parser = SseParser()
    frames = [*parser.feed(data), *parser.end()]
    slow = SseParser()
    assert [frame for at in range(len(data)) for frame in slow.feed(data[at : at + 1])] + slow.end() == frames
    aligner = Aligner(limit=64)
    out = b"".join(aligner.feed(data[at : at + 5]) for at in range(0, len(data), 5))
    assert out + aligner.rest == data
    assert b"".join(one_by_one(data)) == data
    assert 0 <= last_boundary(data) <= len(data)


def event_stream(data: bytes) -> None:
    """Whole, in pieces, and with its checksums mended, so that what stands behind them is read too."""
    for told in (data, mended(data)):
        frames = read_messages(iter((told,)))
        assert read_messages(told[at : at + 3] for at in range(0, len(told), 3)) == frames
        aligner = eventstream.MessageAligner(limit=64)
        out = b"".join(aligner.feed(told[at : at + 5]) for at in range(0, len(told), 5))
        assert out + aligner.rest == told
        eventstream.frames_within(told)
        eventstream.message_start(told)


def read_messages(pieces: Iterator[bytes]) -> list[Frame]:
    parser, frames = eventstream.EventStreamParser(), list[Frame]()
    for piece in pieces:
        frames += parser.feed(piece)
    return frames + parser.end()


def mended(data: bytes) -> bytes:
    """One message of the bytes, with the lengths and the checksums that they would have."""
    headers = min(data[0] if data else 0, max(0, len(data) - 1))
    prelude = struct.pack(">II", len(data) + 16, headers)
    head = prelude + struct.pack(">I", zlib.crc32(prelude)) + data
    return head + struct.pack(">I", zlib.crc32(head))


def multiparted(data: bytes) -> None:
    with suppress(MalformedBody):
        found = list(multipart.fields_of(data, b"b"))
        for field in found:
            multipart.text_of(data, field)
    with suppress(MalformedBody):
        multipart.with_field(data, b"b", "model", "m")
    with suppress(MalformedBody):
        multipart.boundary_of(data.decode("latin-1"))


def pictures(data: bytes) -> None:
    kind = media.sniff(data)
    media.dimensions(data, kind)
    for name in ("image/png", "image/jpeg", "image/webp", "image/gif"):
        media.dimensions(data, name)
    with suppress(media.BadBase64):
        media.from_base64(data.decode("latin-1"))


def jsonarray(data: bytes) -> None:
    def read(pieces: Iterator[bytes]) -> tuple[list[bytes], bool | str]:
        reader, found = JsonArrayReader(), list[bytes]()
        try:
            for piece in pieces:
                found += reader.feed(piece)
        except UpstreamError as garbled:
            return found, garbled.message[:20]
        return found, reader.end()

    elements, ended = read(iter((data,)))
    slowly, slowly_ended = read(data[at : at + 1] for at in range(len(data)))
    if not isinstance(ended, str):
        assert (slowly, slowly_ended) == (elements, ended)


def body(data: bytes) -> None:
    with suppress(MalformedBody):
        peek(data)
    with suppress(MalformedBody):
        fields_of(data)
    with suppress(MalformedBody):
        assert peek(swap_model(data, "new")).model == "new"


def lenient(data: bytes) -> None:
    with suppress(ValueError):
        is_json(msgspec.json.encode(clean(loads(data))))


def partial(data: bytes) -> None:
    text = data.decode("utf-8", "surrogatepass") if _decodes(data) else data.decode("latin-1")
    whole(text)
    found = arguments_object(text)
    mended = mended_object(text)
    if found is not None and text.strip():
        assert mended == found


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def carriers(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    carrier.unpack(text)
    carrier.unpack(carrier.MARK + text)
    carrier.detach(f"call-{carrier.MARK}{text}")
    safe = carrier.safe_id(text)
    assert carrier.original_id(safe) == text or not text.startswith("dgmid-")
    carrier.original_id(text)
    carrier.carries(data)
    carrier.strip_ids(data)


def schema(data: bytes) -> None:
    for openapi in (False, True):
        compiled = compile_schema(msgspec.Raw(data), openapi=openapi)
        is_json(msgspec.json.encode(compiled.schema))
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        is_json(msgspec.json.encode(openapi_to_json(msgspec.json.decode(data))))


def embed(data: bytes) -> None:
    for decode in (embeddings.decode_embed, embeddings.decode_batch):
        with suppress(MalformedBody):
            decode(data)
    with suppress(UpstreamError):
        embeddings.decode_embedded(data, "up")


def config(data: bytes) -> None:
    suffix = (".yaml", ".json", ".toml")[data[0] % 3] if data else ".yaml"
    with suppress(ConfigError):
        load(data[1:].decode("utf-8", "replace"), suffix, {}, "file")


_KINDS: dict[str, Callable[[Dialect], Run]] = {
    "request": request,
    "answer": answer,
    "stream": stream,
    "error": error,
    "verbatim": verbatim,
}

TARGETS: dict[str, Run] = {
    **{f"{name}-{kind}": make(dialect) for name, dialect in DIALECTS.items() for kind, make in _KINDS.items()},
    "sse": sse,
    "event-stream": event_stream,
    "multipart": multiparted,
    "pictures": pictures,
    "jsonarray": jsonarray,
    "body": body,
    "json": lenient,
    "partial": partial,
    "carriers": carriers,
    "gemini-schema": schema,
    "gemini-embed": embed,
    "config": config,
    "http-request": http1.request,
    "http-answer": http1.answer,
}


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
