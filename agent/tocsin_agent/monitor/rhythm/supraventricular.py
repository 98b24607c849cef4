"""Supraventricular runs: `supraventricular_run` and `supraventricular_tachycardia`.

A run begins with a beat that is S, or that comes early, and continues while its beats are not
ventricular and come at a fast, regular rate. Eight beats in a row at 150/min are what telemetry
monitors call a supraventricular tachycardia (PatientNet operator manual: 8 supraventricular
beats, 150/min); Spacelabs asks for 5 premature beats. A rate that rises beat by beat, as a sinus
tachycardia does, begins no run.

Latency: none beyond the beat that completes the condition.
"""

from __future__ import annotations

from statistics import median

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import BPM, History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Item

RUN_BEATS = 3
"""S beats in a row that are a run."""
FAST_BEATS = 5
"""Beats in a row that are a run by their rate, whatever their labels."""
USUAL = 4
"""Intervals before a beat whose median is the usual one: few, so that a rising rate is no run."""
EARLY = 0.8
"""Of the usual interval: a beat that comes before that begins a run."""
SLOWEST_BPM = 100.0
"""A run of S beats is faster than this."""
REGULAR = 0.15
"""By so much an interval may differ from the mean of the run's, where the beat is not S."""
FIRST_REGULAR = 0.3
"""The same for its first: the coupling interval is not that of the run."""


class SupraventricularRules(RuleFamily):
    """Follow the runs.

    Parameters
    ----------
    limits : Limits
    history : History
        Read: RR intervals.
    """

    def __init__(self, limits: Limits, history: History) -> None:
        self._beats, self._history = limits.svt_beats, history
        self._on = frozenset(limits.further_alarms)
        self.use(limits)
        self.restart()

    def use(self, limits: Limits) -> None:
        """Use another limit of rate from here on."""
        self._bpm = limits.svt_bpm

    def restart(self) -> None:
        """Forget the run."""
        self._first = self._last = 0  # R peaks
        self._count = 0
        self._supraventricular = 0  # of its beats, those labelled S
        self._before = 0  # the interval before the run

    def take(self, item: Item) -> list[Finding]:
        """Take a beat."""
        if not isinstance(item, Beat):
            return []
        rr = self._history.rr[-1]
        if item.label not in "NS" or not rr:
            self.restart()
        elif self._count and self._continues(item, rr):
            self._add(item)
            return self._found(item)
        elif item.trusted and self._begins(item, rr):
            self._first, self._count, self._supraventricular, self._before = item.r_index, 0, 0, rr
            self._add(item)
        else:
            self.restart()
        return []

    def _begins(self, beat: Beat, rr: int) -> bool:
        usual = [before for before in self._history.rr[-USUAL - 1 : -1] if before]
        return beat.label == "S" or (bool(usual) and rr < EARLY * median(usual))

    def _continues(self, beat: Beat, rr: int) -> bool:
        if rr * SLOWEST_BPM >= BPM:
            return False
        if beat.label == "S":
            return True
        if self._count == 1:
            return abs(rr - self._before) <= FIRST_REGULAR * self._before
        mean = (self._last - self._first) / (self._count - 1)
        return abs(rr - mean) <= REGULAR * mean

    def _add(self, beat: Beat) -> None:
        self._last = beat.r_index
        self._count += 1
        self._supraventricular += beat.label == "S"

    def _found(self, beat: Beat) -> list[Finding]:
        rate = BPM * (self._count - 1) / (self._last - self._first)
        measured: dict[str, float | str] = {
            "beats": float(self._count),
            "rate_bpm": round(rate, 1),
            "supraventricular_beats": float(self._supraventricular),
        }
        fast = rate > self._bpm
        if fast and self._count >= self._beats:
            code = "supraventricular_tachycardia"
            rule = f"{self._beats} or more beats of a regular run above {self._bpm:g}/min"
            limits = {"svt_beats": float(self._beats), "svt_bpm": self._bpm}
        elif (self._supraventricular == self._count >= RUN_BEATS) or (
            fast and self._count >= FAST_BEATS
        ):
            code = "supraventricular_run"
            rule = f"3 supraventricular beats in a row, or 5 of a run above {self._bpm:g}/min"
            limits = {"svt_bpm": self._bpm}
        else:
            return []
        if code not in self._on:
            return []
        return [Finding(code, self._first, beat.decided, rule, limits, measured, model="beats")]
