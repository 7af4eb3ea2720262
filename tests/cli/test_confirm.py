"""``attach --confirm``: what nobody confirms is undone, whatever becomes of the terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import COMMAND, Lab

pytestmark = pytest.mark.root


def timers(lab: Lab) -> list[int]:
    """The timer processes of a lab's namespace."""
    wanted = Path(f"/run/netns/{lab.name}").stat().st_ino
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"vnetx_cli.confirm_timer" in (directory / "cmdline").read_bytes()
                and (directory / "ns/net").stat().st_ino == wanted
            ):
                found.append(int(directory.name))
        except OSError:
            continue
    return found


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.serial
def test_what_is_confirmed_stays_and_the_timer_ends(lab: Lab) -> None:
    done = lab.vnetx("attach", "p1", "--confirm", "60")
    assert "vnetx confirm" in done.err
    assert lab.show("port", "show")[0]["unconfirmed"]
    assert 0 < lab.show("switch", "show")[0]["unconfirmed_for"] <= 60
    assert len(timers(lab)) == 1
    assert "not confirmed" in lab.vnetx("doctor").out
    lab.vnetx("confirm")
    assert not lab.show("port", "show")[0]["unconfirmed"]
    assert lab.show("switch", "show")[0]["unconfirmed_for"] is None
    assert eventually(lambda: not timers(lab))
    assert lab.names() == ["p1"]


def test_what_is_not_confirmed_is_undone(lab: Lab) -> None:
    lab.vnetx("attach", "p1")
    lab.vnetx("attach", "p2", "--confirm", "1")
    assert eventually(lambda: not timers(lab))
    assert lab.names() == ["p1"]
    assert "nothing was waiting" in lab.vnetx("confirm").err


def test_nothing_to_confirm(lab: Lab) -> None:
    assert "nothing is attached" in lab.vnetx("confirm", status=1).err


def test_inside_ip_netns_exec(lab: Lab) -> None:
    lab.inside(COMMAND, "attach", "p1", "--confirm", "1")
    assert eventually(lambda: not timers(lab))
    assert lab.show("switch", "show") == []


def test_the_terminal_goes_away(lab: Lab) -> None:
    """As when the ssh session dies with the network that was attached."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND, [COMMAND, "-n", lab.name, "attach", "p1", "--confirm", "2"])
    said = b""
    while b"vnetx confirm" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)  # SIGHUP to its session
    os.waitpid(pid, 0)
    assert eventually(lambda: not timers(lab))
    assert lab.show("switch", "show") == []


def test_the_command_hangs_after_attaching(lab: Lab) -> None:
    """It cannot tell its result, since nobody reads it: the timer does not wait for it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    os.set_blocking(writing, True)
    command = [COMMAND, "-n", lab.name, "-v", "attach", "p1", "--confirm", "1"]
    with subprocess.Popen(command, stdout=writing, stderr=writing) as process:
        try:
            assert eventually(lambda: bool(timers(lab)))
            assert eventually(lambda: not timers(lab))
            assert process.poll() is None
            assert lab.show("switch", "show") == []
        finally:
            process.kill()
            os.close(reading)
            os.close(writing)


def test_a_failed_attach_leaves_no_timer(lab: Lab) -> None:
    lab.vnetx("attach", "missing", "--confirm", "60", status=1)
    assert eventually(lambda: not timers(lab))
