"""Endpoints beside the kernel's macvlan: the same frames, the same deliveries, in all modes.

What is meant to differ is written down in :func:`meant`.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from lib.endpoints import HOST, MARKER, WIRE, Nic, Spec
from lib.frames import BROADCAST, MULTICAST, station

pytestmark = pytest.mark.root

OUTSIDE, LISTED, UNKNOWN = station(0xA1), station(0xA2), station(0xA3)
MODES = ("bridge", "vepa", "private", "source")
GROUPS = (BROADCAST, MULTICAST)

Step = tuple[str, bytes, bytes]


def endpoints(*, host_access: bool = True) -> dict[str, Spec]:
    """Two of each mode."""
    names = {f"m{n}": mode for n, mode in enumerate(2 * MODES, 1)}
    sources = {"source": (LISTED, MARKER)}
    return {
        name: Spec(name, mode, sources=sources.get(mode, ()), host_access=host_access)
        for name, mode in names.items()
    }


def frames(specs: dict[str, Spec], nic: bytes) -> list[Step]:
    """From everywhere to everybody, and what the wire reflects."""
    own = [spec.mac for spec in specs.values()]
    everybody = [*own, UNKNOWN, *GROUPS, nic]
    steps = [(WIRE, dst, src) for dst, src in product(everybody, [OUTSIDE, LISTED, *own])]
    for name, spec in specs.items():
        steps += [(name, dst, spec.mac) for dst in [*everybody, OUTSIDE]]
    steps += [(HOST, dst, nic) for dst in [*own, UNKNOWN, *GROUPS]]
    return [(place, dst, src) for place, dst, src in steps if dst != src]


def meant(
    step: Step, expected: Counter[str], specs: dict[str, Spec], nic: bytes, *, host_access: bool
) -> Counter[str]:
    """Where the frame goes here, by where it goes with the kernel's driver."""
    place, dst, src = step
    by_mac = {spec.mac: spec for spec in specs.values()}
    sender, receiver = by_mac.get(src), by_mac.get(dst)
    found = heeded(step, expected)
    if host_access and place in specs:
        if dst == nic:  # the host is reached at once
            found = Counter({HOST: 1})
        elif dst in GROUPS:
            found[HOST] += 1
    if host_access and place == HOST:
        if receiver and receiver.mode != "source":
            found = Counter({receiver.name: 1})
        elif dst in GROUPS:
            found += Counter(spec.name for spec in specs.values() if spec.mode != "source")
    if place == HOST and receiver and receiver.mode == "source" and host_access:
        found = Counter()  # the host is none of its sources
    if place == WIRE and sender:
        if dst in GROUPS:
            if host_access:
                found.pop(HOST, None)  # the host has had it
            if sender.mode in ("private", "source"):
                found.pop(sender.name, None)  # nobody gets back what he sent
        if receiver and "private" in (sender.mode, receiver.mode):
            found = Counter()  # never, by whatever way
    if place == WIRE and receiver and receiver.mode == "source":
        found.pop(HOST, None)  # the kernel hands on what its stack drops then
    return found


@pytest.fixture(scope="module")
def oracle() -> list[tuple[Step, Counter[str]]]:
    """Where each frame goes with the kernel's driver."""
    specs = endpoints()
    with Nic() as nic:
        nic.kernel(*specs.values())
        steps = frames(specs, nic.mac)
        return list(zip(steps, nic.passed(steps), strict=True))


@pytest.mark.parametrize(
    ("hook", "host_access", "vlan_aware"),
    [
        *(("tc", access, aware) for access in (True, False) for aware in (True, False)),
        ("xdp", True, False),
        ("xdp", False, True),
        ("xdp-generic", True, False),
    ],
)
def test_the_same_as_the_kernel(
    oracle: list[tuple[Step, Counter[str]]], hook: str, host_access: bool, vlan_aware: bool
) -> None:
    """MV-03, MV-05, MV-07."""
    specs = endpoints(host_access=host_access)
    with Nic(hook) as nic:
        nic.attach(vlan_aware=vlan_aware)
        nic.vnetx(*specs.values())
        mac = nic.mac
        found = nic.passed([step for step, _ in oracle])
    names = {spec.mac: name for name, spec in specs.items()}
    names |= {mac: "nic", OUTSIDE: "outside", LISTED: "listed", UNKNOWN: "unknown"}
    names |= {BROADCAST: "broadcast", MULTICAST: "multicast"}
    wrong = [
        f"{step[0]}: {names[step[2]]} to {names[step[1]]}: kernel {dict(theirs)}, "
        f"meant {dict(+wanted)}, found {dict(ours)}"
        for (step, theirs), ours in zip(oracle, found, strict=True)
        if +(wanted := meant(step, theirs, specs, mac, host_access=host_access))
        != heeded(step, ours)
    ]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(oracle)}", *wrong])


def heeded(step: Step, found: Counter[str]) -> Counter[str]:
    """Without what the host's stack drops anyway: what is for an address that is not its own."""
    return +Counter({place: n for place, n in found.items() if (place, step[1]) != (HOST, UNKNOWN)})
