"""bench: latency and throughput beside the kernel's own, in figures that hold."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from vnetx.errors import InvalidValue, VnetxError, from_os
from vnetx_cli.context import Context, Failure, common_options, note, pass_context, print_json

_FILE = click.Path(dir_okay=False, path_type=Path)
_RUN = "run"


class _Names(click.ParamType[str]):
    """Benchmarks and subjects; completes to both."""

    name = "name"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from vnetx_perf.benchmarks import BENCHMARKS
        from vnetx_perf.subjects import SUBJECTS

        names = (*BENCHMARKS, *SUBJECTS)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class _BenchGroup(click.Group):
    """`bench NAME…` is `bench run NAME…`: what is no command of the group is measured."""

    def with_default(self, args: list[str]) -> list[str]:
        """The arguments with the command that they mean."""
        asks = {"-h", "--help"} & set(args)
        return args if asks or (args and args[0] in self.commands) else [_RUN, *args]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.with_default(args))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if name != _RUN]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return ["[OPTIONS] [NAME]...", "| COMMAND"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of `run`, which are this command's own, and the commands."""
        run_context = click.Context(self.commands[_RUN], info_name=_RUN, parent=ctx)
        records = [
            record
            for parameter in self.commands[_RUN].get_params(run_context)
            if isinstance(parameter, click.Option)
            and (record := parameter.get_help_record(run_context))
        ]
        with formatter.section("Options"):
            formatter.write_dl(records)
        self.format_commands(ctx, formatter)


@click.group(cls=_BenchGroup)
def bench() -> None:
    """Measure latency and throughput beside the kernel bridge and the other alternatives.

    NAME is a benchmark (what is measured) or a subject (what carries the frames); `bench list`
    shows them. Everything happens in network namespaces of its own. Every figure is the median of
    interleaved rounds, and every ratio stands with its 95 % interval: a difference inside of it is
    none.

    By default all benchmarks of all subjects that this machine can have, in under five minutes.
    Ctrl-C ends a run with what there is.
    """


# ------------------------------------------------------------ run


@bench.command(_RUN)
@click.argument("names", nargs=-1, type=_Names(), metavar="[NAME]...")
@click.option(
    "--against",
    metavar="LIST",
    help="Subjects that ratios are of, separated by commas; the first is the baseline. "
    "[default: bridge,direct]",
)
@click.option("--quick", "level", flag_value="quick", help="A part of it, in under a minute.")
@click.option("--thorough", "level", flag_value="thorough", help="Narrow intervals, half an hour.")
@click.option("--json-out", type=_FILE, metavar="FILE", help="Write every value as JSON.")
@click.option("--report", type=_FILE, metavar="FILE.html", help="Write a page with charts.")
@click.option("--core", type=click.IntRange(min=0), metavar="N", help="Measure on this CPU.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Repeat a run's random choices."
)
@common_options
@pass_context
def run(
    context: Context,
    /,
    names: tuple[str, ...],
    against: str | None,
    level: str | None,
    json_out: Path | None,
    report: Path | None,
    core: int | None,
    seed: int | None,
) -> None:
    """Measure, print tables, and write a report if asked."""
    from vnetx_perf import session, suite

    outputs = [path for path in (json_out, report) if path is not None]
    for path in outputs:
        _check_writable(path)
    level = level or "default"
    try:
        chosen = suite.choose(names, [n for n in (against or "").split(",") if n], level)
        cores = session.cores(core)
    except ValueError as error:
        raise InvalidValue("bench", str(error), "") from error
    if os.geteuid():
        raise Failure(
            "bench: it makes network namespaces and loads programs, which needs root",
            "Run it as root.",
        )
    request = suite.Request(
        *chosen,
        level,
        *cores,
        int.from_bytes(os.urandom(4), "little") if seed is None else seed,
        ("vnetx", *sys.argv[1:]),
    )
    document = _measured(context, request)
    _hand_over(context, document, json_out, report)
    if document["interrupted"]:
        raise click.exceptions.Exit(130)
    if not document["figures"]:
        raise Failure("bench: nothing could be measured", "'vnetx bench list' says why.")


def _check_writable(path: Path) -> None:
    """Before minutes of measuring: a place to write to.

    Raises:
        VnetxError: there is none.
    """
    parent = path.parent
    if not parent.is_dir():
        raise VnetxError(f"writing {path}", f"there is no directory {parent}", "Make it first.")
    if not os.access(path if path.exists() else parent, os.W_OK):
        raise VnetxError(f"writing {path}", "permission denied", "Choose another file.")


def _measured(context: Context, request: Any) -> dict[str, Any]:
    from vnetx_cli import table
    from vnetx_perf import suite, text

    output = table.console()

    def show(figure: dict[str, Any]) -> None:
        if not context.json:
            output.print(text.figure_table(figure))
            for line in text.remarks(figure):
                output.print(f"  {line}")
            output.print()
            sys.stdout.flush()

    with _progress() as told:
        document: dict[str, Any] = suite.Run(request, show, told).go()
    return document


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar with the time left on standard error, if that is a terminal."""
    from rich import progress
    from rich.console import Console

    from vnetx_perf.session import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress()
        return
    columns = ("{task.description}", progress.BarColumn(20), "{task.fields[left]}")
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, left="")

        def show(what: str, elapsed: float, planned: float) -> None:
            left = max(0, round(planned - elapsed))
            bar.update(
                task,
                description=what,
                completed=min(1.0, elapsed / planned) if planned else 0.0,
                left=f"{left // 60}:{left % 60:02d} left",
            )

        yield Progress(show)


def _hand_over(
    context: Context, document: dict[str, Any], json_out: Path | None, report: Path | None
) -> None:
    """The report on standard output and into files; what cannot be written loses nothing else."""
    from vnetx_perf import reports, text

    if context.json:
        print_json(document)
    else:
        for line in text.closing(document):
            click.echo(line)
    failures = []
    for path, write in ((json_out, reports.save), (report, _write_page)):
        if path is not None:
            try:
                write(document, path)
            except OSError as error:
                failures.append(from_os(f"writing {path}", error))
    for failure in failures[1:]:
        note(f"Error: {failure.what}: {failure.why}")
    if failures:
        raise failures[0]


def _write_page(document: dict[str, Any], path: Path) -> None:
    from vnetx_perf import page

    page.write(document, path)


# ------------------------------------------------------------ list


@bench.command("list")
@common_options
@pass_context
def list_(context: Context, /) -> None:
    """Show what can be measured, and what this machine lacks."""
    from vnetx_cli import table
    from vnetx_perf.benchmarks import BENCHMARKS
    from vnetx_perf.subjects import SUBJECTS

    benchmarks = [
        {"name": each.name, "title": each.title, "seconds": dict(each.seconds)}
        for each in BENCHMARKS.values()
    ]
    subjects = [
        {"name": name, "title": kind.title, "limit": kind.limit, "missing": kind.missing()}
        for name, kind in SUBJECTS.items()
    ]
    if context.json:
        print_json({"benchmarks": benchmarks, "subjects": subjects})
        return
    table.show(
        ("benchmark", "what", "seconds"),
        [(each["name"], each["title"], f"{each['seconds']['default']:.0f}") for each in benchmarks],
        right=("seconds",),
    )
    click.echo()
    table.show(
        ("subject", "what", "here"),
        [(each["name"], each["title"], each["missing"] or "yes") for each in subjects],
    )


# ------------------------------------------------------------ compare


@bench.command()
@click.argument("before", type=_FILE, metavar="A.json")
@click.argument("after", type=_FILE, metavar="B.json")
@common_options
@pass_context
def compare(context: Context, /, before: Path, after: Path) -> None:
    """Tell what became better or worse from report A to report B.

    Ratios to the baseline are compared where there are any, times only between reports of one
    machine.
    """
    from vnetx_cli import table
    from vnetx_perf import compare, text

    reports = [_loaded(path) for path in (before, after)]
    changes = list(compare.changes(*reports))
    same = compare.same_machine(*reports)
    if context.json:
        print_json({"same_machine": same, "changes": [_as_json(change) for change in changes]})
        return
    if changes:
        table.console().print(text.change_table(changes))
    worse = sum(change.verdict == "worse" for change in changes)
    better = sum(change.verdict == "better" for change in changes)
    click.echo(
        f"{worse} worse, {better} better, {len(changes) - worse - better} without a difference "
        "(95 % intervals: of 20 rows without any difference one is expected to seem to have one)"
    )
    if not same:
        note("The reports are of different machines or kernels: times were not compared.")


def _as_json(change: Any) -> dict[str, Any]:
    return {
        "figure": change.figure,
        "row": change.row,
        "of": change.of or None,
        "before": change.before,
        "after": change.after,
        "ratio": change.ratio.value,
        "interval": [change.ratio.low, change.ratio.high],
        "verdict": change.verdict,
    }


def _loaded(path: Path) -> dict[str, Any]:
    from vnetx_perf import reports

    try:
        document: dict[str, Any] = reports.load(path)
    except reports.ReportError as error:
        raise VnetxError(f"reading {path}", str(error), "") from error
    return document
