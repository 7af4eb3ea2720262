"""The tools of `make lint`, each as a test. One that is missing fails: set-up installs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def said(*command: str | Path) -> str:
    """Empty when the tool has nothing to complain of, else what it said."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or "it failed"


def test_ruff() -> None:
    assert said(BIN / "ruff", "check", "--no-cache") == ""


def test_format() -> None:
    assert said(BIN / "ruff", "format", "--check", "--no-cache") == ""


def test_types() -> None:
    # Without a cache: an incremental one does not notice a stub that is new.
    assert said(BIN / "mypy", "--cache-dir=/dev/null") == ""


def test_layers() -> None:
    assert said(BIN / "lint-imports", "--no-cache") == ""


def test_clang_format() -> None:
    sources = [path for path in sorted((ROOT / "bpf").rglob("*")) if path.suffix in (".c", ".h")]
    assert sources
    assert said("clang-format", "--dry-run", "-Werror", *sources) == ""


def test_lint_calls_the_same_tools() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe
    for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "clang-format"):
        assert tool in recipe[1]
