"""Frames of one size as fast as can be, to a drop: what a path carries on one core.

There are two sources.  "live": BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES makes frames
in page-pool pages and, for a program that returns XDP_TX, hands them to the device's
ndo_xdp_xmit: they come out of the sender's eth0 as from a wire, and were never socket
buffers.  "packet": an AF_PACKET socket with PACKET_QDISC_BYPASS sends socket buffers straight
to the device's ndo_start_xmit; that works with every device, and costs a system call for
each :data:`vnetx._probe.BATCH` frames and a copy for each one.

All subjects count and drop the frames at the same place, the TC ingress of the receiver's
eth0, where a container's stack would begin; so every frame has become an skb somewhere on
its way.  Everything runs on one core.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from vnetx import _bpf, _probe
from vnetx_perf import hooks, programs
from vnetx_perf.figures import Sample
from vnetx_perf.namespaces import Namespace, Worker
from vnetx_perf.rounds import Probe
from vnetx_perf.topology import Subject, host_address

Source = Literal["live", "packet"]

#: Sizes without the FCS, as skb->len has them: Ethernet's least and most, and two of RFC 2544's
#: (section 9.1) between.
LENGTHS = (60, 128, 512, 1514)
LENGTH = LENGTHS[0]
#: What has not arrived after so long without any other frame is lost: a softirq that waits for
#: its turn as a process (ksoftirqd) is late by some time slices of the others.
QUIET_S = 0.1
_LOOK_S = 0.002
_SECOND = 1_000_000_000
_LIVE = _bpf.TEST_XDP_LIVE_FRAMES
#: RFC 863.
DISCARD = 9
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_SO_SNDBUFFORCE = 32
_ETH_P_IP = 0x0800


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def udp_frame(
    source: bytes,
    destination: bytes,
    length: int = LENGTH,
    port: int = DISCARD,
    checksum: bool = True,
) -> bytes:
    """A UDP datagram from host 0 to host 1 in an Ethernet frame, its checksums right.

    Args:
        source: MAC address, as `destination`.
        length: of the frame without FCS, even, 42 bytes at least.
        port: its destination.
        checksum: False leaves UDP's out (0, RFC 768), for payload that changes on its way.
    """
    payload = bytes(length - 14 - 20 - 8)
    near, far = (socket.inet_aton(host_address(host)) for host in (0, 1))
    udp = struct.pack("!HHHH", 10000, port, 8 + len(payload), 0) + payload
    if checksum:
        pseudo = near + far + struct.pack("!BBH", 0, socket.IPPROTO_UDP, len(udp)) + udp
        udp = udp[:6] + struct.pack("!H", _checksum(pseudo) or 0xFFFF) + udp[8:]
    ipv4 = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0) + near + far
    ipv4 = ipv4[:10] + struct.pack("!H", _checksum(ipv4)) + ipv4[12:]
    return destination + source + struct.pack("!H", _ETH_P_IP) + ipv4 + udp


def packet_socket(namespace: Namespace) -> socket.socket:
    """An AF_PACKET socket that sends out of eth0 of a namespace and past its queue discipline.

    Its send buffer is so large that no frame waits for an earlier one to be freed at the
    receiver: sending must not be slowed down by a full path, or the load is not the one
    that was asked for.
    """
    with namespace.entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            sender.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            sender.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 1 << 28)
            # The protocol spares the kernel, and devices without parse_protocol, a guess.
            sender.bind(("eth0", _ETH_P_IP))
        except BaseException:
            sender.close()
            raise
    return sender


@contextlib.contextmanager
def attached(program: int, host: Namespace, hook: str = "ingress") -> Iterator[None]:
    """A TC program on `hook` of a host's eth0, behind those that are there; closed afterwards."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, program)
        inside = contextlib.ExitStack()
        with host.entered():
            inside.enter_context(hooks.tc_program(program, socket.if_nametoindex("eth0"), hook))
        try:
            yield
        finally:
            with host.entered():
                inside.close()


def _gro(device: str, state: str | None = None) -> str:
    """Whether GRO of a device of this namespace is "on" or "off"; sets it to `state` first."""
    if state is not None:
        subprocess.run(["ethtool", "-K", device, "gro", state], check=True, capture_output=True)
    shown = subprocess.run(["ethtool", "-k", device], check=True, capture_output=True, text=True)
    found = re.search(r"^generic-receive-offload: (on|off)", shown.stdout, re.MULTILINE)
    return found[1] if found else "off"


@contextlib.contextmanager
def _taking_live_frames(subject: Subject) -> Iterator[None]:
    """NAPI where the frames enter: ndo_xdp_xmit into a veth wants it on the peer, and GRO or an
    XDP program makes it.  GRO is afterwards as before: it costs other frames a detour.

    Raises:
        RuntimeError: the sender's device has no ndo_xdp_xmit.
    """
    if not subject.takes_live_frames:
        raise RuntimeError("takes no XDP frames (no ndo_xdp_xmit)")
    if subject.switch and subject.ports:
        namespace, device = subject.switch, subject.ports[0]
    else:
        namespace, device = subject.hosts[1], "eth0"
    with namespace.entered():
        before = _gro(device)
        _gro(device, "on")
    link = _passing_xdp(subject.hosts[0]) if subject.live_frames_want_xdp else None
    try:
        yield
    finally:
        if link is not None:
            os.close(link)
        with namespace.entered():
            _gro(device, before)


def _passing_xdp(host: Namespace) -> int:
    """An XDP program on a host's eth0 that lets all pass, for as long as this link is open."""
    program = programs.constant(programs.XDP, programs.XDP_PASS)
    try:
        with host.entered():
            return _bpf.link_create(program, socket.if_nametoindex("eth0"), _bpf.ATTACH_XDP)
    finally:
        os.close(program)


@dataclass
class Receiver:
    """The drop in the receiver, and how many frames a second it saw last."""

    counter: programs.Counter
    rate: float = 200_000.0


@contextlib.contextmanager
def prepare(
    subject: Subject, *, length: int = LENGTH, source: Source = "live"
) -> Iterator[Receiver]:
    """The counting drop of frames of `length` bytes on the receiver's eth0.

    Raises:
        RuntimeError: `source` is "live", and the sender's device has no ndo_xdp_xmit.
    """
    with contextlib.ExitStack() as stack:
        if source == "live":
            stack.enter_context(_taking_live_frames(subject))
        counter = programs.Counter()
        stack.callback(os.close, counter.fd)
        stack.enter_context(attached(programs.sink(counter, length), subject.hosts[1]))
        yield Receiver(counter)


def send_live(frame: bytes, frames: int) -> None:
    """Sends the frame out of eth0 of this namespace, `frames` times, as live XDP frames."""
    program = programs.constant(programs.XDP, programs.XDP_TX)
    context = struct.pack("=IIIIII", 0, len(frame), 0, socket.if_nametoindex("eth0"), 0, 0)
    _bpf.prog_test_run(program, frame, context, repeat=frames, flags=_LIVE, batch=_probe.BATCH)
    os.close(program)


@contextlib.contextmanager
def _sending(
    subject: Subject, frame: bytes, frames: int, source: Source, core: int
) -> Iterator[Worker]:
    """The process that sends."""
    with contextlib.ExitStack() as stack:
        sender = subject.hosts[0]
        if source == "live":
            worker = Worker(send_live, frame, frames, namespace=sender, core=core)
        else:
            out = stack.enter_context(packet_socket(sender))
            worker = Worker(_probe.flood, out.fileno(), frame, frames, core=core)
        yield stack.enter_context(contextlib.closing(worker))


def settled(count: Callable[[], int], expected: int) -> int:
    """A count when it has reached `expected`, or has not changed for :data:`QUIET_S`."""
    now, changed = count(), time.monotonic()
    while now < expected and time.monotonic() < changed + QUIET_S:
        time.sleep(_LOOK_S)
        before, now = now, count()
        if now != before:
            changed = time.monotonic()
    return now


def _look(counter: programs.Counter) -> tuple[int, int]:
    """(time, count)"""
    return _probe.now_ns(), counter.read()


def _watch(
    counter: programs.Counter, worker: Worker, frames: int, first: tuple[int, int]
) -> list[tuple[int, int]]:
    """Looks, every two milliseconds until all frames have come or no more will.

    `first` is one from before the worker began: this process may not run again before all is
    over.
    """
    seen = [first]

    def received() -> int:
        seen.append(_look(counter))
        return seen[-1][1] - first[1]

    while not worker.done():
        time.sleep(_LOOK_S)
        received()
    settled(received, frames)
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
    if not within or within[-1][1] - within[0][1] < (last - first) / 2:
        before = [look for look in seen if look[1] == first]
        within = [before[-1], next(look for look in seen if look[1] == last)]
    (begin, low), (end, high) = within[0], within[-1]
    return (high - low) * _SECOND / (end - begin)


def measure(
    subject: Subject,
    receiver: Receiver,
    seconds: float,
    core: int,
    *,
    length: int = LENGTH,
    source: Source = "live",
    target: bytes | None = None,
) -> Sample:
    """Mpps that reached the receiver; frames sent, received and lost beside it.

    Raises:
        RuntimeError: no frame arrived.
    """
    batch = _probe.BATCH
    frames = max(100, int(receiver.rate * seconds / batch)) * batch
    frame = udp_frame(subject.mac(0), subject.mac(1) if target is None else target, length)
    first = _look(receiver.counter)
    with _sending(subject, frame, frames, source, core) as worker:
        seen = _watch(receiver.counter, worker, frames, first)
        worker.result(10)
    received = seen[-1][1] - seen[0][1]
    if not received:
        raise RuntimeError(f"none of {frames} frames arrived")
    receiver.rate = _rate(seen)
    extra = {"sent": frames, "received": received, "lost": frames - received}
    return Sample(receiver.rate / 1e6, extra)


def probe(length: int = LENGTH, source: Source = "live", *, target: bytes | None = None) -> Probe:
    """The probe of frames of `length` bytes (without FCS) that `source` makes, to the second host
    or to an address that it takes as well."""
    if source == "live":
        name, origin = f"pps-{length}", "live XDP frames"
    else:
        name, origin = f"pps-{length}-packet", "an AF_PACKET socket"
    return Probe(
        name=name,
        title=f"frames of {length} B from {origin} to a drop, one core",
        unit="Mpps",
        lower_is_better=False,
        measure=functools.partial(measure, length=length, source=source, target=target),
        prepare=functools.partial(prepare, length=length, source=source),
    )
