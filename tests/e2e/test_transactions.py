"""Commands are transactions: killed or failing anywhere, alone or two at once."""

from __future__ import annotations

import errno
import functools
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from lib import EMULATED
from lib.namespaces import Namespace
from lib.snapshot import Machine, Outcome, Picture, Running, flat
from vnetx import _abi, _bpf, _vlan, engine, links, state, tun
from vnetx.datapath import pins
from vnetx.datapath.maps import SwitchMaps
from vnetx.errors import VnetxError
from vnetx.model import Interface, SwitchSettings, Vlans, parse_vids
from vnetx.plan import Step
from vnetx.vlan_rule import parse_mac, parse_subnet

pytestmark = [pytest.mark.root, pytest.mark.forks]

SMALL = SwitchSettings(fdb_size=64, max_ports=16)
STATION = b"\x02\0\x5e\0\0\x33"

# -------------------------------------------------------------- effects

Interrupt = Callable[[str], None]


def _before(owner: Any, name: str, interrupt: Interrupt, applies: Callable[..., bool]) -> None:
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def wrapped(*args: Any, **kw: Any) -> Any:
        if applies(*args, **kw):
            interrupt(name)
        return plain(*args, **kw)

    setattr(owner, name, wrapped)


def instrument(interrupt: Interrupt) -> None:
    """`interrupt` is called before whatever changes something that outlives the process.

    Finer than the steps of a plan: a step, or making a switch, has several effects.
    """
    always = lambda *_, **__: True  # noqa: E731
    for name in (
        "map_update",
        "map_update_items",
        "map_refill",
        "map_delete_keys",
        "obj_pin",
        "link_create",
        "link_update",
        "link_detach",
    ):
        _before(_bpf, name, interrupt, always)
    _before(_vlan, "set_members", interrupt, always)
    _before(links.vxlan, "set_vnis", interrupt, always)
    for name in ("mkdir", "rename", "unlink", "rmdir"):
        _before(Path, name, interrupt, always)
    for name in ("_mount_here", "_unmount_here"):
        _before(pins, name, interrupt, always)
    _before(IoctlEthtool, "set_features", interrupt, always)
    _before(tun, "control", interrupt, always)

    class Netlink(links.IPRoute):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            plain = super().__getattr__(name)
            if name not in ("link", "tc", "addr", "route"):
                return plain

            def wrapped(command: str, *args: Any, **kw: Any) -> Any:
                if command not in ("get", "dump"):
                    interrupt(f"{name} {command}")
                return plain(command, *args, **kw)

            return wrapped

    links.IPRoute = Netlink


class Counter:
    """Does something at the nth effect or step, once."""

    def __init__(self, number: int, action: Callable[[Any], None]) -> None:
        self.left = number
        self.action = action

    def __call__(self, what: Any) -> None:
        self.left -= 1
        if self.left == -1:
            self.action(what)


def killed_before(number: int, command: Callable[[], Any]) -> Callable[[], Any]:
    """The command in a process that is killed before its nth effect."""

    def work() -> Any:
        instrument(Counter(number, lambda _: os.kill(os.getpid(), signal.SIGKILL)))
        return command()

    return work


def failing_at(number: int, command: Callable[[], Any]) -> Callable[[], Any]:
    """The command with its nth effect failing as the kernel would."""

    def fail(effect: str) -> None:
        raise OSError(errno.EIO, f"{effect}: {os.strerror(errno.EIO)}")

    def work() -> Any:
        counter = Counter(number, fail)
        instrument(counter)
        command()
        return counter.left < 0

    return work


# -------------------------------------------------------------- scenarios


@pytest.fixture
def far(machine: Machine) -> Namespace:
    """The namespace of h1 to h3 behind p1 to p3; p3 carries the host's addresses."""
    namespace = machine.namespace()
    machine.near.ip(
        *(f"link add name p{n} type veth peer name h{n} netns {namespace.path}" for n in (1, 2, 3)),
        *(f"link set p{n} up" for n in (1, 2, 3)),
        "address add 192.0.2.1/24 dev p3",
        "link add link p1 name m1 type macvlan mode bridge",
        "link set m1 up",
    )
    namespace.ip(*(f"link set h{n} up" for n in (1, 2, 3)))
    return namespace


@dataclass(frozen=True)
class Scenario:
    """A command and what was done before it; those that repeat others are tried more coarsely."""

    command: Callable[[], Any]
    given: Callable[[], Any] = lambda: None
    stride: int = 1


def add_br0() -> Any:
    return engine.switch_add("br0", SMALL)


def attach(*names: str, **kw: Any) -> Callable[[], Any]:
    return lambda: engine.attach(names, **kw)


def in_br0(*names: str, then: Callable[[], Any] = lambda: None, **kw: Any) -> Callable[[], Any]:
    def work() -> Any:
        add_br0()
        if names:
            engine.attach(names, switch="br0", **kw)
        return then()

    return work


def vni(number: int, *remotes: str, **settings: Any) -> Callable[[], Any]:
    return lambda: engine.vni_add(
        number, remotes=remotes, switch="br0", local="192.0.2.1", **settings
    )


def tap(**settings: Any) -> Any:
    return engine.link_add("t0", {"kind": "tap", **settings}, port={}, switch="br0")


def macvlan(**settings: Any) -> Callable[[], Any]:
    wanted = {"kind": "macvlan", "parent": "p3", **settings}
    return lambda: engine.link_add("e0", wanted, port={}, switch="br0")


def tun_port() -> Any:
    settings = {"kind": "tun", "owner": 1000, "addresses": ("198.51.100.1/24",)}
    return engine.link_add("t0", settings, port={}, switch="br0")


def ipvlan(mode: str, *addresses: str, **more: Any) -> Any:
    settings = {"kind": "ipvlan", "parent": "p3", "mode": mode, "addresses": addresses}
    where = {"netns": "own", "own_netns": True}
    return engine.link_add("iv", {**settings, **where, **more}, port={})


def with_interface() -> Any:
    in_br0("p1", "p3", hook="tc", settings={"vlans": Vlans.access(10)})()
    return engine.vlan_interface_add(Interface.in_vlan(30, ("198.51.100.1/24",)), switch="br0")


_OTHER = Vlans.trunk(parse_vids("20-22,120"), native=5)

SCENARIOS = {
    "attach, new switch with host port": Scenario(attach("p1", hook="tc")),
    "attach nic, new switch": Scenario(attach("p3", hook="xdp"), stride=2),
    "attach tc": Scenario(attach("p1", switch="br0", hook="tc"), in_br0()),
    "attach xdp": Scenario(attach("p1", switch="br0", hook="xdp"), in_br0()),
    "attach generic, promiscuous": Scenario(
        attach("m1", switch="br0", hook="xdp-generic"), in_br0()
    ),
    "attach nic": Scenario(attach("p3", switch="br0", hook="xdp"), in_br0()),
    "attach three": Scenario(attach("p1", "p2", "p3", switch="br0", hook="xdp"), in_br0(), 5),
    "attach unconfirmed": Scenario(
        attach("p1", "p3", switch="br0", hook="tc", confirm=600), in_br0()
    ),
    "hook from tc to xdp": Scenario(
        lambda: engine.port_set("p3", hook="xdp"), in_br0("p3", hook="tc")
    ),
    "hook from xdp to tc": Scenario(
        lambda: engine.port_set("p3", hook="tc"), in_br0("p3", hook="xdp")
    ),
    "hook from xdp to generic": Scenario(
        lambda: engine.port_set("p3", hook="xdp-generic"), in_br0("p3", hook="xdp")
    ),
    "detach": Scenario(lambda: engine.detach(["p1"]), in_br0("p1", "p2", hook="tc")),
    "detach xdp nic": Scenario(lambda: engine.detach(["p3"]), in_br0("p3", "p2", hook="xdp")),
    "detach last of implicit": Scenario(lambda: engine.detach(["p1"]), attach("p1", hook="xdp"), 2),
    "detach all": Scenario(
        lambda: engine.detach([], every=True), attach("p1", "p2", "p3", hook="xdp"), 5
    ),
    "switch add": Scenario(add_br0),
    "switch set": Scenario(
        lambda: engine.switch_set("br0", ageing=7, mac=b"\x02\0\x5e\0\0\x07", group_forward=1),
        in_br0("p1", "p3", hook="tc"),
    ),
    "attach into a vlan": Scenario(
        attach("p1", switch="br0", hook="tc", settings={"vlans": Vlans.access(10)}),
        in_br0("p3", hook="tc", settings={"vlans": Vlans.access(10)}),
    ),
    "first vlan": Scenario(
        lambda: engine.vlan_add(1 << 10, ["p1", "br0"], untagged=True, pvid=True),
        in_br0("p1", "p3", hook="tc"),
    ),
    "other vlans": Scenario(
        lambda: engine.port_set("p3", vlans=_OTHER, vlan_map=((20, 120),), priority=5),
        in_br0("p1", "p3", hook="tc", settings={"vlans": Vlans.access(10)}),
    ),
    "vlans no more": Scenario(
        lambda: engine.switch_set("br0", vlan_aware=False),
        in_br0("p1", "p3", hook="tc", settings={"vlans": Vlans.access(10)}),
    ),
    "vlan interface": Scenario(
        lambda: engine.vlan_interface_add(
            Interface.in_vlan(30, ("198.51.100.1/24", "203.0.113.1/24")), dev="p3"
        ),
        in_br0("p1", "p3", hook="tc", settings={"vlans": Vlans.access(10)}),
    ),
    "other vlan interface": Scenario(
        lambda: engine.link_del(["br0.30"]),
        with_interface,
    ),
    "interface in a namespace of its own": Scenario(
        lambda: engine.link_add(
            "web",
            {
                "netns": "own",
                "own_netns": True,
                "addresses": ("198.51.100.1/24",),
                "routes": (("203.0.113.0/24", "198.51.100.9"),),
            },
            port={"isolated": True},
            switch="br0",
        ),
        in_br0("p1", hook="tc"),
    ),
    "endpoint": Scenario(
        macvlan(mode="source", sources=(STATION,), netns="own", own_netns=True),
        in_br0("p1", hook="tc"),
    ),
    "other endpoint": Scenario(
        macvlan(mode="private", mac=STATION, host_access=False),
        in_br0("p1", "p3", hook="tc", then=macvlan()),
    ),
    "other mode of an endpoint": Scenario(
        macvlan(mode="source", sources=(STATION,)), in_br0("p3", hook="tc", then=macvlan())
    ),
    "endpoint no more": Scenario(
        lambda: engine.link_del(["e0"]),
        in_br0("p3", hook="tc", then=macvlan(mode="source", sources=(STATION,))),
    ),
    "tap": Scenario(
        lambda: engine.link_add(
            "t0",
            {"kind": "tap", "owner": 1000, "multi_queue": True, "mtu": 9000},
            port={"isolated": True},
            switch="br0",
        ),
        in_br0("p1", hook="tc"),
    ),
    "other tap": Scenario(
        lambda: engine.link_add(
            "t0",
            {"kind": "tap", "multi_queue": True, "owner": 7},
            port={"learn_limit": 3},
            switch="br0",
        ),
        in_br0("p1", hook="tc", then=lambda: tap(owner=1000)),
    ),
    "other owner of a tap": Scenario(
        lambda: engine.link_add("t0", {"owner": 7, "vnet_hdr": False, "mtu": 9000}, port={}),
        in_br0("p1", hook="tc", then=lambda: tap(owner=1000)),
    ),
    "tap no more": Scenario(
        lambda: engine.link_del(["t0"]), in_br0("p1", hook="tc", then=lambda: tap(owner=1000))
    ),
    "tun": Scenario(
        lambda: engine.link_add(
            "t0",
            {"kind": "tun", "owner": 1000, "addresses": ("198.51.100.1/24",), "mtu": 1400},
            port={"isolated": True},
            switch="br0",
        ),
        in_br0("p1", hook="tc"),
        2,
    ),
    "other address of a tun": Scenario(
        lambda: engine.link_add("t0", {"addresses": ("198.51.100.2/24",), "owner": 7}, port={}),
        in_br0("p1", hook="tc", then=lambda: tun_port()),
    ),
    "tun no more": Scenario(
        lambda: engine.link_del(["t0"]), in_br0("p1", hook="tc", then=lambda: tun_port())
    ),
    "wire": Scenario(
        lambda: engine.link_wire("p1", "p3", switch="br0", hook="tc", loss=1.0),
        in_br0("p2", hook="tc"),
    ),
    "other wire": Scenario(
        lambda: engine.link_wire("p1", "p2", hook="xdp", corrupt=1.0, cut=["p2"], seed=7),
        lambda: engine.link_wire("p1", "p2"),
    ),
    "wire no more": Scenario(
        lambda: engine.link_unwire(["p1"]),
        lambda: engine.link_wire("p1", "p2", hook="xdp", loss=1.0, carrier=True),
    ),
    "ipvlan": Scenario(lambda: ipvlan("l2", "192.0.2.9/24"), in_br0("p1", "p3", hook="tc")),
    "ipvlan in l3 mode": Scenario(
        lambda: ipvlan("l3", "198.51.100.9/24", among="private"), in_br0("p3", hook="tc")
    ),
    "ipvlan of other addresses": Scenario(
        lambda: ipvlan("l3", "198.51.100.8/24", "198.51.100.9/24"),
        in_br0("p3", hook="tc", then=lambda: ipvlan("l3", "198.51.100.9/24", "203.0.113.9/32")),
    ),
    "ipvlan of another mode": Scenario(
        lambda: ipvlan("l2", "192.0.2.9/24"),
        in_br0("p3", hook="tc", then=lambda: ipvlan("l3", "192.0.2.9/24")),
        2,
    ),
    "ipvlan no more": Scenario(
        lambda: engine.link_del(["iv"]),
        in_br0("p3", hook="tc", then=lambda: ipvlan("l2", "192.0.2.9/24")),
    ),
    "vlan rules": Scenario(
        lambda: engine.vlan_rule_add(
            "br0", {parse_mac("02:00:5e:00:00:00/24"): 10, parse_subnet("192.0.2.0/24"): 20}
        ),
        in_br0("p1", "p3", hook="tc"),
    ),
    "detach from vlans": Scenario(
        lambda: engine.detach(["p3"]),
        in_br0("p1", "p3", hook="tc", settings={"vlans": _OTHER, "vlan_map": ((20, 120),)}),
    ),
    "vni": Scenario(vni(1000, "192.0.2.2", "192.0.2.3", vid=10), in_br0("p1", hook="tc")),
    "other remotes": Scenario(
        vni(1000, "192.0.2.4", ttl=9), in_br0("p1", hook="tc", then=vni(1000, "192.0.2.2"))
    ),
    "vni of another port": Scenario(
        vni(1000, dstport=8472), in_br0("p1", hook="tc", then=vni(1000, "192.0.2.2")), 2
    ),
    "vni of another vlan": Scenario(
        vni(1000, vid=20), in_br0("p1", hook="tc", then=vni(1000, "192.0.2.2", vid=10))
    ),
    "vni no more": Scenario(
        lambda: engine.vni_del([1000]), in_br0("p1", hook="tc", then=vni(1000, "192.0.2.2"))
    ),
    "switch del": Scenario(lambda: engine.switch_del("br0"), in_br0()),
    "switch del with ports": Scenario(
        lambda: engine.switch_del("br0", force=True), in_br0("p1", "p3", hook="xdp"), 3
    ),
}


def same_again(command: Callable[[], Any]) -> Callable[[], Any]:
    """The command once more; that its object is there or gone already is as good."""

    def work() -> Any:
        try:
            command()
        except VnetxError as error:
            if not re.search("none of this name|exists already|no switch has it", error.why):
                raise

    return work


def clear() -> None:
    """What a user has to remove everything."""
    engine.detach([], every=True)
    for name in pins.switch_names():
        engine.switch_del(name)


def contents() -> dict[str, Any]:
    """What the maps of the switches hold, with names for numbers that differ each time."""
    found: dict[str, Any] = {}
    for name in pins.switch_names():
        with SwitchMaps.open(name) as maps:
            meta, ports = maps.meta(), maps.ports()
            device = {i: state.interface_name(p["ifindex"]) for i, p in ports.items()}
            side = {
                i: f"{device[i]} {'host' if p['flags'] & _abi.PORT_FLAGS['host'] else 'wire'}"
                for i, p in ports.items()
            }
            host_ports = [
                state.interface_name(meta.pop(k)) for k in ("host_ifindex", "host_port_ifindex")
            ]
            meta["confirm_deadline_ns"] = bool(meta["confirm_deadline_ns"])
            switch = maps.switch()
            assert switch.pop("port_slots") == max(maps.slots(), default=0) + 1
            side |= dict.fromkeys(maps.vxlan_devices().values(), "vxlan device")
            device |= side
            for port in ports.values():
                port["ifindex"] = state.interface_name(port["ifindex"])
                port["twin"] = side[port["twin"]] if port["twin"] else None
                port["wire"] = side.get(port["wire"])
            numbers = ("port", "out", "out_ifindex")
            found[name] = {
                "meta": meta,
                "switch": switch,
                "host ports": host_ports,
                "ports": {side[i]: port for i, port in ports.items()},
                "vlans": {side[i]: str(maps.port_vlans(i)) for i in ports},
                "of vlans": {
                    vid: sorted(side[i] for i in range(member.bit_length()) if member >> i & 1)
                    for vid, (member, _) in sorted(maps.all_vlan_ports().items())
                },
                "vlan maps": {side[i]: each for i, each in maps.vlan_mappings().items()},
                "bound": {state.interface_name(i): side[n] for i, n in maps.port_of().items()},
                "programs": maps.programs(),
                "wires": {
                    side[end["port"]]: (
                        side[end["out"]],
                        state.interface_name(end["out_ifindex"]),
                        {key: value for key, value in end.items() if key not in numbers},
                    )
                    for end in maps.wires().values()
                },
                "vnis": state.vnis_of(maps),
                "vteps": sorted(address for address, _ in maps.vteps().values()),
                "undo": {state.interface_name(i): undo for i, undo in maps.undo().items()},
                "fdb": sorted(
                    (_abi.unpack_fdb_key(key)[0].hex(":"), side[entry["port"]], entry["flags"])
                    for key, raw in _bpf.map_items(maps.fds["fdb"], 8, 16)
                    for entry in [_abi.unpack_fdb_entry(raw)]
                ),
                "unpublished": [path.name for path in pins.unpublished()],
            }
    return found


class Lab:
    """A machine with hosts, and what a scenario starts from and comes to."""

    def __init__(self, machine: Machine, far: Namespace, scenario: Scenario) -> None:
        self.machine, self.far, self.scenario = machine, far, scenario
        self.clean = self.picture()
        machine.call(scenario.given)
        self.given = self.seen()
        machine.call(scenario.command)
        self.wanted = self.seen()
        machine.call(clear)
        self.assert_clean()

    def picture(self) -> Picture:
        return self.machine.picture(self.machine.near, self.far, sysctls=False)

    def seen(self) -> tuple[Picture, dict[str, Any]]:
        return self.picture().of_any_run(), self.machine.call(contents)

    def assert_is(self, wanted: tuple[Picture, dict[str, Any]], where: str) -> None:
        picture, found = self.seen()
        assert wanted[0].changes(picture) == "", where
        assert Picture(dict(flat(wanted[1]))).changes(Picture(dict(flat(found)))) == "", where

    def assert_clean(self, where: str = "") -> None:
        assert self.clean.changes(self.picture()) == "", where


def effects(name: str, first: int) -> range:
    """Numbers of a scenario's effects, and beyond: one of a few, other ones for each scenario and
    test. Each takes half a second, of an emulated processor ten. VNETX_EVERY_EFFECT=1 tries all."""
    pace = SCENARIOS[name].stride
    if "VNETX_EVERY_EFFECT" not in os.environ:
        pace *= 12 if EMULATED else 5
    return range((list(SCENARIOS).index(name) + first) % pace, 500, pace)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_anywhere(machine: Machine, far: Namespace, name: str) -> None:
    """The same command completes what a killed one left; detach removes it."""
    scenario = SCENARIOS[name]
    lab = Lab(machine, far, scenario)
    for number in effects(name, 0):
        where = f"killed before effect {number}"
        work = killed_before(number, scenario.command)
        machine.call(scenario.given)
        killed = machine.start(work).wait()
        if not killed.signal:
            assert not killed.failure, killed.failure
            break
        machine.call(same_again(scenario.command))
        lab.assert_is(lab.wanted, where)
        machine.call(clear)
        lab.assert_clean(where)

        machine.call(scenario.given)
        assert machine.start(work).wait().signal
        machine.call(clear)
        lab.assert_clean(f"{where}, then detached")
    else:
        pytest.fail("it never completes")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_failing_anywhere(machine: Machine, far: Namespace, name: str) -> None:
    """A command whose nth effect fails undoes itself, or did not depend on it."""
    scenario = SCENARIOS[name]
    lab = Lab(machine, far, scenario)
    for number in effects(name, 1):
        where = f"effect {number} failed"
        machine.call(scenario.given)
        outcome = machine.start(failing_at(number, scenario.command)).wait()
        machine.call(engine.detach, [])  # any command cleans up after one that could not
        if outcome.failure:
            assert outcome.failure.what, f"{where}: no error for users: {outcome.failure}"
            lab.assert_is(lab.given, f"{where}: {outcome.failure}")
        else:
            lab.assert_is(lab.wanted, where)
        machine.call(clear)
        lab.assert_clean(where)
        if outcome.value is False:
            break
    else:
        pytest.fail("it never completes")


def stopping_at(number: int, command: Callable[..., Any]) -> Callable[[], Any]:
    """The command with a plan that is stopped before its nth step."""

    def stop(step: Step) -> None:
        raise VnetxError(step.text, "somebody stopped it")

    return lambda: command(on_step=Counter(number, stop))


def test_third_of_three_devices_fails(machine: Machine, far: Namespace) -> None:
    """The two before it are given back; so is the switch."""
    lab = Lab(machine, far, Scenario(attach("p1", "p2", "p3", hook="xdp")))
    failure = machine.fails(engine.attach, ["p1", "p2", "m1"], hook="xdp")
    assert "m1" in failure.what
    lab.assert_clean()
    machine.call(engine.attach, ["p1"], hook="tc")
    given = lab.seen()
    machine.fails(engine.attach, ["p1", "p2", "m1"], hook="xdp")
    lab.assert_is(given, "p1 was a port already, on another hook")


@pytest.mark.slow
def test_plan_that_is_stopped_is_taken_back(machine: Machine, far: Namespace) -> None:
    lab = Lab(machine, far, Scenario(attach("p1", "p3", hook="xdp")))
    for number in range(200):
        command = functools.partial(engine.attach, ["p1", "p3"], hook="xdp")
        outcome = machine.start(stopping_at(number, command)).wait()
        if not outcome.failure:
            break
        assert outcome.failure.why == "somebody stopped it"
        lab.assert_clean(f"step {number}")
    assert number > 20
    given = lab.seen()
    for number in range(200):
        command = functools.partial(engine.detach, ["p1", "p3"])
        outcome = machine.start(stopping_at(number, command)).wait()
        if not outcome.failure:
            break
        lab.assert_is(given, f"step {number}")
    lab.assert_clean()


def test_refused_hook_leaves_the_old_one(machine: Machine, far: Namespace) -> None:
    machine.call(engine.attach, ["m1"], hook="xdp-generic", settings={"learn_limit": 3})
    given = machine.picture(machine.near, far), machine.call(contents)
    failure = machine.fails(engine.port_set, "m1", hook="xdp", learn_limit=5)
    assert "xdp-generic" in failure.remedy
    assert given[0].changes(machine.picture(machine.near, far)) == ""
    assert given[1] == machine.call(contents)


# -------------------------------------------------------------- at once


@pytest.fixture
def many(machine: Machine) -> list[str]:
    names = [f"q{n}" for n in range(8)]
    machine.near.ip(
        *(f"link add name {name} type veth peer name {name}x" for name in names),
        *(f"link set {name} up" for name in names),
    )
    return names


def all_of(running: list[Running]) -> list[Outcome]:
    return [one.wait() for one in running]


def attached(machine: Machine) -> dict[str, list[str | None]]:
    views = machine.call(state.switches)
    return {view.name: sorted(str(port.ifname) for port in view.ports) for view in views}


def test_eight_attach_at_once(machine: Machine, many: list[str]) -> None:
    before = machine.picture()
    outcomes = all_of([machine.start(attach(name, hook="tc")) for name in many])
    assert [outcome.failure for outcome in outcomes] == [None] * 8
    assert attached(machine) == {"vnetx0": many}
    indices = [p.index for view in machine.call(state.switches) for p in view.ports]
    assert len(set(indices)) == 8
    outcomes = all_of([machine.start(lambda n=name: engine.detach([n])) for name in many])
    assert [outcome.failure for outcome in outcomes] == [None] * 8
    assert before.changes(machine.picture()) == ""


def test_first_and_last_commands_of_several_namespaces_at_once(machine: Machine) -> None:
    """Whoever comes first makes the mount, whoever goes last removes it."""
    before = machine.picture()
    places = [machine.namespace() for _ in range(4)]
    for place in places:
        place.ip("link add name p1 type veth peer name p2")

    def in_and_out() -> None:
        for _ in range(3):
            engine.attach(["p1"], hook="tc")
            engine.detach(["p1"])

    outcomes = all_of([machine.start(in_and_out, place) for place in places])
    assert [str(outcome.failure) for outcome in outcomes] == ["None"] * 4
    assert before.changes(machine.picture()) == ""


def test_attach_and_detach_of_one_device_race(machine: Machine, far: Namespace) -> None:
    """It is attached or it is not, completely."""
    lab = Lab(machine, far, Scenario(attach("p1", "p3", hook="xdp"), attach("p3", hook="xdp")))
    for number in range(8):
        machine.call(lab.scenario.given)
        commands = [attach("p1", hook="xdp"), lambda: engine.detach(["p1"])]
        outcomes = all_of([machine.start(c) for c in (commands if number % 2 else commands[::-1])])
        assert [outcome.failure for outcome in outcomes] == [None, None]
        ends = lab.wanted if "p1" in attached(machine)["vnetx0"] else lab.given
        lab.assert_is(ends, f"race {number}")
        machine.call(clear)
    lab.assert_clean()


def test_one_of_two_makes_the_switch(machine: Machine) -> None:
    outcomes = all_of([machine.start(add_br0) for _ in range(2)])
    refused = [outcome.failure for outcome in outcomes if outcome.failure]
    assert len(refused) == 1
    assert "exists already" in refused[0].why
    machine.call(engine.switch_del, "br0")


def test_a_killed_command_does_not_keep_the_lock(machine: Machine, many: list[str]) -> None:
    """Those that wait for it go on."""
    stuck = machine.start(killed_before(3, attach(many[0], hook="tc")))
    outcomes = all_of([machine.start(attach(name, hook="tc")) for name in many[1:3]])
    assert stuck.wait().signal
    assert [outcome.failure for outcome in outcomes] == [None, None]
    machine.call(attach(many[0], hook="tc"))
    assert attached(machine) == {"vnetx0": many[:3]}
    machine.call(clear)


def test_errors_of_netlink_are_errors_for_users(machine: Machine, far: Namespace) -> None:
    """The kernel's words, and nothing is left."""
    before = machine.picture(machine.near, far)

    def work() -> None:
        def refuse(effect: str) -> None:
            if effect.startswith("link"):
                raise NetlinkError(errno.ENOBUFS, "of pyroute2")

        instrument(refuse)
        engine.attach(["p1"], hook="tc")

    failure = machine.fails(work)
    assert "ENOBUFS" in failure.why
    assert before.changes(machine.picture(machine.near, far)) == ""
