"""What is known of the models, as a table of names and traits."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.ir.profile import Profile
from dragoman.models.profiles import profile_for
from dragoman.providers.table import TABLE

ANTHROPIC = TABLE["anthropic"].profile


def traits(model: str, *names: str, base: Profile = ANTHROPIC) -> tuple[Any, ...]:
    profile = profile_for(model, base)
    return tuple(getattr(profile, name) for name in names)


@pytest.mark.parametrize(
    ("model", "output", "thinking", "sampling"),
    [
        ("claude-opus-5-5", 128_000, "adaptive", False),
        ("claude-sonnet-5-5", 128_000, "adaptive", False),
        ("claude-haiku-5-5", 128_000, "adaptive", False),
        ("claude-fable-5-2", 128_000, "adaptive", False),
        ("claude-opus-4-8", 128_000, "adaptive", False),
        ("claude-opus-4-7-20260416", 128_000, "adaptive", False),
        ("claude-opus-4-6", 128_000, "adaptive", True),
        ("claude-sonnet-4-6", 128_000, "adaptive", True),
        ("claude-opus-4-5-20251101", 64_000, "budget", True),
        ("claude-sonnet-4-5", 64_000, "budget", True),
        ("claude-haiku-4-5-20251001", 64_000, "budget", True),
        ("claude-opus-4-1-20250805", 16_000, "budget", True),
        ("claude-sonnet-4-20250514", 16_000, "budget", True),
        ("claude-3-7-sonnet-20250219", 32_000, "budget", True),
        ("claude-3-5-sonnet-20241022", 8192, "none", True),
        ("claude-3-opus-20240229", 4096, "none", True),
        ("claude-2.1", 4096, "none", True),
        ("claude-opus-7", 128_000, "adaptive", False),
    ],
)
def test_claude_models_by_generation(model: str, output: int, thinking: str, sampling: bool) -> None:
    assert traits(model, "max_output_tokens", "thinking", "sampling") == (output, thinking, sampling)


@pytest.mark.parametrize(
    "spelling",
    [
        "claude-opus-4-5",
        "claude-opus-4.5",
        "anthropic/claude-opus-4.5",
        "us.anthropic.claude-opus-4-5-20251101-v1:0",
        "claude-opus-4-5@20251101",
        "Claude-Opus-4-5",
    ],
)
def test_a_model_is_the_same_under_every_providers_spelling(spelling: str) -> None:
    assert traits(spelling, "max_output_tokens", "thinking", "temperature_or_top_p") == (64_000, "budget", True)


@pytest.mark.parametrize(
    ("model", "inline", "off", "forced"),
    [
        ("claude-opus-5-5", True, "never", False),
        ("claude-opus-5", True, "disabled", True),
        ("claude-sonnet-5-5", True, "between_tools", False),
        ("claude-sonnet-5", False, "disabled", True),
        ("claude-haiku-5-5", True, "disabled", True),
        ("claude-fable-5-2", True, "never", False),
        ("claude-fable-5", True, "never", True),
        ("claude-mythos-5-1", True, "never", False),
        ("claude-opus-4-8", True, "disabled", True),
        ("claude-opus-4-7", False, "disabled", True),
        ("claude-haiku-4-5", False, "disabled", True),
    ],
)
def test_claude_models_by_their_peculiarities(model: str, inline: bool, off: str, forced: bool) -> None:
    assert traits(model, "inline_system", "thinking_off", "forced_tools") == (inline, off, forced)


@pytest.mark.parametrize(
    ("model", "field", "sampling"),
    [
        ("gpt-6.2-sol", "max_completion_tokens", False),
        ("gpt-5.6-luna", "max_completion_tokens", False),
        ("gpt-5", "max_completion_tokens", False),
        ("gpt-5-mini-2025-08-07", "max_completion_tokens", False),
        ("gpt-5.2", "max_completion_tokens", True),
        ("gpt-5.4-2026-03-05", "max_completion_tokens", True),
        ("gpt-5.4-mini", "max_completion_tokens", True),
        ("gpt-5.4-pro", "max_completion_tokens", False),
        ("gpt-5.1-codex", "max_completion_tokens", False),
        ("gpt-5-chat-latest", "max_completion_tokens", True),
        ("o3", "max_completion_tokens", False),
        ("o4-mini", "max_completion_tokens", False),
        ("openai/o1", "max_completion_tokens", False),
        ("gpt-4o", "max_tokens", True),
        ("gpt-4.1-mini", "max_tokens", True),
        ("gpt-oss-120b", "max_tokens", True),
        ("olmo-2", "max_tokens", True),
    ],
)
def test_openai_models_by_generation(model: str, field: str, sampling: bool) -> None:
    assert traits(model, "max_tokens_field", "sampling", base=Profile()) == (field, sampling)


def test_what_differs_at_one_provider_stands_in_its_row() -> None:
    row = TABLE["openai"]
    here = profile_for("gpt-6-luna", row.profile, row.quirks)
    assert (here.cache_marks, here.effort_with_tools) == ("breakpoint", False)
    elsewhere = profile_for("openai/gpt-6-luna", TABLE["openrouter"].profile, TABLE["openrouter"].quirks)
    assert (elsewhere.cache_marks, elsewhere.effort_with_tools) == ("cache_control", True)
    older = profile_for("gpt-5.2", row.profile, row.quirks)
    assert (older.cache_marks, older.effort_with_tools) == ("none", True)


@pytest.mark.parametrize(
    ("model", "reasoning", "sampling"),
    [("kimi-k3.1-pro", "effort", False), ("kimi-k2.6", "thinking", False), ("moonshot-v1-8k", "none", True)],
)
def test_moonshots_models_differ_in_how_they_are_asked_to_think(model: str, reasoning: str, sampling: bool) -> None:
    row = TABLE["moonshot"]
    profile = profile_for(model, row.profile, row.quirks)
    assert (profile.reasoning, profile.sampling) == (reasoning, sampling)


def test_an_unknown_model_keeps_what_its_provider_says() -> None:
    base = Profile(max_stop=3, reasoning="thinking")
    assert profile_for("nobody-knows", base) is base
    assert profile_for("", base) is base


def test_the_answer_is_remembered() -> None:
    assert profile_for("claude-opus-5-5", ANTHROPIC) is profile_for("claude-opus-5-5", ANTHROPIC)
