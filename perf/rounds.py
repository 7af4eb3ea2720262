"""Interleaved rounds: every subject once a round, in random order, and ratios within rounds.

Single measurements of one path differ by 20 % and more from minute to minute on a
virtual machine; what was measured side by side does not.  The baseline stands in every
run twice (``bridge`` and ``bridge#2``, built separately): the ratio of the two is the
noise floor.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vnetx_perf import machine, stats, topology

BASELINE = "bridge"
AGAIN = "bridge#2"


@dataclass(frozen=True)
class Sample:
    """One figure, and what else was seen while it was measured (percentiles, loss, CPU)."""

    value: float
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """What is measured of a subject.

    Attributes:
        measure: takes a subject, what `prepare` yielded, seconds and the core; returns a sample.
        prepare: makes a subject ready for this probe, a context manager.
        warm: measurements of each subject that are thrown away first.
    """

    name: str
    title: str
    unit: str
    lower_is_better: bool
    measure: Callable[[topology.Subject, Any, float, int], Sample]
    prepare: Callable[[topology.Subject], contextlib.AbstractContextManager[Any]] = lambda _: (
        contextlib.nullcontext()
    )
    warm: int = 1


@dataclass
class Result:
    """All of one probe: each subject's samples by round."""

    probe: Probe
    samples: dict[str, list[Sample]]
    states: dict[str, Any]
    orders: list[list[str]]
    failed: dict[str, str]
    steal: float
    disturbed: float
    seconds: float
    seed: int

    def values(self, subject: str) -> list[float]:
        return [sample.value for sample in self.samples[subject]]

    def estimate(self, subject: str) -> stats.Estimate:
        return stats.bootstrap(self.values(subject), self.seed)

    def ratio(self, subject: str, baseline: str) -> stats.Estimate | None:
        if subject not in self.samples or baseline not in self.samples:
            return None
        return stats.ratio(self.values(subject), self.values(baseline), self.seed)

    def noise(self) -> float | None:
        """How far the baseline is from itself: the larger side of the A/A ratio's interval."""
        again = self.ratio(AGAIN, BASELINE)
        return None if again is None else max(abs(again.low - 1), abs(again.high - 1))

    def warnings(self) -> list[str]:
        found = [f"{name}: {why}" for name, why in self.failed.items()]
        if self.steal > 0.01:
            found.append(f"{self.steal:.0%} of the core's time was stolen by the hypervisor")
        if self.disturbed > 0.25:
            found.append(
                f"the machine is not quiet: at {self.disturbed:.0%} of the measurements "
                "something else was running"
            )
        for subject in self.samples:
            spread = stats.spread(self.values(subject))
            if spread > 0.1:
                found.append(f"{subject} is unstable: its values differ by ±{spread:.0%}")
        again = self.ratio(AGAIN, BASELINE)
        if again is not None and not again.holds(1.0):
            found.append(
                f"the bridge differs from itself ({again.low:.3f} to {again.high:.3f}): "
                "differences of this size mean nothing"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        subjects: dict[str, Any] = {}
        for name in self.samples:
            estimate = self.estimate(name)
            subjects[name] = {
                "median": estimate.value,
                "interval": [estimate.low, estimate.high],
                "values": self.values(name),
                "extra": [sample.extra for sample in self.samples[name]],
                "state": self.states[name],
                "ratios": {
                    other: [ratio.value, ratio.low, ratio.high]
                    for other in (BASELINE, "direct")
                    if (ratio := self.ratio(name, other)) is not None
                },
            }
        return {
            "title": self.probe.title,
            "unit": self.probe.unit,
            "lower_is_better": self.probe.lower_is_better,
            "subjects": subjects,
            "orders": self.orders,
            "failed": self.failed,
            "noise": self.noise(),
            "steal": self.steal,
            "disturbed": self.disturbed,
            "seconds": self.seconds,
            "warnings": self.warnings(),
        }


def run(
    probe: Probe,
    subjects: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    core: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
    until: float | None = None,
) -> Result:
    """Measures `probe` on all subjects in interleaved rounds.

    A subject that cannot be built, or fails in a round, is reported and the others go on.

    Args:
        seconds: of one measurement.
        until: no further round begins after this time (time.monotonic), once there are three.
    """
    chance = random.Random(seed)
    failed: dict[str, str] = {}
    states: dict[str, Any] = {}
    orders: list[list[str]] = []
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        built: dict[str, tuple[topology.Subject, Any]] = {}
        for name in subjects:
            progress(f"{probe.name}: building {name}")
            with contextlib.ExitStack() as attempt:
                try:
                    subject = attempt.enter_context(topology.make(name))
                    handle = attempt.enter_context(probe.prepare(subject))
                    for _ in range(probe.warm):
                        probe.measure(subject, handle, min(seconds, 0.2), core)
                    states[name] = subject.state()
                except Exception as error:
                    failed[name] = f"{type(error).__name__}: {error}"
                    continue
                stack.enter_context(attempt.pop_all())
                built[name] = (subject, handle)
        samples: dict[str, list[Sample]] = {name: [] for name in built}
        before = machine.CpuTime.of(core)
        others = []
        for number in range(rounds):
            if until is not None and number >= 3 and time.monotonic() > until:
                break
            order = list(built)
            chance.shuffle(order)
            orders.append(order)
            for name in order:
                progress(f"{probe.name}: round {number + 1} of {rounds}, {name}")
                others.append(machine.others_running() > 0)
                try:
                    samples[name].append(probe.measure(*built[name], seconds, core))
                except Exception as error:
                    failed[name] = f"{type(error).__name__}: {error}"
                    del built[name], samples[name]
        steal = machine.CpuTime.of(core).since(before).steal_share
    return Result(
        probe=probe,
        samples=samples,
        states=states,
        orders=orders,
        failed=failed,
        steal=steal,
        disturbed=sum(others) / len(others) if others else 0.0,
        seconds=time.monotonic() - begin,
        seed=seed,
    )
