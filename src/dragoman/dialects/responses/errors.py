"""Errors as Responses puts them: with a status like every API of OpenAI (`openai_errors`); as an `error` event, before the
answer has begun; as `response.failed`, after it has.

The types of an `error` event say `code`, `message` and `param`; what the API really sends has them in an object `error`, by
which the SDK knows that it must raise. Both are written, and both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from dragoman.dialects import openai_errors
from dragoman.dialects.openai_errors import TYPE_OF, encode_error
from dragoman.errors import Category, DragomanError, UpstreamRefused

Block = dict[str, Any]

__all__ = ["decode_error", "encode_error", "failure", "fault_of", "stream_error"]

_CODE_OF: dict[Category, str] = {
    "invalid_request": "invalid_prompt",
    "billing": "insufficient_quota",
    "rate_limit": "rate_limit_exceeded",
    "overloaded": "server_is_overloaded",
    "capability": "invalid_prompt",
}
_KNOWN = frozenset(
    {"server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota"}
    | {"server_is_overloaded", "slow_down", "usage_limit_reached", "usage_not_included"}
)
"""Codes that clients act upon."""


def failure(error: DragomanError) -> Block:
    """The `error` of a Response that failed."""
    code = error.code if error.code in _KNOWN else _CODE_OF.get(error.category, "server_error")
    return {"code": code, "message": error.message, "type": TYPE_OF[error.category], "param": error.param}


def stream_error(error: DragomanError, request_id: str) -> bytes:  # noqa: ARG001 - no place for it
    inner = failure(error)
    body = {"type": "error", "sequence_number": 0, **{key: inner[key] for key in ("code", "message", "param")}, "error": inner}
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(body)


def decode_error(status: int, headers: Mapping[str, str], body: bytes, provider: str) -> UpstreamRefused:
    """Also of a frame that holds a failed Response, or an `error` event."""
    try:
        native = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        native = None
    return openai_errors.decode_error(status, headers, _bare(native) or body, provider)


def fault_of(native: Block, provider: str) -> UpstreamRefused:
    """The error in an event, or in a Response, that was read already."""
    body = _bare(native) or msgspec.json.encode(native)
    return openai_errors.decode_error(0, {}, body, provider)


def _bare(native: object) -> bytes | None:
    """The error alone, as an HTTP error has it; None where it stands so already."""
    if not isinstance(native, dict):
        return None
    holder = cast("Block", native)
    inner = holder.get("response")
    if isinstance(inner, dict):
        holder = cast("Block", inner)
    if isinstance(holder.get("error"), dict | str):
        return msgspec.json.encode({"error": holder["error"]}) if holder is not native or "type" in holder else None
    if holder.get("type") == "error":
        # The event's own type says nothing of the error.
        return msgspec.json.encode({"error": {key: value for key, value in holder.items() if key != "type"}})
    if holder.get("object") == "response" or holder is not native:
        reason = holder.get("incomplete_details") or holder.get("status") or "no reason given"
        return msgspec.json.encode({"error": {"message": f"the response failed: {reason}"}})
    return None
