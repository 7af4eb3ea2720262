"""A TC program on a device for as long as it is measured, whatever the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from vnetx import _bpf
from vnetx.links import Links

_TCX = {"ingress": _bpf.ATTACH_TCX_INGRESS, "egress": _bpf.ATTACH_TCX_EGRESS}


@contextlib.contextmanager
def tc_program(program: int, ifindex: int, hook: str) -> Iterator[None]:
    """The program on a device's `hook` ("ingress" or "egress"), in the calling thread's
    network namespace: by a tcx link, or, before Linux 6.6, as a filter of a clsact qdisc.

    Raises:
        OSError: the kernel refuses it.
    """
    try:
        link = _bpf.link_create(program, ifindex, _TCX[hook])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    else:
        try:
            yield
        finally:
            os.close(link)
        return
    with Links() as links:
        if not links.has_clsact(ifindex):
            links.add_clsact(ifindex)
        links.add_tc_filter(ifindex, hook, program, "perf")
        try:
            yield
        finally:
            links.delete_tc_filter(ifindex, hook)
            links.delete_clsact(ifindex)
