"""The catalogue: every spelling finds its model, and its data keep their own rules."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dragoman.models.catalogue import catalogue, plain_name
from dragoman.providers.table import TABLE

MODELS = catalogue().models


@pytest.mark.parametrize(
    ("spelling", "plain"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0:200k", "claude-sonnet-4-5-20250929"),
        ("global.anthropic.claude-opus-5-5", "claude-opus-5-5"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123", None),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("claude-opus-4-6@default", "claude-opus-4-6"),
        ("claude-opus-4-6", None),
        ("gpt-5.4", None),
        ("anthropic/claude-opus-5.5", None),
        ("qwen3.8-max", None),
        ("llama3.2:3b", None),
    ],
)
def test_a_clouds_name_comes_to_its_makers_own(spelling: str, plain: str | None) -> None:
    assert plain_name(spelling) == plain


def test_there_are_more_than_a_hundred_models_of_many_makers() -> None:
    assert len(MODELS) > 100
    assert len(catalogue().vendors) >= 12


@pytest.mark.parametrize(
    ("spelling", "model"),
    [
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("Claude-Opus-5.5", "claude-opus-5-5"),
        ("anthropic/claude-opus-5-5", "claude-opus-5-5"),
        ("openrouter/anthropic/claude-haiku-5.5", "claude-haiku-5-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5"),
        ("global.anthropic.claude-opus-5-5", "claude-opus-5-5"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-6-v1:0", "claude-opus-4-6"),
        ("publishers/anthropic/models/claude-opus-4-8", "claude-opus-4-8"),
        ("vertex_ai/claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("openai.gpt-oss-120b-1:0", None),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("eu.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("nova-pro", "amazon.nova-pro-v1:0"),
        ("accounts/fireworks/models/glm-5p3", "glm-5.3"),
        ("zai-org/GLM-5.3", "glm-5.3"),
        ("minimax/minimax-m3:free", "MiniMax-M3"),
        ("gpt-7", None),
        ("", None),
        ("claude", None),
    ],
)
def test_a_model_is_found_by_any_of_its_spellings(spelling: str, model: str | None) -> None:
    found = catalogue().find(spelling)
    assert (found.id if found else None) == model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_row_keeps_the_rules(model: object) -> None:
    one = next(known for known in MODELS if known is model)
    assert catalogue().find(one.id) is one, "two rows of one spelling"
    assert one.name
    assert one.vendor
    assert one.source.startswith("https://")
    assert re.fullmatch(r"|20\d\d-[01]\d(-[0-3]\d)?", one.released)
    if one.context and one.output:
        assert one.output < one.context
    assert one.input is None or "text" in one.input


def test_every_file_says_where_its_figures_are_from_and_of_which_day() -> None:
    for vendor in catalogue().vendors:
        assert vendor.source.startswith("https://")
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", vendor.read)
        assert vendor.models


def test_what_the_table_of_providers_offers_of_its_own_is_known() -> None:
    unknown = [
        f"{name}/{model.id}"
        for name, row in TABLE.items()
        if catalogue().models_of(name)
        for model in row.models
        if catalogue().find(model.id) is None and not model.id.endswith("-latest")
    ]
    known_gaps = {"zai/glm-5v-turbo", "perplexity/anthropic/claude-opus-5-5", "bedrock/global.amazon.nova-2-lite-v1:0"}
    assert set(unknown) <= known_gaps


def test_models_of_a_provider_are_those_of_its_maker() -> None:
    assert {model.vendor for model in catalogue().models_of("gemini")} == {"google"}
    assert catalogue().models_of("groq") == ()


def test_nothing_is_read_and_no_price_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, dragoman.io.engine, dragoman.models.catalogue as c\n"
        "assert 'genai_prices' not in sys.modules and 'pydantic' not in sys.modules\n"
        "assert c.catalogue.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
