"""Commands in a namespace: what they do, print and return."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from cli.command import COMMAND, Lab, vnetx

pytestmark = pytest.mark.root


def test_attach_and_detach(lab: Lab) -> None:
    assert lab.vnetx("attach", *lab.ports).out == ""
    assert lab.names() == lab.ports
    assert lab.ping(1, 2)
    lab.vnetx("detach", "p1")
    assert lab.names() == ["p2"]
    lab.vnetx("detach", "p2")
    assert lab.show("switch", "show") == []


def test_what_is_so_already_is_done(lab: Lab) -> None:
    lab.vnetx("attach", "p1")
    assert lab.show("attach", "p1") == {"changed": False, "steps": [], "messages": []}
    lab.vnetx("detach", "p1")
    assert not lab.show("detach", "p1")["changed"]
    assert not lab.show("detach", "--all")["changed"]


def test_attach_is_all_or_nothing(lab: Lab) -> None:
    done = lab.vnetx("attach", "p1", "p2", "missing", status=1)
    assert "attaching missing" in done.err
    assert lab.show("switch", "show") == []


def test_verbose_tells_the_steps(lab: Lab) -> None:
    done = lab.vnetx("-v", "attach", "p1")
    assert "attach TC ingress to p1" in done.out.splitlines()
    assert done.err == ""


def test_ip_netns_exec_is_the_same_as_n(lab: Lab) -> None:
    lab.inside(COMMAND, "attach", "p1")
    assert lab.names() == ["p1"]
    assert lab.inside(COMMAND, "-j", "port", "show").json == lab.show("port", "show")
    lab.vnetx("attach", "p2")
    lab.inside(COMMAND, "detach", "--all")
    assert lab.names() == []


def test_n_takes_a_path_as_well(lab: Lab) -> None:
    lab.vnetx("attach", "p1")
    path = f"/run/netns/{lab.name}"
    assert vnetx("-n", path, "-j", "port", "show").json == lab.show("port", "show")


def test_namespaces_do_not_see_each_other(make_lab: Callable[..., Lab]) -> None:
    one, other = make_lab(), make_lab()
    one.vnetx("attach", "p1")
    assert other.names() == []
    other.vnetx("attach", "p1", "p2")
    one.vnetx("detach", "--all")
    assert other.names() == ["p1", "p2"]


PORT_KEYS = {
    "ifname",
    "ifindex",
    "switch",
    "hook",
    "state",
    "mtu",
    "mode",
    "pvid",
    "vlans",
    "stats",
}
STATS_KEYS = {"rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "flooded", "drops"}


def test_json_of_port_show(lab: Lab) -> None:
    assert lab.show("port", "show") == []
    lab.vnetx("attach", "p1", "p2", "--hook", "tc")
    ports = lab.show("port", "show")
    assert all(set(port["stats"]) >= STATS_KEYS for port in ports)
    index = json.loads(lab.inside("ip", "-j", "link", "show", "dev", "p1").out)[0]["ifindex"]
    first = ports[0]
    expected = {
        "ifname": "p1",
        "ifindex": index,
        "switch": "vnetx0",
        "hook": "tc",
        "state": "up",
        "mtu": 1500,
        "mode": "unaware",
        "pvid": None,
        "vlans": [],
    }
    assert {key: first[key] for key in expected} == expected
    assert first["stats"]["drops"] == {}
    assert lab.show("port", "show", "p2") == ports[1:]


def test_port_show_counts(lab: Lab) -> None:
    lab.vnetx("attach", *lab.ports)
    before = lab.show("port", "show", "p1")[0]["stats"]
    assert lab.ping(1, 2)
    after = lab.show("port", "show", "p1")[0]["stats"]
    assert after["rx_frames"] > before["rx_frames"]
    assert after["rx_bytes"] >= before["rx_bytes"] + 98
    (row,) = [r for r in lab.show("stats") if (r["ifname"], r["side"]) == ("p1", "wire")]
    assert row["stats"]["rx_frames"] >= after["rx_frames"]


def test_state_of_a_port(lab: Lab) -> None:
    lab.vnetx("attach", *lab.ports)

    def state() -> str:
        port = lab.show("port", "show", "p1")[0]
        assert isinstance(port["state"], str)
        return port["state"]

    assert state() == "up"
    lab.vnetx("port", "set", "p1", "--state", "down")
    assert state() == "down"
    assert not lab.ping(1, 2)
    lab.vnetx("port", "set", "p1", "--state", "up")
    lab.ip("link set dev p1 down")
    assert state() == "down"


def test_port_set(lab: Lab) -> None:
    lab.vnetx("attach", "p1", "--learning", "off", "--storm", "broadcast=5")
    lab.vnetx("port", "set", "p1", "--isolated", "on", "--storm", "unknown-unicast=9")
    settings = lab.show("port", "show", "p1")[0]["settings"]
    assert settings["learning"] is False
    assert settings["isolated"] is True
    assert settings["storm"] == {"broadcast": 5, "multicast": 0, "unknown-unicast": 9}
    text = lab.vnetx("port", "show").out
    assert "learning off, isolated on, storm broadcast=5, storm unknown-unicast=9" in text


def test_json_of_switch_show(lab: Lab) -> None:
    lab.vnetx("switch", "add", "lab", "--ageing", "60", "--mac", "02:00:5e:00:00:10")
    lab.vnetx("attach", "p1", "--switch", "lab")
    (switch,) = lab.show("switch", "show", "lab")
    expected = {
        "name": "lab",
        "ageing": 60,
        "group_forward": "none",
        "transparent": False,
        "static_move": False,
        "host_port": "lab",
        "mac": "02:00:5e:00:00:10",
        "ports": ["p1"],
        "unconfirmed_for": None,
    }
    assert {key: switch[key] for key in expected} == expected
    lab.vnetx("switch", "set", "lab", "--transparent", "--ageing", "10")
    (switch,) = lab.show("switch", "show")
    assert (switch["ageing"], switch["group_forward"]) == (10, "all")


def test_a_switch_that_was_added_stays_without_ports(lab: Lab) -> None:
    lab.vnetx("switch", "add", "lab", "--no-host-port")
    lab.vnetx("attach", "p1", "--switch", "lab")
    lab.vnetx("detach", "p1")
    assert [switch["name"] for switch in lab.show("switch", "show")] == ["lab"]
    lab.vnetx("attach", "p1", "--switch", "lab")
    lab.vnetx("switch", "del", "lab")
    assert lab.show("switch", "show") == []
    assert "there is none of this name" in lab.vnetx("switch", "show", "lab", status=1).err


def test_tables_are_whole_in_a_pipe(lab: Lab) -> None:
    lab.vnetx("attach", "p1", "--learning", "off", "--isolated", "on")
    done = lab.vnetx("port", "show", env={**os.environ, "COLUMNS": "40"})
    heading, row = done.out.splitlines()
    assert heading.split()[0] == "port"
    assert row.rstrip().endswith("learning off, isolated on")


def test_a_closed_pipe_is_quiet(lab: Lab) -> None:
    lab.vnetx("attach", *lab.ports)
    command = f"{COMMAND} -n {lab.name} -j port show | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("json_too", [False, True])
def test_stats_watch_goes_on_until_interrupted(lab: Lab, json_too: bool) -> None:
    lab.vnetx("attach", *lab.ports)
    command = [COMMAND, "-n", lab.name, "stats", "--watch", "--interval", "0.1"]
    with subprocess.Popen(
        [*command, *(["-j"] if json_too else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        lines = [watch.stdout.readline() for _ in range(2)]
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
        assert watch.stderr.read() == ""
        assert watch.wait(10) == 130
    if json_too:
        assert [row["ifname"] for row in json.loads(lines[1])] == ["vnetx0", "p1", "p2"]


def test_version() -> None:
    document = vnetx("-j", "version").json
    assert set(document) == {"vnetx", "abi", "kernel"}
    assert vnetx("version").out.startswith(f"vnetx {document['vnetx']}, ABI {document['abi']}")


def test_doctor(lab: Lab) -> None:
    lab.vnetx("attach", *lab.ports)
    checks = {check["name"]: check for check in lab.show("doctor")}
    assert checks["privileges"]["status"] == "ok"
    assert checks["bpffs"]["status"] == "ok"
    assert checks["switch vnetx0"]["detail"] == "2 ports"
    for check in checks.values():
        assert set(check) == {"name", "status", "detail", "remedy"}
        assert check["status"] in ("ok", "warn", "fail")
        assert check["remedy"] or check["status"] == "ok"
