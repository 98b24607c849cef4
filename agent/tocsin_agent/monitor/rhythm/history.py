"""The recent beats: R peaks, RR intervals, trust and prematurity, read by every rule family."""

from __future__ import annotations

from itertools import takewhile
from statistics import median

from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

DECIDED_WITHIN = 115
"""Analysis samples (0.46 s) after its R peak by which the label of a beat is known."""
BPM = 60 * ANALYSIS_RATE_HZ
"""Over an interval in analysis samples: a rate per minute."""
LONGEST_RR_S = 10.0
"""What is longer counts as unknown."""
USUAL_BEATS = 32
"""Prematurity is relative to the median of so many RR intervals before the beat."""
RATE_BEATS = 8
"""The heart rate is the median of so many RR intervals at most."""


class History:
    """Follow the beats and the presence of the signal.

    Parameters
    ----------
    limits : Limits

    Attributes
    ----------
    r, rr, trusted : list
        Of each recent beat: R peak, interval before it in analysis samples (0 where unknown), and
        whether it is trusted. They reach as far back as the longest rule.
    last_r : int or None
        R peak of the last beat.
    signal_since : int or None
        Index since which a lead has carried an ECG; None while none does.
    low_trust_since : int or None
        R peak of the first beat of low trust since a trusted one; None if the last beat is trusted.
    low_trust_before : bool
        Whether `low_trust_since` was set before the last beat.
    premature_percent : float or None
        How much of the usual interval the last beat came early, of V and S only.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = max(limits.tachycardia_beats, limits.bradycardia_beats, USUAL_BEATS)
        self._silent_after = round(limits.asystole_s * ANALYSIS_RATE_HZ) + DECIDED_WITHIN
        self.restart()

    def restart(self) -> None:
        """Forget all: nothing may span what was before and what comes next."""
        self.last_r: int | None = None
        self.signal_since: int | None = None
        self.low_trust_before = False
        self.forget_beats()

    def forget_beats(self) -> None:
        """Forget the sequence of beats; the last one is kept, because it ended a silence."""
        self.r: list[int] = []
        self.rr: list[int] = []
        self.trusted: list[bool] = []
        self.low_trust_since: int | None = None
        self.premature_percent: float | None = None

    def take(self, beat: Beat) -> None:
        """Append a beat."""
        rr = self._interval(beat)
        self.premature_percent = self._prematurity(rr) if beat.label in "VS" else None
        self.last_r = beat.r_index
        self.r.append(beat.r_index)
        self.rr.append(rr)
        self.trusted.append(beat.trusted)
        if len(self.r) > 2 * self._longest:
            for kept in (self.r, self.rr, self.trusted):
                del kept[: self._longest]
        self.low_trust_before = self.low_trust_since is not None
        if beat.trusted:
            self.low_trust_since = None
        elif self.low_trust_since is None:
            self.low_trust_since = beat.r_index

    def begin_signal(self, at: int) -> None:
        """Note that a lead carries an ECG from `at` on."""
        self.signal_since = at

    def end_signal(self) -> None:
        """Note that no lead carries an ECG: no interval spans this."""
        self.signal_since = self.low_trust_since = None

    def end_low_trust(self) -> None:
        """Note that beats of low trust do not bear on what follows: the heart stood still."""
        self.low_trust_since = None

    def heart_rate_bpm(self, at: int) -> float | None:
        """Return the rate at an index, from the last unbroken RR intervals.

        None where no heart beats and where no interval is known.
        """
        if self.last_r is None or at - self.last_r >= self._silent_after:
            return None
        intervals = list(takewhile(bool, reversed(self.rr[-RATE_BEATS:])))
        return round(BPM / median(intervals), 1) if intervals else None

    def _interval(self, beat: Beat) -> int:
        """Return the interval before a beat, 0 where it is unknown or spans a loss of signal."""
        last, since = self.last_r, self.signal_since
        if last is None or since is None or since > last:
            return 0
        rr = beat.r_index - last
        return rr if rr <= LONGEST_RR_S * ANALYSIS_RATE_HZ else 0

    def _prematurity(self, rr: int) -> float | None:
        """Return by how much of the usual interval an interval is shorter, %."""
        usual = [before for before in self.rr[-USUAL_BEATS:] if before]
        return round(100.0 - 100.0 * rr / median(usual), 1) if rr and usual else None
