"""Events to a Gemini stream: chunks that are whole responses, as server-sent events or as the elements of one JSON array.

Texts and thoughts go out as they come, everything else whole, when it closes. The first chunk tells id and model like every
other; the last one has the finish reason, the sources and the usage. Rules that are only in the clients:

- google-genai parses every line that does not begin with `data: `, comments too, so there are none: a ping is a blank line.
- an error is `{"error": ...}` with `error` first; nothing may follow it.
- a chunk without content makes the SDKs' chats forget the turn.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.dialects.base import Reply
from dragoman.dialects.gemini.citations import Grounding
from dragoman.dialects.gemini.errors import error_body
from dragoman.dialects.gemini.finish import encode_logprobs, finish_fields
from dragoman.dialects.gemini.response import PartWriter, blocked_fields, note_finish
from dragoman.dialects.gemini.usage import encode_usage
from dragoman.errors import DragomanError
from dragoman.ir.events import Cited, Close, Delta, Event, Fault, Finish, Open, Ping, Response, Sealed, Start
from dragoman.ir.request import Part, Reasoning, Refusal, Text, ToolCall
from dragoman.wire.partial import whole

Block = dict[str, Any]

PING = b"\n\n"
"""Skipped by every reader of server-sent events, and white space between the elements of an array."""

_encode = msgspec.json.Encoder().encode


class _Choice:
    """What of one candidate is remembered. `tail` is a chunk from the end of its parts on."""

    __slots__ = ("finished", "grounding", "said", "tail", "writer")

    def __init__(self, reply: Reply, tail: bytes) -> None:
        self.writer = PartWriter(reply)
        self.grounding = Grounding()
        self.tail = tail
        self.said: list[str] = []
        self.finished: Finish | None = None


class _Live:
    """An open part, with what was said of it where that is needed at its end. `streams`: its text goes out as it comes."""

    __slots__ = ("before", "choice", "part", "streams", "text")

    def __init__(self, part: Part, choice: _Choice, *, streams: bool) -> None:
        self.part = part
        self.choice = choice
        self.streams = streams
        self.text: list[str] = []
        self.before = 0


class StreamEncoder:
    """`array`: the caller did not ask for server-sent events, and gets one JSON array."""

    def __init__(self, reply: Reply, *, array: bool = False) -> None:
        self._reply = reply
        self._array = array
        self._begun = False
        self._id = ""
        self._model = ""
        self._choices: dict[int, _Choice] = {}
        self._open: dict[int, _Live] = {}
        self._over = False

    def feed(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case Delta():
                live = self._open.get(event.index)
                return self._delta(live, event.text, event.logprobs) if live is not None else b""
            case Open():
                return self._opened(event)
            case Close():
                live = self._open.pop(event.index, None)
                return self._closed(live, complete=event.complete) if live is not None else b""
            case Sealed():
                live = self._open.get(event.index)
                if live is not None and isinstance(live.part, Reasoning):
                    live.part = msgspec.structs.replace(live.part, seal=event.seal)
                return b""
            case Cited():
                live = self._open.get(event.index)
                if live is not None and isinstance(live.part, Text):
                    live.part = msgspec.structs.replace(live.part, citations=[*live.part.citations, event.citation])
                return b""
            case Start():
                self._id, self._model = self._id or event.id, self._model or event.model
                return b""
            case Finish():
                return self._finish(event)
            case Ping():
                return PING
            case Fault():
                self._over = True
                return self._framed(_encode(error_body(event.error)), last=True)

    # ------------------------------------------------------------ chunks

    def _framed(self, data: bytes, *, last: bool = False) -> bytes:
        if not self._array:
            return b"data: " + data + b"\n\n"
        opening = b",\r\n" if self._begun else b"["
        self._begun = True
        return opening + data + (b"]" if last else b"")

    def _tail(self, index: int) -> bytes:
        head = _encode({"modelVersion": self._model or self._reply.model, "responseId": self._id or self._reply.fallback_id})
        return b'],"role":"model"},"index":%d}],' % index + head[1:]

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            for missing in range(len(self._choices), number + 1):
                self._choices[missing] = _Choice(self._reply, self._tail(missing))
            choice = self._choices[number]
        return choice

    def _parts(self, choice: _Choice, parts: list[Block]) -> bytes:
        if not parts:
            return b""
        written = b",".join(_encode(part) for part in parts)
        return self._framed(b'{"candidates":[{"content":{"parts":[' + written + choice.tail)

    # ------------------------------------------------------------ parts

    def _opened(self, event: Open) -> bytes:
        choice = self._choice(event.choice)
        part = event.part
        out = self._whole_calls(choice) if self._open else b""
        streams = isinstance(part, Text | Refusal) or (isinstance(part, Reasoning) and choice.writer.shows_thoughts)
        live = self._open[event.index] = _Live(part, choice, streams=streams)
        live.before = len(choice.said)
        match part:
            case Text() | Refusal():
                choice.writer.refused = choice.writer.refused or isinstance(part, Refusal)
                return out + self._delta(live, part.text, None)
            case Reasoning():
                live.part = msgspec.structs.replace(part, text="")
                return out + self._delta(live, part.text, None)
            case ToolCall():
                live.part = msgspec.structs.replace(part, arguments="")
                return out + self._delta(live, part.arguments, None)
            case _:
                return out

    def _whole_calls(self, choice: _Choice) -> bytes:
        """Calls that are whole already, though nobody has said so: they come before what opens now."""
        out = b""
        for index, live in list(self._open.items()):
            if isinstance(live.part, ToolCall) and live.choice is choice and live.part.kind == "function":
                arguments = "".join(live.text)
                if arguments.strip() and whole(arguments):
                    del self._open[index]
                    out += self._closed(live, complete=True)
        return out

    def _delta(self, live: _Live, text: str, probs: list[object] | None) -> bytes:
        if not text and not probs:
            return b""
        choice = live.choice
        if not isinstance(live.part, Text | Refusal):
            live.text.append(text)
            if not live.streams:
                return b""
            return self._parts(choice, [{"text": text, "thought": True}])
        choice.said.append(text)
        block = choice.writer.text(text)
        if probs:
            told = _encode(encode_logprobs(probs))
            tail = choice.tail.replace(b',"index":', b',"logprobsResult":' + told + b',"index":', 1)
            return self._framed(b'{"candidates":[{"content":{"parts":[' + _encode(block) + tail)
        return self._parts(choice, [block])

    def _closed(self, live: _Live, *, complete: bool) -> bytes:
        part, choice = live.part, live.choice
        match part:
            case Text() | Refusal():
                if isinstance(part, Text) and part.citations:
                    before, own = "".join(choice.said[: live.before]), "".join(choice.said[live.before :])
                    for citation in part.citations:
                        choice.grounding.add(citation, own, 0, before)
                return b""
            case Reasoning():
                thought = msgspec.structs.replace(part, text="".join(live.text))
                choice.writer.characters += len(thought.text)
                return self._parts(choice, choice.writer.thought(thought))
            case ToolCall():
                part = msgspec.structs.replace(part, arguments="".join(live.text))
                return self._parts(choice, choice.writer.add(part, complete=complete))
            case _:
                return self._parts(choice, choice.writer.add(part))

    # ------------------------------------------------------------ the end

    def _finish(self, event: Finish) -> bytes:
        choice = self._choice(event.choice)
        if choice.finished is not None:
            return b""
        choice.finished = event
        note_finish(event, self._reply)
        last = all(other.finished is not None for other in self._choices.values())
        out = b""
        for index, live in list(self._open.items()):
            if live.choice is choice:
                del self._open[index]
                out += self._closed(live, complete=False)
        self._over = last
        silent = not self._begun and not choice.said and not choice.writer.parts and not choice.writer.characters
        if silent and event.reason == "refusal" and event.explanation and len(self._choices) == 1:
            fields = blocked_fields(event, Response("", "", []), self._reply)
            return out + self._framed(_encode(self._headed(fields)), last=True)
        parts = choice.writer.left() or [{"text": ""}]
        candidate: Block = {"content": {"parts": parts, "role": "model"}}
        candidate |= finish_fields(event, refused=choice.writer.refused)
        number = next(index for index, other in self._choices.items() if other is choice)
        candidate |= {"index": number, **choice.grounding.metadata}
        body: Block = {"candidates": [candidate]}
        if last:
            said = sum(other.writer.characters for other in self._choices.values())
            body["usageMetadata"] = encode_usage(event.usage or self._reply.estimated_usage(said))
        return out + self._framed(_encode(self._headed(body)), last=last)

    def _headed(self, body: Block) -> Block:
        return body | {"modelVersion": self._model or self._reply.model, "responseId": self._id or self._reply.fallback_id}


def array_encoder(reply: Reply) -> StreamEncoder:
    """The encoder for a caller who did not say `alt=sse`."""
    return StreamEncoder(reply, array=True)


def array_error(error: DragomanError, *, begun: bool) -> bytes:
    """An error in an array. `begun`: elements of it have been sent."""
    return (b",\r\n" if begun else b"[") + _encode(error_body(error)) + b"]"
