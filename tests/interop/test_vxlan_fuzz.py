"""Mutated packets from a VTEP: nothing crashes, and no frame gets into another VNI."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lib.frames import BROADCAST, frame, station
from lib.overlay import Overlay
from lib.topology import Lab, checksum, ipv4, ipv6, wait_until

pytestmark = pytest.mark.root

#: h1 and h2, each in a VNI of its own, and who sends to them.
HOSTS = {1000: station(0xA), 2000: station(0xB)}
X = station(0xE)
#: Where the first byte of a VNI is in a packet without IP options.
_VNI_AT = 14 + 20 + 8 + 4
#: At the end of packets, before the VNI that they had when they were sent.
_MARK = b"\xfe\xedVNI"
#: Packets between two looks at what came of them.
_CHUNK = 5000


class Packets:
    """Endless packets for one VTEP: good ones, with bytes flipped, cut, nested, and noise."""

    def __init__(self, made: Overlay, seed: int) -> None:
        self.random = random.Random(seed)
        self.good = []
        for vni, mac in HOSTS.items():
            for target in (mac, mac, mac, *HOSTS.values(), BROADCAST, station(0x99)):
                ends = Ether(src=X.hex(":"), dst=target.hex(":"))
                udp = UDP(sport=1, dport=2, chksum=0) / Raw(bytes(40))
                plain = frame(target, X, 60)
                inner = [bytes(ends / IP(src=ipv4(9), dst=ipv4(1)) / udp), plain]
                inner.append(bytes(ends / IPv6(src=ipv6(9), dst=ipv6(1)) / udp))
                inner.append(made.outer(inner[0], vni, checksum=0))  # nested
                self.good += [made.outer(each, vni, checksum=0) for each in inner]

    def __iter__(self) -> Iterator[bytes]:
        rng, count = self.random, len(self.good)
        while True:
            raw = bytearray(self.good[int(rng.random() * count)])
            dice = rng.random()
            if 0.3 < dice < 0.8:
                for _ in range(1 + int(rng.random() * 3)):
                    raw[int(rng.random() * min(len(raw), 90))] = int(rng.random() * 256)
                if dice < 0.6:
                    raw[24:26] = bytes(2)
                    raw[24:26] = checksum(bytes(raw[14:34])).to_bytes(2)
            elif dice < 0.9:
                del raw[14 + int(rng.random() * len(raw)) :]
            elif dice < 0.95:
                raw[50:] = rng.randbytes(int(rng.random() * 200))
            if len(raw) > 70 and raw[14] == 0x45:  # else the VNI is elsewhere
                raw[-8:] = _MARK + raw[_VNI_AT : _VNI_AT + 3]
            yield bytes(raw)


def fuzz(hook: str, count: int, seed: int) -> None:
    """Sends so many and looks at each frame that gets to h1 and h2."""
    tainted = Path("/proc/sys/kernel/tainted").read_text()
    with Lab() as lab, Overlay(lab, hook=hook, addresses=False) as made:
        for number, vni in enumerate(HOSTS, 1):
            made.switch.attach(f"p{number}", access=number * 10)
            made.vni(vni, 1, vid=number * 10, underlay_hook=hook)

        def speak() -> None:
            """Some packet may have come in the name of h1 or h2."""
            for number, mac in enumerate(HOSTS.values(), 1):
                lab.wire(number).send(frame(BROADCAST, mac))

        tap, source = made.tap(1), iter(Packets(made, seed))
        seen = dict.fromkeys(HOSTS, 0)
        for _ in range(count // _CHUNK):
            speak()
            for _ in range(_CHUNK):
                tap.send(next(source))
            for number, vni in enumerate(HOSTS, 1):
                for each in lab.wire(number).received():
                    if each[-8:-3] == _MARK:
                        assert int.from_bytes(each[-3:]) == vni, each.hex()
                        seen[vni] += 1
        assert min(seen.values()) > count // 20
        speak()
        for number, (vni, mac) in enumerate(HOSTS.items(), 1):
            data = frame(mac, X) + bytes([number])
            tap.send(made.outer(data, vni))
            wait_until(lambda n=number, d=data: d in lab.wire(n).received(), "a good packet")
    assert Path("/proc/sys/kernel/tainted").read_text() == tainted


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_quick(hook: str) -> None:
    fuzz(hook, 20_000, 1)


@pytest.mark.slow
@pytest.mark.novm  # hours of an emulated processor
@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_a_million_packets(hook: str) -> None:
    fuzz(hook, 500_000, 2)
