"""What usage costs, in US dollars.

No price is written by hand here: they come from the package `genai-prices` (the extra `dragoman[prices]`), or from the
configuration. The package is imported at the first question, not before: its import takes about 0.12 s and 40 MB.

    load()                                      at leisure, where a first question must not wait
    price_of("anthropic", "claude-opus-5-5", usage, at=clock.time())
    Price(input=Decimal(3), output=Decimal(15)).cost(usage)
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from dragoman.ir.usage import Usage

_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1000)

# Our providers' names, as the package calls them. One that is not here (a proxy, a local server) has no known price: its
# name may resemble another's by chance.
_SELLERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "baseten": "baseten",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "meta": "meta",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "vertex": "google",
    "xai": "x-ai",
    "zai": "zai",
}


class Tier(msgspec.Struct, frozen=True):
    """`rate` counts for the whole request once its input is larger than `above` tokens."""

    above: int
    rate: Decimal


class Rate(msgspec.Struct, frozen=True):
    """Dollars per million tokens, with tiers in ascending order."""

    base: Decimal
    tiers: tuple[Tier, ...] = ()

    def at(self, input_total: int) -> Decimal:
        return next((tier.rate for tier in reversed(self.tiers) if input_total > tier.above), self.base)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars, by the buckets of `Usage`: each token is paid for once."""

    input: Decimal = Decimal(0)
    cache_read: Decimal = Decimal(0)
    cache_write: Decimal = Decimal(0)
    cache_write_1h: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    reasoning: Decimal = Decimal(0)
    searches: Decimal = Decimal(0)
    requests: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        return sum((getattr(self, name) for name in self.__struct_fields__), Decimal(0))


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs. A bucket without a rate of its own costs what the wider one costs: reading a cache as fresh
    input, reasoning as output. `searches` and `requests` in dollars per thousand."""

    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None
    searches: Rate = Rate(Decimal(0))
    requests: Rate = Rate(Decimal(0))

    def cost(self, usage: Usage) -> Cost:
        size = usage.input_total

        def tokens(count: int, *rates: Rate | None) -> Decimal:
            rate = next(rate for rate in rates if rate is not None)
            return rate.at(size) * count / _MILLION

        return Cost(
            input=tokens(usage.input, self.input),
            cache_read=tokens(usage.cache_read, self.cache_read, self.input),
            cache_write=tokens(usage.cache_write, self.cache_write, self.input),
            cache_write_1h=tokens(usage.cache_write_1h, self.cache_write_1h, self.cache_write, self.input),
            output=tokens(usage.output, self.output),
            reasoning=tokens(usage.reasoning, self.reasoning, self.output),
            searches=self.searches.at(size) * usage.searches / _THOUSAND,
            requests=self.requests.at(size) / _THOUSAND,
        )


def load() -> bool:
    """Whether prices are there. The first call imports them."""
    return _snapshot() is not None


def price_of(provider: str, model: str, usage: Usage, *, at: float) -> Cost | None:
    """What this usage costs at this provider, or None where nobody says. `at` in seconds since 1970: prices change, and
    some depend on the hour."""
    price = list_price(provider, model, at=at)
    return price.cost(usage) if price is not None else None


def list_price(provider: str, model: str, *, at: float) -> Price | None:
    """The provider's own price of a model, as `genai-prices` has it."""
    seller, snapshot = _SELLERS.get(provider), _snapshot()
    if seller is None or snapshot is None or not model:
        return None
    try:
        _, found = snapshot.find_provider_model(model, None, seller, None)
    except LookupError:
        return None
    said: dict[str, Any] = vars(found.get_prices(datetime.fromtimestamp(at, UTC)))
    fresh, made = _rate(said.get("input_mtok")), _rate(said.get("output_mtok"))
    if fresh is None:
        return None
    return Price(
        input=fresh,
        # An embedding model makes no tokens, so nobody names a price for them.
        output=made or Rate(Decimal(0)),
        cache_read=_rate(said.get("cache_read_mtok")),
        cache_write=_rate(said.get("cache_write_5m_mtok")) or _rate(said.get("cache_write_mtok")),
        cache_write_1h=_rate(said.get("cache_write_1h_mtok")) or _rate(said.get("cache_write_mtok")),
        reasoning=_rate(said.get("output_reasoning_mtok")),
        searches=_rate(said.get("web_searches_kcount")) or Rate(Decimal(0)),
        requests=_rate(said.get("requests_kcount")) or Rate(Decimal(0)),
    )


def _snapshot() -> Any:
    """The package's own list, offline; None where the package is not installed."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    return get_snapshot()


def _rate(said: Any) -> Rate | None:
    if said is None:
        return None
    if isinstance(said, Decimal):
        return Rate(said)
    return Rate(said.base, tuple(Tier(tier.start, tier.price) for tier in said.tiers))
