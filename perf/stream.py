"""One TCP stream between two hosts, sender, receiver and forwarding on one core."""

from __future__ import annotations

import contextlib
import socket
import struct

from vnetx import _probe
from vnetx_perf.namespaces import NICE, Worker
from vnetx_perf.rounds import Probe, Sample
from vnetx_perf.topology import Subject

_SECOND = 1_000_000_000
#: Both processes run by then, and slow start is over.
_START_S = 0.03
_WARM_S = 0.05
_WAIT_S = 0.2
_WRITE = 128 << 10
_READ = 256 << 10


def _retransmits(end: socket.socket) -> int:
    """tcpi_total_retrans of struct tcp_info."""
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[100:104], "little")


def measure(subject: Subject, _: None, seconds: float, core: int) -> Sample:
    """Gb/s that the receiver read; retransmits and CPU seconds a gigabyte beside it."""
    sender, receiver = subject.tcp()
    with sender, receiver:
        sender.setblocking(True)
        receiver.setblocking(True)
        wait = struct.pack("=qq", 0, int(_WAIT_S * 1e6))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        window = int(seconds * _SECOND)
        begin = _probe.now_ns() + int((_START_S + _WARM_S) * _SECOND)
        end = begin + window
        receiving = Worker(
            _probe.stream_receive, receiver.fileno(), _READ, begin, end, core=core, nice=NICE
        )
        with contextlib.closing(receiving):
            sending = Worker(_probe.stream_send, sender.fileno(), _WRITE, end, core=core, nice=NICE)
            sent, sender_cpu = sending.result(seconds + 10)
            retransmits = _retransmits(sender)
            sender.shutdown(socket.SHUT_WR)
            counted, receiver_cpu, received = receiving.result(seconds + 10)
    if not counted:
        raise RuntimeError(f"nothing arrived in time of {sent} bytes")
    cpu = sender_cpu / max(sent, 1) + receiver_cpu / max(received, 1)
    return Sample(
        counted * 8 / window,
        {"bytes": counted, "retransmits": retransmits, "cpu_s_per_gb": cpu},
    )


def probe() -> Probe:
    return Probe("stream", "TCP stream of one flow, one core", "Gb/s", False, measure)
