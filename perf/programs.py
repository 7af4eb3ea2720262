"""The harness's own eBPF programs, written as instructions: no compiler is needed for them."""

from __future__ import annotations

import struct

from vnetx import _bpf

SCHED_CLS = 3
XDP = 6
_PERCPU_ARRAY = 6
_PROG_ARRAY = 3

TC_SHOT = 2
TC_NEXT = -1
XDP_DROP = 1
XDP_PASS = 2
XDP_TX = 3

# Opcodes (include/uapi/linux/bpf.h).
_MOV_IMM, _MOV_REG, _ADD_IMM, _ADD_REG, _SUB_REG = 0xB7, 0xBF, 0x07, 0x0F, 0x1F
_MOD_IMM, _OR_IMM, _LSH_IMM = 0x97, 0x47, 0x67
_LOAD_W, _LOAD_DW, _STORE_W, _STORE_DW = 0x61, 0x79, 0x63, 0x7B
_LOAD_MAP = 0x18
_JUMP_EQ, _JUMP_NE, _JUMP_GT_REG = 0x15, 0x55, 0x2D
_CALL, _EXIT = 0x85, 0x95
_MAP_LOOKUP, _GET_PRANDOM_U32, _TAIL_CALL, _REDIRECT_PEER = 1, 7, 12, 155


def _insn(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, to | source << 4, offset, value)


def _load_map(to: int, fd: int) -> bytes:
    return _insn(_LOAD_MAP, to, 1, 0, fd) + _insn(0)


def _verdict(value: int) -> bytes:
    return _insn(_MOV_IMM, 0, value=value) + _insn(_EXIT)


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


class Randomiser:
    """A program that writes a random address into the frame and calls another.

    The last four bytes of the destination become a number below `count`, in the machine's
    byte order (:func:`vnetx._probe.fdb_fill` makes such addresses); the program in the slot
    then goes on with the frame.
    """

    def __init__(self, kind: int, count: int, flags: int = 0) -> None:
        self._slot = _bpf.map_create(_PROG_ARRAY, 4, 4, 1, 0, "perf_next")
        ends = (0, 4) if kind == XDP else (76, 80)  # data and data_end of the context
        store = (
            _insn(_LOAD_W, 2, 6, ends[0])
            + _insn(_LOAD_W, 3, 6, ends[1])
            + _insn(_MOV_REG, 4, 2)
            + _insn(_ADD_IMM, 4, value=14)
            + _insn(_JUMP_GT_REG, 4, 3, 1)
            + _insn(_STORE_W, 2, 0, 2)
        )
        code = (
            _insn(_MOV_REG, 6, 1)
            + _insn(_CALL, value=_GET_PRANDOM_U32)
            + _insn(_MOD_IMM, 0, value=count)
            + store
            + _insn(_MOV_REG, 1, 6)
            + _load_map(2, self._slot)
            + _insn(_MOV_IMM, 3, value=0)
            + _insn(_CALL, value=_TAIL_CALL)
            + _verdict(0)
        )
        self.fd = _bpf.prog_load(kind, code, "perf_random", _bpf.ATTACH_XDP * (kind == XDP), flags)

    def then(self, program: int) -> None:
        """Sets the program that goes on with the frame."""
        _bpf.map_update(self._slot, bytes(4), struct.pack("=I", program))


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
