"""Users and groups of this machine, by name or number."""

from __future__ import annotations

import grp
import pwd

from vnetx.errors import InvalidValue
from vnetx.model import LAST_ID


def user(text: str) -> int:
    """The number of a user.

    Raises:
        InvalidValue: there is none of this name, or the number is none.
    """
    if text.isdecimal():
        return _checked("user", int(text))
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise InvalidValue(
            f"user '{text}'", "there is none of this name", "see getent passwd"
        ) from None


def group(text: str) -> int:
    """The number of a group.

    Raises:
        InvalidValue: there is none of this name, or the number is none.
    """
    if text.isdecimal():
        return _checked("group", int(text))
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise InvalidValue(
            f"group '{text}'", "there is none of this name", "see getent group"
        ) from None


def _checked(what: str, number: int) -> int:
    if number > LAST_ID:
        raise InvalidValue(f"{what} {number}", f"not in 0 to {LAST_ID}")
    return number
