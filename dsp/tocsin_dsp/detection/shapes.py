"""The patient's own QRS shapes, and the log odds that a candidate is one of them.

Beats are sorted into groups of similar shape (the idea of Hamilton's beat groups, Computers in
Cardiology 29:101, 2002). A candidate is compared with them: at which shift which group fits best,
how much of the lead it then explains, and how large the candidate is. Logistic regression turns
these measures into the log odds of a beat. Its weights were fitted on DS1 of mitdb without 118
and 119, with noise of nstdb mixed in (`tocsin_training.shapes.fit`).

A new shape that recurs becomes a group of its own, so that a tachycardia is not treated as noise.

Latency: `SCOPE` samples after where the candidate should have its R peak.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tocsin_dsp.arrays import windows
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.fir import bandpass
from tocsin_dsp.signal import FloatArray

SHAPE_BAND = bandpass(4 / ANALYSIS_RATE_HZ, 35 / ANALYSIS_RATE_HZ, 51)
# Times in analysis samples (4 ms).
HALF = 30  # 120 ms of the band-passed lead on both sides of R make a shape
SHIFT = 15  # 60 ms, the best fit is sought within so much
REACH = HALF + (len(SHAPE_BAND) - 1) // 2  # part of the lead on either side in a remembered beat
SCOPE = REACH + SHIFT  # and in the weighing of a candidate

LIKE = 0.9  # correlation with a group from which a shape belongs to it
LEAST = 0.7  # smallest size over the group's at which it does
MOST = 1.4  # greatest size over the group's at which it does
FOLLOW = 12  # members over which a group's shape is averaged
SORTED = 12  # groups kept while sorting
USED = 4  # groups used, the largest
UNKNOWN_KEPT = 6  # last unknown shapes that are kept
UNKNOWN_ALIKE = 3  # so many of them alike become a new group
TALL = 0.3  # level over the group's from which an unknown shape counts
NEW_GROUP_SHARE = 0.1  # share of the beats that a new group is given
ODDS_LIMIT = 8.0  # of the absolute log odds

WEIGHTS = {  # measure: weight; logarithms are natural
    "one": -0.88,  # constant term
    "level": -0.69,  # log of its envelope over the group's
    "like": -1.64,  # correlation with the group
    "like3": -2.54,  # cube of the correlation
    "gained": 3.35,  # log of its power over the power that the group leaves unexplained
    "rest_noise": -0.51,  # log of the unexplained over the group's power, times log of the noise
    "size": 0.82,  # log of its amplitude over the group's
    "size2": 0.22,  # square of that
    "share": 0.97,  # the group's share of the beats
    "dominant_noise": -0.58,  # log of the noise where no higher candidate is near, else 0
}
_WEIGHTS = tuple(WEIGHTS.values())


class Remembered(NamedTuple):
    """A beat: the lead around R, shape (2 * REACH + 1,), its envelope level, the RR before it.

    The level is in mV; the RR interval in analysis samples, None where it is not known.
    """

    window: FloatArray
    level: float
    rr: int | None


class Candidate(NamedTuple):
    """A maximum of the envelope; indices are analysis samples.

    It is reported as soon as the first `known` samples of the stream are there. `level` is in mV.
    `dominant` states that no higher maximum lies within the time in which a beat is confirmed, as
    far as that is known by then. `steps` are the differences between samples of the lead around R,
    NaN where missing, `power` is the sum of their squares and `slope` the steepest of them.
    """

    peak: int
    level: float
    dominant: bool
    slope: float
    r_index: int
    known: int
    power: float
    steps: FloatArray


class Weighed(NamedTuple):
    """A candidate at its best fit, with the log odds that it is a beat."""

    r_index: int
    peak: int
    level: float
    strength: float  # level over the typical level of its group
    odds: float


@dataclass(slots=True, eq=False)
class _Group:
    shape: FloatArray
    norm: float
    members: float
    level: float


def log_odds(measures: tuple[float, ...]) -> float:
    """Return the log odds of a beat; measures in the order of `WEIGHTS`."""
    odds = sum(w * m for w, m in zip(_WEIGHTS, measures, strict=True))
    return min(max(odds, -ODDS_LIMIT), ODDS_LIMIT)


def _shape(lead: FloatArray) -> FloatArray:
    return np.convolve(np.where(np.isnan(lead), 0.0, lead), SHAPE_BAND, "valid")


def _norm(shape: FloatArray) -> float:
    return math.sqrt(float(shape.dot(shape)))


class Shapes:
    """Compute the log odds of candidates from groups of remembered beats.

    Parameters
    ----------
    beats : list of Remembered
        At least one of them is not flat.
    """

    def __init__(self, beats: list[Remembered]) -> None:
        groups: list[_Group] = []
        for beat in beats:
            _sort(groups, _shape(beat.window), beat.level)
        groups.sort(key=lambda group: -group.members)
        self._groups = groups[:USED]
        total = sum(group.members for group in self._groups)
        for group in self._groups:
            group.members /= total
        self._unknown: deque[tuple[FloatArray, float]] = deque(maxlen=UNKNOWN_KEPT)
        self._arrange()

    def _arrange(self) -> None:
        self._norms = np.array([group.norm for group in self._groups])
        self._units = np.array([group.shape / group.norm for group in self._groups]).T.copy()

    def weigh(self, candidate: Candidate, centre: int, lead: FloatArray, noise: float) -> Weighed:
        """Find where a candidate fits best, and the log odds that it is a beat.

        Parameters
        ----------
        candidate : Candidate
        centre : int
            Where its R peak should be.
        lead : ndarray of float64, shape (2 * SCOPE + 1,)
            The lead around there; missing samples count as zero.
        noise : float
            The level between the beats over the typical level of the beats.
        """
        y = _shape(lead)
        views = windows(y, 2 * HALF + 1)  # one row per shift
        power = (views * views).sum(axis=1)[:, None] + 1e-12
        along = views @ self._units  # (shifts, groups)
        fit = np.clip(along / self._norms, LEAST, MOST) * self._norms
        rest = np.maximum(power + fit * (fit - 2 * along), 1e-3 * power)
        gained = power / rest
        shift, which = divmod(int(gained.argmax()), len(self._groups))
        group = self._groups[which]
        like = float(along[shift, which]) / math.sqrt(float(power[shift, 0]))
        size = math.log(max(float(along[shift, which]) / group.norm, 0.02))
        level = math.log(max(candidate.level, 1e-9) / group.level)
        log_noise = math.log(max(noise, 0.01))
        measures = (
            1.0,
            level,
            like,
            like**3,
            math.log(float(gained[shift, which])),
            math.log(float(rest[shift, which]) / group.norm**2) * log_noise,
            size,
            size * size,
            group.members,
            log_noise * candidate.dominant,
        )
        odds = log_odds(measures)
        known = like > LIKE and LEAST < math.exp(size) < MOST
        if not known and math.exp(level) > TALL:
            self._note_unknown(y, views / np.sqrt(power), candidate.level)
        r_index = centre + shift - SHIFT
        return Weighed(r_index, candidate.peak, candidate.level, math.exp(level), odds)

    def _note_unknown(self, y: FloatArray, views: FloatArray, level: float) -> None:
        """Make a group of a large unknown shape once it has occurred several times."""
        shape = y[SHIFT : SHIFT + 2 * HALF + 1].copy()
        norm = _norm(shape)
        if norm == 0:
            return
        alike = [
            LEAST < norm / other_norm < MOST and float((views @ other).max()) > LIKE * other_norm
            for other, other_norm in self._unknown
        ]
        self._unknown.append((shape, norm))
        if sum(alike) >= UNKNOWN_ALIKE:
            self._unknown.clear()
            del self._groups[USED:]
            self._groups.append(_Group(shape, norm, NEW_GROUP_SHARE, level))
            self._arrange()


def _sort(groups: list[_Group], shape: FloatArray, level: float) -> None:
    """Add a shape to the most similar group, or make a new group of it."""
    norm = _norm(shape)
    if norm == 0:
        return
    likes = [float(shape.dot(group.shape)) / (norm * group.norm) for group in groups]
    if not likes or max(likes) < LIKE:
        if len(groups) == SORTED:
            groups.remove(min(groups, key=lambda group: group.members))
        groups.append(_Group(shape, norm, 1.0, level))
        return
    group = groups[likes.index(max(likes))]
    group.members += 1
    step = 1 / min(group.members, FOLLOW)
    group.shape = group.shape + step * (shape - group.shape)
    group.norm = _norm(group.shape)
    group.level += step * (level - group.level)
