"""Endpoints on a NIC, the kernel's and vnetx's, and where frames between them and the wire go.

The NIC is `p1` of a :class:`Lab`, what is plugged into it is `h1` in a host's own namespace; each
endpoint has a namespace, too. Places are `wire`, `host` (what the stack hands on of the NIC), and
the endpoints by name.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from types import TracebackType

from lib.frames import BROADCAST, TEST, frame, station
from lib.topology import Lab, Node, carrier, host_mac, wait_until
from vnetx import engine

WIRE, HOST = "wire", "host"
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
#: Where markers come from.
MARKER = station(0xFFFF)
_SIZE = 60


@dataclass(frozen=True)
class Spec:
    """An endpoint: kind is "macvlan" or "ipvlan"; sources are of source mode."""

    name: str
    mode: str
    kind: str = "macvlan"
    sources: Sequence[bytes] = ()
    host_access: bool = True
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def mac(self) -> bytes:
        return station(0xE00 + int("".join(c for c in self.name if c.isdigit())))


class Nic:
    """A NIC with endpoints. A context manager."""

    def __init__(self, hook: str = "tc", *, ipv6: bool = False) -> None:
        self.hook = hook
        self.ipv6 = ipv6
        self._stack = ExitStack()
        self.lab = self._stack.enter_context(Lab())
        self.lab.add_hosts(1)
        self.lab.near.ip("addr add 192.0.2.100/24 dev p1")
        wait_until(lambda: carrier(self.lab.near, "p1"), "the NIC has a carrier")
        self.nodes: dict[str, Node] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.devices: dict[str, str] = {}
        self._sent = 0
        self.listen(WIRE, self.lab.hosts[1], "h1")
        self.listen(HOST, self.lab.near, "p1")

    def __enter__(self) -> Nic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def mac(self) -> bytes:
        """The NIC's own."""
        (shown,) = self.lab.near.json("ip", "-j", "link", "show", "dev", "p1")
        return bytes.fromhex(shown["address"].replace(":", ""))

    @property
    def peer_mac(self) -> bytes:
        """Of what is at the other end of the wire."""
        return host_mac(1)

    def listen(self, place: str, node: Node, device: str) -> None:
        """Takes what the stack hands on of a device."""
        sock = node.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TEST))
        sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        sock.setblocking(False)
        with node.entered():
            sock.bind((device, TEST))
        self.sockets[place], self.devices[place] = sock, device

    def attach(self, *, vlan_aware: bool = False) -> None:
        """Makes the NIC a port of ours."""
        with self.lab.near.entered():
            engine.attach(["p1"], hook=self.hook)
            engine.switch_set("vnetx0", vlan_aware=vlan_aware)

    def add_node(self, name: str) -> Node:
        node = self._stack.enter_context(closing(Node()))
        if self.ipv6:
            node.enable_ipv6()
        self.nodes[name] = node
        return node

    def kernel(self, *specs: Spec) -> None:
        """Endpoints of the kernel's driver."""
        for spec in specs:
            node = self.add_node(spec.name)
            self.lab.near.ip(
                f"link add name {spec.name} address {spec.mac.hex(':')} link p1 "
                f"netns {node.path_of_holder} type {spec.kind} mode {spec.mode}"
            )
            for mac in spec.sources:
                node.ip(f"link set dev {spec.name} type {spec.kind} macaddr add {mac.hex(':')}")
            self._ready(spec)

    def vnetx(self, *specs: Spec) -> None:
        """Endpoints of ours."""
        for spec in specs:
            node = self.add_node(spec.name)
            settings = {
                "kind": spec.kind,
                "parent": "p1",
                "mode": spec.mode,
                "sources": tuple(spec.sources),
                "host_access": spec.host_access,
                "netns": node.path_of_holder,
                **({"mac": spec.mac} if spec.kind == "macvlan" else {}),
                **spec.extra,
            }
            with self.lab.near.entered():
                engine.link_add(spec.name, settings, port={"hook": self.hook})
            self._ready(spec)

    def _ready(self, spec: Spec) -> None:
        node = self.nodes[spec.name]
        node.ip(f"link set dev {spec.name} up")
        wait_until(lambda: carrier(node, spec.name), f"{spec.name} has a carrier")
        self.listen(spec.name, node, spec.name)

    def send(self, place: str, data: bytes) -> None:
        """Sends a frame as somebody at that place would."""
        sock = self.sockets[place]
        name = self.devices[place]
        with suppress(OSError):  # ENOBUFS: a program of its own host dropped it
            sock.sendto(data, (name, TEST))

    def _received(self, place: str) -> Iterable[bytes]:
        while True:
            try:
                yield self.sockets[place].recv(1 << 16)
            except BlockingIOError:
                return

    def passed(self, steps: Sequence[tuple[str, bytes, bytes]]) -> list[Counter[str]]:
        """Where each frame of (place, destination, source) came out, and how often."""
        first = self._sent
        for place, dst, src in steps:
            self.send(place, self._numbered(dst, src))
        last = self._sent
        self.send(WIRE, self._numbered(BROADCAST, MARKER))
        found = [Counter[str]() for _ in steps]
        waiting = set(self.sockets) - {WIRE}

        def drained() -> bool:
            for place in self.sockets:
                for data in self._received(place):
                    (number,) = struct.unpack_from("!I", data, 14)
                    if number == last:
                        waiting.discard(place)
                    elif first <= number < last:
                        found[number - first][place] += 1
            return not waiting

        wait_until(drained, f"the marker is everywhere but at {waiting}")
        return found

    def _numbered(self, dst: bytes, src: bytes) -> bytes:
        data = dst + src + struct.pack("!HI", TEST, self._sent)
        self._sent += 1
        return data + frame(dst, src, _SIZE)[len(data) :]
