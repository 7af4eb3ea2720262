"""The whole configuration as one document: what ``vnetx apply`` reads and ``export`` writes.

::

    version: 1
    switches:
      lab:
        ageing: 60
        group_forward: lldp,lacp
        ports:
          eth0:
          veth1: {isolated: on, storm: {broadcast: 1000}}
        fdb:
          - {mac: 02:00:5e:00:00:01, port: eth0, state: sticky}

Settings are named as on the command line, with ``_`` for ``-``; what is left out is the default.
The canonical form holds only what is not, so that two equal configurations are equal texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from vnetx import model, vlan_rule
from vnetx.errors import InvalidValue

if TYPE_CHECKING:
    from vnetx.state import SwitchView

VERSION = 1


@dataclass(frozen=True)
class StaticEntry:
    """An FDB entry that does not age; a sticky one does not move either.

    `vlan` is None in a switch whose VLANs share what they learn, or that has none, and where the
    one of the port's untagged frames is meant. With `vni`, `port` is the address of a VTEP.
    """

    mac: bytes
    port: str
    sticky: bool = False
    vlan: int | None = None
    vni: int | None = None


@dataclass(frozen=True)
class Switch:
    """A switch: settings, ports by name of the device, static FDB entries, VLANs of the host port,
    rules that tell the VLAN of frames without one, interfaces that it makes by name, VNIs, and
    wires."""

    settings: model.SwitchSettings = field(default_factory=model.SwitchSettings)
    ports: Mapping[str, model.PortSettings] = field(default_factory=dict)
    fdb: Sequence[StaticEntry] = ()
    host: model.PortSettings = field(default_factory=model.PortSettings)
    vlan_rules: vlan_rule.Rules = field(default_factory=dict)
    interfaces: Mapping[str, model.Interface] = field(default_factory=dict)
    vnis: Mapping[int, model.Vni] = field(default_factory=dict)
    wires: Sequence[model.Wire] = ()

    @property
    def has_vlans(self) -> bool:
        """Whether something is set that only a VLAN-aware switch heeds."""
        made = (each.port for each in self.interfaces.values())
        ports = (self.host, *self.ports.values(), *made)
        return (
            bool(self.vlan_rules)
            or any(vni.vid for vni in self.vnis.values())
            or any(port.has_vlans for port in ports)
        )


@dataclass(frozen=True)
class Document:
    """A configuration: switches by name."""

    switches: Mapping[str, Switch] = field(default_factory=dict)


def parse(text: str, source: str = "configuration") -> Document:
    """Reads a document; JSON is YAML too.

    Args:
        text: the document.
        source: what to call it in errors.

    Raises:
        InvalidValue: it is not YAML, or something in it is wrong; the error says where.
    """
    from vnetx import schema

    return schema.parse(text, source)


def document_of(
    views: Iterable[SwitchView],
    fdb: Mapping[str, Sequence[StaticEntry]] | None = None,
    interfaces: Mapping[str, Mapping[str, model.Interface]] | None = None,
    vnis: Mapping[str, Mapping[int, model.Vni]] | None = None,
) -> Document:
    """What is, as a document: the switches as observed, and by switch their static entries, their
    interfaces that they made and their VNIs."""
    return Document(
        {
            view.name: Switch(
                view.settings,
                {
                    port.ifname: port.settings
                    for port in view.ports
                    if port.ifname and not (port.interface or port.wire)
                },
                (fdb or {}).get(view.name, ()),
                view.host_settings,
                view.vlan_rules,
                (interfaces or {}).get(view.name, {}),
                (vnis or {}).get(view.name, {}),
                view.wires,
            )
            for view in views
        }
    )


# ------------------------------------------------------------ the canonical form


def dump(document: Document) -> str:
    """The canonical text."""
    import yaml

    return yaml.safe_dump(to_plain(document), sort_keys=False, default_flow_style=None)


def to_plain(document: Document) -> dict[str, Any]:
    """The canonical form as dicts, lists, strings, numbers and booleans."""
    return {
        "version": VERSION,
        "switches": {name: _switch(each) for name, each in sorted(document.switches.items())},
    }


def _switch(switch: Switch) -> dict[str, Any]:
    plain = _settings(switch.settings)
    if switch.has_vlans and not switch.settings.vlan_aware:
        plain["vlan_aware"] = False  # kept for the next time
    if host := _settings(switch.host):
        plain["host"] = host
    if switch.vlan_rules:
        plain["vlan_rules"] = [
            {match.words[0]: match.words[1], "vlan": vid}
            for match, vid in sorted(switch.vlan_rules.items())
        ]
    if switch.interfaces:
        plain["interfaces"] = {
            name: _interface(each) for name, each in sorted(switch.interfaces.items())
        }
    if switch.vnis:
        plain["vnis"] = {vni: _vni(each) for vni, each in sorted(switch.vnis.items())}
    if switch.wires:
        plain["wires"] = [_wire(each) for each in sorted(switch.wires, key=lambda w: w.ends)]
    if switch.ports:
        plain["ports"] = {name: _settings(each) for name, each in sorted(switch.ports.items())}
    if switch.fdb:
        plain["fdb"] = [
            {
                "mac": model.format_mac(entry.mac),
                **_place(entry),
                "state": "sticky" if entry.sticky else "static",
                **({} if entry.vlan is None else {"vlan": entry.vlan}),
            }
            for entry in sorted(switch.fdb, key=lambda entry: (entry.mac, entry.vlan or 0))
        ]
    return plain


def _place(entry: StaticEntry) -> dict[str, Any]:
    if entry.vni is None:
        return {"port": entry.port}
    return {"vni": entry.vni, "vtep": entry.port}


#: Of an interface what a document has as it is.
_AS_IT_IS = (
    *("kind", "parent", "mode", "among", "host_access", "netns", "own_netns"),
    *("owner", "group", "multi_queue", "vnet_hdr", "mtu", "mac"),
)


def _interface(own: model.Interface) -> dict[str, Any]:
    """What differs from the defaults."""
    port, default = _settings(own.port), vars(model.Interface(kind=own.kind))
    plain: dict[str, Any] = {"vlan": port.pop("access")} if "access" in port else {}
    if own.addresses:
        plain["ip"] = list(own.addresses)
    for name in _AS_IT_IS:
        value = getattr(own, name)
        if value != (model.Interface.kind if name == "kind" else default[name]):
            plain[name] = model.format_mac(value) if isinstance(value, bytes) else value
    if own.routes:
        plain["routes"] = dict(own.routes)
    if own.sources:
        plain["sources"] = [model.format_mac(mac) for mac in own.sources]
    return plain | ({"port": port} if port else {})


def _wire(wire: model.Wire) -> dict[str, Any]:
    """What differs from the defaults."""
    plain: dict[str, Any] = {"ends": list(wire.ends)}
    for each in fields(wire):
        value = getattr(wire, each.name)
        if each.name != "ends" and value != each.default:
            plain[each.name] = list(value) if isinstance(value, tuple) else value
    return plain


#: Of a VNI what has no default that a value could be compared with.
_OWN_FORM = ("vid", "neighbours")


def _vni(vni: model.Vni) -> dict[str, Any]:
    """What differs from the defaults."""
    plain = {
        field.name: value
        for field in fields(vni)
        if (value := getattr(vni, field.name)) != field.default and field.name not in _OWN_FORM
    }
    if vni.remotes:
        plain["remotes"] = list(vni.remotes)
    if vni.neighbours:
        plain["neighbours"] = {ip: model.format_mac(mac) for ip, mac in vni.neighbours.items()}
    if vni.tos == model.TOS_INHERIT:
        plain["tos"] = "inherit"
    return {"vlan": vni.vid, **plain} if vni.vid else plain


def _settings(settings: model.SwitchSettings | model.PortSettings) -> dict[str, Any]:
    """What differs from the defaults, as a document has it."""
    default = type(settings)()
    plain: dict[str, Any] = {}
    for name, value in vars(settings).items():
        if value == getattr(default, name):
            continue
        if name == "up":
            plain["state"] = "up" if value else "down"
        elif name == "group_forward":
            plain[name] = model.format_groups(value)
        elif name == "vlans":
            plain.update(_vlans(value))
        elif name == "vlan_map":
            plain[name] = dict(value)
        elif name == "storm":
            limits = zip(model.STORM_KINDS, value, strict=True)
            plain[name] = {kind: pps for kind, pps in limits if pps}
        else:
            plain[name] = model.format_mac(value) if isinstance(value, bytes) else value
    return plain


def _vlans(vlans: model.Vlans) -> dict[str, Any]:
    """An access port, a trunk, or any mix, each in the shortest words."""
    tagged = vlans.member & ~vlans.untagged
    if vlans.mode == "access":
        return {"access": vlans.pvid}
    if vlans.mode == "trunk" and (vlans.untagged or not vlans.pvid):
        plain: dict[str, Any] = {"trunk": model.format_vids(tagged)}
        return plain | ({"native": vlans.pvid} if vlans.pvid else {})
    plain = {"trunk": model.format_vids(tagged), "untagged": model.format_vids(vlans.untagged)}
    return plain | {"pvid": vlans.pvid}


def check(document: Document, source: str) -> Document:
    """What no single place in a document can show.

    Raises:
        InvalidValue: an interface in two switches; a static entry given twice, or on an interface
            that is not a port of the switch; a VNI of two switches.
    """
    owner: dict[str, str] = {}
    overlays: dict[int, str] = {}
    for name, switch in document.switches.items():
        at = f"{source}: switches.{name}"
        for port in switch.ports:
            if port in owner:
                raise InvalidValue(
                    f"{at}.ports.{port}",
                    f"it is a port of {owner[port]} as well",
                    "an interface can be in one switch only",
                )
            owner[port] = name
        for wire in switch.wires:
            for end in wire.ends:
                if end in owner:
                    raise InvalidValue(
                        f"{at}.wires",
                        f"'{end}' is a port of {owner[end]}, or the end of a wire, as well",
                        "an interface can be one thing only",
                    )
                owner[end] = name
        for interface in switch.interfaces:
            if interface in {*owner, *document.switches}:
                of = owner.get(interface, interface)
                raise InvalidValue(
                    f"{at}.interfaces.{interface}",
                    f"an interface of that name is switch {of}'s already",
                    "give it another name",
                )
            owner[interface] = name
        _check_vnis(at, name, switch, overlays)
        seen = set()
        for number, entry in enumerate(switch.fdb):
            if entry.vni is not None and entry.vni not in switch.vnis:
                raise InvalidValue(
                    f"{at}.fdb.{number}.vni",
                    f"{entry.vni} is not a VNI of {name}",
                    f"name it under switches.{name}.vnis",
                )
            if entry.vni is None and entry.port not in switch.ports:
                raise InvalidValue(
                    f"{at}.fdb.{number}.port",
                    f"'{entry.port}' is not a port of {name}",
                    f"name it under switches.{name}.ports",
                )
            domain = entry.vlan if entry.vni is None else switch.vnis[entry.vni].vid or None
            if (entry.mac, domain) in seen:
                raise InvalidValue(
                    f"{at}.fdb.{number}.mac", f"{model.format_mac(entry.mac)} is given twice"
                )
            seen.add((entry.mac, domain))
    return document


def _check_vnis(at: str, name: str, switch: Switch, overlays: dict[int, str]) -> None:
    vlans: dict[int, int] = {}
    for vni, own in switch.vnis.items():
        place = f"{at}.vnis.{vni}"
        if vni in overlays:
            raise InvalidValue(place, f"it is a VNI of {overlays[vni]} as well")
        overlays[vni] = name
        if own.vid in vlans:
            its = f"VLAN {own.vid} is" if own.vid else f"{name} has"
            raise InvalidValue(place, f"{its} VNI {vlans[own.vid]} already")
        vlans[own.vid] = vni
        if switch.settings.vlan_aware and not own.vid:
            raise InvalidValue(place, f"{name} is VLAN-aware", "give a vlan")
