"""What cython/_fdb.pyx does, in plain Python: the oracle of its tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

STATES = ("learned", "static", "sticky", "local")
_PAIRS = re.compile(rb"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}")
_OTHER = re.compile(rb"[0-9a-fA-F]{12}|[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}")


@dataclass(frozen=True)
class Entry:
    mac: bytes
    bd: int
    port: int
    state: str
    age: int = 0


class Bad(Exception):  # noqa: N818 - a bad line
    """Number of the first line that is wrong."""


@dataclass(frozen=True)
class Meanings:
    wires: Mapping[str, int]
    hosts: Mapping[str, int]
    vlans: Mapping[int, int]


def parse(
    text: bytes, meanings: Meanings, ageing: float
) -> tuple[dict[tuple[int, bytes], Entry], int]:
    """Entries by (bd, address), and how many are too old.

    Raises:
        Bad: a line is wrong.
    """
    found: dict[tuple[int, bytes], Entry] = {}
    aged = 0
    for number, line in enumerate(text.split(b"\n"), start=1):
        words = []
        for word in re.findall(rb"[^ \t\r]+", line):
            words.append(word)
        try:
            entry = _line(words, meanings)
        except (ValueError, IndexError, KeyError) as error:
            raise Bad(number) from error
        if entry is None:
            continue
        if entry.state == "learned" and entry.age >= ageing:
            aged += 1
            continue
        if (entry.bd, entry.mac) in found:
            raise Bad(number)
        found[entry.bd, entry.mac] = entry
    return found, aged


def _line(words: list[bytes], meanings: Meanings) -> Entry | None:
    if not words or words[0].startswith(b"#"):
        return None
    if not (_PAIRS.fullmatch(words[0]) or _OTHER.fullmatch(words[0])):
        raise ValueError(words[0])
    mac = bytes.fromhex(re.sub(rb"[:.-]", b"", words[0]).decode())
    if mac[0] & 1 or not any(mac):
        raise ValueError(words[0])
    given: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        if word.startswith(b"#"):
            break
        key = word.decode("ascii")
        kind = "state" if key in STATES[:3] else key
        if kind in given or kind not in ("state", "port", "host", "vlan", "age"):
            raise ValueError(key)
        if kind in ("state", "host"):
            given[kind] = key
            continue
        value = next(rest, None)
        if value is None:
            raise ValueError(key)
        given[kind] = value.decode("utf-8", "surrogateescape")
        if kind in ("vlan", "age") and not re.fullmatch(r"[0-9]{1,10}", given[kind]):
            raise ValueError(value)
    vid = int(given.get("vlan", 0))
    if "vlan" in given and not 1 <= vid <= 4094:
        raise ValueError(vid)
    if "age" in given and given["state"] != "learned":
        raise ValueError("age")
    meanings.wires[given["port"]]
    side = meanings.hosts if "host" in given else meanings.wires
    return Entry(
        mac,
        meanings.vlans[vid] if vid else 0,
        side[given["port"]],
        given["state"],
        int(given.get("age", 0)),
    )


def format_entry(entry: Entry, meanings: Meanings) -> str:
    """The line that `fdb save` writes."""
    names = {port: name for name, port in meanings.wires.items()}
    names |= {port: f"{name} host" for name, port in meanings.hosts.items()}
    vids = {bd: vid for vid, bd in meanings.vlans.items()}
    line = f"{entry.mac.hex(':')} port {names[entry.port]}"
    if entry.bd in vids:
        line += f" vlan {vids[entry.bd]}"
    line += f" {entry.state}"
    return line + (f" age {entry.age}\n" if entry.state == "learned" else "\n")
