"""Counting tokens, `POST /v1/messages/count_tokens`. Types: `anthropic.types.beta.message_count_tokens_params`."""

from __future__ import annotations

import msgspec

from dragoman.dialects.base import Counting
from dragoman.dialects.counts import count_of, only
from dragoman.dialects.messages.decode_request import decode_request

_COUNTS = frozenset(
    {
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)


def _encode(tokens: int) -> bytes:
    return msgspec.json.encode({"input_tokens": tokens})


def _address(url: str, model: str) -> str:
    del model
    return f"{url}/count_tokens"


def _asked(body: bytes, model: str) -> bytes:
    del model
    return only(body, _COUNTS)


def _counted(body: bytes, issuer: str) -> int:
    return count_of(body, "input_tokens", issuer)


COUNTING = Counting(decode_request, _encode, _address, _asked, _counted)
