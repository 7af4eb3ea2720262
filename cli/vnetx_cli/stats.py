"""stats: the counters of ports."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from vnetx_cli.context import Context, common_options, pass_context, print_json
from vnetx_cli.params import SWITCH

if TYPE_CHECKING:
    from rich.console import RenderableType

_COUNTERS = ("rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "flooded", "local")


@click.command()
@click.option("--switch", type=SWITCH, metavar="NAME", help="Of this switch only.")
@click.option("--watch", is_flag=True, help="Show rates again and again, until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch shows them.",
)
@common_options
@pass_context
def stats(context: Context, /, switch: str | None, watch: bool, interval: float) -> None:
    """Show what ports received, sent and dropped, and why.

    With --watch and --json: one document a line, each with all counters.
    """
    if watch:
        _watch(context, switch, interval)
        return
    rows = _observe(switch)
    if context.json:
        print_json(rows)
        return
    from vnetx_cli import table

    output = table.console()
    if rows:
        output.print(_counters(rows))
    if any(_reasons(row) for row in rows):
        output.print()
        output.print(_drops(rows))


def _observe(switch: str | None) -> list[dict[str, Any]]:
    """One row for each side of a device that has counters: wire, and host where there is one."""
    from vnetx import state

    rows = []
    for view in state.switches(None if switch is None else [switch]):
        if view.host_stats is not None:
            rows.append(_row(view.name, view.host_port, "host", view.host_stats))
        for port in view.ports:
            rows.append(_row(view.name, port.ifname, "wire", port.stats))
            if port.host is not None:
                rows.append(_row(view.name, port.ifname, "host", port.host))
    return rows


def _row(switch: str, ifname: str | None, side: str, stats: dict[str, Any]) -> dict[str, Any]:
    return {"switch": switch, "ifname": ifname, "side": side, "stats": stats}


def _name(row: dict[str, Any]) -> str:
    name = row["ifname"] or "(gone)"
    return f"{name} (host)" if row["side"] == "host" else name


def _reasons(row: dict[str, Any]) -> dict[str, int]:
    return {**row["stats"].get("drops", {}), **row["stats"].get("notices", {})}


def _counters(rows: list[dict[str, Any]]) -> RenderableType:
    from vnetx_cli import table

    headings = tuple(name.replace("_", " ") for name in _COUNTERS)
    return table.build(
        ("port", "switch", *headings, "dropped"),
        (
            (
                _name(row),
                row["switch"],
                *(table.count(row["stats"].get(name, 0)) for name in _COUNTERS),
                table.count(sum(row["stats"].get("drops", {}).values())),
            )
            for row in rows
        ),
        right=(*headings, "dropped"),
    )


def _drops(rows: list[dict[str, Any]]) -> RenderableType:
    from vnetx import _abi
    from vnetx_cli import table

    return table.build(
        ("port", "reason", "frames", "meaning"),
        (
            (_name(row), reason, table.count(number), _abi.REASON_TEXTS.get(reason))
            for row in rows
            for reason, number in sorted(_reasons(row).items())
        ),
        right=("frames",),
    )


# ------------------------------------------------------------ watching


def _watch(context: Context, switch: str | None, interval: float) -> None:
    if context.json:
        while True:
            print(json.dumps(_observe(switch)), flush=True)
            time.sleep(interval)
    from vnetx_cli import table

    output = table.console()
    if not output.is_terminal:
        for rates in _each_interval(switch, interval):
            output.print(rates)
            sys.stdout.flush()
    from rich.live import Live

    with Live(console=output, auto_refresh=False) as live:
        for rates in _each_interval(switch, interval):
            live.update(rates, refresh=True)


def _each_interval(switch: str | None, interval: float) -> Iterator[RenderableType]:
    before, then = _observe(switch), time.monotonic()
    while True:
        time.sleep(interval)
        rows, now = _observe(switch), time.monotonic()
        yield _rates(before, rows, now - then)
        before, then = rows, now


def _rates(
    before: list[dict[str, Any]], rows: list[dict[str, Any]], seconds: float
) -> RenderableType:
    from vnetx_cli import table

    earlier = {(row["switch"], row["ifname"], row["side"]): row["stats"] for row in before}

    def rate(row: dict[str, Any], name: str) -> str:
        old = earlier.get((row["switch"], row["ifname"], row["side"]), {})
        return table.count(round(max(0, _value(row["stats"], name) - _value(old, name)) / seconds))

    names = (*_COUNTERS, "drops")
    headings = tuple(f"{name.replace('_', ' ')}/s" for name in names)
    return table.build(
        ("port", "switch", *headings),
        ((_name(row), row["switch"], *(rate(row, name) for name in names)) for row in rows),
        right=headings,
    )


def _value(stats: dict[str, Any], name: str) -> int:
    if name == "drops":
        return sum(stats.get(name, {}).values())
    return int(stats.get(name, 0))
