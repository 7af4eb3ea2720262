"""Making a device a port, changing it, and taking it away again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vnetx import _abi, _bpf
from vnetx.device import Link
from vnetx.engine.execute import NoNativeXdp
from vnetx.engine.session import Session, local_mac, observe
from vnetx.engine.underlays import leave_underlay
from vnetx.errors import VnetxError
from vnetx.model import (
    PortSettings,
)
from vnetx.plan import Endpoint, PortDesired, PortObserved, has_chance, plan_port
from vnetx.processes import holders


def _desired_as_is(session: Session, switch: str, observed: PortObserved) -> PortDesired | None:
    """What plans a complete port to itself: the state to return to when a change fails."""
    port, undo = observed.port, observed.undo
    if port is None or undo is None or not observed.hooks or observed.link is None:
        return None
    hooks = {number: name for name, number in _abi.HOOKS.items()}
    meta = session.maps(switch).meta()
    return PortDesired(
        settings=session.maps(switch).port_settings(observed.index),
        hook=hooks[port["hook"]],
        index=observed.index,
        twin=observed.twin,
        peer_mac=port["peer_mac"] if port["flags"] & _abi.PORT_FLAGS["peer"] else None,
        peer_retype=bool(port["flags"] & _abi.PORT_FLAGS["peer_retype"]),
        local_mac=local_mac(session.maps(switch), port),
        endpoint=Endpoint.of(port),
        of_tun=bool(port["flags"] & _abi.PORT_FLAGS["tun"]),
        group_forward=meta["group_forward"],
        vlan_aware=_is(session, switch, "vlan_aware"),
        shared_learning=_is(session, switch, "shared_learning"),
        unconfirmed=bool(undo["flags"] & _abi.UNDO_FLAGS["unconfirmed"]),
        wire=observed.wire,
    )


def _is(session: Session, switch: str, flag: str) -> bool:
    return bool(session.maps(switch).switch()["flags"] & _abi.SWITCH_FLAGS[flag])


def _run(session: Session, switch: str, desired: PortDesired | None, seen: PortObserved) -> bool:
    """Plans and executes one port; returns whether anything was done."""
    steps = plan_port(switch, desired, seen)
    session.executor.run(steps)
    return bool(steps)


def detach_one(session: Session, switch: str, ifindex: int, *, gone: bool = False) -> None:
    """Makes a port a plain device again.

    Args:
        gone: the device is gone, even if another one has its number now.
    """
    name = None if gone else session.links.name_of(ifindex)
    link = session.link_by_index(ifindex) if name else None
    seen = observe(session, switch, ifindex, link, offloads=False)
    before = _desired_as_is(session, switch, seen)
    if before is not None:
        session.if_it_fails(_return_to, session, switch, before, ifindex)
    if seen.index and not session.executor.rehearsing:
        session.maps(switch).leave_parent(seen.index)
    _run(session, switch, None, seen)


def check_attachable(session: Session, link: Link, switch: str) -> None:
    what = f"attaching {link.name}"
    if link.loopback:
        raise VnetxError(what, "the loopback device carries no Ethernet network")
    if not any(link.mac):
        raise VnetxError(what, "it carries no Ethernet frames", "a tap does, where a tun does not")
    if link.master:
        kind = link.master_kind or "device"
        raise VnetxError(
            what,
            f"it is a member of the {kind} {link.master}",
            f"ip link set dev {link.name} nomaster",
        )
    if link.name in session.names():
        raise VnetxError(what, "it is the host port of a switch of that name")
    for name in session.names():
        if link.name in session.maps(name).interfaces():
            raise VnetxError(what, f"it is an interface that switch {name} made")
    current = session.switch_of(link.ifindex)
    if current is not None and current != switch:
        raise VnetxError(what, f"it is a port of switch {current}", f"vnetx detach {link.name}")


def _describe_program(number: int) -> str:
    """Id, name and owner of a program."""
    try:
        fd = _bpf.prog_fd_by_id(number)
    except OSError:
        return f"program {number}"
    try:
        info = _bpf.prog_info(fd)
    finally:
        os.close(fd)
    who = holders("prog_id:", str(number))
    by = f", held by {', '.join(who)}" if who else ""
    return f"program {number} '{info['name']}', loaded by uid {info['uid']}{by}"


def free_index(used: Iterable[int], max_ports: int, what: str) -> int:
    """The lowest slot that is in no use.

    Raises:
        VnetxError: all are.
    """
    taken = set(used)
    for index in range(1, max_ports):
        if index not in taken:
            return index
    raise VnetxError(
        what, f"the switch has no free port: {max_ports - 1} is its limit", "see --max-ports"
    )


def attach_port(
    session: Session,
    switch: str,
    link: Link,
    settings: PortSettings,
    *,
    force: bool = False,
    unconfirmed: bool = False,
    own_mac: bytes | None = None,
    endpoint: Endpoint | None = None,
    wire: Mapping[str, Any] | None = None,
    restart: bool = False,
    used: set[int],
) -> None:
    """Makes a device a port, or a port what `settings` say.

    Args:
        own_mac: the address behind it that is no other's; of a port that is there it stays.
        endpoint: what makes it one on a NIC, likewise.
        wire: the ``struct vnetx_wire`` of a port that is the end of one.
        restart: chance begins anew.
    """
    what = f"attaching {link.name}"
    maps = session.maps(switch)
    leave_underlay(session, link)
    of_tun = link.ifindex in maps.tuns()
    if of_tun and settings.hook not in ("auto", "tc"):
        raise VnetxError(what, "the port of a tun has its programs in TC", "--hook tc")
    offloads = settings.hook != "tc" or has_chance(wire)
    seen = observe(session, switch, link.ifindex, link, offloads=offloads)
    if has_chance(wire) and link.peer and not seen.peer_features:
        raise VnetxError(
            what,
            "no way leads into the network namespace of its peer, whose offloads have to change",
            "a wire without --loss and --corrupt needs none",
        )
    before = _desired_as_is(session, switch, seen)
    is_new = before is None
    if before is not None:
        own_mac, endpoint = own_mac or before.local_mac, endpoint or before.endpoint
    index = wire["port"] if wire else seen.index
    index = index or free_index(used, maps.meta()["max_ports"], what)
    used.add(index)
    twin = seen.twin
    if wire:
        twin = 0
    elif own_mac is None and link.carries_host and not twin:
        twin = free_index(used, maps.meta()["max_ports"], what)
    if own_mac is not None or (not link.carries_host and is_new):
        twin = 0
    if twin:
        used.add(twin)
    if twin and _is(session, switch, "vlan_aware"):
        check_host_stays(what, settings)
    desired = PortDesired(
        settings=settings,
        hook="tc",
        index=index,
        twin=twin,
        peer_mac=None if of_tun else session.links.peer_mac(link),
        of_tun=of_tun,
        peer_retype=not session.peer_scrubs,
        local_mac=own_mac,
        endpoint=endpoint,
        group_forward=maps.meta()["group_forward"],
        vlan_aware=_is(session, switch, "vlan_aware"),
        shared_learning=_is(session, switch, "shared_learning"),
        unconfirmed=unconfirmed and is_new,
        wire=wire,
        restart=restart,
    )
    session.if_it_fails(_return_to, session, switch, before, link.ifindex)
    _try_hooks(session, switch, link, desired, seen, force)


def check_host_stays(what: str, settings: PortSettings) -> None:
    """The host's own untagged frames pass by a device that carries its addresses."""
    if not settings.vlans.pvid:
        why, remedy = "would be dropped without a native VLAN", "give --native VID"
    elif settings.accept == "tagged":
        why, remedy = "would not be accepted", "--accept all"
    else:
        return
    raise VnetxError(what, f"the host's own untagged frames pass there, and {why}", remedy)


def _return_to(session: Session, switch: str, before: PortDesired | None, ifindex: int) -> None:
    """Plans a port back to what it was, from what it is now; a device that is gone is none."""
    link = session.links.by_index(ifindex)
    seen = observe(session, switch, ifindex, link, offloads=True)
    _run(session, switch, before if link else None, seen)


def _try_hooks(
    session: Session,
    switch: str,
    link: Link,
    desired: PortDesired,
    seen: PortObserved,
    force: bool,
) -> None:
    """Resolves the hook: what is forced, or for `auto` XDP on wires whose driver takes it."""
    wanted = desired.settings.hook
    foreign = link.xdp if "xdp" not in seen.hooks else None
    if wanted == "auto":
        current = seen.port["hook"] if seen.port and seen.hooks else None
        if not link.from_wire or foreign or current == _abi.HOOKS["tc"]:
            if foreign:
                session.messages.append(
                    f"{link.name} carries an XDP {_describe_program(foreign[0])}: "
                    "it stays, the switch uses TC"
                )
            _run(session, switch, desired, seen)
            return
        try:
            _run(session, switch, replace(desired, hook="xdp"), seen)
        except NoNativeXdp as error:
            session.messages.append(f"{link.name} uses TC: {error.why}")
            again = observe(session, switch, link.ifindex, link, offloads=True)
            _run(session, switch, desired, again)
        return
    if foreign and wanted != "tc":
        if not force:
            raise VnetxError(
                f"attaching {link.name} with --hook {wanted}",
                f"it carries somebody else's XDP {_describe_program(foreign[0])}",
                "--hook tc leaves it alone; --force takes it off until detach",
            )
        desired = replace(desired, take_xdp=foreign)
    if wanted != "tc" and link.peer and not seen.peer_features:
        raise VnetxError(
            f"attaching {link.name} with --hook {wanted}",
            "no way leads into the network namespace of its peer, whose offloads have to change",
            "use --hook tc",
        )
    try:
        _run(session, switch, replace(desired, hook=wanted), seen)
    except NoNativeXdp as error:
        raise VnetxError(
            f"attaching {link.name} with --hook xdp", error.why, error.remedy
        ) from error
