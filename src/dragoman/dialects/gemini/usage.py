"""Usage between Gemini, where cached tokens are counted within the prompt and thoughts beside the answer, and the hub's
disjoint buckets. Type: `google.genai.types.GenerateContentResponseUsageMetadata`."""

from __future__ import annotations

from typing import Any, cast

from dragoman.dialects.counts import count_in
from dragoman.ir.usage import Usage


def decode_usage(native: object, searches: int = 0) -> Usage | None:
    if not isinstance(native, dict):
        return None
    usage = cast("dict[str, Any]", native)
    if "promptTokenCount" not in usage and "totalTokenCount" not in usage and "candidatesTokenCount" not in usage:
        return None
    prompt, answer = count_in(usage, "promptTokenCount"), count_in(usage, "candidatesTokenCount")
    cached, thoughts = count_in(usage, "cachedContentTokenCount"), count_in(usage, "thoughtsTokenCount")
    # What a hosted tool read stands beside the prompt.
    tools, total = count_in(usage, "toolUsePromptTokenCount"), count_in(usage, "totalTokenCount")
    # Some servers count thoughts within the answer; the total tells.
    within = 0 < thoughts <= answer and total == prompt + tools + answer
    return Usage(
        input=max(0, prompt - cached) + tools,
        cache_read=cached,
        output=answer - thoughts if within else answer,
        reasoning=thoughts,
        searches=searches,
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    native: dict[str, Any] = {"promptTokenCount": usage.input_total, "candidatesTokenCount": usage.output}
    if usage.cache_read:
        native["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        native["thoughtsTokenCount"] = usage.reasoning
    native["totalTokenCount"] = usage.input_total + usage.output_total
    return native
