"""What every command shares: the global options, and how results and errors are told."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vnetx.errors import InvalidValue, VnetxError, from_os

if TYPE_CHECKING:
    from vnetx.engine import Result


@dataclass
class Context:
    """The global options.

    Attributes:
        json: print one JSON document instead of text for people.
        verbose: 1 tells each step, 2 adds details and tracebacks to errors.
    """

    json: bool = False
    verbose: int = 0


pass_context = click.make_pass_decorator(Context, ensure=True)

_Command = TypeVar("_Command", bound=Callable[..., Any])


# ------------------------------------------------------------ options


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Context).json = True


def _add_verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(Context).verbose += value


def common_options(function: _Command) -> _Command:
    """``-j`` and ``-v`` after the command as well as before it."""
    function = click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_add_verbose,
        help="Tell each step; -vv adds details and tracebacks to errors.",
    )(function)
    return click.option(
        "-j",
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Print one JSON document.",
    )(function)


# ------------------------------------------------------------ results


def print_json(document: Any) -> None:
    """One document on standard output; sets, tuples and bytes do not get this far."""
    click.echo(json.dumps(document, indent=2 if sys.stdout.isatty() else None))


def note(message: str) -> None:
    """A message for people; never on standard output."""
    click.echo(message, err=True)


def print_result(context: Context, result: Result) -> None:
    """What a command did: silence, or the steps with ``-v``, or a document with ``-j``."""
    for message in result.messages:
        note(message)
    if context.json:
        print_json({"changed": result.changed, "steps": result.steps, "messages": result.messages})
    elif context.verbose:
        for step in result.steps:
            click.echo(step)
    if result.carrier:
        from vnetx_cli import carrier_watch

        carrier_watch.ensure()


def print_plan(context: Context, result: Result) -> None:
    """What a command would do."""
    if context.json:
        print_result(context, result)
        return
    for message in result.messages:
        note(message)
    for step in result.steps:
        click.echo(step)
    if not result.steps:
        note("nothing to do")


def route_words(routes: Iterable[tuple[str, str]]) -> list[str]:
    """Routes, (network, router), as people say them."""
    return [f"{'default' if n in ('0.0.0.0/0', '::/0') else n} via {r}" for n, r in routes]


# ------------------------------------------------------------ errors


class Failure(click.ClickException):
    """An error as it is told: what, why, what to do."""

    def __init__(self, message: str, remedy: str = "", more: str = "") -> None:
        super().__init__(message.rstrip())
        self.remedy = remedy
        self.more = more

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {self.message}", file=file, err=True)
        for text in (self.remedy, self.more):
            if text:
                click.echo(text.rstrip(), file=file, err=True)


class Misuse(Failure):
    """An error of the input itself."""

    exit_code = 2


def _usage(error: click.UsageError) -> Failure:
    path = error.ctx.command_path if error.ctx else "vnetx"
    message = error.format_message().rstrip().removesuffix(".")
    return Misuse(message, f"Try '{path} --help'.")


def _known(error: VnetxError, verbose: int) -> Failure:
    more = ""
    if verbose >= 2:
        more = "\n".join(filter(None, (error.detail, traceback.format_exc())))
    kind = Misuse if isinstance(error, InvalidValue) else Failure
    return kind(f"{error.what}: {error.why}", error.remedy, more)


def _defect(error: Exception, verbose: int) -> Failure:
    text = " ".join(str(error).split())
    return Failure(
        f"{type(error).__name__}: {text}" if text else type(error).__name__,
        "" if verbose >= 2 else "This is a defect of vnetx; -vv shows where.",
        traceback.format_exc() if verbose >= 2 else "",
    )


@contextlib.contextmanager
def told_errors(verbose: Callable[[], int]) -> Iterator[None]:
    """Turns what a command raises into one or two lines and an exit status.

    Args:
        verbose: asked when it matters, since ``-v`` may stand behind the command.
    """
    try:
        yield
        sys.stdout.flush()
    except (click.exceptions.NoArgsIsHelpError, click.Abort, click.exceptions.Exit):
        raise
    except click.UsageError as error:
        raise _usage(error) from error
    except click.ClickException:
        raise
    except VnetxError as error:
        raise _known(error, verbose()) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        what = str(error.filename) if error.filename else "vnetx"
        raise _known(from_os(what, error), verbose()) from error
    except Exception as error:
        raise _defect(error, verbose()) from error
