"""What all subjects have in common: hosts, their addresses, their state, their connections.

A subject (:mod:`vnetx_perf.subjects` has the kinds) is hosts in namespaces of their own
(``hosts[n]``, interface ``eth0``) and, between them, a namespace with whatever forwards.  MTU,
queues and offloads are the kernel's defaults everywhere; what a subject needs otherwise stands
in its :meth:`Subject.state`.  Neighbours are permanent and IPv6 is off, so that nothing but the
probe's frames is on the way.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Any, ClassVar

from vnetx_perf import requirements
from vnetx_perf.namespaces import Namespace
from vnetx_perf.requirements import Tool

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
#: XDP_ATTACHED_* of linux/if_link.h.
_XDP_MODES = {1: "native", 2: "generic", 3: "offloaded", 4: "several"}
#: Hosts that know each other, and hosts and ports that state() tells of.
_MOST_NEIGHBOURS = 64
_MOST_IN_STATE = 2


def host_address(index: int) -> str:
    """The IPv4 address of a host, of 198.18.0.0/15."""
    return f"{_NETWORK}.{index // 250}.{index % 250 + 1}"


def host_mac(index: int) -> bytes:
    """The MAC address that a host gets where hosts have one of their own."""
    return bytes([0x02, 0x00, 0x5E, 0, *divmod(index + 1, 256)])


class Subject:
    """A topology; a context manager.

    Attributes:
        kind: its name on the command line.
        title: its name for people.
        limit: whether it is no switch but what one cannot be faster than.
        is_process: whether frames are forwarded by a process and not by the kernel.
        group: name of the benchmark whose own it is: two switches with something between them, and
            not one, are compared with their like. Empty for all others.
        usual: whether it is measured where no subject is named.
        takes_live_frames: whether a host's eth0 has ndo_xdp_xmit, so that XDP live frames can
            be sent out of it.
        live_frames_want_xdp: whether that needs an XDP program on it, as drivers of NICs do.
        tools: commands that it needs.
        devices: kinds of devices, as ip(8) names them, that it needs.
        hosts: the namespaces of the hosts.
        switch: the namespace of what forwards, None for none.
        ports: names of its ports in :attr:`switch`, in the order of the hosts.
        inner: names of other devices in :attr:`switch` that frames pass.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    limit: ClassVar[bool] = False
    is_process: ClassVar[bool] = False
    group: ClassVar[str] = ""
    usual: ClassVar[bool] = True
    takes_live_frames: ClassVar[bool] = True
    live_frames_want_xdp: ClassVar[bool] = False
    most_hosts: ClassVar[int] = 4096
    tools: ClassVar[tuple[Tool, ...]] = (Tool("ip", "iproute2"), Tool("ethtool", "ethtool"))
    devices: ClassVar[tuple[str, ...]] = ("veth",)

    def __init__(self, hosts: int = 2, mtu: int = 1500) -> None:
        if not 2 <= hosts <= self.most_hosts:
            raise ValueError(f"{self.kind}: 2 to {self.most_hosts} hosts, not {hosts}")
        self.mtu = mtu
        self.count = hosts
        self.hosts: list[Namespace] = []
        self.switch: Namespace | None = None
        self.ports: list[str] = []
        self.inner: list[str] = []

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks for this kind, and the remedy, in a sentence; "" for nothing.

        It is tried out, in a namespace that is gone afterwards.
        """
        return requirements.lacks_tools(cls.tools) or requirements.lacks_devices(cls.devices)

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
            host.ip(*self.host_commands(index))

    def converge(self) -> None:
        """Lets every host be learned: each sends one datagram to its neighbour.

        A bridge's port forwards once the kernel has seen to its carrier, for some a second later:
        for both ends of a trunk that have the same number.
        """
        for namespace, names in self._devices(self._known):
            namespace.wait_until_up(names)
        for index, host in enumerate(self.hosts):
            with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"\0", (host_address((index + 1) % self._known), 9))

    def pin(self, core: int) -> None:
        """Keeps what forwards in processes of its own on one CPU.

        The kernel forwards where the sender runs, and needs nothing.
        """

    # ------------------------------------------------------------ addresses

    def mac(self, index: int) -> bytes:
        """The MAC address that frames to a host carry, and its frames come from."""
        return host_mac(index)

    def link_options(self, index: int) -> str:
        """Options of ip-link(8) for a host's eth0, beside its MTU."""
        return f"address {self.mac(index).hex(':')}"

    def neighbours(self, index: int) -> list[int]:
        """The hosts whose MAC addresses a host has to know."""
        return [other for other in range(self._known) if other != index]

    def host_commands(self, index: int) -> Iterator[str]:
        """Commands of ip(8) that make a host's eth0 ready: addresses, MTU, neighbours."""
        yield f"link set dev eth0 {self.link_options(index)} mtu {self.mtu} up"
        yield f"address add {host_address(index)}/15 dev eth0"
        for other in self.neighbours(index):
            yield (
                f"neighbour replace {host_address(other)} lladdr {self.mac(other).hex(':')}"
                " nud permanent dev eth0"
            )

    @property
    def _known(self) -> int:
        return min(self.count, _MOST_NEIGHBOURS)

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
        """How it is set up now.

        Returns:
            ``devices``: by namespace and name, of the first hosts, their ports and what is
            between them, MTU, queue discipline, kind, mode, XDP mode and offloads. Beside it
            what :meth:`extra_state` adds: sysctls, hooks, versions.
        """
        devices: dict[str, Any] = {}
        for namespace, names in self._devices(_MOST_IN_STATE):
            with namespace.entered():
                for name in names:
                    devices[f"{namespace.role}/{name}"] = _device_state(name)
        return {"devices": devices, **self.extra_state()}

    def _devices(self, most: int) -> Iterator[tuple[Namespace, list[str]]]:
        """Of the first hosts, their ports and what is between them."""
        for host in self.hosts[:most]:
            yield host, ["eth0"]
        if self.switch is not None:
            yield self.switch, self.ports[:most] + self.inner

    def extra_state(self) -> dict[str, Any]:
        """What matters of this kind beside its devices."""
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
    """A device of the calling thread's namespace; None for what it does not have."""
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
    info = link.get("linkinfo", {})
    mode = link.get("xdp", {}).get("mode")
    return {
        "mtu": link["mtu"],
        "qdisc": link.get("qdisc"),
        "kind": info.get("info_kind"),
        "mode": info.get("info_data", {}).get("mode"),
        "xdp": _XDP_MODES.get(mode, mode),
        "offloads": {feature: found.get(feature) for feature in _FEATURES},
    }
