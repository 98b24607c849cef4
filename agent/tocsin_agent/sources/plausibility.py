"""Is this an ECG at all? A look at the first seconds: amplitude, offset, spectrum, and each lead.

It names the mistakes that people make with units, gains and wires. It decides nothing: the monitor
reads the same samples whatever is found here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tocsin_agent.errors import SourceError
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_dsp.signal import FloatArray, StreamSpec

FIRST_S = 10.0
_LARGEST_MV, _SMALLEST_MV = 12.0, 0.05  # peak to peak, of what an ECG has beside its wander
_UPRIGHT = {"I", "II", "V4", "V5", "V6", "MLII"}  # leads whose QRS points upwards nearly always


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One thing that looks wrong.

    Parameters
    ----------
    code : str
        `implausible_signal` for what no ECG has, else `check_wiring`.
    lead : str
        The lead.
    text : str
        What was measured, and the likely cause.
    """

    code: str
    lead: str
    text: str


def first_seconds(source: Source, seconds: float = FIRST_S) -> FloatArray:
    """Read the first seconds of an open source; a gap is left out. May be shorter.

    Returns
    -------
    ndarray of float64, shape (n, leads)
        Millivolts.
    """
    parts: list[FloatArray] = []
    rows = 0
    wanted = round(seconds * source.spec.rate_hz)
    for _ in range(10_000):
        if rows >= wanted:
            break
        try:
            block = source.read(0.5)
        except (EndOfStream, SourceError):
            break
        if block is not None:
            parts.append(block.samples_mv)
            rows += len(block)
    if not parts:
        return np.empty((0, len(source.spec.leads)))
    return np.concatenate(parts)[:wanted]


def suspicions(spec: StreamSpec, samples_mv: FloatArray) -> list[Suspicion]:
    """Return what looks wrong in the first seconds of a stream, by lead.

    Parameters
    ----------
    spec : StreamSpec
        Leads and rate.
    samples_mv : ndarray of float64, shape (n, leads)
        The first seconds; two are the least that says anything.
    """
    found: list[Suspicion] = []
    if len(samples_mv) < 2 * spec.rate_hz:
        return found
    for column, lead in enumerate(spec.leads):
        found += _of_lead(spec, lead, samples_mv[:, column])
    return found


def height_mv(samples_mv: FloatArray, rate_hz: float) -> float:
    """Return the height of the ECG, peak to peak, without offset and wander; NaN if none."""
    present = samples_mv[np.isfinite(samples_mv)]
    if len(present) < rate_hz:
        return float("nan")
    low, high = np.quantile(_steep(present, rate_hz), [0.002, 0.998])
    return float(high - low)


def _steep(values: FloatArray, rate_hz: float) -> FloatArray:
    """Subtract a moving mean of 0.4 s."""
    rows = max(3, round(0.4 * rate_hz))
    padded = np.pad(values, (rows // 2, rows - rows // 2), mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    means = (total[rows:] - total[:-rows]) / rows
    steep: FloatArray = values - means[: len(values)]
    return steep


def _of_lead(spec: StreamSpec, lead: str, values: FloatArray) -> list[Suspicion]:
    present = values[np.isfinite(values)]
    if len(present) < spec.rate_hz:
        return [Suspicion("check_wiring", lead, "has no samples: is the electrode plugged in?")]
    if np.ptp(present) == 0.0:
        return [Suspicion("check_wiring", lead, "is flat: is the electrode plugged in?")]
    height = height_mv(values, spec.rate_hz)
    wrong = _amplitude(height, present)
    if wrong is not None:
        return [Suspicion("implausible_signal", lead, wrong)]
    return [*_hum(spec, lead, present), *_inverted(spec, lead, present)]


def _amplitude(height: float, present: FloatArray) -> str | None:
    offset = float(np.median(present))
    whole = bool((present == np.rint(present)).all())
    if height > _LARGEST_MV:
        size = f"{height:.4g} mV from peak to peak, which no ECG has"
        if whole or abs(offset) > 3 * height:
            return (
                f"{size}, around {offset:.4g}: this looks like counts of a converter read as mV; "
                f"give --unit counts --gain COUNTS_PER_MV --baseline {offset:.0f}"
            )
        if 0.1 <= height / 1000 <= _LARGEST_MV:
            return f"{size}: this looks like µV read as mV; give --unit uV"
        return f"{size}: the gain looks too small; give --unit counts --gain COUNTS_PER_MV"
    if height < _SMALLEST_MV and 0.1 <= height * 1000 <= _LARGEST_MV:
        return (
            f"{height:.2g} mV from peak to peak: this looks like V read as mV (give --unit V), or "
            "no electrode is connected"
        )
    return None


def _hum(spec: StreamSpec, lead: str, present: FloatArray) -> list[Suspicion]:
    """Find a line at 50 or 60 Hz that holds more than the ECG above 5 Hz does."""
    power = np.abs(np.fft.rfft(present * np.hanning(len(present)))) ** 2
    hz = np.fft.rfftfreq(len(present), 1.0 / spec.rate_hz)
    total = float(power[hz > 5.0].sum())
    for mains in (50.0, 60.0):
        if mains < spec.rate_hz / 2 and total > 0:
            line = float(power[np.abs(hz - mains) < 1.0].sum())
            if line > 0.5 * total:
                text = f"mains hum of {mains:.0f} Hz is stronger than the ECG: check the electrodes"
                return [Suspicion("check_wiring", lead, text)]
    return []


def _inverted(spec: StreamSpec, lead: str, present: FloatArray) -> list[Suspicion]:
    if lead.upper().removeprefix("LEAD ").strip() not in _UPRIGHT:
        return []
    low, high = np.quantile(_steep(present, spec.rate_hz), [0.002, 0.998])
    if -low < 2.0 * high:
        return []
    arms = " or the arm electrodes swapped" if lead.upper() == "I" else ""
    text = f"the QRS points downwards: the lead may be inverted{arms}"
    return [Suspicion("check_wiring", lead, text)]
