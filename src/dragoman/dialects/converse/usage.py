"""Tokens. The buckets are disjoint: `inputTokens` is without what the cache read or wrote. Types: `TokenUsage`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.counts import count_in
from dragoman.ir.usage import Usage

Block = dict[str, Any]


def decode_usage(native: object) -> Usage | None:
    if not isinstance(native, dict):
        return None
    holder = cast("Block", native)
    written = count_in(holder, "cacheWriteInputTokens")
    details = holder.get("cacheDetails")
    hour = sum(
        count_in(one, "inputTokens")
        for one in (cast("list[object]", details) if isinstance(details, list) else ())
        if isinstance(one, dict) and cast("Block", one).get("ttl") == "1h"
    )
    hour = min(hour, written)
    return Usage(
        input=count_in(holder, "inputTokens"),
        cache_read=count_in(holder, "cacheReadInputTokens"),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=count_in(holder, "outputTokens"),
    )


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
