"""Messages as an upstream speaks it (Anthropic API reference, "Create a Message" and "Streaming messages")."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

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
    ServerToolResult,
    ServerToolUse,
    Stall,
    Step,
    Text,
    Thinking,
    ToolCall,
    UnknownBlock,
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
    "refusal": "refusal",
    "content_filter": "refusal",
    "pause": "pause_turn",
}
ERROR_WORDS: dict[TroubleWord, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "billing": "billing_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
    "unavailable": "api_error",
    "internal": "api_error",
    "cut": "api_error",
}
REQUEST_ID = "req_scripted"
HEADERS = (("request-id", REQUEST_ID), ("anthropic-organization-id", "org_scripted"))


def render_messages(scenario: Scenario, stream: bool = True, *, model: str = "scripted") -> Rendered:
    """The scenario as a Messages upstream answers it: exact bytes, cut at events."""
    return render(scenario, Ask(model, stream))


def render(scenario: Scenario, ask: Ask) -> Rendered:
    head, steps = split_head(scenario.steps)
    error = first_error(steps)
    if isinstance(error, HttpError):
        rendered = _http_error(error)
    elif ask.stream:
        writer = MessagesWriter(scenario, ask)
        for step in steps:
            if writer.over:
                break
            writer.step(step)
        rendered = writer.end()
    elif error is not None:
        rendered = _unary_error(error)
    else:
        body = write_json(message(scenario, ask), scenario.style).encode("utf-8")
        rendered = Rendered(200, (("content-type", "application/json"), *HEADERS), broken_body(steps, body))
    headers = (*rendered.headers, *scenario.headers)
    return msgspec.structs.replace(rendered, head=head, headers=headers)


def error_body(word: TroubleWord, text: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": ERROR_WORDS[word], "message": text}, "request_id": REQUEST_ID}


def _http_error(error: HttpError) -> Rendered:
    body = error.body
    if body is None:
        body = json.dumps(error_body(status_word(error.status), error.message)).encode()
    return Rendered(error.status, (("content-type", error.content_type), *HEADERS[:1], *error.headers), (body,))


def _unary_error(error: ErrorEvent) -> Rendered:
    payload = error.payload or error_body(error.word, error.message)
    status = 200 if error.unary == "in_200" else 529 if error.word == "overloaded" else STATUS_OF[error.word]
    return Rendered(status, (("content-type", "application/json"), *HEADERS[:1]), (json.dumps(payload).encode(),))


def _input_counts(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
    }


def start_usage(usage: Usage, output: int = 1) -> dict[str, Any]:
    """`usage` as it stands in a message: all of it in a whole one, the input's side in `message_start`."""
    return {
        **_input_counts(usage),
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }


def end_usage(usage: Usage) -> dict[str, Any]:
    """`usage` as it stands in `message_delta`: cumulative."""
    counts: dict[str, Any] = {**_input_counts(usage), "output_tokens": usage.output + usage.reasoning}
    return counts | _output_details(usage)


def _output_details(usage: Usage) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if usage.reasoning:
        details["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.searches:
        details["server_tool_use"] = {"web_search_requests": usage.searches, "web_fetch_requests": 0}
    return details


def shell(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    return {"id": f"msg_{scenario.name}", "type": "message", "role": "assistant", "model": ask.model, "content": []}


def stop_details(explanation: str) -> dict[str, Any]:
    return {"type": "refusal", "category": None, "explanation": explanation}


def web_citation(citation: Citation) -> Mapping[str, Any]:
    return citation.native or {
        "type": "web_search_result_location",
        "cited_text": citation.cited_text,
        "encrypted_index": "Eo8BCioIAhgB",
        "title": citation.title,
        "url": citation.url,
    }


class MessagesWriter(Writer):
    """One streamed answer."""

    dialect = "messages"

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        super().__init__(scenario, ask)
        self._begun = False
        self._index = 0
        self._open: str | None = None
        self._declined: list[str] = []

    def step(self, step: Step) -> None:
        match step:
            case Text(text):
                self._ensure_text()
                for piece in self.pieces(pieces_of(text)):
                    self._delta({"type": "text_delta", "text": piece})
            case Citation():
                self._ensure_text()
                self._delta({"type": "citations_delta", "citation": web_citation(step)})
            case Break():
                self._stop()
            case Thinking(text, signature):
                self._start({"type": "thinking", "thinking": "", "signature": ""})
                for piece in self.pieces(pieces_of(text)):
                    self._delta({"type": "thinking_delta", "thinking": piece})
                if signature is not None and not self.over:
                    self._delta({"type": "signature_delta", "signature": signature})
                self._stop()
            case RedactedThinking(data):
                self._block({"type": "redacted_thinking", "data": data})
            case ToolCall():
                self._call(step)
            case Parallel(calls):
                for call in calls:
                    self._call(call)
            case Refusal(text):
                self._declined.append(plain(pieces_of(text)))
            case ServerToolUse(name, value, call_id):
                self._start({"type": "server_tool_use", "id": call_id, "name": name, "input": {}})
                self._inputs([json.dumps(value, ensure_ascii=False)])
                self._stop()
            case ServerToolResult(kind, call_id, content):
                self._block({"type": kind, "tool_use_id": call_id, "content": content})
            case UnknownBlock(block, deltas):
                self._start(block)
                for delta in deltas:
                    self._delta(delta)
                self._stop()
            case Begin():
                self._begin()
            case Finish():
                self._finish(step)
            case Endless(text, times):
                self._ensure_text()
                self._delta({"type": "text_delta", "text": text})
                data = self.parts.pop()
                assert isinstance(data, bytes)
                self.parts.append(Repeat(data, times))
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                self.interrupt(step)
            case _:
                pass  # of another dialect, or not about the stream

    def end(self) -> Rendered:
        if not self.over:
            self._stop()
            self.event("message_stop", {"type": "message_stop"})
        return self.finished(HEADERS)

    def error(self, item: ErrorEvent) -> None:
        self.event("error", item.payload or error_body(item.word, item.message))

    def ping(self) -> None:
        self.event("ping", {"type": "ping"})

    def native(self, payload: Mapping[str, Any]) -> None:
        self.event(str(payload["type"]), payload)

    def unknown(self, name: str, payload: Mapping[str, Any]) -> None:
        self.event(name, {"type": name, **payload})

    # ------------------------------------------------------------ events

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        usage = self.scenario.usage or Usage()
        counts = start_usage(usage) if usage.at_start else start_usage(Usage(), output=0)
        opening = {**shell(self.scenario, self.ask), "stop_reason": None, "stop_sequence": None, "usage": counts}
        self.event("message_start", {"type": "message_start", "message": opening})

    def _start(self, block: Mapping[str, Any]) -> None:
        self._begin()
        self._stop()
        self._open = str(block["type"])
        self.event("content_block_start", {"type": "content_block_start", "index": self._index, "content_block": block})

    def _stop(self) -> None:
        if self._open is not None and not self.over:
            self.event("content_block_stop", {"type": "content_block_stop", "index": self._index})
            self._open = None
            self._index += 1

    def _block(self, block: Mapping[str, Any]) -> None:
        self._start(block)
        self._stop()

    def _delta(self, delta: Mapping[str, Any]) -> None:
        self.event("content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta})

    def _ensure_text(self) -> None:
        if self._open != "text":
            self._start({"type": "text", "text": ""})

    def _call(self, call: ToolCall) -> None:
        if self.over:
            return
        self._start({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        self._inputs(self.pieces(call.pieces))
        self._stop()

    def _inputs(self, pieces: Iterable[str]) -> None:
        # Anthropic opens every input with an empty piece.
        self._delta({"type": "input_json_delta", "partial_json": ""})
        for piece in pieces:
            if piece:
                self._delta({"type": "input_json_delta", "partial_json": piece})

    def _finish(self, finish: Finish) -> None:
        self._begin()
        self._stop()
        delta: dict[str, Any] = {
            "stop_reason": finish.word or FINISH_WORDS[finish.reason],
            "stop_sequence": finish.stop_sequence,
        }
        if self._declined:
            delta["stop_details"] = stop_details("".join(self._declined))
        counts = end_usage(self.scenario.usage or Usage())
        self.event("message_delta", {"type": "message_delta", "delta": delta, "usage": counts})


# ---------------------------------------------------------------- the whole answer


class _Content:
    """The blocks of a whole answer, as they grow."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.declined = ""
        self._text_open = False

    def add(self, step: Step) -> None:
        match step:
            case Text(text):
                self._text()["text"] += plain(pieces_of(text))
            case Citation():
                block = self._text()
                block.setdefault("citations", []).append(dict(web_citation(step)))
            case Break():
                self._text_open = False
            case Thinking(text, signature):
                self._block({"type": "thinking", "thinking": plain(pieces_of(text)), "signature": signature or ""})
            case RedactedThinking(data):
                self._block({"type": "redacted_thinking", "data": data})
            case ToolCall():
                self._call(step)
            case Parallel(calls):
                for call in calls:
                    self._call(call)
            case Refusal(text):
                self.declined += plain(pieces_of(text))
            case ServerToolUse(name, value, call_id):
                self._block({"type": "server_tool_use", "id": call_id, "name": name, "input": dict(value)})
            case ServerToolResult(kind, call_id, content):
                self._block({"type": kind, "tool_use_id": call_id, "content": content})
            case UnknownBlock(block):
                self._block(dict(block))
            case _:
                pass

    def _text(self) -> dict[str, Any]:
        if not self._text_open:
            self._block({"type": "text", "text": ""})
            self._text_open = True
        return self.blocks[-1]

    def _block(self, block: dict[str, Any]) -> None:
        self._text_open = False
        self.blocks.append(block)

    def _call(self, call: ToolCall) -> None:
        text = plain(call.pieces)
        try:
            value = json.loads(text or "{}")
        except ValueError:
            value = {}  # a whole Messages answer has no form for arguments that broke off
        self._block({"type": "tool_use", "id": call.id, "name": call.name, "input": value})


def message(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    """The scenario as a whole `message`."""
    content = _Content()
    finish: Finish | None = None
    for step in until_broken(scenario.steps):
        if isinstance(step, Finish):
            finish = step
        else:
            content.add(step)
    usage = scenario.usage or Usage()
    body = {
        **shell(scenario, ask),
        "content": content.blocks,
        "stop_reason": finish and (finish.word or FINISH_WORDS[finish.reason]),
        "stop_sequence": finish and finish.stop_sequence,
        "usage": start_usage(usage, usage.output + usage.reasoning) | _output_details(usage),
    }
    if content.declined:
        body["stop_details"] = stop_details(content.declined)
    return body
