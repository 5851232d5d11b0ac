"""Usage between Responses, where cached and reasoning tokens are counted within their totals, and the hub's disjoint
buckets. Types: `openai.types.responses.response_usage`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.ir.usage import Usage

Block = dict[str, Any]


def decode_usage(native: object, tool_usage: object = None) -> Usage | None:
    """`native` is a Response's `usage`, `tool_usage` what stands beside it under that name."""
    if not isinstance(native, dict):
        return None
    usage = cast("Block", native)
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    prompt, output = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    details = usage.get("input_tokens_details")
    cached, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    # Some servers count what was cached beside the input instead of within it, and reasoning beside the output.
    fresh = prompt - cached - written if cached + written <= prompt else prompt
    reasoning = _count(usage.get("output_tokens_details"), "reasoning_tokens")
    beside = reasoning > output or (reasoning > 0 and _count(usage, "total_tokens") == prompt + output + reasoning)
    searches = cast("Block", tool_usage).get("web_search") if isinstance(tool_usage, dict) else None
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=written,
        output=output if beside else output - reasoning,
        reasoning=reasoning,
        searches=_count(searches, "num_requests"),
    )


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


def _count(holder: object, key: str) -> int:
    value = cast("Block", holder).get(key) if isinstance(holder, dict) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15 else 0
