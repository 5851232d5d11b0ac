"""A strict reader of Chat Completions: judges whether an answer is legal, and says what it says.

A stream is legal when
- every event is unnamed and holds one `chat.completion.chunk` (or, last of all, `[DONE]`); id, model and time never change;
- every choice has `index`, `delta` and the key `finish_reason`; its first delta, and no other, has the role;
- calls are numbered 0, 1, ... in the order they begin; the first chunk of a call has id, type and name, the others only more
  arguments (the SDKs join strings: a repeated id would become a doubled one);
- arguments are whole JSON at the end, unless the answer was cut short by length or filter;
- every choice finishes once, and nothing of it comes after; it says `tool_calls` exactly when there are calls;
- usage, if any, comes once, in a chunk of its own without choices, after all have finished;
- an error event ends the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from dragoman.testing.sse import SseEvent, read_events, strict_json
from dragoman.testing.view import (
    Block,
    Cite,
    FinishWord,
    IllegalStream,
    Kind,
    OtherChoice,
    Tokens,
    Trouble,
    TroubleWord,
    View,
    status_word,
)

_FINISHES: dict[str, FinishWord] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_CODES: dict[str, TroubleWord] = {
    "invalid_api_key": "authentication",
    "insufficient_quota": "billing",
    "permission_denied": "permission",
    "model_not_found": "not_found",
    "request_too_large": "too_large",
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "server_is_overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "slow_down": "overloaded",
    "timeout": "timeout",
    "timeout_error": "timeout",
    "bad_gateway": "unavailable",
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "requests": "rate_limit",
    "tokens": "rate_limit",
}
_SHORTENED = ("length", "content_filter")


def fold_chat(stream: bytes, *, usage: bool | None = None) -> View:
    """What a whole streamed answer says. Raises `IllegalStream` when it breaks a rule, or ends before it is complete.
    `usage` true demands a usage chunk, false forbids it, None takes either."""
    judge = _Judge()
    try:
        for event in read_events(stream):
            judge.hear(event)
        judge.end()
        if usage is not None and judge.error is None and usage != (judge.tokens is not None):
            judge.fail("no usage chunk came" if usage else "a usage chunk came unasked")
    except IllegalStream as illegal:
        raise IllegalStream(illegal.reason, judge.view()) from None
    return judge.view()


def read_chat(body: bytes | Mapping[str, Any]) -> View:
    """What a whole (not streamed) answer says, or an error body. Raises `IllegalStream` when it is not one."""
    message = strict_json(body, "the body") if isinstance(body, bytes) else body
    if not isinstance(message, Mapping):
        raise IllegalStream("the body is not a JSON object")
    if message.get("error"):
        return View(error=trouble(message["error"]))
    if message.get("object") != "chat.completion":
        raise IllegalStream(f"object is {message.get('object')!r}, not 'chat.completion'")
    for key in ("id", "model"):
        if not isinstance(message.get(key), str) or not message[key]:
            raise IllegalStream(f"{key} is missing or empty")
    if not isinstance(message.get("created"), int):
        raise IllegalStream("created is not an integer")
    choices = message.get("choices")
    if not isinstance(choices, list) or not choices:
        raise IllegalStream("choices is empty or missing")
    held = [_read_choice(choice, index) for index, choice in enumerate(choices)]
    tokens = usage_tokens(message["usage"]) if message.get("usage") else None
    first = held[0]
    return View(
        first.blocks(),
        first.neutral(),
        tokens,
        others=tuple(OtherChoice(c.blocks(), c.neutral()) for c in held[1:]),
        logprobs=tuple(first.logprobs),
    )


def trouble(error: Any) -> Trouble:
    """The member `error` of an error body."""
    if not isinstance(error, Mapping):
        return Trouble("internal", str(error))
    code, kind = error.get("code"), error.get("type")
    message = str(error.get("message", ""))
    if isinstance(code, int):
        return Trouble(status_word(code), message)
    return Trouble(_CODES.get(str(code)) or _CODES.get(str(kind)) or "internal", message)


def usage_tokens(usage: Any) -> Tokens:
    if not isinstance(usage, Mapping):
        raise IllegalStream(f"usage is not an object: {usage!r}")
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        if not isinstance(usage.get(key), int) or usage[key] < 0:
            raise IllegalStream(f"usage.{key} is not a count: {usage.get(key)!r}")
    prompt, completed = usage["prompt_tokens"], usage["completion_tokens"]
    if usage["total_tokens"] != prompt + completed:
        raise IllegalStream(f"usage.total_tokens is {usage['total_tokens']}, the parts make {prompt + completed}")
    read = _detail(usage, "prompt_tokens_details", "cached_tokens")
    written = _detail(usage, "prompt_tokens_details", "cache_write_tokens")
    thought = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    if read + written > prompt or thought > completed:
        raise IllegalStream(f"usage: the details are larger than their total: {usage}")
    return Tokens(prompt - read - written, completed - thought, read, written, 0, thought)


def _detail(usage: Mapping[str, Any], group: str, key: str) -> int:
    return (usage.get(group) or {}).get(key) or 0


def _read_choice(choice: Any, index: int) -> _ChoiceJudge:
    if not isinstance(choice, Mapping) or choice.get("index") != index:
        raise IllegalStream(f"choice {index} is not an object with its index")
    message = choice.get("message")
    if not isinstance(message, Mapping) or message.get("role") != "assistant":
        raise IllegalStream(f"choice {index} has no message of the assistant")
    if "content" not in message:
        raise IllegalStream(f"choice {index}: the message lacks the key content")
    judge = _ChoiceJudge(index)
    judge.more({k: v for k, v in message.items() if k not in ("tool_calls", "function_call")})
    judge.cite(message.get("annotations"))
    for number, call in enumerate(message.get("tool_calls") or []):
        judge.call({**call, "index": number})
    if message.get("function_call"):
        judge.legacy(message["function_call"])
    judge.logprobs.extend((choice.get("logprobs") or {}).get("content") or [])
    judge.finish_with(choice.get("finish_reason"))
    return judge


class _Growing(msgspec.Struct):
    kind: Kind
    pieces: list[str] = []
    name: str = ""
    id: str = ""
    signature: str = ""
    citations: list[Cite] = []


class _ChoiceJudge:
    """One choice of an answer, as it grows."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.logprobs: list[Any] = []
        self.finish: str | None = None
        self._blocks: list[_Growing] = []
        self._calls: list[_Growing] = []
        self._function: _Growing | None = None

    def fail(self, reason: str) -> NoReturn:
        raise IllegalStream(f"choice {self.index}: {reason}")

    def more(self, delta: Mapping[str, Any]) -> None:
        for detail in delta.get("reasoning_details") or []:
            self._reasoning_detail(detail, told="reasoning" in delta or "reasoning_content" in delta)
        thought = delta.get("reasoning") or delta.get("reasoning_content")
        self._say("thinking", thought)
        self._say("text", delta.get("content"))
        self._say("refusal", delta.get("refusal"))

    def cite(self, annotations: Any) -> None:
        for source in annotations or []:
            cited = source.get("url_citation")
            if source.get("type") != "url_citation" or not isinstance(cited, Mapping):
                self.fail(f"an annotation of an unknown kind: {source!r}")
            texts = [b for b in self._blocks if b.kind == "text"]
            if not texts:
                self.fail("an annotation came before any text")
            texts[-1].citations.append(Cite(cited.get("title") or "", cited.get("url") or ""))

    def _say(self, kind: Kind, text: Any) -> None:
        if not text:
            return
        if not isinstance(text, str):
            self.fail(f"{kind} is not a string: {text!r}")
        self._of(kind).pieces.append(text)

    def _of(self, kind: Kind) -> _Growing:
        if not self._blocks or self._blocks[-1].kind != kind:
            self._blocks.append(_Growing(kind))
        return self._blocks[-1]

    def _reasoning_detail(self, detail: Any, told: bool) -> None:
        match detail:
            case {"type": "reasoning.encrypted", "data": str(data)}:
                self._blocks.append(_Growing("redacted_thinking", [data]))
            case {"type": "reasoning.text"}:
                if not told:
                    self._say("thinking", detail.get("text"))
                if detail.get("signature"):
                    self._of("thinking").signature = detail["signature"]
            case {"type": "reasoning.summary"}:
                if not told:
                    self._say("thinking", detail.get("summary"))
            case _:
                self.fail(f"a reasoning detail of an unknown kind: {detail!r}")

    def call(self, delta: Any) -> None:
        number = delta.get("index") if isinstance(delta, Mapping) else None
        if not isinstance(number, int):
            self.fail(f"a call has no index: {delta!r}")
        if number == len(self._calls):
            self._open_call(delta)
            return
        if not 0 <= number < len(self._calls):
            self.fail(f"call {number} begins, but {len(self._calls)} is next")
        doubled = [key for key in ("id", "name") if delta.get(key) or (delta.get("function") or {}).get(key)]
        if doubled:
            self.fail(f"call {number} says its {' and '.join(doubled)} again")
        self._grow(self._calls[number], delta.get("function") or delta.get("custom") or {})

    def _open_call(self, delta: Mapping[str, Any]) -> None:
        number = len(self._calls)
        kind = delta.get("type")
        if kind not in ("function", "custom"):
            self.fail(f"call {number} begins with type {kind!r}")
        body = delta.get(kind)
        call_id = delta.get("id")
        if not isinstance(call_id, str) or not call_id:
            self.fail(f"call {number} begins without an id")
        if not isinstance(body, Mapping) or not isinstance(body.get("name"), str) or not body["name"]:
            self.fail(f"call {number} begins without a name")
        if any(c.id == call_id for c in self._calls):
            self.fail(f"call {number} has the id of another, {call_id!r}")
        call = _Growing("custom_tool_call" if kind == "custom" else "tool_call", name=body["name"], id=call_id)
        self._calls.append(call)
        self._blocks.append(call)
        self._grow(call, body)

    def _grow(self, call: _Growing, body: Mapping[str, Any]) -> None:
        text = body.get("input" if call.kind == "custom_tool_call" else "arguments")
        if text is not None and not isinstance(text, str):
            self.fail(f"the arguments of {call.name!r} are not a string: {text!r}")
        call.pieces.append(text or "")

    def legacy(self, delta: Mapping[str, Any]) -> None:
        if self._function is None:
            name = delta.get("name")
            if not isinstance(name, str) or not name:
                self.fail("function_call begins without a name")
            self._function = _Growing("tool_call", name=str(name))
            self._blocks.append(self._function)
        elif delta.get("name"):
            self.fail("function_call says its name again")
        self._grow(self._function, delta)

    def finish_with(self, reason: Any) -> None:
        if reason not in _FINISHES:
            self.fail(f"finish_reason is {reason!r}")
        calls = bool(self._calls or self._function)
        if reason in ("tool_calls", "function_call") and not calls:
            self.fail(f"finish_reason is {reason!r} without a call")
        if reason == "stop" and calls:
            self.fail("finish_reason is 'stop' after a call")
        self.finish = reason
        if reason not in _SHORTENED:
            for block in self.blocks():
                if not block.whole:
                    self.fail(f"the arguments of {block.name!r} are not JSON: {block.value!r}")

    def neutral(self) -> FinishWord | None:
        if self.finish == "stop" and any(b.kind == "refusal" for b in self._blocks):
            return "refusal"
        return _FINISHES.get(self.finish or "")

    def blocks(self) -> tuple[Block, ...]:
        return tuple(_block(growing) for growing in self._blocks)


def _block(growing: _Growing) -> Block:
    text = "".join(growing.pieces)
    if growing.kind != "tool_call":
        cited = tuple(growing.citations)
        return Block(growing.kind, text, growing.name, growing.id, growing.signature, cited)
    try:
        value = strict_json(text, "arguments")
    except IllegalStream:
        return Block("tool_call", text, growing.name, growing.id, whole=False)
    return Block("tool_call", value, growing.name, growing.id, whole=isinstance(value, dict))


class _Judge:
    """A stream, event by event."""

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.error: Trouble | None = None
        self._choices: dict[int, _ChoiceJudge] = {}
        self._shell: tuple[Any, Any, Any] | None = None
        self._done = False
        self._at = ""

    def fail(self, reason: str) -> NoReturn:
        raise IllegalStream(f"{self._at}{reason}")

    def hear(self, event: SseEvent) -> None:
        self._at = f"event {event.number}: "
        if event.name:
            self.fail(f"it is named {event.name!r}; a Chat stream names none")
        if self._done:
            self.fail(f"it comes after [DONE]: {event.data[:80]!r}")
        if event.data == "[DONE]":
            self._end_choices()
            self._done = True
            return
        if self.error is not None:
            self.fail("it comes after an error")
        chunk = event.json()
        if chunk.get("error"):
            self.error = trouble(chunk["error"])
            return
        self._chunk(chunk)

    def _chunk(self, chunk: dict[str, Any]) -> None:
        if chunk.get("object") != "chat.completion.chunk":
            self.fail(f"object is {chunk.get('object')!r}")
        shell = (chunk.get("id"), chunk.get("model"), chunk.get("created"))
        if not (isinstance(shell[0], str) and shell[0] and isinstance(shell[1], str) and isinstance(shell[2], int)):
            self.fail(f"id, model or created is missing: {shell}")
        if self._shell is not None and shell != self._shell:
            self.fail(f"id, model or created changed from {self._shell} to {shell}")
        self._shell = shell
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            self.fail("choices is missing")
        if self.tokens is not None:
            self.fail("it comes after the usage chunk")
        if chunk.get("usage") is not None:
            if choices:
                self.fail("usage stands in a chunk with choices")
            self._end_choices()
            self.tokens = usage_tokens(chunk["usage"])
        elif not choices:
            self.fail("it has neither choices nor usage")
        for choice in choices or []:
            self._choice(choice)

    def _choice(self, choice: Any) -> None:
        index = choice.get("index") if isinstance(choice, dict) else None
        if not isinstance(index, int):
            self.fail(f"a choice has no index: {choice!r}")
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            self.fail(f"choice {index} has no delta")
        if "finish_reason" not in choice:
            self.fail(f"choice {index} lacks the key finish_reason")
        known = self._choices.get(index)
        if known is None:
            if delta.get("role") != "assistant":
                self.fail(f"choice {index} does not begin with the role")
            known = self._choices[index] = _ChoiceJudge(index)
        elif delta.get("role"):
            self.fail(f"choice {index} says its role again")
        if known.finish is not None:
            self.fail(f"choice {index} goes on after it has finished")
        known.more(delta)
        known.cite(delta.get("annotations"))
        for call in delta.get("tool_calls") or []:
            known.call(call)
        if delta.get("function_call"):
            known.legacy(delta["function_call"])
        known.logprobs.extend((choice.get("logprobs") or {}).get("content") or [])
        if choice["finish_reason"] is not None:
            known.finish_with(choice["finish_reason"])

    def _end_choices(self) -> None:
        if self.error is not None:
            return
        if not self._choices:
            self.fail("the answer ends without a choice")
        for index, choice in self._choices.items():
            if choice.finish is None:
                self.fail(f"choice {index} has not finished")

    def end(self) -> None:
        self._at = "at the end: "
        if self.error is None and not self._done:
            self.fail("no [DONE] came: the answer broke off")

    def view(self) -> View:
        ordered: Sequence[_ChoiceJudge] = [self._choices[i] for i in sorted(self._choices)]
        if not ordered:
            return View(error=self.error)
        first = ordered[0]
        return View(
            first.blocks(),
            first.neutral(),
            self.tokens,
            self.error,
            others=tuple(OtherChoice(c.blocks(), c.neutral()) for c in ordered[1:]),
            logprobs=tuple(first.logprobs),
        )
