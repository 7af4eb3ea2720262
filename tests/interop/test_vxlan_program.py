"""Outer headers that programs write and take off (bpf/lib/outer.h): they are the kernel's, and
nobody can tell.

A flow is known for some milliseconds, so packets are sent in bursts: the first one goes by the
kernel's vxlan device, what follows by a program. The device's own counters say how many did not.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
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
from lib.topology import Lab, Node, Tap, checksum, ipv4, ipv6, ping, tcp_test, wait_until
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
    near.ip("link set dev under address 02:00:00:00:66:66")
    made.vni(1000, 1, underlay_hook="xdp", ttl=9)  # a program of its own is no obstacle
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


# ---------------------------------------------------------------- what does not fit

SMALL = 1500 - 50


def narrow(made: Overlay, **settings: Any) -> Overlay:
    """An underlay of 1500 bytes; containers do not know that 50 of them are not theirs."""
    made.call(engine.vni_del, [1000])
    made.lab.near.ip("link set dev under mtu 1500")
    made.vni(1000, 1, **settings)
    made.others[0].wire(11).send(frame(BROADCAST, X))
    behind(made.lab.wire(1), frame(BROADCAST, X))
    return made


def told(node: Node, address: str, size: int) -> set[int]:
    """The sizes that ping says fit, by an answer or since it is known."""
    words = ("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", str(size), address)
    said = node.run("sh", "-c", f"{' '.join(words)} 2>&1; true")
    return {int(found) for found in re.findall(r"mtu ?= ?(\d+)", said)}


@pytest.mark.parametrize("hook", HOOKS)
def test_path_mtu_discovery(overlay: Callable[..., Overlay], hook: str) -> None:
    """A 1500-byte sender over a 1500-byte underlay recovers by itself (RFC 1191, RFC 8201)."""
    made = narrow(overlay(hook, addresses=True), underlay_hook=hook)
    here, there = made.lab.hosts[1], made.others[0].hosts[11]
    for address, header in ((ipv4, 28), (ipv6, 48)):
        assert ping(here, address(11), size=SMALL - header, options=("-M", "do"))
        assert told(here, address(11), 1500 - header) == {SMALL}
        here.run("ip", "-6" if address is ipv6 else "-4", "route", "flush", "cache")
        tcp_test(here, there, address(11), megabytes=2)
    counted = made.reasons()[made.vtep(1)]
    assert 4 <= counted["mtu_told"] <= counted["mtu"]


def test_path_mtu_discovery_of_the_host(overlay: Callable[..., Overlay]) -> None:
    """The same of the host's own packets, by the interface of the switch."""
    made = narrow(overlay(addresses=True))
    near = made.lab.near
    near.ip(f"addr add {ipv4(100)}/24 dev vnetx0")
    assert told(near, ipv4(11), 1500 - 28) == {SMALL}
    tcp_test(near, made.others[0].hosts[11], ipv4(11), megabytes=2)


def too_big(made: Overlay, data: bytes, port: int = 1) -> list[Packet]:
    """What comes back to a container for a frame that does not fit."""
    wire = made.lab.wire(port)
    wire.discard()
    wire.send(data)
    return [Ether(each) for each in wire.received()]


def large(ip: Packet, vid: int = 0, size: int = 1500) -> bytes:
    return inner(ip / Raw(bytes(size - len(ip))), vid)


@pytest.mark.parametrize("vid", [0, 10])
def test_messages_byte_by_byte(overlay: Callable[..., Overlay], vid: int) -> None:
    """Checksums are right, the quotation is what was sent, and a tag is as it came."""
    made = narrow(overlay(access=vid), vid=vid)
    port = 2 if vid else 1
    four, six = IP(src=ipv4(1), dst=ipv4(9), flags="DF"), IPv6(src=ipv6(1), dst=ipv6(9))
    udp = UDP(sport=1, dport=2, chksum=0x1234)
    for ip, quoted in ((four / udp, 64), (six / udp, 96)):
        data = large(ip, vid)
        (answer,) = too_big(made, data, port)
        raw, plain = bytes(answer), large(ip)
        assert raw[:12] == A + X
        if vid:
            assert raw[12:16] == struct.pack("!HH", VLAN, vid)
            raw = raw[:12] + raw[16:]
        got = Ether(raw)
        assert raw[-quoted:] == plain[14 : 14 + quoted]
        assert len(raw) == 14 + (20 if ip is four / udp or IP in got else 40) + 8 + quoted
        if IP in got:
            assert (got[IP].src, got[IP].dst) == (ipv4(9), ipv4(1))
            assert (checksum(raw[14:34]), checksum(raw[34:])) == (0, 0)
            assert raw[34:42] == bytes([3, 4]) + raw[36:38] + struct.pack("!HH", 0, SMALL)
        else:
            assert (got[IPv6].src, got[IPv6].dst) == (ipv6(9), ipv6(1))
            pseudo = raw[22:54] + struct.pack("!II", 8 + quoted, 58)
            assert checksum(pseudo + raw[54:]) == 0
            assert raw[54:62] == bytes([2, 0]) + raw[56:58] + struct.pack("!I", SMALL)


def test_what_is_not_answered(overlay: Callable[..., Overlay]) -> None:
    """Packets that may be fragmented, errors, fragments, of groups and nobody: they are dropped."""
    made = narrow(overlay())
    four, six = IP(src=ipv4(1), dst=ipv4(9), flags="DF"), IPv6(src=ipv6(1), dst=ipv6(9))
    silent = {
        "no DF": IP(src=ipv4(1), dst=ipv4(9)) / UDP(),
        "an error": four / ICMP(type=3, code=1),
        "a later fragment": IP(src=ipv4(1), dst=ipv4(9), flags="DF", frag=1, proto=17),
        "from a group": IP(src="224.0.0.5", dst=ipv4(9), flags="DF") / UDP(),
        "from nobody": IP(src="0.0.0.0", dst=ipv4(9), flags="DF") / UDP(),
        "to a group": IP(src=ipv4(1), dst="239.1.2.3", flags="DF") / UDP(),
        "an error over IPv6": six / Raw(bytes([1, 0, 0, 0])),
        "from nobody over IPv6": IPv6(src="::", dst=ipv6(9)) / UDP(),
        "from a group over IPv6": IPv6(src="ff02::1", dst=ipv6(9)) / UDP(),
    }
    silent["an error over IPv6"].nh = 58
    for what, ip in silent.items():
        assert too_big(made, large(ip)) == [], what
    assert too_big(made, frame(X, A, 1514)) == []
    counted = made.reasons()[made.vtep(1)]
    assert counted == {"mtu": len(silent) + 1}
    assert len(too_big(made, large(four / ICMP()))) == 1, "an echo request is no error"


# ---------------------------------------------------------------- maximum segment size

#: Options of a SYN, and which of its bytes are the size's: none, first, behind others, odd.
OPTIONS = {
    "none": (b"", None),
    "alone": (b"\x02\x04\x05\xb4", 2),
    "first, as Linux has it": (
        bytes.fromhex("020405b4 0402080a 00000001 00000000 01030307"),
        2,
    ),
    "last": (bytes.fromhex("01030307 0402080a 00000001 00000000 020405b4"), 18),
    "at an odd place": (bytes.fromhex("01 020405b4 010101"), 3),
    "behind 36 bytes": (b"\x01" * 36 + b"\x02\x04\x05\xb4", 38),
    "small enough": (b"\x02\x04\x02\x18", None),
    "behind the end": (b"\x00\x02\x04\x05\xb4\x00\x00\x00", None),
    "of another length": (b"\x02\x03\x05\xb4", None),
    "behind one without a length": (b"\x05\x00\x00\x00\x02\x04\x05\xb4", None),
}


def tcp(options: bytes, *, flags: int = 2, six: bool = False, payload: int = 0) -> bytes:
    """From h1 to X."""
    head = struct.pack("!HHIIBBHHH", 1, 2, 7, 0, 5 + len(options) // 4 << 4, flags, 99, 0, 0)
    length = len(head + options) + payload
    ends = (ipv6(1), ipv6(9)) if six else (ipv4(1), ipv4(9))
    ip = IPv6(src=ends[0], dst=ends[1], nh=6) if six else IP(src=ends[0], dst=ends[1], proto=6)
    family = socket.AF_INET6 if six else socket.AF_INET
    pseudo = b"".join(socket.inet_pton(family, each) for each in ends)
    pseudo += struct.pack("!II", length, 6)
    segment = head + options + bytes(payload)
    total = checksum(pseudo + segment)
    return inner(ip / Raw(segment[:16] + struct.pack("!H", total) + segment[18:]))


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
def test_segment_sizes_are_made_to_fit(
    overlay: Callable[..., Overlay], hook: str, six: bool
) -> None:
    """In both directions, of SYNs and their answers alone, wherever the option is."""
    made = narrow(overlay(hook), underlay_hook=hook, clamp_mss=True)
    tap = made.tap(1)
    fits = (SMALL - (60 if six else 40)).to_bytes(2)
    clamped = 0
    for flags in (2, 0x12, 0x10):
        for what, (options, place) in OPTIONS.items():
            data = expected = tcp(options, flags=flags, six=six)
            if flags & 2 and place is not None:
                changed = options[:place] + fits + options[place + 2 :]
                expected = tcp(changed, flags=flags, six=six)
                clamped += 1
            sent = burst(made, tap, data)
            assert {outer.inner for outer in sent} == {expected}, (what, flags)
            packet = made.outer(A + X + data[12:], checksum=0)
            wanted = [A + X + expected[12:]] * 4
            assert delivered(made, tap, *[packet] * 4) == wanted, (what, flags)
    assert made.reasons()[made.vtep(1)]["mss_clamped"] == clamped * (BURST + 4)
    made.vni(1000, underlay_hook=hook, clamp_mss=False)
    data = tcp(OPTIONS["alone"][0], six=six)
    assert {outer.inner for outer in burst(made, tap, data)} == {data}


def test_a_connection_with_sizes_that_fit(overlay: Callable[..., Overlay]) -> None:
    """No packet is too large for the underlay then, and nobody has to be told."""
    made = narrow(overlay(addresses=True), clamp_mss=True)
    here, there = made.lab.hosts[1], made.others[0].hosts[11]
    for address in (ipv4, ipv6):
        tcp_test(here, there, address(11), megabytes=4)
        tcp_test(there, here, address(1), megabytes=4)
    counted = made.reasons()[made.vtep(1)]
    assert counted == {"mss_clamped": 8}, "a SYN and its answer of each"
