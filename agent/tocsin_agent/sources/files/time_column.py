"""The time column of a table: what it says of rate, gaps and start, if it can be relied on.

A column of a device's own clock has even steps: it gives the rate, and a step of more than 1.5
samples is a gap. Stamps of arrival have not: several samples share a stamp, come in bursts, or
go back. Their slope over the whole column gives the rate, and only what moves all later stamps is
a gap.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.signal import MAX_RATE_HZ, MIN_RATE_HZ, FloatArray

_DAY_S = 86_400.0
_RELIABLE = 1e-3  # a rate must be known to 0.1 %


class Clock(NamedTuple):
    """What a time column says.

    Attributes
    ----------
    rate_hz : float or None
        None where it cannot be determined.
    places : ndarray of int64, shape (n,), or None
        Place of each row; None where the rows follow one another.
    even : bool
        Whether the steps are those of a sampling clock.
    problem : str or None
        Why the column cannot be relied on.
    """

    rate_hz: float | None
    places: NDArray[np.int64] | None
    even: bool
    problem: str | None


def read_clock(times_s: FloatArray) -> Clock:
    """Return rate and gaps of a column of times, in seconds; every row has one."""
    if not np.isfinite(times_s).all():
        return Clock(None, None, False, "it has empty cells")
    if len(times_s) < 2:
        return Clock(None, None, False, "fewer than two rows have numbers in it and in the samples")
    steps = np.diff(times_s)
    if not (steps > 0).any():
        return Clock(None, None, False, "it does not increase")
    median = float(np.median(steps))
    gaps = int((steps > 1.5 * median).sum())  # bursts have one long step a packet
    if median > 0 and (steps >= 0.5 * median).all() and gaps <= max(10, 0.02 * len(steps)):
        return _even(steps, median)
    return _uneven(times_s)


def _even(steps: FloatArray, median: float) -> Clock:
    kept = steps[steps < 1.5 * median]
    slope = float(kept.mean())
    # How far a stamp is from the line of all says how exact its digits are.
    off = np.cumsum(kept)
    line = np.arange(1.0, len(kept) + 1)
    line *= slope
    off -= line
    if np.ptp(off) > _RELIABLE * slope * len(kept):
        return Clock(None, None, True, "it is too short for its digits to give a rate to 0.1 %")
    rate_hz = round_rate(1.0 / slope)
    return Clock(rate_hz, place(steps, rate_hz), True, None)


def place(steps_s: FloatArray, rate_hz: float) -> NDArray[np.int64] | None:
    """Return the place of each row of an even column; None without a gap."""
    gaps = np.flatnonzero(steps_s > 1.5 / rate_hz)
    if not len(gaps):
        return None
    rows = np.ones(len(steps_s) + 1, dtype=np.int64)
    rows[0] = 0
    rows[gaps + 1] = np.rint(steps_s[gaps] * rate_hz).astype(np.int64)
    return np.cumsum(rows)


def _uneven(times_s: FloatArray) -> Clock:
    """Fit a line through the stamps of each stretch without a gap."""
    rows = len(times_s)
    window = max(1, min(rows - 1, 2000, rows // 3))
    spans = times_s[window:] - times_s[:-window]
    slope = float(np.median(spans)) / window
    if not 1e-9 < slope < 1e9:
        return Clock(None, None, False, "it does not increase")
    number = np.arange(rows, dtype=np.float64)
    late = times_s - number * slope
    block = max(2, round(0.5 / slope))
    blocks = rows // block
    edges: list[int] = []
    if blocks >= 4:
        middle = np.median(late[: blocks * block].reshape(blocks, block), axis=1)
        spread = np.ptp(late[: blocks * block].reshape(blocks, block), axis=1)
        limit = max(0.1, 2.0 * float(np.median(spread)))
        for jump in np.flatnonzero(np.abs(np.diff(middle)) > limit).tolist():
            low = max(0, (jump - 1) * block)
            high = min(rows - 1, (jump + 2) * block)
            at = low + 1 + int(np.argmax(np.abs(np.diff(times_s[low : high + 1]))))
            if not edges or at - edges[-1] > block:
                edges.append(at)
    stretches = list(zip([0, *edges], [*edges, rows], strict=True))
    slope, error = _slope(times_s, stretches)
    if not (slope > 0 and error <= _RELIABLE * slope / 2):
        return Clock(None, None, False, "its stamps are too uneven to give a rate to 0.1 %")
    rate_hz = round_rate(1.0 / slope)
    if not edges:
        return Clock(rate_hz, None, False, None)
    index = np.arange(rows, dtype=np.int64)
    for before, (begin, end) in pairwise(stretches):
        lag = np.median(times_s[begin:end] - number[begin:end] / rate_hz)
        lag -= np.median(times_s[before[0] : before[1]] - number[before[0] : before[1]] / rate_hz)
        if lag < 0:
            return Clock(rate_hz, None, False, f"it goes back by {-lag:.3g} s at row {begin + 1}")
        index[begin:] += round(float(lag) * rate_hz)
    return Clock(rate_hz, index, False, None)


def _slope(times_s: FloatArray, stretches: list[tuple[int, int]]) -> tuple[float, float]:
    """Return the common slope of the stretches, and its standard error."""
    above = below = left = 0.0
    fits = []
    for begin, end in stretches:
        x = np.arange(end - begin, dtype=np.float64)
        x -= x.mean()
        y = times_s[begin:end] - times_s[begin:end].mean()
        above += float(x @ y)
        below += float(x @ x)
        fits.append((x, y))
    if not below:
        return 0.0, np.inf
    slope = above / below
    for x, y in fits:
        left += float(np.square(y - slope * x).sum())
    rows = len(times_s)
    stamps = max(2, len(np.unique(times_s)))  # rows that share a stamp add nothing
    return slope, float(np.sqrt(left / rows / below * rows / stamps))


def round_rate(rate_hz: float) -> float:
    """Round a rate that is a whole number but for the rounding of times in the file."""
    whole = round(rate_hz)
    return float(whole) if whole and abs(rate_hz / whole - 1.0) < _RELIABLE else rate_hz


def scale_of(first: FloatArray, stated_s: float | None) -> float:
    """Return the seconds in a unit of a time column: as stated, else what gives an ECG's rate."""
    if stated_s is not None:
        return stated_s
    rows = len(first)
    window = max(1, min(rows - 1, 500))
    if rows < 2:
        return 1.0
    step = float(np.median(first[window:] - first[:-window])) / window
    for size in (1.0, 1e-3, 1e-6, 1e-9):
        if step > 0 and MIN_RATE_HZ <= 1.0 / (step * size) * 1.001 <= MAX_RATE_HZ * 1.002:
            return size
    return 1.0


def start_of(first_s: float) -> datetime | None:
    """Return UTC of a first stamp, where it counts from 1970."""
    if 946_684_800 < first_s < 4_102_444_800:  # 2000 to 2100
        return datetime.fromtimestamp(first_s, tz=UTC)
    return None


_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
_CLOCK_MS = re.compile(r"(\d{1,2}:\d{2}:\d{2}):(\d{3})")  # `10:00:00:123`
_DAY = r"(?P<first>\d{1,2})[./](?P<second>\d{1,2})[./]\d{4}"
_DATE = re.compile(_DAY)
_CLOCK_DATE = re.compile(rf"(?P<clock>[\d:.,]+)[ T]{_DAY}")
_DATE_CLOCK = re.compile(rf"{_DAY}[ T](?P<clock>[\d:.,]+)")


def seconds_of(text: str) -> float | None:
    """Return the seconds in a time as text; None for other text.

    Of `h:mm:ss.sss` those since midnight, of an ISO date those since 1970. Of a date such as
    `05/01/2024`, in which the day may be the first number or the second, those of an era of its
    own: differences are right within a day, and no start follows from it.
    """
    plain = _CLOCK_MS.sub(r"\1.\2", text.strip("[]").strip())
    if clock := _CLOCK.fullmatch(plain):
        second = float(clock[3].replace(",", "."))
        return int(clock[1] or 0) * 3600.0 + int(clock[2]) * 60.0 + second
    dated = _CLOCK_DATE.fullmatch(plain) or _DATE_CLOCK.fullmatch(plain) or _DATE.fullmatch(plain)
    if dated:
        found = dated.groupdict()
        return _dated(found.get("clock") or "0:00:00", int(found["first"]), int(found["second"]))
    if not re.match(r"\d{4}[-/]\d{2}[-/]\d{2}", plain):
        return None
    try:
        moment = datetime.fromisoformat(plain.replace(",", ".").replace("/", "-"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _dated(clock: str, first: int, second: int) -> float | None:
    time_s = seconds_of(clock)
    return None if time_s is None else (first + second) * _DAY_S + time_s


def without_midnight(times_s: FloatArray) -> FloatArray:
    """Let a clock of the day run on: a step back by a day, within a minute, is midnight."""
    steps = np.diff(times_s)
    back = np.flatnonzero((steps > -_DAY_S - 60.0) & (steps < -_DAY_S + 60.0))
    if not len(back):
        return times_s
    days = np.zeros(len(times_s))
    days[back + 1] = _DAY_S
    return times_s + np.cumsum(days)
