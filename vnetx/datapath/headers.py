"""Kernel headers for bcc.

bcc wants headers even for programs that use UAPI types only.  Those of any
installed Debian kernel do, since nothing of the running kernel's own structs
is used; Debian splits them in two trees, and bcc takes one, so they are
merged by symbolic links.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from vnetx.errors import VnetxError

_ARCH = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name))


def running_kernel_has_headers() -> bool:
    """Whether bcc finds headers by itself in /lib/modules."""
    build = Path("/lib/modules") / platform.release() / "build"
    return (build / "include/generated/autoconf.h").exists()


def split_trees() -> list[tuple[Path, Path]]:
    """Debian's header packages as (configured, common) trees, newest first."""
    found = []
    for config in Path("/usr/src").glob("linux-headers-*/include/generated/autoconf.h"):
        tree = config.parents[2]
        common = tree.with_name(re.sub(r"-[a-z0-9]+$", "-common", tree.name))
        if common != tree and (common / "include/linux").is_dir():
            found.append((tree, common))
    return sorted(found, key=lambda pair: _version(pair[0]), reverse=True)


def find() -> str | None:
    """A sentence on which headers will be used, None when there are none."""
    if running_kernel_has_headers():
        return f"those of the running kernel {platform.release()}"
    trees = split_trees()
    return f"{trees[0][0].name} (any kernel's do)" if trees else None


def _link_all(directory: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for entry in directory.iterdir():
        link = into / entry.name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(entry)


@contextlib.contextmanager
def provided(scratch: Path) -> Iterator[None]:
    """Makes bcc find headers, by BCC_KERNEL_SOURCE where the running kernel has none.

    Args:
        scratch: an empty directory for the merged tree, needed until bcc has compiled.

    Raises:
        VnetxError: no kernel headers are installed.
    """
    if running_kernel_has_headers() or "BCC_KERNEL_SOURCE" in os.environ:
        yield
        return
    trees = split_trees()
    if not trees:
        raise VnetxError(
            "compiling the data plane",
            "no kernel headers are installed",
            "apt-get install linux-headers-amd64 (any kernel's headers do)",
        )
    configured, common = trees[0]
    for sub in ("include", f"arch/{_ARCH}/include"):
        for tree in (common, configured):
            if (tree / sub).is_dir():
                _link_all(tree / sub, scratch / sub)
    os.environ["BCC_KERNEL_SOURCE"] = str(scratch)
    try:
        yield
    finally:
        del os.environ["BCC_KERNEL_SOURCE"]
