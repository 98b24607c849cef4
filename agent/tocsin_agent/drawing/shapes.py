"""What a drawing consists of, in millimetres from its top left corner.

The `role` of a shape says what it stands for; `LOOKS` says how a role looks on white paper.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Point: TypeAlias = tuple[float, float]
Anchor: TypeAlias = Literal["start", "middle", "end"]


class Box(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    role: str


class Lines(NamedTuple):
    """One or several lines, each through its points."""

    lines: tuple[tuple[Point, ...], ...]
    role: str


class Text(NamedTuple):
    """One line of text; `y` is its base line."""

    x: float
    y: float
    text: str
    role: str


Shape: TypeAlias = Box | Lines | Text


class Sheet(NamedTuple):
    """A drawing: its size in millimetres, what it shows in words, and its shapes, back to front."""

    width: float
    height: float
    title: str
    shapes: tuple[Shape, ...]


class Look(NamedTuple):
    """How a role looks.

    Parameters
    ----------
    colour : str
        Of the fill of a box, the line, or the letters.
    size_mm : float
        Width of a line, or height of the letters.
    anchor : str
        The part of a text that stands at its `x`.
    bold : bool
    opacity : float
    """

    colour: str
    size_mm: float = 0.0
    anchor: Anchor = "start"
    bold: bool = False
    opacity: float = 1.0


LOOKS: dict[str, Look] = {
    "page": Look("#ffffff"),
    "sheet": Look("#fffafa"),
    "fine": Look("#f6dede", 0.12),
    "coarse": Look("#eab9b9", 0.2),
    "trace": Look("#16191d", 0.32),
    "focus": Look("#bf4a30", opacity=0.16),
    "stem": Look("#5b6570", 0.2),
    "stem near": Look("#bf4a30", 0.35),
    "beat": Look("#5b6570", 3.6, "middle"),
    "beat near": Look("#bf4a30", 3.6, "middle", bold=True),
    "onset": Look("#1f6f8b", 0.5),
    "onset name": Look("#1f6f8b", 3.6, "start", bold=True),
    "row": Look("#5b6570", 3.0, "end"),
    "lead": Look("#16191d", 4.2, "end", bold=True),
    "headline": Look("#16191d", 6.0, "start", bold=True),
    "line": Look("#16191d", 4.0),
    "small": Look("#5b6570", 3.2),
}
"""How each role looks."""
