"""Sending by the clock: schedules, what a stall does to latency, and the search for a limit."""

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import time

import pytest

from vnetx import _probe
from vnetx_perf import oneway, paced, pps, programs, subjects
from vnetx_perf.namespaces import Worker

pytestmark = pytest.mark.root

CORE = max(os.sched_getaffinity(0))
STALL_S = 0.02


@pytest.fixture(scope="module", params=["direct", "bridge"])
def path(request):
    with subjects.make(request.param) as subject:
        yield subject


@pytest.fixture(scope="module")
def bridge():
    with subjects.make("bridge") as subject:
        yield subject


@contextlib.contextmanager
def dropping(subject, every):
    """The receiver's eth0 loses one of `every` frames before anything else sees it."""
    with pps.attached(programs.lossy(every, paced.LENGTH), subject.hosts[1]):
        yield


def measure(probe, subject, seconds):
    with probe.prepare(subject) as handle:
        return probe.measure(subject, handle, seconds, CORE)


# ---------------------------------------------------------------- the sender's schedule


@pytest.fixture
def loopback():
    """A connected pair of UDP sockets, the receiver's room being enough for all messages."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.setblocking(False)
        sender.connect(receiver.getsockname())
        yield sender, receiver


def received(receiver):
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(receiver.recv(100))
    return messages


@pytest.mark.parametrize("group", [1, 7, 100])
def test_messages_carry_the_time_at_which_they_were_due(loopback, group):
    sender, receiver = loopback
    period = 100_000.5
    before = _probe.now_ns()
    paced_ = _probe.pace(
        sender.fileno(), b"head" + bytes(8) + b"tail", period, 200, 10**10, 4, group
    )
    messages = received(receiver)
    due = [struct.unpack_from("=Q", message, 4)[0] for message in messages]
    assert {(message[:4], message[12:]) for message in messages} == {(b"head", b"tail")}
    assert due == [due[0] + int(number // group * period) for number in range(200)]
    assert before <= due[0] <= _probe.now_ns() - paced_["elapsed_ns"]
    assert paced_["sent"] == 200
    assert paced_["refused"] == 0
    assert paced_["elapsed_ns"] >= due[-1] - due[0]


def test_a_sender_that_never_catches_up_ends_at_its_limit(loopback):
    sender, _ = loopback
    paced_ = _probe.pace(sender.fileno(), bytes(8), 1.0, 10**9, 10**7, 0)
    assert 0 < paced_["sent"] < 10**6
    assert paced_["late"] >= 0.9 * paced_["sent"]
    assert paced_["elapsed_ns"] >= 10**7


def test_what_is_not_due_before_the_limit_is_not_sent(loopback):
    sender, receiver = loopback
    assert _probe.pace(sender.fileno(), bytes(8), 10**6, 1000, 4_500_000, 0)["sent"] <= 5
    assert 1 <= len(received(receiver)) <= 5


def test_a_flood_sends_every_message(loopback):
    sender, receiver = loopback
    assert _probe.flood(sender.fileno(), b"message", 150)["sent"] == 150
    assert received(receiver) == [b"message"] * 150


def test_impossible_messages_are_refused(loopback):
    sender, _ = loopback
    with pytest.raises(ValueError, match="no 8 bytes at 4 in a message of 10"):
        _probe.pace(sender.fileno(), bytes(10), 1e3, 1, 10**9, 4)
    with pytest.raises(OSError, match="sending frames"):
        _probe.flood(sender.fileno(), bytes(1 << 17), 1)
    with pytest.raises(OSError, match="by the clock"):
        _probe.pace(sender.fileno(), bytes(1 << 17), 1e3, 1, 10**9, 0)


def test_frames_that_the_device_drops_are_refused_and_not_tried_again(bridge):
    frame = pps.udp_frame(bridge.mac(0), bridge.mac(1))
    host = bridge.hosts[0]
    host.ip("link add name gone type veth peer name away", "link set dev gone up")
    with host.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("gone", 0))
        # PACKET_QDISC_BYPASS; without a carrier the frames are dropped, not queued.
        sender.setsockopt(263, 20, 1)
        flooded = _probe.flood(sender.fileno(), frame, 100)
    host.ip("link delete dev gone")
    assert flooded["sent"] + flooded["refused"] == 100
    assert flooded["refused"] > 0


# ---------------------------------------------------------------- latency


@pytest.mark.serial
def test_every_frame_under_load_is_accounted_for(path):
    probe = paced.loaded_probe(20_000, "10%")
    sample = measure(probe, path, 0.1)
    extra = sample.extra
    assert probe.name == "load-10%"
    assert extra["count"] == extra["histogram"].count == 2000
    assert extra["lost"] == 0
    assert 0 <= extra["late"] <= 1
    ordered = [extra[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
    assert ordered == sorted(ordered)
    assert sample.value == extra["p50"] > 0.05


@pytest.mark.serial
def test_every_frame_of_a_burst_is_accounted_for(path):
    probe = paced.burst_probe(256)
    sample = measure(probe, path, 0.1)
    extra = sample.extra
    assert probe.name == "burst-256"
    assert extra["frames"] == extra["count"] == 20 * 256
    assert extra["lost"] == 0
    assert 0 < extra["p50"] <= sample.value <= extra["max"]


@pytest.mark.parametrize("probe", [paced.loaded_probe(20_000, "some"), paced.burst_probe(100)])
def test_lost_frames_are_counted(path, probe):
    with dropping(path, 10):
        extra = measure(probe, path, 0.1).extra
    offered = extra["count"] + extra["lost"]
    assert extra["lost"] == offered // 10 > 0


@pytest.mark.parametrize(
    "probe", [paced.loaded_probe(20_000, "some"), paced.burst_probe(), paced.probe()]
)
def test_a_path_that_is_cut_is_told(probe):
    with subjects.make("bridge") as subject, probe.prepare(subject) as handle:
        subject.switch.ip("link set dev p1 down")
        with pytest.raises(RuntimeError, match=r"none of \d+ frames arrived"):
            probe.measure(subject, handle, 0.05, CORE)


class Stalled(Worker):
    """A sender that does not run for a while, in the middle of its work."""

    def result(self, timeout):
        time.sleep(0.1)
        os.kill(self._pid, signal.SIGSTOP)
        time.sleep(STALL_S)
        os.kill(self._pid, signal.SIGCONT)
        return super().result(timeout)


@pytest.mark.serial
def test_a_stall_of_the_sender_is_latency_of_the_frames_that_were_due(bridge, monkeypatch):
    monkeypatch.setattr(paced, "Worker", Stalled)
    extra = measure(paced.loaded_probe(20_000, "some"), bridge, 0.3).extra
    assert extra["max"] >= 0.95 * STALL_S * 1e6
    # All that were due in the meantime, not the one that happened to be sent then.
    due = STALL_S * 20_000
    old = sum(n for ns, n in extra["histogram"].items() if ns > STALL_S * 1e9 / 10)
    assert old >= 0.8 * due
    assert extra["late"] * extra["count"] >= 0.9 * due
    assert extra["lost"] == 0


@pytest.mark.serial
def test_a_load_beyond_the_paths_capacity_shows_as_latency_and_loss(bridge):
    extra = measure(paced.loaded_probe(20e6, "too much"), bridge, 0.1).extra
    assert extra["late"] > 0.01
    assert extra["lost"] > 0
    assert extra["p99"] > 1000


# ---------------------------------------------------------------- the search


@pytest.mark.parametrize("limit", [1500.0, 20_000.0, 333_333.0, 5e6])
@pytest.mark.parametrize("high", [2000.0, 1e6, 4e6])
def test_a_sharp_limit_is_found(limit, high):
    tried = []

    def trial(rate):
        tried.append(rate)
        return float(rate > limit)

    found = paced.find_limit(trial, 0.0, high)
    assert (1 - paced.RESOLUTION) * limit <= found <= limit
    assert tried[-2:] == [found, found]
    assert len(tried) < 30


def test_loss_that_is_allowed_makes_the_limit_higher():
    def trial(rate):
        return max(0.0, (rate - 1e5) / rate)

    assert paced.find_limit(trial, 0.0, 1e6) == pytest.approx(1e5, rel=0.02)
    assert paced.find_limit(trial, 0.2, 1e6) == pytest.approx(1.25e5, rel=0.02)


def test_one_contradiction_makes_the_search_go_on_below():
    outcomes = {}

    def trial(rate):
        outcomes.setdefault(rate, 0)
        outcomes[rate] += 1
        # Carried once where the limit was 20 % higher for a moment.
        return float(rate > (1.2e5 if outcomes[rate] == 1 and len(outcomes) < 8 else 1e5))

    assert 0.96e5 <= paced.find_limit(trial, 0.0, 2e5) <= 1e5


def test_contradicting_outcomes_are_no_number():
    first = set()

    def trial(rate):
        known = rate in first
        first.add(rate)
        return float(known or rate > 1e5)

    with pytest.raises(paced.Unstable, match=r"too unstable for a zero-loss search: [0-9,]+ "):
        paced.find_limit(trial, 0.0, 1e6)
    first.clear()
    with pytest.raises(paced.Unstable, match=r"too unstable for a 0\.5%-loss search"):
        paced.find_limit(trial, 0.005, 1e6)


def test_a_rate_that_is_carried_by_chance_is_mostly_no_number():
    """Half of all trials fail whatever the rate: a fourth of the confirmations hold by chance."""
    chance = random.Random(7)
    told = 0
    for _ in range(200):
        with contextlib.suppress(RuntimeError):
            paced.find_limit(lambda _: float(chance.random() < 0.5), 0.0, 1e6)
            told += 1
    assert told < 110


def test_no_limit_and_no_rate_are_told():
    with pytest.raises(RuntimeError, match="frames are lost at every rate, down to 1,000"):
        paced.find_limit(lambda _: 0.1, 0.0, 1e6)
    with pytest.raises(RuntimeError, match=r"more than 0\.5% of the frames are lost"):
        paced.find_limit(lambda _: 0.1, 0.005, 1e6)
    with pytest.raises(RuntimeError, match="no limit up to"):
        paced.find_limit(lambda _: 0.0, 0.0, 1e6)


@pytest.mark.serial
@pytest.mark.parametrize("loss", [0.0, 0.005])
def test_a_path_has_a_rate_or_is_said_to_be_unstable(path, loss):
    probe = paced.probe(loss)
    assert probe.name == f"rate-{100 * loss:g}"
    try:
        sample = measure(probe, path, 0.4)
    except paced.Unstable as error:
        pytest.skip(f"{error}")
    assert 0.001 < sample.value < 100
    assert sample.extra["trials"] >= 8
    assert sample.extra["limited_by"] in ("sender", "loss")


def test_a_path_that_always_loses_has_no_rate_without_loss(bridge):
    with (
        dropping(bridge, 10),
        paced.prepare_search(bridge) as handle,
        pytest.raises(RuntimeError, match="frames are lost at every rate"),
    ):
        paced.search(bridge, handle, 0.0, 0.02, CORE, 100_000)


def add_token_bucket(subject, rate, depth):
    """Lets `rate` frames a second out of the switch to the receiver, and `depth` at once."""
    room = depth // 2 * paced.LENGTH
    bucket = f"tbf rate {rate * paced.LENGTH * 8}bit burst {room} limit {room}"
    command = ["tc", "-n", subject.switch.name, *f"qdisc add dev p1 root {bucket}".split()]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no token bucket: {made.stderr.strip()}")


@pytest.mark.serial
def test_a_planted_limit_is_found():
    limit, depth, loss, trial_s = 20_000, 400, 0.02, 0.2
    with (
        subjects.make("bridge") as subject,
        paced.prepare_search(subject) as handle,
    ):
        add_token_bucket(subject, limit, depth)
        try:
            rate = paced.search(subject, handle, loss, trial_s, CORE, 100_000)
        except paced.Unstable as error:
            pytest.skip(f"{error}")
    if any(trial.sent < trial.offered for trial in handle.trials if trial.rate < limit):
        pytest.skip("something else took the sender's core")
    most = (limit + depth / trial_s) / (1 - loss)
    assert 0.95 * limit <= rate <= most
    assert min(trial.rate for trial in handle.trials if trial.lost > loss) <= 1.05 * most


@pytest.mark.serial
def test_the_drop_of_the_search_counts_no_other_frames(bridge):
    with paced.prepare_search(bridge) as handle:
        near, far = bridge.udp()
        with near, far:
            near.send(b"another length than that of the frames")
            far.settimeout(5)
            assert far.recv(100).startswith(b"another")
        assert handle.counter.read() == 0


def test_the_histogram_is_emptied_between_measurements(bridge):
    probe = paced.loaded_probe(10_000, "some")
    with oneway.receiving(bridge) as handle:
        for _ in range(2):
            assert probe.measure(bridge, handle, 0.02, CORE).extra["count"] == 200
