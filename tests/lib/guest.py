"""A virtual machine behind a tap: Debian 12's kernel with busybox in its memory, under QEMU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lib.topology import Node, wait_until

_VM = Path(__file__).parents[1] / "vm"
_MODULES = ("virtio_pci", "virtio_net")
_TOOLS = ("ethtool",)
#: Until the guest says that it is ready; an emulated processor takes about 10.
_BOOT_S = 120

_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
{script}
echo guest is ready
exec sleep 100000
"""


def kernel() -> Path:
    """The directory of the kernel, which is fetched if it is not there."""
    done = subprocess.run([_VM / "kernel.sh"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


class Guest:
    """A machine with one network card, eth0, which has this address.

    Args:
        place: the namespace where QEMU runs, and the tap is.
        directory: an empty one for its files.
        script: what it does before it is ready, for its shell.
        netdev: QEMU's option, without the id.
    """

    def __init__(
        self, place: Node, directory: Path, script: Sequence[str], netdev: str, mac: bytes
    ) -> None:
        home = kernel()
        self._console = directory / "console"
        self._console.touch()
        self._qemu = place.start(
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-display", "none", "-monitor", "none", "-machine", "pc,accel=tcg", "-cpu", "max"),
            *("-m", "256M", "-kernel", str(home / "vmlinux")),
            *("-initrd", str(_initramfs(home, directory, "\n".join(script)))),
            *("-append", "console=ttyS0 panic=-1 loglevel=4 mitigations=off random.trust_cpu=on"),
            *("-serial", f"file:{self._console}", "-netdev", f"{netdev},id=n0"),
            *("-device", f"virtio-net-pci,netdev=n0,mac={mac.hex(':')},romfile="),
        )
        wait_until(self._is_ready, "the guest is ready", _BOOT_S)

    def _is_ready(self) -> bool:
        assert self._qemu.poll() is None, f"QEMU ended\n{self.said()}"
        return "guest is ready" in self.said()

    def said(self) -> str:
        """What its console shows."""
        return self._console.read_text(errors="replace").replace("\r", "")


def _initramfs(home: Path, directory: Path, script: str) -> Path:
    tree = directory / "tree"
    for name in ("bin", "dev", "proc", "sys", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), tree / "bin")
    for tool in _TOOLS:
        path = str(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"))
        shutil.copy(path, tree / "bin")
        libraries = subprocess.run(["ldd", path], check=True, capture_output=True, text=True)
        for library in re.findall(r"(/\S+)", libraries.stdout):
            target = tree / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    (tree / "init").write_text(_INIT.format(script=script))
    (tree / "init").chmod(0o755)
    with (tree / "modules/order").open("w") as order:
        for module in _modules(home):
            shutil.copy(module, tree / "modules")
            order.write(f"{module.name}\n")
    found = directory / "initramfs"
    names = "\0".join(str(path.relative_to(tree)) for path in tree.rglob("*"))
    packed = subprocess.run(
        ["cpio", "--quiet", "--null", "-o", "-H", "newc"],
        cwd=tree, input=names.encode(), check=True, capture_output=True,
    )  # fmt: skip
    found.write_bytes(packed.stdout)
    return found


def _modules(home: Path) -> list[Path]:
    """What has to be loaded, in this order."""
    version = (home / "version").read_text().strip()
    found: dict[Path, None] = {}
    for module in _MODULES:
        shown = subprocess.run(
            [
                *("/sbin/modprobe", "--dirname", str(home), "--set-version", version),
                *("--show-depends", "--ignore-install", module),
            ],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        for line in shown.stdout.splitlines():
            word, path, *_ = line.split()
            if word == "insmod":
                found[Path(path)] = None
    return list(found)
