"""Rules by which the VLAN of frames without one is told: source address, IP subnet, protocol, PVID.

Every frame goes through the data plane and through a model that was written from the order of
precedence alone; what arrives where is written down besides.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import frames
from lib.frames import ARP, IPV4, QINQ, frame, station, tag
from lib.model import DROP
from lib.pair import Pair

pytestmark = pytest.mark.root

A, B = station(1), station(2)
IPV6, LLDP = 0x86DD, 0x88CC
PVID, OTHERS = 1, (10, 20, 30, 40)


@pytest.fixture(params=["tc", "xdp"])
def ruled(request: pytest.FixtureRequest, pair: Pair) -> Pair:
    """Port 1 is untagged in all VLANs, with a PVID; port 2 is tagged in all; B is behind it."""
    xdp = request.param == "xdp"
    pair.how = {"xdp": "xdp"} if xdp else {}
    members = sum(1 << vid for vid in (PVID, *OTHERS))
    pair.access(1, PVID, members=members, untagged=members, xdp=xdp)
    pair.trunk(2, PVID, *OTHERS, xdp=xdp)
    for vid in (PVID, *OTHERS):
        pair.entry(B, 2, vid, static=True)
    return pair


def ip(
    source: str, protocol: int | None = None, tags: tuple[Any, ...] = (), src: bytes = A
) -> bytes:
    """An IP packet from an address, or an ARP request of it."""
    address = ipaddress.ip_address(source)
    if protocol == ARP:
        payload = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + src + address.packed + bytes(10)
    elif address.version == 4:
        payload = bytes([0x45]) + bytes(11) + address.packed + bytes(24)
    else:
        payload = bytes([0x60]) + bytes(7) + address.packed + bytes(16)
    ether = protocol or (IPV4 if address.version == 4 else IPV6)
    head = frame(B, src, 0, proto=ether, tags=tags)
    return head + payload


def vlan_of(pair: Pair, data: bytes, times: int = 2) -> int:
    """The VLAN in which the frame leaves by port 2: decided, and perhaps by a flow."""
    found = set()
    for _ in range(times):
        outcome = pair.inject(1, data, **pair.how)
        pair.check()
        assert outcome.to == 2
        found.add(int.from_bytes(outcome.frames[2][14:16]) & 0xFFF)
    assert len(found) == 1
    return found.pop()


def test_without_rules_it_is_the_pvid(ruled: Pair) -> None:
    assert vlan_of(ruled, frame(B, A)) == PVID
    ruled.vlan_rules({("mac", "02:00:5e:00:00:01"): 10})
    assert vlan_of(ruled, frame(B, A)) == 10
    ruled.vlan_rules({})
    assert vlan_of(ruled, frame(B, A)) == PVID


def test_the_longest_prefix_of_an_address(ruled: Pair) -> None:
    ruled.vlan_rules(
        {
            ("mac", "02:00:5e:00:00:00/24"): 10,
            ("mac", "02:00:5e:00:01:00/40"): 20,
            ("mac", "02:00:5e:00:01:07"): 30,
        }
    )
    for number, vid in ((0x0001, 10), (0x0101, 20), (0x0107, 30)):
        assert vlan_of(ruled, frame(B, station(number))) == vid
    assert vlan_of(ruled, frame(B, bytes.fromhex("02005f000001"))) == PVID


@pytest.mark.parametrize(
    ("data", "vid"),
    [
        (ip("192.0.2.7"), 10),
        (ip("192.0.2.200"), 20),
        (ip("192.0.2.7", ARP), 10),
        (ip("192.0.2.200", ARP), 20),
        (ip("198.51.100.1"), PVID),
        (ip("198.51.100.1", ARP), PVID),
        (ip("2001:db8::1"), 30),
        (ip("2001:db8:1::1"), PVID),
        (ip("0.0.0.0"), PVID),
        (ip("192.0.2.7", tags=(tag(0, 5),)), 10),
        (ip("192.0.2.7", ARP, tags=(tag(0, 5),)), 10),
        (ip("2001:db8::1", tags=(tag(0, 5),)), 30),
        (ip("192.0.2.7", tags=(tag(40),)), 40),
        (ip("192.0.2.7", tags=(tag(9, tpid=QINQ),)), PVID),
        (ip("192.0.2.7", ARP)[:31], PVID),
    ],
)
def test_subnets(ruled: Pair, data: bytes, vid: int) -> None:
    """ARP is of its sender's subnet; a packet that is cut off before the address of none."""
    ruled.vlan_rules(
        {
            ("subnet", "192.0.2.0/24"): 10,
            ("subnet", "192.0.2.192/26"): 20,
            ("subnet", "2001:db8::/48"): 30,
        }
    )
    assert vlan_of(ruled, data) == vid


@pytest.mark.parametrize("data", [ip("192.0.2.7")[:29], ip("2001:db8::1")[:37]])
@pytest.mark.parametrize("ruled", ["xdp"], indirect=True)
def test_packets_that_are_cut_off(ruled: Pair, data: bytes) -> None:
    """The kernel gives no such packet to a test run of TC."""
    ruled.vlan_rules({("subnet", "0.0.0.0/0"): 10, ("subnet", "::/0"): 20})
    assert vlan_of(ruled, data) == PVID


@pytest.mark.parametrize(
    ("at", "value"), [(0, b"\0\6"), (2, b"\x86\xdd"), (4, b"\x08"), (5, b"\x10")]
)
def test_arp_for_something_else(ruled: Pair, at: int, value: bytes) -> None:
    ruled.vlan_rules({("subnet", "192.0.2.0/24"): 10})
    data = bytearray(ip("192.0.2.7", ARP))
    data[14 + at : 14 + at + len(value)] = value
    assert vlan_of(ruled, bytes(data)) == PVID


@pytest.mark.parametrize(
    ("data", "vid"),
    [
        (frame(B, A, proto=LLDP), 10),
        (frame(B, A, proto=LLDP, tags=(tag(0, 3),)), 10),
        (frame(B, A, proto=LLDP, tags=(tag(9, tpid=QINQ),)), 20),
        (frame(B, A, proto=LLDP, tags=(tag(0), tag(9))), PVID),
        (frame(B, A, proto=IPV4), PVID),
        (frame(B, A, proto=38), PVID),
    ],
)
def test_protocols(ruled: Pair, data: bytes, vid: int) -> None:
    """Behind a priority tag; a tag that the port does not heed is the protocol itself."""
    ruled.vlan_rules({("protocol", "lldp"): 10, ("protocol", "0x88a8"): 20})
    assert vlan_of(ruled, data) == vid


def test_precedence(ruled: Pair) -> None:
    """Address, subnet, protocol, PVID; and a tag before all of them."""
    data = ip("192.0.2.7")
    rules = {
        ("protocol", "ipv4"): 30,
        ("subnet", "0.0.0.0/0"): 20,
        ("mac", "02:00:00:00:00:00/8"): 10,
    }
    given_: dict[tuple[str, str], int] = {}
    assert vlan_of(ruled, data) == PVID
    for rule, vid in rules.items():
        given_[rule] = vid
        ruled.vlan_rules(dict(given_))
        assert vlan_of(ruled, data) == vid
    assert vlan_of(ruled, ip("192.0.2.7", tags=(tag(40),))) == 40


def test_frames_between_the_same_addresses_differ(ruled: Pair) -> None:
    """What was told by the content of one frame is not remembered for the next."""
    ruled.vlan_rules({("protocol", "lldp"): 10, ("subnet", "192.0.2.0/24"): 20})
    for _ in range(2):
        assert vlan_of(ruled, frame(B, A, proto=LLDP), times=1) == 10
        assert vlan_of(ruled, ip("192.0.2.1"), times=1) == 20
        assert vlan_of(ruled, ip("198.51.100.1"), times=1) == PVID


def test_addresses_alone_make_flows(ruled: Pair) -> None:
    """A rule by address costs the first frame of a flow something, and the others nothing."""
    ruled.vlan_rules({("mac", "02:00:5e:00:00:01"): 10})
    vlan_of(ruled, frame(B, A), times=4)
    assert any(flow["vid"] == 10 for flow in ruled.plane.flows())


def test_a_host_keeps_its_vlan_on_another_port(ruled: Pair) -> None:
    members = 1 << PVID | 1 << 10
    ruled.access(3, PVID, members=members, untagged=members, xdp=bool(ruled.how))
    ruled.vlan_rules({("mac", "02:00:5e:00:00:01"): 10})
    for port in (1, 3, 1):
        outcome = ruled.inject(port, frame(frames.BROADCAST, A), **ruled.how)
        assert outcome.frames[2][12:16] == struct.pack("!HH", *tag(10))
        assert ruled.plane.fdb()[10, A]["port"] == port


def test_the_port_has_to_be_in_the_vlan(ruled: Pair) -> None:
    ruled.vlan_rules({("mac", "02:00:5e:00:00:01"): 999})
    assert ruled.inject(1, frame(B, A), **ruled.how).verdict == DROP
    ruled.check()
    assert ruled.plane.maps.reasons()[1] == {"vlan_ingress": 1}


def test_a_port_of_tagged_frames_alone_asks_no_rule(ruled: Pair) -> None:
    ruled.change(1, tagged_only=True)
    ruled.vlan_rules({("mac", "02:00:5e:00:00:01"): 10})
    assert ruled.inject(1, frame(B, A), **ruled.how).verdict == DROP
    assert ruled.plane.maps.reasons()[1] == {"vlan_type": 1}


_MACS = ("02:00:5e:00:00:01", "02:00:5e:00:00:00/46", "02:00:5e:00:00:00/24", "02:00:00:00:00:00/8")
_NETS = ("192.0.2.0/24", "192.0.2.4/30", "192.0.2.5/32", "0.0.0.0/0", "2001:db8::/32", "::/0")
_TYPES = ("ipv4", "arp", "ipv6", "lldp", "0x88b5")
_RULES = st.one_of(
    st.tuples(st.just("mac"), st.sampled_from(_MACS)),
    st.tuples(st.just("subnet"), st.sampled_from(_NETS)),
    st.tuples(st.just("protocol"), st.sampled_from(_TYPES)),
)
_FRAMES = st.builds(
    lambda source, protocol, tags, src: ip(source, protocol, tags, station(src)),
    st.sampled_from(("192.0.2.5", "192.0.2.6", "192.0.2.9", "198.51.100.1")),
    st.sampled_from((None, ARP, LLDP, frames.TEST)),
    st.sampled_from(((), (tag(0, 3),), (tag(9, tpid=QINQ),), (tag(20),))),
    st.integers(1, 5),
) | st.builds(ip, st.sampled_from(("2001:db8::1", "2001:db9::1")))


@settings(max_examples=60)
@given(
    rules=st.dictionaries(_RULES, st.sampled_from((PVID, *OTHERS)), max_size=8),
    data=st.lists(_FRAMES, min_size=1, max_size=6),
)
def test_any_rules(ruled: Pair, rules: dict[tuple[str, str], int], data: list[bytes]) -> None:
    ruled.vlan_rules(rules)
    for each in data:
        vlan_of(ruled, each)


def test_what_was_set_is_what_is_there(pair: Pair) -> None:
    from vnetx import vlan_rule

    rules = {
        vlan_rule.parse_protocol("ipv6"): 1,
        vlan_rule.parse_subnet("0.0.0.0/0"): 4094,
        vlan_rule.parse_subnet("2001:db8::/33"): 3,
        vlan_rule.parse_mac("02:00:00:00:00:00/7"): 2,
        vlan_rule.parse_mac("02:00:5e:00:00:01"): 4,
    }
    maps = pair.plane.maps
    for wanted in (rules, dict(list(rules.items())[:2]), {}):
        maps.set_vlan_rules(wanted)
        assert list(maps.vlan_rules().items()) == sorted(wanted.items())
        kinds = sum({1 << match.kind for match in wanted})
        assert maps.switch()["vlan_rules"] == kinds
