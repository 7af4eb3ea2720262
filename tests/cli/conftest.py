"""Labs that are removed when their test is over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from cli.command import Lab


@pytest.fixture(autouse=True)
def pinned_to_a_cpu() -> None:
    """Not here, where commands load programs on as many processors as there are."""


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """Makes labs with any number of hosts."""
    with contextlib.ExitStack() as stack:

        def make(hosts: int = 2) -> Lab:
            lab = Lab(hosts)
            stack.callback(lab.remove)
            lab.build()
            return lab

        yield make


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """Two hosts, not attached."""
    return make_lab()
