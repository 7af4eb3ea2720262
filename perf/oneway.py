"""Latency in the kernel alone: from the egress of the sender's eth0 to the receiver's ingress.

A TC program on the sender's eth0 writes the time into each probe frame, one on the
receiver's takes the difference, counts it in a histogram in the kernel, and drops the
frame.  Neither system calls nor wake-ups of a receiving process are in it, and nothing is
halved.  The clock is bpf_ktime_get_ns() at both ends, that is, CLOCK_MONOTONIC.

The frames come from a plain UDP socket, one every :data:`INTERVAL_NS`, open loop: the path is
idle whenever one is sent, and the core is not.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from vnetx import _probe
from vnetx_perf import pps, programs
from vnetx_perf.figures import Sample
from vnetx_perf.namespaces import NICE, Worker
from vnetx_perf.rounds import Probe
from vnetx_perf.topology import Subject, host_address

#: 10,000 frames a second.
INTERVAL_NS = 100_000
#: Bytes of a datagram: with its headers a frame of 60.
SIZE = 18
_PERCENTILES = (50, 90, 99, 99.9)
_SO_NO_CHECK = 11
_WARM_S = 0.05
_SECOND = 1_000_000_000


def summary(histogram: _probe.Histogram, offered: int) -> dict[str, Any]:
    """What a sample says beside its value; times in µs.

    Args:
        offered: how many frames there should have been.

    Raises:
        RuntimeError: no frame arrived.
    """
    if not histogram.count:
        raise RuntimeError(f"none of {offered} frames arrived")
    return {
        **{f"p{percent:g}": histogram.percentile(percent) / 1000 for percent in _PERCENTILES},
        "max": histogram.max / 1000,
        "count": histogram.count,
        "lost": offered - histogram.count,
        "histogram": histogram,
    }


@contextlib.contextmanager
def receiving(subject: Subject) -> Iterator[programs.Latency]:
    """The histogram in the kernel of how old probe frames are at the receiver, which drops them."""
    latency = programs.Latency()
    try:
        with pps.attached(programs.latency_sink(latency), subject.hosts[1]):
            yield latency
    finally:
        os.close(latency.fd)


@contextlib.contextmanager
def prepare(subject: Subject) -> Iterator[programs.Latency]:
    """The clock's programs at both ends."""
    with receiving(subject) as latency, pps.attached(programs.stamp(), subject.hosts[0], "egress"):
        yield latency


def _socket(subject: Subject) -> socket.socket:
    """A UDP socket to the receiver, without checksums: the payload changes on its way."""
    with subject.hosts[0].entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    sender.connect((host_address(1), programs.STAMP_PORT))
    return sender


def _send(sender: int, latency: programs.Latency, seconds: float) -> int:
    """Sends for `seconds` after a warm-up that is not counted; returns how many."""
    for duration in (_WARM_S, seconds):
        latency.reset()
        frames = max(1, int(duration * _SECOND / INTERVAL_NS))
        limit = int((2 * duration + 1) * _SECOND)
        sent = _probe.pace(sender, bytes(SIZE), INTERVAL_NS, frames, limit, 0)["sent"]
        pps.settled(lambda: latency.read().count, sent)
    return sent


def measure(subject: Subject, latency: programs.Latency, seconds: float, core: int) -> Sample:
    """The median latency in µs; percentiles, maximum, count, loss and histogram beside it.

    Raises:
        RuntimeError: no frame arrived.
    """
    with _socket(subject) as sender:
        worker = Worker(_send, sender.fileno(), latency, seconds, core=core, nice=NICE)
        sent = worker.result(10 * seconds + 10)
    extra = summary(latency.read(), sent)
    return Sample(extra["p50"], extra)


def probe() -> Probe:
    """The probe of the latency between the ends of an idle path."""
    return Probe(
        name="oneway",
        title="latency of a 60 B frame in the kernel, sender's egress to receiver's ingress, p50",
        unit="µs",
        lower_is_better=True,
        measure=measure,
        prepare=prepare,
    )
