"""Chat Completions as an upstream speaks it (OpenAI API reference, `chat.completion` and `chat.completion.chunk`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    RedactedThinking,
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
from dragoman.testing.speaking import CREATED, STATUS_OF, Writer, broken_body, first_error, split_head, total, until_broken
from dragoman.testing.sse import write_event, write_json
from dragoman.testing.view import FinishWord, TroubleWord, status_word

FINISH_WORDS: dict[FinishWord, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_length": "length",
    "tool_calls": "tool_calls",
    "refusal": "stop",
    "content_filter": "content_filter",
    "pause": "stop",
}

# type and code, as OpenAI writes them.
ERROR_WORDS: dict[TroubleWord, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "authentication": ("invalid_request_error", "invalid_api_key"),
    "billing": ("insufficient_quota", "insufficient_quota"),
    "permission": ("invalid_request_error", "permission_denied"),
    "not_found": ("invalid_request_error", "model_not_found"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit": ("requests", "rate_limit_exceeded"),
    "overloaded": ("server_error", "server_is_overloaded"),
    "timeout": ("server_error", "timeout"),
    "unavailable": ("server_error", "bad_gateway"),
    "internal": ("server_error", None),
    "cut": ("server_error", None),
}
HEADERS = (("x-request-id", "req_scripted"), ("openai-version", "2020-10-01"), ("openai-processing-ms", "12"))
_SIGNED_FORMAT = "anthropic-claude-v1"


def render_chat(scenario: Scenario, stream: bool = True, *, model: str = "scripted", include_usage: bool = True) -> Rendered:
    """The scenario as a Chat Completions upstream answers it: exact bytes, cut at events."""
    return render(scenario, Ask(model, stream, include_usage))


def render(scenario: Scenario, ask: Ask) -> Rendered:
    head, steps = split_head(scenario.steps)
    error = first_error(steps)
    if isinstance(error, HttpError):
        rendered = _http_error(error)
    elif ask.stream:
        writer = ChatWriter(scenario, ask)
        for step in steps:
            if writer.over:
                break
            writer.step(step)
        rendered = writer.end()
    elif error is not None:
        rendered = _unary_error(error)
    else:
        body = write_json(completion(scenario, ask), scenario.style).encode("utf-8")
        rendered = Rendered(200, (("content-type", "application/json"), *HEADERS), broken_body(steps, body))
    headers = (*rendered.headers, *scenario.headers)
    return msgspec.structs.replace(rendered, head=head, headers=headers)


def error_body(word: TroubleWord, message: str) -> dict[str, Any]:
    kind, code = ERROR_WORDS[word]
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _http_error(error: HttpError) -> Rendered:
    body = error.body
    if body is None:
        body = json.dumps(error_body(status_word(error.status), error.message)).encode()
    return Rendered(error.status, (("content-type", error.content_type), *HEADERS[:1], *error.headers), (body,))


def _unary_error(error: ErrorEvent) -> Rendered:
    payload = error.payload or error_body(error.word, error.message)
    status = 200 if error.unary == "in_200" else STATUS_OF[error.word]
    return Rendered(status, (("content-type", "application/json"), *HEADERS[:1]), (json.dumps(payload).encode(),))


def usage_body(usage: Usage) -> dict[str, Any]:
    prompt, completed = total(usage)
    prompt_details = {"cached_tokens": usage.cache_read, "audio_tokens": 0}
    if usage.cache_write or usage.cache_write_1h:
        prompt_details["cache_write_tokens"] = usage.cache_write + usage.cache_write_1h
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completed,
        "total_tokens": prompt + completed,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class ChatWriter(Writer):
    """One streamed answer."""

    dialect = "chat"

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        super().__init__(scenario, ask)
        self.choice = 0
        self._begun: set[int] = set()
        self._calls: dict[int, int] = {}
        self._sources: list[dict[str, Any]] = []
        self._said = 0

    def step(self, step: Step) -> None:
        if not isinstance(step, Citation):
            self._cite()
        match step:
            case Text(text, logprobs):
                self._begin("")
                for piece in self.pieces(pieces_of(text)):
                    self._chunk({"content": piece}, logprobs=[logprob(piece)] if logprobs else None)
            case Thinking():
                self._thinking(step)
            case RedactedThinking(data):
                self._detail({"type": "reasoning.encrypted", "data": data})
            case ToolCall():
                self._call(step)
            case Parallel(calls, how):
                if how == "one_chunk":
                    self._chunk({"tool_calls": [self._opening(call, call.pieces) for call in calls]})
                else:
                    self._interleaved(calls)
            case Refusal(text):
                for piece in self.pieces(pieces_of(text)):
                    self._chunk({"refusal": piece})
            case Citation(title, url):
                self._sources.append(annotation(title, url))
            case Choice(index):
                self.choice = index
            case Begin():
                self._begin()
            case Finish(reason, _, word):
                usage = self.scenario.usage
                with_finish = usage if usage and usage.where == "with_finish" else None
                self._chunk({}, finish=word or FINISH_WORDS[reason], usage=with_finish)
            case Endless(text, times):
                self._chunk({"content": text})
                data = self.parts.pop()
                assert isinstance(data, bytes)
                self.parts.append(Repeat(data, times))
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                self.interrupt(step)
            case _:
                pass  # of another dialect, or not about the stream

    def end(self) -> Rendered:
        self._cite()
        usage = self.scenario.usage
        if not self.over:
            if usage and (usage.where == "always" or (usage.where == "asked" and self.ask.include_usage)):
                self.event("", {**self._shell(), "choices": [], "usage": usage_body(usage)})
            if self.style.done:
                self.parts.append(write_event("", "[DONE]", self.style))
        return self.finished(HEADERS)

    def error(self, item: ErrorEvent) -> None:
        self.event("", item.payload or error_body(item.word, item.message))

    def native(self, payload: Mapping[str, Any]) -> None:
        if "choices" in payload:
            self.event("", {**self._shell(), **payload})
        else:
            self._chunk(dict(payload))

    # ------------------------------------------------------------ chunks

    def _shell(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.scenario.name}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.ask.model,
            "system_fingerprint": "fp_scripted",
        }

    def _begin(self, content: str | None = None) -> None:
        if self.choice not in self._begun:
            self._begun.add(self.choice)
            self._chunk({"role": "assistant", "content": content})

    def _chunk(
        self,
        delta: dict[str, Any],
        *,
        finish: str | None = None,
        logprobs: list[Any] | None = None,
        usage: Usage | None = None,
    ) -> None:
        self._begin()
        held = {"content": logprobs, "refusal": None} if logprobs else None
        choice = {"index": self.choice, "delta": delta, "logprobs": held, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._shell(), "choices": [choice]}
        every = self.scenario.usage
        if usage is not None:
            chunk["usage"] = usage_body(usage)
        elif every is not None and every.where == "every_chunk":
            # A running count: right only in the chunk with the finish.
            self._said += 1
            so_far = every if finish else msgspec.structs.replace(every, output=min(self._said, every.output), reasoning=0)
            chunk["usage"] = usage_body(so_far)
        elif every is not None and every.where == "asked" and self.ask.include_usage:
            chunk["usage"] = None
        self.event("", chunk)

    def _cite(self) -> None:
        if self._sources:
            sources, self._sources = self._sources, []
            self._chunk({"annotations": sources})

    def _thinking(self, step: Thinking) -> None:
        for piece in self.pieces(pieces_of(step.text)):
            if step.field == "reasoning_details":
                self._detail({"type": "reasoning.text", "text": piece}, reasoning=piece)
            else:
                self._chunk({"content": None, step.field: piece})
        if step.signature is not None and step.field == "reasoning_details" and not self.over:
            self._detail({"type": "reasoning.text", "signature": step.signature})

    def _detail(self, detail: dict[str, Any], **beside: str) -> None:
        self._chunk({"content": "", **beside, "reasoning_details": [{**detail, "format": _SIGNED_FORMAT, "index": 0}]})

    # ------------------------------------------------------------ calls

    def _call(self, call: ToolCall) -> None:
        pieces = call.pieces
        if call.kind == "legacy":
            self._chunk({"function_call": {"name": call.name, "arguments": ""}})
            for piece in self.pieces(pieces):
                self._chunk({"function_call": {"arguments": piece}})
            return
        opening = self._opening(call, pieces if call.whole else ())
        self._chunk({"tool_calls": [opening]})
        if not call.whole:
            for piece in self.pieces(pieces):
                self._chunk({"tool_calls": [_more(call, opening, piece)]})

    def _opening(self, call: ToolCall, pieces: Sequence[object]) -> dict[str, Any]:
        opening: dict[str, Any] = {}
        number = self._calls.get(self.choice, 0)
        self._calls[self.choice] = number + 1
        if call.index != "missing":
            opening["index"] = number if call.index == "auto" else call.index
        if call.id is not None:
            opening["id"] = call.id
        text = "".join(p for p in pieces if isinstance(p, str))
        if call.kind == "custom":
            return {**opening, "type": "custom", "custom": {"name": call.name, "input": text}}
        return {**opening, "type": "function", "function": {"name": call.name, "arguments": text}}

    def _interleaved(self, calls: tuple[ToolCall, ...]) -> None:
        openings = [self._opening(call, ()) for call in calls]
        for opening in openings:
            self._chunk({"tool_calls": [opening]})
        longest = max(len(call.pieces) for call in calls)
        for turn in range(longest):
            for call, opening in zip(calls, openings, strict=True):
                for piece in self.pieces(call.pieces[turn : turn + 1]):
                    self._chunk({"tool_calls": [_more(call, opening, piece)]})


def _more(call: ToolCall, opening: dict[str, Any], piece: str) -> dict[str, Any]:
    """A later chunk of a call."""
    delta: dict[str, Any] = {"index": opening["index"]} if "index" in opening else {}
    if call.kind == "custom":
        return {**delta, "type": "custom", "custom": {"input": piece}}
    function: dict[str, Any] = {"arguments": piece}
    if call.repeats:
        delta |= {"id": call.id, "type": "function"}
        function = {"name": call.name, **function}
    elif call.blanks:
        delta |= {"id": "", "type": "function"}
        function = {"name": "", **function}
    return {**delta, "function": function}


def annotation(title: str, url: str) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "title": title, "url": url}}


def logprob(piece: str) -> dict[str, Any]:
    return {"token": piece, "logprob": -0.25, "bytes": list(piece.encode("utf-8", "surrogatepass")), "top_logprobs": []}


# ---------------------------------------------------------------- the whole answer


class _Message:
    """One choice of a whole answer, as it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.finish: str | None = None
        self.logprobs: list[Any] = []
        self.extras: dict[str, Any] = {}

    def add(self, step: Step) -> None:
        match step:
            case Text(text, logprobs):
                self.text.append(plain(pieces_of(text)))
                if logprobs:
                    self.logprobs.extend(logprob(p) for p in pieces_of(text) if isinstance(p, str))
            case Thinking():
                self._think(step)
            case RedactedThinking(data):
                self._detail({"type": "reasoning.encrypted", "data": data})
            case ToolCall():
                self._call(step)
            case Parallel(calls):
                for call in calls:
                    self._call(call)
            case Refusal(text):
                self.refusal.append(plain(pieces_of(text)))
            case Citation(title, url):
                self.extras.setdefault("annotations", []).append(annotation(title, url))
            case Finish(reason, _, word):
                self.finish = word or FINISH_WORDS[reason]
            case _:
                pass

    def _think(self, step: Thinking) -> None:
        text = plain(pieces_of(step.text))
        key = "reasoning" if step.field == "reasoning_details" else step.field
        self.extras[key] = self.extras.get(key, "") + text
        if step.field == "reasoning_details":
            signed = {"signature": step.signature} if step.signature is not None else {}
            self._detail({"type": "reasoning.text", "text": text, **signed})

    def _detail(self, detail: dict[str, Any]) -> None:
        self.extras.setdefault("reasoning_details", []).append({**detail, "format": _SIGNED_FORMAT, "index": 0})

    def _call(self, call: ToolCall) -> None:
        text = plain(call.pieces)
        if call.kind == "legacy":
            self.extras["function_call"] = {"name": call.name, "arguments": text}
            return
        body: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": text}}
        if call.kind == "custom":
            body = {"type": "custom", "custom": {"name": call.name, "input": text}}
        self.calls.append({**({"id": call.id} if call.id is not None else {}), **body})

    def choice(self, index: int) -> dict[str, Any]:
        text = "".join(self.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if self.text else None,
            "refusal": "".join(self.refusal) if self.refusal else None,
            **self.extras,
        }
        if self.calls:
            message["tool_calls"] = self.calls
        held = {"content": self.logprobs, "refusal": None} if self.logprobs else None
        return {"index": index, "message": message, "logprobs": held, "finish_reason": self.finish}


def completion(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    """The scenario as a `chat.completion`."""
    messages: dict[int, _Message] = {0: _Message()}
    current = 0
    for step in until_broken(scenario.steps):
        if isinstance(step, Choice):
            current = step.index
        messages.setdefault(current, _Message()).add(step)
    body: dict[str, Any] = {
        "id": f"chatcmpl-{scenario.name}",
        "object": "chat.completion",
        "created": CREATED,
        "model": ask.model,
        "choices": [messages[index].choice(index) for index in sorted(messages)],
        "system_fingerprint": "fp_scripted",
    }
    if scenario.usage is not None:
        body["usage"] = usage_body(scenario.usage)
    return body
