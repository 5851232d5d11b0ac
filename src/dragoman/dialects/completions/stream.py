"""Streams of completions: each chunk is a `text_completion` with the next piece of a choice's text, then `[DONE]`. Where usage
was asked for, it comes in a chunk without choices before that."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects import lenient
from dragoman.dialects.base import Reply
from dragoman.dialects.completions.logprobs import decode_logprobs, encode_logprobs
from dragoman.dialects.completions.response import FINISH_OF_REASON, echo_of, finish_of, is_broken, not_said_of, said_of
from dragoman.dialects.openai_errors import decode_error, error_body
from dragoman.dialects.openai_usage import decode_usage, encode_usage
from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Sealed, Start
from dragoman.ir.request import Refusal, Text
from dragoman.wire.sse import Frame

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def stream_error(error: DragomanError, request_id: str) -> bytes:  # noqa: ARG001 - a frame has no place for it
    return b"data: %b\n\n" % _encode(error_body(error))


# ---------------------------------------------------------------- from an upstream


class ChunkChoice(msgspec.Struct, gc=False):
    index: Any = None
    text: Any = None
    logprobs: Any = None
    finish_reason: Any = None
    stop_reason: Any = None


class Chunk(msgspec.Struct, gc=False):
    id: Any = None
    object: Any = None
    model: Any = None
    choices: list[ChunkChoice] | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """Raises ValueError for what is no chunk."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return msgspec.convert(lenient.decode(data, stream=True), Chunk)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None


class StreamDecoder:
    """Each choice is one text, which has the choice's number as its index. Nothing finishes before the stream does, as usage
    comes last."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._numbers: dict[int, int] = {}
        self._finishes: dict[int, Finish | None] = {}
        self._halves = lenient.Halves()
        self._usage: Any = None
        self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        if self._over or not frame.data.strip():
            return []
        if frame.data.strip() == b"[DONE]":
            return self._finish(done=True)
        try:
            chunk = read_chunk(frame.data)
        except ValueError as error:
            if frame.event == "error":
                return self._fault(decode_error(0, {}, frame.data, self._issuer))
            return self._fault(UpstreamGarbled(f"an event of the stream is not a chunk: {error}", provider=self._issuer))
        if frame.event == "error" or chunk.error or chunk.object == "error":
            return self._fault(decode_error(0, {}, frame.data, self._issuer))
        self._usage = chunk.usage if chunk.usage is not None else self._usage
        events: list[Event] = []
        if chunk.choices and not self._finishes:
            events.append(Start(chunk.id if type(chunk.id) is str else "", chunk.model if type(chunk.model) is str else ""))
        for native in chunk.choices or ():
            if is_broken(native.finish_reason):
                broken = UpstreamGarbled(f"the provider broke the answer off: {native.finish_reason}", provider=self._issuer)
                return [*events, *self._fault(broken)]
            self._choice(native, events)
        return events

    def _choice(self, native: ChunkChoice, events: list[Event]) -> None:
        given = native.index if type(native.index) is int else 0
        number = self._numbers.get(given)
        if number is None:
            # Our own numbers have no gaps, whatever the server's do.
            number = self._numbers[given] = len(self._numbers)
            self._finishes[number] = None
            events.append(Open(number, Text(text=""), number))
        if self._finishes[number] is not None:
            return
        text = self._halves.join(number, native.text) if type(native.text) is str else ""
        probs = decode_logprobs(native.logprobs) if native.logprobs is not None else None
        if text or probs:
            events.append(Delta(number, text, probs))
        if native.finish_reason:
            if rest := self._halves.rest(number):
                events.append(Delta(number, rest))
            said = {"finish_reason": native.finish_reason, "stop_reason": native.stop_reason}
            self._finishes[number] = finish_of(said, number)
            events.append(Close(number))

    def end(self) -> list[Event]:
        return [] if self._over else self._finish(done=False)

    def _fault(self, error: DragomanError) -> list[Event]:
        self._over = True
        return [Fault(error)]

    def _finish(self, *, done: bool) -> list[Event]:
        finishes = self._finishes
        if not finishes:
            what = "ended without an answer" if done else "broke off before its end"
            return self._fault(UpstreamGarbled(f"the stream {what}", provider=self._issuer))
        if not done and None in finishes.values():
            return self._fault(UpstreamGarbled("the stream broke off before its end", provider=self._issuer))
        self._over = True
        events: list[Event] = [Close(number) for number, finish in finishes.items() if finish is None]
        usage, last = decode_usage(self._usage), len(finishes) - 1
        for position, (number, finish) in enumerate(finishes.items()):
            told = finish or Finish("stop", choice=number)
            events.append(msgspec.structs.replace(told, usage=usage if position == last else None))
        return events


# ---------------------------------------------------------------- to a client


class StreamEncoder:
    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._echo = echo_of(reply.request)
        self._front = b""
        self._after = b',"usage":null}\n\n' if reply.request.include_usage else b"}\n\n"
        self._said: dict[int, int] = {}
        """Characters of each choice so far, for the offsets of its tokens."""
        self._open: dict[int, int] = {}
        """The choice of each part that is shown."""
        self._finished: set[int] = set()
        self._over = False

    def feed(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case Delta():
                choice = self._open.get(event.index)
                return b"" if choice is None else self._text(choice, event.text, event.logprobs)
            case Open():
                return self._opened(event)
            case Close():
                self._open.pop(event.index, None)
                return b""
            case Cited():
                self._reply.ledger.add(None, "choices", "a completion has no citations", "info")
                return b""
            case Start():
                return self._start(event)
            case Sealed():
                return b""
            case Finish():
                return self._finish(event)
            case Ping():
                return PING
            case Fault():
                self._over = True
                return stream_error(event.error, self._reply.request_id)

    def _start(self, event: Start) -> bytes:
        if not self._front:
            reply = self._reply
            head = {
                "id": event.id or reply.fallback_id,
                "object": "text_completion",
                "created": reply.created,
                "model": event.model or reply.model,
            }
            self._front = b"data: " + _encode(head)[:-1] + b',"choices":['
        return b""

    def _opened(self, event: Open) -> bytes:
        said = said_of(event.part, self._reply)
        if not isinstance(event.part, Text | Refusal):
            return b""
        self._open[event.index] = event.choice
        return self._begin(event.choice) + (self._text(event.choice, said) if said else b"")

    def _begin(self, number: int) -> bytes:
        """The prompt, once, where it is to be repeated."""
        if not self._front:
            self._start(Start("", ""))
        if number in self._said:
            return b""
        self._said[number] = 0
        return self._text(number, self._echo) if self._echo else b""

    def _text(self, number: int, text: str, probs: list[object] | None = None) -> bytes:
        if not text and not probs:
            return b""
        told = encode_logprobs(probs, self._said[number]) if probs else None
        self._said[number] += len(text)
        return self._chunk({"text": text, "index": number, "logprobs": told, "finish_reason": None})

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return self._front + _encode(choice) + b"]" + self._after

    def _finish(self, event: Finish) -> bytes:
        out = self._begin(event.choice)
        if event.choice in self._finished:
            return out
        self._finished.add(event.choice)
        not_said_of(event, self._reply)
        last: dict[str, Any] = {"text": "", "index": event.choice, "logprobs": None}
        last["finish_reason"] = FINISH_OF_REASON[event.reason]
        if event.stop_sequence is not None:
            last["stop_reason"] = event.stop_sequence
        out += self._chunk(last)
        if self._finished < set(self._said):
            return out
        self._over = True
        if self._reply.request.include_usage:
            spoken = sum(self._said.values()) - len(self._echo) * len(self._said)
            usage = event.usage or self._reply.estimated_usage(spoken)
            out += self._front + b'],"usage":' + _encode(encode_usage(usage)) + b"}\n\n"
        return out + DONE
