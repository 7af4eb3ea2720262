"""Cables between two NICs of this machine, for subjects whose wire is to be a real one.

VNETX_BENCH_CABLES names them, as "NIC:NIC NIC:NIC": the first of each pair is what is attached, the
second what is plugged in. A subject has one for itself for as long as it is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass, field
from typing import Any

from vnetx_perf.namespaces import Namespace, ip

VARIABLE = "VNETX_BENCH_CABLES"
_taken: set[Cable] = set()


@dataclass(frozen=True)
class Cable:
    """Attributes: names of the two NICs in this process's network namespace."""

    near: str
    far: str
    _before: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False)

    def plug(self, near: tuple[Namespace, str], far: tuple[Namespace, str]) -> None:
        """Moves each NIC to a namespace, under another name there."""
        for device, (namespace, name) in ((self.near, near), (self.far, far)):
            (self._before[device],) = json.loads(ip("-json", "link", "show", "dev", device))
            ip("link", "set", "dev", device, "down")
            ip("link", "set", "dev", device, "netns", namespace.name, "name", name)

    def unplug(self, near: tuple[Namespace, str], far: tuple[Namespace, str]) -> None:
        """Undoes :meth:`plug`, or what it has done of it; MAC addresses and MTUs are as before."""
        for device, (namespace, name) in ((self.near, near), (self.far, far)):
            before = self._before.pop(device, None)
            with contextlib.suppress(RuntimeError):
                if before:
                    namespace.ip(
                        f"link set dev {name} down",
                        f"link set dev {name} address {before['address']} mtu {before['mtu']}",
                        f"link set dev {name} netns {os.getpid()} name {device}",
                    )
                    ip("link", "set", "dev", device, "up" if "UP" in before["flags"] else "down")
        _taken.discard(self)


def _named() -> list[Cable]:
    pairs = (pair.partition(":") for pair in os.environ.get(VARIABLE, "").split())
    return [Cable(near, far) for near, _, far in pairs]


def lacking() -> str:
    """What this machine lacks for a cable, and the remedy, in a sentence; "" for nothing."""
    cables = _named()
    if not cables:
        return (
            f"no cable is named: {VARIABLE}=eth1:eth2 says that these two are plugged into each "
            "other; make bench-vm has some"
        )
    there = {name for _, name in socket.if_nameindex()}
    for name in (name for cable in cables for name in (cable.near, cable.far)):
        if name not in there:
            return f"{VARIABLE}: there is no interface {name}: ip link"
        (shown,) = json.loads(ip("-json", "address", "show", "dev", name))
        if any(each["scope"] == "global" for each in shown["addr_info"]):
            return f"{VARIABLE}: {name} has addresses, which it would lose: name NICs without"
    return ""


def take() -> Cable:
    """A cable that nobody has.

    Raises:
        RuntimeError: there is none.
    """
    for cable in _named():
        if cable not in _taken:
            _taken.add(cable)
            return cable
    raise RuntimeError(f"no cable is left: {VARIABLE} names {len(_named())}")
