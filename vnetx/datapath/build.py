"""From C to instructions: bcc compiles, the result is cached on disk.

In the C code a map is a number (``VNETX_MAP`` in bpf/ctx/common.h).  The
instructions that bcc hands out still carry these numbers, so they belong to
no map in particular, can be kept, and are completed when they are loaded
(:mod:`vnetx.datapath.load`).  A warm start imports neither bcc nor clang.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import repeat
from pathlib import Path
from typing import Any

from vnetx import _abi
from vnetx.datapath import headers
from vnetx.errors import VnetxError

#: Where compiled programs are kept; VNETX_CACHE_DIR moves it.
CACHE = Path("/var/cache/vnetx")
SOURCES = ("tc.c", "xdp.c")
_DOING = "compiling the data plane"


@dataclass(frozen=True)
class Build:
    """Compiled programs by their pinned name, and the number that stands for the sources."""

    key: int
    programs: dict[str, bytes]


def source_directory() -> Path:
    """The directory of the C sources, of a checkout or of an installed package."""
    return Path(str(resources.files("vnetx.bpf")))


def cache_directory() -> Path:
    return Path(os.environ.get("VNETX_CACHE_DIR", CACHE))


def digest(sources: Path) -> str:
    """What the result depends on: sources, architecture, the ABI that Cython compiled.

    Not the kernel: the programs use UAPI types only.
    """
    state = hashlib.sha256(f"{platform.machine()} {_abi.MAPS} {_abi.PROGRAMS}".encode())
    for path in sorted((*sources.rglob("*.[ch]"),)):
        state.update(f"{path.relative_to(sources)}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


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
        # a bare Exception again, for what this source does not define
        with contextlib.suppress(Exception):
            code = module.dump_func(program["function"].encode())
            programs[program["name"]] = bytes(code)
    return programs


def _compile(sources: Path) -> dict[str, bytes]:
    """Each source in a process of its own, where LLVM knows nothing of the other."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    programs: dict[str, bytes] = {}
    flags = [f"-I{sources}", f"-I{sources}/include", "-Wno-unused-function"]
    paths = [sources / name for name in SOURCES]
    with (
        tempfile.TemporaryDirectory(prefix="vnetx-") as scratch,
        headers.provided(Path(scratch)),
    ):
        _import_bcc()
        with ProcessPoolExecutor(len(paths), get_context("fork")) as pool:
            for found in pool.map(_programs_of, paths, repeat(flags)):
                programs |= found
    missing = {program["name"] for program in _abi.PROGRAMS} - programs.keys()
    if missing:
        raise VnetxError(_DOING, f"the sources lack the programs {', '.join(sorted(missing))}")
    return programs


def _read(path: Path) -> dict[str, bytes] | None:
    try:
        stored = json.loads(path.read_text())
        programs = {name: base64.b64decode(code) for name, code in stored.items()}
    except (OSError, ValueError):
        return None
    expected = {program["name"] for program in _abi.PROGRAMS}
    return programs if programs.keys() == expected else None


def _write(path: Path, programs: dict[str, bytes]) -> None:
    """Atomically; a cache that cannot be written only costs time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as out:
            json.dump({name: base64.b64encode(c).decode() for name, c in programs.items()}, out)
        Path(out.name).replace(path)


def build() -> Build:
    """The compiled data plane, from the cache or from bcc.

    Raises:
        VnetxError: bcc or kernel headers are missing, or clang refused the sources.
    """
    sources = source_directory()
    key = digest(sources)
    path = cache_directory() / f"{key[:32]}.json"
    programs = _read(path)
    if programs is None:
        programs = _compile(sources)
        _write(path, programs)
    return Build(int(key[:16], 16), programs)
