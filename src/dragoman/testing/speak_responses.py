"""Responses as an upstream speaks it (OpenAI API reference, "The response object" and "Streaming events")."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    Stall,
    Step,
    Text,
    Thinking,
    ToolCall,
    UnknownEvent,
    Usage,
    pieces_of,
)
from dragoman.testing.speak_chat import ERROR_WORDS, error_body, logprob
from dragoman.testing.speaking import CREATED, STATUS_OF, Writer, broken_body, first_error, split_head, total
from dragoman.testing.sse import write_json
from dragoman.testing.view import FinishWord, TroubleWord, status_word

# How an answer ends: its status, and why it is incomplete.
ENDS: dict[FinishWord, tuple[str, str | None]] = {
    "length": ("incomplete", "max_output_tokens"),
    "context_length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
HEADERS = (("x-request-id", "req_scripted"), ("openai-version", "2020-10-01"), ("openai-processing-ms", "12"))


def render_responses(scenario: Scenario, stream: bool = True, *, model: str = "scripted") -> Rendered:
    """The scenario as a Responses upstream answers it: exact bytes, cut at events."""
    return render(scenario, Ask(model, stream))


def render(scenario: Scenario, ask: Ask) -> Rendered:
    head, steps = split_head(scenario.steps)
    error = first_error(steps)
    if isinstance(error, HttpError):
        rendered = _http_error(error)
    elif ask.stream:
        rendered = _written(scenario, ask, steps).end()
    elif error is not None:
        rendered = _unary_error(error)
    else:
        body = write_json(_written(scenario, ask, steps).whole(), scenario.style).encode("utf-8")
        rendered = Rendered(200, (("content-type", "application/json"), *HEADERS), broken_body(steps, body))
    headers = (*rendered.headers, *scenario.headers)
    return msgspec.structs.replace(rendered, head=head, headers=headers)


def _written(scenario: Scenario, ask: Ask, steps: tuple[Step, ...]) -> ResponsesWriter:
    writer = ResponsesWriter(scenario, ask)
    for step in steps:
        if writer.over:
            break
        writer.step(step)
    return writer


def _http_error(error: HttpError) -> Rendered:
    body = error.body
    if body is None:
        body = json.dumps(error_body(status_word(error.status), error.message)).encode()
    return Rendered(error.status, (("content-type", error.content_type), *HEADERS[:1], *error.headers), (body,))


def _unary_error(error: ErrorEvent) -> Rendered:
    payload = error.payload or error_body(error.word, error.message)
    status = 200 if error.unary == "in_200" else STATUS_OF[error.word]
    return Rendered(status, (("content-type", "application/json"), *HEADERS[:1]), (json.dumps(payload).encode(),))


def code_of(word: TroubleWord) -> str:
    kind, code = ERROR_WORDS[word]
    return code or kind


def usage_body(usage: Usage) -> dict[str, Any]:
    prompt, output = total(usage)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": prompt + output,
    }


class ResponsesWriter(Writer):
    """One answer, as the events of a stream; `whole` is its last object."""

    dialect = "responses"

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        super().__init__(scenario, ask)
        self.output: list[dict[str, Any]] = []
        self._number = 0
        self._begun = False
        self._message: dict[str, Any] | None = None
        self._part: dict[str, Any] | None = None
        self._status: tuple[str, str | None] = ("completed", None)
        self._ended = False

    def step(self, step: Step) -> None:
        match step:
            case Text(text, logprobs):
                self._ensure_part({"type": "output_text", "annotations": [], "logprobs": [], "text": ""})
                for piece in self.pieces(pieces_of(text)):
                    self._text(piece, [logprob(piece)] if logprobs else [])
            case Citation():
                self._cite(step)
            case Break():
                self._end_part()
            case Thinking(text, signature):
                self._reason(pieces_of(text), signature)
            case RedactedThinking(data):
                self._reason((), data)
            case ToolCall():
                self._call(step)
            case Parallel(calls):
                for call in calls:
                    self._call(call)
            case Refusal(text):
                self._ensure_part({"type": "refusal", "refusal": ""})
                for piece in self.pieces(pieces_of(text)):
                    assert self._part is not None
                    self._part["refusal"] += piece
                    self._say("response.refusal.delta", {**self._at(), "delta": piece})
            case Begin():
                self._begin()
            case Finish(reason):
                self._status = ENDS.get(reason, ("completed", None))
            case Endless(text, times):
                self._endless(text, times)
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                self.interrupt(step)
            case _:
                pass  # of another dialect, or not about the stream

    def whole(self) -> dict[str, Any]:
        self._end_message()
        return self._response(*self._status, output=self.output, usage=self.scenario.usage)

    def end(self) -> Rendered:
        if not self.over and not self._ended:
            self._begin()
            self._end_message()
            status = self._status[0]
            self._say(f"response.{status}", {"response": self.whole()})
        return self.finished(HEADERS)

    def error(self, item: ErrorEvent) -> None:
        code = code_of(item.word)
        if item.payload is not None:
            self._say(str(item.payload.get("type", "error")), item.payload)
        elif self._begun:
            error = {"code": code, "message": item.message}
            self._say("response.failed", {"response": self._response("failed", output=self.output, error=error)})
        else:
            self._say("error", {"code": code, "message": item.message, "param": None})

    def native(self, payload: Mapping[str, Any]) -> None:
        kind = str(payload["type"])
        self._begun = self._begun or kind == "response.created"
        self._ended = self._ended or kind in TERMINAL
        if kind == "response.output_item.done":
            self.output.append(dict(payload["item"]))
        response = payload.get("response")
        if isinstance(response, Mapping):
            # A native event says what differs from a response as it usually is.
            status = kind.rpartition(".")[2]
            status = status if kind in TERMINAL else "in_progress"
            payload = {**payload, "response": {**self._response(status, usage=self._final_usage(kind)), **response}}
        self._say(kind, payload)

    def unknown(self, name: str, payload: Mapping[str, Any]) -> None:
        self._say(name, payload)

    # ------------------------------------------------------------ events

    def _say(self, kind: str, data: Mapping[str, Any]) -> None:
        self.event(kind, {"type": kind, "sequence_number": self._number, **data})
        self._number += 1

    def _final_usage(self, kind: str) -> Usage | None:
        return self.scenario.usage if kind in TERMINAL else None

    def _response(
        self,
        status: str,
        incomplete: str | None = None,
        *,
        output: Sequence[dict[str, Any]] = (),
        usage: Usage | None = None,
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        searches = usage.searches if usage is not None else 0
        tool_usage = {"tool_usage": {"web_search": {"num_requests": searches}}} if searches else {}
        return {
            "id": f"resp_{self.scenario.name}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "instructions": None,
            "max_output_tokens": None,
            "model": self.ask.model,
            "output": list(output),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            **tool_usage,
            "usage": usage_body(usage) if usage is not None else None,
            "user": None,
            "metadata": {},
        }

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            for kind in ("created", "in_progress"):
                self._say(f"response.{kind}", {"response": self._response("in_progress")})

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self.scenario.name}_{len(self.output)}"

    def _begin_item(self, item: dict[str, Any]) -> None:
        self._begin()
        self._say("response.output_item.added", {"output_index": len(self.output), "item": item})

    def _end_item(self, item: dict[str, Any]) -> None:
        if not self.over:
            self._say("response.output_item.done", {"output_index": len(self.output), "item": item})
        self.output.append(item)

    # ------------------------------------------------------------ messages

    def _at(self) -> dict[str, Any]:
        assert self._message is not None
        index = len(self._message["content"])
        return {"item_id": self._message["id"], "output_index": len(self.output), "content_index": index}

    def _ensure_part(self, part: dict[str, Any]) -> None:
        if self._part is not None and self._part["type"] == part["type"]:
            return
        self._end_part()
        if self._message is None:
            message = {"id": self._id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
            self._begin_item(message)
            self._message = {**message, "content": []}
        self._say("response.content_part.added", {**self._at(), "part": part})
        self._part = {**part, **{key: list(value) for key, value in part.items() if isinstance(value, list)}}

    def _text(self, piece: str, logprobs: list[dict[str, Any]]) -> None:
        assert self._part is not None
        self._part["text"] += piece
        self._part["logprobs"] += logprobs
        self._say("response.output_text.delta", {**self._at(), "delta": piece, "logprobs": logprobs})

    def _cite(self, step: Citation) -> None:
        self._ensure_part({"type": "output_text", "annotations": [], "logprobs": [], "text": ""})
        assert self._part is not None
        annotation = {
            "type": "url_citation",
            "start_index": 0,
            "end_index": len(self._part["text"]),
            "title": step.title,
            "url": step.url,
        }
        told = {**self._at(), "annotation_index": len(self._part["annotations"]), "annotation": annotation}
        self._part["annotations"].append(annotation)
        self._say("response.output_text.annotation.added", told)

    def _end_part(self) -> None:
        if self._part is None or self._message is None:
            return
        part, self._part = self._part, None
        if not self.over:
            if part["type"] == "refusal":
                self._say("response.refusal.done", {**self._at(), "refusal": part["refusal"]})
            else:
                told = {**self._at(), "text": part["text"], "logprobs": part["logprobs"]}
                self._say("response.output_text.done", told)
            self._say("response.content_part.done", {**self._at(), "part": part})
        self._message["content"].append(part)

    def _end_message(self) -> None:
        self._end_part()
        if self._message is not None:
            message, self._message = self._message, None
            message["status"] = "incomplete" if self.over or self._status[0] == "incomplete" else "completed"
            self._end_item(message)

    def _endless(self, text: str, times: int | None) -> None:
        self._ensure_part({"type": "output_text", "annotations": [], "logprobs": [], "text": ""})
        for _ in range(times or 1):
            self._text(text, [])
        if times is None:
            data = self.parts.pop()
            assert isinstance(data, bytes)
            self.parts.append(Repeat(data))

    # ------------------------------------------------------------ reasoning, calls

    def _reason(self, pieces: Sequence[Any], sealed: str | None) -> None:
        self._end_message()
        item: dict[str, Any] = {"id": self._id("rs"), "type": "reasoning", "summary": []}
        self._begin_item(item)
        at = {"item_id": item["id"], "output_index": len(self.output), "summary_index": 0}
        text = ""
        if pieces:
            empty = {"type": "summary_text", "text": ""}
            self._say("response.reasoning_summary_part.added", {**at, "part": empty})
            for piece in self.pieces(pieces):
                text += piece
                self._say("response.reasoning_summary_text.delta", {**at, "delta": piece})
            if not self.over:
                self._say("response.reasoning_summary_text.done", {**at, "text": text})
                self._say("response.reasoning_summary_part.done", {**at, "part": {**empty, "text": text}})
            item = {**item, "summary": [{**empty, "text": text}]}
        self._end_item(item if sealed is None else {**item, "encrypted_content": sealed})

    def _call(self, call: ToolCall) -> None:
        if self.over:
            return
        self._end_message()
        custom = call.kind == "custom"
        key = "input" if custom else "arguments"
        item: dict[str, Any] = {
            "id": self._id("ctc" if custom else "fc"),
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "call_id": call.id,
            "name": call.name,
            key: "",
        }
        self._begin_item(item)
        at = {"item_id": item["id"], "output_index": len(self.output)}
        name = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
        text = ""
        for piece in self.pieces(call.pieces):
            text += piece
            self._say(f"{name}.delta", {**at, "delta": piece})
        broken = self.over or (not custom and not _is_json(text))
        if not broken:
            self._say(f"{name}.done", {**at, key: text})
        self._end_item({**item, "status": "incomplete" if broken else "completed", key: text})


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
