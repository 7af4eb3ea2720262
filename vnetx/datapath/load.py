"""From instructions to programs in the kernel, by bpf(2) rather than by bcc's loader.

bcc's cannot set program flags (multi-buffer XDP), cannot attach by links and
takes no map that it did not make.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vnetx import _abi, _bpf
from vnetx.datapath.build import Build
from vnetx.errors import VnetxError, from_os, words

_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM
_PSEUDO_MAP_FD = 1


def with_maps(code: bytes, fds: dict[int, int]) -> bytes:
    """The instructions with each map's number replaced by its descriptor.

    Args:
        code: instructions as bcc hands them out.
        fds: descriptor of each map of ``enum vnetx_map_id``.
    """
    out = bytearray(code)
    for offset in range(0, len(code), _INSTRUCTION.size):
        opcode, registers, jump, value = _INSTRUCTION.unpack_from(code, offset)
        if opcode == _LOAD_64 and registers >> 4 == _PSEUDO_MAP_FD:
            _INSTRUCTION.pack_into(out, offset, opcode, registers, jump, fds[value])
    return bytes(out)


def _relevant(log: str) -> str:
    """The verifier's last words before its statistics, with the instruction that they are on."""
    lines = [line for line in log.splitlines() if line.strip()]
    lines = [
        line
        for line in lines
        if not re.match(r"processed \d+|verification time|stack depth|max_states", line)
    ]
    return "\n".join(lines[-3:])


def load(build: Build, map_fds: dict[str, int], names: Collection[str]) -> dict[str, int]:
    """Loads programs over the given maps.

    Args:
        build: what to load.
        map_fds: descriptors of the switch's maps by name.
        names: of the programs.

    Returns:
        Descriptors of the programs by name; the caller closes them.

    Raises:
        VnetxError: one could not be compiled, or the verifier refused it; `detail` has the
            whole log.
    """
    code = build.code(names)
    fds = {row["id"]: map_fds[row["name"]] for row in _abi.MAPS}
    # the verifier takes most of the time, one program a processor
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        loading = {
            row["name"]: pool.submit(_load_one, row, with_maps(code[row["name"]], fds))
            for row in _abi.PROGRAMS
            if row["name"] in names
        }
    errors = [error for each in loading.values() if (error := each.exception())]
    if errors:
        for each in loading.values():
            if not each.exception():
                os.close(each.result())
        raise errors[0]
    return {name: each.result() for name, each in loading.items()}


def _load_one(row: dict[str, Any], code: bytes) -> int:
    name = row["name"]
    arguments = (row["type"], code, f"vnetx_{name}"[:15], row["attach_type"], row["flags"])
    try:
        return _bpf.prog_load(*arguments)
    except OSError as first:
        if first.errno == errno.EPERM:
            raise from_os(f"loading program {name}", first) from first
        try:  # once more, for the log
            return _bpf.prog_load(*arguments, log_level=1)
        except OSError as error:
            log = getattr(error, "log", "")
            if not log:
                remedy = "vnetx doctor tells what the kernel lacks"
                raise from_os(f"loading program {name}", first, remedy) from error
            raise VnetxError(
                f"loading program {name}",
                f"the verifier refused it: {words(first)}\n{_relevant(log)}",
                "vnetx -vv shows the whole log of the verifier",
                log,
            ) from error
