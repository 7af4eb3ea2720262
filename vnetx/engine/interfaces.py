"""Interfaces that hang on a switch: veth pairs of which one end is the host's (or a container's),
the other one a port.

The record of an interface comes before the pair and goes after it, so that what a killed command
left is found; the port is one as all others.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vnetx import netns
from vnetx.device import Link
from vnetx.engine.ports import attach_port, detach_one
from vnetx.engine.session import Session, hooks_of
from vnetx.errors import VnetxError
from vnetx.links import Links, make_netns, remove_netns
from vnetx.model import Interface
from vnetx.state import stable_mac


def outer_name(session: Session, name: str) -> str:
    """A free name for the end of a veth pair that is a port, where the other one is `name`."""
    outer = f"vx-{name}"[:15]
    return outer if session.links.get(outer) is None else f"vx{os.getpid()}"


def alias(switch: str, name: str) -> str:
    """What the ends of the pair say of themselves."""
    return f"interface {name} of vnetx switch {switch}"


def is_interface_of(link: Link, switch: str) -> bool:
    """Whether a device says that it is an interface of a switch, or its port."""
    before, after = alias(switch, "\n").split("\n")
    return link.alias.startswith(before) and link.alias.endswith(after)


def find_interface(session: Session, name: str) -> str | None:
    """The switch of this namespace that an interface is of."""
    for switch in session.names():
        if name in session.maps(switch).interfaces():
            return switch
    return None


def interface_of_port(session: Session, switch: str, ifindex: int) -> str | None:
    """The interface whose other end is this port."""
    for name, record in session.maps(switch).interfaces().items():
        if record["ifindex"] == ifindex:
            return name
    return None


@contextlib.contextmanager
def _there(session: Session, where: str | None) -> Iterator[Links]:
    """Netlink in the namespace of an interface."""
    if where is None:
        yield session.links
        return
    with netns.inside(where), Links() as links:
        yield links


def set_interface(session: Session, switch: str, name: str, wanted: Interface) -> None:
    """Makes an interface, or one that is there what `wanted` says."""
    maps = session.maps(switch) if switch in session.names() else None
    record = maps.interfaces().get(name) if maps else None
    if record and not _is_same(record, _mac(switch, name, wanted), wanted):
        remove_interface(session, switch, name)
        record = None
    if not record:
        session.executor.done.append(f"make interface {name} of {switch}")
    if session.executor.rehearsing or maps is None:
        return
    if not record:
        session.if_it_fails(remove_interface, session, switch, name)
        _make_pair(session, switch, name, wanted)
    outer = session.links.by_index(maps.interfaces()[name]["ifindex"])
    if outer is None:
        raise VnetxError(f"interface {name}", "the veth pair vanished")
    attach_port(session, switch, outer, wanted.port, used=set(maps.slots()))
    _set_inner(session, name, wanted, outer)


def _is_same(record: Mapping[str, Any], mac: bytes, wanted: Interface) -> bool:
    """Whether an interface has to change no more than addresses, routes, MTU and its port."""
    there = record["kind"], record["mac"], record["netns"] or None, record["own_netns"]
    return there == (wanted.kind, mac, wanted.netns, wanted.own_netns)


def _mac(switch: str, name: str, wanted: Interface) -> bytes:
    return wanted.mac or stable_mac(f"{switch} {name}")


def _make_pair(session: Session, switch: str, name: str, wanted: Interface) -> None:
    maps, told = session.maps(switch), alias(switch, name)
    mac = _mac(switch, name, wanted)
    record = {
        "kind": wanted.kind,
        "mac": mac,
        "netns": wanted.netns or "",
        "own_netns": wanted.own_netns,
    }
    if wanted.own_netns:
        _own_netns(session, switch, name, record)
    with _there(session, wanted.netns) as there:
        if there.get(name) is not None:
            raise VnetxError(
                f"making interface {name}", "there is an interface of that name", "give --name"
            )
    maps.set_interface(name, ifindex=0, **record)
    outer = outer_name(session, name)
    if wanted.netns is None:
        session.links.add_veth(name, outer, mac)
    else:
        with netns.opened(wanted.netns) as fd:
            session.links.add_veth(name, outer, mac, fd)
    session.forget_links()
    link = session.links.get(outer)
    if link is None:
        raise VnetxError(f"making interface {name}", "the veth pair vanished")
    maps.set_interface(name, ifindex=link.ifindex, **record)
    session.links.raise_up(link.ifindex, told)
    with _there(session, wanted.netns) as there:
        inner = _inner(there, name, mac)
        if inner:
            there.raise_up(inner.ifindex, told)


def _own_netns(session: Session, switch: str, name: str, record: dict[str, Any]) -> None:
    """Makes the namespace of an interface, unless another one's is the same.

    Raises:
        VnetxError: it is somebody else's, and would go with the interface.
    """
    where = record["netns"]
    if where not in netns.names():
        session.maps(switch).set_interface(name, ifindex=0, **record)
        make_netns(where)
    elif not any(other["own_netns"] for other in _neighbours(session, switch, name, where)):
        raise VnetxError(
            f"network namespace {where}",
            "it is there already, and would be deleted with the interface",
            "leave --own-netns out",
        )


def _inner(links: Links, name: str, mac: bytes) -> Link | None:
    """The host's end, should it be there under its name."""
    link = links.get(name)
    return link if link and link.kind == "veth" and link.mac == mac else None


def _set_inner(session: Session, name: str, wanted: Interface, outer: Link) -> None:
    """Addresses, routes and MTU of the host's end, and the MTU of the other one."""
    with _there(session, wanted.netns) as there:
        inner = there.get(name)
        if inner is None:
            raise VnetxError(
                f"interface {name}",
                "it was renamed or moved away",
                f"vnetx link del {name}",
            )
        before = replace(wanted, **_seen(there, inner))
        if before == wanted and outer.mtu == wanted.mtu:
            return
        session.if_it_fails(_write_inner, session, name, before, outer.ifindex)
    _write_inner(session, name, wanted, outer.ifindex)
    told = ", ".join(wanted.addresses) or "no addresses"
    session.executor.done.append(f"{name} has {told}, MTU {wanted.mtu}")


def _write_inner(session: Session, name: str, wanted: Interface, outer: int) -> None:
    session.links.set_mtu(outer, wanted.mtu)
    with _there(session, wanted.netns) as there:
        inner = there.get(name)
        if inner:
            there.set_mtu(inner.ifindex, wanted.mtu)
            there.set_addresses(inner.ifindex, wanted.addresses)
            there.set_routes(inner.ifindex, wanted.routes)


def _seen(links: Links, inner: Link) -> dict[str, Any]:
    """Of the host's end what can be changed, as fields of :class:`vnetx.model.Interface`."""
    return {
        "addresses": tuple(links.addresses(inner.ifindex)),
        "routes": tuple(links.routes(inner.ifindex)),
        "mtu": inner.mtu,
    }


def remove_interface(session: Session, switch: str, name: str) -> None:
    """Removes an interface with its pair; what a killed command began too."""
    maps = session.maps(switch)
    record = maps.interfaces().get(name)
    if record is None:
        return
    session.executor.done.append(f"remove interface {name} of {switch}")
    if session.executor.rehearsing:
        return
    if before := observed(session, switch).get(name):
        session.if_it_fails(set_interface, session, switch, name, before)
    outer = session.links.by_index(record["ifindex"]) if record["ifindex"] else None
    if outer and outer.alias == alias(switch, name):  # another device may have its number
        detach_one(session, switch, outer.ifindex)
        session.links.delete(outer.ifindex)
    else:
        with contextlib.suppress(VnetxError), _there(session, record["netns"] or None) as there:
            inner = _inner(there, name, record["mac"])
            if inner:
                there.delete(inner.ifindex)
    session.forget_links()
    if record["own_netns"] and not _neighbours(session, switch, name, record["netns"]):
        remove_netns(record["netns"])
    maps.delete_interface(name)


def _neighbours(session: Session, switch: str, name: str, where: str) -> list[dict[str, Any]]:
    """The other interfaces in the namespace of this one."""
    return [
        record
        for other in session.names()
        for each, record in session.maps(other).interfaces().items()
        if record["netns"] == where and (other, each) != (switch, name)
    ]


def collect_interfaces(session: Session, switch: str) -> None:
    """Removes interfaces whose pair is gone or was never complete."""
    maps = session.maps(switch)
    for name, record in maps.interfaces().items():
        if not record["ifindex"] or not hooks_of(session, maps, record["ifindex"]):
            remove_interface(session, switch, name)


def observed(session: Session, switch: str) -> dict[str, Interface]:
    """The interfaces of a switch as they are; those that are out of reach have no addresses."""
    maps, found = session.maps(switch), {}
    for name, record in maps.interfaces().items():
        each = Interface(
            kind=record["kind"],
            netns=record["netns"] or None,
            mac=None if record["mac"] == stable_mac(f"{switch} {name}") else record["mac"],
            own_netns=record["own_netns"],
            port=maps.port_settings(maps.index_of(record["ifindex"])),
        )
        with contextlib.suppress(VnetxError), _there(session, each.netns) as there:
            inner = there.get(name)
            if inner:
                each = replace(each, **_seen(there, inner))
        found[name] = each
    return found
