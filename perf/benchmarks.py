"""What can be measured, by the names of the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from vnetx_perf import (
    control,
    cost,
    endpoints,
    oneway,
    overlays,
    paced,
    pps,
    rounds,
    rr,
    stream,
    trunks,
)
from vnetx_perf.figures import Figure, Row, Target
from vnetx_perf.session import Benchmark, Level, Session

_SIZES = (60, 128, 512, 1514)
_FLOWS = 4
#: Shares of the slowest subject's rate at which latency under load is taken: of all subjects at
#: the same absolute rate.
_LOADS = (10, 50, 90)
_SOME_LOSS = 0.005
_BROADCAST = b"\xff" * 6
_ONE_CORE = "this process has one core, and the server wants another"
_QUICK = "left out by --quick"


def _rr(session: Session) -> Iterator[Figure]:
    seconds = session.pick(0.08, 0.08, 0.2)
    yield session.paired("rr", rr.probe(True), seconds, 0.4)
    yield session.paired("rr", rr.probe(False), seconds, 0.3)
    if session.level == "quick":
        session.skip("rr-tcp-2core", _QUICK)
    elif session.other_core is None:
        session.skip("rr-tcp-2core", _ONE_CORE)
    else:
        yield session.paired("rr", rr.probe(True, other_core=session.other_core), seconds, 0.3)


def _oneway(session: Session) -> Iterator[Figure]:
    yield session.paired("oneway", oneway.probe(), session.pick(0.08, 0.08, 0.2))


def _pps(session: Session) -> Iterator[Figure]:
    sizes = _SIZES[:1] if session.level == "quick" else _SIZES
    live = {n: s for n, s in session.made.items() if s.takes_live_frames}
    share = 1 / (len(sizes) + 1)
    for size in sizes:
        yield session.paired("pps", pps.probe(size, "live"), 0.08, share, made=live)
    yield session.paired("pps", pps.probe(_SIZES[0], "packet"), 0.08, share)
    for size in _SIZES[len(sizes) :]:
        session.skip(pps.probe(size, "live").name, _QUICK)


def _search_s(session: Session) -> float:
    """Seconds for a search's trials, if it begins near its end."""
    return session.pick(0.28, 0.28, 0.35)


def _rate(session: Session) -> Iterator[Figure]:
    for loss in (0.0, _SOME_LOSS):
        yield session.paired("rate", paced.probe(loss), _search_s(session), 0.5, least=3)


def _load(session: Session) -> Iterator[Figure]:
    probe = paced.probe(_SOME_LOSS)
    search = session.done.get(probe.name)
    if search is None:
        search = session.paired("load", probe, _search_s(session), 0, least=1)
        yield search
    if not search.rows:
        session.skip("load", "no subject has a rate: " + "; ".join(search.failed.values()))
        return
    slowest = min(search.estimate(name).value for name in search.rows) * 1e6
    for load in _LOADS:
        probe = paced.loaded_probe(slowest * load / 100, f"{load}%")
        yield session.paired("load", probe, session.pick(0.08, 0.08, 0.2), 1 / len(_LOADS))


def _burst(session: Session) -> Iterator[Figure]:
    yield session.paired("burst", paced.burst_probe(), 0.1)


def _stream(session: Session) -> Iterator[Figure]:
    seconds = session.pick(0.12, 0.12, 0.5)
    probes = [stream.probe(), stream.probe(flows=_FLOWS), stream.probe(udp=True)]
    if session.level == "quick":
        for left in probes[1:]:
            session.skip(left.name, _QUICK)
        del probes[1:]
    for probe in probes:
        figure = session.paired("stream", probe, seconds, 1 / len(probes))
        _note_offloads(figure, session)
        yield figure


def _note_offloads(figure: Figure, session: Session) -> None:
    """Says of each row which offloads it had to do without."""
    for name, row in figure.rows.items():
        told = (row.note, stream.offloads(session.made[name].state()))
        row.note = "; ".join(filter(None, told))


def _across(session: Session, group: str, between: str) -> Iterator[Figure]:
    """Of two switches with something between them, what the others are of one."""

    def own(probe: rounds.Probe) -> rounds.Probe:
        """The probe, for a figure of its own."""
        return dataclasses.replace(
            probe, name=f"{group}-{probe.name}", title=f"{probe.title}, {between}"
        )

    seconds = session.pick(0.08, 0.08, 0.2)
    yield session.paired(group, own(rr.probe(True)), seconds, 0.35)
    yield session.paired(group, own(oneway.probe()), seconds, 0.15)
    yield session.paired(group, own(pps.probe(_SIZES[0], "live")), 0.08, 0.2)
    seconds = session.pick(0.12, 0.12, 0.5)
    figure = session.paired(group, own(stream.probe()), seconds, 0.3)
    _note_offloads(figure, session)
    yield figure


def _vlan(session: Session) -> Iterator[Figure]:
    yield from _across(session, "vlan", "across a trunk")


def _vxlan(session: Session) -> Iterator[Figure]:
    yield from _across(session, "vxlan", "through an overlay")


def _encap(session: Session) -> Iterator[Figure]:
    """Frames a second of switches with and without an overlay, and the difference in time."""
    probe = pps.probe(_SIZES[0], "live")
    probe = dataclasses.replace(
        probe, name="encap-pps", title=f"{probe.title}, with and without an overlay"
    )
    rates = session.paired("encap", probe, 0.08)
    yield rates
    yield Figure(
        name="encap-cost",
        benchmark="encap",
        title="what an overlay adds to a frame of 60 bytes, put on and taken off again",
        unit="ns",
        lower_is_better=True,
        rows={
            name: Row.of(overlays.added_ns(rates.rows[name].values, rates.rows[plain].values))
            for name, plain in overlays.PLAIN.items()
            if name in rates.rows and plain in rates.rows
        },
        seed=session.seed,
    )


def _endpoint(session: Session) -> Iterator[Figure]:
    yield from _across(session, "endpoint", "between a wire and an endpoint")
    probe = pps.probe(_SIZES[0], "live", target=_BROADCAST)
    yield session.paired(
        "endpoint",
        dataclasses.replace(
            probe,
            name="endpoint-broadcast",
            title="broadcasts of 60 B from a wire that reach an endpoint, one core",
        ),
        0.08,
        0.2,
    )


def _cost(session: Session) -> Iterator[Figure]:
    rounds, repeat = session.pick(7, 15, 31), session.pick(20_000, 50_000, 100_000)
    yield from cost.paths(
        rounds=int(rounds), repeat=int(repeat), core=session.core, seed=session.seed
    )


def _scale(session: Session) -> Iterator[Figure]:
    quick = session.level == "quick"
    yield from cost.scale(
        rounds=int(session.pick(5, 11, 31)),
        repeat=int(session.pick(10_000, 50_000, 100_000)),
        core=session.core,
        seed=session.seed,
        sizes=cost.FDB_SIZES[::5] if quick else cost.FDB_SIZES,
        ports=cost.PORT_COUNTS[::3] if quick else cost.PORT_COUNTS,
        vlans=cost.VLAN_COUNTS[::4] if quick else cost.VLAN_COUNTS,
    )


def _control(session: Session) -> Iterator[Figure]:
    yield from control.figure(
        rounds=int(session.pick(3, 5, 9)),
        seed=session.seed,
        many=int(session.pick(0, 50, 1000)),
        entries=int(session.pick(0, 50_000, 50_000)),
        until=session.until(),
        progress=session.progress,
    )


def _seconds(quick: float, default: float, thorough: float) -> dict[Level, float]:
    return {"quick": quick, "default": default, "thorough": thorough}


#: Switches without an overlay.
_PLAIN = tuple(dict.fromkeys(overlays.PLAIN.values()))

BENCHMARKS: dict[str, Benchmark] = {
    each.name: each
    for each in (
        Benchmark("rr", "request and response over TCP and UDP sockets: latency, rate, CPU",
                  _rr, _seconds(16, 36, 300)),
        Benchmark("oneway", "latency of a frame in the kernel alone",
                  _oneway, _seconds(5, 10, 60)),
        Benchmark("pps", "frames a second, by size and by source",
                  _pps, _seconds(9, 32, 300)),
        Benchmark("rate", "highest rate without loss, and with 0.5 % of it (RFC 2544)",
                  _rate, _seconds(0, 40, 180)),
        Benchmark("load", "latency under 10, 50 and 90 % of the slowest one's rate",
                  _load, _seconds(0, 18, 120)),
        Benchmark("burst", "latency and loss of bursts",
                  _burst, _seconds(0, 8, 60)),
        Benchmark("stream", "TCP and UDP streams by iperf3",
                  _stream, _seconds(9, 30, 300)),
        Benchmark("vlan", "tags put on and taken off: latency, frames a second, a stream",
                  _vlan, _seconds(0, 24, 240),
                  own=tuple(each.kind for each in trunks.KINDS), against=trunks.AGAINST),
        Benchmark("vxlan", "an overlay between two hosts: latency, frames a second, a stream",
                  _vxlan, _seconds(0, 0, 180),
                  own=tuple(each.kind for each in overlays.KINDS), against=overlays.AGAINST),
        Benchmark("encap", "what an overlay adds to a frame, IPv4 and IPv6",
                  _encap, _seconds(0, 0, 60), own=(*_PLAIN, *overlays.PLAIN), against=_PLAIN,
                  default=tuple(overlays.PLAIN)),
        Benchmark("endpoint", "a wire and an endpoint on a NIC: latency, frames a second, a stream",
                  _endpoint, _seconds(0, 0, 180),
                  own=("direct", "redirect-peer", *(each.kind for each in endpoints.KINDS)),
                  against=endpoints.AGAINST),
        Benchmark("cost", "nanoseconds a frame of each path of vnetx's programs",
                  _cost, _seconds(4, 8, 60), wants_subjects=False),
        Benchmark("scale", "cost against the number of FDB entries, ports and VLANs",
                  _scale, _seconds(0, 12, 90), wants_subjects=False),
        Benchmark("control", "how long commands take, beside the kernel's own",
                  _control, _seconds(6, 22, 300), wants_subjects=False),
    )
}  # fmt: skip

_FLAT = 1.15
#: What VLANs may cost: latency, and frames a second where each takes 8 % longer.
_SLOWER, _FEWER = 1.05, 0.926
_KERNELS_OWN = ("bridge-pair", "bridge-vlan", "8021q")


def _flat(series: str, small: str, large: str) -> dict[str, tuple[Target, ...]]:
    return {f"{series} · {large}": (Target("≤", _FLAT, f"{series} · {small}"),)}


#: What figures have to show: targets by figure and row.
TARGETS: dict[str, dict[str, tuple[Target, ...]]] = {
    "rr-tcp": {
        "vnetx-tc": (Target("≤", 0.90, "bridge"), Target("≤", 1.08, "direct")),
        "vnetx-vlan": (Target("≤", _SLOWER, "vnetx-tc"),),
        "vnetx-macvlan": (Target("≤", 1.03, "macvlan"),),
        "vnetx-ipvlan-l2": (Target("≤", 1.03, "ipvlan-l2"),),
        "vnetx-ipvlan-l3": (Target("≤", 1.03, "ipvlan-l3"),),
    },
    "endpoint-rr-tcp": {
        "vnetx-macvlan-wire": (Target("≤", 1.0, "macvlan-wire"),),
        "vnetx-macvlan-cable": (Target("≤", 1.0, "macvlan-cable"),),
    },
    "endpoint-stream-tcp": {
        "vnetx-macvlan-wire": (Target("≥", 1.0, "macvlan-wire"),),
        "vnetx-macvlan-cable": (Target("≥", 1.0, "macvlan-cable"),),
    },
    "endpoint-pps-60": {
        "vnetx-macvlan-wire-xdp": (Target("≥", 1.3, "macvlan-wire"),),
        "vnetx-macvlan-cable-xdp": (Target("≥", 1.3, "macvlan-cable"),),
    },
    "stream-tcp": {
        "vnetx-tc": (Target("≥", 1.0, "bridge"),),
        "vnetx-macvlan": (Target("≥", 1.0, "macvlan"),),
    },
    "pps-60": {
        "vnetx-tc": (Target("≥", 1.5, "bridge"),),
        "vnetx-xdp": (Target("≥", 1.8, "bridge"),),
        "vnetx-vlan": (Target("≥", _FEWER, "vnetx-tc"),),
    },
    "vlan-rr-tcp": {
        "vnetx-tag": (
            Target("≤", _SLOWER, "vnetx-pair"),
            *(Target("≤", 0.95, other) for other in _KERNELS_OWN),
        ),
    },
    "vlan-pps-60": {
        "vnetx-tag": (
            Target("≥", _FEWER, "vnetx-pair"),
            *(Target("≥", 1.0, other) for other in _KERNELS_OWN),
        ),
    },
    "vxlan-rr-tcp": {
        "vnetx-vxlan": (Target("≤", 0.80, "bridge-vxlan"), Target("≤", 1.0, "ovs-vxlan")),
    },
    "vxlan-stream-tcp": {
        "vnetx-vxlan": (Target("≥", 1.0, "bridge-vxlan"), Target("≥", 1.0, "ovs-vxlan")),
    },
    "vxlan-pps-60": {
        "vnetx-vxlan": (Target("≥", 1.0, "ovs-vxlan"),),
        "vnetx-vxlan-xdp": (Target("≥", 2.5, "bridge-vxlan"),),
    },
    "scale-fdb": _flat("tc hot", "10", "1,000,000") | _flat("xdp hot", "10", "1,000,000"),
    "scale-ports": _flat("tc hot", "2", "1,000") | _flat("xdp hot", "2", "1,000"),
    "scale-vlans": _flat("tc anew", "1", "4,094") | _flat("xdp anew", "1", "4,094"),
    "control": control.TARGETS,
}
