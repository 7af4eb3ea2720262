"""Interfaces that hang on a switch: `vnetx link`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vnetx import model
from vnetx.engine.attach import attach_devices, set_ports
from vnetx.engine.execute import Executor
from vnetx.engine.interfaces import find_interface, observed, remove_interface, set_interface
from vnetx.engine.session import Result, Session, hooks_of
from vnetx.engine.switches import become_vlan_aware, drop_if_empty, ensure_switch
from vnetx.engine.transaction import transaction
from vnetx.errors import VnetxError
from vnetx.links import Links
from vnetx.model import DEFAULT_SWITCH, Interface, SwitchSettings, Vlans, changed


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
        if wanted.kind in model.ENDPOINT_KINDS:
            _ready_parent(session, switch, wanted)
        ensure_switch(session, switch, SwitchSettings(), implicit=True)
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


def _ready_parent(session: Session, switch: str, wanted: Interface) -> None:
    """The NIC of an endpoint is a port, and in the endpoint's VLAN."""
    if wanted.parent is None:
        raise VnetxError("an endpoint", "it is on no NIC", "give --parent NIC")
    link = session.link(wanted.parent)
    there = session.switch_of(link.ifindex) if link else None
    if link is None or there is None or not hooks_of(session, session.maps(there), link.ifindex):
        attach_devices(session, [wanted.parent], switch, "auto", {})
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
