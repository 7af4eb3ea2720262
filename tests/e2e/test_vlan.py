"""VLANs from end to end: the table, frame by frame; real stacks on two switches and a trunk."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from scapy.layers.inet6 import ICMPv6ND_NS
from scapy.layers.l2 import ARP, Ether

from lib.frames import QINQ
from lib.oracle import Table
from lib.topology import (
    Joined,
    Lab,
    Tap,
    Vnetx,
    dhcp_lease,
    dhcp_server,
    host_mac,
    ipv4,
    ipv6,
    ping,
    tcp_test,
    udp_test,
)
from lib.vlans import CLASSIFIED, MODES, Mode

pytestmark = pytest.mark.root

HOOKS = ("tc", "xdp")  # on a veth, auto is tc
TRUNKS = {
    "tagged": Mode.of(10, 20),
    "native": Mode.of(10, untagged=(20,), pvid=20),
    "provider": Mode.of(10, 20, tpid=QINQ),
}
#: (Generic XDP leaves frames with VLANs to TC.)
WAYS = [*product(HOOKS, TRUNKS), ("xdp-generic", "tagged")]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_table(hook: str, lab: Lab) -> None:
    """Each port mode × each stack of tags: what arrives at every port, and the drops counted."""
    table = Table(lab, hook, MODES)
    assert table.check() >= 90
    assert isinstance(table.switch, Vnetx)
    counted = {name: port["stats"]["drops"] for name, port in table.switch.ports().items()}
    for mode, number in table.entrance.items():
        dropped = Counter(r for r in CLASSIFIED[mode].values() if isinstance(r, str))
        assert counted[f"p{table.home[mode]}"] == dropped, mode
        each = 1 + len(MODES)
        assert counted[f"p{number}"] == {reason: each * n for reason, n in dropped.items()}, mode


# ---------------------------------------------------------------- two switches and a trunk


@pytest.mark.parametrize(("hook", "trunk"), WAYS)
def test_hosts_of_a_vlan_reach_each_other_alone(hook: str, lab: Lab, trunk: str) -> None:
    two = Joined(lab, hook, hook, TRUNKS[trunk])
    two.ping_test()
    two.nothing_dropped()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_who_has_whom(hook: str, lab: Lab, trunk: str) -> None:
    """ARP and neighbour discovery ask over the trunk, with the VLAN's tag, and get an answer."""
    two = Joined(lab, hook, hook, TRUNKS[trunk])
    cable = Tap(lab.near, "t2", everything=True)
    for here, there in Joined.PAIRS:
        for address in (ipv4, ipv6):
            assert ping(lab.hosts[here], address(there))
            known = lab.hosts[here].json("ip", "-j", "neigh", "show", address(there))
            assert [entry["lladdr"] for entry in known] == [host_mac(there).hex(":")]
    asked = set()
    for data in cable.received():
        number = int.from_bytes(data[10:12])
        header = two.header(number)
        assert data[12:].startswith(header), data.hex()
        packet = Ether(data[:12] + data[12 + len(header) :])
        if ARP in packet and packet.op == 1:
            asked.add((number, "ARP"))
        elif ICMPv6ND_NS in packet:
            asked.add((number, "NS"))
    assert asked >= {(number, kind) for number in (1, 2) for kind in ("ARP", "NS")}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("trunk", ["tagged", "native"])
def test_dhcp(hook: str, lab: Lab, trunk: str) -> None:
    """A server in each VLAN, behind the trunk: each client hears of its own alone."""
    two = Joined(lab, hook, hook, TRUNKS[trunk], addresses=False)
    for number in (3, 4):
        lab.hosts[number].ip(f"addr add {ipv4(100 + number)}/24 dev h{number}")
        dhcp_server(lab.hosts[number], f"h{number}", ipv4(10 * number), ipv4(10 * number + 9))
    for number, server in ((1, 3), (2, 4)):
        lease = dhcp_lease(lab.hosts[number], f"h{number}")
        assert lease in [ipv4(10 * server + n) for n in range(10)]
    two.nothing_dropped()


@pytest.mark.parametrize(("hook", "trunk"), WAYS)
def test_streams(hook: str, lab: Lab, trunk: str) -> None:
    """XD-07: partial checksums and GSO packets get a tag and lose it; TC leaves them whole."""
    two = Joined(lab, hook, hook, TRUNKS[trunk])
    cable = Tap(lab.near, "t2", everything=True)
    for here, there, address in ((1, 3, ipv4), (4, 2, ipv6)):
        client, server = lab.hosts[here], lab.hosts[there]
        tcp_test(client, server, address(there), megabytes=4)
        for size in (1, 1472, 9000, 60000):
            udp_test(client, server, address(there), size, count=3)
    if hook == "tc":
        whole = [data for data in cable.received() if len(data) > 10 * 1514]
        assert whole, "the switch segmented"
        assert all(data[12:].startswith(two.header(int.from_bytes(data[10:12]))) for data in whole)
    two.nothing_dropped()
