"""doctor."""

from __future__ import annotations

import dataclasses

import click

from vnetx_cli.context import Context, common_options, pass_context, print_json

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@common_options
@pass_context
def doctor(context: Context, /) -> None:
    """Check the machine and its switches.

    What is wrong comes with what to do about it. Exit status 1 if something fails; a
    warning is none.
    """
    from vnetx import doctor as checking

    checks = checking.checks()
    if context.json:
        print_json([dataclasses.asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            status = click.style(f"{check.status:4}", fg=_COLOURS[check.status])
            click.echo(f"{status}  {check.name:{width}}  {check.detail}")
            if check.remedy:
                click.echo(f"      {'':{width}}  -> {check.remedy}")
    if any(check.status == "fail" for check in checks):
        raise click.exceptions.Exit(1)
