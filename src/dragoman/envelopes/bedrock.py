"""Messages as Amazon Bedrock wraps them:

    POST /model/MODEL/invoke                        an answer in one piece
    POST /model/MODEL/invoke-with-response-stream   an event stream of AWS, a `chunk` for each event of Messages
    POST /model/MODEL/count-tokens                  {"input":{"invokeModel":{"body": base64}}} -> {"inputTokens"}

MODEL is percent-encoded: a model, an inference profile (`us.anthropic.claude-...-v1:0`), or an ARN. A chunk holds
`{"bytes": base64 of the event}`, the last of them also how much was counted; an error ends the stream as an exception of the
API. An error in place of an answer is named in `x-amzn-errortype`, and its body has AWS's `message` beside Anthropic's own
members, as clients of either kind read it.

A signature of AWS is not checked: it is made for AWS's hosts and with a secret that only AWS knows.

Source: `anthropic.lib.bedrock`, botocore's model of `bedrock-runtime` (`InvokeModel`, `ResponseStream`, `CountTokens`), and
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, Literal, cast
from urllib.parse import unquote

import msgspec

from dragoman.envelopes.base import Envelope, message
from dragoman.errors import MalformedBody
from dragoman.wire.body import fields_of
from dragoman.wire.eventstream import MEDIA_TYPE, write_event, write_exception
from dragoman.wire.http import Clock, Inbound, Outbound, RawHeaders, Tap
from dragoman.wire.sse import Frame, SseParser

Object = dict[str, Any]
Mode = Literal["invoke", "invoke-with-response-stream", "count-tokens"]

_PATH = re.compile(rb"/model/(.+)/(invoke|invoke-with-response-stream|count-tokens)/?")
_ABOUT = (b"x-amz-", b"x-amzn-", b"amz-sdk-")
_GUARDRAIL = b"x-amzn-bedrock-guardrailidentifier"

_EXCEPTION_OF_TYPE = {
    "invalid_request_error": "ValidationException",
    "request_too_large": "ValidationException",
    "authentication_error": "UnrecognizedClientException",
    "permission_error": "AccessDeniedException",
    "billing_error": "AccessDeniedException",
    "not_found_error": "ResourceNotFoundException",
    "conflict_error": "ConflictException",
    "rate_limit_error": "ThrottlingException",
    "overloaded_error": "ServiceUnavailableException",
    "timeout_error": "ModelTimeoutException",
    "api_error": "InternalServerException",
}
_IN_STREAM = {
    "ValidationException": "validationException",
    "ThrottlingException": "throttlingException",
    "ServiceUnavailableException": "serviceUnavailableException",
    "ModelTimeoutException": "modelTimeoutException",
    "InternalServerException": "internalServerException",
}
"""The members of `ResponseStream`; anything else is a `modelStreamErrorException`."""

_NOT_COUNTED = frozenset({"max_tokens", "metadata", "service_tier", "stop_sequences", "temperature", "top_k", "top_p"})
"""Bedrock counts the body of an invocation; Anthropic's own count takes no more than what it counts."""

_OVERLOADED, _UNAVAILABLE = 529, 503
_READ = frozenset({"message_start", "message_delta", "message_stop", "error"})
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode

KEEP_ALIVE = write_event("ping", b"{}")
"""An event that the API does not have, which its clients pass over. A `ping` of Messages in a chunk would be more than
Bedrock ever sends."""


def find(inbound: Inbound) -> Envelope | None:
    found = _PATH.fullmatch(inbound.raw_path) if inbound.raw_path.startswith(b"/model/") else None
    if found is None or (found[2] == b"count-tokens" and b'"invokeModel"' not in inbound.body):
        # The tokens of a conversation are counted at the same path, and that is a dialect of its own.
        return None
    return _ENVELOPES[found[2]]


# ---------------------------------------------------------------- in


def _open(inbound: Inbound) -> Inbound:
    found = _PATH.fullmatch(inbound.raw_path)
    assert found is not None
    if inbound.header(_GUARDRAIL) is not None:
        raise MalformedBody(
            f"{_GUARDRAIL.decode()}: this request goes through a gateway, where no guardrail of Bedrock's would be applied; "
            "leave the header out, if it may go without",
            param=_GUARDRAIL.decode(),
        )
    counts = found[2] == b"count-tokens"
    body = _counted(inbound.body) if counts else inbound.body
    stream = found[2] == b"invoke-with-response-stream"
    fields = fields_of(body)
    if counts:
        fields = {key: value for key, value in fields.items() if key not in _NOT_COUNTED}
    return message(inbound, fields, model=unquote(found[1].decode("latin-1")), stream=stream, about=_ABOUT)


class _Invoked(msgspec.Struct):
    body: str


class _Input(msgspec.Struct, rename="camel"):
    invoke_model: _Invoked | None = None


class _Count(msgspec.Struct):
    input: _Input


def _counted(body: bytes) -> bytes:
    """The body whose tokens are to be counted."""
    try:
        asked = msgspec.json.decode(body, type=_Count).input.invoke_model
        if asked is not None:
            return b64decode(asked.body, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError):
        pass
    what = "input.invokeModel.body: the body of an invocation is expected here, as base64; no other input is counted"
    raise MalformedBody(what, param="input")


# ---------------------------------------------------------------- out


class BedrockOut(Tap):
    """An `Outbound` for the answer in its own dialect. An answer in one piece waits for its end, as its headers tell what was
    counted; a stream is wrapped event by event."""

    def __init__(self, out: Outbound, clock: Clock, mode: Mode) -> None:
        super().__init__(out)
        self._clock = clock
        self._mode = mode
        self._begun = clock.now()
        self._status = 0
        self._headers: RawHeaders = []
        self._held: list[bytes] = []
        self._frames: _Frames | None = None

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._status = status
        self._headers = [pair for pair in headers if pair[0] != b"content-length"]
        kind = next((value for name, value in self._headers if name == b"content-type"), b"")
        own = next((value for name, value in self._headers if name == b"x-dragoman-request-id"), None)
        if own is not None:
            self._headers.append((b"x-amzn-requestid", own))
        if status == 200 and kind.lower().startswith(b"text/event-stream"):
            self._frames = _Frames(self._clock, self._begun)
            rest = [pair for pair in self._headers if pair[0] != b"content-type"]
            media = [(b"content-type", MEDIA_TYPE), (b"x-amzn-bedrock-content-type", b"application/json")]
            await self._out.start(status, [*media, *rest])

    async def write(self, data: bytes) -> None:
        if self._frames is None:
            self._held.append(data)
        elif told := self._frames.feed(data):
            await self._out.write(told)

    async def finish(self, data: bytes = b"") -> None:
        if self._frames is not None:
            await self._out.finish(self._frames.feed(data) + self._frames.end())
            return
        body = b"".join([*self._held, data])
        status, headers, body = self._refused(body) if self._status >= 400 else self._whole(body)
        await self._out.whole(status, [*self._headers, *headers], body)

    def _whole(self, body: bytes) -> tuple[int, RawHeaders, bytes]:
        answer = read_object(body)
        if self._mode == "count-tokens":
            return self._status, [], _encode({"inputTokens": answer.get("input_tokens", 0)})
        latency = round((self._clock.now() - self._begun) * 1000)
        counted = metrics(answer.get("usage"), latency)
        headers: RawHeaders = [
            (f"x-amzn-bedrock-{header}".encode(), b"%d" % counted[key]) for key, header in _HEADERS.items() if key in counted
        ]
        return self._status, headers, body

    def _refused(self, body: bytes) -> tuple[int, RawHeaders, bytes]:
        answer = read_object(body)
        kind, text = error_of(answer)
        text = text or body.decode("utf-8", "replace")
        # 529 is Anthropic's word for it, and AWS's clients know only this one.
        status = _UNAVAILABLE if self._status == _OVERLOADED else self._status
        name = exception_of(kind, status)
        return status, [(b"x-amzn-errortype", name.encode())], _encode({"message": text, **answer})


class _Frames:
    """Server-sent events of Messages to messages of AWS's event streams."""

    def __init__(self, clock: Clock, begun: float) -> None:
        self._clock = clock
        self._begun = begun
        self._first: float | None = None
        self._usage: Object = {}
        self._parser = SseParser()

    def feed(self, data: bytes) -> bytes:
        return b"".join(map(self._frame, self._parser.feed(data)))

    def end(self) -> bytes:
        return b"".join(map(self._frame, self._parser.end()))

    def _frame(self, frame: Frame) -> bytes:
        kind, data = frame.event, frame.data
        if not kind or kind == "message":
            told = read_object(data).get("type")
            kind = told if isinstance(told, str) else ""
        if kind == "ping":
            return KEEP_ALIVE
        if self._first is None:
            self._first = self._clock.now()
        if kind in _READ:
            event = read_object(data)
            if kind == "error":
                word, text = error_of(event)
                name = _IN_STREAM.get(exception_of(word, 0), "modelStreamErrorException")
                return write_exception(name, _encode({"message": text or data.decode("utf-8", "replace")}))
            self._count(event.get("usage"))
            self._count(_member(event, "message").get("usage"))
            if kind == "message_stop":
                now = self._clock.now()
                counted = metrics(self._usage, round((now - self._begun) * 1000))
                counted["firstByteLatency"] = round((self._first - self._begun) * 1000)
                data = _encode({**event, "amazon-bedrock-invocationMetrics": counted})
        return write_event("chunk", b'{"bytes":"%b"}' % b64encode(data))

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {key: value for key, value in cast("Object", usage).items() if value is not None}


_HEADERS = {
    "inputTokenCount": "input-token-count",
    "outputTokenCount": "output-token-count",
    "cacheReadInputTokenCount": "cache-read-input-token-count",
    "cacheWriteInputTokenCount": "cache-write-input-token-count",
    "invocationLatency": "invocation-latency",
}
_COUNTS = {
    "input_tokens": "inputTokenCount",
    "output_tokens": "outputTokenCount",
    "cache_read_input_tokens": "cacheReadInputTokenCount",
    "cache_creation_input_tokens": "cacheWriteInputTokenCount",
}


def metrics(usage: object, latency: int) -> dict[str, int]:
    """What was counted, as Bedrock names it; `latency` in milliseconds."""
    counts = cast("Object", usage) if isinstance(usage, dict) else {}
    found = {name: counts[key] for key, name in _COUNTS.items() if type(counts.get(key)) is int}
    return {**found, "invocationLatency": latency}


def read_object(data: bytes) -> Object:
    """Empty for what is none."""
    try:
        return _object.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def error_of(event: Object) -> tuple[str, str]:
    """Type and words of an error of Messages."""
    inner = _member(event, "error")
    kind, text = inner.get("type"), inner.get("message")
    return kind if isinstance(kind, str) else "", text if isinstance(text, str) else ""


def exception_of(kind: str, status: int) -> str:
    name = _EXCEPTION_OF_TYPE.get(kind, "InternalServerException" if not 400 <= status < 500 else "ValidationException")
    return "ServiceUnavailableException" if status in {502, 503} else name


def _member(event: Object, key: str) -> Object:
    inner = event.get(key)
    return cast("Object", inner) if isinstance(inner, dict) else {}


def _invoked(out: Outbound, clock: Clock) -> Outbound:
    return BedrockOut(out, clock, "invoke")


def _counting(out: Outbound, clock: Clock) -> Outbound:
    return BedrockOut(out, clock, "count-tokens")


_INVOKE = Envelope("messages", "infer", _open, _invoked)
_ENVELOPES = {
    b"invoke": _INVOKE,
    b"invoke-with-response-stream": _INVOKE,
    b"count-tokens": Envelope("messages", "count", _open, _counting),
}
