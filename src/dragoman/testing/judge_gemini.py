"""A strict reader of Gemini: judges whether an answer is legal, and says what it says.

A stream is legal when
- there is nothing in it but unnamed events with data: google-genai takes every line that does not begin with `data: ` for
  JSON, also a comment, or a `data:` without the space;
- every chunk is a response with the same `responseId` and `modelVersion`, or an error, after which nothing comes;
- a chunk has candidates, a blocked prompt, or usage; a prompt that is blocked has no candidates;
- a candidate has an index and a content of the `model` that is never without parts (the SDKs' chats forget the turn otherwise);
- a part says one thing; a call has a name, an object of arguments and, if any, an id of its own; a signature is base64;
- each candidate finishes once, with a word of the API's, and says nothing afterwards;
- the counts come at the latest with the last finish, and add up.
A stream may also come as one JSON array (`fold_gemini_array`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import msgspec

from dragoman.testing.sse import read_events, strict_json
from dragoman.testing.view import (
    Block,
    Cite,
    FinishWord,
    IllegalStream,
    OtherChoice,
    Tokens,
    Trouble,
    TroubleWord,
    View,
    status_word,
)

_FINISHES: dict[str, FinishWord] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
}
_STATUS_WORDS: dict[str, TroubleWord] = {
    "INVALID_ARGUMENT": "invalid_request",
    "FAILED_PRECONDITION": "invalid_request",
    "UNAUTHENTICATED": "authentication",
    "PERMISSION_DENIED": "permission",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "rate_limit",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
    "INTERNAL": "internal",
}
_KINDS = (
    "text",
    "functionCall",
    "functionResponse",
    "inlineData",
    "fileData",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_COUNTS = ("promptTokenCount", "totalTokenCount")
_LESSER = ("candidatesTokenCount", "cachedContentTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")


def fold_gemini(stream: bytes) -> View:
    """What a whole streamed answer says. Raises `IllegalStream` when it breaks a rule, or ends before it is complete."""
    judge = _Judge()
    try:
        for line in stream.splitlines():
            if line and not line.startswith((b"data: ", b"\xef\xbb\xbfdata: ")):
                judge.fail(f"a line that is no data: {line[:60]!r}")
        for event in read_events(stream):
            judge.at = f"event {event.number}: "
            judge.hear(event.json())
        judge.end()
    except IllegalStream as illegal:
        raise IllegalStream(illegal.reason, judge.view()) from None
    return judge.view()


def fold_gemini_array(stream: bytes) -> View:
    """The same for a stream that is one JSON array."""
    judge = _Judge()
    try:
        chunks = strict_json(stream, "the stream")
        if not isinstance(chunks, list):
            judge.fail("the stream is not an array")
        for number, chunk in enumerate(chunks, 1):
            judge.at = f"element {number}: "
            if not isinstance(chunk, dict):
                judge.fail("it is not an object")
            judge.hear(chunk)
        judge.end()
    except IllegalStream as illegal:
        raise IllegalStream(illegal.reason, judge.view()) from None
    return judge.view()


def read_gemini(body: bytes | Mapping[str, Any]) -> View:
    """What a whole (not streamed) answer says, or an error body. Raises `IllegalStream` when it is not one."""
    answer = strict_json(body, "the body") if isinstance(body, bytes) else body
    if not isinstance(answer, Mapping):
        raise IllegalStream("the body is not a JSON object")
    judge = _Judge()
    judge.at = "the body: "
    judge.hear(answer)
    judge.end()
    return judge.view()


def trouble(error: Any) -> Trouble:
    """The member `error` of a body or a chunk."""
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        raise IllegalStream(f"an error without a message: {error!r}")
    code, word = error.get("code"), error.get("status")
    if not isinstance(code, int) or not 400 <= code < 600:
        raise IllegalStream(f"an error whose code is {code!r}")
    known = status_word(code)
    if word is not None and word not in _STATUS_WORDS and word not in ("ABORTED", "UNIMPLEMENTED", "CANCELLED", "UNKNOWN"):
        raise IllegalStream(f"an error whose status is {word!r}")
    return Trouble(known, error["message"])


class _Growing(msgspec.Struct):
    """A block as it grows."""

    kind: str
    pieces: list[str] = []
    native: dict[str, Any] = {}
    signature: str = ""
    cites: list[Cite] = []


class _Candidate(msgspec.Struct):
    blocks: list[_Growing] = []
    finish: str | None = None
    logprobs: list[Any] = []
    ids: set[str] = set()


class _Judge:
    def __init__(self) -> None:
        self.at = ""
        self.error: Trouble | None = None
        self._names: dict[str, str] = {}
        self._candidates: dict[int, _Candidate] = {}
        self._blocked: str | None = None
        self._usage: dict[str, Any] = {}
        self._searches = 0

    def fail(self, reason: str) -> NoReturn:
        raise IllegalStream(f"{self.at}{reason}")

    def hear(self, chunk: Mapping[str, Any]) -> None:
        if self.error is not None:
            self.fail("it comes after an error")
        if "error" in chunk:
            self.error = trouble(chunk["error"])
            return
        over = bool(self._candidates) and all(one.finish for one in self._candidates.values())
        if over and not chunk.keys() & {"candidates", "usageMetadata"}:
            self.fail("it comes after the last finish, and says nothing")
        self._name(chunk)
        usage = chunk.get("usageMetadata")
        if usage is not None:
            self._count(usage)
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, Mapping) and feedback.get("blockReason"):
            self._block(feedback)
        candidates = chunk.get("candidates", [])
        if not isinstance(candidates, list) or (not candidates and feedback is None and usage is None):
            self.fail("it has no candidates, no blocked prompt and no usage")
        if candidates and self._blocked is not None:
            self.fail("candidates of a prompt that is blocked")
        for candidate in candidates:
            self._candidate(candidate)

    def end(self) -> None:
        self.at = "at the end: "
        if self.error is not None:
            return
        if self._blocked is None and (not self._candidates or not all(one.finish for one in self._candidates.values())):
            self.fail("a candidate has no finish reason: the answer broke off")
        if sorted(self._candidates) != list(range(len(self._candidates))):
            self.fail(f"candidates are numbered {sorted(self._candidates)}")

    # ------------------------------------------------------------ its parts

    def _name(self, chunk: Mapping[str, Any]) -> None:
        for key in ("responseId", "modelVersion"):
            value = chunk.get(key)
            if not isinstance(value, str) or not value:
                self.fail(f"{key} is missing or empty")
            if self._names.setdefault(key, value) != value:
                self.fail(f"{key} has changed from {self._names[key]!r} to {value!r}")

    def _block(self, feedback: Mapping[str, Any]) -> None:
        if self._candidates:
            self.fail("the prompt is blocked after candidates have come")
        self._blocked = str(feedback.get("blockReasonMessage") or "")

    def _candidate(self, native: Any) -> None:
        if not isinstance(native, Mapping):
            self.fail("a candidate is not an object")
        index = native.get("index", 0)
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            self.fail(f"a candidate's index is {index!r}")
        held = self._candidates.setdefault(index, _Candidate())
        if held.finish is not None:
            self.fail(f"candidate {index} goes on after its finish")
        content = native.get("content")
        if not isinstance(content, Mapping) or content.get("role") != "model":
            self.fail(f"candidate {index} has no content of the model: {content!r}")
        parts = content.get("parts")
        if not isinstance(parts, list) or not parts:
            self.fail(f"candidate {index} has a content without parts")
        for part in parts:
            self._part(part, held)
        for entry in (native.get("logprobsResult") or {}).get("chosenCandidates", []):
            held.logprobs.append(entry)
        self._ground(native.get("groundingMetadata"), held)
        finish = native.get("finishReason")
        if finish is not None:
            if finish not in _FINISHES:
                self.fail(f"finishReason is {finish!r}")
            held.finish = str(finish)

    def _part(self, part: Any, held: _Candidate) -> None:
        if not isinstance(part, Mapping):
            self.fail(f"a part is not an object: {part!r}")
        kinds = [kind for kind in _KINDS if kind in part]
        if len(kinds) != 1:
            self.fail(f"a part says {len(kinds)} things: {sorted(part)}")
        signature = self._signature(part.get("thoughtSignature"))
        if kinds[0] == "text":
            self._text(part, held, signature)
        elif kinds[0] == "functionCall":
            self._call(part["functionCall"], held, signature)
        else:
            held.blocks.append(_Growing("unknown", native=dict(part), signature=signature))

    def _signature(self, signature: Any) -> str:
        if signature is None:
            return ""
        try:
            assert isinstance(signature, str)
            base64.b64decode(signature, validate=True)
        except (AssertionError, binascii.Error):
            self.fail(f"thoughtSignature is not base64: {signature!r}")
        return signature

    def _text(self, part: Mapping[str, Any], held: _Candidate, signature: str) -> None:
        text, thought = part["text"], part.get("thought", False)
        if not isinstance(text, str) or not isinstance(thought, bool):
            self.fail(f"text or thought is of a wrong type: {text!r}, {thought!r}")
        kind = "thinking" if thought else "text"
        if not held.blocks or held.blocks[-1].kind != kind:
            if not text and not (signature and thought):
                return
            held.blocks.append(_Growing(kind))
        held.blocks[-1].pieces.append(text)
        held.blocks[-1].signature = signature or held.blocks[-1].signature

    def _call(self, call: Any, held: _Candidate, signature: str) -> None:
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str) or not call["name"]:
            self.fail(f"a call without a name: {call!r}")
        if not isinstance(call.get("args"), dict):
            self.fail(f"the arguments of {call['name']!r} are not an object: {call.get('args')!r}")
        call_id = call.get("id")
        if call_id is not None:
            if not isinstance(call_id, str) or not call_id or call_id in held.ids:
                self.fail(f"the id of {call['name']!r} is no string, empty or another call's: {call_id!r}")
            held.ids.add(call_id)
        held.blocks.append(_Growing("tool_call", native=dict(call), signature=signature))

    def _ground(self, metadata: Any, held: _Candidate) -> None:
        if metadata is None:
            return
        chunks = metadata.get("groundingChunks") or []
        self._searches = len(metadata.get("webSearchQueries") or [])
        used: list[int] = []
        for support in metadata.get("groundingSupports") or []:
            segment = support.get("segment") or {}
            start, end = segment.get("startIndex", 0), segment.get("endIndex", 0)
            if not 0 <= start <= end:
                self.fail(f"a segment from {start} to {end}")
            for index in support.get("groundingChunkIndices") or []:
                if not 0 <= index < len(chunks):
                    self.fail(f"there is no grounding chunk {index}")
                if index not in used:
                    used.append(index)
        order = used + [index for index in range(len(chunks)) if index not in used]
        texts = [block for block in held.blocks if block.kind == "text"]
        if not texts:
            texts = [_Growing("text")]
            held.blocks.append(texts[0])
        texts[-1].cites += list(_cites(chunks, order))

    def _count(self, usage: Any) -> None:
        if not isinstance(usage, Mapping):
            self.fail(f"usageMetadata is not an object: {usage!r}")
        for key in (*_COUNTS, *_LESSER):
            value = usage.get(key)
            if (key in _COUNTS and not isinstance(value, int)) or (
                value is not None and (not isinstance(value, int) or value < 0)
            ):
                self.fail(f"usageMetadata.{key} is not a count: {value!r}")
        if usage.get("cachedContentTokenCount", 0) > usage["promptTokenCount"]:
            self.fail("more was read from the cache than there was")
        parts = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
        whole = sum(usage.get(key, 0) for key in parts)
        if usage["totalTokenCount"] != whole:
            self.fail(f"totalTokenCount is {usage['totalTokenCount']}, its parts make {whole}")
        self._usage = dict(usage)

    # ------------------------------------------------------------ what it says

    def view(self) -> View:
        first = self._candidates.get(0, _Candidate())
        blocks = _views(first)
        finish = _finish(first)
        if self._blocked is not None:
            blocks, finish = (Block("refusal", self._blocked),) if self._blocked else (), "refusal"
        return View(
            blocks,
            finish,
            self._tokens() if self._usage else None,
            self.error,
            others=tuple(OtherChoice(_views(one), _finish(one)) for index, one in sorted(self._candidates.items()) if index),
            logprobs=tuple(_probs(entry) for entry in first.logprobs),
        )

    def _tokens(self) -> Tokens:
        usage = self._usage
        cached = usage.get("cachedContentTokenCount", 0)
        return Tokens(
            input=usage["promptTokenCount"] - cached + usage.get("toolUsePromptTokenCount", 0),
            output=usage.get("candidatesTokenCount", 0),
            cache_read=cached,
            reasoning=usage.get("thoughtsTokenCount", 0),
            searches=self._searches,
        )


def _cites(chunks: list[Any], order: list[int]) -> Iterator[Cite]:
    for index in order:
        source = next((chunks[index][kind] for kind in ("web", "retrievedContext", "maps") if kind in chunks[index]), {})
        yield Cite(source.get("title") or "", source.get("uri") or "", source.get("text") or "")


def _finish(candidate: _Candidate) -> FinishWord | None:
    """A call is told by nothing but its being there."""
    word = _FINISHES.get(candidate.finish or "")
    called = any(block.kind == "tool_call" for block in candidate.blocks)
    return "tool_calls" if word == "stop" and called else word


def _views(candidate: _Candidate) -> tuple[Block, ...]:
    views: list[Block] = []
    for block in candidate.blocks:
        match block.kind:
            case "text":
                views.append(Block("text", "".join(block.pieces), signature=block.signature, citations=tuple(block.cites)))
            case "thinking":
                views.append(Block("thinking", "".join(block.pieces), signature=block.signature))
            case "tool_call":
                call = block.native
                views.append(Block("tool_call", call["args"], call["name"], call.get("id", ""), signature=block.signature))
            case _:
                kind = next((name for name in _KINDS if name in block.native), "")
                views.append(Block("unknown", block.native, name=kind, signature=block.signature))
    return tuple(views)


def _probs(entry: Mapping[str, Any]) -> dict[str, Any]:
    """As Chat Completions has it, so that the two can be compared."""
    token = entry["token"]
    return {"token": token, "logprob": entry["logProbability"], "bytes": list(token.encode()), "top_logprobs": []}
