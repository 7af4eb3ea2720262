"""Subjects: what carries the frames from host to host, each built from one description.

A subject is hosts in namespaces of their own (``hosts[n]``, interface ``eth0``)
and, between them, a namespace with whatever forwards.  MTU, queues and offloads
are the kernel's defaults for veth everywhere; what a subject needs otherwise
stands in its :meth:`Subject.state`.  Neighbours are permanent and IPv6 is off,
so that nothing but the probe's frames is on the way.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from vnetx import _bpf, engine
from vnetx_perf import programs
from vnetx_perf.namespaces import Namespace, run_in

#: RFC 2544's own addresses.
_NETWORK = "198.18"
_FEATURES = (
    "tx-checksumming",
    "scatter-gather",
    "tcp-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "rx-vlan-offload",
    "tx-vlan-offload",
)
_PORT = 4789 + 1000


def host_address(index: int) -> str:
    return f"{_NETWORK}.{index // 250}.{index % 250 + 1}"


def host_mac(index: int) -> bytes:
    return bytes([0x02, 0x00, 0x5E, 0, *divmod(index + 1, 256)])


class Subject:
    """A topology; a context manager.

    Attributes:
        kind: its name on the command line.
        hosts: the namespaces of the hosts.
        switch: the namespace of what forwards, None for none.
        ports: names of its ports in :attr:`switch`, in the order of the hosts.
    """

    kind: ClassVar[str]
    most_hosts: ClassVar[int] = 4096

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        if not 2 <= hosts <= self.most_hosts:
            raise ValueError(f"{self.kind}: 2 to {self.most_hosts} hosts, not {hosts}")
        self.mtu = mtu
        self.count = hosts
        self.hosts: list[Namespace] = []
        self.switch: Namespace | None = None
        self.ports: list[str] = []

    # ------------------------------------------------------------ life

    def __enter__(self) -> Subject:
        try:
            for index in range(self.count):
                self.hosts.append(Namespace(f"h{index}"))
            self.build()
            self._configure_hosts()
            self.attach()
            self.converge()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def build(self) -> None:
        """Makes the devices: every host's eth0 and what is between them."""
        raise NotImplementedError

    def attach(self) -> None:
        """Makes the ports forward; by then every device is up."""

    def detach(self) -> None:
        """Undoes :meth:`attach`."""

    def remove(self) -> None:
        with contextlib.suppress(Exception):
            self.detach()
        for namespace in (*self.hosts, *([self.switch] if self.switch else ())):
            namespace.delete()
        self.hosts, self.switch = [], None

    def _configure_hosts(self) -> None:
        for index, host in enumerate(self.hosts):
            host.ip(
                f"link set dev eth0 address {host_mac(index).hex(':')} mtu {self.mtu} up",
                f"address add {host_address(index)}/15 dev eth0",
                *(
                    f"neighbour replace {host_address(other)} lladdr {host_mac(other).hex(':')}"
                    " nud permanent dev eth0"
                    for other in range(min(self.count, 64))
                    if other != index
                ),
            )

    def converge(self) -> None:
        """Lets every host be learned: each sends one datagram to its neighbour."""
        for index, host in enumerate(self.hosts):
            with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"\0", (host_address((index + 1) % min(self.count, 64)), 9))

    # ------------------------------------------------------------ parts

    def veths_to_switch(self) -> Namespace:
        """A namespace with a port ``p<n>`` for each host, veth peer of its eth0."""
        self.switch = Namespace("sw")
        self.ports = [f"p{index}" for index in range(self.count)]
        self.switch.ip(
            *(
                f"link add dev {port} mtu {self.mtu} type veth"
                f" peer name eth0 mtu {self.mtu} netns {host.name}"
                for port, host in zip(self.ports, self.hosts, strict=True)
            ),
            *(f"link set dev {port} up" for port in self.ports),
        )
        return self.switch

    # ------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """MTU, queue discipline and offloads of the devices, and sysctls that matter."""
        devices: dict[str, Any] = {}
        for namespace, names in ((self.hosts[0], ["eth0"]), (self.switch, self.ports[:1])):
            if namespace is None:
                continue
            with namespace.entered():
                for name in names:
                    devices[f"{namespace.role}/{name}"] = _device_state(name)
        return {"devices": devices, **self.extra_state()}

    def extra_state(self) -> dict[str, Any]:
        return {}

    # ------------------------------------------------------------ connections

    def tcp(self, client: int = 0, server: int = 1) -> tuple[socket.socket, socket.socket]:
        """A TCP connection between two hosts as (client's end, server's end)."""
        with self.hosts[server].entered():
            listener = socket.create_server((host_address(server), 0))
        with listener:
            with self.hosts[client].entered():
                near = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            near.settimeout(5)
            listener.settimeout(5)
            try:
                near.connect((host_address(server), listener.getsockname()[1]))
                far, _ = listener.accept()
            except OSError:
                near.close()
                raise
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The machine's default may be one that paces by a model of the path (bbr).
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        return near, far

    def udp(self, client: int = 0, server: int = 1) -> tuple[socket.socket, socket.socket]:
        """Connected UDP sockets of two hosts as (client's, server's)."""
        ends = []
        for index in (client, server):
            with self.hosts[index].entered():
                end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.bind((host_address(index), 0))
            ends.append(end)
        near, far = ends
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        return near, far


def _device_state(name: str) -> dict[str, Any]:
    features = subprocess.run(
        ["ethtool", "-k", name], capture_output=True, text=True, check=False
    ).stdout
    found = dict(re.findall(r"^([\w-]+): (on|off)", features, re.MULTILINE))
    link = json.loads(
        subprocess.run(
            ["ip", "-json", "-details", "link", "show", "dev", name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )[0]
    return {
        "mtu": link["mtu"],
        "qdisc": link.get("qdisc"),
        "kind": link.get("linkinfo", {}).get("info_kind"),
        "xdp": link.get("xdp", {}).get("mode"),
        "offloads": {feature: found.get(feature) for feature in _FEATURES},
    }


# ---------------------------------------------------------------- the subjects


class Direct(Subject):
    """One veth pair and nothing between: the limit."""

    kind = "direct"
    most_hosts = 2

    def build(self) -> None:
        near, far = self.hosts
        near.ip(
            f"link add dev eth0 mtu {self.mtu} type veth"
            f" peer name eth0 mtu {self.mtu} netns {far.name}"
        )


class Bridge(Subject):
    """The kernel's bridge, nothing of netfilter on it."""

    kind = "bridge"
    most_hosts = 1023
    _NF = tuple(f"net/bridge/bridge-nf-call-{table}tables" for table in ("ip", "ip6", "arp"))

    def build(self) -> None:
        switch = self.veths_to_switch()
        switch.ip(
            f"link add dev br0 mtu {self.mtu} type bridge stp_state 0 forward_delay 0",
            *(f"link set dev {port} master br0" for port in self.ports),
            "link set dev br0 up",
        )
        with switch.entered():
            for name in self._NF:
                switch.sysctl(name, "0")

    def extra_state(self) -> dict[str, Any]:
        switch = self.switch
        assert switch is not None
        with switch.entered():
            return {"sysctls": {name: switch.sysctl(name) for name in self._NF}}


class Macvlan(Subject):
    """macvlan devices in bridge mode, on a veth that leads nowhere."""

    kind = "macvlan"

    def build(self) -> None:
        self.switch = Namespace("sw")
        self.switch.ip(
            f"link add dev lower mtu {self.mtu} type veth peer name nowhere mtu {self.mtu}",
            "link set dev lower up",
            "link set dev nowhere up",
            *(
                f"link add link lower name eth0 mtu {self.mtu} netns {host.name}"
                " type macvlan mode bridge"
                for host in self.hosts
            ),
        )


class RedirectPeer(Subject):
    """No switch, but what a switch at TC cannot do without: each port's program calls
    bpf_redirect_peer for the other one. The limit of every one that is built on it."""

    kind = "redirect-peer"
    most_hosts = 2

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        super().__init__(hosts, mtu)
        self._links: list[int] = []

    def build(self) -> None:
        self.veths_to_switch()

    def attach(self) -> None:
        assert self.switch is not None
        with self.switch.entered():
            one, other = map(socket.if_nametoindex, self.ports)
            for here, there in ((one, other), (other, one)):
                program = programs.redirect_peer(there)
                try:
                    self._links.append(_bpf.link_create(program, here, _bpf.ATTACH_TCX_INGRESS))
                finally:
                    os.close(program)

    def detach(self) -> None:
        while self._links:
            os.close(self._links.pop())


def _attach(ports: list[str], hook: str) -> None:
    engine.attach(ports, hook=hook)


def _detach() -> None:
    engine.detach([], every=True)


class Vnetx(Subject):
    """vnetx, attached as a user does it."""

    hook: ClassVar[str]

    def build(self) -> None:
        self.veths_to_switch()

    def attach(self) -> None:
        assert self.switch is not None
        run_in(self.switch, _attach, self.ports, self.hook)

    def detach(self) -> None:
        if self.switch is not None:
            run_in(self.switch, _detach)

    def extra_state(self) -> dict[str, Any]:
        return {"hook": self.hook}


class VnetxTc(Vnetx):
    kind = "vnetx-tc"
    hook = "tc"


class VnetxXdp(Vnetx):
    kind = "vnetx-xdp"
    hook = "xdp"


class VnetxAuto(Vnetx):
    kind = "vnetx-auto"
    hook = "auto"


SUBJECTS: dict[str, type[Subject]] = {
    subject.kind: subject
    for subject in (Direct, RedirectPeer, Bridge, Macvlan, VnetxTc, VnetxXdp, VnetxAuto)
}


def make(name: str, **options: Any) -> Subject:
    """A subject by name; ``#n`` after it tells instances of one kind apart.

    Raises:
        ValueError: there is none of this name.
    """
    kind = name.partition("#")[0]
    if kind not in SUBJECTS:
        raise ValueError(f"unknown subject '{name}'; there are {', '.join(SUBJECTS)}")
    return SUBJECTS[kind](**options)


def has_leftovers() -> list[str]:
    """Namespaces of the harness, of whatever process, that exist now."""
    return sorted(path.name for path in Path("/run/netns").glob("vnetxperf-*"))
