"""Small frames that no socket sent: XDP live frames into the sender's veth, to a drop.

BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES makes frames in page-pool pages and, for
a program that returns XDP_TX, hands them to the device's ndo_xdp_xmit: they come out of
the sender's eth0 as from a wire.  All subjects count and drop them at the same place, the
TC ingress of the receiver's eth0, where a container's stack would begin; so every frame
has become an skb somewhere on its way.  Everything runs on one core.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from vnetx import _bpf, _probe
from vnetx_perf import programs
from vnetx_perf.namespaces import Namespace, Worker
from vnetx_perf.rounds import Probe, Sample
from vnetx_perf.topology import Subject, host_address, host_mac

LENGTH = 60
_SECOND = 1_000_000_000
_BATCH = 64
_LIVE = _bpf.TEST_XDP_LIVE_FRAMES


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp_frame(sender: int, receiver: int, length: int = LENGTH) -> bytes:
    """A UDP datagram between two hosts, headers and both checksums right."""
    payload = bytes(length - 14 - 20 - 8)
    near, far = (socket.inet_aton(host_address(host)) for host in (sender, receiver))
    udp = struct.pack("!HHHH", 10000, 9, 8 + len(payload), 0) + payload
    pseudo = near + far + struct.pack("!BBH", 0, 17, len(udp)) + udp
    udp = udp[:6] + struct.pack("!H", _checksum(pseudo) or 0xFFFF) + udp[8:]
    ipv4 = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0) + near + far
    ipv4 = ipv4[:10] + struct.pack("!H", _checksum(ipv4)) + ipv4[12:]
    return host_mac(receiver) + host_mac(sender) + b"\x08\x00" + ipv4 + udp


def _gro_on(namespace: Namespace, device: str) -> None:
    """ndo_xdp_xmit into a veth wants NAPI on its peer, which GRO or an XDP program makes."""
    with namespace.entered():
        subprocess.run(["ethtool", "-K", device, "gro", "on"], check=True, capture_output=True)


@dataclass
class Receiver:
    """The drop in the receiver, and how many frames a second it saw last."""

    counter: programs.Counter
    rate: float = 200_000.0


@contextlib.contextmanager
def prepare(subject: Subject) -> Iterator[Receiver]:
    """NAPI where the frames enter; the counting drop on the receiver's eth0."""
    if subject.switch and subject.ports:
        _gro_on(subject.switch, subject.ports[0])
    else:
        _gro_on(subject.hosts[1], "eth0")
    counter = programs.Counter()
    program = programs.sink(counter, LENGTH)
    with subject.hosts[1].entered():
        link = _bpf.link_create(program, socket.if_nametoindex("eth0"), _bpf.ATTACH_TCX_INGRESS)
    try:
        yield Receiver(counter)
    finally:
        for fd in (link, program, counter.fd):
            os.close(fd)


def send(frame: bytes, frames: int) -> None:
    """Sends the frame out of eth0 of this namespace, `frames` times."""
    program = programs.constant(programs.XDP, programs.XDP_TX)
    context = struct.pack("=IIIIII", 0, len(frame), 0, socket.if_nametoindex("eth0"), 0, 0)
    _bpf.prog_test_run(program, frame, context, repeat=frames, flags=_LIVE, batch=_BATCH)
    os.close(program)


def _watch(counter: programs.Counter, worker: Worker) -> list[tuple[int, int]]:
    """(time, count) every two milliseconds, until the worker is done and no more arrives."""
    seen = [(_probe.now_ns(), counter.read())]
    quiet = 0
    while quiet < 5:
        time.sleep(0.002)
        seen.append((_probe.now_ns(), counter.read()))
        quiet = quiet + 1 if worker.done() and seen[-1][1] == seen[-2][1] else 0
    return seen


def _rate(seen: list[tuple[int, int]]) -> float:
    """Frames a second between the first and the last tenth: the system call's set-up and
    tear-down (some 20 ms of waiting for RCU) are no frame's cost.

    Where nobody looked often enough, between the last look before the first frame and the
    first look after the last one.
    """
    first, last = seen[0][1], seen[-1][1]
    tenth = (last - first) / 10
    within = [(when, count) for when, count in seen if first + tenth <= count <= last - tenth]
    if len(within) < 2:
        before = [look for look in seen if look[1] == first]
        within = [before[-1], next(look for look in seen if look[1] == last)]
    (begin, low), (end, high) = within[0], within[-1]
    return (high - low) * _SECOND / (end - begin)


def measure(subject: Subject, receiver: Receiver, seconds: float, core: int) -> Sample:
    """Mpps that reached the receiver; frames sent and lost beside it."""
    frames = max(100, int(receiver.rate * seconds / _BATCH)) * _BATCH
    sender = subject.hosts[0]
    worker = Worker(send, udp_frame(0, 1), frames, namespace=sender, core=core)
    with contextlib.closing(worker):
        seen = _watch(receiver.counter, worker)
        worker.result(10)
    received = seen[-1][1] - seen[0][1]
    if not received:
        raise RuntimeError(f"none of {frames} frames arrived")
    receiver.rate = _rate(seen)
    extra = {"sent": frames, "received": received, "lost": frames - received}
    return Sample(receiver.rate / 1e6, extra)


def probe() -> Probe:
    return Probe(
        name="pps",
        title=f"frames of {LENGTH} B from live XDP frames to a drop, one core",
        unit="Mpps",
        lower_is_better=False,
        measure=measure,
        prepare=prepare,
    )
