"""Two reports, and the gate: what became worse is found, what did not is left alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from vnetx_perf import compare, gate, reports
from vnetx_perf.figures import Figure, Row

MACHINE = {"cpu": "A CPU", "kernel": "6.18", "cores": 2, "emulated": False}


def report(
    seed: int, factor: float = 1.0, machine: dict[str, Any] | None = None, mood: float = 1.0
) -> dict[str, Any]:
    """vnetx-tc at 0.9 of the bridge, times `factor`, on a machine of some `mood`."""
    chance = random.Random(seed)

    def values(middle: float) -> list[float]:
        return [middle * mood * chance.lognormvariate(0, 0.005) for _ in range(11)]

    rr = Figure("rr-tcp", "rr", "a", "µs", True, "subjects", against=("bridge", "direct"))
    rr.rows = {
        "direct": Row.of(values(8)),
        "bridge": Row.of(values(10)),
        "bridge#2": Row.of(values(10)),
        "vnetx-tc": Row.of(values(9 * factor)),
    }
    cost = Figure("cost-tc", "cost", "c", "ns", True)
    cost.rows = {"known unicast": Row.of(values(14 * factor))}
    return {
        "format": reports.FORMAT,
        "machine": machine or MACHINE,
        "figures": [rr.to_json(), cost.to_json()],
    }


def verdicts(*of: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(each.figure, each.row): each.verdict for each in compare.changes(*of)}


def test_what_became_slower_is_told_whatever_the_mood_of_the_machine():
    found = verdicts(report(1), report(2, factor=1.1, mood=1.7))
    assert found["rr-tcp", "vnetx-tc"] == "worse"
    assert found["rr-tcp", "direct"] == "no difference"
    assert not {("rr-tcp", "bridge"), ("rr-tcp", "bridge#2")} & found.keys()
    assert verdicts(report(1), report(2, factor=0.9))["rr-tcp", "vnetx-tc"] == "better"


def test_times_are_compared_on_one_machine_only():
    assert ("cost-tc", "known unicast") in verdicts(report(1), report(2))
    other = report(2, machine=MACHINE | {"cpu": "Another"})
    assert ("cost-tc", "known unicast") not in verdicts(report(1), other)
    assert ("rr-tcp", "vnetx-tc") in verdicts(report(1), other)


def test_two_runs_of_the_same_seldom_differ():
    trials = 60
    found = [verdicts(report(n), report(n + 1000))["rr-tcp", "vnetx-tc"] for n in range(trials)]
    assert found.count("no difference") >= 0.85 * trials


def test_the_gate_keeps_ratios_and_no_times():
    kept = gate.to_ratios(report(1))
    assert [figure["name"] for figure in kept["figures"]] == ["rr-tcp"]
    assert set(kept["figures"][0]["rows"]) == {"vnetx-tc"}
    values = kept["figures"][0]["rows"]["vnetx-tc"]["values"]
    assert all(0.85 < value < 0.95 for value in values)


def test_the_gate_keeps_nothing_of_a_baseline_that_is_vnetx_itself():
    vlan = Figure("vlan-rr-tcp", "vlan", "a", "µs", True, "subjects", against=("vnetx-pair",))
    names = ("bridge-pair", "vnetx-pair", "vnetx-pair#2", "vnetx-tag")
    vlan.rows = {name: Row.of([1.0] * 6) for name in names}
    (kept,) = gate.to_ratios(report(1) | {"figures": [vlan.to_json()]})["figures"]
    assert set(kept["rows"]) == {"vnetx-tag"}


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.02, 0), (1.08, 1), (0.9, 0)], ids=str)
def test_the_gate_fails_on_a_loss_and_says_which(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    factor: float,
    status: int,
) -> None:
    monkeypatch.setattr(gate, "BASELINE", tmp_path / "baseline.json")
    for name, made in (("then", report(1)), ("now", report(2, factor))):
        reports.save(made, tmp_path / name)
    assert gate.main(["--update", "--report", str(tmp_path / "then")]) == 0
    assert gate.main(["--report", str(tmp_path / "now")]) == status
    told = capsys.readouterr().out
    assert ("LOSS rr-tcp, vnetx-tc: its ratio to bridge is" in told) == bool(status)


def test_a_gate_that_compares_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BASELINE", tmp_path / "baseline.json")
    (tmp_path / "baseline.json").write_text(json.dumps({"figures": []}))
    reports.save(report(1), tmp_path / "now")
    assert gate.main(["--report", str(tmp_path / "now")]) == 1


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not json", "it is not JSON"),
        ("[]", "it is no report of the harness"),
        ('{"format": 1}', "format 1, an older one than this version's 2"),
        ('{"format": 99}', "format 99, a newer one"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(reports.ReportError, match=why):
        reports.load(tmp_path / "file")


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    reports.save(report(1), path)
    assert reports.load(path) == json.loads(json.dumps(report(1)))
    with pytest.raises(TypeError):
        reports.save({"format": object()}, path)
    assert reports.load(path)["format"] == reports.FORMAT
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_and_leaves_what_was_there() -> None:
    with pytest.raises(OSError, match="No space left"):
        reports.save(report(1), Path("/dev/full"))
