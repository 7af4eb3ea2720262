"""Nodes and links of labs: observing, making, changing and removing them.

A node is a named network namespace whose loopback device says of which lab it is; both ends of a
link say so, too. What says nothing of the kind is somebody else's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from vnetx import device, lab, netns
from vnetx.datapath import pins
from vnetx.engine.switches import discard_damaged, remove_switch
from vnetx.engine.transaction import transaction
from vnetx.errors import VnetxError
from vnetx.lab import End, Link
from vnetx.links import Links, remove_netns
from vnetx.links.node import is_quiet, set_quiet
from vnetx.model import Interface

_LOOPBACK_ADDRESSES = {"127.0.0.1/8", "::1/128"}


@dataclass
class Seen:
    """What is there of a lab.

    Attributes:
        nodes: devices by name of each.
        empty: names of its namespaces that lead to none; a command was killed.
    """

    name: str
    nodes: dict[str, dict[str, device.Link]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    def device(self, end: End) -> device.Link | None:
        return self.nodes.get(end.node, {}).get(end.interface)

    def marked(self) -> dict[Link, list[End]]:
        """The links that devices say they are ends of, and these devices."""
        found: dict[Link, list[End]] = {}
        for node, devices in self.nodes.items():
            for each in devices.values():
                mark = lab.read_link_mark(each.alias)
                if mark and mark[0] == self.name:
                    found.setdefault(mark[1], []).append(End(node, each.name))
        return found


@contextlib.contextmanager
def there(namespace: str) -> Iterator[Links]:
    """Netlink in a namespace, which this thread is in."""
    with netns.inside(namespace), Links() as links:
        yield links


def observe(name: str) -> Seen:
    """What is there of the lab of this name."""
    seen = Seen(name)
    prefix = lab.namespace(name, "")
    for namespace in netns.names():
        node = namespace.removeprefix(prefix)
        if namespace == node or not node:
            continue
        if netns.is_empty(namespace):
            seen.empty.append(namespace)
        elif (devices := devices_of(namespace)) and mark_of(devices) == (name, node):
            seen.nodes[node] = devices
    return seen


def devices_of(namespace: str) -> dict[str, device.Link]:
    """The devices of a namespace by name; {} of one that is gone meanwhile."""
    with contextlib.suppress(VnetxError), there(namespace) as links:
        return links.all()
    return {}


def mark_of(devices: Mapping[str, device.Link]) -> tuple[str, str] | None:
    """(lab, node) of the namespace that has these devices, None of somebody else's."""
    return lab.read_node_mark(devices[lab.LOOPBACK].alias) if devices else None


# ------------------------------------------------------------ links


def is_whole(seen: Seen, wanted: lab.Lab, link: Link) -> bool:
    """Whether a link is there, though its ends may not yet say so: then their MAC addresses do."""
    one, two = (seen.device(end) for end in link)
    if one is None or two is None or {one.kind, two.kind} != {"veth"}:
        return False
    if (one.peer, two.peer) != (two.ifindex, one.ifindex):
        return False
    mark = lab.link_mark(wanted.name, link)
    return all(
        each.alias == mark or (not each.alias and each.mac == wanted.settings(end).mac)
        for end, each in zip(link, (one, two), strict=True)
    )


def is_raised(seen: Seen, link: Link, quiet: Mapping[End, bool]) -> bool:
    """Whether both ends of a link that is there say what they are, and are up."""
    for end in link:
        each = seen.device(end)
        if each is None or not (each.up and each.alias == lab.link_mark(seen.name, link)):
            return False
        with netns.inside(lab.namespace(seen.name, end.node)):
            if is_quiet(end.interface) not in (None, quiet[end]):
                return False
    return True


def make_link(name: str, link: Link, macs: Mapping[End, bytes], quiet: Mapping[End, bool]) -> None:
    """Makes a veth pair between two nodes; `quiet` tells which end is only a port."""
    one, two = link
    other = netns.opened(lab.namespace(name, two.node))
    with other as fd, there(lab.namespace(name, one.node)) as links:
        links.add_veth(two.interface, one.interface, macs[two], fd, macs[one])
    raise_link(name, link, quiet)


def raise_link(name: str, link: Link, quiet: Mapping[End, bool]) -> None:
    """Has both ends of a link say what they are, and sets them up."""
    for end in link:
        with there(lab.namespace(name, end.node)) as links:
            each = links.get(end.interface)
            if each is None:
                raise VnetxError(f"link {link[0]} {link[1]}", f"{end} vanished")
            set_quiet(end.interface, quiet[end])
            links.raise_up(each.ifindex, lab.link_mark(name, link))


def delete_end(name: str, end: End) -> None:
    """Deletes an end of a link, and the other one with it; one that is gone is no error."""
    with contextlib.suppress(VnetxError), there(lab.namespace(name, end.node)) as links:
        each = links.get(end.interface)
        if each is not None:
            links.delete(each.ifindex)


# ------------------------------------------------------------ addresses


def settings_of(links: Links, interface: str) -> Interface:
    """Addresses, routes, MTU and MAC address of a device; of the loopback device and host ports
    only what can be set of them."""
    each = links.get(interface)
    if each is None:
        raise VnetxError(f"interface {interface}", "it vanished")
    addresses = links.addresses(each.ifindex)
    if each.loopback:
        return Interface(tuple(addresses - _LOOPBACK_ADDRESSES))
    seen = Interface(tuple(addresses), routes=tuple(links.routes(each.ifindex)))
    if lab.read_link_mark(each.alias) is None:
        return seen
    return replace(seen, mtu=each.mtu, mac=each.mac)


def set_interface(namespace: str, interface: str, wanted: Interface) -> None:
    """Gives an interface of a node addresses, routes and, if it is an end of a link, MTU and MAC
    address."""
    with there(namespace) as links:
        now = settings_of(links, interface)
        each = links.get(interface)
        if each is None:
            raise VnetxError(f"interface {interface}", "it vanished")
        if wanted.mac and now.mac not in (None, wanted.mac):
            links.set_mac(each.ifindex, wanted.mac)
        if now.mtu != wanted.mtu:
            links.set_mtu(each.ifindex, wanted.mtu)
        kept = links.addresses(each.ifindex) & _LOOPBACK_ADDRESSES if each.loopback else set()
        links.set_addresses(each.ifindex, {*wanted.addresses, *kept})
        links.set_routes(each.ifindex, wanted.routes)


# ------------------------------------------------------------ removing


def remove_switches(namespace: str) -> None:
    """Removes the switches of a namespace, also those whose pins are damaged."""
    with netns.inside(namespace):
        if not (pins.switch_names() or pins.unpublished()):
            return
        with transaction() as session:
            for name in session.names():
                try:
                    session.maps(name)
                except VnetxError:
                    discard_damaged(session, name)
                else:
                    remove_switch(session, name)


def remove_node(seen: Seen, node: str) -> None:
    """Removes a node with its switches, and with the links that it has."""
    namespace = lab.namespace(seen.name, node)
    remove_switches(namespace)
    with there(namespace) as links:
        for each in links.all().values():
            if lab.read_link_mark(each.alias):  # a process may hold the namespace for long
                links.delete(each.ifindex)
    remove_netns(namespace)
