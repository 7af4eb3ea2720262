"""VNIs of switches, the VTEPs that they reach, and the vxlan devices that do it.

A VTEP is a port without a device of its own: its slot has the ifindex of the vxlan device. That
one is made with the first VNI of a UDP port and goes with the last; its own slot is what the
data plane makes VTEPs from that nobody named.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import replace

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


def check_vni(session: Session, switch: str, vni: int, wanted: Vni, *, planned: bool) -> None:
    """Refuses what cannot be, before anything is touched."""
    what = f"VNI {vni}"
    aware = settings_of(session.maps(switch)).vlan_aware
    if aware and not wanted.vid:
        raise VnetxError(what, f"switch {switch} is VLAN-aware", "give --vlan VID")
    for other, record in session.maps(switch).vnis().items():
        if other != vni and record["vid"] == wanted.vid:
            its = f"VLAN {wanted.vid} is" if wanted.vid else f"switch {switch} has"
            raise VnetxError(what, f"{its} VNI {other} already", f"vnetx vni del {other}")
    for name in session.names():
        if name != switch and vni in session.maps(name).vnis():
            raise VnetxError(what, f"it is one of switch {name}", f"vnetx vni del {vni}")
    if wanted.dev is not None and session.link(wanted.dev) is None:
        raise VnetxError(f"{what}, underlay {wanted.dev}", "there is no interface of that name")
    if not planned and session.links.holder_of(wanted.local) is None:
        raise VnetxError(
            f"{what}, local address {wanted.local}",
            "this host does not have it",
            "ip address add, or --planned for one that it will have",
        )


# -------------------------------------------------------------- making


def set_vni(session: Session, switch: str, vni: int, wanted: Vni) -> None:
    """Makes a VNI, or one that is there what `wanted` says."""
    executor = session.executor
    session.when_done(settle_underlays, session, switch)
    before = vnis_of(session.maps(switch)).get(vni) if switch in session.names() else None
    if before == wanted:
        return
    told = f"VLAN {wanted.vid} of {switch}" if wanted.vid else f"switch {switch}"
    to = f", flooded to {', '.join(wanted.remotes)}" if wanted.remotes else ""
    executor.done.append(f"VNI {vni} is {told}{to}")
    if executor.rehearsing:
        return
    session.if_it_fails(drop_unused, session, switch, wanted.remotes)
    if before:
        session.if_it_fails(set_vni, session, switch, vni, before)
    else:
        session.if_it_fails(remove_vni, session, switch, vni)
    executor.need(switch, *VXLAN_PROGRAMS)
    if wanted.underlay_hook == "xdp":
        executor.need(switch, *VXLAN_XDP_PROGRAMS)
    maps = session.maps(switch)
    old = maps.vnis().get(vni)
    device, link = _device(session, switch, vni, wanted)
    slots = [make_vtep(session, maps, link, remote) for remote in wanted.remotes]
    session.links.set_vnis(link.ifindex, [vni], there=True)
    underlay = session.link(wanted.dev) if wanted.dev else None
    flags = {name: getattr(wanted, name) for name in _abi.VNI_FLAGS}
    maps.set_vni(
        vni,
        wanted.vid,
        sum(1 << index for index in slots),
        flags=sum(_abi.VNI_FLAGS[name] for name, on in flags.items() if on),
        local=pack_address(wanted.local),
        device=device,
        dstport=wanted.dstport,
        ttl=wanted.ttl,
        tos=wanted.tos,
        ttl_default=session.links.default_ttl(),
        hook=_abi.HOOKS.get(wanted.underlay_hook, _abi.HOOKS["auto"]),
        underlay=underlay.ifindex if underlay else 0,
    )
    if old and old["vid"] != wanted.vid:
        _leave_vlan(maps, old["vid"])
    if old and old["device"] != device:
        _leave_device(session, maps, vni, old["device"])
    drop_unused(session, switch, before.remotes if before else ())


def _leave_vlan(maps: SwitchMaps, vid: int) -> None:
    """A VLAN has no VNI any more: nothing in it is behind VTEPs."""
    maps.clear_vni(vid)
    fdb = Fdb(maps)
    states = ("learned", "static", "sticky")
    fdb.flush(Query(ports=maps.vteps().keys(), bd=fdb.vlans.get(vid, 0), states=states))


def _leave_device(session: Session, maps: SwitchMaps, vni: int, index: int) -> None:
    port = maps.port(index)
    if port and session.links.name_of(port["ifindex"]):
        session.links.set_vnis(port["ifindex"], [vni], there=False)


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


def _device(session: Session, switch: str, vni: int, wanted: Vni) -> tuple[int, Link]:
    """The index and the link of the vxlan device of a UDP port, made when there is none."""
    maps, alias = session.maps(switch), _alias(switch, wanted.dstport)
    mtu = _mtu(session, vni, wanted)
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
    name = _device_name(switch, wanted.dstport)
    if session.links.get(name) is not None:
        name = _device_name(str(os.getpid()), wanted.dstport)
    session.links.add_vxlan(name, wanted.dstport, mtu)
    session.forget_links()
    link = session.links.get(name)
    if link is None:
        raise VnetxError(f"making the VXLAN device {name}", "it vanished")
    session.if_it_fails(session.links.delete, link.ifindex)
    index = free_index(maps.slots(), maps.meta()["max_ports"], f"VNI {vni}")
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
            f"VNI {vni}, UDP port {wanted.dstport}",
            f"it is in use, perhaps by {', '.join(others) or 'a program'}",
            "give another --dstport, here and at the remotes, or delete that device",
        ) from error
    if not session.links.let_forward(name):
        session.messages.append(
            f"VNI {vni}: /proc/sys is read-only, and all outer headers are the kernel's"
        )
    session.executor.done.append(f"make VXLAN device {name}")
    return index, link


def _mtu(session: Session, vni: int, wanted: Vni) -> int:
    """What a frame may carry so that the outer packet fits the underlay."""
    overhead = OVERHEAD[6 if ":" in wanted.local else 4]
    link = session.link(wanted.dev) if wanted.dev else None
    for remote in wanted.remotes:
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


def make_vtep(session: Session, maps: SwitchMaps, link: Link, remote: str) -> int:
    """The slot of a VTEP, made when there is none; one that was learned becomes a named one."""
    address = pack_address(remote)
    first = maps.meta()["max_ports"]
    for index, vtep in maps.vteps().items():
        if vtep == (address, link.ifindex):
            if index < first:
                return index
            Fdb(maps).forget_port(index)
            maps.delete_vtep(index)
    index = free_index(maps.slots(), first, f"VTEP {remote}")
    maps.reset_port(index)
    _widen(maps, index)
    maps.set_vtep(index, address, _values(session, maps.name, link.ifindex, device=False))
    return index


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
    return make_vtep(session, maps, link, address)


# -------------------------------------------------------------- removing


def remove_vni(session: Session, switch: str, vni: int) -> None:
    """Removes a VNI, and what only it used."""
    maps = session.maps(switch)
    record = maps.vnis().get(vni)
    if record:
        session.executor.done.append(f"remove VNI {vni} of {switch}")
        if session.executor.rehearsing:
            return
        before = vnis_of(maps)[vni]
        settle_underlays(session, switch, without=vni)
        session.if_it_fails(set_vni, session, switch, vni, before)
        maps.delete_vni(vni)
        _leave_vlan(maps, record["vid"])
        _leave_device(session, maps, vni, record["device"])
        drop_unused(session, switch, before.remotes)
    else:
        drop_unused(session, switch)


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


def remove_vnis(session: Session, switch: str, keep: Collection[int] = ()) -> None:
    """Removes the VNIs of a switch, but those to `keep`."""
    for vni in session.maps(switch).vnis():
        if vni not in keep:
            remove_vni(session, switch, vni)
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
            remove_vni(session, switch, vni)
    for vid in maps.stale_vnis():  # likewise
        _leave_vlan(maps, vid)
    collect_underlays(session, switch)
    drop_unused(session, switch)
    for link in _orphans(session, switch):
        session.links.delete(link.ifindex)


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
    set_vni(session, switch, vni, replace(now, remotes=kept))
