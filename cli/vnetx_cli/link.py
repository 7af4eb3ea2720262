"""`vnetx link`: interfaces that hang on a switch, and wires."""

from __future__ import annotations

from typing import Any

import click

from vnetx import model
from vnetx.errors import InvalidValue
from vnetx_cli import views
from vnetx_cli.context import (
    Context,
    common_options,
    pass_context,
    print_json,
    print_result,
    route_words,
)
from vnetx_cli.params import (
    GROUP,
    HOOK,
    INTERFACE,
    MAC,
    SWITCH,
    USER,
    given,
    port_settings,
    with_storm,
    with_vlans,
)


@click.group()
def link() -> None:
    """Interfaces that vnetx makes and puts into a switch, for containers and this host; wires."""


#: Options that are fields of :class:`vnetx.model.Interface`.
_OWN = (
    *("kind", "parent", "mode", "among", "host_access", "netns", "own_netns", "mac", "mtu"),
    *("owner", "group", "vnet_hdr"),
)


@link.command("add")
@click.argument("name", metavar="NAME")
@click.option(
    "--kind",
    type=click.Choice(model.INTERFACE_KINDS),
    help="What it is. veth, the default: one end of a veth pair, whose other end is the port "
    "vx-NAME. tap: the port itself, for a virtual machine or a program. tun: packets of a program, "
    "which is a station with the addresses of --ip.",
)
@click.option("--parent", metavar="NIC", help="The NIC of an endpoint; attached if it is no port.")
@click.option(
    "--mode",
    type=click.Choice((*model.ENDPOINT_MODES, model.PASSTHRU, *model.LAYERS)),
    help="Of a macvlan: how it goes with the others of its NIC, bridge if not given. Of an ipvlan: "
    "l3, the default, l3s or l2.",
)
@click.option(
    "--among",
    type=click.Choice(model.AMONG),
    help="How an ipvlan goes with the others of its NIC; bridge if not given.",
)
@click.option(
    "--source",
    "sources",
    type=MAC,
    multiple=True,
    metavar="MAC",
    help="In source mode: take what this address sends. Can be repeated.",
)
@click.option(
    "--host-access/--no-host-access",
    default=None,
    help="Whether the host and an endpoint reach each other otherwise than by the wire.",
)
@click.option(
    "--switch",
    type=SWITCH,
    metavar="NAME",
    help=f"The switch; {model.DEFAULT_SWITCH} if not given, made when first needed.",
)
@click.option(
    "--to-netns", "netns", metavar="NETNS", help="Put it into this network namespace (or path)."
)
@click.option(
    "--own-netns/--no-own-netns",
    default=None,
    help="Make the namespace if it is not there; it goes with its last interface.",
)
@click.option(
    "--ip",
    "addresses",
    metavar="ADDR/LEN",
    multiple=True,
    help="An IPv4 or IPv6 address of it. Can be repeated.",
)
@click.option(
    "--route",
    "routes",
    metavar="NETWORK=ROUTER",
    multiple=True,
    help="A network that it leads to, or 'default', and the router's address. Can be repeated.",
)
@click.option(
    "--mac", type=MAC, metavar="MAC", help="Its address; made from its name if not given."
)
@click.option(
    "--owner",
    type=USER,
    metavar="USER|UID",
    help="Who may open a tap or a tun, beside root; with a group, if a member of it.",
)
@click.option(
    "--group",
    type=GROUP,
    metavar="GROUP|GID",
    help="A group whose members may open a tap or a tun.",
)
@click.option(
    "--queues",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Of a tap or a tun: 1, the default, or more: then it is multi-queue, and each time that "
    "it is opened is a queue, up to 256.",
)
@click.option(
    "--vnet-hdr/--no-vnet-hdr",
    default=None,
    help="Frames of a tap (by default) or packets of a tun have a virtio_net_hdr before them, for "
    "offloads, until what opens it (IFF_VNET_HDR) decides otherwise.",
)
@click.option("--mtu", type=click.INT, metavar="BYTES", help="Its MTU; 1500 if not given.")
@click.option("--vlan", type=click.INT, metavar="VID", help="The same as --access VID.")
@HOOK
@port_settings
@common_options
@pass_context
def add(
    context: Context,
    /,
    name: str,
    switch: str | None,
    addresses: tuple[str, ...],
    routes: tuple[str, ...],
    queues: int | None,
    vlan: int | None,
    storm: tuple[tuple[str, int], ...],
    **rest: Any,
) -> None:
    """Make an interface and put it into a switch, or change one that is there.

    What is given again is as it is given then; the rest stays.
    """
    own = {key: rest.pop(key) for key in _OWN}
    own |= {"sources": rest.pop("sources") or None}
    if queues is not None:
        own["multi_queue"] = queues > 1
    own |= {"addresses": addresses or None, "routes": tuple(map(_route, routes)) or None}
    if vlan is not None:
        if rest["access"] is not None:
            raise InvalidValue("--vlan", "is the same as --access")
        rest["access"] = model.check_vid(vlan)
    port = with_vlans(given(rest))
    if storm:
        port["storm"] = with_storm((0, 0, 0), storm)
    from vnetx import engine

    print_result(context, engine.link_add(name, given(own), port=port, switch=switch))


def _route(text: str) -> tuple[str, str]:
    network, separator, router = text.partition("=")
    if not separator:
        raise InvalidValue(f"route '{text}'", "not a network and a router", "default=192.0.2.1")
    return model.parse_route(network, router)


@link.command("del")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@common_options
@pass_context
def delete(context: Context, /, names: tuple[str, ...]) -> None:
    """Delete interfaces, and the namespaces that were made for them."""
    from vnetx import engine

    print_result(context, engine.link_del(names))


@link.command("wire")
@click.argument("one", type=INTERFACE, metavar="IFACE")
@click.argument("other", type=INTERFACE, metavar="IFACE")
@click.option(
    "--switch",
    type=SWITCH,
    metavar="NAME",
    help=f"The switch whose ports they are; {model.WIRES_SWITCH} if not given, made when first "
    "needed.",
)
@click.option(
    "--hook",
    type=click.Choice(model.WIRE_HOOKS),
    help="Where frames are received: XDP in the driver, TC, or what suits the device.",
)
@click.option("--loss", type=click.FLOAT, metavar="PERCENT", help="Lose so many of the frames.")
@click.option(
    "--corrupt",
    type=click.FLOAT,
    metavar="PERCENT",
    help="Change a bit, anywhere, of so many of the frames.",
)
@click.option(
    "--seed",
    type=click.INT,
    metavar="N",
    help="Of the chance that decides: the same seed, the same frames. Given again, it begins anew.",
)
@click.option(
    "--cut-from",
    "cut_from",
    type=INTERFACE,
    multiple=True,
    metavar="IFACE",
    help="Drop what enters at this end. Can be repeated.",
)
@click.option("--no-cut", is_flag=True, help="Drop nothing of that.")
@click.option(
    "--carrier/--no-carrier",
    default=None,
    help="Loss of carrier at one end shows at the other, which is set down meanwhile.",
)
@common_options
@pass_context
def wire(
    context: Context,
    /,
    one: str,
    other: str,
    switch: str | None,
    cut_from: tuple[str, ...],
    no_cut: bool,
    **settings: Any,
) -> None:
    """Connect two interfaces as a cable does, or change the wire that connects them.

    Every frame that enters at one leaves by the other as it is: reserved addresses, tags, whatever
    it holds. The host's own stack receives nothing from them any more. What is not given stays.
    """
    if cut_from and no_cut:
        raise click.UsageError("--cut-from and --no-cut exclude each other")
    from vnetx import engine

    cut = cut_from if cut_from or no_cut else None
    print_result(context, engine.link_wire(one, other, switch=switch, cut=cut, **settings))


@link.command("unwire")
@click.argument("ifaces", type=INTERFACE, nargs=-1, required=True, metavar="IFACE...")
@common_options
@pass_context
def unwire(context: Context, /, ifaces: tuple[str, ...]) -> None:
    """End wires, each named by one of its ends: both are left as they were before."""
    from vnetx import engine

    print_result(context, engine.link_unwire(ifaces))


@link.command("show")
@common_options
@pass_context
def show(context: Context, /) -> None:
    """Show the interfaces by switch and NIC, and the wires."""
    from vnetx import state

    switches = state.switches()
    found: dict[str, dict[str, model.Interface]] = {}
    if any(view.interfaces for view in switches):
        from vnetx import engine

        found = engine.interfaces()
    wires = [(view.name, wire) for view in switches for wire in view.wires]
    if context.json:
        shown = [(switch, *each) for switch, own in found.items() for each in own.items()]
        interfaces = [views.interface(*each) for each in shown]
        print_json(interfaces + [views.wire(*each) for each in wires])
        return
    from rich.tree import Tree

    from vnetx_cli import table

    console = table.console()
    for view in switches:
        tree = Tree(view.name)
        nics: dict[str, Tree] = {}
        for name, each in found.get(view.name, {}).items():
            if each.parent and each.parent not in nics:
                nics[each.parent] = tree.add(each.parent)
            (nics[each.parent] if each.parent else tree).add(_told(name, each))
        for wire in view.wires:
            tree.add(_wire_told(wire))
        if tree.children:
            console.print(tree)


def _wire_told(wire: model.Wire) -> str:
    words = [wire.name]
    words += [f"loss {wire.loss:g} %"] if wire.loss else []
    words += [f"corrupt {wire.corrupt:g} %"] if wire.corrupt else []
    words += [f"seed {wire.seed}"] if wire.seed else []
    words += [f"cut from {end}" for end in wire.cut]
    words += ["carrier"] if wire.carrier else []
    return "  ".join(words)


def _told(name: str, own: model.Interface) -> str:
    where = f" in {own.netns}" if own.netns else ""
    words = [f"{name}{where}", *([own.kind] if own.has_file else ()), *own.addresses]
    words += [f"{word} {n}" for word in ("owner", "group") if (n := getattr(own, word)) is not None]
    words += ["multi-queue"] if own.multi_queue else []
    words += route_words(own.routes)
    if own.kind in model.ENDPOINT_KINDS:
        among = "" if own.among == model.AMONG[0] else f" {own.among}"
        words.append(f"{own.kind} {own.mode}{among}" + ("" if own.parent else " on no NIC"))
    words += [f"VLAN {own.vid}"] if own.vid not in (None, model.DEFAULT_VID) else []
    return "  ".join(words)
