"""A strict reader of Converse: judges whether an answer is legal, and says what it says.

    messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata

A stream is legal when
- every message is whole, its checksums are right, and it is JSON;
- `messageStart` comes once, first; `messageStop` once, after the last block; `metadata` once, last;
- blocks are numbered 0, 1, 2, ... and are open one at a time; only a call, a result or an image has a `contentBlockStart`;
- a delta says one thing, which fits its block; a signature comes last; a block has at least one delta or a start;
- a call's input joins to a JSON object, unless the answer was cut short; its id is unique;
- the stop reason is one of the API's, and `tool_use` exactly when there are calls (unless cut short);
- the counts are there and add up;
- an exception ends the answer. Events of a kind that nobody knows may stand anywhere: AWS's SDKs pass them over.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from dragoman.testing.eventstream import AwsEvent, read_messages
from dragoman.testing.sse import strict_json
from dragoman.testing.view import Block, Cite, FinishWord, IllegalStream, Tokens, Trouble, TroubleWord, View

_FINISHES: dict[str, FinishWord] = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "context_length",
}
_ERRORS: dict[str, TroubleWord] = {
    "ValidationException": "invalid_request",
    "UnrecognizedClientException": "authentication",
    "AccessDeniedException": "permission",
    "ResourceNotFoundException": "not_found",
    "RequestEntityTooLargeException": "too_large",
    "ServiceQuotaExceededException": "billing",
    "ThrottlingException": "rate_limit",
    "ServiceUnavailableException": "overloaded",
    "ModelTimeoutException": "timeout",
    "ModelErrorException": "unavailable",
    "ModelStreamErrorException": "unavailable",
    "InternalServerException": "internal",
}
_SHORTENED = ("max_tokens", "model_context_window_exceeded", "content_filtered", "guardrail_intervened")
_STARTED = ("toolUse", "toolResult", "image")


def fold_converse(stream: bytes) -> View:
    """What a whole streamed answer says. Raises `IllegalStream` when it breaks a rule, or ends before it is complete."""
    judge = _Judge()
    try:
        for event in read_messages(stream):
            judge.hear(event)
        judge.end()
    except IllegalStream as illegal:
        raise IllegalStream(illegal.reason, judge.view()) from None
    return judge.view()


def read_converse(body: bytes | Mapping[str, Any]) -> View:
    """What a whole (not streamed) answer says, or an error body. Raises `IllegalStream` when it is not one."""
    answer = strict_json(body, "the body") if isinstance(body, bytes) else body
    if not isinstance(answer, Mapping):
        raise IllegalStream("the body is not a JSON object")
    if "output" not in answer:
        return View(error=trouble(str(answer.get("__type") or ""), answer))
    judge = _Judge()
    message = answer["output"].get("message") or {}
    if message.get("role") != "assistant" or not isinstance(message.get("content"), list):
        judge.fail(f"there is no message: {answer['output']!r}")
    for block in message["content"]:
        judge.whole(block)
    judge.stop(answer)
    judge.metadata(answer)
    return judge.view()


def trouble(name: str, told: Mapping[str, Any]) -> Trouble:
    message = told.get("message")
    if not isinstance(message, str):
        raise IllegalStream(f"an error without a message: {told!r}")
    return Trouble(_ERRORS.get(name[:1].upper() + name[1:], "internal"), message)


class _Growing(msgspec.Struct):
    """A block as it grows."""

    kind: str
    native: dict[str, Any] = {}
    pieces: list[str] = []
    signature: str = ""
    redacted: str = ""
    cites: list[Cite] = []


class _Judge:
    def __init__(self) -> None:
        self.error: Trouble | None = None
        self._at = ""
        self._begun = False
        self._open = False
        self._blocks: list[_Growing] = []
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._usage: dict[str, Any] | None = None
        self._unknown: list[Any] = []

    def fail(self, reason: str) -> NoReturn:
        raise IllegalStream(f"{self._at}{reason}")

    def hear(self, event: AwsEvent) -> None:
        self._at = f"event {event.number} ({event.name}): "
        if self.error is not None:
            self.fail("it comes after an error")
        data = event.json()
        if event.exception:
            self.error = trouble(event.name, data)
            return
        if self._usage is not None and event.name in _KNOWN:
            self.fail("it comes after metadata")
        match event.name:
            case "messageStart":
                if self._begun or data.get("role") != "assistant":
                    self.fail(f"a second one, or one of {data.get('role')!r}")
                self._begun = True
            case "contentBlockStart":
                self._next(data)
                start = data.get("start")
                kind = _one(start)
                if kind not in _STARTED:
                    self.fail(f"no block begins with {start!r}")
                self._begin(_Growing(kind, native=dict(_held(start, kind))))
            case "contentBlockDelta":
                self._delta(data)
            case "contentBlockStop":
                if not self._open or data.get("contentBlockIndex") != len(self._blocks) - 1:
                    self.fail(f"block {data.get('contentBlockIndex')!r} is not open")
                self._open = False
            case "messageStop":
                self._expect_begun()
                if self._open:
                    self.fail(f"block {len(self._blocks) - 1} is still open")
                self.stop(data)
            case "metadata":
                if self._reason is None:
                    self.fail("it comes before messageStop")
                self.metadata(data)
            case _:
                self._unknown.append({event.name: data})

    def end(self) -> None:
        self._at = "at the end: "
        if self.error is None and self._usage is None:
            self.fail("no metadata came: the answer broke off")

    def _expect_begun(self) -> None:
        if not self._begun or self._reason is not None:
            self.fail("it comes before messageStart, or after messageStop")

    def _next(self, data: Mapping[str, Any]) -> None:
        self._expect_begun()
        if self._open or data.get("contentBlockIndex") != len(self._blocks):
            self.fail(f"its index is {data.get('contentBlockIndex')!r}; {len(self._blocks)} is next, or one is still open")

    def _begin(self, block: _Growing) -> None:
        if block.kind == "toolUse":
            self._call(block.native)
        self._blocks.append(block)
        self._open = True

    def _call(self, native: Mapping[str, Any]) -> None:
        name, call_id = native.get("name"), native.get("toolUseId")
        if not isinstance(name, str) or not name or not isinstance(call_id, str) or not call_id:
            self.fail(f"a call without a name or an id: {native!r}")
        if any(block.native.get("toolUseId") == call_id for block in self._blocks if block.kind == "toolUse"):
            self.fail(f"another call has the id {call_id!r}")

    def _delta(self, data: Mapping[str, Any]) -> None:
        delta = data.get("delta")
        kind = _one(delta)
        of = "text" if kind == "citation" else kind
        if not self._open:
            if of not in {"text", "reasoningContent"}:
                self.fail(f"a block of {of!r} has no start")
            self._next(data)
            self._begin(_Growing(of))
        self._expect_begun()
        block = self._blocks[-1]
        if data.get("contentBlockIndex") != len(self._blocks) - 1 or block.kind != of:
            self.fail(f"a delta of {kind!r} for block {data.get('contentBlockIndex')!r}, open is a {block.kind}")
        held = _held(delta, kind)
        match kind:
            case "text":
                self._piece(block, held)
            case "citation":
                block.cites.append(_cite(held))
            case "toolUse":
                self._piece(block, held.get("input") if isinstance(held, Mapping) else None)
            case "reasoningContent":
                self._reasoning(block, held)
            case "toolResult":
                block.native.setdefault("content", []).extend(held)
            case "image":
                block.native |= held
            case other:
                self.fail(f"a delta of kind {other!r}")

    def _piece(self, block: _Growing, text: Any) -> None:
        if not isinstance(text, str):
            self.fail(f"no text: {text!r}")
        if block.signature:
            self.fail("more thinking after the signature")
        block.pieces.append(text)

    def _reasoning(self, block: _Growing, held: Any) -> None:
        match _one(held):
            case "text":
                self._piece(block, held["text"])
            case "signature":
                if block.signature:
                    self.fail("a second signature")
                block.signature = held["signature"]
            case "redactedContent":
                block.redacted += self._blob(held["redactedContent"])
            case other:
                self.fail(f"reasoning of kind {other!r}")

    def _blob(self, text: Any) -> str:
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError, TypeError):
            self.fail(f"no base64 of a text: {text!r}")

    # ------------------------------------------------------------ a whole answer

    def whole(self, native: Any) -> None:
        kind = _one(native)
        held = native.get(kind)
        block = _Growing(kind)
        match kind:
            case "text":
                self._piece(block, held)
            case "toolUse":
                self._call(held)
                if not isinstance(held.get("input"), Mapping):
                    self.fail(f"the input is no object: {held!r}")
                block.native = dict(held)
            case "reasoningContent":
                if "redactedContent" in held:
                    block.redacted = self._blob(held["redactedContent"])
                else:
                    self._piece(block, held["reasoningText"].get("text"))
                    block.signature = held["reasoningText"].get("signature", "")
            case "citationsContent":
                block.kind = "text"
                block.pieces = [piece["text"] for piece in held["content"]]
                block.cites = [_cite(one) for one in held["citations"]]
            case _:
                block.native = dict(held)
        self._blocks.append(block)

    def stop(self, data: Mapping[str, Any]) -> None:
        reason = data.get("stopReason")
        if reason not in _FINISHES:
            self.fail(f"stopReason is {reason!r}")
        calls = [b for b in self._blocks if b.kind == "toolUse" and "type" not in b.native]
        if (reason == "tool_use") != bool(calls) and reason not in _SHORTENED:
            self.fail(f"stopReason is {reason!r}, and there are {len(calls)} calls")
        self._reason = str(reason)
        more = data.get("additionalModelResponseFields")
        self._stop_sequence = more.get("stop_sequence") if isinstance(more, Mapping) else None
        if reason not in _SHORTENED and not all(_view_of(block).whole for block in calls):
            self.fail("the input of a call is not a JSON object")

    def metadata(self, data: Mapping[str, Any]) -> None:
        usage, metrics = data.get("usage"), data.get("metrics")
        if not isinstance(metrics, Mapping) or not isinstance(metrics.get("latencyMs"), int):
            self.fail(f"metrics are {metrics!r}")
        if not isinstance(usage, Mapping):
            self.fail("usage is missing")
        for key in ("inputTokens", "outputTokens", "totalTokens"):
            if not isinstance(usage.get(key), int):
                self.fail(f"usage.{key} is {usage.get(key)!r}")
        parts = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        if usage["totalTokens"] != sum(usage.get(key, 0) for key in parts):
            self.fail(f"the counts do not add up: {usage!r}")
        self._usage = dict(usage)

    # ------------------------------------------------------------ what it says

    def view(self) -> View:
        return View(
            tuple(map(_view_of, self._blocks)),
            _FINISHES.get(self._reason or ""),
            self._tokens(),
            self.error,
            self._stop_sequence,
            unknown=tuple(self._unknown),
        )

    def _tokens(self) -> Tokens | None:
        usage = self._usage
        if usage is None:
            return None
        hour = sum(one["inputTokens"] for one in usage.get("cacheDetails", ()) if one["ttl"] == "1h")
        return Tokens(
            input=usage["inputTokens"],
            output=usage["outputTokens"],
            cache_read=usage.get("cacheReadInputTokens", 0),
            cache_write=usage.get("cacheWriteInputTokens", 0) - hour,
            cache_write_1h=hour,
        )


_KNOWN = frozenset({"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"})


def _held(union: Any, kind: str) -> Any:
    return union[kind]


def _one(union: Any) -> str:
    """What a union says: it has one member."""
    if not isinstance(union, Mapping) or len(union) != 1:
        raise IllegalStream(f"not exactly one member: {union!r}")
    return str(next(iter(union)))


def _cite(native: Any) -> Cite:
    if not isinstance(native, Mapping):
        raise IllegalStream(f"no citation: {native!r}")
    cited = "".join(str(piece.get("text", "")) for piece in native.get("sourceContent", ()))
    web = (native.get("location") or {}).get("web") or {}
    return Cite(native.get("title") or "", web.get("url") or "", cited)


def _view_of(block: _Growing) -> Block:
    text = "".join(block.pieces)
    native = block.native
    match block.kind:
        case "text":
            return Block("text", text, citations=tuple(block.cites))
        case "reasoningContent":
            if block.redacted:
                return Block("redacted_thinking", block.redacted)
            return Block("thinking", text, signature=block.signature)
        case "toolUse":
            kind = "server_tool_call" if "type" in native else "tool_call"
            if not text:
                return Block(kind, native.get("input", {}), native["name"], native["toolUseId"])
            try:
                value = strict_json(text, "input")
            except IllegalStream:
                return Block(kind, text, native["name"], native["toolUseId"], whole=False)
            return Block(kind, value, native["name"], native["toolUseId"], whole=isinstance(value, dict))
        case "toolResult":
            return Block("server_tool_result", native, name=str(native.get("type", "")), id=str(native.get("toolUseId", "")))
        case _:
            return Block("unknown", native, name=block.kind)
