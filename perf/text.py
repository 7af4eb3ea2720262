"""Reports as text for people: tables of a figure, what a report says besides, a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vnetx_perf.compare import Change

_SIGNIFICANT = 3


def number(value: float) -> str:
    """A value with three significant digits at the least, none of the integer ones lost."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = _SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(decimals, 0), 6)}f}"


def interval(low: float, high: float) -> str:
    return f"[{number(low)} {number(high)}]"


def _ratio(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    verdict = "" if ratio["verdict"] != "no difference" else " ="
    return f"{ratio['value']:.3f} [{ratio['low']:.3f} {ratio['high']:.3f}]{verdict}"


def _target(target: dict[str, Any]) -> str:
    of = f" of {target['of']}" if target["of"] else ""
    return f"{target['sign']} {target['limit']:g}{of}: {target['verdict']}"


def _table(
    title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]
) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == ">" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return Group(Text(title, "bold"), table)


# ---------------------------------------------------------------- figures


def _title(figure: dict[str, Any]) -> str:
    better = "lower" if figure["lower_is_better"] else "higher"
    title = f"{figure['name']}: {figure['title']} ({better} is better)"
    if figure["noise"] is not None:
        title += f"; noise floor ±{figure['noise']:.1%}"
    return title


def _subjects(figure: dict[str, Any]) -> RenderableType:
    rows = figure["rows"]
    against = list(dict.fromkeys(other for row in rows.values() for other in row["ratios"]))
    tails = [p for p in ("99", "99.9") if any(row["percentiles"] for row in rows.values())]
    columns = [("subject", "<"), (figure["unit"], ">"), ("", ">")]
    columns += [(f"p{tail}", ">") for tail in tails]
    more = list(dict.fromkeys(name for row in rows.values() for name in row["shown"]))
    columns += [(name, ">") for name in more]
    columns += [(f"of {other}", ">") for other in against]
    columns += [("target", "<")]

    def cells(name: str, row: dict[str, Any]) -> list[str]:
        percentiles = row["percentiles"] or {}
        return [
            name,
            number(row["median"]),
            interval(*row["interval"]),
            *(number(percentiles[tail]) if tail in percentiles else "" for tail in tails),
            *(number(row["shown"][name]) if name in row["shown"] else "" for name in more),
            *(_ratio(row["ratios"].get(other)) for other in against),
            "\n".join(map(_target, row["targets"])),
        ]

    return _table(_title(figure), columns, (cells(*item) for item in rows.items()))


def curve_cells(figure: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A curve as a table: its columns, the axis first, and a line for each place on it."""
    rows = figure["rows"].values()
    series = list(dict.fromkeys(row["series"] for row in rows))
    found = {(row["series"], row["x"]): row["median"] for row in rows}
    cells = [
        [f"{x:,.0f}", *(number(found[s, x]) if (s, x) in found else "" for s in series)]
        for x in sorted({row["x"] for row in rows})
    ]
    return [figure["axis"], *series], cells


def _curve(figure: dict[str, Any]) -> RenderableType:
    columns, cells = curve_cells(figure)
    return _table(f"{_title(figure)}, {figure['unit']}", [(name, ">") for name in columns], cells)


def _list(figure: dict[str, Any]) -> RenderableType:
    return _table(
        _title(figure),
        [("", "<"), (figure["unit"], ">"), ("", ">"), ("target", "<")],
        (
            [
                name,
                number(row["median"]),
                interval(*row["interval"]),
                "\n".join(map(_target, row["targets"])),
            ]
            for name, row in figure["rows"].items()
        ),
    )


def figure_table(figure: dict[str, Any]) -> RenderableType:
    """A figure's table. ``=`` after a ratio says «no difference»: 1 is in its interval."""
    return {"subjects": _subjects, "curve": _curve, "list": _list}[figure["kind"]](figure)


def remarks(figure: dict[str, Any]) -> list[str]:
    """What is to be said of a figure besides its table, a line each."""
    lines = [f"{name}: {why}" for name, why in figure["failed"].items()]
    lines += [f"{name}: {row['note']}" for name, row in figure["rows"].items() if row["note"]]
    lines += figure["warnings"]
    if figure["kind"] != "subjects":
        lines += [
            f"{name}: {_target(target)} ({number(target['value'])})"
            for name, row in figure["rows"].items()
            for target in row["targets"]
            if figure["kind"] == "curve" and target["value"] is not None
        ]
    return lines


# ---------------------------------------------------------------- reports


def closing(report: dict[str, Any]) -> list[str]:
    """What a report says of itself, a line each: what is missing, doubts, time, seed."""
    lines = [f"not measured: {name}: {why}" for name, why in report["missing"].items()]
    lines += [f"not measured: {name}: {why}" for name, why in report["skipped"].items()]
    lines += [f"warning: {warning}" for warning in report["warnings"]]
    if report["machine"]["emulated"]:
        lines.append(
            "warning: emulated: these are ratios of emulated instructions, not of a processor's "
            "time"
        )
    if report["interrupted"]:
        lines.append("interrupted: this is what there was")
    lines.append(
        f"{report['seconds']:.0f} s, core {report['cores']['cost']}, seed {report['seed']}; rounds "
        f"until all intervals of ratios are within {report['width']:.0%} or time is up"
    )
    return lines


def change_table(changes: Sequence[Change]) -> RenderableType:
    """What became of each figure's rows."""
    return _table(
        "ratio of the second report's values to the first one's",
        [("figure", "<"), ("row", "<"), ("of", "<"), ("before", ">"), ("after", ">"),
         ("after / before", ">"), ("", "<")],
        (
            [
                change.figure,
                change.row,
                change.of,
                number(change.before),
                number(change.after),
                f"{change.ratio.value:.3f} [{change.ratio.low:.3f} {change.ratio.high:.3f}]",
                change.verdict,
            ]
            for change in changes
        ),
    )  # fmt: skip
