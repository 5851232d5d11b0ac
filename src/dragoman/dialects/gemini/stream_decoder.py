"""A Gemini answer to events: chunks of a stream, which are whole responses, or one whole response, which is a chunk.

A chunk adds parts to its candidates: texts and thoughts go on with the one before them, everything else comes whole.
Nothing says that the stream is over but its end: the finish is given then, if a reason for it has come; usage and sources may
follow the reason. A stream without any reason broke off.
"""

from __future__ import annotations

import re
from typing import Any, cast

from dragoman.dialects.gemini.citations import Found, decode_citations, searches_of
from dragoman.dialects.gemini.errors import decode_error
from dragoman.dialects.gemini.finish import REASONS, blocked, broken, decode_logprobs, word_of
from dragoman.dialects.gemini.parts import decode_part
from dragoman.dialects.gemini.usage import decode_usage
from dragoman.errors import DragomanError, MalformedBody, UpstreamGarbled
from dragoman.ir.events import (
    Cited,
    Close,
    Delta,
    Event,
    Fault,
    Finish,
    FinishReason,
    Open,
    Response,
    Sealed,
    Start,
    fold,
    settled,
)
from dragoman.ir.request import Part, Reasoning, Text, ToolCall
from dragoman.wire.json import Halves, clean, loads, whole_text
from dragoman.wire.sse import Frame

Block = dict[str, Any]

_UNSAFE = re.compile(r"[^A-Za-z0-9]")
_PLAIN_CHUNK = frozenset({"content", "index"})


def decode_response(body: bytes, issuer: str) -> Response:
    """A whole answer, also one that was streamed as a JSON array. Raises what a stream would end in."""
    try:
        native = clean(loads(body))
    except ValueError as error:
        raise UpstreamGarbled(f"the answer is not JSON: {error}", provider=issuer) from None
    chunks = cast("list[Any]", native) if isinstance(native, list) else [native]
    decoder = StreamDecoder(issuer, whole=not isinstance(native, list))
    events: list[Event] = []
    for chunk in chunks:
        events += decoder.chunk(chunk, body)
    return fold([*events, *decoder.end()])


class StreamDecoder:
    """`whole`: there is one chunk, and it need not say why it ended."""

    def __init__(self, issuer: str, *, whole: bool = False) -> None:
        self.issuer = issuer
        self.answer_id = ""
        self._whole = whole
        self._candidates: dict[int, _Candidate] = {}
        self._next = 0
        self._usage: Block = {}
        self._searches = 0
        self._blocked: str | None = None
        self._started = False
        self._over = False

    def index(self) -> int:
        """The next part's."""
        self._next += 1
        return self._next - 1

    def feed(self, frame: Frame) -> list[Event]:
        data = frame.data.strip()
        if self._over or not data or data == b"[DONE]":
            return []
        try:
            native = loads(data)
        except ValueError:
            return self._fault(UpstreamGarbled(f"an event of the stream is not JSON: {data[:80]!r}", provider=self.issuer))
        return self.chunk(native, data)

    def chunk(self, native: Any, data: bytes) -> list[Event]:
        """One chunk, parsed; `data` is what it was."""
        if isinstance(native, list) and len(cast("list[Any]", native)) == 1:
            native = cast("list[Any]", native)[0]
        if self._over:
            return []
        if not isinstance(native, dict):
            return self._fault(UpstreamGarbled(f"an event of the stream is not an object: {data[:80]!r}", provider=self.issuer))
        answer = cast("Block", native)
        if answer.get("error"):
            return self._fault(decode_error(0, {}, data, self.issuer))
        events: list[Event] = []
        try:
            self._read(answer, events)
        except MalformedBody as error:
            garbled = UpstreamGarbled(f"an event of the stream has a wrong shape: {error.message}", provider=self.issuer)
            events += self._fault(garbled)
        except DragomanError as error:
            events += self._fault(error)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            events += self._fault(UpstreamGarbled(f"an event of the stream has a wrong shape: {error!r}", provider=self.issuer))
        return events

    def _read(self, answer: Block, events: list[Event]) -> None:
        usage = answer.get("usageMetadata")
        if isinstance(usage, dict):
            counts = cast("Block", usage)
            if None in counts.values():
                counts = {key: value for key, value in counts.items() if value is not None}
            self._usage.update(counts)
        candidates = answer.get("candidates")
        self._blocked = self._blocked or blocked(answer)
        natives = cast("list[Any]", candidates) if isinstance(candidates, list) else []
        if not self._started and (natives or self._blocked):
            self._started = True
            self.answer_id = _text(answer.get("responseId"))
            events.append(Start(self.answer_id, _text(answer.get("modelVersion")), decode_usage(self._usage)))
        for position, one in enumerate(natives):
            if not isinstance(one, dict):
                raise MalformedBody("a candidate is not an object")
            native = cast("Block", one)
            number = native.get("index")
            number = number if isinstance(number, int) else position
            candidate = self._candidates.get(number)
            if candidate is None:
                # Our own numbers have no gaps, whatever the server's do.
                candidate = self._candidates[number] = _Candidate(self, len(self._candidates))
            if "groundingMetadata" in native:
                self._searches = max(self._searches, searches_of(native))
            candidate.read(native, events)

    def end(self) -> list[Event]:
        if self._over:
            return []
        candidates = list(self._candidates.values())
        if not candidates:
            if self._blocked is None:
                what = "the answer has no candidates" if self._whole else "the stream broke off before its end"
                return self._fault(UpstreamGarbled(what, provider=self.issuer))
            self._over = True
            return [Finish("refusal", decode_usage(self._usage), explanation=self._blocked)]
        if not self._whole and self._blocked is None and any(not candidate.word for candidate in candidates):
            return self._fault(UpstreamGarbled("the stream broke off before its end", provider=self.issuer))
        self._over = True
        events: list[Event] = []
        for candidate in candidates:
            candidate.finish(events)
        usage = decode_usage(self._usage, self._searches)
        for position, candidate in enumerate(candidates):
            last = position == len(candidates) - 1
            reason = candidate.reason if self._blocked is None else "content_filter"
            told = candidate.explanation or self._blocked
            events.append(
                Finish(reason, usage if last else None, explanation=told, choice=candidate.number, ratings=candidate.ratings)
            )
        return events

    def _fault(self, error: DragomanError) -> list[Event]:
        self._over = True
        return [Fault(error)]


class _Candidate:
    """One choice. At most one text or thought is live at a time, of kind `_live` at index `_at`."""

    def __init__(self, decoder: StreamDecoder, number: int) -> None:
        self.number = number
        self.word = ""
        self.explanation: str | None = None
        self.ratings: list[Any] = []
        self._decoder = decoder
        self._live = ""
        self._at = -1
        self._sealed = False
        self._halves = Halves()
        self._said: list[str] = []
        self._calls = 0
        self._any = False
        self._used: set[str] = set()
        self._probs: list[object] | None = None

    @property
    def reason(self) -> FinishReason:
        return settled(REASONS.get(self.word, "stop"), calls=self._calls > 0, broken=False)

    def read(self, native: Block, events: list[Event]) -> None:
        content = native.get("content")
        natives = cast("Block", content).get("parts") if isinstance(content, dict) else None
        parts = cast("list[Any]", natives) if isinstance(natives, list) else []
        if len(parts) == 1 and native.keys() <= _PLAIN_CHUNK and _is_text(parts[0]) and len(parts[0]) == 1:
            # Nearly every chunk of a stream.
            self._write("text", parts[0]["text"], events)
            return
        self._probs = decode_logprobs(native) or self._probs
        if isinstance(rated := native.get("safetyRatings"), list):
            self.ratings = clean(rated)
        texts = {index: part["text"] for index, part in enumerate(parts) if _is_text(part)}
        found = self._citations(native, texts)
        last_text = max(texts, default=-1)
        if last_text < 0:
            # Sources of what was said before; what comes now may close it.
            self._cite(found, events)
        for index, part in enumerate(parts):
            if isinstance(part, dict) and "text" not in part:
                # Nothing of it goes on in another chunk, so what is half a character stays half of one.
                part = clean(part)  # noqa: PLW2901
            for one in decode_part(part, None, self._decoder.issuer, self._name_call):
                self._part(one, events)
            if index in texts:
                self._cite([one for one in found if one.part == index or (one.part is None and index == last_text)], events)
        if self._probs and self._live == "text":
            events.append(Delta(self._at, "", self._probs))
            self._probs = None
        word = word_of(native)
        if word:
            error = broken(word, native, self._decoder.issuer)
            if error is not None:
                raise error
            self.word = word
            message = native.get("finishMessage")
            filtered = REASONS.get(word) == "content_filter"
            self.explanation = message if filtered and isinstance(message, str) and message else None

    def finish(self, events: list[Event]) -> None:
        self._settle(events)
        if self.number and not self._any:
            # So that an encoder hears of every choice before the first one finishes.
            events.append(Close(self._open(Text(text=""), events)))

    # ------------------------------------------------------------ parts

    def _open(self, part: Part, events: list[Event]) -> int:
        self._any = True
        index = self._decoder.index()
        events.append(Open(index, part, self.number))
        return index

    def _part(self, part: Part, events: list[Event]) -> None:
        match part:
            case Text():
                if part.text:
                    self._write("text", part.text, events)
            case Reasoning() if part.summary:
                if part.text:
                    self._write("thought", part.text, events)
                if part.seal is not None:
                    if self._live != "thought" or self._sealed:
                        self._turn_to("thought", events)
                    events.append(Sealed(self._at, part.seal))
                    self._sealed = True
            case _:
                if isinstance(part, ToolCall):
                    self._calls += 1
                self._settle(events)
                events.append(Close(self._open(part, events)))

    def _write(self, kind: str, text: str, events: list[Event]) -> None:
        if self._live != kind or self._sealed:
            self._turn_to(kind, events)
        probs = None
        if kind == "text":
            probs, self._probs = self._probs, None
            self._said.append(text)
        events.append(Delta(self._at, self._halves.join(text), probs))

    def _turn_to(self, kind: str, events: list[Event]) -> None:
        self._settle(events)
        self._live = kind
        self._at = self._open(Text(text="") if kind == "text" else Reasoning(summary=True), events)

    def _settle(self, events: list[Event]) -> None:
        if not self._live:
            return
        if rest := self._halves.rest():
            events.append(Delta(self._at, rest))
        events.append(Close(self._at))
        self._live = ""
        self._sealed = False
        self._said.clear()

    def _name_call(self, given: str, name: str) -> str:
        del name
        stem = _UNSAFE.sub("", self._decoder.answer_id)[-24:] + (f"x{self.number}" if self.number else "")
        own = given or f"call_g{stem}_{len(self._used)}"
        if own in self._used:
            own = f"{own}_{len(self._used) + 1}"
        self._used.add(own)
        return own

    # ------------------------------------------------------------ sources

    def _citations(self, native: Block, texts: dict[int, str]) -> list[Found]:
        if "groundingMetadata" not in native and "citationMetadata" not in native:
            return []
        if len(texts) > 1:
            return decode_citations(native, texts)
        # In a stream offsets are those of the whole text, of which this chunk is the end.
        index = next(iter(texts), 0)
        said = "".join(self._said) if self._live == "text" else ""
        return decode_citations(native, {index: said + texts.get(index, "")})

    def _cite(self, found: list[Found], events: list[Event]) -> None:
        for one in found:
            if self._live != "text":
                self._turn_to("text", events)
            events.append(Cited(self._at, one.citation))


def _is_text(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    native = cast("Block", part)
    return isinstance(native.get("text"), str) and bool(native["text"]) and native.get("thought") is not True


def _text(value: object) -> str:
    return whole_text(value) if isinstance(value, str) else ""
