"""How long commands take, beside the kernel's own: attach and detach, many ports at once, the
FDB's loading and dumping, what only reads, --help."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vnetx_perf.figures import Figure, Row, Sample, Target
from vnetx_perf.namespaces import Namespace
from vnetx_perf.rounds import Interrupted

_LIMIT_S = 120

#: Seconds that commands may take.
TARGETS = {
    "attach, cold": (Target("≤", 2.0),),
    "attach, loaded": (Target("≤", 0.4),),
    "fdb show": (Target("≤", 0.3),),
    "--help": (Target("≤", 0.3),),
}


def command() -> list[str]:
    """The installed command: the one beside this interpreter, or the one on the PATH."""
    beside = Path(sys.executable).with_name("vnetx")
    found = str(beside) if beside.exists() else shutil.which("vnetx")
    return [found] if found else [sys.executable, "-m", "vnetx_cli.main"]


class _Stage:
    """A namespace with veths to attach, and a compile cache of its own.

    Ports c0 and c1 are for single attachments, m0 … for many at once.
    """

    def __init__(self, directory: str, many: int, entries: int) -> None:
        self.namespace = Namespace("control")
        self.directory = Path(directory)
        self.many = [f"m{number}" for number in range(many)]
        self._empty = 0
        self.cache = self.directory / "warm"
        names = ["c0", "c1", *self.many]
        self.namespace.ip(
            *(f"link add dev {name} type veth peer name p{name}" for name in names),
            *(f"link set dev {side}{name} up" for name in names for side in ("", "p")),
            "link add dev br0 type bridge",
            "link set dev br0 up",
        )
        self._write_files(entries)

    def _write_files(self, entries: int) -> None:
        addresses = [f"02:00:{n >> 24:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"
                     for n in range(1, entries + 1)]  # fmt: skip
        (self.directory / "fdb").write_text(
            "".join(f"{address} port c0 static\n" for address in addresses)
        )
        (self.directory / "bridge").write_text(
            "".join(f"fdb add {address} dev c1 master static\n" for address in addresses)
        )
        ports = "".join(f"      {name}: {{}}\n" for name in self.many)
        (self.directory / "many.yaml").write_text(
            f"version: 1\nswitches:\n  many:\n    ports:\n{ports}"
        )

    # ------------------------------------------------------------ running

    def _timed(self, command: Sequence[str], **more: Any) -> float:
        begin = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, **more
        )
        taken = time.monotonic() - begin
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[-3:])}: {done.stderr.strip()[:200]}")
        return taken

    def vnetx(self, *arguments: str, cache: Path | None = None) -> float:
        """Seconds that a command of vnetx took."""
        environment = {**os.environ, "VNETX_CACHE_DIR": str(cache or self.cache)}
        return self._timed([*command(), "-n", self.namespace.name, *arguments], env=environment)

    def kernel(self, tool: str, *arguments: str, batch: Sequence[str] = ()) -> float:
        """Seconds that ip(8) or bridge(8) took, for one command or a batch."""
        more = {"input": "\n".join(batch) + "\n"} if batch else {}
        base = [tool, "-n", self.namespace.name]
        return self._timed([*base, *(["-batch", "-"] if batch else arguments)], **more)

    # ------------------------------------------------------------ one port

    def attach_cold(self) -> float:
        """Nothing compiled, nothing loaded."""
        self.vnetx("detach", "--all")
        self._empty += 1
        return self.vnetx("attach", "c0", cache=self.directory / f"cold{self._empty}")

    def attach_warm(self) -> float:
        """Compiled, not loaded."""
        self.vnetx("detach", "--all")
        return self.vnetx("attach", "c0")

    def attach_loaded(self) -> float:
        """The switch stands; a second port joins."""
        self.vnetx("attach", "c0")
        self.vnetx("detach", "c1")
        return self.vnetx("attach", "c1")

    def detach(self) -> float:
        self.vnetx("attach", "c0", "c1")
        return self.vnetx("detach", "c1")

    def bridge_attach(self) -> float:
        self.vnetx("detach", "c1")
        self.kernel("ip", "link", "set", "dev", "c1", "nomaster")
        try:
            return self.kernel("ip", "link", "set", "dev", "c1", "master", "br0")
        finally:
            self.kernel("ip", "link", "set", "dev", "c1", "nomaster")

    # ------------------------------------------------------------ many ports

    def apply(self) -> float:
        taken = self.vnetx("apply", str(self.directory / "many.yaml"))
        self.vnetx("switch", "del", "many")
        return taken

    def remove_many(self) -> float:
        self.vnetx("apply", str(self.directory / "many.yaml"))
        return self.vnetx("switch", "del", "many")

    def bridge_many(self) -> float:
        def to(master: str) -> list[str]:
            return [f"link set dev {name} {master}" for name in self.many]

        taken = self.kernel("ip", batch=to("master br0"))
        self.kernel("ip", batch=to("nomaster"))
        return taken

    # ------------------------------------------------------------ FDB

    def fdb_load(self) -> float:
        self.vnetx("attach", "c0")
        self.vnetx("fdb", "flush", "--static")
        return self.vnetx("fdb", "load", str(self.directory / "fdb"))

    def fdb_save(self) -> float:
        self.vnetx("attach", "c0")
        self.vnetx("fdb", "load", str(self.directory / "fdb"))
        return self.vnetx("fdb", "save", str(self.directory / "saved"))

    def bridge_load(self) -> float:
        self.vnetx("detach", "c1")
        self.kernel("ip", "link", "set", "dev", "c1", "master", "br0")
        try:
            lines = (self.directory / "bridge").read_text().splitlines()
            return self.kernel("bridge", batch=lines)
        finally:
            self.kernel("ip", "link", "set", "dev", "c1", "nomaster")

    # ------------------------------------------------------------ reading

    def fdb_show(self) -> float:
        self.vnetx("attach", "c0")
        self.vnetx("fdb", "flush", "--static")
        return self.vnetx("fdb", "show")

    def bridge_show(self) -> float:
        return self.kernel("bridge", "fdb", "show")

    def help(self) -> float:
        return self.vnetx("--help")

    def remove(self) -> None:
        try:
            self.vnetx("detach", "--all")
        finally:
            self.namespace.delete()


def _cases(stage: _Stage, many: int, entries: int) -> dict[str, Callable[[], float]]:
    cases = {
        "attach, cold": stage.attach_cold,
        "attach, warm cache": stage.attach_warm,
        "attach, loaded": stage.attach_loaded,
        "detach": stage.detach,
        "ip link set master": stage.bridge_attach,
        "fdb show": stage.fdb_show,
        "bridge fdb show": stage.bridge_show,
        "--help": stage.help,
    }
    if entries:
        cases |= {
            f"fdb load, {entries:,} entries": stage.fdb_load,
            f"fdb save, {entries:,} entries": stage.fdb_save,
            f"bridge -batch, {entries:,} entries": stage.bridge_load,
        }
    if many:
        cases |= {
            f"apply, {many:,} ports": stage.apply,
            f"switch del, {many:,} ports": stage.remove_many,
            f"ip -batch link set master, {many:,} ports": stage.bridge_many,
        }
    return cases


def figure(
    *,
    rounds: int,
    seed: int,
    many: int = 0,
    entries: int = 0,
    until: float = float("inf"),
    progress: Callable[[str], None] = lambda _: None,
    only: Sequence[str] | None = None,
) -> Iterator[Figure]:
    """Seconds by command, interleaved in random order.

    Args:
        many: ports that are attached at once, 0 for no such row.
        entries: of the FDB that is loaded and saved, 0 for no such rows.
        until: no further round begins after this time (time.monotonic), once there is one.
        only: names of rows.
    """
    chance = random.Random(seed)
    made = Figure("control", "control", "commands", "s", lower_is_better=True, seed=seed)
    with tempfile.TemporaryDirectory(prefix="vnetxperf-") as directory:
        progress("control: making ports")
        stage = _Stage(directory, many, entries)
        cases = _cases(stage, many, entries)
        made.rows = {name: Row() for name in cases if only is None or name in only}
        try:
            for number in range(-1, rounds):  # round -1 warms page cache and bytecode
                if number > 0 and time.monotonic() > until:
                    break
                for name in chance.sample(list(made.rows), len(made.rows)):
                    progress(f"control: round {number + 1}, {name}")
                    try:
                        seconds = cases[name]()
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        made.failed[name] = str(error)
                        del made.rows[name]
                        continue
                    if number >= 0:
                        made.rows[name].samples.append(Sample(seconds))
        except KeyboardInterrupt:
            made.warnings.append("interrupted")
            raise Interrupted(made) from None
        finally:
            stage.remove()
    yield made
