"""Every branch of the pipeline on the XDP hook.

XDP completes known unicast between XDP ports and drops; whatever else it leaves to TC on
the same device, as if it had not been there. `xdp_step` runs both, as the kernel does, and
compares the sum with the model.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest

from lib import frames
from lib.dataplane import XDP_DROP, XDP_PASS, XDP_REDIRECT, Dataplane
from lib.frames import FOREIGN, QINQ, VLAN, frame, link_local, station
from lib.model import DROP, NS, PASS, REDIRECT, Frame, Outcome
from lib.pair import Pair
from vnetx import _bpf

pytestmark = pytest.mark.root

A, B, C, D = (station(n) for n in range(1, 5))
GONE = 0x7FFFFFF0


def reasons(pair: Pair, index: int) -> dict[str, int]:
    return pair.plane.maps.reasons().get(index, {})


def stats(pair: Pair, index: int) -> dict[str, int]:
    return pair.plane.maps.port_stats(index)


def xdp(pair: Pair, index: int, data: bytes) -> int:
    """The XDP program's verdict alone."""
    return pair.plane.run("xdp", pair.model.ports[index].ifindex, data).verdict


def xdp_step(pair: Pair, index: int, data: bytes) -> Outcome:
    return pair.step(index, data, xdp="xdp")


# ------------------------------------------------------------------ what is completed


def test_known_unicast_is_redirected(pair: Pair) -> None:
    pair.ports(1, 2, 3, xdp=True)
    pair.entry(B, 2)
    outcome = xdp_step(pair, 1, frame(B, A))
    assert (outcome.verdict, outcome.to) == (REDIRECT, 2)
    assert xdp_step(pair, 2, frame(A, B)).to == 1
    assert stats(pair, 1) == {
        "rx_frames": 1,
        "rx_bytes": 60,
        "tx_frames": 1,
        "tx_bytes": 60,
        "flooded": 0,
        "local": 0,
        "learned": 1,
        "moved": 0,
    }


def test_the_verdicts(pair: Pair) -> None:
    pair.ports(1, 2, xdp=True)
    pair.entry(B, 2)
    pair.entry(C, 1)
    assert xdp(pair, 1, frame(B, A)) == XDP_REDIRECT
    assert xdp(pair, 1, frame(C, A)) == XDP_DROP
    assert xdp(pair, 1, frame(D, A)) == XDP_PASS


@pytest.mark.parametrize("length", [14, 15, 59, 60, 82, 83, 1000, 1514])
@pytest.mark.parametrize("tags", [(), (VLAN,), (QINQ,), (QINQ, VLAN), FOREIGN[:2]])
def test_every_length_is_counted(pair: Pair, length: int, tags: tuple[int, ...]) -> None:
    pair.ports(1, 2, xdp=True)
    pair.entry(B, 2)
    data = frame(B, A, length, tags=tags)
    assert xdp_step(pair, 1, data).verdict == REDIRECT
    assert stats(pair, 2)["tx_bytes"] == len(data)


def test_hairpin(pair: Pair) -> None:
    pair.port(1, xdp=True, hairpin=True)
    pair.port(2, xdp=True)
    pair.entry(B, 1)
    assert xdp_step(pair, 1, frame(B, A)).to == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (B + A + b"\x81\x00", "malformed"),
        (B + A + b"\x88\xa8\x00\x0a\x08", "malformed"),
        (frames.BROADCAST + A + b"\x81\x00\x00", "malformed"),
        (frame(B, bytes(6)), "bad_source"),
        (frame(B, frames.MULTICAST), "bad_source"),
        (frame(frames.BROADCAST, frames.BROADCAST), "bad_source"),
        (frame(link_local(2), b"\x01" + bytes(5)), "bad_source"),
    ],
)
def test_bad_frames_end_where_they_came(pair: Pair, data: bytes, reason: str) -> None:
    pair.ports(1, 2, xdp=True)
    pair.entry(B, 2)
    assert xdp(pair, 1, data) == XDP_DROP
    assert reasons(pair, 1) == {reason: 1}
    assert stats(pair, 1)["rx_frames"] == 1
    assert len(pair.plane.fdb()) == 1


@pytest.mark.parametrize("length", [0, 1, 13])
def test_runts(pair: Pair, length: int) -> None:
    """A first buffer that ends before the Ethernet header does."""
    pair.ports(1, 2, xdp=True)
    context = struct.pack("=6I", 0, length, 0, pair.plane.ifindex[1], 0, 0)
    try:
        verdict, *_ = _bpf.prog_test_run(pair.plane.programs["xdp"], frame(B, A), context)
    except OSError as error:
        pytest.skip(f"this kernel runs no program on so short a frame: {error}")
    assert verdict == XDP_DROP
    assert reasons(pair, 1) == {"runt": 1}


def test_drops_of_the_relay(pair: Pair) -> None:
    pair.port(1, xdp=True, isolated=True)
    pair.port(2, xdp=True, isolated=True)
    pair.port(3, xdp=True, up=False)
    pair.entry(A, 1)
    pair.entry(B, 2)
    pair.entry(C, 3)
    for index, data, at, reason in (
        (1, frame(A, D), 1, "same_port"),
        (1, frame(B, A), 1, "isolated"),
        (3, frame(B, C), 3, "port_down"),
        (1, frame(C, A), 3, "egress_down"),
    ):
        assert xdp(pair, index, data) == XDP_DROP
        assert reasons(pair, at)[reason] == 1
        assert stats(pair, index)["rx_frames"] > 0


@pytest.mark.parametrize("tags", [(), (VLAN,), (QINQ, VLAN)])
def test_mtu(pair: Pair, tags: tuple[int, ...]) -> None:
    pair.port(1, xdp=True)
    pair.port(2, xdp=True, mtu=600)
    pair.entry(B, 2)
    fits = 600 + 14 + (4 if tags else 0)
    with pair.plane.mtu(2, 600):
        assert xdp_step(pair, 1, frame(B, A, fits, tags=tags)).verdict == REDIRECT
        assert xdp_step(pair, 1, frame(B, A, fits + 1, tags=tags)).verdict == DROP
    assert reasons(pair, 2) == {"mtu": 1}


@pytest.mark.parametrize("length", [60, 82, 83, 1000])
def test_a_device_that_is_gone(pair: Pair, length: int) -> None:
    """Its place in the devmap is empty: nothing was sent."""
    pair.port(1, xdp=True)
    pair.port(2, GONE, xdp=True, mtu=None)
    pair.entry(B, 2)
    assert xdp(pair, 1, frame(B, A, length)) == XDP_DROP
    assert reasons(pair, 2) == {"egress_gone": 1}
    assert stats(pair, 2)["tx_frames"] == 0


# ------------------------------------------------------------------ what is left to TC


@pytest.mark.parametrize(
    "dst",
    [frames.BROADCAST, frames.MULTICAST, frames.MULTICAST6, *(link_local(n) for n in range(16))],
)
def test_groups_pass_untouched_and_uncounted(pair: Pair, dst: bytes) -> None:
    pair.ports(1, 2, xdp=True)
    assert xdp(pair, 1, frame(dst, A)) == XDP_PASS
    assert not pair.plane.counters()
    assert not pair.plane.fdb()
    xdp_step(pair, 1, frame(dst, A))


def test_groups_pass_a_port_that_is_down(pair: Pair) -> None:
    pair.port(1, xdp=True, up=False)
    pair.port(2, xdp=True)
    assert xdp(pair, 1, frame(frames.BROADCAST, A)) == XDP_PASS
    assert xdp_step(pair, 1, frame(frames.BROADCAST, A)).verdict == DROP
    assert reasons(pair, 1) == {"port_down": 1}


def test_unknown_unicast_is_flooded_by_tc(pair: Pair) -> None:
    pair.ports(1, 2, 3, xdp=True)
    assert xdp_step(pair, 1, frame(D, A)).copies == (2, 3)
    assert stats(pair, 1)["rx_frames"] == 1
    assert stats(pair, 1)["learned"] == 1


def test_a_destination_without_xdp_is_reached_by_tc(pair: Pair) -> None:
    pair.ports(1, 2, xdp=True)
    pair.port(3)
    pair.entry(C, 3)
    assert xdp(pair, 1, frame(C, A)) == XDP_PASS
    assert not stats(pair, 3)["tx_frames"]
    outcome = xdp_step(pair, 1, frame(C, A))
    assert (outcome.verdict, outcome.to) == (REDIRECT, 3)
    assert stats(pair, 1)["rx_frames"] == 1


def test_one_xdp_port_has_nowhere_to_send(pair: Pair) -> None:
    pair.port(1, xdp=True)
    pair.port(2)
    pair.entry(C, 1)
    pair.entry(B, 2)
    for data in (frame(B, A), frame(C, A), frame(D, A), frame(B, bytes(6))):
        assert xdp(pair, 1, data) == XDP_PASS
    assert not pair.plane.counters()
    for dst in (B, C, D):
        xdp_step(pair, 1, frame(dst, A))


def test_a_frame_for_the_host_goes_up(pair: Pair) -> None:
    pair.port(1, xdp=True, twin=2)
    pair.port(2, 1, host=True, twin=1)
    pair.port(3, xdp=True)
    pair.entry(D, 2, static=True, local=True)
    assert xdp(pair, 1, frame(D, A)) == XDP_PASS
    outcome = xdp_step(pair, 1, frame(D, A))
    assert (outcome.verdict, outcome.to) == (PASS, 2)
    assert stats(pair, 1)["rx_frames"] == 1


def test_a_device_that_is_no_port_is_left_alone(pair: Pair) -> None:
    pair.ports(1, 2, xdp=True)
    assert pair.plane.run("xdp", pair.plane.ifindex[3], frame(B, A)).verdict == XDP_PASS
    assert pair.plane.run("xdp", pair.plane.ifindex[3], frame(B, bytes(6))).verdict == XDP_PASS
    assert not pair.plane.counters()


def test_an_aged_destination_is_unknown(pair: Pair) -> None:
    pair.ports(1, 2, 3, xdp=True)
    pair.entry(B, 2)
    pair.advance(299 * NS)
    assert xdp_step(pair, 1, frame(B, A)).to == 2
    pair.advance(2 * NS)
    assert xdp_step(pair, 1, frame(B, A)).copies == (2, 3)


# ------------------------------------------------------------------ learning


def test_a_station_moves(pair: Pair) -> None:
    pair.ports(1, 2, 3, xdp=True)
    pair.entry(B, 3)
    for index in (1, 2, 1):
        xdp_step(pair, index, frame(B, A))
        assert xdp_step(pair, 3, frame(A, B)).to == index
    assert stats(pair, 2)["moved"] == stats(pair, 1)["moved"] == 1


def test_no_learning(pair: Pair) -> None:
    pair.port(1, xdp=True, learning=False)
    pair.port(2, xdp=True)
    pair.entry(B, 2)
    assert xdp_step(pair, 1, frame(B, A)).to == 2
    assert (1, A) not in pair.plane.fdb()


NOTICES = ["own_source", "static_elsewhere", "learn_limit", "fdb_full"]


def _provoke(pair: Pair, notice: str) -> None:
    """From now on, A on port 1 gives this notice."""
    if notice == "own_source":
        pair.entry(A, 3, local=True)
    elif notice == "static_elsewhere":
        pair.entry(A, 3, static=True)
    elif notice == "learn_limit":
        pair.change(1, learn_limit=1)
        pair.step(1, frame(frames.BROADCAST, station(50)))
    else:
        while len(pair.model.fdb) < pair.plane.fdb_size:
            pair.entry(station(60 + len(pair.model.fdb)), 3)


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("to", ["xdp", "tc", "unknown"])
def test_notices_are_counted_once(pair: Pair, notice: str, to: str) -> None:
    """By whichever hook completes the frame."""
    pair.ports(1, 2, 3, xdp=True)
    pair.port(4)
    pair.entry(B, 2, static=True)
    pair.entry(C, 4, static=True)
    _provoke(pair, notice)
    outcome = xdp_step(pair, 1, frame({"xdp": B, "tc": C, "unknown": D}[to], A))
    assert outcome.to == {"xdp": 2, "tc": 4, "unknown": 0}[to]
    assert reasons(pair, 1) == {notice: 1}


def test_events_once(pair: Pair) -> None:
    pair.ports(1, 2, 3, xdp=True)
    pair.watch()
    xdp_step(pair, 1, frame(D, A))
    xdp_step(pair, 2, frame(D, A))
    assert pair.plane.events() == [("learn", A, 1, 1), ("move", A, 2, 1)]


# ------------------------------------------------------------------ generic XDP


def generic(pair: Pair, index: int, data: bytes) -> int:
    return pair.plane.run("xdp_generic", pair.model.ports[index].ifindex, data).verdict


def test_generic_reaches_every_device(pair: Pair) -> None:
    """None of the ports has native XDP."""
    pair.ports(1, 2)
    pair.entry(B, 2)
    assert pair.step(1, frame(B, A), xdp="xdp_generic").to == 2
    assert generic(pair, 1, frame(B, A)) == XDP_REDIRECT
    pair.model.receive(1, Frame(frame(B, A)), xdp="xdp_generic")
    assert pair.step(2, frame(A, B), xdp="xdp_generic").to == 1


def test_generic_leaves_to_tc_what_tc_knows_better(pair: Pair) -> None:
    """A large frame may be a GSO packet."""
    pair.ports(1, 2, isolated=True)
    pair.port(3, up=False)
    pair.port(4, 4, twin=5)
    pair.port(5, 4, host=True, twin=4)
    for mac, port in ((A, 1), (B, 2), (C, 3), (D, 4), (station(5), 5)):
        pair.entry(mac, port)
    for index, data in (
        (1, frame(frames.BROADCAST, A)),
        (1, frame(link_local(1), A)),
        (1, frame(station(9), A)),
        (1, frame(C, A)),
        (1, frame(D, A, 1515)),
        (1, frame(station(5), A)),
        (4, frame(A, D)),
        (4, frame(A, bytes(6))),
    ):
        assert generic(pair, index, data) == XDP_PASS
    assert not pair.plane.counters()
    for index, data in ((1, frame(A, A)), (1, frame(B, A)), (1, frame(A, bytes(6)))):
        assert generic(pair, index, data) == XDP_DROP
    assert reasons(pair, 1) == {"same_port": 1, "isolated": 1, "bad_source": 1}


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("dst", [B, D], ids=["known", "unknown"])
def test_generic_counts_notices_once(pair: Pair, notice: str, dst: bytes) -> None:
    pair.ports(1, 2, 3)
    pair.entry(B, 2, static=True)
    _provoke(pair, notice)
    pair.step(1, frame(dst, A), xdp="xdp_generic")
    assert reasons(pair, 1) == {notice: 1}


# ------------------------------------------------------------------ live


@contextlib.contextmanager
def live(plane: Dataplane, xdp_ports: list[int], tc_ports: list[int]) -> Iterator[None]:
    """Programs attached; the far ends poll, as XDP redirection into a veth needs."""
    for number in xdp_ports:
        plane.far.run("ethtool", "-K", f"h{number}", "gro", "on")
    with plane.attached("tc_ingress", *xdp_ports, *tc_ports), plane.attached("xdp", *xdp_ports):
        yield
    for number in xdp_ports:
        plane.far.run("ethtool", "-K", f"h{number}", "gro", "off")


def test_live_frames(pair: Pair) -> None:
    pair.ports(1, 2, xdp=True)
    pair.port(3)
    wires = pair.plane.wires
    with live(pair.plane, [1, 2], [3]):
        for source, data, to in (
            (1, frame(frames.BROADCAST, A), {2, 3}),
            (2, frame(A, B, 300), {1}),
            (1, frame(B, A, 1514), {2}),
            (3, frame(A, C, 700), {1}),
            (1, frame(C, A, 700), {3}),
            (2, frame(C, B, tags=(VLAN,)), {3}),
            (1, frame(B, A, 200, tags=(QINQ, VLAN)), {2}),
            (2, frame(D, B), {1, 3}),
            (2, frame(B, B), set()),
        ):
            wires[source].send(data)
            assert pair.plane.received() == {n: [data] for n in to}
            pair.model.receive(source, Frame(data), xdp="xdp" if source != 3 else None)
            pair.check()


def test_live_generic_frames(pair: Pair) -> None:
    pair.ports(1, 2, 3)
    plane = pair.plane
    with plane.attached("tc_ingress", 1, 2, 3), plane.attached("xdp_generic", 1, 2):
        for source, data, to in (
            (1, frame(frames.BROADCAST, A), {2, 3}),
            (2, frame(A, B, 300), {1}),
            (1, frame(B, A, 1514), {2}),
            (3, frame(A, C, 700), {1}),
            (1, frame(C, A, 700), {3}),
            (2, frame(D, B), {1, 3}),
        ):
            plane.wires[source].send(data)
            assert plane.received() == {n: [data] for n in to}
            pair.model.receive(source, Frame(data), xdp="xdp_generic" if source != 3 else None)
            pair.check()


@pytest.mark.parametrize("length", [3000, 9014])
def test_live_jumbo_frames(pair: Pair, length: int) -> None:
    """Several buffers a frame; they pass where both ports' MTU allows it."""
    pair.ports(1, 2, 3, xdp=True)
    pair.entry(B, 2)
    pair.entry(C, 3)
    plane = pair.plane
    with plane.mtu(1, 9000), plane.mtu(2, 9000), live(plane, [1, 2, 3], []):
        data = frame(B, A, length)
        plane.wires[1].send(data)
        assert plane.received() == {2: [data]}
        plane.wires[1].send(frame(C, A, length))
        assert not plane.received()
    assert reasons(pair, 3) == {"mtu": 1}
    assert stats(pair, 2)["tx_bytes"] == length


def test_fragments_are_left_to_tc(pair: Pair) -> None:
    """Before Linux 6.3 no devmap takes them: they would be lost, and counted as sent."""
    pair.ports(1, 2, xdp=True, mtu=9000)
    pair.entry(B, 2)
    with pair.plane.mtu(1, 9000), pair.plane.mtu(2, 9000):
        assert xdp(pair, 1, frame(B, A, 9014)) == XDP_PASS
        assert xdp(pair, 1, frame(B, A, 1000)) == XDP_REDIRECT
        assert xdp(pair, 1, frame(B, A, 9014)) == XDP_PASS, "a flow's, too"
