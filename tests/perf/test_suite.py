"""Whole runs: what is chosen, what a report holds, what a machine lacks, what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from vnetx_perf import (
    benchmarks,
    endpoints,
    hooks,
    machine,
    overlays,
    programs,
    rounds,
    rr,
    session,
    subjects,
    suite,
    trunks,
)
from vnetx_perf.benchmarks import BENCHMARKS
from vnetx_perf.figures import Figure, Row
from vnetx_perf.namespaces import PREFIX
from vnetx_perf.session import Benchmark

CORE = max(os.sched_getaffinity(0))
#: Benchmarks that have to be asked for.
LEFT_OUT = ("vxlan", "encap", "endpoint")


# ---------------------------------------------------------------- choosing


def test_nearly_all_of_it_by_default():
    chosen, measured, against = suite.choose([], [], "default")
    assert chosen == tuple(name for name in BENCHMARKS if name not in LEFT_OUT)
    own = {kind.kind for kind in (*trunks.KINDS, *overlays.KINDS, *endpoints.KINDS)}
    asked = {"vnetx-vlan", *(k.kind for k in endpoints.OURS), "vnetx-wire", "vnetx-wire-xdp"}
    left_out = {*asked, *own}
    assert measured == tuple(name for name in subjects.SUBJECTS if name not in left_out)
    assert against == ("bridge", "direct")


def test_names_say_what_and_of_what():
    chosen, measured, against = suite.choose(["vnetx-tc", "pps", "rr"], ["macvlan"], "quick")
    assert chosen == ("rr", "pps")
    assert measured == ("macvlan", "vnetx-tc")
    assert against == ("macvlan",)


def test_against_alone_is_against_vnetx():
    _, measured, _ = suite.choose(["rr"], ["bridge"], "default")
    assert measured == (
        "bridge",
        "vnetx-tc",
        "vnetx-xdp",
        "vnetx-auto",
        "vnetx-vlan",
        *(kind.kind for kind in endpoints.OURS),
        "vnetx-wire",
        "vnetx-wire-xdp",
    )


def test_subjects_with_a_trunk_are_compared_among_themselves():
    _, measured, against = suite.choose(["rr", "vnetx-tag"], [], "default")
    assert measured == ("bridge-pair", "bridge-vlan", "8021q", "vnetx-pair", "vnetx-tag")
    assert against == ("vnetx-pair", "bridge-pair", "bridge-vlan", "8021q")
    _, measured, _ = suite.choose(["rr"], ["bridge-pair"], "default")
    assert measured == ("bridge-pair", "vnetx-pair", "vnetx-pair-xdp", "vnetx-tag")
    _, measured, against = suite.choose(["rr", "vnetx-vxlan"], [], "default")
    assert measured == ("bridge-vxlan", "ovs-vxlan", "vnetx-vxlan")
    assert against == ("bridge-vxlan", "ovs-vxlan")


@pytest.mark.parametrize(
    ("names", "against", "rr", "vlan"),
    [
        ([], [], "direct bridge bridge#2 macvlan", "bridge-pair vnetx-pair vnetx-pair#2 vnetx-tag"),
        (["rr", "vlan", "macvlan"], [], "direct bridge bridge#2 macvlan", "8021q vnetx-tag"),
        (["vlan", "bridge-pair", "vnetx-tag"], ["bridge-pair"], "",
         "bridge-pair bridge-pair#2 vnetx-tag"),
        (["vlan"], ["bridge-pair"], "", "bridge-pair bridge-pair#2 vnetx-pair vnetx-tag"),
    ],
)  # fmt: skip
def test_vlans_are_measured_of_two_switches_and_the_rest_of_one(names, against, rr, vlan):
    asked = request(names, against, "default")
    found = {each.name: asked.measured(each)[0] for each in asked.chosen}
    assert set(rr.split()) <= set(found.get("rr", ()))
    assert set(vlan.split()) <= set(found["vlan"])
    assert not {"vnetx-tag", "vnetx-pair"} & set(found.get("rr", ()))
    assert not {"vnetx-tc", "bridge"} & set(found["vlan"])
    assert set(asked.built) == {*found.get("rr", ()), *found["vlan"]}


@pytest.mark.parametrize(("names", "against"), [(["speed"], []), ([], ["rr"]), ([], ["nobody"])])
def test_unknown_names_are_refused_with_those_that_there_are(names, against):
    with pytest.raises(suite.UnknownNameError, match="subjects are direct, redirect-peer, bridge"):
        suite.choose(names, against, "default")


def test_levels_keep_their_time():
    for level, limit in (("quick", 60), ("default", 300)):
        chosen = suite.choose([], [], level)
        request = suite.Request(*chosen, level, CORE, None, 1)
        assert suite.planned(request) <= limit


def test_cores_that_this_process_may_not_use_are_refused():
    core, other = session.cores()
    assert core in os.sched_getaffinity(0)
    assert other is None or other != core
    with pytest.raises(ValueError, match="no core 4096 for this process; there are"):
        session.cores(4096)


# ---------------------------------------------------------------- running


def request(names, against=(), level="quick", other=None):
    return suite.Request(*suite.choose(names, against, level), level, CORE, other, 1, ("vnetx",))


def run(*arguments, **options):
    return suite.Run(request(*arguments, **options)).go()


def own_namespaces() -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"{PREFIX}-{os.getpid()}-*")]


def fake(monkeypatch, measure, name="cost", wants_subjects=False):
    seconds = dict.fromkeys(("quick", "default", "thorough"), 1)
    made = Benchmark(name, name, measure, seconds, wants_subjects)
    monkeypatch.setitem(benchmarks.BENCHMARKS, name, made)


@pytest.mark.root
@pytest.mark.serial
def test_a_run_of_two_subjects():
    shown = []
    report = suite.Run(
        request(["rr", "oneway", "direct"], ["bridge"], other=None), shown.append
    ).go()
    assert [figure["name"] for figure in shown] == ["rr-tcp", "rr-udp", "oneway"]
    assert shown == report["figures"]
    for figure in shown:
        assert set(figure["rows"]) == {"direct", "bridge", "bridge#2"}
        assert figure["rounds"] >= 6
        assert figure["noise"] is not None
        percentiles = figure["rows"]["direct"]["percentiles"]
        assert list(percentiles.values()) == sorted(percentiles.values())
    assert report["subjects"]["bridge"]["state"]["devices"]["h0/eth0"]["mtu"] == 1500
    assert report["machine"]["kernel"] == os.uname().release
    assert "rr-tcp-2core" in report["skipped"]
    assert not own_namespaces()


def test_one_core_is_not_enough_for_two(monkeypatch):
    monkeypatch.setattr(
        rounds, "run", lambda probe, *_, **__: Figure(probe.name, "rr", "t", "µs", True)
    )
    made = session.Session({}, "default", CORE, None, 1)
    assert [figure.name for figure in BENCHMARKS["rr"].run(made)] == ["rr-tcp", "rr-udp"]
    assert "one core" in made.skipped["rr-tcp-2core"]


@pytest.mark.root
def test_tagging_is_measured_across_a_trunk_and_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(trunks.BridgeVlan, "missing", classmethod(lambda _: "no such option"))
    monkeypatch.setattr(trunks.Bridge8021q, "missing", classmethod(lambda _: "no such module"))

    def measure(probe, made, *, against, **_):
        rows = {name: Row.of([1.0] * 6) for name in made}
        return Figure(probe.name, "vlan", probe.title, "u", True, "subjects", None, against,
                      rows=rows)  # fmt: skip

    monkeypatch.setattr(rounds, "run", measure)
    report = run(["vlan"])
    names = [figure["name"] for figure in report["figures"]]
    assert names == ["vlan-rr-tcp", "vlan-oneway", "vlan-pps-60", "vlan-stream-tcp"]
    assert report["missing"] == {"bridge-vlan": "no such option", "8021q": "no such module"}
    for figure in report["figures"]:
        assert set(figure["rows"]) == {"bridge-pair", "vnetx-pair", "vnetx-pair#2", "vnetx-tag"}
        assert figure["baseline"] == "vnetx-pair"
        assert figure["title"].endswith(", across a trunk")
    targets = report["figures"][0]["rows"]["vnetx-tag"]["targets"]
    assert [(each["of"], each["verdict"]) for each in targets] == [
        ("vnetx-pair", "holds"), ("bridge-pair", "MISSED"),
        ("bridge-vlan", "not measured"), ("8021q", "not measured"),
    ]  # fmt: skip


@pytest.mark.root
def test_what_the_machine_lacks_is_said_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(endpoints.Macvlan, "missing", classmethod(lambda _: "no such module"))

    def fail(_self):
        raise RuntimeError("as planned")

    monkeypatch.setattr(subjects.BridgeNetfilter, "build", fail)

    def measure(made):
        yield Figure("f", "cost", "t", "µs", True, rows={n: Row.of([1.0]) for n in made.made})

    fake(monkeypatch, measure, wants_subjects=True)
    report = run(["cost", "macvlan", "direct", "bridge+nf"], ["bridge"])
    assert report["missing"] == {"macvlan": "no such module", "bridge+nf": "as planned"}
    assert set(report["figures"][0]["rows"]) == {"direct", "bridge", "bridge#2"}


def test_a_benchmark_that_fails_says_why_and_the_others_go_on(monkeypatch):
    def broken(_):
        yield Figure("before", "cost", "t", "µs", True, rows={"x": Row.of([1.0])})
        raise RuntimeError("no such thing")

    def whole(_):
        yield Figure("after", "scale", "t", "µs", True, rows={"x": Row.of([1.0])})

    fake(monkeypatch, broken)
    fake(monkeypatch, whole, "scale")
    report = run(["cost", "scale"])
    assert report["skipped"] == {"cost": "no such thing"}
    assert [figure["name"] for figure in report["figures"]] == ["before", "after"]


@pytest.mark.root
def test_interrupted_it_gives_what_there_is_and_cleans_up(monkeypatch):
    def measure(made):
        made.progress = lambda text: "round 3" in text and os.kill(os.getpid(), signal.SIGINT)
        yield made.paired("rr", rr.probe(False), 0.05, most=10_000, least=10_000)

    fake(monkeypatch, measure, wants_subjects=True)
    report = run(["cost", "direct"], ["bridge"])
    assert report["interrupted"]
    (figure,) = report["figures"]
    assert figure["rounds"] >= 1
    assert "interrupted" in figure["warnings"]
    assert not own_namespaces()


def test_heat_and_emulation_are_told(monkeypatch):
    heat = iter([0, 3])
    monkeypatch.setattr(machine, "throttled", lambda: next(heat))
    fake(monkeypatch, lambda _: iter(()))
    assert run(["cost"])["warnings"] == ["the processor was throttled: it became too hot"]
    real = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *a, **k: (
            "model name\t: QEMU TCG CPU version 2.5+\nflags\t: fpu hypervisor\n"
            if str(self) == "/proc/cpuinfo"
            else real(self, *a, **k)
        ),
    )
    assert machine.describe()["emulated"]


# ---------------------------------------------------------------- what figures are for


class Slower(subjects.Bridge):
    """The bridge with a program on its first port that takes its time."""

    kind = "slower"
    title = "a slower bridge"

    def attach(self) -> None:
        super().attach()
        program = programs.burn(_BURNT)
        with self.switch.entered():
            self._burning = hooks.tc_program(program, socket.if_nametoindex("p0"), "ingress")
            self._burning.__enter__()
        os.close(program)

    def detach(self) -> None:
        self._burning.__exit__(None, None, None)
        super().detach()


#: Calls of a helper that reads the clock: some 20 ns each.
_BURNT = 100


@pytest.mark.root
@pytest.mark.serial
@pytest.mark.slow
def test_a_planted_difference_is_found_and_an_identical_pair_is_not_different(monkeypatch):
    """The pair is one bridge twice: two that were built apart differ by what their memory costs."""
    monkeypatch.setitem(subjects.SUBJECTS, "slower", Slower)
    held = found = trials = 0
    with rounds.built(("bridge", "slower")) as (made, failed):
        assert not failed
        made["again"] = made["bridge"]
        for seed in range(12):
            figure = rounds.run(
                rr.probe(True), made, seconds=0.04, core=CORE, seed=seed, until=0, least=9
            )
            trials += 1
            held += figure.ratio("again", "bridge").holds(1.0)
            slower = figure.ratio("slower", "bridge")
            found += slower.low > 1.0
    assert held >= 0.75 * trials, "an identical pair seems to differ"
    assert found >= 0.9 * trials, "a delay is not seen"


@pytest.mark.root
@pytest.mark.serial
def test_sockperf_says_the_same():
    """Half round trips of UDP, both by sockperf and by ours, in turns, on one core."""
    ours, theirs = [], []
    with subjects.make("bridge") as subject:
        for _ in range(5):
            ours.append(rr.measure(subject, None, 0.4, CORE, stream=False, size=14).value)
            theirs.append(_sockperf(subject))
    assert sorted(ours)[2] == pytest.approx(sorted(theirs)[2], rel=0.10)


def _sockperf(subject) -> float:
    """sockperf's median latency, which is half a round trip, µs."""
    if subprocess.run(["which", "sockperf"], capture_output=True, check=False).returncode:
        pytest.skip("sockperf is not installed")

    def command(host: int, *arguments: str) -> list[str]:
        inside = ["ip", "netns", "exec", subject.hosts[host].name]
        return [*inside, "taskset", "-c", str(CORE), "sockperf", *arguments]

    address = ["-i", "198.18.0.2", "-p", "11111"]
    with subprocess.Popen(command(1, "server", *address), stdout=subprocess.PIPE, text=True) as on:
        try:
            for line in on.stdout:
                if "using recvfrom" in line or "[SERVER]" in line or "to block on socket" in line:
                    break
            done = subprocess.run(
                command(0, "ping-pong", *address, "--time", "1", "--msg-size", "14"),
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            on.terminate()
    for line in done.stdout.splitlines():
        if "percentile 50.000" in line:
            return float(line.rpartition("=")[2])
    raise AssertionError(done.stdout)
