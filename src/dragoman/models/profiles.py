"""What a model can take, wherever it is served.

Rows are read from top to bottom and every row that fits has its say, so the general comes before the particular.
The glob is matched against the model's name in lower case after its last `/`, so `anthropic/claude-opus-5.5`,
`claude-opus-5-5` and `us.anthropic.claude-opus-5-5-v1:0` are one model. What a model takes differently at one
provider stands in that provider's row (`providers/table.py`, `quirks`).

A model nobody knows yet keeps what its provider's row says; only its family's first row applies to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import msgspec

from dragoman.ir.profile import Profile

_WEB = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What every browser shows, and most models see."""
# https://platform.claude.com/docs/en/build-with-claude/vision#general-limits, .../pdf-support; with more than 20 images in a
# request, sides are to be shorter; models with a context of 200k take 100 images, others 600.
_CLAUDE_SEES: dict[str, Any] = {
    "images": "urls",
    "image_types": _WEB,
    "image_bytes": 5 * 1024 * 1024,
    "image_sides": ((20, 8000), (600, 2000)),
    "pdfs": "urls",
    "pdf_bytes": 32_000_000,
}
_FEWER = ((20, 8000), (100, 2000))
_BLIND: dict[str, Any] = {"images": "none", "pdfs": "none"}
# https://developers.openai.com/api/docs/guides/images-vision, .../pdf-files: models that see take PDF documents too.
_OF_GPT_5 = frozenset({"minimal", "low", "medium", "high"})
_GPT_SEES: dict[str, Any] = {"images": "urls", "image_types": _WEB, "pdfs": "urls", "pdf_bytes": 50_000_000}
_OLDEST: dict[str, Any] = {
    "thinking": "none",
    "thinking_off": "disabled",
    "sampling": True,
    "structured": False,
    "image_sides": _FEWER,
}
_BUDGET: dict[str, Any] = {
    "thinking": "budget",
    "thinking_off": "disabled",
    "sampling": True,
    "structured": False,
    "image_sides": _FEWER,
}
_BEFORE_GEMINI_3: dict[str, Any] = {
    "thinking_config": "budget",
    "signed_calls": False,
    "media_results": False,
    "media_resolution": False,
    "format_with_tools": False,
}

ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    # ---- Claude. https://platform.claude.com/docs/en/about-claude/models/overview, .../build-with-claude/adaptive-thinking
    # Adaptive thinking and 128k of output came with 4.6; since 4.7 budgets and sampling parameters are a 400.
    ("*claude-*", _CLAUDE_SEES | {"max_output_tokens": 128_000, "thinking": "adaptive", "sampling": False}),
    ("*claude-[12]*", _OLDEST | _BLIND | {"max_output_tokens": 4096}),
    ("*claude-instant*", _OLDEST | _BLIND | {"max_output_tokens": 4096}),
    ("*claude-4-*", _BUDGET | {"max_output_tokens": 16_000}),
    ("*claude-3-*", _OLDEST | {"max_output_tokens": 4096}),
    ("*claude-3[.-]5-*", {"max_output_tokens": 8192}),
    ("*claude-3[.-]7-*", _BUDGET | {"max_output_tokens": 32_000}),
    # Until Sonnet 4.5 a limit that does not fit beside the input into the context window is a 400: ask for less than the most.
    ("*claude-opus-4*", _BUDGET | {"max_output_tokens": 16_000}),
    ("*claude-sonnet-4*", _BUDGET | {"max_output_tokens": 16_000}),
    ("*claude-haiku-4*", _BUDGET | {"max_output_tokens": 64_000}),
    ("*claude-opus-4[.-][15]*", {"structured": True, "temperature_or_top_p": True}),
    ("*claude-sonnet-4[.-]5*", {"structured": True, "temperature_or_top_p": True, "max_output_tokens": 64_000}),
    ("*claude-haiku-4[.-]5*", {"structured": True, "temperature_or_top_p": True}),
    ("*claude-opus-4[.-]5*", {"max_output_tokens": 64_000}),
    (
        "*claude-*-4[.-]6*",
        {"structured": True, "temperature_or_top_p": True, "thinking": "adaptive", "max_output_tokens": 128_000},
    ),
    ("*claude-opus-4[.-][78]*", {"structured": True, "thinking": "adaptive", "sampling": False, "max_output_tokens": 128_000}),
    ("*claude-*-4[.-][678]*", {"image_sides": _CLAUDE_SEES["image_sides"]}),
    # Instructions between turns: https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
    # Not Sonnet 5, which answers 200 and ignores them. The message must follow a user's turn (or an assistant's that ends
    # in a server tool) and must be the last or be followed by an assistant's.
    ("*claude-opus-4[.-]8*", {"inline_system": True}),
    ("*claude-opus-5*", {"inline_system": True}),
    ("*claude-fable-5*", {"inline_system": True}),
    ("*claude-mythos-5*", {"inline_system": True}),
    ("*claude-sonnet-5[.-]5*", {"inline_system": True}),
    ("*claude-haiku-5[.-]5*", {"inline_system": True}),
    # Thinking that cannot be turned off, or by another word: https://platform.claude.com/docs/en/build-with-claude/thinking
    ("*claude-fable-*", {"thinking_off": "never"}),
    ("*claude-mythos-*", {"thinking_off": "never"}),
    ("*claude-opus-5[.-]5*", {"thinking_off": "never"}),
    ("*claude-sonnet-5[.-]5*", {"thinking_off": "between_tools"}),
    # These refuse to be forced to call a tool: .../agents-and-tools/tool-use/implement-tool-use#forcing-tool-use
    ("*claude-fable-5[.-][12]*", {"forced_tools": False}),
    ("*claude-mythos-5[.-][12]*", {"forced_tools": False}),
    ("*claude-opus-5[.-]5*", {"forced_tools": False}),
    ("*claude-sonnet-5[.-]5*", {"forced_tools": False}),
    # ---- OpenAI. https://developers.openai.com/api/docs/guides/reasoning, .../deprecations
    # Reasoning models refuse temperature and top_p while they reason.
    ("gpt-[5-9]*", {"max_tokens_field": "max_completion_tokens", "sampling": False, "max_output_tokens": 128_000}),
    ("o[1-9]", {"max_tokens_field": "max_completion_tokens", "sampling": False, "max_output_tokens": 100_000}),
    ("o[1-9]-*", {"max_tokens_field": "max_completion_tokens", "sampling": False, "max_output_tokens": 100_000}),
    # Which words each generation takes on how much to reason; what comes after is left to say so itself.
    ("o[1-9]", {"efforts": frozenset({"low", "medium", "high"})}),
    ("o[1-9]-*", {"efforts": frozenset({"low", "medium", "high"})}),
    ("gpt-5", {"efforts": _OF_GPT_5}),
    ("gpt-5-*", {"efforts": _OF_GPT_5}),
    ("gpt-5-pro*", {"efforts": frozenset({"high"})}),
    ("gpt-5-codex*", {"efforts": frozenset({"low", "medium", "high"})}),
    ("gpt-5.1*", {"efforts": frozenset({"none", "low", "medium", "high"})}),
    ("gpt-5.1-codex-max*", {"efforts": frozenset({"none", "low", "medium", "high", "xhigh"})}),
    ("gpt-5.[2-4]*", {"efforts": frozenset({"none", "low", "medium", "high", "xhigh"})}),
    ("gpt-5.[2-4]-pro*", {"efforts": frozenset({"medium", "high", "xhigh"})}),
    ("*gpt-oss*", {"efforts": frozenset({"low", "medium", "high"})}),
    # 5.1 to 5.4 do not reason unless asked, and then take them.
    ("gpt-5.[1-4]", {"sampling": True}),
    ("gpt-5.[1-4]-20*", {"sampling": True}),
    ("gpt-5.4-mini*", {"sampling": True}),
    ("gpt-5.4-nano*", {"sampling": True}),
    ("gpt-5-chat*", {"sampling": True, "reasoning": "none", "max_output_tokens": 16_384}),
    ("gpt-5-search*", {"reasoning": "none"}),
    ("gpt-4*", {"reasoning": "none", "max_output_tokens": 4096}),
    ("gpt-4o*", {"max_output_tokens": 16_384}),
    ("gpt-4.1*", {"max_output_tokens": 32_768}),
    ("chatgpt-4o*", {"reasoning": "none", "max_output_tokens": 16_384}),
    ("gpt-3.5*", {"reasoning": "none", "structured": False, "max_output_tokens": 4096}),
    ("gpt-[5-9]*", _GPT_SEES),
    ("gpt-4.1*", _GPT_SEES),
    ("gpt-4o", _GPT_SEES),
    ("gpt-4o-20*", _GPT_SEES),
    ("gpt-4o-mini", _GPT_SEES),
    ("gpt-4o-mini-20*", _GPT_SEES),
    ("gpt-4-turbo*", {"images": "urls", "image_types": _WEB}),
    ("chatgpt-4o*", {"images": "urls", "image_types": _WEB}),
    ("o[1-9]*", _GPT_SEES),
    ("o[13]-mini*", _BLIND),
    ("o1-preview*", _BLIND),
    ("gpt-3.5*", _BLIND),
    # https://cookbook.openai.com/articles/openai-harmony: nothing in its format forces a call.
    ("*gpt-oss*", {"forced_tools": False, "max_output_tokens": 32_768}),
    # ---- Others, by what their makers' documentation says.
    # What came with Gemini 3: https://ai.google.dev/gemini-api/docs/gemini-3, .../thought-signatures
    # What it sees, hears and reads: https://ai.google.dev/gemini-api/docs/image-understanding, .../document-processing
    (
        "gemini-*",
        {
            "max_output_tokens": 65_536,
            "image_types": frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}),
            "pdf_bytes": 50_000_000,
        },
    ),
    ("gemini-[12]*", _BEFORE_GEMINI_3),
    ("gemini-1*", {"max_output_tokens": 8192, "reasoning": "none", "thinking_config": "none", "json_schema": False}),
    ("gemini-2.0*", {"max_output_tokens": 8192, "reasoning": "none", "thinking_config": "none"}),
    # Thinking cannot be turned off: https://ai.google.dev/gemini-api/docs/thinking#set-budget
    ("gemini-2.5-pro*", {"thinking_off": "never"}),
    ("gemma-*", _BEFORE_GEMINI_3 | {"max_output_tokens": 8192, "thinking_config": "none"}),
    # https://docs.x.ai/docs/guides/image-understanding
    (
        "grok-*",
        {
            "max_output_tokens": 65_536,
            "image_types": frozenset({"image/jpeg", "image/png"}),
            "image_bytes": 20 * 1024 * 1024,
        },
    ),
    ("glm-*", {"max_output_tokens": 65_536}),
    ("kimi-*", {"max_output_tokens": 65_536}),
    ("smollm2*", _BLIND | {"audio": False, "reasoning": "none", "thinking": "none", "max_output_tokens": 1024}),
)


def profile_for(model: str, base: Profile, quirks: tuple[tuple[str, dict[str, Any]], ...] = ()) -> Profile:
    """`base` (the provider's) with what is known of the model. `quirks` are further rows, the provider's own."""
    found = _profile_for(model, base)
    return _with(found, _overrides(model, quirks)) if quirks else found


@lru_cache(maxsize=4096)
def _profile_for(model: str, base: Profile) -> Profile:
    return _with(base, _overrides(model, ROWS))


def _overrides(model: str, rows: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    name = model.lower().rpartition("/")[2]
    overrides: dict[str, Any] = {}
    for glob, values in rows:
        if fnmatchcase(name, glob):
            overrides |= values
    return overrides


def _with(profile: Profile, overrides: dict[str, Any]) -> Profile:
    return msgspec.structs.replace(profile, **overrides) if overrides else profile
