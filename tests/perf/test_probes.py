"""Probes: plausible figures and exact accounts. How fast anything is, no test asks."""

import os
import socket

import pytest

from vnetx import _bpf
from vnetx_perf import control, cost, pps, programs, rr, stream, subjects

pytestmark = pytest.mark.root

CORE = max(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def direct():
    with subjects.make("direct") as subject:
        yield subject


@pytest.fixture(scope="module")
def bridge():
    with subjects.make("bridge") as subject:
        yield subject


@pytest.mark.parametrize("over_tcp", [True, False], ids=["tcp", "udp"])
def test_a_second_of_request_and_response(bridge, over_tcp):
    sample = rr.measure(bridge, None, 1.0, CORE, stream=over_tcp)
    extra = sample.extra
    assert 0.5 < sample.value < 10_000
    ordered = [extra[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
    assert ordered == sorted(ordered)
    assert extra["transactions"] >= 100
    # Half a round trip is half of the time that one takes.
    assert extra["per_second"] <= 1e6 / extra["p50"]


def test_messages_of_another_size_come_back_whole(direct):
    assert rr.measure(direct, None, 0.1, CORE, size=5000).extra["transactions"] >= 100


def test_lost_datagrams_are_counted(direct):
    program = programs.constant(programs.SCHED_CLS, programs.TC_SHOT)
    with direct.hosts[1].entered():
        link = _bpf.link_create(program, socket.if_nametoindex("eth0"), _bpf.ATTACH_TCX_INGRESS)
    try:
        with pytest.raises(RuntimeError, match=r"no message came back \([1-9]\d* lost\)"):
            rr.measure(direct, None, 0.3, CORE, stream=False)
    finally:
        os.close(link)
        os.close(program)


@pytest.mark.parametrize(
    "looks",
    [
        [(0, 0), *((n * 10**7, n * 100) for n in range(1, 11)), (11 * 10**7, 1000)],
        [(0, 0), (5 * 10**7, 500), (10 * 10**7, 1000), (20 * 10**7, 1000)],
        [(0, 0), (10**8, 1000), (2 * 10**8, 1000)],
        [(0, 0), (4 * 10**7, 500), (6 * 10**7, 500), (10**8, 1000), (2 * 10**8, 1000)],
    ],
    ids=["often", "one between", "none between", "while nothing came"],
)
def test_rate_of_what_was_seen(looks):
    assert pps._rate(looks) == pytest.approx(10_000)


@pytest.mark.parametrize("options", [{}, {"flows": 3}, {"udp": True}], ids=str)
def test_a_stream_flows(direct, options):
    probe = stream.probe(**options)
    with probe.prepare(direct) as pace:
        for _ in range(2):
            sample = probe.measure(direct, pace, 0.2, CORE)
    assert sample.value > 0.01
    assert sample.extra["bytes"] > 1 << 20
    assert 0 < sample.extra["cpu_s_per_gb"] < 1000
    assert "datagrams" in sample.extra if options.get("udp") else "retransmits" in sample.extra


def test_a_stream_without_iperf3_says_the_remedy(direct, monkeypatch):
    monkeypatch.setattr(stream.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match="apt install iperf3"):
        stream.measure(direct, stream.Pace(), 0.1, CORE, udp=False, flows=1)


def test_a_stream_that_cannot_connect_ends():
    with subjects.make("bridge") as subject:
        subject.hosts[1].ip("link set dev eth0 down", "address flush dev eth0")
        subject.hosts[0].ip("route add unreachable 198.18.0.2/32")
        with pytest.raises(RuntimeError, match="iperf3"):
            stream.measure(subject, stream.Pace(), 0.1, CORE, udp=False, flows=1)


def test_offloads_that_are_off_are_named():
    devices = {
        "h0/eth0": {"offloads": {"tcp-segmentation-offload": "off"}},
        "sw/p0": {"offloads": {}},
    }
    assert stream.offloads({"devices": devices}) == "h0/eth0 tcp-segmentation-offload off"
    assert stream.offloads({"devices": {}}) == ""


@pytest.mark.parametrize("source", ["live", "packet"])
@pytest.mark.parametrize("kind", ["direct", "bridge", "vnetx-tc", "vnetx-xdp"])
def test_every_frame_is_received_or_lost(kind, source):
    probe = pps.probe(source=source)
    with subjects.make(kind) as subject, probe.prepare(subject) as receiver:
        sample = probe.measure(subject, receiver, 0.05, CORE)
    extra = sample.extra
    assert extra["received"] + extra["lost"] == extra["sent"]
    assert 0 < extra["received"] <= extra["sent"]
    assert sample.value > 0


@pytest.mark.parametrize("source", ["live", "packet"])
@pytest.mark.parametrize("length", pps.LENGTHS)
def test_frames_of_each_size_are_counted_and_no_others(bridge, length, source):
    probe = pps.probe(length, source)
    assert probe.name == f"pps-{length}" + ("-packet" if source == "packet" else "")
    with probe.prepare(bridge) as receiver:
        near, far = bridge.udp()
        with near, far:
            near.send(b"of another length")
            far.settimeout(5)
            assert far.recv(100) == b"of another length"
        assert receiver.counter.read() == 0
        extra = probe.measure(bridge, receiver, 0.02, CORE).extra
    assert extra["received"] > 0


@pytest.mark.parametrize("source", ["live", "packet"])
def test_frames_that_do_not_arrive_are_lost(source):
    """The bridge's way to the receiver is cut for a while: nothing arrives, and that is said."""
    probe = pps.probe(source=source)
    with subjects.make("bridge") as subject, probe.prepare(subject) as receiver:
        subject.switch.ip("link set dev p1 down")
        with pytest.raises(RuntimeError, match=r"none of \d+ frames arrived"):
            probe.measure(subject, receiver, 0.02, CORE)


@pytest.mark.parametrize("source", ["live", "packet"])
def test_some_lost_frames_are_counted(direct, source):
    """One of ten is dropped before it is counted."""
    probe = pps.probe(source=source)
    with (
        pps.attached(programs.lossy(10, pps.LENGTH), direct.hosts[1]),
        probe.prepare(direct) as receiver,
    ):
        extra = probe.measure(direct, receiver, 0.05, CORE).extra
    assert extra["lost"] == extra["sent"] // 10 > 0


def test_a_device_that_takes_no_xdp_frames_says_so():
    with subjects.make("macvlan") as subject:
        probe = pps.probe(source="live")
        with pytest.raises(RuntimeError, match="takes no XDP frames"), probe.prepare(subject):
            pass
        probe = pps.probe(source="packet")
        with probe.prepare(subject) as receiver:
            assert probe.measure(subject, receiver, 0.02, CORE).extra["received"] > 0


def test_frames_that_came_before_anyone_looked_are_received():
    class Done:
        def done(self):
            return True

    class Counted:
        def read(self):
            return 100

    seen = pps._watch(Counted(), Done(), 100, (0, 0))
    assert seen[-1][1] - seen[0][1] == 100


@pytest.mark.parametrize("kind", ["direct", "bridge"])
def test_live_frames_leave_offloads_as_they_were(kind):
    with subjects.make(kind) as subject:
        port = (subject.switch, "p0") if subject.switch else (subject.hosts[1], "eth0")
        with port[0].entered():
            before = pps._gro(port[1])
            with pps.prepare(subject, source="live"):
                assert pps._gro(port[1]) == "on"
            assert pps._gro(port[1]) == before == "off"


@pytest.mark.parametrize(
    ("counts", "expected", "result"),
    [([5], 5, 5), ([1, 2, 5, 9], 5, 5), ([1, 2, 2, 2], 5, 2), ([0], 5, 0)],
)
def test_a_count_settles_when_all_is_there_or_no_more_comes(monkeypatch, counts, expected, result):
    monkeypatch.setattr(pps, "QUIET_S", 0.02)
    left = list(counts)
    assert pps.settled(lambda: left.pop(0) if len(left) > 1 else left[0], expected) == result


@pytest.mark.parametrize("length", pps.LENGTHS)
def test_frames_have_right_checksums(length):
    near, far = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])
    frame = pps.udp_frame(near, far, length)
    assert len(frame) == length
    assert (frame[:6], frame[6:12]) == (far, near)
    assert pps._checksum(frame[14:34]) == 0
    pseudo = frame[26:34] + bytes([0, 17]) + frame[38:40] + frame[34:]
    assert pps._checksum(pseudo) == 0
    without = pps.udp_frame(near, far, length, checksum=False)
    assert without == frame[:40] + bytes(2) + frame[42:]


def test_costs_of_all_paths_are_told():
    figures = {each.name: each for each in cost.paths(rounds=3, repeat=2000, core=CORE, seed=1)}
    for hook in cost.HOOKS:
        rows = figures[f"cost-{hook}"].rows
        for name in ("known unicast", "drop: same port", "source learned", "source moved"):
            assert len(rows[name].values) == 3
        assert not {"empty", "draw", "untag"} & rows.keys(), "what is taken off is no path"
    assert "flooded to 3 ports" in figures["cost-tc"].rows
    assert "known unicast in a VLAN, tag put on and taken off" in figures["cost-tc"].rows


def test_costs_by_size_are_curves():
    made = cost.scale(rounds=3, repeat=2000, core=CORE, seed=1, sizes=(10, 1000), ports=(2, 100))
    figures = {each.name: each for each in made}
    row = figures["scale-fdb"].rows["tc random · 1,000"]
    assert (row.x, row.series, len(row.values)) == (1000, "tc random", 3)
    series = {row.series for row in figures["scale-fdb"].rows.values()}
    assert series == {"tc hot", "tc random", "xdp hot", "xdp random", "one bare look-up"}
    assert {row.x for row in figures["scale-ports"].rows.values()} == {2, 100}


def test_a_path_that_is_not_taken_is_an_error(monkeypatch):
    monkeypatch.setattr(cost, "_FORWARDED", {"tc": 0, "xdp": 0})
    with pytest.raises(RuntimeError, match="known unicast: the program's verdict is"):
        list(cost.paths(rounds=1, repeat=100, core=CORE, seed=1))


@pytest.mark.slow
def test_commands_are_timed_beside_the_kernels_own():
    (figure,) = control.figure(rounds=1, seed=1, many=3, entries=100)
    assert not figure.failed
    assert {
        "attach, cold", "attach, loaded", "detach", "ip link set master", "fdb show", "--help",
        "fdb load, 100 entries", "bridge -batch, 100 entries",
        "apply, 3 ports", "ip -batch link set master, 3 ports",
    } <= figure.rows.keys()  # fmt: skip
    assert all(0 < value < 60 for row in figure.rows.values() for value in row.values)


def test_a_command_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(control, "command", lambda: ["/bin/false"])
    monkeypatch.setattr(control._Stage, "remove", lambda self: self.namespace.delete())
    (figure,) = control.figure(rounds=1, seed=1, only=["--help"])
    assert not figure.rows
    assert set(figure.failed) == {"--help"}
