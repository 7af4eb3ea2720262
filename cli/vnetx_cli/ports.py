"""attach, detach, confirm, and port show|set."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from vnetx import model
from vnetx_cli.context import Context, common_options, note, pass_context, print_json, print_result
from vnetx_cli.params import HOOK, INTERFACE, SWITCH, given, port_settings, with_storm, with_vlans


@click.command()
@click.argument("ifaces", type=INTERFACE, nargs=-1, required=True, metavar="IFACE…")
@click.option(
    "--switch",
    type=SWITCH,
    metavar="NAME",
    help=f"The switch; {model.DEFAULT_SWITCH} if not given, made when first needed.",
)
@HOOK
@click.option(
    "--confirm",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Undo this unless 'vnetx confirm' follows in time.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Take somebody else's XDP program off; detach puts it back.",
)
@port_settings
@common_options
@pass_context
def attach(
    context: Context,
    /,
    ifaces: tuple[str, ...],
    switch: str | None,
    hook: str | None,
    confirm: float | None,
    force: bool,
    storm: tuple[tuple[str, int], ...],
    **settings: Any,
) -> None:
    """Put interfaces into a switch.

    A device that carries the host's addresses keeps them: the host's own traffic is not
    interrupted, and reaches the switch's other ports too. All interfaces are attached, or none.
    """
    changes = with_vlans(given(settings))
    if storm:
        changes["storm"] = with_storm(model.PortSettings.storm, storm)
    model.PortSettings(**changes)
    with _timer() if confirm is not None else contextlib.nullcontext():
        from vnetx import engine

        result = engine.attach(
            ifaces,
            switch=switch,
            hook=hook or "auto",
            force=force,
            confirm=confirm,
            settings=changes,
        )
    print_result(context, result)
    if confirm is not None and result.changed:
        note(f"'vnetx confirm' within {confirm:g} s keeps this; otherwise it is undone")


def _timer() -> contextlib.AbstractContextManager[None]:
    from vnetx_cli import confirm_timer

    return confirm_timer.running()


@click.command()
@common_options
@pass_context
def confirm(context: Context, /) -> None:
    """Keep what 'attach --confirm' did."""
    from vnetx import engine

    print_result(context, engine.confirm())


@click.command()
@click.argument("ifaces", type=INTERFACE, nargs=-1, metavar="IFACE…")
@click.option("--all", "every", is_flag=True, help="All interfaces of all switches.")
@common_options
@pass_context
def detach(context: Context, /, ifaces: tuple[str, ...], every: bool) -> None:
    """Take interfaces out of their switch.

    They are left as they were before, and so is the other end of a wire. The switch that 'attach'
    made goes with its last interface.
    """
    if bool(ifaces) == every:
        raise click.UsageError("give interfaces, or --all")
    from vnetx import engine

    print_result(context, engine.detach(ifaces, every=every))


@click.group()
def port() -> None:
    """Show and set ports."""


@port.command("show")
@click.argument("iface", type=INTERFACE, required=False, metavar="[IFACE]")
@common_options
@pass_context
def show(context: Context, /, iface: str | None) -> None:
    """Show the ports of all switches, or one of them."""
    from vnetx import state
    from vnetx_cli import table, views

    if iface is None:
        ports = [view for each in state.switches() for view in each.ports]
    else:
        ports = [state.find_port(iface)]
    if context.json:
        print_json([views.port(view) for view in ports])
        return
    table.show(
        ("port", "switch", "state", "hook", "mtu", "rx", "tx", "dropped", "learned", "settings"),
        (
            (
                view.ifname or f"(ifindex {view.ifindex})",
                view.switch,
                view.state,
                view.hook,
                view.mtu or None,
                table.count(view.stats["rx_frames"]),
                table.count(view.stats["tx_frames"]),
                table.count(sum(view.stats["drops"].values())),
                table.count(view.learned),
                f"wire to {view.wire}"
                if view.wire
                else _remarks(view.settings, view.unconfirmed, view.vlan_aware),
            )
            for view in ports
        ),
        right=("mtu", "rx", "tx", "dropped", "learned"),
    )


def _remarks(settings: model.PortSettings, unconfirmed: bool, vlan_aware: bool) -> str:
    """VLANs, and the settings that are not the defaults, as they would be typed."""
    from vnetx_cli import views

    now, default = views.port_settings(settings), views.port_settings(model.PortSettings())
    words = ["unconfirmed"] if unconfirmed else []
    if vlan_aware:
        words.append(views.vlan_words(settings.vlans))
    for name, value in now.items():
        if value == default[name]:
            continue
        if name == "storm":
            words += [f"storm {kind}={pps}" for kind, pps in value.items() if pps]
        elif name == "vlan_map":
            words.append("vlan map " + " ".join(f"{a}={b}" for a, b in value.items()))
        else:
            shown = ("off", "on")[value] if isinstance(value, bool) else value
            words.append(f"{name.replace('_', '-')} {shown}")
    return ", ".join(words)


@port.command("set")
@click.argument("iface", type=INTERFACE)
@HOOK
@port_settings
@common_options
@pass_context
def set_(
    context: Context, /, iface: str, storm: tuple[tuple[str, int], ...], **settings: Any
) -> None:
    """Change a port; what is not given stays as it is."""
    changes = with_vlans(given(settings))
    if not changes and not storm:
        raise click.UsageError("nothing to change: give an option")
    model.PortSettings(**changes)
    from vnetx import engine, state

    if storm:
        changes["storm"] = with_storm(state.find_port(iface).settings.storm, storm)

    print_result(context, engine.port_set(iface, **changes))
