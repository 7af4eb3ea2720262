"""apply and export: the whole configuration as one document."""

from __future__ import annotations

from typing import TextIO

import click

from vnetx_cli.context import (
    Context,
    common_options,
    pass_context,
    print_json,
    print_plan,
    print_result,
)


@click.command()
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--dry-run", is_flag=True, help="Print the steps that would be taken.")
@common_options
@pass_context
def apply(context: Context, /, file: TextIO, dry_run: bool) -> None:
    """Make switches what FILE says ('-' is standard input).

    What is so already is left alone, and so are switches that FILE does not name; ports that it
    leaves out of a switch are detached.
    """
    from vnetx import config, engine

    document = config.parse(file.read(), file.name)
    result = engine.apply(document, dry_run=dry_run)
    if dry_run:
        print_plan(context, result)
    else:
        print_result(context, result)


@click.command()
@common_options
@pass_context
def export(context: Context, /) -> None:
    """Print the running configuration as 'apply' reads it.

    YAML, or JSON with --json. Only what differs from the defaults is in it.
    """
    from vnetx import config, state

    views, interfaces = state.switches(), {}
    if any(view.interfaces for view in views):
        from vnetx import engine

        interfaces = engine.interfaces()
    document = config.document_of(views, state.static_entries(), interfaces, state.all_vnis())
    if context.json:
        print_json(config.to_plain(document))
    else:
        click.echo(config.dump(document), nl=False)
