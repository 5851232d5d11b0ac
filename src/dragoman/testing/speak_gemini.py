"""Gemini as an upstream speaks it (Gemini API reference, "Generating content"): whole responses, one for each chunk.

A call comes whole, so one that breaks off does not come at all. A refusal is a blocked prompt. The signature of a thought
stands on the part after it: on a call, or at the end of a text on an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.testing.scenario import (
    Ask,
    Begin,
    Choice,
    Citation,
    Comment,
    Cut,
    Endless,
    ErrorEvent,
    Finish,
    HttpError,
    Native,
    Parallel,
    Ping,
    RawFrame,
    Refusal,
    Rendered,
    Repeat,
    Reset,
    Scenario,
    Stall,
    Step,
    Text,
    Thinking,
    ToolCall,
    UnknownEvent,
    Usage,
    pieces_of,
    plain,
)
from dragoman.testing.speaking import STATUS_OF, Writer, broken_body, first_error, split_head, until_broken
from dragoman.testing.sse import write_json
from dragoman.testing.view import FinishWord, TroubleWord, status_word

FINISH_WORDS: dict[FinishWord, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "context_length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "refusal": "SAFETY",
    "content_filter": "SAFETY",
    "pause": "STOP",
}
ERROR_WORDS: dict[TroubleWord, str] = {
    "invalid_request": "INVALID_ARGUMENT",
    "authentication": "UNAUTHENTICATED",
    "billing": "FAILED_PRECONDITION",
    "permission": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "too_large": "INVALID_ARGUMENT",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "overloaded": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
    "unavailable": "UNAVAILABLE",
    "internal": "INTERNAL",
    "cut": "INTERNAL",
}
HEADERS = (("server", "scaffolding on HTTPServer2"), ("server-timing", "gfet4t7; dur=12"))


def render_gemini(scenario: Scenario, stream: bool = True, *, model: str = "scripted", array: bool = False) -> Rendered:
    """The scenario as a Gemini upstream answers it: exact bytes, cut at events. `array`: a stream as one JSON array, as who
    does not say `alt=sse` gets it."""
    rendered = render(scenario, Ask(model, stream))
    return as_array(rendered) if array and stream and rendered.status == 200 else rendered


def render(scenario: Scenario, ask: Ask) -> Rendered:
    head, steps = split_head(scenario.steps)
    error = first_error(steps)
    if isinstance(error, HttpError):
        rendered = _http_error(error)
    elif ask.stream:
        writer = GeminiWriter(scenario, ask)
        for step in steps:
            if writer.over:
                break
            writer.step(step)
        rendered = writer.finished(HEADERS)
    elif error is not None:
        rendered = _unary_error(error)
    else:
        body = write_json(response(scenario, ask), scenario.style).encode("utf-8")
        rendered = Rendered(200, (("content-type", "application/json; charset=UTF-8"), *HEADERS), broken_body(steps, body))
    headers = (*rendered.headers, *scenario.headers)
    return msgspec.structs.replace(rendered, head=head, headers=headers)


def as_array(rendered: Rendered) -> Rendered:
    """The same chunks in an array, with the line ends that Google's servers put between them."""
    parts: list[Any] = []
    begun = False
    for part in rendered.parts:
        if isinstance(part, bytes):
            lines = part.removeprefix(b"\xef\xbb\xbf").splitlines()
            data = b"".join(line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:"))
            if data:
                parts.append((b",\r\n" if begun else b"[") + data)
                begun = True
        else:
            parts.append(part)
    if not parts or isinstance(parts[-1], bytes):
        parts.append(b"\n]\n" if begun else b"[]\n")
    headers = (("content-type", "application/json; charset=UTF-8"), *rendered.headers[1:])
    return msgspec.structs.replace(rendered, headers=headers, parts=tuple(parts))


def error_body(word: TroubleWord, message: str, status: int | None = None) -> dict[str, Any]:
    return {"error": {"code": status or STATUS_OF[word], "message": message, "status": ERROR_WORDS[word]}}


def _http_error(error: HttpError) -> Rendered:
    body = error.body
    if body is None:
        inner = error_body(status_word(error.status), error.message, error.status)
        wait = next((value for name, value in error.headers if name == "retry-after"), None)
        if wait is not None:
            info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}
            inner["error"]["details"] = [info]
        body = json.dumps(inner, indent=2).encode()
    return Rendered(error.status, (("content-type", error.content_type), *HEADERS[:1], *error.headers), (body,))


def _unary_error(error: ErrorEvent) -> Rendered:
    payload = error.payload or error_body(error.word, error.message)
    status = 200 if error.unary == "in_200" else STATUS_OF[error.word]
    return Rendered(status, (("content-type", "application/json"), *HEADERS[:1]), (json.dumps(payload).encode(),))


def usage_body(usage: Usage) -> dict[str, Any]:
    prompt = usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h
    counts: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": usage.output}
    if usage.cache_read:
        counts["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    counts["totalTokenCount"] = prompt + usage.output + usage.reasoning
    counts["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    return counts


def early_usage(usage: Usage) -> dict[str, Any]:
    """What a chunk before the last one tells: the prompt."""
    prompt = usage_body(usage)["promptTokenCount"]
    return {"promptTokenCount": prompt, "totalTokenCount": prompt}


def shell(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    return {"modelVersion": ask.model, "responseId": f"resp-{scenario.name}"}


def block_feedback(message: str) -> dict[str, Any]:
    return {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": message}}


def call_part(call: ToolCall) -> dict[str, Any] | None:
    """The part of a whole call; None for one whose arguments broke off."""
    text = plain(call.pieces)
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return None
    inner: dict[str, Any] = {"name": call.name, "args": value}
    return {"functionCall": inner if call.id is None else {"id": call.id, **inner}}


def grounding(citations: list[Citation], text: str) -> dict[str, Any]:
    """Each source stands for the whole text so far."""
    end = len(text.encode())
    chunks = [{"web": {"uri": one.url, "title": one.title}} for one in citations]
    segment = {"startIndex": 0, "endIndex": end, "text": text}
    supports = [{"segment": segment, "groundingChunkIndices": [number]} for number in range(len(chunks))]
    return {"groundingMetadata": {"groundingChunks": chunks, "groundingSupports": supports}}


def logprobs(pieces: list[str]) -> dict[str, Any]:
    return {"logprobsResult": {"chosenCandidates": [{"token": one, "logProbability": -0.25} for one in pieces]}}


class GeminiWriter(Writer):
    """One streamed answer."""

    dialect = "gemini"

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        super().__init__(scenario, ask)
        self._candidate = 0
        self._texts: dict[int, str] = {}
        self._citations: list[Citation] = []
        self._declined: list[str] = []
        self._signature: str | None = None

    def step(self, step: Step) -> None:
        match step:
            case Text(text, with_logprobs):
                for piece in self.pieces(pieces_of(text)):
                    self._texts[self._candidate] = self._texts.get(self._candidate, "") + piece
                    self._part({"text": piece}, **(logprobs([piece]) if with_logprobs else {}))
            case Citation():
                self._citations.append(step)
            case Thinking(text, signature):
                for piece in self.pieces(pieces_of(text)):
                    self._part({"text": piece, "thought": True})
                self._signature = signature
            case ToolCall():
                self._calls([step])
            case Parallel(calls, how):
                if how == "one_chunk":
                    self._calls(list(calls))
                else:
                    for call in calls:
                        self._calls([call])
            case Refusal(text):
                self._declined.append(plain(pieces_of(text)))
            case Choice(index):
                self._candidate = index
            case Begin():
                self._part({"text": ""})
            case Finish():
                self._finish(step)
            case Endless(text, times):
                self._part({"text": text})
                data = self.parts.pop()
                assert isinstance(data, bytes)
                self.parts.append(Repeat(data, times))
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                self.interrupt(step)
            case _:
                pass  # of another dialect, or not about the stream

    def error(self, item: ErrorEvent) -> None:
        self.event("", item.payload or error_body(item.word, item.message))

    def ping(self) -> None:
        """The API has none."""

    def native(self, payload: Mapping[str, Any]) -> None:
        if payload.keys() & {"candidates", "promptFeedback", "usageMetadata"}:
            self.event("", {**payload, **shell(self.scenario, self.ask)})
        else:
            self._part(payload)

    # ------------------------------------------------------------ chunks

    def _part(self, *parts: Mapping[str, Any], **beside: Any) -> None:
        content = {"parts": list(parts), "role": "model"}
        self._chunk({"content": content, "index": self._candidate, **beside}, early_usage(self.scenario.usage or Usage()))

    def _chunk(self, candidate: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        counted = {} if self.scenario.usage is None else {"usageMetadata": usage}
        self.event("", {"candidates": [candidate], **counted, **shell(self.scenario, self.ask)})

    def _calls(self, calls: list[ToolCall]) -> None:
        parts: list[dict[str, Any]] = []
        for call in calls:
            for _ in self.pieces(call.pieces):
                pass  # what happens between the pieces
            part = call_part(call)
            if part is not None and not self.over:
                parts.append(self._signed(part))
        if parts:
            self._part(*parts)

    def _signed(self, part: dict[str, Any]) -> dict[str, Any]:
        signature, self._signature = self._signature, None
        return part if signature is None else {**part, "thoughtSignature": signature}

    def _finish(self, finish: Finish) -> None:
        usage = usage_body(self.scenario.usage or Usage())
        if self._declined:
            counted = {} if self.scenario.usage is None else {"usageMetadata": usage}
            message = "".join(self._declined)
            self.event("", {**block_feedback(message), **counted, **shell(self.scenario, self.ask)})
            return
        content = {"parts": [self._signed({"text": ""})], "role": "model"}
        candidate: dict[str, Any] = {"content": content, "finishReason": finish.word or FINISH_WORDS[finish.reason]}
        if self._citations:
            candidate |= grounding(self._citations, self._texts.get(self._candidate, ""))
        self._chunk({**candidate, "index": self._candidate}, usage)


# ---------------------------------------------------------------- the whole answer


def response(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    """The scenario as a whole `GenerateContentResponse`."""
    parts: dict[int, list[dict[str, Any]]] = {0: []}
    probs: dict[int, list[str]] = {}
    finishes: dict[int, Finish] = {}
    citations: list[Citation] = []
    declined = ""
    signature: str | None = None
    at = 0
    for step in until_broken(scenario.steps):
        match step:
            case Text(text, with_logprobs):
                _grow(parts[at], plain(pieces_of(text)), thought=False)
                if with_logprobs:
                    probs[at] = [piece for piece in pieces_of(text) if isinstance(piece, str)]
            case Thinking(text, signature):
                _grow(parts[at], plain(pieces_of(text)), thought=True)
            case ToolCall() | Parallel():
                for call in step.calls if isinstance(step, Parallel) else (step,):
                    part = call_part(call)
                    if part is not None:
                        parts[at].append(part if signature is None else {**part, "thoughtSignature": signature})
                        signature = None
            case Native(dialect, payload) if dialect == "gemini" and "candidates" not in payload:
                parts[at].append(dict(payload))
            case Refusal(text):
                declined += plain(pieces_of(text))
            case Citation():
                citations.append(step)
            case Choice(index):
                at = index
                parts.setdefault(at, [])
            case Finish():
                finishes[at] = step
            case _:
                pass
    if signature is not None and parts[at]:
        parts[at][-1] = {**parts[at][-1], "thoughtSignature": signature}
    counted = {} if scenario.usage is None else {"usageMetadata": usage_body(scenario.usage)}
    if declined:
        return {**block_feedback(declined), **counted, **shell(scenario, ask)}
    candidates: list[dict[str, Any]] = []
    for index, held in sorted(parts.items()):
        candidate: dict[str, Any] = {"content": {"parts": held or [{"text": ""}], "role": "model"}}
        finish = finishes.get(index)
        if finish is not None:
            candidate["finishReason"] = finish.word or FINISH_WORDS[finish.reason]
        candidate["index"] = index
        if index in probs:
            candidate |= logprobs(probs[index])
        if citations and index == 0:
            candidate |= grounding(citations, "".join(part["text"] for part in held if "text" in part))
        candidates.append(candidate)
    return {"candidates": candidates, **counted, **shell(scenario, ask)}


def _grow(parts: list[dict[str, Any]], text: str, *, thought: bool) -> None:
    """One part for all text in a row."""
    kind: dict[str, Any] = {"thought": True} if thought else {}
    last = parts[-1] if parts else {}
    if last.keys() == {"text", *kind}:
        last["text"] += text
    elif text:
        parts.append({"text": text, **kind})
