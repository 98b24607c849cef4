"""The patient's own QRS shapes, and how probable it is that a candidate is one of them.

Beats are sorted into groups of like shape (the idea of Hamilton's beat groups, Computers in
Cardiology 29:101, 2002). A candidate is weighed against them: where near it one of the groups fits
best, how well it then explains the lead, and how large the candidate is. Logistic regression turns
these measures into the log odds of a beat. Its few weights were fitted on DS1 of mitdb without 118
and 119, with noise of nstdb mixed in (`models/tocsin_training/shapes/fit.py`).

A shape that is new but comes back is taken for a group: a tachycardia is no noise.

Latency: `SCOPE` samples after where the candidate should have its R peak.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.fir import bandpass
from tocsin_dsp.signal import FloatArray, windows

SHAPE_BAND = bandpass(4 / ANALYSIS_RATE_HZ, 35 / ANALYSIS_RATE_HZ, 51)
HALF = 30  # a shape is the band-passed lead 120 ms on both sides of R
SHIFT = 15  # the best fit is sought within 60 ms
REACH = HALF + (len(SHAPE_BAND) - 1) // 2  # what a remembered beat takes of the lead on either side
SCOPE = REACH + SHIFT  # and what the weighing of a candidate takes

LIKE = 0.9  # a shape that correlates so well with a group belongs to it
LEAST, MOST = 0.7, 1.4  # and differs no more in size from its members than this
FOLLOW = 12  # a group's shape is the mean of about so many members
SORTED, USED = 12, 4  # so many groups are kept while sorting, the largest are used
STRANGERS, ALIKE = 6, 3  # an unknown shape like so many of so many before it is a new group
TALL = 0.3  # level over the group's from which an unknown shape matters
STRANGER_SHARE = 0.1  # the share of beats that is put down to it
ODDS_LIMIT = 8.0

WEIGHTS = {  # measure: weight; logarithms are natural
    "one": -0.88,
    "level": -0.69,  # log of its envelope over the group's
    "like": -1.64,  # correlation with the group
    "like3": -2.54,  # its cube
    "gained": 3.35,  # log of the power over what the group leaves unexplained
    "rest_unrest": -0.51,  # log of the unexplained over the group's power, times log of the unrest
    "size": 0.82,  # log of its amplitude over the group's
    "size2": 0.22,  # its square
    "share": 0.97,  # the group's share of the beats
    "dominant_unrest": -0.58,  # log of the unrest where no higher candidate is near, else 0
}
_WEIGHTS = tuple(WEIGHTS.values())


class Remembered(NamedTuple):
    """A beat: the lead around R, shape (2 * REACH + 1,), its envelope level, the RR before it."""

    window: FloatArray
    level: float
    rr: int | None


class Candidate(NamedTuple):
    """A maximum of the envelope; indices are analysis samples.

    It is looked at as soon as the `known` first samples are known. `dominant` says that no higher
    one lies within the time in which a beat is confirmed, as far as that is known by then. `steps`
    are those of the lead around R, NaN where missing, `power` the sum of their squares and `slope`
    the steepest of them.
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
    """A candidate at its best fit, with the log odds of its being a beat."""

    r_index: int
    peak: int
    level: float
    strength: float  # 1 for the usual beat of its group
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
    """Weigh candidates by the groups into which the beats remembered fall.

    Parameters
    ----------
    beats : list of Remembered
        At least one that is not flat.
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
        self._strangers: deque[tuple[FloatArray, float]] = deque(maxlen=STRANGERS)
        self._arrange()

    def _arrange(self) -> None:
        self._norms = np.array([group.norm for group in self._groups])
        self._units = np.array([group.shape / group.norm for group in self._groups]).T.copy()

    def weigh(self, candidate: Candidate, centre: int, lead: FloatArray, unrest: float) -> Weighed:
        """Find where a candidate fits best, and how probable that makes it a beat.

        Parameters
        ----------
        candidate : Candidate
        centre : int
            Where its R peak should be.
        lead : ndarray of float64, shape (2 * SCOPE + 1,)
            The lead around there; missing samples count as nothing.
        unrest : float
            The level between the beats, as a share of the beats'.
        """
        y = _shape(lead)
        views = windows(y, 2 * HALF + 1)  # one a shift
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
        log_unrest = math.log(max(unrest, 0.01))
        measures = (
            1.0,
            level,
            like,
            like**3,
            math.log(float(gained[shift, which])),
            math.log(float(rest[shift, which]) / group.norm**2) * log_unrest,
            size,
            size * size,
            group.members,
            log_unrest * candidate.dominant,
        )
        odds = log_odds(measures)
        known = like > LIKE and LEAST < math.exp(size) < MOST
        if not known and math.exp(level) > TALL:
            self._meet(y, views / np.sqrt(power), candidate.level)
        r_index = centre + shift - SHIFT
        return Weighed(r_index, candidate.peak, candidate.level, math.exp(level), odds)

    def _meet(self, y: FloatArray, views: FloatArray, level: float) -> None:
        """Take a large unknown shape for a group once it has come several times."""
        shape = y[SHIFT : SHIFT + 2 * HALF + 1].copy()
        norm = _norm(shape)
        if norm == 0:
            return
        alike = [
            LEAST < norm / other_norm < MOST and float((views @ other).max()) > LIKE * other_norm
            for other, other_norm in self._strangers
        ]
        self._strangers.append((shape, norm))
        if sum(alike) >= ALIKE:
            self._strangers.clear()
            del self._groups[USED:]
            self._groups.append(_Group(shape, norm, STRANGER_SHARE, level))
            self._arrange()


def _sort(groups: list[_Group], shape: FloatArray, level: float) -> None:
    """Let a shape join the group that it is most like, or found one."""
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
