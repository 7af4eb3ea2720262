"""Interfaces that hang on a switch. What they are is the matter of their kind; the port is one as
all others.

The record of an interface comes before its devices and goes after them, so that what a killed
command left is found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from vnetx.datapath.fdb import Fdb
from vnetx.engine.ipvlan import Ipvlan
from vnetx.engine.kind import Kind, alias
from vnetx.engine.macvlan import Macvlan
from vnetx.engine.pair import Pair
from vnetx.engine.ports import detach_one
from vnetx.engine.session import Session, hooks_of
from vnetx.engine.tap import Tap
from vnetx.engine.tun import Tun
from vnetx.errors import VnetxError
from vnetx.model import Interface
from vnetx.state import stable_mac

KINDS: Mapping[str, Kind] = {
    "veth": Pair(),
    "tap": Tap(),
    "tun": Tun(),
    "macvlan": Macvlan(),
    "ipvlan": Ipvlan(),
}


def find_interface(session: Session, name: str) -> str | None:
    """The switch of this namespace that an interface is of."""
    for switch in session.names():
        if name in session.maps(switch).interfaces():
            return switch
    return None


def interface_of_port(session: Session, switch: str, ifindex: int) -> str | None:
    """The interface whose port this is."""
    for name, record in session.maps(switch).interfaces().items():
        if record["ifindex"] == ifindex:
            return name
    return None


#: Addresses with a static entry and their bridge domains, and whether they are sticky.
_Addresses = Mapping[tuple[bytes, int], bool]


def set_interface(
    session: Session,
    switch: str,
    name: str,
    wanted: Interface,
    behind: _Addresses = MappingProxyType({}),
) -> None:
    """Makes an interface, or one that is there what `wanted` says.

    Args:
        behind: static entries of the FDB that its port gets; those that it has it keeps, also where
            it has to be made anew.
    """
    kind = KINDS[wanted.kind]
    maps = session.maps(switch) if switch in session.names() else None
    record = maps.interfaces().get(name) if maps else None
    if record:
        after = kind.record(session, switch, name, wanted)
        same = all(record[key] == after[key] for key in ("kind", "mac"))
        whole = _is_whole(session, record)
        if not (whole and same and kind.is_same(session, record, wanted)):
            if whole:
                KINDS[record["kind"]].check_removable(session, name, record)
            behind = _behind(session, switch, record)
            remove_interface(session, switch, name)
            record = None
    if not record:
        session.executor.done.append(f"make interface {name} of {switch}")
    if session.executor.rehearsing or maps is None:
        return
    place = kind.port(session, switch, name, wanted)
    if not record:
        session.if_it_fails(remove_interface, session, switch, name)
        kind.make(session, switch, name, wanted)
        record = maps.interfaces()[name]
    port = session.links.by_index(record["ifindex"])
    if port is None:
        raise VnetxError(f"interface {name}", "its port vanished")
    kind.attach(session, switch, port, wanted, place)
    _put_behind(session, switch, port.ifindex, behind)
    now = kind.seen(session, name, record)
    if now is None:
        raise VnetxError(
            f"interface {name}", "it was renamed or moved away", f"vnetx link del {name}"
        )
    before = replace(wanted, **now)
    if before == wanted and port.mtu == wanted.mtu:
        return
    session.if_it_fails(kind.write, session, name, record, before)
    if kind.write(session, name, record, wanted):
        session.executor.done.append(f"{name} has {kind.told(wanted)}")


def _behind(session: Session, switch: str, record: Mapping[str, Any]) -> _Addresses:
    """The static entries of the FDB behind the port of an interface."""
    maps = session.maps(switch)
    index = maps.index_of(record["ifindex"])
    entries = Fdb(maps).static_entries() if index else {}
    return {key: sticky for key, (port, sticky) in entries.items() if port == index}


def _put_behind(session: Session, switch: str, ifindex: int, addresses: _Addresses) -> None:
    maps = session.maps(switch)
    for (mac, bd), sticky in addresses.items():
        Fdb(maps).add(mac, maps.index_of(ifindex), sticky=sticky, bd=bd)


def _is_whole(session: Session, record: Mapping[str, Any]) -> bool:
    """Whether nothing of an interface is gone."""
    port = session.links.by_index(record["ifindex"]) if record["ifindex"] else None
    return port is not None and KINDS[record["kind"]].is_whole(session, record)


def remove_interface(session: Session, switch: str, name: str) -> None:
    """Removes an interface with its devices; what a killed command began too."""
    maps = session.maps(switch)
    record = maps.interfaces().get(name)
    if record is None:
        return
    session.executor.done.append(f"remove interface {name} of {switch}")
    if session.executor.rehearsing:
        return
    if before := observed(session, switch).get(name):
        behind = _behind(session, switch, record)
        session.if_it_fails(set_interface, session, switch, name, before, behind)
    port = session.links.by_index(record["ifindex"]) if record["ifindex"] else None
    if port and port.alias == alias(switch, name):  # another device may have its number
        detach_one(session, switch, port.ifindex)
        session.links.delete(port.ifindex)
    KINDS[record["kind"]].remove_rest(session, switch, name, record)
    session.forget_links()
    maps.delete_interface(name)


def collect_interfaces(session: Session, switch: str) -> None:
    """Removes interfaces of which something is gone or was never made."""
    maps = session.maps(switch)
    for name, record in maps.interfaces().items():
        attached = hooks_of(session, maps, record["ifindex"])
        if not attached or not _is_whole(session, record):
            remove_interface(session, switch, name)


def observed(session: Session, switch: str) -> dict[str, Interface]:
    """The interfaces of a switch as they are; of those that are out of reach, what is known."""
    maps, found = session.maps(switch), {}
    for name, record in maps.interfaces().items():
        kind = KINDS[record["kind"]]
        has_own_mac = record["kind"] != "ipvlan" and record["mac"] != stable_mac(f"{switch} {name}")
        own = {
            "kind": record["kind"],
            "mac": record["mac"] if has_own_mac else None,
            "port": maps.port_settings(maps.index_of(record["ifindex"])),
            **kind.settings(record),
            **kind.known(session, switch, record),
        }
        each = Interface(**own)
        with contextlib.suppress(VnetxError):
            each = replace(each, **KINDS[each.kind].seen(session, name, record) or {})
        found[name] = each
    return found
