"""Wave delineation: onset and end of P, QRS and T in the beats of a lead, and the ST level.

The QRS ends, on either side, where the slope first stays below a share of the QRS's own steepest
slope, as in Laguna et al. (Comput. Biomed. Res. 27:45, 1994); the limit rises with the slopes
before the beat, so that noise and flutter waves do not lengthen it. A P or a T wave is the bump
that stands out most from both its sides, and its foot is where the trapezium of its steepest flank,
the foot and a point beyond is largest (Vázquez-Seisdedos et al., BioMed. Eng. OnLine 10:43, 2011):
an area, which noise and drift change little. Whether the bump before a QRS is a P wave depends on
how far it stands out and on its similarity to the bumps before the last beats: fibrillating atria
make bumps too, but each time a different one.

All operations are elementwise over a batch of beats; every sum is of samples on the grid of
`tocsin_dsp.exact` or of small integers, and therefore exact in any order: a batch gives the same
results as its beats one by one.

Latency: `AFTER` samples (0.36 s) after R for P, QRS and ST; a T wave is reported with the next
beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.arrays import windows
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

IntArray = NDArray[np.int64]

_RATE = ANALYSIS_RATE_HZ
# Lengths are analysis samples (4 ms) where nothing else is said.
BEFORE = 84  # before R in the window in which QRS and ST are measured
AFTER = 90  # after R in it
LONGEST_RR_WITH_T = 3 * _RATE  # the T wave before a later beat is not delineated
P_SCORE = 0.5  # score from which there is a P wave

_SLOPE = 3  # on either side of a sample, between which its slope is measured
_REACH = 77  # greatest distance of onset and end of the QRS from R
_CORE = 20  # greatest distance of its steepest slope from R
_ST = 15  # from J to J + 60 ms
_ISO = 4  # from the isoelectric level to the onset of the QRS

# The middle of a bump is sought at *places*.
_PLACES = 94  # their number
_P_FIRST = -97  # first place of a P wave, from R; the next ones are a sample apart
_T_STEP = 2  # distance of the places of a T wave; the first is the R before
_MIDDLE = 4  # places on either side of the middle that make the bump
_NEAR_SIDE = 7  # first place from the middle of what it is compared with
_FAR_SIDE = 12  # last place of that
_PAD = _FAR_SIDE + 1  # places added on either side
_FOOT = 26  # places beyond the middle in which the foot of a wave is sought

_LIKE = slice(32, 92)  # places compared between beats: R - 0.26 s to R - 0.02 s
_LIKE_BEATS = 4  # last beats with which a beat is compared
_LEVELS = 2048.0  # steps of a bump: so few that products are small integers
_TYPICAL = 0.5  # weight of the bumps of the last beats in the search for a P wave
_FIRST_LIKENESS = 0.6  # likeness where there is no beat before

_TINY = 1e-9
_BATCH = 96  # beats in a batch
_BACK = np.arange(_LIKE_BEATS)
_THREE = np.arange(-1, 2)
_INWARD = np.array(((1,), (-1,)))
_WINDOW = np.arange(-BEFORE, AFTER)
_PLACE = np.arange(_PLACES, dtype=np.float64)
_PADDED = np.arange(-_PAD, _PLACES + _PAD, dtype=np.float64)
_AROUND = np.arange(-_FOOT, _FOOT + 1) + _PAD
_OUT = np.arange(_FOOT + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class WaveDesign:
    """The delineator's constants; times in analysis samples (4 ms).

    Chosen on the odd records of ludb alone.
    """

    share: float = 0.065  # share of the steepest slope that limits the QRS
    noise_share: float = 0.6  # share of the mean slope before the beat that is added to it
    onset_shift: float = -1.8  # from the first quiet sample to the onset as annotators mark it
    end_shift: float = 0.3  # the same for the end

    p_after: float = 85.0  # earliest P wave after the last R, over the root of RR in seconds
    p_gap: float = 25.0  # typical distance from the middle of a P wave to the QRS
    p_gap_least: float = 11.0  # smallest such distance
    p_reach: float = 12.0  # from the steepest flank of a P wave to the point beyond its foot
    p_onset_shift: float = -0.5  # from the foot to the onset as annotators mark it
    p_end_shift: float = -1.8  # the same for the end

    p_base: float = 0.2  # constant term of the score
    p_like: float = 5.6  # weight of the likeness to the last beats
    p_noise: float = -2.8  # weight of the slopes elsewhere over the bump
    p_off: float = -0.019  # weight of the distance from the typical gap
    p_wide: float = 0.145  # weight of the onset of the QRS: a P wave seldom precedes a wide QRS

    t_share: float = 0.62  # share of the RR interval by which a T wave is over
    t_reach: float = 20.0  # from the steepest flank of a T wave to the point beyond its foot
    t_least: float = 0.01  # share of the steepest slope by which a T wave stands out
    t_onset_shift: float = 0.0  # from the foot to the onset as annotators mark it
    t_end_shift: float = -1.0  # the same for the end


class Waves(NamedTuple):
    """The waves of one beat. Positions are analysis indices; absent or unknown ones are NaN.

    `p_score` (0 to 1) is the evidence for a P wave; from `P_SCORE` on there is one. `p_likeness`
    (-1 to 1) is the correlation of the bump before this QRS with those before the last beats, and
    `p_amplitude_mv` how far it stands out, both whether it is a P wave or not. `st_mv` is the level
    60 ms after the QRS against that just before it. The previous beat's T wave is reported with
    this beat, since only now it is known to be over.
    """

    p_onset: float
    p_peak: float
    p_end: float
    qrs_onset: float
    qrs_end: float
    p_score: float
    p_likeness: float
    p_amplitude_mv: float
    st_mv: float
    previous_t_onset: float
    previous_t_peak: float
    previous_t_end: float
    previous_qt_s: float

    @property
    def qrs_s(self) -> float:
        """Width of the QRS, s."""
        return (self.qrs_end - self.qrs_onset) / _RATE

    @property
    def pr_s(self) -> float:
        """From the onset of the P wave to that of the QRS, s; NaN where there is no P wave."""
        return (self.qrs_onset - self.p_onset) / _RATE


class _Qrs(NamedTuple):
    found: NDArray[np.bool_]
    onset: FloatArray  # samples from R
    end: FloatArray  # samples from R
    steepest: FloatArray  # slope, mV over 2 * _SLOPE samples
    st_mv: FloatArray


UNKNOWN = Waves(*[np.nan] * len(Waves._fields))
"""The waves of a beat that was not delineated."""


class Delineator:
    """Delineate the beats of a patient, in order, in batches of any size.

    Parameters
    ----------
    design : WaveDesign, optional
    """

    def __init__(self, design: WaveDesign | None = None) -> None:
        self.design = design or WaveDesign()
        self.skip()

    def skip(self) -> None:
        """Begin, or continue after a gap: the next beat has no beat before it."""
        self._before = np.full((5, 1), np.nan)  # of the last beat: R, RR, QRS onset and end, lead
        self._shapes = np.zeros((_LIKE_BEATS, _PLACES))
        self._shape_leads = np.full(_LIKE_BEATS, -1)

    def push(self, x: FloatArray, start: int, r_index: IntArray, lead: IntArray) -> list[Waves]:
        """Delineate the next beats.

        Parameters
        ----------
        x : ndarray of float64, shape (n, leads)
            Analysis samples on the sample grid, mV, NaN where missing, from `LONGEST_RR_WITH_T`
            before the first beat.
        start : int
            Analysis index of the first of them.
        r_index : ndarray of int64, shape (beats,)
            The R peaks, rising, each with `AFTER` samples behind it.
        lead : ndarray of int64, shape (beats,)
            The column of each beat's lead.
        """
        waves: list[Waves] = []
        for k in range(0, len(r_index), _BATCH):  # fits the processor's cache
            batch = slice(k, k + _BATCH)
            waves += self._delineate(x, start, r_index[batch], lead[batch])
        return waves

    def _delineate(
        self, x: FloatArray, start: int, r_index: IntArray, lead: IntArray
    ) -> list[Waves]:
        d, n = self.design, len(r_index)
        r = r_index.astype(np.float64)
        qrs = self._qrs(x, r_index - start, lead)
        chain = np.array((r, r, np.where(qrs.found, qrs.onset + r, np.nan), qrs.end + r, lead))
        chain = np.concatenate((self._before, chain), axis=1)
        rr = chain[0, 1:] - chain[0, :-1]
        chain[1, 1:] = rr
        before, self._before = chain[:, :-1], chain[:, -1:]
        follows = (before[4] == lead) & np.isfinite(before[2])
        follows &= (rr > 60) & (rr < LONGEST_RR_WITH_T)

        # The rows of the P waves, then those of the T waves before them.
        first, last = self._spans(rr, before, qrs, follows)
        at = np.minimum(np.maximum(_PADDED, first[:, None]), last[:, None])
        at[n:] *= _T_STEP
        at += (np.concatenate((r + _P_FIRST, np.where(follows, before[0], r))) - start)[:, None]
        y = _taken(x, at.astype(np.int64), np.concatenate((lead, lead)))
        known = np.isfinite(np.add.reduce(y, axis=1))
        y[~known] = 0.0

        total = y.cumsum(axis=1)
        bump = _bump(total)
        inside = (first[:, None] + 3 <= _PLACE) & (last[:, None] - 3 >= _PLACE)
        gap = (last[:n, None] - d.p_gap) - _PLACE  # PR against the typical one
        inside[:n] &= gap >= d.p_gap_least - d.p_gap
        bump[~inside] = 0.0
        standing = np.abs(bump)
        tallest = np.maximum.reduce(standing[:n], axis=1)[:, None]
        shape = np.rint(bump[:n] * (_LEVELS / np.maximum(tallest, _TINY)))
        likeness, typical = self._likeness(shape, lead)
        standing[:n] = np.abs(shape + _TYPICAL * typical) / (1.0 + (gap / d.p_gap) ** 2)
        middle = standing.argmax(axis=1)
        row = np.arange(2 * n)
        height = bump[row, middle]
        size = np.abs(height)
        reach = np.array((d.p_reach,) * n + (d.t_reach / _T_STEP,) * n)
        left, right = _feet(total, middle, height, (middle - first, last - middle), reach)
        away = inside[:n] & (np.abs(_PLACE - middle[:n, None]) > _PAD)
        slope = np.abs(y[:n, _PAD + 3 : _PAD + 3 + _PLACES] - y[:n, _PAD - 3 : _PAD - 3 + _PLACES])
        rest = np.add.reduce(np.where(away, slope, 0.0), axis=1) / np.maximum(
            np.add.reduce(away, axis=1), 1
        )
        evidence = (
            d.p_base
            + d.p_like * likeness
            + d.p_noise * rest / np.maximum(size[:n] + rest, _TINY)
            + d.p_off * np.minimum(np.abs(gap[row[:n], middle[:n]]), 30.0)
            + d.p_wide * qrs.onset
        )
        score = 0.5 + 0.5 * evidence / np.sqrt(1.0 + evidence * evidence)

        bumpy = qrs.found & known[:n] & (size[:n] > 0)
        p = bumpy & (score >= P_SCORE)
        t = follows & known[n:] & (size[n:] > d.t_least * qrs.steepest)
        p_at = r + _P_FIRST + middle[:n]
        t_at = before[0] + _T_STEP * middle[n:]
        t_end = t_at + _T_STEP * right[n:] + d.t_end_shift
        value = np.array(
            (
                p_at - left[:n] + d.p_onset_shift,
                p_at,
                p_at + right[:n] + d.p_end_shift,
                r + qrs.onset,
                r + qrs.end,
                score,
                likeness,
                size[:n],
                qrs.st_mv,
                t_at - _T_STEP * left[n:] + d.t_onset_shift,
                t_at,
                t_end,
                (t_end - before[2]) / _RATE,
            )
        )
        qrs_ok = qrs.found
        valid = np.array((p, p, p, qrs_ok, qrs_ok, bumpy, bumpy, bumpy, qrs_ok, t, t, t, t))
        value[~valid] = np.nan
        return [Waves(*beat) for beat in value.T.tolist()]

    def _spans(
        self, rr: FloatArray, before: FloatArray, qrs: _Qrs, follows: NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray]:
        """Return the first and last place of each P wave, then of each T wave.

        A P wave lies between the QRS and the T wave of the beat before, once that is over or falls
        so evenly that it makes no bump; a T wave lies between that beat's QRS and this beat's P
        wave.
        """
        d = self.design
        p_last = np.where(qrs.found, np.floor(qrs.onset), -12.0) - _P_FIRST
        p_first = np.ceil(np.fmax(d.p_after * np.sqrt(rr / _RATE) - rr - _P_FIRST, -3.0))
        p_first = np.minimum(p_first, p_last - 16)
        t_last = np.minimum(np.maximum(d.t_share * np.fmin(rr, before[1]), 70.0) + 10, rr - 25)
        t_last = np.where(follows, np.minimum(np.floor(t_last / _T_STEP), 75.0), 40.0)
        t_first = np.ceil((before[3] - before[0] + 4) / _T_STEP)
        t_first = np.where(follows, np.minimum(t_first, t_last - 6), 10.0)
        return np.concatenate((p_first, t_first)), np.concatenate((p_last, t_last))

    def _qrs(self, x: FloatArray, r: IntArray, lead: IntArray) -> _Qrs:
        d = self.design
        if r[0] >= BEFORE and r[-1] <= len(x) - AFTER:
            w = windows(x, BEFORE + AFTER)[r - BEFORE, lead]
        else:
            w = _taken(x, r[:, None] + _WINDOW, lead)
        found = np.isfinite(np.add.reduce(w, axis=1))
        w[~found] = 0.0
        slope = np.abs(w[:, 2 * _SLOPE :] - w[:, : -2 * _SLOPE])
        at_r = BEFORE - _SLOPE  # column of R
        steepest = np.maximum.reduce(slope[:, at_r - _CORE : at_r + _CORE], axis=1)
        noise = np.add.reduce(slope[:, at_r - 60 : at_r - 20], axis=1) / 40
        limit = np.minimum(d.share * steepest + d.noise_share * noise, 0.5 * steepest)
        quiet = slope <= limit[:, None]
        quiet = quiet[:, :-2] & quiet[:, 1:-1] & quiet[:, 2:]  # column c: from c to c + 2
        back = quiet[:, at_r - _REACH - 2 : at_r - 5][:, ::-1]
        on = quiet[:, at_r + 2 : at_r + _REACH]
        edge = np.array((at_r - 4 - back.argmax(axis=1), at_r + 2 + on.argmax(axis=1)))
        found &= (steepest > 0) & _any(back) & _any(on)
        # Interpolate between the last quiet sample and the next, where the slope crosses the limit.
        row = np.arange(len(w))
        low = slope[row, edge]
        rise = np.maximum(slope[row, edge + _INWARD] - low, _TINY)
        cross = edge + _INWARD * np.minimum(np.maximum((limit - low) / rise, 0.0), 1.0) - at_r
        onset, end = cross[0] + d.onset_shift, cross[1] + d.end_shift
        j60 = np.minimum(np.rint(end).astype(np.int64) + _ST, AFTER - 2) + BEFORE
        level = np.rint(onset).astype(np.int64) - _ISO + BEFORE
        three = np.concatenate((j60[:, None] + _THREE, level[:, None] + _THREE), axis=1)
        three = np.minimum(np.maximum(three, 0), BEFORE + AFTER - 1)
        near = w[row[:, None], three]
        st = (np.add.reduce(near[:, :3], axis=1) - np.add.reduce(near[:, 3:], axis=1)) / 3
        return _Qrs(found, onset, end, steepest, st)

    def _likeness(self, shape: FloatArray, lead: IntArray) -> tuple[FloatArray, FloatArray]:
        """Compare each row with those of the last beats in its lead.

        Returns
        -------
        likeness : ndarray of float64, shape (n,)
            The mean correlation with them.
        typical : ndarray of float64, same shape as `shape`
            Their mean; missing beats count as zero.
        """
        rows = np.concatenate((self._shapes, shape))
        leads = np.concatenate((self._shape_leads, lead))
        self._shapes, self._shape_leads = rows[len(shape) :], leads[len(shape) :]
        at = np.arange(len(shape))[:, None] + _BACK
        others = rows[at]  # (n, beats before, places)
        others *= (leads[at] == lead[:, None])[:, :, None]
        cut, own = others[:, :, _LIKE], shape[:, _LIKE]
        both = np.add.reduce(cut * cut, axis=2) * np.add.reduce(own * own, axis=1)[:, None]
        alike = np.add.reduce(cut * own[:, None], axis=2) / np.sqrt(np.maximum(both, 1.0))
        count = np.add.reduce(both > 0, axis=1)
        total = alike[:, 0] + alike[:, 1] + alike[:, 2] + alike[:, 3]
        likeness = np.where(count > 0, total / np.maximum(count, 1), _FIRST_LIKENESS)
        return likeness, np.add.reduce(others, axis=1) / _LIKE_BEATS


def _any(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return of each row whether any is true; the ufunc costs half of the method."""
    found: NDArray[np.bool_] = np.logical_or.reduce(rows, axis=1)
    return found


def _taken(x: FloatArray, at: IntArray, lead: IntArray) -> FloatArray:
    """Return the samples at rows `at` (beats, n) of each beat's lead, NaN outside of `x`."""
    rows, leads = x.shape
    if at.min() >= 0 and at.max() < rows:
        return np.asarray(x.take(at * leads + lead[:, None]))
    inside = (at >= 0) & (at < rows)
    return np.where(inside, x.take(np.where(inside, at, 0) * leads + lead[:, None]), np.nan)


def _bump(total: FloatArray) -> FloatArray:
    """Return how far each place stands out from both its sides, mV; `total` is the running sum."""

    def span(low: int, high: int) -> FloatArray:
        at = _PAD + high
        return total[:, at : at + _PLACES] - total[:, at - high + low - 1 :][:, :_PLACES]

    sides = span(-_FAR_SIDE, -_NEAR_SIDE) + span(_NEAR_SIDE, _FAR_SIDE)
    width = _FAR_SIDE - _NEAR_SIDE + 1
    return span(-_MIDDLE, _MIDDLE) / (2 * _MIDDLE + 1) - sides / (2 * width)


def _feet(
    total: FloatArray,
    middle: IntArray,
    height: FloatArray,
    room: tuple[FloatArray, FloatArray],
    reach: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the distance of the left and right foot of each wave from its middle, in places.

    The foot is where the trapezium of the steepest flank, the foot and a point `reach` beyond the
    flank is largest; it lies within the room on its side.
    """
    n = len(total)
    at = middle[:, None] + _AROUND
    at = np.minimum(np.maximum(at, 3), total.shape[1] - 3)
    at += np.arange(n)[:, None] * total.shape[1]
    z = total.take(at + 2) - total.take(at - 3)  # sums of five places
    z *= np.sign(height)[:, None]  # upright
    z = np.concatenate((z[:, _FOOT::-1], z[:, _FOOT:]))  # outward from the middle
    far = np.maximum(np.concatenate(room), 4.0)[:, None]
    fall = z[:, :-4] - z[:, 4:]
    fall[far < _OUT[2:-2]] = -np.inf
    flank = fall.argmax(axis=1) + 2
    high = z[np.arange(2 * n), flank]
    flank_at = flank[:, None].astype(np.float64)
    beyond = np.maximum(
        np.minimum(flank_at + np.concatenate((reach, reach))[:, None], far), flank_at + 1
    )
    area = (2 * beyond - flank_at) - _OUT
    area *= high[:, None] - z
    area[(flank_at > _OUT) | (beyond < _OUT)] = -np.inf
    foot = area.argmax(axis=1).astype(np.float64)
    return foot[:n], foot[n:]
