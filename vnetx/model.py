"""What a switch is: values and their validation. No I/O.

The names of settings are those of the command line with ``_`` for ``-``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from vnetx import _abi
from vnetx.errors import InvalidValue

DEFAULT_SWITCH = "vnetx0"
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


def check_switch_name(name: str) -> str:
    """A switch is named as an interface is (its host port carries the name).

    Raises:
        InvalidValue: longer than 15 bytes, empty, or with ``/``, ``:`` or white space.
    """
    if not _IFNAME.fullmatch(name) or len(name.encode()) > 15 or name in (".", ".."):
        raise InvalidValue(
            f"switch name '{name}'",
            "not a name that an interface can have",
            "1 to 15 characters without '/', ':' and white space",
        )
    return name


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

    def __post_init__(self) -> None:
        if self.hook not in HOOKS:
            raise InvalidValue(f"hook '{self.hook}'", "unknown", f"one of {', '.join(HOOKS)}")
        _check_range("learn-limit", self.learn_limit, 0, 2**32 - 1)
        for kind, pps in zip(STORM_KINDS, self.storm, strict=True):
            _check_range(f"storm limit of {kind}", pps, 0, 1_000_000_000)
        _check_range("group-forward", self.group_forward, 0, ALL_GROUPS)

    def flags(self) -> int:
        """The bits of ``enum vnetx_port_flags`` that these settings are."""
        flags = sum(
            bit
            for name, bit in _abi.PORT_FLAGS.items()
            if name in _FLAG_SETTINGS and getattr(self, name)
        )
        return flags | (_abi.PORT_FLAGS["storm"] if any(self.storm) else 0)

    @classmethod
    def from_abi(cls, port: dict[str, Any]) -> PortSettings:
        """The settings that a ``struct vnetx_port`` holds."""
        names = {number: name for name, number in _abi.HOOKS.items()}
        return cls(
            hook=names.get(port["hook_wanted"], "auto"),
            learn_limit=port["learn_limit"],
            storm=tuple(port["storm_pps"]),
            group_forward=port["group_forward_own"],
            **{name: bool(port["flags"] & _abi.PORT_FLAGS[name]) for name in _FLAG_SETTINGS},
        )


_FLAG_SETTINGS = (
    "up",
    "learning",
    "flood_unicast",
    "flood_multicast",
    "flood_broadcast",
    "isolated",
    "hairpin",
)


@dataclass(frozen=True)
class SwitchSettings:
    """What a user can set of a switch.

    Attributes:
        ageing: seconds after which a learned address that sends nothing is unknown (802.1D 7.9).
        group_forward: mask of 01:80:c2:00:00:0n that every port forwards.
        static_move: a static entry follows its address to another port, as the kernel bridge's.
        fdb_size: most FDB entries; fixed when the switch is made.
        max_ports: most ports, host sides included; fixed when the switch is made.
        host_port: an interface with the switch's name joins the host; fixed likewise.
        mac: of the host port; None for one that depends on machine and name only.
    """

    ageing: int = _abi.AGEING_DEFAULT
    group_forward: int = 0
    static_move: bool = False
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
