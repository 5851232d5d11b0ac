"""Errors as OpenAI's APIs put them, Chat Completions and Responses alike: `{"error":{"message","type","param","code"}}`.

What one means is read off its code first, then its status, then its type, which is often the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dragoman.dialects import told
from dragoman.dialects.base import Headers, HttpError
from dragoman.errors import STATUS_OF, Category, DragomanError, UnknownModel, UpstreamRefused, category_of

TYPE_OF: dict[Category, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "billing": "insufficient_quota",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "conflict": "invalid_request_error",
    "too_large": "invalid_request_error",
    "rate_limit": "rate_limit_error",
    "overloaded": "server_error",
    "timeout": "timeout",
    "unavailable": "server_error",
    "capability": "invalid_request_error",
    "internal": "server_error",
}

# Words that say what happened more exactly than a status does.
_EXACT: dict[str, Category] = {
    "context_length_exceeded": "invalid_request",
    "string_above_max_length": "invalid_request",
    "content_filter": "invalid_request",
    "content_policy_violation": "invalid_request",
    "unsupported_parameter": "invalid_request",
    "unsupported_value": "invalid_request",
    "invalid_argument": "invalid_request",
    "invalid_prompt": "invalid_request",
    "invalid_image": "invalid_request",
    "invalid_encrypted_content": "invalid_request",
    "failed_precondition": "invalid_request",
    "invalid_api_key": "authentication",
    "invalid_authentication": "authentication",
    "authentication_error": "authentication",
    "unauthenticated": "authentication",
    "unauthorized": "authentication",
    "insufficient_quota": "billing",
    "insufficient_balance": "billing",
    "insufficient_credits": "billing",
    "billing_error": "billing",
    "billing_not_active": "billing",
    "billing_hard_limit_reached": "billing",
    "payment_required": "billing",
    "usage_not_included": "billing",
    "permission_error": "permission",
    "permission_denied": "permission",
    "forbidden": "permission",
    "unsupported_country_region_territory": "permission",
    "model_not_found": "not_found",
    "model_not_available": "not_found",
    "not_found": "not_found",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "rate_limit": "rate_limit",
    "resource_exhausted": "rate_limit",
    "usage_limit_reached": "rate_limit",
    "too_many_requests": "rate_limit",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "engine_overloaded": "overloaded",
    "engine_overloaded_error": "overloaded",
    "server_busy": "overloaded",
    "server_overloaded": "overloaded",
    "server_is_overloaded": "overloaded",
    "service_unavailable": "overloaded",
    "service_unavailable_error": "overloaded",
    "slow_down": "overloaded",
    "timeout": "timeout",
    "timeout_error": "timeout",
    "deadline_exceeded": "timeout",
    "vector_store_timeout": "timeout",
    "bad_gateway": "unavailable",
}

# Words that stand on errors of every kind: they count only where there is no status.
_VAGUE: dict[str, Category] = {
    "invalid_request_error": "invalid_request",
    "badrequesterror": "invalid_request",
    "bad_request": "invalid_request",
    "validation_error": "invalid_request",
    "unavailable": "overloaded",
    "server_error": "internal",
    "api_error": "internal",
    "internal": "internal",
    "internal_error": "internal",
    "internal_server_error": "internal",
    "internalservererror": "internal",
    "tokens": "rate_limit",
    "requests": "rate_limit",
}

_TOO_LARGE = "is too large to process"
"""llama.cpp, of a text to embed that is longer than its batch; with status 500, as if another try could help."""


def encode_error(error: DragomanError, request_id: str) -> HttpError:
    headers: Headers = [("content-type", "application/json"), ("x-request-id", request_id)]
    if error.retry_after is not None:
        headers.append(("retry-after", str(max(0, math.ceil(error.retry_after)))))
    # 529 is Anthropic's word for it.
    status = STATUS_OF["overloaded"] if error.status == 529 else error.status
    return HttpError(status, headers, msgspec.json.encode(error_body(error)))


def error_body(error: DragomanError) -> dict[str, Any]:
    code = error.code
    if code is None and isinstance(error, UnknownModel):
        code = "model_not_found"
    elif code is None and error.category == "billing":
        code = "insufficient_quota"
    return {"error": {"message": error.message, "type": TYPE_OF[error.category], "param": error.param, "code": code}}


def decode_error(status: int, headers: Mapping[str, str], body: bytes, provider: str) -> UpstreamRefused:
    """`status` below 400 means that the error stood in a 200, or in a stream, and is known by its words alone."""
    said = told.read(body)
    refused = status >= 400
    if not refused and said.status is not None:
        status, refused = said.status, True
    code = (said.code or "").lower()
    kind = (said.type or "").lower()
    known = _EXACT.get(code) or _EXACT.get(kind) or _EXACT.get(said.word)
    if known is None:
        known = category_of(status) if refused else _VAGUE.get(code) or _VAGUE.get(kind) or _VAGUE.get(said.word)
    category: Category = known or "unavailable"
    if not refused:
        status = STATUS_OF[category]
    if status == 500 and _TOO_LARGE in said.message:
        category, status = "too_large", STATUS_OF["too_large"]
    message = said.message or f"{provider or 'the provider'} answered with status {status} and no message"
    return UpstreamRefused(
        message,
        provider=provider,
        status=status,
        category=category,
        code=said.code or (said.type if kind in _EXACT else None),
        param=said.param,
        retry_after=told.retry_after(headers, said),
    )
