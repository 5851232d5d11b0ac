"""A Chat Completions stream to events.

A chunk holds deltas of any number of choices, and a delta may add to content, thinking, refusal and any number of calls at
once. Nothing says where a part ends, so here it ends when another kind begins. What servers do with calls:

- two whole calls in one chunk; arguments of two calls interleaved by `index`; arguments as an object, or null, or none;
- no `index`; the same `index` for every call, told apart by their ids; an `index` that was never opened;
- id and name in every chunk, or empty strings in place of both; no id at all; a name in several pieces.

A call opens when its arguments begin, as until then its name may go on, or when something else comes. An earlier call closes
when the next one opens, if its arguments are whole by then; otherwise both stay open, for they may be interleaved. Nothing
finishes before the stream does, because usage comes last: the finish is emitted at `[DONE]`, or at the end of a stream that had
given a reason. Without either it broke off.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects import lenient
from dragoman.dialects.chat.citations import decode_citation
from dragoman.dialects.chat.errors import decode_error
from dragoman.dialects.chat.reasoning import Block, call_extra, part_of, seal_of, text_of
from dragoman.dialects.chat.response import CallIds, arguments_text, call_body, content_parts, image_of, is_broken, reason_of
from dragoman.dialects.openai_usage import decode_usage
from dragoman.errors import DragomanError, UpstreamGarbled
from dragoman.ir.events import (
    Cited,
    Close,
    Delta,
    Event,
    Fault,
    Finish,
    FinishReason,
    Open,
    Sealed,
    Start,
    settled,
)
from dragoman.ir.request import Part, Reasoning, Refusal, Text, ToolCall, Unknown
from dragoman.wire.partial import whole
from dragoman.wire.sse import Frame

_SKELETONS: dict[str, Part] = {"text": Text(text=""), "reasoning": Reasoning(), "refusal": Refusal(text="")}
"""What opens. Shared, for parts are values: nobody changes one that came in an event."""


class ChunkDelta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    annotations: Any = None
    audio: Any = None
    images: Any = None


class ChunkChoice(msgspec.Struct, gc=False):
    index: Any = None
    delta: ChunkDelta | None = None
    message: ChunkDelta | None = None
    finish_reason: Any = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    usage: Any = None


class Chunk(msgspec.Struct, gc=False):
    id: Any = None
    object: Any = None
    model: Any = None
    choices: list[ChunkChoice] | None = None
    usage: Any = None
    x_groq: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode
_string = msgspec.json.Decoder(str).decode
_CONTENT = re.compile(rb'"content"[ \t]*:[ \t]*(?=")')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_LEARN = 4
"""So often in a stream it is tried to find out what its chunks have in common."""


def read_chunk(data: bytes) -> Chunk | None:
    """The chunk; None for JSON that is no chunk and holds no choices. Raises ValueError for anything else."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_odd(data)


def _read_odd(data: bytes) -> Chunk | None:
    native = lenient.decode(data, stream=True)
    if not isinstance(native, dict):
        return None
    try:
        return msgspec.convert(native, Chunk)
    except msgspec.ValidationError as error:
        if "choices" in native:
            raise ValueError(str(error)) from None
        return None


class StreamDecoder:
    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.answer_id = ""
        self.halves: lenient.Halves | None = None
        """Once the stream has sent half a character, every text of it goes through here."""
        self._choices: dict[int, _Choice] = {}
        self._next = 0
        self._usage: Any = None
        self._over = False
        self._mould: _Mould | None = None
        self._lessons = _LEARN

    def index(self) -> int:
        """The next part's."""
        self._next += 1
        return self._next - 1

    def feed(self, frame: Frame) -> list[Event]:
        if self._over:
            return []
        data = frame.data
        mould = self._mould
        if mould is not None and not frame.event and self.halves is None:
            choice = mould.choice
            if choice.live == "text" and choice.probs is None and (text := mould.text_of(data)):
                return [Delta(choice.at, text)]
        if data.startswith(b"[DONE]") or data.strip() == b"[DONE]":
            return self._finish(done=True)
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:
                chunk = _read_odd(data)
                self.halves = self.halves or lenient.Halves()
            except ValueError as error:
                return self._unreadable(frame, error)
        if frame.event == "error" or (chunk is not None and (chunk.error or chunk.object == "error")):
            return self._fault(decode_error(0, {}, data, self.issuer))
        if chunk is None:
            return []
        if chunk.usage is not None:
            self._usage = chunk.usage
        elif type(chunk.x_groq) is dict:
            self._usage = chunk.x_groq.get("usage") or self._usage
        if not chunk.choices:
            return []
        events: list[Event] = []
        if not self._choices:
            self.answer_id = chunk.id if type(chunk.id) is str else ""
            events.append(Start(self.answer_id, chunk.model if type(chunk.model) is str else ""))
        try:
            for native in chunk.choices:
                self._choice(native, events)
        except UpstreamGarbled as error:
            return [*events, *self._fault(error)]
        if self._lessons and len(events) == 1 and type(events[0]) is Delta:
            self._lessons -= 1
            self._mould = self._learn(data, chunk)
        return events

    def _learn(self, data: bytes, chunk: Chunk) -> _Mould | None:
        """The mould of a chunk that brought text for a text that was open, and nothing else at all."""
        native = (chunk.choices or [ChunkChoice()])[0]
        choice = self._choices.get(native.index if type(native.index) is int else 0)
        if choice is None or native.delta is None or type(native.delta.content) is not str:
            return None

        def with_text(text: str) -> Chunk:
            choices = [ChunkChoice(index=native.index, delta=ChunkDelta(content=text))]
            return Chunk(id=chunk.id, object=chunk.object, model=chunk.model, choices=choices)

        if chunk != with_text(native.delta.content):
            return None
        for found in _CONTENT.finditer(data):
            literal = _STRING.match(data, found.end())
            if literal is not None:
                mould = _Mould(data[: found.end()], data[literal.end() :], choice)
                # The proof that this is the place, and not the same words somewhere else.
                try:
                    proof = _decode(mould.before + b'"in place"' + mould.after)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    return None  # what is odd about the chunk stands outside the text
                if proof == with_text("in place"):
                    return mould
        return None

    def _unreadable(self, frame: Frame, error: ValueError) -> list[Event]:
        if not frame.data.strip():
            return []
        if frame.event == "error":
            return self._fault(decode_error(0, {}, frame.data, self.issuer))
        return self._fault(UpstreamGarbled(f"an event of the stream is not a chunk: {error}", provider=self.issuer))

    def _choice(self, native: ChunkChoice, events: list[Event]) -> None:
        number = native.index if type(native.index) is int else 0
        choice = self._choices.get(number)
        if choice is None:
            # Our own numbers have no gaps, whatever the server's do.
            choice = self._choices[number] = _Choice(self, len(self._choices))
        if native.usage is not None:
            self._usage = native.usage
        delta = native.delta if native.delta is not None else native.message
        if delta is not None:
            choice.delta(delta, native.logprobs, events)
        if native.finish_reason:
            choice.ended(native, events)

    def end(self) -> list[Event]:
        return [] if self._over else self._finish(done=False)

    def _fault(self, error: DragomanError) -> list[Event]:
        self._close()
        return [Fault(error)]

    def _close(self) -> None:
        """Choices know their decoder: what is let go of here is no work for the garbage collector."""
        self._over = True
        self._choices = {}
        self._mould = None

    def _finish(self, *, done: bool) -> list[Event]:
        choices = list(self._choices.values())
        if not done and (not choices or any(choice.reason is None for choice in choices)):
            return self._fault(UpstreamGarbled("the stream broke off before its end", provider=self.issuer))
        if not any(choice.reason is not None or choice.said for choice in choices):
            return self._fault(UpstreamGarbled("the stream ended without an answer", provider=self.issuer))
        self._close()
        events: list[Event] = []
        try:
            for choice in choices:
                choice.finish(None, events)
        except UpstreamGarbled as error:
            return [*events, Fault(error)]
        usage = decode_usage(self._usage)
        for position, choice in enumerate(choices):
            assert choice.reason is not None
            last = usage if position == len(choices) - 1 else None
            events.append(Finish(choice.reason, last, choice.stop_sequence, choice=choice.number))
        return events


class _Mould:
    """Most chunks of a stream differ in one string alone. Where the bytes before and after it are those of a chunk that has
    been read, and a JSON string stands between them, reading that string is reading the chunk."""

    __slots__ = ("_least", "after", "before", "choice")

    def __init__(self, before: bytes, after: bytes, choice: _Choice) -> None:
        self.before = before
        self.after = after
        self.choice = choice
        self._least = len(before) + len(after) + 2

    def text_of(self, data: bytes) -> str:
        """The text of a chunk that fits; empty for any other."""
        if len(data) > self._least and data.startswith(self.before) and data.endswith(self.after):
            try:
                return _string(data[len(self.before) : len(data) - len(self.after)])
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        return ""


class _Call:
    """A call under way. `index` is None until its name is known; `pieces` are its arguments so far."""

    __slots__ = ("custom", "extra", "id", "index", "name", "open", "pieces")

    def __init__(self) -> None:
        self.index = -1
        self.id = ""
        self.name = ""
        self.custom = False
        self.open = False
        self.extra: Block | None = None
        self.pieces: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class _Choice:
    """One choice. At most one text, refusal or reasoning is live at a time, of kind `live` at index `at`."""

    def __init__(self, decoder: StreamDecoder, number: int) -> None:
        self.number = number
        self.reason: FinishReason | None = None
        self.stop_sequence: str | None = None
        self.said = False
        self._decoder = decoder
        self._ids = CallIds(decoder.answer_id, number)
        self.live = ""
        self.at = -1
        self._thought: list[str] = []
        self._item: Block | None = None
        self._held: list[Block] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._named: _Call | None = None
        """A call that has a name and has not opened."""
        self._audio: Block | None = None
        self.probs: list[object] | None = None
        self._refused = False
        self._broken = False

    # ------------------------------------------------------------ deltas

    def delta(self, delta: ChunkDelta, logprobs: Any, events: list[Event]) -> None:
        probs = None
        if logprobs is not None:
            probs = logprobs.get("content") if type(logprobs) is dict else None
            if self.probs is not None:
                probs = [*self.probs, *(probs or ())]
                self.probs = None
        content = delta.content
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._think(delta, events)
        if content:
            if type(content) is str:
                self._write("text", content, probs, events)
            else:
                self._content_list(content, probs, events)
            probs = None
        if delta.refusal and type(delta.refusal) is str:
            self._refused = True
            self._write("refusal", delta.refusal, probs, events)
            probs = None
        if delta.tool_calls and type(delta.tool_calls) is list:
            for position, native in enumerate(cast("list[Any]", delta.tool_calls)):
                if type(native) is dict:
                    self._call_delta(native, position, events)
        if delta.function_call and type(delta.function_call) is dict:
            self._legacy(delta.function_call, events)
        if probs:
            self._lone_probs(probs, events)
        if delta.annotations or delta.audio or delta.images:
            self._rare(delta, events)

    def _open(self, part: Part, events: list[Event]) -> int:
        self.said = True
        index = self._decoder.index()
        events.append(Open(index, part, self.number))
        return index

    def _write(self, kind: str, text: str, probs: Any, events: list[Event]) -> None:
        if self.live != kind:
            self._turn_to(kind, _SKELETONS[kind], events)
        if self._decoder.halves is not None:
            text = self._decoder.halves.join(self.at, text)
        events.append(Delta(self.at, text, probs or None))

    def _turn_to(self, kind: str, part: Part, events: list[Event]) -> None:
        self._settle(events)
        self.live = kind
        self.at = self._open(part, events)

    def _lone_probs(self, probs: list[object], events: list[Event]) -> None:
        """Log probabilities of tokens that showed no text: of the open part, or of the next."""
        if self.live:
            events.append(Delta(self.at, "", probs))
        else:
            self.probs = probs

    def _content_list(self, content: Any, probs: Any, events: list[Event]) -> None:
        for part in content_parts(content):
            match part:
                case Text(text) | Refusal(text):
                    if text:
                        self._write("text" if isinstance(part, Text) else "refusal", text, probs, events)
                        probs = None
                case Reasoning(text):
                    if text:
                        self._write("reasoning", text, None, events)
                case _:
                    self._settle(events)
                    events.append(Close(self._open(part, events)))

    def _rare(self, delta: ChunkDelta, events: list[Event]) -> None:
        annotations, images, audio = delta.annotations, delta.images, delta.audio
        if type(annotations) is list:
            for native in cast("list[Any]", annotations):
                if type(native) is dict:
                    if self.live != "text":
                        self._turn_to("text", _SKELETONS["text"], events)
                    events.append(Cited(self.at, decode_citation(native)))
        if type(images) is list:
            for native in cast("list[Any]", images):
                if type(native) is dict:
                    self._settle(events)
                    events.append(Close(self._open(image_of(native), events)))
        if type(audio) is dict:
            held = self._audio = self._audio or {}
            for key, value in cast("Block", audio).items():
                grows = key in {"data", "transcript"} and isinstance(value, str)
                held[key] = held.get(key, "") + value if grows else value

    def _settle(self, events: list[Event]) -> None:
        """Close what is live, and give what waited for it."""
        if self.live:
            if self._decoder.halves is not None and (rest := self._decoder.halves.rest(self.at)):
                events.append(Delta(self.at, rest))
            if self.live == "reasoning" and self._item is not None:
                events.append(Sealed(self.at, seal_of(self._item, self._decoder.issuer)))
            events.append(Close(self.at))
            self.live = ""
            self._item = None
            self._thought.clear()
        for item in self._held:
            part = part_of(item, self._decoder.issuer)
            events.append(Close(self._open(part, events)))
        self._held.clear()
        if self._named is not None:
            self._open_call(self._named, events)

    # ------------------------------------------------------------ thinking

    def _think(self, delta: ChunkDelta, events: list[Event]) -> None:
        told = False
        if type(delta.reasoning_details) is list:
            for native in cast("list[Any]", delta.reasoning_details):
                if type(native) is dict:
                    told = self._detail(native, events) or told
        plain = delta.reasoning_content or delta.reasoning
        if not told and plain and type(plain) is str:
            self._write("reasoning", plain, None, events)
            if self._item is None:
                self._thought.append(plain)

    def _detail(self, entry: Block, events: list[Event]) -> bool:
        """One entry of `reasoning_details`; says whether it brought text, which the plain field then only repeats."""
        text = text_of(entry)
        if entry.get("type") == "reasoning.encrypted" or (not text and self.live != "reasoning"):
            # Sealed state without text: a part of its own, once what is live has closed.
            last = self._held[-1] if self._held else None
            if last is not None and entry.get("index") is not None and _same(last, entry):
                _grow(last, entry)
            else:
                self._held.append(dict(entry))
            return False
        if self.live == "reasoning" and self._item is None:
            # Plain thinking came first; this is its signature, with or without all of its text again.
            said = "".join(self._thought)
            if not text or text == said:
                self._item = {**entry, "text": said} if entry.get("type") == "reasoning.text" else dict(entry)
                return bool(text)
        if self.live == "reasoning" and self._item is not None and _same(self._item, entry):
            _grow(self._item, entry)
        else:
            self._turn_to("reasoning", Reasoning(summary=entry.get("type") == "reasoning.summary"), events)
            self._item = dict(entry)
        if text:
            events.append(Delta(self.at, text))
        return bool(text)

    # ------------------------------------------------------------ calls

    def _call_delta(self, native: Block, position: int, events: list[Event]) -> None:
        index, given = native.get("index"), native.get("id")
        kind, inner = call_body(native)
        name = inner.get("name")
        arguments = inner.get("input" if kind == "custom" else "arguments")
        call = self._by_index.get(index) if type(index) is int else None
        if call is None or given or name:
            call = self._find(call, index, position, given, name)
        if not call.name:
            call.custom = kind == "custom"
            call.id = call.id or (given if type(given) is str else "")
            call.extra = call.extra or call_extra(native)
            if type(name) is str and name:
                self._name(call, name, events)
        elif call is self._named and type(name) is str:
            self._go_on(call, name)
        if arguments is not None and arguments != "":
            self._arguments(call, arguments, events)

    def _find(self, at_index: _Call | None, index: Any, position: int, given: Any, name: Any) -> _Call:
        """The call that a delta belongs to; a new one where it says so."""
        if type(index) is not int:
            if given:
                found = next((call for call in reversed(self._calls) if call.id == given), None)
            else:
                found = self._by_place(position, name)
            return found if found is not None else self._new(-1 - position)
        if at_index is None:
            if not given and not name and self._calls:
                return self._calls[-1]  # an index that nobody opened
            return self._new(index)
        other_id = given and at_index.id and given != at_index.id
        if name and at_index.name and (other_id or (not given and not at_index.id and self._ended(at_index))):
            return self._new(index)
        return at_index

    def _by_place(self, position: int, name: Any) -> _Call | None:
        """Neither index nor id: it goes on with the call that stood at its place in the list, unless that is over."""
        found = self._by_index.get(-1 - position)
        if found is not None and not self._ended(found) and (not name or name == found.name):
            return found
        return None if name or not self._calls else self._calls[-1]

    def _new(self, index: int) -> _Call:
        call = self._by_index[index] = _Call()
        self._calls.append(call)
        return call

    @staticmethod
    def _ended(call: _Call) -> bool:
        """Whether a call without an id is whole, so that a name coming after it is another call's."""
        arguments = call.arguments
        return bool(call.name) and bool(arguments.strip()) and whole(arguments)

    def _name(self, call: _Call, name: str, events: list[Event]) -> None:
        if self._named is not None:
            self._open_call(self._named, events)
        call.name = name
        self._named = call
        if call.pieces:
            self._open_call(call, events)

    @staticmethod
    def _go_on(call: _Call, name: str) -> None:
        """More of a name: its next piece, or all of it so far, or the same again."""
        call.name = name if name.startswith(call.name) else call.name + name

    def _open_call(self, call: _Call, events: list[Event]) -> None:
        self._named = None
        self._settle(events)
        for earlier in self._calls:
            if earlier.open and not earlier.custom and earlier.arguments.strip() and whole(earlier.arguments):
                earlier.open = False
                events.append(Close(earlier.index))
        if call.extra is not None:
            seal = seal_of(call.extra, self._decoder.issuer)
            events.append(Close(self._open(Reasoning(seal=seal, redacted=True), events)))
        part = ToolCall(id=self._ids.take(call.id), name=call.name, kind="custom" if call.custom else "function")
        call.index = self._open(part, events)
        call.open = True
        if call.pieces:
            events.append(Delta(call.index, call.arguments))

    def _arguments(self, call: _Call, arguments: Any, events: list[Event]) -> None:
        if type(arguments) is not str:
            if call.pieces:
                return  # the whole object again
            arguments = arguments_text(arguments)
        if self._decoder.halves is not None:
            arguments = self._decoder.halves.join(call, arguments)
        if call is self._named:
            self._open_call(call, events)
        call.pieces.append(arguments)
        if call.open:
            events.append(Delta(call.index, arguments))

    def _legacy(self, native: Block, events: list[Event]) -> None:
        if not self._calls:
            self._new(0)
        call = self._calls[0]
        name = native.get("name")
        if not call.name and type(name) is str and name:
            self._name(call, name, events)
        elif call is self._named and type(name) is str:
            self._go_on(call, name)
        if native.get("arguments"):
            self._arguments(call, native["arguments"], events)

    # ------------------------------------------------------------ the end

    def ended(self, native: ChunkChoice, events: list[Event]) -> None:
        """A reason has come. Some servers say `stop` first, and what it was in another chunk."""
        if self.reason is None or (self.reason == "stop" and native.finish_reason != "stop"):
            self.finish(native, events)

    def finish(self, native: ChunkChoice | None, events: list[Event]) -> None:
        """The reason has come, or never will: close everything. Raises `UpstreamGarbled` where the answer was broken off."""
        if native is not None:
            word = native.finish_reason
            if is_broken(word):
                raise UpstreamGarbled(f"the provider broke the answer off: {word}", provider=self._decoder.issuer)
            fields = {key: getattr(native, key) for key in ("finish_reason", "stop_reason", "matched_stop")}
            reason, stop_sequence = reason_of(fields, refused=self._refused)
        else:
            reason = self.reason or ("refusal" if self._refused else "stop")
            stop_sequence = self.stop_sequence
        self._settle(events)
        for call in self._calls:
            if call.open:
                self._close_call(call, reason, events)
            elif not call.name and call.arguments.strip():
                raise UpstreamGarbled("a tool call of the answer has no name", provider=self._decoder.issuer)
        if self._audio is not None:
            part = Unknown(native={"type": "audio", "audio": self._audio}, dialect="chat")
            self._audio = None
            events.append(Close(self._open(part, events)))
        if self.number and not self.said:
            # So that an encoder hears of every choice before the first one finishes.
            events.append(Close(self._open(Text(text=""), events)))
        calls = any(call.name for call in self._calls)
        self.reason = settled(reason, calls=calls, broken=self._broken)
        self.stop_sequence = stop_sequence if self.reason == "stop_sequence" else None

    def _close_call(self, call: _Call, reason: FinishReason, events: list[Event]) -> None:
        call.open = False
        arguments = call.arguments
        complete = True
        if not call.custom:
            blank = not arguments.strip()
            complete = whole(arguments) and not (blank and reason == "length")
            if blank and complete:
                events.append(Delta(call.index, "{}"))
        self._broken = self._broken or not complete
        events.append(Close(call.index, complete))


def _same(item: Block, entry: Block) -> bool:
    """Whether an entry goes on with this item."""
    return item.get("type") == entry.get("type") and item.get("index") == entry.get("index")


def _grow(item: Block, entry: Block) -> None:
    for key, value in entry.items():
        held = item.get(key)
        if key in {"text", "summary", "data"} and isinstance(held, str) and isinstance(value, str):
            item[key] = held + value
        elif value is not None:
            item[key] = value
