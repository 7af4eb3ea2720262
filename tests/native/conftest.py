"""Maps of their own for each test: made without pins, they go with their descriptors."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from vnetx import _abi, _bpf, _fdb

_ROWS = {row["name"]: row for row in _abi.MAPS}
PORTS = BDS = 16


class Maps:
    """An FDB and the state of its ports, as a switch has them."""

    def __init__(self, size: int, ports: int = PORTS) -> None:
        self.fds = {
            name: self._make(name, n)
            for name, n in (("fdb", size), ("port_state", ports), ("bd_state", BDS))
        }
        self.table = _fdb.Table(self.fds["fdb"], self.fds["port_state"], self.fds["bd_state"])

    @staticmethod
    def _make(name: str, entries: int) -> int:
        row = _ROWS[name]
        return _bpf.map_create(
            row["type"], row["key_size"], row["value_size"], entries, row["flags"], name
        )

    def all(self) -> list[tuple[bytes, int, int, str, float]]:
        """Every entry, aged ones too."""
        return sorted(self.table.entries(_fdb.Filter(age=_fdb.ANY_AGE)))

    def check_counters(self) -> None:
        """The counters of learned entries are exact."""
        learned = Counter(port for _, _, port, state, _ in self.all() if state == "learned")
        counters = {port: self.table.learned(port) for port in range(PORTS)}
        assert {port: n for port, n in counters.items() if n} == learned
        learned = Counter(
            bd for _, bd, _, state, _ in self.all() if state == "learned" and bd < BDS
        )
        counters = {bd: self.table.learned_in(bd) for bd in range(BDS)}
        assert {bd: n for bd, n in counters.items() if n} == learned

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)


@pytest.fixture
def make_maps() -> Iterator[Callable[..., Maps]]:
    with contextlib.ExitStack() as stack:

        def make(size: int = 1024) -> Maps:
            maps = Maps(size)
            stack.callback(maps.close)
            return maps

        yield make


@pytest.fixture
def maps(make_maps: Callable[..., Maps]) -> Maps:
    """Room for 1024 entries and 16 ports."""
    return make_maps()
