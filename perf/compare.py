"""Two reports beside each other: what became better or worse, and whether that means anything.

Values of two runs are not comparable as they are: the machine was in another mood, or is another
one.  Ratios to a baseline that was measured in the same rounds are.  So rows are compared by their
ratios where the figure has a baseline, and by their values only where both reports are of the
same machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vnetx_perf import stats
from vnetx_perf.figures import again

_SAME = ("cpu", "kernel", "cores", "emulated")


@dataclass(frozen=True)
class Change:
    """A row in two reports.

    Attributes:
        of: the row whose ratio is compared, "" for the values themselves.
        before, after: medians, in the figure's unit or as ratios.
        ratio: after by before, with its interval.
        verdict: "better", "worse" or "no difference".
    """

    figure: str
    row: str
    of: str
    before: float
    after: float
    ratio: stats.Estimate
    verdict: str


def same_machine(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two reports are of one kind of machine: processor, cores, kernel."""
    return all(one["machine"].get(key) == other["machine"].get(key) for key in _SAME)


def ratios(figure: Mapping[str, Any], row: str) -> list[float]:
    """A row's ratios to the figure's baseline, by round."""
    rows = figure["rows"]
    pairs = zip(rows[row]["values"], rows[figure["baseline"]]["values"], strict=False)
    return [value / baseline for value, baseline in pairs if baseline]


def changes(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    confidence: float = stats.CONFIDENCE,
    seed: int = 0,
) -> Iterator[Change]:
    """Every row that both reports have; the baseline, whose ratio is 1, left out."""
    earlier = {figure["name"]: figure for figure in before["figures"]}
    by_value = same_machine(before, after)
    for figure in after["figures"]:
        old = earlier.get(figure["name"])
        if old is None or old["unit"] != figure["unit"]:
            continue
        of = figure["baseline"] if figure["baseline"] == old["baseline"] else None
        if of is None and not by_value:
            continue
        for row in figure["rows"]:
            if row not in old["rows"] or (of and row in (of, again(of))):
                continue
            values = [
                ratios(each, row) if of else each["rows"][row]["values"] for each in (old, figure)
            ]
            if all(values):
                yield _change(figure, row, of or "", values, confidence, seed)


def _change(
    figure: Mapping[str, Any],
    row: str,
    of: str,
    values: list[list[float]],
    confidence: float,
    seed: int,
) -> Change:
    ratio = stats.between(values[1], values[0], seed, confidence)
    if ratio.holds(1.0):
        verdict = "no difference"
    else:
        verdict = "better" if (ratio.value < 1) == figure["lower_is_better"] else "worse"
    middles = [stats.bootstrap(each).value for each in values]
    return Change(figure["name"], row, of, middles[0], middles[1], ratio, verdict)
