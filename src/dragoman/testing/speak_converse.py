"""Converse as an upstream speaks it (Amazon Bedrock API reference, "Converse" and "ConverseStream").

A refusal is text that a filter put there. A stream is of binary messages, so what a scenario says about server-sent events
(comments, line ends) has no form.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dragoman.testing.eventstream import MEDIA_TYPE, write_message
from dragoman.testing.scenario import (
    Ask,
    Begin,
    Break,
    Citation,
    Comment,
    Cut,
    Endless,
    ErrorEvent,
    Finish,
    HttpError,
    Interruption,
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
from dragoman.testing.speaking import STATUS_OF, Writer, broken_body, first_error, split_head, until_broken
from dragoman.testing.sse import write_json
from dragoman.testing.view import FinishWord, TroubleWord, status_word

FINISH_WORDS: dict[FinishWord, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "context_length": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "refusal": "content_filtered",
    "content_filter": "content_filtered",
    "pause": "end_turn",
}
ERROR_NAMES: dict[TroubleWord, str] = {
    "invalid_request": "ValidationException",
    "authentication": "UnrecognizedClientException",
    "billing": "ServiceQuotaExceededException",
    "permission": "AccessDeniedException",
    "not_found": "ResourceNotFoundException",
    "too_large": "RequestEntityTooLargeException",
    "rate_limit": "ThrottlingException",
    "overloaded": "ServiceUnavailableException",
    "timeout": "ModelTimeoutException",
    "unavailable": "ModelErrorException",
    "internal": "InternalServerException",
    "cut": "InternalServerException",
}
_IN_STREAM: dict[TroubleWord, str] = {
    "invalid_request": "validationException",
    "too_large": "validationException",
    "rate_limit": "throttlingException",
    "billing": "throttlingException",
    "overloaded": "serviceUnavailableException",
    "timeout": "modelStreamErrorException",
    "unavailable": "modelStreamErrorException",
}
HEADERS = (("x-amzn-requestid", "5c8a1f0e-scripted"),)


def render_converse(scenario: Scenario, stream: bool = True, *, model: str = "scripted") -> Rendered:
    """The scenario as Bedrock answers it: exact bytes, cut at messages."""
    return render(scenario, Ask(model, stream))


def render(scenario: Scenario, ask: Ask) -> Rendered:
    head, steps = split_head(scenario.steps)
    error = first_error(steps)
    if isinstance(error, HttpError):
        rendered = _http_error(error)
    elif ask.stream:
        writer = ConverseWriter(scenario, ask)
        for step in steps:
            if writer.over:
                break
            writer.step(step)
        rendered = writer.end()
    elif error is not None:
        rendered = _unary_error(error)
    else:
        body = write_json(response(scenario), scenario.style).encode("utf-8")
        rendered = Rendered(200, (("content-type", "application/json"), *HEADERS), broken_body(steps, body))
    headers = (*rendered.headers, *scenario.headers)
    return msgspec.structs.replace(rendered, head=head, headers=headers)


def _http_error(error: HttpError) -> Rendered:
    word = ERROR_NAMES[status_word(error.status)]
    body = error.body if error.body is not None else json.dumps({"__type": word, "message": error.message}).encode()
    name = ("x-amzn-errortype", word)
    return Rendered(error.status, (("content-type", error.content_type), name, *HEADERS, *error.headers), (body,))


def _unary_error(error: ErrorEvent) -> Rendered:
    name = ERROR_NAMES[error.word]
    if error.unary == "in_200":
        told = error.payload or {"__type": name, "message": error.message}
        return Rendered(200, (("content-type", "application/json"), *HEADERS), (json.dumps(told).encode(),))
    told = error.payload or {"__type": name, "message": error.message}
    headers = (("content-type", "application/json"), ("x-amzn-errortype", name), *HEADERS)
    return Rendered(STATUS_OF[error.word], headers, (json.dumps(told).encode(),))


def usage_body(usage: Usage) -> dict[str, Any]:
    written = usage.cache_write + usage.cache_write_1h
    output = usage.output + usage.reasoning
    body: dict[str, Any] = {
        "inputTokens": usage.input,
        "outputTokens": output,
        "totalTokens": usage.input + usage.cache_read + written + output,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": written,
    }
    if usage.cache_write_1h:
        body["cacheDetails"] = [{"ttl": "1h", "inputTokens": usage.cache_write_1h}]
    return body


def citation_body(citation: Citation) -> dict[str, Any]:
    return {
        "title": citation.title,
        "sourceContent": [{"text": citation.cited_text}],
        "location": {"web": {"url": citation.url}},
    }


def stop_body(finish: Finish) -> dict[str, Any]:
    body: dict[str, Any] = {"stopReason": finish.word or FINISH_WORDS[finish.reason]}
    if finish.stop_sequence is not None:
        body["additionalModelResponseFields"] = {"stop_sequence": finish.stop_sequence}
    return body


def redacted(data: str) -> str:
    return base64.b64encode(data.encode()).decode()


class ConverseWriter(Writer):
    """One streamed answer."""

    dialect = "converse"

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        super().__init__(scenario, ask)
        self._begun = False
        self._index = 0
        self._open = ""
        self._calls = 0
        self._finished = False

    def event(self, name: str, payload: Mapping[str, Any]) -> None:
        self.parts.append(write_message(name, write_json(payload, self.style).encode("utf-8")))

    def interrupt(self, item: Interruption) -> None:
        if not isinstance(item, Comment):
            super().interrupt(item)

    def step(self, step: Step) -> None:
        match step:
            case Text(text) | Refusal(text):
                self._in("text")
                for piece in self.pieces(pieces_of(text)):
                    self._delta({"text": piece})
            case Citation():
                self._in("text")
                self._delta({"citation": citation_body(step)})
            case Break():
                self._stop()
            case Thinking(text, signature):
                self._stop()
                self._in("reasoningContent")
                for piece in self.pieces(pieces_of(text)):
                    self._delta({"reasoningContent": {"text": piece}})
                if signature is not None and not self.over:
                    self._delta({"reasoningContent": {"signature": signature}})
                self._stop()
            case RedactedThinking(data):
                self._stop()
                self._in("reasoningContent")
                self._delta({"reasoningContent": {"redactedContent": redacted(data)}})
                self._stop()
            case ToolCall():
                self._call(step)
            case Parallel(calls):
                for call in calls:
                    self._call(call)
            case Begin():
                self._begin()
            case Finish():
                self._finish(step)
            case Endless(text, times):
                self._in("text")
                self._delta({"text": text})
                data = self.parts.pop()
                assert isinstance(data, bytes)
                self.parts.append(Repeat(data, times))
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                self.interrupt(step)
            case _:
                pass  # of another dialect, or not about the stream

    def end(self) -> Rendered:
        usage = self.scenario.usage
        if not self.over:
            self._stop()
            if self._finished and usage is not None:
                self.event("metadata", {"usage": usage_body(usage), "metrics": {"latencyMs": 612}, "p": "abcdefg"})
        return Rendered(200, (("content-type", MEDIA_TYPE), *HEADERS), tuple(self.parts))

    def error(self, item: ErrorEvent) -> None:
        told = item.payload or {"message": item.message}
        name = _IN_STREAM.get(item.word, "internalServerException")
        self.parts.append(write_message(name, json.dumps(told).encode(), exception=True))

    def ping(self) -> None:
        """The API has none."""

    def native(self, payload: Mapping[str, Any]) -> None:
        """A whole event, as `{name: payload}`."""
        ((name, inner),) = payload.items()
        self.event(name, inner)

    def unknown(self, name: str, payload: Mapping[str, Any]) -> None:
        self.event(name, payload)

    # ------------------------------------------------------------ events

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self.event("messageStart", {"role": "assistant", "p": "abcdef"})

    def _in(self, kind: str) -> None:
        """A block of text or reasoning begins without an event of its own."""
        self._begin()
        if self._open != kind:
            self._stop()
            self._open = kind

    def _stop(self) -> None:
        if self._open and not self.over:
            self.event("contentBlockStop", {"contentBlockIndex": self._index})
            self._open = ""
            self._index += 1

    def _delta(self, delta: Mapping[str, Any]) -> None:
        # As Bedrock pads its events, so that their size does not tell what is in them.
        self.event("contentBlockDelta", {"contentBlockIndex": self._index, "delta": delta, "p": "abcdefghij"})

    def _call(self, call: ToolCall) -> None:
        if self.over:
            return
        self._begin()
        self._stop()
        self._calls += 1
        start = {"toolUse": {"toolUseId": call.id or f"tooluse_{self._calls}", "name": call.name}}
        self._open = "toolUse"
        self.event("contentBlockStart", {"contentBlockIndex": self._index, "start": start})
        self._inputs(self.pieces(call.pieces))
        self._stop()

    def _inputs(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            if piece:
                self._delta({"toolUse": {"input": piece}})

    def _finish(self, finish: Finish) -> None:
        self._begin()
        self._stop()
        self._finished = True
        self.event("messageStop", {**stop_body(finish), "p": "ab"})


# ---------------------------------------------------------------- the whole answer


class _Content:
    """The blocks of a whole answer, as they grow."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self._calls = 0
        self._grows = False

    def add(self, step: Step) -> None:
        match step:
            case Text(text) | Refusal(text):
                said = plain(pieces_of(text))
                last = self.blocks[-1] if self._grows else {}
                if "text" in last:
                    last["text"] += said
                elif said:
                    self._block({"text": said})
                    self._grows = True
            case Citation():
                last = self.blocks.pop()
                cited = last.get("citationsContent") or {"content": [{"text": last["text"]}], "citations": []}
                cited["citations"].append(citation_body(step))
                self._block({"citationsContent": cited})
            case Break():
                self._grows = False
            case Thinking(text, signature):
                inner: dict[str, Any] = {"text": plain(pieces_of(text))}
                if signature is not None:
                    inner["signature"] = signature
                self._block({"reasoningContent": {"reasoningText": inner}})
            case RedactedThinking(data):
                self._block({"reasoningContent": {"redactedContent": redacted(data)}})
            case ToolCall():
                self._call(step)
            case Parallel(calls):
                for call in calls:
                    self._call(call)
            case _:
                pass

    def _block(self, block: dict[str, Any]) -> None:
        self._grows = False
        self.blocks.append(block)

    def _call(self, call: ToolCall) -> None:
        self._calls += 1
        try:
            value = json.loads(plain(call.pieces) or "{}")
        except ValueError:
            value = {}  # a whole answer has no form for arguments that broke off
        self._block({"toolUse": {"toolUseId": call.id or f"tooluse_{self._calls}", "name": call.name, "input": value}})


def response(scenario: Scenario) -> dict[str, Any]:
    """The scenario as a whole `ConverseResponse`."""
    content = _Content()
    finish = Finish()
    for step in until_broken(scenario.steps):
        if isinstance(step, Finish):
            finish = step
        else:
            content.add(step)
    counted = {} if scenario.usage is None else {"usage": usage_body(scenario.usage)}
    message = {"role": "assistant", "content": content.blocks}
    return {"output": {"message": message}, **stop_body(finish), **counted, "metrics": {"latencyMs": 612}}
