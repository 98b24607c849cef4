"""Which candidates are beats, told from all of them together.

Of all sequences of candidates that is sought whose candidates' log odds and RR intervals' log
probabilities have the largest sum (dynamic programming: Viterbi, IEEE Trans. Inf. Theory 13:260,
1967). How probable an RR interval is comes from the patient's own recent intervals, spread a
little, with some room for any other. What comes a second after a beat hardly changes it any more:
then it is told, and sequences without it are given up.

Latency: `LAG` samples after R.
"""

from __future__ import annotations

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.shapes import Weighed

_RATE = ANALYSIS_RATE_HZ
LAG = _RATE
NEAREST = 45  # no two beats within 180 ms
LONGEST = 4 * _RATE  # intervals beyond are like this one
MEMORY = 48  # an interval is forgotten after so many more
BINS = 16  # an octave of RR intervals
SPREAD = 1.4  # bins by which the next interval differs from one before: standard deviation
OTHER, OTHER_SPREAD = 0.15, 0.45  # share and log width of the intervals unlike those before
LEAST = 1e-4  # no interval is less probable
STEPS = 64  # so many candidates are followed at a time: more than ten seconds of the worst noise
RR_WEIGHT = 0.7  # of what the intervals say, against what the candidates say

_BINS = np.rint(BINS * np.log2(np.maximum(np.arange(LONGEST + 1), NEAREST) / NEAREST))
_BIN: list[int] = _BINS.astype(np.int64).tolist()  # of an interval, in analysis samples
_AT = np.arange(_BIN[-1] + 1)
_PER_LOG = BINS / np.log(2.0)  # bins in a natural unit of log RR: densities are per such a unit
_SPREAD = np.exp(-0.5 * ((_AT[:, None] - _AT) / SPREAD) ** 2)
_SPREAD *= _PER_LOG / _SPREAD.sum(axis=1, keepdims=True)


class _Step:
    """A candidate as the last of a sequence: the best sequence's sum, and the step before it."""

    __slots__ = ("before", "seen", "total")

    def __init__(self, seen: Weighed, total: float, before: _Step | None) -> None:
        self.seen, self.total, self.before = seen, total, before


class Path:
    """Follow the most probable sequence of beats.

    Parameters
    ----------
    last : Weighed
        A beat that is certain, from which all sequences start.
    rr : list of int
        Recent RR intervals, analysis samples.
    """

    def __init__(self, last: Weighed, rr: list[int]) -> None:
        self._root = _Step(last, 0.0, None)
        self._steps: list[_Step] = []  # later than the root, in the order in which they came
        self._first: _Step | None = None  # of the best sequence, after the root
        self._counts = np.zeros(len(_AT))
        for interval in rr:
            self._counts += _SPREAD[_bin(interval)]
        self._seen = float(len(rr))
        usual = float(np.median(rr)) if rr else 0.8 * _RATE
        width = OTHER_SPREAD * _PER_LOG
        others = np.exp(-0.5 * ((_AT - _bin(round(usual))) / width) ** 2)
        self._others = others / (OTHER_SPREAD * np.sqrt(2 * np.pi))
        self._expect()

    def _expect(self) -> None:
        density = (1 - OTHER) * self._counts / max(self._seen, 1.0) + OTHER * self._others
        self._log: list[float] = (RR_WEIGHT * np.log(density + LEAST)).tolist()

    @property
    def last(self) -> Weighed:
        """The last beat that is certain."""
        return self._root.seen

    @property
    def due(self) -> int | None:
        """When the next beat is to be told, if one is in sight."""
        return None if self._first is None else self._first.seen.r_index + LAG

    def add(self, seen: Weighed) -> None:
        """Take the next candidate."""
        best, before = -np.inf, None
        for step in (self._root, *self._steps):
            rr = seen.r_index - step.seen.r_index
            if rr >= NEAREST:
                total = step.total + self._log[_bin(rr)]
                if total > best:
                    best, before = total, step
        if before is not None:
            self._steps.append(_Step(seen, best + seen.odds, before))
            del self._steps[:-STEPS]
            self._choose()

    def tell(self) -> Weighed:
        """Take the next beat of the best sequence for certain."""
        told = self._first
        assert told is not None  # noqa: S101 - nothing is due otherwise
        rr = told.seen.r_index - self._root.seen.r_index
        if rr < 3 * _RATE:
            fade = 1 - 1 / MEMORY
            self._counts = fade * self._counts + _SPREAD[_bin(rr)]
            self._seen = fade * self._seen + 1
            self._expect()
        of_it, steps = {told}, []
        for step in self._steps:
            if step.before in of_it:
                of_it.add(step)
                steps.append(step)
        told.before = None
        self._root, self._steps = told, steps
        self._choose()
        return told.seen

    def _choose(self) -> None:
        """Find the first beat of the best sequence, if any is better than none."""
        self._first = None
        step = max(self._steps, key=lambda step: step.total, default=None)
        if step is not None and step.total > self._root.total:
            while step.before is not self._root:
                assert step.before is not None  # noqa: S101 - all sequences start at the root
                step = step.before
            self._first = step


def _bin(rr: int) -> int:
    return _BIN[min(rr, LONGEST)]
