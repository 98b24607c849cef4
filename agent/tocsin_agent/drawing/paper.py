"""ECG paper: 25 mm a second, 10 mm a millivolt, a line each millimetre, a pulse of 1 mV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.drawing.shapes import Box, Lines, Point, Shape, Text

MM_S, MM_MV = 25.0, 10.0
GUTTER_MM = 19.0
"""Left of the paper, for the calibration pulse and names."""
ROW_MM = 8.0
"""Above and below the paper, for labels."""


class Scale(NamedTuple):
    """Where a lead lies on its paper.

    Parameters
    ----------
    left, top : float
        The paper's corner, in millimetres.
    rate_hz : float
        Samples a second.
    middle_mv : float
        The value that lies `above` millimetres below the top.
    above, below : float
        Millimetres of paper above and below the middle.
    """

    left: float
    top: float
    rate_hz: float
    middle_mv: float
    above: float
    below: float

    def x(self, sample: float) -> float:
        """Return where a sample lies, counted from the first."""
        return self.left + sample / self.rate_hz * MM_S

    def y(self, value_mv: float) -> float:
        """Return where a value lies, within the paper."""
        rise = (value_mv - self.middle_mv) * MM_MV
        return self.top + self.above - min(max(rise, -self.below), self.above)

    @property
    def height(self) -> float:
        """Millimetres of paper."""
        return self.above + self.below


def scale_for(
    samples_mv: NDArray[np.float64], rate_hz: float, left: float, top: float, at_most_mm: float
) -> Scale:
    """Return a scale that shows a lead, with at most so much paper above and below its median."""
    finite = samples_mv[np.isfinite(samples_mv)]
    if not len(finite):
        return Scale(left, top, rate_hz, 0.0, 10.0, 10.0)
    middle = float(np.median(finite))
    above, below = (
        min(max(5.0 * math.ceil((reach * MM_MV + 2.0) / 5.0), 10.0), at_most_mm)
        for reach in (float(finite.max()) - middle, middle - float(finite.min()))
    )
    return Scale(left, top, rate_hz, middle, above, below)


def grid(left: float, top: float, width: float, height: float) -> list[Shape]:
    """Draw the paper: a line each millimetre, a stronger one each fifth."""
    right, foot = left + width, top + height
    lines: dict[bool, list[tuple[Point, ...]]] = {False: [], True: []}
    for at in range(int(width) + 1):
        lines[at % 5 == 0].append(((left + at, top), (left + at, foot)))
    for at in range(int(height) + 1):
        lines[at % 5 == 0].append(((left, top + at), (right, top + at)))
    return [
        Box(left, top, width, height, "sheet"),
        Lines(tuple(lines[False]), "fine"),
        Lines(tuple(lines[True]), "coarse"),
    ]


def calibration(scale: Scale, name: str = "") -> list[Shape]:
    """Draw the pulse of 1 mV and 0.2 s that begins a strip, with the name of the lead below it."""
    foot = scale.top + min(scale.above, 10.0) + max(scale.above - 10.0, 0.0) / 2 + 1.0
    start, rise = scale.left - 12.0, foot - MM_MV
    pulse = (
        (start, foot), (start + 2, foot), (start + 2, rise), (start + 7, rise), (start + 7, foot),
        (start + 9, foot),
    )  # fmt: skip
    shapes: list[Shape] = [Lines((pulse,), "trace"), Text(start + 8, foot + 4, "1 mV", "row")]
    return [*shapes, Text(start + 8, foot + 9, name, "lead")] if name else shapes


def trace(samples_mv: NDArray[np.float64], scale: Scale) -> Lines:
    """Draw the samples of a lead; where one is missing, the line has a gap."""
    finite = np.isfinite(samples_mv)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], finite, [False])).astype(np.int8)))
    pieces = (
        tuple((scale.x(at), scale.y(float(samples_mv[at]))) for at in range(start, stop))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    )
    return Lines(tuple(pieces), "trace")


def labels(
    marks: Sequence[tuple[float, str]], text_y: float, tick: tuple[float, float], *, near: bool
) -> list[Shape]:
    """Write a label at each place, with a tick that points to the signal.

    Parameters
    ----------
    marks : sequence of (float, str)
        Where, in millimetres from the left, and the label.
    text_y : float
        Base line of the labels.
    tick : (float, float)
        From where to where the ticks reach.
    near : bool
        True to emphasise.
    """
    suffix = " near" if near else ""
    shapes: list[Shape] = []
    for x, label in marks:
        shapes += [
            Lines((((x, tick[0]), (x, tick[1])),), f"stem{suffix}"),
            Text(x, text_y, label, f"beat{suffix}"),
        ]
    return shapes
