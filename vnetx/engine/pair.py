"""Interfaces that are one end of a veth pair, in any namespace; the other end is a port."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from vnetx import netns
from vnetx.device import Link
from vnetx.engine.kind import alias, mac_of, there
from vnetx.engine.plain_port import PlainPort
from vnetx.engine.session import Session
from vnetx.errors import VnetxError
from vnetx.links import Links, make_netns, remove_netns
from vnetx.model import Interface


def outer_name(session: Session, name: str) -> str:
    """A free name for the end of a veth pair that is a port, where the other one is `name`."""
    outer = f"vx-{name}"[:15]
    return outer if session.links.get(outer) is None else f"vx{os.getpid()}"


class Pair(PlainPort):
    """See :class:`vnetx.engine.kind.Kind`."""

    def record(
        self, _session: Session, switch: str, name: str, wanted: Interface
    ) -> dict[str, Any]:
        return {
            "kind": wanted.kind,
            "mac": mac_of(switch, name, wanted),
            "netns": wanted.netns or "",
            "own_netns": wanted.own_netns,
        }

    def settings(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {"netns": record["netns"] or None, "own_netns": record["own_netns"]}

    def is_same(self, _session: Session, record: Mapping[str, Any], wanted: Interface) -> bool:
        there = self.settings(record)
        return there == {"netns": wanted.netns, "own_netns": wanted.own_netns}

    def check_removable(self, session: Session, name: str, record: Mapping[str, Any]) -> None:
        """Nothing is lost but what is made again."""

    def make(self, session: Session, switch: str, name: str, wanted: Interface) -> None:
        maps, told = session.maps(switch), alias(switch, name)
        record = self.record(session, switch, name, wanted)
        if record["own_netns"]:
            _own_netns(session, switch, name, record)
        with there(session, record["netns"]) as links:
            if links.get(name) is not None:
                raise VnetxError(
                    f"making interface {name}", "there is an interface of that name", "give --name"
                )
        maps.set_interface(name, ifindex=0, **record)
        outer = outer_name(session, name)
        if not record["netns"]:
            session.links.add_veth(name, outer, record["mac"])
        else:
            with netns.opened(record["netns"]) as fd:
                session.links.add_veth(name, outer, record["mac"], fd)
        session.forget_links()
        link = session.links.get(outer)
        if link is None:
            raise VnetxError(f"making interface {name}", "the veth pair vanished")
        maps.set_interface(name, ifindex=link.ifindex, **record)
        session.links.keep_silent(outer)
        self.prepare_outer(session.links, link, record, wanted)
        session.links.raise_up(link.ifindex, told)
        with there(session, record["netns"]) as links:
            inner = _inner(links, name, record["mac"], told)
            if inner:
                self.prepare_inner(links, inner, wanted)
                links.raise_up(inner.ifindex, told)

    def prepare_outer(
        self, links: Links, outer: Link, record: Mapping[str, Any], wanted: Interface
    ) -> None:
        """What the end that is a port gets before it is up."""

    def prepare_inner(self, links: Links, inner: Link, wanted: Interface) -> None:
        """What the other end gets before it is up, in its namespace."""

    def seen(self, session: Session, name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
        with there(session, record["netns"]) as links:
            inner = _inner(links, name, record["mac"], _told_by(session, record))
            if inner is None:
                return None
            return {
                "addresses": tuple(links.addresses(inner.ifindex)),
                "routes": tuple(links.routes(inner.ifindex)),
                "mtu": inner.mtu,
            }

    def write(
        self, session: Session, name: str, record: Mapping[str, Any], wanted: Interface
    ) -> bool:
        session.links.set_mtu(record["ifindex"], wanted.mtu)
        with there(session, record["netns"]) as links:
            inner = _inner(links, name, record["mac"], _told_by(session, record))
            if inner:
                links.set_mtu(inner.ifindex, wanted.mtu)
                links.set_addresses(inner.ifindex, wanted.addresses)
                links.set_routes(inner.ifindex, wanted.routes)
        return True

    def told(self, wanted: Interface) -> str:
        return f"{', '.join(wanted.addresses) or 'no addresses'}, MTU {wanted.mtu}"

    def remove_rest(
        self, session: Session, switch: str, name: str, record: Mapping[str, Any]
    ) -> None:
        with contextlib.suppress(VnetxError), there(session, record["netns"]) as links:
            inner = _inner(links, name, record["mac"], alias(switch, name))
            if inner:
                links.delete(inner.ifindex)
        if record["own_netns"] and not _neighbours(session, switch, name, record["netns"]):
            remove_netns(record["netns"])


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


def _told_by(session: Session, record: Mapping[str, Any]) -> str:
    """What both ends of the pair say of themselves."""
    port = session.links.by_index(record["ifindex"])
    return port.alias if port else ""


def _inner(links: Links, name: str, mac: bytes, told: str) -> Link | None:
    """The host's end, should it be there: under its name, or under another one, if it says so."""
    link = links.get(name)
    if link and link.kind == "veth" and (link.mac == mac or link.alias == told):
        return link
    all_links = links.all().values() if told else ()
    return next((each for each in all_links if (each.alias, each.mac) == (told, mac)), None)


def _neighbours(session: Session, switch: str, name: str, where: str) -> list[dict[str, Any]]:
    """The other interfaces in the namespace of this one."""
    return [
        record
        for other in session.names()
        for each, record in session.maps(other).interfaces().items()
        if record["netns"] == where and (other, each) != (switch, name)
    ]
