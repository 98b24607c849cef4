"""What an RR interval is compared with: the patient's own, over beats, minutes and longer.

A beat is early against what is usual, and what is usual depends on how far one looks back: after a
minute of an atrial run its short intervals are the usual ones (mitdb 232), so the last eight beats,
the last minutes and the last half hour are all asked, and besides the middle of each the late
intervals of the longer ones, which are those of the sinus node. A few long intervals move a mean:
where the atria run most of the time and pause between, the middle and even the late intervals are
those of the runs, and the mean is longer (de Chazal, O'Dwyer & Reilly, IEEE Trans. Biomed. Eng.
51:1196, 2004, compare with it). A run of short intervals also tells by its beginning what it is:
the sinus node speeds up over many beats, an ectopic focus from one to the next (Fisher, Goldstein,
Ostrow, Matos & Kim, PACE 6:221, 1983, for implanted pacemakers). In atrial fibrillation no beat is
early, all are irregular: restlessness is the usual size of a change from one interval to the next
(the idea of Sarkar, Ritscher & Mehra, IEEE Trans. Biomed. Eng. 55:1219, 2008).

Latency: none beyond the beat's own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import exp, log

LONGEST_S = 3.0  # a longer interval is no rhythm
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
    "restless_8",
    "restless_32",
    "restless_128",
)
_FIRST_S = 0.8  # of a patient not heard before
_CALM = 0.02  # restlessness of such a one
_HURRIED = -0.16  # logarithm of an interval over the late ones: what is below belongs to a run,
_BEGINS = 3  # which begins with so many beats


class Memory:
    """The last values, in order of size.

    Parameters
    ----------
    size : int
        Values remembered.
    """

    def __init__(self, size: int) -> None:
        self._came: deque[float] = deque()
        self._sorted: list[float] = []
        self._size = size

    def __len__(self) -> int:
        return len(self._came)

    def add(self, value: float) -> None:
        """Remember a value, and forget the oldest when there are too many."""
        came, ordered = self._came, self._sorted
        if len(came) == self._size:
            del ordered[bisect_left(ordered, came.popleft())]
        came.append(value)
        insort(ordered, value)

    def at(self, share: float) -> float:
        """Return the value that this share of the others lies below; there must be one."""
        return self._sorted[int(share * (len(self._sorted) - 1) + 0.5)]


class Mean:
    """The mean of the last values.

    Parameters
    ----------
    size : int
        Values remembered.
    """

    def __init__(self, size: int) -> None:
        self._came: deque[float] = deque(maxlen=size)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Remember a value, and forget the oldest when there are too many."""
        if len(self._came) == self._came.maxlen:
            self._sum -= self._came[0]
        self._came.append(value)
        self._sum += value

    @property
    def value(self) -> float:
        """The mean; there must be a value."""
        return self._sum / len(self._came)


class Intervals:
    """Relate each RR interval to those before it.

    Bounded: 2,048 intervals are remembered, half an hour at 70 beats a minute.
    """

    def __init__(self) -> None:
        self._rr = tuple(Memory(size) for size in (8, 32, 128, 2048))  # of logarithms
        self._means = tuple(Mean(size) for size in (32, 128, 2048))  # of seconds
        self._changes = tuple(Memory(size) for size in (8, 32, 128))
        self._before: tuple[float, ...] = ()  # logarithms of the last three, the newest first
        self._run = 0  # beats
        self._onset = self._usual = self._steepest = self._steepest_to_8 = 0.0

    def push(self, rr_s: float | None) -> tuple[float, ...]:
        """Take the next interval, None where it is not known; return what `FEATURES` names.

        Ratios are given as logarithms, so that twice as long and half as long weigh the same.
        """
        last, half_minute, minutes, long = self._rr
        known = rr_s is not None and rr_s < LONGEST_S
        if rr_s is not None and known:
            rr, now = rr_s, log(rr_s)
        else:
            now = last.at(0.5) if len(last) else log(_FIRST_S)
            rr = exp(now)
        if not len(last):
            self._remember(rr, now)
        middle, usual_8 = minutes.at(0.5), last.at(0.5)
        first, second, third = (*self._before, middle, middle, middle)[:3]
        to_late = now - long.at(0.75)
        told = (
            rr,
            now - usual_8,
            now - half_minute.at(0.5),
            now - middle,
            now - minutes.at(0.75),
            now - long.at(0.5),
            to_late,
            now - long.at(0.9),
            *[now - log(mean.value) for mean in self._means],
            first - middle,
            second - middle,
            third - middle,
            now - first,
            first - second,
            *self._run_of(now, first, usual_8, hurried=to_late < _HURRIED),
            *[memory.at(0.5) if len(memory) else _CALM for memory in self._changes],
        )
        if known:
            if self._before:
                change = abs(now - self._before[0])
                for memory in self._changes:
                    memory.add(change)
            self._remember(rr, now)
            self._before = (now, *self._before[:2])
        return told

    def _remember(self, rr_s: float, logarithm: float) -> None:
        for memory in self._rr:
            memory.add(logarithm)
        for mean in self._means:
            mean.add(rr_s)

    def _run_of(
        self, now: float, before: float, usual: float, *, hurried: bool
    ) -> tuple[float, float, float, float]:
        """Return how steeply the run began that this beat belongs to, its beats, and how far it is.

        `before` is the last interval and `usual` the middle of the last eight. A beat that is not
        hurried is no run: the same is said of it alone.
        """
        if not hurried:
            self._run = 0
            return now - before, now - usual, 0.0, now - before
        if self._run == 0:
            self._onset, self._usual = before, usual
            self._steepest = self._steepest_to_8 = 0.0
        if self._run < _BEGINS:
            self._steepest = min(self._steepest, now - self._onset)
            self._steepest_to_8 = min(self._steepest_to_8, now - self._usual)
        self._run += 1
        return self._steepest, self._steepest_to_8, log(1 + self._run), now - self._onset
