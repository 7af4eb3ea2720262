"""The data plane and its model in lockstep: every frame goes through both."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from lib import model
from lib.dataplane import (
    TC_DROP,
    TC_PASS,
    TC_REDIRECT,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    Dataplane,
    coarse_now,
)
from lib.model import DROP, NS, PASS, REDIRECT, Frame, Outcome
from vnetx import _abi, vlan_rule

_TC = {TC_PASS: PASS, TC_DROP: DROP, TC_REDIRECT: REDIRECT}
_XDP = {XDP_PASS: PASS, XDP_DROP: DROP, XDP_REDIRECT: REDIRECT}
_FLAGS = set(_abi.PORT_FLAGS) & {field.name for field in fields(model.Port)} - {"storm"}


class Pair:
    """A switch twice. Port n of a test is index n on device p<n>, unless it says otherwise.

    Model and data plane agree on time by :meth:`advance` alone; what really passes meanwhile
    is far below the seconds that tests go by.
    """

    def __init__(self, plane: Dataplane) -> None:
        self.plane = plane
        self.model = model.Switch(plane.fdb_size)
        self.devices: dict[int, int] = {}
        self._mapped: dict[int, dict[int, int]] = {}
        #: Arguments of :meth:`inject` that tests share.
        self.how: dict[str, Any] = {}
        self.set_switch()

    # -------------------------------------------------------------- settings

    def set_switch(
        self, ageing: int = 300 * NS, refresh: int = NS, static_move: bool = False
    ) -> None:
        self.model.ageing, self.model.refresh = ageing, refresh
        self.model.static_move = static_move
        self.plane.maps.set_switch(
            ageing_ns=ageing,
            refresh_ns=refresh,
            flags=_abi.SWITCH_FLAGS["static_move"] if static_move else 0,
        )

    def vlan_rules(self, rules: dict[tuple[str, str], int]) -> None:
        """(kind, value as it is typed) to VID."""
        self.model.vlan_rules = rules
        self.plane.maps.set_vlan_rules(
            {vlan_rule.PARSERS[kind](value): vid for (kind, value), vid in rules.items()}
        )

    def watch(self, on: bool = True) -> None:
        """FDB events are sent from now on."""
        self.model.watched = on
        self.plane.maps.set_switch(watch_until_ns=coarse_now() + 3600 * NS if on else 0)

    def port(self, index: int, device: int | None = None, **settings: Any) -> model.Port:
        """Makes a port of a device: a port of its number, or another one (a host side)."""
        device = index if device is None else device
        ifindex = self.plane.ifindex.get(device, device)
        port = model.Port(ifindex=ifindex, **settings)
        self.model.add_port(index, port)
        self.devices[index] = device
        if not port.host:
            self.plane.maps.set_port_of(ifindex, index)
        self.write(index)
        slots = max(self.model.ports) + 1
        self.plane.maps.set_switch(port_slots=slots, xdp_ports=self.model.xdp_ports)
        self.plane.touched = max(self.plane.touched, slots)
        return port

    def ports(self, *indices: int, **settings: Any) -> None:
        for index in indices:
            self.port(index, **settings)

    def change(self, index: int, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self.model.ports[index], name, value)
        self.write(index)
        self.plane.maps.set_switch(xdp_ports=self.model.xdp_ports)

    def access(self, index: int, vid: int, device: int | None = None, **settings: Any) -> None:
        """A port of one VLAN, whose frames have no tag."""
        values = {"vlan": True, "bd": 0, "pvid": vid, "members": 1 << vid, "untagged": 1 << vid}
        self.port(index, device, **{**values, **settings})

    def trunk(
        self,
        index: int,
        *vids: int,
        native: int = 0,
        device: int | None = None,
        **settings: Any,
    ) -> None:
        """A port whose frames have tags, but those of the native VLAN."""
        members = sum(1 << vid for vid in {*vids, native} - {0})
        untagged = 1 << native if native else 0
        values = {"vlan": True, "bd": 0, "pvid": native, "members": members, "untagged": untagged}
        self.port(index, device, **{**values, **settings})

    def remove_port(self, index: int) -> None:
        """As detach does: its entries go with it."""
        for bd, mac in [key for key, e in self.model.fdb.items() if e.port == index]:
            self.delete_entry(mac, bd)
        port = self.model.ports.pop(index)
        self._mapped.pop(index, None)
        self.model.stats.pop(index)
        for key in [key for key in self.model.reasons if key[0] == index]:
            del self.model.reasons[key]
        self.plane.maps.reset_port(index)
        if not port.host:
            self.plane.maps.delete_port_of(port.ifindex)
        self.plane.maps.set_switch(xdp_ports=self.model.xdp_ports)

    def write(self, index: int) -> None:
        port = self.model.ports[index]
        if self.plane.maps.port_vlans(index) != (port.members, port.untagged & port.members):
            self.plane.maps.set_port_vlans(index, port.members, port.untagged)
        if self._mapped.get(index, {}) != port.mapping:
            self.plane.maps.set_vlan_mapping(index, port.mapping)
            self._mapped[index] = dict(port.mapping)
        if port.xdp and self.devices[index] in self.plane.ifindex:
            self.plane.maps.set_devmap(index, port.ifindex)
        flags = sum(_abi.PORT_FLAGS[name] for name in _FLAGS if getattr(port, name))
        if any(port.storm):
            flags |= _abi.PORT_FLAGS["storm"]
        self.plane.maps.set_port(
            index,
            {
                "ifindex": port.ifindex,
                "flags": flags,
                "twin": port.twin,
                "bd": port.bd,
                "group_forward": port.group_forward,
                "peer_mac": port.peer_mac,
                "learn_limit": port.learn_limit,
                "storm_pps": port.storm,
                "tpid": port.tpid,
                "pvid": port.pvid,
                "priority": port.priority,
            },
        )

    def entry(self, mac: bytes, port: int, bd: int = 1, age: int = 0, **flags: bool) -> None:
        """An FDB entry from user space."""
        self.model.set_entry(mac, port, bd, age, **flags)
        bits = sum(_abi.FDB_FLAGS[name] for name, on in flags.items() if on)
        self.plane.set_entry(mac, port, bd, coarse_now() - age, bits)

    def delete_entry(self, mac: bytes, bd: int = 1) -> None:
        """As `fdb del` does: a learned entry no longer counts for its port."""
        entry = self.model.fdb.pop((bd, mac))
        if entry.generation and not entry.fixed and entry.port in self.model.ports:
            self.model.ports[entry.port].learned -= 1
            self.plane.add_learned(entry.port, -1)
        self.plane.delete_entry(mac, bd)

    def advance(self, ns: int) -> None:
        """Lets time pass for both."""
        self.model.advance(ns)
        self.plane.travel(ns)

    # -------------------------------------------------------------- frames

    def _agree_on_time(self, index: int) -> None:
        """Storm limits measure fractions of a second, in which real time would show."""
        port = self.model.ports[index]
        if any(port.storm):
            now = coarse_now()
            self.plane.set_storm(index, [now + tat - self.model.now for tat in port.tat])

    def inject(
        self,
        index: int,
        data: bytes,
        xdp: str | None = None,
        egress: bool = False,
        gso_segs: int = 0,
        times: int = 1,
    ) -> Outcome:
        """Runs a frame through both and compares what became of it; then see :meth:`check`.

        Args:
            times: so often, one right after the other (a known destination's only, whose tag
                does not change: the next run would find it changed).
            index: port that it comes in by.
            xdp: the device has this XDP program, too, which sees the frame first.
            egress: the host sends it by the device that carries its addresses; `index` is
                then the host's side.
        """
        ifindex = self.model.ports[index].ifindex
        self._agree_on_time(index)
        for _ in range(times):
            expected = self.model.receive(index, Frame(data, max(gso_segs, 1)), xdp=xdp)
        verdict = PASS
        if xdp:
            run = self.plane.run(xdp, ifindex, data, repeat=times)
            verdict = _XDP[run.verdict]
        if verdict == PASS:
            assert not xdp or run.data == data, "XDP changed a frame that is TC's"
            program = "tc_egress" if egress else "tc_ingress"
            run = self.plane.run(program, ifindex, data, gso_segs=gso_segs, repeat=times)
            verdict = _TC[run.verdict]
        assert verdict == expected.verdict, (verdict, expected)
        assert run.data == (data if expected.left is None else expected.left), expected
        return expected

    def check(self) -> None:
        """Every counter and the whole FDB are equal."""
        assert self.plane.counters() == self.model.counters()
        assert self._fdb() == {
            key: (e.port, e.static, e.sticky, e.local) for key, e in self.model.fdb.items()
        }
        for index, port in self.model.ports.items():
            assert self.plane.maps.port_state(index)["learned"] == port.learned, index
        assert self.plane.maps.switch_state()["fdb_full"] == self.model.fdb_full
        for vid, stats in self.model.vlan_stats.items():
            assert self.plane.maps.vlan_stats(vid) == asdict(stats), vid

    def _fdb(self) -> dict[tuple[int, bytes], tuple[int, bool, bool, bool]]:
        bits = [_abi.FDB_FLAGS[name] for name in ("static", "sticky", "local")]
        return {
            key: (e["port"], *(bool(e["flags"] & bit) for bit in bits))
            for key, e in self.plane.fdb().items()
        }

    def step(self, index: int, data: bytes, **how: Any) -> Outcome:
        """:meth:`inject`, the copies at every port's far end, :meth:`check`."""
        outcome = self.inject(index, data, **how)
        assert self._sorted(self.plane.received()) == self.arriving(outcome)
        self.check()
        return outcome

    def arriving(self, outcome: Outcome, whole: bool = False) -> dict[int, list[bytes]]:
        """What is caught at the far ends of devices after that; `whole`: what is redirected, too
        (a test run sends copies alone)."""
        expected: dict[int, list[bytes]] = {}
        for index in (*outcome.copies, *((outcome.to,) if whole and outcome.to else ())):
            if not self.model.ports[index].host:
                expected.setdefault(self.devices[index], []).append(outcome.frames[index])
        return self._sorted(expected)

    @staticmethod
    def _sorted(caught: dict[int, list[bytes]]) -> dict[int, list[bytes]]:
        return {device: sorted(frames) for device, frames in caught.items()}
