"""Devices of the underlay on which a program takes packets of VTEPs before the stack does.

That is for speed, and for IPv4 (bpf/lib/outer.h): what comes by other devices goes by the kernel's
vxlan device, as does all that the program leaves.
"""

from __future__ import annotations

from collections.abc import Collection

from vnetx import _abi
from vnetx.device import Link
from vnetx.engine.execute import NoNativeXdp
from vnetx.engine.session import Session, holds_device
from vnetx.errors import VnetxError
from vnetx.links import features
from vnetx.plan import Offload, needed_offloads
from vnetx.state import vnis_of


def settle_underlays(session: Session, switch: str, *, without: Collection[int] = ()) -> None:
    """Has the programs on the devices by which the VTEPs of a switch's VNIs are reached, and on no
    others.

    Args:
        without: VNIs that are about to go, and do not count.

    Raises:
        VnetxError: a device does not take XDP, or there is another program.
    """
    if session.executor.rehearsing or switch not in session.names():
        return
    wanted, maps = _wanted(session, switch, without), session.maps(switch)
    for ifindex, record in maps.underlays().items():
        link, hook = wanted.get(ifindex, (None, ""))
        same = link and record["mac"] == link.mac and record["hook"] == _abi.HOOKS[hook]
        if not same or not _attached(session, switch, ifindex):
            _leave(session, switch, ifindex)
    for ifindex in wanted.keys() - maps.underlays().keys():
        link, hook = wanted[ifindex]
        # read anew: a program of ours may have left it meanwhile
        _enter(session, switch, session.links.by_index(ifindex) or link, hook)


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


def _wanted(session: Session, switch: str, without: Collection[int]) -> dict[int, tuple[Link, str]]:
    """Device and hook by ifindex."""
    found: dict[int, tuple[Link, str]] = {}
    own = [each for vni, each in vnis_of(session.maps(switch)).items() if vni not in without]
    for hook in ("tc", "xdp"):
        vnis = [each for each in own if each.underlay_hook == hook and ":" not in each.local]
        links = [session.link(name) for name in {each.dev for each in vnis if each.dev}]
        links += map(session.links.route_to, {remote for each in vnis for remote in each.flooded})
        for link in links:
            if link and _suitable(session, link):
                found[link.ifindex] = link, hook
    return found


def _suitable(session: Session, link: Link) -> bool:
    """Ethernet, and no port: of a port's frames the switch decides first."""
    ethernet = any(link.mac) and not link.loopback
    return ethernet and link.kind != "vxlan" and session.switch_of(link.ifindex) is None


def _attached(session: Session, switch: str, ifindex: int) -> bool:
    if session.tcx:
        return holds_device(session.maps(switch).link_path(ifindex, "underlay"), ifindex)
    return "ingress" in session.links.tc_filters(ifindex)


def _enter(session: Session, switch: str, link: Link, hook: str) -> None:
    executor, flags = session.executor, 0
    if not session.tcx:
        if "ingress" in session.links.tc_filters(link.ifindex):
            return  # another switch's, and there is room for one
        flags = 0 if session.links.has_clsact(link.ifindex) else _abi.UNDO_FLAGS["clsact"]
    changes = _changes(link) if hook == "xdp" else []
    flags |= sum(_abi.UNDO_FLAGS[offload.undo] for offload in changes)
    session.if_it_fails(_leave, session, switch, link.ifindex)
    record = {"flags": flags, "hook": _abi.HOOKS[hook], "mac": link.mac}
    session.maps(switch).set_underlay(link.ifindex, **record)
    for offload in changes:
        executor.set_feature(switch, link, offload.feature, offload.on, offload.peer)
    try:
        clsact, xdp = not session.tcx, hook == "xdp"
        executor.attach_underlay(switch, link.ifindex, clsact=clsact, xdp=xdp)
    except NoNativeXdp as error:
        remedy = "leave --underlay-hook away"
        raise VnetxError(f"XDP on {link.name}, of the underlay", error.why, remedy) from error
    executor.done.append(f"take packets of VTEPs on {link.name}, {hook}")


def _changes(link: Link) -> list[Offload]:
    """Offloads that XDP cannot have as they are.

    Raises:
        VnetxError: there is an XDP program already, or those of a peer cannot be changed.
    """
    what = f"XDP on {link.name}, of the underlay"
    if link.xdp:
        raise VnetxError(what, f"it carries XDP program {link.xdp[0]} already")
    now = {peer: features(link, peer=peer) for peer in ((False, True) if link.peer else (False,))}
    if link.peer and not now[True]:
        raise VnetxError(what, "no way leads into the network namespace of its peer")
    return [
        offload
        for offload in needed_offloads(link, "xdp")
        if now[offload.peer].get(offload.feature, offload.on) != offload.on
    ]


def _leave(session: Session, switch: str, ifindex: int) -> None:
    maps, executor = session.maps(switch), session.executor
    record = maps.underlays().get(ifindex)
    link = session.links.by_index(ifindex)
    if record is None:
        return
    hook = "xdp" if record["hook"] == _abi.HOOKS["xdp"] else "tc"
    if link is not None:
        session.if_it_fails(_enter, session, switch, link, hook)
    executor.detach_underlay(switch, ifindex, clsact=not session.tcx)
    if link is not None:
        for offload in needed_offloads(link, hook):
            if record["flags"] & _abi.UNDO_FLAGS[offload.undo]:
                executor.give_back_feature(
                    switch, link, offload.feature, not offload.on, offload.peer
                )
        if record["flags"] & _abi.UNDO_FLAGS["clsact"]:
            session.links.delete_clsact(ifindex)
    maps.delete_underlay(ifindex)
    name = link.name if link else f"interface {ifindex} (gone)"
    executor.done.append(f"take no packets of VTEPs on {name} any more")
