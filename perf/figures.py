"""What a benchmark hands over: figures, their rows, and the JSON that keeps every value.

A *figure* is one table: one quantity, measured of several *rows* (subjects, or paths of a
program, or commands) in the same interleaved rounds.  Its JSON is what
:mod:`vnetx_perf.reports` writes and all that shows figures reads; units and layouts stand
there, in :data:`vnetx_perf.reports.FORMAT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from vnetx._probe import Histogram
from vnetx_perf import stats

#: What ratios are of, unless others are asked for; the first one is the baseline.
AGAINST = ("bridge", "direct")

#: `subjects`: rows are subjects; `curve`: cost against size; `list`: everything else.
Kind = Literal["subjects", "curve", "list"]


def again(baseline: str) -> str:
    """The baseline's second instance, built separately: how far the two are from each other is
    the noise floor of a run."""
    return f"{baseline}#2"


_PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
_UNSTABLE = 0.1
_STOLEN = 0.01
_DISTURBED = 0.25


@dataclass(frozen=True)
class Sample:
    """One value, and what else was seen while it was measured (percentiles, loss, CPU).

    A :class:`vnetx._probe.Histogram` of nanoseconds may stand in `extra` as "histogram".
    """

    value: float
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A bound that a row has to keep.

    Attributes:
        sign: "≤" or "≥".
        of: the row that the value is a multiple of; "" where the value itself is meant.
    """

    sign: Literal["≤", "≥"]
    limit: float
    of: str = ""

    def verdict(self, estimate: stats.Estimate) -> str:
        """ "holds" or "MISSED", with a question mark where the interval lies across the bound."""
        kept = estimate.value <= self.limit if self.sign == "≤" else estimate.value >= self.limit
        sure = not estimate.low <= self.limit <= estimate.high
        return ("holds" if kept else "MISSED") + ("" if sure else " ?")


@dataclass
class Row:
    """What was measured of one thing: a sample for each round.

    Attributes:
        x: where it stands on the axis of a curve, and `series` which curve it belongs to.
    """

    samples: list[Sample] = field(default_factory=list)
    note: str = ""
    x: float | None = None
    series: str | None = None

    @classmethod
    def of(cls, values: Sequence[float], **more: Any) -> Row:
        return cls([Sample(value) for value in values], **more)

    @property
    def values(self) -> list[float]:
        return [sample.value for sample in self.samples]

    def percentiles(self, ns: float) -> dict[str, float] | None:
        """Of the histograms of all rounds together, in units of `ns` nanoseconds."""
        merged = Histogram()
        for sample in self.samples:
            if "histogram" in sample.extra:
                merged.merge(sample.extra["histogram"])
        if not merged.count:
            return None
        return {f"{percent:g}": merged.percentile(percent) / ns for percent in _PERCENTS}


@dataclass
class Figure:
    """One quantity of several rows, by round.

    Attributes:
        name: unique in a report; `benchmark` is what it belongs to on the command line.
        axis: what `Row.x` counts, of a curve.
        against: the rows that ratios are of; the first is the baseline.
        shown: keys of the samples' extras that tables show, and their headings.
        histogram_ns: nanoseconds of the samples' histograms for one unit of the value.
        orders: the rows in the order in which they were measured, by round.
        failed: why a row has no samples.
        steal, disturbed: shares of the time and of the measurements in which the hypervisor or
            another process had the core.
    """

    name: str
    benchmark: str
    title: str
    unit: str
    lower_is_better: bool
    kind: Kind = "list"
    axis: str | None = None
    against: tuple[str, ...] = ()
    histogram_ns: float = 1000.0
    shown: Mapping[str, str] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    orders: list[list[str]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    steal: float = 0.0
    disturbed: float = 0.0
    seconds: float = 0.0
    seed: int = 0

    @property
    def baseline(self) -> str:
        """The row that a row's own ratio is of, "" for none."""
        return self.against[0] if self.against else ""

    def estimate(self, row: str) -> stats.Estimate:
        return stats.bootstrap(self.rows[row].values, self.seed)

    def ratio(self, row: str, baseline: str) -> stats.Estimate | None:
        """The ratio within rounds; None where one of the two was not measured."""
        if not all(name in self.rows and self.rows[name].samples for name in (row, baseline)):
            return None
        return stats.ratio(self.rows[row].values, self.rows[baseline].values, self.seed)

    def noise(self) -> float | None:
        """How far the baseline is from itself: the larger side of the A/A ratio's interval."""
        pair = self._pair()
        return None if pair is None else max(abs(pair.low - 1), abs(pair.high - 1))

    def _pair(self) -> stats.Estimate | None:
        return self.ratio(again(self.baseline), self.baseline) if self.baseline else None

    def width(self) -> float:
        """The widest interval of a ratio to the baseline, relative to the ratio; of the values
        where there is no baseline; infinite before there are two rounds."""
        widest = 0.0
        for name in self.rows:
            if name == self.baseline:
                continue
            estimate = self.ratio(name, self.baseline) if self.baseline else self.estimate(name)
            if estimate is None or len(self.rows[name].samples) < 2:
                return float("inf")
            widest = max(widest, estimate.relative_width)
        return widest

    # ------------------------------------------------------------ verdicts

    def verdict(self, ratio: stats.Estimate) -> str:
        """ "better" or "worse" than what the ratio is of; "no difference" where 1 is in the
        interval."""
        if ratio.holds(1.0):
            return "no difference"
        return "better" if (ratio.value < 1) == self.lower_is_better else "worse"

    def doubts(self) -> list[str]:
        """What speaks against believing the figure."""
        found = list(self.warnings)
        if self.steal > _STOLEN:
            found.append(f"{self.steal:.0%} of the core's time was stolen by the hypervisor")
        if self.disturbed > _DISTURBED:
            found.append(
                f"the machine is not quiet: at {self.disturbed:.0%} of the measurements "
                "something else was running"
            )
        for name, row in self.rows.items():
            spread = stats.spread(row.values) if row.samples else 0.0
            if self.kind == "subjects" and spread > _UNSTABLE:
                found.append(f"{name} is unstable: its values differ by ±{spread:.0%}")
        pair = self._pair()
        if pair is not None and not pair.holds(1.0):
            found.append(
                f"{self.baseline} differs from itself ({pair.low:.3f} to {pair.high:.3f}): "
                "differences of this size mean nothing"
            )
        lost = {
            name: sum(sample.extra.get("lost", 0) for sample in row.samples)
            for name, row in self.rows.items()
        }
        if any(lost.values()):
            told = ", ".join(f"{name} {count:,}" for name, count in lost.items() if count)
            found.append(f"lost frames: {told}")
        return found

    # ------------------------------------------------------------ JSON

    def to_json(self, targets: Mapping[str, Sequence[Target]] | None = None) -> dict[str, Any]:
        """The figure as it stands in a report; `targets` by row."""
        targets = targets or {}
        return {
            "name": self.name,
            "benchmark": self.benchmark,
            "title": self.title,
            "unit": self.unit,
            "lower_is_better": self.lower_is_better,
            "kind": self.kind,
            "axis": self.axis,
            "baseline": self.baseline or None,
            "noise": self.noise(),
            "rounds": max((len(row.samples) for row in self.rows.values()), default=0),
            "rows": {
                name: self._row(name, targets.get(name, ()))
                for name, row in self.rows.items()
                if row.samples
            },
            "failed": self.failed,
            "orders": self.orders,
            "steal": self.steal,
            "disturbed": self.disturbed,
            "seconds": self.seconds,
            "warnings": self.doubts(),
        }

    def _row(self, name: str, targets: Sequence[Target]) -> dict[str, Any]:
        row, estimate = self.rows[name], self.estimate(name)
        ratios = {
            other: {
                "value": ratio.value,
                "low": ratio.low,
                "high": ratio.high,
                "verdict": self.verdict(ratio),
            }
            for other in self.against
            if other != name and (ratio := self.ratio(name, other)) is not None
        }
        return {
            "median": estimate.value,
            "interval": [estimate.low, estimate.high],
            "values": row.values,
            "extra": [
                {key: value for key, value in sample.extra.items() if key != "histogram"}
                for sample in row.samples
            ],
            "ratios": ratios,
            "percentiles": row.percentiles(self.histogram_ns),
            "shown": {
                heading: median(sample.extra[key] for sample in row.samples)
                for key, heading in self.shown.items()
                if all(key in sample.extra for sample in row.samples)
            },
            "note": row.note,
            "x": row.x,
            "series": row.series,
            "targets": [self._kept(name, target) for target in targets],
        }

    def _kept(self, name: str, target: Target) -> dict[str, Any]:
        estimate = self.ratio(name, target.of) if target.of else self.estimate(name)
        return {
            "sign": target.sign,
            "limit": target.limit,
            "of": target.of or None,
            "value": estimate.value if estimate else None,
            "verdict": target.verdict(estimate) if estimate else "not measured",
        }
