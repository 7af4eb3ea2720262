"""One change at a time: commands that write are serialised by a lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vnetx.errors import from_os

#: On /run, whichever mount namespace: every vnetx command of the machine takes the same one.
PATH = Path("/run/vnetx.lock")

_depth = 0


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Waits until no other vnetx command writes; may be nested.

    The kernel lets go of the lock when its holder dies.

    Raises:
        VnetxError: the lock file cannot be made.
    """
    global _depth
    if _depth:
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
        return
    try:
        fd = os.open(PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os(f"taking the lock {PATH}", error) from error
    _depth = 1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        _depth = 0
        os.close(fd)
