"""Loading and dumping a large FDB: vnetx beside plain C and bcc's tables.

``python -m vnetx_perf.fdb_tables --help``.  All take a hash map with 8-byte keys and
16-byte values, preallocated.  C has its keys and values in memory and only copies them; vnetx
reads the text of a file and checks every line of it first, and writes text or JSON; bcc goes
through Python objects, and reads the same file without a check.  ``load-keys`` is bcc with
its keys at hand, as C has them.  Every measurement is a process of its own, on one core, in turns.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vnetx_perf import machine, stats

BASELINE = Path(__file__).parents[1] / "tests" / "native" / "baseline.c"

#: (action, what it is measured against, limit, whether it is an upper one).
TARGETS = (
    ("load", "C", 1.5, True),
    ("dump", "C", 1.5, True),
    ("dump-json", "C", 1.5, True),
    ("load", "bcc", 5.0, False),
    ("dump", "bcc", 15.0, False),
)
MEMORY_MB = 300

Times = dict[str, tuple[float, float]]


def _timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


# ------------------------------------------------------------ subjects


def write_file(path: Path, entries: int) -> None:
    """A table as `vnetx fdb save` writes it: learned entries on four ports."""
    with path.open("w") as out:
        for n in range(entries):
            address = f"02:00:{n >> 24:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"
            out.write(f"{address} port veth{n * 7 % 4} learned age {n % 97}\n")


def c(baseline: Path, entries: int) -> Times:
    done = subprocess.run([baseline, str(entries)], capture_output=True, text=True, check=True)
    load, load_cpu, dump, dump_cpu = map(float, done.stdout.split())
    return {"load": (load, load_cpu), "dump": (dump, dump_cpu), "dump-json": (dump, dump_cpu)}


def vnetx(path: Path, entries: int) -> Times:
    """In a new process: see :func:`_worker`."""
    command = [sys.executable, "-m", "vnetx_perf.fdb_tables", "--worker", str(path)]
    done = subprocess.run(
        [*command, "--entries", str(entries)], capture_output=True, text=True, check=True
    )
    return {name: tuple(values) for name, values in json.loads(done.stdout).items()}


def _worker(path: Path, entries: int) -> Times:
    from vnetx import _abi, _bpf, _fdb

    rows = {row["name"]: row for row in _abi.MAPS}

    def make(name: str, size: int) -> int:
        row = rows[name]
        return _bpf.map_create(
            row["type"], row["key_size"], row["value_size"], size, row["flags"], name
        )

    table = _fdb.Table(make("fdb", entries), make("port_state", 8192), make("bd_state", 4096))
    ports = {f"veth{number}": number + 1 for number in range(4)}
    times = {}

    def load() -> None:
        with path.open("rb") as file:
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert table.load(text, _fdb.Names(ports), 300 * 10**9)[0] == entries

    def dump(style: _fdb.Style) -> None:
        with tempfile.TemporaryFile(dir=path.parent) as out:
            which = _fdb.Filter(ageing_ns=300 * 10**9)
            assert table.dump(out.fileno(), style, which) == entries

    times["load"] = _timed(load)
    labels = {number: name.encode() for name, number in ports.items()}
    times["dump"] = _timed(lambda: dump(_fdb.Style(_fdb.SAVE, labels)))
    members = {
        number: b'"switch": "vnetx0", "port": "' + name + b'", "state": "'
        for number, name in labels.items()
    }
    times["dump-json"] = _timed(lambda: dump(_fdb.Style(_fdb.JSON, members)))
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    times["memory"] = (int(peak.split()[1]) / 1024, 0.0)
    times["tuples"] = _timed(lambda: sum(1 for _ in table.entries(_fdb.Filter())))
    times["flush"] = _timed(lambda: table.flush(_fdb.Filter()))
    return times


def bcc(path: Path, entries: int) -> Times:
    """In a new process: see :func:`_bcc_worker`."""
    command = [sys.executable, "-m", "vnetx_perf.fdb_tables", "--bcc-worker", str(path)]
    done = subprocess.run(
        [*command, "--entries", str(entries)], capture_output=True, text=True, check=True
    )
    return {name: tuple(values) for name, values in json.loads(done.stdout).items()}


def _bcc_worker(path: Path, entries: int) -> Times:
    from vnetx.datapath import headers

    with tempfile.TemporaryDirectory() as scratch, headers.provided(Path(scratch)):
        from bcc import BPF

        text = "struct value { u64 seen; u64 rest; };\n"
        for name in ("fdb", "other"):
            text += f'BPF_TABLE("hash", u64, struct value, {name}, {entries});\n'
        module = BPF(text=text)
    table, other = module["fdb"], module["other"]
    key, leaf = table.Key, table.Leaf

    def load() -> None:
        ports = {f"veth{number}": number + 1 for number in range(4)}
        with path.open() as file:
            for line in file:
                mac, _, port, _, _, age = line.split()
                address = int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")
                table[key(address)] = leaf(int(age), ports[port])

    def load_keys() -> None:
        for number in range(entries):
            other[key(number)] = leaf(number, 0)

    def dump() -> None:
        assert sum(1 for _ in table.items()) == entries

    times = {"load": _timed(load), "dump": _timed(dump)}
    return {**times, "dump-json": times["dump"], "load-keys": _timed(load_keys)}


# ------------------------------------------------------------ report


def measure(entries: int, rounds: int, bcc_rounds: int) -> dict[str, list[Times]]:
    """The figures of every subject, a dictionary a round."""
    found: dict[str, list[Times]] = {"C": [], "vnetx": [], "bcc": []}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        baseline, path = Path(scratch) / "baseline", Path(scratch) / "fdb"
        subprocess.run(["gcc", "-O2", "-o", baseline, BASELINE], check=True)
        write_file(path, entries)
        for number in range(rounds):
            found["C"].append(c(baseline, entries))
            found["vnetx"].append(vnetx(path, entries))
            if number < bcc_rounds:
                found["bcc"].append(bcc(path, entries))
    return found


def ratios(found: dict[str, list[Times]]) -> list[dict[str, Any]]:
    """Each target's ratio, by the clock and by CPU time, and whether it holds."""
    rows = []
    for action, against, limit, upper in TARGETS:
        ours, theirs = found["vnetx"], found[against]
        row: dict[str, Any] = {"action": action, "against": against, "limit": limit}
        for kind, name in enumerate(("clock", "cpu")):
            pairs = [(a[action][kind], b[action][kind]) for a, b in zip(ours, theirs, strict=False)]
            if not pairs:
                break
            mine, other = [a for a, _ in pairs], [b for _, b in pairs]
            estimate = stats.ratio(mine, other) if upper else stats.ratio(other, mine)
            holds = estimate.value <= limit if upper else estimate.value >= limit
            row[name] = [estimate.value, estimate.low, estimate.high]
            row[f"{name}_holds"] = holds
        rows.append(row)
    return rows


def _show(entries: int, found: dict[str, list[Times]], rows: list[dict[str, Any]]) -> None:
    print(f"{entries:,} entries, {len(found['C'])} rounds; medians, seconds (CPU time)")
    for action in ("load", "load-keys", "dump", "dump-json", "tuples", "flush"):
        cells = []
        for subject, rounds in found.items():
            times = [r[action] for r in rounds if action in r]
            if times:
                wall, cpu = (stats.bootstrap([t[i] for t in times]).value for i in (0, 1))
                cells.append(f"{subject} {wall:6.3f} ({cpu:6.3f})")
        print(f"  {action:10} {'   '.join(cells)}")
    memory = max(r["memory"][0] for r in found["vnetx"])
    print(f"  memory     vnetx {memory:.0f} MB at most, target < {MEMORY_MB} MB")
    print("ratios: by the clock [interval], by CPU time")
    for row in rows:
        if "clock" not in row:
            continue
        (value, low, high), (cpu, _, _) = row["clock"], row["cpu"]
        upper = row["against"] == "C"
        what = f"{row['action']} / C" if upper else f"bcc / {row['action']}"
        verdict = "holds" if row["clock_holds"] else "MISSED"
        print(
            f"  {what:16} {value:6.2f} [{low:.2f}, {high:.2f}]  {cpu:6.2f}"
            f"   {'≤' if upper else '≥'} {row['limit']:g} {verdict}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bcc-rounds", type=int, default=2, help="bcc takes long; 0 for none")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json-out", type=Path, metavar="FILE")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bcc-worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker or options.bcc_worker:
        entries = options.entries
        done = (
            _bcc_worker(options.bcc_worker, entries)
            if options.bcc_worker
            else _worker(options.worker, entries)
        )
        print(json.dumps(done))
        return 0
    os.sched_setaffinity(0, {options.core})
    found = measure(options.entries, options.rounds, options.bcc_rounds)
    rows = ratios(found)
    _show(options.entries, found, rows)
    if options.json_out:
        document = {
            "machine": machine.describe(),
            "entries": options.entries,
            "rounds": found,
            "ratios": rows,
            "memory": max(times["memory"][0] for times in found["vnetx"]),
        }
        options.json_out.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
