from typing import Final, TypedDict

BATCH: Final[int]
LATENCY_CELLS: Final[int]
LATENCY_FINE: Final[int]
LATENCY_SHIFT: Final[int]

class Driven(TypedDict):
    histogram: Histogram
    lost: int
    elapsed_ns: int
    cpu_ns: int

class Flooded(TypedDict):
    sent: int
    refused: int
    elapsed_ns: int
    cpu_ns: int

class Paced(Flooded):
    late: int

def now_ns() -> int: ...
def cpu_ns() -> int: ...

class Histogram:
    count: int
    min: int
    max: int
    @property
    def mean(self) -> float: ...
    def record(self, value: int, times: int = 1) -> None: ...
    def merge(self, other: Histogram) -> None: ...
    def percentile(self, percent: float) -> float: ...
    def items(self) -> list[tuple[float, int]]: ...

def serve(fd: int, size: int, stream: bool, until_ns: int) -> tuple[int, int]: ...
def drive(
    fd: int, size: int, stream: bool, warm_ns: int, run_ns: int, least: int = 100
) -> Driven: ...
def stream_send(fd: int, chunk: int, until_ns: int) -> tuple[int, int]: ...
def stream_receive(fd: int, chunk: int, from_ns: int, until_ns: int) -> tuple[int, int, int]: ...
def read_latency(fd: int) -> Histogram: ...
def reset_latency(fd: int) -> None: ...
def flood(fd: int, message: bytes, count: int) -> Flooded: ...
def pace(
    fd: int,
    message: bytes,
    period_ns: float,
    count: int,
    limit_ns: int,
    stamp_at: int,
    group: int = 1,
) -> Paced: ...
def fdb_fill(
    fd: int,
    first: int,
    count: int,
    ports: int,
    first_port: int = 1,
    bd: int = 0,
    batch: int = 4096,
) -> None: ...
