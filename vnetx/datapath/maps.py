"""The maps of one switch, typed: what is pinned under its directory.

Every method is one or a few system calls; nothing is cached, since what the
kernel holds is what is.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vnetx import _abi, _bpf, _vlan, vlan_rule
from vnetx.datapath import load, pins
from vnetx.datapath.build import Build
from vnetx.errors import NoSwitch, VnetxError, from_os
from vnetx.model import ENDPOINT_KINDS, PortSettings, format_mac

_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_ZERO = _U32.pack(0)
_SIZES = {row["name"]: (row["key_size"], row["value_size"]) for row in _abi.MAPS}

#: Every switch has these; the others are loaded when something first needs them, since the
#: verifier takes longer than all else that an attach does.
CORE_PROGRAMS = ("tc_ingress", "flood")
#: For switches with VNIs.
VXLAN_PROGRAMS = (
    *("vxlan", "vxlan_in", "vxlan_out", "too_big", "clamp_mss"),
    *("neigh_answer", "neigh_learn", "flood_vteps", "underlay"),
)
#: The same where XDP encapsulates, and decapsulates.
VXLAN_XDP_PROGRAMS = ("xdp_vxlan_out", "xdp_underlay")
#: For switches with tuns.
TUN_PROGRAMS = ("tun_in", "tun_neigh", "tun_out")
#: While there are endpoints that have their NIC's MAC address.
IPVLAN_PROGRAMS = ("ipvlan", "ipvlan_to")
#: Tail calls: array, slot and program.
_TAILS = (
    *(("tail", slot, name) for slot, name in _abi.TAILS.items()),
    *(("tail_xdp", slot, name) for slot, name in _abi.TAILS_XDP.items()),
)
#: The programs of the ends of wires, by the hook of the device.
WIRE_PROGRAMS = {"ingress": "wire", "xdp": "xdp_wire"}
#: The program of each mode of XDP.
XDP_PROGRAMS = {"native": "xdp", "generic": "xdp_generic"}


def _possible_cpus() -> int:
    """Slots of a per-CPU value: one more than the highest possible CPU."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return max(int(part.split("-")[-1]) for part in text.strip().split(",")) + 1


def entries_of(row: dict[str, Any], fdb_size: int, max_ports: int) -> int:
    """How many entries a map of the table in abi.h gets in a switch of these sizes."""
    sized = {
        "fdb": fdb_size,
        "ports": max_ports,
        "slots": max_ports + _abi.VTEPS_LEARNED,
        "clock": 2 * fdb_size,
        "reasons": max_ports * len(_abi.REASONS),
        "flows": _abi.FLOWS * _possible_cpus(),
        "outers": _abi.OUTERS * _possible_cpus(),
    }
    symbol = _abi.ENTRIES.get(row["entries"])
    return sized[symbol] if symbol else int(row["entries"])


def _rule_key(match: vlan_rule.Match) -> bytes:
    return _abi.pack_vlan_rule_key(match.kind, match.prefix, match.length)


def _rule_of(key: bytes) -> vlan_rule.Match:
    kind, prefix, length = _abi.unpack_vlan_rule_key(key)
    return vlan_rule.Match(kind, -length, prefix)


class SwitchMaps:
    """Descriptors of the maps of one switch and typed access to them.

    Use as a context manager; :meth:`open` and :meth:`create` make one.
    """

    def __init__(self, name: str, directory: Path, fds: dict[str, int]) -> None:
        self.name = name
        self.directory = directory
        self.fds = fds

    # ------------------------------------------------------------ life

    @classmethod
    def open(cls, name: str) -> SwitchMaps:
        """The maps of an existing switch of this network namespace.

        Raises:
            NoSwitch: there is none of this name.
            VnetxError: its pins are incomplete, foreign or of another layout.
        """
        directory = pins.switch_directory(name)
        itself = pins.inode(directory)
        if itself is None:
            raise NoSwitch(f"switch {name}", "there is none of this name", "vnetx switch show")
        fds: dict[str, int] = {}
        try:
            for row in _abi.MAPS:
                path = directory / "maps" / row["name"]
                fds[row["name"]] = _bpf.obj_get(str(path))
                _check_layout(row, fds[row["name"]], path)
        except OSError as error:
            _close(fds)
            if pins.inode(directory) != itself:  # it went meanwhile
                return cls.open(name)
            if error.errno in (errno.EPERM, errno.EACCES):
                raise from_os(f"opening switch {name}", error) from error
            raise VnetxError(
                f"opening switch {name}",
                f"its pins under {directory} are damaged: {error.strerror}",
                f"vnetx switch del {name} --force removes it",
            ) from error
        except VnetxError:
            _close(fds)
            raise
        return cls(name, directory, fds)

    @classmethod
    def create(cls, name: str, fdb_size: int, max_ports: int, build: Build) -> SwitchMaps:
        """Makes maps and programs under a temporary name; :meth:`publish` makes them the switch.

        Raises:
            VnetxError: no memory or privileges for a map, or the verifier refused a program.
        """
        directory = pins.switch_directory(name)
        directory = directory.with_name(directory.name + "~new")
        fds: dict[str, int] = {}
        try:
            pins.remove_tree(directory)
            for sub in ("maps", "programs", "links"):
                (directory / sub).mkdir(parents=True, mode=0o700)
            for row in _abi.MAPS:
                entries = entries_of(row, fdb_size, max_ports)
                fds[row["name"]] = _bpf.map_create(
                    row["type"],
                    row["key_size"],
                    row["value_size"],
                    entries,
                    row["flags"],
                    f"vx_{row['name']}"[:15],
                )
                _bpf.obj_pin(fds[row["name"]], str(directory / "maps" / row["name"]))
            maps = cls(name, directory, fds)
            maps.load_programs(build, CORE_PROGRAMS)
        except OSError as error:
            _close(fds)
            with contextlib.suppress(OSError):
                pins.remove_tree(directory)
            raise from_os(f"making the maps of switch {name}", error) from error
        except BaseException:
            _close(fds)
            with contextlib.suppress(OSError):
                pins.remove_tree(directory)
            raise
        return maps

    def publish(self) -> None:
        """Gives the new switch its name, atomically."""
        final = pins.switch_directory(self.name)
        self.directory.rename(final)
        self.directory = final

    def unpublish(self) -> Path:
        """Takes the switch's name away, atomically; returns the directory that is left."""
        doomed = self.directory.with_name(self.directory.name + "~old")
        pins.remove_tree(doomed)
        self.directory.rename(doomed)
        self.directory = doomed
        return doomed

    def remove(self) -> None:
        """Takes the switch's name away, atomically, then all of its pins."""
        with contextlib.suppress(FileNotFoundError):
            pins.remove_tree(self.unpublish())

    def close(self) -> None:
        _close(self.fds)

    def __enter__(self) -> SwitchMaps:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------ programs and links

    def programs(self) -> set[str]:
        """Names of the programs that are loaded."""
        return {path.name for path in (self.directory / "programs").iterdir()}

    def load_programs(self, build: Build, names: Collection[str]) -> None:
        """Loads and pins programs and fills their tail-call slots; pins there are replaced.

        Raises:
            VnetxError: the verifier refused one: none is replaced.
        """
        programs = load.load(build, self.fds, names)
        try:
            for name, fd in programs.items():
                path = self.directory / "programs" / name
                path.unlink(missing_ok=True)
                _bpf.obj_pin(fd, str(path))
            for array, slot, name in _TAILS:
                if name in programs:
                    _bpf.map_update(self.fds[array], _U32.pack(slot), _U32.pack(programs[name]))
        finally:
            _close(programs)

    @contextlib.contextmanager
    def program(self, name: str) -> Iterator[int]:
        """A descriptor of one of the programs."""
        fd = _bpf.obj_get(str(self.directory / "programs" / name))
        try:
            yield fd
        finally:
            os.close(fd)

    def link_path(self, ifindex: int, hook: str) -> Path:
        """Where the link of a device is pinned; `hook` is xdp, ingress, egress or underlay."""
        return self.directory / "links" / f"{ifindex}-{hook}"

    def links(self) -> dict[tuple[int, str], Path]:
        """The pinned links by (ifindex, hook)."""
        found = {}
        for path in (self.directory / "links").iterdir():
            ifindex, _, hook = path.name.partition("-")
            found[int(ifindex), hook] = path
        return found

    # ------------------------------------------------------------ the switch

    def meta(self) -> dict[str, Any]:
        return _abi.unpack_meta(self._get("meta", _ZERO))

    def set_meta(self, **changes: Any) -> None:
        values = {**self.meta(), **changes}
        _bpf.map_update(self.fds["meta"], _ZERO, _abi.pack_meta(**values))

    def switch(self) -> dict[str, Any]:
        return _abi.unpack_switch(self._get("switch", _ZERO))

    def set_switch(self, **changes: Any) -> None:
        values = {**self.switch(), **changes}
        _bpf.map_update(self.fds["switch"], _ZERO, _abi.pack_switch(**values))
        self.advance_epoch()

    def advance_epoch(self) -> None:
        """What the data plane decided before (bpf/lib/flow.h) holds no longer.

        To be called after each change of what it decides by: settings, ports, FDB entries.
        """
        _bpf.map_update(self.fds["epoch"], _ZERO, _U64.pack(time.monotonic_ns()))

    def switch_state(self) -> dict[str, Any]:
        return _abi.unpack_switch_state(self._get("switch_state", _ZERO))

    # ------------------------------------------------------------ ports

    def ports(self) -> dict[int, dict[str, Any]]:
        """The ports in use by index; VTEPs and their devices are not among them."""
        vtep = _abi.PORT_FLAGS["vtep"]
        return {index: port for index, port in self.slots().items() if not port["flags"] & vtep}

    def slots(self) -> dict[int, dict[str, Any]]:
        """The slots in use by index: those of ports, and of VTEPs that somebody named."""
        slots = self.switch()["port_slots"]
        found = {}
        for key, raw in _bpf.map_items(self.fds["ports"], *_SIZES["ports"], most=slots):
            port = _abi.unpack_port(raw)
            if port["ifindex"]:
                found[_U32.unpack(key)[0]] = port
        return found

    def tidy(self) -> None:
        """At the end of a command: counts the ports and drops programs that nothing needs any more.

        A number of ports that is too large costs time, and one of XDP ports that is too small
        leaves their frames to TC; so it is enough to count then.
        """
        slots, switch = self.slots(), self.switch()
        vtep = _abi.PORT_FLAGS["vtep"]
        ports = {index: port for index, port in slots.items() if not port["flags"] & vtep}
        xdp = sum(bool(port["flags"] & _abi.PORT_FLAGS["xdp"]) for port in ports.values())
        counted = {"port_slots": max(slots, default=0) + 1, "xdp_ports": xdp}
        if any(switch[name] != number for name, number in counted.items()):
            self.set_switch(**counted)
        needed = {*CORE_PROGRAMS}
        needed |= {"tc_egress"} if any(port["twin"] for port in ports.values()) else set()
        needed |= {"flood_vlan"} if switch["flags"] & _abi.SWITCH_FLAGS["vlan_aware"] else set()
        needed |= {"sources"} if switch["flags"] & _abi.SWITCH_FLAGS["sources"] else set()
        needed |= set(VXLAN_PROGRAMS) if len(slots) > len(ports) else set()
        needed |= set(TUN_PROGRAMS) if self.tuns() else set()
        hooks = {port["hook"] for port in ports.values() if not port["wire"]}
        wired = {port["hook"] for port in ports.values() if port["wire"]}
        needed |= {WIRE_PROGRAMS["ingress"]} if wired else set()
        needed |= {WIRE_PROGRAMS["xdp"]} if _abi.HOOKS["xdp"] in wired else set()
        needed |= {XDP_PROGRAMS["native"]} if _abi.HOOKS["xdp"] in hooks else set()
        if switch["flags"] & _abi.SWITCH_FLAGS["ipvlan"]:
            needed |= self._tidy_addresses(ports)
        needed |= set(VXLAN_XDP_PROGRAMS) if self.overlays_by_xdp() else set()
        needed |= {XDP_PROGRAMS["generic"]} if _abi.HOOKS["xdp-generic"] in hooks else set()
        self._drop_programs(self.programs() - needed)

    def overlays_by_xdp(self) -> bool:
        """Whether a VNI wants XDP on the devices of the underlay."""
        return any(record["hook"] == _abi.HOOKS["xdp"] for record in self.vnis().values())

    def _drop_programs(self, names: Collection[str]) -> None:
        for array, slot, name in _TAILS:
            if name in names:
                _bpf.map_delete(self.fds[array], _U32.pack(slot))
        for name in names:
            (self.directory / "programs" / name).unlink(missing_ok=True)

    def port_settings(self, index: int) -> PortSettings:
        """The settings of a port; the defaults where the slot is free."""
        port = self.port(index)
        if port is None:
            return PortSettings()
        mapping = self.vlan_mappings().get(index, {})
        return PortSettings.from_abi(port, self.port_vlans(index), mapping)

    def port(self, index: int) -> dict[str, Any] | None:
        """One port, None when the slot is free (index 0 always is)."""
        if not index:
            return None
        port = _abi.unpack_port(self._get("ports", _U32.pack(index)))
        return port if port["ifindex"] else None

    def set_port(self, index: int, values: dict[str, Any]) -> None:
        _bpf.map_update(self.fds["ports"], _U32.pack(index), _abi.pack_port(**values))
        self.advance_epoch()

    def reset_port(self, index: int) -> None:
        """Frees the slot and clears its state, counters, VLANs and devmap entry."""
        key = _U32.pack(index)
        self.set_vlan_mapping(index, {})
        self.set_port_vlans(index, 0, 0)
        self.set_sources(index, ())
        self._forget_addresses(lambda _vid, row: row["port"] == index)
        _bpf.map_update(self.fds["ports"], key, _abi.pack_port())
        self.advance_epoch()
        _bpf.map_update(self.fds["port_state"], key, bytes(_SIZES["port_state"][1]))
        size = _SIZES["port_stats"][1] * _possible_cpus()
        _bpf.map_update(self.fds["port_stats"], key, bytes(size))
        with contextlib.suppress(OSError):
            _bpf.map_delete(self.fds["devmap"], key)
        for reason in _abi.REASONS:
            _bpf.map_delete(self.fds["reasons"], key + _U32.pack(reason))

    # ------------------------------------------------------------ endpoints

    def sources(self) -> dict[bytes, list[int]]:
        """Indices of the endpoints that take all frames of a source address, by address."""
        items = _bpf.map_items(self.fds["sources"], *_SIZES["sources"])
        return {_abi.unpack_source_key(key): _abi.unpack_source(raw) for key, raw in items}

    def set_sources(self, index: int, macs: Collection[bytes]) -> None:
        """The endpoint takes frames of these source addresses, and of no other.

        Raises:
            VnetxError: one of them has as many endpoints as it can have.
        """
        now = self.sources() if macs or self._has_sources() else {}
        after = {mac: [each for each in ports if each != index] for mac, ports in now.items()}
        for mac in macs:
            after.setdefault(mac, []).append(index)
            if len(after[mac]) > _abi.SOURCE_PORTS:
                raise VnetxError(
                    f"source {format_mac(mac)}",
                    f"{_abi.SOURCE_PORTS} endpoints take its frames, and no more can",
                )
        flag, flags = _abi.SWITCH_FLAGS["sources"], self.switch()["flags"]
        has = flag if any(after.values()) else 0
        if after == now and flags & flag == has:
            return
        for mac, ports in after.items():
            key = _abi.pack_source_key(mac)
            if ports:
                _bpf.map_update(self.fds["sources"], key, _abi.pack_source(ports))
            else:
                _bpf.map_delete(self.fds["sources"], key)
        self.set_switch(flags=flags & ~flag | has)
        self.advance_epoch()

    def _has_sources(self) -> bool:
        return bool(self.switch()["flags"] & _abi.SWITCH_FLAGS["sources"])

    def addresses(self) -> dict[tuple[int, bytes], dict[str, int]]:
        """The ``struct vnetx_address`` of each IP address (16 bytes) in a VLAN that is known to be
        an endpoint's or, among such, the host's."""
        items = _bpf.map_items(self.fds["addresses"], *_SIZES["addresses"])
        return {_abi.unpack_neighbour_key(key): _abi.unpack_address(raw) for key, raw in items}

    def set_addresses(self, index: int, vid: int, wanted: Collection[bytes]) -> None:
        """Gives a port these IP addresses in a VLAN for good, and no others."""
        self._forget_addresses(
            lambda key, row: (
                (row["port"], row["fixed"], key[0]) == (index, 1, vid) and key[1] not in wanted
            )
        )
        for address in wanted:
            key = _abi.pack_neighbour_key(vid, address)
            _bpf.map_update(self.fds["addresses"], key, _abi.pack_address(index))
        self.advance_epoch()

    def holds(self, row: Mapping[str, int]) -> bool:
        """Whether an address that is known is still of use: it was given, or has not aged."""
        age = time.monotonic_ns() - row["seen_ns"]
        return bool(row["fixed"]) or age < self.switch()["ageing_ns"]

    def is_vlan_aware(self) -> bool:
        return bool(self.switch()["flags"] & _abi.SWITCH_FLAGS["vlan_aware"])

    def has_ipvlan(self) -> bool:
        """Whether there are endpoints that have their NIC's MAC address."""
        return bool(self.switch()["flags"] & _abi.SWITCH_FLAGS["ipvlan"])

    def set_ipvlan(self, on: bool) -> None:
        """Has the data plane look at IP addresses, for which it needs IPVLAN_PROGRAMS, or not."""
        flag, flags = _abi.SWITCH_FLAGS["ipvlan"], self.switch()["flags"]
        self.set_switch(flags=flags | flag if on else flags & ~flag)

    def address_vid(self, port: Mapping[str, Any]) -> int:
        """The VLAN in which an endpoint has its IP addresses."""
        return int(port["pvid"]) if port["flags"] & _abi.PORT_FLAGS["vlan"] else 0

    def _forget_addresses(
        self, which: Callable[[tuple[int, bytes], Mapping[str, int]], bool]
    ) -> None:
        if not self.has_ipvlan():
            return
        keys = [key for key, row in self.addresses().items() if which(key, row)]
        for key in keys:
            _bpf.map_delete(self.fds["addresses"], _abi.pack_neighbour_key(*key))
        if keys:
            self.advance_epoch()

    def _tidy_addresses(self, ports: Mapping[int, Mapping[str, Any]]) -> set[str]:
        """Follows endpoints that went to another VLAN, and forgets addresses that have aged;
        returns the programs that are needed."""
        bit = _abi.PORT_FLAGS["ipvlan"]
        vids = {i: self.address_vid(port) for i, port in ports.items() if port["flags"] & bit}
        if not vids:
            self._forget_addresses(lambda _key, _row: True)
            self.set_ipvlan(False)
            return set()
        for (vid, address), row in self.addresses().items():
            if row["fixed"] and vid != vids.get(row["port"], vid):
                key = _abi.pack_neighbour_key(vids[row["port"]], address)
                _bpf.map_update(self.fds["addresses"], key, _abi.pack_address(row["port"]))
        self._forget_addresses(
            lambda key, row: key[0] != vids.get(row["port"], key[0]) or not self.holds(row)
        )
        self._count_addresses(vids)
        return set(IPVLAN_PROGRAMS)

    def _count_addresses(self, indices: Collection[int]) -> None:
        """How many addresses endpoints have taught, of which there is a limit."""
        rows = self.addresses().values()
        learned = collections.Counter(row["port"] for row in rows if not row["fixed"])
        for index in indices:
            key = _U32.pack(index)
            raw = self._get("port_state", key)
            if _abi.unpack_port_state(raw)["learned"] != learned[index]:
                changed = _abi.with_learned(raw, learned[index])
                _bpf.map_update(self.fds["port_state"], key, changed)

    def leave_parent(self, index: int) -> None:
        """Endpoints of this port, which goes, have no NIC any more."""
        if all(record["kind"] not in ENDPOINT_KINDS for record in self.interfaces().values()):
            return
        for other, port in self.ports().items():
            if port["parent"] == index:
                self.set_port(other, {**port, "parent": _abi.PORT_GONE})

    # ------------------------------------------------------------ VLANs

    def port_vlans(self, index: int) -> tuple[int, int]:
        """The VLANs that a port is in, and those of them that leave it untagged: bit n is VID n.

        Both are 0 for a port that has none, or that is none.
        """
        raw = _bpf.map_lookup(self.fds["port_vlans"], _U32.pack(index), _SIZES["port_vlans"][1])
        return _abi.unpack_port_vlans(raw) if raw else (0, 0)

    def set_port_vlans(self, index: int, member: int, untagged: int) -> None:
        """Puts a port into VLANs and out of all others; changes nothing where that fails."""
        self.set_ports_vlans({index: (member, untagged)})

    def set_ports_vlans(self, wanted: Mapping[int, tuple[int, int]]) -> None:
        """The same of many ports: the sets (member, untagged) by index.

        A port's own set comes last: as long as it does not say so, the same command has something
        to do.
        """
        fd, vlans = self.fds["port_vlans"], self.fds["vlans"]
        sets = [(i, _abi.pack_port_vlans(m, u & m)) for i, (m, u) in wanted.items()]
        before = [(index, _abi.pack_port_vlans(*self.port_vlans(index))) for index in wanted]

        def write(sets: Sequence[tuple[int, bytes]]) -> None:
            _vlan.set_members(vlans, sets)
            for index, raw in sets:
                if any(raw):
                    _bpf.map_update(fd, _U32.pack(index), raw)
                else:
                    _bpf.map_delete(fd, _U32.pack(index))

        with self._changing(lambda: write(before)):
            write(sets)

    @contextlib.contextmanager
    def _changing(self, undo: Callable[[], None]) -> Iterator[None]:
        """Around what changes several elements: all of them or, by `undo`, none."""
        try:
            yield
            self.advance_epoch()
        except OSError:
            with contextlib.suppress(OSError):
                undo()
                self.advance_epoch()
            raise

    def vlan_ports(self, vid: int) -> tuple[int, int]:
        """The ports of a VLAN, and those that get its frames untagged: bit n is the index n."""
        raw = _bpf.map_lookup(self.fds["vlans"], _U32.pack(vid), _SIZES["vlans"][1])
        return _abi.unpack_vlan(raw) if raw else (0, 0)

    def all_vlan_ports(self) -> dict[int, tuple[int, int]]:
        """What :meth:`vlan_ports` says, of each VLAN that has a port."""
        items = _bpf.map_items(self.fds["vlans"], *_SIZES["vlans"])
        return {_U32.unpack(key)[0]: _abi.unpack_vlan(raw) for key, raw in items}

    def vlan_stats(self, vid: int) -> dict[str, int]:
        """Counters of a VLAN, summed over CPUs."""
        size = _SIZES["vlan_stats"][1] * _possible_cpus()
        raw = _bpf.map_lookup(self.fds["vlan_stats"], _U32.pack(vid), size)
        return _abi.sum_vlan_stats(raw or b"")

    def vlan_mappings(self) -> dict[int, dict[int, int]]:
        """By port index: the VID inside for each VID on the wire that is another one."""
        found: dict[int, dict[int, int]] = {}
        for key, raw in _bpf.map_items(self.fds["vlan_mapping"], *_SIZES["vlan_mapping"]):
            port, vid, egress = _abi.unpack_vlan_mapping_key(key)
            if not egress:
                found.setdefault(port, {})[vid] = _U32.unpack(raw)[0]
        return found

    def set_vlan_mapping(self, index: int, mapping: dict[int, int]) -> None:
        """Sets which VIDs on a port's wire are which inside; all others are the same.

        Where that fails, nothing is changed.
        """
        before = self.vlan_mappings().get(index, {})
        with self._changing(lambda: self._write_vlan_mapping(index, before)):
            self._write_vlan_mapping(index, mapping)

    def _write_vlan_mapping(self, index: int, mapping: dict[int, int]) -> None:
        """The keys for egress come first and go first: those for ingress tell what is there."""
        fd = self.fds["vlan_mapping"]
        wanted = {(inside, True): wire for wire, inside in mapping.items()}
        wanted |= {(wire, False): inside for wire, inside in mapping.items()}
        keys = [key for key, _ in _bpf.map_items(fd, *_SIZES["vlan_mapping"])]
        there = [_abi.unpack_vlan_mapping_key(key) for key in keys]
        for port, vid, egress in sorted(there, key=lambda key: not key[2]):
            if port == index and (vid, egress) not in wanted:
                _bpf.map_delete(fd, _abi.pack_vlan_mapping_key(index, vid, egress))
        for (vid, egress), other in wanted.items():
            _bpf.map_update(fd, _abi.pack_vlan_mapping_key(index, vid, egress), _U32.pack(other))

    def vlan_rules(self) -> dict[vlan_rule.Match, int]:
        """The rules that tell the VLAN of frames without one, in the order in which they hold."""
        items = _bpf.map_items(self.fds["vlan_rules"], *_SIZES["vlan_rules"])
        found = {_rule_of(key): _U32.unpack(raw)[0] for key, raw in items}
        return dict(sorted(found.items()))

    def set_vlan_rules(self, rules: vlan_rule.Rules) -> None:
        """Makes these the rules; where that fails, changes nothing.

        Which kinds there are comes last: a rule is not asked before it is there.
        """
        before = self.vlan_rules()
        with self._changing(lambda: self._write_vlan_rules(before)):
            self._write_vlan_rules(rules)

    def _write_vlan_rules(self, rules: vlan_rule.Rules) -> None:
        fd, now = self.fds["vlan_rules"], self.vlan_rules()
        _bpf.map_delete_keys(fd, [_rule_key(match) for match in now if match not in rules])
        changed = [(match, vid) for match, vid in rules.items() if now.get(match) != vid]
        _bpf.map_update_items(fd, [(_rule_key(match), _U32.pack(vid)) for match, vid in changed])
        self.set_switch(vlan_rules=sum({1 << match.kind for match in rules}))

    # ------------------------------------------------------------ interfaces

    def interfaces(self) -> dict[str, dict[str, Any]]:
        """The ``struct vnetx_interface`` of each interface that the switch made, by name."""
        items = _bpf.map_items(self.fds["interfaces"], *_SIZES["interfaces"])
        found = {_abi.unpack_interface_key(key): _abi.unpack_interface(raw) for key, raw in items}
        return dict(sorted(found.items()))

    def set_interface(self, name: str, **values: Any) -> None:
        key = _abi.pack_interface_key(name)
        _bpf.map_update(self.fds["interfaces"], key, _abi.pack_interface(**values))

    def delete_interface(self, name: str) -> None:
        _bpf.map_delete(self.fds["interfaces"], _abi.pack_interface_key(name))

    # ------------------------------------------------------------ wires

    def wires(self) -> dict[int, dict[str, Any]]:
        """The ``struct vnetx_wire`` of each end of a wire, by ifindex."""
        items = _bpf.map_items(self.fds["wires"], *_SIZES["wires"])
        return {_U32.unpack(key)[0]: _abi.unpack_wire(raw) for key, raw in items}

    def wire(self, ifindex: int) -> dict[str, Any] | None:
        """That of one device without the number of frames, None where it is the end of none."""
        raw = _bpf.map_lookup(self.fds["wires"], _U32.pack(ifindex), _SIZES["wires"][1])
        record = _abi.unpack_wire(raw) if raw else None
        return record and {name: value for name, value in record.items() if name != "frames"}

    def has_carrier(self) -> bool:
        """Whether loss of carrier at one end of some wire is to show at the other."""
        bit = _abi.WIRE_FLAGS["carrier"]
        return any(end["flags"] & bit for end in self.wires().values())

    def set_wire(self, ifindex: int, **values: Any) -> None:
        """Chance begins anew."""
        _bpf.map_update(self.fds["wires"], _U32.pack(ifindex), _abi.pack_wire(**values))
        self.advance_epoch()

    def delete_wire(self, ifindex: int) -> None:
        _bpf.map_delete(self.fds["wires"], _U32.pack(ifindex))
        self.advance_epoch()

    # ------------------------------------------------------------ VNIs

    def vnis(self) -> dict[int, dict[str, Any]]:
        """The ``struct vnetx_vni`` of each VNI, with its `vid`, by VNI."""
        found = {}
        for key, raw in _bpf.map_items(self.fds["vni_vlans"], *_SIZES["vni_vlans"]):
            record = _abi.unpack_vni(self._get("vnis", raw))
            if record["vni"] == _U32.unpack(key)[0]:
                found[record["vni"]] = {**record, "vid": _U32.unpack(raw)[0]}
        return dict(sorted(found.items()))

    def set_vnis(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Makes each VNI that of the VLAN `vid`; bit n of `remotes` is the VTEP of index n, and the
        rest is ``struct vnetx_vni``.

        What packets find it by comes last, and goes first (:meth:`delete_vni`). VLANs that they
        were before are left as they are (:meth:`clear_vni`).
        """
        for vni, row in rows.items():
            values = dict(row)
            key, remotes = _U32.pack(values.pop("vid")), values.pop("remotes")
            _bpf.map_update(self.fds["vni_remotes"], key, _abi.pack_vni_remotes(remotes))
            _bpf.map_update(self.fds["vnis"], key, _abi.pack_vni(vni=vni, **values))
            _bpf.map_update(self.fds["vni_vlans"], _U32.pack(vni), key)
        self.advance_epoch()

    def delete_vni(self, vni: int) -> None:
        """Packets of a VNI are nobody's; its VLAN is still to be cleared."""
        _bpf.map_delete(self.fds["vni_vlans"], _U32.pack(vni))

    def clear_vni(self, vid: int) -> None:
        """Frames of a VLAN go to no VTEP."""
        key = _U32.pack(vid)
        _bpf.map_update(self.fds["vnis"], key, _abi.pack_vni())
        _bpf.map_delete(self.fds["vni_remotes"], key)
        self.advance_epoch()

    def stale_vnis(self) -> list[int]:
        """VLANs that a killed command left with a VNI which is another one's, or nobody's."""
        owners = {record["vid"] for record in self.vnis().values()}
        return [
            _U32.unpack(key)[0]
            for key, raw in _bpf.map_items(self.fds["vnis"], *_SIZES["vnis"])
            if _abi.unpack_vni(raw)["vni"] and _U32.unpack(key)[0] not in owners
        ]

    def vni_remotes(self, vid: int) -> int:
        """The VTEPs that flooded frames of a VLAN go to: bit n is the index n."""
        size = _SIZES["vni_remotes"][1]
        raw = _bpf.map_lookup(self.fds["vni_remotes"], _U32.pack(vid), size)
        return _abi.unpack_vni_remotes(raw) if raw else 0

    def all_vni_remotes(self) -> dict[int, int]:
        """What :meth:`vni_remotes` says, of each VLAN that has a VNI."""
        items = _bpf.map_items(self.fds["vni_remotes"], *_SIZES["vni_remotes"])
        return {_U32.unpack(key)[0]: _abi.unpack_vni_remotes(raw) for key, raw in items}

    def vteps(self) -> dict[int, tuple[bytes, int]]:
        """Address (16 bytes) and ifindex of the device of each VTEP, by index, learned ones too."""
        items = _bpf.map_items(self.fds["vtep_of"], *_SIZES["vtep_of"])
        return {_U32.unpack(key)[0]: _abi.unpack_vtep(raw) for key, raw in items}

    def set_vtep(self, index: int, address: bytes, values: dict[str, Any]) -> None:
        """Makes a slot a VTEP; `values` are those of its port."""
        vtep, key = _abi.pack_vtep(address, values["ifindex"]), _U32.pack(index)
        self.set_port(index, values)
        _bpf.map_update(self.fds["vtep_of"], key, vtep)
        _bpf.map_update(self.fds["vteps"], vtep, key)

    def delete_vtep(self, index: int) -> None:
        """Frees the slot of a VTEP; the number of one that was learned is for the next one."""
        key = _U32.pack(index)
        raw = _bpf.map_lookup(self.fds["vtep_of"], key, _SIZES["vtep_of"][1])
        if raw and _bpf.map_lookup(self.fds["vteps"], raw, 4) == key:
            _bpf.map_delete(self.fds["vteps"], raw)
        _bpf.map_delete(self.fds["vtep_of"], key)
        self.reset_port(index)
        if raw and index >= self.meta()["max_ports"]:
            _bpf.map_update(self.fds["vteps_free"], b"", key)

    def vxlan_devices(self) -> dict[int, int]:
        """Index of the slot of each device that encapsulates for this switch, by ifindex."""
        bit, found = _abi.PORT_FLAGS["vtep"], {}
        for port in self.slots().values():
            if port["flags"] & bit and (index := self.index_of(port["ifindex"])):
                found[port["ifindex"]] = index
        return found

    def offer_vteps(self) -> None:
        """Puts numbers aside for the VTEPs that the data plane learns of: all that are free, and
        while it learns of none."""
        first, taken = self.meta()["max_ports"], self.vteps()
        free = set(range(first, first + _abi.VTEPS_LEARNED)) - taken.keys()
        _bpf.map_refill(self.fds["vteps_free"], map(_U32.pack, sorted(free)), _U32.size)

    def neighbours(self, *, learned: bool = False) -> dict[tuple[int, bytes], dict[str, Any]]:
        """``struct vnetx_neighbour`` by VLAN and address (16 bytes): those that user space put
        there, or those that were learned, of which some may have aged."""
        name = "neigh_learned" if learned else "neighbours"
        items = _bpf.map_items(self.fds[name], *_SIZES[name])
        return {_abi.unpack_neighbour_key(key): _abi.unpack_neighbour(raw) for key, raw in items}

    def set_neighbours(self, vid: int, wanted: Mapping[bytes, bytes]) -> None:
        """Makes these the neighbours of a VLAN that user space put there: MAC by IP address."""
        there = {
            address: row["mac"] for (of, address), row in self.neighbours().items() if of == vid
        }
        for address in there.keys() - wanted.keys():
            _bpf.map_delete(self.fds["neighbours"], _abi.pack_neighbour_key(vid, address))
        for address, mac in wanted.items():
            if there.get(address) != mac:
                key = _abi.pack_neighbour_key(vid, address)
                _bpf.map_update(self.fds["neighbours"], key, _abi.pack_neighbour(mac))

    def forget_neighbours(self, vids: Collection[int]) -> None:
        """Forgets what was learned of hosts in VLANs."""
        for vid, address in self.neighbours(learned=True):
            if vid in vids:
                _bpf.map_delete(self.fds["neigh_learned"], _abi.pack_neighbour_key(vid, address))

    def tuns(self) -> dict[int, tuple[int, bytes]]:
        """(ifindex of the other one, MAC address) by the ifindex of a tun and of its port."""
        items = _bpf.map_items(self.fds["tuns"], *_SIZES["tuns"])
        return {_U32.unpack(key)[0]: _abi.unpack_tun(raw) for key, raw in items}

    def set_tun(self, ifindex: int, port: int, mac: bytes) -> None:
        """Joins a tun and the port of the station that the program behind it is."""
        _bpf.map_update(self.fds["tuns"], _U32.pack(ifindex), _abi.pack_tun(port))
        _bpf.map_update(self.fds["tuns"], _U32.pack(port), _abi.pack_tun(ifindex, mac))

    def delete_tun(self, port: int) -> None:
        """Forgets the tun of a port."""
        for ifindex, (to, _) in self.tuns().items():
            if port in (ifindex, to):
                _bpf.map_delete(self.fds["tuns"], _U32.pack(ifindex))

    def underlays(self) -> dict[int, dict[str, Any]]:
        """Devices on which packets of VTEPs are taken: ``struct vnetx_underlay`` by ifindex."""
        items = _bpf.map_items(self.fds["underlays"], *_SIZES["underlays"])
        return {_U32.unpack(key)[0]: _abi.unpack_underlay(raw) for key, raw in items}

    def set_underlay(self, ifindex: int, **values: Any) -> None:
        _bpf.map_update(self.fds["underlays"], _U32.pack(ifindex), _abi.pack_underlay(**values))

    def delete_underlay(self, ifindex: int) -> None:
        _bpf.map_delete(self.fds["underlays"], _U32.pack(ifindex))

    # ------------------------------------------------------------ devices

    def port_of(self) -> dict[int, int]:
        """Port index by ifindex."""
        items = _bpf.map_items(self.fds["port_of"], *_SIZES["port_of"])
        return {_U32.unpack(key)[0]: _U32.unpack(value)[0] for key, value in items}

    def index_of(self, ifindex: int) -> int:
        """Index of the port that a device is, 0 if it is none."""
        raw = _bpf.map_lookup(self.fds["port_of"], _U32.pack(ifindex), 4)
        return int(_U32.unpack(raw)[0]) if raw else 0

    def set_port_of(self, ifindex: int, index: int) -> None:
        _bpf.map_update(self.fds["port_of"], _U32.pack(ifindex), _U32.pack(index))
        self.advance_epoch()

    def delete_port_of(self, ifindex: int) -> None:
        _bpf.map_delete(self.fds["port_of"], _U32.pack(ifindex))
        self.advance_epoch()

    def set_devmap(self, index: int, ifindex: int) -> None:
        _bpf.map_update(self.fds["devmap"], _U32.pack(index), _U32.pack(ifindex))

    def port_state(self, index: int) -> dict[str, Any]:
        return _abi.unpack_port_state(self._get("port_state", _U32.pack(index)))

    def local_port(self, mac: bytes) -> int:
        """Index of the port behind which the host's own address is, 0 if it is not in the FDB."""
        raw = _bpf.map_lookup(self.fds["fdb"], _abi.pack_fdb_key(mac, 0), _SIZES["fdb"][1])
        entry = _abi.unpack_fdb_entry(raw) if raw else {"flags": 0, "port": 0}
        return entry["port"] if entry["flags"] & _abi.FDB_FLAGS["local"] else 0

    def set_local(self, mac: bytes, index: int) -> None:
        """Puts the host's own address behind a port."""
        entry = _abi.pack_fdb_entry(
            time.monotonic_ns(), index, _abi.FDB_FLAGS["local"] | _abi.FDB_FLAGS["static"]
        )
        _bpf.map_update(self.fds["fdb"], _abi.pack_fdb_key(mac, 0), entry)
        self.advance_epoch()

    def drop_local(self, mac: bytes, index: int) -> None:
        """Takes the host's own address away again, if it is behind this port."""
        if self.local_port(mac) == index:
            _bpf.map_delete(self.fds["fdb"], _abi.pack_fdb_key(mac, 0))
            self.advance_epoch()

    # ------------------------------------------------------------ counters

    def port_stats(self, index: int) -> dict[str, int]:
        """The counters of a port, summed over the CPUs."""
        size = _SIZES["port_stats"][1] * _possible_cpus()
        raw = _bpf.map_lookup(self.fds["port_stats"], _U32.pack(index), size)
        stats: dict[str, int] = _abi.sum_port_stats(raw)
        return stats

    def reasons(self) -> dict[int, dict[str, int]]:
        """Counts by port index and name of the reason, summed over the CPUs."""
        cpus = _possible_cpus()
        found: dict[int, dict[str, int]] = {}
        for key, raw in _bpf.map_items(self.fds["reasons"], 8, 8 * cpus):
            port, reason = _abi.unpack_reason_key(key)
            count = sum(struct.unpack(f"={cpus}Q", raw))
            if count:
                found.setdefault(port, {})[_abi.REASONS[reason]] = count
        return found

    # ------------------------------------------------------------ undo

    def undo(self) -> dict[int, dict[str, int]]:
        """What detach has to give back, by ifindex: a record for each attached device."""
        items = _bpf.map_items(self.fds["undo"], *_SIZES["undo"])
        return {_U32.unpack(key)[0]: _abi.unpack_undo(raw) for key, raw in items}

    def undo_of(self, ifindex: int) -> dict[str, int] | None:
        """The record of one device, None when it is not attached."""
        raw = _bpf.map_lookup(self.fds["undo"], _U32.pack(ifindex), _SIZES["undo"][1])
        return _abi.unpack_undo(raw) if raw else None

    def set_undo(self, ifindex: int, **values: int) -> None:
        _bpf.map_update(self.fds["undo"], _U32.pack(ifindex), _abi.pack_undo(**values))

    def delete_undo(self, ifindex: int) -> None:
        _bpf.map_delete(self.fds["undo"], _U32.pack(ifindex))

    def _get(self, name: str, key: bytes) -> bytes:
        raw: bytes | None = _bpf.map_lookup(self.fds[name], key, _SIZES[name][1])
        if raw is None:
            raise VnetxError(f"switch {self.name}", f"map {name} lacks an element")
        return raw


def _close(fds: dict[str, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])


def _check_layout(row: dict[str, Any], fd: int, path: Path) -> None:
    """The pinned map has to be of the type and sizes that Cython compiled (bcc would not look)."""
    info = _bpf.map_info(fd)
    for member in ("type", "key_size", "value_size"):
        if info[member] != row[member]:
            raise VnetxError(
                f"opening {path}",
                f"its {member} is {info[member]}, the ABI's is {row[member]}: "
                "not made by this version of vnetx",
                "detach with the version that made it, or vnetx switch del --force",
            )
