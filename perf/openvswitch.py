"""Open vSwitch of our own: its two daemons in a namespace, their files in a directory.

Nothing is shared with the system's service, which need not run: database, sockets and log are
in a directory that goes with the daemons, and these go with the process that started them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vnetx_perf import requirements
from vnetx_perf.namespaces import NICE, Namespace, private_directory
from vnetx_perf.requirements import Tool

_READY_S = 10
_POLL_S = 0.005
_LOG_LINES = 5


_COMMANDS = ("ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-appctl")
#: What a subject of it needs.
TOOLS = (
    Tool("genl", "iproute2"),
    Tool("setpriv", "util-linux"),
    *(Tool(command, "openvswitch-switch", "Open vSwitch") for command in _COMMANDS),
)


def lacks_datapath() -> str:
    """Why there is no datapath in this kernel; "" if there is."""
    return requirements.lacks_netlink_family("ovs_datapath", "Open vSwitch datapath", "openvswitch")


class Daemons:
    """ovsdb-server and ovs-vswitchd inside a namespace, ready when this is made.

    Raises:
        RuntimeError: one of them ended, or was not ready in time; with what it wrote.
    """

    def __init__(self, namespace: Namespace, settings: dict[str, str] | None = None) -> None:
        """`settings` are of the database's ``Open_vSwitch.other_config``."""
        self._namespace = namespace
        self._directory = private_directory("ovs")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._run("ovsdb-tool", "create")
            self._start("ovsdb-server", f"--remote=punix:{self._socket('db')}")
            self._wait("ovsdb-server", self._socket("db"))
            pairs = [f"other_config:{key}={value}" for key, value in (settings or {}).items()]
            self.vsctl(
                "--no-wait", "init", *(["--", "set", "Open_vSwitch", ".", *pairs] * bool(pairs))
            )
            self._start("ovs-vswitchd", f"unix:{self._socket('db')}")
            self._wait("ovs-vswitchd", self._control("ovs-vswitchd"))
            self.appctl("version")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the daemons and removes their files; nothing of them is worth a farewell."""
        while self._running:
            _, process = self._running.popitem()
            process.kill()
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    # ------------------------------------------------------------ commands

    def make_bridge(self, ports: Sequence[str], datapath: str, *more: str) -> None:
        """Makes ``br0``, a learning switch whose only flow is NORMAL.

        Args:
            datapath: ``system`` or ``netdev``.
            more: further words of ovs-vsctl(8), after ``--``.

        Raises:
            RuntimeError: ovs-vswitchd could not do it, which ovs-vsctl does not say.
        """
        self.vsctl(
            *("add-br", "br0", "--", "set", "bridge", "br0"),
            *(f"datapath_type={datapath}", "fail_mode=standalone"),
            *(word for port in ports for word in ("--", "add-port", "br0", port)),
            *(("--", *more) if more else ()),
        )
        failed = self.vsctl("--bare", "--columns=name,error", "find", "Interface", "error!=[]")
        if failed:
            raise RuntimeError(f"Open vSwitch: {' '.join(failed.split())}")

    def state(self) -> dict[str, str]:
        """What there is, and not what was asked for."""
        return {
            "version": self.appctl("version").splitlines()[0].rpartition(" ")[2],
            # as in "system@ovs-system: hit:0 missed:0"
            "datapath": self.appctl("dpif/show").partition("@")[0],
            "settings": self.vsctl("get", "Open_vSwitch", ".", "other_config"),
        }

    def vsctl(self, *arguments: str) -> str:
        """Runs ovs-vsctl(8), which waits until ovs-vswitchd has done it; returns its output."""
        return self._run("ovs-vsctl", f"--timeout={_READY_S}", *arguments)

    def appctl(self, *arguments: str) -> str:
        """Asks ovs-vswitchd, as ovs-appctl(8) does."""
        target = str(self._control("ovs-vswitchd"))
        return self._run("ovs-appctl", f"--timeout={_READY_S}", "--target", target, *arguments)

    def pin(self, core: int) -> None:
        """Keeps all threads of ovs-vswitchd on one CPU."""
        for task in Path(f"/proc/{self._running['ovs-vswitchd'].pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.sched_setaffinity(int(task.name), {core})

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self._environment()
        )
        if done.returncode:
            raise RuntimeError("\n".join([f"{command[0]}: {done.stderr.strip()}", *self._log()]))
        return done.stdout.strip()

    # ------------------------------------------------------------ daemons

    def _start(self, daemon: str, *arguments: str) -> None:
        """In the foreground of a session of its own: Ctrl-C is for the harness to act on."""
        life = ["setpriv", "--pdeathsig", "KILL", "--", "nice", "-n", str(NICE)]
        quiet = ["-vconsole:warn", "-vsyslog:off", f"--unixctl={self._control(daemon)}"]
        with self._namespace.entered(), open(self._directory / "log", "ab") as log:
            self._running[daemon] = subprocess.Popen(
                [*life, daemon, *quiet, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )

    def _wait(self, daemon: str, path: Path) -> None:
        """Until a daemon accepts connections at a socket."""
        end = time.monotonic() + _READY_S
        while not _accepts(path):
            if self._running[daemon].poll() is not None:
                raise RuntimeError("\n".join([f"{daemon} ended", *self._log()]))
            if time.monotonic() > end:
                raise RuntimeError("\n".join([f"{daemon} is not ready", *self._log()]))
            time.sleep(_POLL_S)

    def _environment(self) -> dict[str, str]:
        places = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        return {**os.environ, **dict.fromkeys(places, str(self._directory))}

    def _socket(self, name: str) -> Path:
        return self._directory / f"{name}.sock"

    def _control(self, daemon: str) -> Path:
        return self._directory / f"{daemon}.ctl"

    def _log(self) -> Iterator[str]:
        with contextlib.suppress(OSError):
            yield from (self._directory / "log").read_text().splitlines()[-_LOG_LINES:]


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        return attempt.connect_ex(str(path)) == 0
