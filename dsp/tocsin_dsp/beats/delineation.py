"""The waves of beats, delineated when they are first read, many in one batch.

Of most beats only the R peak and the label are read at once, while the rhythm of the last half
minute and the ST level ask for the waves of several beats together. A batch costs little more than
one beat and gives the same results (`tocsin_dsp.beats.waves`), so beats wait until the waves of any
of them are read, or until the samples that they need are about to be dropped.
"""

from __future__ import annotations

import numpy as np

from tocsin_dsp.beats.waves import LONGEST_RR_WITH_T, UNKNOWN, Delineator, Waves
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.signal import FloatArray

LONGEST_WAIT = 20 * ANALYSIS_RATE_HZ
"""Analysis samples for which a beat may wait: the ST level of a minute asks as often, at instants
at which an irregular rhythm asks too (`tocsin_dsp.rhythms.irregularity.EVERY`)."""


class Delineated:  # noqa: PLW1641 - not for sets: it may change when it is read
    """The waves of one beat: known, or measured when they are first read.

    Two are equal if their waves are; unknown positions are equal to each other. The first reading
    uses the queue of the monitor, which has no lock: read in the thread that pushes the samples.

    Parameters
    ----------
    waves : Waves, optional
        What is known of them; nothing, unless stated.
    queue : DelineationQueue, optional
        Where the beat waits.
    """

    __slots__ = ("_queue", "_waves")

    def __init__(self, waves: Waves = UNKNOWN, queue: DelineationQueue | None = None) -> None:
        self._waves, self._queue = waves, queue

    @property
    def waves(self) -> Waves:
        """The waves; with them those of every beat that waits in the same queue."""
        if self._queue is not None:
            self._queue.settle()
        return self._waves

    def settle(self, waves: Waves) -> None:
        """Take the waves that the queue measured."""
        self._waves, self._queue = waves, None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Delineated):
            return NotImplemented
        mine, theirs = np.array(self.waves), np.array(other.waves)
        return bool(np.array_equal(mine, theirs, equal_nan=True))

    def __repr__(self) -> str:
        return f"Delineated({self.waves!r})"

    def __reduce__(self) -> tuple[type[Delineated], tuple[Waves]]:
        return Delineated, (self.waves,)


NOT_DELINEATED = Delineated()
"""The waves of a beat of which nothing is known."""


class DelineationQueue:
    """Beats of a patient that wait for the delineator, in order.

    Parameters
    ----------
    samples : ndarray of float64, shape (n, leads)
        The newest analysis samples on the sample grid, mV, NaN where missing.
    stop : int
        Analysis index after the last of them.
    """

    def __init__(self, samples: FloatArray, stop: int) -> None:
        self._delineator = Delineator()
        self._samples, self._start = samples, stop - len(samples)
        self._waiting: list[Delineated] = []
        self._r_index: list[int] = []
        self._leads: list[int] = []

    def use(self, samples: FloatArray, stop: int) -> None:
        """Go on with newer samples, as in the constructor; what they no longer hold is done."""
        start = stop - len(samples)
        if self._waiting and self._r_index[0] - LONGEST_RR_WITH_T < start:
            self.settle()
        self._samples, self._start = samples, start

    def add(self, r_index: int, lead: int) -> Delineated:
        """Let the next beat wait; it has `tocsin_dsp.beats.waves.AFTER` samples behind it."""
        later = Delineated(queue=self)
        self._waiting.append(later)
        self._r_index.append(r_index)
        self._leads.append(lead)
        return later

    def settle(self) -> None:
        """Delineate every beat that waits."""
        if not self._waiting:
            return
        r_index, leads = np.array(self._r_index), np.array(self._leads)
        waves = self._delineator.push(self._samples, self._start, r_index, leads)
        for later, known in zip(self._waiting, waves, strict=True):
            later.settle(known)
        self._waiting.clear()
        self._r_index.clear()
        self._leads.clear()

    def skip(self) -> None:
        """Continue after a gap: the next beat has no beat before it."""
        self.settle()
        self._delineator.skip()
