"""Fixtures that every layer shares."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import hypothesis
import pytest

pytest.register_assert_rewrite("lib.pair")

hypothesis.settings.register_profile(
    "vnetx",
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("vnetx")


#: The inner loop has one case of each test of these layers.
ONE_CASE = ("e2e", "cli") if "VNETX_ONE_CASE" in os.environ else ()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seen = set()
    for item in list(items):
        test = item.nodeid.partition("[")[0]
        if test in seen and item.path.parent.name in ONE_CASE:
            items.remove(item)
            config.hook.pytest_deselected(items=[item])
        seen.add(test)
    # the virtual machine takes long; what forks does so while the process is small
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("vm", "forks")])
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: namespaces and bpf(2)")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """What is there by now stays: processes that are forked need not look through it."""
    gc.collect()
    gc.freeze()


#: Before any test: one that narrows them, and leaves it so, narrows them for itself alone.
PROCESSORS = sorted(os.sched_getaffinity(0))


@pytest.fixture
def processors() -> set[int]:
    """Where a test runs. Each worker of xdist has one: what a test sends arrives in the order of
    sending."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    return {PROCESSORS[worker % len(PROCESSORS)]}


@pytest.fixture(autouse=True)
def pinned(processors: set[int]) -> Iterator[None]:
    os.sched_setaffinity(0, processors)
    yield
    os.sched_setaffinity(0, set(PROCESSORS))
