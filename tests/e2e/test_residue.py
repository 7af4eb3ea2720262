"""What attach changed, detach gives back; what vanishes leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from lib import HAS_TCX
from lib.namespaces import Namespace
from lib.snapshot import Machine, Picture, assert_gone, idle_programs
from vnetx import _bpf, engine, state
from vnetx.datapath.maps import SwitchMaps
from vnetx.links import Links
from vnetx.model import SwitchSettings

pytestmark = [pytest.mark.root, pytest.mark.forks]

HOOKS = ("tc", "xdp", "xdp-generic", "auto")


@pytest.fixture
def far(machine: Machine) -> Namespace:
    """The namespace of the hosts h1, h2, h3 behind the devices p1, p2, p3, all up."""
    namespace = machine.namespace()
    machine.near.ip(
        *(f"link add name p{n} type veth peer name h{n} netns {namespace.path}" for n in (1, 2, 3)),
        *(f"link set p{n} up" for n in (1, 2, 3)),
    )
    namespace.ip(*(f"link set h{n} up" for n in (1, 2, 3)))
    return namespace


def make_tap(machine: Machine) -> str:
    machine.near.ip("tuntap add dev t1 mode tap", "link set t1 up")
    return "t1"


def make_addressed(machine: Machine) -> str:
    """A device with the host's addresses on it, as a NIC."""
    machine.near.ip(
        "address add 192.0.2.1/24 dev p1",
        "route add 198.51.100.0/24 via 192.0.2.2 dev p1",
    )
    return "p1"


def make_macvlan(machine: Machine) -> str:
    """A device that filters by address, so that it has to be made promiscuous."""
    machine.near.ip("link add link p1 name m1 type macvlan mode bridge", "link set m1 up")
    return "m1"


DEVICES: dict[str, Callable[[Machine], str]] = {
    "veth": lambda _: "p1",
    "tap": make_tap,
    "nic": make_addressed,
    "macvlan": make_macvlan,
}


def ports(machine: Machine, at: Namespace | None = None) -> dict[str | None, tuple[str, str]]:
    """Switch and hook of each port by its name."""
    views = machine.call(state.switches, at=at)
    return {port.ifname: (view.name, port.hook) for view in views for port in view.ports}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("device", DEVICES)
def test_detach_leaves_everything_as_it_was(
    machine: Machine, far: Namespace, device: str, hook: str
) -> None:
    name = DEVICES[device](machine)
    before = machine.picture(machine.near, far)
    if (device, hook) == ("macvlan", "xdp"):
        failure = machine.fails(engine.attach, [name], hook=hook)
        assert "xdp-generic" in failure.remedy
    else:
        machine.call(engine.attach, [name], hook=hook)
        assert before.changes(machine.picture(machine.near, far))
        objects = machine.objects()
        machine.call(engine.detach, [name])
        assert_gone(objects)
    assert before.changes(machine.picture(machine.near, far)) == ""


END: dict[str, Callable[[], object]] = {
    "one by one": lambda: [engine.detach([f"p{n}"]) for n in (2, 1, 3)],
    "together": lambda: engine.detach(["p1", "p2", "p3"]),
    "all": lambda: engine.detach([], every=True),
    "delete": lambda: engine.switch_del("vnetx0", force=True),
}


@pytest.mark.parametrize("end", END)
def test_last_port_takes_an_implicit_switch_along(
    machine: Machine, far: Namespace, end: str
) -> None:
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1", "p2"], hook="tc")
    machine.call(engine.attach, ["p3"], hook="xdp")
    objects = machine.objects()
    machine.call(END[end])
    assert_gone(objects)
    assert before.changes(machine.picture(machine.near, far)) == ""


def test_explicit_switch_stays_until_it_is_deleted(machine: Machine, far: Namespace) -> None:
    before = machine.picture(machine.near, far)
    machine.call(engine.switch_add, "br0", SwitchSettings(fdb_size=64, max_ports=16))
    with_switch = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1", "p2"], switch="br0", hook="xdp")
    machine.call(engine.detach, [], every=True)
    assert with_switch.changes(machine.picture(machine.near, far)) == ""
    objects = machine.objects()
    machine.call(engine.switch_del, "br0")
    assert_gone(objects)
    assert before.changes(machine.picture(machine.near, far)) == ""


@pytest.mark.parametrize("how", ["detach", "hook tc", "delete"])
def test_a_peer_whose_namespace_cannot_be_entered(
    machine: Machine, far: Namespace, how: str
) -> None:
    """It is dying, or only a socket holds it: its offloads stay, the rest is given back."""
    machine.call(engine.attach, ["p1"], hook="xdp")
    machine.vacate(far)  # this test's own descriptor is out of the machine's sight
    end: dict[str, Callable[[], engine.Result]] = {
        "detach": lambda: engine.detach(["p1"]),
        "hook tc": lambda: engine.attach(["p1"], hook="tc"),
        "delete": lambda: engine.switch_del("vnetx0", force=True),
    }
    done = machine.call(end[how])
    assert any("rx-gro of the peer of p1 is not switched off again" in m for m in done.messages)
    assert ports(machine) == ({"p1": ("vnetx0", "tc")} if how == "hook tc" else {})
    assert machine.call(engine.detach, [], every=True).messages == []
    failure = machine.fails(engine.attach, ["p1"], hook="xdp")
    assert "no way leads into" in failure.why
    assert "--hook tc" in failure.remedy


def loaded() -> set[str]:
    with SwitchMaps.open("br0") as maps:
        return maps.programs()


@pytest.mark.usefixtures("far")
def test_programs_are_loaded_for_as_long_as_something_needs_them(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SwitchSettings(fdb_size=64, max_ports=16))
    core = {"tc_ingress", "flood"}
    assert machine.call(loaded) == core
    machine.call(engine.attach, ["p1"], switch="br0", hook="xdp")
    machine.call(engine.attach, ["p2"], switch="br0", hook="xdp-generic")
    make_addressed(machine)
    machine.call(engine.attach, ["p3"], switch="br0", hook="tc")
    assert machine.call(loaded) == core | {"xdp", "xdp_generic"}
    machine.call(engine.vlan_add, 1 << 10, ["p2"])
    assert machine.call(loaded) == core | {"xdp", "xdp_generic", "flood_vlan"}
    machine.call(engine.detach, ["p2"])
    assert machine.call(loaded) == core | {"xdp", "flood_vlan"}
    machine.call(engine.switch_set, "br0", vlan_aware=False)
    machine.call(engine.detach, ["p1"])
    machine.call(engine.attach, ["p1"], switch="br0", hook="tc")
    assert machine.call(loaded) == core | {"tc_egress"}, "p1 carries the host's addresses"
    machine.call(engine.detach, [], every=True)
    assert machine.call(loaded) == core


# -------------------------------------------------------------- what was there before


def load(kind: str) -> int:
    """A program of somebody else's, which lets frames pass: a descriptor."""
    code = idle_programs().programs["xdp" if kind == "xdp" else "tc_ingress"]
    return int(_bpf.prog_load({"xdp": 6, "tc": 3}[kind], code, f"somebodys_{kind}"))


@pytest.mark.parametrize("hook", HOOKS)
def test_promiscuity_of_somebody_else_stays(machine: Machine, far: Namespace, hook: str) -> None:
    name = make_macvlan(machine)
    machine.near.ip(f"link set {name} promisc on")
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, [name], hook="xdp-generic" if hook == "xdp" else hook)
    machine.call(engine.detach, [name])
    assert before.changes(machine.picture(machine.near, far)) == ""


def test_promiscuity_that_came_later_stays(machine: Machine, far: Namespace) -> None:
    """Somebody's packet capture counts for itself."""
    name = make_macvlan(machine)
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, [name], hook="tc")
    with machine.near.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as capture:
        index = socket.if_nametoindex(name)
        capture.setsockopt(263, 1, struct.pack("iHH8s", index, 1, 0, b""))  # PACKET_MR_PROMISC
        machine.call(engine.detach, [name])
        changes = before.changes(machine.picture(machine.near, far)).splitlines()
        assert f"namespace 0: link {name}: promiscuity: 0 -> 1" in changes
    assert before.changes(machine.picture(machine.near, far)) == ""


@pytest.mark.parametrize("hook", HOOKS)
def test_qdiscs_and_filters_of_others_stay(
    machine: Machine, far: Namespace, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as somebody, machine.near.entered(), Links() as links:
        somebody.setattr("vnetx.links._TC_PRIORITY", 7)  # ours tells our filters
        index = socket.if_nametoindex("p1")
        links.add_clsact(index)
        program = load("tc")
        links.add_tc_filter(index, "ingress", program, "somebodys")
        os.close(program)
    machine.near.run("tc", "qdisc", "add", "dev", "p1", "root", "pfifo", "limit", "7")
    before = machine.picture(machine.near, far)
    assert any("filter p1 ingress" in fact for fact in before.facts)
    machine.call(engine.attach, ["p1"], hook=hook)
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture(machine.near, far)) == ""


@pytest.mark.skipif(not HAS_TCX, reason="the kernel has no tcx (Linux 6.6)")
@pytest.mark.parametrize("hook", HOOKS)
def test_tcx_programs_of_others_stay_in_their_order(
    machine: Machine, far: Namespace, hook: str
) -> None:
    make_addressed(machine)
    with machine.near.entered():
        index = socket.if_nametoindex("p1")
        programs = [load("tc") for _ in range(2)]
        held = [
            _bpf.link_create(program, index, kind)
            for program in programs
            for kind in (_bpf.ATTACH_TCX_INGRESS, _bpf.ATTACH_TCX_EGRESS)
        ]
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1"], hook=hook)
    attached = machine.picture(machine.near, far)
    for side in ("ingress", "egress"):
        place = f"namespace 0: tcx p1 {side}"
        for number in (0, 1):
            assert attached.facts[f"{place} {number} id"] == before.facts[f"{place} {number} id"]
        assert attached.facts[f"{place} 2"].startswith("vnetx_tc")
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture(machine.near, far)) == ""
    for fd in (*held, *programs):
        os.close(fd)


@pytest.mark.parametrize("hook", ["xdp", "xdp-generic"])
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_xdp_of_somebody_else(machine: Machine, far: Namespace, mode: str, hook: str) -> None:
    """Refused; with force it makes room until detach; auto leaves it alone."""
    with machine.near.entered(), Links() as links:
        program = load("xdp")
        links.set_xdp(socket.if_nametoindex("p1"), program, mode)
        os.close(program)
    before = machine.picture(machine.near, far)
    failure = machine.fails(engine.attach, ["p1"], hook=hook)
    assert "somebodys_xdp" in failure.why
    assert "--force" in failure.remedy
    assert before.changes(machine.picture(machine.near, far)) == ""

    machine.call(engine.attach, ["p1"], hook=hook, force=True)
    assert ports(machine) == {"p1": ("vnetx0", hook)}
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture(machine.near, far)) == ""

    machine.call(engine.attach, ["p1"], hook="auto")
    assert ports(machine) == {"p1": ("vnetx0", "tc")}
    xdp = {key: fact for key, fact in before.facts.items() if " xdp p1" in key}
    assert xdp
    assert xdp.items() <= machine.picture(machine.near, far).facts.items()
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture(machine.near, far)) == ""


def test_xdp_link_of_somebody_else_is_detached_only_by_force(
    machine: Machine, far: Namespace
) -> None:
    """It cannot be given back: its owner holds a link that is detached then."""
    plain = machine.picture(machine.near, far)
    with machine.near.entered():
        program = load("xdp")
        held = _bpf.link_create(program, socket.if_nametoindex("p1"), _bpf.ATTACH_XDP)
    before = machine.picture(machine.near, far)
    failure = machine.fails(engine.attach, ["p1"], hook="xdp")
    assert f"process {os.getpid()}" in failure.why or "somebodys_xdp" in failure.why
    assert before.changes(machine.picture(machine.near, far)) == ""
    machine.call(engine.attach, ["p1"], hook="xdp", force=True)
    assert _bpf.link_info(held)["ifindex"] == 0
    machine.call(engine.detach, ["p1"])
    assert plain.changes(machine.picture(machine.near, far)) == ""
    os.close(held)
    os.close(program)


@pytest.mark.parametrize("hook", ["xdp", "xdp-generic"])
def test_offloads_that_were_off_already_stay_off(
    machine: Machine, far: Namespace, hook: str
) -> None:
    machine.near.run("ethtool", "-K", "p1", "rxvlan", "off", "gro", "on")
    far.run("ethtool", "-K", "h1", "tx", "off", "txvlan", "off", "gro", "on")
    far.run("ethtool", "-K", "h1", "tx-vlan-stag-hw-insert", "off")
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1"], hook=hook)
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture(machine.near, far)) == ""


# -------------------------------------------------------------- what vanishes


def assert_only(machine: Machine, hosts: list[Namespace], before: Picture, *gone: str) -> None:
    """All is as before, but for devices that are gone."""
    mine = [fact for name in gone for fact in (f" {name} ", f" {name}:", f"/{name}/")]
    after = machine.picture(machine.near, *hosts)
    assert before.without(*mine).changes(after.without(*mine)) == ""


@pytest.mark.parametrize("hook", HOOKS)
def test_deleted_device(machine: Machine, far: Namespace, hook: str) -> None:
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1", "p2"], hook=hook)
    machine.near.ip("link del p1")
    assert None in ports(machine)  # reading changes nothing
    machine.call(engine.detach, [])  # any command that may change something
    assert list(ports(machine)) == ["p2"]
    machine.call(engine.detach, ["p2"])
    assert_only(machine, [far], before, "p1", "h1")


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("hook", HOOKS)
def test_another_device_with_the_number_of_a_deleted_one(machine: Machine, hook: str) -> None:
    """It is not taken for the port, sees no frames and keeps its settings."""
    with machine.near.entered():
        index = socket.if_nametoindex("p1")
    machine.call(engine.attach, ["p1", "p2"], hook=hook)
    machine.near.ip(
        "link del p1",
        f"link add name n1 index {index} type veth peer name n2",
        "link set n1 up",
    )
    new = machine.picture().without("vnetx")
    machine.call(engine.detach, [])
    assert list(ports(machine)) == ["p2"]
    assert new.changes(machine.picture().without("vnetx")) == ""
    machine.call(engine.attach, ["n1"], hook=hook)
    assert set(ports(machine)) == {"n1", "p2"}
    machine.call(engine.detach, [], every=True)
    assert not machine.objects()


@pytest.mark.usefixtures("far")
def test_container_that_is_gone_with_its_veth(machine: Machine) -> None:
    other = machine.namespace()
    machine.near.ip(f"link add name q1 type veth peer name h1 netns {other.path}")
    before = machine.picture()
    machine.call(engine.attach, ["p1", "p2", "q1"], hook="xdp")
    objects = machine.objects()
    machine.destroy(other)
    machine.call(engine.attach, ["p3"], hook="tc")
    assert set(ports(machine)) == {"p1", "p2", "p3"}
    machine.call(engine.detach, [], every=True)
    assert_gone(objects)
    assert_only(machine, [], before, "q1")


def test_switch_whose_namespace_is_gone(machine: Machine, far: Namespace) -> None:
    """The next command in any other namespace removes its pins."""
    before = machine.picture(machine.near)
    machine.call(engine.attach, ["h1", "h2"], at=far)
    machine.call(engine.switch_add, "br1", SwitchSettings(fdb_size=64, max_ports=16), at=far)
    objects = machine.objects()
    machine.destroy(far)
    assert machine.objects() == objects
    machine.call(engine.detach, [])
    assert_gone(objects)
    assert_only(machine, [], before, "p1", "p2", "p3")


@pytest.mark.parametrize("held", ["process", "descriptor", "name"])
def test_switch_without_ports_in_another_namespace_stays(machine: Machine, held: str) -> None:
    """A namespace lives as long as somebody holds it, however."""
    other = machine.namespace()
    machine.call(engine.switch_add, "br1", SwitchSettings(host_port=False), at=other)
    keeper = None
    if held == "descriptor":
        keeper = machine.hold(other)
    elif held == "name":
        machine.command("ip", "netns", "attach", "kept", str(machine.pid_in(other)))
    if held != "process":
        machine.vacate(other)
    machine.call(engine.attach, [machine.veth()], hook="tc")
    assert [view.name for view in machine.call(state.switches, at=other)] == ["br1"]
    if keeper is not None:
        machine.release(keeper)
    machine.call(engine.detach, [], every=True)


def test_renamed_port(machine: Machine, far: Namespace) -> None:
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1"], hook="xdp")
    machine.near.ip("link set p1 down", "link set p1 name uplink", "link set uplink up")
    assert ports(machine) == {"uplink": ("vnetx0", "xdp")}
    assert "no interface of that name" in machine.fails(engine.detach, ["p1"]).why
    machine.call(engine.detach, ["uplink"])
    machine.near.ip("link set uplink down", "link set uplink name p1", "link set p1 up")
    assert before.changes(machine.picture(machine.near, far)) == ""


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("hook", HOOKS)
def test_port_that_moves_to_another_namespace(machine: Machine, hook: str) -> None:
    """It is no port any more, and works where it is."""
    other = machine.namespace()
    machine.call(engine.attach, ["p1", "p2"], hook=hook)
    machine.near.ip(f"link set p1 netns {other.path}")
    machine.call(engine.detach, [])
    assert list(ports(machine)) == ["p2"]
    there = machine.picture(other)
    assert not [fact for fact in there.facts if fact.startswith(("tcx", "xdp"))]
    other.ip("link set p1 up")
    machine.call(engine.attach, ["p1"], hook=hook, at=other)
    machine.call(engine.detach, ["p1"], at=other)
    machine.call(engine.detach, ["p2"])
    assert not machine.objects()


@pytest.mark.parametrize("hook", HOOKS)
def test_peer_that_moves_to_another_namespace(machine: Machine, far: Namespace, hook: str) -> None:
    """What attach changed on it is given back where it is now."""
    other = machine.namespace()
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1"], hook=hook)
    far.ip(f"link set h1 netns {other.path}")
    machine.call(engine.detach, ["p1"])
    other.ip(f"link set h1 netns {far.path}")
    far.ip("link set h1 up")
    assert before.changes(machine.picture(machine.near, far)) == ""


# -------------------------------------------------------------- ip netns exec

PROGRAM = """
import sys
from vnetx import engine, netns, state
from vnetx.engine import execute
from lib.snapshot import idle_programs
execute.build = idle_programs
{enter}
{command}
print(sorted(port.ifname for view in state.switches() for port in view.ports))
"""


def program(command: str, netns: str = "") -> list[str]:
    """A Python process of its own, as the command line is."""
    enter = f"netns.set_namespace({netns!r})" if netns else ""
    path = ":".join(filter(None, sys.path))
    code = PROGRAM.format(enter=enter, command=command)
    return ["env", f"PYTHONPATH={path}", sys.executable, "-c", code]


@pytest.mark.parametrize("first", ["inside", "outside"])
@pytest.mark.parametrize("jailed", [False, True], ids=["", "chroot"])
def test_first_command_inside_ip_netns_exec(jailed: bool, first: str) -> None:
    """`ip netns exec` has a mount namespace of its own; the switch is the same one."""
    with Machine(idle=True, jailed=jailed) as machine:
        check_ip_netns_exec(machine, first)


def check_ip_netns_exec(machine: Machine, first: str) -> None:
    machine.command("ip", "netns", "add", "lab")
    machine.command("ip", "-n", "lab", "link", "add", "p1", "type", "veth", "peer", "name", "h1")
    before = machine.picture()

    def inside(command: str) -> str:
        return machine.command("ip", "netns", "exec", "lab", *program(command)).strip()

    def outside(command: str) -> str:
        return machine.command(*program(command, "lab")).strip()

    one, two = (inside, outside) if first == "inside" else (outside, inside)
    assert one("engine.attach(['p1'], hook='tc')") == "['p1']"
    assert machine.objects()
    assert two("") == "['p1']"
    assert two("engine.attach(['h1'], hook='xdp')") == "['h1', 'p1']"
    assert one("engine.detach(['p1'])") == "['h1']"
    assert two("engine.detach([], every=True)") == "[]"
    assert machine.objects() == set()
    assert before.changes(machine.picture()) == ""


def test_shell_of_ip_netns_exec_outlives_the_mount(machine: Machine, far: Namespace) -> None:
    """It holds a copy of a mount that was removed and made anew since."""
    machine.command("ip", "netns", "add", "lab")
    machine.command("ip", "-n", "lab", "link", "add", "q1", "type", "veth", "peer", "name", "q2")
    before = machine.picture(machine.near, far)
    machine.call(engine.attach, ["p1"], hook="tc")
    with subprocess.Popen(
        [
            *("nsenter", "-t", str(machine.pid), "-p", "-m", "-n", "-r"),
            *("ip", "netns", "exec", "lab", "sh"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        assert shell.stdin
        assert shell.stdout

        def ask(command: str) -> str:
            shell.stdin.write(f"{shlex.join(program(command))}\n")
            shell.stdin.flush()
            return str(shell.stdout.readline()).strip()

        assert ask("engine.attach(['q1'], hook='tc')") == "['q1']"
        assert ask("engine.detach([], every=True)") == "[]"
        machine.call(engine.detach, ["p1"])
        machine.call(engine.attach, ["p2"], hook="tc")
        assert ask("engine.attach(['q1'], hook='tc')") == "['q1']"
        assert ports(machine) == {"p2": ("vnetx0", "tc")}
        machine.call(engine.detach, ["p2"])
        assert ask("") == "['q1']"
        assert ask("engine.detach(['q1'])") == "[]"
        assert before.changes(machine.picture(machine.near, far)) == ""
        shell.stdin.close()


# -------------------------------------------------------------- no process


def processes(machine: Machine) -> list[str]:
    """The command lines of a machine's processes."""
    return sorted(machine.command("ps", "-eo", "args").splitlines())


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_forwarding_needs_no_process(hook: str) -> None:
    with Machine() as machine:
        hosts = [machine.namespace(), machine.namespace()]
        for number, host in enumerate(hosts, start=1):
            machine.near.ip(
                f"link add name p{number} type veth peer name eth0 netns {host.path}",
                f"link set p{number} up",
            )
            host.ip(f"address add 192.0.2.{number}/24 dev eth0", "link set eth0 up")
        before = processes(machine)
        machine.call(engine.attach, ["p1", "p2"], hook=hook)
        assert processes(machine) == before
        assert " 0% packet loss" in hosts[0].run("ping", "-c", "3", "-i", "0.01", "192.0.2.2")
