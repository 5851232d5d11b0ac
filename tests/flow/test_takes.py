"""What a target takes: the configuration's word, then the profile's, then the catalogue's, then the dialect's."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.dialects import DIALECTS
from dragoman.flow.media import takes_of
from dragoman.ir.profile import Profile
from dragoman.models.catalogue import Input
from dragoman.models.profiles import profile_for
from dragoman.providers.table import TABLE
from dragoman.route.target import Endpoint


def taken(
    dialect: str, model: str, provider: str = "", taking: tuple[Input, ...] | None = None, **profile: Any
) -> tuple[Any, ...]:
    row = TABLE.get(provider)
    known = profile_for(model, row.profile if row else Profile(), row.quirks if row else ())
    changed = Profile(**{name: getattr(known, name) for name in Profile.__struct_fields__} | profile)
    endpoint = Endpoint(provider=provider or "p", model=model, issuer="i", urls={}, profile=changed, input=taking)
    takes = takes_of(DIALECTS[dialect].forms, endpoint)
    return takes.images, takes.pdfs, takes.audio


@pytest.mark.parametrize(
    ("dialect", "model", "provider", "expected"),
    [
        # Nobody knows the model: what the dialect's servers usually take.
        ("messages", "m", "", ("urls", "urls", False)),
        ("chat", "m", "", ("urls", "bytes", True)),
        ("responses", "m", "", ("urls", "urls", False)),
        ("gemini", "m", "", ("bytes", "bytes", True)),
        # The catalogue knows it.
        ("chat", "deepseek-v4-pro", "deepseek", ("none", "none", False)),
        ("chat", "mistral-large-4", "mistral", ("urls", "none", False)),
        ("chat", "voxtral-small-2507", "mistral", ("none", "none", True)),
        ("chat", "openai/gpt-oss-120b", "groq", ("none", "none", False)),
        ("chat", "deepseek/deepseek-v4-pro", "openrouter", ("none", "bytes", False)),
        ("gemini", "gemini-3.8-flash", "gemini", ("bytes", "bytes", True)),
        # Its profile knows better: models of OpenAI's that see take PDF documents, whatever a list says.
        ("chat", "gpt-6.1-terra", "openai", ("urls", "bytes", False)),
        ("responses", "gpt-6.1-terra", "openai", ("urls", "urls", False)),
        ("chat", "gpt-audio-1.5", "openai", ("none", "none", True)),
        ("chat", "gpt-3.5-turbo", "openai", ("none", "none", True)),
        ("messages", "claude-opus-5-5", "anthropic", ("urls", "urls", False)),
        ("messages", "claude-fable-5-2", "anthropic", ("urls", "urls", False)),
        ("converse", "us.anthropic.claude-opus-5-5-v1:0", "", ("bytes", "bytes", False)),
        # Its server takes less than the model would.
        ("chat", "llava", "ollama", ("bytes", "none", True)),
        ("chat", "anything", "vllm", ("urls", "none", True)),
    ],
)
def test_what_is_taken_is_known(dialect: str, model: str, provider: str, expected: tuple[Any, ...]) -> None:
    assert taken(dialect, model, provider) == expected


def test_the_configuration_has_the_last_word() -> None:
    assert taken("chat", "gpt-6-luna", "openai", ("text",)) == ("none", "none", False)
    assert taken("messages", "m", taking=("text", "image", "pdf")) == ("urls", "urls", False)
    assert taken("chat", "m", taking=("text", "audio")) == ("none", "none", True)
    assert taken("gemini", "gemini-3.8-flash", images="urls") == ("urls", "bytes", True)
    assert taken("responses", "m", audio=True) == ("urls", "urls", True)
    assert taken("chat", "m", pdfs="urls") == ("urls", "bytes", True)
