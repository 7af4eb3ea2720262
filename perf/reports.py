"""Reports: the JSON document of a run, on disk.

Layout of format 2 (numbers are medians over rounds unless said otherwise):

========== =======================================================================================
format      2
started     when, ISO 8601, UTC; ``seconds`` how long
command     what was typed; ``seed``, ``level`` and ``cores`` repeat it
width       rounds ended when no interval of a ratio was wider, relative to the ratio
against     the subjects that ratios are of; the first is the baseline
machine     :func:`vnetx_perf.machine.describe`
subjects    by name: title, whether it is a limit and no switch, and its devices' state
missing     subjects that could not be measured, and why
skipped     figures that were not measured, and why
warnings    what speaks against the whole run; ``interrupted`` whether Ctrl-C ended it
figures     a list of :meth:`vnetx_perf.figures.Figure.to_json`
========== =======================================================================================
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

FORMAT = 2


class ReportError(ValueError):
    """A file that is no report, or one of another format."""


def write(text: str, path: Path) -> None:
    """Writes a file as a whole or not at all; a device or pipe is written to as it is.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    if path.exists() and not path.is_file():
        path.write_text(text)
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def save(report: dict[str, Any], path: Path) -> None:
    """Writes a report as JSON.  Raises as :func:`write`."""
    write(json.dumps(report, indent=1, ensure_ascii=False) + "\n", path)


def load(path: Path) -> dict[str, Any]:
    """Reads a report.

    Raises:
        ReportError: the file is no report of this format; says what it is.
        OSError: it cannot be read.
    """
    try:
        report = json.loads(path.read_text())
    except ValueError as error:
        raise ReportError(f"it is not JSON: {error}") from error
    if not isinstance(report, dict) or "format" not in report:
        raise ReportError("it is no report of the harness")
    if report["format"] != FORMAT:
        age = "an older" if report["format"] < FORMAT else "a newer"
        raise ReportError(
            f"it has format {report['format']}, {age} one than this version's {FORMAT}; "
            "measure again"
        )
    return report
