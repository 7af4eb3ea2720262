"""The program: global options, and commands that are imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from vnetx_cli.context import Context, told_errors

#: Command -> where it is. A module is imported when its command is used or listed.
COMMANDS = {
    "attach": "vnetx_cli.ports:attach",
    "confirm": "vnetx_cli.ports:confirm",
    "detach": "vnetx_cli.ports:detach",
    "switch": "vnetx_cli.switch:switch",
    "port": "vnetx_cli.ports:port",
    "link": "vnetx_cli.link:link",
    "fdb": "vnetx_cli.fdb:fdb",
    "vlan": "vnetx_cli.vlan:vlan",
    "vni": "vnetx_cli.vni:vni",
    "stats": "vnetx_cli.stats:stats",
    "bench": "vnetx_cli.bench:bench",
    "lab": "vnetx_cli.lab:lab",
    "apply": "vnetx_cli.configuration:apply",
    "export": "vnetx_cli.configuration:export",
    "doctor": "vnetx_cli.doctor:doctor",
    "version": "vnetx_cli.version:version",
}


class Program(click.Group):
    """A group whose commands are imported lazily and whose errors are one or two lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, with whole sentences."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(limit=200)) for name, each in commands if each]
            )

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with told_errors(lambda: 0):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with told_errors(lambda: ctx.ensure_object(Context).verbose):
            return super().invoke(ctx)


class _Namespace(click.ParamType[str]):
    """A name of ip-netns(8); entered by the callback, so that every command is inside it."""

    name = "name"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from vnetx import netns

        return [CompletionItem(name) for name in netns.names() if name.startswith(incomplete)]


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-n",
    "--netns",
    type=_Namespace(),
    metavar="NAME",
    help="Act inside this network namespace, as ip -n does.",
)
@click.option("-j", "--json", is_flag=True, help="Print one JSON document, for programs.")
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="Tell each step; -vv adds details and tracebacks to errors.",
)
@click.pass_context
def main(ctx: click.Context, netns: str | None, json: bool, verbose: int) -> None:
    """A network switch for test hosts, made of eBPF programs.

    `vnetx attach eth0` puts an interface into a switch without interrupting the host's own
    traffic. Everything is in the kernel: no process has to run, and `vnetx detach` leaves an
    interface as it was before.

    Exit status: 0 done, also when it was so already; 1 it could not be done, and nothing is left
    half done; 2 usage.
    """
    ctx.obj = Context(json=json, verbose=verbose)
    if netns is not None and not ctx.resilient_parsing:
        from vnetx.netns import set_namespace

        set_namespace(netns)


if __name__ == "__main__":
    main()
