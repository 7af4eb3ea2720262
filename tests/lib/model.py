"""A learning switch in plain Python: what the data plane has to do, frame by frame.

The oracle of the tests in tests/bpf, written from the contract in abi.h, from
802.1D-2004 (7.7 relay, 7.8 learning, 7.9 ageing) and from 802.1Q-2018 (6.9, 8.6, 8.8.8).
Time stands still until :meth:`Switch.advance` moves it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, deque
from dataclasses import dataclass, field, fields

NS = 1_000_000_000
PASS, DROP, REDIRECT = "pass", "drop", "redirect"
BROADCAST, MULTICAST, UNICAST = "broadcast", "multicast", "unicast"
KINDS = (BROADCAST, MULTICAST, UNICAST)
#: TPIDs of the standards, and those of before, which the kernel does not know.
KNOWN = (b"\x81\x00", b"\x88\xa8")
FOREIGN = (b"\x91\x00", b"\x92\x00", b"\x93\x00")
TAGS = (*KNOWN, *FOREIGN)
VID_MASK, VID_RESERVED = 0x0FFF, 0x0FFF

#: Elements of the clock that are looked at for a new address, and more when the FDB is full.
STEPS, STEPS_FULL = 2, 16


def is_group(mac: bytes) -> bool:
    return bool(mac[0] & 1)


def foreign(tag: int) -> bool:
    """Is it (TPID << 16 and TCI) one that is payload to the kernel?"""
    return (tag >> 16).to_bytes(2) in FOREIGN


def is_link_local(mac: bytes) -> bool:
    return mac[:5] == b"\x01\x80\xc2\x00\x00" and mac[5] < 16


PROTOCOLS = {"ipv4": 0x0800, "arp": 0x0806, "ipv6": 0x86DD, "lldp": 0x88CC}


def ruled(
    kind: str, value: str, src: bytes, protocol: bytes, payload: bytes
) -> tuple[int, int] | None:
    """The place among the rules of one that fits a frame, None if it does not."""
    if kind == "mac":
        prefix, _, bits = value.partition("/")
        beyond = 48 - int(bits or 48)
        same = int.from_bytes(src) >> beyond == int(prefix.replace(":", ""), 16) >> beyond
        return (0, beyond) if same else None
    if kind == "protocol":
        number = PROTOCOLS.get(value) or int(value, 16)
        return (2, 0) if int.from_bytes(protocol) == number else None
    net = ipaddress.ip_network(value)
    source = ip_source(int.from_bytes(protocol), payload)
    if source is None or source.version != net.version or source not in net:
        return None
    return 1, -net.prefixlen


def ip_source(
    protocol: int, payload: bytes
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The source of an IP packet, the sender of an ARP one, None of anything else."""
    if protocol == 0x0800 and len(payload) >= 16:
        return ipaddress.IPv4Address(payload[12:16])
    if protocol == 0x0806 and len(payload) >= 18 and payload[:6].hex() == "000108000604":
        return ipaddress.IPv4Address(payload[14:18])
    if protocol == 0x86DD and len(payload) >= 24:
        return ipaddress.IPv6Address(payload[8:24])
    return None


@dataclass
class Port:
    """A port, and what its device is like."""

    ifindex: int = 0
    up: bool = True
    learning: bool = True
    flood_unicast: bool = True
    flood_multicast: bool = True
    flood_broadcast: bool = True
    isolated: bool = False
    hairpin: bool = False
    host: bool = False
    peer: bool = False
    peer_retype: bool = False
    xdp: bool = False
    twin: int = 0
    bd: int = 1
    group_forward: int = 0
    peer_mac: bytes = bytes(6)
    learn_limit: int = 0
    storm: tuple[int, int, int] = (0, 0, 0)
    #: Of the device; None: it is gone.
    mtu: int | None = 1500
    #: The device takes frames (it is up, and so is what it leads to).
    takes: bool = True
    tat: list[int] = field(default_factory=lambda: [0, 0, 0])
    learned: int = 0
    #: Of a port in a switch with VLANs; bit n of both sets is VID n.
    vlan: bool = False
    shared: bool = False
    tagged_only: bool = False
    untagged_only: bool = False
    tpid: int = 0x8100
    pvid: int = 0
    priority: int = 0
    members: int = 0
    untagged: int = 0
    #: The VID inside by the VID on the wire, where they differ.
    mapping: dict[int, int] = field(default_factory=dict)

    def inside(self, vid: int) -> int:
        return self.mapping.get(vid, vid)

    def outside(self, vid: int) -> int:
        return {inside: wire for wire, inside in self.mapping.items()}.get(vid, vid)

    def has(self, vid: int) -> bool:
        """May frames of the VLAN leave? All may where there are no VLANs."""
        return not vid or bool(self.members >> vid & 1)

    def strips(self, vid: int) -> bool:
        return bool((self.untagged & self.members) >> vid & 1)

    def floods(self, kind: str) -> bool:
        return bool(getattr(self, f"flood_{kind}"))


@dataclass
class Entry:
    """What is known of an address."""

    port: int
    seen: int
    static: bool = False
    sticky: bool = False
    local: bool = False
    #: Its number in the clock, 0 when it does not stand there.
    generation: int = 0

    @property
    def fixed(self) -> bool:
        return self.static or self.local


@dataclass
class Stats:
    rx_frames: int = 0
    rx_bytes: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0
    flooded: int = 0
    local: int = 0
    learned: int = 0
    moved: int = 0

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass
class VlanStats:
    rx_frames: int = 0
    rx_bytes: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a frame.

    Attributes:
        verdict: what the program says of the frame itself.
        to: port index that the frame itself goes to: by redirection, or, with PASS, the
            other side of the same device (0: the host's sockets on the port).
        copies: port indices that got a copy, in order.
        frames: what each of these ports got.
        left: what the program leaves in the buffer, None for what was there.
    """

    verdict: str
    to: int = 0
    copies: tuple[int, ...] = ()
    frames: dict[int, bytes] = field(default_factory=dict)
    left: bytes | None = None


@dataclass(frozen=True)
class Frame:
    """A frame in hand. GSO packets stand for several frames on a wire."""

    data: bytes
    count: int = 1
    #: Length of the layer 3 packets that a GSO packet becomes, 0 for other frames.
    segment: int = 0
    #: The outer tag is beside the data, where the kernel keeps what a device received.
    stripped: bool = False

    @property
    def dst(self) -> bytes:
        return self.data[:6]

    @property
    def src(self) -> bytes:
        return self.data[6:12]

    @property
    def tagged(self) -> bool:
        return self.data[12:14] in TAGS

    @property
    def tag(self) -> int:
        """TPID << 16 and TCI of the outer tag, 0 without."""
        return int.from_bytes(self.data[12:16]) if self.tagged else 0

    @property
    def kind(self) -> str:
        if not is_group(self.dst):
            return UNICAST
        return BROADCAST if self.dst == b"\xff" * 6 else MULTICAST

    @property
    def packet(self) -> int:
        """Bytes that the MTU is compared with."""
        return self.segment or Buffer(self).packet

    def fault(self) -> str | None:
        if len(self.data) < 14:
            return "runt"
        if self.tagged and len(self.data) < 18:
            return "malformed"
        if is_group(self.src) or not any(self.src):
            return "bad_source"
        return None


class Buffer:
    """A frame whose tag changes.

    The kernel keeps the outer tag of an skb beside the data as soon as it touches it, if it
    knows the TPID; in XDP (`skb` is False) all are in the data.
    """

    def __init__(self, frame: Frame, skb: bool = True) -> None:
        self.data, self.beside, self.skb = frame.data, b"", skb
        if skb and frame.stripped and self._known:
            self._lift()

    @property
    def wire(self) -> bytes:
        return self.data[:12] + self.beside + self.data[12:]

    @property
    def packet(self) -> int:
        """A tag comes on top of the MTU, and one beside the data does not count at all."""
        return len(self.data) - (18 if self.data[12:14] in TAGS else 14)

    @property
    def _known(self) -> bool:
        return self.data[12:14] in KNOWN

    def _lift(self) -> bool:
        """The tag in the data is beside them now, if it is there."""
        if len(self.data) < 18:
            return False
        self.beside = self.data[12:16]
        self.data = self.data[:12] + self.data[16:]
        return True

    def retag(self, old: int, new: int) -> bool:
        """One tag for another, 0 for none; False if what would be the outer one is cut off."""
        if old == new:
            return True
        return (not old or self._pop()) and (not new or self._push(new.to_bytes(4)))

    def _pop(self) -> bool:
        if not self.beside and not self._lift():
            return False
        self.beside = b""
        return not self.skb or not self._known or self._lift()

    def _push(self, tag: bytes) -> bool:
        self.data, self.beside = self.wire, tag
        if not self.skb or tag[:2] not in KNOWN:
            self.data, self.beside = self.wire, b""
        return True


@dataclass(frozen=True)
class Relay:
    """What the relay says of a frame.

    Attributes:
        decision: a port index, "flood", "local" or a reason.
        vid: its VLAN, 0 without.
        notice: what to count besides.
    """

    decision: str | int
    vid: int = 0
    notice: str | None = None


class Switch:
    """Ports by index (from 1), an FDB by (bd, address), counters."""

    def __init__(
        self,
        fdb_size: int = 64,
        ageing: int = 300 * NS,
        refresh: int = NS,
        static_move: bool = False,
    ) -> None:
        self.fdb_size = fdb_size
        self.ageing = ageing
        self.refresh = refresh
        self.static_move = static_move
        self.watched = False
        #: (kind, value as it is typed) to VID; see :func:`ruled`.
        self.vlan_rules: dict[tuple[str, str], int] = {}
        self.now = 0
        self.ports: dict[int, Port] = {}
        self.fdb: dict[tuple[int, bytes], Entry] = {}
        self.clock: deque[tuple[tuple[int, bytes], int]] = deque()
        self.stats: dict[int, Stats] = {}
        self.vlan_stats: dict[int, VlanStats] = {}
        self.reasons: Counter[tuple[int, str]] = Counter()
        self.fdb_full = 0
        #: (kind, address, port, old port)
        self.events: list[tuple[str, bytes, int, int]] = []
        self._generation = 0

    # -------------------------------------------------------------- settings

    def add_port(self, index: int, port: Port) -> Port:
        self.ports[index] = port
        self.stats[index] = Stats()
        return port

    def advance(self, ns: int) -> None:
        self.now += ns

    def set_entry(self, mac: bytes, port: int, bd: int = 1, age: int = 0, **flags: bool) -> Entry:
        """What user space writes: it counts for no port's limit and stands in no clock."""
        entry = self.fdb[bd, mac] = Entry(port, self.now - age, **flags)
        return entry

    @property
    def xdp_ports(self) -> int:
        return sum(port.xdp for port in self.ports.values())

    def lookup(self, bd: int, mac: bytes) -> int:
        """Index of the port behind which `mac` is, 0 if unknown; aged entries are none."""
        entry = self.fdb.get((bd, mac))
        return 0 if entry is None or self._aged(entry) else entry.port

    def live(self) -> dict[tuple[int, bytes], int]:
        """The FDB as users see it: without what has aged."""
        return {key: e.port for key, e in self.fdb.items() if not self._aged(e)}

    # -------------------------------------------------------------- frames

    def receive(self, index: int, frame: Frame, xdp: str | None = None) -> Outcome:
        """A frame comes in at a port; `xdp`: its device has this XDP program, too."""
        if index not in self.ports:
            return Outcome(PASS)
        return (self._xdp(index, frame, xdp) if xdp else None) or self._tc(index, frame)

    def _xdp(self, index: int, frame: Frame, program: str) -> Outcome | None:
        """Known unicast and drops; None leaves the frame to TC.

        Native XDP can send to XDP ports alone. Generic XDP can to all, but cannot tell what
        comes for the host through a device from what comes by its wire, nor GSO packets from
        frames that are too large.
        """
        generic = program == "xdp_generic"
        port = self.ports[index]
        if (port.twin or port.vlan) if generic else self.xdp_ports < 2:
            return None
        reason = frame.fault()
        if reason:
            self._rx(index, 0, frame)
            return self._drop(index, reason, frame)
        if is_group(frame.dst):
            return None
        relay = self._relay(index, frame)
        if relay.decision in ("flood", "local"):
            return None
        if isinstance(relay.decision, int):
            out = self.ports[relay.decision]
            if generic and (out.host or not out.up or self._unfit(relay.decision, frame.packet)):
                return None
            if not generic and not (out.xdp and self._fits_xdp(port, relay, frame)):
                return None
        self._rx(index, relay.vid, frame)
        self._notice(index, relay.notice, frame)
        if isinstance(relay.decision, str):
            return self._drop(index, relay.decision, frame)
        return self._unicast(index, relay.decision, relay.vid, frame, Buffer(frame, skb=False))

    def _fits_xdp(self, port: Port, relay: Relay, frame: Frame) -> bool:
        """Two tags in the data of a full frame are too much for a device's ndo_xdp_xmit."""
        assert isinstance(relay.decision, int)
        out = self.ports[relay.decision]
        if not (out.up and out.has(relay.vid)):
            return True  # a drop
        pushed = relay.vid and not out.strips(relay.vid) and not self._counting(port, frame)
        packet = Buffer(frame, skb=False).packet
        return not (pushed and frame.tagged) and self._unfit(relay.decision, packet) != "mtu"

    def _tc(self, index: int, frame: Frame) -> Outcome:
        reason = frame.fault()
        if reason:
            self._rx(index, 0, frame)
            return self._drop(index, reason, frame)
        relay = self._relay(index, frame)
        self._rx(index, relay.vid, frame)
        self._notice(index, relay.notice, frame)
        if isinstance(relay.decision, int):
            return self._unicast(index, relay.decision, relay.vid, frame, Buffer(frame))
        if relay.decision == "flood":
            return self._flood(index, relay.vid, frame)
        if relay.decision == "local":
            self.stats[index].local += frame.count
            return Outcome(PASS)
        return self._drop(index, relay.decision, frame)

    def _relay(self, index: int, frame: Frame) -> Relay:
        port = self.ports[index]
        if not port.up:
            return Relay("port_down")
        decision = "flood"
        if is_link_local(frame.dst):
            decision = self._link_local(port, frame.dst[5])
            if decision == "pause":
                return Relay(decision)
        vid: int | str = self._classify(port, frame) if port.vlan else 0
        if isinstance(vid, str):
            return Relay(decision if decision == "local" else vid)
        bd = vid if vid and not port.shared else port.bd
        notice = self._learn(index, bd, frame.src) if port.learning else None
        if is_group(frame.dst):
            return Relay(decision, vid, notice)
        out = self.lookup(bd, frame.dst) or (vid and self._to_host(vid, frame.dst))
        if out not in self.ports:
            return Relay("flood", vid, notice)
        if (out == index and not port.hairpin) or (port.host and self.ports[out].host):
            return Relay("same_port", vid, notice)
        if port.isolated and self.ports[out].isolated:
            return Relay("isolated", vid, notice)
        return Relay(out, vid, notice)

    @staticmethod
    def _counting(port: Port, frame: Frame) -> int:
        """The frame's tag, if it is of the kind that counts at the port; else 0."""
        return frame.tag if port.vlan and frame.tag >> 16 == port.tpid else 0

    def _classify(self, port: Port, frame: Frame) -> int | str:
        """The VLAN of a frame, or a reason (802.1Q-2018 6.9, 8.6.2)."""
        wire = self._counting(port, frame) & VID_MASK
        if wire == VID_RESERVED:
            return "vlan_reserved"
        if port.untagged_only if wire else port.tagged_only:
            return "vlan_type"
        vid = port.inside(wire) if wire else self._of_untagged(port, frame)
        if not vid:
            return "vlan_none"
        return vid if port.has(vid) else "vlan_ingress"

    def _of_untagged(self, port: Port, frame: Frame) -> int:
        """By the first rule in their order, else the PVID."""
        at = 16 if self._counting(port, frame) else 12
        carried = frame.data[at : at + 2], frame.data[at + 2 :]
        found = [
            (precedence, vid)
            for (kind, value), vid in self.vlan_rules.items()
            if (precedence := ruled(kind, value, frame.src, *carried))
        ]
        return min(found)[1] if found else port.pvid

    def _to_host(self, vid: int, mac: bytes) -> int:
        """The host's own address stands in the table once and is the host's in all its VLANs."""
        port = self._local(mac)
        return port if port in self.ports and self.ports[port].has(vid) else 0

    def _local(self, mac: bytes) -> int:
        entry = self.fdb.get((0, mac))
        return entry.port if entry and entry.local else 0

    def _egress_tag(self, index: int, out: int, vid: int, frame: Frame) -> int:
        """The tag with which the frame leaves, 0 without."""
        source, port = self.ports[index], self.ports[out]
        if port.strips(vid):
            return 0
        priority = (self._counting(source, frame) or source.priority) & 0xF000
        return port.tpid << 16 | priority | port.outside(vid)

    @staticmethod
    def _link_local(port: Port, digit: int) -> str:
        """br_handle_frame, and pause frames forwarded, too, if asked for."""
        if port.host:
            return "local"
        if port.group_forward >> digit & 1 or digit == 0:
            return "flood"
        return "pause" if digit == 1 else "local"

    def _unicast(self, index: int, out: int, vid: int, frame: Frame, buffer: Buffer) -> Outcome:
        source, port = self.ports[index], self.ports[out]
        if not port.up:
            return self._drop(out, "egress_down", frame)
        if not port.has(vid):
            return self._drop(out, "vlan_egress", frame)
        tag = old = self._counting(source, frame) if vid else 0
        if vid:
            tag = self._egress_tag(index, out, vid, frame)
            if not buffer.retag(old, tag):
                return self._drop(out, "no_memory", frame, buffer.data)
        reason = self._unfit(out, frame.segment or buffer.packet)
        if reason:  # in XDP before anything was changed
            return self._drop(out, reason, frame, buffer.data if buffer.skb else None)
        self._tx(out, vid, buffer, frame.count)
        passed = out == source.twin and (tag == old or source.host or not foreign(tag))
        verdict = PASS if passed else REDIRECT
        return Outcome(verdict, out, frames={out: buffer.wire}, left=buffer.data)

    def _flood(self, index: int, vid: int, frame: Frame) -> Outcome:
        """In a VLAN first the ports that get it without a tag, since the frame's own changes."""
        port = self.ports[index]
        if self._storm(port, frame):
            return self._drop(index, f"storm_{frame.kind}", frame)
        wanted = [i for i in sorted(self.ports) if self._wants(index, i, vid, frame.kind)]
        if not wanted:
            return self._drop(index, "no_egress", frame)
        frames: dict[int, bytes] = {}
        buffer, tag = Buffer(frame), self._counting(port, frame) if vid else 0
        twin = self._itself(index, vid, frame)
        for out in sorted(wanted, key=lambda n: not self.ports[n].strips(vid)):
            if vid:
                tag, old = self._egress_tag(index, out, vid, frame), tag
                if not buffer.retag(old, tag):
                    self._drop(index, "no_memory", frame)
                    copies = tuple(sorted(frames.keys() - {twin}))
                    return Outcome(DROP, 0, copies, frames, buffer.data)
            reason = self._unfit(out, frame.segment or buffer.packet)
            if not reason and out != twin and not self.ports[out].takes:
                reason = "egress_refused"
            if reason:
                self.reasons[out, reason] += frame.count
                continue
            self._tx(out, vid, buffer, frame.count)
            frames[out] = buffer.wire
        self.stats[index].flooded += frame.count
        copies = tuple(sorted(frames.keys() - {twin}))
        if twin not in frames:
            return Outcome(DROP, 0, copies, frames, buffer.data)
        if vid:
            buffer.retag(tag, self._egress_tag(index, twin, vid, frame))
        return Outcome(PASS, twin, copies, frames, buffer.data)

    def _itself(self, index: int, vid: int, frame: Frame) -> int:
        """The other side of the device, which gets the frame and no copy of it: unless it is the
        host and would get it with a tag of which the kernel has read nothing."""
        twin = self.ports[index].twin
        if not vid or twin not in self.ports or self.ports[index].host:
            return twin
        return 0 if foreign(self._egress_tag(index, twin, vid, frame)) else twin

    def _wants(self, index: int, out: int, vid: int, kind: str) -> bool:
        """br_forward.c:should_deliver"""
        source, port = self.ports[index], self.ports[out]
        return (
            port.up
            and port.has(vid)
            and port.floods(kind)
            and (out != index or source.hairpin)
            and not (source.host and port.host)
            and not (source.isolated and port.isolated)
        )

    def _unfit(self, out: int, packet: int) -> str | None:
        mtu = self.ports[out].mtu
        if mtu is None:
            return "egress_gone"
        return "mtu" if packet > mtu else None

    def _storm(self, port: Port, frame: Frame) -> bool:
        """GCRA (ITU-T I.371): a second's worth may come at once."""
        number = KINDS.index(frame.kind)
        pps = port.storm[number]
        if not pps:
            return False
        cost = NS // pps * frame.count
        tat = max(port.tat[number], self.now)
        if tat + cost > self.now + NS:
            return True
        port.tat[number] = tat + cost
        return False

    # -------------------------------------------------------------- FDB

    def _aged(self, entry: Entry) -> bool:
        return not entry.fixed and self.now - entry.seen >= self.ageing

    def _learn(self, index: int, bd: int, mac: bytes) -> str | None:
        key = (bd, mac)
        entry = self.fdb.get(key)
        if entry is None and self._local(mac):
            return None if self._local(mac) == index else "own_source"
        if entry is None:
            return self._create(key, index)
        if entry.port != index:
            return self._move(key, entry, index)
        if self.now - entry.seen >= self.refresh:
            entry.seen = self.now
            if not entry.generation and not entry.fixed:
                entry.generation = self._tick(key)
        return None

    def _create(self, key: tuple[int, bytes], index: int) -> str | None:
        for _ in range(STEPS):
            self._step()
        port = self.ports[index]
        if self._over_limit(port):
            return "learn_limit"
        generation = self._tick(key)
        for _ in range(STEPS_FULL):
            if len(self.fdb) < self.fdb_size or self._step():
                break
        if len(self.fdb) >= self.fdb_size:
            return "fdb_full"
        self.fdb[key] = Entry(index, self.now, generation=generation)
        port.learned += 1
        self.stats[index].learned += 1
        self._event("learn", key, index, index)
        return None

    def _move(self, key: tuple[int, bytes], entry: Entry, index: int) -> str | None:
        if entry.local:
            return "own_source"
        if entry.static and (entry.sticky or not self.static_move):
            return "static_elsewhere"
        if not entry.static:
            if self._over_limit(self.ports[index]):
                return "learn_limit"
            if entry.port in self.ports:
                self.ports[entry.port].learned -= 1
            self.ports[index].learned += 1
        old, entry.port, entry.seen = entry.port, index, self.now
        self.stats[index].moved += 1
        self._event("move", key, index, old)
        return None

    @staticmethod
    def _over_limit(port: Port) -> bool:
        return bool(port.learn_limit) and port.learned >= port.learn_limit

    def _tick(self, key: tuple[int, bytes]) -> int:
        """Puts an entry into the clock; 0 when that is full."""
        if len(self.clock) >= 2 * self.fdb_size:
            return 0
        self._generation += 1
        self.clock.append((key, self._generation))
        return self._generation

    def _step(self) -> bool:
        """Looks at the head of the clock; whether that gave an entry's memory back."""
        if not self.clock:
            return False
        key, generation = self.clock.popleft()
        entry = self.fdb.get(key)
        if entry is None or entry.generation != generation or entry.fixed:
            return False
        if not self._aged(entry):
            self.clock.append((key, generation))
            return False
        del self.fdb[key]
        if entry.port in self.ports:
            self.ports[entry.port].learned -= 1
        self._event("age-out", key, entry.port, entry.port)
        return True

    # -------------------------------------------------------------- counters

    def _rx(self, index: int, vid: int, frame: Frame) -> None:
        for stats in self._counted(index, vid):
            stats.rx_frames += frame.count
            stats.rx_bytes += len(frame.data)

    def _tx(self, index: int, vid: int, buffer: Buffer, count: int) -> None:
        for stats in self._counted(index, vid):
            stats.tx_frames += count
            stats.tx_bytes += len(buffer.wire)

    def _counted(self, index: int, vid: int) -> list[Stats | VlanStats]:
        """Who counts a frame: the port, and its VLAN."""
        vlan = [self.vlan_stats.setdefault(vid, VlanStats())] if vid else []
        return [self.stats[index], *vlan]

    def _drop(self, index: int, reason: str, frame: Frame, left: bytes | None = None) -> Outcome:
        self.reasons[index, reason] += frame.count
        return Outcome(DROP, left=left)

    def _notice(self, index: int, notice: str | None, frame: Frame) -> None:
        if notice:
            self.reasons[index, notice] += frame.count
        if notice == "fdb_full":
            self.fdb_full += 1

    def _event(self, kind: str, key: tuple[int, bytes], port: int, old: int) -> None:
        if self.watched:
            self.events.append((kind, key[1], port, old))

    def counters(self) -> dict[int, dict[str, int]]:
        """Counters and reasons of each port, without zeros."""
        found: dict[int, dict[str, int]] = {}
        for index, stats in self.stats.items():
            values = {name: n for name, n in stats.as_dict().items() if n}
            if values:
                found[index] = values
        for (index, reason), n in self.reasons.items():
            found.setdefault(index, {})[reason] = n
        return found
