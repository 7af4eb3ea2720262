"""NICs that are taken for a measurement come back as they were."""

from __future__ import annotations

import json
import os

import pytest

from vnetx_perf import cables, subjects
from vnetx_perf.namespaces import ip

pytestmark = pytest.mark.root


@pytest.fixture
def ends(monkeypatch):
    names = [f"vc{os.getpid() % 100000}{end}" for end in "ab"]
    ip("link", "add", "name", names[0], "type", "veth", "peer", "name", names[1])
    ip("link", "set", "dev", names[0], "up", "mtu", "1400")
    monkeypatch.setenv(cables.VARIABLE, ":".join(names))
    yield names
    ip("link", "delete", "dev", names[0])


def shown(name):
    (link,) = json.loads(ip("-json", "link", "show", "dev", name))
    return link["address"], link["mtu"], "UP" in link["flags"]


@pytest.mark.parametrize(("kind", "ports"), [("macvlan-cable", ["lower"]), ("direct-cable", [])])
def test_both_ends_come_back(ends, kind, ports):
    before = [shown(name) for name in ends]
    for _ in range(2):
        with subjects.make(kind) as subject:
            assert subject.ports == ports
            with pytest.raises(RuntimeError, match="no cable is left"):
                subjects.make("macvlan-cable").__enter__()
        assert [shown(name) for name in ends] == before


def test_what_has_addresses_is_not_taken(ends):
    assert cables.lacking() == ""
    ip("address", "add", "198.18.77.1/32", "dev", ends[1])
    assert "has addresses, which it would lose" in cables.lacking()
