"""The real data plane: maps, programs and devices in namespaces of their own.

A port is a veth pair, `p1` in the switch's namespace and `h1` in another one (so that
bpf_redirect_peer works). Frames that leave by a port are caught at the far end.
Nothing is ever waited for by the clock: behind what is to be seen, a marker is sent the
same way, and whatever comes before it came at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lib import EMULATED
from lib.namespaces import Namespace
from vnetx import _abi, _bpf
from vnetx.datapath import build, pins
from vnetx.datapath.maps import SwitchMaps
from vnetx_perf.hooks import tc_program

TC_PASS, TC_DROP, TC_REDIRECT = 0xFFFFFFFF, 2, 7
XDP_DROP, XDP_PASS, XDP_REDIRECT = 1, 2, 4

_SKB_SIZE, _SKB_MARK, _SKB_IFINDEX, _SKB_CB = 192, 8, 40, 48
_SKB_WIRE_LEN, _SKB_GSO_SEGS, _SKB_GSO_SIZE = 160, 164, 176

_ETH_P_ALL = 3
_SOL_PACKET = 263
PACKET_AUXDATA, _PACKET_VNET_HDR, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 8, 15, 20, 23
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_AUXDATA = struct.Struct("=IIIHHHH")
_SO_RCVBUFFORCE, _ROOM = 33, 1 << 26
_XDP_FLAGS_SKB_MODE = 1 << 1
_PATIENCE_S = 60 if EMULATED else 10

_SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_LOOKUP_AND_DELETE = 21
_libc = ctypes.CDLL(None, use_errno=True)
_address = ctypes.addressof
_CPUS = int(Path("/sys/devices/system/cpu/possible").read_text().strip().split("-")[-1]) + 1

_MARKER = b"\x02\x76\x6e\x65\x74\x78" * 2 + b"\x88\xb6"


def coarse_now() -> int:
    """The clock of the data plane, ns."""
    return time.clock_gettime_ns(6)  # CLOCK_MONOTONIC_COARSE


def receive(sock: socket.socket) -> tuple[bytes, int]:
    """A frame from a packet socket with PACKET_AUXDATA, and its packet type.

    The kernel keeps the outer tag beside the data; it is put back, also one with VID 0.
    """
    data, ancillary, _, address = sock.recvmsg(1 << 17, 256)
    for level, kind, raw in ancillary:
        if level == _SOL_PACKET and kind == PACKET_AUXDATA:
            status, *_, tci, tpid = _AUXDATA.unpack(raw[: _AUXDATA.size])
            if status & _VLAN_VALID:
                protocol = tpid if status & _VLAN_TPID_VALID else 0x8100
                data = data[:12] + struct.pack("!HH", protocol, tci) + data[12:]
    return data, address[2]


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(_SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    sock.bind((interface, _ETH_P_ALL))
    return sock


class Wire:
    """The far end of a port: sends into the switch, catches what leaves it."""

    def __init__(self, plane: Dataplane, number: int) -> None:
        self.name = f"h{number}"
        with plane.far.entered():
            self.sock = _packet_socket(self.name)
        with plane.near.entered():
            self.marker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            # past the egress hook
            self.marker.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            self.marker.bind((f"p{number}", 0))
        self._count = 0

    def send(self, frame: bytes) -> None:
        self.sock.send(frame)

    def received(self) -> list[bytes]:
        """The frames that left the switch by this port since the last call."""
        self._count += 1
        marker = _MARKER + self._count.to_bytes(8, "big") + bytes(38)
        self.marker.send(marker)
        frames = []
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                frame, _ = receive(self.sock)
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # it was, for a while
                    continue
                raise
            if frame == marker:
                return frames
            if not frame.startswith(_MARKER):
                frames.append(frame)

    def discard(self) -> None:
        """Forgets what came so far."""
        self.sock.setblocking(False)
        while True:
            try:
                self.sock.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError:  # was down for a while
                continue

    def close(self) -> None:
        self.sock.close()
        self.marker.close()


class Ring:
    """The ring buffer of FDB events, read as user space does: by shared memory."""

    def __init__(self, fd: int) -> None:
        size = _abi.EVENT_RING
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(fd, page)
        self._data = mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        self._size = size

    def read(self) -> list[tuple[str, bytes, int, int]]:
        """The events that wait: (kind, address, port, old port)."""
        found = []
        position = struct.unpack_from("=Q", self._consumer)[0]
        end = struct.unpack_from("=Q", self._data)[0]
        while position < end:
            at = mmap.PAGESIZE + (position & (self._size - 1))
            length = struct.unpack_from("=I", self._data, at)[0]
            if not length & 1 << 30:  # BPF_RINGBUF_DISCARD_BIT
                raw = self._data[at + 8 : at + 8 + (length & 0x3FFFFFFF)]
                _, mac, _, kind, port, old = _abi.unpack_event(raw)
                found.append((_abi.EVENTS[kind], mac, port, old))
            position += 8 + ((length & 0x3FFFFFFF) + 7 & ~7)
        struct.pack_into("=Q", self._consumer, 0, position)
        return found

    def close(self) -> None:
        self._consumer.close()
        self._data.close()


@dataclass(frozen=True)
class Run:
    """What a test run gave."""

    verdict: int
    data: bytes
    cb: tuple[int, ...] = ()


class Dataplane:
    """One switch's maps and programs, with `devices` veth pairs to be its ports.

    Inside (`with`), the calling thread is in the switch's namespace.
    """

    def __init__(
        self, devices: int, fdb_size: int, max_ports: int, code: build.Build | None = None
    ) -> None:
        self.fdb_size, self.max_ports = fdb_size, max_ports
        self._stack = contextlib.ExitStack()
        self.programs: dict[str, int] = {}
        self.wires: dict[int, Wire] = {}
        self.ifindex: dict[int, int] = {}
        self.touched = 0
        with contextlib.ExitStack() as stack:
            self.near, self.far = Namespace(), Namespace()
            stack.callback(self.far.close)
            stack.callback(self.near.close)
            self._make_devices(devices)
            with self.near.entered():
                pins.mount()
                code = code or build.build()
                self.maps = SwitchMaps.create("test", fdb_size, max_ports, code)
                stack.callback(self.maps.close)
                stack.callback(self.maps.remove)
                more = {row["name"] for row in _abi.PROGRAMS} - self.maps.programs()
                self.maps.load_programs(code, more)
                self.maps.publish()
                for row in _abi.PROGRAMS:
                    path = self.maps.directory / "programs" / row["name"]
                    self.programs[row["name"]] = _bpf.obj_get(str(path))
                    stack.callback(os.close, self.programs[row["name"]])
            for number in self.ifindex:
                self.wires[number] = Wire(self, number)
                stack.callback(self.wires[number].close)
            self._cleanup = stack.pop_all()

    def _make_devices(self, count: int) -> None:
        numbers = range(1, count + 1)
        self.near.ip(
            "link set lo up",
            *(
                f"link add name p{n} mtu 1500 address 02:00:5e:01:00:{n:02x} type veth "
                f"peer name h{n} mtu 1500 address {self.far_mac(n).hex(':')} "
                f"netns {self.far.path}"
                for n in numbers
            ),
        )
        self.near.ip(*(f"link set p{n} up" for n in numbers))
        self.far.ip(*(f"link set h{n} up" for n in numbers))
        with self.near.entered():
            self.ifindex = {n: socket.if_nametoindex(f"p{n}") for n in numbers}

    @staticmethod
    def far_mac(number: int) -> bytes:
        """The address of the interface behind a port's device."""
        return bytes([2, 0, 0x5E, 2, 0, number])

    def close(self) -> None:
        self._stack.close()
        with self.near.entered():
            directory = pins.namespace_directory()
        self._cleanup.close()
        with contextlib.suppress(OSError):
            directory.rmdir()

    def __enter__(self) -> Dataplane:
        self._stack.enter_context(self.near.entered())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # -------------------------------------------------------------- running programs

    def run(
        self,
        program: str,
        ifindex: int,
        frame: bytes,
        gso_size: int = 0,
        gso_segs: int = 0,
        cb: tuple[int, ...] = (),
        repeat: int = 1,
    ) -> Run:
        """Runs a program on a frame that came (or goes, for tc_egress) by a device."""
        if program.startswith("xdp"):
            context = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0)
            verdict, data, _, _ = _bpf.prog_test_run(
                self.programs[program], frame, context, repeat=repeat
            )
            return Run(verdict, data)
        context = bytearray(_SKB_SIZE)
        struct.pack_into("=I", context, _SKB_IFINDEX, ifindex)
        struct.pack_into("=II", context, _SKB_WIRE_LEN, 0, gso_segs)
        struct.pack_into("=I", context, _SKB_GSO_SIZE, gso_size)
        struct.pack_into(f"={len(cb)}I", context, _SKB_CB, *cb)
        verdict, data, out, _ = _bpf.prog_test_run(
            self.programs[program], frame, bytes(context), repeat=repeat
        )
        return Run(verdict, data, struct.unpack_from("=5I", out, _SKB_CB))

    @contextlib.contextmanager
    def attached(self, program: str, *numbers: int) -> Iterator[None]:
        """The program runs at these devices: tc_ingress, tc_egress, xdp or xdp_generic."""
        fd = self.programs[program]
        family, _, hook = program.partition("_")
        with contextlib.ExitStack() as stack:
            for number in numbers:
                ifindex = self.ifindex[number]
                if family == "tc":
                    stack.enter_context(tc_program(fd, ifindex, hook))
                else:
                    flags = _XDP_FLAGS_SKB_MODE if hook == "generic" else 0
                    link = _bpf.link_create(fd, ifindex, _bpf.ATTACH_XDP, flags)
                    stack.callback(os.close, link)
            yield

    @contextlib.contextmanager
    def mtu(self, number: int, mtu: int) -> Iterator[None]:
        """Both ends of a port have this MTU meanwhile."""
        self._set_mtu(number, mtu)
        try:
            yield
        finally:
            self._set_mtu(number, 1500)

    def _set_mtu(self, number: int, mtu: int) -> None:
        self.near.ip(f"link set p{number} mtu {mtu}")
        self.far.ip(f"link set h{number} mtu {mtu}")

    def received(self) -> dict[int, list[bytes]]:
        """What left by each port since the last call; ports without any are left out."""
        caught = {number: wire.received() for number, wire in self.wires.items()}
        return {number: frames for number, frames in caught.items() if frames}

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Nothing is caught meanwhile: for more frames than anybody wants to see."""
        for wire in self.wires.values():
            wire.sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 0)
        try:
            yield
        finally:
            for wire in self.wires.values():
                wire.sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
                wire.discard()

    # -------------------------------------------------------------- maps

    def reset(self) -> None:
        """As just made: no ports, no entries, no counters."""
        maps, fds = self.maps, self.maps.fds
        for index in range(1, max(self.touched, maps.switch()["port_slots"])):
            maps.reset_port(index)
        self.touched = 0
        for ifindex in maps.port_of():
            maps.delete_port_of(ifindex)
        for ifindex in maps.wires():
            maps.delete_wire(ifindex)
        for key, _ in _bpf.map_items(fds["fdb"], 8, 16):
            _bpf.map_delete(fds["fdb"], key)
        for key, _ in _bpf.map_items(fds["reasons"], 8, 8 * _CPUS):
            _bpf.map_delete(fds["reasons"], key)
        for key, raw in _bpf.map_items(fds["vlan_stats"], 4, 32 * _CPUS):
            if any(raw):
                _bpf.map_update(fds["vlan_stats"], key, bytes(32 * _CPUS))
        self._empty_clock()
        _bpf.map_update(fds["switch_state"], bytes(4), bytes(64))
        maps.set_vlan_rules({})
        maps.set_switch(
            ageing_ns=0, refresh_ns=0, watch_until_ns=0, flags=0, port_slots=0, xdp_ports=0
        )
        for wire in self.wires.values():
            wire.discard()
        self.events()

    def _empty_clock(self) -> None:
        while self.pop_tick():
            pass

    def pop_tick(self) -> bytes | None:
        """Takes an element from the clock's head; None when there is none."""
        value = ctypes.create_string_buffer(16)
        attributes = struct.pack("=IIQQQ", self.maps.fds["fdb_clock"], 0, 0, _address(value), 0)
        if _libc.syscall(_SYS_BPF, _LOOKUP_AND_DELETE, attributes, len(attributes)) == 0:
            return value.raw
        if ctypes.get_errno() != errno.ENOENT:
            raise OSError(ctypes.get_errno(), "taking from the clock")
        return None

    def events(self) -> list[tuple[str, bytes, int, int]]:
        """The FDB events since the last call."""
        ring = Ring(self.maps.fds["events"])
        try:
            return ring.read()
        finally:
            ring.close()

    def set_entry(
        self, mac: bytes, port: int, bd: int, seen: int, flags: int, gen: int = 0
    ) -> None:
        _bpf.map_update(
            self.maps.fds["fdb"],
            _abi.pack_fdb_key(mac, bd),
            _abi.pack_fdb_entry(seen % 2**64, port, flags, gen),
        )
        self.maps.advance_epoch()

    def delete_entry(self, mac: bytes, bd: int) -> None:
        _bpf.map_delete(self.maps.fds["fdb"], _abi.pack_fdb_key(mac, bd))
        self.maps.advance_epoch()

    def _set_state(self, index: int, tat: tuple[int, ...], learned: int) -> None:
        raw = struct.pack("=3Qq", *tat, learned) + bytes(32)
        _bpf.map_update(self.maps.fds["port_state"], struct.pack("=I", index), raw)

    def _state(self, index: int) -> tuple[tuple[int, ...], int]:
        raw = _bpf.map_lookup(self.maps.fds["port_state"], struct.pack("=I", index), 64)
        *tat, learned = struct.unpack_from("=3Qq", raw)
        return tuple(tat), learned

    def set_storm(self, index: int, tat: list[int]) -> None:
        """The arrival times that the storm limiters of a port expect."""
        self._set_state(index, tuple(max(t, 0) for t in tat), self._state(index)[1])

    def add_learned(self, index: int, delta: int) -> None:
        """As whoever deletes learned entries has to."""
        tat, learned = self._state(index)
        self._set_state(index, tat, learned + delta)

    def fdb(self) -> dict[tuple[int, bytes], dict[str, int]]:
        """Every entry by (bd, address), aged ones too."""
        found = {}
        for key, raw in _bpf.map_items(self.maps.fds["fdb"], 8, 16):
            mac, bd = _abi.unpack_fdb_key(key)
            found[bd, mac] = _abi.unpack_fdb_entry(raw)
        return found

    def counters(self) -> dict[int, dict[str, int]]:
        """Counters and reasons of each port, without zeros."""
        found: dict[int, dict[str, int]] = {}
        for key, raw in _bpf.map_items(self.maps.fds["port_stats"], 4, 64 * _CPUS):
            values = {name: n for name, n in _abi.sum_port_stats(raw).items() if n}
            if values:
                found[struct.unpack("=I", key)[0]] = values
        for index, reasons in self.maps.reasons().items():
            found.setdefault(index, {}).update(reasons)
        return found

    def flows(self) -> list[dict[str, Any]]:
        """The flows that no change has made void since they were kept."""
        epoch = struct.unpack("=Q", _bpf.map_lookup(self.maps.fds["epoch"], bytes(4), 8))[0]
        items = _bpf.map_items(self.maps.fds["flows"], 4, 64)
        found = [_abi.unpack_flow(raw) for _, raw in items]
        return [flow for flow in found if flow["device"] and flow["epoch"] == epoch]

    def travel(self, ns: int) -> None:
        """Time passes for the FDB and the storm limits: what they remember is made older."""
        for (bd, mac), e in self.fdb().items():
            self.set_entry(mac, e["port"], bd, e["seen_ns"] - ns, e["flags"], e["generation"])
        for index in range(1, self.touched):
            tat, learned = self._state(index)
            self._set_state(index, tuple(max(t - ns, 0) for t in tat), learned)


def port_values(**values: Any) -> dict[str, Any]:
    """Arguments of pack_port from names of flags and members."""
    flags = sum(bit for name, bit in _abi.PORT_FLAGS.items() if values.pop(name, False))
    return {"flags": flags, **values}
