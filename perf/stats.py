"""Statistics of paired measurements: medians, ratios, bootstrap intervals."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: Of the intervals that are quoted.
CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A median and the interval that it lies in with :data:`CONFIDENCE`."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def bootstrap(values: Sequence[float], seed: int = 0, resamples: int = _RESAMPLES) -> Estimate:
    """The median of `values` with its percentile-bootstrap interval.

    With fewer than six values the interval is their range: a resampled median of so few
    cannot tell more.
    """
    if not values:
        raise ValueError("no values")
    middle = median(values)
    if len(values) < 6:
        return Estimate(middle, min(values), max(values))
    chance = random.Random(seed)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(resamples))
    tail = (1 - CONFIDENCE) / 2
    low = medians[int(tail * resamples)]
    high = medians[min(resamples - 1, int((1 - tail) * resamples))]
    return Estimate(middle, low, high)


def ratio(values: Sequence[float], baseline: Sequence[float], seed: int = 0) -> Estimate:
    """The median of the ratios of what was measured in the same round, with its interval."""
    pairs = [a / b for a, b in zip(values, baseline, strict=True) if b]
    return bootstrap(pairs, seed)


def spread(values: Sequence[float]) -> float:
    """Median distance from the median, relative to it."""
    middle = median(values)
    return median(abs(value - middle) for value in values) / middle if middle else 0.0
