"""Histograms, medians, spreads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import Histogram, bucket_of, median, merged, middle_of, spread

TIMES = st.integers(min_value=0, max_value=600 * 10**9)


@given(TIMES)
def test_the_middle_of_a_bucket_is_within_one_percent_of_every_time_in_it(ns: int) -> None:
    assert abs(middle_of(bucket_of(ns)) - ns) <= ns / 100


@given(TIMES)
def test_a_longer_time_never_has_an_earlier_bucket(ns: int) -> None:
    assert bucket_of(ns) <= bucket_of(ns + 1) <= bucket_of(ns) + 1


def test_ten_minutes_have_a_bucket_in_the_program_in_c() -> None:
    assert bucket_of(600 * 10**9) < 4096


@given(st.lists(TIMES, min_size=1), st.floats(min_value=0.01, max_value=1))
def test_a_quantile_is_that_of_the_times_themselves_but_for_the_width_of_a_bucket(times: list[int], share: float) -> None:
    histogram = Histogram()
    for ns in times:
        histogram.note(ns)
    found = histogram.quantile(share)
    assert found is not None
    assert any(abs(found - ns) <= ns / 100 for ns in times)
    assert sum(bucket_of(ns) <= bucket_of(int(found)) for ns in times) >= share * len(times) - 1e-6


def test_a_histogram_of_nothing_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


def test_merged_histograms_count_everything_once() -> None:
    one, other = Histogram([(3, 2), (5, 1)]), Histogram([(5, 4)])
    assert merged([one, other]).pairs() == [(3, 2), (5, 5)]
    assert len(merged([one, other])) == 7


def test_a_median_leaves_out_what_is_not_known() -> None:
    assert median([None, 3.0, 1.0, 8.0]) == 3.0
    assert median([None]) is None


def test_the_spread_is_a_share_of_the_median() -> None:
    assert spread([90.0, 100.0, 120.0]) == pytest.approx(0.3)
    assert spread([90.0, None]) is None
