"""Subjects of two switches with an overlay between, a host on each: what VXLAN costs, and whom.

The devices are those of :mod:`vnetx_perf.trunks`, where the trunk is the underlay: it
has addresses, and an MTU that is so much larger that hosts' packets are the same as anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from vnetx_perf import attached, bridges, openvswitch
from vnetx_perf.namespaces import Namespace
from vnetx_perf.openvswitch import Daemons
from vnetx_perf.topology import Subject
from vnetx_perf.trunks import TRUNK, BridgePair, Trunk, VnetxPair, VnetxPairXdp

VNI = 1000
#: The kernel's device.
_DEVICE = "vxlan0"
#: Around an inner packet: outer IP of the larger kind, UDP, VXLAN, inner Ethernet header.
_OVERHEAD = 70


class Underlay(Trunk):
    """What is the same for all: addresses on the device between the switches."""

    group = "vxlan"
    #: The addresses of the two switches.
    vteps: ClassVar[tuple[str, str]] = ("198.18.0.1", "198.18.0.2")

    def ends(self, switch: Namespace) -> tuple[str, str]:
        """The address of a switch, and the other one's."""
        return self.vteps if switch is self.switch else self.vteps[::-1]

    def build_switch(self, switch: Namespace, port: str) -> None:
        own, _ = self.ends(switch)
        at_once = "/64 nodad" if ":" in own else "/24"
        switch.ip(
            f"link set dev {TRUNK} mtu {self.mtu + _OVERHEAD}",
            f"address add {own}{at_once} dev {TRUNK}",
        )
        super().build_switch(switch, port)


class BridgeVxlan(Underlay, BridgePair):
    """Two of the kernel's bridges, each with a vxlan device as a port."""

    kind = "bridge-vxlan"
    title = "two kernel bridges, vxlan devices between"
    devices = ("veth", "bridge", "vxlan")
    within: ClassVar[tuple[str, ...]] = (bridges.NAME, _DEVICE)
    #: What ip-link(8) takes after "type vxlan", too.
    device_options: ClassVar[str] = ""

    def trunk_port(self, switch: Namespace) -> str:
        own, other = self.ends(switch)
        switch.ip(
            f"link add dev {_DEVICE} mtu {self.mtu} type vxlan id {VNI} local {own} remote {other}"
            f" dstport 4789 {self.device_options}",
            f"link set dev {_DEVICE} up",
        )
        return _DEVICE


class Over6(Underlay):
    """The same over IPv6, whose UDP has a checksum."""

    vteps = ("2001:db8::1", "2001:db8::2")
    usual = False

    def build_switch(self, switch: Namespace, port: str) -> None:
        with switch.entered():
            switch.sysctl(f"net/ipv6/conf/{TRUNK}/disable_ipv6", "0")
        super().build_switch(switch, port)


class BridgeVxlan6(Over6, BridgeVxlan):
    kind = "bridge-vxlan6"
    title = "two kernel bridges, vxlan devices between, over IPv6"


class BridgeVxlan6Zero(BridgeVxlan6):
    """The same without that checksum (RFC 6935)."""

    kind = "bridge-vxlan6-zero"
    title = "two kernel bridges, vxlan devices between, over IPv6 without a UDP checksum"
    device_options = "udp6zerocsumtx udp6zerocsumrx"


class OvsVxlan(Underlay):
    """Two bridges of Open vSwitch, the kernel's datapath, each with a tunnel as a port."""

    kind = "ovs-vxlan"
    title = "two bridges of Open vSwitch, kernel datapath, a tunnel between"
    tools = (*Underlay.tools, *openvswitch.TOOLS)

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        super().__init__(hosts, mtu)
        self._daemons: list[Daemons] = []

    @classmethod
    def missing(cls) -> str:
        return super().missing() or openvswitch.lacks_datapath()

    def attach(self) -> None:
        for switch, port in self.switches():
            _, other = self.ends(switch)
            daemons = Daemons(switch)
            self._daemons.append(daemons)
            tunnel = ("type=vxlan", f"options:remote_ip={other}", f"options:key={VNI}")
            daemons.make_bridge([port, "tunnel"], "system", "set", "interface", "tunnel", *tunnel)

    def detach(self) -> None:
        while self._daemons:
            self._daemons.pop().stop()

    def pin(self, core: int) -> None:
        for daemons in self._daemons:
            daemons.pin(core)

    def extra_state(self) -> dict[str, Any]:
        return {"ovs": [daemons.state() for daemons in self._daemons]}


class VnetxVxlan(Underlay, VnetxPair):
    """Two switches of vnetx, TC, with a VNI."""

    kind = "vnetx-vxlan"
    title = "two vnetx switches, TC, a VNI between"
    #: Of :class:`vnetx.model.Vni`, beside the hook.
    settings: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def attach(self) -> None:
        for switch, port in self.switches():
            own, other = self.ends(switch)
            attached.attach(switch, self.hook, ([port], {}))
            attached.add_vni(switch, VNI, own, other, underlay_hook=self.hook, **self.settings)


class VnetxVxlan6(Over6, VnetxVxlan):
    kind = "vnetx-vxlan6"
    title = "two vnetx switches, TC, a VNI between, over IPv6"


class VnetxVxlan6Zero(VnetxVxlan6):
    """The same without that checksum."""

    kind = "vnetx-vxlan6-zero"
    title = "two vnetx switches, TC, a VNI between, over IPv6 without a UDP checksum"
    settings = MappingProxyType({"udp6_zero_checksum": True})


class VnetxVxlanXdp(VnetxVxlan):
    """The same with XDP on all devices, as where they are wires."""

    kind = "vnetx-vxlan-xdp"
    title = "two vnetx switches, XDP, a VNI between"
    hook = "xdp"


class VnetxVxlanLarge(VnetxVxlan):
    """The same, TC, with as many VNIs and addresses as a large site has: what size costs."""

    kind = "vnetx-vxlan-large"
    title = "two vnetx switches, TC, 10,000 VNIs, 1,000,000 addresses behind VTEPs"
    usual = False

    def attach(self) -> None:
        for switch, port in self.switches():
            own, other = self.ends(switch)
            attached.make_large(switch, port, VNI, own, other, vnis=10_000, addresses=1_000_000)


KINDS: tuple[type[Subject], ...] = (
    *(BridgeVxlan, OvsVxlan, VnetxVxlan, VnetxVxlanXdp),
    *(BridgeVxlan6, VnetxVxlan6, BridgeVxlan6Zero, VnetxVxlan6Zero, VnetxVxlanLarge),
)
#: The same switches without an overlay, by what has one: the difference is what it costs.
PLAIN = {
    BridgeVxlan.kind: BridgePair.kind,
    BridgeVxlan6.kind: BridgePair.kind,
    BridgeVxlan6Zero.kind: BridgePair.kind,
    VnetxVxlan.kind: VnetxPair.kind,
    VnetxVxlan6.kind: VnetxPair.kind,
    VnetxVxlan6Zero.kind: VnetxPair.kind,
    VnetxVxlanXdp.kind: VnetxPairXdp.kind,
}
#: What ratios are of, unless others are asked for.
AGAINST = (BridgeVxlan.kind, OvsVxlan.kind)


def added_ns(rates: Sequence[float], plain: Sequence[float]) -> list[float]:
    """Nanoseconds that a frame takes longer, by round; rates are millions of frames a second."""
    return [1000 / rate - 1000 / other for rate, other in zip(rates, plain, strict=True)]
