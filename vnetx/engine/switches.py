"""Making, completing, changing and removing a switch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vnetx import _abi, _bpf, netns, vlan_rule
from vnetx.datapath import pins
from vnetx.datapath.fdb import Fdb, domains
from vnetx.datapath.maps import WIRE_PROGRAMS, XDP_PROGRAMS, SwitchMaps
from vnetx.device import Link
from vnetx.engine.interfaces import remove_interface
from vnetx.engine.kind import is_interface_of
from vnetx.engine.pair import outer_name
from vnetx.engine.ports import attach_port, detach_one
from vnetx.engine.session import Session
from vnetx.engine.vnis import keep_vnis
from vnetx.errors import VnetxError, words
from vnetx.model import (
    DEFAULT_VID,
    FIXED_SWITCH_SETTINGS,
    PortSettings,
    SwitchSettings,
    check_switch_name,
)
from vnetx.plan import Endpoint, tc_program, vlan_sets
from vnetx.state import settings_of, stable_mac

_UNDERLAY_PROGRAMS = {"underlay": "underlay", "underlay_xdp": "xdp_underlay"}


def drop_if_empty(session: Session, switch: str) -> None:
    """A switch that an attach made goes with its last port."""
    maps = session.maps(switch)
    meta = maps.meta()
    if not maps.switch()["flags"] & _abi.SWITCH_FLAGS["implicit"]:
        return
    if not set(maps.undo()) - {meta["host_port_ifindex"]} and not maps.vnis():
        remove_switch(session, switch)


def remove_switch(session: Session, switch: str) -> None:
    maps = session.maps(switch)
    keep_vnis(session, switch)
    for name in maps.interfaces():
        remove_interface(session, switch, name)
    for ifindex in sorted(maps.undo()):
        detach_one(session, switch, ifindex)
    directory = maps.unpublish()
    session.executor.forget(switch)
    session.executor.done.append(f"remove switch {switch}")
    try:
        discard(session, directory)
    except OSError as error:
        session.messages.append(
            f"what is left of switch {switch} goes with the next command: {words(error)}"
        )


def revert(session: Session, switch: str) -> None:
    maps = session.maps(switch)
    maps.set_meta(confirm_deadline_ns=0)
    for ifindex, undo in sorted(maps.undo().items()):
        if undo["flags"] & _abi.UNDO_FLAGS["unconfirmed"]:
            name = session.links.name_of(ifindex) or f"interface {ifindex}"
            detach_one(session, switch, ifindex)
            session.messages.append(f"{name} is detached: nobody confirmed it in time")
    drop_if_empty(session, switch)


def _refresh_ns(ageing: int) -> int:
    """An entry is written anew after a second, or sooner where it would age before."""
    return min(1_000_000_000, ageing * 1_000_000_000 // 4)


def _switch_flags(settings: SwitchSettings, *, implicit: bool) -> int:
    bits = {
        "static_move": settings.static_move,
        "vlan_aware": settings.vlan_aware,
        "shared_learning": settings.shared_learning,
        "implicit": implicit,
    }
    return sum(_abi.SWITCH_FLAGS[name] for name, on in bits.items() if on)


def make_switch(session: Session, name: str, settings: SwitchSettings, *, implicit: bool) -> None:
    check_switch_name(name)
    if settings.host_port and session.link(name) is not None:
        raise VnetxError(
            f"making switch {name}",
            "an interface of that name exists, and the host port would carry it",
            "choose another name, or --no-host-port",
        )
    foreign = pins.foreign_versions()
    if foreign:
        session.messages.append(
            f"pins of another version of vnetx ({', '.join(foreign)}) are left alone; "
            "see vnetx doctor"
        )
    if session.executor.rehearsing:
        session.executor.done.append(f"make switch {name}")
        if settings.host_port:
            session.executor.done.append(f"make host port {name}")
        return
    pins.mount()
    mac = settings.mac or stable_mac(name)
    maps = SwitchMaps.create(name, settings.fdb_size, settings.max_ports, session.executor.build)
    session.executor.adopt(maps)
    try:
        _bpf.map_update(
            maps.fds["meta"],
            bytes(4),
            _abi.pack_meta(
                name=name,
                netns_cookie=_bpf.netns_cookie(),
                netns_inode=netns.own(),
                confirm_deadline_ns=0,
                fdb_size=settings.fdb_size,
                max_ports=settings.max_ports,
                host_ifindex=0,
                host_port_ifindex=0,
                group_forward=settings.group_forward,
                mac=mac,
                build=session.executor.build.key,
                ageing_s=settings.ageing,
            ),
        )
        maps.set_switch(
            ageing_ns=settings.ageing * 1_000_000_000,
            refresh_ns=_refresh_ns(settings.ageing),
            flags=_switch_flags(settings, implicit=implicit),
            port_slots=1,
        )
        session.executor.done.append(f"make switch {name}")
        if settings.host_port:
            _make_host_port(session, name, mac)
        _load_for(session, name, settings)
        maps.publish()
    except BaseException:
        session.executor.forget(name)
        with contextlib.suppress(VnetxError, OSError):
            discard(session, maps.directory)
        raise
    session.if_it_fails(remove_switch, session, name)


def _host_port_alias(name: str) -> str:
    return f"host port of vnetx switch {name}"


def is_host_port(link: Link, name: str, mac: bytes) -> bool:
    """Whether a device is what :func:`_make_host_port` made, complete or not."""
    begun = link.name == name and link.mac == mac
    return link.kind == "veth" and (begun or link.alias == _host_port_alias(name))


def _make_host_port(session: Session, name: str, mac: bytes) -> None:
    """A veth pair: the inner end is the host's and carries the switch's name."""
    outer = outer_name(session, name)
    session.links.add_veth(name, outer, mac)
    session.forget_links()
    inner_link, outer_link = session.links.get(name), session.links.get(outer)
    if inner_link is None or outer_link is None:
        raise VnetxError(f"making the host port of switch {name}", "the veth pair vanished")
    for end in (inner_link, outer_link):
        session.links.raise_up(end.ifindex, _host_port_alias(name))
    maps = session.maps(name)
    maps.set_meta(host_ifindex=inner_link.ifindex, host_port_ifindex=outer_link.ifindex)
    attach_port(
        session, name, outer_link, PortSettings(hook="tc"), own_mac=mac, used=set(maps.slots())
    )
    session.executor.done.append(f"make host port {name}")


def _load_for(session: Session, name: str, settings: SwitchSettings) -> None:
    """Loads the programs that settings of a switch need, before they hold."""
    if settings.vlan_aware:
        session.executor.need(name, "flood_vlan")


def complete_switch(session: Session, name: str) -> None:
    """Brings the programs of a switch up to date, and its host port back if a killed
    command had begun to remove the switch."""
    if session.executor.rehearsing:
        return
    maps = session.maps(name)
    meta = maps.meta()
    outer = session.links.by_index(meta["host_port_ifindex"]) if meta["host_port_ifindex"] else None
    if outer is not None and outer.alias == _host_port_alias(name):
        index = maps.index_of(outer.ifindex)
        settings = replace(maps.port_settings(index), hook="tc")
        used = set(maps.slots())
        attach_port(session, name, outer, settings, own_mac=meta["mac"], used=used)
    if meta["build"] != session.executor.build.key:
        _reload(session, name)


def _program_of(maps: SwitchMaps, ifindex: int, hook: str) -> str:
    """Name of the program that belongs on a device's hook."""
    port = maps.port(maps.index_of(ifindex))
    if port is not None and port["flags"] & _abi.PORT_FLAGS["vtep"]:
        return "vxlan"
    if hook in _UNDERLAY_PROGRAMS:
        return _UNDERLAY_PROGRAMS[hook]
    if port is not None and port["wire"]:
        return WIRE_PROGRAMS[hook]
    if hook != "xdp":
        return tc_program(Endpoint.of(port) if port else None, hook)
    generic = port is not None and port["hook"] == _abi.HOOKS["xdp-generic"]
    return XDP_PROGRAMS["generic" if generic else "native"]


def _reload(session: Session, name: str) -> None:
    """Replaces the programs of a switch under its running ports."""
    maps = session.maps(name)
    maps.load_programs(session.executor.build, maps.programs())
    for (ifindex, hook), path in maps.links().items():
        if hook != "foreign":
            program = _program_of(maps, ifindex, hook)
            with contextlib.suppress(OSError), maps.program(program) as fd:
                link = _bpf.obj_get(str(path))
                try:
                    _bpf.link_update(link, fd)
                finally:
                    os.close(link)
    if not session.tcx:
        for ifindex in maps.undo():
            for hook in session.links.tc_filters(ifindex):
                port = maps.port(maps.index_of(ifindex))
                if port is not None and port["wire"]:
                    session.executor.attach_wire(name, ifindex, hook, True)
                    continue
                program = _program_of(maps, ifindex, hook)
                session.executor.attach_tc(name, ifindex, hook, True, program)
        for ifindex in maps.vxlan_devices():
            with maps.program("vxlan") as fd:
                session.links.add_tc_filter(ifindex, "ingress", fd, "vnetx_vxlan")
        for ifindex in maps.underlays():
            session.executor.attach_underlay(name, ifindex, clsact=True, xdp=False)
    maps.set_meta(build=session.executor.build.key)
    session.executor.done.append(f"replace the programs of {name}")


def ensure_switch(session: Session, name: str, settings: SwitchSettings, *, implicit: bool) -> None:
    """Makes the switch unless it is there."""
    if name in session.names():
        complete_switch(session, name)
    else:
        make_switch(session, name, settings, implicit=implicit)


def settle_confirmation(session: Session, switch: str) -> None:
    """Nothing left to confirm: no deadline either."""
    maps = session.maps(switch)
    if not any(u["flags"] & _abi.UNDO_FLAGS["unconfirmed"] for u in maps.undo().values()):
        session.executor.end_confirmation(switch)


def check_fixed(name: str, before: SwitchSettings, after: SwitchSettings) -> None:
    for key in FIXED_SWITCH_SETTINGS:
        if getattr(after, key) != getattr(before, key):
            raise VnetxError(
                f"setting {key.replace('_', '-')} of switch {name}",
                f"it is {getattr(before, key)} since the switch was made",
                "delete the switch and make it anew, or make another",
            )


def set_switch(session: Session, name: str, before: SwitchSettings, after: SwitchSettings) -> None:
    if after == before:
        return
    session.executor.done.append(f"set switch {name}")
    if session.executor.rehearsing:
        return
    maps = session.maps(name)
    if after.vlan_aware != before.vlan_aware and (vnis := maps.vnis()):
        raise VnetxError(
            f"making switch {name} {'' if after.vlan_aware else 'no longer '}VLAN-aware",
            f"it has {', '.join(f'VNI {vni}' for vni in vnis)}",
            "vnetx vni del",
        )
    if after.shared_learning and (
        limited := [v for v, r in maps.vnis().items() if r["learn_limit"]]
    ):
        raise VnetxError(
            f"shared learning of switch {name}",
            f"{', '.join(f'VNI {vni}' for vni in limited)} would have a limit of its own no more",
            "vnetx vni add VNI --learn-limit 0",
        )
    session.if_it_fails(set_switch, session, name, after, before)
    _load_for(session, name, after)
    implicit = bool(maps.switch()["flags"] & _abi.SWITCH_FLAGS["implicit"])
    meta = maps.meta()
    mac = after.mac or stable_mac(name)
    host = session.links.by_index(meta["host_ifindex"]) if meta["host_ifindex"] else None
    if host is not None:
        index = maps.index_of(meta["host_port_ifindex"])
        if host.mac != mac:
            session.links.set_mac(host.ifindex, mac)
        Fdb(maps).set_local(mac, index)
        for old in {before.mac or stable_mac(name), meta["mac"]} - {mac}:
            maps.drop_local(old, index)
    for index, port in maps.ports().items():
        wanted = port["group_forward_own"] | after.group_forward
        if not port["flags"] & _abi.PORT_FLAGS["host"] and port["group_forward"] != wanted:
            maps.set_port(index, {**port, "group_forward": wanted})
    flags = _switch_flags(after, implicit=implicit)
    flags |= maps.switch()["flags"] & _abi.SWITCH_FLAGS["sources"]
    vlans = [(each.vlan_aware, each.shared_learning) for each in (before, after)]
    if vlans[0] != vlans[1]:
        _change_ports_vlans(maps, after)
        Fdb(maps, domains(flags)).change_domains()
    maps.set_switch(
        ageing_ns=after.ageing * 1_000_000_000,
        refresh_ns=_refresh_ns(after.ageing),
        flags=flags,
    )
    # last: as long as it does not say so, the same command has something to do
    maps.set_meta(mac=mac, ageing_s=after.ageing, group_forward=after.group_forward)


def set_vlan_rules(session: Session, name: str, wanted: vlan_rule.Rules) -> None:
    """Makes `wanted` the rules by which the switch tells the VLAN of frames without one."""
    maps = session.maps(name)
    before = maps.vlan_rules()
    for match in sorted({*before, *wanted}):
        if match not in wanted:
            session.executor.done.append(f"no VLAN by {match} any more")
        elif before.get(match) != wanted[match]:
            session.executor.done.append(f"VLAN {wanted[match]} by {match}")
    if session.executor.rehearsing:
        return
    session.if_it_fails(maps.set_vlan_rules, before)
    maps.set_vlan_rules(wanted)


def become_vlan_aware(session: Session, name: str) -> None:
    """A switch whose ports get VLANs heeds them from then on."""
    before = settings_of(session.maps(name))
    if before.vlan_aware:
        return
    set_switch(session, name, before, replace(before, vlan_aware=True))
    session.messages.append(
        f"switch {name} is VLAN-aware from now on: ports that were given no VLANs are in VLAN "
        f"{DEFAULT_VID}, untagged"
    )


def set_ports_vlans(session: Session, name: str, settings: Mapping[int, PortSettings]) -> None:
    """Puts ports, by index, into the VLANs of these settings: all at once, where their plans would
    take one after the other."""
    maps = session.maps(name)
    before = {index: maps.port_vlans(index) for index in settings}
    aware = settings_of(maps).vlan_aware
    wanted = {index: vlan_sets(each.vlans, aware) for index, each in settings.items()}
    if len(wanted) > 1 and wanted != before:
        session.if_it_fails(maps.set_ports_vlans, before)
        maps.set_ports_vlans(wanted)


def _change_ports_vlans(maps: SwitchMaps, after: SwitchSettings) -> None:
    """Has the ports heed VLANs, or not, or share what they learn."""
    bits, ports = _abi.PORT_FLAGS, maps.ports()
    slots = maps.slots() | {i: port for i in maps.vteps() if (port := maps.port(i))}
    maps.set_ports_vlans(
        {i: vlan_sets(maps.port_settings(i).vlans, after.vlan_aware) for i in ports}
    )
    for index, port in slots.items():
        flags = port["flags"] & ~(bits["vlan"] | bits["shared"])
        if after.vlan_aware:
            flags |= bits["vlan"] | (bits["shared"] if after.shared_learning else 0)
        maps.set_port(index, {**port, "flags": flags})


def pinned_meta(switch: Path) -> dict[str, Any]:
    """The `meta` of any switch, by its directory; all zero when it has none.

    Raises:
        OSError: not to be read.
        ValueError: it is another map.
    """
    row = next(row for row in _abi.MAPS if row["name"] == "meta")
    raw = bytes(row["value_size"])
    with contextlib.suppress(FileNotFoundError):
        fd = _bpf.obj_get(str(switch / "maps" / "meta"))
        try:
            info = _bpf.map_info(fd)
            if any(info[member] != row[member] for member in ("type", "key_size", "value_size")):
                raise ValueError(f"{switch}/maps/meta is none of this version")
            raw = _bpf.map_lookup(fd, bytes(4), row["value_size"])
        finally:
            os.close(fd)
    meta: dict[str, Any] = _abi.unpack_meta(raw)
    return meta


def discard_damaged(session: Session, name: str) -> None:
    """Removes a switch whose maps cannot be read.

    Links go with their pins. Filters of TC do not, and nothing says which are this switch's: those
    on devices that no intact switch has.
    """
    if not session.tcx:
        others: set[int] = set()
        for other in session.names():
            with contextlib.suppress(VnetxError):  # damaged as well
                others.update(session.maps(other).undo())
                others.update(session.maps(other).underlays())
        for link in session.links.all().values():
            if link.ifindex not in others:
                session.links.delete_tc(link.ifindex)
    for link in session.links.all().values():
        if is_interface_of(link, name):
            session.links.delete(link.ifindex)
    discard(session, pins.switch_directory(name))
    session.executor.done.append(f"remove the pins of switch {name}")


def discard(session: Session, directory: Path) -> None:
    """Removes a switch that has no name any more, or not yet: its host port and its pins."""
    name = pins.decode(directory.name.partition("~")[0])
    try:
        meta = pinned_meta(directory)
    except (OSError, ValueError):  # foreign pins
        meta = {"host_ifindex": 0, "mac": bytes(6)}
    for link in (session.links.by_index(meta["host_ifindex"]), session.links.get(name)):
        if link is not None and is_host_port(link, name, meta["mac"]):
            session.links.delete(link.ifindex)
            session.forget_links()
            break
    pins.remove_tree(directory)
