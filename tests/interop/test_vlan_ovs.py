"""VLANs as Open vSwitch has them (VL-21): which ports a frame leaves by, and with which tag.

Its own translation of a frame into actions is the oracle (``ofproto/trace``). Meant to differ: an
access port of Open vSwitch takes no tagged frames, here it takes those of its VLAN, as the kernel's
bridge does (802.1Q-2018 6.9.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lib.frames import BROADCAST, VLAN, station, tag
from lib.oracle import packet
from lib.topology import Lab, Node
from lib.vlans import Mode, Tag
from vnetx_perf.openvswitch import Daemons

pytestmark = pytest.mark.root

SOURCE = station(0xFF)
#: What Open vSwitch calls a port, and the same of ours.
PORTS = {
    1: ("vlan_mode=trunk trunks=10,12", Mode.of(10, 12)),
    2: ("tag=10", Mode.of(untagged=(10,), pvid=10)),
    3: ("tag=12", Mode.of(untagged=(12,), pvid=12)),
    4: ("vlan_mode=native-tagged tag=10 trunks=10,12", Mode.of(10, 12, pvid=10)),
    5: ("vlan_mode=native-tagged tag=12 trunks=11,12", Mode.of(11, 12, pvid=12)),
    6: ("vlan_mode=native-untagged tag=12 trunks=10,12", Mode.of(10, untagged=(12,), pvid=12)),
    7: ("vlan_mode=native-untagged tag=11 trunks=10,11", Mode.of(10, untagged=(11,), pvid=11)),
    8: ("vlan_mode=trunk trunks=10,11,12,13", Mode.of(10, 11, 12, 13)),
}
ACCESS = (2, 3)
#: Each VID without and with a priority, beside no tag.
TAGS: list[list[Tag]] = [
    [],
    *([tag(vid, priority << 1)] for vid in (0, 10, 11, 12, 13, 14) for priority in (0, 5)),
]


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    """A bridge with the ports; they lead nowhere."""
    node = Node()
    running = Daemons(node)
    try:
        running.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        for number, (settings, _) in PORTS.items():
            node.ip(f"link add name p{number} type veth peer name h{number}")
            node.ip(f"link set p{number} up", f"link set h{number} up")
            running.vsctl(
                *("add-port", "br0", f"p{number}", *settings.split(), "--"),
                *("set", "interface", f"p{number}", f"ofport_request={number}"),
            )
        yield running
    finally:
        running.stop()
        node.close()


def numbers(daemons: Daemons) -> dict[str, int]:
    """Our ports by the numbers of the datapath."""
    shown = daemons.appctl("dpif/show")
    return {dp: int(name) for name, dp in re.findall(r"\bp(\d+) \d+/(\d+):", shown)}


def leaving(daemons: Daemons, entrance: int, tags: list[Tag]) -> dict[int, list[Tag]]:
    """Where a broadcast goes, by what Open vSwitch says."""
    flow = f"in_port={entrance},dl_src={SOURCE.hex(':')},dl_dst=ff:ff:ff:ff:ff:ff"
    for _, tci in tags:
        flow += f",dl_vlan={tci & 0xFFF},dl_vlan_pcp={tci >> 13}"
    told = daemons.appctl("ofproto/trace", "br0", f"{flow},dl_type=0xabcd")
    actions = re.search(r"^Datapath actions: (.*)$", told, re.MULTILINE)
    assert actions, told
    ports, now, found = numbers(daemons), list(tags), {}
    for action in re.findall(r"\w+(?:\([^)]*\))?", actions[1]):
        if action in ports:
            found[ports[action]] = list(now)
        elif action == "pop_vlan":
            now = now[1:]
        elif pushed := re.fullmatch(r"push_vlan\(vid=(\d+),pcp=(\d+)\)", action):
            now = [(VLAN, int(pushed[2]) << 13 | int(pushed[1])), *now]
        else:
            assert action == "drop" or action.isdigit(), told  # the bridge's own port
    return found


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_frames_leave_as_from_open_vswitch(daemons: Daemons, hook: str) -> None:
    with Lab() as lab:
        lab.add_hosts(*PORTS, addresses=False)
        switch = lab.switch(hook)
        switch.set_vlans({f"p{number}": mode for number, (_, mode) in PORTS.items()})
        rows = [(n, tags) for n in PORTS for tags in TAGS if not (n in ACCESS and _vid(tags))]
        assert len(rows) >= 59
        for entrance, tags in rows:
            expected = {
                number: [packet(BROADCAST, SOURCE, stack)]
                for number, stack in leaving(daemons, entrance, tags).items()
            }
            found = lab.inject(entrance, packet(BROADCAST, SOURCE, tags))
            assert {n: frames for n, frames in found.items() if frames} == expected, (
                entrance,
                tags,
            )


def _vid(tags: list[Tag]) -> int:
    return tags[0][1] & 0xFFF if tags else 0
