"""Labs that are removed when their test is over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from cli.command import Lab


@pytest.fixture
def processors() -> set[int]:
    """All of them here, where commands load programs on as many as there are."""
    return set(range(os.cpu_count() or 1))


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
