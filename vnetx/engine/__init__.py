"""Observe, plan, execute: what the commands do.

Each function is a transaction under the lock: it observes what the kernel has,
plans the difference to what is asked, and carries it out.  When a step fails,
the ports that it was about are planned back to what they were before, from
what is observed then; the same mechanism completes or removes what a killed
command left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vnetx import _abi, model, vlan_rule
from vnetx.config import Document
from vnetx.datapath import pins
from vnetx.device import Link
from vnetx.engine.configure import apply_switch, check_applicable
from vnetx.engine.execute import Executor
from vnetx.engine.garbage import collect_garbage, revert_expired
from vnetx.engine.interfaces import (
    find_interface,
    interface_of_port,
    observed,
    remove_interface,
    set_interface,
)
from vnetx.engine.ports import attach_port, check_attachable, check_host_stays, detach_one
from vnetx.engine.session import Result, Session
from vnetx.engine.switches import (
    become_vlan_aware,
    check_fixed,
    discard_damaged,
    drop_if_empty,
    ensure_switch,
    make_switch,
    remove_switch,
    revert,
    set_ports_vlans,
    set_switch,
    set_vlan_rules,
    settle_confirmation,
)
from vnetx.errors import InvalidValue, VnetxError, from_os
from vnetx.links import Links
from vnetx.lock import exclusive
from vnetx.model import (
    DEFAULT_SWITCH,
    DEFAULT_VID,
    VLAN_SETTINGS,
    PortSettings,
    SwitchSettings,
    VlanInterface,
    Vlans,
    changed,
    check_switch_name,
    format_vids,
)
from vnetx.plan import Step
from vnetx.state import settings_of

__all__ = [
    "Result",
    "apply",
    "attach",
    "confirm",
    "detach",
    "interfaces",
    "port_set",
    "revert_unconfirmed",
    "switch_add",
    "switch_del",
    "switch_set",
    "vlan_add",
    "vlan_del",
    "vlan_end",
    "vlan_import",
    "vlan_interface_add",
    "vlan_interface_del",
    "vlan_rule_add",
    "vlan_rule_del",
]

OnStep = Callable[[Step], None]


@contextlib.contextmanager
def _session(on_step: OnStep | None = None) -> Iterator[Session]:
    """A session under the lock, after what vanished devices and namespaces left is gone."""
    with exclusive(), Links() as links, Executor(links, on_step) as executor:
        session = Session(links, executor)
        try:
            collect_garbage(session)
            revert_expired(session)
            session.keep()
            yield session
        except OSError as error:
            session.take_back()
            raise from_os("changing the switch", error) from error
        except BaseException:
            session.take_back()
            raise
        finally:
            with contextlib.suppress(OSError):
                pins.unmount_if_empty()


def attach(
    ifnames: Sequence[str],
    *,
    switch: str | None = None,
    hook: str = "auto",
    force: bool = False,
    confirm: float | None = None,
    settings: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
) -> Result:
    """Makes devices ports of a switch, which is made when it is not there.

    Args:
        ifnames: devices of this network namespace.
        switch: name of the switch, :data:`vnetx.model.DEFAULT_SWITCH` without.
        hook: one of :data:`vnetx.model.HOOKS`.
        force: take somebody else's XDP program off, until detach.
        confirm: seconds after which the attachment is undone unless it is confirmed.
        settings: further fields of :class:`PortSettings` that are to differ.
        on_step: see :class:`Executor`.

    Raises:
        VnetxError: unknown device, in another switch, bridge or bond, no native XDP, no
            privileges, verifier refusal ...; none of the devices is attached then.
    """
    name = check_switch_name(switch or DEFAULT_SWITCH)
    wanted = {k: v for k, v in (settings or {}).items() if v is not None}
    PortSettings(hook=hook, **wanted)
    if confirm is not None and confirm <= 0:
        raise InvalidValue(f"--confirm {confirm:g}", "not a positive number of seconds")
    with _session(on_step) as session:
        links = _attach(session, ifnames, name, hook, wanted, force=force, confirm=confirm)
        for link in links:
            if not link.up:
                session.messages.append(f"{link.name} is down: ip link set dev {link.name} up")
        return session.result()


def _attach(
    session: Session,
    ifnames: Sequence[str],
    name: str,
    hook: str,
    wanted: Mapping[str, Any],
    *,
    force: bool = False,
    confirm: float | None = None,
) -> list[Link]:
    session.expect_many(len(ifnames))
    links = []
    for ifname in dict.fromkeys(ifnames):
        link = session.link(ifname)
        if link is None:
            raise VnetxError(
                f"attaching {ifname}", "there is no interface of that name", "see ip link"
            )
        check_attachable(session, link, name)
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
    used = set(maps.ports())
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


def detach(ifnames: Sequence[str], *, every: bool = False, on_step: OnStep | None = None) -> Result:
    """Makes ports plain devices again, as they were before attach.

    Args:
        ifnames: the devices; one that is no port is no error, one that does not exist is.
        every: all ports of this namespace, and the switches that attach made.
    """
    with _session(on_step) as session:
        found: list[tuple[str, int]] = []
        if every:
            for name in session.names():
                maps = session.maps(name)
                for interface in maps.interfaces():
                    remove_interface(session, name, interface)
                host = maps.meta()["host_port_ifindex"]
                found.extend((name, ifindex) for ifindex in sorted(maps.undo()) if ifindex != host)
        for ifname in dict.fromkeys(ifnames):
            link = session.links.get(ifname)
            if link is None:
                raise VnetxError(
                    f"detaching {ifname}",
                    "there is no interface of that name",
                    "what vanished interfaces left is cleaned up by any command that changes "
                    "something",
                )
            switch = session.switch_of(link.ifindex)
            if switch is None:
                session.messages.append(f"{ifname} is not attached")
                continue
            if link.ifindex == session.maps(switch).meta()["host_port_ifindex"]:
                raise VnetxError(
                    f"detaching {ifname}",
                    f"it is the host port of switch {switch}",
                    f"vnetx switch del {switch}",
                )
            _check_no_interface(session, switch, link, "detaching")
            found.append((switch, link.ifindex))
        session.expect_many(len(found))
        for switch, ifindex in found:
            detach_one(session, switch, ifindex)
        for switch in dict.fromkeys(switch for switch, _ in found):
            settle_confirmation(session, switch)
            drop_if_empty(session, switch)
        return session.result()


def confirm() -> Result:
    """Keeps what was attached with a time limit.

    Raises:
        VnetxError: nothing waits, and nothing is attached: it was undone already.
    """
    with _session() as session:
        attached = waiting = 0
        for name in session.names():
            maps = session.maps(name)
            for ifindex, undo in maps.undo().items():
                attached += ifindex != maps.meta()["host_port_ifindex"]
                if undo["flags"] & _abi.UNDO_FLAGS["unconfirmed"]:
                    waiting += 1
                    undo["flags"] &= ~_abi.UNDO_FLAGS["unconfirmed"]
                    maps.set_undo(ifindex, **undo)
                    session.executor.done.append(
                        f"{session.links.name_of(ifindex) or ifindex} stays attached"
                    )
            session.executor.end_confirmation(name)
        if not waiting:
            if not attached:
                raise VnetxError(
                    "confirming",
                    "nothing is attached in this network namespace",
                    "the time may have run out: attach again",
                )
            session.messages.append("nothing was waiting to be confirmed")
        return session.result()


def revert_unconfirmed(switch: str | None = None) -> Result:
    """Undoes what was attached with a time limit and not confirmed, if its time is over."""
    with _session() as session:  # the session itself reverts what is over
        if switch is not None and switch in session.names():
            deadline = session.maps(switch).meta()["confirm_deadline_ns"]
            if deadline and deadline <= time.clock_gettime_ns(time.CLOCK_BOOTTIME):
                revert(session, switch)
        return session.result()


def switch_add(name: str, settings: SwitchSettings) -> Result:
    """Makes a switch that stays until :func:`switch_del`.

    Raises:
        VnetxError: there is one, or an interface of that name.
    """
    check_switch_name(name)
    with _session() as session:
        if name in session.names():
            raise VnetxError(
                f"adding switch {name}", "it exists already", f"vnetx switch set {name} changes it"
            )
        make_switch(session, name, settings, implicit=False)
        return session.result()


def switch_set(name: str, **changes: Any) -> Result:
    """Changes settings of a switch; None leaves one as it is.

    Raises:
        VnetxError: no such switch, or a setting that is fixed when a switch is made.
    """
    with _session() as session:
        maps = session.maps(name)
        before = settings_of(maps)
        after = changed(before, **changes)
        check_fixed(name, before, after)
        set_switch(session, name, before, after)
        return session.result()


def switch_del(name: str, *, force: bool = False) -> Result:
    """Removes a switch; its ports are detached.

    Args:
        force: also one whose pins are damaged or of another layout (its devices may keep
            changed offloads then).
    """
    with _session() as session:
        if name not in session.names():
            raise VnetxError(
                f"deleting switch {name}", "there is none of this name", "vnetx switch show"
            )
        try:
            session.maps(name)
        except VnetxError as error:
            if not force or not error.what.startswith("opening"):
                raise
            discard_damaged(session, name)
        else:
            remove_switch(session, name)
        return session.result()


def port_set(ifname: str, **changes: Any) -> Result:
    """Changes settings of a port; None leaves one as it is.

    Raises:
        VnetxError: not a port, or the driver refuses the hook; the port is as it was then.
    """
    with _session() as session:
        switch, link = _find_port(session, ifname)
        _check_settable(session, switch, link, ifname, changes)
        maps = session.maps(switch)
        after = changed(maps.port_settings(maps.index_of(link.ifindex)), **changes)
        if "vlans" in changes or after.has_vlans:
            become_vlan_aware(session, switch)
        _set_ports(session, switch, {link.ifindex: after})
        return session.result()


def vlan_add(
    vids: int, ifnames: Sequence[str], *, untagged: bool = False, pvid: bool = False
) -> Result:
    """Puts ports into VLANs (``bridge vlan add``); the switch is VLAN-aware from then on.

    Args:
        vids: the VLANs, bit n for VID n.
        ifnames: ports; a switch's name is its host port.
        untagged: their frames leave by these ports without a tag.
        pvid: frames that come untagged are of this VLAN.

    Raises:
        InvalidValue: several VLANs with `pvid`.
        VnetxError: not a port.
    """
    with _session() as session:
        session.expect_many(len(ifnames))
        ports = {ifname: _find_port(session, ifname) for ifname in ifnames}
        for switch in dict.fromkeys(switch for switch, _ in ports.values()):
            become_vlan_aware(session, switch)
        _change_vlans(session, ports, lambda _, v: v.add(vids, untagged=untagged, pvid=pvid))
        return session.result()


def vlan_del(vids: int, ifnames: Sequence[str]) -> Result:
    """Takes ports out of VLANs (``bridge vlan del``); what is not so is no error.

    Raises:
        VnetxError: not a port.
    """
    with _session() as session:
        session.expect_many(len(ifnames))
        ports = {ifname: _find_port(session, ifname) for ifname in ifnames}
        _change_vlans(session, ports, lambda _, vlans: vlans.remove(vids))
        return session.result()


def vlan_end(vids: int, switch: str, *, force: bool = False) -> Result:
    """Ends VLANs of a switch.

    Args:
        vids: the VLANs, bit n for VID n.
        switch: the switch.
        force: also those that are in use: ports are taken out of them, their interfaces are
            removed, and so are rules that name them.

    Raises:
        VnetxError: no such switch, or a VLAN is in use.
    """
    with _session() as session:
        maps = session.maps(switch)
        interfaces = [n for n, each in maps.interfaces().items() if vids >> each["vid"] & 1]
        rules = {match: vid for match, vid in maps.vlan_rules().items() if vids >> vid & 1}
        ports = _members(session, switch, vids)
        users = [
            *(f"port {name}" for name in ports),
            *(f"interface {name}" for name in interfaces),
            *(f"rule by {match}" for match in rules),
        ]
        if users and not force:
            raise VnetxError(
                f"deleting VLANs {format_vids(vids)} of switch {switch}",
                f"in use by {', '.join(users)}",
                "--force cuts them off",
            )
        for name in interfaces:
            remove_interface(session, switch, name)
        kept = {match: vid for match, vid in maps.vlan_rules().items() if match not in rules}
        set_vlan_rules(session, switch, kept)
        _change_vlans(session, ports, lambda _, vlans: vlans.remove(vids))
        return session.result()


def _members(session: Session, switch: str, vids: int) -> dict[str, tuple[str, Link]]:
    """The ports that are in one of the VLANs, by name, but not those of interfaces in VLANs."""
    maps = session.maps(switch)
    host = maps.meta()["host_port_ifindex"]
    found = {}
    for index, port in maps.ports().items():
        link = session.links.by_index(port["ifindex"])
        if link is None or port["flags"] & _abi.PORT_FLAGS["host"]:
            continue
        if not maps.port_vlans(index)[0] & vids or interface_of_port(session, switch, link.ifindex):
            continue
        found[switch if link.ifindex == host else link.name] = switch, link
    return found


def vlan_import(wanted: Mapping[str, Vlans]) -> Result:
    """Gives ports these VLANs; devices that are no ports are left out, and named."""
    with _session() as session:
        ports = {}
        for ifname in wanted:
            try:
                ports[ifname] = _find_port(session, ifname)
            except VnetxError as error:
                session.messages.append(f"{ifname} is left out: {error.why}")
        _change_vlans(session, ports, lambda ifname, _: wanted[ifname])
        return session.result()


def vlan_interface_add(
    wanted: VlanInterface,
    *,
    name: str | None = None,
    switch: str | None = None,
    dev: str | None = None,
) -> Result:
    """Makes an interface in a VLAN, or gives one that is there more addresses.

    Args:
        wanted: the interface; the switch is VLAN-aware from then on.
        name: of the interface, ``SWITCH.VID`` or ``DEV.VID`` if not given.
        switch: of which it is an interface; with `dev` made when it is not there.
        dev: a device of this namespace that carries the VLAN with tags: it is attached if it is no
            port, and put into the VLAN.

    Raises:
        InvalidValue: a name that no interface can have.
        VnetxError: no such switch, device or namespace; an interface of that name.
    """
    with _session() as session:
        if dev is not None:
            switch = _carry(session, dev, wanted.vid, switch)
        switch = switch or DEFAULT_SWITCH
        name = name or f"{dev or switch}.{wanted.vid}"
        model.check_interface_name(name)
        session.maps(switch)  # is there
        other = find_interface(session, name)
        if other is not None:
            now = observed(session, other)[name]
            if (other, now.vid, now.netns) != (switch, wanted.vid, wanted.netns):
                raise VnetxError(
                    f"making interface {name}",
                    f"it is one of VLAN {now.vid} of switch {other} already",
                    f"vnetx vlan interface del {name}, or give --name",
                )
            wanted = replace(wanted, addresses=tuple({*now.addresses, *wanted.addresses}))
        become_vlan_aware(session, switch)
        set_interface(session, switch, name, wanted)
        return session.result()


def _carry(session: Session, dev: str, vid: int, switch: str | None) -> str:
    """Has a device carry a VLAN with tags, beside what it carries; returns the switch."""
    link = session.link(dev)
    current = session.switch_of(link.ifindex) if link else None
    if current is None:
        vlans = Vlans().add(1 << vid) if vid != DEFAULT_VID else Vlans()
        _attach(session, [dev], switch or DEFAULT_SWITCH, "auto", {"vlans": vlans})
        return switch or DEFAULT_SWITCH
    if switch not in (None, current):
        raise VnetxError(f"device {dev}", f"it is a port of switch {current}", "leave --switch out")
    port = _find_port(session, dev)
    _change_vlans(session, {dev: port}, lambda _, v: v if v.member >> vid & 1 else v.add(1 << vid))
    return current


def vlan_interface_del(names: Sequence[str]) -> Result:
    """Removes interfaces in VLANs, and switches that an attach made and that have no port left.

    Raises:
        VnetxError: no such interface.
    """
    with _session() as session:
        found = {}
        for name in names:
            switch = find_interface(session, name)
            if switch is None:
                raise VnetxError(
                    f"deleting interface {name}",
                    "there is none of this name in a VLAN",
                    "vnetx vlan interface show",
                )
            found[name] = switch
        for name, switch in found.items():
            remove_interface(session, switch, name)
        for switch in dict.fromkeys(found.values()):
            drop_if_empty(session, switch)
        return session.result()


def interfaces() -> dict[str, dict[str, VlanInterface]]:
    """The interfaces in VLANs of each switch of this namespace, as they are."""
    with Links() as links, Executor(links) as executor:
        executor.rehearse()
        session = Session(links, executor)
        return {switch: observed(session, switch) for switch in session.names()}


def vlan_rule_add(switch: str, rules: vlan_rule.Rules) -> Result:
    """Tells the VLAN of frames without one by these rules as well; what is given again is changed.

    The switch is VLAN-aware from then on.

    Raises:
        InvalidValue: more rules than a switch can have.
        VnetxError: no such switch.
    """
    with _session() as session:
        wanted = vlan_rule.check({**session.maps(switch).vlan_rules(), **rules})
        become_vlan_aware(session, switch)
        set_vlan_rules(session, switch, wanted)
        return session.result()


def vlan_rule_del(switch: str, matches: Collection[vlan_rule.Match]) -> Result:
    """Tells the VLAN of frames without one by these rules no longer.

    Raises:
        VnetxError: no such switch, or no such rule.
    """
    with _session() as session:
        now = session.maps(switch).vlan_rules()
        for match in matches:
            if match not in now:
                raise VnetxError(
                    f"deleting the VLAN rule by {match}",
                    f"switch {switch} has none",
                    "vnetx vlan rule show",
                )
        wanted = {match: vid for match, vid in now.items() if match not in matches}
        set_vlan_rules(session, switch, wanted)
        return session.result()


def _change_vlans(
    session: Session,
    ports: Mapping[str, tuple[str, Link]],
    change: Callable[[str, Vlans], Vlans],
) -> None:
    """Gives ports, by name with switch and device, the VLANs that `change` makes of theirs."""
    by_switch: dict[str, dict[int, PortSettings]] = {}
    for ifname, (switch, link) in ports.items():
        maps = session.maps(switch)
        before = maps.port_settings(maps.index_of(link.ifindex))
        after = changed(before, vlans=change(ifname, before.vlans))
        by_switch.setdefault(switch, {})[link.ifindex] = after
    for switch, settings in by_switch.items():
        if any(each.has_vlans for each in settings.values()):
            become_vlan_aware(session, switch)
        _set_ports(session, switch, settings)


def _find_port(session: Session, ifname: str) -> tuple[str, Link]:
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
    _check_no_interface(session, switch, link, "setting")
    return switch, link


def _check_no_interface(session: Session, switch: str, link: Link, what: str) -> None:
    """The port of an interface in a VLAN is what the interface is."""
    interface = interface_of_port(session, switch, link.ifindex)
    if interface is not None:
        raise VnetxError(
            f"{what} {link.name}",
            f"it is the port of the VLAN interface {interface}",
            f"vnetx vlan interface del {interface}",
        )


def _check_settable(
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


def _set_ports(session: Session, switch: str, ports: Mapping[int, PortSettings]) -> None:
    """Gives ports these settings, by ifindex."""
    maps = session.maps(switch)
    meta, used = maps.meta(), set(maps.ports())
    by_index = {maps.index_of(ifindex): settings for ifindex, settings in ports.items()}
    for index, settings in by_index.items():
        port = maps.port(index)
        if port and port["twin"] and settings_of(maps).vlan_aware:
            check_host_stays(f"setting {session.links.name_of(port['ifindex'])}", settings)
    set_ports_vlans(session, switch, by_index)
    for ifindex, settings in ports.items():
        link = session.link_by_index(ifindex)
        assert link is not None
        is_host = ifindex == meta["host_port_ifindex"]
        local = meta["mac"] if is_host else None
        attach_port(session, switch, link, settings, local_mac=local, used=used)


def apply(document: Document, *, dry_run: bool = False, on_step: OnStep | None = None) -> Result:
    """Makes the switches of this namespace what the document says; others are left alone.

    Ports and static FDB entries that a named switch has and the document does not go.

    Args:
        document: see :mod:`vnetx.config`.
        dry_run: only tell the steps.

    Raises:
        VnetxError: an interface that is missing or taken, a setting that is fixed: nothing is
            changed then; or a step failed: ports and switches are as before then.
    """
    with _session(on_step) as session:
        session.expect_many(sum(len(each.ports) for each in document.switches.values()))
        for name, wanted in document.switches.items():
            check_applicable(session, name, wanted)
        if dry_run:
            session.executor.rehearse()
        for name, wanted in document.switches.items():
            apply_switch(session, name, wanted)
        return session.result()
