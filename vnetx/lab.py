"""A lab: machines that are network namespaces, links between them, and switches inside.

What ``vnetx lab`` reads::

    version: 1
    name: pair
    nodes:
      h1:
        interfaces:
          eth0: {ip: [192.0.2.1/24]}
      h2:
        interfaces:
          eth0: {ip: [192.0.2.2/24]}
      sw:
        switches:
          br0: {ports: {p1: , p2: }}
    links:
      - [h1:eth0, sw:p1]
      - [h2:eth0, sw:p2]

The switches of a node are as in :mod:`vnetx.config`; a node's name stands there for its namespace.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from vnetx.config import Switch
from vnetx.errors import InvalidValue
from vnetx.model import Interface, check_interface_name

VERSION = 1
LOOPBACK = "lo"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_NODE_MARK = re.compile(r"node (\S+) of vnetx lab (\S+)")
_LINK_MARK = re.compile(r"link (\S+) (\S+) of vnetx lab (\S+)")


@dataclass(frozen=True, order=True)
class End:
    """An end of a link: an interface of a node."""

    node: str
    interface: str

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


Link = tuple[End, End]


@dataclass(frozen=True)
class Node:
    """A machine.

    Attributes:
        forward: it forwards packets, as a router.
        interfaces: addresses, routes, MTU and MAC address by name: of ends of links, and without
            MTU and MAC address of the loopback device and of host ports of its switches.
        switches: by name.
    """

    forward: bool = False
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)

    @property
    def host_ports(self) -> list[str]:
        """The interfaces that join it to its switches."""
        return [name for name, switch in self.switches.items() if switch.settings.host_port]

    def is_only_port(self, interface: str) -> bool:
        """Whether an interface is a port of a switch, and nothing else."""
        ports = {port for switch in self.switches.values() for port in switch.ports}
        return interface in ports and not self.interfaces.get(interface, Interface()).addresses


@dataclass(frozen=True)
class Lab:
    """A topology; each end of a link is the lesser one first."""

    name: str
    nodes: Mapping[str, Node] = field(default_factory=dict)
    links: tuple[Link, ...] = ()

    def namespace(self, node: str) -> str:
        return namespace(self.name, node)

    def ends(self, node: str) -> Iterator[str]:
        """The interfaces of a node that are ends of links."""
        for link in self.links:
            yield from (end.interface for end in link if end.node == node)

    def other_namespaces(self) -> set[str]:
        """Those that interfaces of switches are put into, and that are no nodes."""
        nodes = {self.namespace(node) for node in self.nodes}
        switches = [each for node in self.nodes.values() for each in node.switches.values()]
        made = [own for switch in switches for own in switch.interfaces.values()]
        return {own.netns for own in made if own.netns and not own.own_netns} - nodes

    def settings(self, end: End) -> Interface:
        """What an end of a link is to be, with its MAC address."""
        own = self.nodes[end.node].interfaces.get(end.interface, Interface())
        return replace(own, mac=own.mac or stable_mac(self.name, end))


# ------------------------------------------------------------ names and marks


def check_name(name: str, kind: str) -> str:
    """A name of a lab or a node.

    Raises:
        InvalidValue: it has other characters, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"{kind} name '{name}'",
            "not 1 to 32 letters, digits, '-', '_' and '.', the first one a letter or digit",
        )
    return name


def parse_end(text: str) -> End:
    """``NODE:INTERFACE``.

    Raises:
        InvalidValue: it is none.
    """
    node, separator, interface = text.partition(":")
    if not separator:
        raise InvalidValue(f"end '{text}'", "not a node and an interface", "write h1:eth0")
    return End(check_name(node, "node"), check_interface_name(interface))


def namespace(lab: str, node: str) -> str:
    """The name of a node's network namespace."""
    return f"{lab}-{node}"


def node_mark(lab: str, node: str) -> str:
    """What a node's loopback device says of itself."""
    return f"node {node} of vnetx lab {lab}"


def link_mark(lab: str, link: Link) -> str:
    """What both ends of a link say of themselves."""
    return f"link {link[0]} {link[1]} of vnetx lab {lab}"


def read_node_mark(mark: str) -> tuple[str, str] | None:
    """(lab, node) of a node's mark, None if it is none."""
    found = _NODE_MARK.fullmatch(mark)
    return (found[2], found[1]) if found else None


def read_link_mark(mark: str) -> tuple[str, Link] | None:
    """(lab, link) of a link's mark, None if it is none."""
    found = _LINK_MARK.fullmatch(mark)
    return (found[3], (parse_end(found[1]), parse_end(found[2]))) if found else None


def stable_mac(lab: str, end: End) -> bytes:
    """The address of an end that was given none: the same each time, and on every machine."""
    digest = hashlib.sha256(f"vnetx lab {lab} {end}".encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:6]


# ------------------------------------------------------------ documents


def parse(text: str, source: str, name: str | None = None) -> Lab:
    """Reads a document.

    Args:
        text: the document.
        source: the file's name, for errors; without its suffix it is the lab's name, if neither
            `name` nor the document says another one.
        name: of the lab, whatever the document says.

    Raises:
        InvalidValue: something in it is wrong; the error says where.
    """
    from vnetx import lab_schema

    return lab_schema.parse(text, source, name)


def name_of(text: str, source: str) -> str:
    """The lab's name, be the rest of the document as it may."""
    from vnetx import lab_schema

    return lab_schema.name_of(text, source)


def default_name(source: str) -> str:
    """The name of the lab of a file that says none.

    Raises:
        InvalidValue: the file's name is none that a lab can have.
    """
    try:
        return check_name(PurePath(source).stem, "lab")
    except InvalidValue as error:
        raise InvalidValue(f"{source}: {error.what}", error.why, "give a name") from error


class _Names:
    """The interfaces of each node, and what they are."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.of = {node: {LOOPBACK: "the loopback device"} for node in nodes}

    def add(self, place: str, node: str, interface: str, what: str) -> None:
        if interface in self.of[node]:
            raise InvalidValue(
                place, f"{interface} of {node} is {self.of[node][interface]} already"
            )
        self.of[node][interface] = what


def check(lab: Lab, source: str) -> Lab:
    """What no single place can show; nodes' names become those of their namespaces.

    Raises:
        InvalidValue: a node, or an end of a link, that is not there; a name that two interfaces
            of a node have.
    """
    names = _Names(lab.nodes)
    for number, link in enumerate(lab.links):
        for end in link:
            place = f"{source}: links.{number}"
            if end.node not in lab.nodes:
                known = f"known are {', '.join(lab.nodes)}" if lab.nodes else ""
                raise InvalidValue(place, f"there is no node {end.node}", known)
            names.add(place, end.node, end.interface, f"an end of link {link[0]} {link[1]}")
    for name, node in lab.nodes.items():
        at = f"{source}: nodes.{name}"
        for switch, each in node.switches.items():
            _check_switch(f"{at}.switches.{switch}", names, name, switch, each)
        ends = set(lab.ends(name))
        for interface, settings in node.interfaces.items():
            place = f"{at}.interfaces.{interface}"
            _check_interface(place, interface, settings, ends, node.host_ports)
    nodes = {name: _resolved(lab, node) for name, node in lab.nodes.items()}
    return replace(lab, nodes=nodes)


def _check_switch(at: str, names: _Names, node: str, name: str, switch: Switch) -> None:
    if switch.settings.host_port:
        names.add(at, node, name, "a switch's host port")
    for interface, own in switch.interfaces.items():
        where = own.netns if own.netns in names.of else node if own.netns is None else None
        if own.own_netns and own.netns in names.of:
            raise InvalidValue(
                f"{at}.interfaces.{interface}",
                f"{own.netns} is a node of the lab, and not a namespace of the interface's own",
                "leave own_netns out",
            )
        if where is not None:
            what = f"an interface of switch {name}"
            names.add(f"{at}.interfaces.{interface}", where, interface, what)
    for port in switch.ports:
        if port not in names.of[node]:
            raise InvalidValue(
                f"{at}.ports.{port}",
                "no link ends there",
                f"name {node}:{port} under links",
            )


def _check_interface(
    place: str, interface: str, settings: Interface, ends: set[str], host_ports: list[str]
) -> None:
    if interface in ends:
        return
    if interface not in {LOOPBACK, *host_ports}:
        raise InvalidValue(
            place,
            "no link ends there, and it is no host port",
            "name it under links; an interface that a switch makes has its settings there",
        )
    if (settings.mac, settings.mtu) != (None, Interface.mtu):
        raise InvalidValue(place, f"MTU and MAC address of {interface} are not set here")
    if interface == LOOPBACK and settings.routes:
        raise InvalidValue(place, "no routes lead through the loopback device")


def _resolved(lab: Lab, node: Node) -> Node:
    """With the names of namespaces where those of nodes were."""

    def there(own: Interface) -> Interface:
        if own.netns is None or own.netns not in lab.nodes:
            return own
        return replace(own, netns=lab.namespace(own.netns))

    switches = {
        name: replace(each, interfaces={n: there(own) for n, own in each.interfaces.items()})
        for name, each in node.switches.items()
    }
    return replace(node, switches=switches)
