"""Interfaces that are a tap: the port itself, whose other end a program has open."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vnetx.device import Link, Tun
from vnetx.engine.kind import alias, mac_of
from vnetx.engine.plain_port import PlainPort
from vnetx.engine.session import Session
from vnetx.errors import VnetxError, words
from vnetx.model import Interface
from vnetx.processes import holders
from vnetx.tun import change


class Tap(PlainPort):
    """See :class:`vnetx.engine.kind.Kind`."""

    def record(
        self, _session: Session, switch: str, name: str, wanted: Interface
    ) -> dict[str, Any]:
        return {"kind": wanted.kind, "mac": mac_of(switch, name, wanted), "netns": ""}

    def settings(self, _record: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def is_same(self, session: Session, record: Mapping[str, Any], wanted: Interface) -> bool:
        link = session.links.by_index(record["ifindex"])
        if link is None or link.tun is None:
            return True
        return is_changeable(link.tun, tun_of(wanted))

    def check_removable(self, session: Session, name: str, record: Mapping[str, Any]) -> None:
        link = session.links.by_index(record["ifindex"])
        if link and link.tun and link.tun.open:
            raise in_use(name)

    def make(self, session: Session, switch: str, name: str, wanted: Interface) -> None:
        maps, record = session.maps(switch), self.record(session, switch, name, wanted)
        if session.links.get(name) is not None:
            raise VnetxError(
                f"making interface {name}", "there is an interface of that name", "another name"
            )
        maps.set_interface(name, ifindex=0, **record)
        link = make_device(session, switch, name, wanted, record["mac"])
        maps.set_interface(name, ifindex=link.ifindex, **record)

    def seen(
        self, session: Session, _name: str, record: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        link = session.links.by_index(record["ifindex"])
        return fields(link) if link else None

    def write(
        self, session: Session, _name: str, record: Mapping[str, Any], wanted: Interface
    ) -> bool:
        link = session.links.by_index(record["ifindex"])
        if link is None:
            return False
        changed = change_device(session, link, wanted)
        if link.mtu == wanted.mtu:
            return changed
        session.links.set_mtu(link.ifindex, wanted.mtu)
        return True

    def told(self, wanted: Interface) -> str:
        return f"{told_file(wanted)}, MTU {wanted.mtu}"

    def remove_rest(
        self, session: Session, switch: str, name: str, _record: Mapping[str, Any]
    ) -> None:
        remove_device(session, switch, name)


def tun_of(wanted: Interface) -> Tun:
    """The device that an interface is; without an owner anybody might open it."""
    return Tun(
        tap=wanted.kind == "tap",
        owner=0 if wanted.owner is wanted.group is None else wanted.owner,
        group=wanted.group,
        multi_queue=wanted.multi_queue,
        vnet_hdr=wanted.has_vnet_hdr,
    )


def is_changeable(now: Tun, wanted: Tun) -> bool:
    """Whether a device can become another one, and back: it stays multi-queue or not, and an owner
    or group can become another one, but not none."""
    return (now.multi_queue, now.owner is None, now.group is None) == (
        wanted.multi_queue,
        wanted.owner is None,
        wanted.group is None,
    )


def in_use(name: str) -> VnetxError:
    """The error of a device that cannot be changed while a program has it open."""
    who = ", ".join(holders("iff:", name, here=True)) or "a program"
    return VnetxError(
        f"changing interface {name}",
        f"{who} has it open: {words(OSError(errno.EBUSY, ''))}",
        f"end it first, or vnetx link del {name}",
    )


def make_device(
    session: Session, switch: str, name: str, wanted: Interface, mac: bytes | None
) -> Link:
    """Makes the device of an interface, up."""
    told = alias(switch, name)
    session.links.add_tun(name, tun_of(wanted), told, mac)
    session.forget_links()
    link = session.links.get(name)
    if link is None:
        raise VnetxError(f"making interface {name}", "it vanished")
    session.links.keep_silent(name)
    session.links.raise_up(link.ifindex, told)
    return link


def change_device(session: Session, link: Link, wanted: Interface) -> bool:
    """Gives a device the owner, group and header that are wanted; returns whether it had others.

    Raises:
        VnetxError: a program has it open.
    """
    name, tun = link.name, tun_of(wanted)
    if link.tun is None or replace(link.tun, open=False) == tun:
        return False
    if not link.tun.open:
        change(name, tun)
        return True
    if replace(link.tun, open=False, vnet_hdr=tun.vnet_hdr) == tun:
        session.messages.append(
            f"{name} is open: what opened it decides {'against' if tun.vnet_hdr else 'for'} "
            "the vnet header"
        )
        return False
    raise in_use(name)


def remove_device(session: Session, switch: str, name: str, ifindex: int = 0) -> None:
    """Removes the device of an interface, should it be there: of this number, or of its name."""
    link = session.links.by_index(ifindex) if ifindex else session.links.get(name)
    if link and link.tun and link.alias == alias(switch, name):
        session.links.delete(link.ifindex)


def fields(link: Link) -> dict[str, Any]:
    """Of a device what can be changed, as fields of :class:`vnetx.model.Interface`."""
    if link.tun is None:
        return {"mtu": link.mtu}
    names = ("owner", "group", "multi_queue", "vnet_hdr")
    return {"mtu": link.mtu} | {name: getattr(link.tun, name) for name in names}


def told_file(wanted: Interface) -> str:
    """Who may open a device and how, for people."""
    tun = tun_of(wanted)
    who = {"owner": tun.owner, "group": tun.group}
    words = [f"{word} {number}" for word, number in who.items() if number is not None]
    return ", ".join([*words, f"{'a' if tun.vnet_hdr else 'no'} vnet header"])
