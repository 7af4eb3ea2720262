"""The command, from a process that has imported it already: each call is a fork of that one.

To start Python and to import pyroute2 takes a quarter of a second, an emulated processor 5 s, and a
test calls the command several times. What a call then does is the same: its own process, arguments,
standard streams. tests/cli calls the real one.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

_MODULES = (
    *("vnetx.config", "vnetx.doctor", "vnetx.engine", "vnetx.state"),
    *("vnetx_cli.configuration", "vnetx_cli.fdb", "vnetx_cli.main", "vnetx_cli.ports"),
    *("vnetx_cli.link", "vnetx_cli.stats", "vnetx_cli.switch", "vnetx_cli.version"),
    *("vnetx_cli.vlan", "vnetx_cli.vni"),
)


class Preloaded:
    """Ends with the process that made it."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """As subprocess.run(command, text=True, capture_output=True)."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            words = json.dumps([str(word) for word in command]).encode()
            socket.send_fds(self._requests, [words], [out.fileno(), err.fileno()])
            answer = self._requests.recv(64)
            assert answer, "the process that has the command in it has ended"
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, int(answer), out.read(), err.read())


def _serve(requests: socket.socket) -> None:
    for module in _MODULES:
        importlib.import_module(module)
    while True:
        words, fds, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not words:
            return
        child = os.fork()
        if child == 0:
            requests.close()
            _become(json.loads(words), *fds)
        for fd in fds:
            os.close(fd)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        requests.sendall(str(status).encode())


def _become(command: list[str], out: int, err: int) -> None:
    """What .venv/bin/vnetx does, and the interpreter around it."""
    status = 1
    try:
        for fd, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(fd, number)
            os.close(fd)
        sys.argv = command
        try:
            sys.modules["vnetx_cli.main"].main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
