"""Two switches with a trunk between: tags where they belong, and nothing else that differs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.listening import listening, received
from vnetx_perf import namespaces, requirements, subjects, trunks

pytestmark = pytest.mark.root

#: XDP takes packets before anybody can listen, and changes offloads.
KINDS = [each.kind for each in trunks.KINDS if each is not trunks.VnetxPairXdp]
TAGGED = {"bridge-vlan", "8021q", "vnetx-tag"}


def make_or_skip(kind):
    if reason := subjects.SUBJECTS[kind].missing():
        pytest.skip(reason)
    return subjects.make(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_have_a_tag_between_the_switches_and_nowhere_else(kind):
    with make_or_skip(kind) as subject:
        on_trunk = [listening(switch, trunks.TRUNK) for switch, _ in subject.switches()]
        at_hosts = [listening(host, "eth0") for host in subject.hosts]
        near, far = subject.udp()
        with near, far:
            for one, other in ((near, far), (far, near)):
                other.settimeout(5)
                one.send(b"of some length")
                assert other.recv(100) == b"of some length"
        expected = {trunks.VID if kind in TAGGED else 0}
        for sock in on_trunk:
            assert {vid for vid, _ in received(sock)} == expected
        for sock in at_hosts:
            assert {vid for vid, _ in received(sock)} == {0}
        for sock in (*on_trunk, *at_hosts):
            sock.close()


@pytest.mark.parametrize("kind", KINDS)
def test_large_packets_cross_the_trunk_whole(kind):
    """What TCP hands down is not cut on the way, tag or not."""
    with make_or_skip(kind) as subject:
        places = [listening(subject.far, trunks.TRUNK), listening(subject.hosts[1], "eth0")]
        near, far = subject.tcp()
        with near, far, ThreadPoolExecutor() as pool:
            far.settimeout(30)
            sending = pool.submit(near.sendall, bytes(1 << 20))
            left = 1 << 20
            while left and (chunk := far.recv(left)):
                left -= len(chunk)
            sending.result()
        assert not left
        for sock in places:
            assert max(length for _, length in received(sock)) > 10 * subject.mtu
            sock.close()


def test_all_kinds_are_the_same_devices():
    """Hosts, ports and the wire between have the same MTU and offloads with and without VLANs."""
    expected = None
    for kind in KINDS:
        if not subjects.SUBJECTS[kind].missing():
            with subjects.make(kind) as subject:
                found = {
                    name: (device["kind"], device["mtu"], device["qdisc"], device["offloads"])
                    for name, device in subject.state()["devices"].items()
                    if not name.partition("/")[2].startswith(("br0", "trunk."))
                }
            expected = expected or found
            assert found == expected
            assert set(found) == {
                "h0/eth0", "h1/eth0", "sw0/p0", "sw0/trunk", "sw1/p1", "sw1/trunk"
            }  # fmt: skip


def test_what_a_kernel_lacks_for_vlans_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(requirements._TRIALS, "vlan", "link add try9 type ring")
    assert trunks.Bridge8021q.missing() == (
        "this kernel has no 8021q (module 8021q is not there): make bench-vm runs one that has"
    )

    def refuse(_self, *_commands):
        raise RuntimeError("ip: RTNETLINK answers: Operation not supported")

    monkeypatch.setattr(requirements.Namespace, "ip", refuse)
    assert requirements.lacks_vlan_filtering() == (
        "this kernel's bridge has no vlan_filtering: make bench-vm runs one that has"
    )


def test_a_device_without_carrier_is_told(monkeypatch):
    with subjects.make("direct") as subject:
        monkeypatch.setattr(namespaces, "_UP_S", 0)
        subject.hosts[0].wait_until_up(["eth0"])
        subject.hosts[0].ip("link set dev eth0 down")
        with pytest.raises(RuntimeError, match="eth0 in h0: no carrier"):
            subject.hosts[0].wait_until_up(["eth0"])


def test_a_switch_that_cannot_be_attached_leaves_no_other_behind(monkeypatch):
    attach = trunks.attached.attach

    def fail_at_the_second(namespace, *arguments):
        if namespace.role == "sw1":
            raise RuntimeError("as planned")
        attach(namespace, *arguments)

    monkeypatch.setattr(trunks.attached, "attach", fail_at_the_second)

    def own():  # the other worker's come and go
        mine = f"vnetxperf-{os.getpid()}-"
        return [name for name in subjects.has_leftovers() if name.startswith(mine)]

    before = own()
    with pytest.raises(RuntimeError, match="as planned"), make_or_skip("vnetx-tag"):
        pass
    assert own() == before
