"""A command's output as it looks in a terminal, as SVG.

python docs/picture.py FILE.svg COLUMNS TITLE COMMAND…
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

#: A font of the reader's machine: a picture must not fetch anything.
_FONT = "monospace"


def output(command: list[str], columns: int) -> str:
    """What a command writes to a terminal of this width."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), NO_COLOR="")
        del os.environ["NO_COLOR"]
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
        os.execvp(command[0], command)
    chunks = []
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    status = os.waitpid(pid, 0)[1]
    text = b"".join(chunks).decode().replace("\r\n", "\n")
    if status:
        sys.exit(f"{command[0]} failed\n{text}")
    return text


def picture(text: str, columns: int, title: str) -> str:
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    console.print(Text.from_ansi(text), soft_wrap=False)
    svg = console.export_svg(title=title, theme=MONOKAI, unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: (?:Fira Code, monospace|arial)", f"font-family: {_FONT}", svg)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def main() -> None:
    """See above."""
    file, columns, title, *command = sys.argv[1:]
    Path(file).write_text(picture(output(command, int(columns)), int(columns), title))


if __name__ == "__main__":
    main()
