"""`vnetx lab`: a whole topology from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

import click

from vnetx_cli.context import (
    Context,
    common_options,
    note,
    pass_context,
    print_json,
    print_plan,
    print_result,
    route_words,
)

if TYPE_CHECKING:
    from vnetx.engine.lab_view import InterfaceView, NodeView
    from vnetx.lab import Lab


@click.command()
@click.argument("file", type=click.File(encoding="utf-8"), required=False)
@click.option(
    "--name",
    metavar="NAME",
    help="Of the lab, and the beginning of its namespaces' names; what FILE says if not given, or"
    " FILE's own name.",
)
@click.option("--down", is_flag=True, help="Remove all that belongs to the lab, whole or not.")
@click.option("--dry-run", is_flag=True, help="Print the steps that would be taken.")
@click.option("--show", is_flag=True, help="Show nodes and interfaces; of all labs without FILE.")
@common_options
@pass_context
def lab(
    context: Context,
    /,
    file: TextIO | None,
    name: str | None,
    down: bool,
    dry_run: bool,
    show: bool,
) -> None:
    """Build the topology that FILE describes ('-' is standard input): hosts, switches, links.

    Each node is a network namespace, NAME-NODE. What is so already is left alone; what FILE has no
    longer is removed. FILE is not needed with --name to take a lab down, or to show it.
    """
    if down + dry_run + show > 1:
        raise click.UsageError("give one of --down, --dry-run and --show")
    from vnetx import lab as model

    if name is not None:
        model.check_name(name, "lab")
    text = None if file is None else file.read()
    source = "" if file is None else file.name
    if down or show:
        if name is None and text is not None:
            name = model.name_of(text, source)
        if show:
            _show(context, name)
        else:
            _remove(context, name)
        return
    if text is None:
        raise click.UsageError("give FILE")
    _build(context, model.parse(text, source, name), dry_run)


def _go_to_initial_mounts() -> None:
    """Names of namespaces that are given inside `ip netns exec` end with it."""
    from vnetx import mountns

    process = mountns.process_in_initial()
    if process is not None:
        mountns.join(process)


def _build(context: Context, wanted: Lab, dry_run: bool) -> None:
    from vnetx import engine

    _go_to_initial_mounts()
    result = engine.lab_build(wanted, dry_run=dry_run)
    if dry_run:
        print_plan(context, result)
        return
    print_result(context, result)
    if result.changed and wanted.nodes:
        first = wanted.namespace(next(iter(wanted.nodes)))
        note(
            f"lab {wanted.name} is up: {len(wanted.nodes)} nodes, {len(wanted.links)} links; go on"
            f" with 'ip netns exec {first} COMMAND', 'vnetx -n {first} …'"
        )


def _remove(context: Context, name: str | None) -> None:
    if name is None:
        raise click.UsageError("give FILE or --name")
    from vnetx import engine

    _go_to_initial_mounts()
    print_result(context, engine.lab_down(name))


def _show(context: Context, name: str | None) -> None:
    from vnetx import engine

    _go_to_initial_mounts()
    found = engine.labs(name)
    if context.json:
        shown = [(lab, list(map(_node, nodes))) for lab, nodes in found.items() if nodes]
        print_json([{"lab": lab, "nodes": nodes} for lab, nodes in shown])
        return
    from rich.tree import Tree

    from vnetx_cli import table

    for lab, nodes in found.items():
        tree = Tree(lab)
        for node in nodes:
            words = [f"{node.name} in {node.namespace}"]
            words += [f"switch {name}" for name in node.switches]
            words += ["forwards packets"] if node.forward else []
            branch = tree.add(", ".join(words))
            for each in node.interfaces:
                branch.add(_told(each))
        if nodes:
            table.console().print(tree)


def _told(view: InterfaceView) -> str:
    words = [view.device.name + (f" to {view.to}" if view.to else "")]
    words += [*view.settings.addresses, *route_words(view.settings.routes)]
    words += [f"port of {view.switch}"] if view.switch else []
    words += [] if view.device.up else ["down"]
    return "  ".join(words)


def _node(view: NodeView) -> dict[str, Any]:
    return {
        "node": view.name,
        "namespace": view.namespace,
        "forward": view.forward,
        "switches": view.switches,
        "interfaces": [_interface(each) for each in view.interfaces],
    }


def _interface(view: InterfaceView) -> dict[str, Any]:
    return {
        "ifname": view.device.name,
        "to": str(view.to) if view.to else None,
        "switch": view.switch,
        "state": "up" if view.device.up else "down",
        "mtu": view.device.mtu,
        "mac": view.device.mac.hex(":"),
        "addresses": list(view.settings.addresses),
        "routes": [{"to": network, "via": router} for network, router in view.settings.routes],
    }
