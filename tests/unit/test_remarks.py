"""The last column of `port show`."""

from __future__ import annotations

import pytest

from vnetx.model import PortSettings, Vlans, parse_vids
from vnetx_cli.ports import _remarks


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PortSettings(), ""),
        (PortSettings(learn_limit=1), "learn-limit 1"),
        (PortSettings(learning=False), "learning off"),
        (
            PortSettings(isolated=True, storm=(5, 0, 7)),
            "isolated on, storm broadcast=5, storm unknown-unicast=7",
        ),
    ],
)
def test_remarks_are_what_one_would_type(settings: PortSettings, words: str) -> None:
    assert _remarks(settings, unconfirmed=False, vlan_aware=False) == words


@pytest.mark.parametrize(
    ("vlans", "words"),
    [
        (Vlans(), "access 1"),
        (Vlans.access(10), "access 10"),
        (Vlans.trunk(parse_vids("10,20-22")), "trunk 10,20-22"),
        (Vlans.trunk(parse_vids("10"), 5), "trunk 10 native 5"),
        (Vlans(0b1110, 0b0110, 1), "tagged 3 untagged 1-2 pvid 1"),
    ],
)
def test_remarks_have_vlans_where_they_are_heeded(vlans: Vlans, words: str) -> None:
    settings = PortSettings(vlans=vlans)
    assert _remarks(settings, unconfirmed=False, vlan_aware=True) == words
