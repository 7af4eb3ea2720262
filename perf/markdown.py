"""What `vnetx bench` and :mod:`vnetx_perf.fdb_tables` measured, as a page of the documentation.

``python -m vnetx_perf.markdown BENCH.json FDB.json > docs/figures.md``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vnetx_perf import reports
from vnetx_perf.figures import again
from vnetx_perf.text import curve_cells, number

_HEAD = """\
# Figures

{date}, Linux {kernel}, {cpus} ({cpu}), {seconds:.0f} s.

Each figure is the median of interleaved rounds. Sender, receiver and all forwarding are pinned
to one CPU, so that half a round trip is the CPU time that a message costs on its way. A ratio is
the median of the ratios within rounds, in brackets its 95 % interval; `=` says that 1 is in the
interval, which is no difference. The baseline is measured twice, built separately; how far it is
from itself is the noise floor.

Two rows are limits: one veth pair between the containers and no switch; and two ports whose
programs call `bpf_redirect_peer` and do nothing else, which is what any switch at TC costs at
the least. What the figures mean, and what to choose: [performance.md](performance.md).

To repeat it, as root in the checkout:

```sh
.venv/bin/{command}
.venv/bin/python -m vnetx_perf.fdb_tables --json-out fdb.json
.venv/bin/python -m vnetx_perf.markdown bench.json fdb.json
```

`vnetx bench --quick` shows the most of it in a minute.
"""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _ratio(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    same = " =" if ratio["verdict"] == "no difference" else ""
    return f"{ratio['value']:.2f} [{ratio['low']:.2f} {ratio['high']:.2f}]{same}"


def _targets(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{target['sign']} {target['limit']:g}" + (f" of {target['of']}" if target["of"] else "")
        + f": {target['verdict'].lower()}"
        for target in row["targets"]
    )  # fmt: skip


def _subjects(figure: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    rows = {n: r for n, r in figure["rows"].items() if n != again(figure["baseline"] or "")}
    others = list(dict.fromkeys(other for row in rows.values() for other in row["ratios"]))
    columns = ["", figure["unit"]]
    tails = ["99"] if any(row["percentiles"] for row in rows.values()) else []
    columns += [f"p{tail}" for tail in tails]
    columns += [f"of {titles.get(other, other)}" for other in others]
    columns += ["target"] if any(row["targets"] for row in rows.values()) else []
    cells = []
    for name, row in rows.items():
        percentiles = row["percentiles"] or {}
        line = [titles.get(name, name), number(row["median"])]
        line += [number(percentiles[tail]) if tail in percentiles else "" for tail in tails]
        line += [_ratio(row["ratios"].get(other)) for other in others]
        line += [_targets(row)] if columns[-1] == "target" else []
        cells.append(line)
    yield from _table(columns, cells)


def _curve(figure: dict[str, Any], _: dict[str, str]) -> Iterator[str]:
    yield from _table(*curve_cells(figure))
    kept = [
        [f"{name}, as a multiple of {t['of']}", number(t["value"]), f"{t['sign']} {t['limit']:g}"]
        for name, row in figure["rows"].items()
        for t in row["targets"]
        if t["value"] is not None
    ]
    if kept:
        yield from _table(["", "", "target"], kept)


def _list(figure: dict[str, Any], _: dict[str, str]) -> Iterator[str]:
    cells = [
        [name, f"{number(row['median'])} {figure['unit']}", _targets(row)]
        for name, row in figure["rows"].items()
    ]
    yield from _table(["", "median", "target"], cells)


_KINDS = {"subjects": _subjects, "curve": _curve, "list": _list}


def _figure(figure: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    better = "Lower" if figure["lower_is_better"] else "Higher"
    noise = "" if figure["noise"] is None else f"; noise floor {figure['noise']:.1%}"
    title = figure["title"]
    yield f"## {title[0].upper()}{title[1:]}"
    yield ""
    yield f"`{figure['name']}`, {figure['unit']}. {better} is better{noise}."
    yield ""
    yield from _KINDS[figure["kind"]](figure, titles)
    for name, why in figure["failed"].items():
        yield f"Not measured: {titles.get(name, name)}: {why}."
        yield ""


def _fdb(report: dict[str, Any]) -> Iterator[str]:
    yield f"## FDB of {report['entries']:,} entries"
    yield ""
    yield "Loading from a file and writing one. C copies what is in memory by batch system calls,"
    yield "bcc reads the same file through its Python tables. Memory of the loading process:"
    yield f"{report['memory']:.0f} MB at most."
    yield ""
    rows = []
    for row in report["ratios"]:
        against = row["against"] == "C"
        what = "as a multiple of C's time" if against else "times faster than bcc"
        value, low, high = row["clock"]
        cells = (f"{row['action']}, {what}", f"{value:.2f} [{low:.2f} {high:.2f}]")
        rows.append((*cells, f"{'≤' if against else '≥'} {row['limit']:g}"))
    yield from _table(("", "", "target"), rows)


def page(report: dict[str, Any], fdb: dict[str, Any]) -> str:
    """The page, Markdown."""
    found = report["machine"]
    titles = {name: subject["title"] for name, subject in report["subjects"].items()}
    lines = [
        _HEAD.format(
            date=report["started"][:10],
            kernel=found["kernel"].partition("-")[0],
            cpus=f"{found['cores']} {'virtual ' if found['hypervisor'] else ''}CPUs",
            cpu=found["cpu"],
            seconds=report["seconds"],
            command=" ".join(report["command"]),
        )
    ]
    for figure in report["figures"]:
        lines.extend(_figure(figure, titles))
    lines.extend(_fdb(fdb))
    for name, why in {**report["missing"], **report["skipped"]}.items():
        lines += [f"Not measured: {titles.get(name, name)}: {why}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vnetx_perf.markdown", description=__doc__)
    parser.add_argument("bench", type=Path, help="what vnetx bench --json-out wrote")
    parser.add_argument("fdb", type=Path, help="what fdb_tables --json-out wrote")
    arguments = parser.parse_args(argv)
    print(page(reports.load(arguments.bench), json.loads(arguments.fdb.read_text())), end="")


if __name__ == "__main__":
    main()
