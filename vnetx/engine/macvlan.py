"""Interfaces that are endpoints on a NIC: a veth pair whose port the data plane treats as the
kernel's macvlan does (bpf/lib/endpoint.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnetx.device import Link
from vnetx.engine.kind import mac_of
from vnetx.engine.pair import Pair
from vnetx.engine.ports import check_attachable
from vnetx.engine.session import Session
from vnetx.engine.wires import find_wire, set_wire
from vnetx.errors import VnetxError
from vnetx.model import PASSTHRU, Interface, PortSettings, Wire, format_mac
from vnetx.plan import Endpoint


class Macvlan(Pair):
    """See :class:`vnetx.engine.kind.Kind`."""

    def port(self, session: Session, switch: str, name: str, wanted: Interface) -> dict[str, Any]:
        maps, mac = session.maps(switch), mac_of(switch, name, wanted)
        if wanted.mode == PASSTHRU:
            return self._wire(session, switch, name, wanted, maps.interfaces().get(name))
        parent = maps.index_of(parent_of(session, switch, name, wanted).ifindex)
        if not mac_is_free(session, switch, mac, maps.interfaces().get(name)):
            raise VnetxError(
                f"interface {name} on {wanted.parent}",
                f"{format_mac(mac)} is the address of another endpoint or of the host",
                "--mac",
            )
        endpoint = Endpoint(parent, str(wanted.mode), wanted.host_access)
        return {"own_mac": mac, "endpoint": endpoint}

    def _wire(
        self,
        session: Session,
        switch: str,
        name: str,
        wanted: Interface,
        record: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """One that takes the NIC: that has to be free, or its own already."""
        parent = nic_of(session, name, wanted)
        check_attachable(session, parent, switch)
        ends = (find_wire(session, parent.ifindex) or ("", ()))[1]
        ours = record is not None and record["ifindex"] in ends
        if session.switch_of(parent.ifindex) is not None and not ours:
            raise VnetxError(
                f"interface {name} on {wanted.parent}",
                f"nothing may be beside one in {PASSTHRU} mode, and {parent.name} is a port",
                f"vnetx detach {parent.name}",
            )
        return {"parent": parent}

    def attach(
        self,
        session: Session,
        switch: str,
        port: Link,
        wanted: Interface,
        place: Mapping[str, Any],
    ) -> None:
        if wanted.mode != PASSTHRU:
            super().attach(session, switch, port, wanted, place)
            return
        links = {link.name: link for link in (place["parent"], port)}
        wire = Wire((place["parent"].name, port.name))
        set_wire(session, switch, wire, [links[end] for end in wire.ends])

    def known(self, session: Session, switch: str, record: Mapping[str, Any]) -> dict[str, Any]:
        maps = session.maps(switch)
        index = maps.index_of(record["ifindex"])
        port = maps.port(index)
        if port and port["wire"]:
            other = maps.port(port["wire"])
            name = session.links.name_of(other["ifindex"]) if other else None
            return {"parent": name, "mode": PASSTHRU, "port": PortSettings()}
        endpoint = Endpoint.of(port) if port else None
        if endpoint is None:
            return {}
        return {
            "parent": name_of_parent(session, switch, endpoint),
            "mode": endpoint.mode,
            "host_access": endpoint.host_access,
            "sources": _sources(session, record),
        }

    def seen(self, session: Session, name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
        now = super().seen(session, name, record)
        return now and {**now, "sources": _sources(session, record)}

    def write(
        self, session: Session, name: str, record: Mapping[str, Any], wanted: Interface
    ) -> bool:
        changed = super().write(session, name, record, wanted)
        switch = session.switch_of(record["ifindex"])
        if switch is None or _sources(session, record) == wanted.sources:
            return changed
        maps = session.maps(switch)
        if wanted.sources:
            session.executor.need(switch, "sources")
        maps.set_sources(maps.index_of(record["ifindex"]), wanted.sources)
        return True


def nic_of(session: Session, name: str, wanted: Interface) -> Link:
    """The device that an endpoint is to be on.

    Raises:
        VnetxError: it is not there.
    """
    link = session.link(wanted.parent) if wanted.parent else None
    if link is None:
        what = f"interface {name}" + (f" on {wanted.parent}" if wanted.parent else "")
        raise VnetxError(what, "its parent is not there", "see ip link")
    return link


def parent_of(session: Session, switch: str, name: str, wanted: Interface) -> Link:
    """The NIC of an endpoint, a port of its switch.

    Raises:
        VnetxError: it is not there, or can have no endpoints.
    """
    maps, what = session.maps(switch), f"interface {name} on {wanted.parent}"
    link = nic_of(session, name, wanted)
    index = maps.index_of(link.ifindex)
    if not index:
        raise VnetxError(
            what,
            f"its parent is no port of switch {switch}",
            f"vnetx attach {wanted.parent} --switch {switch}",
        )
    if Endpoint.of(maps.port(index) or {}):
        raise VnetxError(what, "that is an endpoint itself", "give the NIC that it is on")
    return link


def name_of_parent(session: Session, switch: str, endpoint: Endpoint) -> str | None:
    """None: the NIC is gone."""
    parent = session.maps(switch).slots().get(endpoint.parent)
    return session.links.name_of(parent["ifindex"]) if parent else None


def endpoints_of(session: Session, switch: str, ifindex: int) -> list[str]:
    """The names of the endpoints that a port has."""
    maps = session.maps(switch)
    index = maps.index_of(ifindex)
    ports = {port["ifindex"]: port for port in maps.ports().values()}
    return sorted(
        name
        for name, record in maps.interfaces().items()
        if (port := ports.get(record["ifindex"])) and index and port["parent"] == index
    )


def _sources(session: Session, record: Mapping[str, Any]) -> tuple[bytes, ...]:
    switch = session.switch_of(record["ifindex"])
    if switch is None:
        return ()
    maps = session.maps(switch)
    index = maps.index_of(record["ifindex"])
    return tuple(sorted(mac for mac, ports in maps.sources().items() if index in ports))


def mac_is_free(
    session: Session, switch: str, mac: bytes, record: Mapping[str, Any] | None
) -> bool:
    """Whether an address is nobody's in a switch but for the interface that the record is of."""
    maps = session.maps(switch)
    owner = maps.local_port(mac)
    return not owner or (record is not None and owner == maps.index_of(record["ifindex"]))
