"""The virtual machine from the host: run.sh keeps its promises, the guest's smoke set passes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

RUN = Path(__file__).with_name("run.sh")

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """Have the kernel fetched before a test's time counts."""
    subprocess.run([RUN.with_name("kernel.sh")], check=True, stdout=subprocess.DEVNULL)


def machines_of(directory: Path) -> list[int]:
    """The QEMUs whose control directory, and so their command line, is beneath a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # ended meanwhile
            continue
        if command.startswith(b"qemu-system") and os.fsencode(directory) in command:
            found.append(int(path.parent.name))
    return found


def wait_for_machines(directory: Path, number: int) -> None:
    end = time.monotonic() + 30
    while len(machines_of(directory)) != number:
        assert time.monotonic() < end, f"not {number} machines, but {machines_of(directory)}"
        time.sleep(0.1)


@pytest.mark.timeout(900)
def test_the_guests_smoke_set_passes(tmp_path: Path) -> None:
    pytest_inside = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "smoke"]
    report = ["-o", "timeout=300", "--junitxml=/run/vm/out/smoke.xml", "tests/vm/guest"]
    done = subprocess.run(
        [RUN, "--timeout", "800", "--out", tmp_path, "--", *pytest_inside, *report],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    suite = ElementTree.parse(tmp_path / "smoke.xml").find("testsuite")
    assert suite is not None
    assert int(suite.get("tests", 0)) > int(suite.get("skipped", 0)), "the guest ran no test"


@pytest.mark.timeout(600)
def test_a_command_keeps_its_arguments_outputs_and_status(tmp_path: Path) -> None:
    script = 'printf "<%s>" "$@"; echo to stderr >&2; touch /etc/only-in-the-guest; exit 42'
    command = ["sh", "-c", script, "sh", "a b", "", "$c'"]
    done = subprocess.run(
        [RUN, "--timeout", "500", "--out", tmp_path, "--", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (42, "<a b><><$c'>"), done.stderr
    assert "to stderr" in done.stderr
    assert not Path("/etc/only-in-the-guest").exists()


@pytest.mark.timeout(600)
def test_a_machine_that_dies_is_reported() -> None:
    done = subprocess.run(
        [RUN, "--timeout", "500", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert "Kernel panic" in done.stderr
    assert "the machine died before the command ended" in done.stderr


def test_the_time_is_bounded(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [RUN, "--timeout", "3", "--", "sleep", "1000"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 124
    assert machines_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_machine_ends_with_its_script(tmp_path: Path, how: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([RUN, "--timeout", "100", "--", "true"], env=environment) as script:
        wait_for_machines(tmp_path, 1)
        script.send_signal(how)
        script.wait()
    wait_for_machines(tmp_path, 0)
