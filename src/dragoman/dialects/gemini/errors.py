"""Errors as Google's APIs put them: `{"error":{"code","message","status","details"}}`, with a status or within a stream.

`status` is a word of google.rpc.Code, `details` hold what is known beside it: `RetryInfo` when to come back, `ErrorInfo` a
reason, `BadRequest` the field. A wrong key is a 400 whose reason alone tells (`API_KEY_INVALID`).
https://ai.google.dev/gemini-api/docs/troubleshooting, https://cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from dragoman.dialects import told
from dragoman.dialects.base import Headers, HttpError
from dragoman.errors import STATUS_OF, Category, DragomanError, UpstreamRefused, category_of

WORD_OF: dict[Category, str] = {
    "invalid_request": "INVALID_ARGUMENT",
    "authentication": "UNAUTHENTICATED",
    "billing": "FAILED_PRECONDITION",
    "permission": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "conflict": "ABORTED",
    "too_large": "INVALID_ARGUMENT",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "overloaded": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
    "unavailable": "UNAVAILABLE",
    "capability": "INVALID_ARGUMENT",
    "internal": "INTERNAL",
}

_CATEGORY_OF_WORD: dict[str, Category] = {
    "INVALID_ARGUMENT": "invalid_request",
    "OUT_OF_RANGE": "invalid_request",
    "FAILED_PRECONDITION": "invalid_request",
    "UNIMPLEMENTED": "invalid_request",
    "UNAUTHENTICATED": "authentication",
    "PERMISSION_DENIED": "permission",
    "NOT_FOUND": "not_found",
    "ALREADY_EXISTS": "conflict",
    "ABORTED": "conflict",
    "RESOURCE_EXHAUSTED": "rate_limit",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
    "CANCELLED": "timeout",
    "INTERNAL": "internal",
    "UNKNOWN": "internal",
    "DATA_LOSS": "internal",
}

_CATEGORY_OF_REASON: dict[str, Category] = {
    "API_KEY_INVALID": "authentication",
    "API_KEY_EXPIRED": "authentication",
    "ACCESS_TOKEN_EXPIRED": "authentication",
    "API_KEY_SERVICE_BLOCKED": "permission",
    "SERVICE_DISABLED": "permission",
    "CONSUMER_SUSPENDED": "permission",
    "BILLING_DISABLED": "billing",
    "RATE_LIMIT_EXCEEDED": "rate_limit",
}

_SHARED = frozenset({400, 500, 502, 503})
"""Statuses that several words share; any other says by itself what went wrong."""

_MOST = 2000

Block = dict[str, Any]


def encode_error(error: DragomanError, request_id: str) -> HttpError:
    headers: Headers = [("content-type", "application/json; charset=UTF-8"), ("x-request-id", request_id)]
    if error.retry_after is not None:
        headers.append(("retry-after", str(max(0, math.ceil(error.retry_after)))))
    return HttpError(error.status, headers, msgspec.json.encode(error_body(error)))


def stream_error(error: DragomanError, request_id: str) -> bytes:  # noqa: ARG001 - a frame has no place for it
    return b"data: %b\n\n" % msgspec.json.encode(error_body(error))


def error_body(error: DragomanError) -> Block:
    """`error` must be the first member, and `code` a number: the SDKs look for just that in a stream."""
    inner: Block = {"code": error.status, "message": error.message, "status": WORD_OF[error.category]}
    details: list[Block] = []
    if error.code is not None and error.code != inner["status"]:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code, "domain": "dragoman"})
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        delay = f"{max(0.0, error.retry_after):.3f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay + "s"})
    if details:
        inner["details"] = details
    return {"error": inner}


def decode_error(status: int, headers: Mapping[str, str], body: bytes, provider: str) -> UpstreamRefused:
    """`status` below 400 means that the error stood in a 200, or in a stream, and is known by its words alone."""
    said, read = _error_in(body), told.read(body)
    details = [cast("Block", one) for one in _list(said.get("details")) if isinstance(one, dict)]
    word = _text(said.get("status")).upper()
    reason = next((_text(one.get("reason")) for one in details if one.get("reason")), "")
    code = said.get("code")
    if status < 400 and isinstance(code, int) and 400 <= code < 600:
        status = code
    category: Category | None = _CATEGORY_OF_REASON.get(reason)
    if category is None and (status < 400 or status in _SHARED):
        category = _CATEGORY_OF_WORD.get(word)
        if category == "overloaded" and status == 502:
            category = "unavailable"
    if category is None:
        category = category_of(status) if status >= 400 else "unavailable"
    message = _text(said.get("message"))[:_MOST] or read.message
    return UpstreamRefused(
        message or f"{provider or 'the provider'} answered with status {status} and no message",
        provider=provider,
        status=status if status >= 400 else STATUS_OF[category],
        category=category,
        code=reason or word or None,
        param=_field(details),
        retry_after=read.wait if read.wait is not None else told.retry_after(headers),
    )


def _error_in(body: bytes) -> Block:
    try:
        native = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(native, list) and native:
        native = cast("list[Any]", native)[0]
    if not isinstance(native, dict):
        return {"message": native} if isinstance(native, str) else {}
    whole = cast("Block", native)
    inner = whole.get("error")
    if isinstance(inner, str):
        return {**whole, "message": whole.get("message") or inner}
    return cast("Block", inner) if isinstance(inner, dict) else whole


def _field(details: list[Block]) -> str | None:
    for detail in details:
        for violation in _list(detail.get("fieldViolations")):
            if isinstance(violation, dict) and isinstance(violation.get("field"), str) and violation["field"]:
                return violation["field"]
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
