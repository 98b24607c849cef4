"""Irregular rhythm: `irregular`, intervals that differ from beat to beat for a minute.

Monitors raise it where the intervals vary by more than a limit (Mindray Passport and V Series
manuals, which do not state it). Here half of the intervals of the last minute differ by at least
the limit from the one before. Intervals before and after a ventricular beat do not count: frequent
ectopy has alarms of its own.

Latency: none beyond that of the last beat.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

OVER = 60 * ANALYSIS_RATE_HZ
LEAST_SPAN = 50 * ANALYSIS_RATE_HZ
"""The intervals of the minute span at least so much."""
LEAST = 20
"""Least number of differences in it."""


class IrregularRules(RuleFamily):
    """Follow the differences between intervals.

    Parameters
    ----------
    limits : Limits
    history : History
        Read: RR intervals.
    """

    def __init__(self, limits: Limits, history: History) -> None:
        self._percent, self._history = limits.irregular_percent, history
        self.restart()

    def restart(self) -> None:
        """Forget the intervals."""
        self._differences: deque[tuple[int, float]] = deque()  # R peak, share of the mean
        self._plain = 0  # beats in a row that are N or S and trusted

    def take(self, item: Item) -> list[Finding]:
        """Take a beat."""
        if not isinstance(item, Beat):
            return []
        self._plain = self._plain + 1 if item.trusted and item.label in "NS" else 0
        rr = self._history.rr[-2:]
        kept = self._differences
        while kept and kept[0][0] <= item.r_index - OVER:
            kept.popleft()
        if self._plain < 3 or len(rr) < 2 or 0 in rr:
            return []
        kept.append((item.r_index, 2 * abs(rr[1] - rr[0]) / (rr[0] + rr[1])))
        onset = kept[0][0]
        if len(kept) < LEAST or item.r_index - onset < LEAST_SPAN:
            return []
        percent = 100 * median(difference for _, difference in kept)
        if percent < self._percent:
            return []
        rule = f"for a minute, half of the intervals differ by {self._percent:g} % or more"
        limits = {"irregular_percent": self._percent}
        measured: dict[str, float | str] = {"difference_percent": round(percent, 1)}
        return [Finding("irregular", onset, item.decided, rule, limits, measured)]
