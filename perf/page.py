"""A report as one HTML page that needs nothing else: no script, no font, no other file.

It is made of the report's JSON alone (:data:`vnetx_perf.reports.FORMAT`), which it carries
along as a whole.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from vnetx_perf import charts, reports

_STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

#: Colours of subjects, the same on every page; others take what is left of the palette.
_COLOURS = {
    "bridge": "base",
    "direct": "limit",
    "vnetx-tc": "c1",
    "vnetx-xdp": "c2",
    "vnetx-auto": "c3",
    "macvlan": "c4",
    "redirect-peer": "c5",
}
#: Where the first word of a curve's name stands for a subject.
_SERIES = {"tc": "vnetx-tc", "xdp": "vnetx-xdp"}
_PALETTE = ("c6", "c7", "c8", "c4", "c5", "c3", "c1", "c2")
_TONES = {"better": "good", "worse": "bad"}

_METHOD = """\
Every subject is measured once a round, in an order that is drawn anew each time, so that whatever
disturbs the machine disturbs all of them alike.
A value is the median of the rounds; a ratio is the median of the ratios within rounds, not the
ratio of two medians.
The baseline is built and measured twice: how far it appears to be from itself (A/A) is the noise,
and differences of that size mean nothing.
The ranges in small print are 95 % intervals by bootstrap over the rounds; with fewer than six
rounds they are the whole range.
Where the interval of a ratio holds 1 the page says “no difference”; a question mark behind a
target says that the interval reaches across its bound."""


# ------------------------------------------------------------ numbers


def _known(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _decimals(values: Iterable[float]) -> int:
    """Three digits of the largest value, two of the smallest: for a column as a whole."""
    sizes = [math.floor(math.log10(abs(value))) for value in values if value]
    if not sizes:
        return 0
    return min(6, max(0, 2 - max(sizes), 1 - min(sizes)))


def _number(value: object, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if _known(value) else "–"


def _data(value: object, decimals: int) -> str:
    """A number as it is read, with the exact one behind it."""
    if not _known(value):
        return "–"
    return f'<data value="{value!r}">{_number(value, decimals)}</data>'


def _exact(value: float) -> str:
    """A number that somebody chose: 1,000,000 entries, at most 0.95."""
    shown = f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"
    return f'<data value="{value!r}">{shown}</data>'


def _range(low: object, high: object, decimals: int) -> str:
    return f'<span class="range">{_data(low, decimals)}–{_data(high, decimals)}</span>'


def _ratio_decimals(ratio: Mapping[str, Any]) -> int:
    return 1 if _known(ratio["value"]) and abs(ratio["value"]) >= 10 else 2


def _difference(ratio: float) -> str:
    """A ratio in words: 0.91 is 9 % less."""
    if ratio >= 2:
        return f"{ratio:.1f} times"
    percent = abs(ratio - 1) * 100
    digits = 0 if percent >= 1 else 1
    return f"{percent:.{digits}f} % {'less' if ratio < 1 else 'more'}"


def _share(value: object) -> str:
    return f"{value:.1%}".replace("%", " %") if _known(value) else "–"


# ------------------------------------------------------------ of the report


class _Names:
    """Titles and colours of what is measured, the same in all figures of a page."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self._subjects = report.get("subjects") or {}
        self._colours = dict(_COLOURS)

    def title(self, name: str) -> str:
        kind, _, again = name.partition("#")
        known = self._subjects.get(name) or self._subjects.get(kind) or {}
        title = str(known.get("title") or kind)
        return f"{title}, built again" if again else title

    def is_limit(self, name: str) -> bool:
        return bool((self._subjects.get(name) or {}).get("limit"))

    def colour(self, name: str) -> str:
        if name not in self._colours:
            taken = len(self._colours) - len(_COLOURS)
            self._colours[name] = _PALETTE[taken % len(_PALETTE)]
        return self._colours[name]

    def series(self, names: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """A colour, and whether it is dashed, for each line of a chart."""
        found: dict[str, tuple[str, bool]] = {}
        others = iter(_PALETTE * (len(names) // len(_PALETTE) + 1))
        for name in names:
            kin = _SERIES.get(name.partition(" ")[0])
            colour = self.colour(kin) if kin else next(others)
            found[name] = (colour, colour in {used for used, _ in found.values()})
        return found


def _own_rows(figure: Mapping[str, Any]) -> dict[str, Any]:
    """All rows but the second instance of the baseline: that one is the noise."""
    return {name: row for name, row in figure["rows"].items() if "#" not in name}


def _bases(figure: Mapping[str, Any]) -> list[str]:
    """What the figure has ratios to, its baseline first."""
    found = dict.fromkeys(base for row in figure["rows"].values() for base in row["ratios"])
    return sorted(found, key=lambda base: base != figure["baseline"])


def _is_drawn(row: Mapping[str, Any]) -> bool:
    return all(map(_known, (row["median"], *row["interval"])))


# ------------------------------------------------------------ HTML


def _cells(cells: Iterable[str]) -> str:
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _table(heads: Sequence[str], rows: Iterable[str], kind: str, caption: str) -> str:
    """`heads` and `rows` are HTML."""
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><thead><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _section(title: str, body: Iterable[str], key: str) -> str:
    return f'<section id="{key}"><h2>{title}</h2>{"".join(body)}</section>'


def _list(items: Iterable[str], kind: str = "") -> str:
    found = "".join(f"<li>{item}</li>" for item in items)
    return f'<ul class="{kind}">{found}</ul>' if found else ""


def _pairs(pairs: Iterable[tuple[str, Any]], kind: str = "facts") -> str:
    """A list of terms, of those that have a value."""
    found = (
        f"<div><dt>{escape(term)}</dt><dd>{escape(str(value))}</dd></div>"
        for term, value in pairs
        if value not in (None, "", {}, [])
    )
    return f'<dl class="{kind}">{"".join(found)}</dl>'


def _swatch(colour: str, hollow: bool = False, line: bool = False) -> str:
    """`hollow` is dashed of a line."""
    kind = f"swatch{' line' if line else ''}{' hollow' if hollow else ''}"
    return f'<i class="{kind}" style="--c: var(--{colour})"></i>'


def _verdict(verdict: str, tone: str) -> str:
    return f' <span class="verdict {tone}">{escape(verdict)}</span>'


def _ratio(ratio: Mapping[str, Any] | None, contend: bool) -> str:
    """A ratio cell; a verdict on limits has no colour."""
    if ratio is None:
        return ""
    decimals, verdict = _ratio_decimals(ratio), ratio["verdict"]
    return (
        f"<b>{_data(ratio['value'], decimals)}</b>"
        f"{_range(ratio['low'], ratio['high'], decimals)}"
        f"{_verdict(verdict, _TONES.get(verdict, 'even') if contend else 'even')}"
    )


def _value(row: Mapping[str, Any], decimals: int) -> str:
    low, high = row["interval"]
    return f"<b>{_data(row['median'], decimals)}</b>{_range(low, high, decimals)}"


# ------------------------------------------------------------ head


def _purpose(report: Mapping[str, Any], names: _Names) -> str:
    """What the page is, in one sentence."""
    subjects = [name for name in report["subjects"] if "#" not in name]
    own = [names.title(name) for name in subjects if name.startswith("vnetx")]
    others = [names.title(name) for name in subjects if not name.startswith("vnetx")]
    if not own or not others:
        return "What vnetx costs, measured in interleaved rounds on one machine."
    beside = f"{', '.join(others[:-1])} and {others[-1]}" if others[1:] else others[0]
    return (
        f"How fast vnetx carries frames between network namespaces, measured beside {beside} "
        "in interleaved rounds on one machine."
    )


def _when(report: Mapping[str, Any]) -> str:
    try:
        started = datetime.fromisoformat(report["started"]).astimezone(UTC)
    except ValueError:
        return str(report["started"])
    return f"{started.day} {started:%B %Y, %H:%M} UTC"


def _cores(machine: Mapping[str, Any]) -> str:
    count = machine["cores"]
    virtual = "virtual " if machine["hypervisor"] else ""
    return f"{count} {virtual}core{'' if count == 1 else 's'}"


def _facts(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    facts = (
        _when(report),
        f"Linux {machine['kernel']}",
        machine["cpu"],
        _cores(machine) + (", emulated" if machine["emulated"] else ""),
        f"{report['seconds']:.0f} s",
        f"level {report['level']}",
    )
    return _list((escape(str(fact)) for fact in facts if fact), "meta")


def _banner(tone: str, title: str, text: str) -> str:
    return f'<div class="banner {tone}" role="note"><strong>{title}</strong> {text}</div>'


def _banners(report: Mapping[str, Any], names: _Names) -> Iterator[str]:
    if report["machine"]["emulated"]:
        yield _banner(
            "bad",
            "Emulated.",
            "These are ratios of emulated instructions, not of a processor's time.",
        )
    if report["interrupted"]:
        yield _banner("bad", "Interrupted.", "What had been measured until then is here.")
    missed = [
        f"{_link(figure)}: {escape(_label(figure, label, names))} {_target(target, figure, names)}"
        for figure in report["figures"]
        for label, row in figure["rows"].items()
        for target in row["targets"]
        if target["verdict"].startswith("MISSED")
    ]
    if missed:
        yield _banner("bad", "Targets missed", _list(missed))
    warnings = [escape(text) for text in report["warnings"]]
    warnings += [
        f"{_link(figure)}: {escape(text)}"
        for figure in report["figures"]
        for text in figure["warnings"]
        if text not in report["warnings"]
    ]
    if warnings:
        yield _banner("warn", "Read with care", _list(warnings))


def _key(figure: Mapping[str, Any]) -> str:
    """A name that can be an identifier, whatever the figure is called."""
    plain = (c if c.isascii() and c.isalnum() else f"-{ord(c):x}-" for c in figure["name"])
    return "f-" + "".join(plain).replace("-2d-", "-")


def _link(figure: Mapping[str, Any]) -> str:
    return f'<a href="#{_key(figure)}">{escape(figure["name"])}</a>'


def _label(figure: Mapping[str, Any], label: str, names: _Names) -> str:
    """What a row is called: subjects have titles, all else is its own name."""
    return names.title(label) if figure["kind"] == "subjects" else label


def _glance(report: Mapping[str, Any], names: _Names) -> str:
    """Ratios of vnetx to the baseline, a figure a row, a table for each baseline; of all others
    where vnetx is missing."""
    figures = [f for f in report["figures"] if f["kind"] == "subjects" and f["baseline"]]
    tables = [
        _glance_table([f for f in figures if f["baseline"] == base], base, names)
        for base in dict.fromkeys(figure["baseline"] for figure in figures)
    ]
    found = list(filter(None, tables))
    return _section("At a glance", found, "glance") if found else ""


def _glance_table(figures: Sequence[Mapping[str, Any]], base: str, names: _Names) -> str:
    columns = dict.fromkeys(
        label for f in figures for label in _own_rows(f) if label.startswith("vnetx")
    ) or dict.fromkeys(
        label for f in figures for label in _own_rows(f) if not names.is_limit(label)
    )
    kept = [label for label in columns if label != base]
    if not kept:
        return ""
    heads = [f"relative to {escape(names.title(base))}"]
    heads += [f"{_swatch(names.colour(label))}{escape(names.title(label))}" for label in kept]
    rows = [_glance_row(figure, kept) for figure in figures]
    return _table(heads, rows, "glance", f"At a glance, {heads[0]}")


def _glance_row(figure: Mapping[str, Any], columns: Sequence[str]) -> str:
    better = "lower" if figure["lower_is_better"] else "higher"
    head = (
        f'<th scope="row"><a href="#{_key(figure)}">{escape(figure["title"])}</a>'
        f'<span class="note">{escape(figure["unit"])}, {better} is better</span></th>'
    )
    cells = []
    for label in columns:
        ratio = figure["rows"].get(label, {}).get("ratios", {}).get(figure["baseline"])
        if ratio is None or not _known(ratio["value"]):
            cells.append('<span class="muted">–</span>')
            continue
        tone = _TONES.get(ratio["verdict"], "even")
        even = ratio["verdict"] not in _TONES
        words = ratio["verdict"] if even else _difference(ratio["value"])
        cells.append(
            f'<b class="{tone}">{escape(words)}</b>'
            f'<span class="range">× {_data(ratio["value"], _ratio_decimals(ratio))}</span>'
            + ("" if even else _verdict(ratio["verdict"], "even"))
        )
    return f"<tr>{head}{_cells(cells)}</tr>"


def _absent(report: Mapping[str, Any], names: _Names) -> str:
    """Subjects and figures that are not here, and why."""
    pairs = [(names.title(name), reason) for name, reason in report["missing"].items()]
    pairs += list(report["skipped"].items())
    return _section("Not measured", [_pairs(pairs, "reasons")], "absent") if pairs else ""


def _command(report: Mapping[str, Any]) -> str:
    """What repeats the run, with the seed that it drew."""
    words = list(report["command"])
    if not any(word == "--seed" or word.startswith("--seed=") for word in words):
        words += ["--seed", str(report["seed"])]
    return shlex.join(words)


def _method(report: Mapping[str, Any]) -> str:
    cores = report["cores"]
    where = f"core {cores['cost']}"
    if cores.get("other") is not None:
        where += f", where two take part also on core {cores['other']}"
    command = escape(_command(report))
    return _section(
        "How it was measured",
        [
            f"<p>{escape(_METHOD)}</p>",
            f"<p>Sender, receiver and all that forwards ran on {escape(where)}.</p>",
            "<p>To repeat it, as root:</p>",
            f'<pre class="scroll" tabindex="0"><code>{command}</code></pre>',
        ],
        "method",
    )


# ------------------------------------------------------------ a figure


def _target(target: Mapping[str, Any], figure: Mapping[str, Any], names: _Names) -> str:
    """A bound, with the name of what it is a multiple of."""
    base = target.get("of")
    unit = f"× {_label(figure, base, names)}" if base else figure["unit"]
    return _bound(target, escape(unit))


def _bound(target: Mapping[str, Any], unit: str = "") -> str:
    verdict = target["verdict"]
    tone = {"holds": "good", "MISSED": "bad"}.get(verdict.rstrip(" ?"), "even")
    return (
        f'<span class="target">{escape(target["sign"])} '
        f"{_exact(target['limit'])}{unit and f' {unit}'}{_verdict(verdict, tone)}</span>"
    )


def _row_head(figure: Mapping[str, Any], label: str, row: Mapping[str, Any], names: _Names) -> str:
    is_subject = figure["kind"] == "subjects"
    hollow = names.is_limit(label) or label.partition("#")[0] == figure["baseline"]
    swatch = _swatch(names.colour(label.partition("#")[0]), hollow) if is_subject else ""
    remarks = [row["note"]] if row["note"] else []
    if is_subject and names.is_limit(label):
        remarks.append("a limit, not a switch")
    if "#" in label:
        remarks.append("its distance from the first is the noise")
    notes = "".join(f'<span class="note">{escape(remark)}</span>' for remark in remarks)
    return f'<th scope="row">{swatch}{escape(_label(figure, label, names))}{notes}</th>'


def _rows_table(figure: Mapping[str, Any], labels: Iterable[str], names: _Names) -> str:
    rows = {label: figure["rows"][label] for label in labels}
    bases = _bases(figure)
    decimals = _decimals(row["median"] for row in rows.values() if _known(row["median"]))
    more = list(dict.fromkeys(name for row in rows.values() for name in row.get("shown", {})))
    heads = ["", escape(figure["unit"]), *map(escape, more)]
    heads += [f"relative to {escape(_label(figure, base, names))}" for base in bases]
    body = []
    for label, row in rows.items():
        kind = ' class="again"' if "#" in label else ""
        cells = [_value(row, decimals) + _value_targets(figure, row, names)]
        shown = row.get("shown", {})
        cells += [_data(shown.get(name), _decimals([shown.get(name, 0)])) for name in more]
        cells += [_ratio_cell(figure, label, base, names) for base in bases]
        body.append(f"<tr{kind}>{_row_head(figure, label, row, names)}{_cells(cells)}</tr>")
    return _table(heads, body, "rows" if bases else "rows few", figure["title"])


def _value_targets(figure: Mapping[str, Any], row: Mapping[str, Any], names: _Names) -> str:
    """Bounds of the value itself, and those of a ratio that has no column."""
    shown = [each for each in row["targets"] if each.get("of") not in _bases(figure)]
    return "".join(_target(each, figure, names) for each in shown)


def _ratio_cell(figure: Mapping[str, Any], label: str, base: str, names: _Names) -> str:
    row = figure["rows"][label]
    contend = not any(map(names.is_limit, (label, base)))
    ratio = '<b class="muted">1</b>' if label == base else _ratio(row["ratios"].get(base), contend)
    return ratio + "".join(map(_bound, (each for each in row["targets"] if each.get("of") == base)))


def _dots(figure: Mapping[str, Any], names: _Names) -> str:
    """Ratios to the baseline, or the values themselves where there is none."""
    base = figure["baseline"]
    rows = {label: row for label, row in _own_rows(figure).items() if _is_drawn(row)}
    decimals = _decimals(row["median"] for row in rows.values())
    found = (
        (_ratio_dot(figure, label, row, names) if base else None)
        or (None if base else _value_dot(figure, label, row, names, decimals))
        for label, row in rows.items()
    )
    drawn = [dot for dot in found if dot is not None]
    if len(drawn) < 2:
        return ""
    low_is_better = figure["lower_is_better"]
    ends = [end for dot in drawn for end in (dot.low, dot.high)]
    log = charts.spread_wide(ends, 2 if base else 20)
    against = f"relative to {_label(figure, base, names)}" if base else ""
    told = "; ".join(f"{dot.label} {dot.text} {dot.remark}".strip() for dot in drawn)
    return charts.dots(
        drawn,
        key=f"{_key(figure)}-dots",
        alt=f"{figure['title']}, {against or figure['unit']}: {told}",
        axis=charts.Axis(against or figure["unit"], log),
        lower_is_better=low_is_better,
        reference=1.0 if base else None,
        noise=figure["noise"] if base and _known(figure["noise"]) else None,
    )


def _ratio_dot(
    figure: Mapping[str, Any], label: str, row: Mapping[str, Any], names: _Names
) -> charts.Dot | None:
    base, title, colour = figure["baseline"], names.title(label), names.colour(label)
    if label == base:
        return charts.Dot(title, 1, 1, 1, colour, "1", "baseline", hollow=True)
    ratio = row["ratios"].get(base)
    if ratio is None or not all(_known(ratio[part]) for part in ("value", "low", "high")):
        return None
    verdict = ratio["verdict"]
    return charts.Dot(
        title,
        ratio["value"],
        ratio["low"],
        ratio["high"],
        colour,
        _number(ratio["value"], _ratio_decimals(ratio)),
        verdict,
        "muted" if names.is_limit(label) else _TONES.get(verdict, "muted"),
        hollow=names.is_limit(label),
        target=next((t["limit"] for t in row["targets"] if t.get("of") == base), None),
    )


def _value_dot(
    figure: Mapping[str, Any], label: str, row: Mapping[str, Any], names: _Names, decimals: int
) -> charts.Dot:
    is_subject = figure["kind"] == "subjects"
    target = next((each for each in row["targets"] if not each.get("of")), None)
    return charts.Dot(
        _label(figure, label, names),
        row["median"],
        *row["interval"],
        names.colour(label) if is_subject else "c1",
        _number(row["median"], decimals),
        f"{target['sign']} {target['limit']:g}" if target else "",
        hollow=is_subject and names.is_limit(label),
        target=target["limit"] if target else None,
    )


# ------------------------------------------------------------ percentiles


def _rank(percent: float, last: float) -> float:
    """Where a percentile stands: 1 / (1 - p); the maximum at `last`."""
    return last if percent >= 100 else 100 / (100 - percent)


def _percent(percent: float) -> str:
    return "max" if percent >= 100 else f"{percent:g} %"


def _percentile_rows(figure: Mapping[str, Any]) -> dict[str, dict[float, float]]:
    return {
        label: {float(percent): value for percent, value in row["percentiles"].items()}
        for label, row in _own_rows(figure).items()
        if row["percentiles"] and all(_known(v) and v > 0 for v in row["percentiles"].values())
    }


def _percentiles(figure: Mapping[str, Any], names: _Names) -> str:
    """A curve, and its figures in a table that is folded away."""
    rows = _percentile_rows(figure)
    if not rows:
        return ""
    percents = sorted({percent for row in rows.values() for percent in row})
    last = 10 * max((_rank(p, 1) for p in percents if p < 100), default=1)
    labelled = [p for p in percents if p in (50, 90, 99, 99.9, 99.99, 99.999, 100)] or percents
    title = f"Percentiles of {figure['title']}"
    chart = charts.lines(
        [
            charts.Line(
                _label(figure, label, names),
                names.colour(label) if figure["kind"] == "subjects" else "c1",
                tuple((_rank(p, last), row[p], row[p], row[p]) for p in sorted(row)),
                dashed=names.is_limit(label),
            )
            for label, row in rows.items()
        ],
        key=f"{_key(figure)}-percentiles",
        alt=title,
        x=charts.Axis("share of all", True, tuple((_rank(p, last), _percent(p)) for p in labelled)),
        y=charts.Axis("µs", True),
    )
    heads = ["µs", *map(_percent, percents)]
    body = [
        f'<tr><th scope="row">{escape(_label(figure, label, names))}</th>'
        f"{_cells(_data(row.get(p), _decimals([row.get(p, 0)])) for p in percents)}</tr>"
        for label, row in rows.items()
    ]
    table = _table(heads, body, "percentiles", title)
    return (
        f'<h3>Percentiles</h3><div class="drawing">{chart}</div>'
        f"<details><summary>Percentiles in figures</summary>{table}</details>"
    )


# ------------------------------------------------------------ curves


def _curves(figure: Mapping[str, Any]) -> dict[str, dict[float, str]]:
    """The label of the row for each series and place."""
    found: dict[str, dict[float, str]] = {}
    for label, row in figure["rows"].items():
        if _known(row["x"]):
            found.setdefault(row["series"] or figure["title"], {})[row["x"]] = label
    return found


def _curve_chart(figure: Mapping[str, Any], names: _Names) -> str:
    curves = _curves(figure)
    styles = names.series(list(curves))
    drawn = []
    for name, labels in curves.items():
        rows = [(x, figure["rows"][labels[x]]) for x in sorted(labels)]
        points = tuple((x, row["median"], *row["interval"]) for x, row in rows if _is_drawn(row))
        if points:
            drawn.append(charts.Line(name, styles[name][0], points, styles[name][1]))
    if not drawn:
        return ""
    across = sorted({point[0] for line in drawn for point in line.points})
    heights = [height for line in drawn for point in line.points for height in point[1:]]
    ticks = tuple((x, charts.short(x)) for x in across) if len(across) <= 7 else ()
    axis = figure["axis"] or ""
    return charts.lines(
        drawn,
        key=f"{_key(figure)}-curve",
        alt=f"{figure['title']}: {figure['unit']} by {axis or 'size'}, the same as in the table",
        x=charts.Axis(axis, charts.spread_wide(across, 4), ticks),
        y=charts.Axis(figure["unit"], charts.spread_wide(heights, 10)),
    )


def _curve_table(figure: Mapping[str, Any], names: _Names) -> str:
    """A place a row, a series a column."""
    curves = _curves(figure)
    styles = names.series(list(curves))
    medians = [figure["rows"][label]["median"] for row in curves.values() for label in row.values()]
    decimals = _decimals(filter(_known, medians))
    heads = [escape(figure["axis"] or "")]
    heads += [f"{_swatch(*styles[name], line=True)}{escape(name)}" for name in curves]
    places = sorted({x for labels in curves.values() for x in labels})
    body = []
    for x in places:
        cells = [
            _value(figure["rows"][labels[x]], decimals) if x in labels else ""
            for labels in curves.values()
        ]
        body.append(f'<tr><th scope="row">{_exact(x)}</th>{_cells(cells)}</tr>')
    return _table(heads, body, "curve", figure["title"])


def _curve(figure: Mapping[str, Any], names: _Names) -> Iterator[str]:
    chart = _curve_chart(figure, names)
    if chart:
        yield f'<div class="drawing">{chart}</div>'
        yield _curve_table(figure, names)
    more = [
        label
        for label, row in figure["rows"].items()
        if row["ratios"] or row["targets"] or not _known(row["x"])
    ]
    if more:
        yield _rows_table(figure, more, names)


# ------------------------------------------------------------ figures


def _plain(figure: Mapping[str, Any], names: _Names) -> Iterator[str]:
    chart = _dots(figure, names)
    if chart:
        yield f'<div class="drawing">{chart}</div>'
    if figure["rows"]:
        yield _rows_table(figure, figure["rows"], names)
    yield _percentiles(figure, names)


_KINDS: dict[str, Callable[[Mapping[str, Any], _Names], Iterator[str]]] = {"curve": _curve}


def _foot(figure: Mapping[str, Any]) -> str:
    """What the figure rests on."""
    facts = [f"{figure['rounds']} rounds", f"{figure['seconds']:.0f} s"]
    if _known(figure["noise"]):
        facts.append(f"noise ±{_share(figure['noise'])}")
    facts.append(f"stolen {_share(figure['steal'])}")
    facts.append(f"disturbed {_share(figure['disturbed'])}")
    return _list((escape(fact) for fact in facts), "meta foot")


def _figure(figure: Mapping[str, Any], names: _Names) -> str:
    better = "Lower" if figure["lower_is_better"] else "Higher"
    body = [
        f'<p class="under"><code>{escape(figure["name"])}</code> · {escape(figure["unit"])}'
        f" · {better} is better</p>"
    ]
    if figure["warnings"]:
        body.append(_list(map(escape, figure["warnings"]), "warnings"))
    body += _KINDS.get(figure["kind"], _plain)(figure, names)
    failed = ((_label(figure, row, names), reason) for row, reason in figure["failed"].items())
    if figure["failed"]:
        body.append(f"<h3>Failed</h3>{_pairs(failed, 'reasons')}")
    body.append(_foot(figure))
    return _section(_tied(escape(figure["title"])), body, _key(figure))


def _tied(text: str) -> str:
    """A number and its unit are not parted at the end of a line."""
    return re.sub(r"(?<=\d) (?=(?:k|M|G)?B\b)", "\N{NO-BREAK SPACE}", text)


# ------------------------------------------------------------ details


def _machine(machine: Mapping[str, Any]) -> str:
    memory = machine.get("memory_kb")
    load = " ".join(f"{value:.2f}" for value in machine.get("load") or ())
    pairs = [
        ("kernel", machine["kernel"]),
        ("build", machine.get("kernel_version")),
        ("processor", machine["cpu"]),
        ("architecture", machine.get("machine")),
        ("cores", machine["cores"]),
        ("hypervisor", "yes" if machine["hypervisor"] else "no"),
        ("emulated", "yes" if machine["emulated"] else "no"),
        ("memory", f"{memory / 1024**2:.1f} GB" if memory else None),
        ("clock", machine.get("clocksource")),
        ("load at the start", load),
        *((machine.get("versions") or {}).items()),
        *((machine.get("sysctls") or {}).items()),
    ]
    return f"<details><summary>Machine</summary>{_pairs(pairs)}</details>"


def _states(report: Mapping[str, Any], names: _Names) -> Iterator[str]:
    for name, subject in report["subjects"].items():
        state = subject.get("state")
        if not state:
            continue
        title = escape(names.title(name))
        rest = [(key, _said(value)) for key, value in state.items() if key != "devices"]
        body = _pairs(rest) if rest else ""
        if state.get("devices"):
            body += _devices(state["devices"], names.title(name))
        yield f"<details><summary>{title}: devices and offloads</summary>{body}</details>"


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _devices(devices: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """A setting a row; devices that are alike share a column."""
    alike: dict[str, list[str]] = {}
    flat = {name: _settings(device) for name, device in devices.items()}
    for name, settings in flat.items():
        alike.setdefault(json.dumps(settings, sort_keys=True), []).append(name)
    shown = [flat[same[0]] for same in alike.values()]
    rows = dict.fromkeys(key for settings in shown for key in settings)
    heads = ["", *(escape(", ".join(same)) for same in alike.values())]
    body = [
        f'<tr><th scope="row">{escape(key)}</th>'
        f"{_cells(escape(_setting(settings.get(key))) for settings in shown)}</tr>"
        for key in rows
    ]
    return _table(heads, body, "devices", title)


def _settings(device: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in device.items() if key != "offloads"}
    return plain | (device.get("offloads") or {})


def _setting(value: object) -> str:
    return "–" if value is None else str(value)


def _embedded(report: Mapping[str, Any]) -> str:
    """The report itself; nothing in it can end the element."""
    text = json.dumps(report)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="data">{text}</script>'


def _details(report: Mapping[str, Any], names: _Names) -> str:
    body = [
        _machine(report["machine"]),
        *_states(report, names),
        "<p>Every value of every round is in this page, as JSON in the element "
        "<code>script#data</code>.</p>",
    ]
    return _section("Details", body, "details")


# ------------------------------------------------------------ the page


def render(report: dict[str, Any]) -> str:
    """The page of a report, whose every text is taken as text."""
    names = _Names(report)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>vnetx bench, {escape(_when(report))}</title>",
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>",
        f'<header><p class="kicker">vnetx bench</p><h1>vnetx, measured</h1>'
        f'<p class="lead">{escape(_purpose(report, names))}</p>{_facts(report)}</header>',
        *_banners(report, names),
        _glance(report, names),
        _absent(report, names),
        _method(report),
        *(_figure(figure, names) for figure in report["figures"]),
        _details(report, names),
        "</main>",
        _embedded(report),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def write(report: dict[str, Any], path: Path) -> None:
    """Writes the page of a report.  Raises as :func:`vnetx_perf.reports.write`."""
    whole = render(report).encode("utf-8", "backslashreplace").decode()
    reports.write(whole, Path(path))
