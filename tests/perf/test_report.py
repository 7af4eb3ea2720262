"""The page of figures says what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vnetx_perf import report


def subject(value: float, bridge: list[float], direct: list[float]) -> dict[str, Any]:
    return {"median": value, "ratios": {"bridge": bridge, "direct": direct}}


SUITE = {
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 61.4,
    "machine": {"kernel": "6.18.44-any", "cores": 4, "cpu": "A CPU", "hypervisor": True},
    "probes": {
        "pps": {
            "unit": "Mpps",
            "lower_is_better": False,
            "noise": 0.0123,
            "subjects": {
                "bridge": subject(1.0, [1, 1, 1], [0.4, 0.39, 0.41]),
                "bridge#2": subject(1.0, [1, 1, 1], [0.4, 0.39, 0.41]),
                "vnetx-tc": subject(1.5, [1.5, 1.4, 1.6], [0.6, 0.5, 0.7]),
            },
        }
    },
    "cost": {
        "tc: known unicast": [13.0, 14.0, 99.0],
        **{
            f"{hook}: {label}, hot": [20.0]
            for hook in ("tc", "xdp")
            for label in ("FDB of 10", "FDB of 1,000,000", "2 ports", "1,000 ports")
        },
    },
    "control": {"seconds": {"fdb show": [0.061, 0.058, 0.3]}},
}
FDB = {
    "entries": 1_000_000,
    "memory": 98.7,
    "ratios": [
        {"action": "load", "against": "C", "limit": 1.5, "clock": [1.1, 1.0, 1.2]},
        {"action": "dump", "against": "bcc", "limit": 15.0, "clock": [18.0, 17.0, 19.0]},
    ],
}


def test_what_was_measured_is_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, document in (("suite", SUITE), ("fdb", FDB)):
        (tmp_path / name).write_text(json.dumps(document))
    report.main([str(tmp_path / "suite"), str(tmp_path / "fdb")])
    lines = capsys.readouterr().out.splitlines()
    assert "2026-01-02, Linux 6.18.44, 4 virtual CPUs (A CPU), 61 s." in lines
    assert "Higher is better; noise floor 1.2%." in lines
    for row in (
        "| vnetx, TC | 1.50 | 1.50 [1.40 1.60] | 0.60 [0.50 0.70] |",
        "| kernel bridge | 1.00 | 1 | 0.40 [0.39 0.41] |",
        "| known unicast | 14 |  |",
        "| fdb show | 0.06 s | ≤ 0.3 |",
        "| load, as a multiple of C's time | 1.10 [1.00 1.20] | ≤ 1.5 |",
        "| dump, times faster than bcc | 18.00 [17.00 19.00] | ≥ 15 |",
    ):
        assert lines.count(row) == 1, row
    assert not any("#2" in line for line in lines)


def test_every_probe_of_the_suite_has_a_heading() -> None:
    from vnetx_perf import pps, rr, stream

    probes = (rr.probe(True), rr.probe(False), rr.probe(True, other_core=1), stream.probe())
    assert {probe.name for probe in (*probes, pps.probe())} == report._HEADINGS.keys()
