"""Rules: the VLAN of frames whose tag names none, by source address, IP subnet or protocol.

A rule by address comes before one by subnet, that before one by protocol, and all of them before
the port's PVID; of two rules of a kind the one with the longer prefix holds.  No I/O.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from vnetx import _abi, model
from vnetx.errors import InvalidValue

#: What a rule can look at, as the command line and documents call it.
KINDS = ("mac", "subnet", "protocol")

#: EtherTypes by name (IANA's registry "IEEE 802 Numbers").
PROTOCOLS = {
    "ipv4": 0x0800,
    "arp": 0x0806,
    "ipv6": 0x86DD,
    "pppoe-discovery": 0x8863,
    "pppoe-session": 0x8864,
    "lldp": 0x88CC,
}
#: Below, the field is the length of an 802.3 frame.
_FIRST_ETHERTYPE = 0x0600

_NUMBERS = _abi.VLAN_RULE_KINDS


@dataclass(frozen=True, order=True)
class Match:
    """The frames that a rule is about; in the order in which rules hold.

    Attributes:
        kind: one of ``enum vnetx_vlan_rule_kind``.
        rest: minus the bits of the prefix.
        prefix: 16 bytes in network order; those that do not count are 0.
    """

    kind: int
    rest: int
    prefix: bytes

    @classmethod
    def of(cls, kind: str, prefix: bytes, length: int) -> Match:
        """Of a kind by the name that the ABI has for it, and the first `length` bits."""
        return cls(_NUMBERS[kind], -length, prefix.ljust(16, b"\0"))

    @property
    def length(self) -> int:
        """Bits of the prefix."""
        return -self.rest

    @property
    def words(self) -> tuple[str, str]:
        """The kind and the value, as they would be typed."""
        if self.kind == _NUMBERS["mac"]:
            text = model.format_mac(self.prefix[:6])
            return "mac", text if self.length == 48 else f"{text}/{self.length}"
        if self.kind == _NUMBERS["protocol"]:
            number = int.from_bytes(self.prefix[:2], "big")
            names = {value: name for name, value in PROTOCOLS.items()}
            return "protocol", names.get(number, f"{number:#06x}")
        size = 4 if self.kind == _NUMBERS["ipv4"] else 16
        return "subnet", f"{ipaddress.ip_address(self.prefix[:size])}/{self.length}"

    def __str__(self) -> str:
        return " ".join(self.words)


#: A switch's rules: the VID by what it is about.
Rules = Mapping[Match, int]


def parse_mac(text: str) -> Match:
    """An address, or the first bits of one: ``02:00:5e:00:00:00/24``.

    Raises:
        InvalidValue: not an address, one that no station has, or bits beyond the prefix.
    """
    address, slash, bits = text.partition("/")
    mac = model.parse_mac(address)
    length = int(bits) if bits.isdecimal() else -1 if slash else 48
    if not 1 <= length <= 48:
        raise InvalidValue(f"MAC prefix '{text}'", "its length is not in 1 to 48")
    if mac[0] & 1 and length >= 8:
        raise InvalidValue(f"MAC prefix '{text}'", "no frame comes from a group address")
    if length == 48:
        model.check_station_mac(mac)
    kept = _kept(mac, length)
    if kept != mac:
        raise InvalidValue(
            f"MAC prefix '{text}'",
            "it has bits beyond its length",
            f"write {model.format_mac(kept)}/{length}",
        )
    return Match.of("mac", mac, length)


def parse_subnet(text: str) -> Match:
    """An IPv4 or IPv6 subnet, or one address.

    Raises:
        InvalidValue: neither, or an address within the subnet.
    """
    try:
        net = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidValue(
            f"subnet '{text}'", "not an IP subnet", "write 192.0.2.0/24 or 2001:db8::/64"
        ) from None
    written = ipaddress.ip_address(text.partition("/")[0])
    if net.network_address != written:
        raise InvalidValue(
            f"subnet '{text}'", "it has bits beyond its length", f"write {net.with_prefixlen}"
        )
    return Match.of(f"ipv{net.version}", net.network_address.packed, net.prefixlen)


def parse_protocol(text: str) -> Match:
    """An EtherType, by name or as a hexadecimal number.

    Raises:
        InvalidValue: unknown, or not in 0x0600 to 0xffff.
    """
    lowered = text.strip().lower()
    number = PROTOCOLS.get(lowered, -1)
    if lowered.startswith("0x"):
        try:
            number = int(lowered, 16)
        except ValueError:
            number = -1
    if not _FIRST_ETHERTYPE <= number <= 0xFFFF:
        raise InvalidValue(
            f"protocol '{text}'",
            "not an EtherType",
            f"give 0x0600 to 0xffff, or one of {', '.join(PROTOCOLS)}",
        )
    return Match.of("protocol", number.to_bytes(2, "big"), 16)


#: The parser of each of :data:`KINDS`.
PARSERS = dict(zip(KINDS, (parse_mac, parse_subnet, parse_protocol), strict=True))


def check(rules: Rules) -> Rules:
    """Rules that a switch can have.

    Raises:
        InvalidValue: too many, or a VID that no VLAN has.
    """
    if len(rules) > _abi.VLAN_RULES_MAX:
        raise InvalidValue("VLAN rules", f"a switch has {_abi.VLAN_RULES_MAX} at the most")
    for vid in rules.values():
        model.check_vid(vid)
    return rules


def _kept(value: bytes, length: int) -> bytes:
    """The first `length` bits, and zeros."""
    size = 8 * len(value)
    mask = (1 << size) - (1 << size - length)
    return (int.from_bytes(value, "big") & mask).to_bytes(len(value), "big")
