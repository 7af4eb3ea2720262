"""Nanoseconds a frame of the data plane's paths, by BPF_PROG_TEST_RUN: the program alone.

:func:`paths` is each way a frame can take, :func:`scale` known unicast against the size of the
FDB and the number of ports.

The same frame runs through the program hundreds of thousands of times on one core.  The
cost of an empty program in the same harness is taken off (interleaved with the rest), and
where a program of ours writes a random destination into each frame, that program's cost
too.  Caches are warm for one destination and as cold as the table is large for random
ones: that is what separates `hot` from `random`.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vnetx import _abi, _bpf, _probe
from vnetx_perf import bare, programs
from vnetx_perf.figures import Figure, Row
from vnetx_perf.namespaces import Namespace, Worker

FDB_SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
PORT_COUNTS = (2, 10, 100, 1_000)
VLAN_COUNTS = (1, 10, 100, 1_000, 4_094)
HOOKS = ("tc", "xdp")

_SOURCE = bytes.fromhex("020100000001")
_PROGRAM = {"tc": "tc_ingress", "xdp": "xdp"}
#: Also where broadcasts go.
_LOADED = (*_PROGRAM.values(), "flood")
_KIND = {"tc": programs.SCHED_CLS, "xdp": programs.XDP}
_EMPTY = {"tc": programs.TC_NEXT, "xdp": programs.XDP_PASS}
_FORWARDED = {"tc": 7, "xdp": 4}  # TC_ACT_REDIRECT, XDP_REDIRECT
_IN = 1
_OUT = 2
_LENGTH = 60
#: VLAN 1, as frames have it and as ports do.
_VID = 1
_TAGGED = {"tpid": 0x8100, "pvid": _VID}
_BROADCAST = b"\xff" * 6
_FLOOD = "flooded to 3 ports"
_ON_AND_OFF = "known unicast in a VLAN, tag put on and taken off"
#: Addresses that can be learned or moved, and the share of repetitions that use them up: few
#: are met twice.
_NEW = 1 << 18
_RARE = 0.05


def address(number: int) -> bytes:
    """The address of that number in a table that :func:`vnetx._probe.fdb_fill` made."""
    return b"\x02\x00" + struct.pack("=I", number)


def frame(
    destination: bytes, source: bytes = _SOURCE, length: int = _LENGTH, tag: bytes = b""
) -> bytes:
    return (destination + source + tag + b"\x08\x00").ljust(length, b"\0")


@dataclass(frozen=True)
class Run:
    """A program and a frame to run through it.

    Attributes:
        minus: the run whose cost is taken off; "" for none.
        verdict: what the program has to return, None for whatever it likes.
        share: of the repetitions: less where each frame uses something up.
    """

    name: str
    hook: str
    program: int
    frame: bytes
    minus: str = ""
    verdict: int | None = None
    share: float = 1.0


class Bench(bare.BareSwitch):
    """A switch with two devices: frames are said to come from the one, and all ports but the
    first lead to the other.

    The `fdb` addresses are spread over the ports behind the first.
    """

    def __init__(
        self,
        device: int,
        out: int,
        fdb: int,
        ports: int,
        *flags: str,
        size: int = _abi.FDB_DEFAULT,
        **settings: Any,
    ) -> None:
        super().__init__(max(fdb + 64, size), max(ports + 1, 64), only=_LOADED)
        set_flags = bare.port_flags("peer", "xdp", *flags)
        for index in range(1, ports + 1):
            values = {
                "ifindex": device if index == _IN else out,
                "flags": set_flags,
                "peer_mac": address(abs(index - _OUT)),
            }
            self.maps.set_port(index, {**values, **settings})
            self.maps.set_devmap(index, device)
        self.maps.set_port_of(device, _IN)
        self.maps.set_switch(port_slots=ports + 1, xdp_ports=ports)
        self.learn(_SOURCE, _IN)
        _probe.fdb_fill(self.maps.fds["fdb"], 0, fdb, ports - 1, _OUT)

    def learn(self, mac: bytes, port: int, vid: int = 0) -> None:
        entry = _abi.pack_fdb_entry(_probe.now_ns(), port, 0, 1)
        _bpf.map_update(self.maps.fds["fdb"], _abi.pack_fdb_key(mac, vid), entry)

    def put_into_vlans(self, vlans: int, *, tagged: Sequence[int] = ()) -> None:
        """All ports into the VLANs from 1 to `vlans`, untagged but on the ports `tagged`; the
        sender and the first address are known in VLAN 1."""
        member = (1 << vlans + 1) - 2
        for index in self.maps.ports():
            self.maps.set_port_vlans(index, member, 0 if index in tagged else member)
        self.learn(_SOURCE, _IN, _VID)
        self.learn(address(0), _OUT, _VID)

    def program(self, hook: str) -> int:
        return self.programs[_PROGRAM[hook]]


def run_once(run: Run, device: int, repeat: int) -> tuple[int, int]:
    """(verdict, mean ns) of `repeat` runs."""
    if run.hook == "xdp":
        context = struct.pack("=IIIIII", 0, len(run.frame), 0, device, 0, 0)
    else:
        context = bytearray(192)
        struct.pack_into("=I", context, 40, device)
        context = bytes(context)
    repeat = max(1, int(repeat * run.share))
    verdict, _, _, ns = _bpf.prog_test_run(run.program, run.frame, context, repeat=repeat)
    return verdict, ns


# ---------------------------------------------------------------- what is measured


def _randomised(hook: str, count: int, then: int, source: bool = False) -> int:
    """A program that writes a random address into each frame and goes on with `then`."""
    flags = next(row["flags"] for row in _abi.PROGRAMS if row["name"] == _PROGRAM[hook])
    program = programs.Randomiser(_KIND[hook], count, flags, source)
    program.then(then)
    return program.fd


def _untagged(then: int) -> int:
    """A TC program that takes the tag off each frame and goes on with `then`."""
    program = programs.Untagger()
    program.then(then)
    return program.fd


def _nothing(hook: str) -> int:
    flags = next(row["flags"] for row in _abi.PROGRAMS if row["name"] == _PROGRAM[hook])
    return programs.constant(_KIND[hook], _EMPTY[hook], flags)


def path_runs(bench: Bench, hook: str) -> list[Run]:
    """The pipeline's paths with a small table."""
    program, forwarded = bench.program(hook), _FORWARDED[hook]
    dropped = {"tc": programs.TC_SHOT, "xdp": programs.XDP_DROP}[hook]
    bench.learn(address(0x100), _OUT)
    bench.learn(address(0x101), _IN)
    bench.learn(address(0x102), _OUT)
    runs = [
        Run("empty", hook, _nothing(hook), frame(address(0))),
        Run("known unicast", hook, program, frame(address(0)), "empty", forwarded),
        Run("drop: same port", hook, program, frame(address(0x101)), "empty", dropped),
        Run("drop: bad source", hook, program, frame(address(0), bytes(6)), "empty", dropped),
        Run("local: LLDP", hook, program, frame(bytes.fromhex("0180c200000e")), "empty"),
    ]
    if hook == "tc":
        other = frame(address(0x102))
        runs.append(Run("known unicast, no peer", hook, program, other, "empty", forwarded))
        runs.append(Run(_FLOOD, hook, program, frame(_BROADCAST), "empty", share=_RARE))
    else:
        runs.append(Run("broadcast: passed to TC", hook, program, frame(_BROADCAST), "empty"))
    return runs


def feature_runs(
    hook: str, make: Callable[..., Bench], refreshing: Bench, limited: Bench, isolated: Bench
) -> list[Run]:
    """What a feature adds, and what each frame changes: learned, moved, decided anew."""
    refreshing.maps.set_switch(refresh_ns=0)
    learning = make(16, 4, size=_NEW)
    moving = make(_NEW, 2)
    counted = make(16, 4, size=_NEW, learn_limit=_NEW)
    known, dropped = frame(address(0)), {"tc": programs.TC_SHOT, "xdp": programs.XDP_DROP}[hook]
    draw = _randomised(hook, _NEW, _nothing(hook), source=True)

    def renewed(name: str, bench: Bench) -> Run:
        program = _randomised(hook, _NEW, bench.program(hook), source=True)
        return Run(name, hook, program, known, "draw", share=_RARE)

    runs = [
        Run("draw", hook, draw, known, share=_RARE),
        Run(
            "known unicast, decided anew",
            hook,
            refreshing.program(hook),
            known,
            "empty",
            _FORWARDED[hook],
        ),
        renewed("source learned", learning),
        renewed("source learned, with a learning limit", counted),
        renewed("source moved", moving),
        Run("drop: isolated", hook, isolated.program(hook), known, "empty", dropped),
    ]
    if hook == "tc":
        storm = limited.program(hook)
        runs.append(
            Run(f"{_FLOOD}, storm limit", hook, storm, frame(_BROADCAST), "empty", share=_RARE)
        )
    return runs


def vlan_runs(hook: str, vlans: Mapping[str, Bench]) -> list[Run]:
    """Known unicast between access ports, from and to a trunk, and decided anew in a VLAN.

    From an access port to a trunk by TC only, and with another program before it that takes
    the tag off again: the next repetition has the same frame.
    """
    plain, forwarded = frame(address(0)), _FORWARDED[hook]
    tagged = frame(address(0), tag=struct.pack("!HH", 0x8100, _VID))
    cases = {
        "known unicast in a VLAN, untagged": (vlans["access"], plain),
        "known unicast in a VLAN, tagged": (vlans["trunk"], tagged),
        "known unicast in a VLAN, decided anew": (vlans["anew"], plain),
    }
    runs = [
        Run(name, hook, bench.program(hook), data, "empty", forwarded)
        for name, (bench, data) in cases.items()
    ]
    if hook == "tc":
        runs.append(Run("untag", hook, _untagged(_nothing(hook)), plain))
        tagging = _untagged(vlans["out"].program(hook))
        runs.append(Run(_ON_AND_OFF, hook, tagging, plain, "untag", forwarded))
    return runs


def table_runs(bench: Bench, hook: str, fdb: int, label: str) -> list[Run]:
    """Known unicast to one destination and to random ones of the whole table."""
    program, data = bench.program(hook), frame(address(0))
    randomised = _randomised(hook, fdb, program)
    idle = _randomised(hook, fdb, _nothing(hook))
    forwarded = _FORWARDED[hook]
    return [
        Run(f"{label}, hot", hook, program, data, "empty", forwarded),
        Run(f"{label}, random", hook, randomised, data, f"{label}, idle", forwarded),
        Run(f"{label}, idle", hook, idle, data),
    ]


def lookup_runs(bench: Bench, fdb: int, label: str) -> list[Run]:
    """One bare look-up of a random address of the table, without the data plane."""
    table, data, idle = bench.maps.fds["fdb"], frame(address(0)), f"{label}, bare idle"
    return [
        Run(f"{label}, one look-up", "tc", programs.lookup(table, fdb), data, idle),
        Run(idle, "tc", programs.draw(fdb), data),
    ]


# ---------------------------------------------------------------- session

Cases = dict[str, Run]


def _key(run: Run, name: str | None = None) -> str:
    return f"{run.hook}: {run.name if name is None else name}"


def _path_cases(stack: contextlib.ExitStack, device: int, out: int) -> list[Run]:
    def make(fdb: int, ports: int, *flags: str, **settings: Any) -> Bench:
        return stack.enter_context(Bench(device, out, fdb, ports, *flags, **settings))

    small, refreshing = make(16, 4), make(16, 4)
    limited = make(16, 4, "storm", storm_pps=(10**9, 0, 0))
    isolated = make(16, 4, "isolated")
    cases = []
    vlans = {}
    for name, trunks in (("access", ()), ("trunk", (_IN, _OUT)), ("out", (_OUT,)), ("anew", ())):
        vlans[name] = make(16, 4, "vlan", **_TAGGED)
        vlans[name].put_into_vlans(1, tagged=trunks)
    vlans["anew"].maps.set_switch(refresh_ns=0)
    for hook in HOOKS:
        cases += path_runs(small, hook)
        cases += feature_runs(hook, make, refreshing, limited, isolated)
        cases += vlan_runs(hook, vlans)
    return cases


def _scale_cases(
    stack: contextlib.ExitStack,
    device: int,
    out: int,
    sizes: Sequence[int],
    ports: Sequence[int],
    vlans: Sequence[int],
) -> list[Run]:
    empty = frame(address(0))
    cases = [Run("empty", hook, _nothing(hook), empty) for hook in HOOKS]
    for size in sizes:
        made = stack.enter_context(Bench(device, out, size, 4))
        for hook in HOOKS:
            cases += table_runs(made, hook, size, f"fdb {size}")
        cases += lookup_runs(made, size, f"fdb {size}")
    for count in ports:
        made = stack.enter_context(Bench(device, out, 1000, count))
        for hook in HOOKS:
            cases += table_runs(made, hook, 1000, f"ports {count}")
    for count in vlans:
        made = stack.enter_context(Bench(device, out, 16, 4, "vlan", **_TAGGED))
        made.put_into_vlans(count)
        made.maps.set_switch(refresh_ns=0)
        for hook in HOOKS:
            program, known = made.program(hook), frame(address(0))
            name = f"vlans {count}, anew"
            cases.append(Run(name, hook, program, known, "empty", _FORWARDED[hook]))
    return cases


def _session(
    device: int,
    make_cases: Callable[[contextlib.ExitStack], list[Run]],
    rounds: int,
    repeat: int,
    seed: int,
) -> dict[str, list[float]]:
    """All runs, interleaved in random order; net nanoseconds by "hook: name" and round."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        # XDP test runs want a device with a receive queue that is registered for XDP.
        native = _bpf.link_create(
            programs.constant(programs.XDP, programs.XDP_PASS), device, _bpf.ATTACH_XDP
        )
        stack.callback(os.close, native)
        cases = make_cases(stack)
        raw: dict[str, list[float]] = {_key(run): [] for run in cases}
        for run in cases:
            verdict, _ = run_once(run, device, 1000)
            if run.verdict not in (None, verdict):
                raise RuntimeError(f"{_key(run)}: the program's verdict is {verdict}")
        shuffled = list(cases)
        for _ in range(rounds):
            chance.shuffle(shuffled)
            for run in shuffled:
                raw[_key(run)].append(run_once(run, device, repeat)[1])
    helpers = {_key(run, run.minus) for run in cases}
    return {
        _key(run): [
            value - (raw[_key(run, run.minus)][i] if run.minus else 0)
            for i, value in enumerate(raw[_key(run)])
        ]
        for run in cases
        if _key(run) not in helpers
    }


def _measured(
    make_cases: Callable[[contextlib.ExitStack, int, int], list[Run]],
    *,
    rounds: int,
    repeat: int,
    core: int,
    seed: int,
) -> dict[str, list[float]]:
    """Measures in a namespace of its own, on one core."""
    namespace, other = Namespace("cost"), Namespace("peer")
    try:
        namespace.ip(
            f"link add dev in0 type veth peer name in0 netns {other.name}",
            f"link add dev out0 type veth peer name out0 netns {other.name}",
            "link set dev in0 up",
            "link set dev out0 up",
        )
        other.ip("link set dev in0 up", "link set dev out0 up")
        with namespace.entered():
            device, out = map(socket.if_nametoindex, ("in0", "out0"))
        worker = Worker(
            _session,
            device,
            lambda stack: make_cases(stack, device, out),
            rounds,
            repeat,
            seed,
            namespace=namespace,
            core=core,
        )
        measured: dict[str, list[float]] = worker.result(240)
        return measured
    finally:
        namespace.delete()
        other.delete()


# ---------------------------------------------------------------- figures


def paths(*, rounds: int, repeat: int, core: int, seed: int) -> Iterator[Figure]:
    """A figure for each hook: nanoseconds a frame of each path, the cost of an empty program
    taken off."""
    values = _measured(_path_cases, rounds=rounds, repeat=repeat, core=core, seed=seed)
    for hook in HOOKS:
        yield Figure(
            name=f"cost-{hook}",
            benchmark="cost",
            title=f"vnetx's {hook.upper()} program, nanoseconds a frame by path",
            unit="ns",
            lower_is_better=True,
            rows={
                name.partition(": ")[2]: Row.of(found)
                for name, found in values.items()
                if name.startswith(f"{hook}: ")
            },
            seed=seed,
        )


def _curve_row(name: str, values: list[float]) -> tuple[str, Row]:
    """`tc: fdb 1000, hot` as (`tc hot · 1,000`, its row)."""
    hook, _, rest = name.partition(": ")
    size, _, kind = rest.partition(", ")
    number = int(size.split()[1])
    series = "one bare look-up" if kind == "one look-up" else f"{hook} {kind}"
    return f"{series} · {number:,}", Row.of(values, x=number, series=series)


def scale(
    *,
    rounds: int,
    repeat: int,
    core: int,
    seed: int,
    sizes: Sequence[int] = FDB_SIZES,
    ports: Sequence[int] = PORT_COUNTS,
    vlans: Sequence[int] = VLAN_COUNTS,
) -> Iterator[Figure]:
    """Known unicast against the size of the FDB, the number of ports, and that of VLANs.

    *hot* is one destination, *random* destinations of the whole table, with one bare look-up
    in the same table beside it: what the caches explain.
    """
    values = _measured(
        lambda stack, device, out: _scale_cases(stack, device, out, sizes, ports, vlans),
        rounds=rounds,
        repeat=repeat,
        core=core,
        seed=seed,
    )
    for what, axis in (("fdb", "FDB entries"), ("ports", "ports"), ("vlans", "VLANs")):
        yield Figure(
            name=f"scale-{what}",
            benchmark="scale",
            title=f"known unicast in vnetx's programs against the number of {axis}",
            unit="ns",
            lower_is_better=True,
            kind="curve",
            axis=axis,
            rows=dict(
                _curve_row(name, found)
                for name, found in values.items()
                if name.partition(": ")[2].startswith(f"{what} ")
            ),
            seed=seed,
        )
