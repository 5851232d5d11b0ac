"""What usage costs: disjoint buckets, tiers, and the same sum as the list's own arithmetic."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price

from dragoman.ir.usage import Usage
from dragoman.models.catalogue import catalogue
from dragoman.models.prices import Price, Rate, Tier, list_price, load, price_of

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
AT = NOW.timestamp()

USAGE = Usage(input=1000, cache_read=20_000, cache_write=3000, cache_write_1h=500, output=700, reasoning=300)


def test_prices_are_there() -> None:
    assert load()


def test_each_token_is_paid_for_once_and_in_its_own_bucket() -> None:
    price = Price(
        input=Rate(Decimal(3)),
        output=Rate(Decimal(15)),
        cache_read=Rate(Decimal("0.3")),
        cache_write=Rate(Decimal("3.75")),
        cache_write_1h=Rate(Decimal(6)),
    )
    cost = price.cost(USAGE)
    assert cost.input == Decimal("0.003")
    assert cost.cache_read == Decimal("0.006")
    assert cost.cache_write == Decimal("0.01125")
    assert cost.cache_write_1h == Decimal("0.003")
    assert cost.output == Decimal("0.0105")
    assert cost.reasoning == Decimal("0.0045")
    assert cost.total == Decimal("0.03825")


def test_a_bucket_without_a_price_of_its_own_costs_what_the_wider_one_costs() -> None:
    cost = Price(input=Rate(Decimal(2)), output=Rate(Decimal(4))).cost(USAGE)
    assert cost.input + cost.cache_read + cost.cache_write + cost.cache_write_1h == Decimal(24_500 * 2) / 1_000_000
    assert cost.output + cost.reasoning == Decimal("0.004")


def test_a_tier_counts_for_the_whole_request_once_its_input_is_above_it() -> None:
    price = Price(input=Rate(Decimal(1), (Tier(200_000, Decimal(2)),)), output=Rate(Decimal(8), (Tier(200_000, Decimal(12)),)))
    assert price.cost(Usage(input=200_000, output=1000)).total == Decimal("0.208")
    assert price.cost(Usage(input=200_001, output=1000)).total == Decimal("0.412002")


@pytest.mark.parametrize(
    ("provider", "seller", "model"),
    [
        ("anthropic", "anthropic", "claude-opus-5-5"),
        ("anthropic", "anthropic", "claude-haiku-5-5"),
        ("openai", "openai", "gpt-6-luna"),
        ("gemini", "google", "gemini-2.5-pro"),
        ("groq", "groq", "openai/gpt-oss-120b"),
        ("deepseek", "deepseek", "deepseek-v4-pro"),
        ("openrouter", "openrouter", "z-ai/glm-5.3"),
        ("bedrock", "aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("vertex", "google", "claude-opus-4-5@20251101"),
    ],
)
@pytest.mark.parametrize("size", [1, 40])
def test_our_sum_is_that_of_the_list(provider: str, seller: str, model: str, size: int) -> None:
    usage = Usage(input=1000 * size, cache_read=9000 * size, output=700, reasoning=300)
    theirs = ListUsage(
        input_tokens=usage.input_total,
        cache_read_tokens=usage.cache_read,
        output_tokens=usage.output_total,
        output_reasoning_tokens=usage.reasoning,
    )
    cost = price_of(provider, model, usage, at=AT)
    assert cost is not None
    assert cost.total == calc_price(theirs, model, provider_id=seller, genai_request_timestamp=NOW).total_price


def test_writing_a_cache_costs_by_its_lifetime() -> None:
    cost = price_of("anthropic", "claude-opus-5-5", Usage(cache_write=1_000_000, cache_write_1h=1_000_000), at=AT)
    assert cost is not None
    assert 0 < cost.cache_write < cost.cache_write_1h


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-none"),
        ("corp-openai", "gpt-6-luna"),
        ("ollama", "llama3.2"),
        ("anthropic", ""),
        ("", "gpt-6-luna"),
    ],
)
def test_what_nobody_knows_the_price_of_has_none(provider: str, model: str) -> None:
    assert price_of(provider, model, Usage(input=1), at=AT) is None


def test_most_models_of_the_catalogue_have_a_price_at_their_maker() -> None:
    without = [
        model.id for model in catalogue().models if model.provider != "qwen" and not list_price(model.provider, model.id, at=AT)
    ]
    assert len(without) < len(catalogue().models) / 8, without
