"""What :mod:`vnetx_perf.suite` and :mod:`vnetx_perf.fdb_tables` measured, as a page.

``python -m vnetx_perf.report SUITE.json FDB.json > docs/figures.md``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from vnetx_perf import cost, suite

TITLES = {
    "direct": "bare veth pair, no switch",
    "redirect-peer": "`bpf_redirect_peer` alone",
    "macvlan": "macvlan, bridge mode",
    "vnetx-tc": "vnetx, TC",
    "vnetx-xdp": "vnetx, XDP",
    "vnetx-auto": "vnetx, `auto`",
    "bridge": "kernel bridge",
}
_HEADINGS = {
    "rr-tcp": "TCP request/response of 1 byte, half a round trip",
    "rr-udp": "UDP request/response of 1 byte, half a round trip",
    "rr-tcp-2core": "The same over TCP, client and server on two CPUs: wake-ups are most of it",
    "stream": "TCP stream of one connection",
    "pps": "Frames of 60 bytes",
}

_HEAD = """\
# Figures

{date}, Linux {kernel}, {cpus} ({cpu}), {seconds:.0f} s.

Each figure is the median of interleaved rounds. Sender, receiver and all forwarding are pinned
to one CPU, so that half a round trip is the CPU time that a message costs on its way. A ratio is
the median of the ratios within rounds, in brackets its 95 % interval. The bridge is measured
twice, built separately; how far it is from itself is the noise floor.

Two rows are limits: one veth pair between the containers and no switch; and two ports whose
programs call `bpf_redirect_peer` and do nothing else, which is what any switch at TC costs at
the least.

To repeat it, as root in the checkout:

```sh
.venv/bin/python -m vnetx_perf.suite --json-out suite.json
.venv/bin/python -m vnetx_perf.fdb_tables --json-out fdb.json
.venv/bin/python -m vnetx_perf.report suite.json fdb.json
```

`make bench ARGS="--quick rr pps"` shows a part of it in a minute.
"""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _ratio(values: Sequence[float] | None) -> str:
    if values is None:
        return ""
    value, low, high = values
    return "1" if value == low == high == 1 else f"{value:.2f} [{low:.2f} {high:.2f}]"


def _probe(name: str, probe: dict[str, Any]) -> Iterator[str]:
    better = "lower" if probe["lower_is_better"] else "higher"
    yield f"### {_HEADINGS[name]}"
    yield ""
    yield f"{better.capitalize()} is better; noise floor {probe['noise']:.1%}."
    yield ""
    rows = []
    for subject, title in TITLES.items():
        found = probe["subjects"].get(subject)
        if found:
            ratios = found["ratios"]
            middle = f"{found['median']:.2f}"
            rows.append((title, middle, _ratio(ratios["bridge"]), _ratio(ratios["direct"])))
    yield from _table(("", probe["unit"], "of the bridge's", "of the bare veth pair's"), rows)


def _cost(values: dict[str, list[float]]) -> Iterator[str]:
    def middle(name: str) -> str:
        return f"{median(values[name]):.0f}" if name in values else ""

    yield "## Cost in the program"
    yield ""
    yield "Nanoseconds a frame in the program alone (`BPF_PROG_TEST_RUN`), the cost of an empty"
    yield "program taken off."
    yield ""
    special = (", hot", ", random", "idle", "empty")
    names = dict.fromkeys(n.partition(": ")[2] for n in values if not n.endswith(special))
    rows = [(n, middle(f"tc: {n}"), middle(f"xdp: {n}")) for n in names]
    yield from _table(("path", "TC", "XDP"), rows)
    yield "*Hot*: one destination. *Random*: destinations of the whole table, with one bare look-up"
    yield "in the same table beside it: what the caches explain. Up to some thousand destinations"
    yield "are flows that a CPU remembers; beyond, each frame is decided anew."
    yield ""
    labels = [f"FDB of {size:,}" for size in cost.FDB_SIZES]
    labels += [f"{count:,} ports" for count in cost.PORT_COUNTS]
    rows = []
    for label in labels:
        if f"tc: {label}, hot" in values:
            cells = [f"{h}: {label}, {kind}" for h in cost.HOOKS for kind in ("hot", "random")]
            rows.append((label, *map(middle, cells), middle(f"table: {label}, random")))
    columns = ("TC hot", "TC random", "XDP hot", "XDP random", "one look-up, random")
    yield from _table(("known unicast", *columns), rows)
    rows = [
        (what, _ratio((e.value, e.low, e.high))) for what, e in suite.cost_flatness(values).items()
    ]
    yield from _table(("one destination, largest over smallest", "ratio"), rows)


def _control(taken: dict[str, list[float]]) -> Iterator[str]:
    yield "## Commands"
    yield ""
    rows = [
        (name, f"{median(values):.2f} s", str(suite.SECONDS.get(name, "")))
        for name, values in taken.items()
    ]
    yield from _table(("", "median", "target"), rows)


def _fdb(report: dict[str, Any]) -> Iterator[str]:
    yield f"## FDB of {report['entries']:,} entries"
    yield ""
    yield "Loading from a file and writing one. C copies what is in memory by batch system calls,"
    yield "bcc reads the same file through its Python tables. Memory of the loading process:"
    yield f"{report['memory']:.0f} MB at most."
    yield ""
    rows = []
    for row in report["ratios"]:
        what = (
            f"{row['action']}, as a multiple of C's time"
            if row["against"] == "C"
            else (f"{row['action']}, times faster than bcc")
        )
        sign = "≤" if row["against"] == "C" else "≥"
        rows.append((what, _ratio(row["clock"]), f"{sign} {row['limit']:g}"))
    yield from _table(("", "", "target"), rows)


def page(report: dict[str, Any], fdb: dict[str, Any]) -> str:
    """The page, Markdown."""
    found = report["machine"]
    lines = [
        _HEAD.format(
            date=report["started"][:10],
            kernel=found["kernel"].partition("-")[0],
            cpus=f"{found['cores']} {'virtual ' if found['hypervisor'] else ''}CPUs",
            cpu=found["cpu"],
            seconds=report["seconds"],
        ),
        "## Between two containers",
        "",
    ]
    for name in _HEADINGS:
        if name in report["probes"]:
            lines.extend(_probe(name, report["probes"][name]))
    lines.extend(_cost(report["cost"]))
    lines.extend(_control(report["control"]["seconds"]))
    lines.extend(_fdb(fdb))
    return "\n".join(lines).rstrip() + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vnetx_perf.report", description=__doc__)
    parser.add_argument("suite", type=Path, help="what suite --json-out wrote")
    parser.add_argument("fdb", type=Path, help="what fdb_tables --json-out wrote")
    arguments = parser.parse_args(argv)
    report, fdb = (json.loads(p.read_text()) for p in (arguments.suite, arguments.fdb))
    print(page(report, fdb), end="")


if __name__ == "__main__":
    main()
