"""vnetx in a namespace of a subject, attached as a user does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vnetx import doctor, engine
from vnetx_perf.namespaces import Namespace, run_in

#: Devices, and what their ports' :class:`vnetx.model.PortSettings` are to have beside the hook.
Ports = tuple[Sequence[str], Mapping[str, Any]]


def attach(namespace: Namespace, hook: str, *ports: Ports) -> None:
    """Makes devices of the namespace ports of one switch."""
    run_in(namespace, _attach, hook, ports)


def _attach(hook: str, ports: Sequence[Ports]) -> None:
    for devices, settings in ports:
        engine.attach(devices, hook=hook, settings=settings)


def detach(namespace: Namespace) -> None:
    """Gives every device of the namespace back."""
    run_in(namespace, _detach)


def _detach() -> None:
    engine.detach([], every=True)


def missing() -> str:
    """What `vnetx doctor` finds failing of the machine; other switches' state is no matter."""
    for check in doctor.checks():
        if check.status == "fail" and not check.name.startswith("switch "):
            return f"{check.name}: {check.detail}: {check.remedy}"
    return ""
