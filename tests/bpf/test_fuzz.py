"""Random and mutated frames: nothing crashes, and no frame goes uncounted."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from lib import frames
from lib.dataplane import TC_DROP, TC_PASS, TC_REDIRECT, XDP_DROP, XDP_PASS, XDP_REDIRECT
from lib.frames import FOREIGN, QINQ, VLAN, frame, link_local, station, tag
from lib.model import DROP, PASS, REDIRECT, Frame
from lib.pair import Pair
from vnetx import _abi, _bpf

pytestmark = pytest.mark.root

# What a frame can come to; copies of a flood come to an end of their own.
ENDS = {name for number, name in _abi.REASONS.items() if number < _abi.NOTICE_FIRST} | {
    "tx_frames",
    "flooded",
    "local",
}
VERDICTS = {
    (TC_PASS, False): PASS,
    (TC_DROP, False): DROP,
    (TC_REDIRECT, False): REDIRECT,
    (XDP_PASS, True): PASS,
    (XDP_DROP, True): DROP,
    (XDP_REDIRECT, True): REDIRECT,
}


class Frames:
    """Endless frames: well-formed ones, those with bytes flipped, cut or grown, and noise."""

    MACS = (
        *(station(n) for n in range(1, 60)),
        *(link_local(n) for n in (0, 1, 2, 14, 16)),
        frames.BROADCAST,
        frames.MULTICAST,
        bytes(6),
    )
    #: The kernel refuses a test run of IP without an IP header.
    IP = (b"\x08\x00", b"\x86\xdd")

    VIDS = (10, 10, 10, 20, 20, 0, 30, 4095)

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        chosen = self.random.choice

        def tags() -> list[tuple[int, int]]:
            stacks = ((QINQ, VLAN), (VLAN, VLAN), (FOREIGN[0], VLAN), (FOREIGN[1],))
            protocols = chosen(((), (), (), (VLAN,), (VLAN,), *stacks))
            return [tag(chosen(self.VIDS), chosen(range(16)), tpid) for tpid in protocols]

        self.good = [
            frame(
                chosen(self.MACS),
                chosen(self.MACS[:59]),
                self.random.choice((14, 18, 60, 60, 60, 64, 90, 300, 1514)),
                tags=tags(),
            )
            for _ in range(2000)
        ]

    def __iter__(self) -> Iterator[bytes]:
        rng = self.random
        good, count = self.good, len(self.good)
        while True:
            raw = good[int(rng.random() * count)]
            dice = rng.random()
            if dice < 0.3:
                data = raw
            elif dice < 0.7:
                mutable = bytearray(raw)
                for _ in range(1 + int(rng.random() * 3)):
                    at = int(rng.random() * min(len(mutable), 24))
                    mutable[at] = int(rng.random() * 256)
                data = bytes(mutable)
            elif dice < 0.8:
                data = raw[: 14 + int(rng.random() * 10)]
            elif dice < 0.9:
                data = raw[:6] + rng.randbytes(8 + int(rng.random() * 100))
            else:
                data = rng.randbytes(14 + int(rng.random() * 200))
            if data[12:14] in self.IP and len(data) < 54:
                continue
            yield data


def scenery(pair: Pair) -> None:
    """A port of each kind; no limits that depend on time."""
    pair.port(1, xdp=True)
    pair.port(2, xdp=True, isolated=True, group_forward=0x4000)
    pair.port(3, isolated=True, hairpin=True, flood_multicast=False)
    pair.port(4, up=False)
    pair.port(5, twin=6, bd=1, learn_limit=20)
    pair.port(6, 5, host=True, twin=5)
    for n in range(1, 7):
        pair.entry(station(n), n, static=True)
    pair.entry(station(7), 1, static=True, sticky=True)
    pair.entry(station(8), 6, static=True, local=True)
    pair.set_switch(ageing=10**6 * 10**9, refresh=10**6 * 10**9)


def vlan_scenery(pair: Pair) -> None:
    """A port of each kind in a switch with VLANs."""
    pair.access(1, 10, xdp=True)
    pair.trunk(2, 10, 20, xdp=True, priority=0x6000)
    pair.trunk(3, 10, native=20, untagged_only=True, isolated=True, hairpin=True)
    pair.trunk(4, 10, 20, tpid=0x88A8, tagged_only=True, flood_multicast=False)
    pair.trunk(5, 10, 30, native=20, mapping={20: 10, 10: 30}, twin=6, learn_limit=20)
    pair.trunk(6, 20, 30, native=10, device=5, host=True, twin=5)
    for n in range(1, 7):
        pair.entry(station(n), n, 10 if n % 2 else 20, static=True)
    pair.entry(station(7), 1, 10, static=True, sticky=True)
    pair.entry(station(8), 6, 0, static=True, local=True)
    pair.set_switch(ageing=10**6 * 10**9, refresh=10**6 * 10**9)


def foreign_scenery(pair: Pair) -> None:
    """Ports whose tags the kernel does not know, those of a device with a host side among them."""
    vlan_scenery(pair)
    for index in (2, 3, 5, 6):
        pair.change(index, tpid=FOREIGN[index == 3])


SCENERIES = {"": scenery, "vlans": vlan_scenery, "foreign": foreign_scenery}


@pytest.mark.parametrize("where", SCENERIES)
def test_frames_one_by_one_against_the_model(pair: Pair, where: str) -> None:
    """Verdict, copies and counters of each."""
    SCENERIES[where](pair)
    source = iter(Frames(1))
    for number in range(3000):
        data = next(source)
        index = 1 + number % 6
        xdp = ("xdp", "xdp_generic")[number % 2] if index < 3 and number % 4 > 1 else None
        pair.inject(index, data, xdp=xdp, egress=index == 6)
        if number % 50 == 0:
            pair.check()
    pair.check()


def fuzz(pair: Pair, where: str, count: int, seed: int) -> None:
    """Runs frames through the programs and the model and balances the accounts."""
    SCENERIES[where](pair)
    plane, model = pair.plane, pair.model
    source = iter(Frames(seed))
    run = _bpf.prog_test_run
    tc, tc_egress, xdp = (plane.programs[name] for name in ("tc_ingress", "tc_egress", "xdp"))
    contexts = {}
    for index, port in model.ports.items():
        context = bytearray(192)
        struct.pack_into("=I", context, 40, port.ifindex)
        contexts[index] = bytes(context)
    copies = 0
    for number in range(count):
        data = next(source)
        index = 1 + number % 6
        by_xdp = index < 3 and number % 4 > 1
        verdict = PASS
        if by_xdp:
            context = struct.pack("=6I", 0, len(data), 0, plane.ifindex[index], 0, 0)
            verdict = VERDICTS[run(xdp, data, context)[0], True]
        if verdict == PASS:
            program = tc_egress if index == 6 else tc
            verdict = VERDICTS[run(program, data, contexts[index])[0], False]
        flooded = model.stats[index].flooded
        outcome = model.receive(index, Frame(data), xdp="xdp" if by_xdp else None)
        assert verdict == outcome.verdict, (number, index, data)
        if outcome.verdict == DROP or model.stats[index].flooded != flooded:
            copies += len(outcome.frames)
    pair.check()
    ends = sum(
        n for counters in plane.counters().values() for name, n in counters.items() if name in ENDS
    )
    assert ends - copies == count, "each frame has exactly one end"


@pytest.mark.parametrize(("where", "seed"), [("", 2), ("vlans", 3)])
def test_quick(pair: Pair, where: str, seed: int) -> None:
    with pair.plane.deaf():
        fuzz(pair, where, 20_000, seed)


@pytest.mark.slow
@pytest.mark.novm  # hours of an emulated processor; test_quick runs there
@pytest.mark.parametrize("where", SCENERIES)
@pytest.mark.parametrize("seed", range(10, 15))
def test_a_million_frames(pair: Pair, where: str, seed: int) -> None:
    """Five tests, so that two processes share them."""
    with pair.plane.deaf():
        fuzz(pair, where, 200_000, seed)
