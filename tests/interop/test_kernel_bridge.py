"""Beside the kernel's bridges: as their neighbour, and as the wire between them."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import STP, Ether
from scapy.packet import Packet

from lib.topology import (
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
