"""Observe, plan, execute: what the commands do.

Each function is a transaction under the lock: it observes what the kernel has,
plans the difference to what is asked, and carries it out.  When a step fails,
the ports that it was about are planned back to what they were before, from
what is observed then; the same mechanism completes or removes what a killed
command left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from vnetx import _abi
from vnetx.config import Document
from vnetx.engine.attach import (
    attach_devices,
    check_no_endpoints,
    check_no_interface,
    check_settable,
    find_port,
    set_ports,
)
from vnetx.engine.configure import apply_switch, check_applicable
from vnetx.engine.interfaces import remove_interface
from vnetx.engine.lab import lab_build, lab_down
from vnetx.engine.lab_view import labs
from vnetx.engine.link import interfaces, link_add, link_del, link_unwire, link_wire
from vnetx.engine.ports import detach_one
from vnetx.engine.session import Result
from vnetx.engine.switches import (
    become_vlan_aware,
    check_fixed,
    discard_damaged,
    drop_if_empty,
    make_switch,
    remove_switch,
    revert,
    set_switch,
    settle_confirmation,
)
from vnetx.engine.transaction import OnStep, transaction
from vnetx.engine.vlans import (
    vlan_add,
    vlan_del,
    vlan_end,
    vlan_import,
    vlan_interface_add,
    vlan_rule_add,
    vlan_rule_del,
)
from vnetx.engine.vxlan import (
    vni_add,
    vni_del,
    vni_neigh_add,
    vni_neigh_del,
    vni_remote_add,
    vni_remote_del,
    vtep_add,
)
from vnetx.engine.wires import find_wire
from vnetx.errors import InvalidValue, VnetxError
from vnetx.model import (
    DEFAULT_SWITCH,
    PortSettings,
    SwitchSettings,
    changed,
    check_switch_name,
)
from vnetx.state import settings_of

__all__ = [
    "Result",
    "apply",
    "attach",
    "confirm",
    "detach",
    "interfaces",
    "lab_build",
    "lab_down",
    "labs",
    "link_add",
    "link_del",
    "link_unwire",
    "link_wire",
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
    "vlan_rule_add",
    "vlan_rule_del",
    "vni_add",
    "vni_del",
    "vni_neigh_add",
    "vni_neigh_del",
    "vni_remote_add",
    "vni_remote_del",
    "vtep_add",
]


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
    with transaction(on_step) as session:
        links = attach_devices(session, ifnames, name, hook, wanted, force=force, confirm=confirm)
        for link in links:
            if not link.up:
                session.messages.append(f"{link.name} is down: ip link set dev {link.name} up")
        return session.result()


def detach(ifnames: Sequence[str], *, every: bool = False, on_step: OnStep | None = None) -> Result:
    """Makes ports plain devices again, as they were before attach.

    Args:
        ifnames: the devices; one that is no port is no error, one that does not exist is. Of a wire
            both ends are given back.
        every: all ports of this namespace, and the switches that attach made.
    """
    with transaction(on_step) as session:
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
            check_no_interface(session, switch, link, "detaching")
            check_no_endpoints(session, switch, link)
            wire = find_wire(session, link.ifindex)
            found.extend((switch, i) for i in (wire[1] if wire else (link.ifindex,)))
        found = list(dict.fromkeys(found))
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
    with transaction() as session:
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
    with transaction() as session:  # the session itself reverts what is over
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
    with transaction() as session:
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
    with transaction() as session:
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
    with transaction() as session:
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
    with transaction() as session:
        switch, link = find_port(session, ifname)
        check_settable(session, switch, link, ifname, changes)
        maps = session.maps(switch)
        after = changed(maps.port_settings(maps.index_of(link.ifindex)), **changes)
        if "vlans" in changes or after.has_vlans:
            become_vlan_aware(session, switch)
        set_ports(session, switch, {link.ifindex: after})
        return session.result()


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
    with transaction(on_step) as session:
        session.expect_many(sum(len(each.ports) for each in document.switches.values()))
        for name, wanted in document.switches.items():
            check_applicable(session, name, wanted)
        if dry_run:
            session.executor.rehearse()
        for name, wanted in document.switches.items():
            apply_switch(session, name, wanted)
        return session.result()
