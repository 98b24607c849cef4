"""The report of an evaluation as one self-contained HTML file.

The page loads no script, font, image or other resource, and its content security policy forbids
it. Plots are inline SVG. The same result and the same signals give the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tocsin_agent.lab.evaluate.report.page import page
from tocsin_agent.lab.evaluate.report.paper import StripOf, StripSource

__all__ = ["FILE_NAME", "StripOf", "StripSource", "write_report"]

FILE_NAME = "evaluation.html"


def write_report(result: dict[str, Any], directory: Path, strip_of: StripSource) -> Path:
    """Write an evaluation as one self-contained HTML file.

    Parameters
    ----------
    result : dict
        An evaluation of schema ``tocsin/evaluation/v1``.
    directory : Path
        Where to write; created if missing.
    strip_of : callable
        Returns the signal around a sample of a record, or None where there is none.

    Returns
    -------
    Path
        The file written, ``evaluation.html``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE_NAME
    path.write_text(page(result, strip_of), encoding="utf-8", newline="\n")
    return path
