"""Whether a figure grows: the slope of a line through its samples, and how sure one can be of it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import msgspec

# Two-sided 95 % of Student's distribution by degrees of freedom; beyond the table that of the normal one, a little widened.
_STUDENT = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09]


class Slope(msgspec.Struct, frozen=True):
    """Per second; the true one lies between `low` and `high` with 95 % confidence."""

    middle: float
    low: float
    high: float


def slope(samples: Sequence[tuple[float, float]]) -> Slope | None:
    """Of (seconds, value) by least squares; None for fewer than three. Samples that follow close upon one another are not
    independent: average them first (`averaged`)."""
    count = len(samples)
    if count < 3:
        return None
    times, values = [at for at, _ in samples], [value for _, value in samples]
    mean_time, mean_value = statistics.fmean(times), statistics.fmean(values)
    spread = sum((at - mean_time) ** 2 for at in times)
    if spread == 0:
        return None
    middle = sum((at - mean_time) * (value - mean_value) for at, value in samples) / spread
    rest = sum((value - mean_value - middle * (at - mean_time)) ** 2 for at, value in samples)
    error = math.sqrt(rest / (count - 2) / spread)
    reach = error * (_STUDENT[count - 3] if count - 3 < len(_STUDENT) else 2.05)
    return Slope(middle, middle - reach, middle + reach)


def averaged(samples: Sequence[tuple[float, float]], parts: int) -> list[tuple[float, float]]:
    """The means of so many equal parts."""
    edges = [len(samples) * number // parts for number in range(parts + 1)]
    pieces = [samples[begin:end] for begin, end in pairwise(edges) if end > begin]
    return [(statistics.fmean(at for at, _ in piece), statistics.fmean(value for _, value in piece)) for piece in pieces]
