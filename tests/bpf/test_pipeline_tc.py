"""Every branch of the pipeline on the TC hooks, frame by frame.

Each test says what has to happen; `pair.step` besides compares verdict, copies, all
counters and the FDB with the model.
"""

from __future__ import annotations

import pytest

from lib import frames
from lib.dataplane import TC_DROP, TC_PASS, coarse_now
from lib.frames import FOREIGN, QINQ, VLAN, frame, link_local, station
from lib.model import DROP, NS, PASS, REDIRECT
from lib.pair import Pair
from vnetx import _abi

pytestmark = pytest.mark.root

A, B, C, D = (station(n) for n in range(1, 5))
BUM = {"broadcast": frames.BROADCAST, "multicast": frames.MULTICAST, "unicast": D}


def reasons(pair: Pair, index: int) -> dict[str, int]:
    """The reasons counted at a port."""
    return pair.plane.maps.reasons().get(index, {})


def stats(pair: Pair, index: int) -> dict[str, int]:
    return pair.plane.maps.port_stats(index)


# ------------------------------------------------------------------ relay


def test_a_device_that_is_no_port_is_left_alone(pair: Pair) -> None:
    pair.ports(1, 2)
    for program in ("tc_ingress", "tc_egress"):
        run = pair.plane.run(program, pair.plane.ifindex[3], frame(B, A))
        assert run.verdict == TC_PASS
    pair.check()
    assert not pair.plane.counters()


def test_a_freed_slot_is_no_port(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.plane.maps.set_port_of(pair.plane.ifindex[3], 3)
    assert pair.plane.run("tc_ingress", pair.plane.ifindex[3], frame(B, A)).verdict == TC_PASS
    assert not pair.plane.counters()


def test_unknown_then_known_unicast(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    assert pair.step(1, frame(B, A)).copies == (2, 3)
    outcome = pair.step(2, frame(A, B))
    assert (outcome.verdict, outcome.to, outcome.copies) == (REDIRECT, 1, ())
    outcome = pair.step(1, frame(B, A))
    assert (outcome.verdict, outcome.to) == (REDIRECT, 2)
    assert stats(pair, 1) == {
        "rx_frames": 2,
        "rx_bytes": 120,
        "tx_frames": 1,
        "tx_bytes": 60,
        "flooded": 1,
        "local": 0,
        "learned": 1,
        "moved": 0,
    }


@pytest.mark.parametrize("kind", BUM)
@pytest.mark.parametrize("source", [1, 2, 3, 4])
def test_bum_goes_to_every_other_port_once(pair: Pair, kind: str, source: int) -> None:
    pair.ports(1, 2, 3, 4)
    outcome = pair.step(source, frame(BUM[kind], A))
    assert outcome.copies == tuple(n for n in (1, 2, 3, 4) if n != source)
    assert stats(pair, source)["flooded"] == 1


@pytest.mark.parametrize("length", [14, 15, 59, 60, 61, 82, 83, 1000, 1513, 1514])
@pytest.mark.parametrize("dst", [frames.BROADCAST, B])
def test_every_length_goes_through_unchanged(pair: Pair, dst: bytes, length: int) -> None:
    pair.ports(1, 2)
    pair.entry(B, 2)
    assert pair.step(1, frame(dst, A, length)).verdict in (DROP, REDIRECT)
    assert stats(pair, 2)["tx_bytes"] == length


@pytest.mark.parametrize(
    "tags",
    [(VLAN,), (QINQ,), (VLAN, VLAN), (QINQ, VLAN), (QINQ, QINQ, VLAN), FOREIGN[:2]],
    ids=lambda tags: "+".join(f"{tag:x}" for tag in tags),
)
def test_tagged_frames_pass_untouched(pair: Pair, tags: tuple[int, ...]) -> None:
    pair.ports(1, 2, 3)
    assert pair.step(1, frame(frames.BROADCAST, A, tags=tags)).copies == (2, 3)
    assert pair.step(2, frame(A, B, tags=tags)).to == 1


def test_one_table_for_all_tags(pair: Pair) -> None:
    """VL-39: a switch without VLANs has one FDB for all."""
    pair.ports(1, 2, 3)
    pair.step(1, frame(D, A, tags=(VLAN,)))
    assert pair.step(2, frame(A, B)).to == 1


def test_bridge_domains_are_apart(pair: Pair) -> None:
    """The same address in two bridge domains is two stations (802.1Q 8.8.8)."""
    pair.port(1, bd=1)
    pair.port(2, bd=2)
    pair.port(3, bd=2)
    pair.step(1, frame(D, A))
    pair.step(2, frame(D, A))
    assert pair.model.fdb.keys() == {(1, A), (2, A)}
    assert pair.step(3, frame(A, C)).to == 2


# ------------------------------------------------------------------ bad frames


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (B + A + b"\x81\x00", "malformed"),
        (B + A + b"\x81\x00\x00\x0a\x08", "malformed"),
        (B + A + b"\x88\xa8\x00\x0a", "malformed"),
        (frames.BROADCAST + A + b"\x81\x00", "malformed"),
        (frame(B, bytes(6)), "bad_source"),
        (frame(B, frames.MULTICAST), "bad_source"),
        (frame(B, frames.BROADCAST), "bad_source"),
        (frame(frames.BROADCAST, b"\x01" + bytes(5)), "bad_source"),
        (frame(link_local(2), frames.MULTICAST), "bad_source"),
    ],
)
def test_bad_frames_end_where_they_came(pair: Pair, data: bytes, reason: str) -> None:
    pair.ports(1, 2)
    pair.entry(B, 2)
    assert pair.step(1, data).verdict == DROP
    assert reasons(pair, 1) == {reason: 1}
    assert len(pair.model.fdb) == 1, "nothing is learned from it"


def test_a_tag_with_its_four_bytes_is_enough(pair: Pair) -> None:
    """(The kernel behind the port's far end wants six, so nothing is caught there.)"""
    pair.ports(1, 2)
    assert pair.inject(1, B + A + b"\x81\x00\x00\x0a\x08\x00").copies == (2,)
    pair.check()


@pytest.mark.parametrize("src", [b"\x02" + bytes(5), bytes(5) + b"\x01", b"\xfe" + b"\xff" * 5])
def test_unusual_sources_are_stations(pair: Pair, src: bytes) -> None:
    pair.ports(1, 2)
    pair.step(1, frame(frames.BROADCAST, src))
    assert pair.model.fdb[1, src].port == 1


# ------------------------------------------------------------------ reserved addresses


@pytest.mark.parametrize("digit", range(16))
def test_reserved_addresses_as_the_kernel_bridge(pair: Pair, digit: int) -> None:
    """br_handle_frame with spanning tree off: BPDUs are flooded, pause ends, the rest is local."""
    pair.ports(1, 2, 3)
    outcome = pair.step(1, frame(link_local(digit), A))
    if digit == 0:
        assert outcome.copies == (2, 3)
    elif digit == 1:
        assert outcome.verdict == DROP
        assert reasons(pair, 1) == {"pause": 1}
    else:
        assert (outcome.verdict, outcome.to, outcome.copies) == (PASS, 0, ())
        assert stats(pair, 1)["local"] == 1
    assert ((1, A) in pair.model.fdb) == (digit != 1), "FD-37: learning comes first"


@pytest.mark.parametrize("digit", range(16))
def test_group_forward_floods_any_of_them(pair: Pair, digit: int) -> None:
    pair.port(1, group_forward=1 << digit)
    pair.ports(2, 3)
    assert pair.step(1, frame(link_local(digit), A)).copies == (2, 3)
    other = (digit + 1) % 16
    if other > 1:
        assert pair.step(1, frame(link_local(other), A)).verdict == PASS


def test_transparent_forwards_all_sixteen(pair: Pair) -> None:
    pair.port(1, group_forward=0xFFFF)
    pair.port(2)
    for digit in range(16):
        assert pair.step(1, frame(link_local(digit), A)).copies == (2,)


@pytest.mark.parametrize(
    "dst",
    [link_local(0x10), link_local(0x1F), bytes.fromhex("0180c2000100"), b"\x01\x80\xc3" + bytes(3)],
)
def test_addresses_beside_the_reserved_are_multicast(pair: Pair, dst: bytes) -> None:
    """BR-19: only ..00 to ..0f are reserved."""
    pair.ports(1, 2)
    assert pair.step(1, frame(dst, A)).copies == (2,)


# ------------------------------------------------------------------ port flags


def test_a_port_that_is_down_takes_nothing(pair: Pair) -> None:
    pair.port(1, up=False)
    pair.ports(2, 3)
    for dst in (frames.BROADCAST, B, link_local(2), link_local(1)):
        assert pair.step(1, frame(dst, A)).verdict == DROP
    assert reasons(pair, 1) == {"port_down": 4}
    assert not pair.model.fdb


def test_a_port_that_is_down_gives_nothing(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.port(3, up=False)
    pair.entry(C, 3)
    assert pair.step(1, frame(frames.BROADCAST, A)).copies == (2,)
    assert pair.step(1, frame(C, A)).verdict == DROP
    assert reasons(pair, 3) == {"egress_down": 1}


@pytest.mark.parametrize("kind", BUM)
@pytest.mark.parametrize("off", BUM)
def test_flood_flags(pair: Pair, kind: str, off: str) -> None:
    pair.ports(1, 2)
    pair.port(3, **{f"flood_{off}": False})
    assert pair.step(1, frame(BUM[kind], A)).copies == ((2,) if kind == off else (2, 3))


def test_known_unicast_ignores_flood_flags(pair: Pair) -> None:
    pair.port(1)
    pair.port(2, flood_unicast=False, flood_multicast=False, flood_broadcast=False)
    pair.entry(B, 2)
    assert pair.step(1, frame(B, A)).to == 2


def test_isolated_ports_do_not_reach_each_other(pair: Pair) -> None:
    pair.ports(1, 2, isolated=True)
    pair.port(3)
    pair.entry(B, 2)
    pair.entry(C, 3)
    for dst in BUM.values():
        assert pair.step(1, frame(dst, A)).copies == (3,)
        assert pair.step(3, frame(dst, C)).copies == (1, 2)
    assert pair.step(1, frame(B, A)).verdict == DROP
    assert reasons(pair, 1) == {"isolated": 1}
    assert pair.step(1, frame(C, A)).to == 3
    assert pair.step(3, frame(B, C)).to == 2


def test_hairpin(pair: Pair) -> None:
    pair.port(1, hairpin=True)
    pair.port(2)
    pair.entry(B, 1)
    assert pair.step(1, frame(frames.BROADCAST, A)).copies == (1, 2)
    outcome = pair.step(1, frame(B, A))
    assert (outcome.verdict, outcome.to) == (REDIRECT, 1)
    assert pair.step(2, frame(frames.BROADCAST, C)).copies == (1,)


def test_hairpin_does_not_undo_isolation(pair: Pair) -> None:
    """br_skb_isolated looks at the port alone, as the kernel bridge's."""
    pair.port(1, hairpin=True, isolated=True)
    pair.port(2)
    pair.entry(B, 1)
    assert pair.step(1, frame(frames.BROADCAST, A)).copies == (2,)
    assert pair.step(1, frame(B, A)).verdict == DROP
    assert reasons(pair, 1) == {"isolated": 1}


def test_the_destination_behind_the_same_port(pair: Pair) -> None:
    """BR-07, FD-37: dropped, and its source learned all the same."""
    pair.ports(1, 2)
    pair.entry(B, 1)
    assert pair.step(1, frame(B, A)).verdict == DROP
    assert reasons(pair, 1) == {"same_port": 1}
    assert pair.model.fdb[1, A].port == 1


def test_a_frame_to_its_own_source(pair: Pair) -> None:
    pair.ports(1, 2)
    assert pair.step(1, frame(A, A)).verdict == DROP
    assert reasons(pair, 1) == {"same_port": 1}


def test_nobody_to_flood_to(pair: Pair) -> None:
    pair.port(1)
    assert pair.step(1, frame(frames.BROADCAST, A)).verdict == DROP
    assert reasons(pair, 1) == {"no_egress": 1}
    assert stats(pair, 1)["flooded"] == 0


def test_nobody_takes_the_kind(pair: Pair) -> None:
    pair.port(1)
    pair.port(2, flood_multicast=False)
    pair.port(3, up=False)
    assert pair.step(1, frame(frames.MULTICAST, A)).verdict == DROP
    assert reasons(pair, 1) == {"no_egress": 1}


def test_slots_between_ports_are_skipped(pair: Pair) -> None:
    for index, device in ((1, 1), (9, 2), (31, 3)):
        pair.port(index, device)
    assert pair.step(9, frame(frames.BROADCAST, A)).copies == (1, 31)
    assert pair.step(31, frame(A, B)).to == 9


def test_an_entry_of_a_port_that_is_gone_is_unknown(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    pair.entry(B, 9)
    assert pair.step(1, frame(B, A)).copies == (2, 3)
    pair.step(3, frame(D, C))
    pair.remove_port(3)
    assert pair.step(1, frame(C, A)).copies == (2,)


# ------------------------------------------------------------------ the way out


@pytest.mark.parametrize("tags", [(), (VLAN,), (QINQ,), (QINQ, VLAN), FOREIGN[:2]])
@pytest.mark.parametrize("known", [True, False], ids=["known", "flooded"])
def test_mtu(pair: Pair, known: bool, tags: tuple[int, ...]) -> None:
    """One tag comes on top of the MTU (BR-37)."""
    pair.ports(1, 3)
    pair.port(2, mtu=600)
    if known:
        pair.entry(B, 2)
    fits = 600 + 14 + (4 if tags else 0)
    with pair.plane.mtu(2, 600):
        outcome = pair.step(1, frame(B, A, fits, tags=tags))
        assert outcome.to == 2 if known else outcome.copies == (2, 3)
        assert not reasons(pair, 2)
        outcome = pair.step(1, frame(B, A, fits + 1, tags=tags))
    assert outcome.verdict == DROP
    assert outcome.copies == (() if known else (3,))
    assert reasons(pair, 2) == {"mtu": 1}


def test_a_changed_mtu_holds_at_once(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.entry(B, 2)
    assert pair.step(1, frame(B, A, 1400)).to == 2
    with pair.plane.mtu(2, 1300):
        pair.change(2, mtu=1300)
        assert pair.step(1, frame(B, A, 1400)).verdict == DROP
    pair.change(2, mtu=1500)
    assert pair.step(1, frame(B, A, 1400)).to == 2


GONE = 0x7FFFFFF0


def test_a_device_that_is_gone(pair: Pair) -> None:
    pair.port(1)
    pair.port(2, GONE, mtu=None)
    pair.port(3)
    pair.entry(B, 2)
    assert pair.step(1, frame(B, A, 100)).verdict == DROP
    assert reasons(pair, 2) == {"egress_gone": 1}
    assert pair.step(1, frame(frames.BROADCAST, A, 100)).copies == (3,)
    assert pair.step(1, frame(frames.BROADCAST, A, 60)).copies == (3,)
    assert reasons(pair, 2) == {"egress_gone": 3}


def test_a_small_frame_to_a_device_that_is_gone(pair: Pair) -> None:
    """What is counted as sent has left; small frames are no exception."""
    pair.port(1)
    pair.port(2, GONE, mtu=None)
    pair.entry(B, 2)
    assert pair.step(1, frame(B, A, 60)).verdict == DROP
    assert reasons(pair, 2) == {"egress_gone": 1}


def test_a_device_that_refuses_a_copy(pair: Pair) -> None:
    """The far end of the veth is down."""
    pair.ports(1, 3)
    pair.port(2, takes=False)
    plane = pair.plane
    plane.far.ip("link set h2 down")
    try:
        pair.inject(1, frame(frames.BROADCAST, A))
    finally:
        plane.far.ip("link set h2 up")
    pair.check()
    assert reasons(pair, 2) == {"egress_refused": 1}
    assert stats(pair, 1)["flooded"] == 1
    assert plane.received() == {3: [frame(frames.BROADCAST, A)]}


# ------------------------------------------------------------------ FDB


def test_a_station_moves(pair: Pair) -> None:
    """FD-09: always only the latest port, one entry."""
    pair.ports(1, 2, 3)
    for index in (1, 2, 3, 1):
        pair.step(index, frame(D, A))
        if index != 1:
            assert pair.step(1, frame(A, B)).to == index
    assert len([mac for _, mac in pair.model.fdb if mac == A]) == 1
    assert [stats(pair, n)["moved"] for n in (1, 2, 3)] == [1, 1, 1]
    assert [pair.model.ports[n].learned for n in (1, 2, 3)] == [2, 0, 0]


def test_no_learning(pair: Pair) -> None:
    """FD-07: not learned, still relayed; what others have learned is used."""
    pair.port(1, learning=False)
    pair.ports(2, 3)
    assert pair.step(1, frame(frames.BROADCAST, A)).copies == (2, 3)
    assert not pair.model.fdb
    pair.entry(B, 2)
    assert pair.step(1, frame(B, A)).to == 2


def test_without_learning_nothing_moves_either(pair: Pair) -> None:
    pair.port(1, learning=False)
    pair.ports(2, 3)
    pair.step(2, frame(D, A))
    pair.step(1, frame(D, A))
    assert pair.step(3, frame(A, C)).to == 2


@pytest.mark.parametrize("static_move", [False, True])
@pytest.mark.parametrize("flags", [{"static": True}, {"static": True, "sticky": True}])
def test_static_entries(pair: Pair, static_move: bool, flags: dict[str, bool]) -> None:
    """FD-11: the kernel bridge's follow their address; sticky ones never do."""
    pair.ports(1, 2, 3)
    pair.set_switch(static_move=static_move)
    pair.entry(A, 1, **flags)
    pair.step(2, frame(D, A))
    moved = static_move and "sticky" not in flags
    assert pair.step(3, frame(A, C)).to == (2 if moved else 1)
    assert reasons(pair, 2) == ({} if moved else {"static_elsewhere": 1})
    assert pair.plane.fdb()[1, A]["flags"] & _abi.FDB_FLAGS["static"]


def test_a_static_entry_on_its_own_port(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.entry(A, 1, static=True)
    pair.step(1, frame(D, A))
    assert not reasons(pair, 1)
    assert pair.model.ports[1].learned == 0


def test_static_entries_do_not_age(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    pair.entry(A, 1, static=True)
    pair.entry(B, 2, local=True)
    pair.entry(C, 3)
    pair.advance(10**6 * NS)
    assert pair.step(3, frame(A, D)).to == 1
    assert pair.step(3, frame(B, D)).to == 2
    assert pair.step(1, frame(C, A)).copies == (2, 3)


@pytest.mark.parametrize("static_move", [False, True])
def test_the_hosts_own_address_from_outside(pair: Pair, static_move: bool) -> None:
    """FD-15: entry unchanged, counted, the frame goes on."""
    pair.ports(1, 2, 3)
    pair.set_switch(static_move=static_move)
    pair.entry(A, 1, static=True, local=True)
    assert pair.step(2, frame(frames.BROADCAST, A)).copies == (1, 3)
    assert reasons(pair, 2) == {"own_source": 1}
    assert pair.step(3, frame(A, C)).to == 1


def test_learning_limit(pair: Pair) -> None:
    """FD-25: no more learned than that; the frames are relayed all the same."""
    pair.port(1, learn_limit=3)
    pair.ports(2, 3)
    for n in range(10, 15):
        assert pair.step(1, frame(D, station(n))).copies == (2, 3)
    assert pair.model.ports[1].learned == 3
    assert reasons(pair, 1) == {"learn_limit": 2}
    pair.step(2, frame(D, station(20)))
    pair.step(1, frame(D, station(20)))
    assert reasons(pair, 1) == {"learn_limit": 3}, "nor does anybody move there"
    assert pair.step(3, frame(station(20), C)).to == 2
    pair.step(2, frame(D, station(10)))
    pair.step(1, frame(D, station(14)))
    assert pair.model.fdb[1, station(14)].port == 1, "one that moved away makes room"


def test_learning_limit_counts_no_static_entries(pair: Pair) -> None:
    pair.port(1, learn_limit=1)
    pair.port(2)
    for n in range(10, 14):
        pair.entry(station(n), 1, static=True)
    pair.step(1, frame(D, A))
    assert pair.model.fdb[1, A].port == 1


def test_learning_limit_counts_no_aged_entries(pair: Pair) -> None:
    pair.port(1, learn_limit=1)
    pair.port(2)
    pair.step(1, frame(D, A))
    pair.advance(301 * NS)
    pair.step(1, frame(D, B))
    assert pair.model.live() == {(1, B): 1}
    assert not reasons(pair, 1)


def test_fdb_full(pair: Pair) -> None:
    """Refused, counted; forwarding goes on by flooding."""
    pair.ports(1, 2, 3)
    size = pair.plane.fdb_size
    for n in range(size):
        pair.step(1, frame(frames.BROADCAST, station(100 + n)))
    assert len(pair.plane.fdb()) == size
    assert pair.step(2, frame(frames.BROADCAST, A)).copies == (1, 3)
    assert pair.step(2, frame(station(100), A)).to == 1
    assert reasons(pair, 2) == {"fdb_full": 2}
    assert pair.plane.maps.switch_state()["fdb_full"] == 2
    assert pair.step(3, frame(A, B)).copies == (1, 2)


def test_a_full_fdb_still_moves_and_refreshes(pair: Pair) -> None:
    pair.ports(1, 2)
    for n in range(pair.plane.fdb_size):
        pair.step(1, frame(frames.BROADCAST, station(100 + n)))
    pair.step(2, frame(frames.BROADCAST, station(100)))
    assert pair.model.fdb[1, station(100)].port == 2
    assert not reasons(pair, 2)


def test_a_full_fdb_recovers_when_entries_age(pair: Pair) -> None:
    """No process sweeps: who learns finds what has aged."""
    pair.ports(1, 2)
    size = pair.plane.fdb_size
    for n in range(size):
        pair.step(1, frame(frames.BROADCAST, station(100 + n)))
    pair.advance(301 * NS)
    for n in range(size):
        pair.step(2, frame(frames.BROADCAST, station(200 + n)))
    assert pair.model.live().keys() == {(1, station(200 + n)) for n in range(size)}
    assert len(pair.plane.fdb()) == size
    assert pair.plane.maps.switch_state()["fdb_full"] == 0


def test_aged_memory_comes_back_by_learning_alone(pair: Pair) -> None:
    """Two elements of the clock are looked at for each new address."""
    pair.ports(1, 2)
    for n in range(20):
        pair.step(1, frame(frames.BROADCAST, station(100 + n)))
    pair.advance(301 * NS)
    for n in range(10):
        pair.step(2, frame(frames.BROADCAST, station(200 + n)))
    assert pair.plane.fdb().keys() == {(1, station(200 + n)) for n in range(10)}
    assert pair.plane.maps.port_state(1)["learned"] == 0
    assert pair.plane.maps.port_state(2)["learned"] == 10


def test_the_clock_leaves_the_living(pair: Pair) -> None:
    pair.ports(1, 2)
    for n in range(10):
        pair.step(1, frame(frames.BROADCAST, station(100 + n)))
    pair.advance(200 * NS)
    for n in range(0, 10, 2):
        pair.step(1, frame(frames.BROADCAST, station(100 + n)))
    pair.advance(200 * NS)
    for n in range(8):
        pair.step(2, frame(frames.BROADCAST, station(200 + n)))
    assert {mac for (_, mac), port in pair.model.fdb.items() if port.port == 1} == {
        station(100 + n) for n in range(0, 10, 2)
    }


def test_loaded_entries_join_the_clock_when_seen(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.entry(A, 1, age=10 * NS)
    assert pair.plane.fdb()[1, A]["generation"] == 0
    pair.step(1, frame(D, A))
    assert pair.plane.fdb()[1, A]["generation"] != 0
    pair.advance(301 * NS)
    pair.model.ports[1].learned += 1  # fdb load counts what it loads
    pair.plane.add_learned(1, 1)
    pair.step(2, frame(D, B))
    assert (1, A) not in pair.plane.fdb()


# ------------------------------------------------------------------ ageing


@pytest.mark.parametrize("ageing", [1, 10, 300, 1_000_000])
def test_ageing_boundary(pair: Pair, ageing: int) -> None:
    """Known until the ageing time is over, unknown from then on (802.1D 7.9.2)."""
    pair.set_switch(ageing=ageing * NS)
    pair.ports(1, 2, 3)
    plane = pair.plane
    margin = NS // 2
    plane.set_entry(A, 1, 1, coarse_now() - ageing * NS + margin, 0)
    run = plane.run("tc_ingress", plane.ifindex[2], frame(A, B))
    assert run.verdict != TC_DROP
    assert not plane.received()
    plane.set_entry(A, 1, 1, coarse_now() - ageing * NS - 1, 0)
    plane.run("tc_ingress", plane.ifindex[2], frame(A, B))
    assert plane.received().keys() == {1, 3}


def test_an_entry_from_the_future_is_not_aged(pair: Pair) -> None:
    """Another clock may be a moment ahead of the coarse one."""
    pair.ports(1, 2)
    pair.plane.set_entry(A, 1, 1, coarse_now() + NS, 0)
    run = pair.plane.run("tc_ingress", pair.plane.ifindex[2], frame(A, B))
    assert run.verdict != TC_DROP


def test_an_aged_entry_comes_back_to_life(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    pair.step(1, frame(D, A))
    pair.advance(301 * NS)
    assert pair.step(2, frame(A, B)).copies == (1, 3)
    pair.step(1, frame(D, A))
    assert pair.step(2, frame(A, B)).to == 1


def test_a_flow_in_one_direction_keeps_its_own_source_alone(pair: Pair) -> None:
    """802.1D 7.8: being a destination refreshes nothing."""
    pair.ports(1, 2, 3)
    pair.step(2, frame(A, B))
    for _ in range(5):
        pair.advance(100 * NS)
        pair.step(1, frame(B, A))
    assert pair.step(3, frame(A, C)).to == 1
    assert pair.step(1, frame(B, A)).copies == (2, 3)


def test_refresh_writes_once_a_second(pair: Pair) -> None:
    """A steady flow writes nothing until its entry is refresh_ns old."""
    pair.ports(1, 2)
    plane = pair.plane
    for age, written in ((NS // 10, False), (2 * NS, True)):
        seen = coarse_now() - age
        plane.set_entry(A, 1, 1, seen, 0, gen=7)
        plane.run("tc_ingress", plane.ifindex[1], frame(B, A))
        assert (plane.fdb()[1, A]["seen_ns"] != seen) == written
    assert coarse_now() - plane.fdb()[1, A]["seen_ns"] < NS


# ------------------------------------------------------------------ storm limits


@pytest.mark.parametrize("kind", BUM)
def test_storm_limit(pair: Pair, kind: str) -> None:
    """A second's worth passes at once, then the rate holds; other kinds are untouched."""
    number = list(BUM).index(kind)
    pair.port(1, storm=tuple(5 if n == number else 0 for n in range(3)))
    pair.port(2)
    for n in range(8):
        assert bool(pair.step(1, frame(BUM[kind], A)).copies) == (n < 5)
    assert reasons(pair, 1) == {f"storm_{kind}": 3}
    for other in BUM.keys() - {kind}:
        for _ in range(8):
            assert pair.step(1, frame(BUM[other], A)).copies == (2,)
    pair.advance(2 * NS)
    assert pair.step(1, frame(BUM[kind], A)).copies == (2,)


def test_storm_limit_leaves_known_unicast(pair: Pair) -> None:
    pair.port(1, storm=(1, 1, 1))
    pair.port(2)
    pair.entry(B, 2)
    for _ in range(5):
        assert pair.step(1, frame(B, A)).to == 2


def test_storm_limit_of_another_port(pair: Pair) -> None:
    """The limit is of what comes in by the port, not of what leaves there."""
    pair.port(1)
    pair.port(2, storm=(1, 1, 1))
    for _ in range(5):
        assert pair.step(1, frame(frames.BROADCAST, A)).copies == (2,)


def test_storm_limit_learns_all_the_same(pair: Pair) -> None:
    pair.port(1, storm=(1, 0, 0))
    pair.port(2)
    for n in range(3):
        pair.step(1, frame(frames.BROADCAST, station(10 + n)))
    assert len(pair.model.fdb) == 3


def test_storm_limits_count_the_frames_of_a_gso_packet(pair: Pair) -> None:
    pair.port(1, storm=(10, 0, 0))
    pair.port(2)
    assert pair.step(1, frame(frames.BROADCAST, A), gso_segs=8).copies == (2,)
    assert pair.step(1, frame(frames.BROADCAST, A), gso_segs=8).verdict == DROP
    assert reasons(pair, 1) == {"storm_broadcast": 8}


# ------------------------------------------------------------------ the host


def host_and_wire(pair: Pair, **host: bool) -> None:
    """Port 1 is a device that carries the host's addresses, port 2 its host side."""
    pair.port(1, twin=2)
    pair.port(2, 1, host=True, twin=1, **host)
    pair.ports(3, 4)


HOST = station(99)


def test_a_frame_for_the_host_goes_up(pair: Pair) -> None:
    host_and_wire(pair)
    pair.entry(HOST, 2, static=True, local=True)
    outcome = pair.step(1, frame(HOST, A))
    assert (outcome.verdict, outcome.to) == (PASS, 2)
    assert stats(pair, 2)["tx_frames"] == 1
    assert stats(pair, 1)["local"] == 0


def test_a_frame_for_the_host_from_another_port(pair: Pair) -> None:
    host_and_wire(pair)
    pair.entry(HOST, 2, static=True, local=True)
    outcome = pair.step(3, frame(HOST, A))
    assert (outcome.verdict, outcome.to) == (REDIRECT, 2)


def test_a_frame_of_the_host(pair: Pair) -> None:
    host_and_wire(pair)
    pair.entry(A, 1)
    pair.entry(B, 3)
    outcome = pair.step(2, frame(A, HOST), egress=True)
    assert (outcome.verdict, outcome.to) == (PASS, 1)
    outcome = pair.step(2, frame(B, HOST), egress=True)
    assert (outcome.verdict, outcome.to) == (REDIRECT, 3)
    assert pair.model.fdb[1, HOST].port == 2


def test_a_broadcast_of_the_host(pair: Pair) -> None:
    """The frame itself leaves by the wire, copies by the other ports."""
    host_and_wire(pair)
    outcome = pair.step(2, frame(frames.BROADCAST, HOST), egress=True)
    assert (outcome.verdict, outcome.to, outcome.copies) == (PASS, 1, (3, 4))
    assert [stats(pair, n)["tx_frames"] for n in (1, 2, 3, 4)] == [1, 0, 1, 1]


def test_a_broadcast_from_the_wire(pair: Pair) -> None:
    """The frame itself goes up to the host."""
    host_and_wire(pair)
    outcome = pair.step(1, frame(frames.BROADCAST, A))
    assert (outcome.verdict, outcome.to, outcome.copies) == (PASS, 2, (3, 4))


def test_a_broadcast_from_another_port_reaches_wire_and_host(pair: Pair) -> None:
    """The copy for the host is taken in by its device's receive side."""
    host_and_wire(pair)
    outcome = pair.inject(3, frame(frames.BROADCAST, A))
    assert (outcome.verdict, outcome.copies) == (DROP, (1, 2, 4))
    pair.check()
    caught = pair.plane.received()
    assert caught == {n: [frame(frames.BROADCAST, A)] for n in (1, 4)}


@pytest.mark.parametrize("up", [True, False])
def test_a_wire_that_is_down(pair: Pair, up: bool) -> None:
    host_and_wire(pair)
    pair.change(1, up=up)
    outcome = pair.step(2, frame(frames.BROADCAST, HOST), egress=True)
    assert outcome.verdict == (PASS if up else DROP)
    assert outcome.copies == (3, 4)


@pytest.mark.parametrize("digit", [0, 1, 2, 3, 14])
def test_the_hosts_own_protocols_leave_by_its_wire(pair: Pair, digit: int) -> None:
    host_and_wire(pair)
    outcome = pair.step(2, frame(link_local(digit), HOST), egress=True)
    assert (outcome.verdict, outcome.copies) == (PASS, ())
    assert stats(pair, 2)["local"] == 1


def test_the_host_is_not_sent_its_own_frames(pair: Pair) -> None:
    """Two devices lead to it; what it sends by one does not come in by the other."""
    host_and_wire(pair)
    pair.port(5, 5, twin=6)
    pair.port(6, 5, host=True, twin=5)
    outcome = pair.step(2, frame(frames.BROADCAST, HOST), egress=True)
    assert (outcome.to, outcome.copies) == (1, (3, 4, 5))
    pair.entry(D, 6, static=True, local=True)
    assert pair.step(2, frame(D, HOST), egress=True).verdict == DROP
    assert reasons(pair, 2) == {"same_port": 1}
    assert pair.step(3, frame(D, A)).to == 6


def test_an_isolated_host(pair: Pair) -> None:
    host_and_wire(pair, isolated=True)
    pair.change(3, isolated=True)
    pair.entry(C, 3)
    assert pair.step(2, frame(C, HOST), egress=True).verdict == DROP
    assert reasons(pair, 2) == {"isolated": 1}
    assert pair.step(2, frame(frames.BROADCAST, HOST), egress=True).copies == (4,)


def test_egress_of_a_device_without_a_host_side(pair: Pair) -> None:
    pair.ports(1, 2)
    run = pair.plane.run("tc_egress", pair.plane.ifindex[1], frame(frames.BROADCAST, A))
    assert run.verdict == TC_PASS
    assert not pair.plane.counters()


# ------------------------------------------------------------------ events


def test_events_while_watched(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    pair.watch()
    pair.step(1, frame(D, A))
    pair.step(1, frame(D, A))
    pair.step(2, frame(D, A))
    pair.advance(301 * NS)
    pair.step(3, frame(D, B))
    expected = [
        ("learn", A, 1, 1),
        ("move", A, 2, 1),
        ("age-out", A, 2, 2),
        ("learn", B, 3, 3),
    ]
    assert pair.plane.events() == expected == pair.model.events


def test_no_events_without_a_watcher(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.step(1, frame(D, A))
    pair.watch()
    pair.watch(False)
    pair.step(2, frame(D, A))
    assert not pair.plane.events()


def test_no_events_after_the_lease(pair: Pair) -> None:
    pair.ports(1, 2)
    pair.plane.maps.set_switch(watch_until_ns=coarse_now() - 1)
    pair.step(1, frame(D, A))
    assert not pair.plane.events()


def test_lost_events_are_counted(pair: Pair) -> None:
    """A move back and forth makes an event a frame; the ring has room for so many."""
    pair.ports(1, 2)
    pair.watch()
    room = _abi.EVENT_RING // 32  # a header of 8 bytes, 24 of event
    plane = pair.plane
    moves = room + 100
    for n in range(moves + 1):
        plane.run("tc_ingress", plane.ifindex[1 + n % 2], frame(A, A, 14))
    lost = plane.maps.switch_state()["events_lost"]
    events = plane.events()
    assert lost > 0
    assert len(events) + lost == moves + 1
    plane.run("tc_ingress", plane.ifindex[1], frame(A, B))
    assert plane.events() == [("learn", B, 1, 1)], "a reader that caught up loses nothing more"


# ------------------------------------------------------------------ many ports


@pytest.mark.parametrize("slots", [255, 256, 257, 258, 512, 513, 1000])
def test_floods_run_on_after_a_chunk(large_pair: Pair, slots: int) -> None:
    """A run of the program serves 256 slots; two ports stand at the ends."""
    pair = large_pair
    pair.port(1)
    pair.port(slots, 2)
    assert pair.step(1, frame(frames.BROADCAST, A)).copies == (slots,)
    assert pair.step(slots, frame(frames.MULTICAST, B)).copies == (1,)
    assert pair.step(slots, frame(A, B)).to == 1


def test_flood_to_600_ports(large_pair: Pair) -> None:
    """Ports may share a device: what counts is what each one gets."""
    pair = large_pair
    pair.port(1)
    for index in range(2, 602):
        pair.port(index, 2 + index % 2)
    outcome = pair.step(1, frame(frames.BROADCAST, A))
    assert outcome.copies == tuple(range(2, 602))


def test_a_flood_that_only_the_last_chunk_takes(large_pair: Pair) -> None:
    pair = large_pair
    pair.port(1)
    pair.port(8191, 2)
    assert pair.step(1, frame(D, A)).copies == (8191,)
    pair.change(8191, flood_unicast=False)
    assert pair.step(1, frame(D, A)).verdict == DROP
    assert reasons(pair, 1) == {"no_egress": 1}


def test_gso_packets_count_as_the_frames_they_become(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    pair.step(1, frame(D, A, 1000), gso_segs=7)
    pair.step(2, frame(A, B, 1000), gso_segs=3)
    assert stats(pair, 1)["rx_frames"] == 7
    assert stats(pair, 1)["flooded"] == 7
    assert stats(pair, 1)["tx_frames"] == 3
    assert [stats(pair, n)["tx_frames"] for n in (2, 3)] == [7, 7]
