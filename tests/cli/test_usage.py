"""What the options accept and refuse, without anything being done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner

from vnetx import engine, model
from vnetx_cli.main import main


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("frobnicate", "No such command 'frobnicate'"),
        ("--frobnicate", "No such option '--frobnicate'"),
        ("attach", "Missing argument 'IFACE"),
        ("attach eth0 --hook native", "'native' is not one of 'auto', 'xdp', 'xdp-generic', 'tc'"),
        ("attach eth0 --confirm 0", "0.0 is not in the range"),
        ("attach eth0 --confirm soon", "'soon' is not a valid float"),
        ("attach eth0 --switch a/b", "switch name 'a/b': not a name that an interface can have"),
        ("attach eth0 --switch this-is-too-long", "switch name 'this-is-too-long'"),
        ("attach eth0 --learn-limit -1", "learn-limit -1: not in 0 to"),
        ("attach eth0 --isolated maybe", "'maybe' is not one of 'on', 'off'"),
        ("detach", "give interfaces, or --all"),
        ("detach eth0 --all", "give interfaces, or --all"),
        ("switch add", "Missing argument 'NAME'"),
        ("switch add .", "switch name '.'"),
        ("switch add lab --ageing 0", "ageing 0: not in 1 to 1000000"),
        ("switch add lab --ageing x", "'x' is not a valid integer"),
        ("switch add lab --fdb-size 1", "fdb-size 1: not in 16 to"),
        ("switch add lab --max-ports 100000", "max-ports 100000: not in 2 to"),
        ("switch add lab --mac 02:00", "MAC address '02:00': not six bytes"),
        ("switch add lab --mac 00:00:00:00:00:00", "00:00:00:00:00:00: is zero"),
        ("switch add lab --mac ff:ff:ff:ff:ff:ff", "is the broadcast address"),
        ("switch add lab --mac 0100.5e00.0001", "01:00:5e:00:00:01: is a multicast"),
        ("switch add lab --group-forward x", "group-forward 'x': not one of"),
        ("switch add lab --group-forward 0x10000", "not a mask of 16 bits"),
        ("switch add lab --transparent --group-forward lldp", "give one of them"),
        ("switch set lab", "nothing to change"),
        ("switch set lab --fdb-size 100", "No such option '--fdb-size'"),
        ("port set eth0", "nothing to change"),
        ("port set eth0 --storm broadcast", "is not KIND=PPS"),
        ("port set eth0 --storm arp=10", "broadcast, multicast, unknown-unicast"),
        ("port set eth0 --storm broadcast=-1", "is not KIND=PPS"),
        ("port set eth0 --state sideways", "'sideways' is not one of 'up', 'down'"),
        ("apply /nonexistent.yaml", "No such file or directory"),
        ("stats --watch --interval 0", "0.0 is not in the range"),
    ],
)
def test_a_wrong_command_line_is_told_in_two_lines(command: str, said: str) -> None:
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Error: ")
    assert said in lines[0]
    assert len(lines) <= 2


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What reaches the engine."""
    found: list[tuple[Any, ...]] = []

    def record(name: str) -> None:
        def called(*args: Any, **options: Any) -> engine.Result:
            found.append((name, *args, options))
            return engine.Result(["noticed"], ["a step"])

        monkeypatch.setattr(engine, name, called)

    for name in ("attach", "detach", "switch_add", "switch_set", "switch_del", "port_set"):
        record(name)
    return found


@pytest.mark.parametrize(
    ("command", "call"),
    [
        (
            "attach a b --switch lab --hook tc --force --isolated on --storm multicast=7",
            (
                "attach",
                ("a", "b"),
                {
                    "switch": "lab",
                    "hook": "tc",
                    "force": True,
                    "confirm": None,
                    "settings": {"isolated": True, "storm": (0, 7, 0)},
                },
            ),
        ),
        ("detach a", ("detach", ("a",), {"every": False})),
        ("detach --all", ("detach", (), {"every": True})),
        ("switch add lab", ("switch_add", "lab", model.SwitchSettings(), {})),
        (
            "switch add lab --no-host-port --transparent --mac 02-00-5E-00-00-01 --max-ports 9",
            (
                "switch_add",
                "lab",
                model.SwitchSettings(
                    host_port=False,
                    group_forward=model.ALL_GROUPS,
                    mac=bytes.fromhex("02005e000001"),
                    max_ports=9,
                ),
                {},
            ),
        ),
        (
            "switch set lab --ageing 7 --static-move on --group-forward stp,e",
            ("switch_set", "lab", {"ageing": 7, "static_move": True, "group_forward": 0x4001}),
        ),
        ("switch del lab --force", ("switch_del", "lab", {"force": True})),
        (
            "port set a --learning off --flood-unicast off --flood-multicast off"
            " --flood-broadcast off --hairpin ON --state down --learn-limit 5 --hook xdp"
            " --group-forward 0x4",
            (
                "port_set",
                "a",
                {
                    "learning": False,
                    "flood_unicast": False,
                    "flood_multicast": False,
                    "flood_broadcast": False,
                    "hairpin": True,
                    "up": False,
                    "learn_limit": 5,
                    "hook": "xdp",
                    "group_forward": 4,
                },
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_reach_the_engine(
    calls: list[tuple[Any, ...]], command: str, call: Sequence[Any]
) -> None:
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 0, result.stderr
    assert calls == [tuple(call)]


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("detach a", ""),
        ("-v detach a", "a step\n"),
        ("detach a -v", "a step\n"),
        ("-j detach a", '{"changed": true, "steps": ["a step"], "messages": ["noticed"]}\n'),
        ("detach a -j", '{"changed": true, "steps": ["a step"], "messages": ["noticed"]}\n'),
    ],
)
@pytest.mark.usefixtures("calls")
def test_what_an_acting_command_prints(command: str, stdout: str) -> None:
    result = CliRunner().invoke(main, command.split())
    assert (result.exit_code, result.stdout, result.stderr) == (0, stdout, "noticed\n")


def test_a_defect_is_one_line_and_shows_its_traceback_with_vv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(engine, "detach", broken)
    result = CliRunner().invoke(main, ["detach", "a"])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: ZeroDivisionError: division by zero\nThis is a defect of vnetx; -vv shows where.\n"
    )
    result = CliRunner().invoke(main, ["detach", "a", "-vv"])
    assert "Traceback" in result.stderr
    assert "in broken" in result.stderr


def test_interruption_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "detach", interrupted)
    result = CliRunner().invoke(main, ["detach", "a"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_a_refused_system_call_names_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(engine, "detach", refused)
    result = CliRunner().invoke(main, ["detach", "a"])
    assert result.exit_code == 1
    assert "(EPERM)" in result.stderr
    assert "CAP_NET_ADMIN" in result.stderr
