"""vlan add|del|show|map|import."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any, TypeVar

import click

from vnetx import model, vlan_rule
from vnetx.errors import InvalidValue
from vnetx_cli import link, views
from vnetx_cli.context import Context, common_options, pass_context, print_json, print_result
from vnetx_cli.params import INTERFACE, MATCHES, SWITCH, VID, VIDS

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PORTS = click.option(
    "--port",
    "ports",
    type=INTERFACE,
    metavar="IFACE",
    multiple=True,
    help="The port; a switch's name is its host port. Can be repeated.",
)
_SWITCH = click.option(
    "--switch", type=SWITCH, metavar="NAME", help="The switch.", default=model.DEFAULT_SWITCH
)


@click.group()
def vlan() -> None:
    """Show and set the VLANs of ports.

    The first VLAN makes a switch VLAN-aware; ports that were given none are in VLAN 1, untagged.
    """


@vlan.command()
@click.argument("vids", type=VIDS, metavar="VIDS")
@_PORTS
@click.option("--untagged", is_flag=True, help="Their frames leave without a tag.")
@click.option("--pvid", is_flag=True, help="Frames that come untagged are of this VLAN.")
@common_options
@pass_context
def add(context: Context, /, vids: int, ports: tuple[str, ...], untagged: bool, pvid: bool) -> None:
    """Put ports into VLANs: VIDS is a list with ranges (10,20-30), or all.

    As 'bridge vlan add': what is given again has the new way only.
    """
    model.Vlans().add(vids, untagged=untagged, pvid=pvid)
    from vnetx import engine

    print_result(context, engine.vlan_add(vids, ports, untagged=untagged, pvid=pvid))


@vlan.command("del")
@click.argument("vids", type=VIDS, metavar="VIDS")
@_PORTS
@_SWITCH
@click.option("--force", is_flag=True, help="Cut off what uses the VLANs.")
@common_options
@pass_context
def delete(
    context: Context, /, vids: int, ports: tuple[str, ...], switch: str, force: bool
) -> None:
    """Take ports out of VLANs; without --port, end the VLANs of a switch.

    What uses a VLAN (ports, interfaces, rules) is listed then, and nothing changed; --force takes
    the ports out of it and deletes its interfaces and rules.
    """
    if ports and force:
        raise click.UsageError("--force goes without --port: a port is taken out in any case")
    from vnetx import engine

    if ports:
        print_result(context, engine.vlan_del(vids, ports))
    else:
        print_result(context, engine.vlan_end(vids, switch, force=force))


@vlan.command("map")
@click.argument("pairs", nargs=-1, metavar="[WIRE=INSIDE]...")
@click.option("--port", "port", type=INTERFACE, metavar="IFACE", required=True, help="The port.")
@common_options
@pass_context
def map_(context: Context, /, pairs: tuple[str, ...], port: str) -> None:
    """Translate VIDs: WIRE on this port is INSIDE in the switch, in both directions.

    What is given replaces what was; nothing ends it.
    """
    found = []
    for pair in pairs:
        wire, equals, inside = pair.partition("=")
        if not (equals and wire.isdecimal() and inside.isdecimal()):
            raise InvalidValue(f"VLAN translation '{pair}'", "not WIRE=INSIDE", "write 10=110")
        found.append((int(wire), int(inside)))
    mapping = tuple(sorted(found))
    model.PortSettings(vlan_map=mapping)
    from vnetx import engine

    print_result(context, engine.port_set(port, vlan_map=mapping))


@vlan.command()
@click.option("--port", type=INTERFACE, metavar="IFACE", help="Only of this port.")
@click.option("--switch", type=SWITCH, metavar="NAME", help="Only of this switch.")
@click.option("--stats", is_flag=True, help="With the frames and bytes of each VLAN.")
@common_options
@pass_context
def show(context: Context, /, port: str | None, switch: str | None, stats: bool) -> None:
    """Show VLANs and their ports."""
    from vnetx import state
    from vnetx_cli import table

    found = state.vlans(None if switch is None else [switch])
    if port is not None:
        if port not in {each.switch for each in found}:
            state.find_port(port)
        found = [each for each in found if port in (*each.tagged, *each.untagged)]
    if context.json:
        print_json([vars(each) for each in found])
        return
    counters = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes") if stats else ()
    headings = tuple(name.replace("_", " ") for name in counters)
    table.show(
        ("vlan", "switch", "untagged", "tagged", *headings),
        [
            (
                each.vid,
                each.switch,
                " ".join(each.untagged) or None,
                " ".join(each.tagged) or None,
                *(table.count(each.stats[name]) for name in counters),
            )
            for each in found
        ],
        right=("vlan", *headings),
    )


@vlan.group()
def rule() -> None:
    """Tell the VLAN of frames that come without one.

    By source address (--mac), IP subnet of the source (--subnet) or EtherType (--protocol), in this
    order, and with the longest prefix first; where no rule fits, it is the port's PVID. A rule
    holds on every port, so that a host keeps its VLAN wherever it is plugged in; the port has to be
    in that VLAN.
    """


def _matches(function: _Command) -> _Command:
    """What rules look at, as options that can be repeated."""
    known = ", ".join(vlan_rule.PROTOCOLS)
    for kind, metavar, text in (
        ("protocol", "TYPE", f"This EtherType: {known}, or a number (0x88cc)."),
        ("subnet", "NET", "IP sources in this subnet (192.0.2.0/24, 2001:db8::/64); ARP too."),
        ("mac", "ADDR[/LEN]", "This source address, or all that begin so (02:00:5e:00:00:00/24)."),
    ):
        option = click.option(
            f"--{kind}", kind, type=MATCHES[kind], metavar=metavar, multiple=True, help=text
        )
        function = option(function)
    return function


def _given(**by_kind: tuple[vlan_rule.Match, ...]) -> list[vlan_rule.Match]:
    found = [match for matches in by_kind.values() for match in matches]
    if not found:
        kinds = ", ".join(f"--{kind}" for kind in vlan_rule.KINDS)
        raise click.UsageError(f"give at least one of {kinds}")
    return found


@rule.command("add")
@click.argument("vid", type=VID, metavar="VID")
@_matches
@_SWITCH
@common_options
@pass_context
def rule_add(
    context: Context, /, vid: int, switch: str, **by_kind: tuple[vlan_rule.Match, ...]
) -> None:
    """Frames without a VLAN are of VID if they come from there; what is given again changes."""
    from vnetx import engine

    rules = dict.fromkeys(_given(**by_kind), vid)
    print_result(context, engine.vlan_rule_add(switch, rules))


@rule.command("del")
@_matches
@_SWITCH
@common_options
@pass_context
def rule_delete(context: Context, /, switch: str, **by_kind: tuple[vlan_rule.Match, ...]) -> None:
    """Delete rules."""
    from vnetx import engine

    print_result(context, engine.vlan_rule_del(switch, _given(**by_kind)))


@rule.command("show")
@click.option("--switch", type=SWITCH, metavar="NAME", help="Only of this switch.")
@common_options
@pass_context
def rule_show(context: Context, /, switch: str | None) -> None:
    """Show the rules, in the order in which they hold."""
    from vnetx import state
    from vnetx_cli import table

    found = [
        {"switch": view.name, "vlan": vid, "kind": match.words[0], "match": match.words[1]}
        for view in state.switches(None if switch is None else [switch])
        for match, vid in view.vlan_rules.items()
    ]
    if context.json:
        print_json(found)
        return
    headings = ("switch", "kind", "match", "vlan")
    table.show(
        headings, [tuple(each[name] for name in headings) for each in found], right=("vlan",)
    )


class _InterfaceGroup(click.Group):
    """``vlan interface VID`` is ``vlan interface add VID``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, ["add", *args] if args[0].isdecimal() else args)


@vlan.group(cls=_InterfaceGroup)
def interface() -> None:
    """Interfaces of this host in VLANs: 'vnetx vlan interface 10 --ip 192.0.2.1/24'.

    Each is a veth pair, one end an access port of the switch; no module of the kernel is needed.
    With net.ipv4.ip_forward (or net.ipv6.conf.all.forwarding) the host routes between them.
    """


@interface.command("add")
@click.argument("vid", type=VID, metavar="VID")
@click.option(
    "--ip",
    "addresses",
    metavar="ADDR/LEN",
    multiple=True,
    help="An IPv4 or IPv6 address of it. Can be repeated.",
)
@click.option("--mtu", type=click.INT, metavar="BYTES", help="Its MTU; that of --dev, or 1500.")
@click.option("--name", metavar="NAME", help="Its name; SWITCH.VID or NIC.VID if not given.")
@click.option(
    "--to-netns", "netns", metavar="NETNS", help="Put it into this network namespace (or path)."
)
@click.option(
    "--dev",
    type=INTERFACE,
    metavar="NIC",
    help="This device carries the VLAN with tags; it is attached if it is no port yet.",
)
@click.option(
    "--switch",
    type=SWITCH,
    metavar="NAME",
    help=f"The switch; that of --dev, or {model.DEFAULT_SWITCH}.",
)
@common_options
@pass_context
def interface_add(
    context: Context,
    /,
    vid: int,
    addresses: tuple[str, ...],
    netns: str | None,
    mtu: int | None,
    **which: str | None,
) -> None:
    """Make an interface in VLAN VID, or give one that is there more addresses."""
    wanted = model.Interface.in_vlan(vid, addresses, netns=netns)
    if mtu is not None:
        wanted = replace(wanted, mtu=mtu)
    from vnetx import engine

    print_result(context, engine.vlan_interface_add(wanted, mtu=mtu, **which))


interface.add_command(link.delete, "del")


@interface.command("show")
@common_options
@pass_context
def interface_show(context: Context, /) -> None:
    """Show the interfaces and their addresses."""
    from vnetx import engine
    from vnetx_cli import table

    found = [
        (switch, name, each)
        for switch, interfaces in engine.interfaces().items()
        for name, each in interfaces.items()
        if each.vid and not each.has_file
    ]
    if context.json:
        print_json([views.interface(*each) for each in found])
        return
    headings = ("name", "switch", "vlan", "mtu", "netns", "addresses")
    rows = [
        (name, switch, each.vid, each.mtu, each.netns, " ".join(each.addresses) or None)
        for switch, name, each in found
    ]
    table.show(headings, rows, right=("vlan", "mtu"))


@vlan.command("import")
@click.argument("file", type=click.File(), metavar="FILE")
@common_options
@pass_context
def import_(context: Context, /, file: IO[str]) -> None:
    """Give ports the VLANs that 'bridge -j vlan show' printed; - is standard input.

    Devices that are no ports here are left out, and named.
    """
    from vnetx import engine

    print_result(context, engine.vlan_import(_parse_bridge(file)))


def _parse_bridge(file: IO[str]) -> dict[str, model.Vlans]:
    """The VLANs by device, of bridge(8)'s JSON."""
    try:
        document: Any = json.load(file)
        return {each["ifname"]: _bridge_vlans(each["vlans"]) for each in document}
    except InvalidValue:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidValue(
            f"reading {file.name}", "it is not what 'bridge -j vlan show' prints"
        ) from error


def _bridge_vlans(entries: list[dict[str, Any]]) -> model.Vlans:
    vlans = model.Vlans(0, 0, 0)
    for entry in entries:
        vids = model.parse_vids(f"{entry['vlan']}-{entry.get('vlanEnd', entry['vlan'])}")
        flags = entry.get("flags", [])
        vlans = vlans.add(vids, untagged="Egress Untagged" in flags, pvid="PVID" in flags)
    return vlans
