"""Interfaces that hang on a switch, and wires: `vnetx link`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from vnetx import model
from vnetx.engine.attach import attach_devices, set_ports
from vnetx.engine.execute import Executor
from vnetx.engine.interfaces import find_interface, observed, remove_interface, set_interface
from vnetx.engine.ports import detach_one
from vnetx.engine.session import Result, Session
from vnetx.engine.switches import become_vlan_aware, drop_if_empty, ensure_switch
from vnetx.engine.transaction import transaction
from vnetx.engine.wires import (
    check_wire,
    find_wire,
    need_link,
    set_wire,
    switch_of_wire,
)
from vnetx.errors import VnetxError
from vnetx.links import Links
from vnetx.model import (
    DEFAULT_SWITCH,
    WIRES_SWITCH,
    Interface,
    PortSettings,
    SwitchSettings,
    Vlans,
    Wire,
    changed,
    check_switch_name,
)
from vnetx.state import wires_of


def link_add(
    name: str, settings: dict[str, Any], *, port: dict[str, Any], switch: str | None = None
) -> Result:
    """Makes an interface, or changes one that is there.

    Args:
        name: of the interface.
        settings: fields of :class:`vnetx.model.Interface` and their values; of one that is there
            the others stay.
        port: fields of :class:`vnetx.model.PortSettings`, likewise.
        switch: on which it hangs, made if it is not there; where it hangs, or
            :data:`vnetx.model.DEFAULT_SWITCH`, if not given.

    Raises:
        InvalidValue: a name that no interface can have.
        VnetxError: no such namespace, or an interface of that name.
    """
    model.check_interface_name(name)
    with transaction() as session:
        other = find_interface(session, name)
        if other is not None and switch not in (None, other):
            raise VnetxError(
                f"making interface {name}",
                f"it hangs on switch {other} already",
                f"vnetx link del {name}",
            )
        now = observed(session, other)[name] if other else Interface()
        if settings.get("kind", now.kind) != now.kind:
            now = Interface(port=now.port)
        wanted = replace(now, **settings, port=changed(now.port, **port))
        switch = other or _switch_for(session, name, wanted, switch)
        if other and model.PASSTHRU in {now.mode, wanted.mode} and now.mode != wanted.mode:
            raise VnetxError(
                f"interface {name}",
                f"mode {model.PASSTHRU} cannot be begun or ended on one that is there",
                f"vnetx link del {name}",
            )
        if wanted.mode == model.PASSTHRU:
            wanted = _with_parents_mac(session, wanted)
        elif wanted.kind in model.ENDPOINT_KINDS:
            _ready_parent(session, switch, name, wanted)
        has_host_port = wanted.mode != model.PASSTHRU
        ensure_switch(session, switch, SwitchSettings(host_port=has_host_port), implicit=True)
        if port.keys() & model.VLAN_SETTINGS:
            become_vlan_aware(session, switch)
        set_interface(session, switch, name, wanted)
        return session.result()


def _switch_for(session: Session, name: str, wanted: Interface, switch: str | None) -> str:
    """Where an interface is to hang: an endpoint's NIC tells."""
    link = session.link(wanted.parent) if wanted.parent else None
    there = session.switch_of(link.ifindex) if link else None
    if there is not None and switch not in (None, there):
        raise VnetxError(
            f"making interface {name}",
            f"its parent {wanted.parent} is a port of switch {there}",
            f"--switch {there}",
        )
    return there or switch or DEFAULT_SWITCH


def _with_parents_mac(session: Session, wanted: Interface) -> Interface:
    """One that takes the NIC has its address, if it is given none."""
    link = session.link(wanted.parent) if wanted.parent else None
    return replace(wanted, mac=wanted.mac or link.mac) if link else wanted


def _ready_parent(session: Session, switch: str, name: str, wanted: Interface) -> None:
    """The NIC of an endpoint is a port, and in the endpoint's VLAN."""
    if wanted.parent is None:
        raise VnetxError(f"interface {name}", "an endpoint is on a NIC", "give --parent NIC")
    link = session.link(wanted.parent)
    there = session.maps(switch) if switch in session.names() else None
    now = there.port_settings(there.index_of(link.ifindex)) if there and link else PortSettings()
    attach_devices(session, [wanted.parent], switch, now.hook, {})
    link = session.link(wanted.parent)
    if link is None or session.executor.rehearsing or wanted.port.vlans == Vlans():
        return
    maps = session.maps(switch)
    own = maps.port_settings(maps.index_of(link.ifindex))
    missing = wanted.port.vlans.member & ~own.vlans.member
    if missing:
        become_vlan_aware(session, switch)
        vlans = replace(own.vlans, member=own.vlans.member | missing)
        set_ports(session, switch, {link.ifindex: replace(own, vlans=vlans)})


def link_del(names: Sequence[str]) -> Result:
    """Removes interfaces, and switches that an attach made and that have no port left.

    Raises:
        VnetxError: no such interface.
    """
    with transaction() as session:
        found = {}
        for name in names:
            switch = find_interface(session, name)
            if switch is None:
                raise VnetxError(
                    f"deleting interface {name}",
                    "there is none of this name that a switch made",
                    "vnetx link show",
                )
            found[name] = switch
        for name, switch in found.items():
            remove_interface(session, switch, name)
        for switch in dict.fromkeys(found.values()):
            drop_if_empty(session, switch)
        return session.result()


def interfaces() -> dict[str, dict[str, Interface]]:
    """The interfaces of each switch of this namespace, as they are."""
    with Links() as links, Executor(links) as executor:
        executor.rehearse()
        session = Session(links, executor)
        return {switch: observed(session, switch) for switch in session.names()}


def link_wire(
    one: str,
    other: str,
    *,
    switch: str | None = None,
    cut: Collection[str] | None = None,
    **settings: Any,
) -> Result:
    """Connects two devices by a wire, or changes the one that connects them.

    Args:
        one: a device of this network namespace.
        other: another one.
        switch: whose ports they are, made if it is not there; where they are, or
            :data:`vnetx.model.WIRES_SWITCH`, if not given.
        cut: ends of which what enters there is dropped; None: as it is.
        settings: further fields of :class:`vnetx.model.Wire`; None leaves one as it is.

    Raises:
        InvalidValue: a percentage out of range, one device twice.
        VnetxError: an unknown device, one that is a port already or the end of another wire.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if cut is not None:
        given["cut"] = tuple(cut)
    base = replace(Wire((one, other)), **given)
    with transaction() as session:
        links = [need_link(session, name) for name in base.ends]
        where = switch_of_wire(session, links)
        if where and switch not in (None, where):
            raise VnetxError(
                f"wiring {base.name}",
                f"they are the ends of a wire of switch {where}",
                f"vnetx link unwire {one}",
            )
        name = where or check_switch_name(switch or WIRES_SWITCH)
        check_wire(session, name, base, links)
        if where:
            there = {each.ends: each for each in wires_of(session.maps(name))}
            base = replace(there.get(base.ends, base), **given)
        ensure_switch(session, name, SwitchSettings(host_port=False), implicit=True)
        set_wire(session, name, base, links, restart="seed" in given)
        for link in links:
            if not link.up:
                session.messages.append(f"{link.name} is down: ip link set dev {link.name} up")
        if links[0].mtu != links[1].mtu:
            told = ", ".join(f"{link.name} {link.mtu}" for link in links)
            session.messages.append(f"their MTUs differ, and larger frames are dropped: {told}")
        return session.result()


def link_unwire(names: Collection[str]) -> Result:
    """Ends wires: both ends of each are given back.

    Args:
        names: devices, each an end; one that is none is no error, one that does not exist is.
    """
    with transaction() as session:
        found: dict[str, set[int]] = {}
        for name in names:
            link = need_link(session, name)
            ends = find_wire(session, link.ifindex)
            if ends is None:
                session.messages.append(f"{name} is the end of no wire")
                continue
            found.setdefault(ends[0], set()).update(ends[1])
        for switch, ifindexes in found.items():
            for ifindex in sorted(ifindexes):
                detach_one(session, switch, ifindex)
            drop_if_empty(session, switch)
        return session.result()
