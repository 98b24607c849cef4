"""Rate: `extreme_bradycardia` and `extreme_tachycardia`.

Latency: that of the last beat that the limit asks for.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import BPM, History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Item


class _Extreme(NamedTuple):
    """A limit; `sign` is 1 where rates above it are extreme, -1 where rates below it are."""

    name: str
    sign: int
    bpm: float
    beats: int


class RateRules(RuleFamily):
    """Find rates beyond a limit: the mean and the median RR interval must both be beyond it.

    Tachycardia asks for beats of which half are trusted: noise adds beats. Where noise hides beats,
    `signal_unusable` reports it, and bradycardia is reported all the same.

    Parameters
    ----------
    limits : Limits
    history : History
        Read: R peaks, RR intervals and trust.
    """

    def __init__(self, limits: Limits, history: History) -> None:
        self._history = history
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """Use other limits from here on."""
        self._extremes = (
            _Extreme("bradycardia", -1, limits.bradycardia_bpm, limits.bradycardia_beats),
            _Extreme("tachycardia", 1, limits.tachycardia_bpm, limits.tachycardia_beats),
        )

    def take(self, item: Item) -> list[Finding]:
        """Take a beat."""
        if not isinstance(item, Beat):
            return []
        return [self._finding(e, item) for e in self._extremes if self._holds(e)]

    def _holds(self, extreme: _Extreme) -> bool:
        history, count, bpm, sign = self._history, extreme.beats, extreme.bpm, extreme.sign
        rr = history.rr[1 - count :]
        # The mean first: it costs least and rules out most. Unknown intervals count as 0.
        if len(history.r) < count or sign * (BPM * len(rr) - bpm * sum(rr)) <= 0 or 0 in rr:
            return False
        if sign * (BPM - bpm * median(rr)) <= 0:
            return False
        return sign < 0 or 2 * sum(history.trusted[-count:]) >= count

    def _finding(self, extreme: _Extreme, beat: Beat) -> Finding:
        name, sign, bpm, count = extreme
        rr = self._history.rr[1 - count :]
        return Finding(
            f"extreme_{name}",
            self._history.r[-count],
            beat.decided,
            f"heart rate {'above' if sign > 0 else 'below'} {bpm:g}/min for {count} beats",
            {f"{name}_bpm": bpm, f"{name}_beats": float(count)},
            {"rate_bpm": round(BPM * len(rr) / sum(rr), 1)},
        )
