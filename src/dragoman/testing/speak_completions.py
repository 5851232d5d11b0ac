"""Completions of before chat as an upstream speaks them (OpenAI API reference, `text_completion`). Text is all they have: of a
scenario's other steps only what happens to the connection counts."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dragoman.testing.scenario import (
    Ask,
    Choice,
    Comment,
    Cut,
    Endless,
    ErrorEvent,
    Finish,
    HttpError,
    Native,
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
    UnknownEvent,
    pieces_of,
    plain,
)
from dragoman.testing.speak_chat import HEADERS, error_body, usage_body
from dragoman.testing.speaking import CREATED, STATUS_OF, Writer, broken_body, first_error, split_head
from dragoman.testing.sse import write_event, write_json
from dragoman.testing.view import FinishWord, status_word

FINISH_WORDS: dict[FinishWord, str] = {"length": "length", "context_length": "length", "content_filter": "content_filter"}
PROB = -0.25


def render(scenario: Scenario, ask: Ask) -> Rendered:
    """Exact bytes, cut at events."""
    head, steps = split_head(scenario.steps)
    error = first_error(steps)
    if isinstance(error, HttpError):
        body = error.body or json.dumps(error_body(status_word(error.status), error.message)).encode()
        rendered = Rendered(error.status, (("content-type", error.content_type), *HEADERS[:1], *error.headers), (body,))
    elif ask.stream:
        writer = _Writer(scenario, ask)
        for step in steps:
            if writer.over:
                break
            writer.step(step)
        rendered = writer.end()
    elif error is not None:
        told = json.dumps(error.payload or error_body(error.word, error.message)).encode()
        status = 200 if error.unary == "in_200" else STATUS_OF[error.word]
        rendered = Rendered(status, (("content-type", "application/json"), *HEADERS[:1]), (told,))
    else:
        whole = write_json(_completion(scenario, ask), scenario.style).encode()
        rendered = Rendered(200, (("content-type", "application/json"), *HEADERS), broken_body(steps, whole))
    return msgspec.structs.replace(rendered, head=head, headers=(*rendered.headers, *scenario.headers))


def _shell(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    return {"id": f"cmpl-{scenario.name}", "object": "text_completion", "created": CREATED, "model": ask.model}


def logprobs(pieces: list[str], offset: int = 0) -> dict[str, Any]:
    told: dict[str, Any] = {"tokens": pieces, "token_logprobs": [PROB] * len(pieces), "text_offset": []}
    told["top_logprobs"] = [{piece: PROB, piece.upper(): -3.0} for piece in pieces]
    for piece in pieces:
        told["text_offset"].append(offset)
        offset += len(piece)
    return told


def _completion(scenario: Scenario, ask: Ask) -> dict[str, Any]:
    choices: dict[int, dict[str, Any]] = {}
    index = 0
    for step in scenario.steps:
        match step:
            case Choice(number):
                index = number
            case Text(pieces, probs):
                held = choices.setdefault(index, _choice(index))
                said = [piece for piece in pieces_of(pieces) if isinstance(piece, str)]
                held["logprobs"] = logprobs(said, len(held["text"])) if probs else None
                held["text"] += plain(pieces_of(pieces))
            case Refusal(pieces):
                choices.setdefault(index, _choice(index))["text"] += plain(pieces_of(pieces))
            case Finish(reason, _, word):
                choices.setdefault(index, _choice(index))["finish_reason"] = word or FINISH_WORDS.get(reason, "stop")
            case _:
                pass
    body = {**_shell(scenario, ask), "choices": list(choices.values()) or [_choice(0)]}
    if scenario.usage is not None:
        body["usage"] = usage_body(scenario.usage)
    return body


def _choice(index: int) -> dict[str, Any]:
    return {"text": "", "index": index, "logprobs": None, "finish_reason": "stop"}


class _Writer(Writer):
    dialect = "completions"

    def __init__(self, scenario: Scenario, ask: Ask) -> None:
        super().__init__(scenario, ask)
        self._choice = 0
        self._said = 0

    def step(self, step: Step) -> None:
        match step:
            case Text() | Refusal():
                probs = isinstance(step, Text) and step.logprobs
                for piece in self.pieces(pieces_of(step.text)):
                    self._chunk(piece, logprobs([piece], self._said) if probs else None)
                    self._said += len(piece)
            case Choice(index):
                self._choice, self._said = index, 0
            case Finish(reason, _, word):
                self._chunk("", None, word or FINISH_WORDS.get(reason, "stop"))
            case Endless(text, times):
                self._chunk(text)
                data = self.parts.pop()
                assert isinstance(data, bytes)
                self.parts.append(Repeat(data, times))
            case Stall() | Cut() | Reset() | ErrorEvent() | Comment() | Ping() | RawFrame() | Native() | UnknownEvent():
                self.interrupt(step)
            case _:
                pass

    def _chunk(self, text: str, probs: dict[str, Any] | None = None, finish: str | None = None) -> None:
        choice = {"text": text, "index": self._choice, "logprobs": probs, "finish_reason": finish}
        chunk: dict[str, Any] = {**_shell(self.scenario, self.ask), "choices": [choice]}
        if self.ask.include_usage and self.scenario.usage is not None:
            chunk["usage"] = None
        self.event("", chunk)

    def error(self, item: ErrorEvent) -> None:
        self.event("", item.payload or error_body(item.word, item.message))

    def native(self, payload: Any) -> None:
        self.event("", {**_shell(self.scenario, self.ask), **payload})

    def end(self) -> Rendered:
        usage = self.scenario.usage
        if not self.over:
            if usage is not None and (usage.where == "always" or self.ask.include_usage):
                self.event("", {**_shell(self.scenario, self.ask), "choices": [], "usage": usage_body(usage)})
            if self.style.done:
                self.parts.append(write_event("", "[DONE]", self.style))
        return self.finished(HEADERS)
