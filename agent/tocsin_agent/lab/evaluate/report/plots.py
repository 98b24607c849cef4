"""Drawings of figures: scales, bars, the confusion matrix and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin_agent.drawing.markup import (
    Markup,
    coordinate,
    drawing,
    escaped,
    joined,
    path_through,
    stroke,
    tag,
)
from tocsin_agent.lab.evaluate.report.words import counted, decimals, finite, interval_in_words


def scale_start(values: Sequence[float]) -> float:
    """Return the start of a card's scale: as near to 100 as the values allow."""
    lowest = min(values, default=0.0)
    return next((start for start in (99.0, 95.0, 90.0, 80.0, 50.0) if lowest >= start), 0.0)


def whisker(
    name: str,
    key: str,
    value: float | None,
    ends: tuple[float | None, float | None],
    floor: float,
) -> Markup:
    """Draw a figure and its interval on a scale from `floor` to 100."""
    width, height, margin = 240.0, 30.0, 6.0

    def at(percent: float) -> str:
        share = (min(max(percent, floor), 100.0) - floor) / (100.0 - floor)
        return coordinate(margin + share * (width - 2 * margin))

    low, high = ends
    parts = [stroke(at(floor), 10, at(100), 10, "axis")]
    parts += [
        stroke(at(tick), 7, at(tick), 13, "axis") for tick in (floor, (floor + 100) / 2, 100.0)
    ]
    if low is not None and high is not None:
        parts.append(stroke(at(low), 10, at(high), 10, f"range {key}"))
    if value is not None:
        parts.append(tag("circle", cx=at(value), cy=10, r=5, class_=f"dot {key}"))
    parts.append(tag("text", f"{floor:g}", x=at(floor), y=27, class_="tick"))
    parts.append(tag("text", "100 %", x=at(100), y=27, class_="tick end"))
    title = f"{name} {decimals(value)} percent, 95 % interval {interval_in_words(low, high)}"
    return drawing(width, height, title, *parts, class_="whisker")


def alarm_bar(name: str, row: Mapping[str, Any], most: float) -> Markup:
    """Draw an alarm's true, missed and false ones as one bar."""
    width, height, x = 150.0, 10.0, 0.0
    parts = []
    for key in ("true", "missed", "false"):
        length = (finite(row.get(key)) or 0) / most * width if most else 0.0
        if length:
            parts.append(_bar(x, length, height, f"alarm-{key}"))
        x += length
    counts = ", ".join(f"{counted(row.get(key))} {key}" for key in ("true", "missed", "false"))
    return drawing(width, height, f"{name}: {counts}", *parts, class_="bar alarm")


def _bar(x: float, length: float, height: float, class_: str) -> Markup:
    x_, width = coordinate(x), coordinate(length)
    return tag("rect", x=x_, y=0, width=width, height=coordinate(height), class_=class_)


def share_bar(row: Mapping[str, Any], kind: str, key: str) -> Markup:
    """Return a percentage with its bar from 0 to 100; the rest has the colour of errors."""
    value = finite((row.get(kind) or {}).get(key))
    if value is None:
        return escaped("–")
    width, height = 60.0, 8.0
    share = min(max(value, 0.0), 100.0) / 100 * width
    parts = [_bar(share, width - share, height, "lacks")] if share < width else []
    parts += [_bar(0, share, height, f"fill {key}")] if share else []
    sign = "Se" if key == "se" else "+P"
    title = f"{row.get('record')}: {kind.upper()} {sign} {value:.2f} %"
    return joined(
        (drawing(width, height, title, *parts, class_="bar"), tag("span", f"{value:.2f}"))
    )


def heat_map(labels: str, matrix: Sequence[Sequence[int]]) -> Markup:
    """Draw a confusion matrix."""
    cell_w, cell_h, left, top = 74.0, 38.0, 76.0, 46.0
    parts = [
        tag("text", "test", x=coordinate(left + cell_w * len(labels) / 2), y=14, class_="axis"),
        tag("text", "reference", x=0, y=coordinate(top - 12), class_="axis start"),
        tag("text", "all", x=coordinate(left + cell_w * (len(labels) + 0.5)), y=34, class_="axis"),
    ]
    for at, label in enumerate(labels):
        x, y = left + cell_w * (at + 0.5), top + cell_h * (at + 0.5) + 5
        parts.append(tag("text", label, x=coordinate(x), y=34, class_="label"))
        parts.append(tag("text", label, x=coordinate(left - 16), y=coordinate(y), class_="label"))
    for at, row in enumerate(matrix):
        total = sum(row)
        y = top + cell_h * at
        for to, count in enumerate(row):
            # The root makes one beat in a hundred visible; 0.6 keeps the figure legible.
            share = math.sqrt(count / total) * 0.6 if total else 0.0
            parts.append(
                _heat_cell(
                    (left + cell_w * to, y, cell_w, cell_h),
                    count,
                    share,
                    "agrees" if at == to else "errs",
                    f"{labels[at : at + 1]} labelled {labels[to : to + 1]}: {counted(count)}",
                )
            )
        x = left + cell_w * (len(row) + 0.5)
        parts.append(
            tag(
                "text",
                counted(total),
                x=coordinate(x),
                y=coordinate(y + cell_h / 2 + 5),
                class_="total",
            )
        )
    width, height = left + cell_w * (len(labels) + 1), top + cell_h * len(matrix) + 2
    title = "Confusion matrix: rows are the experts’ classes, columns the agent’s"
    return drawing(width, height, title, *parts, class_="chart")


def _heat_cell(
    place: tuple[float, float, float, float],
    count: int,
    strength: float,
    class_: str,
    title: str,
) -> Markup:
    x, y, width, height = place
    return tag(
        "g",
        tag("title", title),
        tag(
            "rect",
            x=coordinate(x + 1),
            y=coordinate(y + 1),
            width=coordinate(width - 2),
            height=coordinate(height - 2),
            rx=3,
            fill_opacity=f"{strength:.3f}",
            class_=class_,
        ),
        tag(
            "text",
            counted(count) if count else "·",
            x=coordinate(x + width / 2),
            y=coordinate(y + height / 2 + 5),
            class_="count" if count else "none",
        ),
    )


def curves(rows: Sequence[Mapping[str, Any]], kind: str) -> Markup:
    """Draw Se and +P over the signal-to-noise ratio."""
    width, height, left, right, top, bottom = 440.0, 270.0, 40.0, 34.0, 12.0, 42.0
    ratios = [float(row["snr_db"]) for row in rows]
    low, high = min(ratios), max(ratios)

    def across(ratio: float) -> float:
        share = (ratio - low) / (high - low) if high > low else 0.5
        return left + share * (width - left - right)

    def up(percent: float) -> float:
        return top + (1 - min(max(percent, 0.0), 100.0) / 100) * (height - top - bottom)

    parts: list[Markup] = []
    for percent in range(0, 101, 20):
        y = coordinate(up(percent))
        parts.append(stroke(coordinate(left), y, coordinate(width - right), y, "grid"))
        parts.append(tag("text", percent, x=left - 8, y=coordinate(up(percent) + 4), class_="y"))
    parts += [
        tag("text", f"{ratio:g}", x=coordinate(across(ratio)), y=height - bottom + 18, class_="x")
        for ratio in dict.fromkeys(ratios)
    ]
    middle = coordinate((left + width - right) / 2)
    parts.append(tag("text", "SNR in dB", x=middle, y=height - 5, class_="x"))
    ends: dict[str, float] = {}
    for key in ("se", "ppv"):
        points = [
            (across(ratio), None if value is None else up(value))
            for ratio, row in zip(ratios, rows, strict=True)
            for value in (finite((row.get(kind) or {}).get(key)),)
        ]
        parts.append(tag("path", d=path_through(points), class_=f"curve {key}"))
        known = [(x, y) for x, y in points if y is not None]
        parts += [_marker(x, y, key) for x, y in known]
        if known:
            ends[key] = known[-1][1]
    parts += _curve_names(ends, width - right + 9)
    values = ", ".join(
        f"{row['snr_db']:g} dB Se {decimals((row.get(kind) or {}).get('se'))} "
        f"+P {decimals((row.get(kind) or {}).get('ppv'))}"
        for row in rows
    )
    title = f"{kind.upper()} over signal-to-noise ratio: {values}"
    return drawing(width, height, title, *parts, class_="chart")


def _marker(x: float, y: float, key: str) -> Markup:
    """Draw a point: round for Se, square for +P, so that colour is not needed."""
    if key == "se":
        return tag("circle", cx=coordinate(x), cy=coordinate(y), r=4, class_="dot se")
    corner = {"x": coordinate(x - 3.5), "y": coordinate(y - 3.5)}
    return tag("rect", **corner, width=7, height=7, class_="dot ppv")


def _curve_names(ends: Mapping[str, float], x: float) -> list[Markup]:
    """Name each curve at its end, the two names at least a line apart."""
    heights = dict(ends)
    if len(heights) == 2 and abs(heights["se"] - heights["ppv"]) < 14:
        upper, lower = sorted(heights, key=lambda key: (heights[key], key == "ppv"))
        heights[lower] = heights[upper] + 14
    names = {"se": "Se", "ppv": "+P"}
    return [
        tag("text", names[key], x=coordinate(x), y=coordinate(y + 4), class_=f"name {key}")
        for key, y in heights.items()
    ]


def histogram(counts: Sequence[int], step_s: float) -> Markup:
    """Draw the histogram of the time to a label; heights are the root of the share."""
    width, height, left, bottom = 670.0, 170.0, 6.0, 34.0
    first = max(next((at for at, n in enumerate(counts) if n), 0) - 1, 0)
    shown, total = counts[first:], sum(counts)
    each = (width - 2 * left) / len(shown)
    floor = height - bottom
    parts = [stroke(left, floor, width - left, floor, "grid")]
    for at, n in enumerate(shown):
        x, from_s = left + each * at, (first + at) * step_s
        tall = math.sqrt(n / total) * (floor - 10.0) if total else 0.0
        parts.append(
            tag(
                "g",
                tag("title", f"{from_s:.2f} to {from_s + step_s:.2f} s: {counted(n)} beats"),
                tag(
                    "rect",
                    x=coordinate(x + each * 0.06),
                    y=coordinate(floor - tall),
                    width=coordinate(each * 0.88),
                    height=coordinate(tall),
                    class_="fill se",
                ),
            )
        )
    every = max(1, math.ceil(len(shown) / 12))
    parts += [
        tag("text", f"{(first + at) * step_s:.2f}", x=coordinate(left + each * at),
            y=coordinate(floor + 16), class_="x start")
        for at in range(0, len(shown), every)
    ]  # fmt: skip
    parts.append(tag("text", "seconds", x=coordinate(width / 2), y=height - 4, class_="x"))
    peak = max(range(len(counts)), key=lambda at: counts[at])
    title = f"Time to a label: {counted(total)} beats, most between {peak * step_s:.2f} and "
    title += f"{(peak + 1) * step_s:.2f} s"
    return drawing(width, height, title, *parts, class_="chart")
