"""vni add|del|show|remote add|remote del|neigh add|neigh del|neigh load|neigh show."""

from __future__ import annotations

from typing import Any, TextIO

import click

from vnetx import model
from vnetx.errors import InvalidValue
from vnetx_cli.context import Context, common_options, pass_context, print_json, print_result
from vnetx_cli.params import INTERFACE, MAC, SWITCH, VID

_VNI = click.INT


@click.group()
def vni() -> None:
    """VXLAN: which VLAN is which overlay, and the VTEPs that it reaches.

    A VNI is a VLAN of a VLAN-aware switch, or all of another one. Frames of unknown and group
    addresses go to each remote; which address is behind which is learned from what they send.
    """


def _tos(_: click.Context, __: click.Parameter, value: str) -> int:
    if value == "inherit":
        return 1
    if not value.isdecimal():
        raise InvalidValue(f"tos '{value}'", "neither a number nor inherit")
    return int(value)


@vni.command()
@click.argument("vni", type=_VNI, metavar="VNI")
@click.option("--vlan", "vid", type=VID, metavar="VID", help="The VLAN that it is.")
@click.option("--local", metavar="IP", help="This host's own address as a VTEP.")
@click.option(
    "--remote", "remotes", metavar="IP", multiple=True, help="Another VTEP. Can be repeated."
)
@click.option(
    "--group", metavar="IP", help="A multicast group that frames go to as well; none: no longer."
)
@click.option(
    "--dev", type=INTERFACE, metavar="NIC", help="The underlay's device: its MTU is what counts."
)
@click.option(
    "--dstport",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help=f"UDP port of the VTEPs; {model.VXLAN_PORT} if not given.",
)
@click.option(
    "--learning/--no-learning", default=None, help="Learn which address is behind which VTEP."
)
@click.option(
    "--learn-limit",
    type=click.IntRange(0),
    metavar="N",
    help="VTEPs teach no more once so many addresses are learned in the VNI; 0: no limit.",
)
@click.option(
    "--vtep-learn-limit",
    type=click.IntRange(0),
    metavar="N",
    help="Most addresses that are learned from each VTEP; 0: no limit.",
)
@click.option("--ttl", type=click.IntRange(0, 255), help="TTL of outer packets; 0: the kernel's.")
@click.option(
    "--tos",
    callback=lambda ctx, param, value: None if value is None else _tos(ctx, param, value),
    metavar="TOS|inherit",
    help="TOS of outer packets (ECN is the inner packet's), or as the inner packet has it.",
)
@click.option("--df/--no-df", default=None, help="Outer packets may not be fragmented.")
@click.option(
    "--clamp-mss/--no-clamp-mss",
    default=None,
    help="Make the maximum segment size of TCP connections fit.",
)
@click.option(
    "--gbp/--no-gbp", default=None, help="Carry the mark of packets (group policy extension)."
)
@click.option(
    "--ignore-reserved/--no-ignore-reserved",
    default=None,
    help="Take packets with reserved bits in their VXLAN header (Linux 6.14).",
)
@click.option(
    "--udp6-zero-checksum/--no-udp6-zero-checksum",
    default=None,
    help="Send without a UDP checksum over IPv6, too (RFC 6935).",
)
@click.option(
    "--neigh-suppress/--no-neigh-suppress",
    default=None,
    help="Answer ARP and ND requests for hosts behind VTEPs here, and do not flood them.",
)
@click.option(
    "--underlay-hook",
    type=click.Choice(model.UNDERLAY_HOOKS),
    help="Where programs do what is around frames; xdp: from wire to wire; none: the kernel does.",
)
@click.option("--planned", is_flag=True, help="The local address may be one that comes later.")
@click.option("--switch", type=SWITCH, metavar="NAME", help="The switch; made if not there.")
@common_options
@pass_context
def add(
    context: Context,
    /,
    vni: int,
    vid: int | None,
    local: str | None,
    remotes: tuple[str, ...],
    planned: bool,
    switch: str | None,
    **settings: Any,
) -> None:
    """Make VNI one of a switch, or change one that is there, which gets more remotes."""
    from vnetx import engine

    given = {name: value for name, value in settings.items() if value is not None}
    given |= {"group": None} if given.get("group") == "none" else {}
    given |= {} if vid is None else {"vid": vid}
    given |= {} if local is None else {"local": local}
    result = engine.vni_add(vni, remotes=remotes, switch=switch, planned=planned, **given)
    print_result(context, result)


@vni.command("del")
@click.argument("vnis", type=_VNI, nargs=-1, required=True, metavar="VNI...")
@common_options
@pass_context
def delete(context: Context, /, vnis: tuple[int, ...]) -> None:
    """Delete VNIs."""
    from vnetx import engine

    print_result(context, engine.vni_del(vnis))


@vni.command()
@click.argument("vnis", type=_VNI, nargs=-1, metavar="[VNI]...")
@click.option("--switch", type=SWITCH, metavar="NAME", help="Only of this switch.")
@click.option("--stats", is_flag=True, help="With the frames and bytes of each VNI and VTEP.")
@common_options
@pass_context
def show(context: Context, /, vnis: tuple[int, ...], switch: str | None, stats: bool) -> None:
    """Show VNIs and their remotes; those that cannot be reached are named."""
    from vnetx import state
    from vnetx.errors import VnetxError
    from vnetx_cli import table, views

    found = state.vnis(None if switch is None else [switch])
    for number in vnis:
        if number not in {view.vni for view in found}:
            raise VnetxError(f"VNI {number}", "no switch has it", "vnetx vni show")
    found = [view for view in found if not vnis or view.vni in vnis]
    if context.json:
        print_json([views.vni(view) for view in found])
        return
    if stats:
        counters = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes")
        headings = tuple(name.replace("_", " ") for name in counters)
        rows = {
            (view.switch, vtep.address): (
                view.switch,
                vtep.address,
                *(table.count(vtep.stats[name]) for name in counters),
                table.count(sum(vtep.stats["drops"].values())),
            )
            for view in found
            for vtep in view.vteps
        }
        headings = (*headings, "dropped")
        by_vni = [
            (
                view.vni,
                view.switch,
                *(table.count(view.stats[name]) if view.stats else None for name in counters),
                table.count(sum(view.kernel_drops.values())),
            )
            for view in found
        ]
        table.show(("vni", "switch", *headings), by_vni, right=("vni", *headings))
        table.show(("switch", "vtep", *headings), rows.values(), right=headings)
        return
    table.show(
        ("vni", "vlan", "switch", "local", "port", "remotes", "unreachable"),
        [
            (
                view.vni,
                view.own.vid or None,
                view.switch,
                view.own.local,
                view.own.dstport,
                " ".join(view.own.flooded) or None,
                " ".join(f"{each} ({why})" for each, why in view.unreachable.items()) or None,
            )
            for view in found
        ],
        right=("vni", "vlan", "port"),
    )


@vni.group()
def remote() -> None:
    """The VTEPs that frames of unknown and group addresses go to."""


@remote.command("add")
@click.argument("vni", type=_VNI, metavar="VNI")
@click.argument("remotes", nargs=-1, required=True, metavar="IP...")
@common_options
@pass_context
def remote_add(context: Context, /, vni: int, remotes: tuple[str, ...]) -> None:
    """Flood frames of VNI to these VTEPs as well."""
    from vnetx import engine

    print_result(context, engine.vni_remote_add(vni, remotes))


@remote.command("del")
@click.argument("vni", type=_VNI, metavar="VNI")
@click.argument("remotes", nargs=-1, required=True, metavar="IP...")
@common_options
@pass_context
def remote_delete(context: Context, /, vni: int, remotes: tuple[str, ...]) -> None:
    """Flood frames of VNI to these VTEPs no longer; what was behind them is forgotten."""
    from vnetx import engine

    print_result(context, engine.vni_remote_del(vni, remotes))


@vni.group()
def neigh() -> None:
    """The hosts behind VTEPs for whom ARP and ND requests are answered (--neigh-suppress).

    Those that VTEPs tell of are learned.
    """


@neigh.command("add")
@click.argument("vni", type=_VNI, metavar="VNI")
@click.argument("ip", metavar="IP")
@click.argument("mac", type=MAC, metavar="ADDR")
@common_options
@pass_context
def neigh_add(context: Context, /, vni: int, ip: str, mac: bytes) -> None:
    """A host of VNI with the address IP has the MAC address ADDR."""
    from vnetx import engine

    print_result(context, engine.vni_neigh_add(vni, {ip: mac}))


@neigh.command("del")
@click.argument("vni", type=_VNI, metavar="VNI")
@click.argument("addresses", nargs=-1, required=True, metavar="IP...")
@common_options
@pass_context
def neigh_delete(context: Context, /, vni: int, addresses: tuple[str, ...]) -> None:
    """Take hosts out of the table of VNI; those that were learned are not in it."""
    from vnetx import engine

    print_result(context, engine.vni_neigh_del(vni, addresses))


@neigh.command("load")
@click.argument("vni", type=_VNI, metavar="VNI")
@click.argument("file", type=click.File(), metavar="FILE")
@common_options
@pass_context
def neigh_load(context: Context, /, vni: int, file: TextIO) -> None:
    """Put all hosts of FILE into the table of VNI: a line each, IP and MAC address; - is stdin."""
    from vnetx import engine

    found = {}
    for number, line in enumerate(file, 1):
        words = line.partition("#")[0].split()
        if len(words) not in (0, 2):
            raise InvalidValue(f"{file.name}, line {number}", "not an IP address and a MAC address")
        if words:
            found[words[0]] = model.parse_mac(words[1])
    print_result(context, engine.vni_neigh_add(vni, found))


@neigh.command("show")
@click.argument("vnis", type=_VNI, nargs=-1, metavar="[VNI]...")
@common_options
@pass_context
def neigh_show(context: Context, /, vnis: tuple[int, ...]) -> None:
    """Show which hosts are known in VNIs, by hand or by what VTEPs sent."""
    from vnetx import state
    from vnetx_cli import table, views

    rows = [views.neighbour(view) for view in state.neighbours()]
    rows = [row for row in rows if not vnis or row["vni"] in vnis]
    if context.json:
        print_json(rows)
        return
    headings = ("vni", "switch", "ip", "mac", "state", "age")
    table.show(headings, [tuple(row[name] for name in headings) for row in rows], right=("age",))
