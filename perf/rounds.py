"""Interleaved rounds: every subject once a round, in random order.

Single measurements of one path differ by 20 % and more from minute to minute on a virtual
machine; what was measured side by side does not.  So a round measures every subject once,
ratios are taken within rounds, and rounds go on until the ratios are known well enough or
time is up.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vnetx_perf import machine, subjects
from vnetx_perf.figures import AGAINST, Figure, Row, Sample
from vnetx_perf.topology import Subject

__all__ = ["Probe", "Sample", "built", "run"]

#: Fewer rounds than these say nothing: of the range of six, 97 % hold the median.
LEAST_ROUNDS = 6
_LONGEST_WARM_S = 0.2

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Probe:
    """What is measured of a subject.

    Attributes:
        measure: takes a subject, what `prepare` yielded, seconds and the core; returns a sample.
        prepare: makes a subject ready for this probe, a context manager.
        warm: measurements of each subject that are thrown away first.
        histogram_ns: nanoseconds of the samples' histograms for one unit of the value.
        shown: of what a sample has besides, what tables show: keys, and their headings.
        closed: the sender waits for what it sent.  One that does not wait leaves nothing of its
            core to a switch that is a process, which then gets a core of its own.
    """

    name: str
    title: str
    unit: str
    lower_is_better: bool
    measure: Callable[[Subject, Any, float, int], Sample]
    prepare: Callable[[Subject], contextlib.AbstractContextManager[Any]] = lambda _: (
        contextlib.nullcontext()
    )
    warm: int = 1
    histogram_ns: float = 1000.0
    shown: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False


def why(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RuntimeError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def built(
    names: Sequence[str], progress: Progress = lambda _: None
) -> Iterator[tuple[dict[str, Subject], dict[str, str]]]:
    """The subjects of these names, side by side, and why those that failed are not there."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Subject] = {}
        failed: dict[str, str] = {}
        for name in names:
            progress(f"building {name}")
            try:
                made[name] = stack.enter_context(subjects.make(name))
            except Exception as error:
                failed[name] = why(error)
        yield made, failed


@contextlib.contextmanager
def _prepared(
    probe: Probe,
    made: Mapping[str, Subject],
    seconds: float,
    core: int,
    forwarding_core: int,
    failed: dict[str, str],
) -> Iterator[dict[str, tuple[Subject, Any]]]:
    """Each subject with what the probe needs of it, warm."""
    with contextlib.ExitStack() as stack:
        ready = {}
        for name, subject in made.items():
            with contextlib.ExitStack() as attempt:
                try:
                    subject.pin(forwarding_core)
                    handle = attempt.enter_context(probe.prepare(subject))
                    for _ in range(probe.warm):
                        probe.measure(subject, handle, min(seconds, _LONGEST_WARM_S), core)
                except Exception as error:
                    failed[name] = why(error)
                    continue
                ready[name] = (subject, handle)
                stack.push(attempt.pop_all())
        yield ready


def run(
    probe: Probe,
    made: Mapping[str, Subject],
    *,
    seconds: float,
    core: int,
    forwarding_core: int | None = None,
    seed: int,
    until: float,
    width: float = 0.0,
    least: int = LEAST_ROUNDS,
    most: int = 1000,
    against: tuple[str, ...] = AGAINST,
    benchmark: str = "",
    progress: Progress = lambda _: None,
) -> Figure:
    """Measures `probe` of all subjects in interleaved rounds.

    A subject that fails is reported, and the others go on.  Ctrl-C between two rounds or
    within one leaves the rounds before: :attr:`Figure.rows` holds whole rounds only.

    Args:
        made: the subjects by name, of :func:`built`.
        seconds: of one measurement.
        core: where the frames are sent; `forwarding_core` is where subjects forward that are
            processes, the same if there is no other.
        until: no further round begins after this time (time.monotonic), once there are `least`.
        width: no further round begins when no interval of a ratio is wider than this, relative
            to the ratio; 0 for all the time there is.
        most: rounds at the most.
        against: the subjects that ratios are of.
    """
    chance = random.Random(seed)
    figure = Figure(
        name=probe.name,
        benchmark=benchmark or probe.name,
        title=probe.title,
        unit=probe.unit,
        lower_is_better=probe.lower_is_better,
        kind="subjects",
        against=against if against and against[0] in made else (),
        histogram_ns=probe.histogram_ns,
        shown=probe.shown,
        seed=seed,
    )
    begin = time.monotonic()
    others: list[bool] = []
    progress("warming up")
    forwards = core if forwarding_core is None else forwarding_core
    with _prepared(probe, made, seconds, core, forwards, figure.failed) as ready:
        before = machine.CpuTime.of(core)
        figure.rows = {name: Row(note=_note(made[name], core, forwards)) for name in ready}
        try:
            for number in range(most):
                if not ready or (number >= least and _enough(figure, until, width)):
                    break
                progress(f"round {number + 1}")
                _round(probe, ready, figure, chance, seconds, core, others)
        except KeyboardInterrupt:
            figure.warnings.append("interrupted")
            raise Interrupted(figure) from None
        finally:
            figure.steal = machine.CpuTime.of(core).since(before).steal_share
            figure.disturbed = sum(others) / len(others) if others else 0.0
            figure.seconds = time.monotonic() - begin
    return figure


def _note(subject: Subject, core: int, forwards: int) -> str:
    return f"forwards on core {forwards}" if subject.is_process and forwards != core else ""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a figure; `figure` has the rounds that were whole."""

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self.figure = figure


def _enough(figure: Figure, until: float, width: float) -> bool:
    return time.monotonic() > until or (width > 0 and figure.width() <= width)


def _round(
    probe: Probe,
    ready: dict[str, tuple[Subject, Any]],
    figure: Figure,
    chance: random.Random,
    seconds: float,
    core: int,
    others: list[bool],
) -> None:
    """One sample of each subject; those that fail leave `ready`."""
    order = list(ready)
    chance.shuffle(order)
    taken = {}
    for name in order:
        others.append(machine.others_running() > 0)
        try:
            taken[name] = probe.measure(*ready[name], seconds, core)
        except Exception as error:
            figure.failed[name] = why(error)
            del ready[name], figure.rows[name]
    for name, sample in taken.items():
        figure.rows[name].samples.append(sample)
    figure.orders.append(order)
