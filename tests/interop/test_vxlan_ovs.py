"""VXLAN with Open vSwitch at the other end: its user-space datapath, from Debian's package.

There a tunnel's packets go by a bridge of their own, which has the interface of the underlay and
its address.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lib.overlay import Overlay
from lib.topology import (
    Lab,
    carrier,
    host_mac,
    ipv4,
    ipv6,
    neighbours_forgotten,
    ping,
    tcp_test,
    wait_until,
)
from vnetx_perf.openvswitch import Daemons

pytestmark = pytest.mark.root

VNI = 1000


@pytest.fixture
def made() -> Iterator[Overlay]:
    """h1, h2 behind vnetx and h11 behind Open vSwitch."""
    with Lab() as lab, Overlay(lab) as overlay:
        other = overlay.others[0]
        other.add_hosts(11)
        wait_until(lambda: carrier(other.near, "p11"), "p11 has a carrier")
        daemons = Daemons(other.near)
        try:
            add_bridges(overlay, daemons)
            yield overlay
        finally:
            daemons.stop()


def add_bridges(overlay: Overlay, daemons: Daemons) -> None:
    near = overlay.others[0].near
    for bridge, ports in (("phy", ["under"]), ("int", ["vx0", "p11"])):
        daemons.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev")
        for port in ports:
            options = {
                "vx0": ["type=vxlan", f"options:remote_ip={overlay.vtep(0)}", f"options:key={VNI}"]
            }.get(port)
            more = ["--", "set", "interface", port, *options] if options else []
            daemons.vsctl("add-port", bridge, port, *more)
    near.ip("addr flush dev under", f"addr add {overlay.vtep(1)}/24 dev phy", "link set phy up")
    # it takes packets by AF_PACKET, as they would be on a wire
    overlay.lab.near.run("ethtool", "-K", "under", "tx", "off")
    overlay.others[0].hosts[11].run("ethtool", "-K", "h11", "tx", "off")


@pytest.mark.parametrize("hook", ["tc", "none"])
def test_hosts_reach_each_other(made: Overlay, hook: str) -> None:
    """VX-35: pings of all sizes and streams both ways, by programs and by the kernel."""
    made.switch.attach("p1", "p2")
    made.vni(VNI, 1, underlay_hook=hook)
    near, far = made.lab.hosts[1], made.others[0].hosts[11]
    wait_until(lambda: ping(near, ipv4(11)), "Open vSwitch forwards")
    for address, header in ((ipv4, 28), (ipv6, 48)):
        for here, there in ((near, 11), (far, 1)):
            neighbours_forgotten(near, far)
            assert ping(here, address(there))
            assert ping(here, address(there), size=1500 - header, options=("-M", "do"))
            for size in (1600, 3200):
                assert ping(here, address(there), size=size)
        tcp_test(near, far, address(11), megabytes=2)
        tcp_test(far, near, address(1), megabytes=2)
    assert made.fdb()[host_mac(11), 0] == made.vtep(1)
    assert made.dropped() == {}
