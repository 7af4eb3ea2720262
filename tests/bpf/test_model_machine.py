"""Random operations and frames on the data plane and on its model: they never differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lib import frames
from lib.dataplane import Dataplane
from lib.frames import FOREIGN, QINQ, VLAN, frame, link_local, station, tag
from lib.model import NS
from lib.pair import Pair

pytestmark = pytest.mark.root

DEVICES = (1, 2, 3, 4)
HOST, HOST_DEVICE = 9, 1

# More stations than the FDB has room for; a few that are met often.
stations = st.one_of(st.integers(1, 4), st.integers(1, 45)).map(station)
groups = st.one_of(
    st.sampled_from([frames.BROADCAST, frames.MULTICAST, frames.MULTICAST6]),
    st.integers(0, 0x11).map(link_local),
)
sources = st.one_of(*[stations] * 9, st.sampled_from([bytes(6), frames.BROADCAST]))
domains = st.sampled_from([1, 1, 1, 2])
VIDS = (10, 11, 75, 4094)
tags = st.builds(
    tag,
    st.sampled_from([*VIDS, *[10, 11] * 4, 0, 30, 4095]),
    st.integers(0, 15),
    st.sampled_from([VLAN, VLAN, VLAN, QINQ, FOREIGN[0]]),
)
tag_stacks = st.one_of(st.just([]), st.lists(tags, max_size=3))
lengths = st.sampled_from([14, 60, 60, 60, 82, 83, 1514, 1515, 1518, 1519, 1522, 1526])
entry_flags = st.sampled_from(
    [{}, {"static": True}, {"static": True, "sticky": True}, {"static": True, "local": True}]
)
port_settings = st.fixed_dictionaries(
    {},
    optional={
        "up": st.booleans(),
        "learning": st.booleans(),
        "flood_unicast": st.booleans(),
        "flood_multicast": st.booleans(),
        "flood_broadcast": st.booleans(),
        "isolated": st.booleans(),
        "hairpin": st.booleans(),
        "bd": domains,
        "group_forward": st.sampled_from([0, 0x4000, 0x0002, 0xFFFF]),
        "learn_limit": st.sampled_from([0, 0, 1, 3]),
        "storm": st.tuples(*[st.sampled_from([0, 0, 1, 3])] * 3),
        "xdp": st.booleans(),
    },
)
EVERY_VLAN = sum(1 << vid for vid in VIDS)
vid_sets = st.sets(st.sampled_from(VIDS)).map(lambda vids: sum(1 << vid for vid in vids))
seldom = st.sampled_from([False] * 9 + [True])
vlan_settings = {
    "members": st.one_of(*[st.just(EVERY_VLAN)] * 3, vid_sets),
    "untagged": st.one_of(st.just(1 << 10), vid_sets),
    "pvid": st.sampled_from([*[10] * 5, 11, 75, 4094, 0]),
    "priority": st.sampled_from([0, 0x2000, 0xF000]),
    "tpid": st.sampled_from([VLAN, VLAN, VLAN, QINQ, FOREIGN[0]]),
    "mapping": st.sampled_from([{}, {}, {}, {30: 10}, {10: 11, 11: 10}, {75: 4094}]),
    "tagged_only": seldom,
    "untagged_only": seldom,
    "shared": seldom,
}
TRUNK = {"vlan": True, "bd": 0, "members": EVERY_VLAN, "untagged": 1 << 10, "pvid": 10}
vlan_ports = st.sampled_from(
    [
        TRUNK,
        {**TRUNK, "untagged": 0, "pvid": 0},
        {**TRUNK, "untagged": EVERY_VLAN, "pvid": 11},
        {**TRUNK, "members": 1 << 10, "priority": 0xF000},
        {**TRUNK, "members": 1 << 11, "untagged": 1 << 11, "pvid": 11},
        {**TRUNK, "tpid": QINQ},
        {**TRUNK, "tpid": FOREIGN[0]},
        {**TRUNK, "mapping": {30: 10}, "hairpin": True},
        {**TRUNK, "untagged": 0, "mapping": {10: 11, 11: 10}},
    ]
)
vlan_changes = st.fixed_dictionaries({}, optional=vlan_settings)


class SwitchMachine(RuleBasedStateMachine):
    """Ports are devices 1 to 4; device 1 may carry the host's addresses."""

    def __init__(self, plane: Dataplane, xdp: str | None, aware: bool) -> None:
        super().__init__()
        plane.reset()
        self.pair = Pair(plane)
        self.xdp, self.aware = xdp, aware

    def _draw_port(self, number: int) -> int:
        ports = sorted(self.pair.model.ports)
        return ports[number % len(ports)]

    @property
    def has_ports(self) -> bool:
        return bool(self.pair.model.ports)

    @precondition(lambda self: not self.aware)
    @rule(device=st.sampled_from(DEVICES), settings=port_settings)
    def add_port(self, device: int, settings: dict[str, Any]) -> None:
        if device not in self.pair.model.ports:
            self.pair.port(device, **settings)

    @precondition(lambda self: self.aware)
    @rule(device=st.sampled_from(DEVICES), settings=vlan_ports)
    def add_vlan_port(self, device: int, settings: dict[str, Any]) -> None:
        if device not in self.pair.model.ports:
            self.pair.port(device, xdp=device < 4, **settings)

    @precondition(lambda self: self.aware and not self.has_ports and not self.pair.model.fdb)
    @rule(settings=st.lists(vlan_ports, min_size=5, max_size=5))
    def add_vlan_ports(self, settings: list[dict[str, Any]]) -> None:
        for device in DEVICES:
            self.add_vlan_port(device, settings[device])
        self.add_host_side({}, settings[0])
        self.pair.entry(station(1), HOST, 0, static=True, local=True)

    @precondition(lambda self: self.aware and self.has_ports)
    @rule(number=st.integers(0, 9), settings=vlan_changes)
    def change_vlans(self, number: int, settings: dict[str, Any]) -> None:
        self.pair.change(self._draw_port(number), **settings)

    @precondition(lambda self: HOST not in self.pair.model.ports)
    @precondition(lambda self: HOST_DEVICE in self.pair.model.ports)
    @rule(settings=port_settings, vlans=vlan_ports)
    def add_host_side(self, settings: dict[str, Any], vlans: dict[str, Any]) -> None:
        settings = {**(vlans if self.aware else settings), "xdp": False}
        self.pair.port(HOST, HOST_DEVICE, host=True, twin=HOST_DEVICE, **settings)
        self.pair.change(HOST_DEVICE, twin=HOST)

    @precondition(lambda self: self.has_ports)
    @rule(number=st.integers(0, 9), settings=port_settings)
    def change_port(self, number: int, settings: dict[str, Any]) -> None:
        index = self._draw_port(number)
        if index == HOST:
            settings.pop("xdp", None)
        if self.aware:
            settings.pop("bd", None)
        self.pair.change(index, **settings)

    @precondition(lambda self: self.has_ports)
    @rule(number=st.integers(0, 9))
    def remove_port(self, number: int) -> None:
        index = self._draw_port(number)
        if index == HOST:
            self.pair.change(HOST_DEVICE, twin=0)
        elif index == HOST_DEVICE and HOST in self.pair.model.ports:
            self.pair.remove_port(HOST)
        self.pair.remove_port(index)

    @precondition(lambda self: self.has_ports)
    @rule(
        number=st.integers(0, 9),
        mac=stations,
        bd=domains,
        vid=st.sampled_from([0, 0, 10, 10, 11]),
        flags=entry_flags,
    )
    def set_entry(self, number: int, mac: bytes, bd: int, vid: int, flags: dict[str, bool]) -> None:
        fdb = self.pair.model.fdb
        if self.aware:
            bd = vid
        if (bd, mac) in fdb:
            self.pair.delete_entry(mac, bd)
        if len(fdb) < self.pair.plane.fdb_size:
            self.pair.entry(mac, self._draw_port(number), bd, **flags)

    @precondition(lambda self: self.pair.model.fdb)
    @rule(number=st.integers(0, 99))
    def delete_entry(self, number: int) -> None:
        keys = sorted(self.pair.model.fdb)
        bd, mac = keys[number % len(keys)]
        self.pair.delete_entry(mac, bd)

    @rule(static_move=st.booleans(), ageing=st.sampled_from([100, 300, 300]), refresh=st.just(1))
    def change_switch(self, static_move: bool, ageing: int, refresh: int) -> None:
        self.pair.set_switch(ageing * NS, refresh * NS, static_move)

    @rule(seconds=st.sampled_from([2, 60, 150, 301]))
    def time_passes(self, seconds: int) -> None:
        self.pair.advance(seconds * NS)

    @precondition(lambda self: self.has_ports)
    @rule(
        number=st.integers(0, 9),
        dst=st.one_of(stations, stations, groups),
        src=sources,
        length=lengths,
        tags=tag_stacks,
        gso_segs=st.sampled_from([0, 0, 0, 3]),
    )
    def receive(
        self,
        number: int,
        dst: bytes,
        src: bytes,
        length: int,
        tags: list[tuple[int, int]],
        gso_segs: int,
    ) -> None:
        data = frame(dst, src, max(length, 16 + 4 * len(tags)) if tags else length, tags=tags)
        self._step(self._draw_port(number), data, gso_segs)

    @precondition(lambda self: self.has_ports)
    @rule(
        number=st.integers(0, 9),
        other=st.integers(1, 4),
        macs=st.tuples(st.integers(1, 3).map(station), st.integers(4, 6).map(station)),
        tags=tag_stacks,
    )
    def talk(
        self, number: int, other: int, macs: tuple[bytes, bytes], tags: list[tuple[int, int]]
    ) -> None:
        """Two stations get to know each other."""
        here, there = self._draw_port(number), self._draw_port(number + other)
        self._step(here, frame(frames.BROADCAST, macs[0], tags=tags))
        self._step(there, frame(*macs, tags=tags))
        self._step(here, frame(*reversed(macs), tags=tags))

    def _step(self, index: int, data: bytes, gso_segs: int = 0) -> None:
        if index == HOST:
            self.pair.step(index, data, egress=True)
        elif self.xdp and self.pair.model.ports[index].xdp:
            self.pair.step(index, data, xdp=self.xdp)
        else:
            self.pair.step(index, data, gso_segs=gso_segs)

    # Several at once, from one port: what fills the FDB and the limits.
    @precondition(lambda self: self.has_ports)
    @rule(
        number=st.integers(0, 9),
        first=st.integers(1, 40),
        count=st.integers(2, 40),
        tags=tag_stacks,
    )
    def stations_appear(
        self, number: int, first: int, count: int, tags: list[tuple[int, int]]
    ) -> None:
        index = self._draw_port(number)
        xdp = self.xdp if self.pair.model.ports[index].xdp else None
        for n in range(first, first + count):
            data = frame(station(1), station(n), tags=tags)
            self.pair.inject(index, data, xdp=xdp, egress=index == HOST)
        self.pair.plane.received()
        self.pair.check()


def machine(plane: Dataplane, xdp: str | None, aware: bool, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: SwitchMachine(plane, xdp, aware),
        settings=settings(max_examples=examples, stateful_step_count=steps),
    )


@pytest.mark.parametrize("aware", [False, True], ids=["", "vlans"])
@pytest.mark.parametrize("xdp", [None, "xdp", "xdp_generic"])
def test_machine(plane: Dataplane, xdp: str | None, aware: bool) -> None:
    machine(plane, xdp, aware, examples=40, steps=40)


@pytest.mark.slow
@pytest.mark.novm  # hours of an emulated processor; test_machine runs there
@pytest.mark.timeout(900)  # mostly for shrinking what fails
@pytest.mark.parametrize("aware", [False, True], ids=["", "vlans"])
@pytest.mark.parametrize("xdp", [None, "xdp", "xdp_generic"])
def test_machine_for_long(plane: Dataplane, xdp: str | None, aware: bool) -> None:
    machine(plane, xdp, aware, examples=100, steps=100)
