"""Subjects carry frames, say how they are made, and leave nothing behind."""

import os
import subprocess
from pathlib import Path

import pytest

from vnetx_perf import namespaces, topology

pytestmark = pytest.mark.root

KINDS = sorted(topology.SUBJECTS)


def links_here() -> str:
    done = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    return "\n".join(sorted(line.split()[0] for line in done.stdout.splitlines()))


def own_namespaces() -> list[str]:
    prefix = f"{namespaces.PREFIX}-{os.getpid()}-"
    return [path.name for path in Path("/run/netns").glob(f"{prefix}*")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_subject_carries_tcp_and_udp_and_leaves_nothing_behind(kind):
    before = links_here()
    with topology.make(kind) as subject:
        for near, far in (subject.tcp(), subject.udp()):
            with near, far:
                near.settimeout(5)
                far.settimeout(5)
                near.send(b"there")
                assert far.recv(16) == b"there"
                far.send(b"and back")
                assert near.recv(16) == b"and back"
        state = subject.state()
    assert state["devices"]["h0/eth0"]["mtu"] == 1500
    assert set(state["devices"]["h0/eth0"]["offloads"].values()) <= {"on", "off", None}
    assert not own_namespaces()
    assert links_here() == before


@pytest.mark.parametrize("kind", ["bridge", "macvlan", "vnetx-tc"])
def test_more_hosts_than_two_reach_each_other(kind):
    with topology.make(kind, hosts=4) as subject:
        near, far = subject.udp(client=3, server=2)
        with near, far:
            far.settimeout(5)
            near.send(b"hello")
            assert far.recv(16) == b"hello"


def test_the_bridge_runs_no_netfilter():
    with topology.make("bridge") as subject:
        assert set(subject.state()["sysctls"].values()) <= {"0", None}


def test_instances_of_one_kind_stand_side_by_side():
    with topology.make("bridge") as one, topology.make("bridge#2") as two:
        assert one.kind == two.kind
        assert {host.name for host in one.hosts}.isdisjoint(host.name for host in two.hosts)


def test_what_fails_while_it_is_built_is_taken_down(monkeypatch):
    def fail(_self):
        raise RuntimeError("as planned")

    monkeypatch.setattr(topology.Bridge, "attach", fail)
    with pytest.raises(RuntimeError, match="as planned"), topology.make("bridge"):
        pass
    assert not own_namespaces()


def test_unknown_subjects_and_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="there are direct"):
        topology.make("token-ring")
    with pytest.raises(ValueError, match="2 to 2 hosts"):
        topology.make("direct", hosts=3)


def test_what_a_killed_run_left_is_removed_by_the_next():
    child = os.fork()
    if child == 0:
        namespaces.Namespace("left")
        os._exit(0)
    os.waitpid(child, 0)
    removed = namespaces.remove_leftovers()
    assert [name for name in removed if name.startswith(f"{namespaces.PREFIX}-{child}-")]
    assert not list(Path("/run/netns").glob(f"{namespaces.PREFIX}-{child}-*"))


def test_a_worker_hands_back_results_and_errors():
    assert namespaces.Worker(divmod, 7, 2).result(5) == (3, 1)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        namespaces.Worker(divmod, 7, 0).result(5)
    with pytest.raises(RuntimeError, match="died"):
        namespaces.Worker(os._exit, 3).result(5)


def test_a_worker_that_hangs_is_ended():
    worker = namespaces.Worker(os.read, os.pipe()[0], 1)
    with pytest.raises(RuntimeError, match="longer than"):
        worker.result(0.2)
