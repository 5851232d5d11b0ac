"""Counting tokens, `POST /v1/responses/input_tokens`. Types: `openai.types.responses.input_token_count_params`."""

from __future__ import annotations

import msgspec

from dragoman.dialects.counts import count_of, only
from dragoman.dialects.responses.decode_request import decode_request
from dragoman.ir.request import Request
from dragoman.wire.body import fields_of
from dragoman.wire.http import Inbound

_COUNTS = frozenset(
    {
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "personality",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
_SUFFIX = "/responses/input_tokens"


def asks(inbound: Inbound) -> bool:
    """Whether a path asks for a count. Base URLs are given with and without /v1."""
    return inbound.path.rstrip("/") in {_SUFFIX, f"/v1{_SUFFIX}"}


def decode_count(body: bytes) -> Request:
    """The request whose tokens are to be counted. Here its input may be left out."""
    fields = fields_of(body)
    if bytes(fields.get("input", b"null")) == b"null":
        fields["input"] = msgspec.Raw(b"[]")
        body = msgspec.json.encode(fields)
    return decode_request(body)


def encode_counted(tokens: int) -> bytes:
    return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})


def encode_count(body: bytes, model: str) -> bytes:
    del model
    return only(body, _COUNTS)


def decode_counted(body: bytes, issuer: str) -> int:
    return count_of(body, "input_tokens", issuer)


def address(url: str, model: str) -> str:
    del model
    return f"{url}/input_tokens"
