"""A strict reader of Messages: judges whether an answer is legal, and says what it says.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

A stream is legal when
- every event's name is its data's `type`; `ping`, comments and kinds nobody knows may stand between any two;
- `message_start` comes once, first, with an empty message and the full usage;
- blocks are numbered 0, 1, 2, ... and are open one at a time; a delta fits the kind of its block; a signature comes last;
- a tool's input joins to a JSON object, unless the answer was cut short; its id is one the API takes back, and unique;
- `message_delta` comes once, after the last block, with a stop reason and the full usage; `message_stop` comes last;
- the stop reason is `tool_use` exactly when there are calls (unless cut short), and `stop_sequence` exactly when one is named;
- an `error` event ends the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from dragoman.testing.sse import SseEvent, read_events, strict_json
from dragoman.testing.view import Block, Cite, FinishWord, IllegalStream, Tokens, Trouble, TroubleWord, View

_FINISHES: dict[str, FinishWord] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "context_length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}
_ERRORS: dict[str, TroubleWord] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "billing_error": "billing",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
    "api_error": "internal",
    "overloaded_error": "overloaded",
}
_DELTAS: dict[str, frozenset[str]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "redacted_thinking": frozenset(),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
    "mcp_tool_use": frozenset({"input_json_delta"}),
    "compaction": frozenset({"compaction_delta"}),
}
_SHORTENED = ("max_tokens", "model_context_window_exceeded", "refusal")
_CALL_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
_INPUT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def fold_messages(stream: bytes, *, full_usage: bool = True) -> View:
    """What a whole streamed answer says. Raises `IllegalStream` when it breaks a rule, or ends before it is complete.
    `full_usage` false contents itself with the counts that the API has always given."""
    judge = _Judge(full_usage)
    try:
        for event in read_events(stream):
            judge.hear(event)
        judge.end()
    except IllegalStream as illegal:
        raise IllegalStream(illegal.reason, judge.view()) from None
    return judge.view()


def read_messages(body: bytes | Mapping[str, Any]) -> View:
    """What a whole (not streamed) answer says, or an error body. Raises `IllegalStream` when it is not one."""
    message = strict_json(body, "the body") if isinstance(body, bytes) else body
    if not isinstance(message, Mapping):
        raise IllegalStream("the body is not a JSON object")
    if message.get("type") == "error" or message.get("error"):
        return View(error=trouble(message.get("error")))
    judge = _Judge(full_usage=True)
    judge.opening(message)
    blocks = message.get("content")
    if not isinstance(blocks, list):
        raise IllegalStream("content is not a list")
    for block in blocks:
        judge.block(block, whole=True)
        judge.stop_block()
    judge.finish(message, message["usage"])
    return judge.view()


def trouble(error: Any) -> Trouble:
    """The member `error` of an error body or event."""
    if not isinstance(error, Mapping) or not isinstance(error.get("type"), str):
        raise IllegalStream(f"an error without a type: {error!r}")
    return Trouble(_ERRORS.get(error["type"], "internal"), str(error.get("message", "")))


class _Growing(msgspec.Struct):
    """A block as it grows. `native` is its start, `pieces` what its deltas add to its text."""

    native: dict[str, Any]
    pieces: list[str] = []
    signature: str = ""
    signed: bool = False
    cites: list[Cite] = []

    @property
    def kind(self) -> str:
        return str(self.native["type"])


class _Judge:
    def __init__(self, full_usage: bool) -> None:
        self.error: Trouble | None = None
        self._full_usage = full_usage
        self._at = ""
        self._begun = False
        self._blocks: list[_Growing] = []
        self._open = False
        self._stop_reason: str | None = None
        self._stop_sequence: str | None = None
        self._declined = ""
        self._stopped = False
        self._usage: dict[str, Any] = {}
        self._unknown: list[Any] = []

    def fail(self, reason: str) -> NoReturn:
        raise IllegalStream(f"{self._at}{reason}")

    # ------------------------------------------------------------ the stream

    def hear(self, event: SseEvent) -> None:
        self._at = f"event {event.number} ({event.name}): "
        if self._stopped:
            self.fail("it comes after message_stop")
        if self.error is not None:
            self.fail("it comes after an error")
        data = event.json()
        if data.get("type") != event.name:
            self.fail(f"its data is of type {data.get('type')!r}")
        match event.name:
            case "ping":
                pass
            case "error":
                self.error = trouble(data.get("error"))
            case "message_start":
                self.opening(data.get("message"))
                if data["message"].get("content") != []:
                    self.fail("the message is not empty")
                if any(data["message"].get(key, "") is not None for key in ("stop_reason", "stop_sequence")):
                    self.fail("stop_reason and stop_sequence must stand there as null")
            case "content_block_start":
                self._expect_begun()
                if self._open:
                    self.fail(f"block {len(self._blocks) - 1} is still open")
                if data.get("index") != len(self._blocks):
                    self.fail(f"its index is {data.get('index')!r}, {len(self._blocks)} is next")
                self.block(data.get("content_block"), whole=False)
            case "content_block_delta":
                self._expect_open(data)
                self._delta(data.get("delta"))
            case "content_block_stop":
                self._expect_open(data)
                self.stop_block()
            case "message_delta":
                self._expect_begun()
                if self._open:
                    self.fail(f"block {len(self._blocks) - 1} is still open")
                self.finish(data.get("delta"), data.get("usage"))
            case "message_stop":
                self._expect_begun()
                if self._stop_reason is None:
                    self.fail("no message_delta came before it")
                self._stopped = True
            case _:
                self._unknown.append(data)

    def end(self) -> None:
        self._at = "at the end: "
        if self.error is None and not self._stopped:
            self.fail("no message_stop came: the answer broke off")

    def _expect_begun(self) -> None:
        if not self._begun:
            self.fail("it comes before message_start")
        if self._stop_reason is not None and not self._at.endswith("(message_stop): "):
            self.fail("it comes after message_delta")

    def _expect_open(self, data: Mapping[str, Any]) -> None:
        self._expect_begun()
        current = len(self._blocks) - 1
        if not self._open or data.get("index") != current:
            self.fail(f"block {data.get('index')!r} is not open" + (f", {current} is" if self._open else ""))

    # ------------------------------------------------------------ its parts

    def opening(self, message: Any) -> None:
        if self._begun:
            self.fail("it comes a second time")
        self._begun = True
        if not isinstance(message, Mapping):
            self.fail("it has no message")
        if message.get("type") != "message" or message.get("role") != "assistant":
            self.fail(f"type and role are {message.get('type')!r} and {message.get('role')!r}")
        for key in ("id", "model"):
            if not isinstance(message.get(key), str) or not message[key]:
                self.fail(f"{key} is missing or empty")
        self._count(message.get("usage"), always=True)

    def block(self, native: Any, *, whole: bool) -> None:
        """A block begins. `whole`: it stands in a whole answer and has all it will ever have."""
        if not isinstance(native, Mapping) or not isinstance(native.get("type"), str):
            self.fail(f"a block has no type: {native!r}")
        growing = _Growing(dict(native))
        where = f"block {len(self._blocks)} ({growing.kind})"
        match growing.kind:
            case "text":
                self._strings(where, native, "text")
                growing.pieces.append(native["text"])
                for citation in native.get("citations") or []:
                    growing.cites.append(self._cite(citation))
            case "thinking":
                self._strings(where, native, "thinking", "signature")
                growing.pieces.append(native["thinking"])
                growing.signature = native["signature"]
            case "redacted_thinking":
                self._strings(where, native, "data")
            case "tool_use" | "server_tool_use":
                self._strings(where, native, "id", "name")
                self._begin_call(where, growing, whole)
            case _:
                pass
        self._blocks.append(growing)
        self._open = True

    def _begin_call(self, where: str, growing: _Growing, whole: bool) -> None:
        native = growing.native
        if not native["name"] or not _CALL_ID.match(native["id"]):
            self.fail(f"{where}: no name, or an id that the API would not take back: {native['id']!r}")
        if any(b.native.get("id") == native["id"] for b in self._blocks):
            self.fail(f"{where}: another block has the id {native['id']!r}")
        value = native.get("input")
        if not isinstance(value, dict):
            self.fail(f"{where}: input is not an object: {value!r}")
        if value and not whole:
            self.fail(f"{where}: input is not empty at the start: {value!r}")

    def _strings(self, where: str, native: Mapping[str, Any], *keys: str) -> None:
        for key in keys:
            if not isinstance(native.get(key), str):
                self.fail(f"{where}: {key} is not a string: {native.get(key)!r}")

    def _delta(self, delta: Any) -> None:
        block = self._blocks[-1]
        kind = delta.get("type") if isinstance(delta, Mapping) else None
        if not isinstance(kind, str):
            self.fail(f"the delta has no type: {delta!r}")
        if block.kind.endswith("_tool_result") or str(kind) not in _DELTAS.get(block.kind, frozenset({str(kind)})):
            self.fail(f"a {kind} does not fit a block of type {block.kind!r}")
        match kind:
            case "text_delta":
                self._strings("the delta", delta, "text")
                block.pieces.append(delta["text"])
            case "citations_delta":
                block.cites.append(self._cite(delta.get("citation")))
            case "thinking_delta":
                self._strings("the delta", delta, "thinking")
                if block.signed:
                    self.fail("more thinking after the signature")
                block.pieces.append(delta["thinking"])
            case "signature_delta":
                self._strings("the delta", delta, "signature")
                if block.signed:
                    self.fail("a second signature")
                block.signed = True
                block.signature = delta["signature"]
            case "input_json_delta":
                self._strings("the delta", delta, "partial_json")
                block.pieces.append(delta["partial_json"])
            case _:
                self._unknown.append(delta)

    def _cite(self, citation: Any) -> Cite:
        if not isinstance(citation, Mapping) or not isinstance(citation.get("type"), str):
            self.fail(f"a citation has no type: {citation!r}")
        title = citation.get("title") or citation.get("document_title") or ""
        return Cite(title, citation.get("url") or citation.get("source") or "", citation.get("cited_text") or "")

    def stop_block(self) -> None:
        self._open = False

    def finish(self, delta: Any, usage: Any) -> None:
        if not isinstance(delta, Mapping):
            self.fail("it has no delta")
        reason = delta.get("stop_reason")
        if reason not in _FINISHES:
            self.fail(f"stop_reason is {reason!r}")
        if "stop_sequence" not in delta:
            self.fail("the key stop_sequence is missing")
        self._stop_sequence = delta["stop_sequence"]
        if (self._stop_sequence is not None) != (reason == "stop_sequence"):
            self.fail(f"stop_reason is {reason!r}, and stop_sequence {self._stop_sequence!r}")
        calls = [b for b in self._blocks if b.kind == "tool_use"]
        if reason == "tool_use" and not calls:
            self.fail("stop_reason is 'tool_use' without a call")
        if calls and reason not in ("tool_use", "pause_turn", *_SHORTENED):
            self.fail(f"stop_reason is {reason!r} after a call")
        details = delta.get("stop_details") or {}
        self._declined = details.get("explanation") or ""
        self._count(usage, always=self._full_usage)
        self._stop_reason = str(reason)
        if reason not in _SHORTENED:
            for block in self._blocks:
                if not _view_of(block).whole:
                    self.fail(f"the input of {block.native['name']!r} is not a JSON object: {''.join(block.pieces)!r}")

    def _count(self, usage: Any, *, always: bool) -> None:
        if not isinstance(usage, Mapping):
            self.fail("usage is missing")
        required = ("output_tokens", *_INPUT_COUNTS) if always and self._full_usage else ("output_tokens",)
        for key in required:
            if not isinstance(usage.get(key), int):
                self.fail(f"usage.{key} is not a count: {usage.get(key)!r}")
        self._usage |= {key: value for key, value in usage.items() if value is not None}

    # ------------------------------------------------------------ what it says

    def view(self) -> View:
        blocks = [_view_of(block) for block in self._blocks]
        if self._declined:
            blocks.append(Block("refusal", self._declined))
        return View(
            tuple(blocks),
            _FINISHES.get(self._stop_reason or ""),
            self._tokens() if self._usage else None,
            self.error,
            self._stop_sequence,
            unknown=tuple(self._unknown),
        )

    def _tokens(self) -> Tokens:
        usage = self._usage
        written = usage.get("cache_creation_input_tokens", 0)
        long_lived = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
        thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
        return Tokens(
            input=usage.get("input_tokens", 0),
            output=usage["output_tokens"] - thought,
            cache_read=usage.get("cache_read_input_tokens", 0),
            cache_write=written - long_lived,
            cache_write_1h=long_lived,
            reasoning=thought,
            searches=(usage.get("server_tool_use") or {}).get("web_search_requests", 0),
        )


def _view_of(block: _Growing) -> Block:
    text = "".join(block.pieces)
    native = block.native
    match block.kind:
        case "text":
            return Block("text", text, citations=tuple(block.cites))
        case "thinking":
            return Block("thinking", text, signature=block.signature)
        case "redacted_thinking":
            return Block("redacted_thinking", native["data"])
        case "tool_use" | "server_tool_use":
            kind = "tool_call" if block.kind == "tool_use" else "server_tool_call"
            if not text:
                return Block(kind, native["input"], native["name"], native["id"])
            try:
                value = strict_json(text, "input")
            except IllegalStream:
                return Block(kind, text, native["name"], native["id"], whole=False)
            return Block(kind, value, native["name"], native["id"], whole=isinstance(value, dict))
        case other if other.endswith("_tool_result"):
            return Block("server_tool_result", native, name=other, id=str(native.get("tool_use_id", "")))
        case _:
            return Block("unknown", native, name=block.kind)
