"""VNIs by number: adding, changing and deleting them, and the VTEPs that they are flooded to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vnetx import model
from vnetx.engine.session import Result, Session
from vnetx.engine.switches import become_vlan_aware, drop_if_empty, ensure_switch
from vnetx.engine.transaction import transaction
from vnetx.engine.vnis import (
    change_neighbours,
    change_remotes,
    check_vnis,
    need_vtep,
    remove_vnis,
    set_vnis,
)
from vnetx.errors import VnetxError
from vnetx.model import DEFAULT_SWITCH, SwitchSettings, Vni
from vnetx.state import vnis_of


def vni_add(
    vni: int,
    *,
    remotes: Sequence[str] = (),
    switch: str | None = None,
    planned: bool = False,
    **settings: Any,
) -> Result:
    """Makes a VNI one of a switch, or changes one that is there.

    Args:
        vni: 1 to 16777215.
        remotes: what it is flooded to, beside what it is flooded to already.
        switch: made if it is not there; by default that of the VNI, or vnetx0.
        planned: the local address need not be one of this host's.
        settings: of :class:`~vnetx.model.Vni`; what is not given stays, or is the default. With
            a VLAN the switch is VLAN-aware from then on.

    Raises:
        InvalidValue: out of range.
        VnetxError: the VNI or its VLAN is another one's, or an address or a device is not there.
    """
    model.check_vni(vni)
    with transaction() as session:
        switch = switch or _switch_of(session, vni) or DEFAULT_SWITCH
        there = switch in session.names()
        before = vnis_of(session.maps(switch)).get(vni) if there else None
        if before is None and "local" not in settings:
            raise VnetxError(f"VNI {vni}", "it has no local address", "give --local IP")
        if before is None:
            wanted = Vni(remotes=tuple(remotes), **settings)
        else:
            wanted = replace(before, remotes=(*before.remotes, *remotes), **settings)
        ensure_switch(session, switch, SwitchSettings(), implicit=True)
        if wanted.vid:
            become_vlan_aware(session, switch)
        planned = planned or "local" not in settings
        check_vnis(session, switch, {vni: wanted}, planned=planned)
        set_vnis(session, switch, {vni: wanted})
        return session.result()


def vni_del(vnis: Sequence[int]) -> Result:
    """Removes VNIs, and a switch that was made by itself and has neither port nor VNI left.

    Raises:
        VnetxError: none of a switch.
    """
    with transaction() as session:
        found = {vni: _need(session, vni) for vni in vnis}
        for switch in dict.fromkeys(found.values()):
            remove_vnis(session, switch, [vni for vni, its in found.items() if its == switch])
            drop_if_empty(session, switch)
        return session.result()


def vni_remote_add(vni: int, remotes: Collection[str]) -> Result:
    """Floods frames of a VNI to these VTEPs as well.

    Raises:
        InvalidValue: not addresses that may be remotes of the VNI.
        VnetxError: no such VNI.
    """
    with transaction() as session:
        change_remotes(session, _need(session, vni), vni, add=map(model.parse_vtep, remotes))
        return session.result()


def vni_remote_del(vni: int, remotes: Collection[str]) -> Result:
    """Floods frames of a VNI to these VTEPs no longer; what was behind them is forgotten.

    Raises:
        VnetxError: no such VNI, or none of its remotes.
    """
    with transaction() as session:
        change_remotes(session, _need(session, vni), vni, remove=map(model.parse_vtep, remotes))
        return session.result()


def vni_neigh_add(vni: int, neighbours: Mapping[str, bytes]) -> Result:
    """Puts hosts behind VTEPs into the table of neighbours of a VNI: MAC addresses by IP address.

    Raises:
        InvalidValue: not addresses of one host.
        VnetxError: no such VNI.
    """
    with transaction() as session:
        change_neighbours(session, _need(session, vni), vni, add=neighbours)
        return session.result()


def vni_neigh_del(vni: int, addresses: Collection[str]) -> Result:
    """Takes hosts out of the table of neighbours of a VNI.

    Raises:
        VnetxError: no such VNI, or not in the table.
    """
    with transaction() as session:
        remove = map(model.parse_vtep, addresses)
        change_neighbours(session, _need(session, vni), vni, remove=remove)
        return session.result()


def vtep_add(vni: int, address: str) -> Result:
    """Lets addresses be behind a VTEP that frames of a VNI are not flooded to; one that is there
    already is no error. It goes with the last VNI of its UDP port.

    Raises:
        InvalidValue: not an address that may be a remote of the VNI.
        VnetxError: no such VNI.
    """
    with transaction() as session:
        switch = _need(session, vni)
        need_vtep(session, switch, vni, address)
        return session.result()


def _switch_of(session: Session, vni: int) -> str | None:
    for name in session.names():
        if vni in session.maps(name).vnis():
            return name
    return None


def _need(session: Session, vni: int) -> str:
    switch = _switch_of(session, vni)
    if switch is None:
        raise VnetxError(f"VNI {vni}", "no switch has it", "vnetx vni show")
    return switch
