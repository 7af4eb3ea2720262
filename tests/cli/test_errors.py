"""Bad input: a clear error, status 1 or 2, and nothing changed."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest

from cli.command import COMMAND, Done, Lab, run, vnetx

pytestmark = pytest.mark.root


def told(done: Done, *parts: str) -> None:
    """The error is one or two lines, starts like one, and says all of `parts`."""
    lines = done.err.splitlines()
    assert lines[0].startswith("Error: "), done.err
    assert len(lines) <= 2, done.err
    assert done.out == ""
    for part in parts:
        assert part in done.err, (part, done.err)


def test_unknown_interface(lab: Lab) -> None:
    told(lab.vnetx("attach", "p1", "missing", status=1), "attaching missing", "no interface")
    assert lab.show("switch", "show") == []


def test_loopback(lab: Lab) -> None:
    told(lab.vnetx("attach", "lo", status=1), "attaching lo", "loopback")
    assert lab.show("switch", "show") == []


def test_in_another_switch(lab: Lab) -> None:
    lab.vnetx("attach", "p1", "--switch", "one")
    done = lab.vnetx("attach", "p2", "p1", "--switch", "other", status=1)
    told(done, "attaching p1", "port of switch one", "vnetx detach p1")
    assert [each["name"] for each in lab.show("switch", "show")] == ["one"]
    assert lab.names() == ["p1"]


def test_in_a_kernel_bridge(lab: Lab) -> None:
    lab.ip("link add dev br0 type bridge", "link set dev p1 master br0")
    told(lab.vnetx("attach", "p1", status=1), "attaching p1", "bridge br0", "nomaster")
    assert lab.show("switch", "show") == []


def test_in_a_bond(lab: Lab) -> None:
    made = run("ip", "-n", lab.name, "link", "add", "dev", "bond0", "type", "bond", status=None)
    if made.status:
        pytest.skip(f"no bonds here: {made.err.strip()}")
    lab.ip("link set dev p1 down", "link set dev p1 master bond0")
    told(lab.vnetx("attach", "p1", status=1), "attaching p1", "bond bond0", "nomaster")


def test_a_switch_named_as_an_interface(lab: Lab) -> None:
    told(lab.vnetx("switch", "add", "p1", status=1), "making switch p1", "--no-host-port")
    lab.vnetx("switch", "add", "p1", "--no-host-port")


def test_no_native_xdp(lab: Lab) -> None:
    lab.ip("link add link p1 name d0 type macvlan mode bridge", "link set dev d0 up")
    done = lab.vnetx("attach", "d0", "--hook", "xdp", status=1)
    told(done, "attaching d0 with --hook xdp", "xdp-generic")
    assert lab.show("switch", "show") == []


def test_unknown_namespace() -> None:
    told(vnetx("-n", "vt-none", "port", "show", status=1), "namespace vt-none", "ip netns list")


@pytest.mark.parametrize("command", ["port show p1", "port set p1 --hairpin on"])
def test_not_a_port(lab: Lab, command: str) -> None:
    told(lab.vnetx(*command.split(), status=1), "port p1", "not a port", "vnetx attach p1")


@pytest.mark.parametrize(
    "command",
    ["switch show lab", "switch set lab --ageing 5", "switch del lab", "stats --switch lab"],
)
def test_no_such_switch(lab: Lab, command: str) -> None:
    told(lab.vnetx(*command.split(), status=1), "switch lab", "none of this name", "switch show")


def test_a_switch_twice(lab: Lab) -> None:
    lab.vnetx("switch", "add", "lab")
    told(lab.vnetx("switch", "add", "lab", status=1), "adding switch lab", "exists already")


# ------------------------------------------------------------ privileges and machine


def unprivileged(*arguments: str) -> Done:
    """Runs vnetx as nobody."""
    return run(
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        COMMAND,
        *arguments,
        status=None,
    )


@pytest.mark.parametrize(
    "command", ["attach p1", "detach --all", "confirm", "switch add lab", "switch show", "fdb show"]
)
def test_no_privileges(command: str) -> None:
    if unprivileged("version").status:
        pytest.skip("nobody may not read this checkout")
    vnetx("switch", "show")
    done = unprivileged(*command.split())
    if "show" in command and done.status == 0:
        pytest.skip("there is nothing to be read, so nothing was refused")
    assert done.status == 1
    told(done, "CAP_NET_ADMIN")


def test_doctor_without_privileges() -> None:
    if unprivileged("version").status:
        pytest.skip("nobody may not read this checkout")
    done = unprivileged("doctor")
    assert done.status == 1
    assert re.search(r"^fail +privileges +CAP_NET_ADMIN.* missing", done.out, re.MULTILINE)
    assert "run as root" in done.out


def test_no_headers_and_nothing_compiled(lab: Lab, tmp_path: Path) -> None:
    """In a mount namespace where there are none."""
    if Path(f"/lib/modules/{platform.release()}/build").exists():
        hide = f"mount -t tmpfs none /lib/modules/{platform.release()}"
    else:
        hide = "true"
    script = f"mount -t tmpfs none /usr/src && {hide} && exec {COMMAND} -n {lab.name} attach p1"
    env = {**os.environ, "VNETX_CACHE_DIR": str(tmp_path)}
    done = run("unshare", "--mount", "sh", "-c", script, status=1, env=env)
    told(done, "no kernel headers", "linux-headers")
    assert lab.show("switch", "show") == []


# ------------------------------------------------------------ pins


def damage(lab: Lab, switch: str, map_name: str) -> None:
    """Takes a pin away."""
    program = (
        "from vnetx.datapath import pins; "
        f"(pins.switch_directory({switch!r}) / 'maps' / {map_name!r}).unlink()"
    )
    lab.inside(str(Path(COMMAND).with_name("python")), "-c", program)


def test_damaged_pins(lab: Lab) -> None:
    lab.vnetx("switch", "add", "lab")
    damage(lab, "lab", "fdb")
    told(
        lab.vnetx("switch", "show", status=1),
        "switch lab",
        "damaged",
        "vnetx switch del lab --force",
    )
    checks = {check["name"]: check for check in lab.vnetx("-j", "doctor", status=1).json}
    assert checks["switch lab"]["status"] == "fail"
    assert "--force" in checks["switch lab"]["remedy"]
    lab.vnetx("switch", "del", "lab", "--force")
    assert lab.show("switch", "show") == []


# ------------------------------------------------------------ documents


def apply(lab: Lab, text: str, *options: str, status: int = 0) -> Done:
    return lab.vnetx("apply", *options, "-", input=text, status=status)


@pytest.mark.parametrize(
    ("text", "status", "parts"),
    [
        ("version: 1\nswitches: [", 2, ["line 2"]),
        ("version: 7", 2, ["version", "7 is not known"]),
        ("{version: 1, switches: {lab: {colour: red}}}", 2, ["switches.lab.colour", "no such"]),
        ("{version: 1, switches: {lab: {ports: {p1: , missing: }}}}", 1, ["missing"]),
        ("{version: 1, switches: {lab: {ports: {p1: , lo: }}}}", 1, ["lo", "loopback"]),
    ],
)
def test_a_bad_document_changes_nothing(lab: Lab, text: str, status: int, parts: list[str]) -> None:
    told(apply(lab, text, status=status), *parts)
    assert lab.show("switch", "show") == []


def test_a_setting_that_is_fixed(lab: Lab) -> None:
    lab.vnetx("switch", "add", "lab", "--fdb-size", "100")
    done = apply(lab, "{version: 1, switches: {lab: {fdb_size: 200}}}", status=1)
    told(done, "fdb-size of switch lab", "100")
