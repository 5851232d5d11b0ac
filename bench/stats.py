"""Numbers about numbers: histograms that can be merged, medians, spreads.

A histogram has buckets one 64th to one 128th wide, so a quantile read from it is wrong by less than 1 %. Those of several
rounds are added up before a quantile is read: the median of three 99th percentiles is nobody's 99th percentile.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

_BITS = 7


def bucket_of(ns: int) -> int:
    """The number of the bucket for a time in nanoseconds. `native/load.c` has the same."""
    shift = max(0, ns.bit_length() - _BITS)
    return shift * 64 + (ns >> shift)


def middle_of(bucket: int) -> float:
    """The time in nanoseconds that stands for a bucket."""
    shift = max(0, bucket // 64 - 1)
    low = (bucket - shift * 64) << shift
    return low + ((1 << shift) - 1) / 2


class Histogram:
    """How often each time was seen; times in nanoseconds."""

    def __init__(self, pairs: Iterable[Sequence[int]] = ()) -> None:
        """`pairs`: bucket and count."""
        self.counts: dict[int, int] = {}
        for bucket, count in pairs:
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    def note(self, ns: int) -> None:
        bucket = bucket_of(ns)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def pairs(self) -> list[tuple[int, int]]:
        return sorted(self.counts.items())

    def __len__(self) -> int:
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Nanoseconds that `share` (0 to 1) of the times do not exceed; None when there are none."""
        left = share * len(self)
        for bucket, count in self.pairs():
            left -= count
            if left <= 0:
                return middle_of(bucket)
        return None


def merged(histograms: Iterable[Histogram]) -> Histogram:
    return Histogram(pair for histogram in histograms for pair in histogram.pairs())


def median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def spread(values: Iterable[float | None]) -> float | None:
    """How far apart the largest and the smallest are, as a share of the median; None for fewer than two."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    return (max(known) - min(known)) / statistics.median(known)
