"""The choice of the lead in use: the first lead, unless another is needed.

Another lead is used while the first carries no ECG, is noisy beside a clean one, or has shown no
beat for two seconds while another showed two clear beats: then the electrode has failed and not
the heart. Changes are made in stream time. No latency of its own: a bad lead is left after two
seconds, a silent one with the second beat that another shows.

Leads are compared by state first and by the quality index second: a quiet lead is not always the
better one.
"""

from __future__ import annotations

from tocsin_dsp.conditioning.quality import Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

LEAVE_AFTER = 4  # half seconds for which a lead is bad before another is used
RETURN_AFTER = 4  # half seconds for which a preferred lead is good before it is used again
SILENT = 2 * ANALYSIS_RATE_HZ  # analysis samples without a beat after which a lead is silent
MISSED = 2  # clear beats of other leads that a silent lead has missed before it is left
CLEAR = 0.6  # strength from which a beat is clear


class LeadChoice:
    """Choose the lead in use from the beats and the quality of all leads.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self.used = 0
        self._good_for = [0] * leads
        self._bad_for = [0] * leads
        self._missed = [0] * leads
        self._last_r = [0] * leads

    def observe_beat(self, lead: int, r_index: int, *, clear: bool) -> None:
        """Update by a beat of any lead: count what the others missed, leave a silent lead."""
        for other in range(len(self._missed)):
            self._missed[other] += clear
        self._missed[lead] = 0
        self._last_r[lead] = r_index
        silent = r_index - self._last_r[self.used] > SILENT
        if silent and self._missed[self.used] >= MISSED:
            self.used = lead

    def observe_quality(self, hop: Hop) -> None:
        """Update by the quality of a half second, in order of decision with the beats."""
        for lead, state in enumerate(hop.states):
            clear = state is LeadState.GOOD
            good = clear and hop.stop - self._last_r[lead] < 2 * SILENT
            self._good_for[lead] = self._good_for[lead] + 1 if good else 0
            self._bad_for[lead] = 0 if clear else self._bad_for[lead] + 1
        for preferred in range(self.used):
            if self._good_for[preferred] >= RETURN_AFTER:
                self.used = preferred
                return
        off = not hop.states[self.used].carries_ecg
        bad = self._bad_for[self.used] >= LEAVE_AFTER
        if not off and not bad:
            return
        best = max(range(len(hop.states)), key=lambda n: (-hop.states[n], hop.values[n]))
        if (off or hop.states[best] is LeadState.GOOD) and hop.states[best] < hop.states[self.used]:
            self.used = best
