"""Ventricular fibrillation: `ventricular_fibrillation`, from the waveform of some seconds.

Latency: that of the window that completes the proof; windows end a second apart.
"""

from __future__ import annotations

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Item, Waveform
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.fibrillation import SECONDS

LIKELY = 0.4
"""Probability from which on a window counts as fibrillation."""
SURE = 0.7
"""Probability of one window from which on one window less is enough."""
EVERY = ANALYSIS_RATE_HZ
"""Windows end so many samples apart; one that cannot be fibrillation is not reported at all."""
MOST = SECONDS // 2 * ANALYSIS_RATE_HZ
"""A window counts as what fills most of it: at least so many samples."""


class FibrillationRules(RuleFamily):
    """Follow the windows, one a second, that look like fibrillation without a break.

    The first such window holds two seconds of it or more, so that `vf_s` seconds have certainly
    passed with window number `vf_s` - 1. A window of at least `SURE` holds nothing else, and one
    window less is enough.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.vf_s
        self._windows = max(round(limits.vf_s) - SECONDS // 2 + 1, 1)
        self.restart()

    def restart(self) -> None:
        """Forget the windows."""
        self._first = 0  # where the first window of the sequence ended
        self._last = -2 * EVERY
        self._count = 0
        self._sum = self._highest = 0.0  # of the probabilities of the sequence

    def suspects(self, at: int) -> bool:
        """Return whether the newest window, less than two seconds old, looks like fibrillation."""
        return self._count > 0 and at - self._last < 2 * EVERY

    def take(self, item: Item) -> list[Finding]:
        """Take a window."""
        if not isinstance(item, Waveform):
            return []
        joined = self._count > 0 and item.decided - self._last == EVERY
        self._last = item.decided
        if item.probability < LIKELY:
            self._count = 0
            return []
        if not joined:
            self._first, self._count, self._sum, self._highest = item.decided, 0, 0.0, 0.0
        self._count += 1
        self._sum += item.probability
        self._highest = max(self._highest, item.probability)
        enough = self._count >= self._windows - (self._highest >= SURE)
        return [self._finding(item)] if enough else []

    def _finding(self, newest: Waveform) -> Finding:
        onset, limit = max(self._first - MOST, 0), self._limit
        return Finding(
            "ventricular_fibrillation",
            onset,
            newest.decided,
            f"the waveform of ventricular fibrillation or flutter for {limit:g} s",
            {"vf_s": limit},
            {
                "lead": newest.lead,
                "level_mv": round(newest.level_mv, 3),
                "lasting_s": round((newest.decided - onset) / ANALYSIS_RATE_HZ, 1),
            },
            probability=round(self._sum / self._count, 3),
            model="vf",
        )
