"""What VLAN rules look at, as it is typed, and the order in which they hold."""

from __future__ import annotations

import pytest

from vnetx import vlan_rule
from vnetx.errors import InvalidValue


@pytest.mark.parametrize(
    ("kind", "typed", "shown"),
    [
        ("mac", "02-00-5E-00-00-01", "02:00:5e:00:00:01"),
        ("mac", "0200.5e00.0001/48", "02:00:5e:00:00:01"),
        ("mac", "02:00:5e:00:00:00/24", "02:00:5e:00:00:00/24"),
        ("mac", "00:00:00:00:00:00/1", "00:00:00:00:00:00/1"),
        ("subnet", "192.0.2.0/24", "192.0.2.0/24"),
        ("subnet", "192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("subnet", "192.0.2.7", "192.0.2.7/32"),
        ("subnet", "0.0.0.0/0", "0.0.0.0/0"),
        ("subnet", "2001:DB8:0::/64", "2001:db8::/64"),
        ("protocol", "IPv6", "ipv6"),
        ("protocol", "0x86DD", "ipv6"),
        ("protocol", "0x88b5", "0x88b5"),
    ],
)
def test_reading_and_telling(kind: str, typed: str, shown: str) -> None:
    match = vlan_rule.PARSERS[kind](typed)
    assert match.words == (kind, shown)
    assert vlan_rule.PARSERS[kind](shown) == match


@pytest.mark.parametrize(
    ("kind", "typed", "why", "remedy"),
    [
        ("mac", "02:00:5e:00:00", "not six bytes", "write"),
        ("mac", "02:00:5e:00:00:00/", "not in 1 to 48", ""),
        ("mac", "02:00:5e:00:00:00/0", "not in 1 to 48", ""),
        ("mac", "02:00:5e:00:00:00/49", "not in 1 to 48", ""),
        ("mac", "02:00:5e:00:00:01/24", "bits beyond", "write 02:00:5e:00:00:00/24"),
        ("mac", "01:00:5e:00:00:00/24", "group address", ""),
        ("mac", "00:00:00:00:00:00", "is zero", "one station"),
        ("subnet", "192.0.2.1/24", "bits beyond", "write 192.0.2.0/24"),
        ("subnet", "192.0.2.0/33", "not an IP subnet", "192.0.2.0/24"),
        ("subnet", "lab", "not an IP subnet", "192.0.2.0/24"),
        ("protocol", "0x05ff", "not an EtherType", "0x0600"),
        ("protocol", "0x10000", "not an EtherType", "0x0600"),
        ("protocol", "0xzz", "not an EtherType", "0x0600"),
        ("protocol", "34525", "not an EtherType", "ipv6"),
    ],
)
def test_errors(kind: str, typed: str, why: str, remedy: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        vlan_rule.PARSERS[kind](typed)
    assert why in caught.value.why
    assert remedy in caught.value.remedy


def test_they_sort_as_they_hold() -> None:
    typed = [
        ("mac", "02:00:5e:00:00:01"),
        ("mac", "02:00:5e:00:00:00/24"),
        ("subnet", "192.0.2.128/25"),
        ("subnet", "192.0.2.0/24"),
        ("subnet", "2001:db8::/64"),
        ("protocol", "arp"),
    ]
    matches = [vlan_rule.PARSERS[kind](value) for kind, value in typed]
    assert sorted(matches[3:] + matches[:3]) == matches


def test_there_is_a_limit() -> None:
    most = {vlan_rule.parse_subnet(f"10.{n >> 8}.{n & 255}.0/24"): 1 for n in range(65536)}
    assert vlan_rule.check(most) is most
    with pytest.raises(InvalidValue, match="65536 at the most"):
        vlan_rule.check({**most, vlan_rule.parse_protocol("arp"): 1})
