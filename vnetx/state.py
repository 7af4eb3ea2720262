"""What is, for whoever only looks: switches and ports as the kernel has them.

Imports neither pyroute2 nor bcc; a look costs milliseconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import platform
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vnetx import _abi, netns
from vnetx.config import StaticEntry
from vnetx.datapath import pins
from vnetx.datapath.fdb import Fdb, PortNames
from vnetx.datapath.maps import SwitchMaps
from vnetx.errors import NoSwitch, VnetxError
from vnetx.model import (
    PortSettings,
    SwitchSettings,
    Vni,
    Wire,
    format_share,
    is_group,
    unpack_address,
)
from vnetx.vlan_rule import Rules

_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_HOOK_NAMES = {number: name for name, number in _abi.HOOKS.items()}


@dataclass(frozen=True)
class PortView:
    """A port as it is.

    Attributes:
        ifname: None when the device is gone.
        index: of its struct in the maps.
        hook: what is attached: "tc", "xdp" or "xdp-generic".
        state: "up", "down" (port or device), "no-carrier" or "gone".
        stats: counters of :class:`vnetx_port_stats`, and by name `drops` and `notices`.
        host: the same of the host side, None for a device without host traffic.
        learned: addresses learned behind it.
        interface: the one that the switch made whose other end it is, if it is.
        wire: the device at the other end, if it is the end of a wire.
    """

    ifname: str | None
    ifindex: int
    index: int
    switch: str
    hook: str
    state: str
    mtu: int
    settings: PortSettings
    stats: dict[str, Any]
    host: dict[str, Any] | None
    learned: int
    unconfirmed: bool
    vlan_aware: bool
    interface: str | None
    wire: str | None


@dataclass(frozen=True)
class VlanView:
    """A VLAN of a switch.

    Attributes:
        tagged, untagged: names of the ports that get its frames so.
        stats: counters of ``struct vnetx_vlan_stats``.
    """

    vid: int
    switch: str
    tagged: list[str]
    untagged: list[str]
    stats: dict[str, int]


@dataclass(frozen=True)
class VtepView:
    """A VTEP that a switch sends to.

    Attributes:
        named: somebody named it; otherwise it was learned.
        stats: counters, `drops` and `notices`, as those of a port.
    """

    address: str
    named: bool
    stats: dict[str, Any]


@dataclass(frozen=True)
class VniView:
    """A VNI of a switch.

    Attributes:
        stats: counters of its VLAN, None in a switch without VLANs.
        vteps: those that its frames may come from and go to: its remotes, and what is no remote of
            any VNI. Their counters are those of all VNIs.
        unreachable: why, by remote.
        kernel_drops: packets that the kernel's vxlan device dropped, coming and going: `rx_drops`,
            `rx_errors`, `tx_drops`, `tx_errors`; {} where nobody can ask.
    """

    vni: int
    switch: str
    own: Vni
    stats: dict[str, int] | None
    vteps: list[VtepView]
    unreachable: dict[str, str]
    kernel_drops: dict[str, int]


@dataclass(frozen=True)
class SwitchView:
    """A switch as it is.

    Attributes:
        host_port: name of the interface that joins the host, None without.
        host_stats: counters of the host port.
        host_settings: its VLANs.
        vlan_rules: by which the VLAN of frames without one is told, in the order of precedence.
        interfaces: the ``struct vnetx_interface`` of those that it made, by name.
        wires: those whose ends are ports of it.
        implicit: made by the first attach, goes with the last port.
        fdb_full: addresses that were not learned because the FDB was full.
        unconfirmed_for: seconds until an unconfirmed attach is undone, None without one.
    """

    name: str
    settings: SwitchSettings
    ports: list[PortView]
    host_port: str | None
    host_mac: bytes | None
    host_stats: dict[str, Any] | None
    host_settings: PortSettings
    vlan_rules: Rules
    interfaces: dict[str, dict[str, Any]]
    wires: list[Wire]
    fdb_size: int
    implicit: bool
    fdb_full: int
    events_lost: int
    unconfirmed_for: float | None


def interface_name(ifindex: int) -> str | None:
    """The name of a device of this namespace, None when it is gone."""
    with contextlib.suppress(OSError):
        return socket.if_indextoname(ifindex)
    return None


def _ioctl(name: str, request: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        raw = fcntl.ioctl(sock, request, struct.pack("16s24x", name.encode()))
    value: int = struct.unpack_from("=i", raw, 16)[0]
    return value


def settings_of(maps: SwitchMaps) -> SwitchSettings:
    """The settings that a switch's maps hold."""
    meta, switch = maps.meta(), maps.switch()
    return SwitchSettings(
        ageing=meta["ageing_s"],
        group_forward=meta["group_forward"],
        **{
            name: bool(switch["flags"] & _abi.SWITCH_FLAGS[name])
            for name in ("static_move", "vlan_aware", "shared_learning")
        },
        fdb_size=meta["fdb_size"],
        max_ports=meta["max_ports"],
        host_port=bool(meta["host_ifindex"]),
        mac=meta["mac"] if meta["mac"] != stable_mac(maps.name) else None,
    )


def stable_mac(name: str) -> bytes:
    """The address of a host port that was given none: it depends on machine and name alone.

    Locally administered.  Outside of the initial network namespace the namespace counts too,
    so that two of them can have switches of one name on one network.
    """
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = platform.node()
    where = "" if netns.is_initial() else f" {netns.own()}"
    digest = hashlib.sha256(f"vnetx {machine}{where} {name}".encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:6]


def _stats(maps: SwitchMaps, index: int, reasons: dict[int, dict[str, int]]) -> dict[str, Any]:
    counts = reasons.get(index, {})
    notices = {n for number, n in _abi.REASONS.items() if number >= _abi.NOTICE_FIRST}
    return {
        **maps.port_stats(index),
        "drops": {name: n for name, n in counts.items() if name not in notices},
        "notices": {name: n for name, n in counts.items() if name in notices},
    }


def _port_state(name: str | None, flags: int) -> tuple[str, int]:
    """(state, MTU) of a port."""
    if name is None:
        return "gone", 0
    try:
        device, mtu = _ioctl(name, _SIOCGIFFLAGS) & 0xFFFF, _ioctl(name, _SIOCGIFMTU)
    except OSError:
        return "gone", 0
    if not (flags & _abi.PORT_FLAGS["up"] and device & _IFF_UP):
        return "down", mtu
    return ("up" if device & _IFF_RUNNING else "no-carrier"), mtu


def view(maps: SwitchMaps) -> SwitchView:
    """One switch."""
    meta, switch, state = maps.meta(), maps.switch(), maps.switch_state()
    settings = settings_of(maps)
    ports, undo, reasons = maps.ports(), maps.undo(), maps.reasons()
    mappings, interfaces = maps.vlan_mappings(), maps.interfaces()
    owners = {record["ifindex"]: name for name, record in interfaces.items()}
    views = []
    host_stats, host_settings = None, PortSettings()
    for index, port in sorted(ports.items()):
        if port["flags"] & _abi.PORT_FLAGS["host"]:
            continue
        stats = _stats(maps, index, reasons)
        own = PortSettings.from_abi(port, maps.port_vlans(index), mappings.get(index))
        if port["ifindex"] == meta["host_port_ifindex"]:
            host_stats = stats
            host_settings = replace(own, hook=PortSettings().hook)
            continue
        name = interface_name(port["ifindex"])
        flags = port["flags"] | (_abi.PORT_FLAGS["up"] if port["wire"] else 0)
        condition, mtu = _port_state(name, flags)
        record = undo.get(port["ifindex"], {"flags": 0})
        views.append(
            PortView(
                ifname=name,
                ifindex=port["ifindex"],
                index=index,
                switch=maps.name,
                hook=_HOOK_NAMES[port["hook"]],
                state=condition,
                mtu=mtu,
                settings=own,
                stats=stats,
                host=_stats(maps, port["twin"], reasons) if port["twin"] else None,
                learned=maps.port_state(index)["learned"],
                unconfirmed=bool(record["flags"] & _abi.UNDO_FLAGS["unconfirmed"]),
                vlan_aware=settings.vlan_aware,
                interface=owners.get(port["ifindex"]),
                wire=_other_end(ports, port),
            )
        )
    deadline = meta["confirm_deadline_ns"]
    left = (deadline - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9
    return SwitchView(
        name=maps.name,
        settings=settings,
        ports=views,
        host_port=interface_name(meta["host_ifindex"]) if meta["host_ifindex"] else None,
        host_mac=meta["mac"] if meta["host_ifindex"] else None,
        host_stats=host_stats,
        host_settings=host_settings,
        vlan_rules=maps.vlan_rules(),
        interfaces=interfaces,
        wires=wires_of(maps),
        fdb_size=meta["fdb_size"],
        implicit=bool(switch["flags"] & _abi.SWITCH_FLAGS["implicit"]),
        fdb_full=state["fdb_full"],
        events_lost=state["events_lost"],
        unconfirmed_for=max(left, 0.0) if deadline else None,
    )


def _other_end(ports: Mapping[int, dict[str, Any]], port: Mapping[str, Any]) -> str | None:
    if not port["wire"]:
        return None
    other = ports.get(port["wire"])
    return (interface_name(other["ifindex"]) if other else None) or "(gone)"


def wires_of(maps: SwitchMaps) -> list[Wire]:
    """The wires of a switch; those of which an end is gone are none, and one to an interface's port
    is that interface's."""
    ports, ends, bits = maps.ports(), maps.wires(), _abi.WIRE_FLAGS
    made = {record["ifindex"] for record in maps.interfaces().values()}
    found = []
    for index, port in ports.items():
        other = ports.get(port["wire"])
        if not other or other["wire"] != index or index > port["wire"]:
            continue
        if made & {port["ifindex"], other["ifindex"]}:
            continue
        both = {interface_name(i): ends.get(i) for i in (port["ifindex"], other["ifindex"])}
        own = {name: end for name, end in both.items() if name and end}
        if len(own) == 2:
            one, two = own
            found.append(
                Wire(
                    (one, two),
                    loss=format_share(own[one]["loss"]),
                    corrupt=format_share(own[one]["corrupt"]),
                    seed=own[one]["seed"],
                    cut=tuple(name for name, end in own.items() if end["flags"] & bits["cut"]),
                    carrier=bool(own[one]["flags"] & bits["carrier"]),
                    hook=_HOOK_NAMES[port["hook_wanted"]],
                )
            )
    return sorted(found, key=lambda wire: wire.ends)


def _each(names: Sequence[str] | None = None) -> Iterator[SwitchMaps]:
    """The switches named, or all of this network namespace, each open for its turn; of all, one
    that goes meanwhile is left out."""
    for name in pins.switch_names() if names is None else names:
        with contextlib.ExitStack() as stack:
            try:
                maps = stack.enter_context(SwitchMaps.open(name))
            except NoSwitch:
                if names is not None:
                    raise
                continue
            yield maps


def switches(names: Sequence[str] | None = None) -> list[SwitchView]:
    """The switches of this network namespace, or those named.

    Raises:
        VnetxError: no switch of that name, damaged pins, no privileges.
    """
    found = []
    for maps in _each(names):
        found.append(view(maps))
    return found


def _vlans(maps: SwitchMaps) -> list[VlanView]:
    """The VLANs that have a port; host sides of devices are not named apart."""
    meta, ports = maps.meta(), maps.ports()
    names = {
        index: maps.name
        if port["ifindex"] == meta["host_port_ifindex"]
        else interface_name(port["ifindex"]) or f"ifindex {port['ifindex']}"
        for index, port in ports.items()
        if not port["flags"] & _abi.PORT_FLAGS["host"]
    }
    found = []
    for vid, (member, untagged) in sorted(maps.all_vlan_ports().items()):
        members = [index for index in names if member >> index & 1]
        found.append(
            VlanView(
                vid,
                maps.name,
                [names[index] for index in members if not untagged >> index & 1],
                [names[index] for index in members if untagged >> index & 1],
                maps.vlan_stats(vid),
            )
        )
    return found


def _members(bits: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def vnis_of(maps: SwitchMaps) -> dict[int, Vni]:
    """The VNIs of a switch."""
    remotes, found = maps.all_vni_remotes(), {}
    names = {index: unpack_address(address) for index, (address, _) in maps.vteps().items()}
    hooks = {_abi.HOOKS[name]: name for name in ("tc", "xdp")}
    neighbours: dict[int, dict[str, bytes]] = {}
    for (vid, address), row in maps.neighbours().items():
        neighbours.setdefault(vid, {})[unpack_address(address)] = row["mac"]
    for vni, record in maps.vnis().items():
        to = [names[i] for i in _members(remotes.get(record["vid"], 0)) if i in names]
        flags = {name: bool(record["flags"] & bit) for name, bit in _abi.VNI_FLAGS.items()}
        found[vni] = Vni(
            unpack_address(record["local"]),
            record["vid"],
            tuple(each for each in to if not is_group(each)),
            next(filter(is_group, to), None),
            record["dstport"],
            interface_name(record["underlay"]) if record["underlay"] else None,
            learn_limit=record["learn_limit"],
            vtep_learn_limit=record["vtep_learn_limit"],
            ttl=record["ttl"],
            tos=record["tos"],
            underlay_hook=hooks.get(record["hook"], "none"),
            neighbours=neighbours.get(record["vid"], {}),
            **flags,
        )
    return found


def vnis(names: Sequence[str] | None = None) -> list[VniView]:
    """The VNIs of the switches of this network namespace, or of those named.

    Raises:
        VnetxError: as :func:`switches`.
    """
    from vnetx.links import vxlan_drops  # takes a while, which what asks for no VNI need not wait

    found = []
    for maps in _each(names):
        first, reasons, records = maps.meta()["max_ports"], maps.reasons(), maps.vnis()
        by_device: dict[int, list[VtepView]] = {}
        for index, (address, ifindex) in sorted(maps.vteps().items()):
            seen = VtepView(unpack_address(address), index < first, _stats(maps, index, reasons))
            by_device.setdefault(maps.index_of(ifindex), []).append(seen)
        all_own = vnis_of(maps)
        dropped: dict[int, dict[str, int]] = {}
        for ifindex in maps.vxlan_devices():
            dropped |= vxlan_drops(ifindex)
        flooded = {remote for own in all_own.values() for remote in own.flooded}
        for vni, own in all_own.items():
            stats = maps.vlan_stats(own.vid) if own.vid else None
            others = flooded - {*own.flooded}
            vteps = by_device.get(records[vni]["device"], [])
            vteps = [vtep for vtep in vteps if vtep.address not in others]
            unreachable = {remote: why for remote in own.remotes if (why := _unreachable(remote))}
            drops = dropped.get(vni, {})
            found.append(VniView(vni, maps.name, own, stats, vteps, unreachable, drops))
    return found


@dataclass(frozen=True)
class NeighbourView:
    """A host whose address is known in a VNI.

    Attributes:
        state: "static", or "learned" from what a VTEP sent.
        age: seconds since it was last heard of; None for a static one.
    """

    vni: int
    switch: str
    ip: str
    mac: bytes
    state: str
    age: float | None


def neighbours(names: Sequence[str] | None = None) -> list[NeighbourView]:
    """The neighbours in VNIs of the switches of this network namespace, or of those named; of an
    address that is static and learned, the static one, which counts.

    Raises:
        VnetxError: as :func:`switches`.
    """
    found = []
    for maps in _each(names):
        of = {record["vid"]: vni for vni, record in maps.vnis().items()}
        static, now = maps.neighbours(), time.monotonic()
        ageing = maps.meta()["ageing_s"]
        rows = [(key, row, None) for key, row in static.items()]
        for key, row in maps.neighbours(learned=True).items():
            age = max(now - row["seen_ns"] / 1e9, 0.0)
            if key not in static and age < ageing:
                rows.append((key, row, age))
        for (vid, address), row, age in sorted(rows, key=lambda each: each[0]):
            state, ip = "static" if age is None else "learned", unpack_address(address)
            if vid in of:
                found.append(NeighbourView(of[vid], maps.name, ip, row["mac"], state, age))
    return found


def all_vnis() -> dict[str, dict[int, Vni]]:
    """The VNIs of each switch, as a configuration has them."""
    found = {}
    for maps in _each():
        found[maps.name] = vnis_of(maps)
    return found


def _unreachable(address: str) -> str | None:
    """Why no packet gets to an address; None if nothing speaks against it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # asks for the route, sends nothing
        except OSError as error:
            return error.strerror
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
            neighbour, _, flags, *_ = line.split()
            if neighbour == address and not int(flags, 16):
                return "no neighbour answers"
    return None


def vlans(names: Sequence[str] | None = None) -> list[VlanView]:
    """The VLANs of the switches of this network namespace that heed them, or of those named.

    Raises:
        VnetxError: as :func:`switches`.
    """
    found = []
    for maps in _each(names):
        if settings_of(maps).vlan_aware:
            found.extend(_vlans(maps))
    return found


def find_port(ifname: str) -> PortView:
    """The port that a device is.

    Raises:
        VnetxError: it is in no switch of this namespace.
    """
    for switch in switches():
        for port in switch.ports:
            if port.ifname == ifname:
                return port
    raise VnetxError(f"port {ifname}", "not a port of any switch", f"vnetx attach {ifname}")


def static_entries() -> dict[str, list[StaticEntry]]:
    """The static FDB entries of each switch, as a configuration has them."""
    found = {}
    for maps in _each():
        names = PortNames.of(maps)
        found[maps.name] = [
            StaticEntry(mac, names[port], sticky, None, names.vnis.get(bd))
            if port in names.vteps
            else StaticEntry(mac, names[port], sticky, bd or None)
            for (mac, bd), (port, sticky) in Fdb(maps).static_entries().items()
            if names.names.get(port)
        ]
    return found
