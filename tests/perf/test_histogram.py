"""The histogram: percentiles within its error, at every magnitude; nothing lost by merging."""

import pickle
import random

import pytest

from vnetx._probe import Histogram

ERROR = 0.001


def exact(values: list[int], percent: float) -> int:
    ordered = sorted(values)
    rank = max(1, -(-int(percent * len(ordered) * 1000) // 100_000))
    return ordered[rank - 1]


@pytest.mark.parametrize("value", [1, 127, 255, 256, 257, 511, 512, 4095, 10**6, 10**9 + 7, 2**40])
def test_one_value_is_within_the_error(value):
    histogram = Histogram()
    histogram.record(value)
    assert histogram.percentile(50) == value  # clamped to minimum and maximum


@pytest.mark.parametrize("scale", [1, 50, 1000, 10**6, 10**9])
@pytest.mark.parametrize("percent", [50, 90, 99, 99.9, 100])
def test_percentiles_are_within_the_error(scale, percent):
    chance = random.Random(scale)
    values = [int(chance.lognormvariate(3, 1) * scale) for _ in range(20_000)]
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    assert histogram.percentile(percent) == pytest.approx(exact(values, percent), rel=ERROR)
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert (histogram.min, histogram.max) == (min(values), max(values))


def test_cells_are_continuous_across_powers_of_two():
    for power in range(6, 40):
        for value in (2**power - 1, 2**power, 2**power + 1):
            histogram = Histogram()
            histogram.record(value)
            middle, count = histogram.items()[0]
            assert count == 1
            assert middle == pytest.approx(value, rel=ERROR)


def test_values_beyond_its_range_are_counted():
    histogram = Histogram()
    histogram.record(2**50)
    assert (histogram.count, histogram.max) == (1, 2**50)


def test_empty():
    assert Histogram().percentile(99) == 0.0
    assert Histogram().mean == 0.0


def test_merging_is_recording_all():
    chance = random.Random(7)
    parts, whole = [Histogram() for _ in range(3)], Histogram()
    for _ in range(3000):
        value = chance.randrange(10**7)
        chance.choice(parts).record(value)
        whole.record(value)
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].items() == whole.items()
    assert parts[0].percentile(99) == whole.percentile(99)


def test_it_crosses_between_processes():
    histogram = Histogram()
    for value in (3, 500, 10**8):
        histogram.record(value, 4)
    copy = pickle.loads(pickle.dumps(histogram))
    assert copy.items() == histogram.items()
    assert (copy.count, copy.min, copy.max, copy.mean) == (12, 3, 10**8, histogram.mean)
