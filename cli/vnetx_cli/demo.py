"""Three hosts talk through a switch, beside the kernel's bridge: ``python -m vnetx_cli.demo``.

Everything happens in network namespaces of its own, the switch's included; nothing of the machine
is touched, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from vnetx_cli import table

PREFIX = "vnetxdemo"
HOSTS = ("alpha", "beta", "gamma")
SUBJECTS = {"direct": "one veth pair, no switch", "bridge": "kernel bridge", "vnetx-auto": "vnetx"}

_ROUNDS = 7
_ROUND_S = 0.25
_STREAM_S = 2


class DemoError(Exception):
    """The demonstration did not show what it is about."""


# ------------------------------------------------------------ commands


def _vnetx() -> list[str]:
    """The command that belongs to this interpreter."""
    beside = Path(sys.executable).with_name("vnetx")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "vnetx_cli.main"]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _typed(command: str, remark: str = "") -> None:
    click.echo(
        "\n"
        + click.style(f"$ {command}", bold=True, fg="cyan")
        + (click.style(f"   # {remark}", dim=True) if remark else "")
    )


class Lab:
    """Namespaces of hosts, and one that stands for the machine with the switch."""

    def __init__(self) -> None:
        self.switch = self._name("switch")
        self.hosts = {host: self._name(host) for host in HOSTS}

    @staticmethod
    def _name(role: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{role}"

    def build(self) -> None:
        for name in (self.switch, *self.hosts.values()):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "dev", "lo", "up")
        for number, (host, name) in enumerate(self.hosts.items(), start=1):
            _run(
                *("ip", "-n", self.switch, "link", "add", "dev", host, "type", "veth"),
                *("peer", "name", "eth0", "netns", name),
            )
            _run("ip", "-n", self.switch, "link", "set", "dev", host, "up")
            for address in (f"192.0.2.{number}/24", f"2001:db8::{number}/64"):
                _run("ip", "-n", name, "address", "add", address, "dev", "eth0", "nodad")
            _run("ip", "-n", name, "link", "set", "dev", "eth0", "up")

    def vnetx(self, *arguments: str) -> float:
        """Runs the command as a user of the switch's machine does; returns how long it took."""
        _typed(f"vnetx {' '.join(arguments)}")
        sys.stdout.flush()
        begin = time.monotonic()
        done = subprocess.run([*_vnetx(), "--netns", self.switch, *arguments], check=False)
        if done.returncode:
            raise DemoError(f"vnetx {' '.join(arguments)} failed")
        return time.monotonic() - begin

    def remove(self) -> None:
        detach = [*_vnetx(), "--netns", self.switch, "detach", "--all"]
        subprocess.run(detach, capture_output=True, check=False)
        for name in (*self.hosts.values(), self.switch):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _remove_leftovers() -> None:
    """Namespaces of demonstrations that were killed."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        pid = path.name.split("-")[1]
        if not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "delete", path.name], capture_output=True, check=False)


# ------------------------------------------------------------ what is shown


def _ping_all(lab: Lab) -> None:
    _typed("ping …", "every host to every other, IPv4 and IPv6")
    numbers = {host: number for number, host in enumerate(HOSTS, start=1)}
    pings = {}
    for source, target in itertools.permutations(HOSTS, 2):
        for prefix in ("192.0.2.", "2001:db8::"):
            command = [
                "ip",
                "netns",
                "exec",
                lab.hosts[source],
                "ping",
                "-n",
                "-c",
                "3",
                "-i",
                "0.1",
            ]
            pings[source, target, prefix] = subprocess.Popen(
                [*command, "-W", "2", f"{prefix}{numbers[target]}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
    lost = []
    times = {}
    for pair, process in pings.items():
        output = process.communicate()[0]
        if process.returncode or " 0% packet loss" not in output:
            lost.append(pair)
        else:
            times[pair] = output.rpartition("=")[2].split("/")[1]
    rows = []
    for source in HOSTS:
        cells = [source]
        for target in HOSTS:
            found = [times.get((source, target, p), "lost") for p in ("192.0.2.", "2001:db8::")]
            cells.append("" if source == target else " / ".join(found) + " ms")
        rows.append(cells)
    table.show(("from \\ to", *HOSTS), rows, right=HOSTS)
    if lost:
        raise DemoError("pings were lost")


def _stream(lab: Lab) -> None:
    _typed(f"iperf3 --client 192.0.2.2 --time {_STREAM_S}", "alpha to beta")
    inside = ["ip", "netns", "exec"]
    server = subprocess.Popen(
        [*inside, lab.hosts["beta"], "iperf3", "--server", "--one-off", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if "listening" in line:
                break
        client = [*inside, lab.hosts["alpha"], "iperf3", "--client", "192.0.2.2", "--json"]
        report: dict[str, Any] = json.loads(_run(*client, "--time", str(_STREAM_S)))
    finally:
        server.kill()
        server.wait()
    received = report["end"]["sum_received"]
    click.echo(
        f"{received['bits_per_second'] / 1e9:.1f} Gb/s over one TCP connection, "
        f"{report['end']['sum_sent'].get('retransmits', 0)} segments sent again"
    )


def _latency() -> None:
    """TCP request/response beside the kernel's bridge, by the project's harness, in short."""
    from vnetx_perf import rounds, rr

    remark = "# TCP request/response beside the kernel bridge: one core, medians of rounds"
    click.secho(f"\n{remark}", dim=True)
    sys.stdout.flush()
    with rounds.built(tuple(SUBJECTS)) as (made, failed):
        figure = rounds.run(
            rr.probe(stream=True),
            made,
            seconds=_ROUND_S,
            core=max(os.sched_getaffinity(0)),
            seed=os.getpid(),
            until=0,
            least=_ROUNDS,
        )
    rows = []
    for name, title in SUBJECTS.items():
        if name not in figure.rows:
            raise DemoError(f"measuring {title}: {(failed | figure.failed)[name]}")
        ratio = figure.ratio(name, "bridge")
        rows.append(
            (
                title,
                f"{figure.estimate(name).value:.1f} µs",
                "" if ratio is None or name == "bridge" else f"{ratio.value:.2f}",
            )
        )
    columns = ("between two hosts", "half round trip", "of the bridge's")
    table.show(columns, rows, right=columns[1:])


def demonstrate(lab: Lab) -> None:
    """The whole demonstration."""
    click.echo(
        "Three hosts (network namespaces alpha, beta, gamma), each with an eth0 that is wired to\n"
        "a fourth namespace, which stands for the machine that runs the switch."
    )
    lab.build()
    seconds = lab.vnetx("attach", *HOSTS)
    click.echo(f"attached in {seconds:.2f} s; from here on no process of vnetx runs")
    _ping_all(lab)
    _stream(lab)
    lab.vnetx("port", "show")
    lab.vnetx("fdb", "show")
    _latency()
    lab.vnetx("detach", "--all")
    click.echo("everything is as it was before")


# ------------------------------------------------------------ life


@contextlib.contextmanager
def _ending() -> Iterator[Lab]:
    """A lab that is removed whatever happens; signals that end a program end it orderly."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, end)
    lab = Lab()
    try:
        yield lab
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        lab.remove()


@click.command()
def main() -> None:
    """Show three hosts that talk through a vnetx switch, beside the kernel's bridge."""
    if os.geteuid() != 0:
        raise click.ClickException("the demonstration makes network namespaces: run it as root")
    _remove_leftovers()
    with _ending() as lab:
        try:
            demonstrate(lab)
        except DemoError as error:
            raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
