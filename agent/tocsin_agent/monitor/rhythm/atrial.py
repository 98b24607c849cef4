"""Atrial fibrillation: `atrial_fibrillation`, from the irregularity of half minutes.

`AtrialFibrillationTracker` also serves the labels (`tocsin_agent.monitor.labels.corrections`). That
is a second instance and not a second threshold of the same one, because its answers differ: it is
stricter at the onset, where each window must reach its limit and not only their mean, and at the
continuation; its duration is not configurable, and a gap in the samples does not restart it.

Latency: that of the half minute that completes the proof; they end five seconds apart.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import NamedTuple

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Irregularity, Item
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.irregularity import EVERY, OVER

LIKELY = 0.7
"""Mean probability of half minutes from which on atrial fibrillation begins."""
CONTINUES = 0.5
"""Probability from which on it continues, and the least of those with which it begins."""
MOST = OVER // 2
"""A half minute counts as what fills most of it: at least so many samples."""
HOLD_S = 60
"""It continues over so many seconds without a half minute of at least `CONTINUES`."""


class Proof(NamedTuple):
    """Atrial fibrillation has lasted long enough, from `onset` to `window`."""

    onset: int
    window: Irregularity


class AtrialFibrillationTracker:
    """Follow the half minutes, one every five seconds, that look like atrial fibrillation.

    Parameters
    ----------
    lasts_s : float
        How long it must have lasted: the first window holds half a minute's half, each further one
        five seconds more.
    likely, continues : float
        Probabilities from which on it begins, as the mean of its first windows, and continues.
    least : float
        Probability of each of its first windows, at least.
    """

    def __init__(
        self,
        lasts_s: float,
        likely: float = LIKELY,
        continues: float = CONTINUES,
        least: float = CONTINUES,
    ) -> None:
        self._likely, self._continues, self._least = likely, continues, least
        windows = max(round((lasts_s * ANALYSIS_RATE_HZ - MOST) / EVERY) + 1, 1)
        self._recent: deque[Irregularity] = deque(maxlen=windows)  # one after another
        self.restart()

    def restart(self) -> None:
        """Forget the windows."""
        self._recent.clear()
        self._first = 0  # where the first window of the proof ended
        self._until = -1

    def holds(self, at: int) -> bool:
        """Return whether it is known to continue at analysis index `at`."""
        return at <= self._until

    def take(self, window: Irregularity) -> Proof | None:
        """Take a half minute; return the proof that it completes or continues."""
        at, recent = window.decided, self._recent
        if at <= self._until and window.probability >= self._continues:
            return self._prove(window)
        if recent and at - recent[-1].decided != EVERY:
            recent.clear()
        recent.append(window)
        given = [each.probability for each in recent]
        if len(given) < (recent.maxlen or 0) or min(given) < self._least:
            return None
        if fmean(given) < self._likely:
            return None
        if at > self._until:
            self._first = recent[0].decided
        return self._prove(window)

    def _prove(self, window: Irregularity) -> Proof:
        self._until = window.decided + HOLD_S * ANALYSIS_RATE_HZ
        return Proof(max(self._first - MOST, 0), window)


class AtrialRules(RuleFamily):
    """Find atrial fibrillation.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.af_s
        self._tracker = AtrialFibrillationTracker(limits.af_s)

    def restart(self) -> None:
        """Forget the half minutes."""
        self._tracker.restart()

    def take(self, item: Item) -> list[Finding]:
        """Take a half minute."""
        proof = self._tracker.take(item) if isinstance(item, Irregularity) else None
        if proof is None:
            return []
        window = proof.window
        return [
            Finding(
                "atrial_fibrillation",
                proof.onset,
                window.decided,
                f"an irregular rhythm without P waves for {self._limit:g} s",
                {"af_s": self._limit},
                {
                    "share_with_p": round(window.share_with_p, 2),
                    "rr_difference": round(window.difference, 3),
                },
                probability=window.probability,
                model="af",
            )
        ]
