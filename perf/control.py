"""How long commands take: attach cold, warm and loaded; what only reads; --help."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vnetx_perf.namespaces import Namespace

_LIMIT_S = 60


def command() -> list[str]:
    """The installed command: the one beside this interpreter, or the one on the PATH."""
    beside = Path(sys.executable).with_name("vnetx")
    found = str(beside) if beside.exists() else shutil.which("vnetx")
    return [found] if found else [sys.executable, "-m", "vnetx_cli.main"]


class _Stage:
    """A namespace with two veths to attach, and a compile cache of its own."""

    def __init__(self, directory: str) -> None:
        self.namespace = Namespace("control")
        self.directory = directory
        self._empty = 0
        self.cache = Path(directory) / "warm"
        self.namespace.ip(
            *(f"link add dev c{n} type veth peer name d{n}" for n in (0, 1)),
            *(f"link set dev {side}{n} up" for n in (0, 1) for side in "cd"),
        )

    def vnetx(self, *arguments: str, cache: Path | None = None) -> float:
        """Seconds that a command took."""
        environment = {**os.environ, "VNETX_CACHE_DIR": str(cache or self.cache)}
        begin = time.monotonic()
        done = subprocess.run(
            [*command(), "-n", self.namespace.name, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        taken = time.monotonic() - begin
        if done.returncode:
            raise RuntimeError(f"vnetx {' '.join(arguments)}: {done.stderr.strip()}")
        return taken

    def attach_cold(self) -> float:
        """Nothing compiled, nothing loaded."""
        self.vnetx("detach", "--all")
        self._empty += 1
        return self.vnetx("attach", "c0", cache=Path(self.directory) / f"cold{self._empty}")

    def attach_warm(self) -> float:
        """Compiled, not loaded."""
        self.vnetx("detach", "--all")
        return self.vnetx("attach", "c0")

    def attach_loaded(self) -> float:
        """The switch stands; a second port joins."""
        self.vnetx("attach", "c0")
        self.vnetx("detach", "c1")
        return self.vnetx("attach", "c1")

    def fdb_show(self) -> float:
        self.vnetx("attach", "c0")
        return self.vnetx("fdb", "show")

    def help(self) -> float:
        return self.vnetx("--help")

    def remove(self) -> None:
        try:
            self.vnetx("detach", "--all")
        finally:
            self.namespace.delete()


def run(
    *,
    rounds: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
    only: Sequence[str] | None = None,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds by command, interleaved; and why those that could not run could not."""
    chance = random.Random(seed)
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="vnetxperf-") as directory:
        stage = _Stage(directory)
        cases: dict[str, Callable[[], float]] = {
            "attach, cold": stage.attach_cold,
            "attach, warm cache": stage.attach_warm,
            "attach, loaded": stage.attach_loaded,
            "fdb show": stage.fdb_show,
            "--help": stage.help,
        }
        cases = {name: case for name, case in cases.items() if only is None or name in only}
        taken: dict[str, list[float]] = {name: [] for name in cases}
        try:
            for number in range(-1, rounds):  # round -1 warms page cache and bytecode
                order = list(taken)
                chance.shuffle(order)
                for name in order:
                    progress(f"control: round {number + 1} of {rounds}, {name}")
                    try:
                        seconds = cases[name]()
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        failed[name] = str(error)
                        del taken[name]
                        continue
                    if number >= 0:
                        taken[name].append(seconds)
        finally:
            stage.remove()
    return taken, failed
