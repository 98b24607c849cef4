"""Candidates for QRS complexes: the maxima of the envelope of the QRS band, in all leads at once.

The QRS is where the 8-20 Hz energy is (Thakor et al., IEEE Trans. Biomed. Eng. 31:702, 1984). Its
rectified, smoothed envelope has one local maximum per beat. This module finds the maxima that stand
out from those around them, and the R peak and the steepest slope near each;
`tocsin_dsp.detection.qrs` decides which of them are beats. Between the beats the envelope measures
the noise of a lead (`tocsin_dsp.detection.support`): its level in each half second is computed here
too.

The leads are the rows of one array, so that short blocks of many leads cost little more than those
of one.

What comes out of the resampler with the shape of a single impulse was shorter than 20 ms, and no
QRS: `PULSE`, above every beat of DS1 and svdb, in any lead (at most 0.986). IEC 60601-2-27 asks a
monitor to reject 1 mV of 10 ms.

Latency: `DELAY` samples of the filters, 0.11 s. A maximum is reported up to three times: when
`EARLY`, when `CLOSE` and when `CONFIRM` samples and one more after it are known.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, response
from tocsin_dsp.detection.shapes import SCOPE, Candidate
from tocsin_dsp.exact import on_coefficient_grid
from tocsin_dsp.fir import Fir, bandpass
from tocsin_dsp.kernels.maxima import CONFIRM, REACH, found
from tocsin_dsp.signal import FloatArray

_RATE = ANALYSIS_RATE_HZ
BAND = bandpass(8 / _RATE, 20 / _RATE, 31)
SMOOTH = on_coefficient_grid(np.hanning(27)[1:-1] / np.hanning(27).sum(), total=1.0)
BAND_DELAY, SMOOTH_DELAY = (len(BAND) - 1) // 2, (len(SMOOTH) - 1) // 2
DELAY = BAND_DELAY + SMOOTH_DELAY

# Times in analysis samples (4 ms); further ones in `tocsin_dsp.kernels.maxima`.
KNOWN = CONFIRM + 2  # after so many samples from its peak on a candidate has been judged
HISTORY = KNOWN + DELAY + SCOPE + 8  # samples kept behind the newest
PULSE = 0.988  # correlation of its steps with those of an impulse from which it is a pulse
HOP = _RATE // 2  # the level between the beats is measured in half seconds on an absolute grid
STEP = 5  # from every fifth sample of the envelope


def _pulse_steps() -> FloatArray:
    """Return the steps of an impulse around its peak, power 1, shape (shifts, 2 * REACH)."""
    shifts = np.arange(-6, 7) / 4  # the R peak is found within some samples of the true one
    times = np.arange(-REACH, REACH + 1) - shifts[:, None]
    steps = np.diff(response(times / _RATE), axis=1)
    steps /= np.sqrt((steps * steps).sum(axis=1, keepdims=True))
    return np.array([on_coefficient_grid(of_shift, total=0.0) for of_shift in steps])


_PULSES = _pulse_steps().T.copy()


class LeadCandidates(NamedTuple):
    """New candidates and noise levels of one lead; indices are analysis samples.

    `lead` holds the newest samples and `HISTORY` samples before them; its first has the index
    `start`. `candidates` are in the order in which they become known; only those reported after
    `CONFIRM` include some that are not dominant. `levels` are pairs for each completed half second:
    the index at which it is known, and the level between the beats in it, mV.
    """

    start: int
    lead: FloatArray
    candidates: list[Candidate]
    levels: list[tuple[int, float]]


class CandidateFinder:
    """Filter all leads; find and measure the candidates in each.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self._leads = leads
        self._band, self._smooth = Fir(BAND), Fir(SMOOTH)
        self.skip_to(0)

    def skip_to(self, next_index: int) -> None:
        """Go on after a gap; the next sample has this analysis index."""
        self._next = next_index
        # Before `_next`: the leads, their rectified QRS band, and its envelope.
        self._kept = np.full((3, self._leads, HISTORY), np.nan)

    def push(self, x: FloatArray) -> list[LeadCandidates]:
        """Accept analysis samples, shape (n, leads), mV; return the new candidates of each lead."""
        n, start = len(x), self._next - HISTORY
        known = np.empty((3, self._leads, HISTORY + n))
        known[:, :, :HISTORY] = self._kept
        lead, energy, envelope = known
        lead[:, HISTORY:] = x.T
        band = self._band.of(lead[:, HISTORY - 2 * BAND_DELAY :])
        np.abs(band, out=energy[:, HISTORY:])
        envelope[:, HISTORY:] = self._smooth.of(energy[:, HISTORY - 2 * SMOOTH_DELAY :])
        self._kept = known[:, :, n:]
        self._next += n
        by_lead = zip(lead, _candidates(known, start), _levels(envelope, start), strict=True)
        return [LeadCandidates(start, *of_lead) for of_lead in by_lead]


def _levels(envelope: FloatArray, start: int) -> list[list[tuple[int, float]]]:
    """Return the level between the beats in each half second that the newest samples complete."""
    leads, length = envelope.shape
    first = (start + HISTORY) // HOP * HOP
    stops = range(first + HOP, start + length + 1, HOP)
    if not stops:
        return [[] for _ in range(leads)]
    halves = envelope[:, first - start : stops[-1] - start].reshape(leads, -1, HOP)
    ordered = np.sort(halves[:, :, STEP // 2 :: STEP], axis=2)
    medians = ordered[:, :, ordered.shape[2] // 2]
    medians[np.isnan(ordered[:, :, -1])] = 0.0  # samples are missing
    return [list(zip(stops, lead, strict=True)) for lead in medians.tolist()]


def _candidates(known: FloatArray, start: int) -> list[list[Candidate]]:
    """Find and measure the maxima that the newest samples show to stand out."""
    _, leads, length = known.shape
    column, *measured, steps = found(known, length - HISTORY, start, SMOOTH_DELAY, DELAY)
    if len(column) == 0:
        return [[] for _ in range(leads)]
    power = np.add.reduce(steps * steps, axis=1)
    likeness = np.maximum.reduce(np.abs(steps.dot(_PULSES)), axis=1)
    pulse = likeness**2 > PULSE * PULSE * power  # false for NaN
    candidates = list(map(Candidate, *[x.tolist() for x in (*measured, power)], steps))
    if np.logical_or.reduce(pulse):
        kept = (~pulse).nonzero()[0].tolist()
        candidates, column = [candidates[i] for i in kept], column[kept]
    bounds = column.searchsorted(np.arange(leads + 1)).tolist()
    return [candidates[first:stop] for first, stop in pairwise(bounds)]
