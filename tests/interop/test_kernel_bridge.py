"""Beside the kernel's bridges: as their neighbour, and as the wire between them."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import STP, Ether
from scapy.packet import Packet

from lib.frames import QINQ, VLAN, frame
from lib.topology import (
    Joined,
    KernelBridge,
    Lab,
    Tap,
    carrier,
    flood_ping,
    host_mac,
    ipv4,
    ipv6,
    ping_test,
    tcp_test,
    wait_until,
)
from lib.vlans import FRAMES, Mode

pytestmark = pytest.mark.root


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.mark.parametrize("hook", ["tc", "xdp", "xdp-generic", "auto"])
def test_a_bridge_behind_a_port(hook: str, lab: Lab) -> None:
    """h1, h2 on vnetx, h3, h4 on a kernel bridge, an uplink between the two."""
    with lab:
        lab.add_hosts(1, 2, 3, 4)
        lab.near.ip("link add name up0 type veth peer name up1", "link set dev up0 up")
        bridge = lab.switch("kernel")
        bridge.create()
        bridge.attach("p3", "p4", "up1")
        lab.near.ip("link set dev up1 up")
        lab.vnetx(hook).attach("p1", "p2", "up0")
        wait_until(lambda: carrier(lab.near, "up0"), "the uplink has a carrier")
        for address in (ipv4, ipv6):
            ping_test({address(n): node for n, node in lab.hosts.items()})
        tcp_test(lab.hosts[1], lab.hosts[3], ipv4(3), megabytes=4)
        tcp_test(lab.hosts[4], lab.hosts[2], ipv6(2), megabytes=4)
        with flood_ping(lab.hosts[1], ipv4(3)) as answered:
            answered()


@pytest.mark.parametrize("hook", ["tc", "xdp", "xdp-generic", "auto"])
def test_a_bridge_keeps_tags_beside_the_data(hook: str, lab: Lab) -> None:
    """VL-39: what a kernel sends on has its outer tag there; XDP has to see tags of both kinds."""
    with lab:
        lab.add_hosts(1, 2, addresses=False)
        lab.near.ip("link add name up0 type veth peer name up1", "link set dev up0 up")
        bridge = lab.switch("kernel")
        bridge.create()
        bridge.attach("p1", "up1")
        lab.near.ip("link set dev up1 up")
        lab.vnetx(hook).attach("p2", "up0")
        wait_until(lambda: carrier(lab.near, "up0"), "the uplink has a carrier")
        for tags in FRAMES.values():
            for here, there in ((1, 2), (2, 1), (1, 2)):
                data = frame(host_mac(there), host_mac(here), tags=tags)
                assert lab.inject(here, data) == {there: [data]}


@pytest.mark.parametrize("hook", ["tc", "xdp", "xdp-generic", "auto"])
@pytest.mark.parametrize("tpid", [VLAN, QINQ], ids=["802.1Q", "802.1ad"])
def test_a_trunk_through_a_bridge(hook: str, lab: Lab, tpid: int) -> None:
    """VL-39: a bridge that heeds no VLANs carries the tags of two switches that do."""
    with lab:
        bridge = lab.switch("kernel")
        assert isinstance(bridge, KernelBridge)
        two = Joined(lab, hook, hook, Mode.of(10, 20, tpid=tpid), cable=bridge)
        two.ping_test()
        tcp_test(lab.hosts[1], lab.hosts[3], ipv4(3), megabytes=2)
        tcp_test(lab.hosts[4], lab.hosts[2], ipv6(2), megabytes=2)
        two.nothing_dropped()


@pytest.mark.parametrize("hook", ["tc", "xdp", "xdp-generic", "auto"])
@pytest.mark.parametrize("transparent", [True, False])
def test_spanning_tree_passes(hook: str, lab: Lab, transparent: bool) -> None:
    """BR-13: a bridge's own BPDUs come out at the other end, whatever else is forwarded."""
    with lab:
        lab.add_hosts(1, 2, addresses=False)
        switch = lab.vnetx(hook)
        switch.create(group_forward=0xFFFF if transparent else 0)
        switch.attach("p1", "p2")
        tap = Tap(lab.hosts[2], "h2")
        lab.hosts[1].ip(
            "link add name br0 type bridge stp_state 1 hello_time 100",
            "link set dev h1 master br0",
            "link set dev br0 up",
        )
        bpdus: list[Packet] = []

        def hello() -> bool:
            bpdus.extend(p for data in tap.received() if STP in (p := Ether(data)))
            return len(bpdus) > 1

        wait_until(hello, "hellos of the bridge")
        assert all(p.dst == "01:80:c2:00:00:00" for p in bpdus)
        assert all(p.src == host_mac(1).hex(":") for p in bpdus)
