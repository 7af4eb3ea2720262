"""vnetx in a namespace of a subject, attached as a user does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vnetx import doctor, engine, state
from vnetx.config import Document, Switch
from vnetx.datapath.fdb import Fdb
from vnetx.datapath.maps import SwitchMaps
from vnetx.model import PortSettings, SwitchSettings, Vlans, Vni
from vnetx_perf.namespaces import Namespace, run_in

#: Devices, and what their ports' :class:`vnetx.model.PortSettings` are to have beside the hook.
Ports = tuple[Sequence[str], Mapping[str, Any]]


def attach(namespace: Namespace, hook: str, *ports: Ports) -> None:
    """Makes devices of the namespace ports of one switch."""
    run_in(namespace, _attach, hook, ports)


def _attach(hook: str, ports: Sequence[Ports]) -> None:
    for devices, settings in ports:
        engine.attach(devices, hook=hook, settings=settings)


def add_vni(namespace: Namespace, vni: int, local: str, remote: str, **settings: Any) -> None:
    """Makes a VNI that of the namespace's switch, with settings of :class:`vnetx.model.Vni`."""
    run_in(namespace, _add_vni, vni, local, remote, settings)


def _add_vni(vni: int, local: str, remote: str, settings: Mapping[str, Any]) -> None:
    engine.vni_add(vni, remotes=[remote], local=local, **settings)


def make_large(
    namespace: Namespace,
    port: str,
    vni: int,
    local: str,
    remote: str,
    *,
    vnis: int,
    addresses: int,
) -> None:
    """A switch of `vnis` VNIs, of which `vni` is that of the port and has so many static entries
    behind the remote."""
    run_in(namespace, _make_large, port, vni, local, remote, vnis, addresses)


def _make_large(port: str, vni: int, local: str, remote: str, vnis: int, addresses: int) -> None:
    others = {1 << 20 | vid: Vni(local, vid, (remote,)) for vid in range(2, vnis + 1)}
    switch = Switch(
        SwitchSettings(fdb_size=2 * addresses, vlan_aware=True),
        {port: PortSettings(hook="tc", vlans=Vlans.access(1))},
        vnis={vni: Vni(local, 1, (remote,)), **others},
    )
    engine.apply(Document({"large": switch}))
    macs = ((0x0276 << 32 | n).to_bytes(6).hex(":") for n in range(addresses))
    lines = (f"{mac} port {remote} vlan 1 static\n" for mac in macs)
    with SwitchMaps.open("large") as maps:
        Fdb(maps).load("".join(lines).encode())


def remove_large(namespace: Namespace) -> None:
    """What :func:`make_large` made."""
    run_in(namespace, _remove_large)


def _remove_large() -> None:
    engine.switch_del("large", force=True)


def detach(namespace: Namespace) -> None:
    """Gives every device of the namespace back."""
    run_in(namespace, _detach)


def _detach() -> None:
    engine.detach([], every=True)
    for vnis in state.all_vnis().values():
        engine.vni_del(list(vnis))


def missing() -> str:
    """What `vnetx doctor` finds failing of the machine; other switches' state is no matter."""
    for check in doctor.checks():
        if check.status == "fail" and not check.name.startswith("switch "):
            return f"{check.name}: {check.detail}: {check.remedy}"
    return ""
