"""Values and their validation; no kernel."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetx import _abi, model
from vnetx.errors import InvalidValue, VnetxError
from vnetx.model import (
    ACCEPT,
    ALL_GROUPS,
    ENDPOINT_MODES,
    FIRST_VID,
    GROUP_NAMES,
    HOOKS,
    LAST_VID,
    VLAN_PROTOCOLS,
    PortSettings,
    SwitchSettings,
    Vlans,
    Vni,
    Wire,
    changed,
    check_station_mac,
    check_switch_name,
    format_groups,
    format_mac,
    format_share,
    format_vids,
    make_vlans,
    parse_groups,
    parse_mac,
    parse_share,
    parse_vid,
    parse_vids,
    vid_list,
)

MAC = bytes.fromhex("02005e0000ff")

# ------------------------------------------------------------------ MAC addresses


@pytest.mark.parametrize(
    "text",
    [
        "02:00:5e:00:00:ff",
        "02:00:5E:00:00:FF",
        "02-00-5e-00-00-ff",
        "0200.5e00.00ff",
        "0200.5E00.00FF",
        "02005e0000ff",
    ],
)
def test_usual_forms_of_a_mac(text: str) -> None:
    assert parse_mac(text) == MAC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "02:00:5e:00:00",
        "02:00:5e:00:00:ff:01",
        "02:00:5e:00:00:fg",
        "2:0:5e:0:0:ff",
        "02:00-5e:00-00:ff",
        "02005e0000f",
        "02005e0000ff00",
        "0200.5e0000ff",
        "02.00.5e.00.00.ff",
        " 02:00:5e:00:00:ff",
        "02:00:5e:00:00:ff\n",
        "02:00:5e:00:00:ff ",
        "۰۲:00:5e:00:00:ff",
    ],
)
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(InvalidValue, match="six bytes") as caught:
        parse_mac(text)
    assert caught.value.remedy


@given(st.binary(min_size=6, max_size=6))
def test_macs_there_and_back(mac: bytes) -> None:
    assert parse_mac(format_mac(mac)) == mac
    assert parse_mac(mac.hex("-").upper()) == mac
    assert re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", format_mac(mac))


@pytest.mark.parametrize(
    ("mac", "why"),
    [
        (bytes(6), "is zero"),
        (b"\xff" * 6, "broadcast"),
        (bytes.fromhex("01005e000001"), "multicast"),
        (bytes.fromhex("333300000001"), "multicast"),
    ],
)
def test_addresses_that_no_station_has(mac: bytes, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        check_station_mac(mac)


@given(st.binary(min_size=6, max_size=6))
def test_every_other_address_is_a_stations(mac: bytes) -> None:
    if any(mac) and not mac[0] & 1:
        assert check_station_mac(mac) == mac
    else:
        with pytest.raises(InvalidValue):
            check_station_mac(mac)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["a", "br0", "vnetx0", "lab.1", "a~b", "x" * 15, "-", "é" * 7])
def test_names_of_switches(name: str) -> None:
    assert check_switch_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "a:b", "a\tb", "a\n", "x" * 16, "é" * 8]
)
def test_names_that_no_interface_can_have(name: str) -> None:
    with pytest.raises(InvalidValue, match="not a name"):
        check_switch_name(name)


# ------------------------------------------------------------------ reserved groups


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("none", 0),
        ("off", 0),
        ("", 0),
        ("all", ALL_GROUPS),
        ("ON", ALL_GROUPS),
        ("0x4000", 0x4000),
        ("0x0", 0),
        ("0xffff", ALL_GROUPS),
        ("0", 1),
        ("e", 0x4000),
        ("E", 0x4000),
        ("lldp", 0x4000),
        ("lldp,lacp", 0x4004),
        ("0-3,e", 0x400F),
        ("stp-802.1x", 0x000F),
        ("0-f", ALL_GROUPS),
        ("5,5,5", 0x20),
    ],
)
def test_groups(text: str, mask: int) -> None:
    assert parse_groups(text) == mask


@pytest.mark.parametrize(
    "text",
    ["g", "10", "0x10000", "0x", "0xz", "-1", "3-1", "1-", "1,,2", "lldp,x", "0-10", "1-2-3"],
)
def test_unknown_groups(text: str) -> None:
    with pytest.raises(InvalidValue, match="group-forward"):
        parse_groups(text)


@given(st.integers(0, ALL_GROUPS))
def test_groups_there_and_back(mask: int) -> None:
    assert parse_groups(format_groups(mask)) == mask
    assert parse_groups(f"{mask:#x}") == mask


@given(st.text(max_size=12))
def test_any_text_is_a_mask_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        assert 0 <= parse_groups(text) <= ALL_GROUPS


def test_names_of_groups_are_single_addresses() -> None:
    for name, digit in GROUP_NAMES.items():
        assert parse_groups(name) == 1 << digit


# ------------------------------------------------------------------ settings of a port


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"hook": "bogus"}, "hook"),
        ({"learn_limit": -1}, "learn-limit"),
        ({"learn_limit": 2**32}, "learn-limit"),
        ({"storm": (-1, 0, 0)}, "broadcast"),
        ({"storm": (0, 1_000_000_001, 0)}, "multicast"),
        ({"storm": (0, 0, -5)}, "unknown-unicast"),
        ({"group_forward": 0x10000}, "group-forward"),
        ({"group_forward": -1}, "group-forward"),
        ({"accept": "some"}, "accept"),
        ({"priority": 8}, "priority"),
        ({"vlan_protocol": "isl"}, "vlan-protocol"),
        ({"vlan_protocol": "0x9400"}, "vlan-protocol"),
        ({"vlan_map": ((10, 4095),)}, "VLAN 4095"),
        ({"vlan_map": ((10, 20), (10, 30))}, "VLAN 10 wire"),
        ({"vlan_map": ((10, 20), (11, 20))}, "VLAN 20 inside"),
    ],
)
def test_wrong_settings_of_a_port(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        PortSettings(**wrong)


vids = st.integers(FIRST_VID, LAST_VID)


@st.composite
def vlans_of_ports(draw: st.DrawFn) -> Vlans:
    member = draw(st.sets(vids, max_size=20))
    untagged = draw(st.sets(st.sampled_from(sorted(member)))) if member else set()
    pvid = draw(st.sampled_from([0, *sorted(member)]))
    return Vlans(sum(1 << v for v in member), sum(1 << v for v in untagged), pvid)


settings_of_ports = st.builds(
    PortSettings,
    hook=st.sampled_from(HOOKS),
    learning=st.booleans(),
    flood_unicast=st.booleans(),
    flood_multicast=st.booleans(),
    flood_broadcast=st.booleans(),
    isolated=st.booleans(),
    hairpin=st.booleans(),
    up=st.booleans(),
    learn_limit=st.integers(0, 2**32 - 1),
    storm=st.tuples(*[st.integers(0, 10**9)] * 3),
    group_forward=st.integers(0, ALL_GROUPS),
    vlans=vlans_of_ports(),
    accept=st.sampled_from(ACCEPT),
    priority=st.integers(0, 7),
    vlan_protocol=st.sampled_from(sorted(VLAN_PROTOCOLS)),
    vlan_map=st.just(()) | st.just(((10, 110), (20, 10))),
)


@given(settings_of_ports)
def test_settings_of_a_port_there_and_back(settings: PortSettings) -> None:
    """Through the very struct that the data plane reads."""
    raw = _abi.pack_port(
        ifindex=7,
        flags=settings.flags() | _abi.PORT_FLAGS["peer"] | _abi.PORT_FLAGS["xdp"],
        learn_limit=settings.learn_limit,
        storm_pps=settings.storm,
        group_forward_own=settings.group_forward,
        hook_wanted=_abi.HOOKS[settings.hook],
        tpid=VLAN_PROTOCOLS[settings.vlan_protocol],
        priority=settings.priority << 13,
        pvid=settings.vlans.pvid,
    )
    sets = _abi.pack_port_vlans(settings.vlans.member, settings.vlans.untagged)
    found = PortSettings.from_abi(
        _abi.unpack_port(raw), _abi.unpack_port_vlans(sets), dict(settings.vlan_map)
    )
    assert found == settings


def test_a_port_without_sets_has_the_default_vlans() -> None:
    raw = _abi.pack_port(ifindex=7, tpid=0x8100, pvid=1)
    assert PortSettings.from_abi(_abi.unpack_port(raw)).vlans == Vlans()


def test_what_a_killed_command_left_can_be_read() -> None:
    """Its sets are written, its struct is not: PVID 10 is in none of them."""
    raw = _abi.pack_port(ifindex=7, tpid=0x8100, pvid=10)
    assert PortSettings.from_abi(_abi.unpack_port(raw), (1 << 20, 0)).vlans == Vlans(1 << 20, 0, 0)


@given(settings_of_ports)
def test_flags_are_settings_alone(settings: PortSettings) -> None:
    """What the machine knows of a device (host, peer, xdp) or a slot is not the user's to set."""
    flags = settings.flags()
    for name, bit in _abi.PORT_FLAGS.items():
        if name in {
            *(
                "host",
                "host_port",
                "no_host",
                "peer",
                "peer_retype",
                "xdp",
                "vlan",
                "shared",
                "vtep",
                "tun",
                "ipvlan",
                "l3",
                "l3s",
            ),
            *ENDPOINT_MODES,
        }:
            assert not flags & bit
        elif name in ("tagged_only", "untagged_only"):
            assert bool(flags & bit) == (settings.accept == name.partition("_")[0])
        elif name == "mapping":
            assert bool(flags & bit) == bool(settings.vlan_map)
        elif name == "storm":
            assert bool(flags & bit) == any(settings.storm)
        else:
            assert bool(flags & bit) == getattr(settings, name)


# ------------------------------------------------------------------ VLANs


@pytest.mark.parametrize(
    ("text", "vids"),
    [
        ("10", [10]),
        ("10,20-23", [10, 20, 21, 22, 23]),
        (" 1 , 4094 ", [1, 4094]),
        ("none", []),
        ("all", list(range(1, 4095))),
        ("1-4094", list(range(1, 4095))),
    ],
)
def test_lists_of_vids(text: str, vids: list[int]) -> None:
    assert vid_list(parse_vids(text)) == vids


@given(st.sets(vids))
def test_what_is_printed_is_read(members: set[int]) -> None:
    found = sum(1 << vid for vid in members)
    assert parse_vids(format_vids(found)) == found
    assert vid_list(found) == sorted(members)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", "is no VLAN"),
        ("4095", "is reserved"),
        ("1-4095", "is reserved"),
        ("5000", "is not in 1 to 4094"),
        ("20-10", "runs backwards"),
        ("ten", "is not a VID or a range"),
        ("10,,20", "is not a VID or a range"),
        ("-5", "is not a VID or a range"),
    ],
)
def test_wrong_lists_of_vids(text: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        parse_vids(text)


@pytest.mark.parametrize("text", ["", "ten", "10-20", "-1", "0", "4095"])
def test_wrong_vids(text: str) -> None:
    with pytest.raises(InvalidValue, match="VLAN"):
        parse_vid(text)
    assert parse_vid("4094") == 4094


def test_ports_as_bridge_vlan_has_them() -> None:
    vlans = Vlans().add(parse_vids("10,20"))
    assert (vlans.mode, format_vids(vlans.member), vlans.pvid) == ("trunk", "1,10,20", 1)
    vlans = vlans.add(1 << 30, untagged=True, pvid=True)
    assert (vlans.mode, format_vids(vlans.untagged), vlans.pvid) == ("hybrid", "1,30", 30)
    # given again without them, it has them no more (VL-11)
    vlans = vlans.add(1 << 30)
    assert (format_vids(vlans.untagged), vlans.pvid) == ("1", 0)
    vlans = vlans.remove(parse_vids("1,10"))
    assert (format_vids(vlans.member), vlans.untagged) == ("20,30", 0)
    assert Vlans().remove(1 << 1) == Vlans(0, 0, 0)
    assert Vlans.access(7).mode == "access"
    assert Vlans.trunk(parse_vids("5-6"), 4) == Vlans(0b1110000, 0b10000, 4)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"access": 10, "trunk": 1 << 20}, "access"),
        ({"access": 10, "pvid": 10}, "access"),
        ({"native": 10}, "goes with trunk alone"),
        ({"pvid": 10}, "the port is not in that VLAN"),
        ({"access": 4095}, "is reserved"),
        ({"trunk": 0b1100, "native": 2}, "both with tags and without"),
        ({"trunk": 0b1100, "untagged": 0b1000, "pvid": 3}, "both with tags and without"),
    ],
)
def test_what_excludes_each_other(said: dict[str, int], why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        make_vlans(**said)


# ------------------------------------------------------------------ settings of a switch


def test_defaults_are_the_headers() -> None:
    settings = SwitchSettings()
    assert settings.ageing == _abi.AGEING_DEFAULT == 300
    assert settings.fdb_size == _abi.FDB_DEFAULT
    assert settings.max_ports == _abi.MAX_PORTS >= 4000


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"ageing": 0}, "ageing"),
        ({"ageing": _abi.AGEING_MAX + 1}, "ageing"),
        ({"fdb_size": 15}, "fdb-size"),
        ({"fdb_size": _abi.FDB_MAX + 1}, "fdb-size"),
        ({"max_ports": 1}, "max-ports"),
        ({"max_ports": _abi.MAX_PORTS + 1}, "max-ports"),
        ({"group_forward": 0x10000}, "group-forward"),
        ({"mac": bytes(6)}, "MAC"),
        ({"mac": b"\xff" * 6}, "MAC"),
        ({"mac": b"\x01" + bytes(5)}, "MAC"),
    ],
)
def test_wrong_settings_of_a_switch(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        SwitchSettings(**wrong)


@pytest.mark.parametrize(
    "right",
    [{"ageing": 1}, {"ageing": _abi.AGEING_MAX}, {"fdb_size": 16}, {"max_ports": 2}, {"mac": MAC}],
)
def test_limits_are_inside(right: dict[str, object]) -> None:
    SwitchSettings(**right)


def test_changed() -> None:
    settings = PortSettings(isolated=True, learn_limit=3)
    assert changed(settings, learning=False, isolated=None) == PortSettings(
        isolated=True, learn_limit=3, learning=False
    )
    assert changed(settings) == settings
    with pytest.raises(InvalidValue):
        changed(settings, learn_limit=-1)


# ------------------------------------------------------------------ errors


def test_an_error_says_what_why_and_the_remedy() -> None:
    error = VnetxError("attaching eth9", "no such interface", "ip link lists them", "log")
    assert str(error) == "attaching eth9: no such interface\nip link lists them"
    assert error.detail == "log"
    assert str(VnetxError("a", "b")) == "a: b"


# ------------------------------------------------------------------ VNIs


@given(st.lists(st.ip_addresses().map(str), max_size=5))
def test_addresses_of_vteps_in_sixteen_bytes(texts: list[str]) -> None:
    """Whatever can be a VTEP comes back as it was, and no two share their bytes."""
    found = set()
    for text in texts:
        with contextlib.suppress(InvalidValue):
            found.add(model.parse_vtep(text))
    packed = {model.pack_address(address) for address in found}
    assert len(packed) == len(found)
    assert {model.unpack_address(raw) for raw in packed} == found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"local": "0.0.0.0"}, "not the address of one host"),
        ({"local": "ff02::1"}, "not the address of one host"),
        ({"local": "::ffff:192.0.2.1"}, "write the address itself"),
        ({"local": "192.0.2.1/24"}, "not an IPv4 or IPv6 address"),
        ({"local": "192.0.2.1", "remotes": ("192.0.2.1",)}, "is the local address"),
        ({"local": "2001:db8::1", "remotes": ("2001:DB8:0::1",)}, "is the local address"),
        ({"local": "2001:db8::1", "remotes": ("192.0.2.2",)}, "IPv4 and IPv6 are mixed"),
        ({"local": "192.0.2.1", "dstport": 0}, "not in 1 to 65535"),
        ({"local": "192.0.2.1", "ttl": 256}, "not in 0 to 255"),
        ({"local": "192.0.2.1", "tos": 3}, "nor a multiple of 4"),
        ({"local": "192.0.2.1", "tos": 256}, "nor a multiple of 4"),
        ({"local": "192.0.2.1", "vid": 4095}, "4095"),
        (
            {
                "local": "192.0.2.1",
                "remotes": tuple(f"10.0.{n >> 8}.{n & 255}" for n in range(1025)),
            },
            "1024 at most",
        ),
    ],
)
def test_vnis_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        Vni(**settings)


def test_remotes_are_a_set() -> None:
    """In one order, so that what is and what is asked for can be compared."""
    twice = Vni("192.0.2.1", remotes=("192.0.2.10", "192.0.2.9", "192.0.2.10"))
    assert twice.remotes == ("192.0.2.9", "192.0.2.10")
    assert twice == Vni("192.0.2.1", remotes=("192.0.2.9", "192.0.2.10"))


# ---------------------------------------------------------------- wires


@given(st.floats(0, 100).map(lambda percent: round(percent, 6)))
def test_shares_of_frames_keep_six_digits(percent: float) -> None:
    assert format_share(parse_share(percent)) == percent


def test_a_wire_has_one_form() -> None:
    wire = Wire(("b", "a"), loss=1e-9, cut=("b", "b"))
    assert wire == Wire(("a", "b"), cut=("b",))
    assert (wire.ends, wire.name, wire.loss) == (("a", "b"), "a - b", 0.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"loss": 100.1}, "loss 100.1"),
        ({"corrupt": float("nan")}, "corrupt nan"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 1 << 32}, "seed"),
        ({"cut": ("c",)}, "cut from c"),
        ({"hook": "xdp-generic"}, "hook 'xdp-generic' of a wire"),
        ({"ends": ("a", "a")}, "wire from a to a"),
        ({"ends": ("a", "b/c")}, "interface name 'b/c'"),
    ],
)
def test_what_no_wire_can_be(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Wire(**{"ends": ("a", "b"), **settings})
    assert caught.value.what.startswith(told)


def test_the_switch_sends_nothing_to_the_ends_of_wires() -> None:
    settings = Wire(("a", "b")).end_settings()
    flags = settings.flags()
    assert flags == 0
    assert (settings.vlans.member, settings.vlans.pvid) == (0, 0)
