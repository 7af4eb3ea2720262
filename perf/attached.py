"""vnetx in a namespace of a subject, attached as a user does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vnetx import doctor, engine, state
from vnetx.config import Document, Switch
from vnetx.datapath.fdb import Fdb
from vnetx.datapath.maps import SwitchMaps
from vnetx.model import DEFAULT_SWITCH, Interface, PortSettings, SwitchSettings, Vlans, Vni
from vnetx_perf.namespaces import Namespace, run_in

#: Devices, and what their ports' :class:`vnetx.model.PortSettings` are to have beside the hook.
Ports = tuple[Sequence[str], Mapping[str, Any]]
#: The switch of :func:`make_large`, and the VLANs that one has for VNIs.
LARGE = "large"
VLANS = 4094


def attach(namespace: Namespace, hook: str, *ports: Ports) -> None:
    """Makes devices of the namespace ports of one switch."""
    run_in(namespace, _attach, hook, ports)


def _attach(hook: str, ports: Sequence[Ports]) -> None:
    for devices, settings in ports:
        engine.attach(devices, hook=hook, settings=settings)


def wire(namespace: Namespace, hook: str, one: str, other: str) -> None:
    """Connects two devices of the namespace by a wire."""
    run_in(namespace, _wire, hook, one, other)


def _wire(hook: str, one: str, other: str) -> None:
    engine.link_wire(one, other, hook=hook)


def add_vni(namespace: Namespace, vni: int, local: str, remote: str, **settings: Any) -> None:
    """Makes a VNI that of the namespace's switch, with settings of :class:`vnetx.model.Vni`."""
    run_in(namespace, _add_vni, vni, local, remote, settings)


def _add_vni(vni: int, local: str, remote: str, settings: Mapping[str, Any]) -> None:
    engine.vni_add(vni, remotes=[remote], local=local, **settings)


def attach_with_endpoints(
    namespace: Namespace, hook: str, nic: str, endpoints: Mapping[str, Mapping[str, Any]]
) -> None:
    """Makes a NIC of the namespace a port, and endpoints on it, with settings of
    :class:`vnetx.model.Interface` by name."""
    run_in(namespace, _attach_with_endpoints, hook, nic, endpoints)


def _attach_with_endpoints(hook: str, nic: str, endpoints: Mapping[str, Mapping[str, Any]]) -> None:
    port = PortSettings(hook=hook)
    made = {name: Interface(**each, parent=nic, port=port) for name, each in endpoints.items()}
    engine.apply(Document({DEFAULT_SWITCH: Switch(ports={nic: port}, interfaces=made)}))


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
    """A switch of as many VNIs as it has VLANs, others beside it with the rest of so many; `vni` is
    that of the port, and has so many static entries behind the remote."""
    run_in(namespace, _make_large, port, vni, local, remote, vnis, addresses)


def _make_large(port: str, vni: int, local: str, remote: str, vnis: int, addresses: int) -> None:
    engine.apply(Document(_large(port, vni, Vni(local, 1, (remote,)), vnis, addresses)))
    macs = ((0x0276 << 32 | n).to_bytes(6).hex(":") for n in range(addresses))
    lines = (f"{mac} port {remote} vlan 1 static\n" for mac in macs)
    with SwitchMaps.open(LARGE) as maps:
        Fdb(maps).load("".join(lines).encode())


def _large(port: str, vni: int, own: Vni, vnis: int, addresses: int) -> dict[str, Switch]:
    """The switch, and beside it others with the VNIs for which it has no VLANs left."""
    others = [1 << 20 | each for each in range(vnis - 1)]
    first, others = others[: VLANS - 1], others[VLANS - 1 :]
    ports = {port: PortSettings(hook="tc", vlans=Vlans.access(own.vid))}
    settings = SwitchSettings(fdb_size=2 * addresses, vlan_aware=True)
    switches = {LARGE: Switch(settings, ports, vnis={vni: own, **_in_vlans(own, first, 2)})}
    for start in range(0, len(others), VLANS):
        settings = SwitchSettings(vlan_aware=True, host_port=False)
        part = _in_vlans(own, others[start : start + VLANS], 1)
        switches[f"{LARGE}-{len(switches)}"] = Switch(settings, {}, vnis=part)
    return switches


def _in_vlans(own: Vni, vnis: Sequence[int], vid: int) -> dict[int, Vni]:
    """So many VNIs as `own` is one, in the VLANs from `vid` on."""
    return {vni: replace(own, vid=n) for n, vni in enumerate(vnis, vid)}


def detach(namespace: Namespace) -> None:
    """Gives every device of the namespace back, and removes its switches."""
    run_in(namespace, _detach)


def _detach() -> None:
    engine.detach([], every=True)
    for switch in state.switches():
        engine.switch_del(switch.name, force=True)


def missing() -> str:
    """What `vnetx doctor` finds failing of the machine; other switches' state is no matter."""
    for check in doctor.checks():
        if check.status == "fail" and not check.name.startswith("switch "):
            return f"{check.name}: {check.detail}: {check.remedy}"
    return ""
