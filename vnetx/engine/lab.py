"""Building labs and taking them down: `vnetx lab`.

All that a command knows of a lab is in the kernel: marks of namespaces and devices. What a step
changes is noted before, and taken back if a later one fails, the last first. Switches are applied
node by node, each as a transaction of its own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vnetx import config, netns, state
from vnetx.engine import wiring
from vnetx.engine.configure import apply_switch, check_applicable
from vnetx.engine.interfaces import remove_interface
from vnetx.engine.link import interfaces
from vnetx.engine.session import Result, Session
from vnetx.engine.switches import remove_switch
from vnetx.engine.transaction import transaction
from vnetx.engine.wiring import Seen
from vnetx.errors import VnetxError, from_os
from vnetx.lab import LOOPBACK, End, Lab, Link, namespace, node_mark
from vnetx.links.node import forget_name, forwards, is_quiet, make_node, set_forwarding
from vnetx.lock import exclusive
from vnetx.model import FIXED_SWITCH_SETTINGS, Interface


class _Work:
    """What a command does, and how to take it back.

    Args:
        rehearsing: only tell the steps.
    """

    def __init__(self, rehearsing: bool) -> None:
        self.rehearsing = rehearsing
        self.steps: list[str] = []
        self.messages: list[str] = []
        self._journal: list[Callable[[], object]] = []

    def do(self, step: str, action: Callable[..., object], *args: Any) -> None:
        self.steps.append(step)
        if not self.rehearsing:
            action(*args)

    def if_it_fails(self, action: Callable[..., object], *args: Any) -> None:
        """Notes, before a change is made, what takes it back."""
        self._journal.append(functools.partial(action, *args))

    def tell(self, node: str, result: Result) -> None:
        """What was done inside a node."""
        self.steps += [f"{node}: {step}" for step in result.steps]
        self.messages += [f"{node}: {message}" for message in result.messages]

    def take_back(self) -> None:
        for action in reversed([] if self.rehearsing else self._journal):
            with contextlib.suppress(VnetxError, OSError):
                action()


def lab_build(lab: Lab, *, dry_run: bool = False) -> Result:
    """Makes a lab what its document says.

    Args:
        lab: see :mod:`vnetx.lab`.
        dry_run: only tell the steps.

    Raises:
        VnetxError: a namespace or an interface of somebody else's is in the way, and nothing is
            changed then; or a step failed, and the lab is as before, or gone if it was not there.
    """
    with exclusive(), _taken_back(f"building lab {lab.name}", _Work(dry_run)) as work:
        seen = wiring.observe(lab.name)
        _check_free(lab, seen)
        before = {node: _running(lab.namespace(node)) for node in seen.nodes}
        new = [node for node in lab.nodes if node not in seen.nodes]
        for node, document in before.items():
            work.if_it_fails(_restore_switches, lab.namespace(node), document)
            _drop_switches(work, lab, node, document, {lab.namespace(each) for each in new})
        whole = _drop_links(work, lab, seen)
        for node in new:
            work.if_it_fails(wiring.remove_node, seen, node)
            mark = node_mark(lab.name, node)
            work.do(f"make node {node}", make_node, lab.namespace(node), mark)
        for node in lab.nodes:
            _set_forwarding(work, lab, seen, node)
        for link in lab.links:
            _make_link(work, lab, seen, link, whole)
        for node in lab.nodes:
            for interface in (LOOPBACK, *lab.ends(node)):
                _set_interface(work, lab, seen, node, interface)
        for node in lab.nodes:
            _apply(work, lab, seen, node, before.get(node))
            for interface in lab.nodes[node].host_ports:
                _set_interface(work, lab, seen, node, interface)
        for node in [each for each in seen.nodes if each not in lab.nodes]:
            work.do(f"remove node {node}", wiring.remove_node, seen, node)
        return Result(work.messages, work.steps)


@contextlib.contextmanager
def _taken_back(what: str, work: _Work) -> Iterator[_Work]:
    try:
        yield work
    except OSError as error:
        work.take_back()
        raise from_os(what, error) from error
    except BaseException:
        work.take_back()
        raise


def lab_down(name: str) -> Result:
    """Removes all that belongs to a lab, whole or not; one that is not there is no error.

    Raises:
        VnetxError: something of it could not be removed; the rest is.
    """
    work, failures = _Work(rehearsing=False), []
    with exclusive():
        seen = wiring.observe(name)
        for node in seen.nodes:  # links and ports first, while both of their ends can be reached
            try:
                wiring.remove_switches(namespace(name, node))
            except (VnetxError, OSError) as error:
                failures.append(error)
        for node in seen.nodes:
            try:
                work.do(f"remove node {node}", wiring.remove_node, seen, node)
            except (VnetxError, OSError) as error:
                failures.append(error)
        for empty in seen.empty:
            work.do(f"remove the name {empty}", forget_name, empty)
    for failure in failures[:1]:
        if isinstance(failure, OSError):
            raise from_os(f"removing lab {name}", failure) from failure
        raise failure
    return Result([] if work.steps else [f"there is no lab {name}"], work.steps)


# ------------------------------------------------------------ before anything is changed


def _check_free(lab: Lab, seen: Seen) -> None:
    """Refuses a lab in whose way something of somebody else's is, or that needs what is not."""
    namespaces = {node: lab.namespace(node) for node in lab.nodes}
    for node in lab.nodes.keys() - seen.nodes.keys():
        name = namespaces[node]
        if name in netns.names() and name not in seen.empty:
            raise VnetxError(
                f"network namespace {name}",
                f"it is there already, and is no node of lab {lab.name}",
                "give --name, or remove it: ip netns delete",
            )
    for end in [e for link in lab.links if not wiring.is_whole(seen, lab, link) for e in link]:
        there = seen.device(end)
        if there is not None and " of vnetx " not in there.alias:
            raise VnetxError(
                f"interface {end.interface} of node {end.node}",
                "it is there already, and is none of the lab's",
                f"ip -n {namespaces[end.node]} link delete dev {end.interface}",
            )
    for name in lab.other_namespaces():
        with netns.opened(name):
            pass


def _running(where: str) -> config.Document:
    """The switches of a namespace as they are."""
    with netns.inside(where):
        views = state.switches()
        if not views:
            return config.Document()
        entries, vnis = state.static_entries(), state.all_vnis()
        return config.document_of(views, entries, interfaces(), vnis)


def _is_another(now: config.Switch | None, wanted: config.Switch) -> bool:
    """Whether a switch has to be made anew to be what is wanted."""
    return now is None or any(
        getattr(now.settings, name) != getattr(wanted.settings, name)
        for name in FIXED_SWITCH_SETTINGS
    )


# ------------------------------------------------------------ steps


def _drop_switches(work: _Work, lab: Lab, node: str, now: config.Document, made: set[str]) -> None:
    """Removes of a node's switches, and of the interfaces that they made, what does not stay, or is
    in a namespace that is made anew."""
    wanted = lab.nodes[node].switches if node in lab.nodes else {}
    switches, going = [], []
    for name, switch in now.switches.items():
        if name not in wanted or _is_another(switch, wanted[name]):
            switches.append(name)
            continue
        for interface, own in switch.interfaces.items():
            stays = wanted[name].interfaces.get(interface)
            if stays is None or stays.netns != own.netns or own.netns in made:
                going.append((name, interface))
    if work.rehearsing:
        work.steps += [f"{node}: remove switch {name}" for name in switches]
        work.steps += [f"{node}: remove interface {each} of {name}" for name, each in going]
    elif switches or going:
        with netns.inside(lab.namespace(node)), transaction() as session:
            for name, interface in going:
                remove_interface(session, name, interface)
            for name in switches:
                remove_switch(session, name)
            work.tell(node, session.result())


def _drop_links(work: _Work, lab: Lab, seen: Seen) -> set[Link]:
    """Removes links that are not, or not wholly, what the lab has; returns those that are."""
    whole = {link for link in lab.links if wiring.is_whole(seen, lab, link)}
    for link, ends in seen.marked().items():
        if link in whole:
            continue
        if set(ends) == set(link):
            work.if_it_fails(_restore_link, lab.name, link, *_ends(lab.name, link))
        for end in ends:
            work.do(f"remove {end} of link {link[0]} {link[1]}", wiring.delete_end, lab.name, end)
    return whole


def _ends(name: str, link: Link) -> tuple[dict[End, Interface], dict[End, bool]]:
    """What both ends of a link are, and whether they are only ports."""
    settings, quiet = {}, {}
    for end in link:
        with wiring.there(namespace(name, end.node)) as links:
            settings[end] = wiring.settings_of(links, end.interface)
            quiet[end] = bool(is_quiet(end.interface))
    return settings, quiet


def _set_forwarding(work: _Work, lab: Lab, seen: Seen, node: str) -> None:
    wanted = lab.nodes[node].forward
    step = f"{node} {'forwards' if wanted else 'does not forward'} packets"
    if work.rehearsing and node not in seen.nodes:
        work.steps += [step] if wanted else []
        return
    with netns.inside(lab.namespace(node)):
        now = forwards()
        if now != wanted:
            work.if_it_fails(_forward, lab.namespace(node), bool(now))
            work.do(step, set_forwarding, wanted)


def _forward(where: str, on: bool) -> None:
    with netns.inside(where):
        set_forwarding(on)


def _make_link(work: _Work, lab: Lab, seen: Seen, link: Link, whole: set[Link]) -> None:
    quiet = {end: lab.nodes[end.node].is_only_port(end.interface) for end in link}
    if link not in whole:
        macs = {end: lab.settings(end).mac or b"" for end in link}
        work.if_it_fails(wiring.delete_end, lab.name, link[0])
        work.do(f"link {link[0]} to {link[1]}", wiring.make_link, lab.name, link, macs, quiet)
    elif not wiring.is_raised(seen, link, quiet):
        step = f"link {link[0]} to {link[1]} is up"
        work.do(step, wiring.raise_link, lab.name, link, quiet)


def _set_interface(work: _Work, lab: Lab, seen: Seen, node: str, interface: str) -> None:
    end, where = End(node, interface), lab.namespace(node)
    wanted = lab.settings(end)
    if interface not in lab.ends(node):
        wanted = lab.nodes[node].interfaces.get(interface, Interface())
    if work.rehearsing and seen.device(end) is None:
        now = Interface(mac=wanted.mac)
    else:
        with wiring.there(where) as links:
            now = wiring.settings_of(links, interface)
    if now != wanted:
        words = [", ".join(wanted.addresses) or "no addresses"]
        words += [f"{network} via {router}" for network, router in wanted.routes]
        words += [f"MTU {wanted.mtu}"] if now.mtu != wanted.mtu else []
        work.if_it_fails(wiring.set_interface, where, interface, now)
        step = f"{end} has {', '.join(words)}"
        work.do(step, wiring.set_interface, where, interface, wanted)


def _apply(work: _Work, lab: Lab, seen: Seen, node: str, now: config.Document | None) -> None:
    """Makes the switches of a node what the document says."""
    wanted = lab.nodes[node].switches
    if not wanted:
        return
    if work.rehearsing and not _can_rehearse(seen, node, now, wanted):
        work.steps += [f"{node}: make switch {name} what the file says" for name in wanted]
        return
    with netns.inside(lab.namespace(node)), transaction() as session:
        _apply_all(session, wanted, rehearsing=work.rehearsing)
        work.tell(node, session.result())


def _can_rehearse(
    seen: Seen, node: str, now: config.Document | None, wanted: Mapping[str, config.Switch]
) -> bool:
    """Whether all that the switches need is there already."""
    devices = seen.nodes.get(node, {})
    return now is not None and not any(
        not devices.keys() >= switch.ports.keys()
        or (name in now.switches and _is_another(now.switches[name], switch))
        for name, switch in wanted.items()
    )


def _apply_all(
    session: Session, switches: Mapping[str, config.Switch], *, rehearsing: bool = False
) -> None:
    session.expect_many(sum(len(each.ports) for each in switches.values()))
    for name, wanted in switches.items():
        check_applicable(session, name, wanted)
    if rehearsing:
        session.executor.rehearse()
    for name, wanted in switches.items():
        apply_switch(session, name, wanted)


# ------------------------------------------------------------ taking back


def _restore_switches(where: str, before: config.Document) -> None:
    """Makes the switches of a namespace what they were."""
    now = _running(where)
    if now == before:
        return
    with netns.inside(where), transaction() as session:
        for name, switch in now.switches.items():
            if name not in before.switches or _is_another(switch, before.switches[name]):
                remove_switch(session, name)
        _apply_all(session, before.switches)
        session.result()


def _restore_link(
    name: str, link: Link, settings: Mapping[End, Interface], quiet: Mapping[End, bool]
) -> None:
    """Makes a link again that was deleted."""
    macs = {end: each.mac or b"" for end, each in settings.items()}
    wiring.make_link(name, link, macs, quiet)
    for end, each in settings.items():
        wiring.set_interface(namespace(name, end.node), end.interface, each)
