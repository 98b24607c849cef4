"""Draws an ECG strip with the characters of a terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.messages.alert import Alert, Strip
from tocsin_agent.messages.printable import clean
from tocsin_agent.team.language import Language

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # braille: left, right column
_BRAILLE = 0x2800
_MIN_SPAN_MV = 1.0  # the least range of the drawing, so that noise on a flat line stays small


def draw_strip(alert: Alert, strip: Strip, width: int, rows: int, language: Language) -> list[str]:
    """Draw the lead that the beat labels are from, its beats above, the onset marked below.

    Parameters
    ----------
    alert : Alert
        Names the lead and the onset.
    strip : Strip
        What to draw.
    width, rows : int
        Size in characters.
    language : Language
        The reader's.

    Returns
    -------
    list of str
        The labels of the beats where the strip has them, `rows` lines of braille, and one with the
        lead, the scale and the onset's mark.

    Raises
    ------
    ValueError
        If the strip cannot be read.
    """
    samples = strip.decode()
    used = alert.signal_quality.used
    column = strip.leads.index(used) if used in strip.leads else 0
    lead = samples[:, column]
    if not len(lead) or width < 1:
        return []
    seconds = len(lead) / strip.rate_hz
    low, high = _scale(lead)
    lines = [_labels(strip, len(lead), width)] if strip.beats else []
    lines += draw_trace(lead, width, rows, low, high)
    legend = f"{clean(strip.leads[column])}  {seconds:.1f} s  {low:+.1f} … {high:+.1f} mV"
    at = onset_row(alert, strip, len(lead))
    if at is not None:
        mark, name = at * width // len(lead), language.words.onset
        after = mark + len(name) + 2 <= width
        pointer = f"↑ {name}" if after else f"{name} ↑"
        start = mark if after else mark - len(name) - 1
        if start >= len(legend) + 2:
            legend = legend.ljust(start) + pointer
        else:
            lines.append(" " * max(0, start) + pointer)
    return [*lines, legend]


def onset_row(alert: Alert, strip: Strip, rows: int) -> int | None:
    """Return the row of a strip at which the onset lies; None if it is not in the strip.

    An agent older than `strip.onset_row` leaves it to the indices: those of the source, whose rate
    follows from the two times of the alert.
    """
    row = strip.onset_row
    if row is None and not strip.beats:
        span_s = (alert.detected_at - alert.onset_at).total_seconds()
        samples = alert.detected_index - alert.onset_index
        source_hz = samples / span_s if span_s > 0 and samples > 0 else strip.rate_hz
        row = int((alert.onset_index - strip.start_index) / source_hz * strip.rate_hz)
    return row if row is not None and 0 <= row < rows else None


def _labels(strip: Strip, rows: int, width: int) -> str:
    """Return a line with the label of each beat above its place."""
    line = [" "] * width
    for beat in strip.beats:
        if beat.row < rows:
            line[beat.row * width // rows] = clean(beat.label)[:1] or "?"
    return "".join(line).rstrip()


def _scale(lead: NDArray[np.float64]) -> tuple[float, float]:
    if np.isnan(lead).all():
        return -_MIN_SPAN_MV / 2, _MIN_SPAN_MV / 2
    low, high = float(np.nanmin(lead)), float(np.nanmax(lead))
    missing = max(0.0, _MIN_SPAN_MV - (high - low)) / 2
    return low - missing, high + missing


def draw_trace(
    samples_mv: NDArray[np.float64], width: int, rows: int, low: float, high: float
) -> list[str]:
    """Draw one lead in braille, 2 by 4 dots a character; a column spans its least to greatest.

    Parameters
    ----------
    samples_mv : ndarray of float64, shape (n,)
        NaN where a sample is missing: nothing is drawn there.
    width, rows : int
        Size in characters.
    low, high : float
        Values of the lowest and the highest dot, in mV.
    """
    columns, levels = 2 * width, 4 * rows
    cells = [[0] * width for _ in range(rows)]
    edges = np.linspace(0, len(samples_mv), columns + 1)
    previous: int | None = None
    for column in range(columns):
        start = int(edges[column])
        piece = samples_mv[start : max(start + 1, int(edges[column + 1]))]
        piece = piece[~np.isnan(piece)]
        if not len(piece):
            previous = None
            continue
        bottom, top = (
            int(np.clip((value - low) / (high - low) * (levels - 1) + 0.5, 0, levels - 1))
            for value in (piece.min(), piece.max())
        )
        # A steep slope is joined to the column before it, so that the line has no gap.
        if previous is not None:
            bottom, top = min(bottom, previous + 1), max(top, previous - 1)
        previous = round(np.clip((piece[-1] - low) / (high - low), 0, 1) * (levels - 1))
        for level in range(max(0, bottom), min(levels - 1, top) + 1):
            from_top = levels - 1 - level
            cells[from_top // 4][column // 2] |= _DOTS[column % 2][from_top % 4]
    return ["".join(chr(_BRAILLE + cell) for cell in row) for row in cells]
