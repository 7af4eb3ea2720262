"""VLANs of ports, interfaces in VLANs, and rules that tell the VLAN of frames without one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from vnetx import _abi, model, vlan_rule
from vnetx.device import Link
from vnetx.engine.attach import attach_devices, find_port, set_ports
from vnetx.engine.interfaces import (
    find_interface,
    observed,
    remove_interface,
    set_interface,
)
from vnetx.engine.session import Result, Session
from vnetx.engine.switches import become_vlan_aware, set_vlan_rules
from vnetx.engine.transaction import transaction
from vnetx.engine.vnis import remove_vnis
from vnetx.errors import InvalidValue, VnetxError
from vnetx.model import (
    DEFAULT_SWITCH,
    DEFAULT_VID,
    Interface,
    PortSettings,
    Vlans,
    changed,
    format_vids,
)


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
    with transaction() as session:
        session.expect_many(len(ifnames))
        ports = {ifname: find_port(session, ifname) for ifname in ifnames}
        for switch in dict.fromkeys(switch for switch, _ in ports.values()):
            become_vlan_aware(session, switch)
        _change_vlans(session, ports, lambda _, v: v.add(vids, untagged=untagged, pvid=pvid))
        return session.result()


def vlan_del(vids: int, ifnames: Sequence[str]) -> Result:
    """Takes ports out of VLANs (``bridge vlan del``); what is not so is no error.

    Raises:
        VnetxError: not a port.
    """
    with transaction() as session:
        session.expect_many(len(ifnames))
        ports = {ifname: find_port(session, ifname) for ifname in ifnames}
        _change_vlans(session, ports, lambda _, vlans: vlans.remove(vids))
        return session.result()


def vlan_end(vids: int, switch: str, *, force: bool = False) -> Result:
    """Ends VLANs of a switch.

    Args:
        vids: the VLANs, bit n for VID n.
        switch: the switch.
        force: also those that are in use: ports are taken out of them, their interfaces and VNIs
            are removed, and so are rules that name them.

    Raises:
        VnetxError: no such switch, or a VLAN is in use.
    """
    with transaction() as session:
        maps = session.maps(switch)
        made = observed(session, switch).items()
        interfaces = [name for name, own in made if own.vid and vids >> own.vid & 1]
        ports = _members(session, switch, vids, interfaces)
        rules = {match: vid for match, vid in maps.vlan_rules().items() if vids >> vid & 1}
        vnis = [vni for vni, record in maps.vnis().items() if vids >> record["vid"] & 1]
        users = [
            *(f"port {name}" for name in ports),
            *(f"interface {name}" for name in interfaces),
            *(f"rule by {match}" for match in rules),
            *(f"VNI {vni}" for vni in vnis),
        ]
        if users and not force:
            raise VnetxError(
                f"deleting VLANs {format_vids(vids)} of switch {switch}",
                f"in use by {', '.join(users)}",
                "--force cuts them off",
            )
        _change_vlans(session, ports, lambda _, vlans: vlans.remove(vids))
        kept = {match: vid for match, vid in maps.vlan_rules().items() if match not in rules}
        set_vlan_rules(session, switch, kept)
        remove_vnis(session, switch, vnis)
        for name in interfaces:  # last: their routes do not come back
            remove_interface(session, switch, name)
        return session.result()


def _members(
    session: Session, switch: str, vids: int, without: Collection[str]
) -> dict[str, tuple[str, Link]]:
    """The ports that are in one of the VLANs, by name, but those of the interfaces `without`."""
    maps = session.maps(switch)
    host = maps.meta()["host_port_ifindex"]
    others = {maps.interfaces()[name]["ifindex"] for name in without}
    found = {}
    for index, port in maps.ports().items():
        if port["flags"] & _abi.PORT_FLAGS["host"] or port["ifindex"] in others:
            continue
        link = session.links.by_index(port["ifindex"])
        if link and maps.port_vlans(index)[0] & vids:
            found[switch if link.ifindex == host else link.name] = switch, link
    return found


def vlan_import(wanted: Mapping[str, Vlans]) -> Result:
    """Gives ports these VLANs; devices that are no ports are left out, and named."""
    with transaction() as session:
        ports = {}
        for ifname in wanted:
            try:
                ports[ifname] = find_port(session, ifname)
            except VnetxError as error:
                session.messages.append(f"{ifname} is left out: {error.why}")
        _change_vlans(session, ports, lambda ifname, _: wanted[ifname])
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
        set_ports(session, switch, settings)


def vlan_interface_add(
    wanted: Interface,
    *,
    name: str | None = None,
    switch: str | None = None,
    dev: str | None = None,
    mtu: int | None = None,
) -> Result:
    """Makes an interface in a VLAN, or gives one that is there more addresses.

    Args:
        wanted: the interface (:meth:`vnetx.model.Interface.in_vlan`); the switch is VLAN-aware from
            then on.
        name: of the interface, ``SWITCH.VID`` or ``DEV.VID`` if not given.
        switch: of which it is an interface; with `dev` made when it is not there.
        mtu: of the interface, 68 to 65535; if not given what it is, or that of `dev`, or 1500.
        dev: a device of this namespace that carries the VLAN with tags: it is attached if it is no
            port, and put into the VLAN.

    Raises:
        InvalidValue: a name that no interface can have.
        VnetxError: no such switch, device or namespace; an interface of that name.
    """
    vid = wanted.vid
    if vid is None:
        raise InvalidValue("interface in a VLAN", "its port is in several VLANs")
    with transaction() as session:
        name = name or f"{dev or switch or DEFAULT_SWITCH}.{vid}"
        model.check_interface_name(name)
        if dev is not None:
            switch = _carry(session, dev, vid, switch)
        switch = switch or DEFAULT_SWITCH
        session.maps(switch)  # is there
        carrier = session.link(dev) if dev else None
        wanted = replace(wanted, mtu=carrier.mtu) if carrier else wanted
        other = find_interface(session, name)
        if other is not None:
            now = observed(session, other)[name]
            if (other, now.vid, now.netns) != (switch, vid, wanted.netns):
                raise VnetxError(
                    f"making interface {name}",
                    f"it is one of VLAN {now.vid} of switch {other} already",
                    f"vnetx vlan interface del {name}, or give --name",
                )
            wanted = replace(now, addresses=tuple({*now.addresses, *wanted.addresses}))
        become_vlan_aware(session, switch)
        wanted = replace(wanted, mtu=mtu) if mtu is not None else wanted
        set_interface(session, switch, name, wanted)
        return session.result()


def _carry(session: Session, dev: str, vid: int, switch: str | None) -> str:
    """Has a device carry a VLAN with tags, beside what it carries; returns the switch."""
    link = session.link(dev)
    current = session.switch_of(link.ifindex) if link else None
    if current is None:
        vlans = Vlans().add(1 << vid) if vid != DEFAULT_VID else Vlans()
        attach_devices(session, [dev], switch or DEFAULT_SWITCH, "auto", {"vlans": vlans})
        return switch or DEFAULT_SWITCH
    if switch not in (None, current):
        raise VnetxError(f"device {dev}", f"it is a port of switch {current}", "leave --switch out")
    port = find_port(session, dev)
    _change_vlans(session, {dev: port}, lambda _, v: v if v.member >> vid & 1 else v.add(1 << vid))
    return current


def vlan_rule_add(switch: str, rules: vlan_rule.Rules) -> Result:
    """Tells the VLAN of frames without one by these rules as well; what is given again is changed.

    The switch is VLAN-aware from then on.

    Raises:
        InvalidValue: more rules than a switch can have.
        VnetxError: no such switch.
    """
    with transaction() as session:
        wanted = vlan_rule.check({**session.maps(switch).vlan_rules(), **rules})
        become_vlan_aware(session, switch)
        set_vlan_rules(session, switch, wanted)
        return session.result()


def vlan_rule_del(switch: str, matches: Collection[vlan_rule.Match]) -> Result:
    """Tells the VLAN of frames without one by these rules no longer.

    Raises:
        VnetxError: no such switch, or no such rule.
    """
    with transaction() as session:
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
