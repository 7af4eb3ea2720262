"""The last column of `port show`."""

from __future__ import annotations

import pytest

from vnetx.model import PortSettings
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
    assert _remarks(settings, unconfirmed=False) == words
