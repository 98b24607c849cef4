"""The rule of atrial fibrillation: for how long the rhythm must have said so.

It serves twice: for the alarm, and more strictly (`SURE`, `STAYS_SURE`) for the labels of beats:
where the atria fibrillate no beat comes early, all come irregularly, so that none is called
supraventricular. Frequent atrial ectopy is also irregular and at times has no P waves to be seen:
the strict limits were chosen, by patient, where they cost svdb hardly any of its beats from there.
"""

from __future__ import annotations

from typing import NamedTuple

from tocsin_agent.monitor.timeline import Irregularity
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.irregularity import EVERY, OVER

LIKELY = 0.7  # atrial fibrillation begins with half minutes as likely as this,
GOES_ON = 0.5  # and goes on with such
MOST = OVER // 2  # a half minute is called by what fills most of it
SURE, STAYS_SURE, SURE_FOR_S = 0.95, 0.7, 30.0  # the same for labels
HOLD_S = 60


class AtrialFibrillation(NamedTuple):
    """Atrial fibrillation that has lasted for long enough, as seen in `window`."""

    onset: int
    probability: float
    window: Irregularity


class AtrialFibrillationRule:
    """Follow the half minutes, one every five seconds, that look like atrial fibrillation.

    Parameters
    ----------
    lasts_s : float
        How long it must have lasted: the first window holds half a minute's half, each further one
        five seconds more.
    likely, goes_on : float
        From these probabilities on it begins and goes on.
    """

    def __init__(self, lasts_s: float, likely: float = LIKELY, goes_on: float = GOES_ON) -> None:
        self._likely, self._goes_on = likely, goes_on
        self._windows = max(round((lasts_s * ANALYSIS_RATE_HZ - MOST) / EVERY) + 1, 1)
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self._first = self._last = 0  # where the windows of the row ended
        self._count = 0
        self._goes_on_until = -1

    def holds(self, at: int) -> bool:
        """Tell whether, for all that is known, it goes on at analysis index `at`."""
        return at <= self._goes_on_until

    def take(self, window: Irregularity) -> AtrialFibrillation | None:
        """Take a window; return the fibrillation that it proves."""
        at, probability = window.decided, window.probability
        if at <= self._goes_on_until and probability >= self._goes_on:
            return self._proved(window)
        if probability < self._likely:
            self._count = 0
            return None
        if self._count == 0 or at - self._last != EVERY:
            self._first, self._count = at, 0
        self._count += 1
        self._last = at
        return self._proved(window) if self._count >= self._windows else None

    def _proved(self, window: Irregularity) -> AtrialFibrillation:
        self._goes_on_until = window.decided + HOLD_S * ANALYSIS_RATE_HZ
        return AtrialFibrillation(max(self._first - MOST, 0), window.probability, window)
