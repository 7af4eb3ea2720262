"""Which port is in which VLAN: both sides of it agree, whatever was there before."""

from __future__ import annotations

import pytest

from lib.dataplane import Dataplane
from vnetx import _abi, _vlan
from vnetx.datapath.maps import SwitchMaps
from vnetx.model import ALL_VIDS, parse_vids, vid_list

pytestmark = pytest.mark.root


@pytest.fixture
def maps(plane: Dataplane) -> SwitchMaps:
    plane.touched = plane.max_ports
    return plane.maps


def ports_by_vlan(maps: SwitchMaps) -> dict[int, tuple[int, int]]:
    return dict(sorted(maps.all_vlan_ports().items()))


def test_ports_of_vlans_are_those_whose_vlans_they_are(maps: SwitchMaps) -> None:
    maps.set_port_vlans(3, parse_vids("10,20"), parse_vids("10"))
    maps.set_port_vlans(30, parse_vids("20,4094"), 0)
    assert ports_by_vlan(maps) == {
        10: (1 << 3, 1 << 3),
        20: (1 << 3 | 1 << 30, 0),
        4094: (1 << 30, 0),
    }
    maps.set_port_vlans(3, parse_vids("20-21"), parse_vids("20"))
    assert ports_by_vlan(maps) == {
        20: (1 << 3 | 1 << 30, 1 << 3),
        21: (1 << 3, 0),
        4094: (1 << 30, 0),
    }
    maps.reset_port(30)
    maps.reset_port(3)
    assert ports_by_vlan(maps) == {}
    assert maps.port_vlans(3) == (0, 0)


def test_all_vlans(maps: SwitchMaps) -> None:
    maps.set_port_vlans(5, ALL_VIDS, ALL_VIDS)
    assert list(ports_by_vlan(maps)) == vid_list(ALL_VIDS)
    assert maps.port_vlans(5) == (ALL_VIDS, ALL_VIDS)
    assert maps.vlan_ports(4094) == (1 << 5, 1 << 5)


def test_what_a_killed_command_began_is_gone_with_the_next(maps: SwitchMaps) -> None:
    """The VLANs name the port, and it does not know of them yet."""
    maps.set_port_vlans(7, parse_vids("10"), 0)
    _vlan.set_members(maps.fds["vlans"], [(7, _abi.pack_port_vlans(parse_vids("10,30-40"), 0))])
    maps.set_port_vlans(7, parse_vids("11"), 0)
    assert ports_by_vlan(maps) == {11: (1 << 7, 0)}
    _vlan.set_members(maps.fds["vlans"], [(7, _abi.pack_port_vlans(parse_vids("30"), 0))])
    maps.reset_port(7)
    assert ports_by_vlan(maps) == {}


def test_mappings(maps: SwitchMaps) -> None:
    maps.set_vlan_mapping(3, {10: 110, 20: 10})
    maps.set_vlan_mapping(4, {10: 210})
    assert maps.vlan_mappings() == {3: {10: 110, 20: 10}, 4: {10: 210}}
    maps.set_vlan_mapping(3, {10: 120})
    assert maps.vlan_mappings() == {3: {10: 120}, 4: {10: 210}}
    maps.reset_port(3)
    maps.set_vlan_mapping(4, {})
    assert maps.vlan_mappings() == {}
