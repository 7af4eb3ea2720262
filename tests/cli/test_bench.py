"""bench: what users type, and what it says when that cannot be done."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from cli.command import COMMAND, vnetx

pytestmark = pytest.mark.root


def namespaces(pid: int) -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"vnetxperf-{pid}-*")]


def test_list_shows_what_there_is_and_what_is_missing() -> None:
    shown = vnetx("bench", "list").out
    for words in ("request and response", "tags put on", "kernel bridge", "vnetx-tc", "8021q"):
        assert words in shown
    listed = vnetx("--json", "bench", "list").json
    by_name = {each["name"]: each for each in listed["subjects"]}
    assert by_name["bridge"]["missing"] == ""
    assert {"bridge-pair", "bridge-vlan", "8021q", "vnetx-pair", "vnetx-tag"} <= by_name.keys()
    for name in ("bridge-vlan", "8021q"):
        lacks = by_name[name]["missing"]
        assert not lacks or lacks.endswith(": make bench-vm runs one that has")
    assert {"rr", "oneway", "pps", "vlan", "cost"} <= {
        each["name"] for each in listed["benchmarks"]
    }


@pytest.mark.parametrize("arguments", [["speed"], ["rr", "--against", "token-ring"]])
def test_unknown_names_are_refused(arguments: list[str]) -> None:
    said = vnetx("bench", *arguments, status=2).err
    assert said.startswith("Error: bench: there is no '")
    assert "subjects are direct, redirect-peer, bridge" in said


def test_a_core_that_is_not_there_is_refused() -> None:
    assert "no core 4000 for this process" in vnetx("bench", "--core", "4000", status=2).err


def test_without_root_it_says_so() -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", COMMAND, "bench", "rr"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs root" in done.stderr


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    for option in ("--json-out", "--report"):
        said = vnetx("bench", option, str(tmp_path / "no" / "where"), status=1).err
        assert f"there is no directory {tmp_path}/no" in said


@pytest.mark.serial
def test_a_quick_run_prints_and_writes_the_same(tmp_path: Path) -> None:
    out, page = tmp_path / "bench.json", tmp_path / "bench.html"
    arguments = ["bench", "oneway", "cost", "direct", "vnetx-tc", "--quick", "--seed", "7"]
    shown = vnetx(*arguments, "--json-out", str(out), "--report", str(page)).out
    report = json.loads(out.read_text())
    assert [figure["name"] for figure in report["figures"]] == ["oneway", "cost-tc", "cost-xdp"]
    assert report["seed"] == 7
    assert report["command"][1:3] == ["bench", "oneway"]
    for row in report["figures"][0]["rows"]:
        assert row in shown
    assert "noise floor" in shown
    assert 'id="data"' in page.read_text()
    assert "0 worse, 0 better" in vnetx("bench", "compare", str(out), str(out)).out


@pytest.mark.serial
def test_ctrl_c_gives_what_there_is(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [COMMAND, "bench", "cost", "rr", "direct", "--thorough", "--json-out", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not namespaces(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted: this is what there was" in output
    assert json.loads(out.read_text())["interrupted"]
    assert not namespaces(process.pid)


def test_a_full_disk_loses_nothing_that_was_printed() -> None:
    done = vnetx("bench", "cost", "--quick", "--json-out", "/dev/full", status=1)
    assert "known unicast" in done.out
    assert "writing /dev/full: No space left on device (ENOSPC)" in done.err


def test_reports_of_older_formats_are_refused(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text('{"format": 1}')
    said = vnetx("bench", "compare", str(old), str(old), status=1).err
    assert f"reading {old}: it has format 1, an older one" in said
    missing = vnetx("bench", "compare", str(tmp_path / "none"), str(old), status=1).err
    assert "No such file or directory" in missing
