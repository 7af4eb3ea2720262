"""Flows: what was decided on one frame holds for the next ones, and for none after a change.

Each frame comes several times at once, so that all but the first find a flow; then something
changes, and the very next frame has to notice. `pair` compares every counter with a model
that decides on each frame anew.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lib import frames
from lib.frames import VLAN, frame, station
from lib.model import DROP, NS, PASS, REDIRECT
from lib.pair import Pair
from vnetx import _abi
from vnetx.datapath.fdb import Fdb, Query

pytestmark = pytest.mark.root

A, B, C, D = (station(n) for n in range(1, 5))
#: More than the data plane can be thought to decide on without remembering.
BURST = 5


@pytest.fixture(params=["tc", "xdp"])
def flowing(request: pytest.FixtureRequest, pair: Pair) -> Pair:
    """A (port 1) has sent to B (port 2), both learned; there is a port 3 and nobody behind it."""
    xdp = request.param == "xdp"
    pair.ports(1, 2, 3, xdp=xdp)
    pair.how = {"xdp": "xdp"} if xdp else {}
    pair.step(2, frame(frames.BROADCAST, B), **pair.how)
    pair.step(1, frame(frames.BROADCAST, A), **pair.how)
    burst(pair, 1, frame(B, A), to=2)
    assert [flow["addresses"] for flow in pair.plane.flows()] == [B + A]
    return pair


def burst(pair: Pair, index: int, data: bytes, to: int = 0) -> None:
    outcome = pair.inject(index, data, times=BURST, **pair.how)
    assert (outcome.verdict, outcome.to) == ((REDIRECT, to) if to else (DROP, 0))
    pair.plane.received()
    pair.check()


def test_every_frame_of_a_flow_is_counted(flowing: Pair) -> None:
    before = flowing.plane.maps.port_stats(2)["tx_bytes"]
    burst(flowing, 1, frame(B, A, 1000), to=2)
    assert flowing.plane.maps.port_stats(2)["tx_bytes"] == before + BURST * 1000


def test_both_directions_are_flows_of_their_own(flowing: Pair) -> None:
    burst(flowing, 2, frame(A, B), to=1)
    burst(flowing, 1, frame(B, A), to=2)
    assert {flow["addresses"] for flow in flowing.plane.flows()} == {A + B, B + A}


def test_destination_moves(flowing: Pair) -> None:
    flowing.step(3, frame(frames.BROADCAST, B), **flowing.how)
    burst(flowing, 1, frame(B, A), to=3)


def test_source_moves(flowing: Pair) -> None:
    """The same addresses by another port are another flow: the source is learned there."""
    burst(flowing, 3, frame(B, A), to=2)
    assert flowing.plane.fdb()[1, A]["port"] == 3


def test_same_addresses_from_the_destination_s_port(flowing: Pair) -> None:
    outcome = flowing.inject(2, frame(B, A), **flowing.how)
    assert outcome.verdict == DROP
    assert flowing.plane.maps.reasons()[2] == {"same_port": 1}


PORT_CHANGES = {
    "ingress down": (1, {"up": False}, 0),
    "egress down": (2, {"up": False}, 0),
    "unicast flooding": (2, {"flood_unicast": False}, 2),
    "learning": (1, {"learning": False}, 2),
}


@pytest.mark.parametrize("what", PORT_CHANGES)
def test_port_changes(flowing: Pair, what: str) -> None:
    index, change, to = PORT_CHANGES[what]
    flowing.change(index, **change)
    burst(flowing, 1, frame(B, A), to=to)
    flowing.change(index, **{name: not value for name, value in change.items()})
    burst(flowing, 1, frame(B, A), to=2)


def test_ports_become_isolated(flowing: Pair) -> None:
    flowing.change(1, isolated=True)
    burst(flowing, 1, frame(B, A), to=2)
    flowing.change(2, isolated=True)
    burst(flowing, 1, frame(B, A))
    assert flowing.plane.maps.reasons()[1] == {"isolated": BURST}


def test_mtu_of_the_egress_shrinks(flowing: Pair) -> None:
    """Nobody tells the switch."""
    flowing.model.ports[2].mtu = 900
    with flowing.plane.mtu(2, 900):
        burst(flowing, 1, frame(B, A, 914), to=2)
        burst(flowing, 1, frame(B, A, 915))
        burst(flowing, 1, frame(B, A, 918, tags=(VLAN,)), to=2)
    assert flowing.plane.maps.reasons()[2] == {"mtu": BURST}


def test_ports_go(flowing: Pair) -> None:
    flowing.remove_port(2)
    outcome = flowing.inject(1, frame(B, A), **flowing.how)
    assert outcome.copies == (3,)
    flowing.remove_port(1)
    ifindex = flowing.plane.ifindex[1]
    for program, passes in (("xdp", 2), ("tc_ingress", 0xFFFFFFFF)):
        assert flowing.plane.run(program, ifindex, frame(B, A)).verdict == passes


FDB_CHANGES: dict[str, Callable[[Fdb], object]] = {
    "delete": lambda fdb: fdb.delete(B, bd=1),
    "flush": lambda fdb: fdb.flush(Query(ports=(2,), states=("learned",))),
    "forget": lambda fdb: fdb.forget_port(2),
    "add": lambda fdb: fdb.add(B, 3, bd=1),
}


@pytest.mark.parametrize("what", FDB_CHANGES)
def test_entries_change_from_user_space(flowing: Pair, what: str) -> None:
    FDB_CHANGES[what](Fdb(flowing.plane.maps))
    assert not flowing.plane.flows()
    if what == "add":
        flowing.model.set_entry(B, 3, 1, 0, static=True)
        flowing.model.ports[2].learned -= 1
        burst(flowing, 1, frame(B, A), to=3)
    else:
        del flowing.model.fdb[1, B]
        flowing.model.ports[2].learned -= 1
        assert flowing.step(1, frame(B, A), **flowing.how).copies == (2, 3)


def test_flow_does_not_keep_its_destination_alive(flowing: Pair) -> None:
    """802.1D 7.8: only what a station sends does."""
    flowing.set_switch(ageing=4 * NS)
    for _ in range(3):
        flowing.advance(NS)
        burst(flowing, 1, frame(B, A), to=2)
    flowing.advance(NS)
    assert flowing.step(1, frame(B, A), **flowing.how).copies == (2, 3)


def test_flow_refreshes_its_source(flowing: Pair) -> None:
    flowing.set_switch(ageing=4 * NS)
    for _ in range(8):
        flowing.advance(NS)
        flowing.inject(1, frame(B, A), **flowing.how)
    flowing.plane.received()
    assert flowing.step(3, frame(A, C), **flowing.how).to == 1


def test_what_is_not_learned_is_not_remembered(flowing: Pair) -> None:
    """It is counted, frame by frame."""
    flowing.change(3, learn_limit=1)
    flowing.step(3, frame(frames.BROADCAST, C), **flowing.how)
    burst(flowing, 3, frame(B, D), to=2)
    assert flowing.plane.maps.reasons()[3] == {"learn_limit": BURST}


def test_frame_that_lacks_its_tag_is_no_flow_s(flowing: Pair) -> None:
    data = B + A + VLAN.to_bytes(2, "big")
    for length in (14, 17):
        burst(flowing, 1, data.ljust(length, b"\0"))
    assert flowing.plane.maps.reasons()[1] == {"malformed": 2 * BURST}


def test_many_flows_share_places(large_pair: Pair) -> None:
    """More of them than a CPU has places."""
    pair = large_pair
    pair.ports(1, 2)
    count = 3 * _abi.FLOWS
    for number in range(count):
        pair.entry(station(1000 + number), 2)
    for number in range(0, count, 7):
        outcome = pair.inject(1, frame(station(1000 + number), A), times=2)
        assert outcome.to == 2
    pair.check()
    assert 0 < len(pair.plane.flows()) <= _abi.FLOWS


def test_host_s_own_frames(pair: Pair) -> None:
    """Egress has flows of its own: the same addresses mean another thing there."""
    pair.port(1, twin=3)
    pair.port(3, 1, host=True, twin=1)
    pair.port(2)
    pair.entry(A, 3, local=True, static=True)
    pair.step(2, frame(frames.BROADCAST, B))
    for _ in range(BURST):  # one by one: what is on its way to the host carries a mark
        assert pair.inject(3, frame(B, A), egress=True).to == 2
        assert pair.inject(2, frame(A, B)).to == 3
        pair.check()
    pair.step(1, frame(frames.BROADCAST, C))
    assert pair.inject(3, frame(C, A), egress=True, times=BURST).verdict == PASS
    pair.check()
    sent = [flow["device"] for flow in pair.plane.flows() if flow["addresses"] == C + A]
    assert sent == [pair.plane.ifindex[1] | 1 << 31]
