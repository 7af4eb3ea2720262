"""vnetx in a namespace of a subject, attached as a user does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vnetx import doctor, engine, state
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
