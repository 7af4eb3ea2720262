"""The FDB by batches, against plain Python."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import twin
from native.conftest import Maps
from vnetx import _fdb

pytestmark = pytest.mark.root

MEANINGS = twin.Meanings({"p1": 1, "p2": 2, 'q"\\': 3}, {"p1": 4}, {10: 1, 4094: 2})
NAMES = _fdb.Names(dict(MEANINGS.wires), dict(MEANINGS.hosts), dict(MEANINGS.vlans))
AGEING_S = 300
AGEING = AGEING_S * 10**9


def mac(number: int) -> bytes:
    return b"\x02\x00" + number.to_bytes(4, "big")


def line(number: int, rest: str = "port p1 static") -> str:
    return f"{mac(number).hex(':')} {rest}\n"


def dumped(maps: Maps, style: _fdb.Style, **which: object) -> str:
    with tempfile.TemporaryFile() as out:
        maps.table.dump(out.fileno(), style, _fdb.Filter(**which))  # type: ignore[arg-type]
        out.seek(0)
        return out.read().decode()


def saved(maps: Maps) -> str:
    labels = {port: os.fsencode(name) for name, port in MEANINGS.wires.items()}
    labels |= {port: os.fsencode(name) for name, port in MEANINGS.hosts.items()}
    vids = {bd: vid for vid, bd in MEANINGS.vlans.items()}
    style = _fdb.Style(_fdb.SAVE, labels, hosts=MEANINGS.hosts.values(), vids=vids)
    return dumped(maps, style)


# ------------------------------------------------------------ one entry


def test_insert_get_remove(maps: Maps) -> None:
    table = maps.table
    assert table.get(mac(1)) is None
    assert table.insert(mac(1), 0, 3, "learned", 20)
    assert not table.insert(mac(1), 0, 5, "static")
    found = table.get(mac(1))
    assert found is not None
    assert found[:4] == (mac(1), 0, 3, "learned")
    assert 20 <= found[4] < 25
    assert table.learned(3) == 1
    assert table.get(mac(1), 7) is None
    assert table.remove(mac(1)) is not None
    assert table.remove(mac(1)) is None
    maps.check_counters()


def test_a_full_table_says_so(make_maps: Callable[..., Maps]) -> None:
    table = make_maps(16).table
    for number in range(16):
        table.insert(mac(number), 0, 1, "static")
    with pytest.raises(OSError, match="too long") as caught:
        table.insert(mac(99), 0, 1, "static")
    assert caught.value.errno == errno.E2BIG


# ------------------------------------------------------------ filters

ENTRIES = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 40)),
    st.tuples(st.integers(1, 5), st.sampled_from(twin.STATES), st.sampled_from([0, 100, 400])),
    max_size=40,
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "ports": st.sets(st.integers(0, 6)),
        "bd": st.integers(0, 3),
        "mac": st.integers(0, 40).map(mac),
        "states": st.sets(st.sampled_from(twin.STATES)),
        "age": st.sampled_from([_fdb.LIVE, _fdb.AGED, _fdb.ANY_AGE]),
    },
)


def fill(maps: Maps, entries: dict[tuple[int, int], tuple[int, str, int]]) -> None:
    for (bd, number), (port, state, age) in entries.items():
        assert maps.table.insert(mac(number), bd, port, state, age)


def matching(
    entries: dict[tuple[int, int], tuple[int, str, int]], query: dict[str, object]
) -> set[tuple[bytes, int, int, str]]:
    found = set()
    for (bd, number), (port, state, age) in entries.items():
        aged = state == "learned" and age >= AGEING_S
        wanted = query.get("age", _fdb.LIVE)
        if wanted != _fdb.ANY_AGE and aged != (wanted == _fdb.AGED):
            continue
        if (
            port in query.get("ports", [port])  # type: ignore[operator]
            and bd == query.get("bd", bd)
            and mac(number) == query.get("mac", mac(number))
            and state in query.get("states", [state])  # type: ignore[operator]
        ):
            found.add((mac(number), bd, port, state))
    return found


@given(ENTRIES, QUERIES)
def test_filters(entries: dict, query: dict) -> None:
    with contextlib.closing(Maps(64)) as maps:
        fill(maps, entries)
        expected = matching(entries, query)

        def which() -> _fdb.Filter:
            return _fdb.Filter(**query, ageing_ns=AGEING)

        table = maps.table
        assert table.count(which()) == len(expected)
        assert {entry[:4] for entry in table.entries(which())} == expected
        before = {entry[:4] for entry in maps.all()}
        assert table.flush(which()) == len(expected)
        assert {entry[:4] for entry in maps.all()} == before - expected
        maps.check_counters()


def test_taken_yields_what_it_deletes(maps: Maps) -> None:
    fill(maps, {(0, n): (1 + n % 2, "learned", 500 * (n % 3)) for n in range(100)})
    which = _fdb.Filter(age=_fdb.AGED, ageing_ns=AGEING)
    taken = {entry[0] for entries in maps.table.taken(which) for entry in entries}
    assert taken == {mac(n) for n in range(100) if n % 3}
    maps.check_counters()


# ------------------------------------------------------------ text

FINE_LINES = st.builds(
    twin.Entry,
    st.integers(0, 2**16).map(mac),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(twin.STATES[:3]),
    st.integers(0, AGEING_S - 5),
)


@given(st.lists(FINE_LINES, unique_by=lambda e: (e.bd, e.mac), max_size=60))
def test_what_is_saved_is_loaded(entries: list[twin.Entry]) -> None:
    text = "".join(twin.format_entry(entry, MEANINGS) for entry in entries)
    with contextlib.closing(Maps(64)) as maps:
        assert maps.table.load(text.encode(), NAMES, AGEING) == (len(entries), 0, False)
        maps.check_counters()
        again = saved(maps).splitlines()
        # (ages may be a second more by now)
        strip = "".join(sorted(again)).split
        assert [w for w in strip() if not w.isdigit()] == [
            w for w in "".join(sorted(text.splitlines())).split() if not w.isdigit()
        ]
        copy, _ = twin.parse("\n".join(again).encode(), MEANINGS, AGEING_S)
        original, _ = twin.parse(text.encode(), MEANINGS, AGEING_S)
        assert copy.keys() == original.keys()
        for key, entry in original.items():
            assert (copy[key].port, copy[key].state) == (entry.port, entry.state)
            if entry.state == "learned":
                assert entry.age <= copy[key].age <= entry.age + 2


WORDS = st.one_of(
    st.sampled_from(["port", "p1", "p2", "host", "vlan", "10", "4094", "4095", "0", "20"]),
    st.sampled_from(["static", "sticky", "learned", "local", "age", "5", "400", "#", "#x"]),
    st.sampled_from(["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"]),
    st.text(alphabet=" \t\r:#apx01\0é", max_size=4),
)
ADDRESSES = st.tuples(st.integers(0, 30).map(mac), st.sampled_from([":", "-", ".", "", ":-"])).map(
    lambda pair: _written(*pair)
)


def _written(address: bytes, mark: str) -> str:
    if mark == ".":
        return ".".join((address[i : i + 2]).hex() for i in (0, 2, 4))
    if mark == ":-":
        return address.hex(":").replace(":", "-", 1)
    return address.hex(mark).upper() if mark else address.hex()


LINES = st.one_of(
    st.builds(
        "{} port {} {}".format,
        ADDRESSES,
        st.sampled_from(["p1", "p2", "p1 host", "p2 host", "nope", 'q"\\']),
        st.sampled_from(["static", "learned age 3", "learned age 301", "sticky", "vlan 10 static"]),
    ),
    st.lists(st.one_of(WORDS, ADDRESSES), max_size=9).map(" ".join),
    st.just(""),
)


def _twin(text: bytes) -> tuple[dict[tuple[int, bytes], twin.Entry], int, int]:
    """Entries, how many are left out, and the number of the first bad line or 0."""
    try:
        return *twin.parse(text, MEANINGS, AGEING_S), 0
    except twin.Bad as bad:
        return {}, 0, bad.args[0]


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_parser_is_its_twin(lines: list[str], newline: str, ended: bool) -> None:
    text = (newline.join(lines) + (newline if ended else "")).encode()
    with contextlib.closing(Maps(64)) as maps:
        expected, aged, bad = _twin(text)
        if bad:
            with pytest.raises(_fdb.BadLine) as caught:
                maps.table.load(text, NAMES, AGEING)
            assert caught.value.number == bad
            assert maps.all() == []
            return
        assert maps.table.load(text, NAMES, AGEING) == (len(expected), aged, False)
        assert {e[:4] for e in maps.all()} == {
            (e.mac, e.bd, e.port, e.state) for e in expected.values()
        }
        maps.check_counters()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("02:00:00:00:00:1 port p1 static", "'02:00:00:00:00:1' is not a MAC address"),
        ("00:00:00:00:00:00 port p1 static", "00:00:00:00:00:00 is zero"),
        ("ff:ff:ff:ff:ff:ff port p1 static", "is the broadcast address"),
        ("01:00:5e:00:00:01 port p1 static", "is a multicast (group) address"),
        ("02:00:00:00:00:01 port p9 static", "'p9' is not a port of this switch"),
        ("02:00:00:00:00:01 port p1234567890123456 static", "is not a port of this switch"),
        ("02:00:00:00:00:01 static", "no port is given"),
        ("02:00:00:00:00:01 port p1", "neither static nor sticky nor learned"),
        ("02:00:00:00:00:01 port", "'port' lacks its value"),
        ("02:00:00:00:00:01 port p1 port p2 static", "'port' is given twice"),
        ("02:00:00:00:00:01 port p1 static sticky", "'sticky' is given twice, or beside"),
        ("02:00:00:00:00:01 port p2 host static", "port 'p2' has no host side"),
        ("02:00:00:00:00:01 port p1 vlan 11 static", "VLAN 11 is not one of this switch"),
        ("02:00:00:00:00:01 port p1 vlan x static", "'x' is not a VLAN"),
        ("02:00:00:00:00:01 port p1 static age 3", "only learned entries have an age"),
        ("02:00:00:00:00:01 port p1 learned age -1", "'-1' is not an age"),
        ("02:00:00:00:00:01 dev p1 static", "'dev' is none of port, host, vlan"),
        ("0200.0000.0007 port p1 static", "0200.0000.0007 is on line 1 already"),
        ("02:00:00:00:00:63 port p1 static", "is the host's own address"),
    ],
)
def test_a_bad_line(maps: Maps, text: str, why: str) -> None:
    maps.table.insert(bytes.fromhex("020000000063"), 0, 1, "local")
    before = maps.all()
    good = "02:00:00:00:00:07 port p1 learned age 3\n\n# a comment\n"
    with pytest.raises(_fdb.BadLine) as caught:
        maps.table.load(f"{good}{text}\n{line(8)}".encode(), NAMES, AGEING)
    assert caught.value.number == 4
    assert why in caught.value.why
    assert [e[:4] for e in maps.all()] == [e[:4] for e in before]
    maps.check_counters()


def test_the_first_bad_line_is_told(maps: Maps) -> None:
    maps.table.insert(mac(1), 0, 1, "local")
    for text, number in ((line(2) + line(1) + "x\n", 2), (line(2) + "x\n" + line(1), 2)):
        with pytest.raises(_fdb.BadLine) as caught:
            maps.table.load(text.encode(), NAMES, AGEING)
        assert caught.value.number == number


def test_load_replaces_and_keeps_accounts(maps: Maps) -> None:
    fill(maps, {(0, n): (1 + n % 4, twin.STATES[n % 3], 7) for n in range(500)})
    text = "".join(
        line(n, f"port p{1 + n % 2} {('static', 'learned age 9')[n % 2]}") for n in range(250, 900)
    )
    assert maps.table.load(text.encode(), NAMES, AGEING) == (650, 0, False)
    entries = {e[0]: e[2:4] for e in maps.all()}
    assert len(entries) == 900
    for n in range(900):
        expected = (1 + n % 2, ("static", "learned")[n % 2]) if n >= 250 else None
        assert entries[mac(n)] == (expected or (1 + n % 4, twin.STATES[n % 3]))
    maps.check_counters()


def test_a_file_that_does_not_fit(maps: Maps) -> None:
    fill(maps, {(0, n): (1, "static", 0) for n in range(100)})
    fits = "".join(line(n) for n in range(50, 1024))
    with pytest.raises(_fdb.TooMany) as caught:
        maps.table.load((fits + line(5000)).encode(), NAMES, AGEING)
    assert (caught.value.needed, caught.value.kept, caught.value.room) == (975, 50, 1024)
    with pytest.raises(_fdb.TooMany):
        maps.table.load("".join(line(n) for n in range(3000)).encode(), NAMES, AGEING)
    assert len(maps.all()) == 100
    assert maps.table.load(fits.encode(), NAMES, AGEING)[0] == 974
    assert len(maps.all()) == 1024


def test_load_is_taken_back_when_the_table_fills_meanwhile(
    make_maps: Callable[..., Maps],
) -> None:
    """Somebody else takes the last places between the check and the load."""
    size = 1 << 17
    text = "".join(line(n, "port p1 learned") for n in range(size - 20000)).encode()
    refused = 0
    for _ in range(30):
        maps = make_maps(size)
        fill(maps, {(0, n): (2, ("learned", "static")[n % 2], 7) for n in range(0, 3000, 3)})
        started, stop = threading.Event(), threading.Event()

        def intrude(
            maps: Maps = maps, started: threading.Event = started, stop: threading.Event = stop
        ) -> None:
            started.set()
            for number in itertools.takewhile(lambda _: not stop.is_set(), itertools.count(size)):
                with contextlib.suppress(OSError):
                    maps.table.insert(mac(number), 0, 3, "learned")

        thread = threading.Thread(target=intrude)
        thread.start()
        started.wait()
        try:
            maps.table.load(text, NAMES, AGEING)
            continue
        except (OSError, _fdb.TooMany) as error:
            refused += isinstance(error, OSError)
        finally:
            stop.set()
            thread.join()
        mine = [e for e in maps.all() if e[2] != 3]
        assert {e[:4] for e in mine} == {
            (mac(n), 0, 2, ("learned", "static")[n % 2]) for n in range(0, 3000, 3)
        }
        maps.check_counters()
        if refused:
            return
    pytest.skip("the intruder was never fast enough")


# ------------------------------------------------------------ dumps


def test_json(maps: Maps) -> None:
    fill(maps, {(n % 2, n): (1 + n % 4, twin.STATES[n % 4], n) for n in range(200)})
    labels = {
        port: f'"switch": "s", "port": {json.dumps(name)}, "state": "'.encode()
        for name, port in MEANINGS.wires.items()
    }
    style = _fdb.Style(
        _fdb.JSON, labels, hosts=[4], vids={1: 10}, unknown=b'"port": null, "state": "'
    )
    document = json.loads(f"[{dumped(maps, style)}]")
    assert len(document) == 200
    by_mac = {entry["mac"]: entry for entry in document}
    for n in range(200):
        entry = by_mac[mac(n).hex(":")]
        assert entry["vlan"] == (10 if n % 2 else None)
        assert entry["state"] == twin.STATES[n % 4]
        assert entry["port"] == {1: "p1", 2: "p2", 3: 'q"\\', 4: None}[1 + n % 4]
        assert (entry["age"] in (n, n + 1)) if n % 4 == 0 else entry["age"] is None


def test_columns_are_sorted_and_aligned(maps: Maps) -> None:
    fill(maps, {(0, n): (1, twin.STATES[n % 4], n) for n in (9, 3, 200, 7)})
    style = _fdb.Style(_fdb.TABLE, {1: b"p1  "}, tail=b"  sw")
    lines = dumped(maps, style).splitlines()
    assert [text.split()[0] for text in lines] == [mac(n).hex(":") for n in (3, 7, 9, 200)]
    assert len({len(text) for text in lines}) == 1
    assert all(text.endswith("  sw") for text in lines)


def test_a_dump_stops_with_its_reader(maps: Maps) -> None:
    fill(maps, {(0, 1): (1, "static", 0)})
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", closefd=True) as out, pytest.raises(BrokenPipeError):
        maps.table.dump(out.fileno(), _fdb.Style(_fdb.TABLE, {}), _fdb.Filter())


# ------------------------------------------------------------ counters


def test_recount_puts_right_what_a_killed_command_left(maps: Maps) -> None:
    fill(maps, {(0, n): (1 + n % 2, "learned", 0) for n in range(20)})
    assert maps.table.recount() == 0
    from vnetx import _bpf

    raw = bytearray(64)
    raw[24:32] = (77).to_bytes(8, "little")
    _bpf.map_update(maps.fds["port_state"], (2).to_bytes(4, "little"), bytes(raw))
    _bpf.map_update(maps.fds["bd_state"], bytes(4), (13).to_bytes(8, "little"))
    assert maps.table.drifts() == ({2: -67}, {0: 7})
    assert maps.table.recount() == 2
    maps.check_counters()


# ------------------------------------------------------------ a million

_MILLION = """
import mmap, os, sys, tempfile
from vnetx import _bpf, _fdb
fdb = _bpf.map_create(1, 8, 16, 1_000_000)
state = _bpf.map_create(2, 4, 64, 16, 1 << 10)
table = _fdb.Table(fdb, state, _bpf.map_create(2, 4, 8, 16, 1 << 10))
with open(sys.argv[1], "rb") as file:
    text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
for _ in range(2):
    assert table.load(text, _fdb.Names({"p1": 1, "p2": 2}), 10**18)[0] == 1_000_000
assert table.learned(1) == table.learned(2) == 500_000
for kind in (_fdb.SAVE, _fdb.TABLE, _fdb.JSON):
    with open(os.devnull, "wb") as out:
        style = _fdb.Style(kind, {1: b"p1", 2: b"p2"})
        assert table.dump(out.fileno(), style, _fdb.Filter()) == 1_000_000
assert table.flush(_fdb.Filter()) == 1_000_000
assert table.learned(1) == table.learned(2) == 0
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
def test_a_million_entries_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "fdb"
    with path.open("w") as out:
        out.writelines(line(n, f"port p{1 + n % 2} learned age {n % 60}") for n in range(1_000_000))
    done = subprocess.run(
        [sys.executable, "-c", _MILLION, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300
