"""The shape of a lab's document, checked by pydantic. Used by :mod:`vnetx.lab`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from vnetx import config, lab, model, schema
from vnetx.errors import InvalidValue
from vnetx.schema import Part, checked, empty_is

_LabName = Annotated[str, checked(lambda text: lab.check_name(text, "lab"))]
_NodeName = Annotated[str, checked(lambda text: lab.check_name(text, "node"))]
_EndName = Annotated[lab.End, checked(lab.parse_end)]


def _two(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 2:
        raise PydanticCustomError("vnetx", "not two ends", {"remedy": "write [h1:eth0, h2:eth0]"})
    return value


class End(Part):
    """An interface of a node that is an end of a link, `lo`, or a host port."""

    ip: Annotated[list[schema.Address], empty_is(list)] = Field(default_factory=list)
    mtu: int = model.Interface.mtu
    mac: schema.Mac | None = None
    routes: Annotated[dict[str, str], empty_is(dict)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _within_limits(self) -> End:
        schema.made(self.interface)
        return self

    def interface(self) -> model.Interface:
        routes = tuple(self.routes.items())
        return model.Interface(tuple(self.ip), routes=routes, mtu=self.mtu, mac=self.mac)


class Node(Part):
    """A machine."""

    forward: bool = False
    interfaces: Annotated[
        dict[schema.InterfaceName, Annotated[End, empty_is(dict)]], empty_is(dict)
    ] = Field(default_factory=dict)
    switches: Annotated[
        dict[schema.SwitchName, Annotated[schema.Switch, empty_is(dict)]], empty_is(dict)
    ] = Field(default_factory=dict)

    def node(self, at: str) -> lab.Node:
        switches = {name: each.switch() for name, each in self.switches.items()}
        return lab.Node(
            self.forward,
            {name: each.interface() for name, each in self.interfaces.items()},
            config.check(config.Document(switches), at).switches,
        )


class Lab(Part):
    """The whole document."""

    version: Literal["1"]
    name: _LabName | None = None
    nodes: Annotated[dict[_NodeName, Annotated[Node, empty_is(dict)]], empty_is(dict)] = Field(
        default_factory=dict
    )
    links: Annotated[
        list[Annotated[tuple[_EndName, _EndName], BeforeValidator(_two)]], empty_is(list)
    ] = Field(default_factory=list)


def parse(text: str, source: str, name: str | None) -> lab.Lab:
    """See :func:`vnetx.lab.parse`."""
    document = schema.read(Lab, text, source)
    nodes = {key: each.node(f"{source}: nodes.{key}") for key, each in document.nodes.items()}
    links = tuple((min(link), max(link)) for link in document.links)
    found = lab.Lab(name or document.name or lab.default_name(source), nodes, links)
    return lab.check(found, source)


def name_of(text: str, source: str) -> str:
    """See :func:`vnetx.lab.name_of`."""
    plain = schema.load(text, source)
    given = plain.get("name") if isinstance(plain, dict) else None
    if not isinstance(given, str):
        return lab.default_name(source)
    try:
        return lab.check_name(given, "lab")
    except InvalidValue as error:
        raise InvalidValue(f"{source}: {error.what}", error.why) from error
