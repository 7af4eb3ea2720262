"""Tables for people. Rich is imported when one is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: In a pipe no column is ever cut or wrapped.
_PIPE_WIDTH = 4096


def console() -> Console:
    """Standard output: coloured and as wide as the terminal, or plain and unlimited."""
    from rich.console import Console

    return Console(
        highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH
    )


def build(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> RenderableType:
    """A table.

    Args:
        columns: the headings.
        rows: cells; None is shown as ``-``.
        right: the columns that hold numbers.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE if sys.stdout.isatty() else None, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            header_style="bold",
        )
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    return table


def show(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """Prints a table; nothing at all without rows."""
    rows = list(rows)
    if rows:
        console().print(build(columns, rows, right))


def count(number: int) -> str:
    """A count with its thousands set apart."""
    return f"{number:,}"
