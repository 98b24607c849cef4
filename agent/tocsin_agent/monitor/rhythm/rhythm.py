"""Rhythm: from labelled beats, signal quality and the passing of stream time to findings.

A finding says that a condition holds at an instant of stream time. Whether it rings, for how long
and how often is not decided here but in `tocsin_agent.monitor.alarms.episodes`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from statistics import median

from tocsin_agent.messages.alert import Priority
from tocsin_agent.monitor.rhythm.atrial import AtrialFibrillationRule
from tocsin_agent.monitor.rhythm.fibrillation import FibrillationRule
from tocsin_agent.monitor.rhythm.finding import Finding, Reason
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Irregularity, Item, Waveform
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

DECIDED_WITHIN = 115
"""Analysis samples after its R peak by which a beat's label is known: 0.46 s."""
LONGEST_RR_S = 10.0
_LONGEST_RR = LONGEST_RR_S * ANALYSIS_RATE_HZ
_BPM = 60 * ANALYSIS_RATE_HZ  # an interval in samples into a rate
USUAL_BEATS = 32
"""A beat is early against the median of so many RR intervals before it."""
RUN_REASONS = 5
"""So many beats tell why a run is ventricular: the first, for what lasts becomes usual."""
_NEVER = (1 << 62, "", 0)
VT_GOES_ON_S = 30.0
VT_GOES_ON_SHARE = 0.85
"""While the rate stays above this share of the tachycardia's, a tachycardia that was ventricular is
taken to go on for so long without a further ventricular label: the shape may have changed, or noise
may hide it."""


@dataclass(slots=True)
class _Run:
    """Ventricular beats in a row, summed up: a run may last for days."""

    first_r: int = 0
    last_r: int = 0
    beats: int = 0
    doubted: int = 0  # of the beats
    held: int = 0  # of the beats
    told: bool = False
    certainty: float = 0.0  # sum over the beats
    reasons: tuple[Reason, ...] = ()  # its first beats

    def add(self, reason: Reason) -> None:
        """Let the run go on by a beat."""
        beat = reason.beat
        if self.beats < RUN_REASONS:
            self.reasons = (*self.reasons, reason)
        if self.beats == 0:
            self.first_r = beat.r_index
        self.last_r = beat.r_index
        self.beats += 1
        self.doubted += not beat.trusted
        self.held += beat.held
        self.certainty += beat.probability

    @property
    def rate_bpm(self) -> float:
        """Mean rate over a run of at least two beats."""
        return 60.0 * ANALYSIS_RATE_HZ * (self.beats - 1) / (self.last_r - self.first_r)


class Rhythm:
    """Judge the rhythm beat by beat, half second by half second.

    Parameters
    ----------
    leads : tuple of str
    limits : Limits
    """

    def __init__(self, leads: tuple[str, ...], limits: Limits) -> None:
        self._leads = leads
        self._limits = limits
        self._pause = limits.pause_s * ANALYSIS_RATE_HZ
        self._pause_after = round(self._pause) + DECIDED_WITHIN
        self._asystole_after = round(limits.asystole_s * ANALYSIS_RATE_HZ) + DECIDED_WITHIN
        self._rates = (
            ("bradycardia", "below", -1, limits.bradycardia_bpm, limits.bradycardia_beats),
            ("tachycardia", "above", 1, limits.tachycardia_bpm, limits.tachycardia_beats),
        )
        self._all_good = (LeadState.GOOD,) * len(leads)
        self._longest = max(limits.tachycardia_beats, limits.bradycardia_beats, USUAL_BEATS)
        self._off_since: dict[str, tuple[LeadState, int]] = {}
        self._fibrillation = FibrillationRule(limits.vf_s)
        self._atrial = AtrialFibrillationRule(limits.af_s)
        self.restart()

    def restart(self) -> None:
        """Forget the beats: nothing may span what comes next and what was before."""
        self._fibrillation.restart()
        self._atrial.restart()
        self._last_r: int | None = None
        self._carrying_since: int | None = None  # the signal has carried an ECG since then
        self._unreadable_since: int | None = None
        self._silence_told = ""
        self._silence = _NEVER
        self._off_since.clear()
        self._forget_beats()

    def _forget_beats(self) -> None:
        """Begin anew what rests on a row of beats; the last one is kept, for it ended a silence."""
        self._r: list[int] = []  # R peaks: as many as the longest rule looks back
        self._rr: list[int] = []  # the interval before each of them, samples; 0 where unknown
        self._trusted: list[bool] = []  # whether they are
        self._doubted_since: int | None = None  # no beat has been trusted since then
        self._were_ventricular: list[bool] = []  # the last two beats
        self.premature_percent: float | None = None  # of the last beat, if ventricular or supra-
        self._run = _Run()
        self._vt: Finding | None = None  # the ventricular tachycardia that may go on
        self._alternating = 0
        self._singles: deque[Reason] = deque(maxlen=self._limits.bigeminy_beats)
        self._minute: deque[Reason] = deque(maxlen=self._limits.frequent_per_min)

    def heart_rate_bpm(self, at: int) -> float | None:
        """Rate at an analysis index, from the median of up to eight unbroken RR intervals.

        None where no heart beats, where it cannot be heard, and in fibrillation.
        """
        if self._last_r is None or at - self._last_r >= self._asystole_after:
            return None
        if self._fibrillation.suspects(at):
            return None
        intervals = list(takewhile(bool, reversed(self._rr[-8:])))
        return round(_BPM / median(intervals), 1) if intervals else None

    def take(self, item: Item) -> list[Finding]:
        """Take what was decided at the instant to which time has passed, in order of decision."""
        if isinstance(item, Beat):
            return self._beat(item)
        if isinstance(item, Hop):
            return self._hop(item)
        if isinstance(item, Waveform):
            return self._waveform(item)
        return self._irregular(item) if isinstance(item, Irregularity) else []

    def _irregular(self, window: Irregularity) -> list[Finding]:
        proved = self._atrial.take(window)
        if proved is None:
            return []
        limit = self._limits.af_s
        measured: dict[str, float | str] = {
            "share_with_p": round(window.share_with_p, 2),
            "rr_difference": round(window.difference, 3),
        }
        rule = f"an irregular rhythm without P waves for {limit:g} s"
        code, stated, sure = "atrial_fibrillation", {"af_s": limit}, proved.probability
        at = window.decided
        return [
            Finding(code, proved.onset, at, rule, stated, measured, probability=sure, model="af")
        ]

    def _waveform(self, waveform: Waveform) -> list[Finding]:
        proved = self._fibrillation.take(waveform)
        if proved is None:
            return []
        self._forget_beats()  # what was detected in fibrillation were no beats
        limit = self._limits.vf_s
        rule = f"the waveform of ventricular fibrillation or flutter for {limit:g} s"
        measured: dict[str, float | str] = {
            "lead": proved.lead,
            "level_mv": round(proved.level_mv, 3),
            "lasting_s": round((proved.seen - proved.onset) / ANALYSIS_RATE_HZ, 1),
        }
        code, stated = "ventricular_fibrillation", {"vf_s": limit}
        onset, seen, sure = proved.onset, proved.seen, proved.probability
        return [Finding(code, onset, seen, rule, stated, measured, probability=sure, model="vf")]

    # -- silence: what the absence of a beat means -------------------------------------------

    def pass_time(self, now: int) -> list[Finding]:
        """Let time pass to analysis index `now`.

        A pause and asystole are told the moment that no beat can still turn up in time. A pause
        after doubted beats is not: where beats may be noise, noise may hide some. Asystole always
        is.
        """
        found = []
        while self._silence[0] <= now:
            due, code, since = self._silence
            if code == "asystole" and self._fibrillation.suspects(due):
                self._silence = (due + HOP, code, since)  # wait for what fibrillates to prove it
                continue
            self._silence_told = code
            if code == "asystole" or self._doubted_since is None:
                self._doubted_since = None
                found.append(self._silent(code, since, due))
            self._await_silence()
        return found

    def _await_silence(self) -> None:
        """Find out which silence is told next, and when, unless a beat comes."""
        since, last, told = self._carrying_since, self._last_r, self._silence_told
        if since is None or told == "asystole":
            self._silence = _NEVER
            return
        pausing = not told and last is not None and last >= since
        if last is not None and last > since:
            since = last
        self._silence = (since + self._asystole_after, "asystole", since)
        if pausing:
            self._silence = min((since + self._pause_after, "pause", since), self._silence)

    def _silent(self, code: str, since: int, seen: int) -> Finding:
        seconds = round((seen - DECIDED_WITHIN - since) / ANALYSIS_RATE_HZ, 2)
        if code == "pause":
            limit = self._limits.pause_s
            rule = f"RR interval above {limit:g} s"
            return Finding(code, since, seen, rule, {"pause_s": limit}, {"rr_s": seconds})
        limit = self._limits.asystole_s
        rule = f"no QRS for {limit:g} s with the signal present"
        measured: dict[str, float | str] = {"without_qrs_s": seconds}
        return Finding(code, since, seen, rule, {"asystole_s": limit}, measured)

    # -- beats -------------------------------------------------------------------------------

    def _beat(self, beat: Beat) -> list[Finding]:
        rr, last = 0, self._last_r
        if last is not None and self._carrying_since is not None and self._carrying_since <= last:
            rr = beat.r_index - last
            if rr > _LONGEST_RR:
                rr = 0
        found = []
        told_or_doubted = self._silence_told or self._doubted_since is not None
        if last is not None and rr > self._pause and not told_or_doubted:
            found.append(self._silent("pause", last, beat.decided))
            found[-1].measured["rr_s"] = round(rr / ANALYSIS_RATE_HZ, 2)
        self._silence_told = ""
        self._last_r = beat.r_index
        self._await_silence()
        self.premature_percent = self._prematurity(rr) if beat.label in "VS" else None
        found += self._ventricular(Reason(beat, self.premature_percent), joined=rr > 0)
        self._r.append(beat.r_index)
        self._rr.append(rr)
        self._trusted.append(beat.trusted)
        if len(self._r) > 2 * self._longest:
            for kept in (self._r, self._rr, self._trusted):
                del kept[: self._longest]
        if beat.trusted:
            self._doubted_since = None
        elif self._doubted_since is None:
            self._doubted_since = beat.r_index
        if self._vt is not None:
            found += self._tachycardia_goes_on(beat, self._vt)
        found += self._rate(beat)
        return found

    def _prematurity(self, rr: int) -> float | None:
        """Return by how much of the usual interval an interval is shorter, %."""
        usual = [before for before in self._rr[-USUAL_BEATS:] if before]
        return round(100.0 - 100.0 * rr / median(usual), 1) if rr and usual else None

    def _ventricular(self, reason: Reason, *, joined: bool) -> list[Finding]:
        """Follow runs of ventricular beats; a gap ends a run."""
        beat = reason.beat
        before, ventricular = self._were_ventricular, beat.label == "V"
        self._were_ventricular = [*before[-1:], ventricular]
        found = []
        if ventricular and joined:
            self._run.add(reason)
            self._alternating = self._alternating + 1 if before == [True, False] else 1
        else:
            if self._run.beats == 2 and joined and not self._run.doubted:
                rule = "two ventricular beats in a row"
                found.append(self._from_run("couplet", beat.decided, rule, {}))
            if self._run.beats:
                self._run = _Run()
            if ventricular:
                self._run.add(reason)
            if not joined or before[-1:] == [False]:
                self._alternating = self._run.beats
        if ventricular:
            self._singles.append(reason)
            # What began in a clear signal goes on in a bad one; nothing begins on doubted beats.
            if self._run.beats >= 3 and (beat.trusted or self._run.told):
                self._run.told = True
                found.append(self._long_run(beat))
            if beat.trusted:
                if joined and self._alternating >= self._limits.bigeminy_beats:
                    found.append(self._bigeminy(beat))
                found += self._frequent(reason)
        return found

    def _frequent(self, reason: Reason) -> list[Finding]:
        limit, seen = self._limits.frequent_per_min, reason.beat.decided
        self._minute.append(reason)
        onset = self._minute[0].beat.r_index
        span_s = (reason.beat.r_index - onset) / ANALYSIS_RATE_HZ
        if len(self._minute) < limit or span_s > 60:
            return []
        rule = f"{limit} ventricular beats within a minute"
        measured: dict[str, float | str] = {"ventricular_beats": float(limit), "within_s": span_s}
        limits = {"frequent_per_min": float(limit)}
        why = tuple(self._minute)
        found = Finding("frequent_ventricular", onset, seen, rule, limits, measured, reasons=why)
        return [found]

    def _long_run(self, beat: Beat) -> Finding:
        limits = self._limits
        if self._run.beats >= limits.vt_beats and self._run.rate_bpm > limits.vt_bpm:
            rule = (
                f"{limits.vt_beats} or more ventricular beats in a row above {limits.vt_bpm:g}/min"
            )
            stated = {"vt_beats": float(limits.vt_beats), "vt_bpm": limits.vt_bpm}
            self._vt = self._from_run("ventricular_tachycardia", beat.decided, rule, stated)
            return self._vt
        rule = "3 or more ventricular beats in a row"
        return self._from_run("ventricular_run", beat.decided, rule, {"run_beats": 3.0})

    def _from_run(self, code: str, seen: int, rule: str, limits: dict[str, float]) -> Finding:
        run = self._run
        measured: dict[str, float | str] = {
            "beats": float(run.beats),
            "rate_bpm": round(run.rate_bpm, 1),
        }
        if run.held:
            measured["held_beats"] = float(run.held)
        sure, why = round(run.certainty / run.beats, 3), run.reasons
        onset = run.first_r
        return Finding(code, onset, seen, rule, limits, measured, probability=sure, reasons=why)

    def _tachycardia_goes_on(self, beat: Beat, vt: Finding) -> list[Finding]:
        """See a ventricular tachycardia on while its rate lasts, whatever the beats are called."""
        if vt.at == beat.decided:
            return []
        rr = self._rr[-4:]
        rate = _BPM * len(rr) / sum(rr) if min(rr) > 0 else 0.0
        floor = max(self._limits.vt_bpm, VT_GOES_ON_SHARE * float(vt.measured["rate_bpm"]))
        if rate <= floor or beat.decided - vt.at > VT_GOES_ON_S * ANALYSIS_RATE_HZ:
            self._vt = None
            return []
        return [vt._replace(at=beat.decided)]

    def _bigeminy(self, beat: Beat) -> Finding:
        limit = self._limits.bigeminy_beats
        rule = f"{limit} ventricular beats, each after one other beat"
        measured: dict[str, float | str] = {"ventricular_beats": float(self._alternating)}
        stated = {"bigeminy_beats": float(limit)}
        onset, why = self._singles[0].beat.r_index, tuple(self._singles)
        return Finding("bigeminy", onset, beat.decided, rule, stated, measured, reasons=why)

    def _rate(self, beat: Beat) -> list[Finding]:
        """Tell extreme rates: the mean and the median interval must both be beyond the limit."""
        found = []
        for name, side, sign, bpm, count in self._rates:
            rr = self._rr[1 - count :]
            # The mean first: it costs least and rules out most. Unknown intervals count as 0.
            if len(self._r) < count or sign * (_BPM * len(rr) - bpm * sum(rr)) <= 0 or 0 in rr:
                continue
            if sign * (_BPM - bpm * median(rr)) <= 0:
                continue
            if sign > 0 and 2 * sum(self._trusted[-count:]) < count:
                continue  # noise adds beats; that it hides them is told as what it is
            found.append(
                Finding(
                    f"extreme_{name}",
                    self._r[-count],
                    beat.decided,
                    f"heart rate {side} {bpm:g}/min for {count} beats",
                    {f"{name}_bpm": bpm, f"{name}_beats": float(count)},
                    {"rate_bpm": round(_BPM * len(rr) / sum(rr), 1)},
                )
            )
        return found

    # -- signal ------------------------------------------------------------------------------

    def _hop(self, hop: Hop) -> list[Finding]:
        start = hop.stop - HOP
        found, calm = [], hop.states == self._all_good
        if calm:
            self._off_since.clear()
        else:
            found += self._leads_off(hop, start)
        found += self._unreadable(hop, start)
        if not calm and self._deaf(hop):
            self._carrying_since = self._doubted_since = None
            self._silence_told = ""
            self._silence = _NEVER
        elif self._carrying_since is None:
            self._carrying_since = start
            self._await_silence()
        if self._silence_told == "asystole" and self._carrying_since is not None:
            last = self._carrying_since if self._last_r is None else self._last_r
            found.append(self._silent("asystole", max(last, self._carrying_since), hop.stop))
        elif self._silent_elsewhere(hop):
            assert hop.alone_since is not None  # noqa: S101 - for the type checker
            found.append(self._silent("asystole", hop.alone_since, hop.stop))
        return found

    def _silent_elsewhere(self, hop: Hop) -> bool:
        """Tell whether what one lead shows is no heart: strange, and another lead is silent."""
        since, carrying = hop.alone_since, self._carrying_since
        if since is None or carrying is None or self._fibrillation.suspects(hop.stop):
            return False
        return hop.stop - max(since, carrying) >= self._asystole_after

    def _deaf(self, hop: Hop) -> bool:
        """Tell whether no lead could show a beat if there was one.

        A drift is believed to be an electrode only once it rings as one, and never while asystole
        rings: a baseline that wanders must not silence a heart that stands still.
        """
        patience = self._limits.lead_off_s * ANALYSIS_RATE_HZ
        for name, state in zip(self._leads, hop.states, strict=True):
            young = state is LeadState.LOOSE and hop.stop - self._off_since[name][1] < patience
            rings = state is LeadState.LOOSE and self._silence_told == "asystole"
            if state.carries_ecg or young or rings:
                return False
        return True

    def _leads_off(self, hop: Hop, start: int) -> list[Finding]:
        found = []
        left = [n for n, s in zip(self._leads, hop.states, strict=True) if s.carries_ecg]
        for name, state in zip(self._leads, hop.states, strict=True):
            if state.carries_ecg:
                self._off_since.pop(name, None)
                continue
            known = self._off_since.get(name)
            if known is None or (known[0] is LeadState.SATURATED) != (state is LeadState.SATURATED):
                known = self._off_since[name] = (state, start)
            seconds = (hop.stop - known[1]) / ANALYSIS_RATE_HZ
            if seconds < self._limits.lead_off_s:
                continue
            code = "saturation" if state is LeadState.SATURATED else "lead_off"
            found.append(
                Finding(
                    code,
                    known[1],
                    hop.stop,
                    f"lead without an ECG for {self._limits.lead_off_s:g} s",
                    {"lead_off_s": self._limits.lead_off_s},
                    {"lead": name, "state": state.name.lower(), "leads_left": float(len(left))},
                    subject=name,
                    priority=None if left else Priority.MEDIUM,
                )
            )
        return found

    def _unreadable(self, hop: Hop, start: int) -> list[Finding]:
        """Tell noise on every lead that is still connected, or beats that are noise for so long.

        Leads that are off ring themselves.
        """
        since = self._doubted_since
        noisy = LeadState.NOISY in hop.states and LeadState.GOOD not in hop.states
        if not noisy and since is None:
            self._unreadable_since = None
            return []
        if self._unreadable_since is None:
            self._unreadable_since = start if since is None else since
        if hop.stop - self._unreadable_since < self._limits.unusable_s * ANALYSIS_RATE_HZ:
            return []
        return [
            Finding(
                "signal_unusable",
                self._unreadable_since,
                hop.stop,
                f"no readable lead for {self._limits.unusable_s:g} s",
                {"unusable_s": self._limits.unusable_s},
                {"best_quality": max(hop.values)},
            )
        ]
