"""Errors as Messages puts them: `{"type":"error","error":{"type","message"},"request_id"}` with a status, or `event: error`.

Types: `anthropic.types.shared.error_type`; statuses: https://platform.claude.com/docs/en/api/errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.dialects import told
from dragoman.dialects.base import Headers, HttpError
from dragoman.errors import STATUS_OF, THREAD_UNKNOWN, Category, DragomanError, UpstreamRefused, category_of

TYPE_OF: dict[Category, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "billing": "billing_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "conflict": "conflict_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
    "unavailable": "api_error",
    "capability": "invalid_request_error",
    "internal": "api_error",
}

_CATEGORY_OF_TYPE: dict[str, Category] = {
    **{kind: category for category, kind in reversed(TYPE_OF.items()) if kind not in {"api_error", "invalid_request_error"}},
    "invalid_request_error": "invalid_request",
    "api_error": "internal",
    "permission_denied": "permission",
}

_OVERLOADED = 529


def encode_error(error: DragomanError, request_id: str) -> HttpError:
    status = _OVERLOADED if error.category == "overloaded" else error.status
    headers: Headers = [("content-type", "application/json"), ("request-id", request_id)]
    if error.retry_after is not None:
        headers.append(("retry-after", str(math.ceil(error.retry_after))))
    return HttpError(status, headers, msgspec.json.encode(_body(error, request_id)))


def stream_error(error: DragomanError, request_id: str) -> bytes:
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(_body(error, request_id))


def _body(error: DragomanError, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "error", "error": {"type": TYPE_OF[error.category], "message": error.message}}
    if error.code == THREAD_UNKNOWN:
        # Anthropic's SDKs look for it there, and send the whole conversation (`anthropic.lib.threads`).
        body["error"]["details"] = {"error_code": error.code}
    if request_id:
        body["request_id"] = request_id
    return body


def decode_error(status: int, headers: Mapping[str, str], body: bytes, provider: str) -> UpstreamRefused:
    """`status` 0 means that the error stood inside a stream, where its type alone tells its status."""
    said = told.read(body)
    kind = said.type or ""
    known = _CATEGORY_OF_TYPE.get(kind)
    if status < 400 and known is None and said.status is not None:
        status = said.status
    if status < 400:
        category = known or "unavailable"
        status = _OVERLOADED if category == "overloaded" else STATUS_OF[category]
    else:
        by_status = category_of(status)
        # The status is what the provider's own clients go by; the type only tells apart what shares a status.
        category = known if known is not None and by_status in {"invalid_request", "unavailable", "internal"} else by_status
    return UpstreamRefused(
        said.message or f"{provider or 'the provider'} answered with status {status} and no message",
        provider=provider,
        status=status,
        category=category,
        code=kind if kind and kind != "error" else None,
        retry_after=told.retry_after(headers, said),
    )
