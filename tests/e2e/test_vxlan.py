"""VNIs as commands make and remove them: nothing is left, and what cannot be is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lib.overlay import vni_add
from lib.snapshot import Failure, Machine, assert_gone
from vnetx import engine, state
from vnetx.datapath.maps import VXLAN_PROGRAMS, SwitchMaps
from vnetx.model import SwitchSettings, Vni

pytestmark = pytest.mark.root

SMALL = SwitchSettings(fdb_size=64, max_ports=16, host_port=False)
LOCAL, FIRST, SECOND = (f"198.51.100.{n}" for n in (1, 2, 3))
LOCAL6, FIRST6 = "2001:db8:1::1", "2001:db8:1::2"
PLAIN = Vni(LOCAL, remotes=(FIRST, SECOND))
OF_VLAN = replace(PLAIN, vid=10)
SIX = Vni(LOCAL6, remotes=(FIRST6,))


@pytest.fixture
def machine() -> Iterator[Machine]:
    """With an underlay, u1, and p1 and p2."""
    with Machine(idle=True) as made:
        made.near.ip(
            *(f"link add name {n}1 type veth peer name {n}2" for n in "up"),
        )
        with made.near.entered():
            for name, value in (("accept_dad", 0), ("disable_ipv6", 0)):
                with open(f"/proc/sys/net/ipv6/conf/u1/{name}", "w") as file:
                    file.write(str(value))
        made.near.ip(
            f"address add {LOCAL}/24 dev u1",
            f"address add {LOCAL6}/64 dev u1 nodad",
            "link set dev u1 mtu 1600",
            *(f"link set dev {name} up" for name in ("u1", "u2", "p1", "p2")),
        )
        yield made


def vnis(switch: str) -> dict[int, Vni]:
    with SwitchMaps.open(switch) as maps:
        return state.vnis_of(maps)


def refused(machine: Machine, work: Callable[..., Any], *args: Any, **kw: Any) -> Failure:
    """It fails with an error for users, and everything is as before."""
    before = machine.picture()
    failure = machine.fails(work, *args, **kw)
    assert before.changes(machine.picture()) == ""
    return failure


# ---------------------------------------------------------------- what is left


def several() -> None:
    vni_add(1000, OF_VLAN, switch="br0")
    vni_add(3000, replace(PLAIN, vid=30), switch="br0")
    vni_add(2000, replace(SIX, vid=20, dstport=8472), switch="br0")
    vni_add(1000, replace(OF_VLAN, remotes=("198.51.100.4",)), switch="br0")
    engine.vni_remote_del(1000, [FIRST])


ADD: dict[str, Callable[[], Any]] = {
    "ipv4": lambda: vni_add(1000, PLAIN, switch="br0"),
    "ipv6": lambda: vni_add(1000, SIX, switch="br0"),
    "no remotes": lambda: vni_add(1000, Vni(LOCAL, dev="u1", ttl=3), switch="br0"),
    "several": several,
}


@pytest.mark.forks
@pytest.mark.parametrize("how", ADD)
def test_vni_del_leaves_everything_as_it_was(machine: Machine, how: str) -> None:
    machine.call(engine.switch_add, "br0", replace(SMALL, vlan_aware=how == "several"))
    before, objects = machine.picture(), machine.objects()
    machine.call(ADD[how])
    assert before.changes(machine.picture())
    came = machine.objects() - objects
    machine.call(engine.vni_del, sorted(machine.call(vnis, "br0")))
    assert_gone(came)
    assert before.changes(machine.picture()) == ""
    assert machine.call(vnis, "br0") == {}


def test_an_implicit_switch_goes_with_its_last_vni(machine: Machine) -> None:
    before = machine.picture()
    machine.call(vni_add, 1000, PLAIN)
    machine.call(engine.attach, ["p1"], hook="tc")
    objects = machine.objects()
    machine.call(engine.detach, ["p1"])
    assert [view.name for view in machine.call(state.switches)] == ["vnetx0"]
    machine.call(engine.vni_del, [1000])
    assert_gone(objects)
    assert before.changes(machine.picture()) == ""


@pytest.mark.forks
@pytest.mark.parametrize("how", ADD)
def test_switch_del_takes_vnis_along(machine: Machine, how: str) -> None:
    before = machine.picture()
    machine.call(engine.switch_add, "br0", SMALL)
    machine.call(engine.attach, ["p1"], switch="br0", hook="tc")
    machine.call(ADD[how])
    objects = machine.objects()
    machine.call(engine.switch_del, "br0")
    assert_gone(objects)
    assert before.changes(machine.picture()) == ""


def test_a_device_that_somebody_deleted(machine: Machine) -> None:
    """The next command removes what used it, and no other VNI; it can be made again."""
    machine.call(engine.switch_add, "br0", replace(SMALL, vlan_aware=True))
    before = machine.picture()
    machine.call(vni_add, 1000, OF_VLAN, switch="br0")
    machine.call(vni_add, 2000, replace(SIX, vid=20, dstport=8472), switch="br0")
    with_second = machine.call(vnis, "br0")[2000]
    machine.near.ip("link del dev vx4789-br0")
    done = machine.call(engine.detach, [])
    assert done.messages == ["VNI 1000 of switch br0 is gone: so is its device"]
    assert machine.call(vnis, "br0") == {2000: with_second}
    machine.call(vni_add, 1000, OF_VLAN, switch="br0")
    assert set(machine.call(vnis, "br0")) == {1000, 2000}
    machine.near.ip("link del dev vx4789-br0", "link del dev vx8472-br0")
    machine.call(engine.detach, [])
    assert before.changes(machine.picture()) == ""


def loaded() -> set[str]:
    with SwitchMaps.open("br0") as maps:
        return maps.programs()


def test_programs_are_loaded_for_as_long_as_there_are_vnis(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SMALL)
    before = machine.call(loaded)
    machine.call(vni_add, 1000, PLAIN, switch="br0")
    assert machine.call(loaded) == before | {*VXLAN_PROGRAMS}
    machine.call(engine.vni_del, [1000])
    assert machine.call(loaded) == before


# ---------------------------------------------------------------- changes


def test_a_vni_is_changed(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", replace(SMALL, vlan_aware=True))
    wanted = replace(OF_VLAN, remotes=(FIRST,))
    machine.call(vni_add, 1000, wanted, switch="br0")
    assert machine.call(vnis, "br0") == {1000: wanted}
    assert not machine.call(vni_add, 1000, wanted).changed
    for change in (
        {
            "ttl": 7,
            "tos": 1,
            "df": True,
            "learning": False,
            "dev": "u1",
            "udp6_zero_checksum": True,
        },
        {"clamp_mss": True, "underlay_hook": "none", "learn_limit": 7},
        {"clamp_mss": False, "underlay_hook": "xdp"},
        {"dstport": 8472},
        {"vid": 20},
    ):
        wanted = replace(wanted, **change)
        machine.call(vni_add, 1000, wanted)
        assert machine.call(vnis, "br0") == {1000: wanted}
    assert "VLAN 10" not in machine.call(engine.vlan_end, 1 << 10, "br0").steps
    machine.call(engine.vni_remote_add, 1000, [SECOND, FIRST])
    assert set(machine.call(vnis, "br0")[1000].remotes) == {FIRST, SECOND}
    machine.call(engine.vni_remote_del, 1000, [FIRST])
    assert machine.call(vnis, "br0")[1000].remotes == (SECOND,)


def mtu(machine: Machine, name: str) -> int:
    output = machine.command("ip", "-o", "link", "show", "dev", name)
    return int(output.split(" mtu ")[1].split()[0])


def test_frames_fit_the_underlay(machine: Machine) -> None:
    """VX-24: 50 bytes are around a frame in IPv4, 70 in IPv6; the smaller one is told."""
    machine.call(engine.switch_add, "br0", replace(SMALL, vlan_aware=True))
    done = machine.call(vni_add, 1000, OF_VLAN, switch="br0")
    assert (mtu(machine, "vx4789-br0"), done.messages) == (1550, [])
    done = machine.call(vni_add, 2000, replace(SIX, vid=20), switch="br0")
    assert (mtu(machine, "vx4789-br0"), done.messages) == (1530, [])
    machine.near.ip("link set dev u1 mtu 1500")
    done = machine.call(vni_add, 3000, replace(PLAIN, vid=30), switch="br0")
    assert mtu(machine, "vx4789-br0") == 1450
    assert "1550 would carry 1500" in done.messages[0]


# ---------------------------------------------------------------- refused


IMPOSSIBLE: list[tuple[Callable[[], Any], str]] = [
    (lambda: vni_add(0, PLAIN), "not in 1 to 16777215"),
    (lambda: vni_add(1 << 24, PLAIN), "not in 1 to 16777215"),
    (lambda: vni_add(-1, PLAIN), "not in 1 to 16777215"),
    (lambda: vni_add(1000, PLAIN, switch="new"), "it is one of switch br0"),
    (lambda: vni_add(1001, OF_VLAN, switch="br0"), "VLAN 10 is VNI 1000 already"),
    (lambda: vni_add(1001, PLAIN, switch="br0"), "is VLAN-aware"),
    (lambda: vni_add(1001, PLAIN, switch="other"), "has VNI 3000 already"),
    (lambda: vni_add(1001, OF_VLAN, switch="other"), "VNI 3000"),
    (lambda: vni_add(1000, replace(OF_VLAN, vid=4095)), "4094"),
    (lambda: vni_add(1001, Vni(FIRST), switch="new"), "this host does not have it"),
    (lambda: vni_add(1001, Vni(FIRST6), switch="new"), "this host does not have it"),
    (lambda: Vni(LOCAL, remotes=(LOCAL,)), "is the local address"),
    (lambda: Vni(LOCAL6, remotes=("2001:db8:1:0::1",)), "is the local address"),
    (lambda: Vni(LOCAL, remotes=(FIRST, FIRST6)), "IPv4 and IPv6 are mixed"),
    (lambda: Vni(LOCAL6, remotes=(FIRST,)), "IPv4 and IPv6 are mixed"),
    (lambda: Vni(LOCAL, remotes=("239.1.1.1",)), "not the address of one host"),
    (lambda: Vni(LOCAL6, remotes=("ff05::1",)), "not the address of one host"),
    (lambda: Vni("0.0.0.0"), "not the address of one host"),
    (lambda: Vni(LOCAL, remotes=("255.255.255.255",)), "not the address of one host"),
    (lambda: Vni("::ffff:198.51.100.1"), "without scope or prefix"),
    (lambda: Vni("fe80::1%u1"), "without scope or prefix"),
    (lambda: Vni("198.51.100.1/24"), "not an IPv4 or IPv6 address"),
    (lambda: Vni(LOCAL, remotes=(f"10.0.{n >> 8}.{n & 255}" for n in range(1025))), "1024"),
    (lambda: Vni(LOCAL, group="198.51.100.9"), "not a multicast group"),
    (lambda: Vni(LOCAL, group="ff05::1"), "not a multicast group"),
    (lambda: Vni(LOCAL6, group="239.1.1.1"), "IPv4 and IPv6 are mixed"),
    (lambda: vni_add(1000, replace(OF_VLAN, group="239.1.1.1")), "no route leads there"),
    (lambda: Vni(LOCAL, underlay_hook="xdp-generic"), "not one of tc, xdp, none"),
    (lambda: Vni(LOCAL, learn_limit=-1), "not in 0"),
    (lambda: Vni(LOCAL, dstport=0), "not in 1 to 65535"),
    (lambda: Vni(LOCAL, ttl=256), "not in 0 to 255"),
    (lambda: Vni(LOCAL, tos=2), "nor a multiple of 4"),
    (lambda: vni_add(1001, replace(PLAIN, dev="u9"), switch="new"), "no interface"),
    (lambda: engine.vni_remote_add(1000, [FIRST6]), "IPv4 and IPv6 are mixed"),
    (lambda: engine.vni_remote_add(1000, [LOCAL]), "is the local address"),
    (lambda: engine.vni_remote_add(1000, ["224.0.0.1"]), "not the address of one host"),
    (lambda: engine.vni_remote_add(1001, [FIRST]), "no switch has it"),
    (lambda: engine.vni_remote_del(1000, ["198.51.100.9"]), "it is none of it"),
    (lambda: engine.vni_del([1000, 1001]), "no switch has it"),
    (lambda: engine.switch_set("br0", vlan_aware=False), "it has VNI 1000"),
    (lambda: engine.switch_set("other", vlan_aware=True), "it has VNI 3000"),
    (lambda: engine.vlan_add(1 << 10, ["p2"]), "it has VNI 3000"),
    (lambda: engine.vlan_end(1 << 10, "br0"), "in use by VNI 1000"),
]


@pytest.mark.slow
def test_what_cannot_be(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SMALL)
    machine.call(engine.switch_add, "other", SMALL)
    machine.call(vni_add, 1000, OF_VLAN, switch="br0")
    machine.call(vni_add, 3000, PLAIN, switch="other")
    machine.call(engine.attach, ["p2"], switch="other", hook="tc")
    given = machine.call(vnis, "br0"), machine.call(vnis, "other")
    for work, words in IMPOSSIBLE:
        assert words in str(refused(machine, work))
        assert given == (machine.call(vnis, "br0"), machine.call(vnis, "other")), words


def test_an_address_that_the_host_will_have(machine: Machine) -> None:
    machine.call(vni_add, 1000, Vni("198.51.100.7", remotes=(FIRST,)), planned=True)
    assert set(machine.call(vnis, "vnetx0")) == {1000}


@pytest.mark.parametrize("kind", ["id 1000 local 198.51.100.1", "id 7", "external"])
def test_a_device_of_the_kernel_that_has_the_port(machine: Machine, kind: str) -> None:
    machine.near.ip(f"link add name k0 type vxlan dstport 4789 {kind}", "link set dev k0 up")
    failure = refused(machine, vni_add, 1000, PLAIN)
    assert failure.what == "VNI 1000, UDP port 4789"
    assert "perhaps by k0" in failure.why
    machine.call(vni_add, 1000, replace(PLAIN, dstport=8472))


def test_a_device_of_the_kernel_that_has_the_vni(machine: Machine) -> None:
    """They can share the port, if they are alike; other VNIs are free."""
    machine.near.ip(
        "link add name k0 type vxlan dstport 4789 external vnifilter udp6zerocsumrx",
        "link set dev k0 up",
    )
    machine.near.bridge("vni add dev k0 vni 1000")
    failure = refused(machine, vni_add, 1000, PLAIN)
    assert (failure.what, failure.why) == (
        "VNI 1000",
        "another vxlan device of the same UDP port has it",
    )
    machine.call(vni_add, 1001, PLAIN)
    machine.near.ip("link del dev k0")
    machine.call(vni_add, 1000, OF_VLAN, switch="br0")


def test_ending_a_vlan_with_a_vni(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", replace(SMALL, vlan_aware=True))
    before = machine.picture()
    machine.call(vni_add, 1000, OF_VLAN, switch="br0")
    machine.call(engine.vlan_end, 1 << 10, "br0", force=True)
    assert machine.call(vnis, "br0") == {}
    assert before.changes(machine.picture()) == ""


def test_a_limit_of_learning_and_one_fdb_for_all_vlans(machine: Machine) -> None:
    """A VNI cannot have a share of what is learned for all VLANs together."""
    limited = replace(OF_VLAN, learn_limit=9)
    machine.call(engine.switch_add, "br0", replace(SMALL, vlan_aware=True))
    machine.call(vni_add, 1000, limited, switch="br0")
    failure = refused(machine, engine.switch_set, "br0", shared_learning=True)
    assert "VNI 1000 would have a limit of its own no more" in failure.why
    machine.call(vni_add, 1000, OF_VLAN, switch="br0")
    machine.call(engine.switch_set, "br0", shared_learning=True)
    failure = refused(machine, vni_add, 1000, limited, switch="br0")
    assert (failure.what, failure.remedy) == ("VNI 1000, learn limit", "--vtep-learn-limit")
