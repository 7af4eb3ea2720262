"""A switch with real network cards: the host keeps its connections, frames cross in XDP."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Wire

VNETX = Path(sys.executable).with_name("vnetx")

#: What `ip -details -json link` calls the ways of XDP.
XDP_MODES = {"xdp": 1, "xdp-generic": 2}


def vnetx(*arguments: str) -> str:
    done = subprocess.run([VNETX, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"vnetx {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def attach() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Attach devices by one hook and return what `port show` says; detached in the end."""

    def attached(hook: str, *devices: str) -> list[dict[str, Any]]:
        vnetx("attach", *devices, "--hook", hook)
        ports: list[dict[str, Any]] = json.loads(vnetx("--json", "port", "show"))
        return [port for port in ports if port["ifname"] in devices]

    yield attached
    vnetx("detach", "--all")


@contextmanager
def unbroken_ping(wire: Wire, address: str) -> Iterator[None]:
    """A ping from the far end that runs meanwhile, of which no request may stay unanswered.

    But for one each time that clsact comes or goes: Linux 6.1 takes the card's queues away for a
    grace period then, and drops what the host sends.
    """
    command = ["ip", "netns", "exec", wire.namespace, "ping", "-n", "-i", "0.2", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ping:
        assert ping.stdout is not None
        while "icmp_seq=" not in ping.stdout.readline():
            assert ping.poll() is None, "ping has ended"
        try:
            yield
        finally:
            ping.send_signal(signal.SIGINT)
            answered = [int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", ping.communicate()[0])]
    assert answered == sorted(set(answered)), "answers doubled or out of order"
    lost = set(range(answered[0], answered[-1] + 1)) - set(answered)
    assert len(lost) <= 2, f"answers lost: {sorted(lost)}"
    assert len(answered) > 5


@contextmanager
def open_connection(wire: Wire, address: str) -> Iterator[Callable[[], None]]:
    """A TCP connection from the far end to this host; the callable sends 256 KiB to and fro."""
    payload = bytes(range(256)) * 1024

    def echo(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def exchange() -> None:
        sending = threading.Thread(target=client.sendall, args=(payload,))
        sending.start()
        received = bytearray()
        while len(received) < len(payload):
            data = client.recv(65536)
            assert data, "the connection was closed"
            received += data
        sending.join()
        assert received == payload

    with socket.create_server((address, 0)) as listener:
        server = threading.Thread(target=echo, args=(listener,), daemon=True)
        server.start()
        with wire.socket_far(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(60)
            client.connect(listener.getsockname())
            yield exchange
        server.join(60)


@pytest.mark.parametrize(
    "hook", [pytest.param("xdp", marks=pytest.mark.smoke), "tc", "xdp-generic", "auto"]
)
def test_the_hosts_own_traffic_goes_on(
    wire: Wire, attach: Callable[..., list[dict[str, Any]]], hook: str
) -> None:
    before = wire.state()
    with unbroken_ping(wire, "192.0.2.1"), open_connection(wire, "192.0.2.1") as exchange:
        exchange()
        (port,) = attach(hook, wire.nic)
        assert port["hook"] == ("xdp" if hook == "auto" else hook)
        assert wire.show().get("xdp", {}).get("mode") == XDP_MODES.get(port["hook"])
        exchange()
        assert wire.ping("192.0.2.2")
        assert wire.ping("2001:db8::2")
        vnetx("detach", wire.nic)
        exchange()
    assert wire.state() == before


@pytest.mark.parametrize("hook", ["xdp", "tc", "xdp-generic"])
def test_two_cards_forward_between_their_wires(
    wire: Wire, other_wire: Wire, attach: Callable[..., list[dict[str, Any]]], hook: str
) -> None:
    before = wire.state(), other_wire.state()
    ports = attach(hook, wire.nic, other_wire.nic)
    assert [port["hook"] for port in ports] == [hook, hook]
    for size in ("56", "1472"):
        shown = wire.run_far("ping", "-q", "-n", "-c", "20", "-i", "0.05", "-s", size, "192.0.2.3")
        assert " 20 received" in shown
    wire.run_far("ping", "-q", "-n", "-c", "3", "-i", "0.2", "2001:db8::3")
    other_wire.run_far("ping", "-q", "-n", "-c", "3", "-i", "0.2", "192.0.2.1")
    vnetx("detach", "--all")
    assert (wire.state(), other_wire.state()) == before
