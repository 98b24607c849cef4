"""Electrodes: `lead_off`, `saturation` and `signal_unusable`, from the quality of the leads.

Between the beats of a slow heart, and in asystole, a lead on a quiet amplifier is as flat as one
without an electrode. It counts as connected while it is quiet (`Hop.is_quiet`), was good right
before, and a beat was found since the signal began.
"""

from __future__ import annotations

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Item
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

AFTER_ASYSTOLE_S = 1.0
"""Where all leads are quiet, they count as off so long after asystole is due."""


class ElectrodeRules(RuleFamily):
    """Find leads without an ECG, and an ECG that is nothing but noise.

    Parameters
    ----------
    leads : tuple of str
    limits : Limits
    history : History
        Read: since when no beat is trusted.
    """

    def __init__(self, leads: tuple[str, ...], limits: Limits, history: History) -> None:
        self._leads, self._limits, self._history = leads, limits, history
        self._all_good = (LeadState.GOOD,) * len(leads)
        self._patience = limits.lead_off_s * ANALYSIS_RATE_HZ
        self._quiet_patience = (limits.asystole_s + AFTER_ASYSTOLE_S) * ANALYSIS_RATE_HZ
        self._off_since: dict[str, tuple[bool, int]] = {}  # whether railed, and since when
        self.restart()

    def restart(self) -> None:
        """Forget which leads are off."""
        self._unreadable_since: int | None = None
        self._off_since.clear()
        self._quiet = [False] * len(self._leads)  # flat, but connected as far as is known
        self._good = [False] * len(self._leads)  # in the half second before

    def take(self, item: Item) -> list[Finding]:
        """Take the quality of a half second."""
        if not isinstance(item, Hop):
            return []
        if item.states == self._all_good:
            self._off_since.clear()
            self._quiet = [False] * len(self._leads)
            self._good = [True] * len(self._leads)
            return self._unusable(item)
        self._follow_quiet(item)
        return self._off(item) + self._unusable(item)

    def can_show_beats(self, hop: Hop, *, asystole: bool) -> bool:
        """Return whether a lead would show a beat if there was one.

        A drifting lead counts as off once it has drifted for `lead_off_s`, and never during
        asystole: a wandering baseline must not end the alarm of a heart that stands still.
        """
        if hop.states == self._all_good:
            return True
        for lead, state in zip(self._leads, hop.states, strict=True):
            if state.carries_ecg:
                return True
            if state is LeadState.LOOSE:
                recent = hop.stop - self._off_since[lead][1] < self._patience
                if recent or asystole:
                    return True
        return any(self._quiet)

    def _follow_quiet(self, hop: Hop) -> None:
        """Follow which leads are flat, and connected as far as is known."""
        history = self._history
        last, since = history.last_r, history.signal_since
        beaten = last is not None and since is not None and last >= since
        for lead, state in enumerate(hop.states):
            before = self._good[lead] or self._quiet[lead]
            self._quiet[lead] = before and beaten and hop.is_quiet(lead)
            self._good[lead] = state is LeadState.GOOD

    def _off(self, hop: Hop) -> list[Finding]:
        """Report each lead that has been without an ECG for long enough."""
        found = []
        left = sum(state.carries_ecg for state in hop.states)
        for column, (lead, state) in enumerate(zip(self._leads, hop.states, strict=True)):
            if state.carries_ecg:
                self._off_since.pop(lead, None)
                continue
            railed = state is LeadState.SATURATED
            if self._off_since.get(lead, (not railed, 0))[0] is not railed:
                self._off_since[lead] = (railed, hop.stop - HOP)
            waits = self._quiet[column] and not left
            patience = self._quiet_patience if waits else self._patience
            if hop.stop - self._off_since[lead][1] >= patience:
                found.append(self._finding(hop, lead, state, left))
        return found

    def _finding(self, hop: Hop, lead: str, state: LeadState, left: int) -> Finding:
        railed, since = self._off_since[lead]
        code, limit = "saturation" if railed else "lead_off", self._limits.lead_off_s
        return Finding(
            code,
            since,
            hop.stop,
            f"lead without an ECG for {limit:g} s",
            {"lead_off_s": limit},
            {"lead": lead, "state": state.name.lower(), "leads_left": float(left)},
            subject=lead,
            last_lead=not left,
        )

    def _unusable(self, hop: Hop) -> list[Finding]:
        """Report noise on every connected lead, or only beats of low trust, for long enough.

        Leads that are off have an alarm of their own.
        """
        since = self._history.low_trust_since
        noisy = LeadState.NOISY in hop.states and LeadState.GOOD not in hop.states
        if not noisy and since is None:
            self._unreadable_since = None
            return []
        if self._unreadable_since is None:
            self._unreadable_since = hop.stop - HOP if since is None else since
        limit = self._limits.unusable_s
        if hop.stop - self._unreadable_since < limit * ANALYSIS_RATE_HZ:
            return []
        rule, measured = f"no readable lead for {limit:g} s", {"best_quality": max(hop.values)}
        onset, stated = self._unreadable_since, {"unusable_s": limit}
        return [Finding("signal_unusable", onset, hop.stop, rule, stated, {**measured})]
