"""The same frames through vnetx and through the kernel's bridge, and what differs, as packets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from lib.frames import BROADCAST, TEST, station
from lib.topology import Lab, Tap
from lib.vlans import CLASSIFIED, FRAMES, Mode, Tag, leaving, rows

PORTS = (1, 2, 3, 4)
HOST = 0  # the switch's own interface, where a capture asks for it

Steps = list[tuple[int, bytes]]
#: What came out of each port after each frame.
Found = list[dict[int, list[bytes]]]


@dataclass(frozen=True)
class Scenario:
    """Frames by ingress port, and the settings of the switch meanwhile.

    With `vlans` the switch is VLAN-aware and has those ports alone, without other settings.
    """

    name: str
    steps: Callable[[], Steps]
    switch: dict[str, Any] = field(default_factory=dict)
    ports: dict[int, dict[str, Any]] = field(default_factory=dict)
    mtu: dict[int, int] = field(default_factory=dict)
    host: bool = False
    vlans: dict[int, Mode] = field(default_factory=dict)


def play(scenario: Scenario, kind: str) -> Found:
    """A scenario on the kernel's bridge or on vnetx."""
    with Lab() as lab:
        lab.add_hosts(*PORTS, addresses=False)
        for number, mtu in scenario.mtu.items():
            lab.set_mtu(number, mtu)
        switch = lab.switch(kind)
        if scenario.vlans:
            switch.set_vlans({f"p{n}": mode for n, mode in scenario.vlans.items()})
        else:
            switch.create(**scenario.switch)
            plain = [n for n in PORTS if n not in scenario.ports]
            if plain:
                switch.attach(*(f"p{n}" for n in plain))
            for number, settings in scenario.ports.items():
                switch.attach(f"p{number}", **settings)
        return passed(lab, scenario.steps(), Tap(lab.near, switch.name) if scenario.host else None)


def passed(lab: Lab, steps: Iterable[tuple[int, bytes]], tap: Tap | None = None) -> Found:
    """Sends frames one after the other; `tap` is the switch's own interface."""
    lab.listen()
    found = []
    for number, data in steps:
        if number == HOST:
            assert tap
            tap.send(data)
        else:
            lab.wires[number].send(data)
        caught = lab.received()
        if tap and (local := tap.received()):
            caught[HOST] = local
        found.append(caught)
    return found


def told(data: bytes) -> str:
    return f"{Ether(data).summary()} ({len(data)} bytes)\n{data.hex()}"


def difference(steps: Steps, expected: Found, found: Found, oracle: str = "bridge") -> str:
    """The frames that went other ways, as packets."""
    lines = []
    for (number, data), wanted, seen in zip(steps, expected, found, strict=True):
        if wanted == seen:
            continue
        lines.append(f"in by p{number}: {told(data)}")
        for port in sorted(wanted | seen):
            if wanted.get(port) != seen.get(port):
                copies = f"{oracle} {len(wanted.get(port, []))}, vnetx {len(seen.get(port, []))}"
                lines.append(f"  p{port}: {copies}")
                lines += [f"    {told(got)}" for got in seen.get(port, []) if got != data]
    return "\n".join(lines[:60])


# ---------------------------------------------------------------- the table of VLANs


def packet(dst: bytes, src: bytes, tags: Iterable[Tag] = (), size: int = 46) -> bytes:
    """A frame of so many bytes behind its tags, from Scapy."""
    built: Packet = Ether(dst=dst.hex(":"), src=src.hex(":"))
    for tpid, tci in tags:
        built.lastlayer().type = tpid
        built /= Dot1Q(prio=tci >> 13, dei=tci >> 12 & 1, vlan=tci & 0xFFF)
    built.lastlayer().type = TEST
    return bytes(built / Raw(bytes(i & 0xFF for i in range(size))))


class Table:
    """The table on a switch with two ports of each mode: frames enter by the one, behind the other
    is a station that has been heard in all VLANs that it can speak in."""

    def __init__(self, lab: Lab, kind: str, modes: dict[str, Mode]) -> None:
        self.lab, self.modes = lab, modes
        self.entrance = {mode: 2 * n + 1 for n, mode in enumerate(modes)}
        self.home = {mode: 2 * n + 2 for n, mode in enumerate(modes)}
        self.station = {mode: station(number) for mode, number in self.home.items()}
        self.ports = {
            number: mode for ends in (self.entrance, self.home) for mode, number in ends.items()
        }
        self.known = {
            mode: {r[0][1] & 0xFFF for r in CLASSIFIED[mode].values() if not isinstance(r, str)}
            for mode in modes
        }
        lab.add_hosts(*self.ports, addresses=False)
        self.switch = lab.switch(kind)
        self.switch.set_vlans({f"p{number}": modes[mode] for number, mode in self.ports.items()})
        for mode, number in self.home.items():
            source = self.station[mode]
            lab.inject(number, *(packet(BROADCAST, source, tags) for tags in FRAMES.values()))

    def check(self) -> int:
        """Each row, to everybody and to each of the stations, and how many rows there were."""
        source = station(0xFF)
        table = rows(self.modes)
        for row in table:
            number = self.entrance[row.mode]
            targets: list[str | None] = [None, *self.modes]
            steps, expected = [], []
            for target in targets:
                dst = self.station[target] if target else BROADCAST
                steps.append((number, packet(dst, source, row.tags)))
                at = {} if isinstance(row.result, str) else self._leaving(*row.result, target)
                at.pop(number, None)
                expected.append({n: [packet(dst, source, tags)] for n, tags in at.items()})
            caught = self.lab.inject(number, *(data for _, data in steps))
            found = [
                {n: mine for n, them in caught.items() if (mine := _to(data[:6], them))}
                for _, data in steps
            ]
            text = difference(steps, expected, found, "table")
            assert not text, f"{row.frame} by a port of mode {row.mode}\n{text}"
        return len(table)

    def _leaving(self, outer: Tag, inner: list[Tag], target: str | None) -> dict[int, list[Tag]]:
        """The ports by which a frame leaves, with its tags; `target` is unknown in VLANs where it
        was never heard."""
        heard = target is not None and outer[1] & 0xFFF in self.known[target]
        ports = [self.home[target]] if target and heard else sorted(self.ports)
        stacks = {n: leaving(self.ports[n], outer, inner) for n in ports}
        return {n: stack for n, stack in stacks.items() if stack is not None}


def _to(dst: bytes, frames: list[bytes]) -> list[bytes]:
    return [data for data in frames if data.startswith(dst)]
