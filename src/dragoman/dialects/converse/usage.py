"""Tokens. The buckets are disjoint: `inputTokens` is without what the cache read or wrote. Types: `TokenUsage`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.ir.usage import Usage

Block = dict[str, Any]


def decode_usage(native: object) -> Usage | None:
    if not isinstance(native, dict):
        return None
    holder = cast("Block", native)
    written = _count(holder, "cacheWriteInputTokens")
    details = holder.get("cacheDetails")
    hour = sum(
        _count(cast("Block", one), "inputTokens")
        for one in (cast("list[object]", details) if isinstance(details, list) else ())
        if isinstance(one, dict) and cast("Block", one).get("ttl") == "1h"
    )
    hour = min(hour, written)
    return Usage(
        input=_count(holder, "inputTokens"),
        cache_read=_count(holder, "cacheReadInputTokens"),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=_count(holder, "outputTokens"),
    )


def _count(holder: Block, key: str) -> int:
    value = holder.get(key)
    return value if type(value) is int and value > 0 else 0


def encode_usage(usage: Usage) -> Block:
    native: Block = {
        "inputTokens": usage.input,
        "outputTokens": usage.output_total,
        "totalTokens": usage.input_total + usage.output_total,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write + usage.cache_write_1h,
    }
    # Sorted as the API sorts them: an hour before five minutes.
    details = [{"ttl": ttl, "inputTokens": n} for ttl, n in (("1h", usage.cache_write_1h), ("5m", usage.cache_write)) if n]
    if details:
        native["cacheDetails"] = details
    return native
