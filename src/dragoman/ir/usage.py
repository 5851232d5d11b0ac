"""Tokens, counted once: the buckets are disjoint, so a price is a sum and nothing is billed twice."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, gc=False):
    """All in tokens, but for `searches` (requests). `input` is what was neither read from nor written to a
    cache; `output` is without `reasoning`. `estimated`: nobody counted, these are the gateway's guesses."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    """Written with the default lifetime (five minutes at Anthropic)."""
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    searches: int = 0
    estimated: bool = False

    @property
    def input_total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning
