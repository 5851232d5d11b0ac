"""Usage as OpenAI's chat and text completions tell it, where cached and reasoning tokens are counted within their totals, and
the hub's disjoint buckets. Types: `openai.types.completion_usage`."""

from __future__ import annotations

from typing import Annotated, Any, cast

import msgspec

from dragoman.dialects.counts import count_in
from dragoman.ir.usage import Usage

_Tokens = Annotated[int, msgspec.Meta(ge=0, lt=10**15)]


class _InPrompt(msgspec.Struct, gc=False):
    cached_tokens: _Tokens = 0
    cache_write_tokens: _Tokens = 0


class _InCompletion(msgspec.Struct, gc=False):
    reasoning_tokens: _Tokens = 0


class PlainUsage(msgspec.Struct, gc=False):
    """Usage as OpenAI itself tells it. `others`: what only other servers say, which is read with every question asked."""

    prompt_tokens: _Tokens
    completion_tokens: _Tokens
    total_tokens: _Tokens = 0
    prompt_tokens_details: _InPrompt | None = None
    completion_tokens_details: _InCompletion | None = None
    prompt_cache_hit_tokens: Any = None
    cached_tokens: Any = None
    cache_creation_input_tokens: Any = None
    reasoning_tokens: Any = None
    server_tool_use: Any = None
    num_search_queries: Any = None

    @property
    def others(self) -> bool:
        return not (
            self.prompt_cache_hit_tokens is self.cached_tokens is self.cache_creation_input_tokens is None
            and self.reasoning_tokens is self.server_tool_use is self.num_search_queries is None
        )


_plain = msgspec.json.Decoder(PlainUsage).decode
_any = msgspec.json.Decoder().decode


def read_usage(data: bytes) -> Usage | None:
    """The same as `decode_usage`, of JSON text; quick where it is as OpenAI tells it. Raises `DecodeError` and
    `UnicodeDecodeError` where it is not JSON."""
    try:
        plain = _plain(data)
    except msgspec.ValidationError:
        return decode_usage(_any(data))
    if plain.others:
        return decode_usage(_any(data))
    return usage_of(plain)


def usage_of(plain: PlainUsage) -> Usage:
    inner, made = plain.prompt_tokens_details, plain.completion_tokens_details
    prompt, completion = plain.prompt_tokens, plain.completion_tokens
    cached, written = (inner.cached_tokens, inner.cache_write_tokens) if inner is not None else (0, 0)
    return disjoint(
        prompt, completion, plain.total_tokens, cached=cached, written=written,
        reasoning=made.reasoning_tokens if made is not None else 0, searches=0,
    )  # fmt: skip


def decode_usage(native: object) -> Usage | None:
    if not isinstance(native, dict):
        return None
    usage = cast("dict[str, Any]", native)
    if "prompt_tokens" not in usage and "completion_tokens" not in usage:
        return None
    prompt, completion = count_in(usage, "prompt_tokens"), count_in(usage, "completion_tokens")
    inner = usage.get("prompt_tokens_details")
    cached = count_in(inner, "cached_tokens") or count_in(usage, "prompt_cache_hit_tokens") or count_in(usage, "cached_tokens")
    written = count_in(inner, "cache_write_tokens") or count_in(usage, "cache_creation_input_tokens")
    reasoning = count_in(usage.get("completion_tokens_details"), "reasoning_tokens") or count_in(usage, "reasoning_tokens")
    searches = count_in(usage.get("server_tool_use"), "web_search_requests") or count_in(usage, "num_search_queries")
    total = count_in(usage, "total_tokens")
    return disjoint(prompt, completion, total, cached=cached, written=written, reasoning=reasoning, searches=searches)


def disjoint(prompt: int, completion: int, total: int, *, cached: int, written: int, reasoning: int, searches: int) -> Usage:
    """Of totals that should include what is told beside them. `total` is 0 where it is not told."""
    # Some servers count what was cached beside the prompt instead of within it.
    fresh = prompt - cached - written if cached + written <= prompt else prompt
    # Likewise for reasoning; the total tells, where there is one.
    beside = reasoning > completion or (reasoning > 0 and total == prompt + completion + reasoning)
    return Usage(
        input=fresh,
        cache_read=cached,
        cache_write=written,
        output=completion if beside else completion - reasoning,
        reasoning=reasoning,
        searches=searches,
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
