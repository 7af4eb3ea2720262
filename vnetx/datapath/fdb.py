"""The FDB of a switch: look, change, save and load, watch.

Ports are indices here; :class:`PortNames` says what they are called.  The bridge
domain of an entry is its VLAN where each VLAN learns by itself, else 0.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import select
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from vnetx import _abi, _fdb, lock
from vnetx.datapath.maps import SwitchMaps
from vnetx.errors import VnetxError, from_os
from vnetx.model import FIRST_VID, LAST_VID, check_station_mac, format_mac, unpack_address

#: How long the data plane goes on sending events when the watcher is gone, and how often a
#: watcher says that it is there.
LEASE_NS = 3_000_000_000
RENEWAL_NS = 1_000_000_000

#: A watcher sweeps twice a second, and a large table so that it costs a twentieth of one CPU.
SWEEP_NS = 500_000_000
SWEEP_SHARE = 20

CHANGEABLE = ("learned", "static", "sticky")


class Entry(NamedTuple):
    """An FDB entry.

    Attributes:
        mac: six bytes.
        bd: bridge domain.
        port: index of the port.
        state: learned, static, sticky or local.
        age: seconds since it was last a source address.
    """

    mac: bytes
    bd: int
    port: int
    state: str
    age: float


class Event(NamedTuple):
    """What happened to an entry.

    Attributes:
        kind: learn, move, age-out, or lost: events that came too fast to be told.
        time: CLOCK_MONOTONIC, in seconds.
        old_port: of a move, where the address was.
        lost: how many were lost.
    """

    kind: str
    time: float
    mac: bytes = b""
    bd: int = 0
    port: int = 0
    old_port: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Query:
    """Which entries are meant; None is all of them."""

    ports: Collection[int] | None = None
    bd: int | None = None
    mac: bytes | None = None
    states: Collection[str] | None = None

    def filter(self, age: int, ageing_ns: int = 2**63 - 1) -> _fdb.Filter:
        return _fdb.Filter(
            ports=self.ports,
            bd=self.bd,
            mac=self.mac,
            states=self.states,
            age=age,
            ageing_ns=ageing_ns,
        )


EVERYTHING = Query()


@dataclass(frozen=True)
class PortNames:
    """What the ports of a switch are called.

    A device that carries the host's addresses is two ports: its wire and its host side.

    Attributes:
        names: of each port, None when its device is gone.
        wires: index of the port that a device is to its users.
        hosts: index of the host side of a device that has one.
        vteps: the indices that are VTEPs, which are called by their addresses.
        vnis: VNI by bridge domain.
    """

    names: dict[int, str | None] = field(default_factory=dict)
    wires: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, int] = field(default_factory=dict)
    vteps: set[int] = field(default_factory=set)
    vnis: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, maps: SwitchMaps) -> PortNames:
        """As the maps and this network namespace have it now."""
        found = cls()
        host = _abi.PORT_FLAGS["host"]
        meta = maps.meta()
        for index, port in maps.ports().items():
            ifindex = port["ifindex"]
            if ifindex == meta["host_port_ifindex"]:  # called by the end that the host has
                ifindex = meta["host_ifindex"]
            name = None
            with contextlib.suppress(OSError):
                name = socket.if_indextoname(ifindex)
            found.names[index] = name
            if name is not None:
                side = found.hosts if port["flags"] & host and port["twin"] else found.wires
                side[name] = index
        for index, (address, _) in maps.vteps().items():
            found.vteps.add(index)
            found.names[index] = unpack_address(address)
            found.wires.setdefault(found.names[index] or "", index)
        if found.vteps:
            own = domains(maps.switch()["flags"])
            found.vnis.update((own.get(r["vid"], 0), vni) for vni, r in maps.vnis().items())
        return found

    def indices(self, name: str) -> set[int]:
        """Both sides of a device; empty when it is no port."""
        return {side[name] for side in (self.wires, self.hosts) if name in side}

    def index(self, name: str) -> int:
        """The port that a device is to its users.

        Raises:
            VnetxError: it is no port.
        """
        if name not in self.wires:
            raise VnetxError(f"port {name}", "not a port of this switch")
        return self.wires[name]

    def has(self, *indices: int) -> bool:
        """Whether all of them are known; 0 is no port."""
        return all(index in self.names or not index for index in indices)

    def __getitem__(self, index: int) -> str:
        """A name for people, whatever became of the device."""
        return self.names.get(index) or f"(gone, number {index})"


def domains(flags: int) -> dict[int, int]:
    """The bridge domain of each VLAN that learns by itself, of a switch with these flags; none
    without VLANs, or where they share what they learn."""
    bits = _abi.SWITCH_FLAGS
    if not flags & bits["vlan_aware"] or flags & bits["shared_learning"]:
        return {}
    return {vid: vid for vid in range(FIRST_VID, LAST_VID + 1)}


class Fdb:
    """The FDB of one switch.

    Args:
        maps: of the switch; they have to stay open.
        vlans: bridge domain of each VLAN.
    """

    def __init__(self, maps: SwitchMaps, vlans: Mapping[int, int] | None = None) -> None:
        self.maps = maps
        self.vlans = domains(maps.switch()["flags"]) if vlans is None else dict(vlans)
        try:
            self.table = _fdb.Table(maps.fds["fdb"], maps.fds["port_state"], maps.fds["bd_state"])
        except OSError as error:
            raise from_os(f"opening the FDB of {maps.name}", error) from error

    @property
    def size(self) -> int:
        """How many entries it has room for."""
        return self.table.max_entries

    def ageing_ns(self) -> int:
        ageing: int = self.maps.switch()["ageing_ns"]
        return ageing

    def names(self) -> PortNames:
        return PortNames.of(self.maps)

    # ------------------------------------------------------------ look

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The entries that match, without those that have aged."""
        which = query.filter(_fdb.LIVE, self.ageing_ns())
        return map(Entry._make, self.table.entries(which))

    def count(self, query: Query = EVERYTHING) -> int:
        """How many entries match, without those that have aged."""
        return self.table.count(query.filter(_fdb.LIVE, self.ageing_ns()))

    def full(self) -> bool:
        """Whether no entry is free: new addresses are flooded, not learned."""
        return self.table.count(EVERYTHING.filter(_fdb.ANY_AGE)) >= self.size

    def dump_json(
        self, fd: int, names: PortNames, query: Query = EVERYTHING, first: bool = True
    ) -> int:
        """Writes the elements of a JSON list, without its brackets.

        Args:
            first: nothing stands before them in the list.

        Returns:
            How many there are.
        """

        def label(name: str | None, kind: str = "port") -> bytes:
            switch, port = json.dumps(self.maps.name), json.dumps(name)
            return f'"switch": {switch}, "{kind}": {port}, "state": "'.encode()

        labels = {
            index: label(name, "vtep" if index in names.vteps else "port")
            for index, name in names.names.items()
        }
        return self._dump(fd, _fdb.JSON, labels, names, query, first=first, unknown=label(None))

    def dump_columns(self, fd: int, names: PortNames, query: Query = EVERYTHING) -> int:
        """Writes a line for people for each entry; returns how many."""

        def label(name: str | None) -> bytes:
            return os.fsencode((name or "(gone)").ljust(15))

        labels = {index: label(name) for index, name in names.names.items()}
        tail = f"  {self.maps.name}".encode()
        return self._dump(fd, _fdb.TABLE, labels, names, query, tail=tail, unknown=label(None))

    def dump_text(self, fd: int, names: PortNames, query: Query = EVERYTHING) -> int:
        """Writes the lines that :meth:`load` reads; returns how many.

        Local entries and those of devices that are gone are left out.
        """
        labels = {i: os.fsencode(name) for i, name in names.names.items() if name is not None}
        return self._dump(fd, _fdb.SAVE, labels, names, query)

    def _dump(
        self,
        fd: int,
        kind: int,
        labels: dict[int, bytes],
        names: PortNames,
        query: Query,
        *,
        first: bool = True,
        tail: bytes = b"",
        unknown: bytes = b"",
    ) -> int:
        vids = {bd: vid for vid, bd in self.vlans.items()}
        hosts = names.hosts.values()
        style = _fdb.Style(
            kind,
            labels,
            hosts=hosts,
            vids=vids,
            tail=tail,
            unknown=unknown,
            vnis=names.vnis,
            vteps=names.vteps,
        )
        which = query.filter(_fdb.LIVE, self.ageing_ns())
        return self.table.dump(fd, style, which, first)

    # ------------------------------------------------------------ change

    def add(
        self, mac: bytes, port: int, *, sticky: bool = False, replace: bool = False, bd: int = 0
    ) -> bool:
        """Makes a static entry; a learned one gives way to it.

        Args:
            sticky: it does not move either where static entries follow their address.
            replace: another static entry of the address gives way, too.

        Returns:
            False when it is there already.

        Raises:
            InvalidValue: not an address that a station can have.
            VnetxError: there is another static entry; the address is the host's; the FDB is full.
        """
        check_station_mac(mac)
        what = f"adding {format_mac(mac)} to the FDB of {self.maps.name}"
        state = "sticky" if sticky else "static"
        with lock.exclusive():
            for _ in range(100):  # an address may be learned between looking and writing
                old = self._get(mac, bd)
                if old is not None:
                    if (old.port, old.state) == (port, state):
                        return False
                    self._check_replaceable(what, old, replace)
                    self.table.remove(mac, bd)
                if self._insert(what, mac, bd, port, state):
                    return True
        raise VnetxError(what, "the address is learned faster than it is replaced")

    def _check_replaceable(self, what: str, old: Entry, replace: bool) -> None:
        if old.state == "local":
            raise VnetxError(what, "it is the host's own address")
        if old.state != "learned" and not replace:
            raise VnetxError(
                what,
                f"it has a {old.state} entry on port {self.names()[old.port]} already",
                f"vnetx fdb del {format_mac(old.mac)} first, or --replace",
            )

    def _insert(self, what: str, mac: bytes, bd: int, port: int, state: str) -> bool:
        try:
            with self._changing():
                return self.table.insert(mac, bd, port, state)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise from_os(what, error) from error
        if not self.sweep():
            raise VnetxError(
                what,
                f"the FDB is full: {self.size} entries",
                "vnetx fdb flush makes room; switch add --fdb-size makes a larger one",
            )
        return self._insert(what, mac, bd, port, state)

    def delete(self, mac: bytes, ports: Collection[int] | None = None, *, bd: int = 0) -> Entry:
        """Deletes the entry of an address and returns it.

        Args:
            ports: only if it is on one of these.

        Raises:
            VnetxError: there is none (on that port), or it is the host's own.
        """
        what = f"deleting {format_mac(mac)} from the FDB of {self.maps.name}"
        with lock.exclusive():
            old = self._get(mac, bd)
            if old is None:
                raise VnetxError(what, "it has no entry", "vnetx fdb show lists them")
            if old.state == "local":
                raise VnetxError(what, "it is the host's own address")
            if ports is not None and old.port not in ports:
                raise VnetxError(what, f"it is on port {self.names()[old.port]}")
            with self._changing():
                return self._made(self.table.remove(mac, bd)) or old

    def get(self, mac: bytes, *, bd: int = 0) -> Entry | None:
        """The entry of an address, None without one or when it has aged."""
        entry = self._get(mac, bd)
        if entry and entry.state == "learned" and entry.age * 1e9 >= self.ageing_ns():
            return None
        return entry

    def _get(self, mac: bytes, bd: int) -> Entry | None:
        return self._made(self.table.get(mac, bd))

    @staticmethod
    def _made(entry: tuple[bytes, int, int, str, float] | None) -> Entry | None:
        return None if entry is None else Entry._make(entry)

    def domain(self, port: int, vid: int | None = None) -> int:
        """The bridge domain of a VLAN, or of what comes untagged to a port."""
        if not self.vlans:
            return 0
        found = self.maps.port(port)
        return vid if vid is not None else found["pvid"] if found else 0

    def static_entries(self) -> dict[tuple[bytes, int], tuple[int, bool]]:
        """Port and whether it is sticky, of each (address, domain) with a static entry."""
        query = Query(states=("static", "sticky"))
        return {(e.mac, e.bd): (e.port, e.state == "sticky") for e in self.entries(query)}

    def change_domains(self) -> None:
        """After VLANs came or went, or began or ceased to share: learned entries are forgotten, and
        static ones go to where their port's untagged frames are."""
        self.flush(Query(states=("learned",)))
        for (mac, bd), (port, sticky) in self.static_entries().items():
            new = self.domain(port)
            if new != bd:
                self.delete(mac, bd=bd)
                self.add(mac, port, sticky=sticky, replace=True, bd=new)

    def set_local(self, mac: bytes, port: int) -> None:
        """The host's own address is behind a port, in all VLANs: what was learned of it in one of
        them would hide that, and goes."""
        self.maps.set_local(mac, port)
        self.flush(Query(mac=mac, states=("learned",)))

    def forget_port(self, index: int) -> int:
        """Deletes all entries of a port that goes, those of the host too; returns how many."""
        with lock.exclusive(), self._kernel("flushing"), self._changing():
            return self.table.flush(Query(ports=(index,)).filter(_fdb.ANY_AGE))

    def flush(self, query: Query = Query(states=("learned",))) -> int:
        """Deletes the entries that match, never those of the host; returns how many."""
        states = set(CHANGEABLE if query.states is None else query.states)
        if "local" in states:
            raise VnetxError(
                f"flushing the FDB of {self.maps.name}", "the host's own addresses stay"
            )
        which = Query(query.ports, query.bd, query.mac, states).filter(_fdb.ANY_AGE)
        with lock.exclusive(), self._kernel("flushing"), self._changing():
            return self.table.flush(which)

    def sweep(self) -> int:
        """Deletes the entries that have aged; only their memory comes back by that."""
        with self._kernel("sweeping"):
            return self.table.flush(self._aged())

    def swept(self) -> Iterator[list[Entry]]:
        """As :meth:`sweep`; yields what it deletes."""
        for entries in self.table.taken(self._aged()):
            yield [Entry._make(entry) for entry in entries]

    def _aged(self) -> _fdb.Filter:
        return EVERYTHING.filter(_fdb.AGED, self.ageing_ns())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """However it ends, the data plane has to look at the entries again."""
        try:
            yield
        finally:
            self.maps.advance_epoch()

    @contextlib.contextmanager
    def _kernel(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os(f"{doing} the FDB of {self.maps.name}", error) from error

    # ------------------------------------------------------------ files

    def save(self, path: str, names: PortNames | None = None, query: Query = EVERYTHING) -> int:
        """Writes a file that :meth:`load` reads; an existing one is replaced when all is written.

        Raises:
            VnetxError: the file cannot be written.
        """
        names = names or self.names()
        heading = f"# FDB of switch {self.maps.name}\n".encode()
        try:
            with _replaced(Path(path)) as fd:
                os.write(fd, heading)
                return self.dump_text(fd, names, query)
        except OSError as error:
            raise from_os(f"writing {path}", error) from error

    def load(
        self,
        source: str | bytes,
        names: PortNames | None = None,
        label: str | None = None,
        instead_of: Query | None = None,
    ) -> tuple[int, int]:
        """Makes the entries of a file; existing entries of the same addresses are replaced, in
        place: frames in flight find the one or the other.

        A line is ``MAC port NAME [host] [vlan VID] static|sticky|learned [age SECONDS]``;
        ``host`` is the host side of a device. Comments begin with ``#``.

        Args:
            source: path of a file, or the text itself.
            label: what errors call the source.
            instead_of: entries that match and are not in the file are deleted afterwards, but never
                those of the host.

        Returns:
            How many entries were made, and how many were left out as they have aged.

        Raises:
            VnetxError: nothing was loaded: a line is wrong (its number is told), there is no
                room, or the file cannot be read.
        """
        names = names or self.names()
        what = f"loading {label or (source if isinstance(source, str) else 'the text')}"
        meanings = _fdb.Names(names.wires, names.hosts, self.vlans)
        with lock.exclusive(), _text(what, source) as text:
            self.table.recount()
            try:
                with self._changing():
                    loaded, aged, disturbed = self._load(text, meanings, instead_of)
            except _fdb.BadLine as error:
                raise VnetxError(what, str(error), "nothing was loaded") from error
            except _fdb.TooMany as error:
                beside = f" beside the {error.kept} that stay" if error.kept else ""
                raise VnetxError(
                    what,
                    f"{error.needed} entries do not fit{beside} into an FDB of {error.room}; "
                    "nothing was loaded",
                    "vnetx fdb flush makes room; switch add --fdb-size makes a larger one",
                ) from error
            except OSError as error:
                raise from_os(what, error, "nothing was loaded") from error
            if disturbed:
                self.table.recount()
        return loaded, aged

    def _load(
        self, text: bytes | mmap.mmap, meanings: _fdb.Names, instead_of: Query | None
    ) -> tuple[int, int, bool]:
        others = None
        if instead_of is not None:
            states = set(CHANGEABLE if instead_of.states is None else instead_of.states)
            others = replace(instead_of, states=states).filter(_fdb.ANY_AGE)
        try:
            return self.table.load(text, meanings, self.ageing_ns(), others)
        except _fdb.TooMany:
            if not self.sweep():
                raise
            return self.table.load(text, meanings, self.ageing_ns(), others)


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[int]:
    """A descriptor to write to; what it gets becomes the file `path` when all went well."""
    if path.exists() and not path.is_file():  # a terminal, a pipe
        fd = os.open(path, os.O_WRONLY)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    path = path.resolve()
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        try:
            yield fd
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _text(what: str, source: str | bytes) -> Iterator[bytes | mmap.mmap]:
    """The text to load: mapped where it is a file, so that it takes no memory of ours."""
    if isinstance(source, bytes):
        yield source
        return
    try:
        with Path(source).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not status.st_size:
                text: bytes | mmap.mmap = file.read()
            else:
                text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise from_os(what, error) from error
    try:
        yield text
    finally:
        if isinstance(text, mmap.mmap):
            text.close()


# -------------------------------------------------------------- watching


class Watch:
    """Events of a switch's FDB as they happen; one watcher a switch.

    Use as a context manager and iterate over :meth:`batches`.  The data plane sends events
    while the watcher's lease runs, so one that was killed costs nothing after three seconds.

    Raises:
        VnetxError: another process watches already.
    """

    def __init__(self, maps: SwitchMaps) -> None:
        self.maps = maps
        self.fdb = Fdb(maps)
        self._claim = _claim(maps.name)
        try:
            self._ring = _fdb.Ring(maps.fds["events"])
        except BaseException:
            self._claim.close()
            raise
        self._poll = select.epoll()
        self._poll.register(self._ring.fileno(), select.EPOLLIN)
        while self._ring.read():  # what an earlier watcher left
            pass
        self._lost = maps.switch_state()["events_lost"]
        self._set_lease(_now() + LEASE_NS)
        self._renew_at = _now() + RENEWAL_NS
        self._sweep_at = _now() + SWEEP_NS

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(VnetxError, OSError):
            self._set_lease(0)
        self._poll.close()
        self._claim.close()

    def batches(self) -> Iterator[list[Event]]:
        """Yields, for ever, the events of each moment that has some.

        Raises:
            VnetxError: the switch was removed.
        """
        while True:
            events = self.wait()
            if events:
                yield events
            if _now() >= self._sweep_at:
                yield from self._sweep()

    def wait(self) -> list[Event]:
        """What comes next of the data plane's events and losses.

        Ends without one when it is time to sweep, and in time to keep the lease.
        """
        until = min(self._renew_at, self._sweep_at) - _now()
        self._poll.poll(max(until / 1e9, 0.0))
        found = [_event(raw) for raw in self._ring.read()]
        lost = self.maps.switch_state()["events_lost"]
        if lost != self._lost:
            found.append(Event("lost", _now() / 1e9, lost=lost - self._lost))
            self._lost = lost
        if _now() >= self._renew_at:
            self._renew()
        return found

    def _sweep(self) -> Iterator[list[Event]]:
        start = _now()
        for entries in self.fdb.swept():
            now = _now() / 1e9
            yield [Event("age-out", now, e.mac, e.bd, e.port, e.port) for e in entries]
        self._sweep_at = _now() + max(SWEEP_NS, SWEEP_SHARE * (_now() - start))

    def _renew(self) -> None:
        if not self.maps.directory.exists():
            raise VnetxError(f"watching switch {self.maps.name}", "the switch was removed")
        # While a long command holds the lock: try again soon, and at last do without.
        late = _now() >= self._lease_end - RENEWAL_NS
        done = self._set_lease(_now() + LEASE_NS, wait=not late)
        self._renew_at = _now() + (RENEWAL_NS if done else RENEWAL_NS // 5)

    def _set_lease(self, until: int, *, wait: bool = False) -> bool:
        """Writes the lease into the switch's struct, which others write under the lock.

        Args:
            wait: rather not do it than without the lock.
        """
        fd = os.open(lock.PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                wait = False
            if not wait:
                self.maps.set_switch(watch_until_ns=until)
                self._lease_end = until
            return not wait
        finally:
            os.close(fd)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _event(raw: tuple[int, bytes, int, int, int, int]) -> Event:
    moment, mac, bd, kind, port, old_port = raw
    return Event(_abi.EVENTS.get(kind, f"event-{kind}"), moment / 1e9, mac, bd, port, old_port)


def _claim(switch: str) -> socket.socket:
    """A name in this network namespace that only one process can hold."""
    address = f"\0vnetx/fdb-watch/{switch}"
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(address)
        claim.listen()
    except OSError as error:
        claim.close()
        what = f"watching switch {switch}"
        if error.errno != errno.EADDRINUSE:
            raise from_os(what, error) from error
        raise VnetxError(
            what, f"{_holder(address)} watches it already", "one watcher a switch: stop that one"
        ) from error
    return claim


def _holder(address: str) -> str:
    """The process that holds a name."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(address)
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return f"process {struct.unpack('=iii', credentials)[0]}"
    return "another process"
