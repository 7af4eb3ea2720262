"""A command as a transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from vnetx.datapath import pins
from vnetx.engine.execute import Executor
from vnetx.engine.garbage import collect_garbage, revert_expired
from vnetx.engine.session import Session
from vnetx.errors import from_os
from vnetx.links import Links
from vnetx.lock import exclusive
from vnetx.plan import Step

OnStep = Callable[[Step], None]


@contextlib.contextmanager
def transaction(on_step: OnStep | None = None) -> Iterator[Session]:
    """A session under the lock, after what vanished devices and namespaces left is gone."""
    with exclusive(), Links() as links, Executor(links, on_step) as executor:
        session = Session(links, executor)
        try:
            collect_garbage(session)
            revert_expired(session)
            session.keep()
            yield session
        except OSError as error:
            session.take_back()
            raise from_os("changing the switch", error) from error
        except BaseException:
            session.take_back()
            raise
        finally:
            with contextlib.suppress(OSError):
                pins.unmount_if_empty()
