"""The shape of a configuration document, checked by pydantic. Used by :mod:`vnetx.config`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from vnetx import accounts, config, model, vlan_rule
from vnetx.errors import InvalidValue

# ------------------------------------------------------------ text


class _Loader(yaml.BaseLoader):
    """Scalars stay text, since YAML 1.1 takes some addresses for numbers in base 60."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{name}' is given twice", node.value[position][0].start_mark
                )
        return super().construct_mapping(node, deep)


def load(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}" if mark else ""
        raise InvalidValue(f"{source}{place}", error.problem or "not YAML") from error
    except yaml.YAMLError as error:
        raise InvalidValue(source, f"not YAML: {' '.join(str(error).split())}") from error


# ------------------------------------------------------------ values


def checked(function: Callable[[str], Any]) -> BeforeValidator:
    """A check of the model as one of pydantic's, so that an error knows its place."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("vnetx", "text is expected here", {"remedy": ""})
        try:
            return function(value)
        except InvalidValue as error:
            raise _located(error) from error

    return BeforeValidator(validate)


def _located(error: InvalidValue) -> PydanticCustomError:
    return PydanticCustomError(
        "vnetx", "{text}", {"text": f"{error.what}: {error.why}", "remedy": error.remedy}
    )


def empty_is(default: Callable[[], Any]) -> BeforeValidator:
    """``eth0:`` without anything behind it."""
    return BeforeValidator(lambda value: default() if value == "" else value)


Mac = Annotated[bytes, checked(lambda text: model.check_station_mac(model.parse_mac(text)))]
_Groups = Annotated[int, checked(model.parse_groups)]
SwitchName = Annotated[str, checked(model.check_switch_name)]
_Vids = Annotated[int, checked(model.parse_vids)]
_Vid = Annotated[int, Field(ge=model.FIRST_VID, le=model.LAST_VID)]
Address = Annotated[str, checked(model.parse_address)]
_Vtep = Annotated[str, checked(model.parse_vtep)]
_VniNumber = Annotated[int, Field(ge=1, le=model.LAST_VNI)]
InterfaceName = Annotated[str, Field(min_length=1, max_length=15)]


class Part(BaseModel):
    """A mapping that has these settings, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Whole = TypeVar("_Whole", bound=Part)


class _Storm(Part):
    broadcast: int = 0
    multicast: int = 0
    unknown_unicast: int = Field(0, alias="unknown-unicast")

    def limits(self) -> tuple[int, int, int]:
        return self.broadcast, self.multicast, self.unknown_unicast


class _Tagging(Part):
    """The VLANs of a port: `access`, `trunk` with `native`, or `trunk`, `untagged` and `pvid`."""

    access: _Vid | None = None
    trunk: _Vids | None = None
    native: _Vid | None = None
    untagged: _Vids | None = None
    pvid: int | None = None
    accept: Literal["all", "tagged", "untagged"] = "all"
    priority: int = 0
    vlan_protocol: Literal["802.1q", "802.1ad", "0x9100", "0x9200", "0x9300"] = "802.1q"
    vlan_map: dict[_Vid, _Vid] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> _Tagging:
        made(self.tagging)
        return self

    def tagging(self) -> dict[str, Any]:
        """The fields of PortSettings that are about VLANs, if given."""
        names = ("accept", "priority", "vlan_protocol")
        given = {name: getattr(self, name) for name in names if name in self.model_fields_set}
        if self.vlan_map:
            given["vlan_map"] = tuple(sorted(self.vlan_map.items()))
        vlans = model.make_vlans(self.access, self.trunk, self.native, self.untagged, self.pvid)
        return given | ({} if vlans is None else {"vlans": vlans})


class _Host(_Tagging):
    @model_validator(mode="after")
    def _within_limits(self) -> _Host:
        made(self.settings)
        return self

    def settings(self) -> model.PortSettings:
        return model.PortSettings(**self.tagging())


class _Port(_Tagging):
    hook: Literal["auto", "xdp", "xdp-generic", "tc"] = "auto"
    learning: bool = True
    flood_unicast: bool = True
    flood_multicast: bool = True
    flood_broadcast: bool = True
    isolated: bool = False
    hairpin: bool = False
    state: Literal["up", "down"] = "up"
    learn_limit: int = 0
    storm: Annotated[_Storm | None, empty_is(dict)] = None
    group_forward: _Groups = 0

    @model_validator(mode="after")
    def _within_limits(self) -> _Port:
        made(self.settings)
        return self

    def settings(self) -> model.PortSettings:
        own = self.model_fields_set - _Tagging.model_fields.keys()
        given = self.tagging() | {name: getattr(self, name) for name in own}
        if "state" in given:
            given["up"] = given.pop("state") == "up"
        if self.storm:
            given["storm"] = self.storm.limits()
        return model.PortSettings(**given)


class _Entry(Part):
    """Behind a `port`, or the `vtep` of a `vni`."""

    mac: Mac
    port: InterfaceName | None = None
    vni: _VniNumber | None = None
    vtep: _Vtep | None = None
    state: Literal["static", "sticky"] = "static"
    vlan: _Vid | None = None

    @model_validator(mode="after")
    def _one_place(self) -> _Entry:
        made(self.entry)
        return self

    def entry(self) -> config.StaticEntry:
        place = self.port if self.vtep is None else self.vtep
        behind = self.vni is not None, self.vtep is not None
        if place is None or behind not in {(self.port is None,) * 2} or (self.vni and self.vlan):
            raise InvalidValue("an FDB entry", "give port, or vni and vtep")
        return config.StaticEntry(
            self.mac, place, sticky=self.state == "sticky", vlan=self.vlan, vni=self.vni
        )


class _Vni(Part):
    vlan: _Vid | None = None
    local: _Vtep
    remotes: Annotated[list[_Vtep], empty_is(list)] = Field(default_factory=list)
    group: str | None = None
    dstport: int = model.VXLAN_PORT
    dev: InterfaceName | None = None
    learning: bool = True
    learn_limit: int = 0
    vtep_learn_limit: int = 0
    ttl: int = 0
    tos: int | Literal["inherit"] = 0
    df: bool = False
    clamp_mss: bool = False
    gbp: bool = False
    ignore_reserved: bool = False
    udp6_zero_checksum: bool = False
    neigh_suppress: bool = False
    neighbours: Annotated[dict[str, Mac], empty_is(dict)] = Field(default_factory=dict)
    underlay_hook: str = "tc"

    @model_validator(mode="after")
    def _within_limits(self) -> _Vni:
        made(self.vni)
        return self

    def vni(self) -> model.Vni:
        given = {name: getattr(self, name) for name in self.model_fields_set - {"vlan", "remotes"}}
        if self.tos == "inherit":
            given["tos"] = model.TOS_INHERIT
        return model.Vni(vid=self.vlan or 0, remotes=tuple(self.remotes), **given)


class _Rule(Part):
    """One of `mac`, `subnet` and `protocol`, and the VLAN."""

    mac: Annotated[vlan_rule.Match | None, checked(vlan_rule.parse_mac)] = None
    subnet: Annotated[vlan_rule.Match | None, checked(vlan_rule.parse_subnet)] = None
    protocol: Annotated[vlan_rule.Match | None, checked(vlan_rule.parse_protocol)] = None
    vlan: _Vid

    @model_validator(mode="after")
    def _one_kind(self) -> _Rule:
        made(self.match)
        return self

    def match(self) -> vlan_rule.Match:
        given = [getattr(self, kind) for kind in vlan_rule.KINDS if getattr(self, kind)]
        if len(given) != 1:
            raise InvalidValue("a VLAN rule", f"give one of {', '.join(vlan_rule.KINDS)}")
        match: vlan_rule.Match = given[0]
        return match


class _MadeInterface(Part):
    kind: str = model.Interface.kind
    parent: InterfaceName | None = None
    mode: str | None = None
    among: str = model.Interface.among
    sources: Annotated[list[Mac], empty_is(list)] = Field(default_factory=list)
    host_access: bool = True
    vlan: _Vid | None = None
    ip: Annotated[list[Address], empty_is(list)] = Field(default_factory=list)
    netns: str | None = None
    own_netns: bool = False
    owner: Annotated[int | None, checked(accounts.user)] = None
    group: Annotated[int | None, checked(accounts.group)] = None
    multi_queue: bool = False
    vnet_hdr: bool | None = None
    mtu: int = model.Interface.mtu
    mac: Mac | None = None
    routes: Annotated[dict[str, str], empty_is(dict)] = Field(default_factory=dict)
    port: Annotated[_Port, empty_is(dict)] = Field(default_factory=_Port)

    @model_validator(mode="after")
    def _within_limits(self) -> _MadeInterface:
        made(self.interface)
        return self

    def interface(self) -> model.Interface:
        port = self.port.settings()
        if self.vlan is not None:
            if "vlans" in self.port.tagging():
                raise InvalidValue("VLANs of an interface", "are given by 'vlan' and by 'port'")
            port = replace(port, vlans=model.Vlans.access(self.vlan))
        own = {name: getattr(self, name) for name in self.model_fields_set - {"vlan", "ip"}}
        own |= {"routes": tuple(self.routes.items()), "sources": tuple(self.sources)}
        return model.Interface(tuple(self.ip), **(own | {"port": port}))


class _Wire(Part):
    ends: Annotated[list[InterfaceName], Field(min_length=2, max_length=2)]
    loss: float = model.Wire.loss
    corrupt: float = model.Wire.corrupt
    seed: int = model.Wire.seed
    cut: Annotated[list[InterfaceName], empty_is(list)] = Field(default_factory=list)
    carrier: bool = model.Wire.carrier
    hook: Literal["auto", "xdp", "tc"] = "auto"

    @model_validator(mode="after")
    def _within_limits(self) -> _Wire:
        made(self.wire)
        return self

    def wire(self) -> model.Wire:
        own = {name: getattr(self, name) for name in ("loss", "corrupt", "seed", "carrier", "hook")}
        return model.Wire((self.ends[0], self.ends[1]), cut=tuple(self.cut), **own)


class Switch(Part):
    ageing: int = 0
    group_forward: _Groups = 0
    static_move: bool = False
    vlan_aware: bool | None = None
    shared_learning: bool = False
    fdb_size: int = 0
    max_ports: int = 0
    host_port: bool = True
    mac: Mac | None = None
    vlan_rules: Annotated[list[_Rule], empty_is(list)] = Field(default_factory=list)
    interfaces: Annotated[dict[InterfaceName, _MadeInterface], empty_is(dict)] = Field(
        default_factory=dict
    )
    vnis: Annotated[dict[_VniNumber, _Vni], empty_is(dict)] = Field(default_factory=dict)
    wires: Annotated[list[_Wire], empty_is(list)] = Field(default_factory=list)
    host: Annotated[_Host, empty_is(dict)] = Field(default_factory=_Host)
    ports: Annotated[dict[InterfaceName, Annotated[_Port, empty_is(dict)]], empty_is(dict)] = Field(
        default_factory=dict
    )
    fdb: Annotated[list[_Entry], empty_is(list)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _within_limits(self) -> Switch:
        made(self.settings)
        made(self.rules)
        return self

    def rules(self) -> vlan_rule.Rules:
        found: dict[vlan_rule.Match, int] = {}
        for rule in self.vlan_rules:
            if rule.match() in found:
                raise InvalidValue(f"VLAN rule by {rule.match()}", "is given twice")
            found[rule.match()] = rule.vlan
        return vlan_rule.check(found)

    def settings(self) -> model.SwitchSettings:
        """Only what the document gives: the defaults are the model's."""
        given = self.model_fields_set - {
            *("ports", "fdb", "host", "vlan_rules", "interfaces", "vnis", "wires")
        }
        given -= {"vlan_aware"} if self.vlan_aware is None else set()
        return model.SwitchSettings(**{name: getattr(self, name) for name in given})

    def switch(self) -> config.Switch:
        """The first VLAN makes the switch VLAN-aware, unless the document says that it is not."""
        switch = config.Switch(
            self.settings(),
            {name: port.settings() for name, port in self.ports.items()},
            tuple(entry.entry() for entry in self.fdb),
            self.host.settings(),
            self.rules(),
            {name: each.interface() for name, each in self.interfaces.items()},
            {vni: each.vni() for vni, each in self.vnis.items()},
            tuple(each.wire() for each in self.wires),
        )
        in_vlans = any(each.vlan for each in self.interfaces.values())
        if self.vlan_aware is not None or not (switch.has_vlans or in_vlans):
            return switch
        return replace(switch, settings=replace(switch.settings, vlan_aware=True))


class _Document(Part):
    version: Literal["1"]
    switches: Annotated[dict[SwitchName, Annotated[Switch, empty_is(dict)]], empty_is(dict)] = (
        Field(default_factory=dict)
    )


def made(settings: Callable[[], Any]) -> None:
    try:
        settings()
    except InvalidValue as error:
        raise _located(error) from error


# ------------------------------------------------------------ the whole


def parse(text: str, source: str) -> config.Document:
    """See :func:`vnetx.config.parse`."""
    document = read(_Document, text, source)
    switches = {name: each.switch() for name, each in document.switches.items()}
    return config.check(config.Document(switches), source)


def read(kind: type[_Whole], text: str, source: str) -> _Whole:
    """A document of some kind.

    Raises:
        InvalidValue: it is not YAML, or something in it is wrong; the error says where.
    """
    plain = load(text, source)
    if not isinstance(plain, dict):
        raise InvalidValue(source, "not a mapping", f"begin with 'version: {config.VERSION}'")
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise _told(error, source, kind) from error


def _told(error: ValidationError, source: str, kind: type[Part]) -> InvalidValue:
    """The first mistake; the others are the detail."""
    lines = [_mistake(each, kind) for each in error.errors(include_url=False)]
    place, why, remedy = lines[0]
    if len(lines) > 1:
        why += f" (and {len(lines) - 1} more of such)"
    detail = "\n".join(f"{source}: {place}: {why}" for place, why, _ in lines[1:])
    return InvalidValue(f"{source}: {place}", why, remedy, detail)


#: Where pydantic's words are a programmer's.
_WORDS = {
    "int_parsing": "not a number",
    "float_parsing": "not a number",
    "bool_parsing": "neither on nor off",
    "dict_type": "a mapping is expected here",
    "model_type": "a mapping is expected here",
    "list_type": "a list is expected here",
}


def _mistake(error: Any, whole: type[Part]) -> tuple[str, str, str]:
    """(place, what is wrong, remedy)"""
    path = [str(part) for part in error["loc"] if part != "[key]"]
    place = ".".join(path)
    context = error.get("ctx", {})
    kind = error["type"]
    if place == "version":
        return place, _version_is(error), f"write 'version: {config.VERSION}'"
    if kind == "extra_forbidden":
        return place, "no such setting", f"known are {', '.join(_known(whole, path[:-1]))}"
    if kind == "missing":
        return place, "is missing", ""
    if kind == "literal_error":
        return place, f"'{error['input']}' is unknown", f"one of {context['expected']}"
    if kind == "vnetx":
        return place, error["msg"], context["remedy"]
    shown = "" if isinstance(error["input"], dict | list) else f"'{error['input']}': "
    return place, shown + _WORDS.get(kind, error["msg"]), ""


def _version_is(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    return f"{error['input']} is not known to this vnetx"


def _known(whole: type[Part], path: list[str]) -> list[str]:
    """The settings that may stand at a place."""
    kind: Any = whole
    for name in path:
        kind = _below(kind, name)
    return [field.alias or name for name, field in kind.model_fields.items()]


def _below(kind: Any, name: str) -> Any:
    """What stands at `name` of a part, a mapping or a list."""
    if isinstance(kind, type) and issubclass(kind, Part):
        return _plain(kind.model_fields[name].annotation)
    return _plain(get_args(kind)[-1])


def _plain(kind: Any) -> Any:
    """A type without its remarks, and without None."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    others = [each for each in get_args(kind) if each is not type(None)]
    return _plain(others[0]) if get_origin(kind) in (Union, UnionType) else kind
