"""Irregularity of the rhythm of the last half minute, and P waves before its beats.

In atrial fibrillation an interval does not predict the next, and there are no P waves. The features
are the spread of successive differences and the share of large ones (Tateno & Glass, Med. Biol.
Eng. Comput. 39:664, 2001), the scatter of pairs of differences (Sarkar, Ritscher & Mehra, IEEE
Trans. Biomed. Eng. 55:1219, 2008), the coefficient of sample entropy (Lake & Moorman, Am. J.
Physiol. Heart 300:H319, 2011), the entropy of the intervals, and the evidence for P waves of
`tocsin_dsp.beats.waves`. Frequent atrial ectopy is irregular too, but regular without its early
beats: differences are also computed among beats labelled normal alone. Intervals next to
ventricular, unknown and low-trust beats are left out.

A rhythm is described every five seconds, and only if it is irregular and a part of its beats lacks
a P wave (`LEAST`, `MOST_P`): this skips nine tenths of mitdb's other rhythms and a six-hundredth of
its atrial fibrillation.

Latency: none beyond the five seconds; all beats decided by then are used.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import pairwise
from math import isnan, log, sqrt
from statistics import median
from typing import NamedTuple

import numpy as np

from tocsin_dsp.beats.delineation import Delineated
from tocsin_dsp.beats.waves import P_SCORE, Waves
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.limits import LONGEST_RR_S
from tocsin_dsp.signal import FloatArray

EVERY = 5 * ANALYSIS_RATE_HZ
"""Analysis samples between two descriptions."""
OVER = 30 * ANALYSIS_RATE_HZ
"""Analysis samples described."""
FEWEST = 6
"""Intervals needed for a description."""
MOST_P = 0.8
"""Share of beats with a P wave from which a rhythm is not described."""
LEAST = 0.03
"""Smallest `difference` of a rhythm that is described; see `IrregularWindow`."""
LEAST_IN_TRAINING = 0.02
"""The same for training."""
TOLERANCE_S = 0.03
"""Seconds by which intervals differ at most to count as equal in sample entropy."""
CELL_S = 0.04
"""Seconds, width of a cell of the scatter of differences."""
FEATURES = {  # name: (centre, gain); the input is (value - centre) * gain, within ±LIMIT
    "mean_rr_s": (0.8, 5.0),
    "rms_difference": (0.15, 6.5),
    "median_difference": (0.09, 9.0),
    "over_5_percent": (0.4, 2.8),
    "over_10_percent": (0.3, 3.0),
    "sample_entropy": (-1.6, 1.25),
    "entropy": (0.4, 5.0),
    "scatter": (0.6, 3.0),
    "median_p": (0.45, 2.5),
    "share_with_p": (0.45, 2.75),
    "mean_p": (0.45, 3.0),
    "ventricular": (0.05, 10.0),
    "supraventricular": (0.07, 7.5),
    "unknown": (0.03, 20.0),
    "repeats": (0.17, 2.5),
    "pr_spread_s": (0.05, 25.0),
    "trimmed_difference": (0.07, 11.0),
    "normal_difference": (0.07, 11.0),
    "normal_over_10_percent": (0.3, 3.0),
}
LIMIT = 4.0
_UNKNOWN_AMONG_NORMAL = (0.07, 0.3)  # typical values
_CENTRE, _GAIN = np.array(list(FEATURES.values())).T


class IrregularWindow(NamedTuple):
    """The last half minute of beats; `features` (len(FEATURES),) is scaled as stated there.

    `share_with_p` is the share of beats with a P wave before them. `difference` is the mean of the
    smaller four fifths of the differences between successive intervals, over their mean.
    """

    decided: int
    features: FloatArray
    share_with_p: float
    difference: float


class IrregularityObserver:
    """Keep the beats of the last half minute and describe their rhythm.

    Parameters
    ----------
    least, most_p : float
        Limits of the rhythms that are described; wider in training than in the agent.
    """

    def __init__(self, least: float = LEAST, most_p: float = MOST_P) -> None:
        self._least, self._most_p = least, most_p
        self._r: list[int] = []
        self._labels: list[str] = []
        self._ordinary: list[bool] = []
        self._delineated: list[Delineated] = []

    def take(self, r_index: int, label: str, delineated: Delineated, *, trusted: bool) -> None:
        """Add a beat, in order."""
        self._r.append(r_index)
        self._labels.append(label)
        self._ordinary.append(trusted and label in "NS")
        self._delineated.append(delineated)

    def describe(self, at: int) -> IrregularWindow | None:
        """Describe the half minute before analysis index `at`.

        None where it is regular or has P waves, or where too few intervals are known.
        """
        gone = bisect_left(self._r, at - OVER)
        if gone:
            for values in (self._r, self._labels, self._ordinary, self._delineated):
                del values[:gone]
        if len(self._r) <= FEWEST:
            return None
        # Lists and not arrays: they are faster for the some forty beats of a half minute.
        rr = [(b - a) / ANALYSIS_RATE_HZ for a, b in pairwise(self._r)]
        usable = self._ordinary
        known = [
            a and b and x < LONGEST_RR_S for a, b, x in zip(usable, usable[1:], rr, strict=False)
        ]
        intervals = [x for x, ok in zip(rr, known, strict=True) if ok]
        pairs = [
            (a, b) for (a, b), (x, y) in zip(pairwise(rr), pairwise(known), strict=True) if x and y
        ]
        if len(intervals) < FEWEST or len(pairs) < FEWEST - 2:
            return None
        relative = _relative(pairs)
        difference = _trimmed(relative)
        if difference < self._least:
            return None
        waves = self._waves()  # last: reading them may delineate beats
        if waves[1] >= self._most_p:
            return None
        features = (
            *_irregularity(intervals, [b - a for a, b in pairs], relative),
            *waves,
            *(self._labels.count(label) / len(self._labels) for label in "VSQ"),
            _repeats(intervals),
            _spread([w.pr_s for w in self._ordinary_waves() if not isnan(w.pr_s)]),
            difference,
            *self._among_normal(rr, known),
        )
        scaled = np.clip((np.array(features) - _CENTRE) * _GAIN, -LIMIT, LIMIT)
        return IrregularWindow(at, scaled, waves[1], difference)

    def _among_normal(self, rr: list[float], known: list[bool]) -> tuple[float, float]:
        """Return the difference, and the share above a tenth, between beats labelled normal."""
        normal = [label == "N" for label in self._labels]
        clear = [ok and a and b for ok, a, b in zip(known, normal, normal[1:], strict=False)]
        pairs = [
            (a, b) for (a, b), (x, y) in zip(pairwise(rr), pairwise(clear), strict=True) if x and y
        ]
        if len(pairs) < FEWEST - 2:
            return _UNKNOWN_AMONG_NORMAL
        relative = _relative(pairs)
        return _trimmed(relative), 1 - bisect_right(relative, 0.1) / len(relative)

    def _ordinary_waves(self) -> list[Waves]:
        return [of.waves for of, ok in zip(self._delineated, self._ordinary, strict=True) if ok]

    def _waves(self) -> tuple[float, float, float]:
        """Return the median evidence for a P wave, the share of beats with one, and the mean."""
        p = [w.p_score for w in self._ordinary_waves() if not isnan(w.p_score)]
        if not p:
            return (0.5, 0.5, 0.5)
        return (median(p), sum(x >= P_SCORE for x in p) / len(p), sum(p) / len(p))


def _relative(pairs: list[tuple[float, float]]) -> list[float]:
    """Return the difference of each two intervals over their mean, sorted."""
    return sorted(2 * abs(b - a) / (a + b) for a, b in pairs)


def _trimmed(relative: list[float]) -> float:
    """Return the mean of the smaller four fifths of sorted values."""
    least = relative[: max(1, len(relative) * 4 // 5)]
    return sum(least) / len(least)


def _irregularity(
    intervals: list[float], step: list[float], relative: list[float]
) -> tuple[float, ...]:
    """Return the first features, up to the scatter; `relative` is sorted."""
    mean = sum(intervals) / len(intervals)
    counts = Counter(int(min(max((x / mean - 0.4) * (16 / 1.4), 0.0), 15.0)) for x in intervals)
    shares = [count / len(intervals) for count in counts.values()]
    cells = [round(x / CELL_S) for x in step]
    return (
        mean,
        sqrt(sum(x * x for x in step) / len(step)) / mean,
        median([abs(x) for x in step]) / mean,
        1 - bisect_right(relative, 0.05) / len(relative),
        1 - bisect_right(relative, 0.1) / len(relative),
        _sample_entropy(intervals) + log(2 * TOLERANCE_S) - log(mean),
        -sum(share * log(share) for share in sorted(shares)) / log(16),
        len(set(pairwise(cells))) / max(len(cells) - 1, 1),
    )


def _sample_entropy(intervals: list[float]) -> float:
    """Return the sample entropy of the intervals, m = 1 (Lake & Moorman)."""
    x = np.array(intervals)
    alike = np.abs(x[:, None] - x) < TOLERANCE_S
    both = alike[:-1, :-1] & alike[1:, 1:]
    ones = (np.count_nonzero(alike) - len(alike)) / 2
    twos = (np.count_nonzero(both) - len(both)) / 2
    return log((ones + 0.5) / (twos + 0.5))


def _repeats(intervals: list[float]) -> float:
    """Return the correlation of each interval with the next."""
    mean = sum(intervals) / len(intervals)
    away = [x - mean for x in intervals]
    return sum(a * b for a, b in pairwise(away)) / (sum(a * a for a in away) + 1e-9)


def _spread(pr_s: list[float]) -> float:
    """Return the standard deviation of the PR intervals, s; 0.1 s if there are fewer than four."""
    if len(pr_s) < 4:
        return 0.1
    mean = sum(pr_s) / len(pr_s)
    return sqrt(sum((x - mean) ** 2 for x in pr_s) / len(pr_s))
