"""``make demo``: it shows what it is about, in time, and cleans up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.command import run

pytestmark = [pytest.mark.root, pytest.mark.serial, pytest.mark.slow]

COMMAND = [sys.executable, "-m", "vnetx_cli.demo"]


def namespaces(pid: int) -> list[str]:
    """What a demonstration has, or has left."""
    found = Path("/run/netns").glob("vnetx*")
    return [path.name for path in found if f"-{pid}-" in path.name]


def test_the_whole() -> None:
    begin = time.monotonic()
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert time.monotonic() - begin < 60
    assert namespaces(process.pid) == []
    for said in ("$ vnetx attach alpha beta gamma", "$ vnetx port show", "$ vnetx fdb show"):
        assert said in output
    assert "Gb/s over one TCP connection" in output
    assert "lost" not in output
    assert "kernel bridge" in output
    assert "everything is as it was before" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("after", ["$ vnetx attach", "$ ping", "$ iperf3", "# TCP"])
def test_interrupted_at_any_step_it_cleans_up(number: signal.Signals, after: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", *COMMAND[1:]], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(after):
                break
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(60) == 128 + number
    assert namespaces(process.pid) == []


def test_what_a_killed_one_left_is_removed_by_the_next() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = f"vnetxdemo-{gone.pid}-alpha"
    run("ip", "netns", "add", left)
    with subprocess.Popen(
        [sys.executable, "-u", *COMMAND[1:]], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.stdout.read()
    assert namespaces(gone.pid) == []
