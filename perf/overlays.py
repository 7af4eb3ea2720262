"""Subjects of two switches with an overlay between, a host on each: what VXLAN costs, and whom.

The devices are those of :mod:`vnetx_perf.trunks`, where the trunk is the underlay: it
has addresses, and an MTU that is so much larger that hosts' packets are the same as anywhere.
"""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

from vnetx_perf import attached, bridges
from vnetx_perf.namespaces import Namespace
from vnetx_perf.topology import Subject
from vnetx_perf.trunks import TRUNK, BridgePair, Trunk, VnetxPair

VNI = 1000
#: The kernel's device.
_DEVICE = "vxlan0"
#: Around an inner packet: outer IPv4, UDP, VXLAN, inner Ethernet header.
_OVERHEAD = 50


def _addresses(switch: Namespace, subject: Trunk) -> tuple[str, str]:
    """The address in the underlay of a switch, and the other one's."""
    pair = ("198.18.0.1", "198.18.0.2")
    return pair if switch is subject.switch else pair[::-1]


class Underlay(Trunk):
    """What is the same for all: addresses on the device between the switches."""

    group = "vxlan"

    def build_switch(self, switch: Namespace, port: str) -> None:
        own, _ = _addresses(switch, self)
        switch.ip(
            f"link set dev {TRUNK} mtu {self.mtu + _OVERHEAD}", f"address add {own}/24 dev {TRUNK}"
        )
        super().build_switch(switch, port)


class BridgeVxlan(Underlay, BridgePair):
    """Two of the kernel's bridges, each with a vxlan device as a port."""

    kind = "bridge-vxlan"
    title = "two kernel bridges, vxlan devices between"
    devices = ("veth", "bridge", "vxlan")
    within: ClassVar[tuple[str, ...]] = (bridges.NAME, _DEVICE)

    def trunk_port(self, switch: Namespace) -> str:
        own, other = _addresses(switch, self)
        switch.ip(
            f"link add dev {_DEVICE} mtu {self.mtu} type vxlan id {VNI} local {own} remote {other}"
            " dstport 4789",
            f"link set dev {_DEVICE} up",
        )
        return _DEVICE


class VnetxVxlan(Underlay, VnetxPair):
    """Two switches of vnetx, TC, with a VNI."""

    kind = "vnetx-vxlan"
    title = "two vnetx switches, TC, a VNI between"
    hook: ClassVar[str] = "tc"

    def attach(self) -> None:
        for switch, port in self.switches():
            own, other = _addresses(switch, self)
            attached.attach(switch, self.hook, ([port], {}))
            attached.add_vni(switch, VNI, own, other, underlay_hook=self.hook)

    def extra_state(self) -> dict[str, Any]:
        return {"hook": self.hook}


class VnetxVxlanXdp(VnetxVxlan):
    """The same with XDP on all devices, as where they are wires."""

    kind = "vnetx-vxlan-xdp"
    title = "two vnetx switches, XDP, a VNI between"
    hook = "xdp"


class VnetxVxlanLarge(VnetxVxlan):
    """The same, TC, with as many VNIs and addresses as a large site has: what size costs."""

    kind = "vnetx-vxlan-large"
    title = "two vnetx switches, TC, 4,000 VNIs, 1,000,000 addresses behind VTEPs"
    usual = False

    def attach(self) -> None:
        for switch, port in self.switches():
            own, other = _addresses(switch, self)
            attached.make_large(switch, port, VNI, own, other, vnis=4000, addresses=1_000_000)

    def detach(self) -> None:
        for switch, _ in self.switches():
            with contextlib.suppress(RuntimeError):
                attached.remove_large(switch)


KINDS: tuple[type[Subject], ...] = (BridgeVxlan, VnetxVxlan, VnetxVxlanXdp, VnetxVxlanLarge)
#: What ratios are of, unless others are asked for.
AGAINST = (BridgeVxlan.kind,)
