"""Processes: which there are, and which have something open, as the kernel tells in /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def processes() -> list[Path]:
    """The directories of all processes in ``/proc``; any may be gone by the time it is read."""
    return [Path("/proc", entry) for entry in os.listdir("/proc") if entry.isdigit()]


def holders(*words: str, here: bool = False) -> list[str]:
    """Processes that hold a descriptor with a line of these words in its fdinfo, but this one.

    Args:
        here: only those in this process's network namespace.
    """
    found = []
    own = os.stat("/proc/thread-self/ns/net")
    for directory in processes():
        with contextlib.suppress(OSError):
            if here and not os.path.samestat((directory / "ns/net").stat(), own):
                continue
            for entry in (directory / "fdinfo").iterdir():
                lines = entry.read_text().splitlines()
                if any(line.split() == list(words) for line in lines):
                    comm = (directory / "comm").read_text().strip()
                    if int(directory.name) != os.getpid():
                        found.append(f"{comm} (process {directory.name})")
                    break
    return found
