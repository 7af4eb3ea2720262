"""VXLAN with the kernel's own at the other end, and packets byte by byte."""

from __future__ import annotations

import contextlib
import platform
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import permutations, product

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lib.dataplane import Wire
from lib.frames import BROADCAST, MULTICAST, MULTICAST6, QINQ, TEST, VLAN, frame, station, tag
from lib.overlay import MTU, Outer, Overlay, behind
from lib.topology import (
    Lab,
    Node,
    Tap,
    checksum,
    dhcp_lease,
    dhcp_server,
    host_mac,
    ipv4,
    ipv6,
    neighbours_forgotten,
    ping,
    tcp_test,
    wait_until,
)
from vnetx import engine, state
from vnetx.errors import VnetxError

pytestmark = pytest.mark.root

FAMILIES = (4, 6)
_SO_RCVMARK = 75
PORTS = (4789, 8472)


@pytest.fixture
def overlay() -> Iterator[Callable[..., Overlay]]:
    """vnetx and others in a segment."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kw: stack.enter_context(
            Overlay(stack.enter_context(Lab()), *args, **kw)
        )


def hosts(made: Overlay) -> dict[int, Node]:
    """Containers by number, vnetx's and others'."""
    return {n: node for lab in (made.lab, *made.others) for n, node in lab.hosts.items()}


# ---------------------------------------------------------------- real stacks


@pytest.mark.parametrize(
    ("family", "learning", "dstport", "aware"),
    [  # each two of them in all ways
        (4, True, 4789, False),
        (4, False, 8472, True),
        (4, True, 8472, True),
        (6, True, 8472, False),
        (6, False, 4789, False),
        (6, True, 4789, True),
        (6, False, 8472, True),
        (4, False, 4789, True),
    ],
)
def test_hosts_reach_each_other(
    overlay: Callable[..., Overlay], family: int, learning: bool, dstport: int, aware: bool
) -> None:
    """VX-10, VX-29, VX-35: h1, h2 behind vnetx, h11, h12 behind the kernel; with VLANs h1 and h11
    are in one, h2 and h12 in another."""
    made = overlay(family=family, dstport=dstport)
    mode = "learning" if learning else "nolearning"
    if aware:
        made.switch.attach("p1", access=10)
        made.switch.attach("p2", access=20)
        networks = {1000: (1, 11), 2000: (2, 12)}
    else:
        made.switch.attach("p1", "p2")
        networks = {1000: (1, 2, 11, 12)}
    for vni, members in networks.items():
        made.vni(vni, 1, vid=vni // 100 if aware else 0)
        device = made.kernel(1, vni, *(n for n in members if n > 10), options=mode)
        for n in members:
            if not learning and n < 10:
                made.static(1, device, host_mac(n), 0)
    nodes = hosts(made)
    for here, there in ((1, 11), (11, 1), (2, 12), (12, 2)):
        for address, header in ((ipv4, 28), (ipv6, 48)):
            assert ping(nodes[here], address(there)), (here, there)
            assert ping(nodes[here], address(there), size=3200)
            full = ping(nodes[here], address(there), size=1500 - header, options=("-M", "do"))
            assert full, "1500 bytes and what is around them fit the underlay"
    tcp_test(nodes[1], nodes[11], ipv4(11), megabytes=4)
    tcp_test(nodes[12], nodes[2], ipv6(2), megabytes=4)
    assert ping(nodes[1], ipv4(12), options=("-W", "0.2")) is not aware
    assert made.dropped() == {}
    assert made.learned() == []


def test_a_vtep_that_nobody_named(overlay: Callable[..., Overlay]) -> None:
    """What comes from it is learned; answers go to it alone, floods to nobody."""
    made = overlay(2)
    made.switch.attach("p1")
    made.vni(1000, dev="under")
    made.kernel(1, 1000, 11)
    made.kernel(2, 1000, 21, to=())
    nodes = hosts(made)
    tap = made.tap()
    assert not ping(nodes[1], ipv4(11), options=("-W", "0.2")), "nobody to flood to"
    assert made.sent(tap) == []
    for address in (ipv4, ipv6):
        assert ping(nodes[11], address(1))
    tcp_test(nodes[1], nodes[11], ipv4(11), megabytes=1)
    assert made.learned() == [made.vtep(1)]
    assert made.fdb()[host_mac(11), 0] == made.vtep(1)
    assert {outer.header.dst for outer in made.sent(tap)} == {made.vtep(1)}
    # it is named, and keeps no number of its own
    made.call(engine.vni_remote_add, 1000, [made.vtep(1)])
    assert (made.learned(), list(made.vteps().values())) == ([], [made.vtep(1)])
    neighbours_forgotten(nodes[1])
    assert ping(nodes[1], ipv4(11))


def test_a_multicast_group(overlay: Callable[..., Overlay]) -> None:
    """VX-31: joined by the kernel, flooded to once, left with the VNI; unicast has one way."""
    group = "239.1.1.1"
    made = overlay(2)
    made.switch.attach("p1")
    for host in (made.lab, *made.others):
        host.near.ip("route add 224.0.0.0/4 dev under")
    tap = made.tap()
    made.vni(1000, group=group)
    joined = made.lab.near.json("ip", "-j", "maddr", "show", "dev", "under")[0]["maddr"]
    assert group in {each.get("address") for each in joined}
    wait_until(
        lambda: any(IP in r and r[IP].proto == 2 for r in map(Ether, tap.received())), "IGMP"
    )
    for number in (1, 2):
        made.kernel(number, 1000, 10 * number + 1, to=(), options=f"group {group} dev under")
    nodes = hosts(made)
    made.sent(tap)
    for here, there in permutations((1, 11, 21), 2):
        assert ping(nodes[here], ipv4(there)), (here, there)
    sent = made.sent(tap)
    flooded = [packet for packet in sent if packet.header.dst == group]
    assert all(packet.inner[0] & 1 for packet in flooded), "groups and broadcast alone"
    assert {packet.ether.dst for packet in flooded} == {"01:00:5e:01:01:01"}
    assert {packet.header.dst for packet in sent} == {group, made.vtep(1), made.vtep(2)}
    assert made.learned() == [made.vtep(1), made.vtep(2)]
    made.call(engine.vni_add, 1000, remotes=[made.vtep(1)], group=None)
    joined = made.lab.near.json("ip", "-j", "maddr", "show", "dev", "under")[0]["maddr"]
    assert group not in {each.get("address") for each in joined}
    neighbours_forgotten(nodes[1])
    assert ping(nodes[1], ipv4(11))


def test_marks_are_carried(overlay: Callable[..., Overlay]) -> None:
    """Group policy: the ID outside is the mark inside, in both directions."""
    made = overlay()
    near = made.lab.near
    made.switch.attach("p1")
    near.ip(f"addr add {ipv4(100)}/24 dev vnetx0")
    made.vni(1000, 1, gbp=True)
    made.kernel(1, 1000, 11, options="gbp")
    assert ping(near, ipv4(11))
    tap = made.tap()
    for mark in (0x1234, 0):
        made.sent(tap)
        assert ping(near, ipv4(11), options=("-m", str(mark)))
        (packet,) = (p for p in made.sent(tap) if p.inner[12:14] == b"\x08\x00")
        assert packet.vxlan == struct.pack("!BBHI", 0x88 if mark else 8, 0, mark, 1000 << 8)
    receiver = near.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
    receiver.bind((ipv4(100), TEST))
    receiver.settimeout(5)
    host = near.json("ip", "-j", "link", "show", "dev", "vnetx0")[0]["address"]
    ends = Ether(src=host_mac(11).hex(":"), dst=host) / IP(src=ipv4(11), dst=ipv4(100))
    data = bytes(ends / UDP(sport=1, dport=TEST) / Raw(b"marked"))
    for header, mark in ((b"\x88\x00\x43\x21", 0x4321), (b"\x08\x00\x00\x00", 0)):
        made.tap(1).send(made.outer(data, header=header + (1000 << 8).to_bytes(4)))
        said, ancillary, _, _ = receiver.recvmsg(100, 100)
        assert said == b"marked"
        assert {raw for _, kind, raw in ancillary if kind == socket.SO_MARK} == {
            struct.pack("=I", mark)
        }
    with pytest.raises(VnetxError, match="otherwise"):
        made.vni(1000, 1, gbp=False)


def test_two_switches_share_a_udp_port(overlay: Callable[..., Overlay]) -> None:
    """Each hears of its own VNI alone, though its remote is the same host."""
    made = overlay()
    other = made.lab.vnetx("tc", "other")
    made.switch.attach("p1")
    other.attach("p2")
    made.vni(1000, 1)
    made.vni(2000, 1, switch="other")
    made.kernel(1, 1000, 11)
    made.kernel(1, 2000, 12)
    nodes = hosts(made)
    for here, there in ((1, 11), (12, 2)):
        assert ping(nodes[here], ipv4(there))
    assert not ping(nodes[1], ipv4(12), options=("-W", "0.2"))
    made.call(engine.vni_del, [2000])
    assert not ping(nodes[12], ipv4(2), options=("-W", "0.2"))
    assert ping(nodes[11], ipv4(1))


@pytest.mark.parametrize("hook", ["xdp", "xdp-generic"])
def test_xdp_leaves_to_tc_what_is_encapsulated(overlay: Callable[..., Overlay], hook: str) -> None:
    made = overlay(hook=hook)
    made.switch.attach("p1", "p2")
    made.vni(1000, 1)
    made.kernel(1, 1000, 11)
    nodes = hosts(made)
    for here, there in ((1, 11), (11, 2), (1, 2)):
        assert ping(nodes[here], ipv4(there))
        assert ping(nodes[here], ipv6(there), size=3200)
        tcp_test(nodes[here], nodes[there], ipv4(there), megabytes=2)
    assert made.dropped() == {}


@pytest.mark.parametrize("interface", ["vnetx0", "p2"])
def test_the_host_takes_part(overlay: Callable[..., Overlay], interface: str) -> None:
    """By the switch's own interface, or a port that carries the host's addresses."""
    made = overlay()
    near = made.lab.near
    if interface == "p2":
        near.ip(f"addr add {ipv4(100)}/24 dev p2")
    made.switch.attach("p1", "p2")
    if interface == "vnetx0":
        near.ip(f"addr add {ipv4(100)}/24 dev vnetx0")
    made.vni(1000, 1)
    made.kernel(1, 1000, 11)
    far = hosts(made)[11]
    for here, there in ((near, ipv4(11)), (far, ipv4(100))):
        neighbours_forgotten(near, far)
        assert ping(here, there)
        assert ping(here, there, size=3200)
    tcp_test(near, far, ipv4(11), megabytes=2)
    tcp_test(far, near, ipv4(100), megabytes=2)


@pytest.mark.parametrize("hook", ["tc", "xdp-generic"])
@pytest.mark.parametrize("address", ["under", "lower"])
def test_the_underlay_is_another_switch(
    overlay: Callable[..., Overlay], address: str, hook: str
) -> None:
    """Of which the NIC is a port, that has the VTEP's address itself or leaves it to the host
    port; a neighbour on that switch is no part of the overlay."""
    made = overlay()
    near = made.lab.near
    lower = made.lab.vnetx(hook, "lower")
    if address == "lower":
        near.ip("addr flush dev under")
    lower.attach("under", "p2")
    if address == "lower":
        near.ip(*(f"link set dev {end} mtu {MTU}" for end in ("lower", "vx-lower")))
        near.ip(f"addr add {made.vtep(0)}/24 dev lower")
    made.switch.attach("p1")
    made.vni(1000, 1)
    made.kernel(1, 1000, 11)
    nodes = hosts(made)
    wait_until(lambda: ping(nodes[1], ipv4(11)), "the overlay carries something")
    for here, there in ((1, 11), (11, 1)):
        assert ping(nodes[here], ipv4(there), size=1472, options=("-M", "do"))
        assert ping(nodes[here], ipv6(there), size=3200)
        tcp_test(nodes[here], nodes[there], ipv4(there), megabytes=2)
    assert made.dropped() == {}
    nodes[2].ip("addr add 198.51.100.200/24 dev h2")
    assert ping(nodes[2], made.vtep(1)), "the lower switch has it as a neighbour"
    assert not ping(nodes[1], ipv4(2), options=("-W", "0.2"))


def test_a_mesh_of_three_hosts(overlay: Callable[..., Overlay]) -> None:
    """Ten VNIs: every pair in one talks, and nobody ever hears of another."""
    made = overlay(2, hosts=range(1, 11))
    networks = {1000 + n: (n, 10 + n, 20 + n) for n in range(1, 11)}
    for vni, (own, *others) in networks.items():
        made.switch.attach(f"p{own}", access=10 * own)
        made.vni(vni, 1, 2, vid=10 * own)
        for number, host in enumerate(others, 1):
            made.kernel(number, vni, host, to=(0, 3 - number))
    nodes = hosts(made)
    taps = {n: Tap(node, f"h{n}", everything=True) for n, node in nodes.items()}
    for members in networks.values():
        for here, there in permutations(members, 2):
            assert ping(nodes[here], ipv4(there)), (here, there)
    for members in networks.values():
        everybody = {host_mac(n) for n in members}
        for n in members:
            heard = {data[6:12] for data in taps[n].received()}
            assert heard == everybody
    assert made.dropped() == {}


@pytest.mark.parametrize("server", [1, 11])
def test_dhcp(overlay: Callable[..., Overlay], server: int) -> None:
    """A lease from behind the other VTEP, on either side."""
    made = overlay(addresses=False)
    made.switch.attach("p1")
    made.vni(1000, 1)
    made.kernel(1, 1000, 11, addresses=False)
    nodes, client = hosts(made), 12 - server
    nodes[server].ip(f"addr add {ipv4(100)}/24 dev h{server}")
    dhcp_server(nodes[server], f"h{server}", ipv4(50), ipv4(60))
    lease = dhcp_lease(nodes[client], f"h{client}")
    assert lease in [ipv4(n) for n in range(50, 61)]


# ---------------------------------------------------------------- who gets what

A, B, C, X, LAST = (station(number) for number in (0xA, 0xB, 0xC, 0xE, 0xFFF))


def quiet(made: Overlay, *, aware: bool = False) -> Overlay:
    """h1 and h2 behind vnetx, which say nothing by themselves, and h<n>1 of all the others; with
    VLANs, h1 and h11, h21, … are in VLAN 10 and VNI 1000, h2 and h12, h22, … in 20 and 2000."""
    others = range(1, len(made.others) + 1)
    if aware:
        made.switch.attach("p1", access=10)
        made.switch.attach("p2", access=20)
    else:
        made.switch.attach("p1", "p2")
    for vid in (10, 20) if aware else (0,):
        vni = 100 * vid or 1000
        made.vni(vni, *others, vid=vid)
        for n in others:
            there = [0, *(m for m in others if m != n)]
            made.kernel(n, vni, 10 * n + vni // 1000, to=there, addresses=False)
    return made


def wire(made: Overlay, number: int) -> Wire:
    return (made.lab, *made.others)[number // 10].wire(number)


def reach(made: Overlay, number: int, data: bytes, *places: int) -> dict[int, list[bytes]]:
    """What got to those containers of what another one sent: a frame, and a broadcast behind it,
    which gets to all of them."""
    last = frame(BROADCAST, station(0xF00 + number), 60) + bytes([number])
    for n in places:
        wire(made, n)
    wire(made, number).send(data)
    wire(made, number).send(last)
    found = {n: behind(wire(made, n), last) for n in places}
    return {n: frames for n, frames in found.items() if frames}


def to(packets: Iterable[Outer]) -> dict[str, int]:
    """How many packets went to each VTEP, but for the last frame of :func:`reach`."""
    return Counter(o.header.dst for o in packets if o.inner[6:11] != station(0xF00)[:5])


def test_floods_and_known_addresses(overlay: Callable[..., Overlay]) -> None:
    """VX-11 to VX-13: a copy at each remote; one place alone once it is known; mesh or not."""
    made = quiet(overlay(3, addresses=False))
    everybody, tap = [2, 11, 21, 31], made.tap()
    each = {made.vtep(n): 1 for n in (1, 2, 3)}
    for target in (BROADCAST, MULTICAST, X):
        data = frame(target, A)
        assert reach(made, 1, data, *everybody) == {n: [data] for n in everybody}
        assert to(made.sent(tap)) == each
    data = frame(BROADCAST, X)
    assert reach(made, 21, data, 1, 2, 11, 31) == {n: [data] for n in (1, 2, 11, 31)}
    assert to(made.sent(tap)) == {}
    assert made.fdb()[X, 0] == made.vtep(2)
    for _ in range(3):  # decided on, and known to be
        data = frame(X, A)
        assert reach(made, 1, data, *everybody) == {21: [data]}
        assert to(made.sent(tap)) == {made.vtep(2): 1}
    made.switch.run("fdb", "del", X.hex(":"))
    reach(made, 1, frame(X, A), *everybody)
    assert to(made.sent(tap)) == each
    assert made.dropped() == {}


def test_nothing_goes_from_one_vtep_to_another(overlay: Callable[..., Overlay]) -> None:
    """Split horizon, though the other hosts do not know of each other."""
    made = overlay(2, addresses=False)
    made.switch.attach("p1", "p2")
    made.vni(1000, 1, 2)
    for n in (1, 2):
        made.kernel(n, 1000, 10 * n + 1, addresses=False)
    tap = made.tap(2)
    data = frame(BROADCAST, C)
    assert reach(made, 21, data, 1, 2) == {1: [data], 2: [data]}
    for target in (BROADCAST, MULTICAST, X, C):
        data = frame(target, B)
        places = {} if target == C else {1: [data], 2: [data]}
        assert reach(made, 11, data, 1, 2) == places
    made.sent(tap)
    data = frame(BROADCAST, A)
    assert reach(made, 1, data, 2, 11, 21) == {n: [data] for n in (2, 11, 21)}
    caught = [Outer.of(packet, 4789) for packet in tap.received()]
    from_vnetx = [o.inner for o in caught if o and o.header.src == made.vtep(0)]
    assert from_vnetx[0] == data, "nothing before"
    assert len(from_vnetx) == 2
    assert made.dropped() == {made.vtep(1): {"split_horizon": 1}}


def test_addresses_move(overlay: Callable[..., Overlay]) -> None:
    """VX-14: from a port to a VTEP, to another one, and back."""
    made = quiet(overlay(2, addresses=False))
    places = {1: "p1", 11: made.vtep(1), 21: made.vtep(2)}
    for at in (1, 11, 21, 11, 1):
        reach(made, at, frame(BROADCAST, X), *{1, 2, 11, 21} - {at})
        assert made.fdb()[X, 0] == places[at]
        data = frame(X, B)
        assert reach(made, 2, data, *places) == {at: [data]}


def test_without_learning(overlay: Callable[..., Overlay]) -> None:
    made = quiet(overlay(addresses=False))
    made.vni(1000, learning=False)
    data = frame(BROADCAST, X)
    assert reach(made, 11, data, 1, 2) == {1: [data], 2: [data]}
    assert (X, 0) not in made.fdb()
    made.vni(1000, learning=True)
    reach(made, 11, data, 1, 2)
    assert made.fdb()[X, 0] == made.vtep(1)


def test_a_vtep_with_too_many_addresses(overlay: Callable[..., Overlay]) -> None:
    """The limit is of each VTEP, named or not, and of the strictest VNI of the port."""
    made = quiet(overlay(3, addresses=False))
    made.vni(1000, 1, 2, vtep_learn_limit=5)
    made.call(engine.vni_remote_del, 1000, [made.vtep(3)])
    addresses = [station(0x100 + n) for n in range(12)]
    for number in (1, 3):
        for mac in addresses[6 * (number == 3) :][:6]:
            reach(made, 10 * number + 1, frame(BROADCAST, mac), 1)
    known = Counter(made.fdb().values())
    assert (known[made.vtep(1)], known[made.vtep(3)]) == (5, 5)
    assert made.reasons()[made.vtep(1)]["learn_limit"] >= 1
    made.vni(1000, 1, 2)
    reach(made, 11, frame(BROADCAST, addresses[5]), 1)
    assert made.fdb()[addresses[5], 0] == made.vtep(1)


def test_a_vni_with_too_many_addresses(overlay: Callable[..., Overlay]) -> None:
    """The limit is of what is learned in the VNI, and VTEPs alone run into it."""
    made = quiet(overlay(3, addresses=False))
    made.vni(1000, 1, 2, learn_limit=8)
    addresses = [station(0x100 + n) for n in range(15)]
    for number in (1, 3):
        for mac in addresses[6 * (number == 3) :][:6]:
            reach(made, 10 * number + 1, frame(BROADCAST, mac), 1)
    behind_vteps = Counter(made.fdb().values())
    assert behind_vteps[made.vtep(1)] >= 6
    assert behind_vteps[made.vtep(1)] + behind_vteps[made.vtep(3)] == 8
    assert made.reasons()[made.vtep(3)]["learn_limit"] >= 4
    reach(made, 31, frame(BROADCAST, addresses[0]), 1)
    assert made.fdb()[addresses[0], 0] == made.vtep(3), "an address may move"
    made.switch.run("fdb", "flush")
    reach(made, 31, frame(BROADCAST, addresses[14]), 1)
    assert made.fdb()[addresses[14], 0] == made.vtep(3), "there is room again"


def test_a_remote_that_is_removed(overlay: Callable[..., Overlay]) -> None:
    """What was behind it is unknown, and it gets nothing any more until it speaks."""
    made = quiet(overlay(2, addresses=False))
    tap = made.tap()
    reach(made, 11, frame(BROADCAST, X), 2, 21)
    reach(made, 21, frame(BROADCAST, C), 2, 11)
    made.call(engine.vni_remote_del, 1000, [made.vtep(1)])
    assert list(made.vteps().values()) == [made.vtep(2)]
    known = made.fdb()
    assert (X, 0) not in known
    assert known[C, 0] == made.vtep(2)
    for target, places in ((X, (2,)), (BROADCAST, (2, 21))):  # (host 2 knows where X is)
        made.sent(tap)
        data = frame(target, A)
        assert reach(made, 1, data, 2, 21) == {n: [data] for n in places}
        assert to(made.sent(tap)) == {made.vtep(2): 1}
    reach(made, 11, frame(BROADCAST, X), 2, 21)
    assert made.learned() == [made.vtep(1)]
    data = frame(X, A)
    assert reach(made, 1, data, 2, 21) == {}
    assert to(made.sent(tap)) == {made.vtep(1): 1}


# ---------------------------------------------------------------- VLANs


def test_each_vlan_has_its_vni(overlay: Callable[..., Overlay]) -> None:
    """VX-25, VX-27: floods and addresses stay in theirs, and tags at the ports."""
    made = quiet(overlay(2, hosts=(1, 2, 3), addresses=False), aware=True)
    made.switch.attach("p3", trunk="10,20")
    tap, trunk = made.tap(), made.lab.wire(3)
    for vid, here, there in ((10, 1, (11, 21)), (20, 2, (12, 22))):
        outside = {n for n in hosts(made) if n not in (here, 3, *there)}
        for n in outside:
            wire(made, n)
        data = frame(BROADCAST, A)
        tagged = frame(BROADCAST, A, 64, tags=(tag(vid),))
        assert reach(made, here, data, *there) == {n: [data] for n in there}
        packets = made.sent(tap)
        assert to(packets) == {made.vtep(1): 1, made.vtep(2): 1}
        assert {packet.vni for packet in packets} == {100 * vid}
        assert data in [packet.inner for packet in packets], "without a tag"
        assert tagged in trunk.received()
        # in by the trunk, and from a VTEP out of it
        trunk.send(frame(BROADCAST, B, 64, tags=(tag(vid, 5),)))
        assert reach(made, here, data, *there)[there[0]] == [frame(BROADCAST, B), data]
        assert {packet.vni for packet in made.sent(tap)} == {100 * vid}
        reach(made, there[0], frame(BROADCAST, C), here, there[1])
        assert frame(BROADCAST, C, 64, tags=(tag(vid),)) in trunk.received()
        for n in outside:
            assert wire(made, n).received() == []
    # one address, here in the one VLAN and there in the other
    reach(made, 1, frame(BROADCAST, X), 11)
    reach(made, 12, frame(BROADCAST, X), 2, 22)
    known = made.fdb()
    assert (known[X, 10], known[X, 20]) == ("p1", made.vtep(1))
    made.sent(tap)
    data = frame(X, B)
    assert reach(made, 2, data, 12, 22) == {12: [data]}
    assert to(made.sent(tap)) == {made.vtep(1): 1}
    assert made.dropped() == {}


@pytest.mark.parametrize("aware", [False, True])
def test_tags_inside(overlay: Callable[..., Overlay], aware: bool) -> None:
    """VX-23: carried where nobody heeds them; where they count there is no place for them, and
    others are the customer's."""
    made = quiet(overlay(addresses=False), aware=aware)
    for tags in ((VLAN,), (VLAN, VLAN), (QINQ,), (QINQ, VLAN)):
        data = frame(BROADCAST, B, 80, tags=tags)
        passes = not aware or tags[0] == QINQ
        assert reach(made, 11, data, 1) == ({1: [data]} if passes else {})
        data = frame(BROADCAST, A, 80, tags=tags)
        # (one that counts is of VLAN 10, and stays behind)
        wanted = data if passes else data[:12] + data[16:]
        assert reach(made, 1, data, 11) == {11: [wanted]}
    expected = {"vlan_type": 2} if aware else {}
    assert made.dropped().get(made.vtep(1), {}) == expected


# ---------------------------------------------------------------- packets


def flows(count: int) -> list[bytes]:
    """Datagrams of so many conversations between two stations."""
    ends = Ether(src=A.hex(":"), dst=X.hex(":")) / IP(src=ipv4(1), dst=ipv4(2))
    return [bytes(ends / UDP(sport=n, dport=TEST) / Raw(bytes(40))) for n in range(count)]


def encapsulated(made: Overlay, tap: Tap, *frames: bytes) -> list[Outer]:
    """What h1 sends, on the underlay."""
    made.sent(tap)
    found: list[Outer] = []
    for data in frames:
        wire(made, 1).send(data)
    wait_until(lambda: found.extend(made.sent(tap)) or len(found) >= len(frames), "packets")
    assert [packet.inner for packet in found] == list(frames), "intact, and in this order"
    return found


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("dstport", PORTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_packets(overlay: Callable[..., Overlay], family: int, dstport: int, known: bool) -> None:
    """VX-01, VX-03, VX-05, byte by byte."""
    made = quiet(overlay(family=family, dstport=dstport, addresses=False))
    tap = made.tap()
    if known:
        reach(made, 11, frame(BROADCAST, X), 1)
    inner = [frame(X, A, length) for length in (60, 61, 1514)]
    for settings in (
        {},
        {"ttl": 5},
        {"df": True},
        {"ttl": 255, "tos": 0xB8},
        {"tos": 4, "df": True},
        {"udp6_zero_checksum": True},
    ):
        made.vni(1000, **settings)
        for packet in encapsulated(made, tap, *inner):
            head, udp = packet.header, bytes(packet.udp)
            size = len(packet.inner)
            assert packet.vxlan == bytes.fromhex("08000000 0003e800")
            assert len(packet.raw) + 14 - size == (50 if family == 4 else 70)
            if family == 4:
                assert packet.raw[0] == 0x45, "no options"
                assert packet.raw[1] == settings.get("tos", 0)
                assert packet.raw[2:4] == (36 + size).to_bytes(2)
                assert packet.raw[6:8] == (b"\x40\0" if settings.get("df") else b"\0\0")
                assert packet.raw[8:10] == bytes([settings.get("ttl", 64), 17])
                assert checksum(packet.raw[:20]) == 0
                assert udp[6:8] == b"\0\0"
            else:
                assert packet.raw[:2] == (6 << 12 | settings.get("tos", 0) << 4).to_bytes(2)
                assert packet.raw[4:8] == struct.pack(
                    "!HBB", 16 + size, 17, settings.get("ttl", 64)
                )
                pseudo = packet.raw[8:40] + struct.pack("!II", 16 + size, 17)
                if settings.get("udp6_zero_checksum"):
                    assert udp[6:8] == b"\0\0"
                else:
                    assert udp[6:8] != b"\0\0"
                    assert checksum(pseudo + packet.raw[40:]) == 0
            assert (head.src, head.dst) == (made.vtep(0), made.vtep(1))
            assert packet.udp.dport == dstport
            assert udp[4:6] == (16 + size).to_bytes(2)
            assert packet.udp.sport >= 49152


def test_source_ports_tell_conversations_apart(overlay: Callable[..., Overlay]) -> None:
    made = quiet(overlay(addresses=False))
    made.lab.wire(1)
    tap = made.tap()
    first, again = ([p.udp.sport for p in encapsulated(made, tap, *flows(32))] for _ in range(2))
    assert first == again
    assert len(set(first)) > 16
    assert all(49152 <= port <= 65535 for port in first)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_tos_and_ecn_of_what_is_encapsulated(
    overlay: Callable[..., Overlay], family: int, known: bool
) -> None:
    """VX-07 (RFC 6040, 4.1): congestion inside is none outside; DSCP as set, or as it is inside."""
    made = quiet(overlay(family=family, addresses=False))
    tap = made.tap()
    if known:
        reach(made, 11, frame(BROADCAST, X), 1)
    for setting, dscp in product((0, 1, 0x50), (0, 46, 63)):
        made.vni(1000, tos=setting)
        for build in (ip_packet, ip6_packet):
            sent = encapsulated(made, tap, *(build(dscp << 2 | ecn) for ecn in range(4)))
            outside = [(p.header.tos if family == 4 else p.header.tc) for p in sent]
            expected = dscp << 2 if setting == 1 else setting
            assert outside == [expected | ecn for ecn in (0, 1, 2, 2)]
        (plain,) = encapsulated(made, tap, frame(X, A))
        assert (plain.header.tos if family == 4 else plain.header.tc) == setting & 0xFC


# ---------------------------------------------------------------- what arrives


def ip_packet(tos: int, src: bytes = A) -> bytes:
    ends = Ether(src=src.hex(":"), dst=X.hex(":")) / IP(src=ipv4(1), dst=ipv4(2), tos=tos)
    return bytes(ends / UDP(sport=1, dport=2) / Raw(bytes(20)))


def ip6_packet(tos: int, src: bytes = A) -> bytes:
    ends = Ether(src=src.hex(":"), dst=X.hex(":")) / IPv6(src=ipv6(1), dst=ipv6(2), tc=tos)
    return bytes(ends / UDP(sport=1, dport=2) / Raw(bytes(20)))


def delivered(made: Overlay, tap: Tap, *packets: bytes) -> list[bytes]:
    """The frames that reach h1 of packets of the first other host; `tap` is on its underlay."""
    last = frame(BROADCAST, LAST)
    made.lab.wire(1)
    for packet in (*packets, made.outer(last)):
        tap.send(packet)
    return behind(made.lab.wire(1), last)


#: RFC 6040, 4.2: the row is what is inside, the column what is outside; None: dropped.
DECAPSULATED = (
    (0, 0, 0, None),
    (1, 1, 1, 3),
    (2, 1, 2, 3),
    (3, 3, 3, 3),
)


@pytest.mark.parametrize("build", [ip_packet, ip6_packet])
@pytest.mark.parametrize("family", FAMILIES)
def test_ecn_of_what_is_decapsulated(
    overlay: Callable[..., Overlay], family: int, build: Callable[[int], bytes]
) -> None:
    """VX-08, VX-09."""
    made = quiet(overlay(family=family, addresses=False))
    tap = made.tap(1)
    for inside, outside in product(range(4), range(4)):
        packet = made.outer(build(0xB8 | inside), ecn=0x28 | outside)
        wanted = DECAPSULATED[inside][outside]
        expected = [] if wanted is None else [build(0xB8 | wanted)]
        assert delivered(made, tap, packet) == expected, (inside, outside)


@pytest.mark.parametrize("family", FAMILIES)
def test_packets_that_are_none(overlay: Callable[..., Overlay], family: int) -> None:
    """VX-19 to VX-21, and what is cut off: dropped, and the next one arrives."""
    made = quiet(overlay(family=family, addresses=False))
    tap, inner = made.tap(1), frame(BROADCAST, X)
    good = made.outer(inner)
    assert delivered(made, tap, good) == [inner]
    made.switch.run("fdb", "flush")
    header = bytes.fromhex("08000000 0003e800")
    bits = [bit for bit in range(64) if not (bit == 4 or 32 <= bit < 56)]
    bad = {
        "no I flag": made.outer(inner, flags=0),
        "another VNI": made.outer(inner, 1001),
        "VNI 0": made.outer(inner, 0),
        "wrong checksum": made.outer(inner, checksum=0xDEAD),
        **{
            f"reserved bit {bit}": made.outer(
                inner, header=(int.from_bytes(header) ^ 1 << 63 - bit).to_bytes(8)
            )
            for bit in bits
        },
        **{f"{n} bytes of a header": made.outer(b"", header=header[:n]) for n in range(8)},
        **{f"{n} bytes of a frame": made.outer(inner[:n]) for n in range(14)},
    }
    if family == 6:
        del bad["wrong checksum"]
        bad["checksum of a byte less"] = good[:-1] + bytes([good[-1] ^ 1])
    for what, packet in bad.items():
        assert delivered(made, tap, packet) == [], what
    assert set(made.fdb()) & {(X, 0)} == set(), "nothing was learned"
    (view,) = made.call(state.vnis)
    assert view.kernel_drops["rx_errors"] + view.kernel_drops["rx_drops"] > 0
    short = made.outer(inner[:14])
    assert delivered(made, tap, short) == [inner[:14]]


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 14),
    reason="the setting is of Linux 6.14",
)
def test_reserved_bits_that_are_ignored(overlay: Callable[..., Overlay]) -> None:
    """RFC 7348, 5: ignored on receipt."""
    made = quiet(overlay(addresses=False))
    made.vni(1000, 1)
    tap, inner = made.tap(1), frame(BROADCAST, X)
    bits = 0xF7FFFFFF_000000FF
    odd = made.outer(inner, header=(bits | 0x08000000_0003E800).to_bytes(8))
    assert delivered(made, tap, odd) == []
    with pytest.raises(VnetxError, match=r"--ignore-reserved: VNIs of UDP port 4789 .* otherwise"):
        made.vni(1000, 1, ignore_reserved=True)
    made.switch.run("vni", "del", "1000")
    made.vni(1000, 1, ignore_reserved=True)
    assert delivered(made, tap, odd) == [inner]
    without = made.outer(inner, header=(0xF7FFFFFF_0003E8FF).to_bytes(8))
    assert delivered(made, tap, without) == [], "the I flag is none of them"


def test_checksums_that_are_right_or_none(overlay: Callable[..., Overlay]) -> None:
    """VX-03: both are taken, the latter from IPv4 alone by default (RFC 6935)."""
    for family in FAMILIES:
        made = quiet(overlay(family=family, addresses=False))
        tap, inner = made.tap(1), frame(BROADCAST, X)
        packets = [made.outer(inner, checksum=c) for c in (None, 0)]
        assert delivered(made, tap, *packets) == [inner, inner]


def test_sources_that_are_none(overlay: Callable[..., Overlay]) -> None:
    """VX-37: dropped and not learned."""
    made = quiet(overlay(addresses=False))
    tap = made.tap(1)
    for bad in (BROADCAST, MULTICAST, MULTICAST6, bytes(6)):
        for target in (BROADCAST, A):
            assert delivered(made, tap, made.outer(frame(target, bad))) == []
            assert (bad, 0) not in made.fdb()
    assert made.dropped()[made.vtep(1)] == {"bad_source": 8}


def test_a_vni_that_the_device_has_and_no_switch(overlay: Callable[..., Overlay]) -> None:
    made = quiet(overlay(addresses=False))
    tap = made.tap(1)
    made.lab.near.bridge("vni add dev vx4789-vnetx0 vni 3000")
    assert delivered(made, tap, made.outer(frame(BROADCAST, X), 3000)) == []
    assert made.dropped() == {"device": {"vni_unknown": 1}}
