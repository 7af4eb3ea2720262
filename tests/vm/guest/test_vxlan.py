"""VXLAN over an underlay that is a VLAN device or a bond, and with Open vSwitch's datapath in the
kernel at the other end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lib.frames import VLAN
from lib.overlay import MTU, Overlay
from lib.topology import (
    Lab,
    Node,
    Tap,
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

VNI = 1000
VID = 7


@pytest.fixture
def overlay() -> Iterator[Overlay]:
    """h1 and h2 behind vnetx; the other host has only its address yet."""
    with Lab() as lab, Overlay(lab) as made:
        yield made


def nodes(overlay: Overlay) -> list[Node]:
    return [overlay.lab.near, *(other.near for other in overlay.others)]


def move_address(overlay: Overlay, number: int, device: str) -> None:
    """The address of a host in the underlay is that of another device."""
    nodes(overlay)[number].ip(
        "addr flush dev under",
        f"link set dev {device} up",
        f"addr add {overlay.vtep(number)}/24 dev {device}",
    )


def talk(overlay: Overlay, hook: str) -> None:
    """h1 and the kernel's h11: packets of all sizes, streams both ways."""
    near, far = overlay.lab.hosts[1], overlay.others[0].hosts[11]
    overlay.switch.attach("p1", "p2")
    overlay.vni(VNI, 1, underlay_hook=hook)
    wait_until(lambda: ping(near, ipv4(11)), "the overlay carries something")
    for address, header in ((ipv4, 28), (ipv6, 48)):
        neighbours_forgotten(near, far)
        for here, there in ((near, 11), (far, 1)):
            for size, options in ((56, ()), (1500 - header, ("-M", "do")), (3200, ())):
                assert ping(here, address(there), size=size, options=options)
        tcp_test(near, far, address(11), megabytes=1)
        tcp_test(far, near, address(1), megabytes=1)
    assert overlay.fdb()[host_mac(11), 0] == overlay.vtep(1)
    assert overlay.dropped() == {}


@pytest.mark.parametrize("hook", ["tc", "none"])
def test_a_vlan_device(overlay: Overlay, hook: str) -> None:
    """Outer packets have the tag of the underlay's VLAN."""
    for number, node in enumerate(nodes(overlay)):
        node.ip(f"link add link under name under.{VID} type vlan id {VID}")
        move_address(overlay, number, f"under.{VID}")
    overlay.kernel(1, VNI, 11)
    talk(overlay, hook)
    near = overlay.lab.near
    near.run("ethtool", "-K", "under", "tx", "off", "txvlan", "off")
    tap = Tap(near, "under", everything=True)
    assert ping(overlay.lab.hosts[1], ipv4(11))
    pings = [frame for frame in tap.received() if len(frame) >= 14 + 4 + 36 + 14 + 28 + 56]
    assert pings
    assert {frame[12:16] for frame in pings} == {VLAN.to_bytes(2) + VID.to_bytes(2)}


@pytest.mark.parametrize("hook", ["tc", "none"])
def test_a_bond(overlay: Overlay, hook: str) -> None:
    """The packets go by the other device of the bond when the first one has no carrier."""
    near = overlay.lab.near
    overlay.segment.ip(
        f"link add name t0 mtu {MTU} type veth peer name second mtu {MTU} netns {near.path}",
        "link set t0 up",
    )
    overlay.bridge.attach("t0")
    near.ip("link add name bond0 type bond mode active-backup miimon 20")
    for member in ("under", "second"):
        near.ip(f"link set dev {member} down", f"link set dev {member} master bond0")
    near.ip(f"link set dev bond0 mtu {MTU}")
    move_address(overlay, 0, "bond0")
    wait_until(lambda: carrier(near, "bond0"), "the bond has a carrier")
    overlay.kernel(1, VNI, 11)
    talk(overlay, hook)
    host = overlay.lab.hosts[1]
    for down, up in (("s0", "t0"), ("t0", "s0")):
        overlay.segment.ip(f"link set dev {up} up", f"link set dev {down} down")
        wait_until(lambda: ping(host, ipv4(11)), "the other device of the bond carries it")
        tcp_test(host, overlay.others[0].hosts[11], ipv4(11), megabytes=1)


@pytest.mark.parametrize("hook", ["tc", "none"])
def test_open_vswitch(overlay: Overlay, hook: str) -> None:
    """VX-35, with the datapath of the kernel."""
    other = overlay.others[0]
    other.add_hosts(11)
    wait_until(lambda: carrier(other.near, "p11"), "p11 has a carrier")
    daemons = Daemons(other.near)
    try:
        daemons.vsctl("add-br", "int")
        daemons.vsctl("add-port", "int", "p11")
        daemons.vsctl(
            *("add-port", "int", "vx0", "--", "set", "interface", "vx0", "type=vxlan"),
            *(f"options:remote_ip={overlay.vtep(0)}", f"options:key={VNI}"),
        )
        talk(overlay, hook)
    finally:
        daemons.stop()
