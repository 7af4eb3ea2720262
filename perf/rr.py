"""Request/response between two hosts over sockets: latency, closed loop, one in flight.

By default client, server and all forwarding run on one core: half a round trip is then
the CPU time that a message costs on its way, free of wake-ups of idle cores and of the
scheduler's choices.  On two cores it is the latency that an application sees.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from typing import Any

from vnetx import _probe
from vnetx_perf.figures import Sample
from vnetx_perf.namespaces import NICE, Worker
from vnetx_perf.rounds import Probe
from vnetx_perf.topology import Subject

_SECOND = 1_000_000_000
_WARM_S = 0.05
_PERCENTILES = (50, 90, 99, 99.9)
#: A datagram that is not back by then is lost.
_LOST_AFTER_S = 0.2


def _exchange(
    subject: Subject, stream: bool, seconds: float, cores: tuple[int, int], size: int
) -> dict[str, Any]:
    """One run; what the client counted, with the server's part."""
    client, server = subject.tcp() if stream else subject.udp()
    limit = seconds + _WARM_S
    with client, server:
        for end in (client, server):
            end.setblocking(True)
            wait = struct.pack("=qq", 0, int(_LOST_AFTER_S * 1e6))
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        until = _probe.now_ns() + int((10 * limit + 5) * _SECOND)
        serving = Worker(
            _probe.serve, server.fileno(), size, stream, until, core=cores[1], nice=NICE
        )
        with contextlib.closing(serving):
            driving = Worker(
                _probe.drive,
                client.fileno(),
                size,
                stream,
                int(_WARM_S * _SECOND),
                int(seconds * _SECOND),
                core=cores[0],
                nice=NICE,
            )
            driven: dict[str, Any] = driving.result(10 * limit + 10)
            if stream:
                client.shutdown(socket.SHUT_WR)
            else:
                client.send(b"")
            served, cpu = serving.result(10)
    driven["served"] = served
    driven["server_cpu_ns"] = cpu
    return driven


def measure(
    subject: Subject,
    _: None,
    seconds: float,
    core: int,
    *,
    stream: bool = True,
    other_core: int | None = None,
    size: int = 1,
) -> Sample:
    """Half the median round trip in µs; percentiles, rate, loss and CPU time beside it.

    Args:
        other_core: where the server runs; the client's core by default.
        size: bytes of a message.
    """
    cores = (core, core if other_core is None else other_core)
    driven = _exchange(subject, stream, seconds, cores, size)
    histogram = driven["histogram"]
    if not histogram.count:
        raise RuntimeError(f"no message came back ({driven['lost']} lost)")
    extra = {f"p{percent:g}": histogram.percentile(percent) / 2000 for percent in _PERCENTILES}
    extra["max"] = histogram.max / 2000
    extra["histogram"] = histogram
    extra["transactions"] = histogram.count
    extra["lost"] = driven["lost"]
    extra["per_second"] = histogram.count * _SECOND / driven["elapsed_ns"]
    # The server counts the warm-up too: its CPU time is taken by the message.
    extra["cpu_us"] = (
        driven["cpu_ns"] / histogram.count + driven["server_cpu_ns"] / max(driven["served"], 1)
    ) / 1000
    return Sample(extra["p50"], extra)


def probe(stream: bool, *, size: int = 1, other_core: int | None = None) -> Probe:
    """The probe for TCP (`stream`) or UDP; with `other_core` the two-core variant."""
    protocol = "tcp" if stream else "udp"
    two = other_core is not None
    where = "two cores" if two else "one core"
    return Probe(
        name=f"rr-{protocol}" + ("-2core" if two else "") + (f"-{size}" if size != 1 else ""),
        title=f"{protocol.upper()} request/response of {size} B, p50 of half a round trip, {where}",
        unit="µs",
        lower_is_better=True,
        measure=functools.partial(measure, stream=stream, size=size, other_core=other_core),
        histogram_ns=2000.0,
        closed=True,
        shown={"per_second": "transactions/s", "cpu_us": "CPU µs"},
    )
