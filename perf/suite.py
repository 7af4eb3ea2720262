"""All probes in one run, beside the targets: ``python -m vnetx_perf.suite --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from vnetx_perf import control, cost, machine, pps, rounds, rr, stats, stream
from vnetx_perf.namespaces import remove_leftovers

FORMAT = 1
PROBES = ("rr", "stream", "pps", "cost", "control")
_SOCKET_SUBJECTS = ("direct", "bridge", "bridge#2", "macvlan", "vnetx-tc")
_MORE_SUBJECTS = ("redirect-peer", "vnetx-xdp", "vnetx-auto")
_FRAME_SUBJECTS = ("direct", "redirect-peer", "bridge", "bridge#2", "vnetx-tc", "vnetx-xdp")


@dataclass(frozen=True)
class Target:
    """A bound that a figure has to keep."""

    what: str
    at_most: bool
    limit: float

    def verdict(self, estimate: stats.Estimate) -> str:
        """Whether the bound is kept; with a question mark where the interval lies across it."""
        kept = estimate.value <= self.limit if self.at_most else estimate.value >= self.limit
        sure = not estimate.low <= self.limit <= estimate.high
        return ("holds" if kept else "MISSED") + ("" if sure else " ?")

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"


#: (probe, subject, baseline) of ratios that have a target.
RATIOS = {
    ("rr-tcp", "vnetx-tc", "bridge"): Target("", True, 0.90),
    ("rr-tcp", "vnetx-tc", "direct"): Target("", True, 1.08),
    ("stream", "vnetx-tc", "bridge"): Target("", False, 1.0),
    ("pps", "vnetx-tc", "bridge"): Target("", False, 1.5),
    ("pps", "vnetx-xdp", "bridge"): Target("", False, 1.8),
}
SECONDS = {
    "attach, cold": Target("", True, 2.0),
    "attach, loaded": Target("", True, 0.4),
    "fdb show": Target("", True, 0.3),
    "--help": Target("", True, 0.3),
}
#: One destination costs the same, whatever the size around it.
FLAT = Target("", True, 1.15)


def _probes(arguments: argparse.Namespace) -> list[tuple[rounds.Probe, list[str], int, float]]:
    """(probe, subjects, rounds, seconds of a measurement) of what was asked for."""
    quick = arguments.quick
    sockets = [*_SOCKET_SUBJECTS, *(() if quick else _MORE_SUBJECTS)]
    plan = []
    if "rr" in arguments.names:
        plan.append((rr.probe(True), sockets, 9 if quick else 31, 0.1 if quick else 0.15))
        plan.append((rr.probe(False), sockets, 5 if quick else 21, 0.1 if quick else 0.15))
        other = next((c for c in sorted(os.sched_getaffinity(0)) if c != arguments.core), None)
        if not quick and other is not None:
            plan.append((rr.probe(True, other_core=other), sockets, 15, 0.15))
    if "stream" in arguments.names:
        plan.append((stream.probe(), sockets, 7 if quick else 15, 0.2 if quick else 0.4))
    if "pps" in arguments.names:
        plan.append((pps.probe(), list(_FRAME_SUBJECTS), 7 if quick else 21, 0.1))
    return plan


# ---------------------------------------------------------------- tables


def _interval(estimate: stats.Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f} [{estimate.low:.3f} {estimate.high:.3f}]"


def _probe_table(result: rounds.Result) -> Table:
    probe = result.probe
    better = "lower" if probe.lower_is_better else "higher"
    noise = result.noise()
    title = f"{probe.title} ({better} is better)"
    if noise is not None:
        title += f"; noise floor ±{noise:.1%}"
    table = Table(title=title, title_justify="left")
    for heading in ("subject", probe.unit, "of the bridge's", "of direct's", "target", ""):
        table.add_column(heading, justify="left" if heading in ("subject", "") else "right")
    for subject in result.samples:
        targets = [
            (Target, target, result.ratio(subject, baseline), baseline)
            for (name, wanted, baseline), target in RATIOS.items()
            if name == probe.name and wanted == subject
        ]
        table.add_row(
            subject,
            f"{result.estimate(subject).value:.3f}",
            _interval(result.ratio(subject, "bridge")),
            _interval(result.ratio(subject, "direct")),
            "\n".join(f"{target} of {baseline}" for _, target, _, baseline in targets),
            "\n".join(t.verdict(ratio) if ratio else "not measured" for _, t, ratio, _ in targets),
        )
    return table


def _lost(result: rounds.Result) -> str:
    lost = {
        name: sum(sample.extra.get("lost", 0) for sample in samples)
        for name, samples in result.samples.items()
    }
    if not any(lost.values()):
        return ""
    return "lost: " + ", ".join(f"{name} {count}" for name, count in lost.items() if count)


def cost_flatness(values: dict[str, list[float]]) -> dict[str, stats.Estimate]:
    """Cost at the largest size as a multiple of the cost at the smallest, one destination."""
    sizes, ports = cost.FDB_SIZES, cost.PORT_COUNTS
    pairs = {}
    for hook in cost.HOOKS:
        for what, low, high in (
            (
                f"{hook}: FDB {sizes[0]:,} → {sizes[-1]:,}",
                *(f"{hook}: FDB of {size:,}, hot" for size in (sizes[0], sizes[-1])),
            ),
            (
                f"{hook}: ports {ports[0]:,} → {ports[-1]:,}",
                *(f"{hook}: {count:,} ports, hot" for count in (ports[0], ports[-1])),
            ),
        ):
            pairs[what] = stats.ratio(values[high], values[low])
    return pairs


def _cost_tables(values: dict[str, list[float]]) -> list[Table]:
    def middle(name: str) -> str:
        return f"{median(values[name]):.0f}" if name in values else ""

    paths = Table(title="ns a frame in the program, one destination", title_justify="left")
    for heading in ("path", "tc", "xdp"):
        paths.add_column(heading, justify="right" if heading != "path" else "left")
    names = dict.fromkeys(
        name.partition(": ")[2]
        for name in values
        if not name.endswith((", hot", ", random", "idle"))
    )
    for name in names:
        paths.add_row(name, middle(f"tc: {name}"), middle(f"xdp: {name}"))

    sizes = Table(
        title="known unicast, ns a frame: one destination (hot) and random ones of the whole "
        "table;\none bare look-up in the same table beside it: what the caches explain",
        title_justify="left",
    )
    for heading in ("", "tc hot", "tc random", "xdp hot", "xdp random", "one look-up, random"):
        sizes.add_column(heading, justify="right")
    labels = [f"FDB of {size:,}" for size in cost.FDB_SIZES]
    labels += [f"{count:,} ports" for count in cost.PORT_COUNTS]
    for label in labels:
        if f"tc: {label}, hot" not in values:
            continue
        cells = [f"{hook}: {label}, {kind}" for hook in cost.HOOKS for kind in ("hot", "random")]
        sizes.add_row(label, *map(middle, cells), middle(f"table: {label}, random"))

    flat = Table(title="largest over smallest, one destination", title_justify="left")
    for heading in ("", "ratio", "target", " "):
        flat.add_column(heading)
    for what, estimate in cost_flatness(values).items():
        flat.add_row(what, _interval(estimate), str(FLAT), FLAT.verdict(estimate))
    return [paths, sizes, flat]


def _control_table(taken: dict[str, list[float]], failed: dict[str, str]) -> Table:
    table = Table(title="commands, seconds", title_justify="left")
    for heading in ("command", "median", "interval", "target", ""):
        table.add_column(heading, justify="left" if heading in ("command", "") else "right")
    for name, values in taken.items():
        estimate = stats.bootstrap(values)
        target = SECONDS.get(name)
        table.add_row(
            name,
            f"{estimate.value:.3f}",
            f"{estimate.low:.3f} {estimate.high:.3f}",
            str(target or ""),
            target.verdict(estimate) if target else "",
        )
    for name, why in failed.items():
        table.add_row(name, "-", "", str(SECONDS.get(name, "")), f"failed: {why}")
    return table


# ---------------------------------------------------------------- the run


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m vnetx_perf.suite", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROBES)}")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json-out", type=Path, metavar="FILE", help="every value, as JSON")
    parser.add_argument("--seed", type=int, default=None, help="of the order and the bootstrap")
    parser.add_argument(
        "--core", type=int, default=max(os.sched_getaffinity(0)), help="that is measured on"
    )
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in PROBES:
            parser.error(f"unknown probe '{name}'; there are {', '.join(PROBES)}")
    if arguments.core not in os.sched_getaffinity(0):
        parser.error(f"no core {arguments.core} for this process")
    arguments.names = arguments.names or list(PROBES)
    if arguments.seed is None:
        arguments.seed = int.from_bytes(os.urandom(4), "little")
    return arguments


def _run(
    arguments: argparse.Namespace,
    report: dict[str, Any],
    console: Console,
    progress: Callable[[str], None],
) -> None:
    seed, core, quick = arguments.seed, arguments.core, arguments.quick
    for probe, subjects, count, seconds in _probes(arguments):
        result = rounds.run(
            probe,
            subjects,
            rounds=count,
            seconds=seconds,
            core=core,
            seed=seed,
            progress=progress,
            until=time.monotonic() + (9 if quick else 50),
        )
        report["probes"][probe.name] = result.to_json()
        console.print(_probe_table(result))
        for warning in (*result.warnings(), _lost(result)):
            if warning:
                console.print(f"[yellow]{warning}[/yellow]")
    if "cost" in arguments.names:
        progress("cost: test runs")
        sizes = cost.FDB_SIZES[::5] if quick else cost.FDB_SIZES
        ports = cost.PORT_COUNTS[::3] if quick else cost.PORT_COUNTS
        values = cost.run(quick=quick, core=core, seed=seed, sizes=sizes, ports=ports)
        report["cost"] = values
        for table in _cost_tables(values):
            console.print(table)
    if "control" in arguments.names:
        taken, failed = control.run(rounds=3 if quick else 9, seed=seed, progress=progress)
        report["control"] = {"seconds": taken, "failed": failed}
        console.print(_control_table(taken, failed))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    if os.geteuid():
        print("error: namespaces and bpf(2) need root", file=sys.stderr)
        return 1
    console = Console()
    remove_leftovers()
    begin = time.monotonic()
    report: dict[str, Any] = {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "vnetx_perf.suite", *(sys.argv[1:] if argv is None else argv)],
        "seed": arguments.seed,
        "core": arguments.core,
        "quick": arguments.quick,
        "machine": machine.describe(),
        "probes": {},
    }
    code = 0
    with Console(stderr=True).status("") as status:
        try:
            _run(arguments, report, console, status.update)
        except KeyboardInterrupt:
            report["interrupted"] = True
            code = 130
    report["seconds"] = time.monotonic() - begin
    if arguments.json_out:
        arguments.json_out.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"{report['seconds']:.0f} s, core {arguments.core}, seed {arguments.seed}")
    return code


if __name__ == "__main__":
    sys.exit(main())
