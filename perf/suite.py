"""A run: which benchmarks of which subjects, in what time; figure after figure, then a report."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vnetx_perf import machine, rounds, subjects
from vnetx_perf.benchmarks import BENCHMARKS, TARGETS
from vnetx_perf.figures import AGAINST, Figure, again
from vnetx_perf.namespaces import remove_leftovers, swept
from vnetx_perf.reports import FORMAT
from vnetx_perf.session import WIDTH, Benchmark, Level, Progress, Session
from vnetx_perf.topology import Subject

#: What building and taking down a subject takes, seconds.
_BUILD_S = 0.7
#: Subjects that --quick measures, unless others are named.
_QUICK = ("direct", "bridge", "macvlan", "vnetx-tc", "vnetx-xdp")


class UnknownNameError(ValueError):
    """A name that is no benchmark's and no subject's."""


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        benchmarks: names of :data:`vnetx_perf.benchmarks.BENCHMARKS`.
        subjects: names of :data:`vnetx_perf.subjects.SUBJECTS`, those of `against` among them.
        against: what ratios are of; the first is the baseline.
        command: what was typed.
    """

    benchmarks: tuple[str, ...]
    subjects: tuple[str, ...]
    against: tuple[str, ...]
    level: Level
    core: int
    other_core: int | None
    seed: int
    command: tuple[str, ...] = ()

    @property
    def chosen(self) -> list[Benchmark]:
        return [BENCHMARKS[name] for name in self.benchmarks]

    def measured(self, benchmark: Benchmark) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(subjects, what ratios are of) of a benchmark; the baseline is among them twice."""
        if not benchmark.wants_subjects:
            return (), ()
        names, against = self.subjects, self.against
        if benchmark.own:
            if not set(against) <= set(benchmark.own):
                against = benchmark.against
            named = {name for name in benchmark.own if name in self.subjects}
            usual = {n for n in benchmark.own if subjects.SUBJECTS[n].usual}
            named = named or set(benchmark.default) or usual
            names = tuple(n for n in benchmark.own if n in named.union(against))
        return tuple(name for each in names for name in _twice(each, against[0])), against

    @property
    def built(self) -> list[str]:
        """All subjects that the run is of."""
        return list(dict.fromkeys(n for each in self.chosen for n in self.measured(each)[0]))


def _twice(name: str, baseline: str) -> tuple[str, ...]:
    return (name, again(name)) if name == baseline else (name,)


def choose(
    names: Sequence[str], against: Sequence[str], level: Level
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(benchmarks, subjects, against) of what was named.

    Names of benchmarks say what is measured, names of subjects what of; without any of a kind,
    all of it that the level has time for.

    Raises:
        UnknownNameError: with the names that there are.
    """
    for name in (*names, *against):
        if name not in subjects.SUBJECTS and (name in against or name not in BENCHMARKS):
            raise UnknownNameError(
                f"there is no '{name}'; "
                + ("" if name in against else f"benchmarks are {', '.join(BENCHMARKS)}; ")
                + f"subjects are {', '.join(subjects.SUBJECTS)}"
            )
    measured = tuple(name for name in BENCHMARKS if name in names)
    if not measured:
        measured = tuple(name for name, each in BENCHMARKS.items() if each.seconds[level])
    named = [name for name in names if name in subjects.SUBJECTS]
    to = tuple(dict.fromkeys(against)) or _against(named)
    if not named and not against:
        usual = [name for name in _alike("") if subjects.SUBJECTS[name].usual]
        named = list(_QUICK) if level == "quick" else usual
    elif not named:
        named = [name for name in _alike(_group(to)) if name.startswith("vnetx-")]
    wanted = {*named, *to}
    return measured, tuple(name for name in subjects.SUBJECTS if name in wanted), to


def _group(names: Sequence[str]) -> str:
    """The group that all of them are of: they have nothing to be compared with among the others."""
    groups = {subjects.SUBJECTS[name].group for name in names}
    return groups.pop() if len(groups) == 1 else ""


def _against(names: Sequence[str]) -> tuple[str, ...]:
    """What ratios are of, unless others are asked for."""
    group = _group(names)
    return BENCHMARKS[group].against if group else AGAINST


def _alike(group: str) -> list[str]:
    """The subjects of a group."""
    return [name for name, kind in subjects.SUBJECTS.items() if kind.group == group]


def planned(request: Request) -> float:
    """Seconds that the run may take."""
    return _BUILD_S * len(request.built) + sum(
        _seconds(each, request.level) for each in request.chosen
    )


def _seconds(benchmark: Benchmark, level: Level) -> float:
    return benchmark.seconds[level] or benchmark.seconds["default"] / 2


class Run:
    """One run.  :meth:`go` measures; :attr:`report` is what there is, at any time.

    Args:
        show: gets each figure, as its JSON, when it is done.
    """

    def __init__(
        self,
        request: Request,
        show: Callable[[dict[str, Any]], None] = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        self._request = request
        self._show = show
        self._progress = progress or Progress()
        self._progress.planned = planned(request)
        self.report: dict[str, Any] = {
            "format": FORMAT,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
            "command": list(request.command),
            "seed": request.seed,
            "level": request.level,
            "width": WIDTH[request.level],
            "against": list(request.against),
            "cores": {"cost": request.core, "other": request.other_core},
            "interrupted": False,
            "machine": machine.describe(),
            "subjects": {},
            "missing": {},
            "skipped": {},
            "warnings": [],
            "figures": [],
        }

    def go(self) -> dict[str, Any]:
        """Measures everything; Ctrl-C ends it with what there is."""
        begin = time.monotonic()
        throttled = machine.throttled()
        remove_leftovers()
        try:
            with swept(), self._out_of_the_way():
                self._measure()
        except KeyboardInterrupt:
            self.report["interrupted"] = True
        if machine.throttled() > throttled:
            self.report["warnings"].append("the processor was throttled: it became too hot")
        self.report["seconds"] = time.monotonic() - begin
        return self.report

    @contextlib.contextmanager
    def _out_of_the_way(self) -> Iterator[None]:
        """The harness itself stays off the core that is measured on, if there is another."""
        before = os.sched_getaffinity(0)
        if others := before - {self._request.core}:
            os.sched_setaffinity(0, others)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def _measure(self) -> None:
        request = self._request
        names = self._present()
        before = signal.getsignal(signal.SIGINT)
        try:
            with rounds.built(names, self._progress) as (made, failed):
                self.report["missing"].update(failed)
                try:
                    self._benchmarks(self._session(made), request.chosen)
                finally:  # taking down is not interrupted
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
        finally:
            signal.signal(signal.SIGINT, before)

    def _session(self, made: Mapping[str, Subject]) -> Session:
        for name, subject in made.items():
            self.report["subjects"][name] = {
                "title": subject.title,
                "limit": subject.limit,
                "state": subject.state(),
            }
        request = self._request
        return Session(
            made,
            request.level,
            request.core,
            request.other_core,
            request.seed,
            request.against,
            self._progress,
            skipped=self.report["skipped"],
        )

    def _present(self) -> list[str]:
        """The subjects that this machine can have."""
        built = self._request.built
        lacks = {kind: subjects.SUBJECTS[kind].missing() for kind in map(subjects.kind_of, built)}
        self.report["missing"].update({kind: why for kind, why in lacks.items() if why})
        return [name for name in built if not lacks[subjects.kind_of(name)]]

    def _benchmarks(self, session: Session, chosen: Sequence[Benchmark]) -> None:
        for number, benchmark in enumerate(chosen):
            names, against = self._request.measured(benchmark)
            made = {name: session.made[name] for name in names if name in session.made}
            seconds = _seconds(benchmark, session.level)
            part = replace(session, made=made, against=against, seconds=seconds)
            self._progress.expect(sum(_seconds(each, session.level) for each in chosen[number:]))
            try:
                for figure in benchmark.run(part):
                    self._add(figure)
            except rounds.Interrupted as interrupted:
                self._add(interrupted.figure)
                raise
            except Exception as error:
                self.report["skipped"][benchmark.name] = rounds.why(error)

    def _add(self, figure: Figure) -> None:
        document = figure.to_json(TARGETS.get(figure.name))
        self.report["figures"].append(document)
        self._show(document)
