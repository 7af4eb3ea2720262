"""The kernel's bridge as the oracle: same frames in, same frames out of each port.

VLAN-unaware, without spanning tree and multicast snooping. Differences that are meant are
left out of the scenarios, and each has a test of its own at the end:

- a frame of 1515 to 1518 bytes without a tag fits no MTU of 1500 (the kernel allows any
  frame the four bytes of a tag).
"""

from __future__ import annotations

import functools
import random

import pytest
from scapy.contrib.lacp import LACP
from scapy.contrib.lldp import (
    LLDPDU,
    LLDPDUChassisID,
    LLDPDUEndOfLLDPDU,
    LLDPDUPortID,
    LLDPDUTimeToLive,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, LLC, SNAP, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from lib.frames import BROADCAST, MULTICAST, MULTICAST6, QINQ, VLAN, frame, link_local, station
from lib.oracle import HOST, PORTS, Scenario, Steps, difference, play
from lib.topology import KernelBridge, Lab, Vnetx

pytestmark = pytest.mark.root

SWITCH_MAC = bytes.fromhex("02005e7a0001")
A, B, C, D, X = (station(number) for number in (0xA, 0xB, 0xC, 0xD, 0xE))
OWN = {1: A, 2: B, 3: C, 4: D}


def learn_all() -> Steps:
    """Each host is heard once."""
    return [(n, frame(BROADCAST, OWN[n])) for n in PORTS]


def relay() -> Steps:
    return [
        (1, frame(B, A)),  # unknown
        (2, frame(A, B)),  # known
        (1, frame(B, A)),
        *learn_all(),
        *((n, frame(OWN[m], OWN[n])) for n in PORTS for m in PORTS),  # n == m: BR-07
        (1, frame(MULTICAST, A)),
        (2, frame(MULTICAST6, B)),
        (3, frame(X, C)),
        (3, frame(C, C)),  # to and from itself
    ]


def moves() -> Steps:
    steps = learn_all()
    for n in (2, 3, 4, 1, 3, 1):
        steps += [(n, frame(BROADCAST, X)), *((m, frame(X, OWN[m])) for m in PORTS)]
    return steps


def reserved() -> Steps:
    """01:80:c2:00:00:00 to 0f, and what is not of them; learning goes on (FD-35, FD-37)."""
    steps = learn_all()
    for digit in (*range(16), 0x10, 0x1F, 0x20, 0x21, 0x2F):
        source = station(0x100 + digit)
        steps += [(1, frame(link_local(digit), source)), (2, frame(source, B))]
    return steps


def reserved_tagged() -> Steps:
    return [(1, frame(link_local(digit), A, tags=(VLAN,))) for digit in (0, 1, 2, 3, 0xE, 0x10)]


def sources() -> Steps:
    """A group or zero is no source: the frame goes nowhere, and nothing is learned."""
    steps = learn_all()
    for bad in (BROADCAST, MULTICAST, MULTICAST6, bytes(6), link_local(0)):
        steps += [
            (1, frame(BROADCAST, bad)),
            (1, frame(B, bad)),
            (2, frame(bad, B)),
        ]
    return steps


def tagged() -> Steps:
    """VL-39: unknown, known and broadcast, whatever the tags; one FDB for all."""
    ends = {"src": A.hex(":"), "dst": B.hex(":")}
    stacks: list[Packet] = [
        Ether(**ends),
        Ether(**ends) / Dot1Q(vlan=0, prio=3),
        Ether(**ends) / Dot1Q(vlan=10),
        Ether(**ends) / Dot1Q(vlan=10, prio=7, id=1),
        Ether(**ends) / Dot1Q(vlan=4095),
        Ether(**ends) / Dot1AD(vlan=100),
        Ether(**ends) / Dot1AD(vlan=100) / Dot1Q(vlan=10),
        Ether(**ends) / Dot1Q(vlan=10) / Dot1Q(vlan=20),
        Ether(**ends) / Dot1AD(vlan=1) / Dot1AD(vlan=2) / Dot1Q(vlan=3),
        Ether(**ends, type=0x9100) / Raw(b"\0\x0a"),
    ]
    packets = [bytes(s / Raw(bytes(60))) for s in stacks]
    packets += [
        bytes(s / IP(src="192.0.2.1", dst="192.0.2.2") / UDP() / Raw(b"x" * 40)) for s in stacks
    ]
    steps = [(1, data) for data in packets]
    steps += [(2, frame(BROADCAST, B, tags=(VLAN,)))]
    steps += [(1, data) for data in packets]
    steps += [(1, BROADCAST + data[6:]) for data in packets]
    return steps


def sizes() -> Steps:
    lengths = (*range(14, 61), 61, 63, 64, 65, 127, 128, 1023, 1500, 1513, 1514)
    steps: Steps = []
    for length in lengths:
        steps += [
            (1, frame(BROADCAST, A, length)),
            (1, frame(B, A, length)),
            (2, frame(A, B, length)),
        ]
    # with a tag, which comes on top; one that is cut off reaches nobody
    for length in (20, 21, 22, 46, 60, 64, 1517, 1518):
        steps += [(1, frame(d, A, length, tags=(VLAN,))) for d in (BROADCAST, B)]
        if length < 1500:  # packet sockets grant the four bytes to 802.1Q alone
            steps += [(1, frame(d, A, length, tags=(QINQ,))) for d in (BROADCAST, B)]
    return steps


def two_tags_full() -> Steps:
    """1500 bytes behind two tags."""
    return [
        (2, frame(BROADCAST, B)),
        *((1, frame(d, A, 1522, tags=(QINQ, VLAN))) for d in (BROADCAST, X, B)),
    ]


def jumbo() -> Steps:
    """BR-37: 9000 on 1 and 2, 4000 on 3, 1500 on 4."""
    steps = learn_all()
    for length in (1514, 1519, 2048, 3000, 4000, 4014, 4019, 5000, 8191, 8999, 9014):
        steps += [(1, frame(BROADCAST, A, length))]
        steps += [(1, frame(OWN[m], A, length)) for m in (2, 3, 4)]
        if length <= 4014:
            steps += [(3, frame(A, C, length)), (3, frame(D, C, length))]
    steps += [(1, frame(d, A, length, tags=(VLAN,))) for d in (B, C, D) for length in (4018, 9018)]
    return steps


def protocols() -> Steps:
    """What hosts and switches say, from Scapy (BR-21)."""
    one, two = {"src": A.hex(":")}, {"src": B.hex(":"), "dst": A.hex(":")}
    everybody = Ether(**one, dst="ff:ff:ff:ff:ff:ff")
    packets: list[tuple[int, Packet]] = [
        (1, everybody / ARP(psrc="192.0.2.1", pdst="192.0.2.2", hwsrc=A.hex(":"))),
        (2, Ether(**two) / ARP(op=2, psrc="192.0.2.2", pdst="192.0.2.1", hwsrc=B.hex(":"))),
        (2, Ether(**two) / IP(src="192.0.2.2", dst="192.0.2.1") / ICMP()),
        (2, Ether(**two) / IP(src="192.0.2.2", dst="192.0.2.1") / TCP() / Raw(b"data")),
        (2, Ether(**two) / IP(src="192.0.2.2", dst="192.0.2.1") / UDP() / Raw(b"odd")),
        (2, Ether(**two) / IP(src="192.0.2.2", dst="192.0.2.1", chksum=0xDEAD) / UDP(chksum=1)),
        (2, Ether(**two) / IPv6(src="2001:db8::2", dst="2001:db8::1") / UDP() / Raw(b"six")),
        (
            1,
            Ether(**one, dst="33:33:ff:00:00:02")
            / IPv6(src="2001:db8::1", dst="ff02::1:ff00:2")
            / ICMPv6ND_NS(tgt="2001:db8::2"),
        ),
        (1, everybody / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)),
        *(
            (
                1,
                Ether(**one, dst=f"01:00:5e:00:00:{last:02x}")
                / IP(src="192.0.2.1", dst=f"224.0.0.{last}", ttl=1)
                / Raw(b"group"),
            )
            for last in (1, 2, 5, 9, 10, 12, 18, 22, 69, 251)
        ),
        (1, Dot3(**one, dst="01:80:c2:00:00:00") / LLC() / STP()),
        (1, Dot3(**one, dst="01:00:0c:cc:cc:cc") / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP()),
        (1, Ether(**one, dst="01:80:c2:00:00:02") / LACP()),
        (
            1,
            Ether(**one, dst="01:80:c2:00:00:0e", type=0x88CC)
            / LLDPDU()
            / LLDPDUChassisID(subtype=4, id=A)
            / LLDPDUPortID(subtype=5, id=b"p1")
            / LLDPDUTimeToLive(ttl=120)
            / LLDPDUEndOfLLDPDU(),
        ),
    ]
    return [(n, bytes(packet).ljust(60, b"\0")) for n, packet in packets]


def noise(count: int = 400) -> Steps:
    """Random frames; the seed is fixed."""
    random_ = random.Random(802)
    stations = [station(number) for number in range(12)]
    others = [BROADCAST, MULTICAST, MULTICAST6, bytes(6), *(link_local(d) for d in range(17))]
    steps = []
    for _ in range(count):
        source = random_.choice(stations + others[:1]) if random_.random() < 0.95 else others[3]
        target = random_.choice(stations) if random_.random() < 0.6 else random_.choice(others)
        tags = tuple(random_.choices((VLAN, QINQ), k=random_.choice((0, 0, 0, 1, 2))))
        length = random_.choice((random_.randint(24, 60), random_.randint(60, 1514)))
        proto = random_.choice(
            (0x0800, 0x0806, 0x86DD, 0x88B5, 0x0026, random_.randint(0x600, 0xFFFF))
        )
        head = frame(target, source, 0, proto, tags)
        steps.append((random_.choice(PORTS), head + random_.randbytes(max(length - len(head), 0))))
    return steps


def host_frames() -> Steps:
    """BR-23, BR-25: the switch's own interface takes part."""
    steps = learn_all()
    for n in PORTS:
        steps += [
            (n, frame(SWITCH_MAC, OWN[n])),
            (n, frame(SWITCH_MAC, OWN[n], tags=(VLAN,))),
            (n, frame(OWN[n % 4 + 1], OWN[n])),
            (n, frame(MULTICAST, OWN[n])),
        ]
    for target in (*OWN.values(), BROADCAST, MULTICAST, X):
        steps += [
            (HOST, frame(target, SWITCH_MAC)),
            (HOST, frame(target, SWITCH_MAC, tags=(VLAN,))),
        ]
    # FD-15: somebody else with the switch's address
    steps += [(1, frame(BROADCAST, SWITCH_MAC)), (2, frame(SWITCH_MAC, B))]
    return steps


SCENARIOS = (
    Scenario("relay", relay),
    Scenario("moves", moves),
    Scenario("reserved", reserved),
    Scenario("reserved-tagged", reserved_tagged),
    Scenario("sources", sources),
    Scenario("tagged", tagged),
    Scenario("sizes", sizes),
    Scenario("two-tags-full", two_tags_full, mtu={1: 1508}),
    Scenario("jumbo", jumbo, mtu={1: 9000, 2: 9000, 3: 4000}),
    Scenario("protocols", protocols),
    Scenario("noise", noise),
    Scenario("host-port", host_frames, {"mac": SWITCH_MAC}, host=True),
    Scenario("group-forward-switch", reserved, {"group_forward": 0xFFF8}),
    Scenario("group-forward-port", reserved, ports={1: {"group_forward": 0xFFFD}}),
    Scenario("no-learning", moves, ports={2: {"learning": False}}),
    Scenario(
        "no-flooding",
        relay,
        ports={
            2: {"flood_unicast": False},
            3: {"flood_multicast": False},
            4: {"flood_broadcast": False},
        },
    ),
    Scenario("isolated", relay, ports={1: {"isolated": True}, 2: {"isolated": True}}),
    Scenario("hairpin", relay, ports={1: {"hairpin": True}, 3: {"hairpin": True}}),
    Scenario(
        "mixed",
        noise,
        ports={
            1: {"hairpin": True, "isolated": True},
            2: {"isolated": True, "learning": False},
            3: {"flood_multicast": False, "group_forward": 0xC},
        },
    ),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@functools.cache
def oracle(name: str) -> list[dict[int, list[bytes]]]:
    return play(BY_NAME[name], "kernel")


@pytest.mark.parametrize("name", BY_NAME)
def test_same_frames_leave_by_the_same_ports(name: str, hook: str) -> None:
    scenario = BY_NAME[name]
    expected = oracle(name)
    assert any(expected), "the oracle forwarded nothing"
    found = play(scenario, hook)
    text = difference(scenario.steps(), expected, found)
    assert not text, text


def test_the_four_bytes_of_a_tag_are_for_a_tag(hook: str, lab: Lab) -> None:
    """Meant to differ: the kernel's bridge lets 1518 bytes without a tag pass an MTU of 1500."""
    lab.add_hosts(1, 2, addresses=False)
    lab.set_mtu(1, 9000)
    switch = lab.switch(hook)
    switch.attach("p1", "p2")
    assert lab.inject(1, frame(BROADCAST, A, 1514)) == {2: [frame(BROADCAST, A, 1514)]}
    assert lab.inject(1, frame(BROADCAST, A, 1515)) == {}
    lab.inject(2, frame(BROADCAST, B))
    assert lab.inject(1, frame(B, A, 1518)) == {}
    whole = frame(B, A, 1518, tags=(VLAN,))
    assert lab.inject(1, whole) == {2: [whole]}
    assert isinstance(switch, Vnetx)
    assert switch.ports()["p2"]["stats"]["drops"] == {"mtu": 2}


def test_the_oracle_is_the_kernels(lab: Lab) -> None:
    """The kernel's bridge runs here, and floods."""
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.switch("kernel")
    assert isinstance(switch, KernelBridge)
    switch.create()
    switch.attach("p1", "p2", "p3")
    data = frame(BROADCAST, A)
    assert lab.inject(1, data) == {2: [data], 3: [data]}
