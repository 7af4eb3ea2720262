"""Frames that are sent by the clock: latency under load, bursts, and the rate without loss.

The sender is an open loop: frame number i is due at start + i / rate, whatever becomes of
those before.  A frame carries the time at which it was *due*, and the program in the receiver
counts from that: where the sender falls behind, because the switch keeps their core busy or
because it did not run, the frames are late and are seen to be.  A closed loop, or the time
of sending, would leave out just those moments in which the path was slow (coordinated
omission).

Frames are of :data:`LENGTH` bytes and come from an AF_PACKET socket past the queue
discipline.  Sender and switch share one core, as they do everywhere where the kernel
forwards: softirqs run where the sender's system call was.  So a path whose queues do not
overflow reaches its limit where the sender cannot offer the rate any more.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vnetx import _probe
from vnetx_perf import oneway, pps, programs
from vnetx_perf.figures import Sample
from vnetx_perf.namespaces import NICE, Worker
from vnetx_perf.rounds import Probe
from vnetx_perf.topology import Subject

LENGTH = pps.LENGTH
#: Where a search ends: between its bounds there is less than this, relative to the upper one.
RESOLUTION = 0.02
#: Trials of a search in one measurement's time.
TRIALS = 8
#: Frames a second, the mean over bursts: time enough for each path to become idle.
BURST_RATE = 50_000
_LOWEST_RATE = 1000.0
_CONFIRMATIONS = 2
#: How often a search may find a rate that then is not carried again.
MOST_CONTRADICTIONS = 3
_MOST_DOUBLINGS = 20
#: A search's sender may be late by this at the end of a trial, relative to its length.
_TRIAL_GRACE = 0.01
_FLAT_OUT = 20e6
_SECOND = 1_000_000_000


def offer(
    subject: Subject,
    frames: int,
    period_ns: float,
    core: int,
    *,
    group: int = 1,
    grace_s: float = 1.0,
    port: int = programs.STAMP_PORT,
) -> _probe.Paced:
    """Offers frames by the clock, `group` of them every `period_ns`.

    Args:
        grace_s: how many seconds longer than by the clock sending may take; what is not sent
            by then is not sent.
        port: the frames' destination; the receiver counts the age of those to
            :data:`programs.STAMP_PORT`.

    Returns:
        What was sent, refused by the device, and late, and the time and CPU time it took.
    """
    frame = pps.udp_frame(subject.mac(0), subject.mac(1), LENGTH, port, checksum=False)
    seconds = frames / group * period_ns / _SECOND
    limit = int((seconds + grace_s) * _SECOND)
    with pps.packet_socket(subject.hosts[0]) as sender:
        worker = Worker(
            _probe.pace,
            sender.fileno(),
            frame,
            period_ns,
            frames,
            limit,
            programs.STAMP_AT,
            group,
            core=core,
            nice=NICE,
        )
        paced: _probe.Paced = worker.result(10 * seconds + grace_s + 10)
    return paced


# ---------------------------------------------------------------- the rate without loss


class Unstable(RuntimeError):  # noqa: N818
    """The same rate was carried and was not: there is no limit that could be told."""


@dataclass(frozen=True)
class Trial:
    """A rate offered for a while.

    Attributes:
        rate: frames a second.
        offered: frames that were due.
        sent: frames that the sender got rid of in time.
        received: frames that reached the receiver.
    """

    rate: float
    offered: int
    sent: int
    received: int

    @property
    def lost(self) -> float:
        """The share of what was due that was not received, sent or not."""
        return 1 - self.received / self.offered


def _bisect(carried: Callable[[float], bool], high: float) -> float:
    """The highest rate that is carried, 0 for none; `high` is not.

    A rate within :data:`RESOLUTION` of it was not carried.
    """
    low = 0.0
    while high - low > RESOLUTION * high and high > _LOWEST_RATE:
        rate = (low + high) / 2
        low, high = (rate, high) if carried(rate) else (low, rate)
    return low


def find_limit(trial: Callable[[float], float], loss: float, high: float) -> float:
    """The highest rate at which no more than `loss` is lost, by binary search.

    As the throughput of RFC 2544, section 26.1, is found, but that the answer is confirmed by
    two more trials.  If they contradict it, the search goes on below.

    Args:
        trial: offers a rate, in frames a second, and returns the share that was lost.
        loss: the share that may be lost, 0 to 1.
        high: where the search begins; while this rate is carried, it is doubled.

    Returns:
        Frames a second, a rate that was carried thrice; one higher by :data:`RESOLUTION`,
        relative, was not.

    Raises:
        RuntimeError: there is loss at all rates, or at none.
        Unstable: what was found is contradicted :data:`MOST_CONTRADICTIONS` times.
    """

    def carried(rate: float) -> bool:
        return trial(rate) <= loss

    high = _rate_not_carried(carried, high)
    contradicted = []
    while len(contradicted) < MOST_CONTRADICTIONS:
        rate = _bisect(carried, high)
        if not rate:
            raise RuntimeError(
                f"{_more_than(loss)} lost at every rate, down to {_LOWEST_RATE:,.0f} frames/s"
            )
        if all(carried(rate) for _ in range(_CONFIRMATIONS)):
            return rate
        contradicted.append(rate)
        high = rate
    raise Unstable(
        f"too unstable for a {f'{loss:.1%}' if loss else 'zero'}-loss search: "
        + ", ".join(f"{rate:,.0f}" for rate in contradicted)
        + " frames/s were carried once and not again"
    )


def _more_than(loss: float) -> str:
    return f"more than {loss:.1%} of the frames are" if loss else "frames are"


def _rate_not_carried(carried: Callable[[float], bool], rate: float) -> float:
    """`rate`, doubled until it is not carried."""
    for _ in range(_MOST_DOUBLINGS):
        if not carried(rate):
            return rate
        rate *= 2
    raise RuntimeError(f"there is no limit up to {rate / 2:,.0f} frames/s")


@dataclass
class Receiver:
    """The counting drop in the receiver, and the trials of the search that was last."""

    counter: programs.Counter
    trials: list[Trial] = field(default_factory=list)


@contextlib.contextmanager
def prepare_search(subject: Subject) -> Iterator[Receiver]:
    """The same drop as for :mod:`vnetx_perf.pps`."""
    with pps.prepare(subject, length=LENGTH, source="packet") as receiver:
        yield Receiver(receiver.counter)


def _try(subject: Subject, receiver: Receiver, trial_s: float, core: int, rate: float) -> Trial:
    """Offers a rate for `trial_s`, and what is late a hundredth of that longer."""
    frames = max(1, int(rate * trial_s))
    before = receiver.counter.read()
    paced = offer(
        subject, frames, _SECOND / rate, core, grace_s=_TRIAL_GRACE * trial_s, port=pps.DISCARD
    )
    received = pps.settled(receiver.counter.read, before + paced["sent"]) - before
    trial = Trial(rate, frames, paced["sent"], received)
    receiver.trials.append(trial)
    return trial


def search(
    subject: Subject, handle: Receiver, loss: float, trial_s: float, core: int, high: float
) -> float:
    """The highest rate, frames a second, at which no more than `loss` of the frames is lost.

    Lost is what was due and not received by the end of the trial and the time that the queues
    take to drain.  Queues that overflow lose frames; but a sender that cannot offer a rate has
    reached the limit of the core that it shares with the switch, and that is the more common.
    ``handle.trials`` tells them apart.

    Args:
        handle: what :func:`prepare_search` yielded.
        loss: 0 to 1.
        trial_s: seconds of one trial.
        high: where the search begins; see :func:`find_limit`, also for what is raised.
    """
    handle.trials.clear()

    def lost(rate: float) -> float:
        return _try(subject, handle, trial_s, core, rate).lost

    return find_limit(lost, loss, high)


def _begin(subject: Subject, receiver: Receiver, trial_s: float, core: int) -> float:
    """A rate at which a search may begin: what arrives of a flood, and half as much again.

    Raises:
        RuntimeError: nothing arrives.
    """
    flood = _try(subject, receiver, trial_s, core, _FLAT_OUT)
    if not flood.received:
        raise RuntimeError(f"none of {flood.sent} frames arrived")
    return max(1.5 * flood.received / trial_s, 2 * _LOWEST_RATE)


def measure_rate(
    subject: Subject, receiver: Receiver, seconds: float, core: int, *, loss: float = 0.0
) -> Sample:
    """The rate of :func:`search` in Mpps, by trials of an eighth of `seconds`.

    Beside it the number of trials, and what kept the lowest rate that was not carried from
    being so: "sender" where it was mostly frames that were not sent in time, else "loss".
    """
    trial_s = seconds / TRIALS
    high = _begin(subject, receiver, trial_s, core)
    rate = search(subject, receiver, loss, trial_s, core, high)
    above = min(
        (trial for trial in receiver.trials if trial.lost > loss), key=lambda trial: trial.rate
    )
    unsent, dropped = above.offered - above.sent, above.sent - above.received
    extra = {
        "trials": len(receiver.trials),
        "limited_by": "sender" if unsent > dropped else "loss",
    }
    return Sample(rate / 1e6, extra)


def probe(loss: float = 0.0) -> Probe:
    """The probe of the highest rate at which no more than `loss` (0 to 1) is lost.

    It is named by the loss in percent; one measurement is one search, and needs no warm-up.
    """
    allowed = f"at most {loss:.1%} of them lost" if loss else "none of them lost"
    return Probe(
        name=f"rate-{100 * loss:g}",
        title=f"highest rate of frames of {LENGTH} B with {allowed}, one core",
        unit="Mpps",
        lower_is_better=False,
        measure=functools.partial(measure_rate, loss=loss),
        prepare=prepare_search,
        warm=0,
    )


# ---------------------------------------------------------------- latency


def _latency(
    subject: Subject,
    latency: programs.Latency,
    frames: int,
    period_ns: float,
    core: int,
    group: int,
) -> Sample:
    """The ages of frames, from when they were due; the value is their p50 in µs."""
    latency.reset()
    paced = offer(subject, frames, period_ns, core, group=group)
    pps.settled(lambda: latency.read().count, paced["sent"])
    extra = oneway.summary(latency.read(), frames)
    extra["late"] = paced["late"] / frames
    extra["cpu_us"] = paced["cpu_ns"] / frames / 1000
    return Sample(extra["p50"], extra)


def measure_burst(
    subject: Subject, latency: programs.Latency, seconds: float, core: int, *, size: int
) -> Sample:
    """The p99, in µs, of the time from a burst's beginning until a frame of it has arrived.

    Beside it frames, lost, percentiles and histogram.  The share that is late is of frames
    sent when the next burst had begun: it should be 0, else the path was not idle.

    Raises:
        RuntimeError: no frame arrived.
    """
    period_ns = size * _SECOND / BURST_RATE
    bursts = max(1, round(seconds * _SECOND / period_ns))
    sample = _latency(subject, latency, bursts * size, period_ns, core, size)
    return Sample(sample.extra["p99"], {"frames": bursts * size, **sample.extra})


def burst_probe(size: int = 1024) -> Probe:
    """The probe of bursts of `size` frames, each into an idle path."""
    return Probe(
        name=f"burst-{size}",
        title=f"time until 99 % of a burst of {size} frames of {LENGTH} B have arrived, one core",
        unit="µs",
        lower_is_better=True,
        measure=functools.partial(measure_burst, size=size),
        prepare=oneway.receiving,
    )


def measure_loaded(
    subject: Subject, latency: programs.Latency, seconds: float, core: int, *, rate: float
) -> Sample:
    """The p50, in µs, of the age of frames at a rate, from when they were due.

    Beside it p90, p99, p99.9, maximum, histogram, lost (not received of those that were due,
    sent or not), the share that is late (sent when the next one was already due), and the
    sender's CPU time for a frame.  Latencies from 67.1 ms on count as so much.

    Raises:
        RuntimeError: no frame arrived.
    """
    return _latency(subject, latency, max(1, int(rate * seconds)), _SECOND / rate, core, 1)


def loaded_probe(rate: float, label: str) -> Probe:
    """The probe of latency at `rate` frames a second, which `label` is the name of."""
    return Probe(
        name=f"load-{label}",
        title=f"latency of a {LENGTH} B frame at {rate:,.0f} frames/s ({label}), p50, one core",
        unit="µs",
        lower_is_better=True,
        measure=functools.partial(measure_loaded, rate=rate),
        prepare=oneway.receiving,
    )
