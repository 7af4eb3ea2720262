"""Wires: two devices of which every frame that enters at one leaves by the other.

Both are ports of a switch that sends nothing there; a program of their own is in place of the
switch's on their hooks. A wire without one of its ends is none: the other one is given back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vnetx import _abi
from vnetx.datapath.maps import SwitchMaps
from vnetx.device import Link
from vnetx.engine.ports import attach_port, check_attachable, detach_one, free_index
from vnetx.engine.session import Session
from vnetx.errors import VnetxError
from vnetx.model import Wire
from vnetx.plan import End, wire_values


def find_wire(session: Session, ifindex: int) -> tuple[str, tuple[int, ...]] | None:
    """The switch of the wire that a device is an end of, and both ends' numbers."""
    for name in session.names():
        ports = session.maps(name).ports()
        for port in ports.values():
            if port["ifindex"] == ifindex and port["wire"]:
                other = ports.get(port["wire"])
                return name, (ifindex, other["ifindex"]) if other else (ifindex,)
    return None


def check_no_wire(session: Session, link: Link, what: str) -> None:
    """An end of a wire is no port that could be anything else."""
    if find_wire(session, link.ifindex):
        raise VnetxError(
            f"{what} {link.name}", "it is the end of a wire", f"vnetx link unwire {link.name}"
        )


def need_link(session: Session, name: str) -> Link:
    link = session.link(name)
    if link is None:
        raise VnetxError(f"wire of {name}", "there is no interface of that name", "see ip link")
    return link


def switch_of_wire(session: Session, links: Sequence[Link]) -> str | None:
    """The switch of the wire that connects these two; None if none does."""
    ends = {link.ifindex for link in links}
    found = find_wire(session, min(ends))
    return found[0] if found and set(found[1]) == ends else None


def check_wire(
    session: Session, switch: str, wire: Wire, links: Sequence[Link], *, planned: bool = False
) -> None:
    """Refuses what cannot be the ends of a wire of this switch.

    Args:
        planned: what they are now ends before.
    """
    one, other = links
    if one.kind == "veth" and one.peer == other.ifindex and one.peer_netns is None:
        raise VnetxError(
            f"wiring {wire.name}",
            "they are the two ends of a veth: frames would go round for ever",
            "wire the ends that other hosts' veths have here",
        )
    for link in links:
        check_attachable(session, link, switch)
        found = find_wire(session, link.ifindex)
        if found and set(found[1]) != {one.ifindex, other.ifindex} and not planned:
            others = [session.links.name_of(i) for i in found[1] if i != link.ifindex]
            raise VnetxError(
                f"wiring {wire.name}",
                f"{link.name} is the end of a wire to {', '.join(map(str, others))}",
                f"vnetx link unwire {link.name}",
            )
        current = session.switch_of(link.ifindex)
        maps = session.maps(current) if current else None
        port = maps.port(maps.index_of(link.ifindex)) if maps else None
        if port and not port["wire"] and not planned:
            raise VnetxError(
                f"wiring {wire.name}",
                f"{link.name} is a port of switch {current}",
                f"vnetx detach {link.name}",
            )


def set_wire(
    session: Session, switch: str, wire: Wire, links: Sequence[Link], *, restart: bool = False
) -> None:
    """Makes two devices, in the order of the wire's ends, a wire, or one that is there another.

    Args:
        restart: chance begins anew, even if nothing else changes.
    """
    maps = session.maps(switch)
    used = set(maps.slots())
    ends = []
    for link in links:
        end = End(
            link.name,
            link.ifindex,
            _index(maps, link, used, f"wiring {wire.name}"),
            session.links.peer_mac(link),
            peer_retype=not session.peer_scrubs,
        )
        used.add(end.index)
        ends.append(end)
    for link, end, other in zip(links, ends, reversed(ends), strict=True):
        values = wire_values(wire, end, other)
        attach_port(
            session, switch, link, wire.end_settings(), wire=values, restart=restart, used=used
        )


def _index(maps: SwitchMaps, link: Link, used: Collection[int], what: str) -> int:
    """The port that a device is, or that a killed command left of it, or a free one."""
    left = (index for index, port in maps.ports().items() if port["ifindex"] == link.ifindex)
    index = maps.index_of(link.ifindex) or next(left, 0)
    return index or free_index(used, maps.meta()["max_ports"], what)


def collect_wires(session: Session, switch: str) -> None:
    """Gives back ends whose other one is gone, and what a killed command left of them."""
    maps = session.maps(switch)
    ports = maps.ports()
    attached = {port["ifindex"] for port in ports.values()}
    for ifindex, undo in maps.undo().items():
        if undo["flags"] & _abi.UNDO_FLAGS["wire"] and ifindex not in attached:
            detach_one(session, switch, ifindex)
    for index, port in ports.items():
        other = ports.get(port["wire"], {"wire": 0})
        if port["wire"] and other["wire"] != index:
            name = session.links.name_of(port["ifindex"])
            session.messages.append(f"{name} is detached: the other end of its wire is gone")
            detach_one(session, switch, port["ifindex"])
