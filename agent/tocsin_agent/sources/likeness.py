"""Is this an ECG at all, and at its own rate? Spectrum, peaks and beats of the first seconds.

For what people have before them when they call `tocsin inspect`: a finding is a reason to look, and
decides nothing. The limits were set by hand on four windows of 10 s of up to 25 records each of
mitdb, svdb, vfdb, cudb, ludb and the challenges 2015 and 2017, so that none of these windows is
called no ECG. How often that happens in other records was not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tocsin_dsp.signal import FloatArray

_QRS_HZ, _WAVES_HZ = (8.0, 40.0), (0.7, 40.0)
_LEAST_QRS_SHARE = 0.002  # of the power: a pulse has less, fibrillation 0.0045 at least
_NOISE_SHARE, _SPIKES = 0.5, 10.0  # above 40 Hz; peak to peak, of the quartiles
_MAINS_HZ = (50.0, 60.0, 100.0, 120.0)
_REFRACTORY_S = 0.15
_FAST, _NARROW_S = 120.0, 0.020  # of an ECG whose stated rate is twice the true one
_SLOW, _WIDE_S = 48.0, 0.045  # of one whose stated rate is half of it


class Beats(NamedTuple):
    """Rate and median width at half height of the peaks of one lead."""

    per_minute: float
    width_s: float


def no_ecg(values: FloatArray, rate_hz: float) -> str | None:
    """Say what a signal is that is no ECG; None for what may be one.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        The first seconds of one lead, in any unit.
    rate_hz : float
        Samples per second.
    """
    present = values[np.isfinite(values)]
    if len(present) < 5.0 * rate_hz or np.ptp(present) == 0.0:
        return None
    power = np.abs(np.fft.rfft((present - present.mean()) * np.hanning(len(present)))) ** 2
    hz = np.fft.rfftfreq(len(present), 1.0 / rate_hz)
    for mains in _MAINS_HZ:
        power[np.abs(hz - mains) < 2.0] = 0.0
    waves = float(power[(hz > _WAVES_HZ[0]) & (hz < _WAVES_HZ[1])].sum())
    qrs = float(power[(hz > _QRS_HZ[0]) & (hz < _QRS_HZ[1])].sum())
    total = float(power[hz > _WAVES_HZ[0]].sum())
    if not total > 0.0 or (waves > 0.5 * total and qrs < _LEAST_QRS_SHARE * waves):
        return "it has no QRS: it looks like a pulse, a pressure or breathing"
    steep = _steep(present, rate_hz)
    low, q25, q75, high = np.quantile(steep, [0.002, 0.25, 0.75, 0.998])
    if float(power[hz > _WAVES_HZ[1]].sum()) > _NOISE_SHARE * total and (
        high - low < _SPIKES * (q75 - q25)
    ):
        return "it is noise without beats"
    return None


def peaks(values: FloatArray, rate_hz: float) -> Beats | None:
    """Return rate and width of the peaks of one lead; None with fewer than three."""
    present = values[np.isfinite(values)]
    if len(present) < 5.0 * rate_hz:
        return None
    steep = np.abs(_steep(present, rate_hz))
    high = np.flatnonzero(steep > 0.5 * np.quantile(steep, 0.998))
    found, widths, at = [], [], 0
    while at < len(high):
        first = int(high[at])
        stop = first + round(_REFRACTORY_S * rate_hz)
        peak = first + int(np.argmax(steep[first:stop]))
        below = np.flatnonzero(steep < steep[peak] / 2)
        after = int(np.searchsorted(below, peak))
        if 0 < after < len(below):
            found.append(peak)
            widths.append((int(below[after]) - int(below[after - 1])) / rate_hz)
        at = int(np.searchsorted(high, peak + round(_REFRACTORY_S * rate_hz)))
    if len(found) < 3:
        return None
    seconds = (found[-1] - found[0]) / rate_hz
    return Beats(60.0 * (len(found) - 1) / seconds, float(np.median(widths)))


def wrong_rate(leads: Sequence[FloatArray], rate_hz: float) -> str | None:
    """Say whether the beats of all leads are too narrow and fast for their rate, or the opposite.

    Parameters
    ----------
    leads : sequence of ndarray of float64, shape (n,)
        The first seconds of the leads that may be an ECG.
    rate_hz : float
        Samples per second, as stated.
    """
    found = [beats for lead in leads if (beats := peaks(lead, rate_hz)) is not None]
    if not found:
        return None
    per_minute = [beats.per_minute for beats in found]
    width_s = [beats.width_s for beats in found]
    width_ms = 1000.0 * np.median(width_s)
    shown = f"{np.median(per_minute):.0f} beats/min with peaks of {width_ms:.0f} ms"
    if min(per_minute) > _FAST and max(width_s) < _NARROW_S:
        return f"{shown}: is the rate of {rate_hz:g} Hz too high?"
    if max(per_minute) < _SLOW and min(width_s) > _WIDE_S:
        return f"{shown}: is the rate of {rate_hz:g} Hz too low?"
    return None


def _steep(values: FloatArray, rate_hz: float) -> FloatArray:
    """Subtract a moving mean of 0.4 s."""
    rows = max(3, round(0.4 * rate_hz))
    padded = np.pad(values, (rows // 2, rows - rows // 2), mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    steep: FloatArray = values - ((total[rows:] - total[:-rows]) / rows)[: len(values)]
    return steep
