"""Nanoseconds a frame of the data plane's paths, by BPF_PROG_TEST_RUN: the program alone.

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
from collections.abc import Sequence
from dataclasses import dataclass

from vnetx import _abi, _bpf, _probe
from vnetx.datapath import build
from vnetx_perf import bare, programs
from vnetx_perf.namespaces import Namespace, Worker

FDB_SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
PORT_COUNTS = (2, 10, 100, 1_000)
HOOKS = ("tc", "xdp")

_SOURCE = bytes.fromhex("020100000001")
_PROGRAM = {"tc": "tc_ingress", "xdp": "xdp"}
_KIND = {"tc": programs.SCHED_CLS, "xdp": programs.XDP}
_EMPTY = {"tc": programs.TC_NEXT, "xdp": programs.XDP_PASS}
_FORWARDED = {"tc": 7, "xdp": 4}  # TC_ACT_REDIRECT, XDP_REDIRECT
_IN = 1
_OUT = 2
_LENGTH = 60
_LARGE = 1514


def address(number: int) -> bytes:
    """The address of that number in a table that :func:`vnetx._probe.fdb_fill` made."""
    return b"\x02\x00" + struct.pack("=I", number)


def frame(destination: bytes, source: bytes = _SOURCE, length: int = _LENGTH) -> bytes:
    return (destination + source + b"\x08\x00").ljust(length, b"\0")


@dataclass(frozen=True)
class Run:
    """A program and a frame to run through it; `minus` names the run that is taken off."""

    name: str
    hook: str
    program: int
    frame: bytes
    minus: str = ""
    forwards: bool = False


class Bench(bare.BareSwitch):
    """A switch with two devices: frames are said to come from the one, and all ports but the
    first lead to the other.

    The `fdb` addresses are spread over the ports behind the first.
    """

    def __init__(
        self, device: int, out: int, fdb: int, ports: int, compiled: build.Build | None = None
    ) -> None:
        super().__init__(max(fdb + 64, _abi.FDB_DEFAULT), max(ports + 1, 64), compiled)
        flags = bare.port_flags("peer", "xdp")
        for index in range(1, ports + 1):
            ifindex = device if index == _IN else out
            values = {"ifindex": ifindex, "flags": flags, "peer_mac": address(abs(index - _OUT))}
            self.maps.set_port(index, values)
            self.maps.set_devmap(index, device)
        self.maps.set_port_of(device, _IN)
        self.maps.set_switch(port_slots=ports + 1, xdp_ports=ports)
        self.learn(_SOURCE, _IN)
        _probe.fdb_fill(self.maps.fds["fdb"], 0, fdb, ports - 1, _OUT)

    def learn(self, mac: bytes, port: int) -> None:
        entry = _abi.pack_fdb_entry(_probe.now_ns(), port, 0, 1)
        _bpf.map_update(self.maps.fds["fdb"], _abi.pack_fdb_key(mac, 0), entry)

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
    verdict, _, _, ns = _bpf.prog_test_run(run.program, run.frame, context, repeat=repeat)
    return verdict, ns


# ---------------------------------------------------------------- what is measured


def path_runs(bench: Bench, hook: str) -> list[Run]:
    """The pipeline's paths with a small table."""
    program = bench.program(hook)
    lldp = bytes.fromhex("0180c200000e")
    bench.learn(address(0x100), _OUT)
    bench.learn(address(0x101), _IN)
    bench.learn(address(0x102), _OUT)
    empty = programs.constant(_KIND[hook], _EMPTY[hook])
    runs = [
        ("empty", empty, frame(address(0))),
        ("known unicast", program, frame(address(0))),
        ("drop: same port", program, frame(address(0x101))),
        ("drop: bad source", program, frame(address(0), bytes(6))),
        ("local: LLDP", program, frame(lldp)),
    ]
    if hook == "tc":
        runs.insert(2, ("known unicast, no peer", program, frame(address(0x102))))
    return [
        Run(
            f"{hook}: {name}",
            hook,
            fd,
            data,
            minus="" if name == "empty" else f"{hook}: empty",
            forwards="unicast" in name,
        )
        for name, fd, data in runs
    ]


def refresh_run(bench: Bench, hook: str) -> list[Run]:
    """Known unicast in a switch that remembers no flow: ports and FDB are looked at, and the
    source's entry is written again, with every frame."""
    bench.maps.set_switch(refresh_ns=0)
    return [
        Run(
            f"{hook}: known unicast, decided anew",
            hook,
            bench.program(hook),
            frame(address(0)),
            f"{hook}: empty",
            forwards=True,
        )
    ]


def table_runs(bench: Bench, hook: str, fdb: int, label: str) -> list[Run]:
    """Known unicast to one destination and to random ones of the whole table."""
    program = bench.program(hook)
    flags = next(row["flags"] for row in _abi.PROGRAMS if row["name"] == _PROGRAM[hook])
    randomised = programs.Randomiser(_KIND[hook], fdb, flags)
    randomised.then(program)
    idle = programs.Randomiser(_KIND[hook], fdb, flags)
    idle.then(programs.constant(_KIND[hook], _EMPTY[hook], flags))
    data = frame(address(0))
    return [
        Run(f"{hook}: {label}, hot", hook, program, data, f"{hook}: empty", True),
        Run(f"{hook}: {label}, random", hook, randomised.fd, data, f"{hook}: {label}, idle", True),
        Run(f"{hook}: {label}, idle", hook, idle.fd, data),
    ]


def lookup_runs(bench: Bench, fdb: int) -> list[Run]:
    """One bare look-up of a random address of the table, without the data plane."""
    table = bench.maps.fds["fdb"]
    name = f"table: FDB of {fdb:,}, random"
    idle = f"table: FDB of {fdb:,}, idle"
    data = frame(address(0))
    return [
        Run(name, "tc", programs.lookup(table, fdb), data, idle),
        Run(idle, "tc", programs.draw(fdb), data),
    ]


# ---------------------------------------------------------------- session


def _session(
    device: int,
    out: int,
    sizes: Sequence[int],
    ports: Sequence[int],
    rounds: int,
    repeat: int,
    seed: int,
) -> dict[str, list[float]]:
    """All runs, interleaved in random order; net nanoseconds by name and round."""
    chance = random.Random(seed)
    cases: list[Run] = []
    with contextlib.ExitStack() as stack:
        # XDP test runs want a device with a receive queue that is registered for XDP.
        native = _bpf.link_create(
            programs.constant(programs.XDP, programs.XDP_PASS), device, _bpf.ATTACH_XDP
        )
        stack.callback(os.close, native)
        small = stack.enter_context(Bench(device, out, 16, 4))
        refreshing = stack.enter_context(Bench(device, out, 16, 4))
        for hook in HOOKS:
            cases += path_runs(small, hook) + refresh_run(refreshing, hook)
        for size in sizes:
            made = stack.enter_context(Bench(device, out, size, 4))
            for hook in HOOKS:
                cases += table_runs(made, hook, size, f"FDB of {size:,}")
            cases += lookup_runs(made, size)
        for count in ports:
            made = stack.enter_context(Bench(device, out, 1000, count))
            for hook in HOOKS:
                cases += table_runs(made, hook, 1000, f"{count:,} ports")
        raw: dict[str, list[float]] = {run.name: [] for run in cases}
        for run in cases:
            verdict, _ = run_once(run, device, 1000)
            if run.forwards and verdict != _FORWARDED[run.hook]:
                raise RuntimeError(f"{run.name}: the frame was not forwarded ({verdict})")
        shuffled = list(cases)
        for _ in range(rounds):
            chance.shuffle(shuffled)
            for run in shuffled:
                raw[run.name].append(run_once(run, device, repeat)[1])
    return {
        run.name: [
            value - (raw[run.minus][i] if run.minus else 0) for i, value in enumerate(raw[run.name])
        ]
        for run in cases
        if not run.name.endswith("idle")
    }


def run(
    *,
    quick: bool,
    core: int,
    seed: int,
    sizes: Sequence[int] = FDB_SIZES,
    ports: Sequence[int] = PORT_COUNTS,
) -> dict[str, list[float]]:
    """Measures in a namespace of its own; net nanoseconds by name, one for each round."""
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
        rounds, repeat = (5, 20_000) if quick else (11, 100_000)
        worker = Worker(
            _session,
            device,
            out,
            sizes,
            ports,
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
