"""From C to instructions: bcc compiles, the result is cached on disk.

In the C code a map is a number (``VNETX_MAP`` in bpf/ctx/common.h).  The
instructions that bcc hands out still carry these numbers, so they belong to
no map in particular, can be kept, and are completed when they are loaded
(:mod:`vnetx.datapath.load`).  A source is compiled when the first of its
programs is wanted.  A warm start imports neither bcc nor clang.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib import resources
from itertools import repeat
from pathlib import Path
from typing import Any

from vnetx import _abi
from vnetx.datapath import headers
from vnetx.errors import VnetxError

#: Where compiled programs are kept; VNETX_CACHE_DIR moves it.
CACHE = Path("/var/cache/vnetx")
_SOURCE_OF = {row["name"]: row["source"] for row in _abi.PROGRAMS}
_DOING = "compiling the data plane"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Build:
    """The data plane, compiled as far as it was asked for.

    Attributes:
        key: number that stands for the sources and for what else the result depends on.
        programs: instructions by program, so far.
    """

    key: int
    programs: dict[str, bytes] = field(default_factory=dict)

    def code(self, names: Collection[str]) -> dict[str, bytes]:
        """The instructions of programs, from the cache or from bcc.

        Raises:
            VnetxError: bcc or kernel headers are missing, or clang refused a source.
        """
        missing: list[str] = []
        for source in sorted({_SOURCE_OF[name] for name in names if name not in self.programs}):
            found = _read(_cache_path(self.key, source), source)
            self.programs.update(found or {})
            missing += [] if found else [source]
        if missing:
            for source, found in _compile(source_directory(), missing).items():
                _write(_cache_path(self.key, source), found)
                self.programs.update(found)
        return {name: self.programs[name] for name in names}


def build() -> Build:
    """The data plane of these sources."""
    return Build(_key(source_directory()))


def uncompiled() -> list[str]:
    """The sources that are not in the cache: what needs them has bcc compile them first."""
    key = _key(source_directory())
    return [
        source
        for source in dict.fromkeys(_SOURCE_OF.values())
        if not _cache_path(key, source).exists()
    ]


def source_directory() -> Path:
    """The directory of the C sources, of a checkout or of an installed package."""
    return Path(str(resources.files("vnetx.bpf")))


def cache_directory() -> Path:
    return Path(os.environ.get("VNETX_CACHE_DIR", CACHE))


def _cache_path(key: int, source: str) -> Path:
    return cache_directory() / f"{key:016x}-{Path(source).stem}.json"


def _programs_in(source: str) -> set[str]:
    return {name for name, its in _SOURCE_OF.items() if its == source}


def _key(sources: Path) -> int:
    """What the result depends on: sources, architecture, the ABI that Cython compiled.

    Not the kernel: the programs use UAPI types only.
    """
    state = hashlib.sha256(f"{platform.machine()} {_abi.MAPS} {_abi.PROGRAMS}".encode())
    for path in sorted((*sources.rglob("*.[ch]"),)):
        state.update(f"{path.relative_to(sources)}\0".encode())
        state.update(path.read_bytes())
    return int.from_bytes(state.digest()[:8])


@contextlib.contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """What clang writes to file descriptor 2, in the list afterwards."""
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            lines.extend(sink.read().decode("utf-8", "replace").splitlines())


def _import_bcc() -> Any:
    """bcc's BPF class: half a second, and only when nothing is cached."""
    try:
        from bcc import BPF
    except ImportError as error:
        raise VnetxError(
            _DOING,
            f"bcc is not importable by {sys.executable} ({error})",
            "apt-get install python3-bpfcc, and a virtual environment of "
            "/usr/bin/python3 with --system-site-packages",
        ) from error
    return BPF


def _compile_source(bpf: Any, source: Path, flags: list[str]) -> Any:
    # bcc raises a bare Exception; what clang said is in the output.
    with _captured_stderr() as output, contextlib.suppress(Exception):
        return bpf(src_file=str(source).encode(), cflags=flags)
    errors = [line for line in output if "error:" in line]
    raise VnetxError(
        _DOING,
        errors[0] if errors else f"clang refused {source.name}",
        "vnetx doctor tells what bcc needs",
        "\n".join(output),
    )


def _programs_of(source: Path, flags: list[str]) -> dict[str, bytes]:
    module = _compile_source(_import_bcc(), source, flags)
    programs = {}
    for program in _abi.PROGRAMS:
        # a bare Exception again, for what the source does not define
        with contextlib.suppress(Exception):
            if program["source"] == source.name:
                code = module.dump_func(program["function"].encode())
                programs[program["name"]] = bytes(code)
    return programs


def _end_with(parent: int) -> None:
    """Has this process end when its parent does, even if that is killed: it holds the lock, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _compile(directory: Path, sources: list[str]) -> dict[str, dict[str, bytes]]:
    """Each source in a process of its own, where LLVM knows nothing of the other."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    flags = [f"-I{directory}", f"-I{directory}/include", "-Wno-unused-function"]
    paths = [directory / source for source in sources]
    with (
        tempfile.TemporaryDirectory(prefix="vnetx-") as scratch,
        headers.provided(Path(scratch)),
    ):
        _import_bcc()
        with ProcessPoolExecutor(
            len(paths), get_context("fork"), initializer=_end_with, initargs=(os.getpid(),)
        ) as pool:
            found = dict(zip(sources, pool.map(_programs_of, paths, repeat(flags)), strict=True))
    for source, programs in found.items():
        if missing := _programs_in(source) - programs.keys():
            raise VnetxError(_DOING, f"{source} lacks the programs {', '.join(sorted(missing))}")
    return found


def _read(path: Path, source: str) -> dict[str, bytes] | None:
    try:
        stored = json.loads(path.read_text())
        programs = {name: base64.b64decode(code) for name, code in stored.items()}
    except (OSError, ValueError):
        return None
    return programs if programs.keys() == _programs_in(source) else None


def _write(path: Path, programs: dict[str, bytes]) -> None:
    """Atomically; a cache that cannot be written only costs time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as out:
            json.dump({name: base64.b64encode(c).decode() for name, c in programs.items()}, out)
        Path(out.name).replace(path)
