"""``apply`` and ``export``: the whole configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.command import Lab

pytestmark = pytest.mark.root

DOCUMENT = """
version: 1
switches:
  lab:
    ageing: 60
    group_forward: lldp
    mac: 02:00:5e:00:00:10
    ports:
      p1: {isolated: on}
      p2: {storm: {broadcast: 100}, hook: tc}
    fdb:
      - {mac: 02:00:5e:00:00:01, port: p1, state: sticky}
      - {mac: 02:00:5e:00:00:02, port: p2}
"""


@pytest.fixture
def document(tmp_path: Path) -> str:
    path = tmp_path / "vnetx.yaml"
    path.write_text(DOCUMENT)
    return str(path)


def test_apply_does_what_the_document_says(lab: Lab, document: str) -> None:
    lab.vnetx("apply", document)
    (switch,) = lab.show("switch", "show")
    assert (switch["name"], switch["ageing"], switch["mac"]) == ("lab", 60, "02:00:5e:00:00:10")
    settings = [port["settings"] for port in lab.show("port", "show")]
    assert [each["isolated"] for each in settings] == [True, False]
    assert settings[1]["storm"]["broadcast"] == 100


def test_applying_twice_changes_nothing(lab: Lab, document: str) -> None:
    assert lab.show("apply", document)["changed"]
    assert lab.show("apply", document) == {"changed": False, "steps": [], "messages": []}
    assert "nothing to do" in lab.vnetx("apply", "--dry-run", document).err


def test_export_is_what_apply_reads(lab: Lab, document: str) -> None:
    lab.vnetx("apply", document)
    text = lab.vnetx("export").out
    assert yaml.safe_load(text) == lab.show("export")
    assert yaml.safe_load(text)["switches"]["lab"]["fdb"] == [
        {"mac": "02:00:5e:00:00:01", "port": "p1", "state": "sticky"},
        {"mac": "02:00:5e:00:00:02", "port": "p2", "state": "static"},
    ]
    for form in (text, json.dumps(lab.show("export"))):
        assert not json.loads(lab.vnetx("-j", "apply", "-", input=form).out)["changed"]
    lab.vnetx("switch", "del", "lab", "--force")
    lab.vnetx("apply", "-", input=text)
    assert lab.vnetx("export").out == text


def test_dry_run_prints_the_plan_and_changes_nothing(lab: Lab, document: str) -> None:
    done = lab.vnetx("apply", "--dry-run", document)
    assert any("p1" in line for line in done.out.splitlines())
    assert lab.show("switch", "show") == []
    plan = lab.show("apply", "--dry-run", document)
    assert plan["steps"]
    assert lab.show("switch", "show") == []


def test_ports_that_are_left_out_are_detached(lab: Lab, document: str) -> None:
    lab.vnetx("apply", document)
    lab.vnetx("apply", "-", input="{version: 1, switches: {lab: {ports: {p2: }}}}")
    assert lab.names() == ["p2"]
    (switch,) = lab.show("switch", "show")
    assert switch["ageing"] == 300


def test_export_of_nothing(lab: Lab) -> None:
    assert lab.show("export") == {"version": 1, "switches": {}}
