"""Silence: `pause` and `asystole`, from the absence of beats while a signal is present.

Latency: `history.DECIDED_WITHIN` after the limit, when no beat can still be reported in time.
"""

from __future__ import annotations

from typing import NamedTuple

from tocsin_agent.monitor.rhythm.electrodes import ElectrodeRules
from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.fibrillation import FibrillationRules
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import DECIDED_WITHIN, History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.stillness import Stillness
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.quality import HOP, Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

FIRST_S = 8.0
"""Seconds without a beat, all at rest, that are asystole where no beat was found before."""


class _Due(NamedTuple):
    """The silence since `since` becomes the condition `code` at `at`, unless a beat comes."""

    at: int
    code: str
    since: int


_NEVER = _Due(1 << 62, "", 0)


class SilenceRules(RuleFamily):
    """Find pauses and asystole.

    After beats of low trust a pause is not reported: noise may hide beats. Asystole is, once
    `Stillness` finds three seconds in which no lead shows anything like a QRS. While the waveform
    may be fibrillation, asystole waits until that is decided.

    Before the first beat of a signal its electrodes settle and the detector learns: then asystole
    asks for `FIRST_S` of a resting baseline.

    Parameters
    ----------
    limits : Limits
    history : History
        Read; the begin and the end of the signal are written to it here.
    electrodes : ElectrodeRules
        Decides whether a lead can show a beat.
    fibrillation : FibrillationRules
        Decides whether the waveform may be fibrillation.
    """

    def __init__(
        self,
        limits: Limits,
        history: History,
        electrodes: ElectrodeRules,
        fibrillation: FibrillationRules,
    ) -> None:
        self._limits, self._history = limits, history
        self._electrodes, self._fibrillation = electrodes, fibrillation
        self._pause = limits.pause_s * ANALYSIS_RATE_HZ
        self._pause_after = round(self._pause) + DECIDED_WITHIN
        self._asystole_after = round(limits.asystole_s * ANALYSIS_RATE_HZ) + DECIDED_WITHIN
        first_s = max(FIRST_S, limits.asystole_s)
        self._first_after = round(first_s * ANALYSIS_RATE_HZ) + DECIDED_WITHIN
        self._stillness = Stillness()
        self.restart()

    def use(self, limits: Limits) -> None:
        """Use another limit of a pause, from the next beat on; that of asystole stays."""
        self._limits = limits
        self._pause = limits.pause_s * ANALYSIS_RATE_HZ
        self._pause_after = round(self._pause) + DECIDED_WITHIN

    def restart(self) -> None:
        """Forget the silence."""
        self._stillness.restart()
        self._reached = ""  # the code that the present silence has reached
        self._due = _NEVER

    def pass_time(self, now: int) -> list[Finding]:
        """Report the silences that become due up to `now`."""
        found = []
        while self._due.at <= now:
            due = self._due
            if due.code == "asystole" and self._must_wait(due):
                self._due = due._replace(at=due.at + HOP)
                continue
            self._reached = due.code
            if due.code == "asystole":
                self._history.end_low_trust()
                found.append(self._asystole(due.since, due.at))
            elif self._history.low_trust_since is None:
                found.append(self._paused(due.since, due.at, _seconds(due.since, due.at)))
            self._schedule()
        return found

    def _must_wait(self, due: _Due) -> bool:
        """Return whether asystole waits: it may be fibrillation, or beats that are not detected."""
        if self._fibrillation.suspects(due.at):
            return True
        last = self._history.last_r
        first = last is None or last < due.since
        return not self._stillness.holds(due.since, at_rest=first)

    def take(self, item: Item) -> list[Finding]:
        """Take a beat, which ends a silence, or a quality, which shows if beats are visible."""
        if isinstance(item, Beat):
            return self._beat(item)
        return self._hop(item) if isinstance(item, Hop) else []

    def _beat(self, beat: Beat) -> list[Finding]:
        """End the silence; report the pause that it was, if that is not done."""
        found, rr = [], self._history.rr[-1]
        if rr > self._pause and not self._reached and not self._history.low_trust_before:
            lasted_s = round(rr / ANALYSIS_RATE_HZ, 2)
            found.append(self._paused(beat.r_index - rr, beat.decided, lasted_s))
        self._reached = ""
        self._schedule()
        return found

    def _hop(self, hop: Hop) -> list[Finding]:
        """Follow whether the signal is present; report asystole for as long as it lasts."""
        self._stillness.take(hop)
        history, asystole = self._history, self._reached == "asystole"
        if not self._electrodes.can_show_beats(hop, asystole=asystole):
            history.end_signal()
            self._reached, self._due = "", _NEVER
        elif history.signal_since is None:
            history.begin_signal(hop.stop - HOP)
            self._schedule()
        since = history.signal_since
        if since is None:
            return []
        if self._reached == "asystole":
            last = since if history.last_r is None else history.last_r
            return [self._asystole(max(last, since), hop.stop)]
        if hop.alone_since is not None and self._is_contradicted(hop, hop.alone_since, since):
            return [self._asystole(hop.alone_since, hop.stop)]
        return []

    def _is_contradicted(self, hop: Hop, alone_since: int, signal_since: int) -> bool:
        """Return whether the beats of one lead are noise.

        They are where they are atypical, and a lead that showed the same beats before has been
        silent for as long as asystole takes.
        """
        if self._fibrillation.suspects(hop.stop):
            return False
        return hop.stop - max(alone_since, signal_since) >= self._asystole_after

    def _schedule(self) -> None:
        """Set which condition the silence becomes next, and when."""
        since, last = self._history.signal_since, self._history.last_r
        if since is None or self._reached == "asystole":
            self._due = _NEVER
            return
        after_a_beat = last is not None and last >= since
        if last is not None:
            since = max(last, since)
        after = self._asystole_after if after_a_beat else self._first_after
        self._due = _Due(since + after, "asystole", since)
        if after_a_beat and not self._reached:
            self._due = min(_Due(since + self._pause_after, "pause", since), self._due)

    def _paused(self, since: int, at: int, rr_s: float) -> Finding:
        limit = self._limits.pause_s
        rule = f"RR interval above {limit:g} s"
        return Finding("pause", since, at, rule, {"pause_s": limit}, {"rr_s": rr_s})

    def _asystole(self, since: int, at: int) -> Finding:
        limit = self._limits.asystole_s
        rule = f"no QRS for {limit:g} s with the signal present"
        measured: dict[str, float | str] = {"without_qrs_s": _seconds(since, at)}
        return Finding("asystole", since, at, rule, {"asystole_s": limit}, measured)


def _seconds(since: int, at: int) -> float:
    """Return for how long there has certainly been no beat."""
    return round((at - DECIDED_WITHIN - since) / ANALYSIS_RATE_HZ, 2)
