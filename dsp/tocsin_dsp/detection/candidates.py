"""What may be a QRS complex: the maxima of the envelope of its band, in all leads at once.

The QRS is where the 8-20 Hz energy is (Thakor et al., IEEE Trans. Biomed. Eng. 31:702, 1984). Its
rectified, smoothed envelope has a local maximum a beat. Which of the maxima stand out from those
around them is found here, with the R peak and the steepest slope near each; whether one is a beat
is decided in `tocsin_dsp.detection.qrs`. Between the beats the envelope tells how restless a lead is
(`tocsin_dsp.detection.support`): its level in each half second is taken here too.

The leads are the rows of one array, so that short blocks of many leads cost little more than those
of one.

Latency: `DELAY` samples of the filters, 0.11 s. A maximum is looked at three times: when `EARLY`
samples and one more after it are known, when `CLOSE` and one more are, and when `CONFIRM` and one
more are.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.shapes import SCOPE, Candidate
from tocsin_dsp.exact import on_coefficient_grid
from tocsin_dsp.fir import Fir, bandpass
from tocsin_dsp.signal import FloatArray, windows

_RATE = ANALYSIS_RATE_HZ
BAND = bandpass(8 / _RATE, 20 / _RATE, 31)
SMOOTH = on_coefficient_grid(np.hanning(27)[1:-1] / np.hanning(27).sum(), total=1.0)
BAND_DELAY, SMOOTH_DELAY = (len(BAND) - 1) // 2, (len(SMOOTH) - 1) // 2
REACH = 18  # 72 ms: as far from the envelope's peak the R peak is sought
CONFIRM = 55  # 220 ms: a candidate is the highest envelope peak so far on both sides
KNOWN = CONFIRM + 2  # so many samples from its peak on a candidate has been judged
EARLY = 12  # 48 ms: one that has the shape of the last beats need be the highest for no longer
CLOSE, PEER = 45, 1.15  # beyond 180 ms only a rival higher by this counts: 300 bpm is possible
LOCAL = 20  # 80 ms: in noise a candidate is the highest envelope peak so far on both sides
DWARFED = 0.2  # and no smaller a share of any within the time in which a beat is confirmed
DELAY = BAND_DELAY + SMOOTH_DELAY
HISTORY = KNOWN + DELAY + SCOPE + 8  # samples kept behind the newest
HOP = _RATE // 2  # the level between the beats is taken on an absolute grid of half seconds,
STEP = 5  # from every fifth sample of the envelope
_WIDTHS = (2, 4, 8, EARLY, LOCAL, 2 * LOCAL, CLOSE, CONFIRM)  # none more than twice the one before
_LOOKS = (CONFIRM, CLOSE, EARLY)
_WAITED = np.array(_LOOKS) + 1  # samples from a maximum until it is looked at


class Heard(NamedTuple):
    """What the newest samples of a lead let be known; indices are analysis samples.

    `lead` holds them and `HISTORY` samples before; its first has the index `start`. `candidates`
    come in the order in which they are known; only the last look gives such as do not dominate so
    far. `levels` are the level between the beats, mV, in each half second, and when it is known.
    """

    start: int
    lead: FloatArray
    candidates: list[Candidate]
    levels: list[tuple[int, float]]


class CandidateFinder:
    """Filter all leads, and find and measure what stands out in each.

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
        # Behind `_next`: the leads, their rectified band, and its envelope.
        self._kept = np.full((3, self._leads, HISTORY), np.nan)

    def push(self, x: FloatArray) -> list[Heard]:
        """Take analysis samples, shape (n, leads), mV; return what they tell, by lead."""
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
        told = zip(lead, _candidates(known, start), _levels(envelope, start), strict=True)
        return [Heard(start, *of_lead) for of_lead in told]


def _levels(envelope: FloatArray, start: int) -> list[list[tuple[int, float]]]:
    """Return the level between the beats in the half seconds that end with the newest samples."""
    leads, length = envelope.shape
    first = (start + HISTORY) // HOP * HOP
    stops = range(first + HOP, start + length + 1, HOP)
    if not stops:
        return [[] for _ in range(leads)]
    halves = envelope[:, first - start : stops[-1] - start].reshape(leads, -1, HOP)
    ordered = np.sort(halves[:, :, STEP // 2 :: STEP], axis=2)
    medians = ordered[:, :, ordered.shape[2] // 2]
    medians[np.isnan(ordered[:, :, -1])] = 0.0  # something is missing
    return [list(zip(stops, lead, strict=True)) for lead in medians.tolist()]


def _candidates(known: FloatArray, start: int) -> list[list[Candidate]]:
    """Find the maxima that are now known to stand out, and measure them.

    The R peak is where the band's energy is highest near the envelope's peak.
    """
    lead, energy, envelope = known.reshape(3, -1)  # one lead after the other
    _, leads, length = known.shape
    n = length - HISTORY
    shown, dominant = _standing_out(known[2, :, HISTORY - 2 * CONFIRM - 2 :], n)
    which = shown.ravel().nonzero()[0]
    if len(which) == 0:
        return [[] for _ in range(leads)]
    place, look = np.divmod(which, len(_LOOKS))  # among the newest samples, lead by lead
    column = place // n
    at = place + (column + 1) * HISTORY  # among all samples
    peak = at - _WAITED[look]
    # What is missing counts as no energy.
    near = np.fmax(windows(energy, 2 * REACH + 1)[peak - (SMOOTH_DELAY + REACH)], 0.0)
    r = peak + near.argmax(axis=1) - (REACH + DELAY)
    around = windows(lead, 2 * REACH + 1)[r - REACH]
    steps = around[:, 1:] - around[:, :-1]
    measured = (
        peak + (origin := start - column * length),
        envelope[peak],
        dominant.ravel()[which],
        np.fmax.reduce(np.abs(steps), axis=1),
        r + origin,
        at + (origin + 1),
        (steps * steps).sum(axis=1),
    )
    found = list(map(Candidate, *[values.tolist() for values in measured], steps))
    bounds = column.searchsorted(np.arange(leads + 1)).tolist()
    return [found[first:stop] for first, stop in pairwise(bounds)]


def _standing_out(e: FloatArray, n: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell at which of the newest n samples of the envelope a maximum is looked at and stands out.

    Parameters
    ----------
    e : ndarray of float64, shape (leads, 2 * CONFIRM + 2 + n)
        The newest samples, and those before. What is missing is no maximum and no rival.
    n : int

    Returns
    -------
    shown, dominant : ndarray of bool, shape (leads, n, looks)
        At each look, whether there is a maximum so far back that stands out, and whether it
        dominates.
    """
    inner = e[:, 1:-1]
    peaks = np.where((inner > e[:, :-2]) & (inner >= e[:, 2:]), inner, 0.0)
    highest, width, of = {}, 1, peaks
    for wider in _WIDTHS:  # highest[width][:, i] is that of peaks[:, i : i + width]
        of = np.maximum(of[:, : width - wider], of[:, wider - width :])
        highest[wider], width = of, wider

    def left(reach: int, first: int, stop: int) -> FloatArray:
        return highest[reach][:, first - reach : stop - reach]

    def right(reach: int, first: int, stop: int) -> FloatArray:
        return highest[reach][:, first + 1 : stop + 1]

    first, last = CONFIRM, 2 * CONFIRM - EARLY  # where the newest maxima of each look begin
    own = peaks[:, first : last + n]
    rises = left(CLOSE, first, last + n) < own
    rises &= left(CONFIRM, first, last + n) <= PEER * own
    dominant = np.empty((len(e), n, len(_LOOKS)), bool)
    for look, ahead in enumerate(_LOOKS):
        at = 2 * CONFIRM - ahead
        falls = right(min(ahead, CLOSE), at, at + n) <= peaks[:, at : at + n]
        np.logical_and(rises[:, at - first :][:, :n], falls, out=dominant[:, :, look])
    shown = dominant.copy()
    own, stop = own[:, :n], first + n
    dominant[:, :, 0] &= right(CONFIRM, first, stop) <= PEER * own
    rival = np.maximum(left(CONFIRM, first, stop), right(CONFIRM, first, stop))
    stands = left(LOCAL, first, stop) < own
    stands &= right(LOCAL, first, stop) <= own
    stands &= own >= DWARFED * rival
    shown[:, :, 0] = stands
    return shown, dominant
