"""Whether a silence is one of the heart: no lead shows anything as steep as its usual QRS.

A detector misses beats in noise, beside large artefacts and after a change of gain; then the signal
is still as steep as it was. In asystole it is not, and is small: P waves and baseline are left.
"""

from __future__ import annotations

from collections import deque

from tocsin_dsp.conditioning.quality import HOP, RESTING_MV, Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

OVER = 6
"""Half seconds in a row that must be still."""
KEPT = 120
"""Half seconds kept: what is usual is the minute before."""
STILL_SHARE = 0.4
"""Of the usual steepest step: below it there is no QRS."""
FAINT_MV = 0.04
"""Range of a half second below which there is none, however steep the usual one is."""
LARGE_MV = 0.6
"""Range over `OVER` half seconds above which it is no baseline."""
BESIDE_MV = 0.025
"""Least range of the leads that are left while another is off: less is no ECG either."""
OFF_SHARE = 0.3
"""Share of the last `RECENT` in which a lead without an ECG is off."""
RECENT = 8 * ANALYSIS_RATE_HZ
USUAL = 0.75
"""Quantile of the steepest steps that is usual: a QRS is in most half seconds."""
LEAST_STEP_MV = 0.002


class Stillness:
    """Follow the extents of all leads."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the signal."""
        self._hops: deque[Hop] = deque(maxlen=KEPT)

    def take(self, hop: Hop) -> None:
        """Take a half second."""
        self._hops.append(hop)

    def holds(self, since: int, *, at_rest: bool = False) -> bool:
        """Return whether the heart has stood still since an index, as far as the signal shows.

        Parameters
        ----------
        since : int
            Analysis index after which no beat was found.
        at_rest : bool
            Whether nothing is known of before: then every half second since must be at rest.
        """
        if not self._hops or not self._hops[-1].extents:
            return True  # nothing is known of the signal: beats alone decide
        silent = [hop for hop in self._hops if hop.stop - HOP >= since]
        if at_rest:  # the usual steps are those of the silence itself
            return all(_is_resting(hop) for hop in silent)
        usual = self._usual_steps()
        return any(
            self._is_still(silent[i : i + OVER], usual) for i in range(len(silent) - OVER + 1)
        )

    def _usual_steps(self) -> list[float]:
        """Return the usual steepest step of each lead, before the last seconds where known."""
        newest = self._hops[-1].stop
        before = [hop for hop in self._hops if hop.stop <= newest - RECENT] or list(self._hops)
        steps = []
        for lead in range(len(before[0].extents)):
            ordered = sorted(hop.extents[lead].steepest_step for hop in before)
            steps.append(
                max(ordered[min(int(USUAL * len(ordered)), len(ordered) - 1)], LEAST_STEP_MV)
            )
        return steps

    def _is_still(self, hops: list[Hop], usual: list[float]) -> bool:
        """Return whether no lead that is on shows a QRS in these half seconds."""
        on = [
            lead
            for lead in range(len(usual))
            if all(h.states[lead].carries_ecg or h.is_quiet(lead) for h in hops)
        ]
        heights = []
        for lead in on:
            extents = [h.extents[lead] for h in hops]
            steep = max(e.steepest_step for e in extents) > STILL_SHARE * usual[lead]
            height = max(e.high for e in extents) - min(e.low for e in extents)
            if height > LARGE_MV or (steep and max(e.span for e in extents) > FAINT_MV):
                return False
            heights.append(height)
        least = BESIDE_MV if self._one_is_off(len(usual)) else 0.0
        return bool(heights) and max(heights) >= least

    def _one_is_off(self, leads: int) -> bool:
        newest = self._hops[-1].stop
        recent = [hop for hop in self._hops if hop.stop > newest - RECENT]
        off = [
            sum(not (h.states[lead].carries_ecg or h.is_quiet(lead)) for h in recent)
            for lead in range(leads)
        ]
        return max(off) > OFF_SHARE * len(recent)


def _is_resting(hop: Hop) -> bool:
    """Return whether no lead that is on shows more than a baseline."""
    pairs = zip(hop.states, hop.extents, strict=True)
    return all(extent.span <= RESTING_MV for state, extent in pairs if state.carries_ecg)
