"""switch add|set|del|show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vnetx import model
from vnetx_cli.context import Context, common_options, pass_context, print_json, print_result
from vnetx_cli.params import SWITCH, given, switch_changes, switch_settings

if TYPE_CHECKING:
    from vnetx.state import SwitchView


@click.group()
def switch() -> None:
    """Make, change, remove and show switches."""


@switch.command()
@click.argument("name", type=SWITCH)
@click.option(
    "--host-port/--no-host-port",
    default=None,
    help="An interface with the switch's name joins the host to it (the default).",
)
@switch_settings
@click.option(
    "--fdb-size",
    type=click.INT,
    metavar="N",
    help=f"Most addresses that it knows (default {model.SwitchSettings.fdb_size}); fixed.",
)
@click.option(
    "--max-ports",
    type=click.INT,
    metavar="N",
    help=f"Most ports (default {model.SwitchSettings.max_ports}); fixed.",
)
@common_options
@pass_context
def add(
    context: Context,
    /,
    name: str,
    host_port: bool | None,
    fdb_size: int | None,
    max_ports: int | None,
    **settings: Any,
) -> None:
    """Make a switch.

    It stays until 'switch del', with or without ports.
    """
    fixed = given({"host_port": host_port, "fdb_size": fdb_size, "max_ports": max_ports})
    wanted = model.SwitchSettings(**fixed, **switch_changes(**settings))
    from vnetx import engine

    print_result(context, engine.switch_add(name, wanted))


@switch.command("set")
@click.argument("name", type=SWITCH)
@switch_settings
@common_options
@pass_context
def set_(context: Context, /, name: str, **settings: Any) -> None:
    """Change a switch; what is not given stays as it is."""
    changes = switch_changes(**settings)
    if not changes:
        raise click.UsageError("nothing to change: give an option")
    model.SwitchSettings(**changes)
    from vnetx import engine

    print_result(context, engine.switch_set(name, **changes))


@switch.command("del")
@click.argument("name", type=SWITCH)
@click.option(
    "--force",
    is_flag=True,
    help="Even if its pins are damaged or of another version of vnetx.",
)
@common_options
@pass_context
def delete(context: Context, /, name: str, force: bool) -> None:
    """Detach the ports of a switch and remove it."""
    from vnetx import engine

    print_result(context, engine.switch_del(name, force=force))


@switch.command()
@click.argument("name", type=SWITCH, required=False)
@common_options
@pass_context
def show(context: Context, /, name: str | None) -> None:
    """Show all switches, or one of them."""
    from vnetx import state
    from vnetx_cli import table, views

    found = state.switches(None if name is None else [name])
    if context.json:
        print_json([views.switch(view) for view in found])
        return
    table.show(
        ("switch", "ports", "host port", "mac", "ageing", "learned", "group forward", "remarks"),
        (
            (
                view.name,
                len(view.ports),
                view.host_port,
                None if view.host_mac is None else model.format_mac(view.host_mac),
                f"{view.settings.ageing} s",
                table.count(sum(port.learned for port in view.ports)),
                model.format_groups(view.settings.group_forward),
                ", ".join(_remarks(view)),
            )
            for view in found
        ),
        right=("ports", "ageing", "learned"),
    )


def _remarks(view: SwitchView) -> list[str]:
    from vnetx_cli import table

    words = []
    if view.unconfirmed_for is not None:
        words.append(f"unconfirmed, undone in {view.unconfirmed_for:.0f} s")
    if view.settings.static_move:
        words.append("static-move on")
    if view.fdb_full:
        words.append(f"FDB full: {table.count(view.fdb_full)} addresses not learned")
    return words
