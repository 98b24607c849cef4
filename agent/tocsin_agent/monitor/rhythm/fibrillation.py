"""The rule of ventricular fibrillation: for how long the waveform must have said so."""

from __future__ import annotations

from typing import NamedTuple

from tocsin_agent.monitor.timeline import Waveform
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.fibrillation import SECONDS

LIKELY = 0.4  # a window is taken for fibrillation from this probability on,
SURE = 0.7  # and one like this saves waiting for another
EVERY = ANALYSIS_RATE_HZ  # windows end a second apart; one that is passed over comes not at all
MOST = SECONDS // 2 * ANALYSIS_RATE_HZ  # a window is called by what fills most of it


class Fibrillation(NamedTuple):
    """Fibrillation that has lasted for long enough: from `onset` on, as seen at `seen`."""

    onset: int
    seen: int
    lead: str
    level_mv: float
    probability: float


class FibrillationRule:
    """Follow the windows, one a second, that look like fibrillation without a break.

    The first such window holds two seconds of it or more, so that `lasts_s` have surely been seen
    with the (`lasts_s` - 1)th. Where one of them is sure it holds nothing else, and one less is
    enough.

    Parameters
    ----------
    lasts_s : float
        How long the waveform must have been that of fibrillation or flutter.
    """

    def __init__(self, lasts_s: float) -> None:
        self._windows = max(round(lasts_s) - SECONDS // 2 + 1, 1)
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self._first = 0  # where the first window of the run ended
        self._last = -2 * EVERY
        self._count = 0
        self._sum = self._surest = 0.0  # of the probabilities of the run

    def suspects(self, at: int) -> bool:
        """Tell whether the newest window, not two seconds old, looked like fibrillation."""
        return self._count > 0 and at - self._last < 2 * EVERY

    def take(self, waveform: Waveform) -> Fibrillation | None:
        """Take a window; return the fibrillation that it proves."""
        joined = self._count > 0 and waveform.decided - self._last == EVERY
        self._last = waveform.decided
        if waveform.probability < LIKELY:
            self._count = 0
            return None
        if not joined:
            self._first, self._count, self._sum, self._surest = waveform.decided, 0, 0.0, 0.0
        self._count += 1
        self._sum += waveform.probability
        self._surest = max(self._surest, waveform.probability)
        if self._count < self._windows - (self._surest >= SURE):
            return None
        mean = round(self._sum / self._count, 3)
        onset = max(self._first - MOST, 0)
        return Fibrillation(onset, waveform.decided, waveform.lead, waveform.level_mv, mean)
