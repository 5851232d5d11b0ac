"""What holds of every input, with inputs that hypothesis makes of the seeds: the fuzzer goes on where this ends."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import http1
from tests.fuzz.mutate import mutated, words_of
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

EXAMPLES = 25


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    yield
    http1.close()


@pytest.mark.parametrize("name", TARGETS)
def test_anything_like_what_is_sent_has_an_answer_or_a_typed_error(name: str) -> None:
    given_seeds = [seed for seed in seeds(name) if len(seed) < 4000]
    words = words_of(given_seeds)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    @given(st.sampled_from(given_seeds), st.integers(0, 2**32))
    def check(seed: bytes, dice: int) -> None:
        TARGETS[name](mutated(seed, random.Random(dice), words))

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_have_an_answer_or_a_typed_error(name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()
