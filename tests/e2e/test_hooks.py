"""Other people's programs on the devices: they stay, they run, they are never replaced."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lib import HAS_TCX
from lib.frames import BROADCAST, frame, link_local, station
from lib.topology import Lab, Node, Vnetx, carrier, ipv4, ping, wait_until
from vnetx import _bpf

pytestmark = pytest.mark.root

A, B = station(0xA), station(0xB)

_SCHED_CLS, _XDP = 3, 6
_ARRAY = 2
_TCX_NEXT, _XDP_PASS = -1, 2
_SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)


def _insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def _counting(counter: int, verdict: int) -> bytes:
    """Adds one to the only element of an array, and lets the frame pass."""
    return b"".join(
        (
            _insn(0x62, dst=10, off=-4, imm=0),  # *(u32 *)(r10 - 4) = 0
            _insn(0x18, dst=1, src=1, imm=counter),  # r1 = map
            _insn(0x00),
            _insn(0xBF, dst=2, src=10),  # r2 = r10
            _insn(0x07, dst=2, imm=-4),  # r2 -= 4
            _insn(0x85, imm=1),  # r0 = bpf_map_lookup_elem(r1, r2)
            _insn(0x15, dst=0, off=2, imm=0),  # if r0 == 0: skip two
            _insn(0xB7, dst=1, imm=1),  # r1 = 1
            _insn(0xDB, dst=0, src=1),  # lock *(u64 *)r0 += r1
            _insn(0xB7, dst=0, imm=verdict),
            _insn(0x95),
        )
    )


@dataclass(frozen=True)
class Foreign:
    """Somebody's program, which counts the frames that it sees."""

    fd: int
    counter: int

    @property
    def id(self) -> int:
        return int(_bpf.prog_info(self.fd)["id"])

    @property
    def seen(self) -> int:
        count: int = struct.unpack("=Q", _bpf.map_lookup(self.counter, bytes(4), 8))[0]
        return count


@contextlib.contextmanager
def foreign(kind: int, name: str, attach_type: int) -> Iterator[Foreign]:
    counter = _bpf.map_create(_ARRAY, 4, 8, 1)
    verdict = _TCX_NEXT if kind == _SCHED_CLS else _XDP_PASS
    fd = _bpf.prog_load(kind, _counting(counter, verdict), name, attach_type)
    try:
        yield Foreign(fd, counter)
    finally:
        os.close(fd)
        os.close(counter)


@contextlib.contextmanager
def on_tcx(node: Node, device: str, name: str, attach_type: int) -> Iterator[Foreign]:
    with foreign(_SCHED_CLS, name, attach_type) as program:
        with node.entered():
            link = _bpf.link_create(program.fd, _index(device), attach_type)
        try:
            yield program
        finally:
            os.close(link)


def _index(device: str) -> int:
    return socket.if_nametoindex(device)


def programs(node: Node, device: str) -> list[str]:
    """Names at the device's tcx ingress, in the order in which they run (BPF_PROG_QUERY)."""
    ids = (ctypes.c_uint32 * 64)()
    with node.entered():
        query = ctypes.create_string_buffer(
            struct.pack("=4IQ2I4Q", _index(device), _bpf.ATTACH_TCX_INGRESS, 0, 0,
                        ctypes.addressof(ids), 64, 0, 0, 0, 0, 0)
        )  # fmt: skip
        failed = _libc.syscall(_SYS_BPF, 16, query, 64)
    assert not failed, os.strerror(ctypes.get_errno())
    names = []
    for number in list(ids)[: struct.unpack_from("=I", query, 24)[0]]:
        fd = _bpf.prog_fd_by_id(number)
        names.append(_bpf.prog_info(fd)["name"])
        os.close(fd)
    return names


def xdp_of(node: Node, device: str) -> tuple[int, int]:
    """(mode, id) of a device's XDP program: 1 native, 2 generic; zeros without."""
    shown = node.json("ip", "-j", "-d", "link", "show", "dev", device)[0]
    xdp = shown.get("xdp")
    return (xdp["mode"], xdp["prog"]["id"]) if xdp else (0, 0)


# ---------------------------------------------------------------- TC


@pytest.mark.skipif(not HAS_TCX, reason="tcx came with Linux 6.6")
def test_foreign_tcx_programs_stay(lab: Lab) -> None:
    lab.add_hosts(1, 2, 3, addresses=False)
    switch = lab.vnetx("tc")
    ingress = _bpf.ATTACH_TCX_INGRESS
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(on_tcx(lab.near, "p1", "first", ingress))
        second = stack.enter_context(on_tcx(lab.near, "p1", "second", ingress))
        switch.attach("p1", "p2", "p3")
        third = stack.enter_context(on_tcx(lab.near, "p1", "third", ingress))
        names = programs(lab.near, "p1")
        assert [n for n in names if n in ("first", "second", "third")] == [
            "first",
            "second",
            "third",
        ]
        assert len(names) == 4
        assert set(lab.inject(1, frame(BROADCAST, A))) == {2, 3}
        assert (first.seen, second.seen) == (1, 1)
        assert third.seen == 0, "a switched frame never goes up"
        assert lab.inject(1, frame(link_local(0xE), A)) == {}
        assert (first.seen, second.seen, third.seen) == (2, 2, 1)
        switch.detach("p1")
        assert programs(lab.near, "p1") == ["first", "second", "third"]
        lab.inject(1, frame(BROADCAST, A))
        assert (first.seen, second.seen, third.seen) == (3, 3, 2)
        switch.attach("p1")
        assert set(lab.inject(1, frame(BROADCAST, A))) == {2, 3}
    assert len(programs(lab.near, "p1")) == 1


# ---------------------------------------------------------------- XDP


@pytest.fixture
def guarded(lab: Lab) -> Iterator[tuple[Lab, Vnetx, Foreign]]:
    """p1 carries somebody's native XDP program, attached by netlink."""
    lab.add_hosts(1, 2)
    switch = lab.vnetx("auto")
    with foreign(_XDP, "firewall", _bpf.ATTACH_XDP) as program:
        lab.near.run("bpftool", "net", "attach", "xdpdrv", "id", str(program.id), "dev", "p1")
        assert xdp_of(lab.near, "p1") == (1, program.id)
        yield lab, switch, program


@pytest.mark.parametrize("hook", ["xdp", "xdp-generic"])
def test_foreign_xdp_is_not_replaced(guarded: tuple[Lab, Vnetx, Foreign], hook: str) -> None:
    lab, switch, program = guarded
    said = switch.run("attach", "p2", "p1", "--hook", hook, check=False)
    assert said.returncode == 1
    for word in (str(program.id), "firewall", "uid 0", "--force"):
        assert word in said.stderr
    assert xdp_of(lab.near, "p1") == (1, program.id)
    assert switch.ports() == {}, "p2 is not attached either"


def test_the_owner_of_an_xdp_program_is_named(lab: Lab) -> None:
    lab.add_hosts(1)
    switch = lab.vnetx("xdp")
    with foreign(_XDP, "firewall", _bpf.ATTACH_XDP) as program:
        with lab.near.entered():
            link = _bpf.link_create(program.fd, _index("p1"), _bpf.ATTACH_XDP)
        try:
            said = switch.run("attach", "p1", "--hook", "xdp", check=False)
            assert said.returncode == 1
            assert f"process {os.getpid()}" in said.stderr
        finally:
            os.close(link)
    switch.attach("p1")


def test_auto_leaves_foreign_xdp_alone(guarded: tuple[Lab, Vnetx, Foreign]) -> None:
    """It goes on to run, before the switch."""
    lab, switch, program = guarded
    said = switch.run("attach", "p1", "p2")
    assert f"program {program.id}" in said.stderr
    assert xdp_of(lab.near, "p1") == (1, program.id)
    assert switch.ports()["p1"]["hook"] == "tc"
    before = program.seen
    assert ping(lab.hosts[1], ipv4(2), count=3)
    assert program.seen >= before + 3
    switch.run("detach", "--all")
    assert xdp_of(lab.near, "p1") == (1, program.id)


@pytest.mark.parametrize("hook", ["xdp", "xdp-generic"])
def test_force_takes_it_off_until_detach(guarded: tuple[Lab, Vnetx, Foreign], hook: str) -> None:
    lab, switch, program = guarded
    switch.run("attach", "p1", "p2", "--hook", hook, "--force")
    mode, now = xdp_of(lab.near, "p1")
    assert now != program.id
    assert mode == (1 if hook == "xdp" else 2)
    before = program.seen
    assert ping(lab.hosts[1], ipv4(2), count=3)
    assert program.seen == before
    switch.run("detach", "--all")
    assert xdp_of(lab.near, "p1") == (1, program.id)


@pytest.mark.parametrize("hook", ["tc", "xdp", "xdp-generic"])
def test_the_hook_that_is_asked_for(lab: Lab, hook: str) -> None:
    lab.add_hosts(1, 2)
    switch = lab.vnetx(hook)
    switch.attach("p1", "p2")
    assert {port["hook"] for port in switch.ports().values()} == {hook}
    assert xdp_of(lab.near, "p1")[0] == {"tc": 0, "xdp": 1, "xdp-generic": 2}[hook]
    assert ping(lab.hosts[1], ipv4(2))


def test_a_peer_that_comes_up_later(lab: Lab) -> None:
    """GRO that was switched on while it was down does not make its port one that XDP may send to
    (veth_set_features): what is redirected there would vanish."""
    lab.add_hosts(1, 2)
    lab.hosts[1].ip("link set dev h1 down")
    switch = lab.vnetx("xdp")
    switch.attach("p1", "p2")
    lab.hosts[1].ip("link set dev h1 up")
    wait_until(lambda: carrier(lab.near, "p1"), "p1 has a carrier")
    assert ping(lab.hosts[1], ipv4(2))
    assert ping(lab.hosts[2], ipv4(1))


def test_hooks_change_under_a_running_switch(lab: Lab) -> None:
    lab.add_hosts(1, 2)
    switch = lab.vnetx("auto")
    switch.attach("p1", "p2")
    assert switch.ports()["p1"]["hook"] == "tc", "a container's veth"
    for hook in ("xdp", "xdp-generic", "tc", "xdp"):
        switch.run("port", "set", "p1", "--hook", hook)
        assert switch.ports()["p1"]["hook"] == hook
        assert ping(lab.hosts[1], ipv4(2)), hook


def test_a_driver_without_native_xdp(lab: Lab) -> None:
    """Refused with an offer; `auto` uses TC."""
    lab.near.ip("link add name ifb9 type ifb", "link set dev ifb9 up")
    switch = lab.vnetx("xdp")
    said = switch.run("attach", "ifb9", "--hook", "xdp", check=False)
    assert said.returncode == 1
    assert "--hook xdp-generic" in said.stderr
    assert switch.ports() == {}
    switch.run("attach", "ifb9", "--hook", "auto")
    assert switch.ports()["ifb9"]["hook"] == "tc"
    switch.run("detach", "ifb9")
    switch.run("attach", "ifb9", "--hook", "xdp-generic")
    assert switch.ports()["ifb9"]["hook"] == "xdp-generic"
