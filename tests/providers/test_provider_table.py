"""The rows are well-formed, and their URLs come out as the providers document them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from dragoman.models.profiles import profile_for
from dragoman.providers.table import TABLE, find, normalised

NAMES = list(TABLE)
WANTED = (
    "anthropic openai gemini openrouter mistral groq deepseek xai together fireworks cerebras perplexity cohere moonshot zai "
    "qwen nvidia huggingface sambanova nebius novita deepinfra hyperbolic minimax ollama vllm lmstudio llamacpp sglang"
)


def test_the_table_has_the_providers_it_promises() -> None:
    assert set(WANTED.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_well_formed(name: str) -> None:
    row = TABLE[name]
    assert re.fullmatch(r"[a-z]+", name)
    assert row.title
    assert row.docs.startswith("https://")
    for url in (row.base_url, *row.also.values(), row.native_root()):
        parts = urlsplit(url)
        assert not url.endswith("/")
        assert parts.hostname
        assert (parts.scheme == "http" and parts.hostname == "127.0.0.1") if row.local else parts.scheme == "https"
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", key) for key in (*row.env, *row.token_env))
    assert row.env
    for pattern, replacement in row.renames:
        re.compile(pattern)
        assert replacement
    re.compile(row.family)
    assert profile_for("a-model", row.profile, row.quirks) == row.profile


@pytest.mark.parametrize("name", [name for name in NAMES if not TABLE[name].local])
def test_a_hosted_row_has_a_starter_list_with_a_big_and_a_small_model(name: str) -> None:
    row = TABLE[name]
    ids = [model.id for model in row.models]
    assert 2 <= len(ids) <= 4
    assert len(set(ids)) == len(ids)
    assert row.big in ids
    assert row.small in ids
    assert all(model.name for model in row.models)


def test_names_and_other_names_are_unique() -> None:
    names = [*NAMES, *(other for row in TABLE.values() for other in row.aka)]
    assert len(set(names)) == len(names)


def test_no_variable_belongs_to_two_providers() -> None:
    keys = [key for row in TABLE.values() for key in (*row.env, *row.token_env)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("name", "dialect", "url"),
    [
        ("anthropic", "messages", "https://api.anthropic.com/v1/messages"),
        ("openai", "chat", "https://api.openai.com/v1/chat/completions"),
        ("openai", "responses", "https://api.openai.com/v1/responses"),
        ("gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta/models"),
        ("openrouter", "chat", "https://openrouter.ai/api/v1/chat/completions"),
        ("openrouter", "messages", "https://openrouter.ai/api/v1/messages"),
        ("deepseek", "chat", "https://api.deepseek.com/chat/completions"),
        ("deepseek", "messages", "https://api.deepseek.com/anthropic/v1/messages"),
        ("zai", "chat", "https://api.z.ai/api/paas/v4/chat/completions"),
        ("zai", "messages", "https://api.z.ai/api/anthropic/v1/messages"),
        ("moonshot", "messages", "https://api.moonshot.ai/anthropic/v1/messages"),
        ("fireworks", "messages", "https://api.fireworks.ai/inference/v1/messages"),
        ("groq", "chat", "https://api.groq.com/openai/v1/chat/completions"),
        ("cohere", "chat", "https://api.cohere.ai/compatibility/v1/chat/completions"),
        ("perplexity", "messages", "https://api.perplexity.ai/orchestrator/v1/messages"),
        ("qwen", "chat", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions"),
        ("huggingface", "chat", "https://router.huggingface.co/v1/chat/completions"),
        ("ollama", "chat", "http://127.0.0.1:11434/v1/chat/completions"),
        ("ollama", "messages", "http://127.0.0.1:11434/v1/messages"),
        ("llamacpp", "messages", "http://127.0.0.1:8080/v1/messages"),
        ("vllm", "responses", "http://127.0.0.1:8000/v1/responses"),
        ("sglang", "chat", "http://127.0.0.1:30000/v1/chat/completions"),
        ("lmstudio", "messages", "http://127.0.0.1:1234/v1/messages"),
        ("mistral", "messages", None),
    ],
)
def test_requests_go_where_the_provider_documents_it(name: str, dialect: str, url: str | None) -> None:
    assert TABLE[name].url(dialect) == url  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "asked", "url"),
    [
        ("anthropic", "/v1/messages/count_tokens", "https://api.anthropic.com/v1/messages/count_tokens"),
        ("openai", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openrouter", "/v1/models", "https://openrouter.ai/api/v1/models"),
        (
            "gemini",
            "/v1beta/models/x:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models/x:generateContent",
        ),
    ],
)
def test_the_pass_through_reaches_any_path_of_the_provider(name: str, asked: str, url: str) -> None:
    assert TABLE[name].native_root() + asked == url


def test_our_own_requests_to_anthropic_use_the_version_that_takes_sampling() -> None:
    assert TABLE["anthropic"].headers == (("anthropic-version", "2023-06-01"),)


@pytest.mark.parametrize("name", ["google", "GEMINI", "gemini"])
def test_a_row_is_found_by_any_of_its_names(name: str) -> None:
    row = find(name)
    assert row is not None
    assert row.name == "gemini"
    assert find("nobody") is None


@pytest.mark.parametrize(
    ("vendor", "model", "spelled"),
    [
        ("anthropic", "claude-opus-5-5", "anthropic/claude-opus-5.5"),
        ("anthropic", "claude-opus-4-5-20251101", "anthropic/claude-opus-4.5"),
        ("anthropic", "claude-fable-5", "anthropic/claude-fable-5"),
        ("anthropic", "claude-haiku-5.5", "anthropic/claude-haiku-5.5"),
        ("openai", "gpt-5.5", "openai/gpt-5.5"),
    ],
)
def test_an_aggregator_spells_names_its_own_way(vendor: str, model: str, spelled: str) -> None:
    assert TABLE["openrouter"].renamed(vendor, model) == spelled


@pytest.mark.parametrize(
    ("pasted", "dialect", "base"),
    [
        ("https://x.example/v1/", "chat", "https://x.example/v1"),
        ("https://x.example/v1/chat/completions", "chat", "https://x.example/v1"),
        ("https://x.example/v1/messages/", "messages", "https://x.example"),
        ("https://x.example/v1", "messages", "https://x.example"),
        ("https://x.example/anthropic", "messages", "https://x.example/anthropic"),
        ("https://x.example/v1/responses", "responses", "https://x.example/v1"),
    ],
)
def test_a_pasted_url_loses_what_the_dialect_brings_along(pasted: str, dialect: str, base: str) -> None:
    assert normalised(pasted, dialect) == base  # pyright: ignore[reportArgumentType]
