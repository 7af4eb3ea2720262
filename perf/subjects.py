"""The kinds of subjects: what carries the frames from host to host, built from one description.

A machine that cannot have a kind is told by :meth:`Subject.missing`, and how it is set up where
it is there by :meth:`Subject.state`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, ClassVar

from vnetx.model import Vlans
from vnetx_perf import (
    attached,
    bridges,
    endpoints,
    hooks,
    namespaces,
    openvswitch,
    overlays,
    programs,
    requirements,
    trunks,
)
from vnetx_perf.openvswitch import Daemons
from vnetx_perf.topology import Subject

# ---------------------------------------------------------------- limits


class Direct(Subject):
    """One veth pair and nothing between: the limit."""

    kind = "direct"
    title = "bare veth pair, no switch"
    limit = True
    most_hosts = 2

    def build(self) -> None:
        near, far = self.hosts
        near.ip(
            f"link add dev eth0 mtu {self.mtu} type veth"
            f" peer name eth0 mtu {self.mtu} netns {far.name}"
        )


class RedirectPeer(Subject):
    """No switch, but what a switch at TC cannot do without: each port's program calls
    bpf_redirect_peer for the other one. The limit of every one that is built on it."""

    kind = "redirect-peer"
    title = "bpf_redirect_peer alone"
    limit = True
    most_hosts = 2

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        super().__init__(hosts, mtu)
        self._attached = contextlib.ExitStack()

    @classmethod
    def missing(cls) -> str:
        return super().missing() or _lacks_redirect_peer()

    def build(self) -> None:
        self.veths_to_switch()

    def attach(self) -> None:
        assert self.switch is not None
        with self.switch.entered():
            one, other = map(socket.if_nametoindex, self.ports)
            for here, there in ((one, other), (other, one)):
                program = programs.redirect_peer(there)
                self._attached.callback(os.close, program)
                self._attached.enter_context(hooks.tc_program(program, here, "ingress"))

    def detach(self) -> None:
        self._attached.close()


def _lacks_redirect_peer() -> str:
    try:
        os.close(programs.redirect_peer(1))
    except OSError as error:
        return f"this kernel takes no program with bpf_redirect_peer ({error.strerror})"
    return ""


# ---------------------------------------------------------------- the kernel's


class Bridge(Subject):
    """The kernel's bridge, nothing of netfilter on it."""

    kind = "bridge"
    title = "kernel bridge"
    most_hosts = 1023
    devices = ("veth", "bridge")
    #: Whether frames go through iptables, ip6tables and arptables.
    netfilter: ClassVar[bool] = False

    def build(self) -> None:
        switch = self.veths_to_switch()
        self.inner = [bridges.NAME]
        bridges.make(switch, self.ports, self.mtu, netfilter=self.netfilter)

    def extra_state(self) -> dict[str, Any]:
        assert self.switch is not None
        return {"sysctls": bridges.sysctls(self.switch)}


class BridgeNetfilter(Bridge):
    """The kernel's bridge as Docker and Kubernetes want it: its IP and ARP frames pass
    netfilter's hooks, which have no rules here."""

    kind = "bridge+nf"
    title = "kernel bridge, bridge-nf-call-iptables"
    netfilter = True

    @classmethod
    def missing(cls) -> str:
        return super().missing() or requirements.lacks_bridge_netfilter()


# ---------------------------------------------------------------- Open vSwitch


class _OpenVswitch(Subject):
    """Open vSwitch as it comes, a learning switch: one bridge whose only flow is NORMAL."""

    tools = (*Subject.tools, *openvswitch.TOOLS)
    datapath: ClassVar[str]
    #: Of the database's Open_vSwitch.other_config.
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        super().__init__(hosts, mtu)
        self._daemons: Daemons | None = None

    def build(self) -> None:
        self.veths_to_switch()

    def attach(self) -> None:
        assert self.switch is not None
        self._daemons = Daemons(self.switch, self.settings)
        self._daemons.make_bridge(self.ports, self.datapath)

    def detach(self) -> None:
        if self._daemons is not None:
            self._daemons.stop()
            self._daemons = None

    def pin(self, core: int) -> None:
        assert self._daemons is not None
        self._daemons.pin(core)

    def extra_state(self) -> dict[str, Any]:
        assert self._daemons is not None
        return {"ovs": self._daemons.state()}


class Ovs(_OpenVswitch):
    """Open vSwitch with the kernel's datapath; ovs-vswitchd sees the first frame of a flow."""

    kind = "ovs"
    title = "Open vSwitch, kernel datapath"
    datapath = "system"

    @classmethod
    def missing(cls) -> str:
        return super().missing() or openvswitch.lacks_datapath()


class OvsUser(_OpenVswitch):
    """Open vSwitch with its userspace datapath: ovs-vswitchd forwards, through AF_PACKET.

    With userspace-tso-enable, which is experimental and off by default: without it this
    datapath takes no frame whose checksum is left to the device, as a veth's is, and the hosts
    would need their offloads off, which no other kind asks for.
    """

    is_process = True
    kind = "ovs-user"
    title = "Open vSwitch, userspace datapath"
    devices = ("veth", "tap")
    datapath = "netdev"
    settings: ClassVar[dict[str, str]] = {"userspace-tso-enable": "true"}


# ---------------------------------------------------------------- vnetx


class Vnetx(Subject):
    """vnetx, attached as a user does it."""

    hook: ClassVar[str]
    #: Of the ports, fields of :class:`vnetx.model.PortSettings`.
    settings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def missing(cls) -> str:
        return super().missing() or attached.missing()

    def build(self) -> None:
        self.veths_to_switch()

    def attach(self) -> None:
        assert self.switch is not None
        attached.attach(self.switch, self.hook, (self.ports, self.settings))

    def detach(self) -> None:
        if self.switch is not None:
            attached.detach(self.switch)

    def extra_state(self) -> dict[str, Any]:
        return {"hook": self.hook}


class VnetxTc(Vnetx):
    kind = "vnetx-tc"
    title = "vnetx, TC"
    hook = "tc"


class VnetxXdp(Vnetx):
    kind = "vnetx-xdp"
    title = "vnetx, XDP"
    hook = "xdp"


class VnetxAuto(Vnetx):
    kind = "vnetx-auto"
    title = "vnetx, auto"
    hook = "auto"


class VnetxVlan(VnetxTc):
    """vnetx with VLANs: access ports of one.  What tags cost as well is `vnetx-tag`'s."""

    usual = False
    kind = "vnetx-vlan"
    title = "vnetx, TC, access ports of a VLAN"
    settings: ClassVar[dict[str, Any]] = {"vlans": Vlans.access(10)}


class VnetxWire(VnetxTc):
    """A wire of vnetx: what no switch has to look at."""

    usual = False
    most_hosts = 2
    kind = "vnetx-wire"
    title = "a wire of vnetx, TC"

    def attach(self) -> None:
        assert self.switch is not None
        attached.wire(self.switch, self.hook, *self.ports)


class VnetxWireXdp(VnetxWire):
    kind = "vnetx-wire-xdp"
    title = "a wire of vnetx, XDP"
    hook = "xdp"


# ---------------------------------------------------------------- all

SUBJECTS: dict[str, type[Subject]] = {
    subject.kind: subject
    for subject in (
        Direct,
        RedirectPeer,
        Bridge,
        BridgeNetfilter,
        *endpoints.ON_NIC,
        Ovs,
        OvsUser,
        VnetxTc,
        VnetxXdp,
        VnetxAuto,
        VnetxVlan,
        *endpoints.OURS,
        VnetxWire,
        VnetxWireXdp,
        *trunks.KINDS,
        *overlays.KINDS,
        *endpoints.KINDS,
    )
}


def kind_of(name: str) -> str:
    """The kind of a subject; ``#n`` after it tells instances of one kind apart."""
    return name.partition("#")[0]


def make(name: str, **options: Any) -> Subject:
    """A subject by name.

    Raises:
        ValueError: there is none of this name.
    """
    kind = kind_of(name)
    if kind not in SUBJECTS:
        raise ValueError(f"unknown subject '{name}'; there are {', '.join(SUBJECTS)}")
    return SUBJECTS[kind](**options)


def has_leftovers() -> list[str]:
    """Names of what the harness has made, in whatever process, and that exists now."""
    return [path.name for path in namespaces.existing()]
