from collections.abc import Iterable, Iterator
from typing import Final

from typing_extensions import Buffer

_Entry = tuple[bytes, int, int, str, float]
_Event = tuple[int, bytes, int, int, int, int]

STATES: Final[tuple[str, ...]]
FLAGS: Final[tuple[int, ...]]
LIVE: Final[int]
AGED: Final[int]
ANY_AGE: Final[int]
SAVE: Final[int]
TABLE: Final[int]
JSON: Final[int]

class BadLine(Exception):  # noqa: N818 - the word says it
    number: int
    why: str

class TooMany(Exception):  # noqa: N818 - the word says it
    needed: int
    kept: int
    room: int

class Filter:
    def __init__(
        self,
        *,
        ports: Iterable[int] | None = None,
        bd: int | None = None,
        mac: bytes | None = None,
        states: Iterable[str] | None = None,
        age: int = ...,
        ageing_ns: int = ...,
    ) -> None: ...

class Style:
    def __init__(
        self,
        kind: int,
        labels: dict[int, bytes],
        hosts: Iterable[int] = (),
        vids: dict[int, int] | None = None,
        tail: bytes = b"",
        unknown: bytes = b"",
        vnis: dict[int, int] | None = None,
        vteps: Iterable[int] = (),
    ) -> None: ...

class Names:
    def __init__(
        self,
        wires: dict[str, int],
        hosts: dict[str, int] | None = None,
        vlans: dict[int, int] | None = None,
    ) -> None: ...

class Table:
    max_entries: int
    def __init__(self, fd: int, port_state_fd: int, bd_state_fd: int) -> None: ...
    def get(self, mac: bytes, bd: int = 0) -> _Entry | None: ...
    def insert(self, mac: bytes, bd: int, port: int, state: str, age: float = 0.0) -> bool: ...
    def remove(self, mac: bytes, bd: int = 0) -> _Entry | None: ...
    def count(self, which: Filter) -> int: ...
    def entries(self, which: Filter) -> Iterator[_Entry]: ...
    def dump(self, out_fd: int, style: Style, which: Filter, first: bool = True) -> int: ...
    def flush(self, which: Filter) -> int: ...
    def taken(self, which: Filter) -> Iterator[list[_Entry]]: ...
    def load(
        self, source: Buffer, names: Names, ageing_ns: int, instead_of: Filter | None = None
    ) -> tuple[int, int, bool]: ...
    def learned(self, port: int) -> int: ...
    def learned_in(self, bd: int) -> int: ...
    def drifts(self) -> tuple[dict[int, int], dict[int, int]]: ...
    def recount(self) -> int: ...

class Ring:
    def __init__(self, fd: int) -> None: ...
    def fileno(self) -> int: ...
    def read(self, most: int = 4096) -> list[_Event]: ...
