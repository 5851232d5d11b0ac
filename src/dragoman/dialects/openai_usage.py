"""Usage as OpenAI's chat and text completions tell it, where cached and reasoning tokens are counted within their totals, and
the hub's disjoint buckets. Types: `openai.types.completion_usage`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.base import Reply
from dragoman.ir.usage import Usage


def decode_usage(native: object) -> Usage | None:
    if not isinstance(native, dict):
        return None
    usage = cast("dict[str, Any]", native)
    if "prompt_tokens" not in usage and "completion_tokens" not in usage:
        return None
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    inner = usage.get("prompt_tokens_details")
    cached = _count(inner, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens") or _count(usage, "cached_tokens")
    written = _count(inner, "cache_write_tokens") or _count(usage, "cache_creation_input_tokens")
    # Some servers count what was cached beside the prompt instead of within it.
    fresh = prompt - cached - written if cached + written <= prompt else prompt
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens") or _count(usage, "reasoning_tokens")
    # Likewise for reasoning; the total tells, where there is one.
    beside = reasoning > completion or (reasoning > 0 and _count(usage, "total_tokens") == prompt + completion + reasoning)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=written,
        output=completion if beside else completion - reasoning,
        reasoning=reasoning,
        searches=_count(usage.get("server_tool_use"), "web_search_requests") or _count(usage, "num_search_queries"),
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    details = {"cached_tokens": usage.cache_read}
    if written := usage.cache_write + usage.cache_write_1h:
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def estimated_usage(reply: Reply, characters: int) -> Usage:
    """What to say where nobody counted: about four characters to a token."""
    return Usage(input=reply.input_estimate, output=max(1, characters // 4), estimated=True)


def _count(holder: Any, key: str) -> int:
    if type(holder) is not dict:
        return 0
    value: Any = holder.get(key)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if type(value) is int:
        return value if 0 < value < 10**15 else 0
    return int(value) if type(value) is float and 0 < value < 1e15 else 0
