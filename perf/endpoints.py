"""Subjects of endpoints on one NIC: containers among themselves, and a container and a wire.

The NIC is a veth. Among themselves its peer leads nowhere; from a wire its peer is the eth0 of
the first host, what is plugged in, and the second host is a container with an endpoint.
"""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

from vnetx_perf import attached, cables
from vnetx_perf.cables import Cable
from vnetx_perf.namespaces import Namespace
from vnetx_perf.topology import Subject, host_mac

NIC = "lower"
#: Of the NIC.
_MAC = bytes([0x02, 0x00, 0x5E, 0xFF, 0, 0])
#: Of the host there, where it needs one.
_HOST = "192.0.2.1/24"


class OnNic(Subject):
    """Containers with an endpoint each, and nobody on the wire. It has no ndo_xdp_xmit.

    Attributes:
        first: the first host that is a container.
        others: endpoints beside theirs, in the NIC's own namespace.
    """

    takes_live_frames = False
    first: ClassVar[int] = 0
    others: ClassVar[int] = 0

    def build(self) -> None:
        self.switch = Namespace("sw")
        self.inner = [NIC]
        self.make_nic(self.switch)
        self.switch.ip(f"link set dev {NIC} address {_MAC.hex(':')} mtu {self.mtu} up")
        self.plug_in(self.switch)
        self.make_endpoints(self.switch)

    def make_nic(self, switch: Namespace) -> None:
        """Makes the NIC and what it is connected to."""
        switch.ip(f"link add dev {NIC} mtu {self.mtu} type veth {self.peer()}")

    def peer(self) -> str:
        """What the other end of the NIC is, for ip-link(8)."""
        return f"peer name nowhere mtu {self.mtu}"

    def plug_in(self, switch: Namespace) -> None:
        """Sets it up."""
        switch.ip("link set dev nowhere up")

    def make_endpoints(self, switch: Namespace) -> None:
        """Makes the containers' eth0."""
        raise NotImplementedError


class FromWire(OnNic):
    """A host at the other end of the NIC, and containers with endpoints."""

    group = "endpoint"
    takes_live_frames = True
    first = 1

    def build(self) -> None:
        self.ports = [NIC]
        super().build()

    def peer(self) -> str:
        return f"peer name eth0 mtu {self.mtu} netns {self.hosts[0].name}"

    def plug_in(self, switch: Namespace) -> None:  # noqa: ARG002
        # vnetx knows the address that it has when the NIC is attached
        self.hosts[0].ip(f"link set dev eth0 {self.link_options(0)} up")


class FromCable(FromWire):
    """The same where the wire is a cable between two NICs of this machine (:mod:`cables`)."""

    usual = False
    live_frames_want_xdp = True
    _cable: Cable | None = None

    @classmethod
    def missing(cls) -> str:
        return super().missing() or cables.lacking()

    def make_nic(self, switch: Namespace) -> None:
        self.take_cable(switch, NIC)

    def take_cable(self, near: Namespace, name: str) -> None:
        """The NIC that is attached goes there, under that name; the first host has the other."""
        self._ends = (near, name), (self.hosts[0], "eth0")
        self._cable = cables.take()
        self._cable.plug(*self._ends)

    def remove(self) -> None:
        if self._cable:
            with contextlib.suppress(Exception):
                self.detach()
            self._cable.unplug(*self._ends)
            self._cable = None
        super().remove()


class DirectCable(FromCable):
    """The limit: the container has the NIC for itself."""

    kind = "direct-cable"
    title = "a cable, its NIC in the container"
    most_hosts = 2

    def build(self) -> None:
        self.take_cable(self.hosts[1], "eth0")


class Kernel(OnNic):
    """The kernel's own devices."""

    #: What ip-link(8) takes after "type".
    options: ClassVar[str]

    def make_endpoints(self, switch: Namespace) -> None:
        common = f"link add link {NIC} mtu {self.mtu}"
        switch.ip(
            *(
                f"{common} name eth0 netns {host.name} type {self.options}"
                for host in self.hosts[self.first :]
            ),
            *(f"{common} name other{n} up type {self.options}" for n in range(self.others)),
        )


class Macvlan(Kernel):
    """macvlan devices in bridge mode."""

    kind = "macvlan"
    title = "macvlan, bridge mode"
    devices = ("veth", "macvlan")
    options = "macvlan mode bridge"


class MacvlanWire(FromWire, Macvlan):
    kind = "macvlan-wire"
    title = "a wire and macvlan, bridge mode"


class MacvlanCable(FromCable, Macvlan):
    usual = False
    kind = "macvlan-cable"
    title = "a cable and macvlan, bridge mode"


class OneMac(OnNic):
    """Endpoints that have their NIC's MAC address."""

    def mac(self, index: int) -> bytes:
        return super().mac(index) if index < self.first else _MAC

    def link_options(self, index: int) -> str:
        return super().link_options(index) if index < self.first else ""


class _Ipvlan(OneMac, Kernel):
    """ipvlan devices in bridge mode."""

    devices = ("veth", "ipvlan")


class IpvlanL2(_Ipvlan):
    """ipvlan in L2 mode: hosts have neighbours, frames are told apart by IP address."""

    kind = "ipvlan-l2"
    title = "ipvlan, L2 mode"
    options = "ipvlan mode l2 bridge"


class IpvlanL3(_Ipvlan):
    """ipvlan in L3 mode: no ARP, the parent routes."""

    kind = "ipvlan-l3"
    title = "ipvlan, L3 mode"
    options = "ipvlan mode l3 bridge"

    def neighbours(self, index: int) -> list[int]:  # noqa: ARG002
        return []


class Vnetx(OnNic):
    """vnetx's endpoints, made as a user does it. They are veths."""

    takes_live_frames = True
    hook: ClassVar[str] = "tc"
    settings: ClassVar[dict[str, Any]] = {"kind": "macvlan"}

    @classmethod
    def missing(cls) -> str:
        return super().missing() or attached.missing()

    def make_endpoints(self, switch: Namespace) -> None:
        self.ports = self.ports or [f"vx-e{index}" for index in range(self.first, self.count)]
        common = {**self.settings, "mtu": self.mtu}
        containers = {f"e{n}": self.hosts[n] for n in range(self.first, self.count)}
        endpoints = {
            name: {**common, "mac": self.own_mac(int(name[1:])), "netns": host.name}
            for name, host in containers.items()
        }
        endpoints |= {f"other{number}": common for number in range(self.others)}
        attached.attach_with_endpoints(switch, self.hook, NIC, endpoints)
        for name, host in containers.items():
            host.ip(f"link set dev {name} down", f"link set dev {name} name eth0")

    def own_mac(self, index: int) -> bytes | None:
        """The address that an endpoint is given."""
        return host_mac(index)

    def detach(self) -> None:
        if self.switch is not None:
            attached.detach(self.switch)

    def extra_state(self) -> dict[str, Any]:
        return {"hook": self.hook}


class VnetxMacvlan(Vnetx):
    kind = "vnetx-macvlan"
    usual = False
    title = "vnetx, endpoints in bridge mode, TC"


class VnetxMacvlanWire(FromWire, VnetxMacvlan):
    usual = True
    kind = "vnetx-macvlan-wire"
    title = "a wire and vnetx, an endpoint in bridge mode, TC"


class VnetxMacvlanWireXdp(VnetxMacvlanWire):
    kind = "vnetx-macvlan-wire-xdp"
    title = "a wire and vnetx, an endpoint in bridge mode, XDP"
    hook = "xdp"


class VnetxMacvlanCable(FromCable, VnetxMacvlan):
    kind = "vnetx-macvlan-cable"
    title = "a cable and vnetx, an endpoint in bridge mode, TC"


class VnetxMacvlanCableXdp(VnetxMacvlanCable):
    kind = "vnetx-macvlan-cable-xdp"
    title = "a cable and vnetx, an endpoint in bridge mode, XDP"
    hook = "xdp"


class VnetxIpvlanL2(OneMac, Vnetx):
    kind = "vnetx-ipvlan-l2"
    title = "vnetx, endpoints with the NIC's MAC address, L2 mode"
    usual = False
    settings: ClassVar[dict[str, Any]] = {"kind": "ipvlan", "mode": "l2"}

    def make_endpoints(self, switch: Namespace) -> None:
        switch.ip(f"address add {_HOST} dev {NIC}")
        super().make_endpoints(switch)

    def own_mac(self, index: int) -> bytes | None:  # noqa: ARG002
        return None


class VnetxIpvlanL3(VnetxIpvlanL2):
    kind = "vnetx-ipvlan-l3"
    title = "vnetx, endpoints with the NIC's MAC address, L3 mode"
    settings: ClassVar[dict[str, Any]] = {"kind": "ipvlan", "mode": "l3"}

    def neighbours(self, index: int) -> list[int]:  # noqa: ARG002
        return []


class MacvlanWireLarge(MacvlanWire):
    """The same with a thousand endpoints on the NIC."""

    kind = "macvlan-wire-large"
    title = "a wire and macvlan, bridge mode, 1,000 endpoints"
    usual = False
    others = 999


class VnetxMacvlanWireLarge(VnetxMacvlanWire):
    """The same with a thousand endpoints on the NIC."""

    kind = "vnetx-macvlan-wire-large"
    title = "a wire and vnetx, an endpoint in bridge mode, TC, 1,000 endpoints"
    usual = False
    others = 999


#: The kernel's that are compared with switches.
ON_NIC: tuple[type[Subject], ...] = (Macvlan, IpvlanL2, IpvlanL3)
OURS: tuple[type[Subject], ...] = (VnetxMacvlan, VnetxIpvlanL2, VnetxIpvlanL3)
#: Those between a wire and an endpoint.
KINDS: tuple[type[Subject], ...] = (
    *(MacvlanWire, VnetxMacvlanWire, VnetxMacvlanWireXdp),
    *(MacvlanWireLarge, VnetxMacvlanWireLarge),
    *(DirectCable, MacvlanCable, VnetxMacvlanCable, VnetxMacvlanCableXdp),
)
#: What ratios are of, unless others are asked for.
AGAINST = (MacvlanWire.kind,)
