"""Errors: what, on which object, why, and the remedy."""

from __future__ import annotations

import errno as _errno
import os


class VnetxError(Exception):
    """What could not be done; nothing is left half done.

    Args:
        what: what was to be done, on which object ("attaching eth0").
        why: the reason, with the kernel's errno and words where it gave them.
        remedy: what the user can do; may be empty.
        detail: more for ``-vv``, such as the verifier's log.
    """

    def __init__(self, what: str, why: str, remedy: str = "", detail: str = "") -> None:
        super().__init__(f"{what}: {why}" + (f"\n{remedy}" if remedy else ""))
        self.what = what
        self.why = why
        self.remedy = remedy
        self.detail = detail

    def __reduce__(self) -> tuple[type[VnetxError], tuple[str, str, str, str]]:
        """From one process to another."""
        return type(self), (self.what, self.why, self.remedy, self.detail)


class NoSwitch(VnetxError):  # noqa: N818 - the word says it
    """There is no switch of this name, or none any more."""


class InvalidValue(VnetxError):  # noqa: N818 - the word says it
    """The input itself is wrong, whatever the machine's state; the CLI exits with 2."""


def words(error: OSError) -> str:
    """The kernel's words and errno of an error: ``Device or resource busy (EBUSY)``."""
    code = error.errno or 0
    return f"{os.strerror(code)} ({_errno.errorcode.get(code, code)})"


def from_os(what: str, error: OSError, remedy: str = "") -> VnetxError:
    """A :class:`VnetxError` of a system call's error; a lack of privileges gets its remedy."""
    if error.errno in (_errno.EPERM, _errno.EACCES) and not remedy:
        remedy = "run as root: CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN (to mount) are needed"
    return VnetxError(what, words(error), remedy)
