"""The library's face of the FDB, over a real data plane: change, files, events."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib.dataplane import Dataplane, port_values
from lib.frames import frame
from vnetx import lock
from vnetx.datapath import fdb as fdb_module
from vnetx.datapath import pins
from vnetx.datapath.fdb import Event, Fdb, PortNames, Query, Watch
from vnetx.errors import InvalidValue, VnetxError

pytestmark = pytest.mark.root

SIZE = 4096
NS = 10**9


def mac(number: int) -> bytes:
    return b"\x02\x00" + number.to_bytes(4, "big")


@pytest.fixture(scope="module")
def _plane() -> Iterator[Dataplane]:
    with lock.exclusive():  # commands elsewhere remove what they find half made
        plane = Dataplane(devices=2, fdb_size=SIZE, max_ports=16)
    yield plane
    plane.close()
    with lock.exclusive():
        pins.unmount_if_empty()


@pytest.fixture
def plane(
    _plane: Dataplane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dataplane]:
    """Ports 1 and 2 on p1 and p2; the host side of p1 is port 3."""
    # (a command elsewhere takes the namespace for dead when nobody is inside, and its pins away)
    monkeypatch.setattr(_plane.maps, "directory", tmp_path)
    with _plane as plane:
        plane.reset()
        maps = plane.maps
        flags = dict.fromkeys(
            ("up", "learning", "flood_unicast", "flood_multicast", "flood_broadcast"), True
        )
        for index, device, twin, host in ((1, 1, 3, False), (2, 2, 0, False), (3, 1, 1, True)):
            values = port_values(ifindex=plane.ifindex[device], twin=twin, host=host, **flags)
            maps.set_port(index, values)
            if not host:
                maps.set_port_of(plane.ifindex[device], index)
        maps.set_switch(ageing_ns=300 * NS, refresh_ns=NS, port_slots=4)
        plane.touched = 4
        yield plane


@pytest.fixture
def fdb(plane: Dataplane) -> Fdb:
    return Fdb(plane.maps)


def learn(plane: Dataplane, number: int, port: int) -> None:
    """A station speaks behind a port."""
    plane.run("tc_ingress", plane.ifindex[port], frame(b"\xff" * 6, mac(number)))


def check_counters(plane: Dataplane, fdb: Fdb) -> None:
    assert fdb.table.drifts() == ({}, {})
    for index in (1, 2, 3):
        count = fdb.count(Query(ports=(index,), states=("learned",)))
        assert plane.maps.port_state(index)["learned"] == count


# ------------------------------------------------------------ look


def test_names(plane: Dataplane, fdb: Fdb) -> None:
    names = fdb.names()
    assert names.names == {1: "p1", 2: "p2", 3: "p1"}
    assert names.wires == {"p1": 1, "p2": 2}
    assert names.hosts == {"p1": 3}
    assert names.indices("p1") == {1, 3}
    assert names.indices("p3") == set()
    plane.maps.set_port(2, port_values(ifindex=99999))
    assert fdb.names().names[2] is None
    assert "gone" in fdb.names()[2]


def test_learned_entries_are_seen_until_they_age(plane: Dataplane, fdb: Fdb) -> None:
    learn(plane, 1, 1)
    learn(plane, 2, 2)
    assert {(e.mac, e.port, e.state) for e in fdb.entries()} == {
        (mac(1), 1, "learned"),
        (mac(2), 2, "learned"),
    }
    assert fdb.count(Query(ports=(2,))) == 1
    plane.travel(301 * NS)
    assert fdb.count() == 0
    assert fdb.get(mac(1)) is None
    assert fdb.sweep() == 2
    check_counters(plane, fdb)


# ------------------------------------------------------------ change


def test_add_and_delete(plane: Dataplane, fdb: Fdb) -> None:
    assert fdb.add(mac(1), 1)
    assert not fdb.add(mac(1), 1)
    with pytest.raises(VnetxError, match="static entry on port p1 already"):
        fdb.add(mac(1), 2)
    with pytest.raises(VnetxError, match="static entry on port p1 already"):
        fdb.add(mac(1), 1, sticky=True)
    assert fdb.add(mac(1), 2, sticky=True, replace=True)
    assert fdb.static_entries() == {(mac(1), 0): (2, True)}
    with pytest.raises(VnetxError, match="on port p2"):
        fdb.delete(mac(1), {1, 3})
    assert fdb.delete(mac(1), {2}).state == "sticky"
    with pytest.raises(VnetxError, match="has no entry"):
        fdb.delete(mac(1))
    learn(plane, 5, 1)
    assert fdb.add(mac(5), 2)
    check_counters(plane, fdb)


@pytest.mark.parametrize("address", ["000000000000", "ffffffffffff", "01005e000001"])
def test_only_a_station_has_an_entry(fdb: Fdb, address: str) -> None:
    with pytest.raises(InvalidValue):
        fdb.add(bytes.fromhex(address), 1)


def test_the_hosts_own_addresses_stay(plane: Dataplane, fdb: Fdb) -> None:
    plane.maps.set_local(mac(9), 3)
    for change in (
        lambda: fdb.add(mac(9), 1, replace=True),
        lambda: fdb.delete(mac(9)),
        lambda: fdb.flush(Query(states=("local",))),
        lambda: fdb.load(f"{mac(9).hex(':')} port p1 static\n".encode()),
    ):
        with pytest.raises(VnetxError, match="host's own address"):
            change()
    assert fdb.flush(Query()) == 0
    assert [e.mac for e in fdb.entries()] == [mac(9)]
    assert fdb.forget_port(3) == 1


def test_a_full_fdb(plane: Dataplane, fdb: Fdb) -> None:
    text = "".join(f"{mac(n).hex(':')} port p1 learned age 10\n" for n in range(SIZE))
    assert fdb.load(text.encode()) == (SIZE, 0)
    assert fdb.full()
    with pytest.raises(VnetxError, match=f"full: {SIZE} entries") as caught:
        fdb.add(mac(SIZE), 1)
    assert "flush" in caught.value.remedy
    with pytest.raises(VnetxError, match="do not fit beside the 4096 that stay"):
        fdb.load(f"{mac(SIZE).hex(':')} port p1 static\n".encode())
    plane.travel(300 * NS)  # what has aged makes room
    assert fdb.load(f"{mac(SIZE).hex(':')} port p1 static\n".encode()) == (1, 0)
    assert fdb.table.count(Query().filter(fdb_module._fdb.ANY_AGE)) == 1
    check_counters(plane, fdb)


def test_flush_takes_learned_entries_only(plane: Dataplane, fdb: Fdb) -> None:
    for number in range(10):
        learn(plane, number + 1, 1 + number % 2)
    fdb.add(mac(100), 1)
    assert fdb.flush(Query(ports=(1,), states=("learned",))) == 5
    assert fdb.flush() == 5
    assert fdb.flush(Query()) == 1
    check_counters(plane, fdb)


def test_counters_stay_exact_while_stations_speak(plane: Dataplane, fdb: Fdb) -> None:
    stop = threading.Event()
    text = "".join(f"{mac(n).hex(':')} port p2 learned\n" for n in range(0, 1000, 2)).encode()

    def speak() -> None:
        with plane.near.entered():
            while not stop.is_set():
                for number in range(1, 1000):
                    learn(plane, number, 1 + number % 2)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        for _ in range(20):
            fdb.flush(Query(ports=(1,)))
            fdb.load(text)
            fdb.flush()
    finally:
        stop.set()
        thread.join()
    fdb.table.recount()
    check_counters(plane, fdb)


def test_no_address_is_unknown_while_a_table_is_replaced(plane: Dataplane, fdb: Fdb) -> None:
    """One that stands in the old table and in the new one: its frames are never flooded."""
    tables = [
        "".join(
            f"{mac(n).hex(':')} port p{1 if n == 1 else way} static\n"
            for n in (1, *range(2 * way, 500, 3))
        ).encode()
        for way in (1, 2)
    ]
    fdb.load(tables[0])
    learn(plane, 1000, 2)
    before = plane.maps.port_stats(2)["flooded"]
    stop, sent = threading.Event(), [0]

    def speak() -> None:
        with plane.near.entered():
            while not stop.is_set():
                plane.run("tc_ingress", plane.ifindex[2], frame(mac(1), mac(1000)))
                sent[0] += 1

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        for turn in range(40):
            fdb.load(tables[turn % 2], instead_of=Query(states=("static",)))
            static = {entry.mac for entry in fdb.entries(Query(states=("static",)))}
            wanted = {line.split()[0] for line in tables[turn % 2].decode().splitlines()}
            assert {address.hex(":") for address in static} == wanted
    finally:
        stop.set()
        thread.join()
    assert sent[0] > 100
    assert plane.maps.port_stats(2)["flooded"] == before
    fdb.table.recount()
    check_counters(plane, fdb)


def test_only_what_matches_gives_way(plane: Dataplane, fdb: Fdb) -> None:
    learn(plane, 1, 1)
    fdb.add(mac(2), 1)
    fdb.add(mac(3), 2)
    text = f"{mac(4).hex(':')} port p1 static\n".encode()
    fdb.load(text, instead_of=Query(ports=(1,), states=("static",)))
    assert {entry.mac: entry.port for entry in fdb.entries()} == {mac(1): 1, mac(3): 2, mac(4): 1}
    with pytest.raises(VnetxError, match="line 1"):
        fdb.load(b"nonsense\n", instead_of=Query())
    assert {entry.mac for entry in fdb.entries()} == {mac(1), mac(3), mac(4)}
    fdb.load(text, instead_of=Query())
    assert {entry.mac for entry in fdb.entries()} == {mac(4)}
    check_counters(plane, fdb)


# ------------------------------------------------------------ files


def test_save_and_load(plane: Dataplane, fdb: Fdb, tmp_path: Path) -> None:
    learn(plane, 1, 1)
    plane.travel(20 * NS)
    fdb.add(mac(2), 2)
    fdb.add(mac(3), 3, sticky=True)
    plane.maps.set_local(mac(9), 3)
    path = tmp_path / "fdb"
    assert fdb.save(str(path)) == 3
    text = re.sub(r"age 2\d", "age 20", path.read_text())
    assert text == (
        "# FDB of switch test\n"
        f"{mac(1).hex(':')} port p1 learned age 20\n"
        f"{mac(2).hex(':')} port p2 static\n"
        f"{mac(3).hex(':')} port p1 host sticky\n"
    )
    before = sorted(e[:4] for e in fdb.entries())
    fdb.flush(Query())
    assert fdb.load(str(path)) == (3, 0)
    assert sorted(e[:4] for e in fdb.entries()) == before
    assert list(tmp_path.iterdir()) == [path]
    check_counters(plane, fdb)


def test_what_is_too_old_is_left_out(fdb: Fdb) -> None:
    text = f"{mac(1).hex(':')} port p1 learned age 300\n{mac(2).hex(':')} port p1 learned age 299\n"
    assert fdb.load(text.encode()) == (1, 1)


@pytest.mark.parametrize("text", [b"", b"\n# nothing\n\n"])
def test_an_empty_file(fdb: Fdb, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "fdb"
    path.write_bytes(text)
    assert fdb.load(str(path)) == (0, 0)


def test_files_that_cannot_be(fdb: Fdb, tmp_path: Path) -> None:
    with pytest.raises(VnetxError, match="No such file"):
        fdb.load(str(tmp_path / "missing"))
    with pytest.raises(VnetxError, match="directory"):
        fdb.load(str(tmp_path))
    with pytest.raises(VnetxError, match="No such file"):
        fdb.save(str(tmp_path / "missing" / "file"))
    with pytest.raises(VnetxError, match="No space"):
        fdb.save("/dev/full")


def test_a_bad_line_keeps_everything_as_it_was(plane: Dataplane, fdb: Fdb, tmp_path: Path) -> None:
    learn(plane, 1, 1)
    path = tmp_path / "fdb"
    path.write_text(f"{mac(1).hex(':')} port p2 static\n{mac(2).hex(':')} port p7 static\n")
    with pytest.raises(VnetxError, match="line 2: 'p7' is not a port") as caught:
        fdb.load(str(path))
    assert str(path) in caught.value.what
    assert [e[:4] for e in fdb.entries()] == [(mac(1), 0, 1, "learned")]


# ------------------------------------------------------------ events


def collect(watch: Watch, until: Callable[[list[Event]], bool]) -> list[Event]:
    found: list[Event] = []
    deadline = time.monotonic() + 30
    for batch in watch.batches():
        found += batch
        if until(found):
            break
        assert time.monotonic() < deadline, found
    return found


def test_events_as_they_happen(plane: Dataplane) -> None:
    plane.maps.set_switch(ageing_ns=3 * NS // 2)
    with Watch(plane.maps) as watch:
        learn(plane, 1, 1)
        learn(plane, 1, 2)
        told = collect(watch, lambda events: len(events) == 3)
        assert [(e.kind, e.mac, e.port) for e in told] == [
            ("learn", mac(1), 1),
            ("move", mac(1), 2),
            ("age-out", mac(1), 2),
        ]
        assert told[1].old_port == 1
        assert 1.5 <= told[2].time - told[1].time < 3.5
    assert plane.maps.switch()["watch_until_ns"] == 0


def test_what_the_data_plane_ages_out_is_told_once(plane: Dataplane) -> None:
    with Watch(plane.maps) as watch:
        learn(plane, 1, 1)
        plane.travel(301 * NS)
        learn(plane, 2, 1)  # looks at the head of the clock
        told = collect(watch, lambda events: len(events) >= 3)
        assert [(e.kind, e.mac) for e in told] == [
            ("learn", mac(1)),
            ("age-out", mac(1)),
            ("learn", mac(2)),
        ]


def test_one_watcher_a_switch(plane: Dataplane) -> None:
    taken = pytest.raises(VnetxError, match=f"process {os.getpid()} watches it already")
    with Watch(plane.maps), taken:
        Watch(plane.maps)
    with Watch(plane.maps):
        pass


def test_a_lease_ends_by_itself(plane: Dataplane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdb_module, "LEASE_NS", 10_000_000)
    watch = Watch(plane.maps)
    with contextlib.closing(watch._claim):  # killed: it does not give the lease back
        time.sleep(0.05)
        learn(plane, 1, 1)
        assert plane.events() == []


def test_the_lease_outlasts_a_command_that_holds_the_lock(plane: Dataplane) -> None:
    with Watch(plane.maps) as watch, lock.exclusive():
        first = plane.maps.switch()["watch_until_ns"]
        while time.monotonic_ns() < first:
            watch.wait()
            watch._sweep_at = time.monotonic_ns() + NS
        learn(plane, 1, 1)
        assert collect(watch, bool)[0].kind == "learn"


def test_lost_events_are_told(plane: Dataplane) -> None:
    ring = (1 << 20) // 32
    with Watch(plane.maps) as watch:
        plane.maps.set_switch(watch_until_ns=time.monotonic_ns() + 600 * NS)
        for count in range(ring // SIZE + 1):  # moves: one address, back and forth
            for number in range(SIZE):
                learn(plane, 1, 1 + (count * SIZE + number) % 2)
        told = collect(watch, lambda events: any(e.lost for e in events))
        lost = sum(e.lost for e in told)
        assert lost > 0
        assert sum(e.kind in ("learn", "move") for e in told) + lost <= (ring // SIZE + 1) * SIZE


def test_the_watcher_ends_with_the_switch(
    plane: Dataplane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watch(plane.maps) as watch:
        monkeypatch.setattr(plane.maps, "directory", plane.maps.directory / "gone")
        with pytest.raises(VnetxError, match="the switch was removed"):
            collect(watch, lambda _: False)


def test_names_of_an_empty_switch() -> None:
    assert PortNames().indices("p1") == set()
