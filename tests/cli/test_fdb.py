"""fdb show, add, del, flush, save, load and watch, as users and scripts run them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.command import COMMAND, Done, Lab

pytestmark = pytest.mark.root

KEYS = {"mac", "vlan", "switch", "port", "state", "age"}
ONE, TWO = "02:00:5e:00:00:01", "02:00:5e:00:00:02"


@pytest.fixture
def attached(lab: Lab) -> Lab:
    lab.vnetx("attach", *lab.ports)
    return lab


def entries(lab: Lab, *options: str) -> dict[str, Any]:
    """Entries that are not local, by address."""
    return {e["mac"]: e for e in lab.show("fdb", "show", *options) if e["state"] != "local"}


def host_mac(lab: Lab, number: int) -> str:
    command = ("-n", lab.hosts[number - 1], "-j", "link", "show", "dev", "eth0")
    output = subprocess.run(("ip", *command), capture_output=True, text=True, check=True).stdout
    address = json.loads(output)[0]["address"]
    assert isinstance(address, str)
    return address


def test_show(attached: Lab) -> None:
    assert attached.ping(1, 2)
    found = attached.show("fdb", "show")
    assert all(set(entry) == KEYS for entry in found)
    learned = {e["mac"]: e for e in found if e["state"] == "learned"}
    for number in (1, 2):
        entry = learned[host_mac(attached, number)]
        assert entry["port"] == f"p{number}"
        assert entry["switch"] == "vnetx0"
        assert entry["vlan"] is None
        assert 0 <= entry["age"] <= 30
    (local,) = [e for e in found if e["state"] == "local"]
    assert (local["port"], local["age"]) == ("vnetx0", None)
    mine = attached.show("fdb", "show", "--port", "p1")
    assert [e["mac"] for e in mine] == [host_mac(attached, 1)]
    same = attached.show("fdb", "show", "--mac", mine[0]["mac"].upper())
    assert [e["port"] for e in same] == ["p1"]
    assert attached.show("fdb", "show", "--state", "local") == [local]
    assert attached.show("fdb", "show", "--switch", "vnetx0", "--count") == {"count": len(found)}
    lines = attached.vnetx("fdb", "show").out.splitlines()
    assert lines[0].split() == ["MAC", "VLAN", "PORT", "STATE", "AGE", "SWITCH"]
    assert len(lines) == len(found) + 1
    assert attached.vnetx("fdb", "show", "--count").out == f"{len(found)}\n"


def test_show_where_there_is_nothing(lab: Lab) -> None:
    assert lab.show("fdb", "show") == []
    assert lab.vnetx("fdb", "show").out == ""


def test_add_and_del(attached: Lab) -> None:
    attached.vnetx("fdb", "add", ONE, "--port", "p1")
    assert entries(attached)[ONE]["state"] == "static"
    attached.vnetx("fdb", "add", "0200.5e00.0001", "--port", "p1")
    done = attached.vnetx("fdb", "add", ONE, "--port", "p2", status=1)
    assert f"it has a static entry on port p1 already\nvnetx fdb del {ONE} first" in done.err
    attached.vnetx("fdb", "add", ONE, "--port", "p2", "--sticky", "--replace")
    assert entries(attached, "--state", "sticky")[ONE]["port"] == "p2"
    assert "on port p2" in attached.vnetx("fdb", "del", ONE, "--port", "p1", status=1).err
    assert attached.show("fdb", "del", ONE) == {"changed": True}
    assert "has no entry" in attached.vnetx("fdb", "del", ONE, status=1).err


ERRORS: list[tuple[tuple[str, ...], int, str]] = [
    (("add", "02:00:5e:00:00", "--port", "p1"), 2, "not six bytes"),
    (("add", "00:00:00:00:00:00", "--port", "p1"), 2, "is zero"),
    (("add", "ff:ff:ff:ff:ff:ff", "--port", "p1"), 2, "is the broadcast address"),
    (("add", "01:00:5e:00:00:01", "--port", "p1"), 2, "is a multicast"),
    (("add", ONE), 2, "--port"),
    (("add", ONE, "--port", "p9"), 1, "port p9: not a port of any switch"),
    (("add", ONE, "--port", "p1", "--vlan", "7"), 1, "--vlan-aware on --shared-learning off"),
    (("show", "--switch", "nope"), 1, "switch nope: there is none"),
    (("show", "--port", "p1", "--switch", "other"), 1, "not a port of switch other"),
    (("flush",), 1, "several switches: other, vnetx0\nsay --switch"),
    (("load", "/missing", "--switch", "other"), 1, "No such file"),
]


def test_errors(attached: Lab) -> None:
    attached.vnetx("switch", "add", "other", "--no-host-port")
    for arguments, status, words in ERRORS:
        done: Done = attached.vnetx("fdb", *arguments, status=status)
        flat = done.err.strip()
        assert words in flat, arguments
        assert len(flat.splitlines()) <= 2, arguments
        assert "Traceback" not in flat, arguments


def test_the_hosts_own_address_stays(attached: Lab) -> None:
    (local,) = attached.show("fdb", "show", "--state", "local")
    for arguments in (("del", local["mac"]), ("add", local["mac"], "--port", "p1", "--replace")):
        done = attached.vnetx("fdb", *arguments, status=1)
        assert "host's own address" in done.err
    attached.vnetx("fdb", "flush", "--all")
    assert attached.show("fdb", "show", "--state", "local") == [local]


def test_flush(attached: Lab) -> None:
    assert attached.ping(1, 2)
    attached.vnetx("fdb", "add", ONE, "--port", "p1")
    attached.vnetx("fdb", "flush", "--port", "p1")
    left = {entry["port"] for entry in entries(attached, "--state", "learned").values()}
    assert "p1" not in left
    attached.vnetx("fdb", "flush")
    assert ONE in entries(attached)
    assert attached.show("fdb", "flush", "--static") == {"flushed": 1}
    assert ONE not in entries(attached)
    assert attached.show("fdb", "flush", "--all", "--mac", ONE) == {"flushed": 0}


def test_save_and_load(attached: Lab, tmp_path: Path) -> None:
    attached.vnetx("fdb", "add", ONE, "--port", "p1")
    attached.vnetx("fdb", "add", TWO, "--port", "p2", "--sticky")
    path = tmp_path / "fdb"
    attached.vnetx("fdb", "save", str(path))
    text = attached.vnetx("fdb", "save", "-").out
    assert f"{ONE} port p1 static\n" in text
    assert f"{TWO} port p2 sticky\n" in path.read_text()
    attached.vnetx("fdb", "flush", "--all")
    assert attached.show("fdb", "load", str(path))["loaded"] >= 2
    found = entries(attached)
    assert (found[ONE]["state"], found[TWO]["state"]) == ("static", "sticky")
    attached.vnetx("fdb", "flush", "--all")
    attached.vnetx("fdb", "load", "-", input=f"{ONE} port p2 learned age 9\n")
    assert 9 <= entries(attached)[ONE]["age"] < 20


def test_a_bad_line_loads_nothing(attached: Lab, tmp_path: Path) -> None:
    path = tmp_path / "fdb"
    path.write_text(f"# two\n{ONE} port p1 static\n{TWO} port p7 static\n")
    done = attached.vnetx("fdb", "load", str(path), status=1)
    assert done.err == (
        f"Error: loading {path}: line 3: 'p7' is not a port of this switch\nnothing was loaded\n"
    )
    assert ONE not in entries(attached)


def test_a_file_that_does_not_fit(lab: Lab, tmp_path: Path) -> None:
    lab.vnetx("switch", "add", "small", "--fdb-size", "16", "--no-host-port")
    lab.vnetx("attach", "p1", "--switch", "small")
    path = tmp_path / "fdb"
    path.write_text("".join(f"02:00:5e:00:01:{n:02x} port p1 static\n" for n in range(17)))
    done = lab.vnetx("fdb", "load", str(path), status=1)
    assert "17 entries do not fit" in done.err
    assert "an FDB of 16" in done.err
    assert not [e for e in entries(lab).values() if e["state"] == "static"]
    room = 16 - lab.show("fdb", "show", "--count")["count"]
    lines = path.read_text().splitlines(keepends=True)[:room]
    lab.vnetx("fdb", "load", "-", input="".join(lines))
    done = lab.vnetx("fdb", "add", "02:00:5e:00:02:00", "--port", "p1", status=1)
    assert "the FDB is full: 16 entries" in done.err


def test_show_stops_with_its_reader(attached: Lab) -> None:
    lines = "".join(f"02:00:5e:{n >> 8:02x}:{n & 255:02x}:01 port p1 static\n" for n in range(9999))
    attached.vnetx("fdb", "load", "-", input=lines)
    command = f"{COMMAND} -n {attached.name} fdb show | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("MAC")
    assert done.stderr == ""


class Watcher:
    """`fdb watch --json` in the background."""

    def __init__(self, lab: Lab) -> None:
        command = [COMMAND, "-n", lab.name, "-j", "-v", "fdb", "watch"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        assert "watching" in self.process.stderr.readline()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            document: dict[str, Any] = json.loads(self.process.stdout.readline())
            if wanted(document):
                return document

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_watch(lab: Lab) -> None:
    lab.vnetx("switch", "add", "vnetx0", "--ageing", "2")
    lab.vnetx("attach", *lab.ports)
    watcher = Watcher(lab)
    try:
        done = lab.vnetx("fdb", "watch", status=1)
        assert f"process {watcher.process.pid} watches it already" in done.err
        assert lab.ping(1, 2)
        address = host_mac(lab, 1)
        learned = watcher.until(lambda e: (e["event"], e["mac"]) == ("learn", address))
        assert learned["port"] == "p1"
        assert abs(learned["time"] - time.time()) < 30
        gone = watcher.until(lambda e: (e["event"], e["mac"]) == ("age-out", address))
        assert gone["port"] == "p1"
        lab.vnetx("detach", "--all")
        lab.vnetx("switch", "del", "vnetx0")
        assert watcher.process.wait(timeout=10) == 1
        assert watcher.process.stderr is not None
        assert "the switch was removed" in watcher.process.stderr.read()
    finally:
        watcher.close()


def test_show_is_quick_and_imports_little(attached: Lab) -> None:
    code = (
        "import sys; from vnetx_cli.main import main\n"
        f"main(['-n', {attached.name!r}, '-j', 'fdb', 'show'], standalone_mode=False)\n"
        "print([m for m in ('bcc', 'pyroute2', 'rich', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
