"""Latency counted in the kernel: exact cells, probe frames only, every frame accounted for."""

import os
import pickle
import struct

import pytest

from vnetx import _bpf, _probe
from vnetx_perf import oneway, pps, programs, subjects

pytestmark = pytest.mark.root

CORE = max(os.sched_getaffinity(0))
NOW = 10**15
NEAR, FAR = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])
LAST = (_probe.LATENCY_CELLS - _probe.LATENCY_FINE - 1) << _probe.LATENCY_SHIFT


def probe_frame(stamp: int = 0, port: int = programs.STAMP_PORT) -> bytes:
    frame = bytearray(pps.udp_frame(NEAR, FAR, 60, port, checksum=False))
    struct.pack_into("=Q", frame, programs.STAMP_AT, stamp)
    return bytes(frame)


@pytest.fixture
def latency():
    made = programs.Latency()
    yield made
    os.close(made.fd)


@pytest.fixture
def run(latency):
    """Runs the receiver's program, at the time NOW, on a frame; returns the verdict."""
    program = programs.latency_sink(latency, NOW)
    yield lambda frame: _bpf.prog_test_run(program, frame)[0]
    os.close(program)


@pytest.fixture(scope="module", params=["direct", "bridge"])
def path(request):
    with subjects.make(request.param) as subject:
        yield subject


@pytest.mark.parametrize(
    ("age", "counted"),
    [
        (0, 0),
        (1, 1),
        (777, 777),
        (65_535, 65_535),
        (65_536, 65_536 + 512),
        (66_559, 65_536 + 512),
        (66_560, 66_560 + 512),
        (20_000_000, (20_000_000 >> 10 << 10) + 512),
        (LAST - 1, LAST - 512),
        (LAST, LAST),
        (LAST + 1024, LAST),
        (10**12, LAST),
        (-1, 0),
        (-(10**9), 0),
    ],
)
def test_an_age_is_counted_in_its_cell(run, latency, age, counted):
    assert run(probe_frame(NOW - age)) == programs.TC_SHOT
    histogram = latency.read()
    assert histogram.count == 1
    assert histogram.min == histogram.max == histogram.mean == counted


def test_many_ages_give_the_histogram_of_their_cells(run, latency):
    ages = [n * n for n in range(500)] * 2
    expected = _probe.Histogram()
    for age in ages:
        run(probe_frame(NOW - age))
        expected.record(age if age < 65_536 else (age >> 10 << 10) + 512)
    histogram = latency.read()
    assert histogram.items() == expected.items()
    assert histogram.mean == expected.mean
    assert pickle.loads(pickle.dumps(histogram)).items() == expected.items()
    histogram.merge(latency.read())
    assert histogram.count == 2 * len(ages)
    latency.reset()
    assert latency.read().count == 0


def changed(frame: bytes, at: int, value: int) -> bytes:
    return frame[:at] + bytes([value]) + frame[at + 1 :]


OTHERS = {
    "another port": probe_frame(port=pps.DISCARD),
    "IPv6": changed(changed(probe_frame(), 12, 0x86), 13, 0xDD),
    "TCP": changed(probe_frame(), 23, 6),
    "IP options": changed(probe_frame(), 14, 0x46),
    "too short": probe_frame()[: programs.STAMP_AT + 7],
}


@pytest.mark.parametrize("frame", OTHERS.values(), ids=OTHERS.keys())
def test_other_frames_pass_both_ends(run, latency, frame):
    passed = programs.TC_NEXT & 0xFFFFFFFF
    assert run(frame) == passed
    assert latency.read().count == 0
    stamping = programs.stamp()
    try:
        assert _bpf.prog_test_run(stamping, frame)[:2] == (passed, frame)
    finally:
        os.close(stamping)


def test_the_sender_writes_the_time_and_nothing_else():
    stamping = programs.stamp()
    try:
        before = _probe.now_ns()
        frame = _bpf.prog_test_run(stamping, probe_frame())[1]
        after = _probe.now_ns()
    finally:
        os.close(stamping)
    (written,) = struct.unpack_from("=Q", frame, programs.STAMP_AT)
    assert before <= written <= after
    assert frame == probe_frame(written)


def test_the_receivers_clock_is_the_senders(latency):
    program = programs.latency_sink(latency)
    try:
        stamp = _probe.now_ns()
        _bpf.prog_test_run(program, probe_frame(stamp))
        longest = _probe.now_ns() - stamp
    finally:
        os.close(program)
    assert 0 < latency.read().max <= longest + 1024


def test_what_is_no_histogram_is_refused():
    counter = programs.Counter()
    try:
        for use in (_probe.read_latency, _probe.reset_latency):
            with pytest.raises(OSError, match="mapping the cells"):
                use(counter.fd)
    finally:
        os.close(counter.fd)


@pytest.mark.serial
def test_every_frame_is_timed(path):
    probe = oneway.probe()
    with probe.prepare(path) as handle:
        sample = probe.measure(path, handle, 0.1, CORE)
    extra = sample.extra
    assert extra["count"] == extra["histogram"].count == 1000
    assert extra["lost"] == 0
    ordered = [extra[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
    assert ordered == sorted(ordered)
    assert sample.value == extra["p50"] > 0.05


def test_lost_frames_are_counted(path):
    with (
        pps.attached(programs.lossy(10, 60), path.hosts[1]),
        oneway.prepare(path) as handle,
    ):
        extra = oneway.measure(path, handle, 0.1, CORE).extra
    assert extra["count"] == 900
    assert extra["lost"] == 100


def test_a_path_that_is_cut_is_told():
    with subjects.make("bridge") as subject, oneway.prepare(subject) as handle:
        subject.switch.ip("link set dev p1 down")
        with pytest.raises(RuntimeError, match="none of 200 frames arrived"):
            oneway.measure(subject, handle, 0.02, CORE)
