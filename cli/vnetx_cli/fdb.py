"""fdb show|add|del|flush|save|load|watch."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vnetx import model
from vnetx.errors import InvalidValue, VnetxError
from vnetx_cli.context import Context, common_options, note, pass_context, print_json
from vnetx_cli.params import INTERFACE, MAC, SWITCH

if TYPE_CHECKING:
    from vnetx.datapath.fdb import Event, Fdb, PortNames, Query
    from vnetx.datapath.maps import SwitchMaps

_Command = TypeVar("_Command", bound=Callable[..., Any])

_STATES = ("learned", "static", "sticky", "local")
_HEADING = f"{'MAC':17}  VLAN  {'PORT':15}  STATE        AGE  SWITCH\n"


@click.group()
def fdb() -> None:
    """Which address is behind which port: look, change, save, load, watch."""


# ------------------------------------------------------------ switches, ports, VLANs


@contextlib.contextmanager
def _opened(names: Sequence[str]) -> Iterator[list[SwitchMaps]]:
    from vnetx.datapath.maps import SwitchMaps

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(SwitchMaps.open(name)) for name in names]


@contextlib.contextmanager
def _switches(switch: str | None, port: str | None = None) -> Iterator[list[SwitchMaps]]:
    """The switch of this name, or all; of them those that have the port."""
    from vnetx.datapath import pins
    from vnetx.datapath.fdb import PortNames

    with _opened(pins.switch_names() if switch is None else [switch]) as found:
        if port is not None:
            found = [maps for maps in found if PortNames.of(maps).indices(port)]
            if not found:
                where = "any switch" if switch is None else f"switch {switch}"
                raise VnetxError(
                    f"port {port}", f"not a port of {where}", "vnetx port show lists them"
                )
        yield found


@contextlib.contextmanager
def _switch(switch: str | None, port: str | None = None) -> Iterator[SwitchMaps]:
    """The one switch that is meant."""
    with _switches(switch, port) as found:
        if not found:
            raise VnetxError("FDB", "there is no switch here", "vnetx attach makes one")
        if len(found) > 1:
            names = ", ".join(maps.name for maps in found)
            raise VnetxError("FDB", f"there are several switches: {names}", "say --switch NAME")
        yield found[0]


def _bd(table: Fdb, vlan: int | None) -> int | None:
    if vlan is None or vlan in table.vlans:
        return None if vlan is None else table.vlans[vlan]
    raise VnetxError(
        f"VLAN {vlan}",
        f"switch {table.maps.name} has one FDB for all frames",
        f"vnetx switch set {table.maps.name} --vlan-aware on --shared-learning off",
    )


def _only_domain(table: Fdb, mac: bytes, ports: Collection[int] | None) -> int:
    """The domain in which an address is, if it is in one alone."""
    from vnetx.datapath.fdb import Query

    found = [each.bd for each in table.entries(Query(ports=ports, mac=mac))]
    if len(found) > 1:
        told = ", ".join(map(str, sorted(found)))
        raise VnetxError(
            f"deleting {model.format_mac(mac)}", f"it is in VLANs {told}", "say --vlan VID"
        )
    return found[0] if found else 0


def _query(
    table: Fdb,
    names: PortNames,
    port: str | None,
    vlan: int | None,
    mac: bytes | None,
    states: Sequence[str],
    vni: int | None = None,
) -> Query:
    from vnetx.datapath.fdb import Query

    ports = None if port is None else names.indices(port)
    bd = _bd(table, vlan)
    if vni is not None:
        bd = next((bd for bd, each in names.vnis.items() if each == vni), None)
        behind = names.vteps if bd is not None else set()
        ports = behind if ports is None else ports & behind
    return Query(ports=ports, bd=bd, mac=mac, states=states or None)


def _check_vni(vni: int | None) -> None:
    """A VNI that somebody asks for has to be one of a switch."""
    from vnetx.datapath import pins

    if vni is None:
        return
    with _opened(pins.switch_names()) as found:
        if not any(vni in maps.vnis() for maps in found):
            raise VnetxError(f"VNI {vni}", "no switch has it", "vnetx vni show lists them")


# ------------------------------------------------------------ options

_SWITCH = click.option("--switch", type=SWITCH, metavar="NAME", help="The switch.")
_VLAN = click.option("--vlan", type=click.IntRange(1, 4094), metavar="VID", help="The VLAN.")


def _filters(function: _Command) -> _Command:
    for option in (
        click.option("--mac", type=MAC, metavar="ADDR", help="Only of this address."),
        click.option(
            "--vlan", type=click.IntRange(1, 4094), metavar="VID", help="Only of this VLAN."
        ),
        click.option("--vtep", metavar="IP", help="Only behind this VTEP."),
        click.option("--vni", type=click.INT, metavar="VNI", help="Only behind VTEPs of this VNI."),
        click.option("--port", type=INTERFACE, metavar="IFACE", help="Only behind this port."),
        click.option("--switch", type=SWITCH, metavar="NAME", help="Only of this switch."),
    ):
        function = option(function)
    return function


# ------------------------------------------------------------ show


@fdb.command()
@_filters
@click.option(
    "--state", "states", type=click.Choice(_STATES), multiple=True, help="Only in this state."
)
@click.option("--count", is_flag=True, help="Only say how many there are.")
@common_options
@pass_context
def show(
    context: Context,
    /,
    switch: str | None,
    port: str | None,
    vlan: int | None,
    mac: bytes | None,
    vni: int | None,
    vtep: str | None,
    states: tuple[str, ...],
    count: bool,
) -> None:
    """Show the addresses that the switches know."""
    from vnetx.datapath.fdb import Fdb

    _check_vni(vni)
    port = _one_place(port, vtep)
    with _switches(switch, port) as found:
        tables = [Fdb(maps) for maps in found]
        names = [table.names() for table in tables]
        queries = [
            _query(table, of, port, vlan, mac, states, vni)
            for table, of in zip(tables, names, strict=True)
        ]
        if count:
            number = sum(map(Fdb.count, tables, queries))
            print_json({"count": number}) if context.json else click.echo(number)
        elif context.json:
            _show_json(tables, names, queries)
        else:
            _show_columns(tables, names, queries)


def _show_json(tables: list[Fdb], names: list[PortNames], queries: list[Query]) -> None:
    fd = _stdout("[")
    written = 0
    for table, of, query in zip(tables, names, queries, strict=True):
        written += table.dump_json(fd, of, query, first=not written)
    _stdout("]\n")


def _show_columns(tables: list[Fdb], names: list[PortNames], queries: list[Query]) -> None:
    if not any(map(_first, tables, queries)):
        return
    fd = _stdout(_HEADING)
    for table, of, query in zip(tables, names, queries, strict=True):
        table.dump_columns(fd, of, query)


def _first(table: Fdb, query: Query) -> bool:
    """Whether there is any entry."""
    return next(table.entries(query), None) is not None


def _stdout(text: str) -> int:
    """Writes past Python's buffers; the descriptor, for what goes on so."""
    sys.stdout.flush()
    fd = sys.stdout.fileno()
    data = memoryview(text.encode())
    while data:
        data = data[os.write(fd, data) :]
    return fd


# ------------------------------------------------------------ change


@fdb.command()
@click.argument("mac", type=MAC)
@click.option("--port", type=INTERFACE, metavar="IFACE", help="Where it is.")
@click.option("--vni", type=click.INT, metavar="VNI", help="With --vtep: the overlay.")
@click.option("--vtep", metavar="IP", help="Where it is, behind a VTEP.")
@_VLAN
@click.option("--sticky", is_flag=True, help="It never moves, whatever the switch's static-move.")
@click.option("--replace", is_flag=True, help="Instead of another static entry of the address.")
@_SWITCH
@common_options
@pass_context
def add(
    context: Context,
    /,
    mac: bytes,
    port: str | None,
    vni: int | None,
    vtep: str | None,
    vlan: int | None,
    sticky: bool,
    replace: bool,
    switch: str | None,
) -> None:
    """Make a static entry: ADDR is behind IFACE, or a VTEP of a VNI, and does not age."""
    from vnetx.datapath.fdb import Fdb

    model.check_station_mac(mac)
    place = _one_place(port, vtep)
    if place is None or (vtep is None) != (vni is None) or (vni and vlan):
        raise click.UsageError("say where it is: --port IFACE, or --vni VNI --vtep IP")
    if vni is not None:
        _add_behind_vtep(context, mac, vni, place, sticky=sticky, replace=replace)
        return
    port = place
    with _switch(switch, port) as maps:
        table = Fdb(maps)
        index = table.names().index(port)
        _bd(table, vlan)
        bd = table.domain(index, vlan)
        if table.vlans and not bd:
            raise VnetxError(
                f"adding {model.format_mac(mac)}", f"{port} has no PVID", "say --vlan VID"
            )
        changed = table.add(mac, index, sticky=sticky, replace=replace, bd=bd)
    _tell(context, changed=changed)


def _one_place(port: str | None, vtep: str | None) -> str | None:
    """The name of a port, or the address of a VTEP, which is the name of its port."""
    if port is not None and vtep is not None:
        raise click.UsageError("--port and --vtep exclude each other")
    return port if vtep is None else model.parse_vtep(vtep)


def _add_behind_vtep(
    context: Context, mac: bytes, vni: int, vtep: str, *, sticky: bool, replace: bool
) -> None:
    from vnetx import engine
    from vnetx.datapath import pins
    from vnetx.datapath.fdb import Fdb

    engine.vtep_add(vni, vtep)
    with _opened(pins.switch_names()) as found:
        maps = next(maps for maps in found if vni in maps.vnis())
        table = Fdb(maps)
        bd = table.vlans.get(maps.vnis()[vni]["vid"], 0)
        index = table.names().index(vtep)
        changed = table.add(mac, index, sticky=sticky, replace=replace, bd=bd)
    _tell(context, changed=changed)


@fdb.command("del")
@click.argument("mac", type=MAC)
@click.option("--port", type=INTERFACE, metavar="IFACE", help="Only if it is there.")
@click.option("--vtep", metavar="IP", help="Only if it is behind this VTEP.")
@_VLAN
@_SWITCH
@common_options
@pass_context
def delete(
    context: Context,
    /,
    mac: bytes,
    port: str | None,
    vtep: str | None,
    vlan: int | None,
    switch: str | None,
) -> None:
    """Delete the entry of an address."""
    from vnetx.datapath.fdb import Fdb

    port = _one_place(port, vtep)
    with _switch(switch, port) as maps:
        table = Fdb(maps)
        ports = None if port is None else table.names().indices(port)
        bd = _bd(table, vlan) if vlan is not None else _only_domain(table, mac, ports)
        table.delete(mac, ports, bd=bd or 0)
    _tell(context, changed=True)


@fdb.command()
@_filters
@click.option(
    "--state",
    "states",
    type=click.Choice(_STATES[:3]),
    multiple=True,
    help="In this state instead of learned.",
)
@click.option("--static", is_flag=True, help="As --state static --state sticky.")
@click.option("--all", "everything", is_flag=True, help="In any state but local.")
@common_options
@pass_context
def flush(
    context: Context,
    /,
    switch: str | None,
    port: str | None,
    vlan: int | None,
    mac: bytes | None,
    vni: int | None,
    vtep: str | None,
    states: tuple[str, ...],
    static: bool,
    everything: bool,
) -> None:
    """Delete learned entries: those that match, or all.

    Static entries only with --static or --all; the host's own addresses never.
    """
    from vnetx.datapath.fdb import Fdb

    _check_vni(vni)
    port = _one_place(port, vtep)
    wanted = {*states, *(("static", "sticky") if static else ())} or {"learned"}
    with _switch(switch, port) as maps:
        table = Fdb(maps)
        meant = _STATES[:3] if everything else tuple(wanted)
        flushed = table.flush(_query(table, table.names(), port, vlan, mac, meant, vni))
    _tell(context, flushed=flushed)


def _tell(context: Context, **result: Any) -> None:
    """Silence, or what was done with ``-v`` or ``-j``."""
    if context.json:
        print_json(result)
    elif context.verbose:
        for name, value in result.items():
            note(f"{name.replace('_', ' ')}: {json.dumps(value)}")


# ------------------------------------------------------------ files


@fdb.command()
@click.argument("file", type=click.Path(allow_dash=True))
@_SWITCH
@common_options
@pass_context
def save(context: Context, /, file: str, switch: str | None) -> None:
    """Write all entries to FILE ('-' is standard output), as 'load' reads them.

    An entry is a line: 'ADDR port IFACE [host] [vlan VID] static|sticky|learned [age SECONDS]',
    where 'host' is the host side of a device that has one. The host's own addresses are not saved.
    """
    from vnetx.datapath.fdb import Fdb

    with _switch(switch) as maps:
        table = Fdb(maps)
        if file == "-":
            table.dump_text(_stdout(""), table.names())
            return
        saved = table.save(file)
    _tell(context, saved=saved)


@fdb.command()
@click.argument("file", type=click.Path(allow_dash=True))
@click.option(
    "--replace",
    is_flag=True,
    help="Delete what FILE does not have afterwards: all entries, or those of --vlan or --vni.",
)
@click.option("--vlan", type=click.IntRange(1, 4094), metavar="VID", help="With --replace.")
@click.option("--vni", type=click.INT, metavar="VNI", help="With --replace: behind its VTEPs.")
@_SWITCH
@common_options
@pass_context
def load(
    context: Context,
    /,
    file: str,
    replace: bool,
    vlan: int | None,
    vni: int | None,
    switch: str | None,
) -> None:
    """Make the entries of FILE ('-' is standard input); see 'save' for its lines.

    Existing entries of the same addresses are replaced, so that no frame in flight finds an
    address unknown that is in the table before and after. With a wrong line nothing is loaded.
    """
    from vnetx.datapath.fdb import Fdb

    if not replace and (vlan, vni) != (None, None):
        raise InvalidValue("--vlan and --vni", "say what --replace deletes")
    _check_vni(vni)
    with _switch(switch) as maps:
        table = Fdb(maps)
        others = _query(table, table.names(), None, vlan, None, (), vni) if replace else None
        if file == "-":
            text = sys.stdin.buffer.read()
            loaded, aged = table.load(text, label="standard input", instead_of=others)
        else:
            loaded, aged = table.load(file, instead_of=others)
    if aged:
        note(f"{aged} learned entries are older than the switch's ageing time: left out")
    _tell(context, loaded=loaded, aged=aged)


# ------------------------------------------------------------ watch


@fdb.command()
@_SWITCH
@common_options
@pass_context
def watch(context: Context, /, switch: str | None) -> None:
    """Print addresses as they are learned, move and age out, until interrupted.

    With --json each event is a document on a line of its own.
    """
    from vnetx.datapath.fdb import PortNames, Watch

    tell = _event_json if context.json else _event_text
    with _switch(switch) as maps, Watch(maps) as watcher:
        names = PortNames.of(maps)
        if context.verbose:
            note(f"watching switch {maps.name}")
        started = time.time() - time.monotonic()
        for events in watcher.batches():
            if any(not names.has(event.port, event.old_port) for event in events):
                names = PortNames.of(maps)
            for event in events:
                sys.stdout.write(tell(event, started + event.time, maps.name, names))
            sys.stdout.flush()


def _event_json(event: Event, when: float, switch: str, names: PortNames) -> str:
    document: dict[str, Any] = {"time": round(when, 6), "event": event.kind, "switch": switch}
    if event.lost:
        document["lost"] = event.lost
    else:
        document |= {
            "mac": model.format_mac(event.mac),
            "vlan": None,
            "port": names.names.get(event.port),
        }
        if event.kind == "move":
            document["old_port"] = names.names.get(event.old_port)
    return json.dumps(document) + "\n"


def _event_text(event: Event, when: float, switch: str, names: PortNames) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(when)) + f"{when % 1:.3f}"[1:]
    if event.lost:
        return f"{clock}  lost     {event.lost} events came faster than they were read\n"
    where = names[event.port]
    if event.kind == "move":
        where = f"{names[event.old_port]} -> {where}"
    return f"{clock}  {event.kind:7}  {model.format_mac(event.mac)}  {where}  {switch}\n"
