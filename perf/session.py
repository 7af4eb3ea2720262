"""One run of benchmarks: what was asked for, the subjects side by side, and its time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from vnetx_perf import rounds
from vnetx_perf.figures import AGAINST, Figure
from vnetx_perf.topology import Subject

Level = Literal["quick", "default", "thorough"]
LEVELS: tuple[Level, ...] = ("quick", "default", "thorough")

#: Rounds end when no interval of a ratio is wider than this, relative to the ratio.
WIDTH = {"quick": 0.06, "default": 0.03, "thorough": 0.01}


@dataclass
class Progress:
    """How far a run is, for whoever shows it.

    Attributes:
        show: called with what is done now, the seconds that have gone, and those that the run
            is planned to take.
        planned: seconds.
    """

    show: Callable[[str, float, float], None] = lambda *_: None
    planned: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def expect(self, seconds: float) -> None:
        """Plans so many seconds from now on."""
        self.planned = time.monotonic() - self.begun + seconds

    def __call__(self, what: str) -> None:
        self.show(what, time.monotonic() - self.begun, self.planned)


@dataclass
class Session:
    """What benchmarks run on.

    Attributes:
        made: the subjects, built, by name.
        core: what is measured runs there; `other_core` is a second one, None on a machine (or
            with an affinity) of one.
        against: the subjects that ratios are of; the first is the baseline.
        seed: of the orders of rounds and of the bootstrap.
        seconds: what the benchmark that runs now may take.
        done: the figures that were measured before, by name.
        skipped: those that are not measured, and why.
    """

    made: Mapping[str, Subject]
    level: Level
    core: int
    other_core: int | None
    seed: int
    against: tuple[str, ...] = AGAINST
    progress: Callable[[str], None] = lambda _: None
    seconds: float = 0.0
    done: dict[str, Figure] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def pick(self, quick: float, default: float, thorough: float) -> float:
        """A value by level."""
        return {"quick": quick, "default": default, "thorough": thorough}[self.level]

    def paired(
        self,
        benchmark: str,
        probe: rounds.Probe,
        seconds: float,
        share: float = 1.0,
        *,
        least: int = rounds.LEAST_ROUNDS,
        most: int = 1000,
        made: Mapping[str, Subject] | None = None,
    ) -> Figure:
        """A probe of all subjects in interleaved rounds, for `share` of the benchmark's time.

        Args:
            seconds: of one measurement.
            made: the subjects, if not all.
        """
        figure = rounds.run(
            probe,
            self.made if made is None else made,
            seconds=seconds,
            core=self.core,
            forwarding_core=self.core if probe.closed else self.other_core,
            seed=self.seed,
            until=self.until(share),
            width=WIDTH[self.level],
            least=least,
            most=most,
            against=self.against,
            benchmark=benchmark,
            progress=lambda text: self.progress(f"{probe.name}: {text}"),
        )
        self.done[figure.name] = figure
        return figure

    def until(self, share: float = 1.0) -> float:
        """When `share` of the benchmark's time has gone (time.monotonic)."""
        return time.monotonic() + share * self.seconds

    def skip(self, figure: str, why: str) -> None:
        """Notes that a figure is not measured, and why."""
        self.skipped[figure] = why


def cores(core: int | None = None) -> tuple[int, int | None]:
    """The core to measure on (the last one, unless given) and another one if there is any.

    Raises:
        ValueError: this process may not run on `core`.
    """
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[-1] if core is None else core
    if chosen not in allowed:
        told = ", ".join(map(str, allowed))
        raise ValueError(f"no core {chosen} for this process; there are {told}")
    return chosen, next((other for other in allowed if other != chosen), None)


@dataclass(frozen=True)
class Benchmark:
    """What can be named on the command line.

    Attributes:
        run: yields its figures one by one, so that what is there when a run is interrupted
            is shown.
        seconds: planned for each level; 0 leaves it out unless it is asked for by name.
        wants_subjects: whether it measures subjects.
        own: the subjects that can be named for it, which it measures instead of the run's;
            `against` are those that ratios are of, the first the baseline.
        default: those of `own` that it measures where none is named; the usual ones if empty.
    """

    name: str
    title: str
    run: Callable[[Session], Iterator[Figure]]
    seconds: Mapping[Level, float]
    wants_subjects: bool = True
    own: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    default: tuple[str, ...] = ()
