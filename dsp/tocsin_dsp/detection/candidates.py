"""Candidates for QRS complexes: the maxima of the envelope of the QRS band, in all leads at once.

The QRS is where the 8-20 Hz energy is (Thakor et al., IEEE Trans. Biomed. Eng. 31:702, 1984). Its
rectified, smoothed envelope has one local maximum per beat. This module finds its maxima,
`tocsin_dsp.detection.maxima` tells which of them stand out from those around them, and
`tocsin_dsp.detection.qrs` decides which of these are beats, by the R peak and the steepest slope
near each where it needs them. Between the beats the envelope measures
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

from math import isnan
from typing import NamedTuple

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, response
from tocsin_dsp.detection.maxima import CONFIRM, Maxima, StandingOut
from tocsin_dsp.detection.shapes import SCOPE, Candidate
from tocsin_dsp.exact import on_coefficient_grid
from tocsin_dsp.fir import Fir, bandpass
from tocsin_dsp.signal import FloatArray

_RATE = ANALYSIS_RATE_HZ
BAND = bandpass(8 / _RATE, 20 / _RATE, 31)
SMOOTH = on_coefficient_grid(np.hanning(27)[1:-1] / np.hanning(27).sum(), total=1.0)
BAND_DELAY, SMOOTH_DELAY = (len(BAND) - 1) // 2, (len(SMOOTH) - 1) // 2
DELAY = BAND_DELAY + SMOOTH_DELAY

# Times in analysis samples (4 ms); further ones in `tocsin_dsp.detection.maxima`.
REACH = 18  # 72 ms, greatest distance between the envelope's peak and the R peak
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
_ZERO = np.array(0.0)


class _Measured(NamedTuple):
    """A lead near a maximum of its envelope, as in `Candidate`."""

    r_index: int
    power: float
    slope: float
    steps: FloatArray
    is_pulse: bool


class LeadCandidates(NamedTuple):
    """What stands out in one lead, and noise levels; indices are analysis samples.

    `lead` holds the newest samples and `HISTORY` samples before them, `energy` its rectified QRS
    band; their first has the index `start`. `maxima` are in the order in which they become known;
    only those reported after `CONFIRM` include some that are not dominant. `levels` are pairs for
    each completed half second: the index at which it is known, and the level between the beats in
    it, mV. `known` keeps what was measured, by the index of the maximum, from block to block.
    """

    start: int
    lead: FloatArray
    energy: FloatArray
    maxima: list[StandingOut]
    levels: list[tuple[int, float]]
    known: dict[int, _Measured]

    def measured(self, one: StandingOut) -> Candidate | None:
        """Measure the lead near one of the maxima; None if it is a pulse."""
        of_peak = self.known.get(one.peak)
        if of_peak is None:
            of_peak = self.known[one.peak] = self._measure(one.peak)
        r_index, power, slope, steps, is_pulse = of_peak
        if is_pulse:
            return None
        return Candidate(one.peak, one.level, one.dominant, slope, r_index, one.known, power, steps)

    def _measure(self, peak: int) -> _Measured:
        """Measure the lead; the R peak is where the energy is highest near the envelope's peak."""
        first = peak - SMOOTH_DELAY - REACH - self.start
        near = self.energy[first : first + 2 * REACH + 1]
        highest = int(np.fmax(near, _ZERO).argmax())  # missing samples count as zero energy
        r_index = peak - DELAY - REACH + highest
        first = r_index - REACH - self.start
        around = self.lead[first : first + 2 * REACH + 1]
        steps = around[1:] - around[:-1]
        power = float(np.add.reduce(steps * steps))
        sizes = np.fmax(np.abs(steps), _ZERO)
        slope = float(sizes[sizes.argmax()])
        likenesses = np.abs(steps.dot(_PULSES))
        likeness = float(likenesses[likenesses.argmax()])
        is_pulse = likeness * likeness > PULSE * PULSE * power  # false for NaN
        return _Measured(r_index, power, slope, steps, is_pulse)


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
        self._maxima = [Maxima() for _ in range(self._leads)]
        self._measured: list[dict[int, _Measured]] = [{} for _ in range(self._leads)]

    def push(self, x: FloatArray) -> list[LeadCandidates]:
        """Accept analysis samples, shape (n, leads), mV; return the new candidates of each lead."""
        n, start = len(x), self._next - HISTORY
        known = np.empty((3, self._leads, HISTORY + n))
        known[:, :, :HISTORY] = self._kept
        leads, energy, envelope = known
        leads[:, HISTORY:] = x.T
        band = self._band.of(leads[:, HISTORY - 2 * BAND_DELAY :])
        np.abs(band, out=energy[:, HISTORY:])
        envelope[:, HISTORY:] = self._smooth.of(energy[:, HISTORY - 2 * SMOOTH_DELAY :])
        self._kept = known[:, :, n:]
        self._next += n
        self._add_maxima(envelope[:, HISTORY - 2 :], self._next - n - 1)
        return list(map(self._of_lead, range(self._leads), leads, energy, _levels(envelope, start)))

    def _add_maxima(self, envelope: FloatArray, start: int) -> None:
        """Add the maxima between the first and the last sample; the second has this index."""
        inner = envelope[:, 1:-1]
        is_maximum = (inner > envelope[:, :-2]) & (inner >= envelope[:, 2:])  # not if one is NaN
        lead, place = is_maximum.nonzero()
        for i, at in zip(lead.tolist(), place.tolist(), strict=True):
            self._maxima[i].add(start + at, inner.item(i, at))

    def _of_lead(
        self, i: int, lead: FloatArray, energy: FloatArray, levels: list[tuple[int, float]]
    ) -> LeadCandidates:
        measured = self._measured[i]
        while measured and (first := next(iter(measured))) < self._next - HISTORY:
            del measured[first]  # it is asked for no more
        found = self._maxima[i].judge(self._next)
        return LeadCandidates(self._next - len(lead), lead, energy, found, levels, measured)


def _levels(envelope: FloatArray, start: int) -> list[list[tuple[int, float]]]:
    """Return the level between the beats in each half second that the newest samples complete."""
    leads, length = envelope.shape
    first = (start + HISTORY) // HOP * HOP
    stops = range(first + HOP, start + length + 1, HOP)
    if not stops:
        return [[] for _ in range(leads)]
    halves = envelope[:, first - start : stops[-1] - start].reshape(leads, -1, HOP)
    ordered = halves[:, :, STEP // 2 :: STEP].copy()
    ordered.sort(axis=2)
    middle, last = ordered[:, :, ordered.shape[2] // 2].tolist(), ordered[:, :, -1].tolist()
    return [
        [
            (stop, 0.0 if isnan(highest) else level)  # 0 where samples are missing
            for stop, level, highest in zip(stops, *of_lead, strict=True)
        ]
        for of_lead in zip(middle, last, strict=True)
    ]
