"""VLANs beside the kernel's bridge with vlan_filtering, frame by frame; VLAN devices; trunks to it.

Meant to differ, and left out of what is compared:

- 01:80:c2:00:00:0b, 0c, 0d and 0f with 802.1ad: the bridge forwards them (802.1Q-2018 Table 8-2,
  what a provider's bridge does), vnetx where `group_forward` says so. There the protocol is the
  bridge's; here it is each port's, and a switch may have customers' ports and a provider's.
- A frame of 1515 to 1518 bytes beside its outer tag fits no MTU of 1500 (e2e/test_oracle.py).
- Of a full frame with three tags a flood may leave with two, which both come on top of the MTU
  (docs/hooks.md); the bridge has room for one.
- A frame with fewer than two bytes behind its tag ends in the kernel (skb_vlan_untag) before the
  bridge or TC sees it; XDP comes earlier. Frames of a wire have more.
"""

from __future__ import annotations

import functools
import json
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lib.frames import BROADCAST, MULTICAST, QINQ, VLAN, link_local, station, tag
from lib.oracle import PORTS, Found, Scenario, Steps, Table, difference, packet, passed, play
from lib.topology import (
    Joined,
    KernelBridge,
    Lab,
    Node,
    Tap,
    Vnetx,
    dhcp_lease,
    dhcp_server,
    ipv4,
    ipv6,
    ping_test,
    tcp_test,
    udp_test,
)
from lib.vlans import FRAMES, MODES, PROTOCOLS, Mode, Tag

HOOKS = ("tc", "xdp")
A, B, C, D, X = (station(number) for number in (0xA, 0xB, 0xC, 0xD, 0xE))
OWN = {1: A, 2: B, 3: C, 4: D}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


# ---------------------------------------------------------------- the bridge as the oracle


@pytest.mark.parametrize("tpid", [VLAN, QINQ], ids=["802.1Q", "802.1ad"])
def test_the_table_is_the_bridges(lab: Lab, tpid: int) -> None:
    """What tests/e2e/test_vlan.py asks of vnetx holds for the kernel's bridge, row by row."""
    modes = {name: mode for name, mode in MODES.items() if mode.tpid == tpid}
    assert Table(lab, "kernel", modes).check() >= 33


def moves() -> Steps:
    """VL-31: an address moves in one VLAN and stays in the other."""
    steps: Steps = []
    for n, tags in ((2, "10"), (3, "20"), (4, "10"), (3, "10"), (2, "20"), (1, "untagged")):
        steps.append((n, packet(BROADCAST, X, FRAMES[tags])))
        steps += [(m, packet(X, OWN[m], FRAMES[to])) for m in PORTS for to in ("10", "20")]
    return steps


def sources() -> Steps:
    """A group or zero is no source, whatever the tag."""
    return [
        (n, packet(BROADCAST, bad, tags))
        for bad in (BROADCAST, MULTICAST, bytes(6))
        for n in (1, 2)
        for tags in ([], [tag(10)])
    ]


def reserved() -> Steps:
    """01:80:c2:00:00:0n: are of no VLAN; who sends them is learned in the frame's (FD-35)."""
    steps: Steps = []
    for digit in (0, 1, 2, 3, 0xE, 0xF):
        for number, tags in enumerate(([], [tag(0)], [tag(10)], [tag(40)])):
            source = station(0x100 + 16 * digit + number)
            steps.append((2, packet(link_local(digit), source, tags)))
            steps += [(4, packet(source, D, [tag(vid)])) for vid in (10, 30)]
    return steps


def sizes() -> Steps:
    """Tags come on top of the MTU."""
    stacks: list[list[Tag]] = [[], [tag(10)], [tag(10), tag(7)]]
    return [
        *((n, packet(BROADCAST, OWN[n], [tag(10)])) for n in (1, 4)),
        *(
            (n, packet(dst, OWN[n], tags, size))
            for size in (2, 1500, 1600)
            for tags in stacks
            for n in (1, 4)
            for dst in (BROADCAST, B, C)
        ),
    ]


SCENARIO = Scenario(
    "all",
    lambda: [*moves(), *sources(), *reserved(), *sizes()],
    mtu={1: 9000, 4: 9000},
    vlans={1: MODES["access"], 2: MODES["native"], 3: MODES["hybrid"], 4: MODES["trunk of all"]},
)


@functools.cache
def oracle() -> Found:
    return play(SCENARIO, "kernel")


@pytest.mark.parametrize("hook", HOOKS)
def test_same_frames_leave_by_the_same_ports(hook: str) -> None:
    text = difference(SCENARIO.steps(), oracle(), play(SCENARIO, hook))
    assert not text, text
    assert any(oracle()), "the oracle forwarded nothing"


@pytest.fixture(scope="module")
def beside() -> Iterator[dict[str, tuple[Lab, KernelBridge | Vnetx]]]:
    """The bridge and vnetx on both hooks, each with four hosts."""
    made = {}
    labs = [Lab() for _ in ("kernel", *HOOKS)]
    try:
        for lab, kind in zip(labs, ("kernel", *HOOKS), strict=True):
            lab.add_hosts(*PORTS, addresses=False)
            made[kind] = lab, lab.switch(kind)
        yield made
    finally:
        for lab in labs:
            lab.__exit__(None, None, None)


VIDS = (1, 10, 64, 4094)
VIDS_OF_TAGS = (*VIDS, *VIDS, *VIDS, 0, 11, 4095)
DIGITS = {VLAN: tuple(range(16)), QINQ: (0, 1, 2, 3, 4, 0xE)}


@st.composite
def modes(draw: st.DrawFn, tpid: int) -> Mode:
    how = {vid: draw(st.sampled_from(["tagged", "untagged", "tagged", ""])) for vid in VIDS}
    tagged, untagged = (
        frozenset(vid for vid, value in how.items() if value == word)
        for word in ("tagged", "untagged")
    )
    pvid = draw(st.sampled_from([*sorted(tagged | untagged) * 2, 0]))
    return Mode(tagged, untagged, pvid, tpid)


@st.composite
def frames(draw: st.DrawFn, tpid: int) -> tuple[int, bytes]:
    """A frame and the port that it comes by."""
    stations = st.sampled_from([A, B, C, D])
    groups = st.sampled_from([BROADCAST, MULTICAST])
    reserved = st.sampled_from(DIGITS[tpid]).map(link_local)
    dst = draw(st.one_of(stations, stations, groups, groups, reserved))
    kinds = st.sampled_from([tpid, tpid, tpid, tpid, VLAN, QINQ])
    one = st.builds(tag, st.sampled_from(VIDS_OF_TAGS), st.integers(0, 15), kinds)
    tags = [draw(one) for _ in range(draw(st.sampled_from([1, 0, 1, 1, 2, 3])))]
    data = packet(dst, draw(stations), tags, draw(st.sampled_from([46, 2, 1400])))
    return draw(st.sampled_from(PORTS)), data


@st.composite
def games(draw: st.DrawFn) -> tuple[dict[int, Mode], Steps]:
    tpid = draw(st.sampled_from([VLAN, VLAN, QINQ]))
    ports = {n: draw(modes(tpid)) for n in PORTS}
    return ports, draw(st.lists(frames(tpid), min_size=15, max_size=30))


@settings(max_examples=10, phases=[Phase.generate], report_multiple_bugs=False)  # an example: 7 s
@given(game=games())
def test_random_ports_and_frames(
    beside: dict[str, tuple[Lab, KernelBridge | Vnetx]], game: tuple[dict[int, Mode], Steps]
) -> None:
    ports, steps = game
    found = {}
    for kind, (lab, switch) in beside.items():
        switch.set_vlans({f"p{n}": mode for n, mode in ports.items()})
        found[kind] = passed(lab, steps)
    for hook in HOOKS:
        text = difference(steps, found["kernel"], found[hook])
        assert not text, f"{hook}: {ports}\n{text}"


def test_what_bridge_prints_is_imported(lab: Lab) -> None:
    """A bridge's VLANs come over by `bridge -j vlan show`, and vnetx says the same of its ports."""
    modes = {f"p{n}": mode for n, mode in enumerate(MODES.values(), 1) if mode.tpid == VLAN}
    lab.add_hosts(*range(1, len(modes) + 1), addresses=False)
    bridge = lab.switch("kernel")
    bridge.set_vlans(modes)
    printed = lab.near.run("bridge", "-j", "vlan", "show")
    bridge.detach(*modes)
    switch = lab.vnetx("tc")
    switch.attach(*modes)
    switch.import_vlans(printed)
    for port, found in switch.ports().items():
        vids = {vlan["vid"]: vlan["untagged"] for vlan in found["vlans"]}
        mode = modes[port]
        assert vids == {v: v in mode.untagged for v in mode.tagged | mode.untagged}, port
        assert (found["pvid"] or 0) == mode.pvid, port
    assert json.loads(printed), "the bridge said nothing"


# ---------------------------------------------------------------- VLAN devices, another switch


def addresses(vid: int, number: int) -> tuple[str, str]:
    """Of a host in a VLAN."""
    net = {10: "192.0.2", 20: "198.51.100"}[vid]
    return f"{net}.{number}", f"2001:db8:{vid}::{number}"


def settle(node: Node, interface: str, vid: int, number: int) -> None:
    four, six = addresses(vid, number)
    node.ip(f"addr add {four}/24 dev {interface}", f"addr add {six}/64 dev {interface} nodad")


def vlan_device(node: Node, parent: str, vid: int, tpid: int = VLAN) -> str:
    """A container's own VLAN interface."""
    name = f"{parent}.{vid}"
    node.ip(
        f"link add link {parent} name {name} type vlan protocol {PROTOCOLS[tpid]} id {vid}",
        f"link set dev {name} up",
    )
    return name


@pytest.mark.parametrize(
    ("tpid", "hook"), [(VLAN, "tc"), (VLAN, "xdp"), (QINQ, "xdp")], ids=["tc", "xdp", "802.1ad-xdp"]
)
def test_containers_with_vlan_interfaces(lab: Lab, tpid: int, hook: str) -> None:
    """h1 and h2 have interfaces in VLANs 10 and 20 by trunk ports, h3 and h4 are in one of them."""
    lab.add_hosts(*PORTS, addresses=False)
    for node in lab.hosts.values():
        node.enable_ipv6()
    for vid, others in ((10, (3,)), (20, (4,))):
        for n in (1, 2):
            settle(lab.hosts[n], vlan_device(lab.hosts[n], f"h{n}", vid, tpid), vid, n)
        for n in others:
            settle(lab.hosts[n], f"h{n}", vid, n)
    access = {vid: Mode.of(untagged=(vid,), pvid=vid, tpid=tpid) for vid in (10, 20)}
    trunk = Mode.of(10, 20, tpid=tpid)
    switch = lab.vnetx(hook)
    switch.set_vlans({"p1": trunk, "p2": trunk, "p3": access[10], "p4": access[20]})
    lab.listen()
    for vid, other in ((10, 3), (20, 4)):
        for family in (0, 1):
            nodes = {addresses(vid, n)[family]: lab.hosts[n] for n in (1, 2, other)}
            ping_test(nodes)
            ping_test(nodes, size=3000)
    caught = lab.received()
    assert caught.keys() == lab.hosts.keys()
    nets = {vid: socket.inet_aton(addresses(vid, 0)[0])[:3] for vid in (10, 20)}
    for number, vid in ((3, 20), (4, 10)):
        assert not [data for data in caught[number] if nets[vid] in data], "of the other VLAN"
    for client, server, vid in ((1, 2, 10), (2, 1, 20), (1, 3, 10), (4, 2, 20)):
        for address in addresses(vid, server):
            tcp_test(lab.hosts[client], lab.hosts[server], address, megabytes=2)
        udp_test(lab.hosts[client], lab.hosts[server], addresses(vid, server)[0], 5000, count=2)
    dhcp_server(lab.hosts[4], "h4", "198.51.100.50", "198.51.100.59")
    assert dhcp_lease(lab.hosts[1], "h1.20").startswith("198.51.100.5")


TAGGED, NATIVE = Mode.of(10, 20), Mode.of(10, untagged=(20,), pvid=20)


@pytest.mark.parametrize(
    ("hook", "trunk"),
    [("tc", TAGGED), ("xdp", TAGGED), ("xdp", NATIVE)],
    ids=["tc", "xdp", "native-xdp"],
)
def test_a_trunk_to_a_bridge(lab: Lab, hook: str, trunk: Mode) -> None:
    """The kernel's bridge is the other switch: neighbours, DHCP and streams in both VLANs."""
    two = Joined(lab, hook, "kernel", trunk)
    two.ping_test()
    for here, there, address in ((1, 3, ipv4), (4, 2, ipv6)):
        tcp_test(lab.hosts[here], lab.hosts[there], address(there), megabytes=2)
        udp_test(lab.hosts[here], lab.hosts[there], address(there), 5000, count=2)
    for server, client in ((3, 1), (2, 4)):
        dhcp_server(lab.hosts[server], f"h{server}", ipv4(10 * server), ipv4(10 * server + 9))
        assert dhcp_lease(lab.hosts[client], f"h{client}") in [
            ipv4(10 * server + n) for n in range(10)
        ]
    two.nothing_dropped()


@pytest.mark.parametrize("hook", HOOKS)
def test_customers_vlans_in_a_providers(lab: Lab, hook: str) -> None:
    """VL-17: h1 and h3 tag what they say, which is payload of the provider's VLAN 10; the bridge is
    the other switch. XDP has both tags in the data, and a veth lets one come on top of its MTU."""
    two = Joined(lab, hook, "kernel", Mode.of(10, 20, tpid=QINQ), addresses=False)
    if hook == "xdp":
        lab.near.ip("link set dev t1 mtu 1504", "link set dev t2 mtu 1504")
    ends = (1, 3)
    for n in ends:
        lab.hosts[n].enable_ipv6()
        for vid in (10, 20):
            settle(lab.hosts[n], vlan_device(lab.hosts[n], f"h{n}", vid), vid, n)
    cable = Tap(lab.near, "t2", everything=True)
    for vid in (10, 20):
        for family in (0, 1):
            nodes = {addresses(vid, n)[family]: lab.hosts[n] for n in ends}
            ping_test(nodes)
            ping_test(nodes, size=1472)
        tcp_test(lab.hosts[1], lab.hosts[3], addresses(vid, 3)[0], megabytes=2)
    seen = {data[12:20] for data in cable.received()}
    tags = [struct.pack("!HHHH", QINQ, 10, VLAN, vid) for vid in (10, 20)]
    assert seen >= set(tags), seen
    two.nothing_dropped()
