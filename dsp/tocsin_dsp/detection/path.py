"""The most probable sequence of beats among candidates, decided from all of them together.

The sequence is sought whose candidates' log odds and RR intervals' log probabilities have the
largest sum (dynamic programming: Viterbi, IEEE Trans. Inf. Theory 13:260, 1967). The probability of
an RR interval comes from the patient's own recent intervals, smoothed, with a share for any other
interval. Candidates more than a second after a beat hardly change the decision on it: after that
time it is final, and sequences without it are dropped.

Latency: `LAG` samples after R.
"""

from __future__ import annotations

import numpy as np

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.shapes import Weighed
from tocsin_dsp.limits import LONGEST_RR, SHORTEST_RR, TYPICAL_RR_S

_RATE = ANALYSIS_RATE_HZ
LAG = _RATE  # analysis samples after R at which a beat is final
LAST_BIN_RR = 4 * _RATE  # analysis samples, longer RR intervals share the last bin
BINS = 16  # bins per octave of RR intervals
MEMORY = 48  # intervals, time constant with which the distribution forgets
SPREAD = 1.4  # bins, standard deviation between an interval and the next
OTHER = 0.15  # share of intervals that do not resemble recent ones
OTHER_SPREAD = 0.45  # natural log units, their standard deviation
LEAST = 1e-4  # lower limit of the probability density
STEPS = 64  # candidates kept: more than ten seconds of the worst noise
RR_WEIGHT = 0.7  # weight of the intervals' log probability against the candidates' log odds

_BINS = np.rint(BINS * np.log2(np.maximum(np.arange(LAST_BIN_RR + 1), SHORTEST_RR) / SHORTEST_RR))
_BIN: list[int] = _BINS.astype(np.int64).tolist()  # by interval, in analysis samples
_AT = np.arange(_BIN[-1] + 1)
_PER_LOG = BINS / np.log(2.0)  # bins per natural unit of log RR, the unit of the densities
_SPREAD = np.exp(-0.5 * ((_AT[:, None] - _AT) / SPREAD) ** 2)
_SPREAD *= _PER_LOG / _SPREAD.sum(axis=1, keepdims=True)


class _Step:
    """The best sequence that ends with a candidate: its sum, and the step before the last."""

    __slots__ = ("before", "candidate", "total")

    def __init__(self, candidate: Weighed, total: float, before: _Step | None) -> None:
        self.candidate, self.total, self.before = candidate, total, before


class Path:
    """Follow the most probable sequence of beats.

    Parameters
    ----------
    last : Weighed
        The last final beat, from which all sequences start.
    rr : list of int
        Recent RR intervals, analysis samples.
    """

    def __init__(self, last: Weighed, rr: list[int]) -> None:
        self._root = _Step(last, 0.0, None)
        self._steps: list[_Step] = []  # later than the root, in order of arrival
        self._first: _Step | None = None  # first beat of the best sequence after the root
        self._counts = np.zeros(len(_AT))
        for interval in rr:
            self._counts += _SPREAD[_bin(interval)]
        self._intervals = float(len(rr))  # as many as the counts are worth
        typical = float(np.median(rr)) if rr else TYPICAL_RR_S * _RATE
        width = OTHER_SPREAD * _PER_LOG
        others = np.exp(-0.5 * ((_AT - _bin(round(typical))) / width) ** 2)
        self._others = others / (OTHER_SPREAD * np.sqrt(2 * np.pi))
        self._update_rr()

    def _update_rr(self) -> None:
        """Compute the weighted log probability of an RR interval by bin."""
        density = (1 - OTHER) * self._counts / max(self._intervals, 1.0) + OTHER * self._others
        self._log: list[float] = (RR_WEIGHT * np.log(density + LEAST)).tolist()

    @property
    def last(self) -> Weighed:
        """The last final beat."""
        return self._root.candidate

    @property
    def due(self) -> int | None:
        """When the next beat becomes final; None where the best sequence has none."""
        return None if self._first is None else self._first.candidate.r_index + LAG

    def add(self, candidate: Weighed) -> None:
        """Extend the best sequence that fits by the next candidate."""
        best, before = -np.inf, None
        for step in (self._root, *self._steps):
            rr = candidate.r_index - step.candidate.r_index
            if rr >= SHORTEST_RR:
                total = step.total + self._log[_bin(rr)]
                if total > best:
                    best, before = total, step
        if before is not None:
            self._steps.append(_Step(candidate, best + candidate.odds, before))
            del self._steps[:-STEPS]
            self._choose()

    def confirm_next(self) -> Weighed:
        """Make the next beat of the best sequence final and return it."""
        root = self._first
        assert root is not None  # noqa: S101 - nothing is due otherwise
        rr = root.candidate.r_index - self._root.candidate.r_index
        if rr < LONGEST_RR:
            fade = 1 - 1 / MEMORY
            self._counts = fade * self._counts + _SPREAD[_bin(rr)]
            self._intervals = fade * self._intervals + 1
            self._update_rr()
        following, steps = {root}, []
        for step in self._steps:
            if step.before in following:
                following.add(step)
                steps.append(step)
        root.before = None
        self._root, self._steps = root, steps
        self._choose()
        return root.candidate

    def _choose(self) -> None:
        """Find the first beat of the best sequence, if any is better than no further beat."""
        self._first = None
        step = max(self._steps, key=lambda step: step.total, default=None)
        if step is not None and step.total > self._root.total:
            while step.before is not self._root:
                assert step.before is not None  # noqa: S101 - all sequences start at the root
                step = step.before
            self._first = step


def _bin(rr: int) -> int:
    return _BIN[min(rr, LAST_BIN_RR)]
