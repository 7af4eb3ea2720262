"""vlan add|del|show|map|import."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from vnetx import model
from vnetx.errors import InvalidValue
from vnetx_cli.context import Context, common_options, pass_context, print_json, print_result
from vnetx_cli.params import INTERFACE, SWITCH, VIDS

_PORTS = click.option(
    "--port",
    "ports",
    type=INTERFACE,
    metavar="IFACE",
    multiple=True,
    required=True,
    help="The port; a switch's name is its host port. Can be repeated.",
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
@common_options
@pass_context
def delete(context: Context, /, vids: int, ports: tuple[str, ...]) -> None:
    """Take ports out of VLANs."""
    from vnetx import engine

    print_result(context, engine.vlan_del(vids, ports))


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
