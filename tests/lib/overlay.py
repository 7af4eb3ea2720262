"""Hosts with VTEPs of the kernel around one of vnetx, and what is between them on the wire.

The hosts have an interface `under` each, in one segment that is a kernel's bridge of its own.
Host 0 is vnetx's, a :class:`Lab`; so are the others, with containers of their own behind a bridge
and vxlan devices of the kernel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from lib.dataplane import Wire
from lib.topology import KernelBridge, Lab, Node, Tap, carrier, wait_until
from vnetx import engine
from vnetx.datapath.fdb import Fdb
from vnetx.datapath.maps import SwitchMaps
from vnetx.model import Vni, unpack_address
from vnetx.state import interface_name

#: Room for what is around an inner packet of 1500 bytes, in IPv6 too.
MTU = 1600


@dataclass(frozen=True)
class Outer:
    """A packet of the underlay, taken apart.

    Attributes:
        header: IP or IPv6, without what it carries.
        udp: the same.
        raw: the outer IP packet, as it was on the wire.
    """

    ether: Packet
    header: Packet
    udp: Packet
    vxlan: bytes
    inner: bytes
    raw: bytes

    @property
    def vni(self) -> int:
        return int.from_bytes(self.vxlan[4:7])

    @classmethod
    def of(cls, frame: bytes, dstport: int) -> Outer | None:
        """None where that is no such packet."""
        ether = Ether(frame)
        header = ether.payload
        if UDP not in ether or ether[UDP].dport != dstport:
            return None
        payload = bytes(ether[UDP].payload)
        raw = frame[14 : 14 + (header.plen + 40 if IPv6 in ether else header.len)]
        return cls(ether, header, ether[UDP], payload[:8], payload[8:], raw)


def vni_add(vni: int, wanted: Vni, **which: Any) -> engine.Result:
    """Makes a VNI what `wanted` says, in all of its settings; it keeps the remotes that it has."""
    return engine.vni_add(vni, **asdict(wanted), **which)


class Overlay:
    """vnetx on `lab` and so many other hosts. A context manager.

    Args:
        family: of the underlay, 4 or 6.
        dstport: UDP port of VTEPs.
        hosts: vnetx's containers, as of :meth:`Lab.add_hosts`.
    """

    def __init__(
        self,
        lab: Lab,
        others: int = 1,
        *,
        family: int = 4,
        dstport: int = 4789,
        hook: str = "tc",
        hosts: Sequence[int] = (1, 2),
        addresses: bool = True,
    ) -> None:
        self.lab, self.family, self.dstport = lab, family, dstport
        self._stack = contextlib.ExitStack()
        self.segment = self._stack.enter_context(contextlib.closing(Node()))
        self.others = [self._stack.enter_context(Lab()) for _ in range(others)]
        self.bridge = KernelBridge(self.segment)
        self.bridge.create()
        for number, host in enumerate((lab, *self.others)):
            self.segment.ip(
                f"link add name s{number} mtu {MTU} type veth peer name under mtu {MTU} "
                f"netns {host.near.path}",
                f"link set dev s{number} up",
            )
            self.bridge.attach(f"s{number}")
            if family == 6:
                for name, value in (("accept_dad", 0), ("disable_ipv6", 0)):
                    host.near.sysctl(f"net/ipv6/conf/under/{name}", value)
            self.add_address(host.near, self.vtep(number))
            host.near.ip("link set dev under up")
            wait_until(lambda near=host.near: carrier(near, "under"), "the underlay has a carrier")
        lab.add_hosts(*hosts, addresses=addresses)
        for n in hosts:
            wait_until(lambda n=n: carrier(lab.near, f"p{n}"), f"p{n} has a carrier")
        self.switch = lab.vnetx(hook)

    def add_address(self, node: Node, address: str) -> None:
        """One more of the segment."""
        length = "64 nodad" if ":" in address else "24"
        node.ip(f"addr add {address}/{length} dev under")

    def __enter__(self) -> Overlay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def vtep(self, number: int) -> str:
        """The address of a host in the underlay."""
        return f"2001:db8:1::{number + 1:x}" if self.family == 6 else f"198.51.100.{number + 1}"

    # -------------------------------------------------------------- vnetx

    def call(self, command: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """What the library does in the namespace of the switch."""
        with self.lab.near.entered():
            return command(*args, **kw)

    def vni(
        self, vni: int, *remotes: int, vid: int = 0, switch: str | None = None, **settings: Any
    ) -> None:
        """A VNI of vnetx, flooded to these hosts."""
        settings = {"dstport": self.dstport, **settings}
        wanted = Vni(self.vtep(0), vid, tuple(map(self.vtep, remotes)), **settings)
        self.call(vni_add, vni, wanted, switch=switch or self.switch.name)

    @contextlib.contextmanager
    def maps(self) -> Iterator[SwitchMaps]:
        with self.lab.near.entered(), SwitchMaps.open(self.switch.name) as maps:
            yield maps

    def vteps(self) -> dict[int, str]:
        """Addresses by the index of their slot."""
        with self.maps() as maps:
            return {index: unpack_address(raw) for index, (raw, _) in maps.vteps().items()}

    def learned(self) -> list[str]:
        """VTEPs that nobody named."""
        with self.maps() as maps:
            first = maps.meta()["max_ports"]
        return sorted(address for index, address in self.vteps().items() if index >= first)

    def fdb(self) -> dict[tuple[bytes, int], str | None]:
        """Port, or address of the VTEP, by station and VLAN."""
        vteps = self.vteps()
        with self.maps() as maps:
            names = {i: interface_name(port["ifindex"]) for i, port in maps.ports().items()}
            return {
                (entry.mac, entry.bd): vteps.get(entry.port) or names[entry.port]
                for entry in Fdb(maps).entries()
            }

    def reasons(self) -> dict[str, dict[str, int]]:
        """What was counted of frames, by port: a name, the address of a VTEP, or `device`."""
        vteps = self.vteps()
        with self.maps() as maps:
            names = {i: interface_name(port["ifindex"]) for i, port in maps.ports().items()}
            return {
                names.get(index) or vteps.get(index) or "device": counts
                for index, counts in maps.reasons().items()
            }

    def dropped(self) -> dict[str, dict[str, int]]:
        """The same without frames that nobody was there for yet."""
        found = {
            name: {reason: n for reason, n in counts.items() if reason != "no_egress"}
            for name, counts in self.reasons().items()
        }
        return {name: counts for name, counts in found.items() if counts}

    # -------------------------------------------------------------- others

    def kernel(
        self,
        number: int,
        vni: int,
        *hosts: int,
        to: Sequence[int] = (0,),
        options: str = "",
        addresses: bool = True,
    ) -> str:
        """Another host's containers, its bridge and its vxlan device, which has a name: that."""
        other, name = self.others[number - 1], f"v{vni}"
        other.add_hosts(*hosts, addresses=addresses)
        bridge = KernelBridge(other.near, f"b{vni}")
        bridge.create()
        other.near.ip(
            f"link add {name} mtu 1500 type vxlan id {vni} dstport {self.dstport} "
            f"local {self.vtep(number)} ttl 64 {options}"
        )
        bridge.attach(name, *(f"p{n}" for n in hosts))
        for there in to:
            self.static(number, name, bytes(6), there)
        other.near.ip(f"link set dev {name} up")
        for n in hosts:
            wait_until(lambda n=n: carrier(other.near, f"p{n}"), f"p{n} has a carrier")
        return name

    def static(self, number: int, device: str, mac: bytes, there: int) -> None:
        """An entry of another host's vxlan device."""
        self.others[number - 1].near.bridge(
            f"fdb append {mac.hex(':')} dev {device} dst {self.vtep(there)}"
        )

    # -------------------------------------------------------------- packets

    def tap(self, number: int = 0) -> Tap:
        """What a host has on the underlay, in both directions, with checksums as on a wire."""
        near = (self.lab, *self.others)[number].near
        near.run("ethtool", "-K", "under", "tx", "off")
        return Tap(near, "under", everything=True)

    def sent(self, tap: Tap, number: int = 0) -> list[Outer]:
        """Encapsulated packets that a host sent since the last call."""
        found = [Outer.of(frame, self.dstport) for frame in tap.received()]
        own = self.vtep(number)
        return [outer for outer in found if outer and outer.header.src == own]

    def outer(
        self,
        inner: bytes,
        vni: int = 1000,
        *,
        number: int = 1,
        src: str = "",
        flags: int = 8,
        ecn: int = 0,
        checksum: int | None = None,
        header: bytes | None = None,
    ) -> bytes:
        """A frame that carries a packet of another host to vnetx.

        Args:
            src: its address, by default that of host `number`.
            checksum: of UDP, the right one by default.
            header: VXLAN's, in place of one with `flags` and `vni`.
        """
        ends = [
            node.json("ip", "-j", "link", "show", "dev", "under")[0]["address"]
            for node in (self.others[number - 1].near, self.lab.near)
        ]
        addresses = {"src": src or self.vtep(number), "dst": self.vtep(0)}
        ip = IPv6(**addresses, tc=ecn) if self.family == 6 else IP(**addresses, tos=ecn)
        if header is None:
            header = bytes(VXLAN(flags=flags, vni=vni))
        udp = UDP(sport=50000, dport=self.dstport, chksum=checksum) / Raw(header + inner)
        return bytes(Ether(src=ends[0], dst=ends[1]) / ip / udp)


def behind(wire: Wire, last: bytes) -> list[bytes]:
    """The frames that reached a container before `last` did, which comes the same way."""
    frames: list[bytes] = []

    def arrived() -> bool:
        frames.extend(wire.received())
        return last in frames

    wait_until(arrived, "the last frame")
    return frames[: frames.index(last)]
