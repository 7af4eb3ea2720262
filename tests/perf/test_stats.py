"""Statistics: intervals cover what they claim, pairs cancel what they share."""

from __future__ import annotations

import random
from statistics import median

import pytest
from scipy import stats as scipy_stats

from vnetx_perf import stats

#: Trials of the simulations, and what 95 % of them may come out as: three standard errors of a
#: binomial (1.1 %), and the percentile bootstrap's known few percent of undercoverage.
TRIALS = 400
LEAST = 0.90


def test_the_median_of_few_comes_with_its_range():
    assert stats.bootstrap([3.0, 1.0, 2.0]) == stats.Estimate(2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="no values"):
        stats.bootstrap([])


@pytest.mark.parametrize("size", [6, 9, 15, 31])
@pytest.mark.parametrize(
    "made",
    [scipy_stats.norm(), scipy_stats.lognorm(0.8), scipy_stats.expon(), scipy_stats.uniform()],
    ids=lambda made: made.dist.name,
)
def test_intervals_cover_the_true_median_as_often_as_they_say(made, size):
    values = made.rvs((TRIALS, size), random_state=size).tolist()
    truth = float(made.median())
    covered = sum(
        stats.bootstrap(each, seed=trial, resamples=400).holds(truth)
        for trial, each in enumerate(values)
    )
    assert covered / TRIALS >= LEAST


def test_intervals_are_those_of_scipy():
    values = scipy_stats.norm(10, 2).rvs(25, random_state=1).tolist()
    ours = stats.bootstrap(values, resamples=9999)
    theirs = scipy_stats.bootstrap(
        (values,), median, n_resamples=9999, method="percentile", vectorized=False, rng=1
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, rel=0.01)
    assert ours.high == pytest.approx(theirs.high, rel=0.01)


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


@pytest.mark.parametrize("size", [6, 9, 21])
def test_an_identical_pair_is_no_difference_at_the_stated_rate(size):
    chance = random.Random(size)

    def measured():
        return [chance.lognormvariate(0, 0.05) for _ in range(size)]

    held = sum(stats.ratio(measured(), measured(), trial).holds(1.0) for trial in range(TRIALS))
    assert held / TRIALS >= LEAST


def test_independent_samples_cover_as_often_as_they_say():
    chance = random.Random(7)

    def measured(size):
        return [chance.gauss(10, 1) for _ in range(size)]

    trials = 200
    held = sum(
        stats.between(measured(15), measured(11), trial).holds(1.0) for trial in range(trials)
    )
    assert held / trials >= LEAST


def test_a_difference_between_independent_samples_is_found():
    chance = random.Random(8)
    slow = [chance.gauss(11, 0.2) for _ in range(9)]
    fast = [chance.gauss(10, 0.2) for _ in range(7)]
    found = stats.between(slow, fast)
    assert found.low > 1.05
    assert found.value == pytest.approx(1.1, rel=0.03)
    assert stats.between(slow, fast, confidence=0.999).low < found.low
    with pytest.raises(ValueError, match="no values"):
        stats.between([1.0], [])


def test_the_same_seed_gives_the_same_interval():
    values = [random.Random(4).gauss(5, 1) for _ in range(9)]
    values = [value + n / 10 for n, value in enumerate(values)]
    assert stats.bootstrap(values, 5) == stats.bootstrap(values, 5)


def test_spread_is_relative():
    assert stats.spread([10, 10, 10]) == 0
    assert stats.spread([9, 10, 11]) == pytest.approx(0.1)
