"""Outer headers that programs write and take off (bpf/lib/outer.h): they are the kernel's, and
nobody can tell.

A flow is known for some milliseconds, so packets are sent in bursts: the first one goes by the
kernel's vxlan device, what follows by a program. The device's own counters say how many did not.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from lib.frames import BROADCAST, VLAN, frame, station
from lib.overlay import Outer, Overlay, behind
from lib.topology import Lab, Tap, checksum, ipv4, ipv6, ping, tcp_test, wait_until
from vnetx import engine

pytestmark = pytest.mark.root

HOOKS = ("tc", "xdp")
#: h1 behind vnetx, and a station behind another host.
A, X, LAST = station(0xA), station(0xE), station(0xFFF)
BURST = 8
DEVICE = "vx4789-vnetx0"


@pytest.fixture
def overlay() -> Iterator[Callable[..., Overlay]]:
    """vnetx and another host in a segment, who know h1 and X."""
    with contextlib.ExitStack() as stack:

        def make(hook: str = "tc", access: int = 0, *, addresses: bool = False) -> Overlay:
            lab = stack.enter_context(Lab())
            made = stack.enter_context(Overlay(lab, hook=hook, addresses=addresses))
            made.switch.attach("p1", **({"access": access} if access else {}))
            made.switch.attach("p2", **({"trunk": str(access)} if access else {}))
            made.vni(1000, 1, vid=access, underlay_hook=hook)
            made.kernel(1, 1000, 11, addresses=addresses)
            made.lab.wire(1).send(frame(BROADCAST, A))
            made.others[0].wire(11).send(frame(BROADCAST, X))
            behind(made.lab.wire(1), frame(BROADCAST, X))
            assert X in {mac for mac, _ in made.fdb()}
            assert ping(made.lab.near, made.vtep(1)), "the neighbour is"
            return made

        yield make


def by_device(made: Overlay, direction: str) -> int:
    """How many packets the vxlan device has sent ("tx") or received ("rx")."""
    shown = made.lab.near.json("ip", "-j", "-s", "link", "show", "dev", DEVICE)
    return int(shown[0]["stats64"][direction]["packets"])


def inner(ip: Packet, vid: int = 0) -> bytes:
    """A frame from h1 to X, in a VLAN."""
    raw = bytes(Ether(src=A.hex(":"), dst=X.hex(":")) / ip)
    return raw[:12] + (struct.pack("!HH", VLAN, vid) if vid else b"") + raw[12:]


def packets(tos: int = 0) -> dict[str, Packet]:
    """Packets of all kinds that a program may encapsulate."""
    four, six = IP(src=ipv4(1), dst=ipv4(9), tos=tos), IPv6(src=ipv6(1), dst=ipv6(9), tc=tos)
    return {
        "UDP": four / UDP(sport=1, dport=2) / Raw(bytes(20)),
        "TCP": four / TCP(sport=1, dport=2) / Raw(bytes(1400)),
        "ICMP": four / ICMP(),
        "a fragment": IP(src=ipv4(1), dst=ipv4(9), frag=10, proto=17) / Raw(bytes(64)),
        "UDP over IPv6": six / UDP(sport=1, dport=2) / Raw(bytes(20)),
        "TCP over IPv6": six / TCP(sport=1, dport=2) / Raw(bytes(1400)),
    }


def burst(made: Overlay, tap: Tap, data: bytes, port: int = 1) -> list[Outer]:
    """What became of a frame that a container sent some times, on the underlay."""
    made.sent(tap)
    found: list[Outer] = []
    wire = made.lab.wire(port)
    for _ in range(BURST):
        wire.send(data)
    wait_until(lambda: found.extend(made.sent(tap)) or len(found) >= BURST, "packets")
    return found


def until_by_program(made: Overlay, direction: str, once: Callable[[], Any]) -> None:
    """Does something to BURST packets until the program had some of them, and the device too."""
    for _ in range(50):
        before = by_device(made, direction)
        once()
        if 0 < by_device(made, direction) - before < BURST:
            return
    pytest.fail("all packets, or none, went by the device")


def same(packet: Outer) -> tuple[bytes, ...]:
    """What may not differ between packets with the same inside."""
    raw = packet.raw
    assert checksum(raw[:20]) == 0
    ends = packet.ether
    return raw[:4] + raw[6:10] + raw[12:], bytes.fromhex((ends.dst + ends.src).replace(":", ""))


@pytest.mark.parametrize("hook", HOOKS)
def test_headers_are_the_kernels(overlay: Callable[..., Overlay], hook: str) -> None:
    """VX-01, VX-03, VX-05: byte by byte, but for the identification; the source port, too."""
    made = overlay(hook)
    tap = made.tap(1)
    for settings in ({}, {"ttl": 5, "df": True}, {"ttl": 255, "tos": 0xB8}):
        made.vni(1000, underlay_hook=hook, **settings)
        for what, packet in packets().items():
            data, seen = inner(packet), []

            def once(data: bytes = data, seen: list[Outer] = seen) -> None:
                seen[:] = burst(made, tap, data)

            until_by_program(made, "tx", once)
            assert [outer.inner for outer in seen] == [data] * BURST
            assert len({same(outer) for outer in seen}) == 1, what
            assert seen[0].raw[28:36] == bytes.fromhex("08000000 0003e800")
            assert seen[0].header.ttl == settings.get("ttl", 64)
            assert len({outer.header.id for outer in seen}) > 1


@pytest.mark.parametrize("hook", HOOKS)
def test_tos_and_ecn_of_what_is_encapsulated(overlay: Callable[..., Overlay], hook: str) -> None:
    """VX-07 (RFC 6040, 4.1), as in test_vxlan.py."""
    made = overlay(hook)
    tap = made.tap(1)
    for setting in (0, 1, 0x50):
        made.vni(1000, tos=setting, underlay_hook=hook)
        for kind, dscp, ecn in itertools.product(("UDP", "UDP over IPv6"), (0, 46, 63), range(4)):
            data, seen = inner(packets(dscp << 2 | ecn)[kind]), []

            def once(data: bytes = data, seen: list[Outer] = seen) -> None:
                seen[:] = burst(made, tap, data)

            until_by_program(made, "tx", once)
            expected = (dscp << 2 if setting == 1 else setting) | (0, 1, 2, 2)[ecn]
            assert {outer.header.tos for outer in seen} == {expected}, (setting, dscp, ecn)


@pytest.mark.parametrize("hook", HOOKS)
def test_tags(overlay: Callable[..., Overlay], hook: str) -> None:
    """Of a VLAN by an access port and by a trunk: inside there is none; a packet that keeps one
    goes by the device."""
    made = overlay(hook, access=10)
    tap = made.tap(1)
    plain = inner(packets()["UDP"])
    until_by_program(made, "tx", lambda: burst(made, tap, plain))
    tagged = inner(packets()["UDP"], 10)

    def once() -> None:
        assert {outer.inner for outer in burst(made, tap, tagged, 2)} == {plain}

    until_by_program(made, "tx", once)


def delivered(made: Overlay, tap: Tap, *sent: bytes) -> list[bytes]:
    """The frames that reach h1 of packets of the other host; `tap` is on its underlay."""
    last = frame(BROADCAST, LAST)
    wire = made.lab.wire(1)
    for packet in (*sent, made.outer(last)):
        tap.send(packet)
    return behind(wire, last)


def answer(tos: int, *, six: bool = False) -> bytes:
    """A frame from X to h1."""
    ip = packets(tos)["UDP over IPv6" if six else "UDP"]
    return bytes(Ether(src=X.hex(":"), dst=A.hex(":")) / ip)


#: RFC 6040, 4.2: the row is what is inside, the column what is outside; None: dropped.
DECAPSULATED = ((0, 0, 0, None), (1, 1, 1, 3), (2, 1, 2, 3), (3, 3, 3, 3))


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_ecn_of_what_is_decapsulated(overlay: Callable[..., Overlay], hook: str, six: bool) -> None:
    """VX-08, VX-09: what has to change inside goes by the device, and is the same."""
    made = overlay(hook)
    tap = made.tap(1)
    for inside, outside in itertools.product(range(4), range(4)):
        wanted = DECAPSULATED[inside][outside]
        expected = [] if wanted is None else [answer(0xB8 | wanted, six=six)] * BURST
        packet = made.outer(answer(0xB8 | inside, six=six), ecn=0x28 | outside, checksum=0)

        def once(packet: bytes = packet, expected: list[bytes] = expected) -> None:
            assert delivered(made, tap, *[packet] * BURST) == expected

        if outside in (0, inside) and outside != 3:
            until_by_program(made, "rx", once)
        else:
            before = by_device(made, "rx")
            once()
            assert by_device(made, "rx") - before >= len(expected)


@pytest.mark.parametrize("hook", HOOKS)
def test_packets_that_are_none(overlay: Callable[..., Overlay], hook: str) -> None:
    """Each between good ones of the same flow: not taken by mistake, and nothing else is lost."""
    made = overlay(hook)
    tap, good = made.tap(1), answer(0)
    packet = made.outer(good, checksum=0)

    def changed(at: int, value: bytes, *, valid: bool = True) -> bytes:
        """With other bytes in the IP header, whose checksum is right, or not."""
        raw = bytearray(packet)
        raw[at : at + len(value)] = value
        if valid:
            raw[24:26] = bytes(2)
            raw[24:26] = checksum(bytes(raw[14:34])).to_bytes(2)
        return bytes(raw)

    bad = {
        "no I flag": made.outer(good, flags=0, checksum=0),
        "a reserved flag": made.outer(good, flags=0x18, checksum=0),
        "another VNI": made.outer(good, 1001, checksum=0),
        "a wrong UDP checksum": made.outer(good, checksum=0xDEAD),
        "a wrong IP checksum": changed(24, b"\x12\x34", valid=False),
        "for another host": changed(30, bytes([198, 51, 100, 99])),
        "a first fragment": changed(20, b"\x20\x00"),
        "a later fragment": changed(20, b"\x00\x08"),
        "no UDP": changed(23, b"\x06"),
        "another UDP port": changed(36, (4790).to_bytes(2)),
        "more than there is": changed(16, (len(packet)).to_bytes(2)),
        "UDP of more than there is": changed(38, (len(packet)).to_bytes(2)),
        "for another MAC address": station(0x77) + packet[6:],
        "cut off": packet[:-1],
    }
    for what, wrong in bad.items():

        def once(wrong: bytes = wrong, what: str = what) -> None:
            mixed = [packet] * (BURST // 2) + [wrong] * 2 + [packet] * (BURST // 2)
            assert delivered(made, tap, *mixed) == [good] * BURST, what

        until_by_program(made, "rx", once)
    # a VTEP that is another one's, with the same address inside: it is learned to have moved
    made.others[0].near.ip(f"addr add {made.vtep(8)}/24 dev under")
    moved = made.outer(good, src=made.vtep(8), checksum=0)
    assert delivered(made, tap, packet, moved, moved) == [good] * 3
    assert made.fdb()[X, 0] == made.vtep(8)
    assert made.dropped().keys() <= {"device"}


@pytest.mark.parametrize("hook", HOOKS)
def test_trailing_bytes_and_options(overlay: Callable[..., Overlay], hook: str) -> None:
    """What the kernel trims or skips, it does."""
    made = overlay(hook)
    tap, good = made.tap(1), answer(0)
    packet = made.outer(good, checksum=0)
    longer = bytearray(packet[:34] + bytes([1] * 4) + packet[34:])
    longer[14], longer[24:26] = 0x46, bytes(2)
    longer[16:18] = (int.from_bytes(longer[16:18]) + 4).to_bytes(2)
    longer[24:26] = checksum(bytes(longer[14:38])).to_bytes(2)
    for odd in (packet + bytes(3), bytes(longer)):
        assert delivered(made, tap, packet, packet, odd, packet) == [good] * 4


@pytest.mark.parametrize("hook", HOOKS)
def test_the_underlay_changes(overlay: Callable[..., Overlay], hook: str) -> None:
    """A neighbour's address, a route, the carrier: packets follow, and programs with them."""
    made = overlay(hook)
    near, far = made.lab.near, made.others[0].near
    tap, numbers = made.tap(1), itertools.count()

    def follows() -> None:
        """Packets get to X: after a while of not more than a flow's, and then by the program."""
        wire = made.others[0].wire(11)
        seen: list[bytes] = []

        def arrived() -> bool:
            data = inner(packets()["UDP"] / Raw(next(numbers).to_bytes(4)))
            burst(made, tap, data)
            seen.extend(wire.received())
            return data in seen

        wait_until(arrived, "a packet")

        def once() -> None:
            data = inner(packets()["UDP"] / Raw(next(numbers).to_bytes(4)))
            burst(made, tap, data)
            wait_until(lambda: seen.extend(wire.received()) or seen.count(data) == BURST, "all")

        until_by_program(made, "tx", once)

    follows()
    far.ip("link set dev under address 02:00:00:00:77:77")
    assert ping(far, made.vtep(0)), "an ARP request from the new address"
    follows()
    data = inner(packets()["UDP"])
    assert {outer.ether.dst for outer in burst(made, tap, data)} == {"02:00:00:00:77:77"}
    near.ip("link set dev under down")
    near.ip("link set dev under up")
    assert ping(near, made.vtep(1))
    follows()
    near.ip(f"addr add {made.vtep(2)}/24 dev under")
    far.ip(f"addr add {made.vtep(3)}/24 dev under")
    near.ip(f"route replace {made.vtep(1)}/32 via {made.vtep(3)} dev under")
    follows()


def test_nothing_by_a_program(overlay: Callable[..., Overlay]) -> None:
    """--underlay-hook none: where a firewall or IPsec has to see every packet."""
    made = overlay()
    made.vni(1000, underlay_hook="none")
    tap, back = made.tap(1), made.outer(answer(0), checksum=0)
    sent, received = by_device(made, "tx"), by_device(made, "rx")
    for _ in range(4):
        burst(made, tap, inner(packets()["UDP"]))
        assert delivered(made, tap, *[back] * BURST) == [answer(0)] * BURST
    assert by_device(made, "tx") - sent == 4 * BURST
    assert by_device(made, "rx") - received == 4 * (BURST + 1)


def test_offloads_and_programs_are_given_back(overlay: Callable[..., Overlay]) -> None:
    """A device of the underlay is as it was when the last VNI is gone, or becomes a port."""
    made = overlay()
    near = made.lab.near
    made.call(engine.vni_del, [1000])
    before = near.run("ethtool", "-k", "under"), made.others[0].near.run("ethtool", "-k", "under")
    made.vni(1000, 1, underlay_hook="xdp")
    assert near.json("ip", "-j", "link", "show", "dev", "under")[0]["xdp"]["mode"] == 1
    made.vni(1000, 1, underlay_hook="tc")
    assert "xdp" not in near.json("ip", "-j", "link", "show", "dev", "under")[0]
    assert near.run("ethtool", "-k", "under") == before[0]
    made.vni(1000, 1, underlay_hook="xdp")
    made.switch.attach("under")
    assert "xdp" not in near.json("ip", "-j", "link", "show", "dev", "under")[0]
    made.switch.run("detach", "under")
    made.call(engine.vni_del, [1000])
    after = near.run("ethtool", "-k", "under"), made.others[0].near.run("ethtool", "-k", "under")
    assert after == before


@pytest.mark.parametrize("hook", HOOKS)
def test_streams(overlay: Callable[..., Overlay], hook: str) -> None:
    """Large packets by the kernel and small ones by programs, in their order."""
    made = overlay(hook, addresses=True)
    here, there = made.lab.hosts[1], made.others[0].hosts[11]
    for address in (ipv4, ipv6):
        tcp_test(here, there, address(11), megabytes=16)
        tcp_test(there, here, address(1), megabytes=16)
    retransmitted = int(here.run("nstat", "-asz", "TcpRetransSegs").split()[-2])
    assert retransmitted < 100, "nothing overtakes"
