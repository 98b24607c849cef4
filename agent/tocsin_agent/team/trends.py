"""Trends drawn as text: a row a measure, a column a minute or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tocsin_agent.messages.trend import Trend

_BLOCKS = "▁▂▃▄▅▆▇█"
_LABEL, _FIGURES = 24, 30  # characters left and right of a curve
_LEAST_COLUMNS = 10


class _Measure(NamedTuple):
    """A row: its name with unit, how its value is read, and its decimals."""

    name: str
    value: Callable[[Trend], float | None]
    decimals: int = 0


def draw(trends: Sequence[Trend], width: int = 100) -> str:
    """Return the curves of each device and stream, in the order of their first trend.

    Parameters
    ----------
    trends : sequence of Trend
        In the order of time.
    width : int
        Characters of a line.

    Returns
    -------
    str
        Each row states the lowest, the highest and the last value; a column without a trend is
        blank. Where a column holds several minutes it shows the mean of those that are known.
    """
    streams: dict[tuple[str, str, str], list[Trend]] = {}
    for trend in trends:
        streams.setdefault((trend.site, trend.device, trend.stream), []).append(trend)
    return "\n\n".join("\n".join(_stream(rows, width)) for rows in streams.values())


def line(trend: Trend) -> str:
    """Return a trend as one line, for a screen that follows a broker."""
    rate, hrv = trend.heart_rate_bpm, trend.variability
    parts = [
        f"{trend.to_at:%H:%M} {trend.site}/{trend.device}",
        f"{rate.mean:.0f}/min ({rate.min:.0f}-{rate.max:.0f})" if rate else "no heart rate",
    ]
    if trend.ventricular_per_hour:
        parts.append(f"V {trend.ventricular_per_hour:.0f}/h")
    if trend.longest_run is not None and trend.longest_run.beats > 2:
        parts.append(f"run of {trend.longest_run.beats} at {trend.longest_run.rate_bpm:.0f}/min")
    if trend.pauses:
        parts.append(f"{trend.pauses} pauses")
    if trend.atrial_fibrillation_percent:
        parts.append(f"AF {trend.atrial_fibrillation_percent:.0f} %")
    parts += [
        f"ST {lead} {st.change_mv:+.2f} mV"
        for lead, st in trend.st.items()
        if st.change_mv is not None and abs(st.change_mv) >= 0.05
    ]
    if hrv is not None:
        parts.append(f"SDNN {hrv.sdnn_ms:.0f} ms, RMSSD {hrv.rmssd_ms:.0f} ms")
    if trend.signal_s < 59:
        parts.append(f"ECG for {trend.signal_s:.0f} s")
    return "  ".join(parts) + ("  (synthetic)" if trend.synthetic else "")


def _stream(trends: list[Trend], width: int) -> Iterator[str]:
    first, last = trends[0], trends[-1]
    minutes = max(round((last.to_at - first.from_at) / timedelta(minutes=1)), 1)
    columns = max(width - _LABEL - _FIGURES, _LEAST_COLUMNS)
    step = math.ceil(minutes / columns)
    patient = f", patient {first.patient}" if first.patient else ""
    synthetic = " (synthetic)" if first.synthetic else ""
    yield f"{first.site}/{first.device}{patient}, {first.stream}{synthetic}"
    yield (
        f"{_clock(first.from_at)} to {_clock(last.to_at)} UTC, {len(trends)} minutes"
        + (f", {step} a column" if step > 1 else "")
    )
    for measure in _measures(trends):
        cells = _cells(measure, trends, first.from_at, step)
        known = [value for value in map(measure.value, trends) if value is not None]
        if known:
            n = measure.decimals
            figures = f"{min(known):.{n}f} to {max(known):.{n}f}, last {known[-1]:.{n}f}"
            yield f"{measure.name:<{_LABEL}}{_curve(cells)}  {figures}"


def _measures(trends: Sequence[Trend]) -> Iterator[_Measure]:
    yield _Measure(
        "heart rate, /min", lambda t: t.heart_rate_bpm.mean if t.heart_rate_bpm else None
    )
    yield _Measure("  lowest", lambda t: t.heart_rate_bpm.min if t.heart_rate_bpm else None)
    yield _Measure("  highest", lambda t: t.heart_rate_bpm.max if t.heart_rate_bpm else None)
    yield _Measure("ventricular, /h", lambda t: t.ventricular_per_hour)
    yield _Measure("supraventricular, /h", lambda t: t.supraventricular_per_hour)
    yield _Measure("longest run, beats", lambda t: t.longest_run.beats if t.longest_run else 0)
    yield _Measure("pauses", lambda t: t.pauses)
    yield _Measure("AF burden, %", lambda t: t.atrial_fibrillation_percent)
    for lead in dict.fromkeys(lead for trend in trends for lead in trend.st):
        yield _Measure(f"ST {lead} change, mV", _st_change(lead), 2)
    yield _Measure("SDNN, ms", lambda t: t.variability.sdnn_ms if t.variability else None)
    yield _Measure("RMSSD, ms", lambda t: t.variability.rmssd_ms if t.variability else None)
    yield _Measure("quality", lambda t: max(t.quality.values(), default=None), 2)
    yield _Measure("ECG, s/min", lambda t: t.signal_s)


def _st_change(lead: str) -> Callable[[Trend], float | None]:
    def value(trend: Trend) -> float | None:
        return trend.st[lead].change_mv if lead in trend.st else None

    return value


def _cells(
    measure: _Measure, trends: Sequence[Trend], begin: datetime, step: int
) -> list[float | None]:
    """Return the mean of each column; None where nothing is known."""
    columns: dict[int, list[float]] = {}
    for trend in trends:
        column = int((trend.from_at - begin) / timedelta(minutes=step))
        value = measure.value(trend)
        if value is not None:
            columns.setdefault(column, []).append(value)
    last = int((trends[-1].from_at - begin) / timedelta(minutes=step))
    return [
        sum(columns[column]) / len(columns[column]) if column in columns else None
        for column in range(last + 1)
    ]


def _curve(cells: Sequence[float | None]) -> str:
    known = [cell for cell in cells if cell is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = high - low
    return "".join(
        " "
        if cell is None
        else _BLOCKS[min(int((cell - low) / span * len(_BLOCKS)), len(_BLOCKS) - 1) if span else 0]
        for cell in cells
    )


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
