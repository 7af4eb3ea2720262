"""TCP and UDP streams between two hosts by iperf3(1): sender, receiver, forwarding on one core.

What is sent is fixed, and chosen so that it takes about the time that is asked for; the rate is
what the receiver saw, slow start included.  TCP is cubic's everywhere: the machine's default may
be one that paces by a model of the path (bbr).
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from vnetx_perf.figures import Sample
from vnetx_perf.namespaces import NICE, Namespace, settle
from vnetx_perf.rounds import Probe
from vnetx_perf.topology import Subject, host_address

_PORT = 5201
#: Fits an MTU of 1500 with IPv4's and UDP's headers.
_DATAGRAM = 1448
_LIMIT_S = 30
_FIRST_BYTES = 32 << 20


@dataclass
class Pace:
    """How many bytes a second the subject carried last."""

    bytes_per_second: float = 0.0


def _spawn(namespace: Namespace, core: int, *arguments: str) -> subprocess.Popen[str]:
    with namespace.entered():
        return subprocess.Popen(
            ["iperf3", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: settle(core, NICE),
        )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _serving(subject: Subject, core: int) -> subprocess.Popen[str]:
    """An iperf3 server on the second host, that listens."""
    server = _spawn(subject.hosts[1], core, "--server", "--one-off", "--forceflush")
    assert server.stdout is not None
    for line in server.stdout:
        if "listening" in line:
            return server
    _end(server)
    raise RuntimeError("iperf3 does not listen")


def _transfer(subject: Subject, core: int, *options: str) -> dict[str, Any]:
    """What iperf3's client says at its end."""
    server = _serving(subject, core)
    try:
        client = _spawn(
            subject.hosts[0],
            core,
            "--client",
            host_address(1),
            "--json",
            "--interval",
            "0",
            *options,
        )
        try:
            report = json.loads(client.communicate(timeout=_LIMIT_S)[0])
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"iperf3 took longer than {_LIMIT_S} s") from None
        finally:
            if client.poll() is None:
                _end(client)
    finally:
        _end(server)
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    end: dict[str, Any] = report["end"]
    return end


def measure(
    subject: Subject, pace: Pace, seconds: float, core: int, *, udp: bool, flows: int
) -> Sample:
    """Gb/s that the receiver read; retransmits or loss, and CPU seconds a gigabyte, beside it."""
    if not shutil.which("iperf3"):
        raise RuntimeError("iperf3 is not installed: apt install iperf3")
    amount = int(pace.bytes_per_second * seconds) or _FIRST_BYTES
    options = ["--bytes", str(max(amount // flows, 1 << 20)), "--parallel", str(flows)]
    if udp:
        options += ["--udp", "--bitrate", "0", "--length", str(_DATAGRAM)]
    else:
        options += ["--congestion", "cubic"]
    end = _transfer(subject, core, *options)
    sent, received, cpu = end["sum_sent"], end["sum_received"], end["cpu_utilization_percent"]
    pace.bytes_per_second = sent["bytes"] / sent["seconds"]
    busy = (cpu["host_total"] + cpu["remote_total"]) / 100 * received["seconds"]
    extra: dict[str, Any] = {
        "bytes": received["bytes"],
        "cpu_s_per_gb": busy * 1e9 / received["bytes"],
    }
    if udp:
        extra["lost_datagrams"] = received["lost_packets"]
        extra["datagrams"] = received["packets"]
    else:
        extra["retransmits"] = sent.get("retransmits", 0)
    return Sample(received["bytes"] * 8 / received["seconds"] / 1e9, extra)


def probe(*, udp: bool = False, flows: int = 1) -> Probe:
    """The probe `stream-tcp`, `stream-tcp-4`, `stream-udp` …"""
    protocol = "udp" if udp else "tcp"
    several = f"-{flows}" if flows > 1 else ""
    told = "one flow" if flows == 1 else f"{flows} flows"
    return Probe(
        name=f"stream-{protocol}{several}",
        title=f"{protocol.upper()} stream by iperf3, {told}, one core",
        unit="Gb/s",
        lower_is_better=False,
        measure=functools.partial(measure, udp=udp, flows=flows),
        prepare=lambda _: contextlib.nullcontext(Pace()),
        shown={
            "retransmits": "sent again",
            "lost_datagrams": "lost",
            "cpu_s_per_gb": "CPU s/GB",
        },
    )


def offloads(subject_state: dict[str, Any]) -> str:
    """The segmentation offloads that are off on a subject's devices, for the note of its row."""
    off = [
        f"{name} {feature} off"
        for name, device in subject_state["devices"].items()
        for feature in ("tcp-segmentation-offload", "generic-segmentation-offload")
        if device["offloads"].get(feature) == "off"
    ]
    return ", ".join(off)
