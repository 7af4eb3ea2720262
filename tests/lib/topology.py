"""Hosts behind a switch: namespaces, veth pairs, addresses, and what is done with them.

Port `p<n>` of the switch's namespace leads to `h<n>` in a host's own one, which has
192.0.2.<n>/24, 2001:db8::<n>/64 and the address :func:`host_mac`. The switch is the real
command on one of its hooks, or the kernel's bridge, with the same settings.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar

from lib import EMULATED, HAS_TCX
from lib.dataplane import PACKET_AUXDATA, Wire, receive
from lib.namespaces import Namespace
from lib.preloaded import Preloaded
from lib.vlans import PROTOCOLS, Mode

VNETX = Path(sys.prefix) / "bin" / "vnetx"
HOOKS = ("tc", "xdp", "xdp-generic", "auto")
PATIENCE_S = 60 if EMULATED else 10

#: Rounds of markers until nothing can be on its way: the hops that a frame takes.
_HOPS = 3
_ETH_P_ALL = 3
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_GROUP_BITS = {"unicast": "flood", "multicast": "mcast_flood", "broadcast": "bcast_flood"}


def host_mac(number: int) -> bytes:
    """The address of `h<number>`."""
    return b"\x02\x00\x5e\x02" + number.to_bytes(2, "big")


def ipv4(number: int) -> str:
    return f"192.0.2.{number}"


def ipv6(number: int) -> str:
    return f"2001:db8::{number:x}"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Looks until the condition is true and returns what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Node(Namespace):
    """A namespace that a process holds, so that other processes find it."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._stack.callback(super().close)
        holder = self.start("sleep", "infinity")
        self.path_of_holder = f"/proc/{holder.pid}/ns/net"
        wait_until(
            lambda: (
                Path(self.path_of_holder).exists()
                and Path(self.path_of_holder).stat().st_ino == os.fstat(self.fd).st_ino
            ),
            "a process holds the namespace",
        )

    def close(self) -> None:
        self._stack.close()

    def _batch(self, tool: str, *commands: str) -> None:
        try:
            super()._batch(tool, *commands)
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"{tool}: {error.stderr}\n{'; '.join(commands)}") from error

    def later(self, undo: Callable[..., Any], *args: Any) -> None:
        """Is called when the namespace goes."""
        self._stack.callback(undo, *args)

    def start(self, *command: str, **popen: Any) -> subprocess.Popen[str]:
        """A process inside, which ends with the namespace or with this one."""
        with self.entered():
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                text=True,
                **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **popen},
            )
        self._stack.callback(_end, process)
        return process

    def socket(self, *arguments: int) -> socket.socket:
        """A socket of this namespace."""
        with self.entered():
            sock = socket.socket(*arguments)
        sock.settimeout(PATIENCE_S)
        self._stack.callback(sock.close)
        return sock

    def sysctl(self, name: str, value: str | int) -> None:
        with self.entered():
            Path("/proc/sys", name).write_text(str(value))

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command))

    def enable_ipv6(self) -> None:
        """Without duplicate address detection, so that addresses are usable at once."""
        for group in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{group}/accept_dad", 0)
            self.sysctl(f"net/ipv6/conf/{group}/router_solicitations", 0)
            self.sysctl(f"net/ipv6/conf/{group}/disable_ipv6", 0)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
    process.wait()


# ---------------------------------------------------------------- switches


@functools.cache
def _preloaded() -> Preloaded:
    return Preloaded()


def run_vnetx(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, however it ends."""
    return _preloaded().run([str(VNETX), *words])


@dataclass
class KernelBridge:
    """`ip link add type bridge`, VLAN-unaware unless :meth:`set_vlans` is called."""

    near: Node
    name: str = "br0"
    kind: str = "kernel"
    _aware: bool = False

    def create(self, mac: bytes | None = None, ageing: int = 300, group_forward: int = 0) -> None:
        # br_netfilter would trim and check what passes
        for table in ("iptables", "ip6tables", "arptables"):
            with contextlib.suppress(FileNotFoundError):
                self.near.sysctl(f"net/bridge/bridge-nf-call-{table}", 0)
        address = f"address {mac.hex(':')} " if mac else ""
        self.near.ip(
            f"link add {self.name} {address}type bridge stp_state 0 mcast_snooping 0 "
            f"ageing_time {ageing * 100} group_fwd_mask {group_forward:#x}",
            f"link set dev {self.name} up",
        )

    def attach(self, *ports: str, **settings: Any) -> None:
        self.near.ip(*(f"link set dev {port} master {self.name}" for port in ports))
        if settings:
            for port in ports:
                self.set_port(port, **settings)

    def set_port(self, port: str, **settings: Any) -> None:
        words = []
        for name, value in settings.items():
            option = _GROUP_BITS.get(name.removeprefix("flood_"), name)
            number = f"{value:#x}" if name == "group_forward" else "on" if value else "off"
            option = "group_fwd_mask" if name == "group_forward" else option
            words.append(f"{option} {number}")
        self.near.ip(f"link set dev {port} type bridge_slave {' '.join(words)}")

    def set_vlans(self, modes: Mapping[str, Mode]) -> None:
        """As :meth:`Vnetx.set_vlans`; the bridge has one kind of tag for all ports."""
        (tpid,) = {mode.tpid for mode in modes.values()}
        if not self._aware:
            self.create()
            self.near.ip(f"link set dev {self.name} type bridge vlan_default_pvid 0")
            self.attach(*modes)
        self._aware = True
        self.near.ip(
            f"link set dev {self.name} type bridge vlan_filtering 1 "
            f"vlan_protocol {PROTOCOLS[tpid]}",
        )
        for port, mode in modes.items():
            self.near.bridge(f"vlan del dev {port} vid 1-4094", *mode.bridge(port))
        self.near.ip(f"link set dev {self.name} type bridge fdb_flush")

    def detach(self, *ports: str) -> None:
        self.near.ip(*(f"link set dev {port} nomaster" for port in ports))

    def remove(self) -> None:
        """Goes with the namespace."""


@dataclass
class Vnetx:
    """The command. Everything that it attached is detached at the end."""

    near: Node
    hook: str = "auto"
    name: str = "vnetx0"

    @property
    def kind(self) -> str:
        return self.hook

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`vnetx -n NAMESPACE …`; failure shows what it said."""
        done = run_vnetx("-n", self.near.path_of_holder, *words)
        if check and done.returncode:
            raise AssertionError(f"vnetx {' '.join(words)}: {done.returncode}\n{done.stderr}")
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run("-j", *words).stdout)

    def create(
        self,
        mac: bytes | None = None,
        ageing: int = 300,
        group_forward: int = 0,
        fdb_size: int | None = None,
        host_port: bool = True,
    ) -> None:
        words = [] if host_port else ["--no-host-port"]
        words += ["--ageing", str(ageing), "--group-forward", f"{group_forward:#x}"]
        if mac:
            words += ["--mac", mac.hex(":")]
        if fdb_size:
            words += ["--fdb-size", str(fdb_size)]
        self.run("switch", "add", self.name, *words)

    def attach(self, *ports: str, **settings: Any) -> None:
        words = _options(settings)
        self.run("attach", *ports, "--switch", self.name, "--hook", self.hook, *words)

    def set_port(self, port: str, **settings: Any) -> None:
        self.run("port", "set", port, *_options(settings))

    def set_vlans(self, modes: Mapping[str, Mode]) -> None:
        """A switch of these ports alone, each in these VLANs; it has learned nothing yet."""
        settings = {
            "vlan_aware": True,
            "host_port": False,
            "ports": {port: {"hook": self.hook, **mode.document} for port, mode in modes.items()},
        }
        self._run_with(json.dumps({"version": 1, "switches": {self.name: settings}}), "apply")
        self.run("fdb", "flush", "--switch", self.name)

    def import_vlans(self, printed: str) -> None:
        """Of what `bridge -j vlan show` printed."""
        self._run_with(printed, "vlan", "import")

    def _run_with(self, text: str, *words: str) -> None:
        """The command on a file."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            self.run(*words, file.name)

    def detach(self, *ports: str) -> None:
        self.run("detach", *ports)

    def ports(self) -> dict[str, dict[str, Any]]:
        """`port show` by interface."""
        return {port["ifname"]: port for port in self.json("port", "show")}

    def switch(self) -> dict[str, Any]:
        """`switch show` of this one."""
        found = self.json("switch", "show", self.name)
        return found[0] if isinstance(found, list) else found

    def remove(self) -> None:
        self.run("detach", "--all")
        if self.name in {switch["name"] for switch in self.json("switch", "show")}:
            self.run("switch", "del", self.name)


def _options(settings: Mapping[str, Any]) -> list[str]:
    """Settings by the names of the command's options."""
    words = []
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if name == "storm":
            for kind, pps in value.items():
                words += [option, f"{kind}={pps}"]
        elif name == "group_forward":
            words += [option, f"{value:#x}"]
        elif isinstance(value, bool):
            words += [option, "on" if value else "off"]
        else:
            words += [option, str(value)]
    return words


# ---------------------------------------------------------------- topology


@dataclass
class Lab:
    """A switch's namespace and its hosts. Use it as a context."""

    mtu: int = 1500
    hosts: dict[int, Node] = field(default_factory=dict)
    wires: dict[int, Wire] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.near = self._stack.enter_context(contextlib.closing(Node()))
        self.near.ip("link set dev lo up")

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add_hosts(self, *numbers: int, mtu: int | None = None, addresses: bool = True) -> None:
        """Hosts with a port each; without addresses they say nothing by themselves."""
        mtu = mtu or self.mtu
        commands = []
        for n in numbers:
            host = self.hosts[n] = self._stack.enter_context(contextlib.closing(Node()))
            if addresses:
                host.enable_ipv6()
            commands += [
                f"link add name p{n} mtu {mtu} address 02:00:5e:01:{n >> 8:02x}:{n & 255:02x} "
                f"type veth peer name h{n} mtu {mtu} address {host_mac(n).hex(':')} "
                f"netns {host.path}",
                f"link set dev p{n} up",
            ]
        self.near.ip(*commands)
        for n in numbers:
            commands = ["link set dev lo up", f"link set dev h{n} up"]
            if addresses:
                commands += [
                    f"addr add {ipv4(n)}/24 dev h{n}",
                    f"addr add {ipv6(n)}/64 dev h{n} nodad",
                ]
            self.hosts[n].ip(*commands)

    def set_mtu(self, number: int, mtu: int) -> None:
        self.near.ip(f"link set dev p{number} mtu {mtu}")
        self.hosts[number].ip(f"link set dev h{number} mtu {mtu}")

    def switch(self, kind: str, name: str | None = None) -> KernelBridge | Vnetx:
        """The kernel's bridge, or vnetx on a hook; it is taken away again at the end."""
        if kind == "kernel":
            return KernelBridge(self.near, name or "br0")
        return self.vnetx(kind, name)

    def vnetx(self, hook: str = "auto", name: str | None = None) -> Vnetx:
        switch = Vnetx(self.near, hook, name or "vnetx0")
        self._stack.callback(switch.remove)
        return switch

    # -------------------------------------------------------------- frames

    def wire(self, number: int) -> Wire:
        """The far end of a port, for raw frames."""
        if number not in self.wires:
            ends = SimpleNamespace(near=self.near, far=self.hosts[number])
            self.wires[number] = Wire(ends, number)  # type: ignore[arg-type]
            self._stack.callback(self.wires[number].close)
        return self.wires[number]

    def listen(self) -> None:
        """Opens the wires of all hosts: what comes from now on is seen."""
        for number in self.hosts:
            self.wire(number)

    def received(self) -> dict[int, list[bytes]]:
        """What left the switch by each port since the last call; ports without any left out.

        A marker has arrived behind it, on every port and once for each hop.
        """
        found: dict[int, list[bytes]] = {}
        for _ in range(_HOPS):
            for number, wire in self.wires.items():
                found.setdefault(number, []).extend(wire.received())
        return {number: frames for number, frames in sorted(found.items()) if frames}

    def inject(self, number: int, *frames: bytes) -> dict[int, list[bytes]]:
        """Sends frames from a host and returns what came out of each port."""
        self.listen()
        for frame in frames:
            self.wires[number].send(frame)
        return self.received()


class Tap:
    """Frames that an interface of a namespace hands to its host, raw; and frames it sends."""

    def __init__(self, node: Node, interface: str, everything: bool = False) -> None:
        self._everything = everything
        self.sock = node.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, int(not everything))
        self.sock.setsockopt(_SOL_PACKET, PACKET_AUXDATA, 1)
        self.sock.bind((interface, _ETH_P_ALL))

    def send(self, frame: bytes) -> None:
        self.sock.send(frame)

    def received(self) -> list[bytes]:
        """What came since the last call, without waiting; what is for other hosts is left out."""
        frames = []
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                data, kind = receive(self.sock)
                if self._everything or kind not in (_PACKET_OTHERHOST, _PACKET_OUTGOING):
                    frames.append(data)
        return frames


@dataclass
class Joined:
    """Two switches in one namespace: h1 and h2 at `one`, h3 and h4 at `other`, and a trunk, t1 to
    t2. h1 and h3 are in VLAN 10, h2 and h4 in 20.

    Attributes:
        trunk: the VLANs of both its ends.
        cable: what it goes through, from u1 to u2; None: nothing.
    """

    lab: Lab
    one: str
    other: str
    trunk: Mode
    addresses: bool = True
    cable: KernelBridge | None = None

    PAIRS: ClassVar = ((1, 3), (3, 1), (2, 4), (4, 2))

    def __post_init__(self) -> None:
        lab, near = self.lab, self.lab.near
        lab.add_hosts(1, 2, 3, 4, addresses=self.addresses)
        for a, b in (("t1", "u1"), ("t2", "u2")) if self.cable else (("t1", "t2"),):
            near.ip(f"link add name {a} type veth peer name {b}")
            near.ip(f"link set dev {a} up", f"link set dev {b} up")
        if self.cable:
            self.cable.create()
            self.cable.attach("u1", "u2")
        access = {vid: Mode.of(untagged=(vid,), pvid=vid, tpid=self.trunk.tpid) for vid in (10, 20)}
        self.switches = [lab.switch(kind, f"s{n}") for n, kind in enumerate((self.one, self.other))]
        self.switches[0].set_vlans({"p1": access[10], "p2": access[20], "t1": self.trunk})
        self.switches[1].set_vlans({"p3": access[10], "p4": access[20], "t2": self.trunk})
        for interface in ("t1", "t2", "p1", "p2", "p3", "p4"):
            wait_until(lambda i=interface: carrier(near, i), f"{interface} has a carrier")

    def header(self, number: int) -> bytes:
        """What stands on the trunk between a host's addresses and its protocol."""
        vid = {1: 10, 2: 20, 3: 10, 4: 20}[number]
        tagged = vid in self.trunk.tagged
        return struct.pack("!HH", self.trunk.tpid, vid) if tagged else b""

    def ping_test(self) -> None:
        """Hosts of a VLAN reach each other, with frames that fill the MTU and in fragments, and see
        nothing of others, nor tags (VL-29)."""
        self.lab.listen()
        for here, there in self.PAIRS:
            node = self.lab.hosts[here]
            for address, header in ((ipv4, 28), (ipv6, 48)):
                assert ping(node, address(there)), (here, there)
                assert ping(node, address(there), size=1500 - header, options=("-M", "do"))
                assert ping(node, address(there), size=4000)
        caught = self.lab.received()
        for here, there in self.PAIRS:
            assert {data[6:12] for data in caught[here]} == {host_mac(there)}
            assert not {data[12:14] for data in caught[here]} & {b"\x81\x00", b"\x88\xa8"}

    def nothing_dropped(self) -> None:
        """By any port of vnetx, but for what hosts said before the trunk was there."""
        for switch in self.switches:
            if isinstance(switch, Vnetx):
                drops = {name: p["stats"]["drops"] for name, p in switch.ports().items()}
                assert not any(found.keys() - {"no_egress"} for found in drops.values()), drops


# ---------------------------------------------------------------- verbs


#: Of ip-neighbour(8): those that nobody has answered for.
NOT_FOUND = ("nud", "incomplete", "nud", "failed")


def ping(
    node: Node, address: str, count: int = 1, size: int = 56, *, options: Sequence[str] = ()
) -> bool:
    """Whether every echo request was answered. If not, the node looks for no neighbour any more:
    what waits for one would be dropped with it, seconds later."""
    command = ["ping", "-n", "-q", "-c", str(count), "-i", "0.01", "-W", "2", "-s", str(size)]
    with node.entered():
        done = subprocess.run([*command, *options, address], capture_output=True, check=False)
        if done.returncode:
            subprocess.run(["ip", "neigh", "flush", *NOT_FOUND], check=False)
    return done.returncode == 0 and f" {count} received".encode() in done.stdout


def ping_test(nodes: Mapping[str, Node], size: int = 56) -> None:
    """Every node, by its address, reaches every other one."""
    lost = [
        (here, there)
        for here, node in nodes.items()
        for there in nodes
        if here != there and (":" in here) == (":" in there) and not ping(node, there, size=size)
    ]
    assert not lost, f"no answer: {lost}"


def _digest_of(connection: socket.socket, result: list[str]) -> None:
    digest = hashlib.sha256()
    while data := connection.recv(1 << 18):
        digest.update(data)
    result.append(digest.hexdigest())


@dataclass(frozen=True)
class Stream:
    """A TCP connection between two nodes."""

    client: socket.socket
    server: socket.socket

    @classmethod
    def open(cls, client: Node, server: Node, address: str, port: int = 5001) -> Stream:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = server.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        near = client.socket(family, socket.SOCK_STREAM)
        near.connect((address, port))
        far, _ = listener.accept()
        listener.close()
        far.settimeout(PATIENCE_S)
        server.later(far.close)
        return cls(near, far)

    def echo(self, text: bytes = b"still there") -> None:
        """A message goes there and comes back."""
        self.client.sendall(text)
        assert _exactly(self.server, len(text)) == text
        self.server.sendall(text)
        assert _exactly(self.client, len(text)) == text

    def close(self) -> None:
        self.client.close()
        self.server.close()


def _exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        assert more, "the connection was closed"
        data += more
    return data


def tcp_test(
    client: Node, server: Node, address: str, megabytes: int = 10, port: int = 5001
) -> None:
    """Random data arrives as it was sent."""
    data = os.urandom(1 << 20) * megabytes
    stream = Stream.open(client, server, address, port)
    result: list[str] = []
    reader = threading.Thread(target=_digest_of, args=(stream.server, result))
    reader.start()
    try:
        stream.client.settimeout(30)
        stream.client.sendall(data)
        stream.client.shutdown(socket.SHUT_WR)
    finally:
        reader.join(60)
        stream.close()
    assert result == [hashlib.sha256(data).hexdigest()]


def udp_test(
    client: Node, server: Node, address: str, size: int, count: int = 10, port: int = 5002
) -> None:
    """Datagrams arrive whole, one after the other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sink = server.socket(family, socket.SOCK_DGRAM)
    source = client.socket(family, socket.SOCK_DGRAM)
    sink.bind((address, port))
    try:
        for _ in range(count):
            data = os.urandom(size)
            source.sendto(data, (address, port))
            assert sink.recv(1 << 16) == data
    finally:
        sink.close()
        source.close()


def dhcp_server(node: Node, interface: str, first: str, last: str) -> None:
    """A dnsmasq that answers on the interface, which has an address already."""
    dnsmasq = node.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file="),
        *(f"--interface={interface}", "--bind-interfaces", "--leasefile-ro", "--no-ping"),
        *(f"--dhcp-range={first},{last}", "--log-facility=-", "--user=root"),
        stderr=subprocess.PIPE,
    )
    assert dnsmasq.stderr
    while "DHCP, sockets bound" not in (line := dnsmasq.stderr.readline()):
        assert line, "dnsmasq ended"


def dhcp_lease(node: Node, interface: str) -> str:
    """Asks for a lease and returns the address."""
    said = node.run("sh", "-c", f"udhcpc -i {interface} -f -q -n -t 5 -T 1 -s /bin/true 2>&1")
    found = re.search(r"lease of (\S+) obtained", said)
    assert found, said
    return found[1]


@contextlib.contextmanager
def flood_ping(
    node: Node, address: str, interval: float = 0.01, *, qdiscs: int = 0
) -> Iterator[Callable[[], int]]:
    """Pings meanwhile, and at the end none may be lost.

    Gives a function that waits until one more answer came.

    Args:
        qdiscs: how many clsact come or go on the way on kernels without tcx. Each time the kernel
            takes the device's queues away for a grace period, in which it drops what is sent.
    """
    spare = 0 if HAS_TCX else 5 * qdiscs
    answers = node.start(
        "ping", "-n", "-i", str(interval), "-W", "2", address, stdout=subprocess.PIPE
    )
    seen = [0]
    grown = threading.Condition()
    lines: list[str] = []

    def read() -> None:
        assert answers.stdout
        for line in answers.stdout:
            with grown:
                lines.append(line)
                seen[0] += "bytes from" in line
                grown.notify_all()

    reader = threading.Thread(target=read)
    reader.start()

    def one_more() -> int:
        with grown:
            target = seen[0] + 2
            assert grown.wait_for(lambda: seen[0] >= target, PATIENCE_S), "no more answers"
            return seen[0]

    try:
        one_more()
        yield one_more
        one_more()
    finally:
        answers.send_signal(2)
        answers.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
    summary = next(line for line in lines if "packets transmitted" in line)
    words = summary.split()
    # the last request may be under way when ping is told to stop
    assert int(words[0]) - int(words[3]) <= 1 + spare, summary
    answered = [line for line in lines if "icmp_seq=" in line]
    numbers = [int(line.split("icmp_seq=")[1].split()[0]) for line in answered]
    assert numbers == sorted(set(numbers)), "answers doubled or out of order"
    lost = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    assert len(lost) <= spare, f"answers lost: {lost}"


def neighbours_forgotten(*nodes: Node) -> None:
    """The next packet has to resolve its neighbour again."""
    for node in nodes:
        node.run("ip", "neigh", "flush", "all")


def carrier(node: Node, interface: str) -> bool:
    return bool(node.json("ip", "-j", "link", "show", "dev", interface)[0]["operstate"] == "UP")


def interface_counters(node: Node, interface: str) -> dict[str, Any]:
    """`ip -s link`: {"rx": {"packets": …}, "tx": …}."""
    found: dict[str, Any] = node.json("ip", "-j", "-s", "link", "show", "dev", interface)[0][
        "stats64"
    ]
    return found


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
