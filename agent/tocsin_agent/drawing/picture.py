"""Writes a drawing as PNG or PDF, by matplotlib (extra `picture`); a millimetre is a millimetre.

Its renderers draw lines and text of the shapes; its plots are not used. Fonts come with it, so that
the files need none of the system.
"""

from __future__ import annotations

import io
from typing import Any, Literal

from tocsin_agent.drawing.shapes import LOOKS, Box, Lines, Sheet, Text
from tocsin_agent.extras import import_extra

EXTRA = "picture"
PNG_DPI = 200
_MM_INCH = 25.4
_POINT_MM = 72.0 / _MM_INCH
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def picture(sheet: Sheet, kind: Literal["png", "pdf"]) -> bytes:
    """Return the file of a drawing.

    Parameters
    ----------
    sheet : Sheet
    kind : str
        ``png``, at 200 dots an inch, or ``pdf``, of lines and letters.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figures: Any = import_extra("matplotlib.figure", EXTRA, f"A strip as {kind.upper()}")
    matplotlib: Any = import_extra("matplotlib", EXTRA, f"A strip as {kind.upper()}")
    settings = {"pdf.fonttype": 42, "font.family": "DejaVu Sans", "path.simplify": False}
    with matplotlib.rc_context(settings):
        figure = figures.Figure(figsize=(sheet.width / _MM_INCH, sheet.height / _MM_INCH))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, sheet.width)
        axes.set_ylim(sheet.height, 0)
        for order, shape in enumerate(sheet.shapes):
            _draw(axes, shape, order)
        written = io.BytesIO()
        # No date: the same alert gives the same file.
        names = {"Title": sheet.title}
        metadata: dict[str, str | None] = (
            {**names, "CreationDate": None} if kind == "pdf" else {**names}
        )
        figure.savefig(written, format=kind, dpi=PNG_DPI, metadata=metadata)
    return written.getvalue()


def _draw(axes: Any, shape: Box | Lines | Text, order: int) -> None:  # noqa: ANN401  # an Axes
    look = LOOKS[shape.role]
    how: dict[str, Any] = {"zorder": order, "alpha": look.opacity, "clip_on": False}
    match shape:
        case Box():
            patches: Any = import_extra("matplotlib.patches", EXTRA, "A strip as a picture")
            axes.add_patch(
                patches.Rectangle(
                    (shape.x, shape.y), shape.width, shape.height, lw=0, fc=look.colour, **how
                )
            )
        case Lines():
            collections: Any = import_extra("matplotlib.collections", EXTRA, "A strip as a picture")
            axes.add_collection(
                collections.LineCollection(
                    shape.lines,
                    colors=look.colour,
                    linewidths=look.size_mm * _POINT_MM,
                    joinstyle="round",
                    capstyle="butt",
                    **how,
                ),
                autolim=False,
            )
        case Text():
            axes.text(
                shape.x,
                shape.y,
                shape.text,
                color=look.colour,
                fontsize=look.size_mm * _POINT_MM,
                fontweight="bold" if look.bold else "normal",
                ha=_ANCHORS[look.anchor],
                va="baseline",
                parse_math=False,
                **how,
            )
