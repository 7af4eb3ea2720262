"""Four thousand ports on one switch (the kernel's bridge stops at 1,024)."""

from __future__ import annotations

import random
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lib.frames import BROADCAST, frame, station
from lib.topology import Lab, Node, Vnetx, host_mac, ipv4, ping

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.serial,
    pytest.mark.novm,  # to make the devices alone takes an emulated processor half an hour
]

PORTS = 4000
NODES = 40
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")


@dataclass
class Crowd:
    """Port p<n> leads to h<n> in one of some namespaces."""

    lab: Lab
    nodes: list[Node] = field(default_factory=list)

    def node_of(self, number: int) -> Node:
        return self.nodes[number % len(self.nodes)]

    @property
    def ports(self) -> list[str]:
        return [f"p{n}" for n in range(1, PORTS + 1)]

    def broadcast(self, number: int, data: bytes) -> Counter[str]:
        """How often each interface got a frame that h<number> sent."""
        sinks = []
        for node in self.nodes:
            sink = node.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sink.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
            sinks.append(sink)
        source = self.node_of(number).socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        source.bind((f"h{number}", 0))
        source.send(data)
        seen: Counter[str] = Counter()
        while True:
            ready, _, _ = select.select(sinks, [], [], 0.5)
            if not ready:
                break
            for sink in ready:
                received, address = sink.recvfrom(2048)
                if received == data and address[2] != 4:  # PACKET_OUTGOING
                    seen[address[0]] += 1
        for sock in (*sinks, source):
            sock.close()
        return seen


@pytest.fixture
def crowd(lab: Lab) -> Iterator[Crowd]:
    made = Crowd(lab)
    before = BACKLOG.read_text()
    # veths without NAPI share one queue per CPU, of 1000 frames by default
    BACKLOG.write_text(str(10 * PORTS))
    try:
        for _ in range(NODES):
            node = Node()
            made.nodes.append(node)
        commands: dict[int, list[str]] = {}
        for n in range(1, PORTS + 1):
            commands.setdefault(n % NODES, []).append(
                f"link add name h{n} address {host_mac(n).hex(':')} type veth "
                f"peer name p{n} netns {lab.near.path}"
            )
        for index, lines in commands.items():
            made.nodes[index].ip(*lines, *(f"link set dev {line.split()[3]} up" for line in lines))
        lab.near.ip(*(f"link set dev {port} up" for port in made.ports))
        yield made
    finally:
        BACKLOG.write_text(before)
        for node in made.nodes:
            node.close()


@pytest.mark.timeout(600)
def test_four_thousand_ports(crowd: Crowd, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    switch: Vnetx = lab.vnetx("tc")
    took = {}
    start = time.monotonic()
    switch.attach(*crowd.ports)
    took["attach"] = time.monotonic() - start
    assert set(switch.ports()) == set(crowd.ports)
    mac = switch.switch()["mac"]

    everybody = {f"h{n}" for n in range(1, PORTS + 1)}
    for number in (1, PORTS // 2, PORTS):
        seen = crowd.broadcast(number, frame(BROADCAST, station(number)))
        assert set(seen) == everybody - {f"h{number}"}
        assert set(seen.values()) == {1}, "one copy each"

    known = frame(station(1), station(PORTS))
    assert crowd.broadcast(PORTS, known) == {"h1": 1}

    random_ = random.Random(4000)
    for _ in range(10):
        here, there = random_.sample(range(1, PORTS + 1), 2)
        one, other = crowd.node_of(here), crowd.node_of(there)
        if one is other:
            continue
        one.ip(f"addr add {ipv4(1)}/24 dev h{here}")
        other.ip(f"addr add {ipv4(2)}/24 dev h{there}")
        assert ping(one, ipv4(2), count=2)
        one.ip(f"addr del {ipv4(1)}/24 dev h{here}")
        other.ip(f"addr del {ipv4(2)}/24 dev h{there}")

    switch.run("detach", *crowd.ports[:10])
    assert switch.switch()["mac"] == mac
    seen = crowd.broadcast(PORTS, frame(BROADCAST, station(PORTS)))
    assert set(seen) == everybody - {f"h{n}" for n in (*range(1, 11), PORTS)}

    start = time.monotonic()
    switch.run("detach", "--all")
    took["detach"] = time.monotonic() - start
    assert switch.json("switch", "show") == []
    assert switch.ports() == {}
    left = lab.near.json("bpftool", "-j", "net", "show")[0]
    assert not left["tc"]
    assert not left["xdp"]
    devices = {link["ifname"] for link in lab.near.json("ip", "-j", "link", "show")}
    assert devices == {"lo", *crowd.ports}
    with capsys.disabled():
        print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
