"""Devices as ports, by name: attaching several, finding one, setting them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vnetx.device import Link
from vnetx.engine.interfaces import interface_of_port
from vnetx.engine.macvlan import endpoints_of
from vnetx.engine.ports import attach_port, check_attachable, check_host_stays
from vnetx.engine.session import Session
from vnetx.engine.switches import become_vlan_aware, ensure_switch, set_ports_vlans
from vnetx.engine.wires import check_no_wire
from vnetx.errors import VnetxError
from vnetx.model import VLAN_SETTINGS, PortSettings, SwitchSettings, changed
from vnetx.state import settings_of


def attach_devices(
    session: Session,
    ifnames: Sequence[str],
    name: str,
    hook: str,
    wanted: Mapping[str, Any],
    *,
    force: bool = False,
    confirm: float | None = None,
) -> list[Link]:
    """Makes devices ports of the switch `name`, as :func:`vnetx.engine.attach` does."""
    session.expect_many(len(ifnames))
    links = []
    for ifname in dict.fromkeys(ifnames):
        link = session.link(ifname)
        if link is None:
            raise VnetxError(
                f"attaching {ifname}", "there is no interface of that name", "see ip link"
            )
        check_attachable(session, link, name)
        check_no_wire(session, link, "attaching")
        links.append(link)
    host_port = not any(link.carries_host for link in links)
    ensure_switch(session, name, SwitchSettings(host_port=host_port), implicit=True)
    maps = session.maps(name)
    if "vlans" in wanted or PortSettings(**wanted).has_vlans:
        become_vlan_aware(session, name)
    if confirm is not None:
        deadline = maps.meta()["confirm_deadline_ns"]
        session.if_it_fails(lambda: maps.set_meta(confirm_deadline_ns=deadline))
        session.executor.await_confirmation(name, confirm)
    used = set(maps.slots())
    for link in links:
        base = maps.port_settings(maps.index_of(link.ifindex))
        attach_port(
            session,
            name,
            link,
            changed(base, hook=hook, **wanted),
            force=force,
            unconfirmed=confirm is not None,
            used=used,
        )
    return links


def find_port(session: Session, ifname: str) -> tuple[str, Link]:
    """The switch and the device of a port; a switch's own name is its host port.

    Raises:
        VnetxError: not a port.
    """
    link = session.link(ifname)
    if ifname in session.names():
        outer = session.maps(ifname).meta()["host_port_ifindex"]
        link = session.link_by_index(outer) if outer else None
    switch = session.switch_of(link.ifindex) if link else None
    if link is None or switch is None:
        raise VnetxError(
            f"port {ifname}",
            "not a port of any switch" if link else "there is no interface of that name",
            f"vnetx attach {ifname}" if link else "vnetx port show",
        )
    check_no_wire(session, link, "setting")
    return switch, link


def check_no_interface(session: Session, switch: str, link: Link, what: str) -> None:
    """The port of an interface that the switch made goes with it."""
    interface = interface_of_port(session, switch, link.ifindex)
    if interface is not None:
        raise VnetxError(
            f"{what} {link.name}",
            f"it is the port of interface {interface}",
            f"vnetx link del {interface}",
        )


def check_no_endpoints(session: Session, switch: str, link: Link) -> None:
    """A NIC stays as long as there are endpoints on it."""
    names = " ".join(endpoints_of(session, switch, link.ifindex))
    if names:
        raise VnetxError(
            f"detaching {link.name}", f"it has endpoints: {names}", f"vnetx link del {names}"
        )


def check_settable(
    session: Session, switch: str, link: Link, ifname: str, changes: Mapping[str, Any]
) -> None:
    """The host port has VLANs, and nothing else that could be set: documents hold no more."""
    others = sorted(
        name for name, value in changes.items() if value is not None and name not in VLAN_SETTINGS
    )
    if others and link.ifindex == session.maps(switch).meta()["host_port_ifindex"]:
        raise VnetxError(
            f"setting {', '.join(others).replace('_', '-')} of {ifname}",
            f"it is the host port of switch {switch}, of which only the VLANs can be set",
            "vnetx port show lists the ports",
        )


def set_ports(session: Session, switch: str, ports: Mapping[int, PortSettings]) -> None:
    """Gives ports these settings, by ifindex."""
    maps = session.maps(switch)
    used = set(maps.slots())
    by_index = {maps.index_of(ifindex): settings for ifindex, settings in ports.items()}
    for index, settings in by_index.items():
        port = maps.port(index)
        if port and port["twin"] and settings_of(maps).vlan_aware:
            check_host_stays(f"setting {session.links.name_of(port['ifindex'])}", settings)
    set_ports_vlans(session, switch, by_index)
    for ifindex, settings in ports.items():
        link = session.link_by_index(ifindex)
        assert link is not None
        attach_port(session, switch, link, settings, used=used)
