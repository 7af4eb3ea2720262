"""version."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from vnetx_cli.context import Context, common_options, pass_context, print_json


@click.command()
@common_options
@pass_context
def version(context: Context, /) -> None:
    """Show the versions of vnetx, its ABI and the kernel."""
    from vnetx import _abi

    number = metadata.version("vnetx")
    if context.json:
        print_json({"vnetx": number, "abi": _abi.ABI_VERSION, "kernel": platform.release()})
    else:
        click.echo(f"vnetx {number}, ABI {_abi.ABI_VERSION}, Linux {platform.release()}")
