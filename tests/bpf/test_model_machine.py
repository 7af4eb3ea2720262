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
from lib.frames import QINQ, VLAN, frame, link_local, station
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
tag_stacks = st.sampled_from([(), (), (), (VLAN,), (QINQ,), (QINQ, VLAN)])
lengths = st.sampled_from([14, 60, 60, 60, 82, 83, 1514, 1515, 1518, 1519, 1522])
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


class SwitchMachine(RuleBasedStateMachine):
    """Ports are devices 1 to 4; device 1 may carry the host's addresses."""

    def __init__(self, plane: Dataplane, xdp: str | None) -> None:
        super().__init__()
        plane.reset()
        self.pair = Pair(plane)
        self.xdp = xdp

    def _draw_port(self, number: int) -> int:
        ports = sorted(self.pair.model.ports)
        return ports[number % len(ports)]

    @property
    def has_ports(self) -> bool:
        return bool(self.pair.model.ports)

    @rule(device=st.sampled_from(DEVICES), settings=port_settings)
    def add_port(self, device: int, settings: dict[str, Any]) -> None:
        if device not in self.pair.model.ports:
            self.pair.port(device, **settings)

    @precondition(lambda self: HOST not in self.pair.model.ports)
    @precondition(lambda self: HOST_DEVICE in self.pair.model.ports)
    @rule(settings=port_settings)
    def add_host_side(self, settings: dict[str, Any]) -> None:
        settings.pop("xdp", None)
        self.pair.port(HOST, HOST_DEVICE, host=True, twin=HOST_DEVICE, **settings)
        self.pair.change(HOST_DEVICE, twin=HOST)

    @precondition(lambda self: self.has_ports)
    @rule(number=st.integers(0, 9), settings=port_settings)
    def change_port(self, number: int, settings: dict[str, Any]) -> None:
        index = self._draw_port(number)
        if index == HOST:
            settings.pop("xdp", None)
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
    @rule(number=st.integers(0, 9), mac=stations, bd=domains, flags=entry_flags)
    def set_entry(self, number: int, mac: bytes, bd: int, flags: dict[str, bool]) -> None:
        fdb = self.pair.model.fdb
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
        tags: tuple[int, ...],
        gso_segs: int,
    ) -> None:
        index = self._draw_port(number)
        data = frame(dst, src, max(length, 16 + 4 * len(tags)) if tags else length, tags=tags)
        if index == HOST:
            self.pair.step(index, data, egress=True)
        elif self.xdp and self.pair.model.ports[index].xdp:
            self.pair.step(index, data, xdp=self.xdp)
        else:
            self.pair.step(index, data, gso_segs=gso_segs)

    # Several at once, from one port: what fills the FDB and the limits.
    @precondition(lambda self: self.has_ports)
    @rule(number=st.integers(0, 9), first=st.integers(1, 40), count=st.integers(2, 40))
    def stations_appear(self, number: int, first: int, count: int) -> None:
        index = self._draw_port(number)
        xdp = self.xdp if self.pair.model.ports[index].xdp else None
        for n in range(first, first + count):
            data = frame(station(1), station(n))
            self.pair.inject(index, data, xdp=xdp, egress=index == HOST)
        self.pair.plane.received()
        self.pair.check()


def machine(plane: Dataplane, xdp: str | None, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: SwitchMachine(plane, xdp),
        settings=settings(max_examples=examples, stateful_step_count=steps),
    )


@pytest.mark.parametrize("xdp", [None, "xdp", "xdp_generic"])
def test_machine(plane: Dataplane, xdp: str | None) -> None:
    machine(plane, xdp, examples=40, steps=40)


@pytest.mark.slow
@pytest.mark.novm  # hours of an emulated processor; test_machine runs there
@pytest.mark.timeout(900)  # mostly for shrinking what fails
@pytest.mark.parametrize("xdp", [None, "xdp", "xdp_generic"])
def test_machine_for_long(plane: Dataplane, xdp: str | None) -> None:
    machine(plane, xdp, examples=300, steps=100)
