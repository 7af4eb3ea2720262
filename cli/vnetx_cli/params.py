"""Types of parameters, and the settings of ports and switches as options."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from vnetx import accounts, model, vlan_rule

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Value = TypeVar("_Value")


# ------------------------------------------------------------ types


class _Interface(click.ParamType[str]):
    """The name of an interface; completes to those of this namespace."""

    name = "iface"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        names = (name for _, name in socket.if_nameindex())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class _SwitchName(click.ParamType[str]):
    """The name of a switch; completes to those of this namespace."""

    name = "switch"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        return model.check_switch_name(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from vnetx.datapath import pins

        names = pins.switch_names()
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class _OnOff(click.Choice[str]):
    def __init__(self) -> None:
        super().__init__(["on", "off"], case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, bool) else super().convert(value, param, ctx) == "on"


class _UpDown(click.Choice[str]):
    def __init__(self) -> None:
        super().__init__(["up", "down"], case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, bool) else super().convert(value, param, ctx) == "up"


class _Parsed(click.ParamType[_Value]):
    """Text that a function of the model makes a value of."""

    def __init__(self, name: str, kind: type[_Value], parse: Callable[[str], _Value]) -> None:
        self.name = name
        self._kind = kind
        self._parse = parse

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> _Value:
        return value if isinstance(value, self._kind) else self._parse(value)


class _Storm(click.ParamType[tuple[str, int]]):
    """``KIND=PPS``."""

    name = "kind=pps"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        kind, _, pps = value.partition("=")
        if kind not in model.STORM_KINDS or not pps.isdecimal():
            kinds = ", ".join(model.STORM_KINDS)
            self.fail(
                f"'{value}' is not KIND=PPS, where KIND is {kinds} and PPS a number", param, ctx
            )
        return kind, int(pps)


INTERFACE = _Interface()
SWITCH = _SwitchName()
ON_OFF = _OnOff()
UP_DOWN = _UpDown()
GROUPS = _Parsed("groups", int, model.parse_groups)
MAC = _Parsed("addr", bytes, model.parse_mac)
STORM = _Storm()
VIDS = _Parsed("vids", int, model.parse_vids)
VID = _Parsed("vid", int, model.parse_vid)
USER = _Parsed("user", int, accounts.user)
GROUP = _Parsed("group", int, accounts.group)
#: What a VLAN rule looks at, by kind.
MATCHES = {kind: _Parsed(kind, vlan_rule.Match, parse) for kind, parse in vlan_rule.PARSERS.items()}


# ------------------------------------------------------------ settings as options

_GROUP_HELP = (
    "Forward these of 01:80:c2:00:00:00-0f: all, none, digits, ranges, or "
    f"{', '.join(model.GROUP_NAMES)}; as in 'lldp,lacp,4-d'."
)

#: Option, parameter (a field of PortSettings), type, metavar, help.
PORT_SETTINGS: tuple[tuple[str, str, click.ParamType[Any], str, str], ...] = (
    ("--learning", "learning", ON_OFF, "on|off", "Learn source addresses here."),
    ("--flood-unicast", "flood_unicast", ON_OFF, "on|off", "Send unknown unicast out here."),
    ("--flood-multicast", "flood_multicast", ON_OFF, "on|off", "Send multicast out here."),
    ("--flood-broadcast", "flood_broadcast", ON_OFF, "on|off", "Send broadcast out here."),
    ("--isolated", "isolated", ON_OFF, "on|off", "No frames to and from other isolated ports."),
    ("--hairpin", "hairpin", ON_OFF, "on|off", "Frames may go back out of this port."),
    ("--state", "up", UP_DOWN, "up|down", "Administrative state."),
    ("--learn-limit", "learn_limit", click.INT, "N", "Most learned addresses; 0 is no limit."),
    ("--group-forward", "group_forward", GROUPS, "GROUPS", _GROUP_HELP),
    ("--access", "access", VID, "VID", "In this VLAN alone, without tags."),
    ("--trunk", "trunk", VIDS, "VIDS", "In these VLANs (10,20-30; all), with tags."),
    ("--native", "native", VID, "VID", "And in this one without tags; goes with --trunk."),
    (
        "--accept",
        "accept",
        click.Choice(model.ACCEPT),
        "|".join(model.ACCEPT),
        "Frames that it takes; one with a priority tag is untagged.",
    ),
    ("--priority", "priority", click.INT, "N", "PCP of frames that come untagged, 0 to 7."),
    (
        "--vlan-protocol",
        "vlan_protocol",
        click.Choice(list(model.VLAN_PROTOCOLS)),
        "|".join(model.VLAN_PROTOCOLS),
        "The kind of tags that it heeds (a provider's port: 802.1ad, or an older TPID); others are "
        "payload.",
    ),
)


def port_settings(function: _Command) -> _Command:
    """The options of :data:`PORT_SETTINGS`, and ``--storm``."""
    function = click.option(
        "--storm",
        type=STORM,
        multiple=True,
        metavar="KIND=PPS",
        help="Frames a second that are flooded of broadcast, multicast or unknown-unicast; "
        "0 is no limit. Can be repeated.",
    )(function)
    for option, name, kind, metavar, text in reversed(PORT_SETTINGS):
        function = click.option(option, name, type=kind, metavar=metavar, help=text)(function)
    return function


#: Which of its hooks a port has.
HOOK = click.option(
    "--hook",
    type=click.Choice(model.HOOKS),
    help="Where frames are received: XDP in the driver, XDP in the kernel, TC, or what suits the "
    "device.",
)


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line; click has None for the rest."""
    return {name: value for name, value in settings.items() if value is not None}


def with_vlans(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with ``--access``, ``--trunk`` and ``--native`` as one field.

    Raises:
        InvalidValue: they exclude each other.
    """
    ways = ("access", "trunk", "native")
    vlans = model.make_vlans(*(settings.get(way) for way in ways))
    rest = {name: value for name, value in settings.items() if name not in ways}
    return rest if vlans is None else rest | {"vlans": vlans}


def with_storm(
    now: tuple[int, int, int], limits: tuple[tuple[str, int], ...]
) -> tuple[int, int, int]:
    """The storm limits `now` with those of ``--storm`` put in."""
    values = dict(zip(model.STORM_KINDS, now, strict=True)) | dict(limits)
    broadcast, multicast, unicast = (values[kind] for kind in model.STORM_KINDS)
    return broadcast, multicast, unicast


def switch_settings(function: _Command) -> _Command:
    """The settings of a switch that can be changed at any time."""
    options = (
        click.option(
            "--ageing",
            type=click.INT,
            metavar="SECONDS",
            help=f"Forget an address that sent nothing for so long (default "
            f"{model.SwitchSettings.ageing}).",
        ),
        click.option("--group-forward", type=GROUPS, metavar="GROUPS", help=_GROUP_HELP),
        click.option(
            "--transparent",
            is_flag=True,
            help="Forward every reserved group address (STP, pause, LACP, 802.1X, LLDP): "
            "--group-forward all.",
        ),
        click.option(
            "--static-move",
            type=ON_OFF,
            metavar="on|off",
            help="A static entry follows its address to another port, as in the kernel's bridge.",
        ),
        click.option(
            "--vlan-aware",
            type=ON_OFF,
            metavar="on|off",
            help="Frames are of VLANs; otherwise tags pass untouched.",
        ),
        click.option(
            "--shared-learning",
            type=ON_OFF,
            metavar="on|off",
            help="All VLANs share what they learn of addresses.",
        ),
        click.option(
            "--mac",
            type=MAC,
            metavar="ADDR",
            help="Address of the host port; by default one that never changes.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def switch_changes(
    *, group_forward: int | None, transparent: bool, **others: Any
) -> dict[str, Any]:
    """The fields of SwitchSettings that were given.

    Raises:
        click.UsageError: ``--transparent`` beside ``--group-forward``.
    """
    if transparent and group_forward is not None:
        raise click.UsageError("--transparent is --group-forward all: give one of them")
    return given(others | {"group_forward": model.ALL_GROUPS if transparent else group_forward})
