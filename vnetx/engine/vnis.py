"""VNIs of switches, the VTEPs that they reach, and the vxlan devices that do it.

A VTEP is a port without a device of its own: its slot has the ifindex of the vxlan device. That
one is made with the first VNI of a UDP port and goes with the last; its own slot is what the
data plane makes VTEPs from that nobody named.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vnetx import _abi
from vnetx.datapath.fdb import Fdb, Query
from vnetx.datapath.maps import VXLAN_PROGRAMS, VXLAN_XDP_PROGRAMS, SwitchMaps
from vnetx.device import Link
from vnetx.engine.ports import free_index
from vnetx.engine.session import Session
from vnetx.engine.underlays import collect_underlays, settle_underlays
from vnetx.errors import VnetxError
from vnetx.model import PortSettings, Vni, changed, pack_address
from vnetx.plan import PortDesired, port_values
from vnetx.state import settings_of, vnis_of

#: Bytes around a frame without its addresses: outer IP, UDP, VXLAN, inner Ethernet header.
OVERHEAD = {4: 50, 6: 70}
#: What a device does for all of its VNIs, or for none.
_EXTENSIONS = ("gbp", "ignore_reserved")


def _alias(switch: str, dstport: object) -> str:
    return f"VXLAN device of vnetx switch {switch}, UDP port {dstport}"


def _values(session: Session, switch: str, ifindex: int, *, device: bool) -> dict[str, object]:
    """``struct vnetx_port`` of a VTEP, or of the device, to which nothing is flooded."""
    settings = settings_of(session.maps(switch))
    wanted = PortSettings(hook="tc")
    if device:
        wanted = changed(wanted, flood_unicast=False, flood_multicast=False, flood_broadcast=False)
    desired = PortDesired(
        wanted,
        "tc",
        0,
        vlan_aware=settings.vlan_aware,
        shared_learning=settings.shared_learning,
    )
    values = port_values(desired, ifindex)
    return {**values, "flags": values["flags"] | _abi.PORT_FLAGS["vtep"], "pvid": 0}


# -------------------------------------------------------------- checks


def check_vnis(session: Session, switch: str, wanted: Mapping[int, Vni], *, planned: bool) -> None:
    """Refuses what cannot be, before anything is touched.

    Args:
        planned: local addresses need not be this host's.

    Raises:
        VnetxError: a VLAN or a VNI is another one's, or something is not there.
    """
    records = session.maps(switch).vnis()
    settings = settings_of(session.maps(switch))
    owners = {record["vid"]: vni for vni, record in records.items() if vni not in wanted}
    elsewhere = {
        vni: name for name in session.names() if name != switch for vni in session.maps(name).vnis()
    }
    devices = {own.dev for own in wanted.values() if own.dev}
    absent = {name for name in devices if session.link(name) is None}
    foreign = set() if planned else _foreign(session, {own.local for own in wanted.values()})
    for vni, own in wanted.items():
        what = f"VNI {vni}"
        if settings.vlan_aware and not own.vid:
            raise VnetxError(what, f"switch {switch} is VLAN-aware", "give --vlan VID")
        if own.learn_limit and settings.shared_learning:
            raise VnetxError(
                f"{what}, learn limit",
                f"switch {switch} has one FDB for all VLANs",
                "--vtep-learn-limit",
            )
        other = owners.setdefault(own.vid, vni)
        if other != vni:
            its = f"VLAN {own.vid} is" if own.vid else f"switch {switch} has"
            raise VnetxError(what, f"{its} VNI {other} already", f"vnetx vni del {other}")
        if vni in elsewhere:
            raise VnetxError(what, f"it is one of switch {elsewhere[vni]}", f"vnetx vni del {vni}")
        if own.dev in absent:
            raise VnetxError(f"{what}, underlay {own.dev}", "there is no interface of that name")
        if own.local in foreign:
            raise VnetxError(
                f"{what}, local address {own.local}",
                "this host does not have it",
                "ip address add, or --planned for one that it will have",
            )


def _foreign(session: Session, addresses: Iterable[str]) -> set[str]:
    return {address for address in addresses if session.links.holder_of(address) is None}


# -------------------------------------------------------------- making


def set_vnis(session: Session, switch: str, wanted: Mapping[int, Vni]) -> None:
    """Makes VNIs, or those that are there what `wanted` says."""
    executor = session.executor
    session.when_done(settle_underlays, session, switch)
    now = vnis_of(session.maps(switch)) if switch in session.names() else {}
    changes = {vni: own for vni, own in wanted.items() if now.get(vni) != own}
    executor.done += [_told(switch, vni, own) for vni, own in changes.items()]
    if executor.rehearsing or not changes:
        return
    before = {vni: now[vni] for vni in changes if vni in now}
    session.if_it_fails(drop_unused, session, switch, _remotes(changes))
    session.if_it_fails(set_vnis, session, switch, before)
    session.if_it_fails(remove_vnis, session, switch, changes.keys() - before.keys())
    executor.need(switch, *VXLAN_PROGRAMS)
    if any(own.underlay_hook == "xdp" for own in changes.values()):
        executor.need(switch, *VXLAN_XDP_PROGRAMS)
    maps = session.maps(switch)
    records = maps.vnis()
    rows: dict[int, dict[str, Any]] = {}
    for dstport in sorted({own.dstport for own in changes.values()}):
        group = _of_port(changes, dstport)
        device, link = _device(session, switch, dstport, group)
        slots = make_vteps(session, maps, link, _remotes(group))
        _prepare_groups(session, link, {**_of_port(now, dstport), **group})
        session.links.set_vnis(link.ifindex, {vni: own.group for vni, own in group.items()})
        rows |= {vni: _row(session, own, device, slots) for vni, own in group.items()}
    maps.set_vnis(rows)
    for own in changes.values():
        if own.neighbours or any(each.neighbours for each in before.values()):
            packed = {pack_address(ip): mac for ip, mac in own.neighbours.items()}
            maps.set_neighbours(own.vid, packed)
    moved = {records[vni]["vid"]: vni for vni in rows if vni in records}
    moved = {vid: vni for vid, vni in moved.items() if rows[vni]["vid"] != vid}
    _leave_vlans(maps, moved.keys(), {row["vid"] for row in rows.values()})
    for vni, row in rows.items():
        if vni in records and records[vni]["device"] != row["device"]:
            _leave_device(session, maps, [vni], records[vni]["device"])
    _limit_learning(maps)
    drop_unused(session, switch, _remotes(before))


def _of_port(vnis: Mapping[int, Vni], dstport: int) -> dict[int, Vni]:
    return {vni: own for vni, own in vnis.items() if own.dstport == dstport}


def _prepare_groups(session: Session, device: Link, vnis: Mapping[int, Vni]) -> None:
    """Tells a vxlan device by which interface it is in multicast groups: all by one.

    Raises:
        VnetxError: no way leads to a group, or there are two interfaces.
    """
    lower: dict[int, str] = {}
    for vni, own in vnis.items():
        if own.group is None:
            continue
        what = f"VNI {vni}, group {own.group}"
        link = session.link(own.dev) if own.dev else session.links.route_to(own.group)
        if link is None or link.loopback:
            remedy = "give --dev NIC, or: ip route add 224.0.0.0/4 dev NIC"
            raise VnetxError(what, "no route leads there, so no interface can join it", remedy)
        lower[link.ifindex] = link.name
        if len(lower) > 1:
            names = ", ".join(lower.values())
            raise VnetxError(what, f"groups of a UDP port are joined by one interface, not {names}")
    for ifindex in lower:
        session.links.set_vxlan_lower(device.ifindex, ifindex)


def _told(switch: str, vni: int, own: Vni) -> str:
    what = f"VLAN {own.vid} of {switch}" if own.vid else f"switch {switch}"
    to = f", flooded to {', '.join(own.flooded)}" if own.flooded else ""
    return f"VNI {vni} is {what}{to}"


def _remotes(vnis: Mapping[int, Vni]) -> set[str]:
    return {remote for own in vnis.values() for remote in own.flooded}


def _row(session: Session, own: Vni, device: int, slots: Mapping[str, int]) -> dict[str, Any]:
    """What :meth:`SwitchMaps.set_vnis` takes."""
    underlay = session.link(own.dev) if own.dev else None
    return {
        "vid": own.vid,
        "remotes": sum(1 << slots[remote] for remote in own.flooded),
        "flags": sum(bit for name, bit in _abi.VNI_FLAGS.items() if getattr(own, name)),
        "local": pack_address(own.local),
        "device": device,
        "dstport": own.dstport,
        "learn_limit": own.learn_limit,
        "vtep_learn_limit": own.vtep_learn_limit,
        "ttl": own.ttl,
        "tos": own.tos,
        "ttl_default": session.links.default_ttl(),
        "hook": _abi.HOOKS.get(own.underlay_hook, _abi.HOOKS["auto"]),
        "underlay": underlay.ifindex if underlay else 0,
    }


def _limit_learning(maps: SwitchMaps) -> None:
    """Gives VTEPs, and the device that learned ones are made from, the smallest limit that there is
    of a VNI by which their addresses come."""
    limits: dict[int, set[int]] = {}
    for record in maps.vnis().values():
        limits.setdefault(record["device"], set()).add(record["vtep_learn_limit"])
    devices = maps.vxlan_devices()
    of = {index: devices.get(ifindex, 0) for index, (_, ifindex) in maps.vteps().items()}
    for index, device in {**of, **{device: device for device in devices.values()}}.items():
        port, limit = maps.port(index), min(limits.get(device, set()) - {0}, default=0)
        if port and port["learn_limit"] != limit:
            maps.set_port(index, {**port, "learn_limit": limit})


def _leave_vlans(maps: SwitchMaps, vids: Collection[int], taken: Collection[int] = ()) -> None:
    """VLANs have no VNI any more, or (those `taken`) another one: nothing that is known in them is
    behind VTEPs."""
    fdb, vteps = Fdb(maps), maps.vteps().keys()
    states = ("learned", "static", "sticky")
    for vid in set(vids) - set(taken):
        maps.clear_vni(vid)
        maps.set_neighbours(vid, {})
    maps.forget_neighbours(vids)
    if not maps.vnis():
        fdb.flush(Query(ports=vteps, states=states))
        return
    for vid in vids:
        fdb.flush(Query(ports=vteps, bd=fdb.vlans.get(vid, 0), states=states))


def _leave_device(session: Session, maps: SwitchMaps, vnis: Sequence[int], index: int) -> None:
    port = maps.port(index)
    if port and session.links.name_of(port["ifindex"]):
        session.links.drop_vnis(port["ifindex"], vnis)


def _device_name(switch: str, dstport: int) -> str:
    return f"vx{dstport}-{switch}"[:15]


def _orphans(session: Session, switch: str) -> list[Link]:
    """Devices of a switch, or of what was to be one's, that no slot of it has."""
    own = _alias(switch, "")
    bound = session.maps(switch).vxlan_devices()
    found = []
    for link in session.links.all().values():
        if link.kind != "vxlan" or link.ifindex in bound:
            continue
        port = re.match(r"vx(\d+)-", link.name)
        nameless = port and not link.alias and link.name == _device_name(switch, int(port[1]))
        if nameless or link.alias.startswith(own):
            found.append(link)
    return found


def _device(
    session: Session, switch: str, dstport: int, wanted: Mapping[int, Vni]
) -> tuple[int, Link]:
    """The index and the link of the vxlan device of a UDP port, made when there is none."""
    maps, alias = session.maps(switch), _alias(switch, dstport)
    mtu, what = _mtu(session, wanted), f"VNI {next(iter(wanted))}"
    extensions = {name: _common(maps, dstport, wanted, name) for name in _EXTENSIONS}
    devices = maps.vxlan_devices()
    for ifindex, index in devices.items():
        link = session.links.by_index(ifindex)
        if link and link.alias == alias:
            if mtu < link.mtu:
                session.if_it_fails(session.links.set_mtu, link.ifindex, link.mtu)
                session.links.set_mtu(link.ifindex, mtu)
            return index, link
    if not devices:
        maps.offer_vteps()
    name = _device_name(switch, dstport)
    if session.links.get(name) is not None:
        name = _device_name(str(os.getpid()), dstport)
    session.links.add_vxlan(name, dstport, mtu, **extensions)
    session.forget_links()
    link = session.links.get(name)
    if link is None:
        raise VnetxError(f"making the VXLAN device {name}", "it vanished")
    session.if_it_fails(session.links.delete, link.ifindex)
    index = free_index(maps.slots(), maps.meta()["max_ports"], what)
    maps.reset_port(index)
    _widen(maps, index)
    maps.set_port(index, _values(session, switch, link.ifindex, device=True))
    maps.set_port_of(link.ifindex, index)
    session.executor.attach_vxlan(switch, link.ifindex, clsact=not session.tcx)
    try:
        session.links.raise_up(link.ifindex, alias)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        others = [
            each.name
            for each in session.links.all().values()
            if each.kind == "vxlan" and each.ifindex != link.ifindex
        ]
        raise VnetxError(
            f"{what}, UDP port {dstport}",
            f"it is in use, perhaps by {', '.join(others) or 'a program'}",
            "give another --dstport, here and at the remotes, or delete that device",
        ) from error
    if not session.links.let_forward(name):
        session.messages.append(
            f"{what}: /proc/sys is read-only, and all outer headers are the kernel's"
        )
    session.executor.done.append(f"make VXLAN device {name}")
    return index, link


def _common(maps: SwitchMaps, dstport: int, wanted: Mapping[int, Vni], extension: str) -> bool:
    """Whether the VNIs of a UDP port, which have one device, have one of :data:`_EXTENSIONS`.

    Raises:
        VnetxError: some of its VNIs do, and some do not.
    """
    there = {
        bool(record["flags"] & _abi.VNI_FLAGS[extension])
        for record in maps.vnis().values()
        if record["dstport"] == dstport
    }
    for vni, own in wanted.items():
        there.add(getattr(own, extension))
        if len(there) > 1:
            no = "" if getattr(own, extension) else "no-"
            raise VnetxError(
                f"VNI {vni}, --{no}{extension.replace('_', '-')}",
                f"VNIs of UDP port {dstport} of switch {maps.name} are otherwise, or were",
                "delete them first, or give another --dstport",
            )
    return there.pop()


def _mtu(session: Session, wanted: Mapping[int, Vni]) -> int:
    """What a frame may carry so that the outer packet fits the underlay of each VNI."""
    first: dict[object, int] = {}
    for vni, own in wanted.items():
        first.setdefault((own.dev, own.flooded[:1], own.local), vni)
    return min(_mtu_of(session, vni, wanted[vni]) for vni in first.values())


def _mtu_of(session: Session, vni: int, wanted: Vni) -> int:
    overhead = OVERHEAD[6 if ":" in wanted.local else 4]
    link = session.link(wanted.dev) if wanted.dev else None
    for remote in wanted.flooded:
        link = link or session.links.route_to(remote)
    link = link or session.links.holder_of(wanted.local)
    if link is None:
        return 1500 - overhead
    if link.mtu - overhead < 1500:
        session.messages.append(
            f"VNI {vni} carries packets of {link.mtu - overhead} bytes: {link.name} has an MTU of "
            f"{link.mtu}; {1500 + overhead} would carry 1500"
        )
    return link.mtu - overhead


def _widen(maps: SwitchMaps, index: int) -> None:
    """First: nobody looks beyond the switch's slots for one."""
    if index >= maps.switch()["port_slots"]:
        maps.set_switch(port_slots=index + 1)


def make_vteps(
    session: Session, maps: SwitchMaps, link: Link, remotes: Collection[str]
) -> dict[str, int]:
    """The slots of VTEPs by their addresses, made where there are none; one that was learned
    becomes a named one."""
    first = maps.meta()["max_ports"]
    vteps = maps.vteps().items()
    there = {address: index for index, (address, ifindex) in vteps if ifindex == link.ifindex}
    used, found = set(maps.slots()), {}
    values = _values(session, maps.name, link.ifindex, device=False)
    for remote in sorted(remotes):
        address = pack_address(remote)
        index = there.get(address, 0)
        if not 0 < index < first:
            if index:
                Fdb(maps).forget_port(index)
                maps.delete_vtep(index)
            index = free_index(used, first, f"VTEP {remote}")
            used.add(index)
            maps.reset_port(index)
            _widen(maps, index)
            maps.set_vtep(index, address, values)
        found[remote] = index
    return found


def need_vtep(session: Session, switch: str, vni: int, address: str) -> int:
    """The slot of a VTEP that addresses of a VNI are behind, flooded to or not; 0 in a rehearsal of
    what is not there yet.

    Raises:
        InvalidValue: not an address that may be a remote of the VNI.
        VnetxError: the VXLAN device is gone.
    """
    maps = session.maps(switch)
    own = vnis_of(maps).get(vni)
    if session.executor.rehearsing:
        found = (i for i, (a, _) in maps.vteps().items() if a == pack_address(address))
        return next(found, 0)
    if own is None:
        raise VnetxError(f"VNI {vni}", f"switch {switch} does not have it")
    (address,) = replace(own, remotes=(address,)).remotes
    port = maps.port(maps.vnis()[vni]["device"])
    link = session.link_by_index(port["ifindex"]) if port else None
    if link is None:
        raise VnetxError(f"VTEP {address} of VNI {vni}", "the VXLAN device is gone")
    return make_vteps(session, maps, link, [address])[address]


# -------------------------------------------------------------- removing


def remove_vnis(session: Session, switch: str, vnis: Collection[int]) -> None:
    """Removes VNIs, and what only they used."""
    maps = session.maps(switch)
    records = {vni: record for vni, record in maps.vnis().items() if vni in vnis}
    session.executor.done += [f"remove VNI {vni} of {switch}" for vni in records]
    if session.executor.rehearsing:
        return
    before = {vni: own for vni, own in vnis_of(maps).items() if vni in records}
    if records:
        settle_underlays(session, switch, without=records)
        session.if_it_fails(set_vnis, session, switch, before)
        for vni in records:
            maps.delete_vni(vni)
        _leave_vlans(maps, {record["vid"] for record in records.values()})
        for index in {record["device"] for record in records.values()}:
            own = [vni for vni, record in records.items() if record["device"] == index]
            _leave_device(session, maps, own, index)
        _limit_learning(maps)
    drop_unused(session, switch, _remotes(before))


def drop_unused(session: Session, switch: str, candidates: Collection[str] = ()) -> None:
    """Removes devices that no VNI uses, with their VTEPs, and those of `candidates` that no VNI
    floods to any more; so also what a killed command left."""
    maps = session.maps(switch)
    devices = maps.vxlan_devices()
    records = maps.vnis().values()
    used, remotes = {record["device"] for record in records}, 0
    for record in records:
        remotes |= maps.vni_remotes(record["vid"])
    for ifindex, index in list(devices.items()):
        if index in used:
            continue
        link = session.links.by_index(ifindex)
        if link and link.kind == "vxlan":
            session.links.delete(ifindex)
            session.forget_links()
        maps.link_path(ifindex, "ingress").unlink(missing_ok=True)
        maps.delete_port_of(ifindex)
        Fdb(maps).forget_port(index)
        maps.reset_port(index)
        del devices[ifindex]
    going = set(map(pack_address, candidates))
    vteps = maps.vteps()
    for index, (address, ifindex) in vteps.items():
        if ifindex not in devices or (address in going and not remotes >> index & 1):
            Fdb(maps).forget_port(index)
            maps.delete_vtep(index)
    for index, port in maps.slots().items():
        half = port["flags"] & _abi.PORT_FLAGS["vtep"] and index not in vteps
        if half and index not in devices.values():  # of a killed command
            maps.reset_port(index)


def keep_vnis(session: Session, switch: str, keep: Collection[int] = ()) -> None:
    """Removes the VNIs of a switch, but those to `keep`, and what killed commands left."""
    remove_vnis(session, switch, session.maps(switch).vnis().keys() - set(keep))
    if not session.executor.rehearsing:
        collect_vnis(session, switch)


def collect_vnis(session: Session, switch: str) -> None:
    """Removes VNIs whose device is gone, and devices that a killed command left without a VNI."""
    maps = session.maps(switch)
    if not maps.programs() & {*VXLAN_PROGRAMS}:
        return
    for vni, record in maps.vnis().items():
        port = maps.port(record["device"])
        if port is None or session.links.name_of(port["ifindex"]) is None:
            session.messages.append(f"VNI {vni} of switch {switch} is gone: so is its device")
            remove_vnis(session, switch, [vni])
    if stale := maps.stale_vnis():  # likewise
        _leave_vlans(maps, stale)
    collect_underlays(session, switch)
    drop_unused(session, switch)
    for link in _orphans(session, switch):
        session.links.delete(link.ifindex)


def change_neighbours(
    session: Session,
    switch: str,
    vni: int,
    *,
    add: Mapping[str, bytes] | None = None,
    remove: Iterable[str] = (),
) -> None:
    """Puts hosts of a VNI into its table of neighbours, and takes some out of it."""
    now = vnis_of(session.maps(switch))[vni]
    going = set(remove)
    for ip in going - now.neighbours.keys():
        raise VnetxError(
            f"neighbour {ip} of VNI {vni}", "there is no static one", "vnetx vni neigh show"
        )
    kept = {ip: mac for ip, mac in now.neighbours.items() if ip not in going}
    set_vnis(session, switch, {vni: replace(now, neighbours={**kept, **(add or {})})})


def change_remotes(
    session: Session, switch: str, vni: int, *, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> None:
    """Floods frames of a VNI to more or fewer VTEPs."""
    now = vnis_of(session.maps(switch))[vni]
    going = set(remove)
    for remote in going - set(now.remotes):
        raise VnetxError(
            f"remote {remote} of VNI {vni}", "it is none of it", f"vnetx vni show {vni}"
        )
    kept = tuple(remote for remote in (*now.remotes, *add) if remote not in going)
    set_vnis(session, switch, {vni: replace(now, remotes=kept)})
