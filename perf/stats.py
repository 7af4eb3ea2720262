"""Statistics of paired measurements: medians, ratios, bootstrap intervals.

Intervals are percentile-bootstrap intervals of medians (Efron and Tibshirani, *An Introduction to
the Bootstrap*, 13.3).  With few values a resampled median says less than the range does, whose
coverage is known: it misses the median of a continuous distribution with probability 2^(1-n).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: Of the intervals that are quoted.
CONFIDENCE = 0.95
_RESAMPLES = 2000
_FEW = 7


@dataclass(frozen=True)
class Estimate:
    """A median and the interval that it lies in with :data:`CONFIDENCE`."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def relative_width(self) -> float:
        """The interval's width as a share of the value."""
        return (self.high - self.low) / abs(self.value) if self.value else float("inf")


def _resampled(values: Sequence[float], chance: random.Random) -> float:
    return median(chance.choices(values, k=len(values)))


def _within(found: list[float], confidence: float) -> tuple[float, float]:
    """The interval that holds `confidence` of resampled values."""
    found.sort()
    tail = (1 - confidence) / 2
    last = len(found) - 1
    return found[int(tail * len(found))], found[min(last, int((1 - tail) * len(found)))]


def bootstrap(
    values: Sequence[float],
    seed: int = 0,
    resamples: int = _RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The median of `values` with its interval.

    With fewer than seven values the interval is their range.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    middle = median(values)
    if len(values) < _FEW:
        return Estimate(middle, min(values), max(values))
    chance = random.Random(seed)
    found = [_resampled(values, chance) for _ in range(resamples)]
    return Estimate(middle, *_within(found, confidence))


def ratio(values: Sequence[float], baseline: Sequence[float], seed: int = 0) -> Estimate:
    """The median of the ratios of what was measured in the same round, with its interval."""
    return bootstrap([a / b for a, b in zip(values, baseline, strict=True) if b], seed)


def between(
    values: Sequence[float],
    baseline: Sequence[float],
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The ratio of the medians of two independent samples, with its interval.

    Raises:
        ValueError: there are no values, or the baseline's median is zero.
    """
    if not values or not baseline or not median(baseline):
        raise ValueError("no values")
    chance = random.Random(seed)
    found = []
    for _ in range(round(_RESAMPLES * max(1.0, 0.05 / (1 - confidence)))):
        below = _resampled(baseline, chance)
        if below:
            found.append(_resampled(values, chance) / below)
    return Estimate(median(values) / median(baseline), *_within(found, confidence))


def spread(values: Sequence[float]) -> float:
    """Median distance from the median, relative to it."""
    middle = median(values)
    return median(abs(value - middle) for value in values) / middle if middle else 0.0
