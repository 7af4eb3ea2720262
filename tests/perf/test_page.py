"""The HTML report, as a browser shows it: it says what the JSON says and needs nothing else."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

from vnetx_perf import charts, page

HOSTILE = "</script><b onclick='x()'>&amp; $x$ --></b>"
EMULATED = "These are ratios of emulated instructions, not of a processor's time."
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

needs_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")


# ------------------------------------------------------------ a report


def row(median: float, **more: Any) -> dict[str, Any]:
    plain = {
        "median": median,
        "interval": [median * 0.99, median * 1.0123],
        "values": [median * 0.98, median, median * 1.02],
        "extra": [{}, {}, {"lost": 1}],
        "note": "",
        "ratios": {},
        "percentiles": None,
        "x": None,
        "series": None,
        "targets": [],
    }
    return plain | more


def ratio(value: float, verdict: str) -> dict[str, Any]:
    return {"value": value, "low": value * 0.987, "high": value * 1.021, "verdict": verdict}


def target(sign: str, limit: float, of: str | None, verdict: str) -> dict[str, Any]:
    return {"sign": sign, "limit": limit, "of": of, "value": None, "verdict": verdict}


def figure(name: str, kind: str, rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "benchmark": name,
        "probe": name,
        "title": f"Title of {name}",
        "unit": "µs",
        "lower_is_better": True,
        "kind": kind,
        "axis": None,
        "baseline": None,
        "noise": None,
        "rounds": 3,
        "rows": rows,
        "failed": {},
        "orders": [],
        "steal": 0.0,
        "disturbed": 0.1,
        "seconds": 20.1,
        "warnings": [],
    }
    return plain | more


def _subjects() -> dict[str, Any]:
    tail = {"50": 6.2, "90": 6.51, "99": 9.123, "99.9": 20.04, "100": 1234.5}
    return figure(
        "rr-tcp",
        "subjects",
        {
            "direct": row(6.08, ratios={"bridge": ratio(0.884, "better")}, percentiles=tail),
            "vnetx-tc": row(
                6.2512,
                ratios={"bridge": ratio(0.911, "better"), "direct": ratio(1.031, "worse")},
                percentiles={**tail, "99.9": 31.07},
                targets=[
                    target("≤", 0.9, "bridge", "MISSED ?"),
                    target("≤", 7.5, None, "holds"),
                ],
            ),
            "vnetx-xdp": row(
                7.54, ratios={"bridge": ratio(12.34, "worse")}, note=f"a note {HOSTILE}"
            ),
            "bridge": row(6.88, ratios={"direct": ratio(1.132, "worse")}),
            "bridge#2": row(6.89, ratios={"bridge": ratio(1.0007, "no difference")}),
        },
        baseline="bridge",
        noise=0.0123,
        warnings=[f"figure's warning {HOSTILE}"],
        failed={"macvlan": f"OSError: {HOSTILE}"},
    )


def _curve() -> dict[str, Any]:
    places = (10, 1_000, 100_000, 1_000_000)
    rows = {
        f"{series} {x}": row(base + step * index, x=x, series=series)
        for base, step, series in ((14.5, 0.25, "tc hot"), (19.0, 150.0, f"tc {HOSTILE}"))
        for index, x in enumerate(places)
    }
    return figure("cost fdb/<i>", "curve", rows, unit="ns", axis="FDB entries")


def sample() -> dict[str, Any]:
    """Every kind of figure, and strings that mean something to HTML, SVG and TeX."""
    offloads = {"scatter-gather": "on", "generic-receive-offload": "off", "x": None}
    device = {"mtu": 1500, "qdisc": "noqueue", "kind": "veth", "xdp": None, "offloads": offloads}
    titles = {
        "direct": "bare veth pair, no switch",
        "vnetx-tc": "vnetx, TC",
        "vnetx-xdp": f"vnetx, XDP {HOSTILE}",
        "bridge": "kernel bridge",
    }
    rates = {
        "bridge": row(0.96),
        "vnetx-tc": row(1.82, ratios={"bridge": ratio(1.89, "better")}),
    }
    commands = {
        "attach, cold": row(1.07, targets=[target("≤", 2.0, None, "holds")]),
        f"--help {HOSTILE}": row(0.0613),
        "load": row(12_345.6),
    }
    return {
        "format": 2,
        "started": "2026-11-25T13:00:00+00:00",
        "seconds": 212.3,
        "command": ["vnetx", "bench", "rr", "--report", "a file.html"],
        "seed": 123,
        "level": "quick",
        "cores": {"cost": 1, "other": 0},
        "interrupted": True,
        "machine": {
            "kernel": "6.18.44",
            "kernel_version": "#1 SMP",
            "machine": "x86_64",
            "cpu": f"A CPU {HOSTILE}",
            "hypervisor": True,
            "emulated": True,
            "cores": 2,
            "memory_kb": 8_000_000,
            "clocksource": "tsc",
            "sysctls": {"net/core/bpf_jit_enable": "1"},
            "load": [0.1, 0.2, 0.3],
            "versions": {"vnetx": "0.1.0"},
        },
        "subjects": {
            name: {
                "title": title,
                "limit": name == "direct",
                "state": {"devices": {"h0/eth0": device, "h1/eth0": device}, "hook": HOSTILE},
            }
            for name, title in titles.items()
        },
        "missing": {"ovs": f"not installed {HOSTILE}"},
        "skipped": {"nic": f"no card {HOSTILE}"},
        "warnings": [f"of the report {HOSTILE}"],
        "figures": [
            _subjects(),
            _curve(),
            figure("control", "list", commands, unit="s"),
            figure("pps", "subjects", rates, baseline="bridge", lower_is_better=False),
        ],
    }


# ------------------------------------------------------------ a browser


@dataclass
class Dom(HTMLParser):
    """What of a dumped document the tests look at."""

    ids: list[str] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    attributes: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    numbers: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    data: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._value: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.attributes |= found.keys()
        self.ids += [found["id"]] if "id" in found else []
        self.links += [value for name, value in found.items() if name in ("href", "src")]
        if tag in ("script", "style", "data"):
            self._open.append(tag)
        if tag == "data":
            self._value = found["value"]

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.data += data
        elif "style" not in self._open:
            self.text += data
        if self._value is not None:
            self.numbers.append((self._value, data))
            self._value = None


@dataclass
class Browser:
    directory: Path

    def run(self, page_path: Path, *options: str) -> tuple[str, str]:
        """What it printed, and what it complained of."""
        assert BROWSER
        command = [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=2000"),
            *("--no-first-run", "--disable-background-networking", "--disable-extensions"),
            f"--user-data-dir={self.directory / 'profile'}",
            *options,
            page_path.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)
        return done.stdout.decode(), done.stderr.decode(errors="replace")

    def dump(self, page_path: Path, *options: str) -> tuple[str, list[str]]:
        """The document, and the lines of the console."""
        text, said = self.run(page_path, "--dump-dom", *options)
        return text, [line for line in said.splitlines() if "CONSOLE" in line]

    def picture(self, page_path: Path, *options: str) -> bytes:
        made = self.directory / "picture.png"
        made.unlink(missing_ok=True)
        self.run(page_path, f"--screenshot={made}", *options)
        return made.read_bytes()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return sample()


@pytest.fixture(scope="module")
def path(report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page") / "report.html"
    page.write(report, made)
    return made


@pytest.fixture(scope="module")
def dom(browser: Browser, path: Path) -> Dom:
    text, console = browser.dump(path)
    assert console == []
    found = Dom()
    found.feed(text)
    return found


# ------------------------------------------------------------ what it says


def expected(report: dict[str, Any]) -> Iterator[float]:
    """Each number that has to be on the page as often as it comes here, or more often."""
    for shown in report["figures"]:
        for each in shown["rows"].values():
            yield from (each["median"], *each["interval"])
            yield from (each["percentiles"] or {}).values()
            yield from (bound["limit"] for bound in each["targets"])
            for found in each["ratios"].values():
                yield from (found["value"], found["low"], found["high"])


@needs_browser
def test_all_figures_are_on_the_page(report: dict[str, Any], dom: Dom) -> None:
    there = Counter(float(value) for value, _ in dom.numbers)
    assert Counter(expected(report)) - there == Counter()


@needs_browser
def test_figures_read_as_they_are(dom: Dom) -> None:
    """What is read is what was measured, to the last digit that is shown."""
    assert dom.numbers
    for value, shown in dom.numbers:
        decimals = len(shown.partition(".")[2])
        assert math.isclose(
            float(shown.replace(",", "")), float(value), abs_tol=0.5000001 * 10**-decimals
        ), (value, shown)
        assert float(value) == 0 or float(shown.replace(",", "")) != 0


@needs_browser
def test_each_row_has_its_own_figures(report: dict[str, Any], browser: Browser, path: Path) -> None:
    text, _ = browser.dump(path)
    section = text.partition('<section id="f-rr-tcp">')[2].partition("</section>")[0]
    table = section.partition('<table class="rows">')[2].partition("</table>")[0]
    rows = table.partition("<tbody>")[2].split("<tr")[1:]
    measured = report["figures"][0]["rows"]
    assert len(rows) == len(measured)
    for html, (label, each) in zip(rows, measured.items(), strict=True):
        wanted = [each["median"], *each["interval"]]
        wanted += [bound["limit"] for bound in each["targets"] if bound["of"] is None]
        for base in ("bridge", "direct"):
            if base in each["ratios"]:
                wanted += [each["ratios"][base][part] for part in ("value", "low", "high")]
            wanted += [bound["limit"] for bound in each["targets"] if bound["of"] == base]
        assert [float(value) for value in re.findall(r'<data value="(.*?)"', html)] == wanted, label


@needs_browser
def test_texts(report: dict[str, Any], dom: Dom) -> None:
    """Hostile ones too, as they are."""
    for text in (
        EMULATED,
        "Interrupted.",
        *report["warnings"],
        *report["figures"][0]["warnings"],
        *report["missing"].values(),
        *report["skipped"].values(),
        *report["figures"][0]["failed"].values(),
        report["machine"]["cpu"],
        report["subjects"]["vnetx-xdp"]["title"],
        "25 November 2026, 13:00 UTC",
        "vnetx bench rr --report 'a file.html' --seed 123",
        "rr-tcp: vnetx, TC ≤ 0.9 × kernel bridge MISSED ?",
        "9 % less",
        "89 % more",
        "noise ±1.2 %",
    ):
        assert text in dom.text, text
    assert not any(name == "onclick" for name in dom.attributes)


@needs_browser
def test_nothing_is_lost(report: dict[str, Any], dom: Dom) -> None:
    assert json.loads(dom.data) == report
    assert dom.tags["script"] == 1


@needs_browser
def test_it_needs_nothing_else(path: Path, dom: Dom) -> None:
    assert not re.search(r"(?:https?:)?//[\w.]", path.read_text())
    assert not re.search(r"url\((?!#)|@import", path.read_text())
    assert dom.links
    assert all(link.startswith("#") or link == "data:," for link in dom.links)
    assert {link[1:] for link in dom.links if link.startswith("#")} <= set(dom.ids)


@needs_browser
def test_identifiers_are_unique(dom: Dom) -> None:
    assert [name for name, count in Counter(dom.ids).items() if count > 1] == []
    assert all(re.fullmatch(r"[\w-]+", name) for name in dom.ids)


@needs_browser
def test_charts_are_told(path: Path, dom: Dom) -> None:
    """Drawn for two widths each: ratios, percentiles, curve, list, rates; each with a text."""
    assert dom.tags["svg"] == 10
    labels = re.findall(r'<svg [^>]*role="img" aria-labelledby="([\w-]+)"', path.read_text())
    assert len(labels) == 10
    assert set(labels) <= set(dom.ids)
    assert "#010a" not in path.read_text()
    assert "DejaVu Sans'" not in path.read_text()


# ------------------------------------------------------------ how it looks


def within(path: Path, width: int, browser: Browser) -> dict[str, int]:
    """Widths of the page, of what is shown in a window of `width` pixels."""
    script = (
        "const root = document.getElementById('frame').contentDocument.documentElement;"
        "document.title = JSON.stringify({page: root.scrollWidth, window: root.clientWidth,"
        "narrow: root.querySelector('.chart.narrow').clientWidth,"
        "wide: root.querySelector('.chart.wide').clientWidth})"
    )
    frame = (
        f'<iframe id="frame" style="border:0;width:{width}px;height:800px" '
        f'srcdoc="{escape(path.read_text())}"></iframe>'
    )
    around = browser.directory / f"around-{width}.html"
    around.write_text(
        f'<!DOCTYPE html><meta charset=utf-8><title></title><body onload="{escape(script)}">{frame}'
    )
    text, _ = browser.dump(around, "--window-size=1200,900")
    found: dict[str, int] = json.loads(re.search(r"<title>(.*?)</title>", text)[1])  # type: ignore[index]
    return found


@needs_browser
@pytest.mark.parametrize("width", [320, 360, 700, 1100])
def test_the_page_never_scrolls_sideways(width: int, browser: Browser, path: Path) -> None:
    found = within(path, width, browser)
    assert found["window"] == width
    assert found["page"] <= width
    assert (found["narrow"] > 0) == (width <= 640)
    assert (found["wide"] > 0) == (width > 640)


@needs_browser
@pytest.mark.parametrize(("scheme", "darkest", "lightest"), [(0, 10, 60), (1, 220, 255)])
def test_it_follows_the_reader_s_scheme(
    scheme: int, darkest: int, lightest: int, browser: Browser, path: Path
) -> None:
    """The page as a whole and the charts in it: in the window is the first figure."""
    option = f"--blink-settings=preferredColorScheme={scheme}"
    made = browser.picture(path, "--window-size=900,2600", option)
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (900, 2600)
        mean = ImageStat.Stat(picture.convert("L")).mean[0]
    assert darkest < mean < lightest


@needs_browser
def test_it_can_be_printed(browser: Browser, path: Path) -> None:
    made = browser.directory / "report.pdf"
    browser.run(path, f"--print-to-pdf={made}", "--no-pdf-header-footer")
    assert made.read_bytes().startswith(b"%PDF")
    assert made.stat().st_size > 20_000


# ------------------------------------------------------------ reports that lack something


def bare(**more: Any) -> dict[str, Any]:
    whole = sample()
    nothing: dict[str, Any] = {"subjects": {}, "missing": {}, "skipped": {}, "warnings": []}
    return {**whole, **nothing, "figures": [], "interrupted": False, **more}


def test_a_report_without_figures() -> None:
    made = page.render(bare(started="yesterday", cores={"cost": 1, "other": None}))
    assert "yesterday" in made
    assert "At a glance" not in made
    assert "Read with care" not in made


def test_at_a_glance_a_table_for_each_baseline() -> None:
    """What was measured across a trunk has nothing to do with the rest."""
    one = {"bridge": row(2.0), "vnetx-tc": row(1.0, ratios={"bridge": ratio(0.5, "better")})}
    two = {
        "vnetx-pair": row(2.0),
        "vnetx-tag": row(3.0, ratios={"vnetx-pair": ratio(1.5, "worse")}),
    }
    figures = [
        figure("rr", "subjects", one, baseline="bridge"),
        figure("vlan-rr", "subjects", two, baseline="vnetx-pair"),
    ]
    tables = re.findall(
        r'<table class="glance">.*?</table>', page.render(bare(figures=figures)), re.DOTALL
    )
    heads = [re.findall(r'<th scope="col">(?:<i[^>]*></i>)?([^<]*)</th>', each) for each in tables]
    assert heads == [
        ["relative to bridge", "vnetx-tc"], ["relative to vnetx-pair", "vnetx-tag"]
    ]  # fmt: skip
    assert "50 % less" in tables[0]
    assert "50 % more" in tables[1]


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"one": row(0.0)},
        {"one": row(1.0, interval=[1.0, 1.0]), "another": row(1.0, interval=[1.0, 1.0])},
        {"one": row(math.nan), "another": row(math.inf), "third": row(2.0)},
        {"one": row(1e-5), "another": row(1e9)},
    ],
)
@pytest.mark.parametrize("kind", ["subjects", "curve", "list"])
def test_odd_rows(kind: str, rows: dict[str, Any]) -> None:
    placed = {name: {**each, "x": 10} for name, each in rows.items()}
    figures = [figure("a", kind, rows), figure("b", "curve", placed)]
    figures.append(figure("c", "subjects", rows, baseline="bridge", noise=0.01))
    assert page.render(bare(figures=figures)).count("<section") >= len(figures)


def test_the_seed_is_not_repeated() -> None:
    made = page.render(bare(command=["vnetx", "bench", "--seed=5"]))
    assert "vnetx bench --seed=5<" in made


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([0.0, 100.0], [0.0, 100.0]),
        ([50.0, 50.0], [42.0, 58.0]),
        ([99.0, 100.0], [84.0, 100.0]),
        ([], []),
    ],
)
def test_labels_are_kept_apart(places: list[float], moved: list[float]) -> None:
    assert charts.apart(places, 16, 100) == pytest.approx(moved)


def test_colours_are_those_of_the_style_sheet() -> None:
    style = Path(page.__file__).with_name("page.css").read_text()
    for name in charts.COLOURS:
        assert style.count(f" --{name}: #") == 3, f"--{name}: light, dark, printed"


def test_importing_is_cheap() -> None:
    code = "import sys; import vnetx_perf.page; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
