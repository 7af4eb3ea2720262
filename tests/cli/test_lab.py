"""Labs: built, completed, changed, taken down; the examples do what they say."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.command import Done, run, vnetx
from vnetx import _bpf, netns
from vnetx.engine import lab_view
from vnetx.engine.wiring import observe

pytestmark = pytest.mark.root

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "labs"
UNCHANGED = {"changed": False, "steps": [], "messages": []}
SMALL = "fdb_size: 64, max_ports: 16, host_port: off"
PAIR = f"""
version: 1
nodes:
  h1: {{interfaces: {{eth0: {{ip: [192.0.2.1/24]}}}}}}
  h2: {{interfaces: {{eth0: {{ip: [192.0.2.2/24, "2001:db8::2/64"]}}}}}}
  c1:
  sw:
    switches:
      s1:
        {SMALL.replace(", ", f"{chr(10)}        ")}
        ports: {{p1: , p2: }}
        interfaces: {{web: {{netns: c1, ip: [192.0.2.7/24]}}}}
links:
  - [h1:eth0, sw:p1]
  - [sw:p2, h2:eth0]
"""
_numbers = itertools.count()


class Made:
    """A lab of a name that nobody else has."""

    def __init__(self, directory: Path) -> None:
        self.name = f"vt{os.getpid()}-lab{next(_numbers)}"
        self.file = directory / "lab.yaml"

    def lab(self, *arguments: str, status: int | None = 0, command: str = "") -> Done:
        words = ("-j", "lab", str(self.file), "--name", self.name, *arguments)
        if command:
            return run(sys.executable, "-c", command, *words, status=status)
        return vnetx(*words, status=status)

    def build(self, text: str | None = None, *arguments: str) -> Any:
        """Builds what the file says, after `text` was written into it."""
        if text is not None:
            self.file.write_text(text)
        return self.lab(*arguments).json

    def show(self) -> dict[str, Any]:
        """The nodes by name."""
        labs = self.lab("--show").json
        return {node["node"]: node for each in labs for node in each["nodes"]}

    def on(self, node: str) -> str:
        return f"{self.name}-{node}"

    def ip(self, node: str, *words: str) -> str:
        return run("ip", "-n", self.on(node), *words).out

    def reached(self, *pairs: tuple[str, str], seconds: int = 5) -> list[bool]:
        """Whether nodes reach addresses, all at once."""
        pings = [
            subprocess.Popen(
                ["ip", "netns", "exec", self.on(node), "ping", "-nqc1", f"-w{seconds}", address],
                stdout=subprocess.DEVNULL,
            )
            for node, address in pairs
        ]
        return [ping.wait(30) == 0 for ping in pings]

    def namespaces(self) -> list[str]:
        return [name for name in netns.names() if name.startswith(f"{self.name}-")]

    def cookies(self) -> list[int]:
        """Those of its namespaces, by which pins are found."""
        found = []
        for name in self.namespaces():
            with contextlib.suppress(Exception), netns.inside(name):
                found.append(_bpf.netns_cookie())
        return found

    def take_down(self) -> None:
        """And nothing is left."""
        if not self.namespaces():
            return
        cookies = self.cookies()
        vnetx("lab", "--down", "--name", self.name)
        assert self.namespaces() == []
        pins = [int(path.name) for path in Path("/run/vnetx/bpf").glob("v*/*")]
        assert not set(cookies) & set(pins)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    lab = Made(tmp_path)
    yield lab
    try:
        lab.take_down()
    finally:
        for name in lab.namespaces():
            run("ip", "netns", "delete", name)


# ------------------------------------------------------------ the examples

Pairs = list[tuple[str, str]]


def among(hosts: dict[str, int], *networks: str) -> Pairs:
    """Each of the hosts to the next one's address in these networks."""
    names = list(hosts)
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    return [(host, f"{net}{hosts[following[host]]}") for host in names for net in networks]


STICK = [
    *among({"h1": 1, "h2": 2}, "192.0.2.", "2001:db8:10::"),
    *among({"h3": 3, "h4": 4}, "198.51.100.", "2001:db8:20::"),
]
STICK_ROUTED = [("h1", "198.51.100.3"), ("h4", "192.0.2.2"), ("h2", "2001:db8:20::4")]
RED, BLUE = (
    among({f"{tenant}{n}": n for n in (1, 2, 3)}, "192.0.2.", "2001:db8::")
    for tenant in ("red", "blue")
)
FABRIC = among({"h1": 1, "h2": 2, "h3": 3}, "192.0.2.", "2001:db8::")


@pytest.mark.parametrize(
    ("example", "talk", "cut", "lost", "kept"),
    [
        ("router-on-a-stick", STICK + STICK_ROUTED, ("router", "eth0"), STICK_ROUTED, STICK),
        ("overlay", RED + BLUE, ("red3", "red"), [("red1", "192.0.2.3")], BLUE),
        (
            "spine-leaf",
            FABRIC,
            ("spine2", "eth1"),
            [("h1", "192.0.2.3"), ("h3", "192.0.2.1")],
            [("h1", "192.0.2.2"), ("h2", "192.0.2.3")],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_examples(
    made: Made, example: str, talk: Pairs, cut: tuple[str, str], lost: Pairs, kept: Pairs
) -> None:
    """All who belong together reach each other at once; whoever is cut off is so, and no other."""
    made.file = EXAMPLES / f"{example}.yaml"
    assert made.build()["changed"]
    assert made.reached(*talk) == [True] * len(talk)
    assert made.build() == UNCHANGED
    assert made.build(None, "--dry-run") == UNCHANGED
    made.ip(cut[0], "link", "set", "dev", cut[1], "down")
    assert made.reached(*kept) == [True] * len(kept)
    assert made.reached(*lost, seconds=1) == [False] * len(lost)
    if example != "overlay":  # (an interface of a switch may be down)
        assert made.build()["changed"]
        assert made.reached(*lost) == [True] * len(lost)
    made.take_down()


def test_remarks_of_examples_name_commands_of_theirs() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        remarks, _, document = path.read_text().partition("\nversion: 1\n")
        name = document.partition("name: ")[2].partition("\n")[0]
        for line in (f"vnetx lab docs/labs/{path.name}\n", f"exec {name}-", f"{path.name} --down"):
            assert line in remarks, path.name


# ------------------------------------------------------------ building


def test_the_plan_and_the_end(made: Made) -> None:
    steps = made.build(PAIR, "--dry-run")["steps"]
    assert steps[:4] == ["make node h1", "make node h2", "make node c1", "make node sw"]
    assert "link h1:eth0 to sw:p1" in steps
    assert made.namespaces() == []
    done = made.lab()
    assert done.json["steps"][: len(steps) - 1] == steps[:-1]
    assert f"'ip netns exec {made.on('h1')} COMMAND'" in done.err
    assert made.reached(("h1", "192.0.2.2"), ("c1", "192.0.2.1")) == [True, True]


def test_what_is_shown(made: Made) -> None:
    made.build(PAIR)
    shown = vnetx("lab", "--show").out
    assert (
        f"{made.name}\n"
        f"├── c1 in {made.on('c1')}\n"
        "│   └── web to sw:s1  192.0.2.7/24\n"
        f"├── h1 in {made.on('h1')}\n"
        "│   └── eth0 to sw:p1  192.0.2.1/24\n"
        f"├── h2 in {made.on('h2')}\n"
        "│   └── eth0 to sw:p2  192.0.2.2/24  2001:db8::2/64\n"
        f"└── sw in {made.on('sw')}, switch s1\n"
        "    ├── p1 to h1:eth0  port of s1\n"
        "    └── p2 to h2:eth0  port of s1\n"
    ) in shown
    node = made.show()["h1"]
    (eth0,) = node.pop("interfaces")
    own = {"node": "h1", "namespace": made.on("h1"), "forward": False, "switches": []}
    assert node == own
    assert len(eth0.pop("mac")) == 17
    assert eth0 == {
        "ifname": "eth0",
        "to": "sw:p1",
        "switch": None,
        "state": "up",
        "mtu": 1500,
        "addresses": ["192.0.2.1/24"],
        "routes": [],
    }
    # what is only a port has no IPv6 addresses, and nobody waits for one
    assert "inet6" not in made.ip("sw", "address", "show", "dev", "p1")
    assert "inet6 fe80:" in made.ip("h1", "address", "show", "dev", "eth0")
    assert "tentative" not in made.ip("h2", "address")


def test_one_that_is_taken_down_meanwhile_is_not_shown(made: Made) -> None:
    made.build(PAIR)
    seen = observe(made.name)
    assert [node.name for node in lab_view._nodes(seen)] == ["c1", "h1", "h2", "sw"]
    run("ip", "netns", "delete", made.on("h2"))
    assert [node.name for node in lab_view._nodes(seen)] == ["c1", "h1", "sw"]


CHANGED = f"""
version: 1
nodes:
  h1:
    interfaces:
      lo: {{ip: [203.0.113.1/32]}}
      eth0: {{ip: [192.0.2.11/24], mtu: 1400}}
  h3:
    interfaces:
      eth0: {{ip: [192.0.2.3/24], routes: {{203.0.113.0/24: 192.0.2.11}}, mac: 02:00:5e:00:53:03}}
  sw:
    forward: on
    interfaces:
      s1: {{ip: [192.0.2.9/24]}}
    switches:
      s1: {{{SMALL.replace("host_port: off", "host_port: on")}, ports: {{p1: , p3: }}}}
links:
  - [h1:eth0, sw:p3]
  - [h3:eth0, sw:p1]
"""


@pytest.mark.slow
def test_a_changed_file(made: Made) -> None:
    """Ends move, nodes come and go, a switch gets what it can only be made with; and back."""
    made.build(PAIR)
    first = made.show()
    steps = made.build(CHANGED)["steps"]
    for step in ("remove node h2", "remove node c1", "make node h3", "sw: remove switch s1"):
        assert step in steps
    nodes = made.show()
    assert (list(nodes), nodes["sw"]["forward"]) == (["h1", "h3", "sw"], True)
    pairs = ("h3", "203.0.113.1"), ("h1", "192.0.2.9"), ("sw", "192.0.2.3")
    assert made.reached(*pairs) == [True] * 3
    assert made.build() == UNCHANGED
    assert made.build(PAIR)["changed"]
    assert made.show() == first
    assert made.reached(("h1", "192.0.2.2")) == [True]


def test_what_was_taken_away_comes_back(made: Made) -> None:
    made.build(PAIR)
    before = made.show()
    made.ip("h1", "link", "delete", "dev", "eth0")
    made.ip("h2", "address", "flush", "dev", "eth0")
    run("ip", "netns", "delete", made.on("c1"))
    vnetx("-n", made.on("sw"), "detach", "p2")
    steps = made.build()["steps"]
    assert "link h1:eth0 to sw:p1" in steps
    assert "make node c1" in steps
    assert made.show() == before
    assert made.reached(("h1", "192.0.2.2"), ("c1", "192.0.2.1")) == [True, True]
    assert made.build() == UNCHANGED


# ------------------------------------------------------------ in the way, failing, killed


def test_somebody_else_s_namespace(made: Made) -> None:
    """Is left alone, whatever the command."""
    run("ip", "netns", "add", made.on("h2"))
    made.file.write_text(PAIR)
    done = made.lab(status=1)
    assert f"network namespace {made.on('h2')}: it is there already" in done.err
    assert made.namespaces() == [made.on("h2")]
    assert "there is no lab" in made.lab("--down").err
    assert made.namespaces() == [made.on("h2")]
    run("ip", "netns", "delete", made.on("h2"))


def test_somebody_else_s_interface(made: Made) -> None:
    made.build(PAIR)
    made.ip("h1", "link", "delete", "dev", "eth0")
    made.ip("h1", "link", "add", "dev", "eth0", "type", "veth", "peer", "name", "other")
    done = made.lab(status=1)
    assert "interface eth0 of node h1: it is there already" in done.err
    assert "other" in made.ip("h1", "link")


def test_a_name_that_leads_to_no_namespace(made: Made) -> None:
    """A command was killed between two system calls."""
    netns.NAMED.mkdir(exist_ok=True)
    (netns.NAMED / made.on("h1")).touch()
    made.build(PAIR)
    assert made.reached(("h1", "192.0.2.2")) == [True]
    (netns.NAMED / made.on("h9")).touch()
    made.take_down()


BROKEN: dict[str, Callable[[str], str]] = {
    "route {default: 198.51.100.1}": lambda text: text.replace(
        "web: {", "web: {routes: {default: 198.51.100.1}, "
    ),
    "network namespace nowhere": lambda text: text.replace(
        "{web: {", "{x: {netns: nowhere}, web: {"
    ),
    "a port that cannot be one": lambda text: text.replace("ports: {p1: ,", "ports: {lo: , p1: ,"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_a_failure_takes_all_back(made: Made, broken: Callable[[str], str]) -> None:
    made.file.write_text(broken(PAIR))
    made.lab(status=1)
    assert made.namespaces() == []


def test_a_failing_change_leaves_all_as_it_was(made: Made) -> None:
    made.build(PAIR)
    before = made.show(), vnetx("-n", made.on("sw"), "export").out
    worse = CHANGED.replace("p3: }", "p3: }, interfaces: {x: {routes: {default: 192.0.2.1}}}")
    made.file.write_text(worse)
    assert "no address in the router's network" in made.lab(status=1).err
    assert (made.show(), vnetx("-n", made.on("sw"), "export").out) == before
    assert made.reached(("h1", "192.0.2.2"), ("c1", "192.0.2.1")) == [True, True]
    assert made.build(PAIR) == UNCHANGED


#: The command, killed when it calls a function for the nth time.
KILLED = """
import importlib, os, signal, sys
module, name, left = {module!r}, {name!r}, {number}
module = importlib.import_module(module)
plain = getattr(module, name)
def killed(*args, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args, **options)
setattr(module, name, killed)
from vnetx_cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        ("vnetx.engine.lab", "make_node", 3),
        ("vnetx.engine.wiring", "raise_link", 1),
        ("vnetx.engine.wiring", "set_interface", 2),
        ("vnetx.engine.configure", "set_interface", 1),
    ],
)
def test_killed(made: Made, module: str, name: str, number: int) -> None:
    made.file.write_text(PAIR)
    command = KILLED.format(module=module, name=name, number=number)
    assert made.lab(command=command, status=None).status == -9
    if number > 1:
        made.take_down()
        made.lab(command=command, status=None)
    made.build()
    assert made.reached(("h1", "192.0.2.2"), ("c1", "192.0.2.1")) == [True, True]


def test_killed_while_it_is_taken_down(made: Made) -> None:
    made.build(PAIR)
    command = KILLED.format(module="vnetx.engine.wiring", name="remove_node", number=2)
    assert made.lab("--down", command=command, status=None).status == -9
    assert made.namespaces()
    made.file.write_text("nodes: [what is this]")
    made.take_down()


def test_inside_another_namespace(made: Made) -> None:
    """`ip netns exec` has mounts of its own, which end with it."""
    outside = made.on("outside")
    run("ip", "netns", "add", outside)
    made.file.write_text(PAIR)
    words = (sys.executable, "-m", "vnetx_cli.main", "lab", str(made.file), "--name", made.name)
    run("ip", "netns", "exec", outside, *words)
    assert made.reached(("h1", "192.0.2.2")) == [True]
    assert made.build() == UNCHANGED
    run("ip", "netns", "delete", outside)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give FILE"),
        (("--down",), "give FILE or --name"),
        (("--down", "--show"), "give one of"),
        (("--name", "a/b"), "lab name 'a/b'"),
    ],
)
def test_misuse(words: tuple[str, ...], said: str) -> None:
    assert said in vnetx("lab", *words, status=2).err
