"""The regression gate: ratios measured now against those of ``perf/baseline.json``.

``python -m vnetx_perf.gate`` measures and fails on a significant loss; ``--update`` writes the
ratios as the new ones.  The file holds ratios and no times, so that it means something on another
machine of the same kind: what is compared is how far vnetx is ahead of the kernel bridge.

A row is a loss where the whole interval of what became of its ratio lies on the wrong side of 1,
and by more than :data:`TOLERANCE`.  The intervals are so wide that, with all rows of a run
together, one run in twenty fails by chance (Bonferroni).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vnetx_perf import compare, reports, session, stats, suite
from vnetx_perf.subjects import kind_of

BASELINE = Path(__file__).with_name("baseline.json")
#: A smaller loss is none: layouts of memory differ from boot to boot.
TOLERANCE = 0.03
BENCHMARKS = ("rr", "oneway", "pps", "stream", "vlan")
SUBJECTS = ("direct", "bridge", "vnetx-tc", "vnetx-xdp")


def to_ratios(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the file keeps of a report: ratios by figure and row, and where they are from."""
    figures = []
    for figure in report["figures"]:
        if not figure["baseline"]:
            continue
        rows = {
            row: {"values": compare.ratios(figure, row)}
            for row in figure["rows"]
            if row.startswith("vnetx-") and kind_of(row) != figure["baseline"]
        }
        kept = ("name", "title", "lower_is_better", "baseline")
        figures.append({key: figure[key] for key in kept} | {"rows": rows})
    machine = {key: report["machine"].get(key) for key in ("cpu", "cores", "emulated")}
    machine["kernel"] = str(report["machine"].get("kernel")).partition("-")[0]
    return {"format": report["format"], "machine": machine, "figures": figures}


def losses(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], int]:
    """(what is significantly worse, a line each; rows compared)."""
    measured = {figure["name"]: figure for figure in to_ratios(after)["figures"]}
    pairs = [
        (figure, row, measured[figure["name"]]["rows"][row]["values"], found["values"])
        for figure in before["figures"]
        if figure["name"] in measured
        for row, found in figure["rows"].items()
        if row in measured[figure["name"]]["rows"]
    ]
    found = []
    for figure, row, now, then in pairs:
        ratio = stats.between(now, then, confidence=1 - (1 - stats.CONFIDENCE) / len(pairs))
        lost = ratio.low - 1 if figure["lower_is_better"] else 1 - ratio.high
        if lost > 0 and abs(ratio.value - 1) > TOLERANCE:
            found.append(
                f"{figure['name']}, {row}: its ratio to {figure['baseline']} is "
                f"{abs(ratio.value - 1):.1%} worse "
                f"({stats.bootstrap(then).value:.3f} before, {stats.bootstrap(now).value:.3f} now)"
            )
    return found, len(pairs)


def _measure(level: session.Level, seed: int) -> dict[str, Any]:
    names = (*BENCHMARKS, *SUBJECTS)
    benchmarks, subjects, against = suite.choose(names, [], level)
    core, other = session.cores()
    request = suite.Request(benchmarks, subjects, against, level, core, other, seed)
    return suite.Run(request).go()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vnetx_perf.gate", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write what is measured now")
    parser.add_argument("--report", type=Path, metavar="FILE", help="a report instead of measuring")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    if arguments.report:
        report = reports.load(arguments.report)
    else:
        report = _measure("quick" if not arguments.update else "default", arguments.seed)
    if arguments.update:
        reports.write(json.dumps(to_ratios(report), indent=1) + "\n", BASELINE)
        print(f"{BASELINE} is written")
        return 0
    found, rows = losses(json.loads(BASELINE.read_text()), report)
    for line in found:
        print(f"LOSS {line}")
    for figure in report["figures"]:
        for warning in figure["warnings"]:
            print(f"{figure['name']}: {warning}")
    print(f"{len(found)} of {rows} ratios are significantly worse than in {BASELINE.name}")
    if not rows:
        print("error: nothing was compared")
    return 1 if found or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
