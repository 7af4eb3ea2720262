"""Frames that really go through attached programs: what a test run cannot show.

A test run neither sends what a program redirects nor has VLAN tags outside the data, GSO
packets with their headers, buffers in several parts or frames without an Ethernet header.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from lib import frames
from lib.dataplane import Dataplane
from lib.frames import FOREIGN, QINQ, TEST, VLAN, frame, link_local, station
from lib.model import Frame
from lib.pair import Pair
from vnetx_perf.hooks import tc_program

pytestmark = pytest.mark.root

A, B, C, D = (station(n) for n in range(1, 5))

_IFF_TUN, _IFF_TAP, _IFF_NAPI, _IFF_NAPI_FRAGS, _IFF_NO_PI = 1, 2, 0x10, 0x20, 0x1000
_TUNSETIFF = 0x400454CA


def reasons(pair: Pair, index: int) -> dict[str, int]:
    return pair.plane.maps.reasons().get(index, {})


def stats(pair: Pair, index: int) -> dict[str, int]:
    return pair.plane.maps.port_stats(index)


def live_step(pair: Pair, source: int, data: bytes, at: set[int]) -> None:
    """Sends a frame into a port; it has to leave, unchanged, by exactly these."""
    pair.plane.wires[source].send(data)
    assert pair.plane.received() == {n: [data] for n in at}
    pair.model.receive(source, Frame(data, stripped=data[12:14] in (b"\x81\x00", b"\x88\xa8")))
    pair.check()


# ------------------------------------------------------------------ wire to wire


@pytest.mark.parametrize("length", [14, 60, 83, 1000, 1514])
@pytest.mark.parametrize("tags", [(), (VLAN,), (QINQ, VLAN), (VLAN, VLAN, VLAN), FOREIGN])
def test_frames_pass_unchanged(pair: Pair, length: int, tags: tuple[int, ...]) -> None:
    pair.ports(1, 2, 3)
    length = max(length, 14 + 4 * len(tags) + 2)
    with pair.plane.attached("tc_ingress", 1, 2, 3):
        live_step(pair, 1, frame(frames.BROADCAST, A, length, tags=tags), {2, 3})
        live_step(pair, 2, frame(A, B, length, tags=tags), {1})
        live_step(pair, 3, frame(B, C, length, tags=tags), {2})
        live_step(pair, 3, frame(D, C, length, tags=tags), {1, 2})


def test_hairpin(pair: Pair) -> None:
    pair.port(1, hairpin=True)
    pair.port(2)
    pair.entry(B, 1)
    with pair.plane.attached("tc_ingress", 1, 2):
        live_step(pair, 1, frame(B, A), {1})
        live_step(pair, 1, frame(frames.BROADCAST, A), {1, 2})


@pytest.mark.parametrize("own", [True, False], ids=["own address", "another's"])
def test_into_a_container(pair: Pair, own: bool) -> None:
    """bpf_redirect_peer for the peer's own address; whoever is behind it by the long way.

    Its device's counters tell which: it counts in both cases, the peer's queue in one.
    """
    pair.ports(1, 3)
    pair.port(2, peer=True, peer_mac=pair.plane.far_mac(2))
    dst = pair.plane.far_mac(2) if own else B
    pair.entry(dst, 2)
    with pair.plane.attached("tc_ingress", 1, 2, 3):
        live_step(pair, 1, frame(dst, A), {2})
        live_step(pair, 1, frame(dst, A, 1000, tags=(VLAN,)), {2})


def test_a_container_takes_its_own_frames_as_such(pair: Pair) -> None:
    """Where it came in, the frame was read as somebody else's."""
    pair.port(1)
    pair.port(2, peer=True, peer_retype=True, peer_mac=pair.plane.far_mac(2))
    pair.entry(pair.plane.far_mac(2), 2)
    with pair.plane.far.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind(("h2", TEST))
    with sock, pair.plane.attached("tc_ingress", 1, 2):
        live_step(pair, 1, frame(pair.plane.far_mac(2), A), {2})
        _, address = sock.recvfrom(2048, socket.MSG_DONTWAIT)
        assert address[2] == socket.PACKET_HOST


@pytest.mark.parametrize("length", [1515, 9014])
def test_jumbo_frames(pair: Pair, length: int) -> None:
    pair.ports(1, 3)
    pair.port(2, mtu=9000)
    pair.entry(B, 2)
    with pair.plane.mtu(1, 9000), pair.plane.mtu(2, 9000):
        pair.change(1, mtu=9000)
        with pair.plane.attached("tc_ingress", 1, 2, 3):
            live_step(pair, 1, frame(B, A, length), {2})
            live_step(pair, 1, frame(frames.BROADCAST, A, length), {2})
    assert reasons(pair, 3) == {"mtu": 1}


@pytest.mark.parametrize("tags", [(VLAN,), (QINQ, VLAN)])
def test_tags_come_on_top_of_the_mtu(pair: Pair, tags: tuple[int, ...]) -> None:
    """As with the kernel bridge: the outer tag is not in the data, another may be."""
    pair.ports(1, 2)
    pair.entry(B, 2)
    fits = 1514 + 4 * len(tags)
    with pair.plane.mtu(1, 9000), pair.plane.attached("tc_ingress", 1, 2):
        live_step(pair, 1, frame(B, A, fits, tags=tags), {2})
        live_step(pair, 1, frame(B, A, fits + 1, tags=tags), set())
    assert reasons(pair, 2) == {"mtu": 1}


# ------------------------------------------------------------------ the host


@pytest.fixture
def host(pair: Pair) -> Iterator[socket.socket]:
    """Device p1 carries the host's addresses (port 2 is its host side); a socket of the host
    that gets what the switch hands up."""
    pair.port(1, twin=2)
    pair.port(2, 1, host=True, twin=1)
    pair.ports(3, 4)
    pair.entry(HOST, 2, static=True, local=True)
    plane = pair.plane
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("p1", TEST))
        with plane.attached("tc_ingress", 1, 3, 4), plane.attached("tc_egress", 1):
            yield sock


HOST = bytes.fromhex("02005e010001")  # p1's own address


def handed_up(sock: socket.socket) -> list[bytes]:
    """What came so far; call it after something that was sent later has arrived."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(1 << 16, socket.MSG_DONTWAIT))
    return found


@pytest.mark.parametrize(
    ("source", "dst", "up", "at"),
    [
        (1, HOST, 1, set()),
        (3, HOST, 1, set()),
        (1, frames.BROADCAST, 1, {3, 4}),
        (3, frames.BROADCAST, 1, {1, 4}),
        (3, frames.MULTICAST, 1, {1, 4}),
        (1, D, 1, {3, 4}),
        (3, D, 1, {1, 4}),
        (1, C, 0, {3}),
        (3, B, 0, {1}),
        (1, link_local(14), 1, set()),
        (3, link_local(14), 0, set()),
        (1, link_local(1), 0, set()),
        (3, link_local(0), 1, {1, 4}),
    ],
)
def test_from_outside(
    pair: Pair, host: socket.socket, source: int, dst: bytes, up: int, at: set[int]
) -> None:
    """Each frame once where it belongs, and nothing twice through the pipeline."""
    pair.entry(B, 1)
    pair.entry(C, 3)
    data = frame(dst, A)
    live_step(pair, source, data, at)
    assert handed_up(host) == [data] * up


@pytest.mark.parametrize(
    ("dst", "at"),
    [
        (frames.BROADCAST, {1, 3, 4}),
        (frames.MULTICAST, {1, 3, 4}),
        (D, {1, 3, 4}),
        (B, {1}),
        (C, {3}),
        (link_local(14), {1}),
        (link_local(0), {1}),
    ],
)
def test_from_the_host(pair: Pair, host: socket.socket, dst: bytes, at: set[int]) -> None:
    pair.entry(B, 1)
    pair.entry(C, 3)
    data = frame(dst, HOST)
    host.send(data)
    assert pair.plane.received() == {n: [data] for n in at}
    pair.model.receive(2, Frame(data))
    pair.check()
    assert not handed_up(host)


def test_hosts_protocols_reach_sockets_on_the_port(pair: Pair) -> None:
    """BR-17: lldpd works on ports."""
    pair.ports(1, 2)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("p1", TEST))
        with pair.plane.attached("tc_ingress", 1, 2):
            live_step(pair, 1, frame(link_local(14), A), set())
            assert handed_up(sock) == [frame(link_local(14), A)]


# ------------------------------------------------------------------ GSO

_GSO_TCPV4, _NEEDS_CSUM = 1, 1
_VNET_HEADER = struct.Struct("=BBHHHH")


def tcp_segments(dst: bytes, src: bytes, mss: int, payload: int) -> tuple[bytes, bytes]:
    """(virtio header, packet): a TCP packet for the device to segment and to checksum."""
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, 0, 0, 5 << 4, 0x10, 1000, 0, 0)
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40 + payload, 0, 0, 64, 6, 0, b"\xc0\0\2\1", b"\xc0\0\2\2"
    )
    data = dst + src + b"\x08\x00" + ip + tcp + bytes(payload)
    return _VNET_HEADER.pack(_NEEDS_CSUM, _GSO_TCPV4, 54, mss, 34, 16), data


@contextlib.contextmanager
def gso_socket(plane: Dataplane, number: int) -> Iterator[socket.socket]:
    with plane.far.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            sock.setsockopt(263, 15, 1)  # PACKET_VNET_HDR
            sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
            sock.bind((f"h{number}", 0x0800))
            yield sock


@pytest.mark.parametrize("known", [True, False], ids=["known", "flooded"])
@pytest.mark.parametrize(("mss", "fits"), [(1000, True), (1460, True), (1461, False)])
def test_gso_packets_are_not_segmented(pair: Pair, known: bool, mss: int, fits: bool) -> None:
    """Measured by their segments, counted by them, and passed on whole."""
    pair.ports(1, 2)
    if known:
        pair.entry(B, 2)
    header, packet = tcp_segments(B, A, mss, 10 * mss)
    plane = pair.plane
    with (
        plane.mtu(1, 9000),
        plane.attached("tc_ingress", 1, 2),
        gso_socket(plane, 1) as sender,
        gso_socket(plane, 2) as receiver,
    ):
        sender.send(header + packet)
        plane.received()
        caught = handed_up(receiver)
    assert [c[len(header) :] for c in caught] == ([packet] if fits else [])
    if fits:
        _, gso_type, _, gso_size, _, _ = _VNET_HEADER.unpack(caught[0][: len(header)])
        assert (gso_type, gso_size) == (_GSO_TCPV4, mss)
    pair.model.receive(1, Frame(packet, 10, 40 + mss))
    pair.check()
    assert stats(pair, 1)["rx_frames"] == 10
    assert reasons(pair, 2) == ({} if fits else {"mtu": 10})


# ------------------------------------------------------------------ odd devices and buffers


@contextlib.contextmanager
def tun(plane: Dataplane, flags: int) -> Iterator[tuple[int, int]]:
    """(descriptor, ifindex) of a tun or tap device in the switch's namespace."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun")
    fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"odd", flags | _IFF_NO_PI))
        plane.near.ip("link set odd up")
        yield fd, socket.if_nametoindex("odd")
    finally:
        os.close(fd)


@pytest.mark.parametrize("length", [1, 10, 13])
def test_runts(pair: Pair, length: int) -> None:
    """A device without Ethernet headers can give frames that are too short for one."""
    pair.ports(1, 2)
    with tun(pair.plane, _IFF_TUN) as (fd, ifindex):
        pair.port(5, ifindex)
        with tc_program(pair.plane.programs["tc_ingress"], ifindex, "ingress"):
            os.write(fd, b"\x45" + bytes(length - 1))
    assert reasons(pair, 5) == {"runt": 1}
    assert stats(pair, 5)["rx_frames"] == 1
    pair.model.receive(5, Frame(b"\x45" + bytes(length - 1)))
    pair.check()


@pytest.mark.parametrize("tags", [(), (VLAN,), (QINQ, VLAN), (VLAN, VLAN, VLAN), FOREIGN])
def test_a_header_in_several_buffers(pair: Pair, tags: tuple[int, ...]) -> None:
    """Drivers give as little as the Ethernet header in the first buffer (virtio-net does)."""
    pair.ports(1, 2)
    data = frame(frames.BROADCAST, A, 300, tags=tags)
    with tun(pair.plane, _IFF_TAP | _IFF_NAPI | _IFF_NAPI_FRAGS) as (fd, ifindex):
        pair.port(5, ifindex)
        with tc_program(pair.plane.programs["tc_ingress"], ifindex, "ingress"):
            os.writev(fd, [data[:14], data[14:]])
        assert pair.plane.received() == {1: [data], 2: [data]}
    pair.model.receive(5, Frame(data, stripped=bool(tags)))
    pair.check()
