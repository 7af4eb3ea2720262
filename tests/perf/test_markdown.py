"""The page of figures says what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vnetx_perf import markdown, reports
from vnetx_perf.figures import Figure, Row, Target

FDB = {
    "entries": 1_000_000,
    "memory": 98.7,
    "ratios": [
        {"action": "load", "against": "C", "limit": 1.5, "clock": [1.1, 1.0, 1.2]},
        {"action": "dump", "against": "bcc", "limit": 15.0, "clock": [18.0, 17.0, 19.0]},
    ],
}


def suite() -> dict:
    pps = Figure("pps-60", "pps", "frames of 60 B", "Mpps", False, "subjects",
                 against=("bridge", "direct"))  # fmt: skip
    values = {"direct": 2.5, "bridge": 1.0, "bridge#2": 1.0, "vnetx-tc": 1.5}
    pps.rows = {name: Row.of([value] * 7) for name, value in values.items()}
    pps.failed = {"macvlan": "takes no XDP frames"}
    scale = Figure("scale-fdb", "scale", "cost by size", "ns", True, "curve", axis="FDB entries")
    scale.rows = {
        f"tc hot · {size:,}": Row.of([ns] * 7, x=size, series="tc hot")
        for size, ns in ((10, 20.0), (1000, 22.0))
    }
    control = Figure("control", "control", "commands", "s", True)
    control.rows = {"fdb show": Row.of([0.061, 0.058, 0.3])}
    return {
        "format": reports.FORMAT,
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 61.4,
        "command": ["vnetx", "bench", "--json-out", "bench.json"],
        "machine": {"kernel": "6.18.44-any", "cores": 4, "cpu": "A CPU", "hypervisor": True},
        "subjects": {"vnetx-tc": {"title": "vnetx, TC"}, "bridge": {"title": "kernel bridge"}},
        "missing": {"ipvlan-l2": "this kernel has none"},
        "skipped": {},
        "figures": [
            pps.to_json({"vnetx-tc": (Target("≥", 1.6, "bridge"),)}),
            scale.to_json({"tc hot · 1,000": (Target("≤", 1.15, "tc hot · 10"),)}),
            control.to_json({"fdb show": (Target("≤", 0.3),)}),
        ],
    }


def test_what_was_measured_is_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, document in (("bench", suite()), ("fdb", FDB)):
        (tmp_path / name).write_text(json.dumps(document))
    markdown.main([str(tmp_path / "bench"), str(tmp_path / "fdb")])
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "2026-01-02, Linux 6.18.44, 4 virtual CPUs (A CPU), 61 s.",
        "## Frames of 60 B",
        "`pps-60`, Mpps. Higher is better; noise floor 0.0%.",
        "| vnetx, TC | 1.50 | 1.50 [1.50 1.50] | 0.60 [0.60 0.60] | ≥ 1.6 of bridge: missed |",
        "| kernel bridge | 1.00 |  | 0.40 [0.40 0.40] |  |",
        "| 1,000 | 22.0 |",
        "| tc hot · 1,000, as a multiple of tc hot · 10 | 1.10 | ≤ 1.15 |",
        "| fdb show | 0.0610 s | ≤ 0.3: holds ? |",
        "| load, as a multiple of C's time | 1.10 [1.00 1.20] | ≤ 1.5 |",
        "| dump, times faster than bcc | 18.00 [17.00 19.00] | ≥ 15 |",
        "Not measured: macvlan: takes no XDP frames.",
        "Not measured: ipvlan-l2: this kernel has none.",
    ):
        assert lines.count(line) == 1, line
    assert not any("#2" in line for line in lines)


def test_a_report_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").write_text('{"format": 1}')
    with pytest.raises(reports.ReportError):
        markdown.main([str(tmp_path / "old"), str(tmp_path / "old")])
