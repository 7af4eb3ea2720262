"""Subjects of two switches with a trunk between, a host on each: what VLANs cost, and whom.

A frame comes by an access port, crosses the trunk with a tag, and leaves by an access port: one
tag is put on and one is taken off, whichever way it goes.  The hosts know nothing of VLANs, so
they, their devices and the probes are the same with and without; a host with a tagged interface
would add its own cost to one side, and need a module for it.

All kinds are the same devices: a veth pair to each host, one between the switches, MTU and
offloads as the kernel has them.  They are compared among themselves: a frame passes two switches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

from vnetx.model import Vlans
from vnetx_perf import attached, bridges, requirements
from vnetx_perf.namespaces import Namespace
from vnetx_perf.requirements import Tool
from vnetx_perf.topology import Subject

#: The VLAN of the hosts.
VID = 10
#: The device between the switches, on both sides.
TRUNK = "trunk"
#: The 8021q device on it.
_TAGGED = f"{TRUNK}.{VID}"


class Trunk(Subject):
    """Two switches; a kind says what each of them does with its two devices.

    Attributes:
        far: the namespace of the second host's switch; :attr:`switch` is the first one's.
        far_ports: the name of the port to the second host.
        within: names of the devices in each switch's namespace beside its ports.
    """

    group = "vlan"
    within: ClassVar[tuple[str, ...]] = ()
    most_hosts = 2

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        super().__init__(hosts, mtu)
        self.far: Namespace | None = None
        self.far_ports: list[str] = []

    def build(self) -> None:
        self.switch, self.far = Namespace("sw0"), Namespace("sw1")
        self.ports, self.far_ports, self.inner = ["p0"], ["p1"], [TRUNK, *self.within]
        self.switch.ip(
            f"link add dev {TRUNK} mtu {self.mtu} type veth"
            f" peer name {TRUNK} mtu {self.mtu} netns {self.far.name}"
        )
        for (switch, port), host in zip(self.switches(), self.hosts, strict=True):
            switch.ip(
                f"link add dev {port} mtu {self.mtu} type veth"
                f" peer name eth0 mtu {self.mtu} netns {host.name}",
                f"link set dev {port} up",
                f"link set dev {TRUNK} up",
            )
            self.build_switch(switch, port)

    def build_switch(self, switch: Namespace, port: str) -> None:
        """Makes what a switch needs beside its access port and the trunk, which are up."""

    def switches(self) -> Iterator[tuple[Namespace, str]]:
        """The namespace and the access port of each."""
        for switch, ports in ((self.switch, self.ports), (self.far, self.far_ports)):
            if switch is not None:
                yield switch, ports[0]

    def remove(self) -> None:
        super().remove()
        if self.far is not None:
            self.far.delete()
        self.far = None

    def _devices(self, most: int) -> Iterator[tuple[Namespace, list[str]]]:
        yield from super()._devices(most)
        if self.far is not None:
            yield self.far, self.far_ports + self.inner


# ---------------------------------------------------------------- the kernel's


class BridgePair(Trunk):
    """Two of the kernel's bridges, no VLANs."""

    kind = "bridge-pair"
    title = "two kernel bridges, no VLANs"
    devices = ("veth", "bridge")
    within = (bridges.NAME,)
    #: What ip-link(8) takes after "type bridge".
    options: ClassVar[str] = ""

    def build_switch(self, switch: Namespace, port: str) -> None:
        bridges.make(switch, [port, self.trunk_port(switch)], self.mtu, self.options)

    def trunk_port(self, switch: Namespace) -> str:  # noqa: ARG002
        """The bridge's port to the other one."""
        return TRUNK

    def extra_state(self) -> dict[str, Any]:
        return {"sysctls": [bridges.sysctls(switch) for switch, _ in self.switches()]}


class BridgeVlan(BridgePair):
    """Two of the kernel's bridges with vlan_filtering."""

    kind = "bridge-vlan"
    title = "two kernel bridges, vlan_filtering, a trunk"
    tools = (*BridgePair.tools, Tool("bridge", "iproute2"))
    options = "vlan_filtering 1 vlan_default_pvid 0"

    @classmethod
    def missing(cls) -> str:
        return super().missing() or requirements.lacks_vlan_filtering()

    def build_switch(self, switch: Namespace, port: str) -> None:
        super().build_switch(switch, port)
        switch.bridge(
            f"vlan add dev {port} vid {VID} pvid untagged", f"vlan add dev {TRUNK} vid {VID}"
        )


class Bridge8021q(BridgePair):
    """Two of the kernel's bridges without VLANs, each on an 8021q device of the trunk."""

    kind = "8021q"
    title = "two kernel bridges, 8021q devices on a trunk"
    devices = ("veth", "bridge", "vlan")
    within = (bridges.NAME, _TAGGED)

    def trunk_port(self, switch: Namespace) -> str:
        switch.ip(
            f"link add link {TRUNK} name {_TAGGED} mtu {self.mtu} type vlan id {VID}",
            f"link set dev {_TAGGED} up",
        )
        return _TAGGED


# ---------------------------------------------------------------- vnetx


class VnetxPair(Trunk):
    """Two switches of vnetx, TC, that are not VLAN-aware."""

    kind = "vnetx-pair"
    title = "two vnetx switches, TC, no VLANs"
    hook: ClassVar[str] = "tc"
    #: Fields of :class:`vnetx.model.PortSettings` of a host's port, and of the trunk's.
    access: ClassVar[dict[str, Any]] = {}
    between: ClassVar[dict[str, Any]] = {}

    @classmethod
    def missing(cls) -> str:
        return super().missing() or attached.missing()

    def attach(self) -> None:
        for switch, port in self.switches():
            attached.attach(switch, self.hook, ([port], self.access), ([TRUNK], self.between))

    def detach(self) -> None:
        for switch, _ in self.switches():
            with contextlib.suppress(RuntimeError):
                attached.detach(switch)

    def extra_state(self) -> dict[str, Any]:
        return {"hook": self.hook}


class VnetxPairXdp(VnetxPair):
    """The same with XDP on all devices, as where they are wires."""

    kind = "vnetx-pair-xdp"
    title = "two vnetx switches, XDP, no VLANs"
    hook = "xdp"
    usual = False


class VnetxTag(VnetxPair):
    """Two switches of vnetx, TC: access ports and a trunk."""

    kind = "vnetx-tag"
    title = "two vnetx switches, TC, a trunk"
    access: ClassVar[dict[str, Any]] = {"vlans": Vlans.access(VID)}
    between: ClassVar[dict[str, Any]] = {"vlans": Vlans.trunk(1 << VID)}


KINDS = (BridgePair, BridgeVlan, Bridge8021q, VnetxPair, VnetxPairXdp, VnetxTag)
#: What ratios are of, unless others are asked for; the first one is the baseline.
AGAINST = (VnetxPair.kind, BridgePair.kind, BridgeVlan.kind, Bridge8021q.kind)
