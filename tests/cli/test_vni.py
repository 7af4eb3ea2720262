"""VNIs on the command line: two labs with an underlay between them, tables, documents, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.command import Lab, pings

pytestmark = pytest.mark.root

NEAR, FAR = "198.51.100.1", "198.51.100.2"
MAC = "02:00:5e:00:00:01"


def link_underlay(near: Lab, far: Lab) -> None:
    near.ip(f"link add dev u0 type veth peer name u0 netns {far.name}")
    for lab, address in ((near, NEAR), (far, FAR)):
        lab.ip(f"address add {address}/24 dev u0", "link set dev u0 mtu 1600 up")


@pytest.fixture
def labs(make_lab: Callable[..., Lab]) -> tuple[Lab, Lab]:
    """Two labs with a host each, 192.0.2.1 and 192.0.2.2, and an underlay between them."""
    near, far = make_lab(1), make_lab(1)
    link_underlay(near, far)
    far.ip("address flush dev eth0", "address add 192.0.2.2/24 dev eth0", name=far.hosts[0])
    return near, far


@pytest.fixture
def near(make_lab: Callable[..., Lab]) -> Lab:
    """A lab whose underlay leads nowhere."""
    lab = make_lab(2)
    link_underlay(lab, make_lab(0))
    return lab


def behind(lab: Lab, **wanted: Any) -> list[str]:
    """The addresses of entries that have these members."""
    return [
        each["mac"]
        for each in lab.show("fdb", "show")
        if all(each.get(key) == value for key, value in wanted.items())
    ]


@pytest.mark.slow
def test_two_hosts_over_an_overlay(labs: tuple[Lab, Lab]) -> None:
    near, far = labs
    for lab, own, other in ((near, NEAR, FAR), (far, FAR, NEAR)):
        lab.vnetx("attach", "p1")
        lab.vnetx("vni", "add", "1000", "--local", own, "--remote", other)
    assert pings(near.hosts[0], "192.0.2.2")
    assert len(behind(near, vni=1000, vtep=FAR, vlan=None, state="learned")) >= 1
    assert behind(near, vni=1000) == [e["mac"] for e in near.show("fdb", "show", "--vni", "1000")]
    assert behind(near, vtep=FAR) == [e["mac"] for e in near.show("fdb", "show", "--vtep", FAR)]
    (vtep,) = near.show("vni", "show", "1000")[0]["vteps"]
    assert vtep["named"]
    assert min(vtep["stats"]["rx_frames"], vtep["stats"]["tx_frames"]) >= 2
    assert FAR in near.vnetx("vni", "show", "--stats").out
    near.vnetx("vni", "del", "1000")
    assert not pings(near.hosts[0], "192.0.2.2", 1)
    assert behind(near, vtep=FAR) == []


@pytest.mark.slow
def test_vlans_are_overlays_of_their_own(labs: tuple[Lab, Lab]) -> None:
    near, far = labs
    for lab, own, other in ((near, NEAR, FAR), (far, FAR, NEAR)):
        lab.vnetx("attach", "p1", "--access", "10")
        lab.vnetx("vni", "add", "1000", "--vlan", "10", "--local", own, "--remote", other)
        lab.vnetx("vni", "add", "2000", "--vlan", "20", "--local", own, "--remote", other)
    assert pings(near.hosts[0], "192.0.2.2")
    assert behind(near, vni=1000, vlan=10)
    assert not behind(near, vni=2000)
    far.vnetx("port", "set", "p1", "--access", "20")
    assert not pings(near.hosts[0], "192.0.2.2", 1)
    near.vnetx("port", "set", "p1", "--access", "20")
    assert pings(near.hosts[0], "192.0.2.2")
    assert behind(near, vni=2000, vlan=20)


@pytest.mark.slow
def test_show(near: Lab) -> None:
    near.vnetx("vni", "add", "7", "--local", NEAR, "--remote", FAR, "--dev", "u0", "--ttl", "9")
    near.vnetx("vni", "add", "7", "--remote", "203.0.113.9", "--tos", "inherit", "--df")
    (shown,) = near.show("vni", "show")
    assert shown["unreachable"].keys() == {"203.0.113.9"}
    contract = ("vni", "vlan", "switch", "local", "remotes", "dstport", "dev")
    assert {name: shown[name] for name in contract} == {
        "vni": 7,
        "vlan": None,
        "switch": "vnetx0",
        "local": NEAR,
        "remotes": [FAR, "203.0.113.9"],
        "dstport": 4789,
        "dev": "u0",
    }
    assert (shown["ttl"], shown["tos"], shown["df"]) == (9, "inherit", True)
    assert "203.0.113.9 (Network is unreachable)" in near.vnetx("vni", "show").out
    near.vnetx("vni", "remote", "del", "7", FAR)
    assert near.show("vni", "show", "7")[0]["remotes"] == ["203.0.113.9"]
    near.vnetx("vni", "remote", "add", "7", FAR, "198.51.100.3")
    assert near.show("vni", "show", "7")[0]["remotes"] == [FAR, "198.51.100.3", "203.0.113.9"]
    near.vnetx("vni", "del", "7")
    assert near.show("switch", "show") == []


def test_static_entries_behind_a_vtep(near: Lab, tmp_path: Path) -> None:
    near.vnetx("vni", "add", "7", "--vlan", "10", "--local", NEAR)
    near.vnetx("fdb", "add", MAC, "--vni", "7", "--vtep", FAR, "--sticky")
    assert behind(near, vni=7, vtep=FAR, vlan=10, state="sticky") == [MAC]
    assert near.show("vni", "show")[0]["remotes"] == [], "nothing is flooded there"
    saved = tmp_path / "fdb"
    near.vnetx("fdb", "save", str(saved))
    near.vnetx("fdb", "flush", "--vni", "7", "--static")
    assert behind(near, vtep=FAR) == []
    near.vnetx("fdb", "load", str(saved))
    assert behind(near, vni=7, vtep=FAR, vlan=10, state="sticky") == [MAC]
    other = "02:00:5e:00:00:99"
    near.vnetx("fdb", "add", other, "--vni", "7", "--vtep", FAR)
    near.vnetx("fdb", "load", str(saved), "--replace", "--vni", "7")
    assert behind(near, vtep=FAR) == [MAC]
    error = near.vnetx("fdb", "load", str(saved), "--vni", "7", status=2).err
    assert "say what --replace deletes" in error
    near.vnetx("fdb", "del", MAC, "--vtep", FAR, "--vlan", "10")
    assert behind(near, vtep=FAR) == []


DOCUMENT = f"""\
version: 1
switches:
  lab:
    vlan_aware: true
    vnis:
      1000:
        vlan: 10
        local: {NEAR}
        remotes: [{FAR}, 198.51.100.3]
      2000: {{vlan: 20, local: {NEAR}, dstport: 8472, learning: false, tos: inherit}}
    ports:
      p1: {{access: 10}}
    fdb:
    - {{mac: '{MAC}', vni: 1000, vtep: {FAR}, state: static}}
"""


@pytest.mark.slow
def test_documents(near: Lab, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(DOCUMENT)
    assert "VNI 1000 is VLAN 10 of lab" in near.vnetx("apply", "--dry-run", str(file)).out
    assert near.show("switch", "show") == []
    near.vnetx("apply", str(file))
    exported = near.vnetx("export").out
    assert near.vnetx("-v", "apply", str(file)).err == "", "nothing to do"
    assert [each["vni"] for each in near.show("vni", "show")] == [1000, 2000]
    assert behind(near, vni=1000, vtep=FAR, vlan=10, state="static") == [MAC]
    near.vnetx("switch", "del", "--force", "lab")
    (tmp_path / "again.yaml").write_text(exported)
    near.vnetx("apply", str(tmp_path / "again.yaml"))
    assert near.vnetx("export").out == exported
    file.write_text(DOCUMENT.replace("198.51.100.3", "198.51.100.4").replace("2000:", "2001:"))
    near.vnetx("apply", str(file))
    shown = {each["vni"]: each["remotes"] for each in near.show("vni", "show")}
    assert shown == {1000: [FAR, "198.51.100.4"], 2001: []}


BAD = {
    "0": (("vni", "add", "0", "--local", NEAR), "not in 1 to 16777215"),
    "too large": (("vni", "add", "16777216", "--local", NEAR), "not in 1 to 16777215"),
    "no local": (("vni", "add", "7"), "give --local IP"),
    "not ours": (("vni", "add", "7", "--local", FAR, "--switch", "new"), "--planned"),
    "no address": (("vni", "add", "7", "--local", "u0"), "not an IPv4 or IPv6 address"),
    "remote is local": (("vni", "add", "7", "--local", NEAR, "--remote", NEAR), "is the local"),
    "mixed": (("vni", "add", "7", "--local", NEAR, "--remote", "2001:db8::2"), "are mixed"),
    "group": (("vni", "add", "7", "--local", NEAR, "--remote", "239.1.1.1"), "not the address of"),
    "no device": (
        ("vni", "add", "7", "--local", NEAR, "--dev", "nope", "--switch", "new"),
        "no interface of that",
    ),
    "VLAN 4095": (("vni", "add", "7", "--vlan", "4095", "--local", NEAR), "4095"),
    "second": (("vni", "add", "8", "--local", NEAR), "switch vnetx0 has VNI 5 already"),
    "another's": (
        ("vni", "add", "5", "--local", NEAR, "--switch", "other"),
        "it is one of switch vnetx0",
    ),
    "unknown": (("vni", "del", "6"), "no switch has it"),
    "unknown to the FDB": (("fdb", "show", "--vni", "6"), "no switch has it"),
    "no remote": (("vni", "remote", "del", "5", "198.51.100.9"), "it is none of it"),
    "VLANs": (("vlan", "add", "10", "--port", "p1"), "it has VNI 5"),
    "port and VTEP": (("fdb", "add", MAC, "--port", "p1", "--vni", "5", "--vtep", FAR), "exclude"),
}


@pytest.mark.slow
def test_bad_input(near: Lab) -> None:
    """Exit 1 or 2, words that tell, and nothing changed."""
    near.vnetx("attach", "p1", "p2")
    near.vnetx("vni", "add", "5", "--local", NEAR, "--remote", FAR)
    before = near.vnetx("export").out, near.inside("ip", "-o", "link").out
    for what, (arguments, words) in BAD.items():
        done = near.vnetx(*arguments, status=None)
        assert done.status in (1, 2), what
        assert words in done.err, what
        assert "Traceback" not in done.err, what
        after = near.vnetx("export").out, near.inside("ip", "-o", "link").out
        assert after == before, what


def test_a_port_that_a_kernel_device_has(near: Lab) -> None:
    near.ip(f"link add dev kernel0 type vxlan id 7 local {NEAR} dstport 4789")
    near.ip("link set dev kernel0 up")
    before = near.inside("ip", "-o", "link").out
    done = near.vnetx("vni", "add", "7", "--local", NEAR, status=1)
    assert "UDP port 4789: it is in use" in done.err
    assert "kernel0" in done.err
    assert near.show("switch", "show") == []
    assert near.inside("ip", "-o", "link").out == before
    near.vnetx("vni", "add", "7", "--local", NEAR, "--dstport", "8472")


def test_a_vlan_that_is_an_overlay(near: Lab) -> None:
    near.vnetx("vni", "add", "7", "--vlan", "10", "--local", NEAR)
    assert "VNI 7" in near.vnetx("vlan", "del", "10", status=1).err
    near.vnetx("vlan", "del", "10", "--force")
    assert near.show("vni", "show") == []
