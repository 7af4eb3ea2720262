"""What the host filters is the host's: switched frames are none of its packets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import EMULATED
from lib.topology import Lab, carrier, ipv4, ipv6, ping, ping_test, tcp_test, wait_until

pytestmark = [pytest.mark.root, pytest.mark.serial]

SETTINGS = Path("/proc/sys/net/bridge")


@pytest.fixture(autouse=True)
def br_netfilter() -> Iterator[None]:
    """It is there in every namespace as soon as it is loaded: only in the virtual machine, and only
    for these tests."""
    if EMULATED and not SETTINGS.exists():
        subprocess.run(["modprobe", "br_netfilter"], check=True)
        yield
        subprocess.run(["modprobe", "-r", "br_netfilter"], check=True)
    elif SETTINGS.exists():
        yield
    else:
        pytest.skip("this kernel has no br_netfilter")


def filtered_lab(lab: Lab) -> Lab:
    """br_netfilter on, and nothing may be forwarded."""
    lab.add_hosts(1, 2)
    for n, host in lab.hosts.items():
        wait_until(lambda n=n, host=host: carrier(host, f"h{n}"), f"h{n} has a carrier")
    for tool in ("iptables", "ip6tables"):
        lab.near.run(tool, "-w", "-P", "FORWARD", "DROP")
        lab.near.run(tool, "-w", "-P", "INPUT", "DROP")
    return lab


def nf_call(lab: Lab, on: int) -> None:
    for table in ("iptables", "ip6tables", "arptables"):
        lab.near.sysctl(f"net/bridge/bridge-nf-call-{table}", on)


def test_a_bridge_is_filtered(lab: Lab) -> None:
    """The control: this is what people run into."""
    filtered_lab(lab)
    bridge = lab.switch("kernel")
    bridge.create()
    bridge.attach("p1", "p2")
    nf_call(lab, 0)
    assert ping(lab.hosts[1], ipv4(2)), "without br_netfilter"
    nf_call(lab, 1)
    assert not ping(lab.hosts[1], ipv4(2), options=("-W", "0.3"))
    assert not ping(lab.hosts[1], ipv6(2), options=("-W", "0.3"))


def test_a_vnetx_switch_is_not(hook: str, lab: Lab) -> None:
    filtered_lab(lab)
    nf_call(lab, 1)
    lab.vnetx(hook).attach("p1", "p2")
    for address in (ipv4, ipv6):
        ping_test({address(n): node for n, node in lab.hosts.items()}, size=2000)
    tcp_test(lab.hosts[1], lab.hosts[2], ipv4(2), megabytes=2)
    rules = lab.near.run("iptables", "-w", "-nvL", "FORWARD")
    assert "policy DROP 0 packets" in rules, rules
