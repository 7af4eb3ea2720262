"""The process of wires with ``--carrier``: one in each network namespace that has such a wire.

It listens to what the kernel says of devices, and ends with the last such wire, or when nobody else
is left in the namespace. Frames do not need it; if it is killed, the next command starts another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import syslog
import time

from vnetx import carrier, netns
from vnetx.errors import VnetxError
from vnetx_cli.confirm_timer import join_first_mounts

MODULE = "vnetx_cli.carrier_watch"

#: Seconds between two looks, since the kernel may tell of carrier a second late (linkwatch), and
#: between two at whether anybody else is there.
_LOOK = 0.5
_LOOK_AROUND = 5.0


def ensure() -> None:
    """Starts one unless there is one; when this returns, it has looked at all wires.

    Raises:
        VnetxError: it did not start.
    """
    if carrier.is_followed():
        return
    ready, says_ready = os.pipe()
    isolated = ["-I"] if sys.flags.isolated else []
    process = subprocess.Popen(
        [sys.executable, *isolated, "-m", MODULE, str(says_ready)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(says_ready,),
        start_new_session=True,
        cwd="/",
    )
    os.close(says_ready)
    with os.fdopen(ready, "rb") as pipe:
        if not pipe.read(1):
            process.wait()
            raise VnetxError(
                "following the carrier of wires",
                "the process for it ended at once",
                "any command that changes something tries again",
            )


def _follow(says_ready: int) -> None:
    """Until no wire wants it, or nobody else is left."""
    from vnetx.engine.carrier import Carrier
    from vnetx.links.events import LinkEvents

    follower, looked_around = Carrier(), time.monotonic()
    with LinkEvents() as events:
        while True:
            wanted = True
            try:
                wanted = follower.settle()
            except (VnetxError, OSError) as error:
                syslog.syslog(syslog.LOG_ERR, f"following the carrier of wires: {error}")
            if says_ready >= 0:
                os.write(says_ready, b"\n")
                os.close(says_ready)
                says_ready = -1
            if time.monotonic() - looked_around > _LOOK_AROUND:
                looked_around = time.monotonic()
                wanted = wanted and netns.is_shared()
            if not wanted:
                return
            events.wait(_LOOK)


def main() -> None:
    """``python -m vnetx_cli.carrier_watch READY`` (a descriptor)"""
    says_ready = int(sys.argv[1])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    syslog.openlog("vnetx")
    join_first_mounts()
    from vnetx.engine.carrier import is_wanted

    while (mine := carrier.claim()) is not None:
        with contextlib.closing(mine):
            _follow(says_ready)
        says_ready = -1
        if not (netns.is_shared() and is_wanted()):  # for whoever saw this one end
            return
    if says_ready >= 0:
        os.write(says_ready, b"\n")


if __name__ == "__main__":
    main()
