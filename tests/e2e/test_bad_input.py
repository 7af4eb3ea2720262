"""What cannot be done is refused with the reason and the remedy, and changes nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib.namespaces import Namespace
from lib.snapshot import Failure, Machine, idle_programs
from vnetx import _bpf, engine, netns, state
from vnetx.datapath import pins
from vnetx.engine import execute
from vnetx.model import SwitchSettings

pytestmark = pytest.mark.root

SMALL = SwitchSettings(fdb_size=64, max_ports=16, host_port=False)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(idle=True) as made:
        made.near.ip(
            *(f"link add name p{n} type veth peer name h{n}" for n in (1, 2)),
            *(f"link set {end}{n} up" for n in (1, 2) for end in "ph"),
        )
        yield made


def refused(machine: Machine, work: Callable[[], Any], at: Namespace | None = None) -> Failure:
    """It fails with an error for users, and everything is as before."""
    spaces = (machine.near, at) if at else (machine.near,)
    before = machine.picture(*spaces)
    failure = machine.fails(work, at=at)
    assert before.changes(machine.picture(*spaces)) == ""
    return failure


def attach(*names: str, **kw: Any) -> Callable[[], Any]:
    return lambda: engine.attach(names, **kw)


# -------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (attach("nosuch"), "no interface of that name"),
        (attach("p1", "nosuch"), "no interface of that name"),
        (attach("lo"), "loopback"),
        (attach("p1", hook="xpd"), "unknown"),
        (attach("p1", confirm=0), "positive"),
        (attach("p1", settings={"learn_limit": -1}), "not in 0 to"),
        (attach("p1", switch="a-name-too-long-to-be"), "name that an interface can have"),
        (attach("p1", switch=""), None),
        (attach("p1", switch="a/b"), "name that an interface can have"),
        (attach("p1", switch=".."), "name that an interface can have"),
        (attach("p1", switch="p2"), "interface of that name exists"),
        (lambda: engine.switch_add("p1", SwitchSettings()), "interface of that name exists"),
        (lambda: engine.switch_add("lo", SwitchSettings()), "interface of that name exists"),
        (lambda: engine.switch_add("a b", SwitchSettings()), "name that an interface can have"),
        (lambda: engine.switch_del("nosuch"), "none of this name"),
        (lambda: engine.switch_set("nosuch", ageing=3), "none of this name"),
        (lambda: engine.detach(["nosuch"]), "no interface of that name"),
        (lambda: engine.port_set("p1", up=False), "not a port"),
        (lambda: engine.port_set("nosuch", up=False), "no interface of that name"),
        (lambda: state.find_port("p1"), "not a port"),
        (lambda: engine.confirm(), "nothing is attached"),
        (lambda: netns.set_namespace("nosuch"), "ENOENT"),
    ],
)
def test_names_and_values(machine: Machine, work: Callable[[], Any], words: str | None) -> None:
    if words is None:  # an empty name is none: the default
        machine.call(work)
        assert [view.name for view in machine.call(state.switches)] == ["vnetx0"]
        return
    failure = refused(machine, work)
    assert words in failure.why
    assert failure.remedy or re.search("loopback|positive|not in", failure.why)


def test_a_device_that_is_no_port_is_detached_already(machine: Machine) -> None:
    before = machine.picture()
    assert "p1 is not attached" in machine.call(engine.detach, ["p1"]).messages
    assert before.changes(machine.picture()) == ""


def test_fixed_settings(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SMALL)
    for change in ({"fdb_size": 128}, {"max_ports": 32}, {"host_port": True}):
        failure = refused(machine, lambda c=change: engine.switch_set("br0", **c))
        assert "since the switch was made" in failure.why
    failure = refused(machine, lambda: engine.switch_add("br0", SMALL))
    assert "exists already" in failure.why


def test_more_ports_than_the_switch_has(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", replace(SMALL, max_ports=2))
    machine.call(engine.attach, ["p1"], switch="br0", hook="tc")
    failure = refused(machine, attach("p2", switch="br0", hook="tc"))
    assert "no free port" in failure.why
    assert "max-ports" in failure.remedy


# -------------------------------------------------------------- devices


def test_port_of_another_switch(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SMALL)
    machine.call(engine.attach, ["p1"], switch="br0", hook="tc")
    failure = refused(machine, attach("p2", "p1", switch="br1", hook="tc"))
    assert "port of switch br0" in failure.why
    assert failure.remedy == "vnetx detach p1"


def test_host_port(machine: Machine) -> None:
    machine.call(engine.switch_add, "br0", SwitchSettings(fdb_size=64, max_ports=16))
    for work in (
        attach("br0", switch="br1"),
        attach("br0", switch="br0"),
        lambda: engine.detach(["vx-br0"]),
        attach("vx-br0", switch="br1"),
    ):
        assert "br0" in str(refused(machine, work))


@pytest.mark.parametrize("kind", ["bridge", "bond", "team"])
def test_member_of_a_kernel_device(machine: Machine, kind: str) -> None:
    try:
        machine.near.run("ip", "link", "add", "name", "m0", "type", kind)
    except Exception:
        pytest.skip(f"the kernel has no {kind}")
    machine.near.ip("link set p1 down", "link set p1 master m0", "link set p1 up")
    failure = refused(machine, attach("p1"))
    assert f"member of the {kind} m0" in failure.why
    assert "nomaster" in failure.remedy


def test_device_without_ethernet(machine: Machine) -> None:
    machine.near.ip("tuntap add dev t0 mode tun", "link set t0 up")
    for hook in ("auto", "tc", "xdp", "xdp-generic"):
        failure = refused(machine, attach("t0", hook=hook))
        assert "Ethernet" in failure.why


@pytest.mark.parametrize(
    "make",
    [
        "link add link p1 name d0 type macvlan mode bridge",
        "link add name d0 type bridge",
        "link add name d0 type ifb",
        "link add name d0 type dummy",
        "link add name d0 type vxlan id 5 dev p1 dstport 4789 remote 192.0.2.1",
    ],
    ids=lambda make: make.split(" type ")[1].split()[0],
)
def test_device_without_native_xdp(machine: Machine, make: str) -> None:
    try:
        machine.near.run("ip", *make.split())
    except Exception:
        pytest.skip("the kernel has no such device")
    machine.near.ip("link set d0 up")
    failure = refused(machine, attach("d0", hook="xdp"))
    assert "driver" in failure.why
    assert "--hook xdp-generic" in failure.remedy
    before = machine.picture()
    machine.call(engine.attach, ["d0"], hook="auto")
    assert [p.hook for view in machine.call(state.switches) for p in view.ports] == ["tc"]
    machine.call(engine.detach, ["d0"])
    assert before.changes(machine.picture()) == ""


def test_vanished_namespace(machine: Machine) -> None:
    """A name whose namespace is gone is an empty file."""
    machine.command("touch", "/run/netns/stale")
    failure = machine.fails(netns.set_namespace, "stale")
    assert "stale" in failure.what
    assert "ip netns list" in failure.remedy


# -------------------------------------------------------------- privileges


def without(*capabilities: int) -> None:
    """This process has all capabilities but these."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    assert libc.capget(header, data) == 0
    _, low, _, _, high, _ = struct.unpack("=6I", data.raw)
    mask = (high << 32 | low) & ~sum(1 << number for number in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    assert libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) == 0


NET_ADMIN, SYS_ADMIN, PERFMON, BPF = 12, 21, 38, 39

LACKING: dict[str, Callable[[], object]] = {
    "nobody": lambda: os.setuid(65534),
    "no capability": lambda: without(*range(41)),
    "CAP_NET_ADMIN": lambda: without(NET_ADMIN),
    "CAP_SYS_ADMIN": lambda: without(SYS_ADMIN),
    "CAP_BPF": lambda: without(BPF, SYS_ADMIN),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_no_privileges(machine: Machine, lacking: str) -> None:
    """The error names what is needed; half a set of privileges leaves nothing behind either."""

    def work() -> None:
        LACKING[lacking]()
        engine.attach(["p1"], hook="xdp")

    failure = refused(machine, work)
    assert "EPERM" in failure.why or "EACCES" in failure.why
    assert (lacking if lacking.startswith("CAP") else "CAP_NET_ADMIN") in failure.remedy


@pytest.mark.parametrize("lacking", LACKING)
def test_no_privileges_on_what_is_attached(machine: Machine, lacking: str) -> None:
    machine.call(engine.attach, ["p1"], hook="xdp")

    def work() -> None:
        LACKING[lacking]()
        engine.detach(["p1"])

    before = machine.picture()
    outcome = machine.start(work).wait()
    if outcome.failure:  # those that are left may suffice
        assert "CAP_" in outcome.failure.remedy, outcome.failure
        assert before.changes(machine.picture()) == ""
    machine.call(engine.detach, [], every=True)


# -------------------------------------------------------------- the kernel and its tools


def test_no_kernel_headers(tmp_path: Path) -> None:
    with Machine() as machine:
        machine.near.ip("link add name p1 type veth peer name h1")
        for directory in ("/usr/src", "/lib/modules"):
            machine.command("mount", "-t", "tmpfs", "none", directory)

        def work() -> None:
            os.environ.pop("BCC_KERNEL_SOURCE", None)
            os.environ["VNETX_CACHE_DIR"] = str(tmp_path / "empty")
            engine.attach(["p1"], hook="tc")

        failure = refused(machine, work)
        assert "headers" in failure.why
        assert "apt-get install linux-headers" in failure.remedy


@pytest.mark.parametrize(
    ("program", "hook"), [("tc_ingress", "tc"), ("xdp", "xdp"), ("xdp_generic", "xdp-generic")]
)
def test_refusal_of_the_verifier(machine: Machine, program: str, hook: str) -> None:
    """The last lines of the log say why; the whole of it is for -vv."""

    def work() -> None:
        good = idle_programs()
        exits_at_once = struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 is not set
        programs = {**good.programs, program: exits_at_once}
        execute.build = lambda: replace(good, programs=programs)
        engine.attach(["p1"], hook=hook)

    failure = refused(machine, work)
    assert failure.what == f"loading program {program}"
    assert "R0 !read_ok" in failure.why
    assert "-vv" in failure.remedy


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EPERM])
def test_no_bpffs(machine: Machine, code: int) -> None:
    def work() -> None:
        def fail() -> None:
            raise OSError(code, "mount")

        pins._mount_here = fail
        engine.attach(["p1"], hook="tc")

    failure = refused(machine, work)
    assert "bpffs" in failure.what
    assert ("CONFIG_BPF_SYSCALL" if code == errno.ENODEV else "CAP_SYS_ADMIN") in failure.remedy


# -------------------------------------------------------------- pins


def delete_a_map(directory: Path) -> None:
    (directory / "maps" / "ports").unlink()


def pin_another_map(directory: Path) -> None:
    path = directory / "maps" / "ports"
    path.unlink()
    fd = _bpf.map_create(2, 4, 8, 16, 0, "foreign")
    _bpf.obj_pin(fd, str(path))
    os.close(fd)


def pin_another_meta(directory: Path) -> None:
    """Larger than ours: whoever reads it without looking writes past the end of a buffer."""
    path = directory / "maps" / "meta"
    path.unlink()
    fd = _bpf.map_create(2, 4, 1 << 16, 1, 0, "foreign")
    _bpf.obj_pin(fd, str(path))
    os.close(fd)


def pin_a_program(directory: Path) -> None:
    path = directory / "maps" / "undo"
    path.unlink()
    fd = _bpf.obj_get(str(directory / "programs" / "flood"))
    _bpf.obj_pin(fd, str(path))
    os.close(fd)


@pytest.mark.parametrize("damage", [delete_a_map, pin_another_map, pin_another_meta, pin_a_program])
def test_damaged_pins(machine: Machine, damage: Callable[[Path], None]) -> None:
    """Named, with the way out: the switch can be removed, and its name is free then."""
    before = machine.picture()
    machine.call(engine.attach, ["p1", "p2"], switch="br0", hook="tc")
    machine.call(lambda: damage(pins.switch_directory("br0")))
    for work in (
        attach("p1", switch="br0"),
        lambda: engine.detach(["p1"]),
        lambda: engine.detach([], every=True),
        lambda: engine.switch_set("br0", ageing=7),
        lambda: engine.switch_del("br0"),
        lambda: state.switches(),
    ):
        failure = refused(machine, work)
        assert "br0" in str(failure)
        assert "--force" in failure.remedy
    machine.call(engine.switch_del, "br0", force=True)
    assert before.changes(machine.picture()) == ""
    machine.call(engine.attach, ["p1"], switch="br0", hook="tc")
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture()) == ""


def test_damaged_pins_of_another_namespace(machine: Machine) -> None:
    """They are nobody else's business."""
    other = machine.namespace()
    machine.call(engine.attach, ["p1"], hook="tc")
    machine.call(lambda: delete_a_map(pins.switch_directory("vnetx0")))
    machine.call(lambda: pin_another_meta(pins.switch_directory("vnetx0")))
    before = machine.picture(machine.near, other)
    other.ip("link add name q1 type veth peer name q2")
    machine.call(engine.attach, ["q1"], hook="tc", at=other)
    machine.call(engine.detach, ["q1"], at=other)
    other.ip("link del q1")
    assert before.changes(machine.picture(machine.near, other)) == ""
    machine.call(engine.switch_del, "vnetx0", force=True)


def test_pins_of_an_older_version(machine: Machine) -> None:
    """They are mentioned and left alone; the mount stays for them."""

    def old() -> None:
        pins.mount()
        directory = pins.MOUNT / "v0" / "1" / "br0" / "maps"
        directory.mkdir(parents=True)
        fd = _bpf.map_create(2, 4, 8, 16, 0, "vx_old")
        _bpf.obj_pin(fd, str(directory / "fdb"))
        os.close(fd)

    machine.call(old)
    before = machine.picture()
    result = machine.call(engine.attach, ["p1"], hook="tc")
    assert any("v0" in message and "left alone" in message for message in result.messages)
    machine.call(engine.detach, ["p1"])
    assert before.changes(machine.picture()) == ""


@pytest.mark.serial
def test_foreign_things_where_pins_are(machine: Machine) -> None:
    """A directory that is no switch: of somebody who should not have put it there."""
    machine.call(engine.switch_add, "br0", SMALL)
    machine.call(lambda: (pins.namespace_directory() / "alien").mkdir())
    before = machine.picture()
    assert "alien" in str(machine.fails(state.switches))
    machine.call(engine.switch_del, "alien", force=True)
    assert [view.name for view in machine.call(state.switches)] == ["br0"]
    assert "alien" in before.changes(machine.picture())
