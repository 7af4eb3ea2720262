"""Network namespaces, as /proc tells of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys

import pytest

from vnetx import netns

#: Many short lives, one after the other.
_CHURN = """
import os
for _ in range(6000):
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)
"""


def _hidden() -> set[int]:
    found = set()
    for path in netns.hidden_paths():
        with contextlib.suppress(OSError):
            found.add(path.stat().st_ino)
    return found


@pytest.mark.root
def test_processes_may_end_while_they_are_listed() -> None:
    own = netns.own()
    churning = [subprocess.Popen([sys.executable, "-c", _CHURN]) for _ in range(2)]
    try:
        while any(each.poll() is None for each in churning):
            assert own in netns.live()
            list(netns.hidden_paths())
    finally:
        for each in churning:
            each.kill()
            each.wait()


@pytest.mark.root
def test_a_namespace_that_only_a_descriptor_holds() -> None:
    with open("/proc/thread-self/ns/net") as before:
        ctypes.CDLL(None).unshare(netns.CLONE_NEWNET)
        held, inode = os.open("/proc/thread-self/ns/net", os.O_RDONLY), netns.own()
        netns.enter(before.fileno())
    try:
        assert inode not in netns.live()
        assert inode in _hidden()
    finally:
        os.close(held)
    assert inode not in _hidden()
