"""Rate: `extreme_bradycardia` and `extreme_tachycardia`.

Latency: that of the last beat that the limit asks for.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import BPM, DECIDED_WITHIN, History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.quality import Hop

RATE_TOLERANCE = 0.05
"""Accuracy of a measured heart rate (IEC 60601-2-27: 10 % or 5/min at most): a rate that is less
than so much above the lower limit may be below it, and counts as below it."""


class _Extreme(NamedTuple):
    """A limit; `sign` is 1 where rates above it are extreme, -1 where rates below it are.

    `counted_bpm` is the measured rate beyond which the rate counts as beyond the limit `bpm`.
    """

    name: str
    sign: int
    bpm: float
    beats: int
    counted_bpm: float


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
            _Extreme(
                "bradycardia",
                -1,
                limits.bradycardia_bpm,
                limits.bradycardia_beats,
                limits.bradycardia_bpm * (1 + RATE_TOLERANCE),
            ),
            _Extreme(
                "tachycardia",
                1,
                limits.tachycardia_bpm,
                limits.tachycardia_beats,
                limits.tachycardia_bpm,
            ),
        )

    def take(self, item: Item) -> list[Finding]:
        """Take a beat, or time that passes since the last one."""
        if isinstance(item, Hop):
            return self._waiting(item)
        if not isinstance(item, Beat):
            return []
        return [self._finding(e, item) for e in self._extremes if self._holds(e)]

    def _waiting(self, hop: Hop) -> list[Finding]:
        """Report bradycardia before the next beat, where it comes too late to change that.

        The interval that is still open counts as what has passed of it: mean and median of the
        intervals can only grow until the beat comes.
        """
        slow, history = self._extremes[0], self._history
        last, since = history.last_r, history.signal_since
        closed = history.rr[2 - slow.beats :] if slow.beats > 2 else []
        if last is None or since is None or since > last or len(history.r) < slow.beats - 1:
            return []
        rr = [*closed, hop.stop - DECIDED_WITHIN - last]
        if 0 in closed or BPM * len(rr) >= slow.counted_bpm * sum(rr):
            return []
        if slow.counted_bpm * median(rr) <= BPM:
            return []
        return [self._found(slow, hop.stop, history.r[1 - slow.beats], rr)]

    def _holds(self, extreme: _Extreme) -> bool:
        history, count, sign = self._history, extreme.beats, extreme.sign
        bpm = extreme.counted_bpm
        rr = history.rr[1 - count :]
        # The mean first: it costs least and rules out most. Unknown intervals count as 0.
        if len(history.r) < count or sign * (BPM * len(rr) - bpm * sum(rr)) <= 0 or 0 in rr:
            return False
        if sign * (BPM - bpm * median(rr)) <= 0:
            return False
        return sign < 0 or 2 * sum(history.trusted[-count:]) >= count

    def _finding(self, extreme: _Extreme, beat: Beat) -> Finding:
        count = extreme.beats
        return self._found(
            extreme, beat.decided, self._history.r[-count], self._history.rr[1 - count :]
        )

    @staticmethod
    def _found(extreme: _Extreme, at: int, onset: int, rr: list[int]) -> Finding:
        name, sign, bpm, count, _ = extreme
        return Finding(
            f"extreme_{name}",
            onset,
            at,
            f"heart rate {'above' if sign > 0 else 'below'} {bpm:g}/min for {count} beats",
            {f"{name}_bpm": bpm, f"{name}_beats": float(count)},
            {"rate_bpm": round(BPM * len(rr) / sum(rr), 1)},
        )
