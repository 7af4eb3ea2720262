"""The harness's own eBPF programs, written as instructions: no compiler is needed for them."""

from __future__ import annotations

import os
import socket
import struct

from vnetx import _bpf, _probe

SCHED_CLS = 3
XDP = 6
_ARRAY = 2
_PROG_ARRAY = 3
_PERCPU_ARRAY = 6
_F_MMAPABLE = 1 << 10

#: UDP destination port of the frames that carry a time.
STAMP_PORT = 10009
#: Where the time is in a UDP/IPv4 frame: at the beginning of the payload.
STAMP_AT = 14 + 20 + 8

TC_SHOT = 2
TC_NEXT = -1
XDP_DROP = 1
XDP_PASS = 2
XDP_TX = 3

# Opcodes (include/uapi/linux/bpf.h).
_MOV_IMM, _MOV_REG, _ADD_IMM, _ADD_REG, _SUB_REG = 0xB7, 0xBF, 0x07, 0x0F, 0x1F
_MOD_IMM, _OR_IMM, _LSH_IMM, _RSH_IMM = 0x97, 0x47, 0x67, 0x77
_LOAD_H, _LOAD_B, _LOAD_W, _LOAD_DW = 0x69, 0x71, 0x61, 0x79
_STORE_W, _STORE_DW, _ATOMIC_DW, _ATOMIC_ADD = 0x63, 0x7B, 0xDB, 0
_LOAD_IMM64 = _LOAD_MAP = 0x18
_JUMP_EQ, _JUMP_NE, _JUMP_LT = 0x15, 0x55, 0xA5
_JUMP_GT_REG, _JUMP_GE_REG = 0x2D, 0x3D
_CALL, _EXIT = 0x85, 0x95
_MAP_LOOKUP, _KTIME_GET_NS, _GET_PRANDOM_U32, _TAIL_CALL = 1, 5, 7, 12
_SKB_VLAN_POP, _SKB_LOAD_BYTES, _REDIRECT_PEER = 19, 26, 155


def _insn(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, to | source << 4, offset, value)


def _load_map(to: int, fd: int) -> bytes:
    return _insn(_LOAD_MAP, to, 1, 0, fd) + _insn(0)


def _load_imm64(to: int, value: int) -> bytes:
    low, high = struct.unpack("<ii", struct.pack("<Q", value))
    return _insn(_LOAD_IMM64, to, value=low) + _insn(0, value=high)


def _verdict(value: int) -> bytes:
    return _insn(_MOV_IMM, 0, value=value) + _insn(_EXIT)


def _wants_stamp(base: int, start: int, away: int) -> bytes:
    """Goes on where `base`, `start` bytes before the frame's first one, has a UDP/IPv4 frame to
    :data:`STAMP_PORT` without IP options, else `away` instructions further.  Uses r1."""
    checks = (
        (_LOAD_H, 12, 0x0800),
        (_LOAD_B, 14, 0x45),
        (_LOAD_B, 23, socket.IPPROTO_UDP),
        (_LOAD_H, 36, STAMP_PORT),
    )
    code = b""
    for number, (load, at, value) in enumerate(checks):
        expected = value if load == _LOAD_B else socket.htons(value)
        beyond = away + 2 * (len(checks) - 1 - number)
        code += _insn(load, 1, base, start + at) + _insn(_JUMP_NE, 1, 0, beyond, expected)
    return code


class Counter:
    """A per-CPU counter that a program of :func:`sink` counts in."""

    def __init__(self) -> None:
        with open("/sys/devices/system/cpu/possible") as file:
            self._cpus = int(file.read().strip().replace(",", "-").split("-")[-1]) + 1
        self.fd = _bpf.map_create(_PERCPU_ARRAY, 4, 8, 1, 0, "perf_count")

    def read(self) -> int:
        raw = _bpf.map_lookup(self.fd, bytes(4), 8 * self._cpus)
        return sum(struct.unpack(f"={self._cpus}Q", raw))


def sink(counter: Counter, length: int, xdp: bool = False) -> int:
    """A program that counts and drops frames of `length` bytes and lets others pass.

    Returns:
        Its descriptor.
    """
    size = (
        _insn(_LOAD_W, 2, 1, 0)  # r2 = data
        + _insn(_LOAD_W, 3, 1, 4)  # r3 = data_end
        + _insn(_SUB_REG, 3, 2)
        if xdp
        else _insn(_LOAD_W, 3, 1, 0)  # r3 = skb->len
    )
    count = (
        _insn(_STORE_W, 10, 0, -4)
        + _insn(_MOV_REG, 2, 10)
        + _insn(_ADD_IMM, 2, value=-4)
        + _load_map(1, counter.fd)
        + _insn(_CALL, value=_MAP_LOOKUP)
        + _insn(_JUMP_EQ, 0, 0, 3, 0)
        + _insn(_LOAD_DW, 1, 0)
        + _insn(_ADD_IMM, 1, value=1)
        + _insn(_STORE_DW, 0, 1)
        + _verdict(XDP_DROP if xdp else TC_SHOT)
    )
    zero = _insn(_MOV_IMM, 0, value=0)
    skip = len(zero + count) // 8
    code = size + _insn(_JUMP_NE, 3, 0, skip, length) + zero + count
    code += _verdict(XDP_PASS if xdp else TC_NEXT)
    return _bpf.prog_load(XDP if xdp else SCHED_CLS, code, "perf_sink", _bpf.ATTACH_XDP * xdp)


class Latency:
    """A histogram in the kernel that a program of :func:`latency_sink` counts in.

    A BPF_F_MMAPABLE array of u64; for the layout see :func:`vnetx._probe.read_latency`.
    """

    def __init__(self) -> None:
        self.fd = _bpf.map_create(_ARRAY, 4, 8, _probe.LATENCY_CELLS, _F_MMAPABLE, "perf_latency")

    def read(self) -> _probe.Histogram:
        """What was counted since the last reset, in ns."""
        return _probe.read_latency(self.fd)

    def reset(self) -> None:
        _probe.reset_latency(self.fd)


def stamp() -> int:
    """A TC program, for egress, that writes bpf_ktime_get_ns() into probe frames.

    They are those to :data:`STAMP_PORT`; the time goes to :data:`STAMP_AT`, 8 bytes in the
    machine's byte order.  It is read as late as can be, and the UDP checksum is not
    corrected: senders leave it out (0, RFC 768).

    Returns:
        Its descriptor.
    """
    write = _insn(_CALL, value=_KTIME_GET_NS) + _insn(_STORE_DW, 6, 0, STAMP_AT)
    recognise = _wants_stamp(6, 0, len(write) // 8)
    bounds = (
        _insn(_LOAD_W, 6, 1, 76)  # r6 = data
        + _insn(_LOAD_W, 3, 1, 80)  # r3 = data_end
        + _insn(_MOV_REG, 2, 6)
        + _insn(_ADD_IMM, 2, value=STAMP_AT + 8)
        + _insn(_JUMP_GT_REG, 2, 3, len(recognise + write) // 8)
    )
    code = bounds + recognise + write + _verdict(TC_NEXT)
    return _bpf.prog_load(SCHED_CLS, code, "perf_stamp")


def _cell() -> bytes:
    """r3 = the cell of the time from r3 to r7, in ns; 0 where r3 is later."""
    coarse = (
        _insn(_RSH_IMM, 7, value=_probe.LATENCY_SHIFT)
        + _insn(_ADD_IMM, 7, value=_probe.LATENCY_FINE)
        + _insn(_JUMP_LT, 7, 0, 1, _probe.LATENCY_CELLS)
        + _insn(_MOV_IMM, 7, value=_probe.LATENCY_CELLS - 1)
    )
    return (
        _insn(_JUMP_GE_REG, 7, 3, 1)
        + _insn(_MOV_REG, 3, 7)
        + _insn(_SUB_REG, 7, 3)
        + _insn(_JUMP_LT, 7, 0, len(coarse) // 8, _probe.LATENCY_FINE)
        + coarse
        + _insn(_MOV_REG, 3, 7)
    )


def latency_sink(latency: Latency, now_ns: int | None = None) -> int:
    """A TC program that counts how old probe frames are, drops them, and lets others pass.

    Probe frames are those to :data:`STAMP_PORT`; their age is bpf_ktime_get_ns() less the
    time at :data:`STAMP_AT`, and 0 where that is in the future.

    Args:
        now_ns: what the program takes for the time instead of the clock's.

    Returns:
        Its descriptor.
    """
    # r10 - 38 is the frame's byte 12: so the time comes to lie at r10 - 8, aligned.
    first = 12
    size = STAMP_AT + 8 - first
    clock = (
        _insn(_CALL, value=_KTIME_GET_NS) + _insn(_MOV_REG, 7, 0)
        if now_ns is None
        else _load_imm64(7, now_ns)
    )
    count = (
        _insn(_LOAD_DW, 3, 10, -8)
        + _cell()
        + _insn(_STORE_W, 10, 3, -8)
        + _insn(_MOV_REG, 2, 10)
        + _insn(_ADD_IMM, 2, value=-8)
        + _load_map(1, latency.fd)
        + _insn(_CALL, value=_MAP_LOOKUP)
        + _insn(_JUMP_EQ, 0, 0, 2, 0)
        + _insn(_MOV_IMM, 1, value=1)
        + _insn(_ATOMIC_DW, 0, 1, 0, _ATOMIC_ADD)
        + _verdict(TC_SHOT)
    )
    recognise = _wants_stamp(10, -size - first, len(count) // 8)
    load = (
        _insn(_MOV_REG, 6, 1)
        + clock
        + _insn(_MOV_REG, 1, 6)
        + _insn(_MOV_IMM, 2, value=first)
        + _insn(_MOV_REG, 3, 10)
        + _insn(_ADD_IMM, 3, value=-size)
        + _insn(_MOV_IMM, 4, value=size)
        + _insn(_CALL, value=_SKB_LOAD_BYTES)
        + _insn(_JUMP_NE, 0, 0, len(recognise + count) // 8, 0)
    )
    return _bpf.prog_load(SCHED_CLS, load + recognise + count + _verdict(TC_NEXT), "perf_latency")


def lossy(every: int, length: int) -> int:
    """A TC program that drops one of `every` frames of `length` bytes, counting them: a
    planted fault.

    Returns:
        Its descriptor; the map that it counts in goes with it.
    """
    slot = _bpf.map_create(_ARRAY, 4, 8, 1, 0, "perf_lossy")
    drop = (
        _insn(_STORE_W, 10, 3, -4)
        + _insn(_MOV_REG, 2, 10)
        + _insn(_ADD_IMM, 2, value=-4)
        + _load_map(1, slot)
        + _insn(_CALL, value=_MAP_LOOKUP)
        + _insn(_JUMP_EQ, 0, 0, 7, 0)
        + _insn(_LOAD_DW, 1, 0)
        + _insn(_ADD_IMM, 1, value=1)
        + _insn(_STORE_DW, 0, 1)
        + _insn(_MOD_IMM, 1, value=every)
        + _insn(_JUMP_NE, 1, 0, 2, 0)
        + _verdict(TC_SHOT)
    )
    code = (
        _insn(_LOAD_W, 2, 1, 0)  # r2 = skb->len
        + _insn(_MOV_IMM, 3, value=0)
        + _insn(_JUMP_NE, 2, 0, len(drop) // 8, length)
        + drop
        + _verdict(TC_NEXT)
    )
    try:
        return _bpf.prog_load(SCHED_CLS, code, "perf_lossy")
    finally:
        os.close(slot)


def constant(kind: int, verdict: int, flags: int = 0) -> int:
    """A program that returns `verdict` and does nothing else."""
    attach = _bpf.ATTACH_XDP * (kind == XDP)
    return _bpf.prog_load(kind, _verdict(verdict), "perf_constant", attach, flags)


def redirect_peer(ifindex: int) -> int:
    """A TC program that hands every frame to a veth's peer and looks at none."""
    code = (
        _insn(_MOV_IMM, 1, value=ifindex)
        + _insn(_MOV_IMM, 2, value=0)
        + _insn(_CALL, value=_REDIRECT_PEER)
        + _insn(_EXIT)
    )
    return _bpf.prog_load(SCHED_CLS, code, "perf_redirect")


class _Before:
    """A program that does something to the frame and calls another one."""

    fd: int

    def __init__(self) -> None:
        self._slot = _bpf.map_create(_PROG_ARRAY, 4, 4, 1, 0, "perf_next")

    def then(self, program: int) -> None:
        """Sets the program that goes on with the frame."""
        _bpf.map_update(self._slot, bytes(4), struct.pack("=I", program))

    def _go_on(self) -> bytes:
        """Ends with the call; r6 = the context."""
        return (
            _insn(_MOV_REG, 1, 6)
            + _load_map(2, self._slot)
            + _insn(_MOV_IMM, 3, value=0)
            + _insn(_CALL, value=_TAIL_CALL)
            + _verdict(0)
        )


class Untagger(_Before):
    """A TC program that takes a tag, if there is one, off the frame and calls another one."""

    def __init__(self) -> None:
        super().__init__()
        code = _insn(_MOV_REG, 6, 1) + _insn(_CALL, value=_SKB_VLAN_POP) + self._go_on()
        self.fd = _bpf.prog_load(SCHED_CLS, code, "perf_untag")


class Randomiser(_Before):
    """A program that writes a random address into the frame and calls another.

    The last four bytes of the destination, or of the source, become a number below `count`, in
    the machine's byte order (:func:`vnetx._probe.fdb_fill` makes such addresses); the program
    in the slot then goes on with the frame.
    """

    def __init__(self, kind: int, count: int, flags: int = 0, source: bool = False) -> None:
        super().__init__()
        ends = (0, 4) if kind == XDP else (76, 80)  # data and data_end of the context
        store = (
            _insn(_LOAD_W, 2, 6, ends[0])
            + _insn(_LOAD_W, 3, 6, ends[1])
            + _insn(_MOV_REG, 4, 2)
            + _insn(_ADD_IMM, 4, value=14)
            + _insn(_JUMP_GT_REG, 4, 3, 1)
            + _insn(_STORE_W, 2, 0, 8 if source else 2)
        )
        code = (
            _insn(_MOV_REG, 6, 1)
            + _insn(_CALL, value=_GET_PRANDOM_U32)
            + _insn(_MOD_IMM, 0, value=count)
            + store
            + self._go_on()
        )
        self.fd = _bpf.prog_load(kind, code, "perf_random", _bpf.ATTACH_XDP * (kind == XDP), flags)


def lookup(fdb: int, count: int) -> int:
    """A program that looks a random one of `count` addresses up in an FDB, and no more:
    what the table alone costs, caches included."""
    code = (
        _insn(_CALL, value=_GET_PRANDOM_U32)
        + _insn(_MOD_IMM, 0, value=count)
        + _insn(_LSH_IMM, 0, value=16)
        + _insn(_OR_IMM, 0, value=0x0002)
        + _insn(_STORE_DW, 10, 0, -8)  # 02:00, the number, bridge domain 0
        + _insn(_MOV_REG, 2, 10)
        + _insn(_ADD_IMM, 2, value=-8)
        + _load_map(1, fdb)
        + _insn(_CALL, value=_MAP_LOOKUP)
        + _insn(_JUMP_EQ, 0, 0, 1, 0)
        + _insn(_LOAD_DW, 1, 0)
        + _verdict(TC_NEXT)
    )
    return _bpf.prog_load(SCHED_CLS, code, "perf_lookup")


def draw(count: int) -> int:
    """The program of :func:`lookup` without the look-up."""
    code = (
        _insn(_CALL, value=_GET_PRANDOM_U32) + _insn(_MOD_IMM, 0, value=count) + _verdict(TC_NEXT)
    )
    return _bpf.prog_load(SCHED_CLS, code, "perf_draw")


def burn(calls: int) -> int:
    """A TC program that reads the clock `calls` times and lets the frame pass: a planted delay."""
    return _bpf.prog_load(
        SCHED_CLS, _insn(_CALL, value=_KTIME_GET_NS) * calls + _verdict(TC_NEXT), "perf_burn"
    )
