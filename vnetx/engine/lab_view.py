"""Labs as they are: `vnetx lab --show`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass

from vnetx import lab, netns, state
from vnetx.device import Link
from vnetx.engine.wiring import Seen, devices_of, mark_of, observe, settings_of, there
from vnetx.errors import VnetxError
from vnetx.lab import End
from vnetx.links.node import forwards
from vnetx.model import Interface
from vnetx.state import SwitchView


@dataclass(frozen=True)
class InterfaceView:
    """An interface of a node.

    Attributes:
        settings: its addresses and routes; MTU and MAC address are those of `device`.
        to: the other end of its link, or the switch that made it; None without either.
        switch: the switch that it is a port of, None if it is none.
    """

    device: Link
    settings: Interface
    to: End | None
    switch: str | None


@dataclass(frozen=True)
class NodeView:
    """A node: its namespace, and what is in there."""

    name: str
    namespace: str
    forward: bool
    interfaces: list[InterfaceView]
    switches: list[str]


def labs(name: str | None = None) -> dict[str, list[NodeView]]:
    """The nodes of the lab of this name, or of all labs of the machine."""
    names = [name] if name is not None else sorted(set(_names()))
    return {each: _nodes(observe(each)) for each in names}


def _names() -> Iterator[str]:
    for namespace in netns.names():
        mark = mark_of({} if netns.is_empty(namespace) else devices_of(namespace))
        if mark and lab.namespace(*mark) == namespace:
            yield mark[0]


def _nodes(seen: Seen) -> list[NodeView]:
    namespaces = {node: lab.namespace(seen.name, node) for node in seen.nodes}
    switches = {}
    for node, where in namespaces.items():
        with _unless_gone(where, netns.names), netns.inside(where):
            switches[node] = state.switches()
    makers = {
        (record["netns"] or namespaces[node], interface): End(node, switch.name)
        for node, own in switches.items()
        for switch in own
        for interface, record in switch.interfaces.items()
    }
    nodes = []
    for node, own in switches.items():
        with _unless_gone(namespaces[node], netns.names):
            nodes.append(_node(node, namespaces[node], own, makers))
    return nodes


@contextlib.contextmanager
def _unless_gone(name: str, there_are: Callable[[], Container[str]]) -> Iterator[None]:
    """Ends early where what is looked at is taken down meanwhile: it is not shown then."""
    try:
        yield
    except VnetxError:
        if name in there_are():
            raise


def _node(
    node: str, where: str, switches: list[SwitchView], makers: Mapping[tuple[str, str], End]
) -> NodeView:
    ports = {port.ifname: switch.name for switch in switches for port in switch.ports}
    views = []
    with there(where) as links:
        for _, device in sorted(links.all().items()):
            own = End(node, device.name)
            mark = lab.read_link_mark(device.alias)
            others = [end for end in mark[1] if end != own] if mark else []
            to = others[0] if others else makers.get((where, device.name))
            if _is_inner_part(device):
                continue
            with _unless_gone(device.name, links.all):
                settings = settings_of(links, device.name)
                if settings.addresses or not device.loopback:
                    views.append(InterfaceView(device, settings, to, ports.get(device.name)))
        return NodeView(node, where, bool(forwards()), views, [each.name for each in switches])


def _is_inner_part(device: Link) -> bool:
    """Whether a device is one that switches make for themselves."""
    return device.name.startswith("vx") and (
        device.kind == "vxlan" or " of vnetx switch " in device.alias
    )
