"""Switches in namespaces of their own. Making one costs half a second: tests share, and reset."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.dataplane import Dataplane
from lib.pair import Pair
from vnetx.datapath import pins


@contextlib.contextmanager
def _own_mount() -> Iterator[None]:
    """A bpffs of this process's own: the machine's switches are none of the tests' business, and
    whoever runs a command in the meantime would clean up after what it cannot know.

    Only inside: tests of other layers, in the same process, use the machine's.
    """
    before, pins.MOUNT = pins.MOUNT, Path(f"/run/vnetx-test-{os.getpid()}/bpf")
    try:
        yield
    finally:
        pins.MOUNT = before


@pytest.fixture(scope="session")
def _bpffs() -> Iterator[None]:
    yield
    with _own_mount():
        pins.unmount_if_empty()


@pytest.fixture
def mounted(_bpffs: None) -> Iterator[None]:
    """The test's switches are in a bpffs of its own."""
    with _own_mount():
        yield


def _shared(devices: int, fdb_size: int, max_ports: int) -> Iterator[Dataplane]:
    with _own_mount():
        plane = Dataplane(devices=devices, fdb_size=fdb_size, max_ports=max_ports)
    yield plane
    with _own_mount():
        plane.close()


@pytest.fixture(scope="session")
def _small(_bpffs: None) -> Iterator[Dataplane]:
    yield from _shared(devices=5, fdb_size=32, max_ports=32)


@pytest.fixture(scope="session")
def _large(_bpffs: None) -> Iterator[Dataplane]:
    yield from _shared(devices=3, fdb_size=65536, max_ports=8192)


def _fresh(plane: Dataplane) -> Iterator[Dataplane]:
    with _own_mount(), plane:
        plane.reset()
        yield plane


@pytest.fixture
def plane(_small: Dataplane) -> Iterator[Dataplane]:
    """Five devices, an FDB of 32 entries, 32 port slots; the test is in its namespace."""
    yield from _fresh(_small)


@pytest.fixture
def large_plane(_large: Dataplane) -> Iterator[Dataplane]:
    """Three devices, an FDB of 65536 entries, 8192 port slots."""
    yield from _fresh(_large)


@pytest.fixture
def pair(plane: Dataplane) -> Pair:
    """The data plane and its model, without ports."""
    return Pair(plane)


@pytest.fixture
def large_pair(large_plane: Dataplane) -> Pair:
    return Pair(large_plane)
