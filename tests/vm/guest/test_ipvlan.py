"""Endpoints beside the kernel's ipvlan: the same packets, the same deliveries, in L2 and L3 mode.

What is meant to differ is written down in :func:`meant`.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from lib.endpoints import HOST, WIRE, Nic, Spec
from lib.frames import BROADCAST, MULTICAST, MULTICAST6
from lib.topology import Node, wait_until

pytestmark = [pytest.mark.root, pytest.mark.vm]

NAMES = ("i1", "i2", "i3")
ADDRESS = {
    WIRE: ("192.0.2.1", "2001:db8::1"),
    HOST: ("192.0.2.100", "2001:db8::64"),
    "nobody": ("192.0.2.77", "2001:db8::4d"),
    **{name: (f"192.0.2.1{name[1]}", f"2001:db8::1{name[1]}") for name in NAMES},
}
_PORT = 4711


@dataclass(frozen=True)
class Step:
    """A packet of a kind from a place, in somebody's name, to somebody: by IP and MAC address."""

    place: str
    kind: str
    source: str
    target: str
    to: str  # "nic", "wire", or a kind of group


def steps(mode: str) -> Iterator[Step]:
    everybody = [*NAMES, HOST, WIRE, "nobody"]
    kinds = ("ipv4", "ipv6", "arp-reply", "na") if mode == "l2" else ("ipv4", "ipv6")
    for place in (WIRE, HOST, *NAMES):
        for target in everybody:
            if target == place:
                continue
            for kind in kinds:
                if place != WIRE or kind in ("ipv4", "ipv6", "arp-reply"):
                    yield Step(place, kind, place, target, "nic")
                if place != WIRE:
                    yield Step(place, kind, place, target, "wire")
            if mode == "l2" or (mode == "l3" and place not in NAMES):
                yield Step(place, "arp-request", place, target, "broadcast")
                yield Step(place, "ns", place, target, "solicited")
        yield Step(place, "ipv4", place, "broadcast", "broadcast")
        yield Step(place, "ipv4", place, "multicast", "multicast")
        yield Step(place, "ipv6", place, "multicast", "multicast")
    for kind in ("ipv4", "ipv6"):  # what the wire reflects
        for source, target in (("i1", "i2"), ("i2", HOST), ("i3", "nobody")):
            yield Step(WIRE, kind, source, target, "nic")
        yield Step(WIRE, kind, "i1", "multicast", "multicast")


class Wired(Nic):
    """Packets are known again by what is behind their IP header."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.taps: dict[str, list[Listening]] = {}
        super().__init__(ipv6=True)
        near, far = self.lab.near, self.lab.hosts[1]
        near.enable_ipv6()
        near.ip("link set dev lo up", f"addr add {ADDRESS[HOST][1]}/64 dev p1 nodad")
        for address in (*ADDRESS[WIRE], *ADDRESS["nobody"]):
            near.ip(f"neigh replace {address} lladdr {self.peer_mac.hex(':')} dev p1 nud permanent")
        if mode == "l3s":  # it is the host's stack that forwards
            near.sysctl("net/ipv4/conf/p1/forwarding", 1)
            near.sysctl("net/ipv6/conf/all/forwarding", 1)
        far.ip("link set dev h1 promisc on")

    def listen(self, place: str, node: Node, device: str) -> None:
        """Everything, but of the host only what its stack has, by whatever device. In L3s mode
        what the sockets of a place have: the kernel's driver takes it from the host's stack."""
        taps = []
        for protocol in (0x0800, 0x0806, 0x86DD):
            sock = node.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
            sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
            if place != HOST:
                with node.entered():
                    sock.bind((device, protocol))
            taps.append(sock)
        self.sockets[place] = taps[0]
        self.taps[place] = [(sock, _content) for sock in taps]
        if self.mode == "l3s" and place != WIRE:
            four = node.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
            six = node.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
            self.taps[place] = [(four, lambda data: data[20:]), (six, bytes)]
        for sock, _ in self.taps[place]:
            sock.setblocking(False)

    def give_addresses(self) -> None:
        for name in NAMES:
            v4, v6 = ADDRESS[name]
            self.nodes[name].ip(
                f"addr replace {v4}/24 dev {name}", f"addr replace {v6}/64 dev {name} nodad"
            )

    def packet(self, step: Step, number: int) -> bytes:
        four, six = (ADDRESS.get(step.source, ("", ""))[n] for n in (0, 1))
        to4, to6 = ADDRESS.get(step.target, ("", ""))
        src = self.peer_mac if step.place == step.source == WIRE else self.mac
        dst = {"nic": self.mac, "wire": self.peer_mac, "broadcast": BROADCAST}.get(step.to)
        mark = Raw(b"vnetx" + struct.pack("!I", number))
        if step.kind == "ipv4":
            to4 = {"broadcast": "192.0.2.255", "multicast": "224.0.0.1"}.get(step.target, to4)
            body: Packet = (
                IP(src=four, dst=to4, ttl=64, id=1) / UDP(sport=_PORT, dport=_PORT) / mark
            )
            dst = dst or MULTICAST
        elif step.kind == "ipv6":
            to6 = {"multicast": "ff02::1"}.get(step.target, to6)
            body = IPv6(src=six, dst=to6, hlim=64) / UDP(sport=_PORT, dport=_PORT) / mark
            dst = dst or MULTICAST6
        elif step.kind.startswith("arp"):
            op = 1 if step.kind == "arp-request" else 2
            body = ARP(op=op, hwsrc=src.hex(":"), psrc=four, hwdst=(dst or b"").hex(":"), pdst=to4)
            body = body / mark
        else:
            raw = socket.inet_pton(socket.AF_INET6, to6)
            if step.kind == "ns":
                group = socket.inet_ntop(
                    socket.AF_INET6, bytes.fromhex("ff0200000000000000000001ff") + raw[13:]
                )
                dst = b"\x33\x33\xff" + raw[13:]
                body = IPv6(src=six, dst=group, hlim=255) / ICMPv6ND_NS(tgt=to6) / mark
            else:
                body = IPv6(src=six, dst=to6, hlim=255) / ICMPv6ND_NA(tgt=six) / mark
        return bytes(Ether(dst=dst, src=src) / body)

    def delivered(self, wanted: list[Step]) -> list[Counter[str]]:
        """Where each packet came out, and how often."""
        sent = [self.packet(step, number) for number, step in enumerate(wanted)]
        markers = {}
        last = len(sent)
        for place in (HOST, *NAMES):
            for group in (False, True) if self.mode == "l2" or place == HOST else (False,):
                step = Step(
                    WIRE,
                    "ipv4",
                    WIRE,
                    "broadcast" if group else place,
                    "broadcast" if group else "nic",
                )
                markers[last] = (
                    {place} if not group else {HOST, *(NAMES if self.mode == "l2" else ())}
                )
                sent.append(self.packet(step, last))
                wanted = [*wanted, step]
                last += 1
        by_content = {_content(data): number for number, data in enumerate(sent)}
        assert len(by_content) == len(sent)
        waiting = {(place, number) for number, places in markers.items() for place in places}
        found = [Counter[str]() for _ in sent]

        def collect() -> bool:
            for place, taps in self.taps.items():
                for data, address in (each for tap in taps for each in _received(*tap)):
                    number = by_content.get(data)
                    if number is None or (place == HOST and _is_for_others(address)):
                        continue
                    found[number][place] += 1
                    waiting.discard((place, number))
            return not waiting

        for step, data in zip(wanted, sent, strict=True):
            self.send_raw(step.place, data)
            collect()
        wait_until(collect, f"the markers are there but for {waiting}")
        return found[: len(sent) - len(markers)]

    def send_raw(self, place: str, data: bytes) -> None:
        name = {WIRE: "h1", HOST: "p1"}.get(place, place)
        (protocol,) = struct.unpack_from("!H", data, 12)
        with suppress(OSError):  # ENOBUFS: a program of its own host dropped it
            self.sockets[place].sendto(data, (name, protocol))


#: A socket, and what of its data is of the packet that was sent.
Listening = tuple[socket.socket, Callable[[bytes], bytes]]


def _received(
    sock: socket.socket, content: Callable[[bytes], bytes]
) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    while True:
        try:
            data, address = sock.recvfrom(1 << 16)
        except BlockingIOError:
            return
        yield content(data), address


def _is_for_others(address: tuple[object, ...]) -> bool:
    """Of a packet socket's."""
    return len(address) == 5 and address[2] == socket.PACKET_OTHERHOST


def _content(data: bytes) -> bytes:
    """What no way changes: an IP packet without its header."""
    (protocol,) = struct.unpack_from("!H", data, 12)
    return data[{0x0800: 34, 0x86DD: 54}.get(protocol, 14) :]


def meant(step: Step, theirs: Counter[str], mode: str, among: str) -> Counter[str]:
    """Where a packet goes here, by where it goes with the kernel's driver."""
    found = Counter(theirs)
    asks = step.kind in ("arp-request", "ns")
    group = step.to not in ("nic", "wire")
    sibling = step.target in NAMES
    others = dict.fromkeys({*NAMES} - {step.place}, 1)
    if step.place == HOST and step.to == "nic" and not sibling:
        return Counter()  # what the host sends to itself is not the wire's
    reflected = step.place == WIRE and step.source in NAMES
    if among == "private" and reflected and sibling and mode != "l3s":  # the host's stack does it
        return Counter()  # never, by whatever way
    if mode == "l2":
        if among == "vepa" and step.place in NAMES and step.to == "nic" and not sibling:
            return Counter({HOST: 1})  # the host is reached at once
        if step.place == WIRE and step.source == WIRE and asks and step.target in (*NAMES, HOST):
            return Counter({step.target: 1})  # who has the address is asked alone
        if step.place == WIRE and step.source in NAMES and group:
            return {
                "bridge": Counter[str](),  # all have had it
                "private": Counter[str](),
                "vepa": Counter(dict.fromkeys({*NAMES} - {step.source}, 1)),
            }[among]
        if step.place == WIRE and step.kind == "ns" and step.target == "nobody":
            found += Counter(others)  # groups are delivered, whoever has joined them
        if step.place in NAMES and group:
            found[HOST] += 1  # the host is reached
            if step.kind == "ns" and step.target in (WIRE, "nobody"):
                found = Counter({WIRE: 1, HOST: 1, **others})  # likewise
            if among != "bridge":  # nothing of others but by the wire
                found = Counter({WIRE: 1, HOST: 1})
            if asks and step.target == HOST:
                return Counter({HOST: 1})
            if asks and sibling:
                return {
                    "bridge": Counter({step.target: 1}),
                    "private": Counter[str](),
                    "vepa": Counter({WIRE: 1}),
                }[among]
        if step.place == HOST and group:
            found = Counter({WIRE: 1, **dict.fromkeys(NAMES, 1)})
            if asks and sibling:
                return Counter({step.target: 1})
        if step.place == HOST and step.to == "nic" and sibling:
            return Counter({step.target: 1})  # the host reaches its own endpoints
    if mode == "l3":
        if step.place == WIRE and asks and sibling:
            return Counter({HOST: 1})  # nobody asks for who has no neighbours
        if step.place == HOST and step.to == "nic" and sibling:
            return Counter({step.target: 1})
    if mode == "l3s":
        if step.place == HOST and step.to == "nic":
            return Counter()  # nor is what it sends to its own address an endpoint's
        if step.place in NAMES and sibling and among == "bridge":
            return Counter({step.target: 1})  # whatever MAC address it carries
    return +found


@pytest.mark.parametrize("among", ["bridge", "private", "vepa"])
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_the_same_as_the_kernel(mode: str, among: str) -> None:
    wanted = list(steps(mode))
    with Wired(mode) as nic:
        for name in NAMES:
            node = nic.add_node(name)
            nic.lab.near.ip(
                f"link add name {name} link p1 netns {node.path_of_holder} "
                f"type ipvlan mode {mode} {among}"
            )
            node.ip(f"link set dev {name} up")
            nic.listen(name, node, name)
        nic.give_addresses()
        oracle = nic.delivered(wanted)
    with Wired(mode) as nic:
        nic.attach()
        extra = {"among": among}
        for name in NAMES:
            v4, v6 = ADDRESS[name]
            more = {**extra, "addresses": (f"{v4}/24", f"{v6}/64")}
            nic.vnetx(Spec(name, mode, kind="ipvlan", extra=more))
        ours = nic.delivered(wanted)
    wrong = [
        f"{step}: kernel {dict(theirs)}, meant {dict(+expected)}, found {dict(found)}"
        for step, theirs, found in zip(wanted, oracle, ours, strict=True)
        if +(expected := meant(step, theirs, mode, among)) != +found
    ]
    assert not wrong, "\n".join([f"{len(wanted)} steps, {len(wrong)} wrong", *wrong])
