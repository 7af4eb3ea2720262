"""Charts of a report as inline SVG: text stays text, colours are the page's.

Each chart is drawn twice, for a wide and for a narrow page; the style sheet shows one of them.
Colours are CSS custom properties of the page (:data:`COLOURS`), so that a chart follows the
reader's light or dark scheme.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

#: Custom properties of the style sheet that a chart may use.
COLOURS = (
    *("ink", "muted", "grid", "band", "paper", "good", "bad"),
    *("base", "limit", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"),
)

_WIDE, _NARROW = 760, 340
_FONT, _SMALL = 13, 12
#: Of an average glyph, relative to the size of the font.
_GLYPH = 0.56
_LONGEST = 40
#: Stand for the page's colours while matplotlib draws.
_SENTINELS = {name: f"#010a{index:02x}" for index, name in enumerate(COLOURS)}


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot.

    Attributes:
        text: the value as it is written at the right; `remark` stands after it.
        tone: the colour of `remark`.
        hollow: for what is a limit or a baseline, not a contender.
        target: where a bound of the value lies.
    """

    label: str
    value: float
    low: float
    high: float
    colour: str
    text: str
    remark: str = ""
    tone: str = "muted"
    hollow: bool = False
    target: float | None = None


@dataclass(frozen=True)
class Line:
    """One line of a curve: points are x, y and the interval of y."""

    label: str
    colour: str
    points: tuple[tuple[float, float, float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """A scale and what it is called; `ticks` overrides the ones that are found."""

    label: str
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


# ------------------------------------------------------------ scales


def short(value: float) -> str:
    """A number on an axis: 1,500,000 is 1.5M."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{suffix}"
    return f"{value:.4g}"


def spread_wide(values: Iterable[float], factor: float) -> bool:
    """Whether `values` are positive and differ by more than `factor`: a case for logarithms."""
    found = list(values)
    return bool(found) and min(found) > 0 and max(found) / min(found) > factor


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: list[float] = []
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [
            step * 10.0**power
            for power in range(first, last + 1)
            for step in steps
            if low <= step * 10.0**power <= high
        ]
        if len(found) >= 4:
            break
    return found


def _ticks(low: float, high: float, log: bool, most: int) -> list[tuple[float, str]]:
    from matplotlib.ticker import MaxNLocator

    places = _log_ticks(low, high) if log else []
    if len(places) < 3:
        found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        places = [float(round(place, 12)) for place in found if low <= place <= high]
    return [(place, short(place)) for place in places]


def _limits(values: Sequence[float], log: bool, margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        room = (math.log10(high) - math.log10(low) or 0.3) * margin
        return low / 10**room, high * 10**room
    room = ((high - low) or abs(high) * 0.1 or 1.0) * margin
    return low - room, high + room


# ------------------------------------------------------------ drawing


def _style() -> Any:
    import matplotlib.style

    settings = {
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans"],
        "svg.hashsalt": "vnetx",
        "text.parse_math": False,
        "font.size": _SMALL,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.spines.bottom": False,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.major.pad": 7,
        "ytick.major.pad": 7,
        "axes.unicode_minus": True,
        "lines.solid_capstyle": "round",
        "lines.solid_joinstyle": "round",
    }
    return matplotlib.style.context(["default", settings])


def _canvas(
    width: int, height: float, *, left: float, right: float, top: float, bottom: float
) -> Any:
    """Axes with margins in pixels, on a figure in which a pixel is a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    axes = figure.add_axes(box)
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    return axes


def _write(axes: Any, x: float, y: float, text: str, **more: Any) -> None:
    """Text at a place in pixels from the lower left corner."""
    width, height = axes.figure.get_size_inches() * 72
    more.setdefault("color", _SENTINELS["ink"])
    axes.figure.text(x / width, y / height, text, **more)


def _set_scale(axis: Any, limits: tuple[float, float], shown: Axis, most: int) -> None:
    """`axis` is the one of matplotlib."""
    axes, name = axis.axes, axis.axis_name
    if shown.log:
        getattr(axes, f"set_{name}scale")("log")
    getattr(axes, f"set_{name}lim")(*limits)
    ticks = shown.ticks or _ticks(*limits, shown.log, most)
    axis.set_ticks([place for place, _ in ticks], labels=[label for _, label in ticks])
    axis.set_ticks([], minor=True)
    axis.set_tick_params(labelcolor=_SENTINELS["muted"], labelsize=_SMALL)
    axes.set_axisbelow(True)
    axis.grid(True, color=_SENTINELS["grid"], linewidth=1)


def _svg(axes: Any, key: str, alt: str) -> str:
    """The figure as an element: no identifiers but those referred to, none twice on a page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    axes.figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", body))
    body = re.sub(
        r' id="([\w.-]+)"',
        lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "",
        body,
    )
    body = re.sub(r"(url\(|href=\")#", rf"\1#{key}-", body).replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*;? ?| transform=\"rotate\(-0 [^\"]*\"", "", body)
    body = re.sub(r' (?:d|x|y|x1|y1|x2|y2|width|height|transform)="[^"]*"', _rounded, body)
    body = re.sub(r"#010a([0-9a-f]{2})\b", _property, body)
    body = re.sub(r"<g>\s*</g>|\n\s*(?=\n)", "", body)
    width, height = axes.figure.get_size_inches() * 72
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img"'
        f' aria-labelledby="{key}-alt"><title id="{key}-alt">{html.escape(alt)}</title>'
        f"{body.strip()}</svg>"
    )


def _rounded(match: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", match[0])


def _property(match: re.Match[str]) -> str:
    index = int(match[1], 16)
    return f"var(--{COLOURS[index]})" if index < len(COLOURS) else match[0]


def _both(draw: Any, key: str, alt: str) -> str:
    """`draw` makes axes of a width; the result holds the chart for both widths."""
    with _style():
        charts = [
            f'<div class="chart {name}">{_svg(draw(width), f"{key}-{name}", alt)}</div>'
            for name, width in (("wide", _WIDE), ("narrow", _NARROW))
        ]
    return "\n".join(charts)


def _cut(label: str, longest: int = _LONGEST) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def _length(text: str, size: float = _FONT) -> float:
    return len(text) * size * _GLYPH


# ------------------------------------------------------------ dots


def dots(
    rows: Sequence[Dot],
    *,
    key: str,
    alt: str,
    axis: Axis,
    lower_is_better: bool,
    reference: float | None = None,
    noise: float | None = None,
) -> str:
    """A row a dot with its interval; `noise` is a shaded band around the line at `reference`."""

    def draw(width: int) -> Any:
        narrow = width == _NARROW
        step, top, bottom = (44 if narrow else 31), (24 if noise else 8), 50
        labels = max(_length(_cut(row.label)) for row in rows)
        texts = max(_length(f"{row.text}  {row.remark}", _SMALL) for row in rows)
        left = 8 if narrow else min(labels, 270) + 14
        right = 8 if narrow else texts + 14
        axes = _canvas(
            width,
            top + bottom + step * len(rows),
            left=left,
            right=right,
            top=top,
            bottom=bottom,
        )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.yaxis.set_ticks([])
        values = [each for row in rows for each in (row.value, row.low, row.high, row.target)]
        known = [value for value in (*values, reference) if value is not None]
        if reference is not None and noise:
            known += _band(reference, noise)
        limits = _limits(known, axis.log, 0.07)
        if not axis.log and reference is None and min(known) >= 0:
            limits = (0.0, limits[1])
        _set_scale(axes.xaxis, limits, axis, 4 if narrow else 7)
        _reference(axes, reference, noise)
        remarks = max(_length(row.remark, _SMALL) for row in rows)
        for index, row in enumerate(rows):
            _dot(axes, index, row, narrow)
            _dot_texts(axes, index, row, narrow, remarks + 8 if remarks else 0)
        _direction(axes, axis.label, lower_is_better, left, width - right)
        return axes

    return _both(draw, key, alt)


def _band(reference: float, noise: float) -> tuple[float, float]:
    """What is as far from the reference, by ratio, as the noise."""
    return reference / (1 + noise), reference * (1 + noise)


def _reference(axes: Any, reference: float | None, noise: float | None) -> None:
    if reference is None:
        return
    if noise:
        axes.axvspan(
            *_band(reference, noise), facecolor=_SENTINELS["band"], edgecolor="none", zorder=0.4
        )
        x, y = axes.transData.transform((reference, axes.get_ylim()[1]))
        text = f"noise ±{noise * 100:.1f} %"
        _write(axes, x, y + 7, text, size=_SMALL, ha="center", color=_SENTINELS["muted"])
    axes.axvline(reference, color=_SENTINELS["ink"], linewidth=1.2, zorder=1.5)


def _dot(axes: Any, index: int, row: Dot, narrow: bool) -> None:
    colour, paper = _SENTINELS[row.colour], _SENTINELS["paper"]
    height = index + (0.2 if narrow else 0)
    axes.plot([row.low, row.high], [height] * 2, color=colour, linewidth=3.2, zorder=3)
    axes.plot(
        [row.value],
        [height],
        marker="o",
        markersize=9 if row.hollow else 10.5,
        markerfacecolor=paper if row.hollow else colour,
        markeredgecolor=colour if row.hollow else paper,
        markeredgewidth=2 if row.hollow else 1.2,
        zorder=4,
    )
    if row.target is not None:
        axes.plot(
            [row.target], [height], marker="|", markersize=15, markeredgewidth=1.6,
            color=_SENTINELS["ink"], zorder=2,
        )  # fmt: skip


def _dot_texts(axes: Any, index: int, row: Dot, narrow: bool, room: float) -> None:
    """Label, value and, in its `room` at the right, remark: beside the row or, narrow, above."""
    width = axes.figure.get_size_inches()[0] * 72
    start, end = (axes.transAxes.transform((side, 0))[0] for side in (0, 1))
    right = end if narrow else width
    y = axes.transData.transform((1, index - (0.24 if narrow else 0)))[1]
    common = {"va": "center", "size": _FONT}
    _write(axes, start if narrow else 0, y, _cut(row.label), **common)
    _write(axes, right - room, y, row.text, ha="right", weight="bold", **common)
    small = {"va": "center", "size": _SMALL, "color": _SENTINELS[row.tone]}
    _write(axes, right, y, row.remark, ha="right", **small)


def _direction(axes: Any, label: str, lower_is_better: bool, left: float, right: float) -> None:
    """What the axis shows, and at its better end that it is the better one."""
    muted = {"size": _SMALL, "color": _SENTINELS["muted"], "va": "baseline"}
    if lower_is_better:
        _write(axes, left, 10, "← better", ha="left", **muted)
        _write(axes, right, 10, label, ha="right", **muted)
    else:
        _write(axes, right, 10, "better →", ha="right", **muted)
        _write(axes, left, 10, label, ha="left", **muted)


# ------------------------------------------------------------ lines


def lines(rows: Sequence[Line], *, key: str, alt: str, x: Axis, y: Axis) -> str:
    """A line a row, labelled at its end; on a narrow page above the chart."""

    def draw(width: int) -> Any:
        narrow = width == _NARROW
        names = max(_length(_cut(row.label, 28)) for row in rows)
        right = 14 if narrow else names + 30
        axes = _canvas(
            width, 260 if narrow else 330, left=44, right=right, top=30, bottom=50
        )  # fmt: skip
        _lines_scales(axes, rows, x, y, narrow)
        for row in rows:
            _line(axes, row)
        if not narrow:
            _ends(axes, rows)
        muted = {"size": _SMALL, "color": _SENTINELS["muted"]}
        _write(axes, 0, axes.figure.get_size_inches()[1] * 72 - 13, y.label, **muted)
        _write(axes, width - right, 10, x.label, ha="right", **muted)
        return axes

    return f"{_keys(rows)}\n{_both(draw, key, alt)}"


def _lines_scales(axes: Any, rows: Sequence[Line], x: Axis, y: Axis, narrow: bool) -> None:
    points = [point for row in rows for point in row.points]
    across = [point[0] for point in points] + [place for place, _ in x.ticks]
    _set_scale(axes.xaxis, _limits(across, x.log, 0.02), x, 4 if narrow else 7)
    heights = [each for point in points for each in point[1:]]
    limits = _limits(heights, y.log, 0.06)
    if not y.log and min(heights) >= 0:
        limits = (0.0, limits[1])
    _set_scale(axes.yaxis, limits, y, 6)
    axes.xaxis.grid(False)


def _line(axes: Any, row: Line) -> None:
    colour = _SENTINELS[row.colour]
    across, middle, low, high = zip(*row.points, strict=True)
    if low != high:
        axes.fill_between(across, low, high, color=colour, alpha=0.15, linewidth=0, zorder=2)
    axes.plot(
        across,
        middle,
        color=colour,
        linewidth=2,
        linestyle=(0, (2.5, 1.8)) if row.dashed else "solid",
        marker="o",
        markersize=5.5,
        markeredgewidth=1,
        markeredgecolor=_SENTINELS["paper"],
        zorder=3,
    )


def _ends(axes: Any, rows: Sequence[Line]) -> None:
    """A label for each line beside its end, moved apart where they would overlap."""
    edge = axes.transAxes.transform((1, 0))[0]
    ends = sorted(
        (axes.transData.transform(row.points[-1][:2])[1], index) for index, row in enumerate(rows)
    )
    top = axes.transAxes.transform((0, 1))[1] + 4
    places = apart([place for place, _ in ends], 16, top)
    for (end, index), place in zip(ends, places, strict=True):
        row = rows[index]
        start = axes.transData.transform(row.points[-1][:2])[0]
        _leader(axes, (start + 6, end), (edge + 18, place), row.colour)
        style = {"size": _FONT, "va": "center", "color": _SENTINELS[row.colour]}
        _write(axes, edge + 22, place, _cut(row.label, 28), **style)


def _leader(axes: Any, begin: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    from matplotlib.lines import Line2D

    width, height = axes.figure.get_size_inches() * 72
    axes.figure.add_artist(
        Line2D(
            [begin[0] / width, end[0] / width],
            [begin[1] / height, end[1] / height],
            color=_SENTINELS[colour],
            linewidth=0.8,
            alpha=0.6,
        )
    )


def apart(places: Sequence[float], gap: float, top: float) -> list[float]:
    """Ascending `places`, moved as little as need be to be `gap` apart and at most at `top`."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _first(groups[-1], gap) - _last(groups[-2], gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    found = [_first(group, gap) + gap * index for group in groups for index in range(len(group))]
    over = max(0.0, found[-1] - top) if found else 0.0
    return [
        min(place, top - gap * (len(found) - 1 - index)) if over else place
        for index, place in enumerate(found)
    ]


def _first(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _last(group: Sequence[float], gap: float) -> float:
    return _first(group, gap) + gap * (len(group) - 1)


def _keys(rows: Sequence[Line]) -> str:
    return f'<ul class="keys" aria-hidden="true">{"".join(_items(rows))}</ul>'


def _items(rows: Sequence[Line]) -> Iterator[str]:
    for row in rows:
        dashed = " hollow" if row.dashed else ""
        yield (
            f'<li><i class="swatch line{dashed}" style="--c: var(--{row.colour})"></i>'
            f"{html.escape(row.label)}</li>"
        )
