"""Subjects carry frames, say how they are made, and leave nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vnetx_perf import namespaces, openvswitch, requirements, subjects

pytestmark = pytest.mark.root

#: Without those of a thousand devices, which take a minute to make.
KINDS = sorted(kind for kind in subjects.SUBJECTS if not kind.endswith("wire-large"))
OVS = ["ovs", "ovs-user"]


def make_or_skip(kind, **options):
    """A subject that this machine can have."""
    if reason := subjects.SUBJECTS[kind.partition("#")[0]].missing():
        pytest.skip(reason)
    return subjects.make(kind, **options)


def links_here() -> str:
    done = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    return "\n".join(sorted(line.split()[0] for line in done.stdout.splitlines()))


def made_by(pid: int) -> list[str]:
    """Namespaces and directories of a process of the harness."""
    return [n for n in subjects.has_leftovers() if n.startswith(f"{namespaces.PREFIX}-{pid}-")]


def daemons_of(pid: int) -> list[int]:
    """Processes whose command line names a directory of that process of the harness."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # ended meanwhile
            continue
        if f"/{namespaces.PREFIX}-{pid}-".encode() in command:
            found.append(int(path.parent.name))
    return found


def assert_carries(near, far):
    with near, far:
        near.settimeout(5)
        far.settimeout(5)
        near.send(b"there")
        assert far.recv(16) == b"there"
        far.send(b"and back")
        assert near.recv(16) == b"and back"


def assert_streams(near, far):
    """What is cut into frames, by whom and when ever, arrives as it was sent."""
    sent = bytes(range(256)) * 1024
    with near, far, ThreadPoolExecutor() as pool:
        near.settimeout(30)
        far.settimeout(30)
        sending = pool.submit(near.sendall, sent)
        received = b""
        while len(received) < len(sent) and (chunk := far.recv(1 << 20)):
            received += chunk
        sending.result()
    assert received == sent


def assert_hosts_have_its_addresses(subject):
    for index, host in enumerate(subject.hosts):
        (link,) = json.loads(namespaces.ip("-n", host.name, "-json", "link", "show", "eth0"))
        assert link["address"] == subject.mac(index).hex(":")


# ---------------------------------------------------------------- all kinds


@pytest.mark.parametrize("kind", KINDS)
def test_a_subject_carries_tcp_and_udp_and_leaves_nothing_behind(kind):
    before = links_here()
    with make_or_skip(kind) as subject:
        assert_carries(*subject.tcp())
        assert_carries(*subject.udp())
        assert_streams(*subject.tcp())
        assert_hosts_have_its_addresses(subject)
        state = subject.state()
    assert json.loads(json.dumps(state)) == state
    for host in ("h0/eth0", "h1/eth0"):
        device = state["devices"][host]
        assert device["mtu"] == 1500
        assert set(device["offloads"].values()) <= {"on", "off", None}
        # Of what is used here, only veth has ndo_xdp_xmit; h0 is who sends.
        if host == "h0/eth0":
            assert subject.takes_live_frames == (device["kind"] == "veth")
    assert not made_by(os.getpid())
    assert not daemons_of(os.getpid())
    assert links_here() == before


@pytest.mark.parametrize("kind", [k for k in KINDS if subjects.SUBJECTS[k].most_hosts >= 4])
def test_more_hosts_than_two_reach_each_other(kind):
    with make_or_skip(kind, hosts=4, mtu=1400) as subject:
        assert_carries(*subject.udp(client=3, server=2))
        assert subject.state()["devices"]["h0/eth0"]["mtu"] == 1400


def test_kinds_have_titles_of_their_own():
    titles = {subject.title for subject in subjects.SUBJECTS.values()}
    assert len(titles) == len(subjects.SUBJECTS)


def test_only_what_is_no_switch_is_a_limit():
    limits = [kind for kind, subject in subjects.SUBJECTS.items() if subject.limit]
    assert limits == ["direct", "redirect-peer"]


def test_instances_of_one_kind_stand_side_by_side():
    with subjects.make("bridge") as one, subjects.make("bridge#2") as two:
        assert one.kind == two.kind
        assert {host.name for host in one.hosts}.isdisjoint(host.name for host in two.hosts)


def test_what_fails_while_it_is_built_is_taken_down(monkeypatch):
    def fail(_self):
        raise RuntimeError("as planned")

    monkeypatch.setattr(subjects.Bridge, "attach", fail)
    with pytest.raises(RuntimeError, match="as planned"), subjects.make("bridge"):
        pass
    assert not made_by(os.getpid())


def test_unknown_subjects_and_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="there are direct"):
        subjects.make("token-ring")
    with pytest.raises(ValueError, match="2 to 2 hosts"):
        subjects.make("direct", hosts=3)


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_tool_is_told_with_its_package(kind, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert subjects.SUBJECTS[kind].missing() == "ip is not installed: apt install iproute2"


@pytest.mark.parametrize("kind", OVS)
def test_missing_open_vswitch_is_told_with_its_package(kind, monkeypatch, tmp_path):
    for tool in ("ip", "ethtool", "genl", "setpriv"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = subjects.SUBJECTS[kind].missing()
    assert reason == "Open vSwitch is not installed: apt install openvswitch-switch"


def test_a_missing_module_is_told_by_name(monkeypatch):
    monkeypatch.setitem(requirements._TRIALS, "ring", "link add try9 type ring")
    reason = requirements.lacks_devices(["veth", "ring"])
    remedy = "make bench-vm runs one that has"
    assert reason == f"this kernel has no ring (module ring is not there): {remedy}"
    reason = requirements.lacks_netlink_family("ring", "token", "ring")
    assert reason == f"this kernel has no token (module ring is not there): {remedy}"


def test_nothing_is_left_of_what_was_tried():
    before = links_here()
    for subject in subjects.SUBJECTS.values():
        subject.missing()
    assert not made_by(os.getpid())
    assert links_here() == before


# ---------------------------------------------------------------- bridge and netfilter


def test_the_bridge_runs_no_netfilter_also_beside_one_that_does():
    with subjects.make("bridge") as without, make_or_skip("bridge+nf") as with_it:
        assert set(without.state()["sysctls"].values()) == {"0"}
        assert set(with_it.state()["sysctls"].values()) == {"1"}


def test_br_netfilter_is_not_loaded_for_a_measurement(monkeypatch):
    monkeypatch.setattr(requirements, "BRIDGE_NETFILTER", ("net/bridge/not-there",))
    assert requirements.lacks_bridge_netfilter() == (
        "br_netfilter is not loaded: modprobe br_netfilter"
    )


# ---------------------------------------------------------------- Open vSwitch


@pytest.mark.parametrize(("kind", "datapath"), [("ovs", "system"), ("ovs-user", "netdev")])
def test_two_open_vswitches_stand_side_by_side_and_tell_what_they_are(kind, datapath):
    with make_or_skip(kind) as one, make_or_skip(f"{kind}#2") as two:
        for subject in (one, two):
            assert_carries(*subject.udp())
            state = subject.state()["ovs"]
            assert state["version"][0].isdecimal()
            assert state["datapath"] == datapath


def test_what_forwards_in_a_process_can_be_pinned():
    core = max(os.sched_getaffinity(0))
    with make_or_skip("ovs-user") as subject:
        subject.pin(core)
        tasks = [
            int(task.name)
            for pid in daemons_of(os.getpid())
            if (Path("/proc") / str(pid) / "comm").read_text().startswith("ovs-vswitchd")
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        assert len(tasks) > 1
        assert all(os.sched_getaffinity(task) == {core} for task in tasks)


def test_a_port_that_open_vswitch_cannot_open_is_told(monkeypatch):
    build = subjects.OvsUser.build

    def build_and_add(self):
        build(self)
        self.ports.append("nowhere")

    monkeypatch.setattr(subjects.OvsUser, "build", build_and_add)
    with pytest.raises(RuntimeError, match="nowhere"), make_or_skip("ovs-user"):
        pass
    assert not made_by(os.getpid())
    assert not daemons_of(os.getpid())


def test_a_daemon_that_ends_early_is_told_with_what_it_said(monkeypatch):
    start = openvswitch.Daemons._start

    def start_wrongly(self, daemon, *arguments):
        start(self, daemon, *arguments, "--no-such-option")

    monkeypatch.setattr(openvswitch.Daemons, "_start", start_wrongly)
    with pytest.raises(RuntimeError, match=r"(?s)ended.*no-such-option"), make_or_skip("ovs-user"):
        pass
    assert not daemons_of(os.getpid())


# ---------------------------------------------------------------- runs that were killed


def test_what_a_killed_run_left_is_removed_by_the_next():
    child = os.fork()
    if child == 0:
        namespaces.Namespace("left")
        namespaces.private_directory("left")
        os._exit(0)
    os.waitpid(child, 0)
    assert len(made_by(child)) == 2
    removed = namespaces.remove_leftovers()
    assert len([n for n in removed if n.startswith(f"{namespaces.PREFIX}-{child}-")]) == 2
    assert not made_by(child)


def test_the_daemons_of_a_killed_run_end_with_it():
    subject = make_or_skip("ovs-user")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        subject.__enter__()
        os.write(writing, b"built")
        signal.pause()
    os.close(writing)
    built = os.read(reading, 16)
    os.close(reading)
    running = daemons_of(child)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert built
    assert len(running) == 2
    end = time.monotonic() + 10
    while daemons_of(child):
        assert time.monotonic() < end, "the daemons go on"
        time.sleep(0.01)
    namespaces.remove_leftovers()
    assert not made_by(child)


# ---------------------------------------------------------------- workers


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
