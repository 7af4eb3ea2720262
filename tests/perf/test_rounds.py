"""Rounds interleave, go on for as long as is needed, and survive what fails in them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time

import pytest

from vnetx._probe import Histogram
from vnetx_perf import endpoints, rounds
from vnetx_perf.figures import Figure, Row, Sample, Target
from vnetx_perf.stats import Estimate

CORE = max(os.sched_getaffinity(0))


class Fake(float):
    """A subject that is its own figure."""

    is_process = False

    def pin(self, core):
        pass


FAKES = {name: Fake(value) for name, value in {"direct": 8, "bridge": 10, "bridge#2": 10}.items()}


def run(measure, names=FAKES, **options):
    """Rounds over fakes, which are their own figures."""
    probe = rounds.Probe("fake", "a fake", "µs", True, measure, warm=options.pop("warm", 0))
    options = {"seconds": 0, "core": CORE, "seed": 3, "until": 0} | options
    return rounds.run(probe, {name: FAKES[name] for name in names}, **options)


def itself(subject, _handle, _seconds, _core):
    return Sample(subject)


def test_rounds_interleave_in_random_order():
    figure = run(itself, least=7, until=0)
    assert figure.ratio("direct", "bridge") == Estimate(0.8, 0.8, 0.8)
    assert figure.noise() == 0
    assert len(figure.orders) == 7
    assert len({tuple(order) for order in figure.orders}) > 1
    assert all(sorted(order) == ["bridge", "bridge#2", "direct"] for order in figure.orders)
    document = json.loads(json.dumps(figure.to_json()))
    assert document["rows"]["direct"]["values"] == [8.0] * 7
    assert document["rows"]["direct"]["ratios"]["bridge"]["verdict"] == "better"
    assert document["rows"]["bridge#2"]["ratios"]["bridge"]["verdict"] == "no difference"


def test_the_same_seed_gives_the_same_order():
    assert run(itself).orders == run(itself).orders != run(itself, seed=4).orders


def test_one_that_fails_leaves_the_others_going():
    taken = 0

    def measure(subject, *_):
        nonlocal taken
        taken += subject == 8.0
        if taken == 3 and subject == 8.0:
            raise RuntimeError("cable cut")
        return Sample(subject)

    figure = run(measure)
    assert figure.failed == {"direct": "cable cut"}
    assert {name: len(row.samples) for name, row in figure.rows.items()} == {
        "bridge": rounds.LEAST_ROUNDS,
        "bridge#2": rounds.LEAST_ROUNDS,
    }


def test_one_that_cannot_be_made_ready_says_why():
    def prepare(subject):
        if subject == 8.0:
            raise ValueError("no such hook")
        return contextlib.nullcontext()

    probe = rounds.Probe("fake", "a fake", "µs", True, itself, prepare)
    figure = rounds.run(probe, FAKES, seconds=0, core=CORE, seed=1, until=0)
    assert figure.failed == {"direct": "ValueError: no such hook"}
    assert "direct" not in figure.rows


def test_they_end_when_the_interval_is_narrow():
    noisy = random.Random(1)
    figure = run(
        lambda subject, *_: Sample(subject * noisy.uniform(0.95, 1.05)),
        until=time.monotonic() + 60,
        width=0.05,
    )
    assert figure.width() <= 0.05
    assert rounds.LEAST_ROUNDS < len(figure.orders) < 1000


def test_they_end_when_time_is_up():
    noisy = random.Random(1)
    begin = time.monotonic()
    run(lambda subject, *_: Sample(subject * noisy.uniform(0.5, 2)), until=begin + 0.3, width=0.001)
    assert 0.3 <= time.monotonic() - begin < 10


def test_interrupted_within_a_round_whole_rounds_remain():
    taken = 0

    def measure(subject, *_):
        nonlocal taken
        taken += 1
        if taken == 8:
            raise KeyboardInterrupt
        return Sample(subject)

    with pytest.raises(rounds.Interrupted) as caught:
        run(measure)
    rows = caught.value.figure.rows
    assert {len(row.samples) for row in rows.values()} == {2}


@pytest.mark.root
def test_subjects_that_cannot_be_built_do_not_stop_the_others(monkeypatch):
    def fail(_self):
        raise RuntimeError("as planned")

    monkeypatch.setattr(endpoints.Macvlan, "build", fail)
    with rounds.built(("direct", "macvlan")) as (made, failed):
        assert list(made) == ["direct"]
        assert failed == {"macvlan": "as planned"}


# ---------------------------------------------------------------- figures


def figure_of(rows, **more):
    options = {"lower_is_better": True, "against": ("bridge", "direct")} | more
    return Figure(
        "f", "b", "a figure", "µs", rows={n: Row.of(v) for n, v in rows.items()}, **options
    )


@pytest.mark.parametrize(
    ("values", "lower", "verdict"),
    [
        ([8, 8.1, 8.2] * 3, True, "better"),
        ([8, 8.1, 8.2] * 3, False, "worse"),
        ([12, 12.1, 12.2] * 3, True, "worse"),
        ([9, 10, 11] * 3, True, "no difference"),
    ],
)
def test_verdicts(values, lower, verdict):
    figure = figure_of({"x": values, "bridge": [10.0] * 9}, lower_is_better=lower)
    assert figure.to_json()["rows"]["x"]["ratios"]["bridge"]["verdict"] == verdict


def test_targets_are_of_other_rows_or_of_the_value():
    figure = figure_of({"x": [8.0] * 7, "bridge": [10.0] * 7})
    targets = {
        "x": (Target("≤", 0.9, "bridge"), Target("≤", 7.0), Target("≥", 1.0, "not there")),
    }
    kept = figure.to_json(targets)["rows"]["x"]["targets"]
    assert [each["verdict"] for each in kept] == ["holds", "MISSED", "not measured"]
    assert [each["value"] for each in kept] == [0.8, 8.0, None]


def test_a_target_says_when_it_cannot_be_sure():
    target = Target("≤", 0.9)
    assert target.verdict(Estimate(0.8, 0.7, 0.85)) == "holds"
    assert target.verdict(Estimate(0.88, 0.8, 0.95)) == "holds ?"
    assert target.verdict(Estimate(0.92, 0.8, 0.95)) == "MISSED ?"
    assert target.verdict(Estimate(1.0, 0.95, 1.1)) == "MISSED"


def test_percentiles_are_of_all_rounds_together():
    samples = []
    for value in (1000, 3000):
        histogram = Histogram()
        histogram.record(value, 10)
        samples.append(Sample(value / 1000, {"histogram": histogram, "p50": value / 1000}))
    figure = Figure("f", "b", "t", "µs", True, rows={"x": Row(samples)})
    row = json.loads(json.dumps(figure.to_json()))["rows"]["x"]
    assert row["percentiles"]["50"] == pytest.approx(1.0, rel=0.001)
    assert row["percentiles"]["90"] == pytest.approx(3.0, rel=0.001)
    assert row["extra"] == [{"p50": 1.0}, {"p50": 3.0}]


def test_doubts_are_told():
    figure = figure_of(
        {"bridge": [10.0] * 7, "bridge#2": [12.0] * 7, "x": [1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 5.0]},
        kind="subjects",
    )
    figure.steal, figure.disturbed = 0.05, 0.5
    figure.rows["x"].samples[0].extra["lost"] = 1234
    told = "\n".join(figure.doubts())
    for words in (
        "5% of the core's time was stolen",
        "not quiet",
        "x is unstable",
        "bridge differs from itself (1.200 to 1.200)",
        "lost frames: x 1,234",
    ):
        assert words in told
