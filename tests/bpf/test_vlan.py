"""VLANs (802.1Q-2018 6.9, 8.6, 8.8.8): which one a frame is of, which ports get it, with what tag.

Frames go through attached programs, since a test run does not show tags beside the data. What
arrives is written down in each test; the model is asked besides, and every counter compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lib import frames
from lib.dataplane import Dataplane
from lib.frames import FOREIGN, QINQ, VLAN, frame, link_local, station, tag
from lib.model import DROP, Frame, Outcome
from lib.namespaces import Namespace
from lib.pair import Pair
from lib.vlans import CLASSIFIED, FRAMES, LEAVING, MODES, Tag, leaving, p_tag, s_tag
from vnetx import _bpf
from vnetx_perf.hooks import tc_program

pytestmark = pytest.mark.root

A, B, C, D = (station(n) for n in range(1, 5))
BROADCAST = frames.BROADCAST
HOST = bytes.fromhex("02005e010001")  # p1's own address
DEVICES = (1, 2, 3, 4)
FLOW_TAGGED = 0x1000  # VNETX_FLOW_TAGGED


def reasons(pair: Pair, index: int) -> dict[str, int]:
    return pair.plane.maps.reasons().get(index, {})


@pytest.fixture(params=["tc", "xdp"])
def wired(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Pair]:
    """Programs at devices 1 to 4; `pair.how` are the settings of their ports."""
    plane, xdp = pair.plane, request.param == "xdp"
    pair.how = {"xdp": xdp}
    with contextlib.ExitStack() as stack:
        stack.enter_context(plane.attached("tc_ingress", *DEVICES))
        if xdp:
            for n in DEVICES:  # redirection into a veth needs a peer that polls
                plane.far.run("ethtool", "-K", f"h{n}", "gro", "on")
                stack.callback(plane.far.run, "ethtool", "-K", f"h{n}", "gro", "off")
            stack.enter_context(plane.attached("xdp", *DEVICES))
        yield pair


def model_step(pair: Pair, source: int, data: bytes) -> Outcome:
    """What the model says of a frame that came by a wire."""
    xdp = "xdp" if pair.model.ports[source].xdp else None
    return pair.model.receive(source, Frame(data, stripped=True), xdp=xdp)


def send(pair: Pair, source: int, data: bytes) -> dict[int, bytes]:
    """What arrives where of a frame: at the most one at each device."""
    pair.plane.wires[source].send(data)
    caught = pair.plane.received()
    assert caught == pair.arriving(model_step(pair, source, data), whole=True)
    pair.check()
    assert all(len(found) == 1 for found in caught.values())
    return {device: found[0] for device, found in caught.items()}


def expect(
    pair: Pair,
    source: int,
    dst: bytes,
    tags: list[Tag],
    at: dict[int, list[Tag]],
    src: bytes = A,
    length: int = 100,
) -> None:
    """A frame with these tags arrives at these devices, with those and its payload."""
    found = send(pair, source, tagged(dst, src, tags, length))
    assert found == {n: tagged(dst, src, stack, length) for n, stack in at.items()}


def tagged(dst: bytes, src: bytes, tags: list[Tag], length: int = 100) -> bytes:
    """A frame that would be of this length without its tags."""
    return frame(dst, src, length + 4 * len(tags), tags=tags)


# ------------------------------------------------------------------ which VLAN


def port(pair: Pair, index: int, mode: str, **settings: Any) -> None:
    pair.port(index, **{"vlan": True, "bd": 0, **MODES[mode].bits, **pair.how, **settings})


def known(pair: Pair, mac: bytes, index: int, *vids: int) -> None:
    for vid in vids:
        pair.entry(mac, index, vid, static=True)


@pytest.mark.parametrize("mode", MODES)
def test_classification(wired: Pair, mode: str) -> None:
    """VL-01, 03, 05, 15, 19, 25: known and flooded frames alike, then from a flow."""
    port(wired, 1, mode)
    wired.trunk(2, 10, 20, 30, **wired.how)
    known(wired, B, 2, 10, 20, 30)
    for name, result in CLASSIFIED[mode].items():
        before = reasons(wired, 1)
        for dst in (BROADCAST, B, B):
            if isinstance(result, str):
                expect(wired, 1, dst, FRAMES[name], {})
            else:
                expect(wired, 1, dst, FRAMES[name], {2: [result[0], *result[1]]})
        counted = {reason: n - before.get(reason, 0) for reason, n in reasons(wired, 1).items()}
        assert {r: n for r, n in counted.items() if n} == (
            {result: 3} if isinstance(result, str) else {}
        ), name


@pytest.mark.parametrize("program", [None, "xdp"], ids=["tc", "xdp"])
@pytest.mark.parametrize("mode", MODES)
def test_classification_by_test_run(pair: Pair, mode: str, program: str | None) -> None:
    """The same rows, the programs called (BPF_PROG_TEST_RUN): verdict, data, copies, counters."""
    pair.how = {"xdp": program is not None}
    port(pair, 1, mode)
    pair.trunk(2, 10, 20, 30, **pair.how)
    known(pair, B, 2, 10, 20, 30)
    for name, result in CLASSIFIED[mode].items():
        for dst in (BROADCAST, B, B):
            outcome = pair.step(1, tagged(dst, A, FRAMES[name]), xdp=program)
            if isinstance(result, str):
                assert (outcome.verdict, outcome.frames) == (DROP, {}), name
            else:
                assert outcome.frames == {2: tagged(dst, A, [result[0], *result[1]])}, name


@pytest.mark.parametrize("mode", ["access", "trunk", "provider access", "9100 trunk"])
def test_what_is_dropped_is_not_learned(wired: Pair, mode: str) -> None:
    """VL-33: nor counted for a VLAN."""
    port(wired, 1, mode)
    wired.trunk(2, 10, 20, 30, **wired.how)
    for name, result in CLASSIFIED[mode].items():
        if isinstance(result, str):
            expect(wired, 1, BROADCAST, FRAMES[name], {})
    assert not wired.model.fdb
    assert not wired.model.vlan_stats


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ({}, {"untagged", "priority", "10", "s10"}),
        ({"tagged_only": True}, {"10"}),
        ({"untagged_only": True}, {"untagged", "priority", "s10"}),
    ],
    ids=["all", "tagged", "untagged"],
)
def test_acceptable_frame_types(wired: Pair, settings: dict[str, bool], accepted: set[str]) -> None:
    """A priority-tagged frame is an untagged one, and so is one with a tag of the other kind."""
    wired.trunk(1, 10, native=20, **settings, **wired.how)
    wired.trunk(2, 10, 20, **wired.how)
    known(wired, B, 2, 10, 20)
    for name in ("untagged", "priority", "10", "s10"):
        for dst in (BROADCAST, B):
            assert bool(send(wired, 1, frame(dst, A, tags=FRAMES[name]))) == (name in accepted)
    dropped = 2 * (4 - len(accepted))
    assert reasons(wired, 1) == ({"vlan_type": dropped} if dropped else {})


def test_protocols_of_the_link_are_of_no_vlan(wired: Pair) -> None:
    """LLDP reaches the host's sockets whatever the port's VLANs; pause frames end."""
    wired.trunk(1, 10, **wired.how)
    wired.trunk(2, 10, **wired.how)
    for n in (1, 2, 14):
        expect(wired, 1, link_local(n), [], {})
    assert reasons(wired, 1) == {"pause": 1}
    assert wired.plane.maps.port_stats(1)["local"] == 2
    expect(wired, 1, link_local(0), [], {})
    assert reasons(wired, 1) == {"pause": 1, "vlan_none": 1}
    expect(wired, 1, link_local(0), [tag(10)], {2: [tag(10)]})


# ------------------------------------------------------------------ with which tag


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "inner",
    [[], [tag(7)], [s_tag(7), tag(8)], [p_tag(7), tag(8)], [tag(6), tag(7), tag(8)]],
    ids=["", "7", "s7+8", "p7+8", "6+7+8"],
)
def test_leaving(wired: Pair, mode: str, inner: list[Tag]) -> None:
    """VL-07, 17: the outer tag alone is the switch's."""
    wired.trunk(1, 10, 20, 30, **wired.how)
    port(wired, 2, mode)
    known(wired, B, 2, 10, 20, 30)
    for vid in (10, 20, 30):
        stack = leaving(mode, tag(vid, 5), inner)
        at = {} if stack is None else {2: stack}
        for dst in (BROADCAST, B, B):
            expect(wired, 1, dst, [tag(vid, 5), *inner], at)
    missing = 3 - len(LEAVING[mode])
    assert reasons(wired, 2) == ({"vlan_egress": 2 * missing} if missing else {})
    assert reasons(wired, 1) == ({"no_egress": missing} if missing else {})


@pytest.mark.parametrize("length", [16, 60, 82, 83, 1000, 1514])
@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("access", "trunk"),
        ("trunk", "access"),
        ("access", "hybrid"),
        ("trunk", "native"),
        ("access", "9100 trunk"),
        ("9100 trunk", "access"),
        ("9100 trunk", "trunk"),
    ],
)
def test_every_length(wired: Pair, source: str, out: str, length: int) -> None:
    """A tag comes on top of the MTU."""
    port(wired, 1, source)
    port(wired, 2, out)
    known(wired, B, 2, 10)
    tags = {"access": [], "trunk": [tag(10)], "hybrid": [], "native": [tag(10)]}
    tags["9100 trunk"] = [p_tag(10)]
    with wired.plane.mtu(1, 1504):  # a socket may not send such a tag on top of the MTU
        for dst in (BROADCAST, B):
            expect(wired, 1, dst, tags[source], {2: tags[out]}, length=length)


@pytest.mark.parametrize("length", [1514, 1515])
@pytest.mark.parametrize(
    ("source", "tags", "out", "leaving"),
    [
        ("provider access", [tag(7)], "provider trunk", [s_tag(10), tag(7)]),
        ("provider trunk", [s_tag(10), tag(7)], "provider access", [tag(7)]),
        ("provider trunk", [s_tag(10), tag(7)], "trunk", [tag(10), tag(7)]),
        ("9100 trunk", [p_tag(10), tag(7)], "9100 access", [tag(7)]),
        ("9100 trunk", [p_tag(10), tag(7)], "provider trunk", [s_tag(10), tag(7)]),
    ],
)
def test_two_tags_come_on_top_of_the_mtu(
    wired: Pair, source: str, tags: list[Tag], out: str, leaving: list[Tag], length: int
) -> None:
    """VL-17: the customer's frames may be as large as without a provider."""
    port(wired, 1, source)
    port(wired, 2, out)
    known(wired, B, 2, 10)
    with wired.plane.mtu(1, 9000):
        for dst in (BROADCAST, B):
            expect(wired, 1, dst, tags, {2: leaving} if length == 1514 else {}, length=length)


@pytest.mark.parametrize("source", ["9100 access", "provider trunk"])
def test_a_tag_inside_a_foreign_one_counts(wired: Pair, source: str) -> None:
    """Both are in the data, and devices take one: the MTU has to have room for the other."""
    port(wired, 1, source)
    port(wired, 2, "9100 trunk")
    known(wired, B, 2, 10)
    came = [s_tag(10), tag(7)] if source == "provider trunk" else [tag(7)]
    with wired.plane.mtu(1, 9000):
        for dst in (BROADCAST, B):
            expect(wired, 1, dst, came, {2: [p_tag(10), tag(7)]}, length=1510)
            expect(wired, 1, dst, came, {}, length=1514)
        assert reasons(wired, 2) == {"mtu": 2}
        with wired.plane.mtu(2, 1504):
            wired.change(2, mtu=1504)
            for dst in (BROADCAST, B):
                expect(wired, 1, dst, came, {2: [p_tag(10), tag(7)]}, length=1514)


@pytest.mark.parametrize("mode", ["provider trunk", "9100 trunk"])
def test_priorities_of_tagged_frames(wired: Pair, mode: str) -> None:
    """PCP and DEI, all sixteen, though they share a flow: the tag kept, pushed again, popped."""
    wired.trunk(1, 10, **wired.how)
    wired.trunk(2, 10, **wired.how)
    wired.trunk(3, 10, mapping={110: 10}, **wired.how)
    port(wired, 4, mode)
    for mac, index in ((B, 2), (C, 3), (D, 4)):
        known(wired, mac, index, 10)
    for priority in range(16):
        leaving = {2: [tag(10, priority)], 3: [tag(110, priority)]}
        leaving[4] = [tag(10, priority, MODES[mode].tpid)]
        expect(wired, 1, BROADCAST, [tag(10, priority)], leaving)
        for mac, index in ((B, 2), (C, 3), (D, 4)):
            expect(wired, 1, mac, [tag(10, priority)], {index: leaving[index]})


def test_priorities_of_untagged_frames(wired: Pair) -> None:
    """The port's own; a priority-tagged frame has its own (VL-09: and leaves without)."""
    wired.access(1, 10, **wired.how)
    wired.trunk(2, 10, **wired.how)
    wired.access(3, 10, **wired.how)
    known(wired, B, 2, 10)
    for priority in range(16):
        wired.change(1, priority=priority << 12)
        expect(wired, 1, BROADCAST, [], {2: [tag(10, priority)], 3: []})
        expect(wired, 1, B, [], {2: [tag(10, priority)]})
        other = 15 - priority
        expect(wired, 1, BROADCAST, [tag(0, other)], {2: [tag(10, other)], 3: []})
        expect(wired, 1, B, [tag(0, other)], {2: [tag(10, other)]})


@pytest.mark.parametrize("own", [True, False], ids=["own address", "another's"])
@pytest.mark.parametrize("inner", [[], [tag(7)]], ids=["", "7"])
@pytest.mark.parametrize("source", [VLAN, FOREIGN[0]], ids=hex)
@pytest.mark.parametrize("tpid", [VLAN, FOREIGN[0]], ids=hex)
def test_into_a_container(pair: Pair, own: bool, inner: list[Tag], source: int, tpid: int) -> None:
    """bpf_redirect_peer does not look at the frame again: its protocol has to be right."""
    dst, peer = pair.plane.far_mac(2) if own else B, pair.plane.far_mac(2)
    pair.trunk(1, 10, 20, tpid=source)
    pair.trunk(2, 20, native=10, tpid=tpid, peer=True, peer_retype=True, peer_mac=peer)
    known(pair, dst, 2, 10, 20)
    with pair.plane.far.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind(("h2", frames.TEST))
    with sock, pair.plane.attached("tc_ingress", 1, 2):
        for _ in range(2):
            expect(pair, 1, dst, [tag(20, 5, source), *inner], {2: [tag(20, 5, tpid), *inner]})
            assert tpid == VLAN or not handed_up(sock), "read as a frame without a tag"
            handed_up(sock)
            expect(pair, 1, dst, [tag(10, 5, source), *inner], {2: inner})
            assert handed_up(sock) == [(frame(dst, A, 100), not own or bool(inner))]


# ------------------------------------------------------------------ translation


@pytest.mark.parametrize("tpid", [VLAN, QINQ, *FOREIGN], ids=hex)
def test_translation(wired: Pair, tpid: int) -> None:
    """A VID on the wire and another one inside, in both directions; two may change places."""
    wired.trunk(1, 10, 20, 30, mapping={110: 10, 20: 30, 30: 20}, tpid=tpid, **wired.how)
    wired.trunk(2, 10, 20, 30, **wired.how)
    wired.access(3, 10, **wired.how)
    known(wired, B, 2, 10, 20, 30)
    known(wired, A, 1, 10, 20, 30)
    for wire, inside in ((110, 10), (20, 30), (30, 20)):
        others = {3: []} if inside == 10 else {}
        expect(wired, 1, BROADCAST, [tag(wire, 3, tpid)], {2: [tag(inside, 3)], **others})
        expect(wired, 2, BROADCAST, [tag(inside, 3)], {1: [tag(wire, 3, tpid)], **others}, src=B)
        for _ in range(2):
            expect(wired, 1, B, [tag(wire, 3, tpid)], {2: [tag(inside, 3)]})
            expect(wired, 2, A, [tag(inside, 3)], {1: [tag(wire, 3, tpid)]}, src=B)
    expect(wired, 3, A, [], {1: [tag(110, 0, tpid)]}, src=C)
    expect(wired, 1, BROADCAST, [tag(40, 0, tpid)], {})
    assert reasons(wired, 1) == {"vlan_ingress": 1}


@pytest.mark.parametrize("pair_of_tpids", [(FOREIGN[0],) * 2, FOREIGN[:2]], ids=["same", "other"])
def test_translation_from_wire_to_wire(wired: Pair, pair_of_tpids: tuple[int, int]) -> None:
    """Of tags that the kernel knows neither before nor after."""
    one, two = pair_of_tpids
    wired.trunk(1, 10, 20, mapping={110: 10}, tpid=one, **wired.how)
    wired.trunk(2, 10, 20, tpid=two, **wired.how)
    known(wired, B, 2, 10, 20)
    known(wired, A, 1, 10, 20)
    for inner in ([], [tag(7)], [p_tag(7)]):
        for dst in (BROADCAST, B, B):
            expect(wired, 1, dst, [tag(110, 9, one), *inner], {2: [tag(10, 9, two), *inner]})
            expect(wired, 1, dst, [tag(20, 9, one), *inner], {2: [tag(20, 9, two), *inner]})
        for _ in range(2):
            expect(wired, 2, A, [tag(10, 3, two), *inner], {1: [tag(110, 3, one), *inner]}, src=B)


def test_pvid_is_a_vlan_inside(wired: Pair) -> None:
    wired.trunk(1, native=10, mapping={10: 20}, **wired.how)
    wired.trunk(2, 10, 20, **wired.how)
    expect(wired, 1, BROADCAST, [], {2: [tag(10)]})


# ------------------------------------------------------------------ learning


def test_each_vlan_learns_for_itself(wired: Pair) -> None:
    """VL-31: the same address in two VLANs is two stations."""
    wired.trunk(1, 10, 20, **wired.how)
    wired.trunk(2, 10, 20, **wired.how)
    wired.trunk(3, 10, 20, **wired.how)
    expect(wired, 1, BROADCAST, [tag(10)], {2: [tag(10)], 3: [tag(10)]})
    expect(wired, 2, BROADCAST, [tag(20)], {1: [tag(20)], 3: [tag(20)]})
    assert wired.model.fdb.keys() == {(10, A), (20, A)}
    for _ in range(2):
        expect(wired, 3, A, [tag(10)], {1: [tag(10)]}, src=C)
        expect(wired, 3, A, [tag(20)], {2: [tag(20)]}, src=C)
    assert wired.plane.maps.port_stats(2)["moved"] == 0


def test_shared_learning(wired: Pair) -> None:
    """What is learned in one VLAN is known in all: asymmetric VLANs work."""
    for index, vid in ((1, 10), (2, 20)):
        wired.trunk(index, *{10, 20} - {vid}, native=vid, shared=True, **wired.how)
        wired.change(index, untagged=1 << 10 | 1 << 20)
    wired.access(3, 10, shared=True, **wired.how)
    expect(wired, 1, BROADCAST, [], {2: [], 3: []})
    expect(wired, 2, A, [], {1: []}, src=B)
    assert wired.model.fdb.keys() == {(0, A), (0, B)}
    expect(wired, 1, B, [], {2: []})
    expect(wired, 3, B, [], {2: []}, src=C)
    expect(wired, 2, C, [], {}, src=B)
    assert reasons(wired, 3) == {"vlan_egress": 1}


# ------------------------------------------------------------------ flooding


@pytest.mark.parametrize("tpid", [QINQ, *FOREIGN], ids=hex)
def test_flooding_mixed(wired: Pair, tpid: int) -> None:
    """With a tag and without, whatever the order of ports; never back, never outside."""
    wired.access(1, 10, **wired.how)
    wired.trunk(2, 10, 20, **wired.how)
    wired.access(3, 10, **wired.how)
    wired.trunk(4, 10, 20, tpid=tpid, **wired.how)
    wired.access(5, 20)
    for dst in (BROADCAST, frames.MULTICAST, D):
        expect(wired, 1, dst, [], {2: [tag(10)], 3: [], 4: [tag(10, 0, tpid)]})
        expect(wired, 2, dst, [tag(10, 7)], {1: [], 3: [], 4: [tag(10, 7, tpid)]}, src=B)
        expect(wired, 4, dst, [tag(10, 0, tpid)], {1: [], 2: [tag(10)], 3: []}, src=C)
        expect(wired, 4, dst, [tag(20, 0, tpid)], {2: [tag(20)], 5: []}, src=C)


def test_flooding_by_every_tpid(wired: Pair) -> None:
    """One after the other, out of the order of ports, too."""
    tpids = {1: FOREIGN[1], 2: VLAN, 3: FOREIGN[0], 4: QINQ}
    for index, tpid in tpids.items():
        wired.trunk(index, 10, tpid=tpid, **wired.how)
    for source, came in tpids.items():
        for inner in ([], [tag(7)], [p_tag(7), s_tag(8)]):
            leaving = {n: [tag(10, 5, t), *inner] for n, t in tpids.items() if n != source}
            expect(wired, source, BROADCAST, [tag(10, 5, came), *inner], leaving)


def test_flooding_to_other_ports_of_the_vlan_alone(wired: Pair) -> None:
    """VL-29, 37"""
    for index, vid in ((1, 10), (2, 10), (3, 20), (4, 30)):
        wired.access(index, vid, **wired.how)
    for index, other in ((1, 2), (2, 1), (3, None), (4, None)):
        expect(wired, index, BROADCAST, [], {other: []} if other else {})
    assert reasons(wired, 3) == reasons(wired, 4) == {"no_egress": 1}


def test_hairpin(wired: Pair) -> None:
    """As the others get it."""
    wired.trunk(1, 10, mapping={110: 10}, hairpin=True, **wired.how)
    wired.access(2, 10, **wired.how)
    known(wired, B, 1, 10)
    expect(wired, 1, BROADCAST, [tag(110, 4)], {1: [tag(110, 4)], 2: []})
    expect(wired, 1, B, [tag(110, 4)], {1: [tag(110, 4)]})


def test_as_many_tags_as_ports(large_pair: Pair) -> None:
    """More than a program can call itself: each port has the VLAN under a number of its own."""
    pair, count = large_pair, 100
    pair.access(1, 10)
    for n in range(count):
        pair.trunk(2 + n, 10, device=2 + n % 2, mapping={100 + n: 10})
    outcome = pair.step(1, frame(BROADCAST, A))
    assert outcome.copies == tuple(range(2, 2 + count))
    assert outcome.frames[2 + 42][12:16] == struct.pack("!HH", *tag(142))


@pytest.mark.parametrize("other", [63, 64, 255, 256, 1000, 8191])
def test_ports_anywhere_in_the_set(large_pair: Pair, other: int) -> None:
    pair = large_pair
    pair.trunk(1, 10)
    pair.access(other, 10, device=2)
    pair.access(other - 1, 20, device=3)
    assert pair.step(1, frame(BROADCAST, A, tags=[tag(10)])).copies == (other,)
    assert pair.step(other, frame(BROADCAST, B)).copies == (1,)


def thousand_ports(pair: Pair, count: int) -> None:
    """`count` ports; 1 to 3 are in VLAN 10, and the others are in 20."""
    for index in range(1, count + 1):
        pair.access(index, 10 if index <= 3 else 20, device=index if index <= 3 else 3)


def test_three_ports_of_a_thousand(large_pair: Pair) -> None:
    thousand_ports(large_pair, 1000)
    assert large_pair.step(1, frame(BROADCAST, A)).copies == (2, 3)
    assert len(large_pair.inject(1000, frame(BROADCAST, B)).copies) == 996


@pytest.mark.serial
@pytest.mark.novm  # an emulated processor's time says nothing
def test_ports_of_other_vlans_cost_nothing(large_pair: Pair) -> None:
    """A flood to 2 of 1,000 ports costs what one to 2 of 4 costs, within a factor of two."""
    best: dict[int, int] = {}
    for _ in range(3):
        for count in (4, 1000):
            large_pair.plane.reset()
            pair = Pair(large_pair.plane)
            thousand_ports(pair, count)
            with pair.plane.deaf():
                ns = cost(pair, 1, frame(BROADCAST, A))
            best[count] = min(ns, best.get(count, ns))
    assert best[1000] < 2 * best[4]


def cost(pair: Pair, index: int, data: bytes, repeat: int = 3000) -> int:
    """Nanoseconds of a frame in TC, tags unchanged."""
    context = bytearray(192)
    struct.pack_into("=I", context, 40, pair.model.ports[index].ifindex)
    program = pair.plane.programs["tc_ingress"]
    return int(_bpf.prog_test_run(program, data, bytes(context), repeat=repeat)[3])


# ------------------------------------------------------------------ the host


@pytest.fixture
def host(pair: Pair) -> Iterator[socket.socket]:
    """Device p1 carries the host's addresses and is a trunk; its host side, port 5, is an access
    port of VLAN 10. A socket of the host's."""
    pair.trunk(1, 10, 20, twin=5)
    pair.access(5, 10, device=1, host=True, twin=1)
    pair.trunk(3, 10, 20)
    pair.access(4, 20)
    pair.entry(HOST, 5, 0, static=True, local=True)
    plane = pair.plane
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("p1", frames.TEST))
        with plane.attached("tc_ingress", 1, 3, 4), plane.attached("tc_egress", 1):
            yield sock


def handed_up(sock: socket.socket) -> list[tuple[bytes, bool]]:
    """What the host got: the frame without its tag, and whether it had one of some VLAN.

    (The kernel takes a tag off for whom it has no VLAN device, and says that the frame is
    somebody else's.)
    """
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, address = sock.recvfrom(1 << 16, socket.MSG_DONTWAIT)
            found.append((data, address[2] == socket.PACKET_OTHERHOST))
    return found


@pytest.mark.parametrize("source", [1, 3])
@pytest.mark.parametrize("dst", [HOST, BROADCAST, D], ids=["own", "broadcast", "unknown"])
def test_the_host_gets_frames_of_its_vlan(
    pair: Pair, host: socket.socket, source: int, dst: bytes
) -> None:
    """Known or flooded, by its own wire or by another port: without a tag, as its side wants."""
    other = {1: 3, 3: 1}[source]
    at = {} if dst == HOST else {other: [tag(10, 3)]}
    expect(pair, source, dst, [tag(10, 3)], at)
    got = handed_up(host)
    assert [data for data, _ in got] == [frame(dst, A, 100)]
    assert dst == D or not got[0][1], "a tag of its own"


def test_the_host_gets_no_others(pair: Pair, host: socket.socket) -> None:
    """Where it is not in the VLAN, its address is unknown like any other's."""
    expect(pair, 1, BROADCAST, [tag(20)], {3: [tag(20)], 4: []})
    expect(pair, 3, HOST, [tag(20)], {1: [tag(20)], 4: []})
    assert not handed_up(host)


@pytest.mark.parametrize("dst", [BROADCAST, D, B], ids=["broadcast", "unknown", "known"])
def test_the_host_sends_in_its_vlan(pair: Pair, host: socket.socket, dst: bytes) -> None:
    """Its own wire is a trunk: the frame itself leaves there with a tag."""
    known(pair, B, 1, 10)
    data = frame(dst, HOST)
    for _ in range(2):
        host.send(data)
        outcome = pair.model.receive(5, Frame(data))
        tagged = frame(dst, HOST, 64, tags=[tag(10)])
        caught = pair.plane.received()
        assert caught == {n: [tagged] for n in ((1,) if dst == B else (1, 3))}
        assert caught == pair.arriving(outcome) | {1: [outcome.frames[1]]}
        pair.check()
    assert not reasons(pair, 5), "its own address is no other's"
    assert (10, HOST) not in pair.model.fdb


def test_the_host_in_every_vlan(pair: Pair, host: socket.socket) -> None:
    pair.trunk(5, 10, 20, device=1, host=True, twin=1)
    for vid in (10, 20):
        for source in (1, 3):
            expect(pair, source, HOST, [tag(vid)], {})
            assert handed_up(host) == [(frame(HOST, A, 100), True)]


@pytest.mark.parametrize("source", [1, 3])
@pytest.mark.parametrize("dst", [HOST, BROADCAST, D], ids=["own", "broadcast", "unknown"])
def test_the_host_gets_foreign_tags(
    pair: Pair, host: socket.socket, source: int, dst: bytes
) -> None:
    """As such, whichever way the frame takes: by its type, and with the whole of it."""
    pair.trunk(5, 10, device=1, host=True, twin=1, tpid=FOREIGN[0])
    other = {1: 3, 3: 1}[source]
    host.bind(("p1", FOREIGN[0]))
    for inner in ([], [tag(7)]):
        for _ in range(2):
            tags = [tag(10, 3), *inner]
            expect(pair, source, dst, tags, {} if dst == HOST else {other: tags})
            came = frame(dst, A, 100, tags=[p_tag(10, 3), *inner])
            assert [data[:30] for data, _ in handed_up(host)] == [came[:30]]


@pytest.mark.parametrize("wire", [VLAN, FOREIGN[0]], ids=hex)
@pytest.mark.parametrize("tpid", [VLAN, FOREIGN[0]], ids=hex)
@pytest.mark.parametrize("dst", [BROADCAST, D, B], ids=["broadcast", "unknown", "known"])
def test_the_host_sends_foreign_tags(
    pair: Pair,
    host: socket.socket,  # noqa: ARG001 - its ports
    dst: bytes,
    tpid: int,
    wire: int,
) -> None:
    """And gets them from its own wire, or another kind."""
    pair.trunk(1, 10, twin=5, tpid=wire)
    pair.trunk(5, 10, device=1, host=True, twin=1, tpid=tpid)
    known(pair, B, 1, 10)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("p1", 0))  # of no type: the kernel looks for it in the frame
        for inner in ([], [tag(7)]):
            for _ in range(2):
                sock.send(frame(dst, HOST, 100, tags=[tag(10, 3, tpid), *inner]))
                leaving = {1: wire} if dst == B else {1: wire, 3: VLAN}
                assert pair.plane.received() == {
                    n: [frame(dst, HOST, 100, tags=[tag(10, 3, t), *inner])]
                    for n, t in leaving.items()
                }


@pytest.mark.parametrize("vid", [10, 20])
def test_own_address_from_outside(pair: Pair, host: socket.socket, vid: int) -> None:
    """FD-15: not learned in any VLAN, counted, the frame goes on."""
    expect(pair, 3, B, [tag(vid)], {1: [tag(vid)], **({4: []} if vid == 20 else {})}, src=HOST)
    assert reasons(pair, 3) == {"own_source": 1}
    assert pair.model.fdb.keys() == {(0, HOST)}
    handed_up(host)
    expect(pair, 1, HOST, [tag(10)], {})
    assert handed_up(host) == [(frame(HOST, A, 100), False)]


def test_own_frames_are_flows(pair: Pair) -> None:
    """The host's address is not learned, and looked at no more often for that."""
    pair.access(1, 10, twin=5)
    pair.access(5, 10, device=1, host=True, twin=1)
    pair.access(2, 10)
    pair.entry(HOST, 5, 0, static=True, local=True)
    pair.step(2, frame(BROADCAST, B))
    pair.inject(5, frame(B, HOST), egress=True, times=3)
    assert B + HOST in [flow["addresses"] for flow in pair.plane.flows()]
    pair.check()


# ------------------------------------------------------------------ 802.1ad


@pytest.mark.parametrize("offload", ["on", "off"])
@pytest.mark.parametrize("tpid", [QINQ, FOREIGN[0]], ids=hex)
def test_provider_bridge(wired: Pair, tpid: int, offload: str) -> None:
    """VL-17: the customers' tags are payload, wherever the device wants the provider's."""
    features = ("tx-vlan-offload", offload, "tx-vlan-stag-hw-insert", offload)
    wired.access(1, 100, tpid=tpid, **wired.how)
    wired.access(2, 100, tpid=tpid, **wired.how)
    wired.trunk(3, 100, tpid=tpid, **wired.how)
    known(wired, B, 3, 100)
    known(wired, A, 1, 100)
    try:
        for n in (1, 2, 3):
            wired.plane.near.run("ethtool", "-K", f"p{n}", *features)
        for customer in ([], [tag(10, 3)], [tag(20, 9)], [tag(0, 1)], [tag(10), tag(20)]):
            expect(wired, 1, BROADCAST, customer, {2: customer, 3: [tag(100, 0, tpid), *customer]})
            expect(
                wired, 3, BROADCAST, [tag(100, 2, tpid), *customer], {1: customer, 2: customer}, C
            )
            for _ in range(2):
                expect(wired, 1, B, customer, {3: [tag(100, 0, tpid), *customer]})
                expect(wired, 3, A, [tag(100, 2, tpid), *customer], {1: customer}, src=B)
    finally:
        on = ["on" if word == "off" else word for word in features]
        for n in (1, 2, 3):
            wired.plane.near.run("ethtool", "-K", f"p{n}", *on)


# ------------------------------------------------------------------ changes


@pytest.fixture
def flowing(wired: Pair) -> Pair:
    """A (port 1, access) talks to B (port 2, trunk) in VLAN 10, by flows."""
    wired.access(1, 10, **wired.how)
    wired.trunk(2, 10, 20, **wired.how)
    wired.access(3, 20, **wired.how)
    known(wired, A, 1, 10)
    known(wired, B, 2, 10)
    for _ in range(3):
        expect(wired, 1, B, [], {2: [tag(10)]})
        expect(wired, 2, A, [tag(10)], {1: []}, src=B)
    assert {flow["addresses"]: flow["tag"] for flow in wired.plane.flows()} == {
        A + B: VLAN << 16 | FLOW_TAGGED | 10,
        B + A: 0,
    }
    return wired


CHANGES: dict[str, tuple[int, dict[str, Any], dict[int, list[Tag]]]] = {
    "pvid": (1, {"pvid": 20, "members": 1 << 20}, {2: [tag(20)], 3: []}),
    "no pvid": (1, {"pvid": 0}, {}),
    "ingress membership": (1, {"members": 1 << 20}, {}),
    "egress membership": (2, {"members": 1 << 20}, {}),
    "untagged egress": (2, {"untagged": 1 << 10}, {2: []}),
    "priority": (1, {"priority": 0xB000}, {2: [tag(10, 11)]}),
    "tpid": (2, {"tpid": QINQ}, {2: [s_tag(10)]}),
    "foreign tpid": (2, {"tpid": FOREIGN[2]}, {2: [p_tag(10, 0, FOREIGN[2])]}),
    "accepted": (1, {"tagged_only": True}, {}),
    "mapping": (2, {"mapping": {110: 10}}, {2: [tag(110)]}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changes_hold_for_the_next_frame(flowing: Pair, what: str) -> None:
    index, change, at = CHANGES[what]
    before = {name: getattr(flowing.model.ports[index], name) for name in change}
    for _ in range(2):
        flowing.change(index, **change)
        expect(flowing, 1, B, [], at)
        expect(flowing, 1, B, [], at)
        flowing.change(index, **before)
        expect(flowing, 1, B, [], {2: [tag(10)]})


def test_a_station_changes_its_vlan(flowing: Pair) -> None:
    """The same addresses with another tag are another flow."""
    flowing.change(1, members=1 << 10 | 1 << 20)
    known(flowing, B, 3, 20)
    for _ in range(2):
        expect(flowing, 1, B, [tag(20)], {3: []})
        expect(flowing, 1, B, [], {2: [tag(10)]})
        expect(flowing, 1, B, [tag(0, 5)], {2: [tag(10, 5)]})


def test_a_vlan_without_ports_is_none(flowing: Pair) -> None:
    for index in (1, 2):
        flowing.plane.maps.set_port_vlans(index, 0, 0)
        flowing.model.ports[index].members = 0
    assert flowing.plane.maps.vlan_ports(10) == (0, 0)
    expect(flowing, 1, B, [], {})
    expect(flowing, 1, BROADCAST, [], {})
    assert reasons(flowing, 1) == {"vlan_ingress": 2}


# ------------------------------------------------------------------ counters


def test_counters(wired: Pair) -> None:
    """Bytes as they came and as they left, by port and by VLAN; copies count each."""
    wired.access(1, 10, **wired.how)
    wired.trunk(2, 10, 20, **wired.how)
    wired.access(3, 10, **wired.how)
    known(wired, B, 2, 10)
    expect(wired, 1, BROADCAST, [], {2: [tag(10)], 3: []})  # 100 -> 104 + 100
    expect(wired, 1, B, [], {2: [tag(10)]})  # 100 -> 104
    expect(wired, 2, A, [tag(10)], {1: []}, src=B)  # 104 -> 100
    expect(wired, 2, BROADCAST, [tag(20)], {}, src=B)  # 104, and nobody there
    maps = wired.plane.maps
    assert maps.vlan_stats(10) == {
        "rx_frames": 3,
        "rx_bytes": 304,
        "tx_frames": 4,
        "tx_bytes": 408,
    }
    assert maps.vlan_stats(20) == {
        "rx_frames": 1,
        "rx_bytes": 104,
        "tx_frames": 0,
        "tx_bytes": 0,
    }
    byte_counts = {
        n: (maps.port_stats(n)["rx_bytes"], maps.port_stats(n)["tx_bytes"]) for n in (1, 2, 3)
    }
    assert byte_counts == {1: (200, 100), 2: (208, 208), 3: (0, 100)}
    assert reasons(wired, 2) == {"no_egress": 1}


def test_a_frame_whose_inner_tag_is_cut_off(pair: Pair) -> None:
    """Nothing could be told of what would be its outer tag: it ends, and is counted."""
    pair.trunk(1, 10)
    pair.access(2, 10)
    known(pair, B, 2, 10)
    for dst in (BROADCAST, B):
        data = dst + A + struct.pack("!HHH", VLAN, 10, VLAN)
        assert pair.inject(1, data).verdict == DROP
    pair.check()
    assert reasons(pair, 1) == reasons(pair, 2) == {"no_memory": 1}


# ------------------------------------------------------------------ streams


End = dict[str, Any]


def access_end(vid: int, tpid: int = VLAN) -> End:
    return {"pvid": vid, "members": 1 << vid, "untagged": 1 << vid, "tpid": tpid}


def trunk_end(vid: int, tpid: int = VLAN, wire: int = 0) -> End:
    """A trunk of a VLAN that has another number on the wire."""
    return {"members": 1 << vid, "tpid": tpid, "mapping": {wire: vid} if wire else {}}


def one_cable(tpid: int) -> list[tuple[End, End]]:
    return [(trunk_end(10, tpid), trunk_end(20, tpid, wire=10))]


def three_cables(tpid: int) -> list[tuple[End, End]]:
    """The tag of the first is kept on the second, and another one on the third."""
    return [
        *one_cable(tpid),
        (trunk_end(20, tpid, wire=10), trunk_end(30, tpid, wire=10)),
        (trunk_end(30, tpid), trunk_end(40, tpid, wire=30)),
    ]


def provider(tpid: int) -> list[tuple[End, End]]:
    """A customer's trunk to a provider, over whose cables its tag is payload, and back."""
    return [
        (trunk_end(50), access_end(10, tpid)),
        *three_cables(tpid),
        (access_end(40, tpid), trunk_end(60, wire=50)),
    ]


def payload(tpid: int) -> list[tuple[End, End]]:
    """Frames with foreign tags through ports to which those are payload, and a tag outside."""
    return [
        (trunk_end(50, FOREIGN[0]), access_end(10)),
        *one_cable(tpid),
        (access_end(20), trunk_end(60, FOREIGN[0], wire=50)),
    ]


class Cable:
    """Two hosts; between them two access ports, and other ports joined by cables.

    One switch is as good as several: what is one VLAN before a cable is another one behind it.
    """

    STREAM = 24 << 20

    def __init__(
        self,
        plane: Dataplane,
        cables: list[tuple[End, End]],
        stack: contextlib.ExitStack,
        mtu: int = 1500,
        **settings: Any,
    ) -> None:
        self.plane, self.stack = plane, stack
        self.hosts = [Namespace(), Namespace()]
        for number, there in enumerate(self.hosts):
            stack.callback(there.close)
            plane.near.ip(f"link add a{number} type veth peer name eth0 netns {there.path}")
            stack.callback(plane.near.ip, f"link del a{number}")
            there.ip(
                f"link set eth0 address {station(number).hex(':')} up",
                f"addr add 192.0.2.{number + 1}/24 dev eth0",
            )
        for n in range(len(cables)):
            plane.near.ip(f"link add c{2 * n} mtu {mtu} type veth peer name c{2 * n + 1} mtu {mtu}")
            stack.callback(plane.near.ip, f"link del c{2 * n}")
        self.ends = ["a0", *(f"c{n}" for n in range(2 * len(cables))), "a1"]
        ends = [end for cable in cables for end in cable]
        first, last = ends[0]["members"].bit_length() - 1, ends[-1]["members"].bit_length() - 1
        hosts = [
            {**access_end(vid), "peer": True, "peer_retype": True, "peer_mac": station(number)}
            for number, vid in enumerate((first, last))
        ]
        pair = Pair(plane)
        for index, (name, end) in enumerate(
            zip(self.ends, [hosts[0], *ends, hosts[1]], strict=True), start=1
        ):
            ifindex = self._device(name)
            pair.port(index, ifindex, vlan=True, bd=0, **end, **settings)
            self._attach("tc_ingress", name)
            if settings.get("xdp"):
                self._attach("xdp", name)
                plane.maps.set_devmap(index, ifindex)
        self.sniffer = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        self.sniffer.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        self.sniffer.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
        self.sniffer.bind((self.ends[-2], 3))

    def _device(self, name: str) -> int:
        self.plane.near.ip(f"link set {name} up")
        return socket.if_nametoindex(name)

    def _attach(self, hook: str, name: str) -> None:
        ifindex, program = socket.if_nametoindex(name), self.plane.programs[hook]
        if hook == "xdp":
            link = _bpf.link_create(program, ifindex, _bpf.ATTACH_XDP, 0)
            self.stack.callback(os.close, link)
        else:
            self.stack.enter_context(tc_program(program, ifindex, "ingress"))

    def offload(self, value: str, *features: str) -> None:
        """Of every device of the cables."""
        for name in self.ends[1:-1]:
            for feature in features:
                self.plane.near.run("ethtool", "-K", name, feature, value)

    def polled(self) -> None:
        """What XDP needs of veths: peers that poll, and checksums in the frames."""
        for namespace, names in (
            (self.plane.near, self.ends),
            *((there, ["eth0"]) for there in self.hosts),
        ):
            for name in names:
                namespace.run("ethtool", "-K", name, "gro", "on", "tx", "off")

    def transfer(self) -> tuple[bytes, bytes]:
        """A stream from the one host to the other; its digests."""
        with self.hosts[1].entered():
            listener = socket.create_server(("192.0.2.2", 5001))
        data, got = os.urandom(self.STREAM), hashlib.sha256()

        def serve() -> None:
            listener.settimeout(30)
            connection, _ = listener.accept()
            connection.settimeout(30)
            with connection:
                while chunk := connection.recv(1 << 20):
                    got.update(chunk)

        with listener:
            server = threading.Thread(target=serve)
            server.start()
            with self.hosts[0].entered():
                client = socket.create_connection(("192.0.2.2", 5001), timeout=30)
            with client:
                client.sendall(data)
            server.join()
        return hashlib.sha256(data).digest(), got.digest()

    def seen(self) -> list[int]:
        """Lengths of what came over the cable."""
        lengths = []
        self.sniffer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                lengths.append(self.sniffer.recv_into(bytearray(1), 1, socket.MSG_TRUNC))
        return lengths


TPIDS = pytest.mark.parametrize("tpid", [VLAN, QINQ, *FOREIGN[:2]], ids=hex)


def nothing_dropped(plane: Dataplane) -> None:
    assert not plane.maps.reasons()


@pytest.mark.parametrize("offload", ["on", "off"])
@TPIDS
def test_streams_keep_their_super_packets(plane: Dataplane, tpid: int, offload: str) -> None:
    """TCP over a trunk: what one host sends in one piece is tagged and untagged in one piece."""
    with contextlib.ExitStack() as stack:
        cable = Cable(plane, one_cable(tpid), stack)
        cable.offload(offload, "tx-vlan-offload", "tx-vlan-stag-hw-insert")
        sent, got = cable.transfer()
        assert sent == got
        lengths = cable.seen()
        assert max(lengths) > 20_000
        stats = plane.maps.vlan_stats(20)
        assert stats["tx_frames"] > Cable.STREAM // 1500, "counted as the frames of the wire"
        nothing_dropped(plane)


@TPIDS
def test_streams_from_trunk_to_trunk(plane: Dataplane, tpid: int) -> None:
    """What came in one piece remains so."""
    with contextlib.ExitStack() as stack:
        cable = Cable(plane, three_cables(tpid), stack)
        sent, got = cable.transfer()
        assert sent == got
        assert max(cable.seen()) > 20_000
        nothing_dropped(plane)


@pytest.mark.parametrize(("tpid", "mtu"), [(QINQ, 1500), (FOREIGN[0], 1504)])
@pytest.mark.parametrize("cables", [provider, payload])
def test_streams_of_customers(plane: Dataplane, cables: Any, tpid: int, mtu: int) -> None:
    """VL-17: with a tag of their own inside, whichever that is."""
    with contextlib.ExitStack() as stack:
        cable = Cable(plane, cables(tpid), stack, mtu=mtu)
        sent, got = cable.transfer()
        assert sent == got
        assert max(cable.seen()) > 20_000
        nothing_dropped(plane)


@pytest.mark.parametrize("feature", ["tso", "tx"])
@pytest.mark.parametrize(
    ("cables", "tpid", "mtu"),
    [
        *((three_cables, tpid, 1500) for tpid in (VLAN, QINQ, *FOREIGN[:2])),
        (provider, QINQ, 1500),
        (provider, FOREIGN[0], 1504),
        (payload, VLAN, 1500),
    ],
)
def test_streams_over_a_device_without_offload(
    plane: Dataplane, cables: Any, tpid: int, mtu: int, feature: str
) -> None:
    """The kernel cuts packets to segments and writes checksums, whichever device needs it: that
    where they get their tag, or one where they come from a trunk."""
    for number in (0, 2) if cables is payload else (0, 2, 4):
        plane.reset()
        with contextlib.ExitStack() as stack:
            cable = Cable(plane, cables(tpid), stack, mtu=mtu)
            plane.near.run("ethtool", "-K", f"c{number}", feature, "off")
            sent, got = cable.transfer()
            assert sent == got
            assert max(cable.seen()) <= 1522
            nothing_dropped(plane)


@pytest.mark.parametrize(
    ("cables", "tpid", "mtu"),
    [
        *((three_cables, tpid, 1500) for tpid in (VLAN, QINQ, *FOREIGN[:2])),
        (provider, QINQ, 1500),
        (provider, FOREIGN[0], 1504),
    ],
)
def test_streams_that_are_flooded(plane: Dataplane, cables: Any, tpid: int, mtu: int) -> None:
    """In one piece, too."""
    with contextlib.ExitStack() as stack:
        cable = Cable(plane, cables(tpid), stack, mtu=mtu, learning=False)
        sent, got = cable.transfer()
        assert sent == got
        assert max(cable.seen()) > 20_000
        assert not plane.fdb()
        nothing_dropped(plane)


@TPIDS
def test_streams_through_xdp(plane: Dataplane, tpid: int) -> None:
    with contextlib.ExitStack() as stack:
        cable = Cable(plane, one_cable(tpid), stack, xdp=True)
        cable.polled()
        sent, got = cable.transfer()
        assert sent == got
        nothing_dropped(plane)


@pytest.mark.parametrize("known_", [True, False], ids=["known", "flooded"])
@pytest.mark.parametrize(
    ("source", "out"), [("access", "trunk"), ("trunk", "access"), ("trunk", "provider trunk")]
)
def test_gso_packets(pair: Pair, source: str, out: str, known_: bool) -> None:
    """Counted by their segments, each of which has the tag; tags count once a packet in bytes."""
    port(pair, 1, source)
    port(pair, 2, out)
    if known_:
        known(pair, B, 2, 10)
    tags = {"access": [], "trunk": [tag(10)]}[source]
    outcome = pair.inject(1, frame(B, A, 1000, proto=frames.TEST, tags=tags), gso_segs=7)
    pair.check()
    assert len(outcome.frames[2]) == 1000 + {"access": 4, "trunk": -4}.get(source, 0) * (
        out != "provider trunk"
    )
    assert pair.plane.maps.vlan_stats(10)["tx_frames"] == 7
    pair.plane.received()
