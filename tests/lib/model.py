"""A learning switch in plain Python: what the data plane has to do, frame by frame.

The oracle of the tests in tests/bpf, written from the contract in abi.h and from
802.1D-2004 (7.7 relay, 7.8 learning, 7.9 ageing). Time stands still until
:meth:`Switch.advance` moves it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, fields

NS = 1_000_000_000
PASS, DROP, REDIRECT = "pass", "drop", "redirect"
BROADCAST, MULTICAST, UNICAST = "broadcast", "multicast", "unicast"
KINDS = (BROADCAST, MULTICAST, UNICAST)
TAGS = (b"\x81\x00", b"\x88\xa8")

#: Elements of the clock that are looked at for a new address, and more when the FDB is full.
STEPS, STEPS_FULL = 2, 16


def is_group(mac: bytes) -> bool:
    return bool(mac[0] & 1)


def is_link_local(mac: bytes) -> bool:
    return mac[:5] == b"\x01\x80\xc2\x00\x00" and mac[5] < 16


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


@dataclass(frozen=True)
class Outcome:
    """What became of a frame.

    Attributes:
        verdict: what the program says of the frame itself.
        to: port index that the frame itself goes to: by redirection, or, with PASS, the
            other side of the same device (0: the host's sockets on the port).
        copies: port indices that got a copy, in order.
    """

    verdict: str
    to: int = 0
    copies: tuple[int, ...] = ()


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
    def kind(self) -> str:
        if not is_group(self.dst):
            return UNICAST
        return BROADCAST if self.dst == b"\xff" * 6 else MULTICAST

    @property
    def packet(self) -> int:
        """Bytes that the MTU is compared with: a tag comes on top of it, and one beside the data
        does not count at all."""
        tags = 4 if self.tagged else 0
        if self.stripped and self.data[16:18] in TAGS:
            tags += 4
        return self.segment or len(self.data) - 14 - tags

    def fault(self) -> str | None:
        if len(self.data) < 14:
            return "runt"
        if self.tagged and len(self.data) < 18:
            return "malformed"
        if is_group(self.src) or not any(self.src):
            return "bad_source"
        return None


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
        self.now = 0
        self.ports: dict[int, Port] = {}
        self.fdb: dict[tuple[int, bytes], Entry] = {}
        self.clock: deque[tuple[tuple[int, bytes], int]] = deque()
        self.stats: dict[int, Stats] = {}
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
        if self.ports[index].twin if generic else self.xdp_ports < 2:
            return None
        reason = frame.fault()
        if reason:
            self._rx(index, frame)
            return self._drop(index, reason, frame)
        if is_group(frame.dst):
            return None
        decision, notice = self._relay(index, frame)
        if decision in ("flood", "local"):
            return None
        if isinstance(decision, int):
            out = self.ports[decision]
            if generic and (out.host or not out.up or self._refusal(decision, frame)):
                return None
            if not generic and not out.xdp:
                return None
        self._rx(index, frame)
        self._notice(index, notice, frame)
        if isinstance(decision, str):
            return self._drop(index, decision, frame)
        return self._unicast(index, decision, frame)

    def _tc(self, index: int, frame: Frame) -> Outcome:
        self._rx(index, frame)
        reason = frame.fault()
        if reason:
            return self._drop(index, reason, frame)
        decision, notice = self._relay(index, frame)
        self._notice(index, notice, frame)
        if isinstance(decision, int):
            return self._unicast(index, decision, frame)
        if decision == "flood":
            return self._flood(index, frame)
        if decision == "local":
            self.stats[index].local += frame.count
            return Outcome(PASS)
        return self._drop(index, decision, frame)

    def _relay(self, index: int, frame: Frame) -> tuple[str | int, str | None]:
        """(port index, "flood", "local" or a reason; what to note besides)."""
        port = self.ports[index]
        if not port.up:
            return "port_down", None
        decision = "flood"
        if is_link_local(frame.dst):
            decision = self._link_local(port, frame.dst[5])
            if decision == "pause":
                return decision, None
        notice = self._learn(index, frame.src) if port.learning else None
        if is_group(frame.dst):
            return decision, notice
        out = self.lookup(port.bd, frame.dst)
        if out not in self.ports:
            return "flood", notice
        if (out == index and not port.hairpin) or (port.host and self.ports[out].host):
            return "same_port", notice
        if port.isolated and self.ports[out].isolated:
            return "isolated", notice
        return out, notice

    @staticmethod
    def _link_local(port: Port, digit: int) -> str:
        """br_handle_frame, and pause frames forwarded, too, if asked for."""
        if port.host:
            return "local"
        if port.group_forward >> digit & 1 or digit == 0:
            return "flood"
        return "pause" if digit == 1 else "local"

    def _unicast(self, index: int, out: int, frame: Frame) -> Outcome:
        reason = self._refusal(out, frame)
        if not self.ports[out].up:
            reason = "egress_down"
        if reason:
            return self._drop(out, reason, frame)
        self._tx(out, frame)
        return Outcome(PASS if out == self.ports[index].twin else REDIRECT, out)

    def _flood(self, index: int, frame: Frame) -> Outcome:
        port = self.ports[index]
        if self._storm(port, frame):
            return self._drop(index, f"storm_{frame.kind}", frame)
        wanted = [i for i in sorted(self.ports) if self._wants(index, i, frame.kind)]
        if not wanted:
            return self._drop(index, "no_egress", frame)
        copies = []
        for out in wanted:
            reason = self._refusal(out, frame)
            if not reason and out != port.twin and not self.ports[out].takes:
                reason = "egress_refused"
            if reason:
                self.reasons[out, reason] += frame.count
                continue
            self._tx(out, frame)
            copies.append(out)
        self.stats[index].flooded += frame.count
        if port.twin in copies:
            copies.remove(port.twin)
            return Outcome(PASS, port.twin, tuple(copies))
        return Outcome(DROP, 0, tuple(copies))

    def _wants(self, index: int, out: int, kind: str) -> bool:
        """br_forward.c:should_deliver"""
        source, port = self.ports[index], self.ports[out]
        return (
            port.up
            and port.floods(kind)
            and (out != index or source.hairpin)
            and not (source.host and port.host)
            and not (source.isolated and port.isolated)
        )

    def _refusal(self, out: int, frame: Frame) -> str | None:
        mtu = self.ports[out].mtu
        if mtu is None:
            return "egress_gone"
        return "mtu" if frame.packet > mtu else None

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

    def _learn(self, index: int, mac: bytes) -> str | None:
        key = (self.ports[index].bd, mac)
        entry = self.fdb.get(key)
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

    def _rx(self, index: int, frame: Frame) -> None:
        self.stats[index].rx_frames += frame.count
        self.stats[index].rx_bytes += len(frame.data)

    def _tx(self, index: int, frame: Frame) -> None:
        self.stats[index].tx_frames += frame.count
        self.stats[index].tx_bytes += len(frame.data)

    def _drop(self, index: int, reason: str, frame: Frame) -> Outcome:
        self.reasons[index, reason] += frame.count
        return Outcome(DROP)

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
