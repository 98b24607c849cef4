"""Which lead is used: the first one, unless another is needed.

Another is used while the first carries no ECG, is noisy beside a clean one, or has been silent for
two seconds while another showed two clear beats: then it is the electrode that fell silent and not
the heart. Changes are made in stream time. No latency of its own: a bad lead is left after two
seconds, a silent one with the second beat that another shows.

By state, not by the quality index alone: a restful lead is not always the better one.
"""

from __future__ import annotations

from tocsin_dsp.conditioning.quality import Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

LEAVE_AFTER = 4  # half seconds that a lead is bad before another is used
RETURN_AFTER = 4  # half seconds that a preferred lead is good before it is used again
SILENT = 2 * ANALYSIS_RATE_HZ  # so long without a beat here,
MISSED = 2  # with so many clear beats elsewhere, proves that the lead is at fault
CLEAR = 0.6  # strength of a beat that is clear


class LeadChoice:
    """Follow all leads and say which one is used.

    Parameters
    ----------
    leads : int
    """

    def __init__(self, leads: int) -> None:
        self.used = 0
        self._good_for = [0] * leads
        self._bad_for = [0] * leads
        self._missed = [0] * leads
        self._heard = [0] * leads

    def see(self, lead: int, r_index: int, *, clear: bool) -> None:
        """Take a beat of any lead: count what the others did not see, leave one that is silent."""
        for other in range(len(self._missed)):
            self._missed[other] += clear
        self._missed[lead] = 0
        self._heard[lead] = r_index
        silent = r_index - self._heard[self.used] > SILENT
        if silent and self._missed[self.used] >= MISSED:
            self.used = lead

    def hear(self, hop: Hop) -> None:
        """Take the quality of a half second, in order of decision with the beats."""
        for lead, state in enumerate(hop.states):
            clear = state is LeadState.GOOD
            good = clear and hop.stop - self._heard[lead] < 2 * SILENT
            self._good_for[lead] = self._good_for[lead] + 1 if good else 0
            self._bad_for[lead] = 0 if clear else self._bad_for[lead] + 1
        for preferred in range(self.used):
            if self._good_for[preferred] >= RETURN_AFTER:
                self.used = preferred
                return
        off = not hop.states[self.used].carries_ecg
        best = max(range(len(hop.states)), key=lambda n: (-hop.states[n], hop.values[n]))
        noisy = self._bad_for[self.used] >= LEAVE_AFTER and hop.states[best] is LeadState.GOOD
        if (off or noisy) and hop.states[best] < hop.states[self.used]:
            self.used = best
