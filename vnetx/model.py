"""What a switch is: values and their validation. No I/O.

The names of settings are those of the command line with ``_`` for ``-``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from vnetx import _abi
from vnetx.errors import InvalidValue

DEFAULT_SWITCH = "vnetx0"
#: The switch of wires, which has no host port.
WIRES_SWITCH = "wires"
HOOKS = ("auto", "xdp", "xdp-generic", "tc")
STORM_KINDS = ("broadcast", "multicast", "unknown-unicast")

#: 01:80:c2:00:00:00-0f, one bit each (802.1Q-2018 Table 8-1).
ALL_GROUPS = 0xFFFF
GROUP_NAMES = {"stp": 0x0, "pause": 0x1, "lacp": 0x2, "802.1x": 0x3, "lldp": 0xE}

_IFNAME = re.compile(r"[^\s/:]{1,15}")
_MAC = re.compile(r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.IGNORECASE)
_MAC_BARE = re.compile(r"[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.IGNORECASE)


def parse_mac(text: str) -> bytes:
    """Six bytes of a MAC address in any usual form (``:``, ``-``, Cisco's dots, bare).

    Raises:
        InvalidValue: it is not one.
    """
    if not (_MAC.fullmatch(text) or _MAC_BARE.fullmatch(text)):
        raise InvalidValue(
            f"MAC address '{text}'", "not six bytes in hexadecimal", "write 02:00:5e:00:00:01"
        )
    return bytes.fromhex(re.sub("[:.-]", "", text))


def format_mac(mac: bytes) -> str:
    """Lower case with colons."""
    return mac.hex(":")


def check_station_mac(mac: bytes) -> bytes:
    """An address that one station can have: neither zero nor a group (nor broadcast).

    Raises:
        InvalidValue: it is not.
    """
    for wrong, why in (
        (not any(mac), "is zero"),
        (mac == b"\xff" * 6, "is the broadcast address"),
        (mac[0] & 1, "is a multicast (group) address"),
    ):
        if wrong:
            raise InvalidValue(
                f"MAC address {format_mac(mac)}", why, "give the address of one station"
            )
    return mac


def check_interface_name(name: str, kind: str = "interface") -> str:
    """A name that an interface can have.

    Args:
        name: the name.
        kind: what it is the name of, for errors.

    Raises:
        InvalidValue: longer than 15 bytes, empty, or with ``/``, ``:`` or white space.
    """
    if not _IFNAME.fullmatch(name) or len(name.encode()) > 15 or name in (".", ".."):
        raise InvalidValue(
            f"{kind} name '{name}'",
            "not a name that an interface can have",
            "1 to 15 characters without '/', ':' and white space",
        )
    return name


def check_switch_name(name: str) -> str:
    """A switch is named as an interface is (its host port carries the name).

    Raises:
        InvalidValue: as :func:`check_interface_name`.
    """
    return check_interface_name(name, "switch")


def parse_groups(text: str) -> int:
    """A mask of reserved group addresses from ``none``, ``all``, a number as the kernel's
    group_fwd_mask (``0x4000``), or a list of last digits, ranges and names
    (``lldp,lacp,0-3,e``).

    Raises:
        InvalidValue: one of them is unknown.
    """
    lowered = text.strip().lower()
    if lowered in ("", "none", "off"):
        return 0
    if lowered in ("all", "on"):
        return ALL_GROUPS
    if lowered.startswith("0x"):
        try:
            mask = int(lowered, 16)
        except ValueError:
            mask = -1
        if 0 <= mask <= ALL_GROUPS:
            return mask
        raise InvalidValue(f"group-forward '{text}'", "not a mask of 16 bits")
    mask = 0
    for part in lowered.split(","):
        first, dash, last = part.partition("-")
        try:
            low = GROUP_NAMES[first] if first in GROUP_NAMES else int(first, 16)
            high = low if not dash else GROUP_NAMES[last] if last in GROUP_NAMES else int(last, 16)
        except ValueError:
            low, high = 1, 0
        if not 0 <= low <= high <= 0xF:
            raise InvalidValue(
                f"group-forward '{part}'",
                "not one of 01:80:c2:00:00:00 to 0f",
                f"give 0 to f, a range, {', '.join(GROUP_NAMES)}, all or none",
            )
        for bit in range(low, high + 1):
            mask |= 1 << bit
    return mask


def format_groups(mask: int) -> str:
    """The inverse of :func:`parse_groups`: ``none``, ``all`` or digits (``2,e``)."""
    if mask == ALL_GROUPS:
        return "all"
    return ",".join(f"{bit:x}" for bit in range(16) if mask >> bit & 1) or "none"


# ---------------------------------------------------------------- VLANs

#: Kinds of tags that a port heeds, and their TPIDs (802.1Q-2018 Table 9-1).
VLAN_PROTOCOLS = {
    "802.1q": 0x8100,
    "802.1ad": 0x88A8,
    # pre-standard ones, under which providers' equipment still tags
    "0x9100": 0x9100,
    "0x9200": 0x9200,
    "0x9300": 0x9300,
}
ACCEPT = ("all", "tagged", "untagged")
#: VIDs that a VLAN can have; 0 is none and 4095 reserved (802.1Q-2018 Table 9-2).
FIRST_VID, LAST_VID = 1, 4094
DEFAULT_VID = 1
ALL_VIDS = (1 << LAST_VID + 1) - (1 << FIRST_VID)


def check_vid(vid: int) -> int:
    """A VLAN identifier that a VLAN can have.

    Raises:
        InvalidValue: it is 0, 4095 or beyond.
    """
    if not FIRST_VID <= vid <= LAST_VID:
        why = {0: "is no VLAN: it says that a tag has a priority only", 4095: "is reserved"}
        raise InvalidValue(
            f"VLAN {vid}",
            why.get(vid, f"is not in {FIRST_VID} to {LAST_VID}"),
            f"VLANs are {FIRST_VID} to {LAST_VID} (802.1Q)",
        )
    return vid


def parse_vid(text: str) -> int:
    """One VID.

    Raises:
        InvalidValue: not a number, or one that no VLAN has.
    """
    if not text.strip().isdecimal():
        raise InvalidValue(f"VLAN '{text}'", "is not a VID", "write 10")
    return check_vid(int(text))


def parse_vids(text: str) -> int:
    """A set of VIDs, bit n for VID n, from ``10``, ``10,20-30``, ``all`` or ``none``.

    Raises:
        InvalidValue: not a list of VIDs, or one that no VLAN has.
    """
    lowered = text.strip().lower()
    if lowered in ("none", ""):
        return 0
    if lowered == "all":
        return ALL_VIDS
    vids = 0
    for part in lowered.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidValue(
                f"VLANs '{text}'", f"'{part}' is not a VID or a range", "write 10,20-30"
            )
        low, high = int(first), int(last or first)
        for vid in (low, high):
            check_vid(vid)
        if low > high:
            raise InvalidValue(f"VLANs '{text}'", f"'{part}' runs backwards", "write 10,20-30")
        vids |= (1 << high + 1) - (1 << low)
    return vids


def vid_ranges(vids: int) -> list[tuple[int, int]]:
    """The set as (first, last) of its ranges, ascending."""
    ranges = []
    while vids:
        low = (vids & -vids).bit_length() - 1
        run = vids >> low
        length = (~run & run + 1).bit_length() - 1
        ranges.append((low, low + length - 1))
        vids &= ~((1 << low + length) - (1 << low))
    return ranges


def vid_list(vids: int) -> list[int]:
    """The members of the set, ascending."""
    return [vid for low, high in vid_ranges(vids) for vid in range(low, high + 1)]


def format_vids(vids: int) -> str:
    """The inverse of :func:`parse_vids`: ``none``, ``all`` or ranges (``10,20-30``)."""
    if vids == ALL_VIDS:
        return "all"
    parts = (f"{low}" if low == high else f"{low}-{high}" for low, high in vid_ranges(vids))
    return ",".join(parts) or "none"


@dataclass(frozen=True)
class Vlans:
    """The VLANs of a port, as ``bridge vlan`` has them.

    Attributes:
        member: those that the port is in, bit n for VID n.
        untagged: those of which frames leave without a tag; some of `member`.
        pvid: the one of frames that come untagged, 0 for none: they are dropped.
    """

    member: int = 1 << DEFAULT_VID
    untagged: int = 1 << DEFAULT_VID
    pvid: int = DEFAULT_VID

    def __post_init__(self) -> None:
        if self.pvid:
            check_vid(self.pvid)
            if not self.member >> self.pvid & 1:
                raise InvalidValue(f"PVID {self.pvid}", "the port is not in that VLAN")
        if self.untagged & ~self.member:
            vids = format_vids(self.untagged & ~self.member)
            raise InvalidValue(f"untagged VLANs {vids}", "the port is not in them")
        if self.member & ~ALL_VIDS:
            raise InvalidValue("VLANs", f"VIDs are {FIRST_VID} to {LAST_VID}")

    @classmethod
    def access(cls, vid: int) -> Vlans:
        """In one VLAN, untagged."""
        bit = 1 << check_vid(vid)
        return cls(bit, bit, vid)

    @classmethod
    def trunk(cls, vids: int, native: int = 0) -> Vlans:
        """In VLANs with tags, and in `native`, if there is one, without."""
        bit = 1 << check_vid(native) if native else 0
        return cls(vids | bit, bit, native)

    def add(self, vids: int, *, untagged: bool = False, pvid: bool = False) -> Vlans:
        """With `vids` as well, in this way (``bridge vlan add``).

        Raises:
            InvalidValue: several PVIDs.
        """
        found = vid_list(vids)
        if pvid and len(found) != 1:
            raise InvalidValue("PVID", f"{len(found)} VLANs are given, and a port has one PVID")
        kept = 0 if self.pvid in found else self.pvid
        return Vlans(
            self.member | vids,
            self.untagged | vids if untagged else self.untagged & ~vids,
            found[0] if pvid else kept,
        )

    def remove(self, vids: int) -> Vlans:
        """Without `vids` (``bridge vlan del``)."""
        return Vlans(
            self.member & ~vids,
            self.untagged & ~vids,
            0 if vids >> self.pvid & 1 else self.pvid,
        )

    @property
    def mode(self) -> str:
        """ "access", "trunk" or "hybrid"."""
        own = 1 << self.pvid if self.pvid else 0
        if self.member == self.untagged == own != 0:
            return "access"
        return "trunk" if self.untagged in (0, own) else "hybrid"


def make_vlans(
    access: int | None = None,
    trunk: int | None = None,
    native: int | None = None,
    untagged: int | None = None,
    pvid: int | None = None,
) -> Vlans | None:
    """The VLANs of a port from what was said of it, None if nothing was; all VLANs are all others.

    Raises:
        InvalidValue: things that exclude each other.
    """
    if access is not None and not (trunk is native is untagged is pvid is None):
        raise InvalidValue(
            "access", "an access port is in one VLAN, untagged", "give trunk for several"
        )
    if native is not None and not (trunk is not None and untagged is pvid is None):
        raise InvalidValue("native", "goes with trunk alone", "give untagged and pvid for a mix")
    if access is not None:
        return Vlans.access(access)
    both = (trunk or 0) & ((untagged or 0) | (1 << native if native else 0))
    if both and trunk != ALL_VIDS:
        raise InvalidValue(
            f"VLAN {format_vids(both)}",
            "is given both with tags and without",
            f"leave it out of trunk {format_vids(trunk or 0)}",
        )
    if untagged is not None or pvid is not None:
        bare = untagged or 0
        return Vlans((trunk or 0) & ~bare | bare, bare, pvid or 0)
    return None if trunk is None else Vlans.trunk(trunk, native or 0)


def parse_address(text: str) -> str:
    """An IPv4 or IPv6 address of an interface with its length, in the canonical form.

    Raises:
        InvalidValue: it is none, or has no length.
    """
    try:
        if "/" not in text:
            raise ValueError
        return str(ipaddress.ip_interface(text))
    except ValueError:
        raise InvalidValue(
            f"address '{text}'", "not an address with a length", "write 192.0.2.1/24"
        ) from None


def parse_route(destination: str, gateway: str) -> tuple[str, str]:
    """A network, or "default", and the address of the router that leads there, canonical.

    Raises:
        InvalidValue: one of them is none, or they are not of one family.
    """
    what = f"route '{destination} via {gateway}'"
    try:
        router = ipaddress.ip_address(gateway)
        everything = "0.0.0.0/0" if router.version == 4 else "::/0"
        network = ipaddress.ip_network(everything if destination == "default" else destination)
    except ValueError:
        raise InvalidValue(what, "not a network and an address", "default=192.0.2.1") from None
    if router.version != network.version:
        raise InvalidValue(what, "IPv4 and IPv6 are mixed")
    return str(network), str(router)


#: The UDP port of VXLAN (RFC 7348, 5).
VXLAN_PORT = 4789
LAST_VNI = _abi.VNI_MAX
#: As `Vni.tos`: outer packets have the DSCP of the inner ones.
TOS_INHERIT = _abi.TOS_INHERIT


#: Where programs may write outer headers and take them off.
UNDERLAY_HOOKS = ("tc", "xdp", "none")


@dataclass(frozen=True)
class Vni:
    """What is encapsulated with a VNI, and where it goes.

    Attributes:
        local: this VTEP's own address, IPv4 or IPv6.
        vid: the VLAN that the VNI is; 0 for all of a switch that is not VLAN-aware.
        remotes: VTEPs that flooded frames go to, at most 1024, of the family of `local`.
        group: a multicast group, IPv4, that they go to beside that; the host joins it.
        dstport: UDP port of the VTEPs.
        dev: the device of the underlay that tells how large packets may be; None for the one by
            which the route to the first remote leads, or that has the local address.
        learning: addresses are learned from what VTEPs send.
        learn_limit: VTEPs teach no more once so many addresses are learned in the VNI, those of
            local ports counted too; 0 for no limit.
        vtep_learn_limit: most addresses that are learned from each VTEP, 0 for no limit; of several
            VNIs of a UDP port the smallest one holds.
        ttl: of outer packets, 1 to 255; 0 for the kernel's default.
        tos: DSCP of outer packets, as the upper six bits of 0 to 252; 1: as the inner one has it.
        df: outer packets may not be fragmented.
        clamp_mss: TCP's maximum segment size, of SYNs in both directions, is made to fit.
        gbp: the mark of packets is carried, as VXLAN's group policy extension; all VNIs of a UDP
            port have it, or none.
        ignore_reserved: packets with reserved bits in their header are taken, as RFC 7348, 5 has
            it, and not dropped, as Linux has it; all VNIs of a UDP port have it, or none.
        udp6_zero_checksum: UDP has no checksum over IPv6, as over IPv4 (RFC 6935; RFC 6936, 4 says
            where that is allowed); those of other VTEPs are taken in any case.
        neigh_suppress: ARP and ND requests for hosts that are known to be behind VTEPs are answered
            here, and not flooded.
        neighbours: MAC addresses by IP address, of such hosts, beside those that are learned.
        underlay_hook: where programs write outer headers and take them off: "tc"; "xdp" for devices
            of the underlay whose packets come from a wire and go to a wire; "none": the kernel does
            all of it, with its firewall and IPsec.
    """

    local: str
    vid: int = 0
    remotes: tuple[str, ...] = ()
    group: str | None = None
    dstport: int = VXLAN_PORT
    dev: str | None = None
    learning: bool = True
    learn_limit: int = 0
    vtep_learn_limit: int = 0
    ttl: int = 0
    tos: int = 0
    df: bool = False
    clamp_mss: bool = False
    gbp: bool = False
    ignore_reserved: bool = False
    udp6_zero_checksum: bool = False
    neigh_suppress: bool = False
    neighbours: Mapping[str, bytes] = field(default_factory=dict)
    underlay_hook: str = "tc"

    def __post_init__(self) -> None:
        if self.underlay_hook not in UNDERLAY_HOOKS:
            raise InvalidValue(
                f"underlay hook '{self.underlay_hook}'", f"not one of {', '.join(UNDERLAY_HOOKS)}"
            )
        if self.vid:
            check_vid(self.vid)
        _check_range("dstport", self.dstport, 1, 65535)
        _check_range("ttl", self.ttl, 0, 255)
        _check_range("learn limit", self.learn_limit, 0, 2**32 - 1)
        _check_range("learn limit of a VTEP", self.vtep_learn_limit, 0, 2**32 - 1)
        if self.tos != _abi.TOS_INHERIT and (self.tos & 3 or not 0 <= self.tos <= 252):
            raise InvalidValue(f"tos {self.tos}", "not 1, nor a multiple of 4 up to 252")
        object.__setattr__(self, "local", parse_vtep(self.local))
        unique = tuple(sorted({parse_vtep(each) for each in self.remotes}, key=pack_address))
        object.__setattr__(self, "remotes", unique)
        if len(unique) > _abi.VNI_REMOTES_MAX:
            raise InvalidValue(
                f"{len(unique)} remotes", f"a VNI can have {_abi.VNI_REMOTES_MAX} at most"
            )
        own = {parse_vtep(ip): check_station_mac(mac) for ip, mac in self.neighbours.items()}
        own = dict(sorted(own.items(), key=lambda each: pack_address(each[0])))
        object.__setattr__(self, "neighbours", own)
        if self.group is not None:
            object.__setattr__(self, "group", parse_group(self.group))
            if ":" in self.local:
                raise InvalidValue(
                    f"group {self.group}",
                    f"IPv4 and IPv6 are mixed: the local address is {self.local}",
                )
        for remote in unique:
            if remote == self.local:
                raise InvalidValue(f"remote {remote}", "is the local address")
            if (":" in remote) != (":" in self.local):
                raise InvalidValue(
                    f"remote {remote}",
                    f"IPv4 and IPv6 are mixed: the local address is {self.local}",
                    "a VNI's underlay is one of them",
                )

    @property
    def flooded(self) -> tuple[str, ...]:
        """All that flooded frames go to."""
        return (*self.remotes, self.group) if self.group else self.remotes


def parse_group(text: str) -> str:
    """A multicast group of the underlay in the canonical form.

    Raises:
        InvalidValue: it is none, or of IPv6: a device with a VNI filter does not take the interface
            that those need.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidValue(f"group '{text}'", "not an IPv4 address") from None
    if not address.is_multicast or address.version == 6:
        raise InvalidValue(f"group {text}", "not a multicast group of IPv4")
    return str(address)


def check_vni(vni: int) -> int:
    """A VNI: 1 to 16777215 (RFC 7348, 5).

    Raises:
        InvalidValue: it is out of range.
    """
    if not 1 <= vni <= _abi.VNI_MAX:
        raise InvalidValue(f"VNI {vni}", f"not in 1 to {_abi.VNI_MAX}")
    return vni


def parse_vtep(text: str) -> str:
    """The address of a VTEP in the canonical form.

    Raises:
        InvalidValue: it is none that a host can have.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidValue(f"VTEP '{text}'", "not an IPv4 or IPv6 address") from None
    if address.is_multicast or address.is_unspecified or address.packed == b"\xff" * 4:
        raise InvalidValue(f"VTEP {text}", "not the address of one host")
    if address.version == 6 and (address.ipv4_mapped or address.scope_id):
        raise InvalidValue(f"VTEP {text}", "write the address itself, without scope or prefix")
    return str(address)


def pack_address(text: str) -> bytes:
    """An address in 16 bytes; IPv4 is ::ffff:a.b.c.d."""
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def is_group(address: str) -> bool:
    """Whether an address is a multicast group's."""
    return ipaddress.ip_address(address).is_multicast


def unpack_address(raw: bytes) -> str:
    """The other way round."""
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidValue(f"{name} {value}", f"not in {low} to {high}")


@dataclass(frozen=True)
class PortSettings:
    """What a user can set of a port.

    Attributes:
        hook: where frames are received, one of :data:`HOOKS`.
        learning: learn source addresses.
        flood_unicast, flood_multicast, flood_broadcast: floods of this kind leave by this port.
        isolated: exchanges no frames with other isolated ports.
        hairpin: frames may leave by the port that they came from.
        up: administrative state.
        learn_limit: most addresses learned on this port, 0 for no limit.
        storm: frames a second that are flooded of each of :data:`STORM_KINDS`, 0 for no limit.
        group_forward: mask of 01:80:c2:00:00:0n that are forwarded, beside the switch's.
        vlans: its VLANs, in a VLAN-aware switch.
        accept: which frames it takes, one of :data:`ACCEPT`; a priority-tagged one is untagged.
        priority: of frames that come untagged, 0 to 7 (PCP).
        vlan_protocol: the tags that it heeds, of :data:`VLAN_PROTOCOLS`; others are payload.
        vlan_map: (VID on the wire, VID inside) where they differ.
    """

    hook: str = "auto"
    learning: bool = True
    flood_unicast: bool = True
    flood_multicast: bool = True
    flood_broadcast: bool = True
    isolated: bool = False
    hairpin: bool = False
    up: bool = True
    learn_limit: int = 0
    storm: tuple[int, int, int] = (0, 0, 0)
    group_forward: int = 0
    vlans: Vlans = Vlans()
    accept: str = "all"
    priority: int = 0
    vlan_protocol: str = "802.1q"
    vlan_map: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.accept not in ACCEPT:
            raise InvalidValue(f"accept '{self.accept}'", "unknown", f"one of {', '.join(ACCEPT)}")
        if self.vlan_protocol not in VLAN_PROTOCOLS:
            known = ", ".join(VLAN_PROTOCOLS)
            raise InvalidValue(
                f"vlan-protocol '{self.vlan_protocol}'", "unknown", f"one of {known}"
            )
        _check_range("priority", self.priority, 0, 7)
        self._check_vlan_map()
        if self.hook not in HOOKS:
            raise InvalidValue(f"hook '{self.hook}'", "unknown", f"one of {', '.join(HOOKS)}")
        _check_range("learn-limit", self.learn_limit, 0, 2**32 - 1)
        for kind, pps in zip(STORM_KINDS, self.storm, strict=True):
            _check_range(f"storm limit of {kind}", pps, 0, 1_000_000_000)
        _check_range("group-forward", self.group_forward, 0, ALL_GROUPS)

    @property
    def has_vlans(self) -> bool:
        """Whether something is set that only a VLAN-aware switch heeds."""
        default = PortSettings()
        return any(getattr(self, name) != getattr(default, name) for name in VLAN_SETTINGS)

    def _check_vlan_map(self) -> None:
        for side, vids in (("wire", 0), ("inside", 1)):
            seen = [check_vid(pair[vids]) for pair in self.vlan_map]
            for vid in seen:
                if seen.count(vid) > 1:
                    raise InvalidValue(f"VLAN {vid} {side}", "is mapped twice on this port")

    def flags(self) -> int:
        """The bits of ``enum vnetx_port_flags`` that these settings are."""
        flags = sum(
            bit
            for name, bit in _abi.PORT_FLAGS.items()
            if name in _FLAG_SETTINGS and getattr(self, name)
        )
        more = {
            "storm": any(self.storm),
            "tagged_only": self.accept == "tagged",
            "untagged_only": self.accept == "untagged",
            "mapping": bool(self.vlan_map),
        }
        return flags | sum(_abi.PORT_FLAGS[name] for name, on in more.items() if on)

    @classmethod
    def from_abi(
        cls,
        port: dict[str, Any],
        vlans: tuple[int, int] = (0, 0),
        vlan_map: Mapping[int, int] | None = None,
    ) -> PortSettings:
        """The settings that a ``struct vnetx_port`` holds, with the sets of its VLANs.

        A port with a PVID and without VLANs is one of a switch that is not VLAN-aware, with the
        default ones.  A PVID that is none of its VLANs is what a killed command left: none.
        """
        names = {number: name for name, number in _abi.HOOKS.items()}
        protocols = {tpid: name for name, tpid in VLAN_PROTOCOLS.items()}
        accept = [name for name in ACCEPT[1:] if port["flags"] & _abi.PORT_FLAGS[f"{name}_only"]]
        member, untagged = vlans
        pvid = port["pvid"]
        if not member and pvid:
            own = Vlans()
        else:
            own = Vlans(member, untagged & member, pvid if member >> pvid & 1 else 0)
        return cls(
            vlans=own,
            accept=accept[0] if accept else "all",
            priority=port["priority"] >> 13,
            vlan_protocol=protocols.get(port["tpid"], "802.1q"),
            vlan_map=tuple(sorted((vlan_map or {}).items())),
            hook=names.get(port["hook_wanted"], "auto"),
            learn_limit=port["learn_limit"],
            storm=tuple(port["storm_pps"]),
            group_forward=port["group_forward_own"],
            **{name: bool(port["flags"] & _abi.PORT_FLAGS[name]) for name in _FLAG_SETTINGS},
        )


#: Settings of a port that only a VLAN-aware switch heeds.
VLAN_SETTINGS = ("vlans", "accept", "priority", "vlan_protocol", "vlan_map")

_FLAG_SETTINGS = (
    "up",
    "learning",
    "flood_unicast",
    "flood_multicast",
    "flood_broadcast",
    "isolated",
    "hairpin",
)


#: Where the frames of a wire are received.
WIRE_HOOKS = ("auto", "xdp", "tc")
#: A share of frames as the data plane has it.
_ALL_FRAMES = 1 << 32


def parse_share(percent: float) -> int:
    """A percentage as so many of 2^32 frames."""
    return round(percent * _ALL_FRAMES / 100)


def format_share(share: int) -> float:
    """The inverse of :func:`parse_share`, to a millionth of a percent."""
    return round(share * 100 / _ALL_FRAMES, 6)


@dataclass(frozen=True)
class Wire:
    """Two devices that are the ends of a cable: every frame that enters at one leaves by the other.

    Attributes:
        ends: names of the devices, in alphabetical order.
        loss: percentage of frames that are lost, to a millionth.
        corrupt: percentage of the others of which a bit is changed, wherever in the frame it is.
        seed: of the chance by which both are decided, 32 bits.
        cut: ends of which what enters there is dropped.
        carrier: loss of carrier at one end shows at the other.
        hook: where frames are received, one of :data:`WIRE_HOOKS`.
    """

    ends: tuple[str, str]
    loss: float = 0.0
    corrupt: float = 0.0
    seed: int = 0
    cut: tuple[str, ...] = ()
    carrier: bool = False
    hook: str = "auto"

    def __post_init__(self) -> None:
        one, other = sorted(map(check_interface_name, self.ends))
        object.__setattr__(self, "ends", (one, other))
        if one == other:
            raise InvalidValue(f"wire from {one} to {one}", "a wire has two ends")
        for name in ("loss", "corrupt"):
            percent = getattr(self, name)
            if not 0 <= percent <= 100:
                raise InvalidValue(f"{name} {percent:g}", "not a percentage: 0 to 100")
            object.__setattr__(self, name, format_share(parse_share(percent)))
        _check_range("seed", self.seed, 0, 2**32 - 1)
        object.__setattr__(self, "cut", tuple(sorted(set(self.cut))))
        for end in self.cut:
            if end not in self.ends:
                raise InvalidValue(
                    f"cut from {end}", "is no end of the wire", f"one of {one}, {other}"
                )
        if self.hook not in WIRE_HOOKS:
            known = ", ".join(WIRE_HOOKS)
            raise InvalidValue(f"hook '{self.hook}' of a wire", "unknown", f"one of {known}")

    @property
    def name(self) -> str:
        """For people."""
        return " - ".join(self.ends)

    def end_settings(self) -> PortSettings:
        """Those of the ports that the ends are: the switch sends nothing there."""
        return PortSettings(
            hook=self.hook,
            learning=False,
            flood_unicast=False,
            flood_multicast=False,
            flood_broadcast=False,
            up=False,
            vlans=Vlans(0, 0, 0),
        )


_OF_ANY_PLACE = ("addresses", "routes", "netns", "own_netns")
_OF_A_FILE = ("owner", "group", "multi_queue", "vnet_hdr")
_OF_AN_ENDPOINT = ("parent", "mode", "host_access")
#: What `vnetx link add` makes, and what each of them can be given beside MTU, MAC and port.
_SETTINGS_OF = {
    "veth": _OF_ANY_PLACE,
    "tap": _OF_A_FILE,
    "tun": ("addresses", "routes", *_OF_A_FILE),
    "macvlan": (*_OF_ANY_PLACE, *_OF_AN_ENDPOINT, "sources"),
    "ipvlan": (*_OF_ANY_PLACE, *_OF_AN_ENDPOINT, "among"),
}
INTERFACE_KINDS = tuple(_SETTINGS_OF)
#: Kinds whose other end is a file that a program has open.
FILE_KINDS = ("tap", "tun")
#: Kinds that are endpoints on a NIC.
ENDPOINT_KINDS = ("macvlan", "ipvlan")
#: How an endpoint goes with the others of its NIC, as the kernel's macvlan has it.
ENDPOINT_MODES = ("bridge", "vepa", "private", "source")
#: The mode of one that takes the NIC: a wire to it.
PASSTHRU = "passthru"
#: The same of ipvlan, and its modes.
AMONG = ("bridge", "private", "vepa")
LAYERS = ("l3", "l3s", "l2")
#: The modes of each kind, of which the first is the default.
MODES_OF = {"macvlan": (*ENDPOINT_MODES, PASSTHRU), "ipvlan": LAYERS}
#: What the kernel takes of them.
_FILE_MTU_MAX = 65521
LAST_ID = 2**32 - 2
_NOT_OF_A_FILE = {
    "addresses": ("it has none: what is behind it has its own", "give them there"),
    "routes": ("it has none: what is behind it has its own", "give them there"),
    "netns": ("it is where the switch is, whose port it is", "open it there, or --kind veth"),
    "own_netns": ("it is where the switch is, whose port it is", "open it there, or --kind veth"),
}
_ALL_MODES = {mode for modes in MODES_OF.values() for mode in modes}
_WORDS = {
    "netns": "network namespace",
    "own_netns": "a namespace of its own",
    "multi_queue": "queues",
    "vnet_hdr": "vnet header",
    "host_access": "host access",
}


@dataclass(frozen=True)
class Interface:
    """An interface that hangs on a switch.

    Attributes:
        kind: of :data:`INTERFACE_KINDS`. "veth": one end of a veth pair, the other one is a port;
            "tap": the port itself, whose other end a virtual machine or a program has open;
            "tun": a program's packets, which are those of a station with these addresses;
            "macvlan": as "veth", and the port is an endpoint on the NIC `parent`; "ipvlan": the
            same, with the NIC's MAC address.
        parent: the NIC of an endpoint, a port of the same switch; None: it is gone.
        mode: of :data:`MODES_OF`. "bridge": endpoints switch among themselves; "vepa": all
            that they send goes by the wire, and what that reflects is theirs; "private": nothing of
            other endpoints; "source": all of `sources`, and nothing else; or :data:`PASSTHRU`: it
            takes the NIC, of which nothing else is left to anybody. "l2": an endpoint has
            ARP, ND and floods; "l3": the host's table routes what it sends; "l3s": so does the
            host's stack, netfilter included, and what it is sent.
        among: of :data:`AMONG`: how an ipvlan endpoint goes with the others, as `mode` of macvlan.
        sources: MAC addresses.
        host_access: the host and an endpoint reach each other otherwise than by the wire.
        addresses: IPv4 and IPv6 ones with their lengths, as ``192.0.2.1/24``.
        netns: name of, or path to, the network namespace where it is; None for the switch's.
        mtu: bytes of the largest layer 3 packet, 68 to 65535.
        mac: its address; None for one that is the same for its name and switch on this machine.
        routes: (network, router) of what is reached through it.
        own_netns: the namespace is made for it where it is not there, and goes with it.
        port: the settings of the port.
        owner, group: numbers of those who may open a tap or a tun; both, if both are given. Root
            alone may if none is.
        multi_queue: it can be opened several times, for a queue each.
        vnet_hdr: the program behind it takes and gives checksums and segments as a virtual machine
            does, until one opens it otherwise. None for the default: of a tap on, of a tun off.
    """

    addresses: tuple[str, ...] = ()
    kind: str = "veth"
    netns: str | None = None
    mtu: int = 1500
    mac: bytes | None = None
    routes: tuple[tuple[str, str], ...] = ()
    own_netns: bool = False
    port: PortSettings = PortSettings()
    parent: str | None = None
    mode: str | None = None
    among: str = AMONG[0]
    sources: tuple[bytes, ...] = ()
    host_access: bool = True
    owner: int | None = None
    group: int | None = None
    multi_queue: bool = False
    vnet_hdr: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in INTERFACE_KINDS:
            raise InvalidValue(
                f"kind '{self.kind}'", "unknown", f"one of {', '.join(INTERFACE_KINDS)}"
            )
        self._check_kind()
        if self.mac is not None:
            check_station_mac(self.mac)
        object.__setattr__(self, "addresses", tuple(sorted(map(parse_address, self.addresses))))
        routes = tuple(sorted(parse_route(*each) for each in self.routes))
        object.__setattr__(self, "routes", routes)
        if self.netns is not None and not 0 < len(self.netns.encode()) < _abi.NETNS_LEN:
            raise InvalidValue(
                f"network namespace '{self.netns}'", f"not of 1 to {_abi.NETNS_LEN - 1} bytes"
            )
        if self.own_netns and (self.netns is None or "/" in self.netns):
            raise InvalidValue("a namespace of its own", "needs a name", "--to-netns NAME")

    def _check_kind(self) -> None:
        """What is given that only another kind has; defaults in the one form that is compared."""
        own = _SETTINGS_OF[self.kind]
        for name in (*_OF_ANY_PLACE, *_OF_A_FILE, *_OF_AN_ENDPOINT, "sources", "among"):
            if name in own or getattr(self, name) == getattr(Interface, name):
                continue
            have = [kind for kind, names in _SETTINGS_OF.items() if name in names]
            kinds = " or ".join(
                f"an {each}" if each[0] in "aeiou" else f"a {each}" for each in have
            )
            other = f"only {kinds} has one", f"--kind {have[0]}"
            why, remedy = (_NOT_OF_A_FILE if self.kind in FILE_KINDS else {}).get(name, other)
            raise InvalidValue(f"{_WORDS.get(name, name)} of a {self.kind}", why, remedy)
        self._check_endpoint()
        if self.kind not in FILE_KINDS:
            _check_range("mtu", self.mtu, 68, 65535)
            return
        _check_range(f"mtu of a {self.kind}", self.mtu, 68, _FILE_MTU_MAX)
        for name in ("owner", "group"):
            _check_range(name, getattr(self, name) or 0, 0, LAST_ID)
        if self.owner == 0 and self.group is None:
            object.__setattr__(self, "owner", None)
        if self.vnet_hdr is (self.kind == "tap"):
            object.__setattr__(self, "vnet_hdr", None)

    def _check_endpoint(self) -> None:
        if self.kind in MODES_OF:
            modes = MODES_OF[self.kind]
            if self.mode is None:
                object.__setattr__(self, "mode", modes[0])
            if self.mode not in modes:
                why = f"none of {self.kind}" if self.mode in _ALL_MODES else "unknown"
                raise InvalidValue(f"mode '{self.mode}'", why, f"one of {', '.join(modes)}")
        if self.mode == PASSTHRU and (self.port != PortSettings() or not self.host_access):
            raise InvalidValue("settings of a port in passthru mode", "it is a wire to the NIC")
        if self.among not in AMONG:
            raise InvalidValue(f"among '{self.among}'", "unknown", f"one of {', '.join(AMONG)}")
        if self.kind == "ipvlan" and self.mac is not None:
            raise InvalidValue("MAC address of an ipvlan", "it has its parent's", "--kind macvlan")
        if self.mode == "l3s" and not self.host_access:
            raise InvalidValue(
                "an ipvlan in l3s mode", "the host's stack routes it, and reaches it", "--mode l3"
            )
        if self.sources and self.mode != "source":
            raise InvalidValue(f"sources in {self.mode} mode", "are of source mode only")
        sources = tuple(sorted({check_station_mac(mac) for mac in self.sources}))
        object.__setattr__(self, "sources", sources)

    @property
    def has_file(self) -> bool:
        """Whether its other end is a file that a program has open."""
        return self.kind in FILE_KINDS

    @property
    def has_vnet_hdr(self) -> bool:
        """`vnet_hdr`, also where it is the default."""
        return self.kind == "tap" if self.vnet_hdr is None else self.vnet_hdr

    @classmethod
    def in_vlan(cls, vid: int, addresses: tuple[str, ...] = (), **more: Any) -> Interface:
        """One whose port is in this VLAN alone, without tags."""
        return cls(addresses, port=PortSettings(vlans=Vlans.access(vid)), **more)

    @property
    def vid(self) -> int | None:
        """The VLAN that it is in, if it is in one alone."""
        return self.port.vlans.pvid if self.port.vlans.mode == "access" else None


@dataclass(frozen=True)
class SwitchSettings:
    """What a user can set of a switch.

    Attributes:
        ageing: seconds after which a learned address that sends nothing is unknown (802.1D 7.9).
        group_forward: mask of 01:80:c2:00:00:0n that every port forwards.
        vlan_aware: frames are of VLANs; otherwise tags pass untouched.
        shared_learning: all VLANs share what they learn of addresses.
        static_move: a static entry follows its address to another port, as the kernel bridge's.
        fdb_size: most FDB entries; fixed when the switch is made.
        max_ports: most ports, host sides included; fixed when the switch is made.
        host_port: an interface with the switch's name joins the host; fixed likewise.
        mac: of the host port; None for one that depends on machine and name only.
    """

    ageing: int = _abi.AGEING_DEFAULT
    group_forward: int = 0
    static_move: bool = False
    vlan_aware: bool = False
    shared_learning: bool = False
    fdb_size: int = _abi.FDB_DEFAULT
    max_ports: int = _abi.MAX_PORTS
    host_port: bool = True
    mac: bytes | None = None

    def __post_init__(self) -> None:
        _check_range("ageing", self.ageing, 1, _abi.AGEING_MAX)
        _check_range("fdb-size", self.fdb_size, 16, _abi.FDB_MAX)
        _check_range("max-ports", self.max_ports, 2, _abi.MAX_PORTS)
        _check_range("group-forward", self.group_forward, 0, ALL_GROUPS)
        if self.mac is not None:
            check_station_mac(self.mac)


#: Settings of a switch that are fixed when it is made.
FIXED_SWITCH_SETTINGS = ("fdb_size", "max_ports", "host_port")


_Settings = TypeVar("_Settings", PortSettings, SwitchSettings)


def changed(settings: _Settings, **changes: Any) -> _Settings:
    """A copy with `changes`; None leaves a setting as it is."""
    return replace(settings, **{k: v for k, v in changes.items() if v is not None})
