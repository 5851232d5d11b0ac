"""A strict reader of completions: judges whether an answer is legal, and says what it says.

A stream is legal when
- every event is unnamed and holds one `text_completion` (or, last of all, `[DONE]`); id, model and time never change;
- every choice has `text`, `index` and the keys `logprobs` and `finish_reason`, and finishes once; nothing of it comes after;
- log probabilities are four arrays of one length, whose offsets fit the text;
- usage, if any, comes once, in a chunk of its own without choices, after all have finished;
- an error event ends the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dragoman.testing.judge_chat import trouble, usage_tokens
from dragoman.testing.sse import read_events, strict_json
from dragoman.testing.view import Block, FinishWord, IllegalStream, OtherChoice, Tokens, Trouble, View

_FINISHES: dict[str, FinishWord] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}


def read_completion(body: bytes | Mapping[str, Any]) -> View:
    """What a whole answer says, or an error body. Raises `IllegalStream` when it is neither."""
    message = strict_json(body, "the body") if isinstance(body, bytes) else body
    if not isinstance(message, Mapping):
        raise IllegalStream("the body is not a JSON object")
    if message.get("error"):
        return View(error=trouble(message["error"]))
    judge = _Judge()
    judge.shell(message)
    for choice in message["choices"]:
        judge.choice(choice)
    if message.get("usage"):
        judge.tokens = usage_tokens(message["usage"])
    judge.ended()
    return judge.view()


def fold_completion(stream: bytes) -> View:
    """What a whole streamed answer says. Raises `IllegalStream` when it breaks a rule, or ends before it is complete."""
    judge = _Judge()
    done = False
    for event in read_events(stream):
        if event.name:
            raise IllegalStream(f"an event is named {event.name!r}")
        if done or judge.error is not None:
            raise IllegalStream("something follows the end")
        if event.data == "[DONE]":
            judge.ended()
            done = True
            continue
        chunk = event.json()
        if chunk.get("error"):
            judge.error = trouble(chunk["error"])
            continue
        judge.shell(chunk)
        if judge.tokens is not None:
            raise IllegalStream("usage is not the last chunk")
        for choice in chunk["choices"]:
            judge.choice(choice)
        if chunk.get("usage"):
            if chunk["choices"]:
                raise IllegalStream("usage stands in a chunk with choices")
            judge.tokens = usage_tokens(chunk["usage"])
    if not done and judge.error is None:
        raise IllegalStream("the stream ended without [DONE]", judge.view())
    return judge.view()


class _Judge:
    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.error: Trouble | None = None
        self._shell: tuple[Any, ...] | None = None
        self._texts: dict[int, str] = {}
        self._finishes: dict[int, FinishWord] = {}
        self._probs: list[Any] = []

    def shell(self, message: Mapping[str, Any]) -> None:
        found = tuple(message.get(key) for key in ("id", "object", "created", "model"))
        if found[1] != "text_completion" or not found[0] or not found[3] or not isinstance(found[2], int):
            raise IllegalStream(f"id, object, created, model are {found}")
        if self._shell is not None and self._shell != found:
            raise IllegalStream(f"{self._shell} became {found}")
        self._shell = found
        if not isinstance(message.get("choices"), list):
            raise IllegalStream("choices is missing")

    def choice(self, choice: Any) -> None:
        if not isinstance(choice, Mapping) or not {"text", "index", "logprobs", "finish_reason"} <= choice.keys():
            raise IllegalStream(f"a choice lacks a member: {choice!r}")
        index, text, word = choice["index"], choice["text"], choice["finish_reason"]
        if not isinstance(text, str) or not isinstance(index, int):
            raise IllegalStream(f"text and index of a choice are {text!r} and {index!r}")
        if index in self._finishes:
            raise IllegalStream(f"something follows the end of choice {index}")
        if choice["logprobs"] is not None:
            self._logprobs(choice["logprobs"], len(self._texts.get(index, "")))
        self._texts[index] = self._texts.get(index, "") + text
        if word is not None:
            if word not in _FINISHES:
                raise IllegalStream(f"finish_reason is {word!r}")
            self._finishes[index] = _FINISHES[word]

    def _logprobs(self, probs: Mapping[str, Any], begin: int) -> None:
        rows = [probs.get(key) for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset")]
        if not all(isinstance(row, list) and len(row) == len(rows[0] or []) for row in rows):
            raise IllegalStream(f"logprobs are not four arrays of one length: {probs!r}")
        if any(offset < begin for offset in probs["text_offset"]):
            raise IllegalStream(f"an offset lies before the text: {probs['text_offset']}")
        self._probs += zip(*(row or [] for row in rows[:2]), strict=True)

    def ended(self) -> None:
        if sorted(self._texts) != list(range(len(self._texts))) or not self._texts:
            raise IllegalStream(f"the choices are numbered {sorted(self._texts)}")
        if missing := set(self._texts) - set(self._finishes):
            raise IllegalStream(f"choices without an end: {sorted(missing)}")

    def view(self) -> View:
        held = [
            OtherChoice((Block("text", text),) if text else (), self._finishes.get(index))
            for index, text in sorted(self._texts.items())
        ] or [OtherChoice((), None)]
        first = held[0]
        others = tuple(held[1:])
        return View(first.blocks, first.finish, self.tokens, self.error, others=others, logprobs=tuple(self._probs))
