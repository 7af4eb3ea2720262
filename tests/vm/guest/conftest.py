"""What the tests that run inside the virtual machine share: the wire between two network cards."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns

HERE = Path(__file__).parent
INSIDE = os.environ.get("VNETX_VM") == "1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: part of the virtual machine's smoke set")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    outside = pytest.mark.skip(reason="runs inside the virtual machine only: tests/vm/run.sh")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.serial)  # there is one set of cards
            if not INSIDE:
                item.add_marker(outside)


def run(*command: str) -> str:
    """Run a command and return its output; a failure shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Wire:
    """A network card of this host, and the card at the far end of its wire, in a namespace."""

    nic: str
    far: str
    namespace: str

    @staticmethod
    def run(*command: str) -> str:
        return run(*command)

    def run_far(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.namespace, *command)

    @staticmethod
    def ip(*arguments: str) -> str:
        return run("ip", *arguments)

    def ip_far(self, *arguments: str) -> str:
        return run("ip", "-n", self.namespace, *arguments)

    def socket_far(self, *arguments: int) -> socket.socket:
        """A socket of the far end's namespace."""
        netns.pushns(self.namespace)
        try:
            return socket.socket(*arguments)
        finally:
            netns.popns()

    def show(self) -> dict[str, Any]:
        """What `ip -details link` says of `nic`."""
        shown = run("ip", "-json", "-details", "link", "show", self.nic)
        found: dict[str, Any] = json.loads(shown)[0]
        return found

    def state(self) -> dict[str, Any]:
        """All of `nic` that an attachment may change and has to give back."""
        return {
            "link": self.show(),
            "features": run("ethtool", "-k", self.nic),
            "channels": run("ethtool", "-l", self.nic),
            "qdiscs": run("tc", "qdisc", "show", "dev", self.nic),
            "addresses": self.addresses(),
        }

    def addresses(self) -> str:
        """What `ip address` says of `nic`, flags like "tentative" included."""
        return run("ip", "-json", "address", "show", "dev", self.nic)

    def ping(self, address: str = "192.0.2.2", count: int = 3) -> bool:
        """Whether every one of `count` requests to the far end was answered."""
        command = ["ping", "-q", "-n", "-i", "0.2", "-W", "2", "-c", str(count), address]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return f" {count} received" in shown


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.05)


@contextlib.contextmanager
def laid(number: int, addresses: dict[str, int]) -> Iterator[Wire]:
    """Wire `number` in use. `addresses` gives "nic" and "far" the last part of theirs, or none."""
    nic, far = os.environ["VNETX_VM_WIRES"].split()[number].split(":")
    made = Wire(nic, far, far)
    with contextlib.ExitStack() as clean_up:
        run("ip", "netns", "add", made.namespace)
        clean_up.callback(run, "ip", "netns", "del", made.namespace)
        made.ip("link", "set", "dev", far, "netns", made.namespace)
        clean_up.callback(made.ip_far, "link", "set", "dev", far, "netns", "1")
        clean_up.callback(made.ip, "address", "flush", "dev", nic)
        clean_up.callback(made.ip, "link", "set", "dev", nic, "down")
        for end, ip, device in (("nic", made.ip, nic), ("far", made.ip_far, far)):
            if end in addresses:
                ip("address", "add", f"192.0.2.{addresses[end]}/24", "dev", device)
                ip("address", "add", f"2001:db8::{addresses[end]}/64", "dev", device, "nodad")
            ip("link", "set", "dev", device, "up")
        wait_until(lambda: made.show()["operstate"] == "UP", f"{nic} has its carrier")
        wait_until(lambda: "tentative" not in made.addresses(), f"{nic}'s addresses are settled")
        yield made


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """nic0 with 192.0.2.1 and 2001:db8::1, far0 with 192.0.2.2 and 2001:db8::2."""
    with laid(0, {"nic": 1, "far": 2}) as made:
        yield made


@pytest.fixture(scope="module")
def other_wire() -> Iterator[Wire]:
    """nic1 without addresses, far1 with 192.0.2.3 and 2001:db8::3."""
    with laid(1, {"far": 3}) as made:
        yield made
