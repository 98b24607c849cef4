"""ECG strips as on paper, with the labels of reference and agent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.drawing.markup import Markup, coordinate, drawing, tag
from tocsin_agent.drawing.paper import (
    GUTTER_MM,
    MM_S,
    ROW_MM,
    calibration,
    grid,
    labels,
    scale_for,
    trace,
)
from tocsin_agent.drawing.shapes import Box, Shape, Text
from tocsin_agent.drawing.svg import element
from tocsin_agent.lab.evaluate.report.markup import note, section
from tocsin_agent.lab.evaluate.report.words import CLASS_NAMES, clock, counted, finite

_MATCH_WINDOW_S = 0.15  # s; EC57:2012 4.3.2: labels so near belong to the beat
_STRIPS_AT_MOST = 10
_PAPER_AT_MOST_MM = 25.0  # above and below the median of a strip


class StripOf(NamedTuple):
    """A stretch of one lead, with the beats that the reference and the test mark in it.

    Parameters
    ----------
    rate_hz : float
        Sampling rate of `samples_mv`.
    samples_mv : ndarray
        Samples in millivolts; NaN where there is none.
    start_sample : int
        Index in the record of the first sample.
    marks : list of (int, str, str)
        Index in the record, label, and ``"reference"`` or ``"test"``.
    """

    rate_hz: float
    samples_mv: NDArray[np.float64]
    start_sample: int
    marks: list[tuple[int, str, str]]


StripSource = Callable[[str, int], StripOf | None]


def strips_section(result: Mapping[str, Any], strip_of: StripSource) -> Markup:
    """Show the worst errors as strips."""
    misses = list(result.get("worst") or ())[:_STRIPS_AT_MOST]
    if not misses:
        return Markup()
    figures = [
        _miss(at, miss, strip_of(str(miss["record"]), int(miss["sample"])))
        for at, miss in enumerate(misses, 1)
    ]
    return section(
        "The worst errors",
        note(
            "As on ECG paper: 25 mm are a second, 10 mm a millivolt, in true size if the page is "
            "wide enough. The labels above the signal are those of the experts (reference), the "
            "labels below it those of the agent (test)."
        ),
        *figures,
        class_="strips",
    )


def _miss(at: int, miss: Mapping[str, Any], strip: StripOf | None) -> Markup:
    seconds = finite(miss.get("seconds"))
    if seconds is None and strip is not None and strip.rate_hz > 0:
        seconds = miss["sample"] / strip.rate_hz
    where = f"record {miss['record']}" + ("" if seconds is None else f" at {clock(seconds)}")
    what = _miss_in_words(str(miss.get("reference")), str(miss.get("test")))
    usable = strip is not None and strip.rate_hz > 0 and bool(np.isfinite(strip.samples_mv).any())
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("b", f"{at}. "),
            what,
            tag("span", f"{where}, sample {counted(miss['sample'])}", class_="where"),
        ),
        _strip(miss, strip, f"{what} ({where})")
        if strip is not None and usable
        else tag("p", "There is no signal to show.", class_="absent"),
        class_="strip",
    )


def _miss_in_words(reference: str, test: str) -> str:
    real, label = (CLASS_NAMES.get(label, label) for label in (reference, test))
    if test == "O":
        return f"A missed beat: {real} ({reference})"
    if test == "X":
        return f"A beat in a part that the agent did not analyse: {real} ({reference})"
    if reference in {"O", "X"}:
        return f"A false beat: {label} ({test})"
    return f"A {real} beat ({reference}) labelled {label} ({test})"


def _strip(miss: Mapping[str, Any], strip: StripOf, title: str) -> Markup:
    samples = np.asarray(strip.samples_mv, dtype=np.float64)
    scale = scale_for(samples, strip.rate_hz, GUTTER_MM, ROW_MM, _PAPER_AT_MOST_MM)
    paper = (float(math.ceil(len(samples) / strip.rate_hz * MM_S)), scale.height)

    def across(sample: float) -> float:
        return scale.x(sample - strip.start_sample)

    half = _MATCH_WINDOW_S * MM_S
    focus = across(int(miss["sample"]))
    width, height = GUTTER_MM + paper[0], paper[1] + 2 * ROW_MM
    shapes: list[Shape] = [
        *grid(GUTTER_MM, ROW_MM, *paper),
        Box(focus - half, 0, 2 * half, height, "focus"),
        *calibration(scale),
        Text(GUTTER_MM - 2, 5.4, "reference", "row"),
        Text(GUTTER_MM - 2, height - 2.6, "test", "row"),
        trace(samples, scale),
    ]
    parts = [*map(element, shapes), *_marks(miss, strip, across, height)]
    size = f"width:{coordinate(width)}mm"
    return drawing(width, height, title, *parts, class_="paper", style=size)


def _marks(
    miss: Mapping[str, Any],
    strip: StripOf,
    across: Callable[[float], float],
    height: float,
) -> list[Markup]:
    at_fault, parts = int(miss["sample"]), []
    end = strip.start_sample + len(strip.samples_mv)
    for sample, label, side in strip.marks:
        if strip.start_sample <= sample < end:
            near = abs(sample - at_fault) <= _MATCH_WINDOW_S * strip.rate_hz
            parts.append(_mark(across(sample), label, side, height, near=near))
    for side in ("reference", "test"):
        if miss.get(side) in {"O", "X"}:  # no label on this side
            word = "none" if miss[side] == "O" else "X"
            parts.append(_mark(across(at_fault), word, side, height, near=True))
    return parts


def _mark(x: float, label: str, side: str, height: float, *, near: bool) -> Markup:
    top = side == "reference"
    y, tick = (5.4, (6.2, ROW_MM)) if top else (height - 2.6, (height - ROW_MM, height - 6.2))
    shapes = labels([(x, label)], y, tick, near=False)
    return tag("g", *map(element, shapes), class_="mark near" if near else "mark")
