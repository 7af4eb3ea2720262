"""The chance of wires once more, in plain Python; and all kinds of frames, which they let pass."""

from __future__ import annotations

import struct

from scapy.contrib.mpls import MPLS
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, STP, Dot1AD, Dot1Q, Ether
from scapy.layers.ppp import PPPoE
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from lib.frames import (
    BROADCAST,
    FOREIGN,
    MULTICAST,
    MULTICAST6,
    QINQ,
    VLAN,
    frame,
    link_local,
    station,
    tag,
)
from vnetx.model import Wire, parse_share

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def _mix(x: int) -> int:
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _MASK
    return x ^ x >> 31


def fate(wire: Wire, end: str, nth: int, data: bytes) -> bytes | None:
    """What becomes of the nth frame that enters at an end: it itself, changed, or None if lost."""
    direction = wire.seed << 1 | (end == wire.ends[1])
    chance = _mix((_mix((direction + _STEP) & _MASK) + nth * _STEP) & _MASK)
    if chance >> 32 < parse_share(wire.loss):
        return None
    chance = _mix(chance)
    if chance >> 32 >= parse_share(wire.corrupt):
        return data
    bit = (chance & 0xFFFFFFFF) * 8 * len(data) >> 32
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# -------------------------------------------------------------- frames

A, B = station(0xA), station(0xB)
_ETHER = {"src": A.hex(":"), "dst": B.hex(":")}
_IP = {"src": "192.0.2.1", "dst": "192.0.2.2"}
_IP6 = {"src": "2001:db8::1", "dst": "2001:db8::2"}


def _packets() -> dict[str, bytes]:
    """What Scapy knows."""
    eth, ip, ip6 = Ether(**_ETHER), IP(**_IP), IPv6(**_IP6)
    inner = Ether(src="02:00:5e:00:00:0c", dst="02:00:5e:00:00:0d") / ip / UDP() / b"inside"
    bad = eth / ip / TCP(chksum=0xBAD) / b"its checksum is wrong"
    return {
        name: bytes(packet)
        for name, packet in {
            "tcp": eth / ip / TCP(flags="S") / b"payload",
            "tcp, wrong checksum": bad,
            "udp": eth / ip / UDP(sport=1, dport=2) / b"payload",
            "udp, no checksum": eth / ip / UDP(chksum=0) / b"payload",
            "ip, wrong checksum": eth / IP(**_IP, chksum=0xBAD) / UDP() / b"payload",
            "ip, ttl 0": eth / IP(**_IP, ttl=0) / UDP() / b"payload",
            "ip, options": eth / IP(**_IP, options=[b"\x94\x04\x00\x00"]) / UDP() / b"payload",
            "ip, fragment": eth / IP(**_IP, flags="MF", frag=0) / Raw(bytes(64)),
            "ip, not its length": eth / IP(**_IP, len=9999) / UDP() / b"payload",
            "ip, version 5": eth / IP(**_IP, version=5) / UDP() / b"payload",
            "icmp": eth / ip / ICMP() / bytes(56),
            "sctp": eth / ip / SCTP() / b"payload",
            "gre": eth / ip / GRE() / ip / UDP() / b"payload",
            "vxlan": eth / ip / UDP(dport=4789) / VXLAN(vni=7) / inner,
            "ipv6": eth / ip6 / UDP() / b"payload",
            "ipv6 tcp": eth / ip6 / TCP() / b"payload",
            "ipv6 echo": eth / ip6 / ICMPv6EchoRequest() / bytes(56),
            "neighbour solicitation": eth / ip6 / ICMPv6ND_NS(tgt="2001:db8::2"),
            "arp": Ether(src=A.hex(":"), dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="192.0.2.2"),
            "dhcp": eth / ip / UDP(sport=68, dport=67) / BOOTP() / DHCP(options=["end"]),
            "mpls": eth / MPLS(label=16, s=1, ttl=9) / ip / UDP() / b"payload",
            "pppoe": eth / PPPoE(sessionid=1) / Raw(bytes(40)),
            "bpdu": Ether(src=A.hex(":"), dst="01:80:c2:00:00:00") / LLC() / STP(),
            "802.3 length, snap": Ether(**_ETHER) / LLC() / SNAP(code=0x0800) / bytes(40),
            "tagged tcp": eth / Dot1Q(vlan=10, prio=5) / ip / TCP() / b"payload",
            "q in q": eth / Dot1AD(vlan=20) / Dot1Q(vlan=10) / ip / UDP() / b"payload",
        }.items()
    }


def _made() -> dict[str, bytes]:
    """What Scapy would make right."""
    made = {f"group {n:x}": frame(link_local(n), A) for n in range(16)}
    made |= {
        "pause": link_local(1) + A + struct.pack("!HHH", 0x8808, 1, 0xFFFF) + bytes(42),
        "source zero": frame(B, bytes(6)),
        "source a group": frame(B, MULTICAST),
        "source broadcast": frame(BROADCAST, BROADCAST),
        "destination zero": frame(bytes(6), A),
        "to itself": frame(A, A),
        "broadcast": frame(BROADCAST, A),
        "multicast": frame(MULTICAST, A),
        "multicast, IPv6": frame(MULTICAST6, A),
        "vid 0": frame(B, A, tags=[tag(0, 7)]),
        "vid 4095": frame(B, A, tags=[tag(4095, 15)]),
        "three tags": frame(B, A, 80, tags=[VLAN, VLAN, VLAN]),
        "five tags": frame(B, A, 80, tags=[QINQ, VLAN, QINQ, VLAN, VLAN]),
        "a foreign tag": frame(B, A, tags=[FOREIGN[0]]),
        "a foreign tag inside": frame(B, A, 80, tags=[VLAN, FOREIGN[1], VLAN]),
        "tagged group": frame(link_local(2), A, 80, tags=[VLAN]),
        "ethertype 0": frame(B, A, proto=0),
        "ethertype ffff": frame(B, A, proto=0xFFFF),
        "length 3": frame(B, A, proto=3),
        "full": frame(B, A, 1514),
        "full, tagged": frame(B, A, 1518, tags=[VLAN]),
        "short": frame(B, A, 15),
        "20 bytes": frame(B, A, 20),
        "loopback protocol": frame(B, A, proto=0x9000),
    }
    return made


#: By what they are.
KINDS = _packets() | _made()
