"""Devices of the underlay on which a program takes packets of VTEPs before the stack does.

That is for speed, and for IPv4 (bpf/lib/outer.h): what comes by other devices goes by the kernel's
vxlan device, as does all that the program leaves.
"""

from __future__ import annotations

from vnetx import _abi
from vnetx.device import Link
from vnetx.engine.session import Session, holds_device
from vnetx.state import vnis_of


def settle_underlays(session: Session, switch: str, *, without: int = 0) -> None:
    """Has the program on the devices by which the VTEPs of a switch's VNIs are reached, and on no
    others.

    Args:
        without: a VNI that is about to go, and does not count.
    """
    if session.executor.rehearsing or switch not in session.names():
        return
    wanted = _wanted(session, switch, without)
    for ifindex in session.maps(switch).underlays():
        if ifindex not in wanted or not _attached(session, switch, ifindex):
            _leave(session, switch, ifindex)
    for ifindex in wanted.keys() - session.maps(switch).underlays().keys():
        _enter(session, switch, wanted[ifindex])


def leave_underlay(session: Session, link: Link) -> None:
    """A device is about to become a port: its frames are the switch's to decide on."""
    for name in session.names():
        if link.ifindex in session.maps(name).underlays():
            _leave(session, name, link.ifindex)


def collect_underlays(session: Session, switch: str) -> None:
    """Forgets devices that are gone, and all of them where no VNI is left."""
    maps = session.maps(switch)
    vnis = maps.vnis()
    for ifindex in maps.underlays():
        if not vnis or session.links.name_of(ifindex) is None:
            _leave(session, switch, ifindex)


def _wanted(session: Session, switch: str, without: int) -> dict[int, Link]:
    vnis = [own for vni, own in vnis_of(session.maps(switch)).items() if vni != without]
    own = [vni for vni in vnis if ":" not in vni.local]
    links = [session.link(name) for name in {vni.dev for vni in own if vni.dev}]
    links += map(session.links.route_to, {remote for vni in own for remote in vni.remotes})
    return {link.ifindex: link for link in links if link and _suitable(session, link)}


def _suitable(session: Session, link: Link) -> bool:
    """Ethernet, and no port: of a port's frames the switch decides first."""
    ethernet = any(link.mac) and not link.loopback
    return ethernet and link.kind != "vxlan" and session.switch_of(link.ifindex) is None


def _attached(session: Session, switch: str, ifindex: int) -> bool:
    if session.tcx:
        return holds_device(session.maps(switch).link_path(ifindex, "underlay"), ifindex)
    return "ingress" in session.links.tc_filters(ifindex)


def _enter(session: Session, switch: str, link: Link) -> None:
    flags = 0
    if not session.tcx:
        if "ingress" in session.links.tc_filters(link.ifindex):
            return  # another switch's, and there is room for one
        flags = 0 if session.links.has_clsact(link.ifindex) else _abi.UNDO_FLAGS["clsact"]
    session.if_it_fails(_leave, session, switch, link.ifindex)
    session.maps(switch).set_underlay(link.ifindex, flags=flags)
    session.executor.attach_underlay(switch, link.ifindex, clsact=not session.tcx)
    session.executor.done.append(f"take packets of VTEPs on {link.name}")


def _leave(session: Session, switch: str, ifindex: int) -> None:
    maps = session.maps(switch)
    record = maps.underlays().get(ifindex)
    link = session.links.by_index(ifindex)
    if record is None:
        return
    if link is not None:
        session.if_it_fails(_enter, session, switch, link)
    session.executor.detach_underlay(switch, ifindex, clsact=not session.tcx)
    if link is not None and record["flags"] & _abi.UNDO_FLAGS["clsact"]:
        session.links.delete_clsact(ifindex)
    maps.delete_underlay(ifindex)
    name = link.name if link else f"interface {ifindex} (gone)"
    session.executor.done.append(f"take no packets of VTEPs on {name} any more")
