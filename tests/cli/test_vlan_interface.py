"""Interfaces in VLANs: addresses, namespaces, routing between them, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import Lab, run, vnetx

pytestmark = pytest.mark.root


def pings(namespace: str, address: str, seconds: int = 4) -> bool:
    command = ("ping", "-n", "-c", "1", "-w", str(seconds), address)
    return run("ip", "netns", "exec", namespace, *command, status=None).status == 0


def allow_ipv6(namespace: str) -> None:
    files = (f"/proc/sys/net/ipv6/conf/*/{name}" for name in ("disable_ipv6", "accept_dad"))
    run("ip", "netns", "exec", namespace, "sh", "-c", f"echo 0 | tee {' '.join(files)}")


def addresses(lab: Lab) -> dict[str, list[str]]:
    return {each["name"]: each["addresses"] for each in lab.show("vlan", "interface", "show")}


def devices(namespace: str) -> set[str]:
    lines = run("ip", "-n", namespace, "-o", "link", "show").out.splitlines()
    return {line.split(": ")[1].split("@")[0] for line in lines}


@pytest.fixture
def routed(make_lab: Callable[..., Lab]) -> Lab:
    """h1 in VLAN 10, h2 in VLAN 20, each in a subnet of its own; an interface in each."""
    lab = make_lab(2)
    for namespace in (lab.name, *lab.hosts):
        allow_ipv6(namespace)
    for number, host in enumerate(lab.hosts, start=1):
        lab.ip(
            "address flush dev eth0",
            f"address add 10.0.{number}.2/24 dev eth0",
            f"address add 2001:db8:{number}::2/64 dev eth0 nodad",
            f"route add default via 10.0.{number}.1",
            f"route add ::/0 via 2001:db8:{number}::1",
            name=host,
        )
        lab.vnetx("attach", f"p{number}", "--access", f"{number}0")
        lab.vnetx(
            *("vlan", "interface", f"{number}0"),
            *("--ip", f"10.0.{number}.1/24", "--ip", f"2001:db8:{number}::1/64"),
        )
    return lab


def test_the_host_routes_between_vlans(routed: Lab) -> None:
    first, second = routed.hosts
    assert pings(first, "10.0.1.1")
    assert pings(first, "2001:db8:1::1")
    assert not pings(first, "10.0.2.2", 1)
    routed.inside("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    assert pings(first, "10.0.2.2")
    assert pings(second, "2001:db8:1::2")
    assert addresses(routed) == {
        "vnetx0.10": ["10.0.1.1/24", "2001:db8:1::1/64"],
        "vnetx0.20": ["10.0.2.1/24", "2001:db8:2::1/64"],
    }


def test_the_same_subnet_in_two_vlans_does_not_talk(make_lab: Callable[..., Lab]) -> None:
    """Though one host has an interface in each."""
    lab = make_lab(2)
    lab.vnetx("attach", "p1", "--access", "10")
    lab.vnetx("attach", "p2", "--access", "20")
    lab.vnetx("vlan", "interface", "10", "--ip", "198.51.100.1/24")
    lab.vnetx("vlan", "interface", "20")
    assert not lab.quick_ping(1, 2)
    assert not lab.quick_ping(2, 1)


def test_router_on_a_stick(make_lab: Callable[..., Lab]) -> None:
    """h1's one cable carries two VLANs; h2 and h3 go by its addresses in them."""
    lab = make_lab(3)
    router, second, third = lab.hosts
    lab.vnetx("attach", "p1", "--trunk", "10,20")
    lab.vnetx("attach", "p2", "--access", "10")
    lab.vnetx("attach", "p3", "--access", "20")
    for number, host in ((1, second), (2, third)):
        vnetx(
            "-n",
            router,
            "vlan",
            "interface",
            f"{number}0",
            "--dev",
            "eth0",
            "--ip",
            f"10.0.{number}.1/24",
        )
        lab.ip(
            "address flush dev eth0",
            f"address add 10.0.{number}.2/24 dev eth0",
            f"route add default via 10.0.{number}.1",
            name=host,
        )
    try:
        assert {"eth0.10", "eth0.20"} <= devices(router)
        assert pings(second, "10.0.1.1")
        run("ip", "netns", "exec", router, "sysctl", "-q", "net.ipv4.ip_forward=1")
        assert pings(second, "10.0.2.2")
        assert pings(third, "10.0.1.2")
    finally:
        vnetx("-n", router, "detach", "--all")
    assert devices(router) == {"lo", "eth0"}


def test_a_device_with_the_host_s_addresses_keeps_them(make_lab: Callable[..., Lab]) -> None:
    """--dev attaches it as a trunk whose native VLAN is what it carried before."""
    lab = make_lab(2)
    lab.ip("address add 192.0.2.101/24 dev p1", "link set dev p1 mtu 4000")
    assert pings(lab.hosts[0], "192.0.2.101")
    lab.vnetx("vlan", "interface", "30", "--dev", "p1", "--ip", "10.0.3.1/24")
    assert pings(lab.hosts[0], "192.0.2.101")
    (port,) = [each for each in lab.show("port", "show") if each["ifname"] == "p1"]
    assert (port["pvid"], [each["vid"] for each in port["vlans"]]) == (1, [1, 30])
    assert addresses(lab) == {"p1.30": ["10.0.3.1/24"]}
    lab.vnetx("vlan", "interface", "30", "--dev", "p1", "--mtu", "3000")
    lab.vnetx("vlan", "interface", "40", "--dev", "p1")
    assert [each["mtu"] for each in lab.show("vlan", "interface", "show")] == [3000, 4000]
    assert "mtu: 3000" in lab.vnetx("export").out
    assert set(addresses(lab)) == {"p1.30", "p1.40"}
    lab.vnetx("vlan", "interface", "del", "p1.30", "p1.40")
    assert addresses(lab) == {}
    assert pings(lab.hosts[0], "192.0.2.101")


def test_in_another_namespace(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    lab.vnetx("attach", "p1", "--access", "10")
    other = lab.hosts[1]
    lab.vnetx(
        "vlan", "interface", "10", "--name", "blue", "--to-netns", other, "--ip", "192.0.2.77/24"
    )
    lab.ip("link set dev eth0 down", name=other)
    assert "blue" in devices(other)
    assert pings(lab.hosts[0], "192.0.2.77")
    (shown,) = lab.show("vlan", "interface", "show")
    assert (shown["netns"], shown["addresses"]) == (other, ["192.0.2.77/24"])
    assert lab.names() == ["p1", "vx-blue"]
    run("ip", "-n", other, "link", "del", "dev", "blue")
    lab.vnetx("vlan", "add", "11", "--port", "p1")  # whatever changes something cleans up
    assert addresses(lab) == {}
    assert lab.names() == ["p1"]


def test_another_device_with_the_number_of_its_port(routed: Lab) -> None:
    """It is nobody's business what a command cleans up after an interface that was deleted."""
    (number,) = [p["ifindex"] for p in routed.show("port", "show") if p["interface"] == "vnetx0.10"]
    routed.ip("link del dev vnetx0.10", f"link add dev other index {number} type veth peer name o2")
    routed.vnetx("vlan", "add", "11", "--port", "p1")
    assert set(addresses(routed)) == {"vnetx0.20"}
    assert {"other", "o2"} <= devices(routed.name)


@pytest.mark.slow
def test_documents(routed: Lab, tmp_path: Path) -> None:
    file = tmp_path / "vnetx.yaml"
    file.write_text(routed.vnetx("export").out)
    before = devices(routed.name)
    assert routed.vnetx("-v", "apply", str(file)).err == ""
    routed.ip("address del 10.0.1.1/24 dev vnetx0.10", "address add 10.0.9.1/24 dev vnetx0.10")
    routed.vnetx("apply", str(file))
    assert addresses(routed)["vnetx0.10"] == ["10.0.1.1/24", "2001:db8:1::1/64"]
    routed.vnetx("detach", "--all")
    assert devices(routed.name) == {"lo", "p1", "p2"}
    told = routed.vnetx("apply", "--dry-run", str(file)).out
    assert "make interface vnetx0.20 of vnetx0" in told
    routed.vnetx("apply", str(file))
    assert routed.vnetx("export").out == file.read_text()
    assert devices(routed.name) == before
    assert pings(routed.hosts[0], "10.0.1.1")
    moved = file.read_text().replace("vlan: 20", "vlan: 10")
    file.write_text(moved.replace("vnetx0.20", "other"))
    routed.vnetx("apply", str(file))
    assert {each["name"]: each["vlan"] for each in routed.show("vlan", "interface", "show")} == {
        "other": 10,
        "vnetx0.10": 10,
    }


@pytest.mark.slow
def test_vlans_in_use(routed: Lab) -> None:
    routed.vnetx("vlan", "rule", "add", "10", "--protocol", "arp")
    error = routed.vnetx("vlan", "del", "10,30", status=1).err
    assert "in use by port p1, interface vnetx0.10, rule by protocol arp" in error
    assert "--force cuts them off" in error
    assert set(addresses(routed)) == {"vnetx0.10", "vnetx0.20"}
    routed.vnetx("vlan", "del", "30")
    routed.ip("address add 192.0.2.8/24 dev p2")
    routed.vnetx("detach", "p2")
    routed.vnetx("attach", "p2", "--trunk", "10", "--native", "20")
    error = routed.vnetx("vlan", "del", "10,20", "--force", status=1).err
    assert "would be dropped without a native VLAN" in error
    assert set(addresses(routed)) == {"vnetx0.10", "vnetx0.20"}
    routed.vnetx("vlan", "del", "10", "--force")
    assert set(addresses(routed)) == {"vnetx0.20"}
    assert [each["vid"] for each in routed.show("vlan", "show")] == [1, 20]
    assert routed.show("vlan", "rule", "show") == []


ERRORS: dict[tuple[str, ...], str] = {
    ("0",): "VLAN 0: is no VLAN",
    ("4095",): "VLAN 4095: is reserved",
    ("10", "--ip", "10.0.1.1"): "not an address with a length",
    ("10", "--mtu", "0"): "mtu 0: not in 68 to 65535",
    ("10", "--mtu", "67"): "mtu 67: not in 68 to 65535",
    ("10", "--ip", "lab/24"): "not an address with a length",
    ("30", "--switch", "lab"): "switch lab: there is none of this name",
    ("30", "--dev", "p9"): "there is no interface of that name",
    ("30", "--dev", "p1", "--switch", "lab"): "it is a port of switch vnetx0",
    ("30", "--name", "p2"): "there is an interface of that name",
    ("30", "--name", "a name"): "not a name that an interface can have",
    ("30", "--to-netns", "nowhere"): "network namespace nowhere",
    ("30", "--name", "vnetx0.10"): "it is one of VLAN 10 of switch vnetx0 already",
    ("10", "--ip", "2001:db8:1::9/64"): "IPv6 is off on vnetx0.10",
    ("del", "vnetx0.30"): "there is none of this name that a switch made",
}
#: Its port goes with it, and it is none itself.
OTHERS: dict[tuple[str, ...], str] = {
    ("detach", "vx-vnetx0.10"): "it is the port of interface vnetx0.10",
    ("attach", "vnetx0.10"): "it is an interface that switch vnetx0 made",
}


@pytest.mark.slow
def test_errors_change_nothing(routed: Lab) -> None:
    routed.inside("sysctl", "-q", "net.ipv6.conf.vnetx0/10.disable_ipv6=1")
    before = routed.vnetx("export").out, devices(routed.name)
    commands = {("vlan", "interface", *command): words for command, words in ERRORS.items()}
    for command, words in {**commands, **OTHERS}.items():
        done = routed.vnetx(*command, status=None)
        assert done.status in (1, 2), command
        assert words in done.err, command
        assert (routed.vnetx("export").out, devices(routed.name)) == before, command
