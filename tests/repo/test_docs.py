"""README and docs/ say what is: links lead somewhere, commands parse, tables equal their source."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from vnetx import _abi, config, lab, lab_schema, model
from vnetx_cli.main import main as program

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|src=\"([^\"]+)\"")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# ------------------------------------------------------------ links


def prose(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def anchors(page: Path) -> set[str]:
    """The names that the headings of a page get."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {name.strip().replace(" ", "-") for name in plain}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in (a or b for a, b in _LINK.findall(prose(page.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        known = target.exists() and (not anchor or anchor in anchors(target))
        if not known:
            dead.append(link)
    assert not dead


# ------------------------------------------------------------ commands


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Each `vnetx …` of a page: in shell blocks, after a prompt in pictures, in inline code.

    Yields:
        The command line, and whether it has to be a whole one.
    """
    for language, block in _FENCE.findall(text):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            prompt = re.match(r" *\$ (.*)", line)
            if prompt or language == "sh":
                for found in re.findall(r"(?:^|[\s/])(vnetx .*)", prompt[1] if prompt else line):
                    yield found, True
    for code in _INLINE.findall(_FENCE.sub("", text)):
        code = " ".join(code.split())
        if re.match(r"(sudo |\.venv/bin/)*vnetx [a-z-]", code):
            yield code[code.index("vnetx ") :], False


def words(command: str) -> list[str]:
    """The arguments of a command line: until a pipe, `;`, redirection or remark."""
    lexer = shlex.shlex(re.sub(r"\$\w+", "02:00:5e:00:53:99", command), posix=True)
    lexer.whitespace_split = True
    found: list[str] = []
    for word in lexer:
        if word in ("|", ">", "&&", "&"):
            break
        found.append(word.removesuffix(";"))
        if word.endswith(";"):
            break
    return found[1:]


def parse(
    command: click.Command, name: str, args: list[str], whole: bool, parent: click.Context | None
) -> None:
    """Resolves a command and converts its arguments; nothing is run, no file is opened."""
    ctx = click.Context(command, info_name=name, parent=parent)
    args = getattr(command, "with_default", list)(args)
    options, rest, _ = command.make_parser(ctx).parse_args(list(args))
    for param in command.params:
        if _given(value := options.get(param.name)) and not isinstance(param.type, click.File):
            param.type_cast_value(ctx, value)
    if isinstance(command, click.Group):
        if not rest:
            if whole and not _given(options.get("help")):
                raise click.UsageError(f"{name}: a subcommand is missing")
            return
        sub_name, sub, others = command.resolve_command(ctx, rest)
        assert sub is not None
        parse(sub, str(sub_name), others, whole, ctx)
    else:
        if rest:
            raise click.UsageError(f"{name}: {rest} is too much")
        missing = [
            each.name
            for each in command.params
            if each.required and not _given(options.get(each.name))
        ]
        if whole and not _given(options.get("help")) and missing:
            raise click.UsageError(f"{name}: {missing} missing")


def _given(value: Any) -> bool:
    """Whether the command line had it; click marks what it had not by a sentinel or None."""
    return bool(value) and type(value).__name__ != "Sentinel"


def shorthand(arguments: list[str]) -> bool:
    """`vnetx fdb add|del`, `vnetx …`: a mention, not a command line."""
    return any("…" in word or "|" in word or word.isupper() for word in arguments)


@each_page
def test_commands_parse(page: Path) -> None:
    wrong = []
    for command, whole in commands(page.read_text()):
        arguments = words(command)
        if shorthand(arguments):
            continue
        try:
            parse(program, "vnetx", arguments, whole, None)
        except click.ClickException as error:
            wrong.append(f"{command}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)


@each_page
def test_documents_are_valid(page: Path) -> None:
    for language, block in _FENCE.findall(page.read_text()):
        document = (yaml.safe_load(block) or {}) if language == "yaml" else {}
        if "switches" in document:
            config.parse(block, page.name)
        elif "nodes" in document:
            lab.parse(block, page.name)


# ------------------------------------------------------------ tables


@each_page
def test_make_verbs_exist(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    code = [*_INLINE.findall(_FENCE.sub("", text)), *(block for _, block in _FENCE.findall(text))]
    used = re.findall(r"^(?:\$ )?(?:sudo )?make ([a-z-]+)", "\n".join(code), re.MULTILINE)
    assert set(used) <= verbs


def test_reasons_are_those_of_the_abi() -> None:
    text = (ROOT / "docs" / "guide.md").read_text()
    table = text.partition("<!-- reasons")[2].partition("<!-- reasons end")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
    assert rows == list(_abi.REASON_TEXTS.items())


@pytest.mark.parametrize(
    ("part", "settings"), [("Switch", model.SwitchSettings()), ("Port", model.PortSettings())]
)
def test_every_setting_is_documented(part: str, settings: Any) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    section = text.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    written = {"up": {"state"}, "vlans": {"access", "trunk", "native", "untagged", "pvid"}}
    assert set().union(*(written.get(name, {name}) for name in vars(settings))) <= listed


@pytest.mark.parametrize(
    ("part", "kind"), [("## Labs", "Lab"), ("### Node", "Node"), ("### Interface of a node", "End")]
)
def test_every_key_of_a_lab_is_documented(part: str, kind: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    section = text.partition(f"\n{part}\n")[2].partition("\n##")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert listed == set(getattr(lab_schema, kind).model_fields)


def test_the_example_is_a_valid_document() -> None:
    """As it is installed, and with what it shows in remarks."""
    text = (ROOT / "packaging" / "vnetx.yaml.example").read_text()
    config.parse(text, "vnetx.yaml.example")
    shown = re.sub(r"^#(?=[ a-z])", "", text.partition("\n#switches")[2], flags=re.MULTILINE)
    document = config.parse(f"version: 1\nswitches{shown}", "vnetx.yaml.example")
    assert document.switches
