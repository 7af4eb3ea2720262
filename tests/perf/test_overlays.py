"""Two switches with an overlay between: packets of one VNI there, plain frames everywhere else."""

from __future__ import annotations

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from lib.listening import listening, received
from vnetx_perf import overlays, subjects, trunks

pytestmark = pytest.mark.root

#: XDP takes packets before anybody can listen, and changes offloads.
XDP = overlays.VnetxVxlanXdp.kind
LARGE = overlays.VnetxVxlanLarge.kind
KINDS = [each.kind for each in overlays.KINDS if each.kind not in (XDP, LARGE)]


def make_or_skip(kind):
    if reason := subjects.SUBJECTS[kind].missing():
        pytest.skip(reason)
    return subjects.make(kind)


def exchange(subject, data: bytes) -> None:
    """A datagram each way."""
    near, far = subject.udp()
    with near, far:
        for one, other in ((near, far), (far, near)):
            other.settimeout(5)
            one.send(data)
            assert other.recv(1 << 16) == data


def vnis(sock) -> set[int]:
    """Of what a device received so far; 0 for what is not encapsulated, ARP left out."""
    found = set()
    while True:
        try:
            frame = Ether(sock.recv(1 << 17))
        except BlockingIOError:
            return found
        if UDP in frame and frame[UDP].dport == 4789:
            found.add(int.from_bytes(bytes(frame[UDP].payload)[4:7]))
        elif frame.type != 0x0806:
            found.add(0)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_encapsulated_between_the_switches_and_nowhere_else(kind):
    with make_or_skip(kind) as subject:
        between = [listening(switch, trunks.TRUNK) for switch, _ in subject.switches()]
        at_hosts = [listening(host, "eth0") for host in subject.hosts]
        exchange(subject, b"of some length")
        assert [vnis(sock) for sock in between] == [{overlays.VNI}] * 2
        assert [vnis(sock) for sock in at_hosts] == [{0}] * 2
        for sock in (*between, *at_hosts):
            sock.close()


@pytest.mark.parametrize("kind", KINDS)
def test_full_packets_of_hosts_need_no_fragments(kind):
    with make_or_skip(kind) as subject:
        sock = listening(subject.far, trunks.TRUNK)
        exchange(subject, bytes(subject.mtu - 28))
        lengths = [length for _, length in received(sock)]
        assert max(lengths) == subject.mtu + 14 + (
            70 if isinstance(subject, overlays.Over6) else 50
        )
        sock.close()


def test_both_are_the_same_devices():
    expected = None
    for kind in KINDS:
        if subjects.SUBJECTS[kind].missing():
            continue
        with subjects.make(kind) as subject:
            found = {
                name: (device["kind"], device["mtu"], device["qdisc"], device["offloads"])
                for name, device in subject.state()["devices"].items()
                if not name.partition("/")[2].startswith(("br0", "vxlan0"))
            }
        expected = expected or found
        assert found == expected


def test_xdp_takes_what_is_between_the_switches():
    with subjects.make(XDP) as subject:
        between = [listening(switch, trunks.TRUNK) for switch, _ in subject.switches()]
        at_hosts = [listening(host, "eth0") for host in subject.hosts]
        for _ in range(100):
            exchange(subject, b"of some length")
        seen = [len(received(sock)) for sock in (*between, *at_hosts)]
        assert min(seen[2:]) >= 100
        assert max(seen[:2]) < 50
        for sock in (*between, *at_hosts):
            sock.close()


def test_what_headers_add_is_the_time_between_two_frames():
    added = overlays.added_ns([1.0, 0.5], [2.0, 1.0])
    assert added == [500.0, 1000.0]
    assert {*overlays.PLAIN} | {*overlays.PLAIN.values()} <= {*subjects.SUBJECTS}
