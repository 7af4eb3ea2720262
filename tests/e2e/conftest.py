"""Labs of hosts around a switch, and the hooks that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lib.snapshot import Machine
from lib.topology import HOOKS, Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A switch's namespace without hosts yet."""
    with Lab() as made:
        yield made


@pytest.fixture(params=HOOKS)
def hook(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """As many labs as a test asks for."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Lab(**options))


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine of its own, in which commands are killed and what they leave is seen."""
    with Machine(idle=True) as made:
        yield made
