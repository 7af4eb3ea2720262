"""Statistics: intervals cover what they claim, pairs cancel what they share."""

import random
from statistics import median

import pytest

from vnetx_perf import stats


def test_the_median_of_few_comes_with_its_range():
    assert stats.bootstrap([3.0, 1.0, 2.0]) == stats.Estimate(2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="no values"):
        stats.bootstrap([])


def test_intervals_cover_the_true_median_about_as_often_as_they_say():
    chance = random.Random(1)
    trials = 300
    covered = sum(
        stats.bootstrap([chance.gauss(10, 2) for _ in range(21)], seed=trial, resamples=300).holds(
            10
        )
        for trial in range(trials)
    )
    assert 0.88 <= covered / trials <= 1.0


def test_a_drift_that_both_share_leaves_the_ratio_alone():
    drift = [1 + round_ / 10 for round_ in range(12)]
    chance = random.Random(2)
    base = [10 * d * chance.uniform(0.99, 1.01) for d in drift]
    slower = [11 * d * chance.uniform(0.99, 1.01) for d in drift]
    ratio = stats.ratio(slower, base)
    assert ratio.value == pytest.approx(1.1, rel=0.02)
    assert ratio.low > 1.05
    assert not ratio.holds(1.0)
    # The unpaired comparison drowns in the drift.
    assert stats.bootstrap(base).holds(median(slower))


def test_an_identical_pair_is_no_difference():
    chance = random.Random(3)
    trials = 100
    held = sum(
        stats.ratio(
            [chance.gauss(10, 1) for _ in range(15)], [chance.gauss(10, 1) for _ in range(15)], n
        ).holds(1.0)
        for n in range(trials)
    )
    assert held >= 0.88 * trials


def test_the_same_seed_gives_the_same_interval():
    values = [random.Random(4).gauss(5, 1) for _ in range(9)]
    values = [value + n / 10 for n, value in enumerate(values)]
    assert stats.bootstrap(values, 5) == stats.bootstrap(values, 5)


def test_spread_is_relative():
    assert stats.spread([10, 10, 10]) == 0
    assert stats.spread([9, 10, 11]) == pytest.approx(0.1)
