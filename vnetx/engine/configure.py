"""Making a switch what a configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vnetx.config import StaticEntry
from vnetx.config import Switch as ConfigSwitch
from vnetx.datapath.fdb import Fdb
from vnetx.device import Link
from vnetx.engine.interfaces import remove_interface, set_interface
from vnetx.engine.ports import attach_port, check_attachable, detach_one
from vnetx.engine.session import Session
from vnetx.engine.switches import (
    check_fixed,
    complete_switch,
    make_switch,
    set_switch,
    set_vlan_rules,
)
from vnetx.engine.vnis import check_vnis, keep_vnis, need_vtep, set_vnis
from vnetx.engine.wires import check_wire, find_wire, need_link, set_wire
from vnetx.errors import VnetxError
from vnetx.links import features
from vnetx.model import (
    ENDPOINT_KINDS,
    PASSTHRU,
    Wire,
    check_switch_name,
    format_mac,
)
from vnetx.plan import PortDesired, PortObserved, plan_port
from vnetx.state import settings_of


def check_applicable(session: Session, name: str, wanted: ConfigSwitch) -> None:
    """Refuses what cannot be applied before anything is touched."""
    check_switch_name(name)
    if name in session.names():
        check_fixed(name, settings_of(session.maps(name)), wanted.settings)
    for ifname in wanted.ports:
        link = session.link(ifname)
        if link is None:
            raise VnetxError(
                f"port {ifname} of switch {name}",
                "there is no interface of that name",
                "make it first, or take it out of the document",
            )
        check_attachable(session, link, name)
    for interface, each in wanted.interfaces.items():
        if (
            each.kind in ENDPOINT_KINDS
            and each.mode != PASSTHRU
            and each.parent not in wanted.ports
        ):
            raise VnetxError(
                f"interface {interface} of switch {name}",
                f"its parent {each.parent} is none of the ports" if each.parent else "no parent",
                "parent: a port of the same switch",
            )
    for wire in wanted.wires:
        check_wire(session, name, wire, _ends(session, wire), planned=True)


def _ends(session: Session, wire: Wire) -> list[Link]:
    return [need_link(session, end) for end in wire.ends]


def _keeps_role(session: Session, switch: str, ifindex: int, wanted: ConfigSwitch) -> bool:
    """Whether a port stays one, or the end of a wire the end of the same wire."""
    found = find_wire(session, ifindex)
    names = {session.links.name_of(each) for each in found[1]} if found else set()
    if not found:
        return session.links.name_of(ifindex) not in {e for w in wanted.wires for e in w.ends}
    if _takes_nic(session, found[0], found[1], wanted):
        return True
    return any(names == {*wire.ends} for wire in wanted.wires) and found[0] == switch


def _takes_nic(session: Session, switch: str, ends: tuple[int, ...], wanted: ConfigSwitch) -> bool:
    """Whether a wire is that of an interface which is to keep the NIC."""
    records = session.maps(switch).interfaces()
    return any(
        record["ifindex"] in ends
        and name in wanted.interfaces
        and wanted.interfaces[name].mode == PASSTHRU
        for name, record in records.items()
    )


def apply_switch(session: Session, name: str, wanted: ConfigSwitch) -> None:
    if name in session.names():
        complete_switch(session, name)
        now = settings_of(session.maps(name))
        same = now.vlan_aware == wanted.settings.vlan_aware
        keep_vnis(session, name, wanted.vnis if same else ())
        set_switch(session, name, now, wanted.settings)
    else:
        make_switch(session, name, wanted.settings, implicit=False)
    if name not in session.names():  # a rehearsal
        _rehearse_new(session, name, wanted)
        return
    maps = session.maps(name)
    links = {ifname: session.link(ifname) for ifname in wanted.ports}
    keep = {link.ifindex for link in links.values() if link}
    keep.add(maps.meta()["host_port_ifindex"])
    keep.update(record["ifindex"] for record in maps.interfaces().values())
    keep.update(link.ifindex for wire in wanted.wires for link in _ends(session, wire))
    keep.update(
        link.ifindex
        for each in wanted.interfaces.values()
        if each.mode == PASSTHRU and each.parent and (link := session.link(each.parent))
    )
    for ifindex in sorted(maps.undo()):
        if ifindex not in keep or not _keeps_role(session, name, ifindex, wanted):
            detach_one(session, name, ifindex)
    _apply_host(session, name, wanted)
    set_vlan_rules(session, name, wanted.vlan_rules)
    used = set(maps.slots())
    for ifname, link in links.items():
        if link:
            attach_port(session, name, link, wanted.ports[ifname], used=used)
    for wire in wanted.wires:
        set_wire(session, name, wire, _ends(session, wire))
    _apply_interfaces(session, name, wanted)
    check_vnis(session, name, wanted.vnis, planned=True)
    set_vnis(session, name, wanted.vnis)
    _apply_static(session, name, wanted, links)


def _apply_interfaces(session: Session, name: str, wanted: ConfigSwitch) -> None:
    for interface in session.maps(name).interfaces():
        if interface not in wanted.interfaces:
            remove_interface(session, name, interface)
    for interface, each in wanted.interfaces.items():
        set_interface(session, name, interface, each)


def _apply_host(session: Session, name: str, wanted: ConfigSwitch) -> None:
    """The VLANs of the host port."""
    maps = session.maps(name)
    meta = maps.meta()
    outer = session.link_by_index(meta["host_port_ifindex"]) if meta["host_port_ifindex"] else None
    if outer is not None:
        settings = replace(wanted.host, hook="tc")
        used = set(maps.slots())
        attach_port(session, name, outer, settings, own_mac=meta["mac"], used=used)


def _rehearse_new(session: Session, name: str, wanted: ConfigSwitch) -> None:
    """The steps of a switch that is yet to be made, with the numbers that its ports will get."""
    free = 2 if wanted.settings.host_port else 1
    for ifname, settings in wanted.ports.items():
        link = session.link(ifname)
        if link is None:
            continue
        hook = settings.hook
        if hook == "auto":
            hook = "xdp" if link.from_wire and not link.xdp else "tc"
        twin = free + 1 if link.carries_host else 0
        seen = PortObserved(
            link.ifindex,
            link,
            features=features(link) if hook != "tc" else {},
            peer_features=features(link, peer=True) if hook != "tc" and link.peer else {},
            clsact=None if session.tcx else session.links.has_clsact(link.ifindex),
        )
        desired = PortDesired(settings, hook, free, twin, vlan_aware=wanted.settings.vlan_aware)
        session.executor.run(plan_port(name, desired, seen))
        free += 2 if twin else 1
    for wire in wanted.wires:
        session.executor.done.append(f"wire {wire.name}")
    for interface, each in wanted.interfaces.items():
        set_interface(session, name, interface, each)
    set_vnis(session, name, wanted.vnis)
    for match, vid in wanted.vlan_rules.items():
        session.executor.done.append(f"VLAN {vid} by {match}")
    for entry in wanted.fdb:
        session.executor.done.append(_static_text(entry))


def _static_text(entry: StaticEntry) -> str:
    kind = "sticky" if entry.sticky else "static"
    if entry.vni is not None:
        return f"{format_mac(entry.mac)} is behind {entry.port} in VNI {entry.vni} ({kind})"
    return f"{format_mac(entry.mac)} is behind {entry.port} ({kind})"


def _vlan_of(entry: StaticEntry, wanted: ConfigSwitch) -> int | None:
    return entry.vlan if entry.vni is None else wanted.vnis[entry.vni].vid


def _apply_static(
    session: Session, name: str, wanted: ConfigSwitch, links: Mapping[str, Link | None]
) -> None:
    """Makes the static FDB entries what the document says."""
    maps = session.maps(name)
    fdb = Fdb(maps)
    indices = {ifname: maps.index_of(link.ifindex) for ifname, link in links.items() if link}
    for each in wanted.fdb:
        if each.vni is not None:
            indices[each.port] = need_vtep(session, name, each.vni, each.port)
    asked = {
        (entry.mac, fdb.domain(indices.get(entry.port, 0), _vlan_of(entry, wanted))): entry
        for entry in wanted.fdb
    }
    for (mac, bd), (port, sticky) in fdb.static_entries().items():
        entry = asked.get((mac, bd))
        if entry and (indices.get(entry.port), entry.sticky) == (port, sticky):
            del asked[mac, bd]
        elif entry is None:
            if not session.executor.rehearsing:
                fdb.delete(mac, bd=bd)
            session.executor.done.append(f"{format_mac(mac)} is not static any more")
    for (mac, bd), entry in asked.items():
        if not session.executor.rehearsing:
            fdb.add(mac, indices[entry.port], sticky=entry.sticky, replace=True, bd=bd)
        session.executor.done.append(_static_text(entry))
