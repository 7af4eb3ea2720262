"""Probes: plausible figures and exact accounts. How fast anything is, no test asks."""

import json
import os
import socket

import pytest

from vnetx import _bpf
from vnetx_perf import control, cost, pps, programs, rounds, rr, stream, suite, topology
from vnetx_perf.stats import Estimate

pytestmark = pytest.mark.root

CORE = max(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def direct():
    with topology.make("direct") as subject:
        yield subject


@pytest.fixture(scope="module")
def bridge():
    with topology.make("bridge") as subject:
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
    ],
    ids=["often", "one between", "none between"],
)
def test_rate_of_what_was_seen(looks):
    assert pps._rate(looks) == pytest.approx(10_000)


def test_a_stream_flows(direct):
    sample = stream.measure(direct, None, 0.3, CORE)
    assert sample.value > 0.01
    assert sample.extra["bytes"] > 1 << 20


@pytest.mark.parametrize("kind", ["direct", "bridge", "vnetx-tc", "vnetx-xdp"])
def test_every_frame_is_received_or_lost(kind):
    with topology.make(kind) as subject, pps.prepare(subject) as receiver:
        sample = pps.measure(subject, receiver, 0.05, CORE)
    extra = sample.extra
    assert extra["received"] + extra["lost"] == extra["sent"]
    assert 0 < extra["received"] <= extra["sent"]
    assert sample.value > 0


def test_frames_that_do_not_arrive_are_lost():
    """The bridge's way to the receiver is cut for a while: nothing arrives, and that is said."""
    with topology.make("bridge") as subject, pps.prepare(subject) as receiver:
        subject.switch.ip("link set dev p1 down")
        with pytest.raises(RuntimeError, match=r"none of \d+ frames arrived"):
            pps.measure(subject, receiver, 0.02, CORE)


def test_frames_have_right_checksums():
    frame = pps.udp_frame(0, 1)
    assert len(frame) == pps.LENGTH
    assert pps._checksum(frame[14:34]) == 0
    pseudo = frame[26:34] + bytes([0, 17]) + frame[38:40] + frame[34:]
    assert pps._checksum(pseudo) == 0


def test_costs_of_all_paths_are_told():
    values = cost.run(quick=True, core=CORE, seed=1, sizes=(10, 1000), ports=(2, 100))
    for hook in cost.HOOKS:
        for name in (f"{hook}: known unicast", f"{hook}: drop: same port"):
            assert len(values[name]) >= 5
        assert f"{hook}: FDB of 1,000, random" in values
        assert f"{hook}: 100 ports, hot" in values
    assert not any(name.endswith("idle") for name in values)


def test_commands_are_timed():
    taken, failed = control.run(rounds=1, seed=1, only=["attach, loaded", "--help"])
    assert not failed
    assert all(0 < value < 60 for values in taken.values() for value in values)


def test_rounds_interleave_and_report(monkeypatch):
    probe = rounds.Probe(
        "fake", "a fake", "µs", True, lambda subject, _h, _s, _c: rounds.Sample(subject.figure)
    )

    class Fake:
        def __init__(self, figure):
            self.figure = figure

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def state(self):
            return {}

    def make(name):
        if name == "broken":
            raise ValueError("no such module")
        return Fake({"direct": 8.0, "bridge": 10.0, "bridge#2": 10.0}[name])

    monkeypatch.setattr(rounds.topology, "make", make)
    result = rounds.run(
        probe, ["direct", "bridge", "bridge#2", "broken"], rounds=7, seconds=0, core=CORE, seed=3
    )
    assert result.ratio("direct", "bridge") == Estimate(0.8, 0.8, 0.8)
    assert result.noise() == 0
    assert result.failed == {"broken": "ValueError: no such module"}
    assert len({tuple(order) for order in result.orders}) > 1
    assert all(sorted(order) == ["bridge", "bridge#2", "direct"] for order in result.orders)
    document = json.loads(json.dumps(result.to_json()))
    assert document["subjects"]["direct"]["values"] == [8.0] * 7


def test_a_target_says_when_it_cannot_be_sure():
    target = suite.Target("", True, 0.9)
    assert target.verdict(Estimate(0.8, 0.7, 0.85)) == "holds"
    assert target.verdict(Estimate(0.88, 0.8, 0.95)) == "holds ?"
    assert target.verdict(Estimate(1.0, 0.95, 1.1)) == "MISSED"


def test_the_suite_writes_every_value(tmp_path, capsys):
    out = tmp_path / "report.json"
    assert suite.main(["cost", "--quick", "--seed", "5", "--json-out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert document["seed"] == 5
    assert document["machine"]["kernel"] == os.uname().release
    assert document["cost"]["tc: known unicast"]
    assert "known unicast" in capsys.readouterr().out


def test_unknown_probes_are_refused(capsys):
    with pytest.raises(SystemExit):
        suite.main(["speed"])
    assert "there are rr, stream" in capsys.readouterr().err
