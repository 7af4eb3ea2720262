"""Help of every command, the generated reference, and what starting costs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.command import vnetx
from vnetx_cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def commands(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


ALL = dict(commands())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_option_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert ALL[path].help
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("path", [path for path in ALL if not isinstance(ALL[path], click.Group)])
def test_whatever_runs_can_print_json(path: tuple[str, ...]) -> None:
    options = {name for parameter in ALL[path].params for name in parameter.opts}
    assert {"-j", "--json"} <= options


def test_the_list_of_commands_cuts_no_sentence_short() -> None:
    listed = CliRunner().invoke(main, ["--help"]).output
    assert "..." not in listed.partition("Commands:")[2]


def test_the_reference_is_what_the_commands_say(tmp_path: Path) -> None:
    fresh = tmp_path / "cli-reference.md"
    script = ROOT / "packaging/clidoc.py"
    subprocess.run([sys.executable, script, "markdown", fresh], check=True)
    stored = (ROOT / "docs/cli-reference.md").read_text()
    assert stored == fresh.read_text(), "stale: run `make docs`"


def test_man_pages_and_completion_can_be_made(tmp_path: Path) -> None:
    script = ROOT / "packaging/clidoc.py"
    for kind in ("man", "complete"):
        subprocess.run([sys.executable, script, kind, tmp_path], check=True)
    assert {"vnetx.8", "vnetx-attach.8", "vnetx.bash"} <= {p.name for p in tmp_path.iterdir()}


SLOW_MODULES = "bcc", "pyroute2", "pydantic", "yaml", "rich", "scapy", "multiprocessing"
PROGRAM = """
import sys
from vnetx_cli.main import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *[name for name in {slow!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["attach", "--help"],
        ["version"],
        pytest.param(["-j", "port", "show"], marks=pytest.mark.root),
        pytest.param(["-j", "switch", "show"], marks=pytest.mark.root),
        pytest.param(["-j", "stats"], marks=pytest.mark.root),
    ],
    ids=" ".join,
)
def test_what_only_looks_imports_nothing_slow(arguments: list[str]) -> None:
    program = PROGRAM.format(arguments=arguments, slow=SLOW_MODULES)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.serial
@pytest.mark.novm
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        pytest.param(["port", "show"], marks=pytest.mark.root),
        pytest.param(["switch", "show"], marks=pytest.mark.root),
        pytest.param(["stats"], marks=pytest.mark.root),
        pytest.param(["export"], marks=pytest.mark.root),
    ],
    ids=" ".join,
)
def test_what_only_looks_answers_at_once(arguments: list[str]) -> None:
    """In CPU time, since the other tests' load is not the command's."""

    def once() -> float:
        before = os.times()
        vnetx(*arguments)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    assert min(once() for _ in range(5)) < 0.3
