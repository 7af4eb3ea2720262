"""plan_port is a function: carried out on a simulated device, by tables and by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetx import _abi
from vnetx.device import Link
from vnetx.model import PortSettings, Wire
from vnetx.plan import OFFLOADS, End, PortDesired, PortObserved, Step, plan_port, wire_values

SWITCH = "br0"
IFINDEX = 7
MAC = bytes.fromhex("02005e000007")
SWITCH_MAC = bytes.fromhex("02005e0000ff")
BITS = _abi.UNDO_FLAGS
FEATURES = [offload.feature for offload in OFFLOADS if not offload.peer]
PEER_FEATURES = [offload.feature for offload in OFFLOADS if offload.peer]
FOREIGN = (99, "native")

#: Which undo bit has to be on record before a step of this verb, by its arguments.
COVERED = {offload.key: offload.undo for offload in OFFLOADS}


class Device:
    """A device and the maps' entries about it; each verb of the executor in one line or two."""

    def __init__(
        self,
        kind: str = "",
        *,
        promisc: bool = False,
        features: Mapping[str, bool] | None = None,
        peer_features: Mapping[str, bool] | None = None,
        foreign: tuple[int, str] | None = None,
        tcx: bool = True,
        clsact: bool = False,
        host_port: bool = False,
        wired: bool = False,
    ) -> None:
        self.host_port = host_port
        self.wired = wired
        self.wire: Mapping[str, Any] | None = None
        self.kind = kind
        self.promisc = promisc
        self.features = dict(features or {})
        self.peer_features = dict(peer_features or {})
        self.foreign = foreign
        self.kept: tuple[int, str] | None = None
        self.tcx = tcx
        self.clsact = clsact
        self.ports: dict[int, Any] = {}
        self.devmap: set[int] = set()
        self.local: dict[bytes, int] = {}
        self.bound = 0
        self.hooks: set[str] = set()
        self.xdp_mode: str | None = None
        self.undo: dict[str, int] | None = None

    # ------------------------------------------------------------ seen

    def own(self) -> tuple[Any, ...]:
        """All that is not the switch's: what detach has to give back."""
        return (self.promisc, self.features, self.peer_features, self.foreign, self.clsact)

    def everything(self) -> tuple[Any, ...]:
        return (
            *self.own(),
            (self.kept, self.ports, self.bound, self.hooks, self.xdp_mode, self.undo, self.wire),
        )

    def link(self) -> Link:
        veth = self.kind == "veth"
        return Link(
            ifindex=IFINDEX,
            name="dev7",
            kind=self.kind,
            mtu=1500,
            mac=MAC,
            up=True,
            carrier=True,
            loopback=False,
            promisc=self.promisc,
            master=None,
            master_kind="",
            peer=8 if veth else 0,
            peer_netns=0 if veth else None,
            xdp=self.foreign,
            addressed=False,
            alias="",
        )

    def observe(self, gone: bool = False) -> PortObserved:
        wire = {i: p for i, p in self.ports.items() if not p["flags"] & _abi.PORT_FLAGS["host"]}
        index = self.bound or next(iter(wire if self.undo is not None else ()), 0)
        port = self.ports.get(index)
        twin = port["twin"] if port else 0
        if not twin and port is None and self.undo is not None:
            twin = next(iter(self.ports), 0)
        mac = MAC if twin else SWITCH_MAC
        return PortObserved(
            ifindex=IFINDEX,
            link=None if gone else self.link(),
            undo=self.undo,
            index=index,
            port=port,
            twin=twin,
            twin_port=self.ports.get(twin),
            bound=bool(self.bound),
            has_local=bool(index or twin) and self.local.get(mac) == (twin or index),
            hooks=frozenset(self.hooks),
            features=dict(self.features),
            peer_features=dict(self.peer_features),
            clsact=None if self.tcx else self.clsact,
            wire=self.wire,
        )

    # ------------------------------------------------------------ done

    def run(self, steps: list[Step]) -> None:
        for step in steps:
            assert step.args[0] == SWITCH
            assert step.text
            getattr(self, step.verb)(*step.args[1:])

    def _covered(self, bit: str) -> None:
        assert self.undo is not None, "nothing is on record"
        assert self.undo["flags"] & BITS[bit], f"{bit} is changed and not on record"

    def record_undo(self, _ifindex: int, values: dict[str, int]) -> None:
        self.undo = dict(values)

    def forget_undo(self, _ifindex: int) -> None:
        assert not self.hooks
        assert not self.bound
        self.undo = None

    def set_feature(self, _link: Link, feature: str, on: bool, peer: bool) -> None:
        self._covered(COVERED[feature, peer])
        (self.peer_features if peer else self.features)[feature] = on

    give_back_feature = set_feature

    def set_promisc(self, _ifindex: int, on: bool) -> None:
        self._covered("promisc")
        self.promisc = on

    def add_clsact(self, _ifindex: int) -> None:
        self._covered("clsact")
        assert not self.clsact
        self.clsact = True

    def delete_clsact(self, _ifindex: int) -> None:
        self._covered("clsact")
        self.clsact = False

    def take_xdp(self, _ifindex: int, program: int, mode: str) -> None:
        self._covered("foreign_xdp")
        assert self.foreign == (program, mode)
        self.kept, self.foreign = self.foreign, None

    def give_back_xdp(self, _ifindex: int, program: int, mode: str) -> None:
        self._covered("foreign_xdp")
        assert "xdp" not in self.hooks
        if self.kept:
            assert self.kept == (program, mode)
            self.foreign, self.kept = self.kept, None

    def reset_port(self, index: int) -> None:
        assert not self.hooks - {"xdp"} or index not in self.ports or self.bound
        self.ports.pop(index, None)
        self.devmap.discard(index)

    def write_port(self, index: int, values: dict[str, Any]) -> None:
        self.ports[index] = dict(values)

    def set_devmap(self, index: int, _ifindex: int) -> None:
        self.devmap.add(index)

    def add_local(self, index: int, mac: bytes) -> None:
        self.local[mac] = index

    def bind_port(self, _ifindex: int, index: int) -> None:
        assert index in self.ports, "frames would find an empty port"
        self.bound = index

    def unbind_port(self, _ifindex: int) -> None:
        self.bound = 0

    def flush_port(self, index: int) -> None:
        self.local = {mac: port for mac, port in self.local.items() if port != index}

    def attach_tc(self, _ifindex: int, hook: str, clsact: bool, program: str) -> None:
        assert program == f"tc_{hook}"
        assert self.bound, "a hook before the maps are filled"
        assert clsact != self.tcx
        assert self.tcx or self.clsact
        self.hooks.add(hook)

    def write_wire(self, _ifindex: int, values: Mapping[str, Any]) -> None:
        assert values["port"] in self.ports
        self.wire = values

    def delete_wire(self, _ifindex: int) -> None:
        assert not self.hooks
        self.wire = None

    def attach_wire(self, ifindex: int, hook: str, clsact: bool) -> None:
        assert self.wire, "frames would find no other end"
        if hook == "xdp":
            self.attach_xdp(ifindex, "native")
        else:
            self.attach_tc(ifindex, hook, clsact, f"tc_{hook}")

    def set_up(self, _ifindex: int) -> None:
        self._covered("wire_down")

    def detach_tc(self, _ifindex: int, hook: str, clsact: bool) -> None:
        assert clsact != self.tcx
        self.hooks.discard(hook)

    def attach_xdp(self, _ifindex: int, mode: str) -> None:
        assert self.bound, "a hook before the maps are filled"
        assert not self.foreign, "somebody else's program is there"
        port = self.ports[self.bound]
        assert port["hook"] == _abi.HOOKS["xdp" if mode == "native" else "xdp-generic"]
        assert mode != "native" or self.bound in self.devmap
        self.hooks.add("xdp")
        self.xdp_mode = mode

    def detach_xdp(self, _ifindex: int) -> None:
        self.hooks.discard("xdp")
        self.xdp_mode = None


# -------------------------------------------------------------- by chance


@st.composite
def devices(draw: st.DrawFn) -> Device:
    some = lambda names: {  # noqa: E731
        name: draw(st.booleans()) for name in names if draw(st.booleans())
    }
    kind = draw(st.sampled_from(["", "veth", "tun", "macvlan"]))
    role = draw(st.sampled_from(["", "host_port", "wired"]))
    return Device(
        kind,
        promisc=draw(st.booleans()),
        features=some(FEATURES),
        peer_features=some(PEER_FEATURES) if kind == "veth" else {},
        foreign=draw(st.sampled_from([None, FOREIGN])),
        **({role: True} if role else {}),
        **draw(
            st.sampled_from(
                [{"tcx": True}, {"tcx": False, "clsact": True}, {"tcx": False, "clsact": False}]
            )
        ),
    )


SETTINGS = st.builds(
    PortSettings,
    learning=st.booleans(),
    isolated=st.booleans(),
    up=st.booleans(),
    learn_limit=st.integers(0, 3),
    storm=st.sampled_from([(0, 0, 0), (1, 2, 3)]),
    group_forward=st.sampled_from([0, 0x4000]),
)


@st.composite
def desires(draw: st.DrawFn, device: Device) -> PortDesired:
    if device.wired:
        return draw(ends(device))
    hook = draw(st.sampled_from(["tc", "xdp", "xdp-generic"]))
    return PortDesired(
        settings=replace(draw(SETTINGS), hook=draw(st.sampled_from(["auto", hook]))),
        hook=hook,
        index=2,
        twin=0 if device.host_port else draw(st.sampled_from([0, 3])),
        peer_mac=draw(st.sampled_from([None, bytes.fromhex("02005e000008")])),
        local_mac=SWITCH_MAC if device.host_port else None,
        group_forward=draw(st.sampled_from([0, 1])),
        unconfirmed=draw(st.booleans()),
        take_xdp=device.foreign if hook != "tc" else None,
    )


WIRES = st.builds(
    Wire,
    st.just(("dev7", "dev8")),
    loss=st.sampled_from([0.0, 1.5]),
    corrupt=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 2),
    cut=st.sampled_from([(), ("dev7",)]),
    carrier=st.booleans(),
    hook=st.sampled_from(["auto", "xdp", "tc"]),
)


@st.composite
def ends(draw: st.DrawFn, device: Device) -> PortDesired:
    """The end of a wire."""
    hook = draw(st.sampled_from(["tc", "xdp"]))
    wire = draw(WIRES)
    return PortDesired(
        wire.end_settings(),
        hook,
        2,
        take_xdp=device.foreign if hook != "tc" else None,
        wire=wire_values(wire, End("dev7", IFINDEX, 2), End("dev8", 8, 3)),
    )


def settled(device: Device, desired: PortDesired) -> PortDesired:
    """The desire as a later command has it: the foreign program is not there any more."""
    return replace(desired, take_xdp=None) if device.foreign is None else desired


def assert_is(device: Device, desired: PortDesired) -> None:
    """Everything is as desired, and planning it again is nothing to do."""
    assert plan_port(SWITCH, settled(device, desired), device.observe()) == []
    assert device.bound == desired.index
    assert set(device.ports) == {desired.index, desired.twin} - {0}
    expected = {"ingress"} | ({"egress"} if desired.twin else set())
    mode = {"tc": None, "xdp": "native", "xdp-generic": "generic"}[desired.hook]
    assert device.hooks == expected | ({"xdp"} if mode else set())
    assert device.xdp_mode == mode
    assert device.undo is not None
    flags = device.ports[desired.index]["flags"]
    assert bool(flags & _abi.PORT_FLAGS["xdp"]) == (desired.hook == "xdp" and not device.wired)
    assert device.wire == desired.wire
    assert device.ports[desired.index]["wire"] == (3 if device.wired else 0)


@given(st.data())
def test_a_carried_out_plan_leaves_nothing_to_do(data: st.DataObject) -> None:
    device = data.draw(devices())
    desired = data.draw(desires(device))
    device.run(plan_port(SWITCH, desired, device.observe()))
    assert_is(device, desired)


@given(st.data())
def test_every_prefix_can_be_completed(data: st.DataObject) -> None:
    device = data.draw(devices())
    desired = data.draw(desires(device))
    steps = plan_port(SWITCH, desired, device.observe())
    device.run(steps[: data.draw(st.integers(0, len(steps)))])
    again = settled(device, desired)
    device.run(plan_port(SWITCH, again, device.observe()))
    assert_is(device, desired)


@given(st.data())
def test_every_prefix_can_be_taken_back(data: st.DataObject) -> None:
    device = data.draw(devices())
    before = repr(device.everything())
    desired = data.draw(desires(device))
    steps = plan_port(SWITCH, desired, device.observe())
    device.run(steps[: data.draw(st.integers(0, len(steps)))])
    back = plan_port(SWITCH, None, device.observe())
    device.run(back[: data.draw(st.integers(0, len(back)))])
    device.run(plan_port(SWITCH, None, device.observe()))
    assert repr(device.everything()) == before
    assert plan_port(SWITCH, None, device.observe()) == []


@given(st.data())
def test_any_port_can_become_any_other(data: st.DataObject) -> None:
    """From one desire, half way to a second, to a third, and away."""
    device = data.draw(devices())
    before = repr(device.everything())
    desired = data.draw(desires(device))
    device.run(plan_port(SWITCH, desired, device.observe()))
    second = settled(device, data.draw(desires(device)))
    steps = plan_port(SWITCH, second, device.observe())
    device.run(steps[: data.draw(st.integers(0, len(steps)))])
    third = settled(device, data.draw(desires(device)))
    device.run(plan_port(SWITCH, third, device.observe()))
    assert_is(device, third)
    device.run(plan_port(SWITCH, None, device.observe()))
    assert repr(device.everything()) == before


@given(st.data())
def test_a_device_that_is_gone_is_forgotten_without_touching_it(data: st.DataObject) -> None:
    device = data.draw(devices())
    desired = data.draw(desires(device))
    steps = plan_port(SWITCH, desired, device.observe())
    device.run(steps[: data.draw(st.integers(1, len(steps)))])
    touched = {
        "set_feature",
        "give_back_feature",
        "set_promisc",
        "add_clsact",
        "delete_clsact",
        "give_back_xdp",
    }
    back = plan_port(SWITCH, None, device.observe(gone=True))
    assert not touched & {step.verb for step in back}
    device.run(back)
    assert plan_port(SWITCH, None, device.observe(gone=True)) == []
    assert not device.ports


# -------------------------------------------------------------- tables


def verbs(steps: list[Step]) -> list[str]:
    return [step.verb for step in steps]


def test_tc_on_a_veth() -> None:
    device = Device("veth", features={"rx-vlan-hw-parse": True})
    desired = PortDesired(PortSettings(hook="tc"), "tc", 2)
    steps = plan_port(SWITCH, desired, device.observe())
    assert verbs(steps) == [*("record_undo", "reset_port", "write_port", "bind_port", "attach_tc")]
    device.run(steps)
    assert verbs(plan_port(SWITCH, None, device.observe())) == [
        *("detach_tc", "unbind_port", "flush_port", "reset_port", "forget_undo")
    ]


def test_native_xdp_on_a_nic() -> None:
    device = Device(features={"rx-vlan-hw-parse": True, "rx-lro": False})
    desired = PortDesired(PortSettings(), "xdp", 2, twin=3)
    steps = plan_port(SWITCH, desired, device.observe())
    assert verbs(steps) == [
        *("record_undo", "set_feature", "set_promisc"),
        *("reset_port", "set_devmap", "write_port", "reset_port", "write_port", "add_local"),
        *("bind_port", "attach_tc", "attach_tc", "attach_xdp"),
    ]
    device.run(steps)
    assert verbs(plan_port(SWITCH, None, device.observe())) == [
        *("detach_xdp", "detach_tc", "detach_tc", "unbind_port"),
        *("flush_port", "reset_port", "flush_port", "reset_port"),
        *("give_back_feature", "set_promisc", "forget_undo"),
    ]


def test_clsact_is_made_and_removed_only_where_there_was_none() -> None:
    desired = PortDesired(PortSettings(), "tc", 2)
    for there in (False, True):
        device = Device("veth", tcx=False, clsact=there)
        steps = plan_port(SWITCH, desired, device.observe())
        assert ("add_clsact" in verbs(steps)) == (not there)
        device.run(steps)
        assert ("delete_clsact" in verbs(plan_port(SWITCH, None, device.observe()))) == (not there)


def test_what_was_off_or_promiscuous_already_is_left_alone() -> None:
    device = Device(promisc=True, features={"rx-vlan-hw-parse": False})
    device.run(plan_port(SWITCH, PortDesired(PortSettings(), "xdp", 2), device.observe()))
    assert device.undo is not None
    assert device.undo["flags"] == 0
    steps = plan_port(SWITCH, None, device.observe())
    assert not {"give_back_feature", "set_promisc"} & set(verbs(steps))


@pytest.mark.parametrize("hook", ["xdp", "xdp-generic"])
def test_changing_to_tc_gives_the_offloads_back(hook: str) -> None:
    device = Device("veth", features=dict.fromkeys(FEATURES, True))
    own = repr(device.own())
    desired = PortDesired(PortSettings(), hook, 2)
    device.run(plan_port(SWITCH, desired, device.observe()))
    assert repr(device.own()) != own
    device.run(plan_port(SWITCH, replace(desired, hook="tc"), device.observe()))
    assert repr(device.own()) == own
    assert device.undo is not None
    assert device.undo["flags"] == 0


CHANCE = Wire(("dev7", "dev8"), loss=1)


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_chance_decides_on_single_frames_with_complete_checksums(hook: str) -> None:
    device = Device(
        "veth",
        features=dict.fromkeys(FEATURES, True),
        peer_features=dict.fromkeys(PEER_FEATURES, True),
    )
    own = repr(device.own())
    one, other = End("dev7", IFINDEX, 2), End("dev8", 8, 3)
    desired = PortDesired(CHANCE.end_settings(), hook, 2, wire=wire_values(CHANCE, one, other))
    device.run(plan_port(SWITCH, desired, device.observe()))
    assert not device.peer_features["tx-checksum-ip-generic"]
    assert not device.features["rx-lro"]
    assert device.features["rx-gro"] == (hook == "xdp"), "where the kernel has it on with XDP"
    plain = replace(desired, hook="tc", wire=wire_values(replace(CHANCE, loss=0), one, other))
    device.run(plan_port(SWITCH, plain, device.observe()))
    assert repr(device.own()) == own


def test_chance_begins_anew_when_the_seed_is_given() -> None:
    device = Device("veth")
    values = wire_values(CHANCE, End("dev7", IFINDEX, 2), End("dev8", 8, 3))
    desired = PortDesired(CHANCE.end_settings(), "tc", 2, wire=values)
    device.run(plan_port(SWITCH, desired, device.observe()))
    again = plan_port(SWITCH, replace(desired, restart=True), device.observe())
    assert verbs(again) == ["write_wire"]


@pytest.mark.parametrize("how", ["detach", "no carrier"])
def test_what_lost_its_carrier_for_the_other_end_is_set_up_again(how: str) -> None:
    device = Device("veth")
    wire = replace(CHANCE, loss=0, carrier=True)
    one, other = End("dev7", IFINDEX, 2), End("dev8", 8, 3)
    desired = PortDesired(wire.end_settings(), "tc", 2, wire=wire_values(wire, one, other))
    device.run(plan_port(SWITCH, desired, device.observe()))
    assert device.undo is not None
    device.undo["flags"] |= BITS["wire_down"]
    assert plan_port(SWITCH, desired, device.observe()) == []
    without = replace(desired, wire=wire_values(replace(wire, carrier=False), one, other))
    steps = plan_port(SWITCH, None if how == "detach" else without, device.observe())
    assert "set_up" in verbs(steps)
    device.run(steps)
    assert not (device.undo or {"flags": 0})["flags"] & BITS["wire_down"]


def test_a_gone_device_cannot_become_a_port() -> None:
    device = Device()
    with pytest.raises(ValueError, match="gone"):
        plan_port(SWITCH, PortDesired(PortSettings(), "tc", 2), device.observe(gone=True))


def test_order_of_attaching_and_detaching() -> None:
    """Record first, hooks last; hooks first, record last."""
    device = Device(features=dict.fromkeys(FEATURES, True), foreign=FOREIGN)
    desired = PortDesired(PortSettings(), "xdp", 2, twin=3, take_xdp=FOREIGN)
    steps = plan_port(SWITCH, desired, device.observe())
    assert steps[0].verb == "record_undo"
    hooks = [n for n, verb in enumerate(verbs(steps)) if verb.startswith("attach_")]
    assert hooks == list(range(hooks[0], len(steps)))
    device.run(steps)
    back = plan_port(SWITCH, None, device.observe())
    hooks = [n for n, verb in enumerate(verbs(back)) if verb.startswith("detach_")]
    assert hooks == list(range(len(hooks)))
    assert back[-1].verb == "forget_undo"
