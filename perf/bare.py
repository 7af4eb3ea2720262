"""The data plane's maps and programs alone: no pins, no devices, any size and state.

What `vnetx attach` has no reason to make, and measuring programs needs.  All of it goes
with the descriptors.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from vnetx import _abi, _bpf
from vnetx.datapath import build, load
from vnetx.datapath.maps import SwitchMaps, entries_of

_ALL_PROGRAMS = [row["name"] for row in _abi.PROGRAMS]
_DEFAULT_FLAGS = ("up", "learning", "flood_unicast", "flood_multicast", "flood_broadcast")


def port_flags(*more: str) -> int:
    """The flags of a port with default settings, and `more`."""
    return sum(_abi.PORT_FLAGS[name] for name in (*_DEFAULT_FLAGS, *more))


class BareSwitch:
    """Typed maps and descriptors of the programs over them; a context manager.

    Args:
        only: names of programs, if not all of them are wanted: the verifier takes its time.
    """

    def __init__(
        self,
        fdb_size: int = _abi.FDB_DEFAULT,
        max_ports: int = 4096,
        compiled: build.Build | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        fds: dict[str, int] = {}
        self.maps = SwitchMaps("bare", Path(os.devnull), fds)
        self.programs: dict[str, int] = {}
        try:
            for row in _abi.MAPS:
                fds[row["name"]] = _bpf.map_create(
                    row["type"],
                    row["key_size"],
                    row["value_size"],
                    entries_of(row, fdb_size, max_ports),
                    row["flags"],
                    f"vp_{row['name']}"[:15],
                )
            self.programs = load.load(
                compiled or build.build(), fds, _ALL_PROGRAMS if only is None else only
            )
            for slot, name in _abi.TAILS.items():
                if name in self.programs:
                    number = struct.pack("=I", slot)
                    _bpf.map_update(fds["tail"], number, struct.pack("=I", self.programs[name]))
            self.maps.set_switch(
                ageing_ns=_abi.AGEING_DEFAULT * 10**9, refresh_ns=10**9, port_slots=1
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.maps.close()
        while self.programs:
            os.close(self.programs.popitem()[1])

    def __enter__(self) -> BareSwitch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
