"""The timer of ``attach --confirm``: a process of its own that outlives the terminal.

It is ready before anything is attached, so that nothing that the attaching does to the terminal can
lose it. The deadline is the kernel's (the engine records it with the attachment); the timer only
waits for it. It ends early when there is nothing left to confirm.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import syslog
import time
from collections.abc import Iterator

from vnetx import mountns
from vnetx.errors import VnetxError

MODULE = "vnetx_cli.confirm_timer"

#: Seconds between two looks at whether it was confirmed.
_LOOK = 1.0
_ATTEMPTS = 10


@contextlib.contextmanager
def running() -> Iterator[None]:
    """A timer that watches over what is attached inside the ``with`` block.

    Raises:
        VnetxError: it did not start; nothing has been attached yet.
    """
    ready, says_ready = os.pipe()
    sees_end, attaching = os.pipe()
    isolated = ["-I"] if sys.flags.isolated else []
    process = subprocess.Popen(
        [sys.executable, *isolated, "-m", MODULE, str(says_ready), str(sees_end)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(says_ready, sees_end),
        start_new_session=True,
        cwd="/",
    )
    os.close(says_ready)
    os.close(sees_end)
    try:
        if not os.read(ready, 1):
            process.wait()
            raise VnetxError("starting the confirm timer", "it ended at once; nothing was attached")
        yield
    finally:
        os.close(ready)
        os.close(attaching)


def _pending() -> float | None:
    """Seconds until something unconfirmed of this network namespace is to be undone."""
    from vnetx import state
    from vnetx.datapath import pins

    left = []
    with contextlib.suppress(VnetxError):
        for name in pins.switch_names():
            with contextlib.suppress(VnetxError):
                left += [view.unconfirmed_for for view in state.switches([name])]
    return min((each for each in left if each is not None), default=None)


def _wait(attaching: int) -> bool:
    """Waits for the deadline.

    Args:
        attaching: a pipe that is closed when the attaching is over, done or failed.

    Returns:
        Whether there is something to undo.
    """
    over = False
    wait = _LOOK
    while True:
        if over:
            time.sleep(wait)
        else:
            over = bool(select.select([attaching], [], [], wait)[0])
        left = _pending()
        if left is not None and left <= 0:
            return True
        if left is None and over:
            return False
        wait = _LOOK if left is None else min(left, _LOOK)


def _revert() -> None:
    from vnetx import engine

    for attempt in range(_ATTEMPTS):
        try:
            engine.revert_unconfirmed()
        except VnetxError as error:
            syslog.syslog(syslog.LOG_ERR, f"undoing an unconfirmed attach: {error}")
            time.sleep(attempt)
        else:
            syslog.syslog(syslog.LOG_NOTICE, "an attach was not confirmed in time and is undone")
            return


def join_first_mounts() -> None:
    """Leaves the mount namespace that ``ip netns exec`` made.

    The pins are mounted outside of it, and the way there leads over the parents, which a process
    that outlives them no longer has.
    """
    process = mountns.process_in_initial()
    if process is not None:
        mountns.join(process)


def main() -> None:
    """``python -m vnetx_cli.confirm_timer READY ATTACHING`` (descriptors)"""
    says_ready, attaching = map(int, sys.argv[1:])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    syslog.openlog("vnetx")
    from vnetx import engine, state  # noqa: F401 - what is missing shows before attaching

    join_first_mounts()

    os.write(says_ready, b"\n")
    os.close(says_ready)
    if _wait(attaching):
        _revert()


if __name__ == "__main__":
    main()
