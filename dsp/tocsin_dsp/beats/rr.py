"""RR interval features: an interval against the patient's own, over beats, minutes and longer.

A beat is early relative to what is typical, and what is typical depends on how far back one looks:
after a minute of an atrial run its short intervals are typical (mitdb 232). So an interval is
compared with the last eight beats, the last minutes and the last half hour: with the median of
each, and with late quantiles of the longer ones, which are the intervals of the sinus node. A few
long intervals move a mean: where the atria run most of the time and pause in between, the median
and even the late quantiles are those of the runs, and the mean is longer (de Chazal, O'Dwyer &
Reilly, IEEE Trans. Biomed. Eng. 51:1196, 2004, compare with it). The onset of a run of short
intervals shows its origin: the sinus node speeds up over many beats, an ectopic focus from one to
the next (Fisher, Goldstein, Ostrow, Matos & Kim, PACE 6:221, 1983, for implanted pacemakers). In
atrial fibrillation no beat is early, all are irregular: `rr_change` is the median size of a change
from one interval to the next (the idea of Sarkar, Ritscher & Mehra, IEEE Trans. Biomed. Eng.
55:1219, 2008).

Latency: none beyond the beat's own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import exp, log

from tocsin_dsp.limits import LONGEST_RR_S, TYPICAL_RR_S

FEATURES = (
    "rr_s",
    "rr_to_8",
    "rr_to_32",
    "rr_to_128",
    "rr_to_128_late",
    "rr_to_2048",
    "rr_to_2048_late",
    "rr_to_2048_latest",
    "rr_to_mean_32",
    "rr_to_mean_128",
    "rr_to_mean_2048",
    "rr_before",
    "rr_second_before",
    "rr_third_before",
    "rr_to_before",
    "rr_before_to_second",
    "run_onset",
    "run_onset_to_8",
    "run_length",
    "rr_to_run_onset",
    "rr_change_8",
    "rr_change_32",
    "rr_change_128",
)
_FIRST_CHANGE = 0.02  # natural log units, assumed before a change is known
_RUN_BELOW = -0.16  # log of an interval over the late quantile, below which it belongs to a run
_ONSET_BEATS = 3  # beats that make the onset of a run


class Memory:
    """The last values, sorted.

    Parameters
    ----------
    size : int
        Number of values kept.
    """

    def __init__(self, size: int) -> None:
        self._arrived: deque[float] = deque()
        self._sorted: list[float] = []
        self._size = size

    def __len__(self) -> int:
        return len(self._arrived)

    def add(self, value: float) -> None:
        """Add a value; drop the oldest when there are too many."""
        arrived, ordered = self._arrived, self._sorted
        if len(arrived) == self._size:
            del ordered[bisect_left(ordered, arrived.popleft())]
        arrived.append(value)
        insort(ordered, value)

    def median(self) -> float:
        """Return the quantile 0.5 of at least one value."""
        return self._sorted[len(self._sorted) // 2]

    def quantile(self, share: float) -> float:
        """Return a quantile, 0 to 1, of at least one value."""
        return self._sorted[int(share * (len(self._sorted) - 1) + 0.5)]


class Mean:
    """The mean of the last values.

    Parameters
    ----------
    size : int
        Number of values kept.
    """

    def __init__(self, size: int) -> None:
        self._arrived: deque[float] = deque(maxlen=size)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Add a value; drop the oldest when there are too many."""
        if len(self._arrived) == self._arrived.maxlen:
            self._sum -= self._arrived[0]
        self._arrived.append(value)
        self._sum += value

    @property
    def value(self) -> float:
        """The mean of at least one value."""
        return self._sum / len(self._arrived)


class Intervals:
    """Relate each RR interval to those before it.

    Bounded: 2,048 intervals are kept, half an hour at 70 beats per minute.
    """

    def __init__(self) -> None:
        self._rr = tuple(Memory(size) for size in (8, 32, 128, 2048))  # of logarithms
        self._means = tuple(Mean(size) for size in (32, 128, 2048))  # of seconds
        self._changes = tuple(Memory(size) for size in (8, 32, 128))
        self._before: tuple[float, ...] = ()  # logarithms of the last three, newest first
        self._run = 0  # beats of the run so far
        # Logarithms: the interval before the run, the median of eight before it, and the steepest
        # change of the onset against each.
        self._rr_before_run = self._median_before_run = 0.0
        self._steepest = self._steepest_to_8 = 0.0

    def push(self, rr_s: float | None) -> tuple[float, ...]:
        """Return the features named in `FEATURES` of the next interval, None where unknown.

        Ratios are natural logarithms, so that twice as long and half as long weigh the same.
        """
        last, half_minute, minutes, long = self._rr
        known = rr_s is not None and rr_s < LONGEST_RR_S
        if rr_s is not None and known:
            rr, now = rr_s, log(rr_s)
        else:
            now = last.median() if len(last) else log(TYPICAL_RR_S)
            rr = exp(now)
        if not len(last):
            self._remember(rr, now)
        median, median_8 = minutes.median(), last.median()
        first, second, third = (*self._before, median, median, median)[:3]
        changed = len(self._changes[0]) > 0
        to_late = now - long.quantile(0.75)
        features = (
            rr,
            now - median_8,
            now - half_minute.median(),
            now - median,
            now - minutes.quantile(0.75),
            now - long.median(),
            to_late,
            now - long.quantile(0.9),
            *[now - log(mean.value) for mean in self._means],
            first - median,
            second - median,
            third - median,
            now - first,
            first - second,
            *self._run_features(now, first, median_8, in_run=to_late < _RUN_BELOW),
            *[memory.median() if changed else _FIRST_CHANGE for memory in self._changes],
        )
        if known:
            if self._before:
                change = abs(now - self._before[0])
                for memory in self._changes:
                    memory.add(change)
            self._remember(rr, now)
            self._before = (now, *self._before[:2])
        return features

    def _remember(self, rr_s: float, logarithm: float) -> None:
        for memory in self._rr:
            memory.add(logarithm)
        for mean in self._means:
            mean.add(rr_s)

    def _run_features(
        self, now: float, before: float, median_8: float, *, in_run: bool
    ) -> tuple[float, float, float, float]:
        """Return the features of the run that this beat belongs to.

        They are the steepest change of its onset against the interval before it and against the
        median of the last eight, the log of its beats, and the change since the interval before it.
        Of a beat outside a run the changes are those of the beat itself. `before` is the last
        interval and `median_8` the median of the last eight; all are logarithms.
        """
        if not in_run:
            self._run = 0
            return now - before, now - median_8, 0.0, now - before
        if self._run == 0:
            self._rr_before_run, self._median_before_run = before, median_8
            self._steepest = self._steepest_to_8 = 0.0
        if self._run < _ONSET_BEATS:
            self._steepest = min(self._steepest, now - self._rr_before_run)
            self._steepest_to_8 = min(self._steepest_to_8, now - self._median_before_run)
        self._run += 1
        return self._steepest, self._steepest_to_8, log(1 + self._run), now - self._rr_before_run
