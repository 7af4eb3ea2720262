"""The programs of wires on both hooks: what passes, what is dropped, and what chance does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from lib.dataplane import (
    TC_DROP,
    TC_PASS,
    TC_REDIRECT,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    Dataplane,
    Run,
)
from lib.frames import frame
from lib.wires import KINDS, A, B, fate
from vnetx.model import Wire
from vnetx.plan import End, wire_values

pytestmark = pytest.mark.root

GONE = 0x7FFFFFF0
PLAIN = Wire(("p1", "p2"))
HOOKS = {"wire": (TC_PASS, TC_DROP, TC_REDIRECT), "xdp_wire": (XDP_PASS, XDP_DROP, XDP_REDIRECT)}


@dataclass
class Cable:
    """A wire between p1 and p2, ports 1 and 2."""

    plane: Dataplane
    program: str
    wire: Wire = PLAIN

    def set(self, **changes: Any) -> None:
        self.wire = Wire(("p1", "p2"), **changes)
        one, other = (End(f"p{n}", self.plane.ifindex.get(n, GONE), n) for n in (1, 2))
        for end, far in ((one, other), (other, one)):
            self.plane.maps.set_wire(end.ifindex, **wire_values(self.wire, end, far))
            self.plane.maps.set_devmap(end.index, end.ifindex)
        self.plane.touched = max(self.plane.touched, 3)

    def run(self, data: bytes, number: int = 1, **how: Any) -> Run:
        return self.plane.run(self.program, self.plane.ifindex[number], data, **how)

    @property
    def passes(self) -> int:
        return HOOKS[self.program][0]

    @property
    def drops(self) -> int:
        return HOOKS[self.program][1]

    @property
    def sends(self) -> int:
        return HOOKS[self.program][2]

    def counters(self) -> dict[int, dict[str, int]]:
        return self.plane.counters()


@pytest.fixture(params=HOOKS)
def cable(request: pytest.FixtureRequest, plane: Dataplane) -> Cable:
    made = Cable(plane, request.param)
    made.set()
    return made


@pytest.fixture
def tc(plane: Dataplane) -> Cable:
    made = Cable(plane, "wire")
    made.set()
    return made


def test_everything_passes_as_it_is(cable: Cable) -> None:
    total = 0
    for name, data in KINDS.items():
        run = cable.run(data)
        assert (run.verdict, run.data) == (cable.sends, data), name
        total += len(data)
    count = len(KINDS)
    assert cable.counters() == {
        1: {"rx_frames": count, "rx_bytes": total},
        2: {"tx_frames": count, "tx_bytes": total},
    }


def test_both_directions(cable: Cable) -> None:
    assert cable.run(frame(B, A), 1).verdict == cable.sends
    assert cable.run(frame(A, B, 100), 2).verdict == cable.sends
    assert cable.counters() == {
        1: {"rx_frames": 1, "rx_bytes": 60, "tx_frames": 1, "tx_bytes": 100},
        2: {"rx_frames": 1, "rx_bytes": 100, "tx_frames": 1, "tx_bytes": 60},
    }


def test_a_device_that_is_no_end(cable: Cable) -> None:
    assert cable.run(frame(B, A), 3).verdict == cable.passes
    assert cable.counters() == {}


def test_cut_in_one_direction(tc: Cable) -> None:
    tc.set(cut=("p2",))
    assert tc.run(frame(B, A), 1).verdict == TC_REDIRECT
    assert tc.run(frame(A, B), 2).verdict == TC_DROP
    assert tc.counters()[2] == {
        "rx_frames": 1,
        "rx_bytes": 60,
        "tx_frames": 1,
        "tx_bytes": 60,
        "wire_cut": 1,
    }


def test_too_large(tc: Cable) -> None:
    assert tc.run(frame(B, A, 1514)).verdict == TC_REDIRECT
    assert tc.run(frame(B, A, 1515)).verdict == TC_DROP
    assert tc.counters()[2] == {"tx_frames": 1, "tx_bytes": 1514, "mtu": 1}


@pytest.mark.parametrize("length", [60, 1514])
def test_the_other_device_is_gone(tc: Cable, length: int) -> None:
    one, other = End("p1", tc.plane.ifindex[1], 1), End("p2", GONE, 2)
    tc.plane.maps.set_wire(one.ifindex, **wire_values(PLAIN, one, other))
    assert tc.run(frame(B, A, length)).verdict == TC_DROP
    assert tc.counters()[2] == {"egress_gone": 1}


def test_what_xdp_cannot_send_is_left_to_tc(plane: Dataplane) -> None:
    xdp = Cable(plane, "xdp_wire")
    xdp.set(cut=("p2",), loss=100)
    assert xdp.run(frame(A, B), 2).verdict == XDP_PASS, "cut"
    assert xdp.run(frame(B, A, 1519), 1).verdict == XDP_PASS, "too large"
    plane.maps.reset_port(2)  # as a device that goes takes its place in the devmap with it
    assert xdp.run(frame(B, A), 1).verdict == XDP_PASS, "gone"
    assert xdp.counters() == {}
    assert plane.maps.wires()[plane.ifindex[1]]["frames"] == 0, "chance was not asked"


# -------------------------------------------------------------- chance

CHANCES = [
    Wire(("p1", "p2"), loss=30, seed=7),
    Wire(("p1", "p2"), corrupt=40, seed=1),
    Wire(("p1", "p2"), loss=20, corrupt=25, seed=2**32 - 1),
    Wire(("p1", "p2"), loss=0.5, corrupt=0.5),
]


@pytest.mark.parametrize("wire", CHANCES, ids=str)
def test_chance_is_that_of_the_model(cable: Cable, wire: Wire) -> None:
    cable.set(loss=wire.loss, corrupt=wire.corrupt, seed=wire.seed)
    lost, changed = {1: 0, 2: 0}, {1: 0, 2: 0}
    for nth in range(300):
        for number in (1, 2):
            data = frame(B, A, 60 + nth)
            expected = fate(wire, f"p{number}", nth, data)
            run = cable.run(data, number)
            assert run.verdict == (cable.drops if expected is None else cable.sends), nth
            if expected is not None:
                assert run.data == expected, nth
            lost[number] += expected is None
            changed[number] += expected not in (None, data)
    for number, counters in cable.counters().items():
        assert counters.get("wire_loss", 0) == lost[number]
        assert counters.get("wire_corrupt", 0) == changed[number]
        assert counters["rx_frames"] == 300
        assert counters["tx_frames"] == 300 - lost[3 - number]


def test_every_bit_can_be_changed(cable: Cable) -> None:
    cable.set(corrupt=100)
    data = bytes(15)
    hit = set()
    for _ in range(1500):
        run = cable.run(data)
        hit.add(int.from_bytes(run.data) & -int.from_bytes(run.data))
        assert int.from_bytes(run.data).bit_count() == 1
    assert len(hit) == 8 * len(data)


@pytest.mark.parametrize("percent", [0.1, 5.0, 50.0])
def test_the_share_is_what_it_is_said_to_be(cable: Cable, percent: float) -> None:
    """Within five standard deviations."""
    count, share = 20_000, percent / 100
    cable.set(loss=percent, seed=3)
    cable.run(frame(B, A), repeat=count)
    lost = cable.counters()[1].get("wire_loss", 0)
    assert abs(lost - count * share) < 5 * math.sqrt(count * share * (1 - share))


def test_all_and_nothing(cable: Cable) -> None:
    cable.set(loss=100)
    assert {cable.run(frame(B, A)).verdict for _ in range(100)} == {cable.drops}
    cable.set(loss=0)
    assert {cable.run(frame(B, A)).verdict for _ in range(100)} == {cable.sends}


def test_super_packets_are_one_decision_for_all_their_frames(tc: Cable) -> None:
    """Never corrupted: nobody might verify their checksum."""
    data = frame(B, A, 1000)
    for settings in ({"loss": 100}, {"corrupt": 100}):
        tc.set(**settings)
        before = tc.counters().get(1, {}).get("wire_loss", 0)
        assert tc.run(data, gso_size=100, gso_segs=10).verdict == TC_DROP
        assert tc.counters()[1]["wire_loss"] - before == 10
        assert tc.plane.maps.wires()[tc.plane.ifindex[1]]["frames"] == 10
    assert "wire_corrupt" not in tc.counters()[1]
