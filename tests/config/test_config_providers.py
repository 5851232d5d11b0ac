"""How a provider's settings change its built-in row."""

from __future__ import annotations

import pytest

from dragoman.config import ProviderConfig, load
from dragoman.providers.auth import headers_for


def provider(text: str, name: str = "corp", env: dict[str, str] | None = None) -> ProviderConfig:
    return load(f"providers: {{{name}: {text}}}", ".yaml", env or {}, "gateway.yaml").providers[name]


@pytest.mark.parametrize(
    ("text", "dialect", "url", "header"),
    [
        ("{url: 'https://x.example/v1'}", "chat", "https://x.example/v1/chat/completions", b"authorization"),
        ("{url: 'https://x.example/v1/chat/completions'}", "chat", "https://x.example/v1/chat/completions", b"authorization"),
        ("{url: 'https://x.example/v1/', dialect: chat}", "chat", "https://x.example/v1/chat/completions", b"authorization"),
        ("{url: 'https://x.example', dialect: messages}", "messages", "https://x.example/v1/messages", b"x-api-key"),
        ("{url: 'https://x.example/v1', dialect: messages}", "messages", "https://x.example/v1/messages", b"x-api-key"),
        ("{url: 'https://x.example/v1/messages'}", "messages", "https://x.example/v1/messages", b"x-api-key"),
        ("{url: 'https://x.example/anthropic'}", "messages", "https://x.example/anthropic/v1/messages", b"x-api-key"),
        ("{url: 'https://x.example/v1', dialect: responses}", "responses", "https://x.example/v1/responses", b"authorization"),
        (
            "{url: 'https://x.example', auth: bearer, dialect: messages}",
            "messages",
            "https://x.example/v1/messages",
            b"authorization",
        ),
    ],
)
def test_a_provider_of_ones_own_needs_only_a_url(text: str, dialect: str, url: str, header: bytes) -> None:
    one = provider(text, env={"CORP_API_KEY": "k-0123456789abcdef"})
    assert one.dialect == dialect
    assert one.url(one.dialect) == url
    assert header in dict(headers_for(one.row, one.credentials[0]))


def test_a_messages_provider_of_ones_own_gets_the_version_header() -> None:
    assert provider("{url: 'https://x.example', dialect: messages}").row.headers == (("anthropic-version", "2023-06-01"),)
    changed = provider("{url: 'https://x.example', dialect: messages, version: 2026-10-21}")
    assert changed.row.headers == (("anthropic-version", "2026-10-21"),)


def test_a_provider_may_serve_several_dialects() -> None:
    one = provider("{dialects: {chat: 'https://x.example/v1', messages: 'https://x.example/anthropic/v1'}}")
    assert one.dialect == "chat"
    assert one.url("messages") == "https://x.example/anthropic/v1/messages"
    assert one.url("responses") is None


def test_a_dialect_of_a_row_can_be_taken_away_or_moved() -> None:
    one = provider("{dialects: {messages: false, responses: 'https://other.example/v1'}}", "ollama")
    assert one.url("messages") is None
    assert one.url("responses") == "https://other.example/v1/responses"
    assert one.url("chat") == "http://127.0.0.1:11434/v1/chat/completions"


def test_another_dialect_of_a_row_can_be_its_main_one() -> None:
    one = provider("{dialect: messages}", "deepseek")
    assert one.dialect == "messages"
    assert one.url("messages") == "https://api.deepseek.com/anthropic/v1/messages"
    assert one.url("chat") == "https://api.deepseek.com/chat/completions"


def test_a_row_elsewhere_takes_its_related_urls_along_and_leaves_the_others() -> None:
    moved = provider("{url: 'https://proxy.example/or/v1'}", "openrouter")
    assert moved.url("messages") == "https://proxy.example/or/v1/messages"
    assert moved.row.native_root() == "https://proxy.example/or"
    unrelated = provider("{url: 'https://proxy.example/glm'}", "zai")
    assert unrelated.url("messages") is None, "its Messages endpoint cannot be guessed, and a key is not sent to a guess"
    same_host = provider("{url: 'https://api.z.ai/api/coding/paas/v4'}", "zai")
    assert same_host.url("messages") == "https://api.z.ai/api/anthropic/v1/messages"


def test_a_second_account_is_like_the_first() -> None:
    one = provider("{like: anthropic, api_key: [sk-ant-0123456789, sk-ant-9876543210]}", "work")
    assert one.url("messages") == "https://api.anthropic.com/v1/messages"
    assert len(one.credentials) == 2
    assert one.issuer == "anthropic", "what one account sealed, the other can read"
    assert provider("{like: anthropic, issuer: work}", "work").issuer == "work"


def test_another_name_of_a_row_is_that_row() -> None:
    config = load("providers: {google: {api_key: AIza0123456789abcdef}}", ".yaml", {}, "x")
    assert config.providers["google"].url("gemini") == "https://generativelanguage.googleapis.com/v1beta/models"
    assert "gemini" not in config.providers, "one provider, not two"
    assert config.route("gemini/x")[0].name == "google/x"
    assert config.route("gemini-2.5-pro")[0].name == "google/gemini-2.5-pro"


def test_headers_are_added_to_those_of_the_row_and_prevail_over_them() -> None:
    one = provider("{headers: {X-Team: red, Anthropic-Version: 2026-10-21}}", "anthropic")
    assert dict(one.row.headers) == {"x-team": "red", "anthropic-version": "2026-10-21"}


def test_a_key_among_the_headers_is_a_credential() -> None:
    one = provider("{url: 'https://x.example/v1', headers: {Authorization: 'Basic abc'}}")
    assert one.ready
    assert not provider("{headers: {Authorization: 'Basic abc'}}", "groq", {"GROQ_API_KEY": "gsk-1"}).credentials


def test_a_provider_that_wants_no_key_is_ready() -> None:
    assert provider("{url: 'https://x.example/v1', auth: none}").ready
    assert not provider("{url: 'https://x.example/v1'}").ready


def test_models_take_the_place_of_the_rows_and_give_big_and_small() -> None:
    one = provider("{models: [a, {id: b, title: The B, context: 7, max_output: 3}, c], small: b}", "groq")
    assert [(model.id, model.name, model.context, model.output) for model in one.models] == [
        ("a", "a", None, None),
        ("b", "The B", 7, 3),
        ("c", "c", None, None),
    ]
    assert (one.row.big, one.row.small) == ("a", "b")
    assert provider("{models: {a: {context: 7}}}", "groq").models[0].context == 7


def test_the_profile_is_laid_over_everything_known() -> None:
    one = provider("{profile: {sampling: true, maxOutputTokens: 5}}", "anthropic")
    assert one.profile_of("claude-opus-5-5").sampling is True
    assert one.profile_of("claude-opus-5-5").max_output_tokens == 5
    assert one.profile_of("claude-opus-5-5").thinking_off == "never"


def test_a_model_named_like_the_local_one_wins_over_it() -> None:
    config = load("providers: {local: {url: 'http://127.0.0.1:9/v1', models: [x]}}", ".yaml", {}, "x")
    assert config.providers["local"].row.title == "local"
    assert "has the name of the built-in model, which is therefore left out" in config.warnings[0]
    assert config.with_local("http://127.0.0.1:1/v1").providers["local"].row.base_url == "http://127.0.0.1:9/v1"
