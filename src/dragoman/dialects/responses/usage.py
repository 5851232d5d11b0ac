"""Usage between Responses, where cached and reasoning tokens are counted within their totals, and the hub's disjoint
buckets. Types: `openai.types.responses.response_usage`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.counts import count_in
from dragoman.dialects.openai_usage import disjoint
from dragoman.ir.usage import Usage

Block = dict[str, Any]


def decode_usage(native: object, tool_usage: object = None) -> Usage | None:
    """`native` is a Response's `usage`, `tool_usage` what stands beside it under that name."""
    if not isinstance(native, dict):
        return None
    usage = cast("Block", native)
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    prompt, output = count_in(usage, "input_tokens"), count_in(usage, "output_tokens")
    details = usage.get("input_tokens_details")
    cached, written = count_in(details, "cached_tokens"), count_in(details, "cache_write_tokens")
    reasoning = count_in(usage.get("output_tokens_details"), "reasoning_tokens")
    total = count_in(usage, "total_tokens")
    searches = count_in(cast("Block", tool_usage).get("web_search"), "num_requests") if isinstance(tool_usage, dict) else 0
    return disjoint(prompt, output, total, cached=cached, written=written, reasoning=reasoning, searches=searches)


def encode_usage(usage: Usage) -> Block:
    """The full shape, always: the types of the SDKs demand it."""
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_total + usage.output_total,
    }
