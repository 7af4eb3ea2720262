"""The real command, and namespaces to run it in."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.topology import NOT_FOUND

COMMAND = str(Path(sys.executable).with_name("vnetx"))
_numbers = itertools.count()


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*command: str, status: int | None = 0, **options: Any) -> Done:
    """Runs a command to its end; `status` is the one expected, None for any."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )
    if status is not None:
        assert done.returncode == status, (command, done.returncode, done.stdout, done.stderr)
    return Done(done.returncode, done.stdout, done.stderr)


def vnetx(*arguments: str, status: int | None = 0, **options: Any) -> Done:
    """Runs vnetx where the test is."""
    return run(COMMAND, *arguments, status=status, **options)


def pings(namespace: str, address: str, seconds: int = 4) -> bool:
    """Whether somebody reaches an address. If not, the next one begins anew (lib.topology.ping)."""
    command = ("ping", "-n", "-c", "1", "-w", str(seconds), address)
    reached = run("ip", "netns", "exec", namespace, *command, status=None).status == 0
    if not reached:
        run("ip", "-n", namespace, "neigh", "flush", *NOT_FOUND, status=None)
    return reached


class Lab:
    """A named namespace for a switch, with ports ``p1``... whose peers are hosts' ``eth0``."""

    def __init__(self, hosts: int) -> None:
        unique = f"vt{os.getpid()}-{next(_numbers)}"
        self.name = f"{unique}-sw"
        self.hosts = [f"{unique}-h{number}" for number in range(1, hosts + 1)]
        self.ports = [f"p{number}" for number in range(1, hosts + 1)]

    def build(self) -> None:
        for name in (self.name, *self.hosts):
            run("ip", "netns", "add", name)
            # IPv6's own frames would be counted too
            quiet = "echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6; ip link set dev lo up"
            run("ip", "netns", "exec", name, "sh", "-c", quiet)
        for number, (host, port) in enumerate(zip(self.hosts, self.ports, strict=True), start=1):
            self.ip(
                f"link add dev {port} type veth peer name eth0 netns {host}",
                f"link set dev {port} up",
            )
            self.ip(f"address add 192.0.2.{number}/24 dev eth0", "link set dev eth0 up", name=host)

    def remove(self) -> None:
        self.vnetx("detach", "--all", status=None)
        for switch in self.vnetx("-j", "switch", "show").json:
            self.vnetx("switch", "del", "--force", switch["name"], status=None)
        for name in (*self.hosts, self.name):
            run("ip", "netns", "delete", name, status=None)

    def ip(self, *commands: str, name: str | None = None) -> None:
        """ip(8) in the switch's namespace, or in another one."""
        run("ip", "-n", name or self.name, "-batch", "-", input="\n".join(commands))

    def vnetx(self, *arguments: str, status: int | None = 0, **options: Any) -> Done:
        """Runs vnetx in the switch's namespace, by ``-n``."""
        return vnetx("-n", self.name, *arguments, status=status, **options)

    def inside(self, *command: str, status: int | None = 0) -> Done:
        """Runs a command by ``ip netns exec``."""
        return run("ip", "netns", "exec", self.name, *command, status=status)

    def show(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return self.vnetx("-j", *arguments).json

    def names(self) -> list[str]:
        """The ports that are attached."""
        return [port["ifname"] for port in self.show("port", "show")]

    def ping(self, source: int, target: int) -> bool:
        """Whether a host reaches another one."""
        return pings(self.hosts[source - 1], f"192.0.2.{target}")

    def quick_ping(self, source: int, target: int) -> bool:
        """The same, where the answer may well be no: within a second."""
        return pings(self.hosts[source - 1], f"192.0.2.{target}", 1)
