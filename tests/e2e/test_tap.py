"""Taps that a switch makes, and programs behind them."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import traceback
from collections.abc import Callable

import pytest

from lib.frames import BROADCAST, frame, station
from lib.program import (
    NEEDS_CSUM,
    OFFLOADS,
    File,
    VnetHeader,
    answer_of,
    attach_file,
    joined,
    open_file,
    running,
)
from lib.topology import (
    VNETX,
    Lab,
    Node,
    Vnetx,
    carrier,
    checksum,
    ipv4,
    ipv6,
    ping,
    tcp_test,
    wait_until,
)

pytestmark = pytest.mark.root

#: The station behind a tap, as programs of the tests are one.
MAC, NUMBER = station(0x7A9), 9
ADDRESS = bytes([192, 0, 2, NUMBER])


def with_tap(lab: Lab, *words: str, hosts: tuple[int, ...] = (1,)) -> Vnetx:
    """h1 (and more) at a switch, and the tap t0."""
    lab.add_hosts(*hosts)
    switch = lab.vnetx()
    switch.create(host_port=False)
    if hosts:
        switch.attach(*(f"p{n}" for n in hosts))
    switch.run("link", "add", "t0", "--kind", "tap", "--switch", switch.name, *words)
    for n in hosts:
        wait_until(lambda n=n: carrier(lab.hosts[n], f"h{n}"), f"h{n} has a carrier")
    return switch


def answering(file: File) -> None:
    """What the station says."""
    for _, data in file.frames():
        if answer := answer_of(MAC, ADDRESS, data):
            file.write(answer)


def answers(*files: File) -> object:
    """A program that is the station, by all its files."""

    def work(file: File, _: VnetHeader, data: bytes) -> None:
        if answer := answer_of(MAC, ADDRESS, data):
            file.write(answer)

    return running(files, work)


def tun_of(node: Node, name: str = "t0") -> dict[str, object]:
    """What ip-link(8) says of the tap."""
    link = node.json("ip", "-j", "-d", "link", "show", "dev", name)[0]
    found: dict[str, object] = link["linkinfo"]["info_data"]
    return found | {"ifindex": link["ifindex"], "address": link["address"], "mtu": link["mtu"]}


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("vnet_hdr", [True, False])
def test_a_program_is_a_station(lab: Lab, vnet_hdr: bool) -> None:
    """ARP and echo requests are answered in user space, by a program that opens it either way."""
    with_tap(lab)
    with File(lab.near, "t0", vnet_hdr=vnet_hdr) as file, answers(file):
        assert ping(lab.hosts[1], ipv4(NUMBER), count=3)
        assert ping(lab.hosts[1], ipv4(NUMBER), count=3, size=1472)
    (entry,) = (each for each in lab.hosts[1].json("ip", "-j", "neigh") if each["dst"] == ipv4(9))
    assert entry["lladdr"] == MAC.hex(":")


def test_it_is_silent_by_itself(lab: Lab) -> None:
    """The kernel says nothing on it, in the name of the switch's host."""
    lab.near.enable_ipv6()
    with_tap(lab, hosts=())
    with File(lab.near, "t0") as file:
        assert not lab.near.run("ip", "-6", "address", "show", "dev", "t0")
        assert file.read(0.3) is None


@pytest.mark.parametrize("number", [4, 6])
@pytest.mark.parametrize("offloads", [OFFLOADS, 0])
def test_super_frames(lab: Lab, number: int, offloads: int) -> None:
    """A stream between a host and a stack behind a program, with what the program asked for.

    The stack is that of a namespace with a tap of its own; the program carries frames between both
    taps with their virtio_net_hdr, as a monitor does between a tap and a guest.
    """
    switch = with_tap(lab)
    guest = Node()
    try:
        guest.enable_ipv6()
        guest.ip("tuntap add dev g0 mode tap vnet_hdr")
        sizes: dict[bool, int] = {True: 0, False: 0}
        kinds: dict[bool, set[int]] = {True: set(), False: set()}
        unsummed: list[tuple[VnetHeader, bytes]] = []

        def look(from_switch: bool, header: VnetHeader, data: bytes) -> None:
            sizes[from_switch] = max(sizes[from_switch], len(data))
            kinds[from_switch].add(header.gso_type & 0x7F)
            if from_switch and header.flags & NEEDS_CSUM:
                unsummed.append((header, data))

        with (
            File(lab.near, "t0", offloads=offloads) as port,
            File(guest, "g0", offloads=offloads) as card,
            joined(port, card, look),
        ):
            guest.ip(
                "link set dev g0 up",
                f"addr add {ipv4(NUMBER)}/24 dev g0",
                f"addr add {ipv6(NUMBER)}/64 dev g0 nodad",
            )
            address = ipv4 if number == 4 else ipv6
            tcp_test(lab.hosts[1], guest, address(NUMBER), megabytes=4)
            tcp_test(guest, lab.hosts[1], address(1), megabytes=4)
    finally:
        guest.close()
    tcp = {4: 1, 6: 4}[number]  # VIRTIO_NET_HDR_GSO_TCPV4, _TCPV6
    if offloads:
        assert min(sizes.values()) > 10_000
        assert kinds == {True: {0, tcp}, False: {0, tcp}}
        assert unsummed
        for header, data in unsummed[:100]:
            partial_checksum_is_right(header, data)
    else:
        assert max(sizes.values()) <= 1514
        assert kinds == {True: {0}, False: {0}}
        assert not unsummed
    assert not switch.ports()["t0"]["stats"]["drops"].keys() - {"egress_refused"}


def partial_checksum_is_right(header: VnetHeader, data: bytes) -> None:
    """Of a TCP segment: where it is to be, and the pseudo-header's sum is there."""
    ip = data[14:]
    if ip[0] >> 4 == 4:
        start, addresses, protocol = 14 + (ip[0] & 15) * 4, ip[12:20], ip[9]
    else:
        start, addresses, protocol = 14 + 40, ip[8:40], ip[6]
    if protocol != 6:
        return
    assert (header.csum_start, header.csum_offset) == (start, 16)
    pseudo = addresses + struct.pack("!II", len(data) - start, protocol)
    found = struct.unpack_from("!H", data, start + header.csum_offset)[0]
    assert found == checksum(pseudo) ^ 0xFFFF


def test_queues(lab: Lab) -> None:
    """A multi-queue tap is opened several times: flows are spread, and each can send."""
    with_tap(lab, "--queues", "2")
    assert tun_of(lab.near)["multi_queue"] is True
    with (
        File(lab.near, "t0", multi_queue=True) as one,
        File(lab.near, "t0", multi_queue=True) as other,
        answers(one, other),
    ):
        assert ping(lab.hosts[1], ipv4(NUMBER))
    with (
        File(lab.near, "t0", multi_queue=True) as one,
        File(lab.near, "t0", multi_queue=True) as other,
    ):
        sender = lab.hosts[1].socket(2, 2)  # AF_INET, SOCK_DGRAM
        lab.hosts[1].ip(f"neigh replace {ipv4(NUMBER)} lladdr {MAC.hex(':')} dev h1")
        for port in range(64):
            sender.sendto(b"x", (ipv4(NUMBER), 6000 + port))
        datagrams: list[int] = []
        for file in (one, other):
            assert file.read() is not None
            datagrams.append(1 + sum(1 for _, data in file.frames() if data[:6] == MAC))
        assert min(datagrams) > 8, datagrams
        listening = lab.wire(1)
        listening.received()
        for number, file in enumerate((one, other)):
            sent = frame(BROADCAST, station(0x710 + number))
            file.write(sent)
            assert wait_until(lambda sent=sent: sent in listening.received(), "it is sent")


def test_a_queue_alone(lab: Lab) -> None:
    with_tap(lab, hosts=())
    with File(lab.near, "t0"), pytest.raises(OSError, match="busy"):
        File(lab.near, "t0")
    with pytest.raises(OSError, match="Invalid argument"):
        File(lab.near, "t0", multi_queue=True)


def test_it_stays_when_its_program_ends(lab: Lab) -> None:
    switch = with_tap(lab)
    before = tun_of(lab.near)["ifindex"]

    def becomes(state: str) -> None:
        wait_until(lambda: switch.ports()["t0"]["state"] == state, f"t0 is {state}")

    becomes("no-carrier")
    for _ in range(2):
        with File(lab.near, "t0") as file, answers(file):
            becomes("up")
            assert ping(lab.hosts[1], ipv4(NUMBER))
        becomes("no-carrier")
    assert tun_of(lab.near)["ifindex"] == before


def test_in_a_vlan(lab: Lab) -> None:
    switch = with_tap(lab, "--vlan", "20", hosts=(1, 2))
    switch.set_port("p1", access=20)
    with File(lab.near, "t0") as file, answers(file):
        assert ping(lab.hosts[1], ipv4(NUMBER))
        assert not ping(lab.hosts[2], ipv4(NUMBER))


# ---------------------------------------------------------------- who may open it


def as_somebody(uid: int, gids: tuple[int, ...], work: Callable[[], None]) -> int:
    """What a process of another user gets from `work`: 0 or an errno."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os.setgroups(gids[1:])
        os.setgid(gids[0])
        os.setuid(uid)
        try:
            work()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(254)


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ((), ()),
        (("--owner", "5001"), ((5001, 6000), (5001, 7001))),
        (("--group", "7001"), ((5001, 7001), (5002, 7001))),
        (("--owner", "5001", "--group", "7001"), ((5001, 7001),)),
    ],
)
def test_only_its_owner_opens_it(
    lab: Lab, words: tuple[str, ...], allowed: tuple[tuple[int, int], ...]
) -> None:
    """The file is opened by root, since it may be closed to others; TUNSETIFF is asked by them."""
    with_tap(lab, *words, hosts=())
    for uid in (5001, 5002):
        for gid in (6000, 7001):
            with lab.near.entered():
                fd = open_file()
            try:
                status = as_somebody(uid, (gid,), lambda fd=fd: attach_file(fd, "t0"))
            finally:
                os.close(fd)
            assert status == (0 if (uid, gid) in allowed else errno.EPERM), (uid, gid)


# ---------------------------------------------------------------- changing it


def test_what_changes_in_place(lab: Lab) -> None:
    switch = with_tap(lab, "--owner", "5001", hosts=())
    before = tun_of(lab.near)
    assert (before["user"], before["vnet_hdr"], before["multi_queue"]) == (5001, True, False)
    switch.run("link", "add", "t0", "--owner", "5002", "--mtu", "9000", "--no-vnet-hdr")
    after = tun_of(lab.near)
    assert (after["user"], after["vnet_hdr"], after["mtu"]) == (5002, False, 9000)
    assert after["ifindex"] == before["ifindex"]
    (shown,) = switch.json("link", "show")
    assert (shown["owner"], shown["vnet_hdr"], shown["mtu"]) == (5002, False, 9000)


def test_what_makes_it_anew(lab: Lab) -> None:
    switch = with_tap(lab, "--owner", "5001", hosts=())
    before = tun_of(lab.near)["ifindex"]
    switch.run("link", "add", "t0", "--queues", "8")
    after = tun_of(lab.near)
    assert (after["user"], after["multi_queue"]) == (5001, True)
    assert after["ifindex"] != before
    assert set(switch.ports()) == {"t0"}


def test_an_open_one_is_not_changed(lab: Lab) -> None:
    switch = with_tap(lab, "--owner", "5001", hosts=())
    before = tun_of(lab.near)
    with File(lab.near, "t0") as file:
        mac = station(5).hex(":")
        for words in (("--owner", "5002"), ("--group", "5"), ("--queues", "2"), ("--mac", mac)):
            done = switch.run("link", "add", "t0", *words, check=False)
            assert done.returncode == 1, words
            assert "has it open: Device or resource busy (EBUSY)" in done.stderr
            assert "vnetx link del t0" in done.stderr
        assert tun_of(lab.near) == before
        done = switch.run("link", "add", "t0", "--mtu", "2000", "--no-vnet-hdr")
        assert "what opened it decides for the vnet header" in done.stderr
        assert tun_of(lab.near)["mtu"] == 2000
        switch.run("link", "del", "t0")
        with pytest.raises(OSError, match="bad state"):
            file.write(bytes(60))
    assert switch.json("link", "show") == []


def test_the_process_that_has_it_open_is_named(lab: Lab) -> None:
    switch = with_tap(lab, hosts=())
    script = (
        "import fcntl, os, struct, sys; fd = os.open('/dev/net/tun', os.O_RDWR);"
        "fcntl.ioctl(fd, 0x400454CA, struct.pack('16sH22x', b't0', 0x5002));"
        "print('open', flush=True); sys.stdin.read()"
    )
    program = lab.near.start("python3", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert program.stdout
    assert program.stdout.readline() == "open\n"
    done = switch.run("link", "add", "t0", "--owner", "5002", check=False)
    assert f"python3 (process {program.pid}) has it open" in done.stderr


def test_renamed_and_deleted(lab: Lab) -> None:
    switch = with_tap(lab, hosts=())
    lab.near.ip("link set dev t0 down", "link set dev t0 name t9", "link set dev t9 up")
    assert [each["name"] for each in switch.json("link", "show")] == ["t0"]
    switch.run("link", "add", "t0", "--mtu", "2000", "--owner", "5001")
    assert (tun_of(lab.near, "t9")["mtu"], tun_of(lab.near, "t9")["user"]) == (2000, 5001)
    switch.run("link", "del", "t0")
    assert [link["ifname"] for link in lab.near.json("ip", "-j", "link")] == ["lo"]
    switch.run("link", "add", "t0", "--kind", "tap", "--switch", switch.name)
    lab.near.ip("link del dev t0")
    switch.run("switch", "set", switch.name, "--ageing", "200")
    assert switch.json("link", "show") == []
    assert switch.ports() == {}


def test_a_tap_of_somebody_else_is_left_alone(lab: Lab) -> None:
    switch = with_tap(lab, hosts=())
    lab.near.ip("tuntap add dev t1 mode tap")
    done = switch.run("link", "add", "t1", "--kind", "tap", "--switch", switch.name, check=False)
    assert "there is an interface of that name" in done.stderr
    switch.remove()
    assert [link["ifname"] for link in lab.near.json("ip", "-j", "link")] == ["lo", "t1"]


def test_without_the_driver(lab: Lab) -> None:
    """/dev/net is empty, as in a container."""
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    for status, *words in ((1, "link", "add", "t0", "--kind", "tap"), (0, "doctor")):
        with lab.near.entered():
            done = subprocess.run(
                [*hidden, str(VNETX), *map(str, words)], capture_output=True, text=True, check=False
            )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        assert "opening /dev/net/tun" in said
        assert "ENOENT" in said
        assert "modprobe tun" in said
    assert [link["ifname"] for link in lab.near.json("ip", "-j", "link")] == ["lo"]
