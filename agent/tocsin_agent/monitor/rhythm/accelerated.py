"""Accelerated ventricular rhythm: `accelerated_ventricular_rhythm`.

Ventricular beats in a row, faster than an escape rhythm (40/min) and not as fast as a tachycardia:
the "ventricular rhythm" of monitors (Mindray TM80 and ePM manuals: as many ventricular beats as the
limit says, at 40/min or more and below the rate of ventricular tachycardia).

Latency: none beyond the beat that completes the condition.
"""

from __future__ import annotations

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import BPM, History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Item

SLOWEST_BPM = 40.0


class AcceleratedRules(RuleFamily):
    """Follow ventricular beats in a row.

    Parameters
    ----------
    limits : Limits
    history : History
        Read: RR intervals.
    """

    def __init__(self, limits: Limits, history: History) -> None:
        self._beats, self._bpm, self._history = limits.vt_beats, limits.vt_bpm, history
        self.restart()

    def restart(self) -> None:
        """Forget the beats."""
        self._r: list[int] = []  # the last ones, as many as the limit asks for
        self._onset = 0

    def take(self, item: Item) -> list[Finding]:
        """Take a beat."""
        if not isinstance(item, Beat):
            return []
        if item.label != "V":
            self.restart()
            return []
        if not self._r or not self._history.rr[-1]:
            self._r, self._onset = [], item.r_index
        self._r = [*self._r, item.r_index][-self._beats :]
        if len(self._r) < self._beats or not item.trusted:
            return []
        rate = BPM * (self._beats - 1) / (self._r[-1] - self._r[0])
        if not SLOWEST_BPM <= rate <= self._bpm:
            return []
        return [
            Finding(
                "accelerated_ventricular_rhythm",
                self._onset,
                item.decided,
                f"{self._beats} or more ventricular beats in a row at {SLOWEST_BPM:g} to "
                f"{self._bpm:g}/min",
                {"vt_beats": float(self._beats), "vt_bpm": self._bpm},
                {"rate_bpm": round(rate, 1)},
                model="beats",
            )
        ]
