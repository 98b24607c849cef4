"""Ventricular beats: tachycardia, runs, couplets, bigeminy and frequent beats.

Codes: `ventricular_tachycardia`, `ventricular_run`, `couplet`, `bigeminy`, `frequent_ventricular`.
No alarm begins on a beat of low trust; what began on trusted beats continues on others.

Where a model verifies (`tocsin_agent.monitor.alarms.verification`), it raises the tachycardia: one
of which single beats are labelled otherwise too, and not the noise that looks ventricular for some
beats. A run of `CLEAR_RUN` beats raises it by rule all the same, and without a model every run that
is long and fast enough does.

Latency: none beyond the beat that completes the condition; a couplet needs the beat after it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tocsin_agent.monitor.rhythm.family import RuleFamily
from tocsin_agent.monitor.rhythm.finding import Finding, Reason
from tocsin_agent.monitor.rhythm.history import BPM, History
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.verdicts import Verdicts
from tocsin_agent.monitor.timeline import Beat, Item
from tocsin_dsp.conditioning.quality import Hop
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

RUN_BEATS = 3
"""Ventricular beats in a row that are a run."""
CLEAR_RUN = 10
"""Fast ventricular beats in a row that are a tachycardia whatever the verification says."""
VERIFIED_OVER = 2 * ANALYSIS_RATE_HZ
"""A verified tachycardia began so many samples before its verdict, where no run says more."""
RUN_REASONS = 5
"""So many beats, the first of a run, are its reasons: what lasts becomes the usual beat."""
VT_CONTINUES_S = 30.0
"""For so long a tachycardia continues without a further ventricular label, while its rate does:
its shape may have changed, or noise may hide it."""
VT_CONTINUES_SHARE = 0.85
"""Its rate does while it is above this share of the tachycardia's."""


@dataclass(slots=True)
class _Run:
    """Ventricular beats in a row, summed up: a run may last for days."""

    first_r: int = 0
    last_r: int = 0
    beats: int = 0
    low_trust: int = 0  # of the beats
    held: int = 0  # of the beats
    reported: bool = False
    probability: float = 0.0  # sum over the beats
    reasons: tuple[Reason, ...] = ()  # its first beats

    def add(self, reason: Reason) -> None:
        """Append a beat."""
        beat = reason.beat
        if self.beats < RUN_REASONS:
            self.reasons = (*self.reasons, reason)
        if self.beats == 0:
            self.first_r = beat.r_index
        self.last_r = beat.r_index
        self.beats += 1
        self.low_trust += not beat.trusted
        self.held += beat.held
        self.probability += beat.probability

    @property
    def rate_bpm(self) -> float:
        """Mean rate over a run of at least two beats."""
        return BPM * (self.beats - 1) / (self.last_r - self.first_r)


class VentricularRules(RuleFamily):
    """Follow the ventricular beats; a gap in the signal ends what is followed.

    Reason for its size: all its conditions read the same run of beats.

    Parameters
    ----------
    limits : Limits
    history : History
        Read: RR intervals and prematurity.
    verdicts : Verdicts, optional
        Read: what the verification of a tachycardia says.
    """

    def __init__(self, limits: Limits, history: History, verdicts: Verdicts | None = None) -> None:
        self._limits, self._history = limits, history
        self._verdicts = verdicts or Verdicts()
        self.restart()

    def restart(self) -> None:
        """Forget the beats."""
        self._before: tuple[bool, ...] = ()  # whether the last two beats were ventricular
        self._run = _Run()
        self._tachycardia: Finding | None = None  # the last one, while it may continue
        self._verified_since: int | None = None  # onset of the one that verification accepts
        self._alternating = 0  # ventricular beats, each after one other beat
        self._singles: deque[Reason] = deque(maxlen=self._limits.bigeminy_beats)
        self._minute: deque[Reason] = deque(maxlen=self._limits.frequent_per_min)

    def take(self, item: Item) -> list[Finding]:
        """Take a beat, or the verdict on a tachycardia at the end of a half second."""
        if isinstance(item, Hop):
            return self._verified(item.stop)
        if not isinstance(item, Beat):
            return []
        reason = Reason(item, self._history.premature_percent)
        joined = self._history.rr[-1] > 0
        found = self._ended_couplet(item, joined=joined)
        self._follow(reason, joined=joined)
        if item.label == "V":
            found += self._present(reason, joined=joined)
        return found + self._continued(item)

    def _ended_couplet(self, beat: Beat, *, joined: bool) -> list[Finding]:
        """Report two ventricular beats that another beat ends."""
        run = self._run
        if beat.label == "V" or not joined or run.beats != 2 or run.low_trust:
            return []
        return [self._from_run("couplet", beat.decided, "two ventricular beats in a row", {})]

    def _follow(self, reason: Reason, *, joined: bool) -> None:
        """Update the run and the alternation by a beat."""
        before, ventricular = self._before, reason.beat.label == "V"
        self._before = (*before[-1:], ventricular)
        if ventricular and joined:
            self._run.add(reason)
            self._alternating = self._alternating + 1 if before == (True, False) else 1
            return
        self._run = _Run()
        if ventricular:
            self._run.add(reason)
        if not joined or before[-1:] == (False,):
            self._alternating = self._run.beats

    def _present(self, reason: Reason, *, joined: bool) -> list[Finding]:
        """Report the conditions that a ventricular beat completes."""
        beat, found = reason.beat, []
        self._singles.append(reason)
        if self._run.beats >= RUN_BEATS and (beat.trusted or self._run.reported):
            self._run.reported = True
            found.append(self._long_run(beat))
        if beat.trusted:
            if joined and self._alternating >= self._limits.bigeminy_beats:
                found.append(self._bigeminy(beat))
            found += self._frequent(reason)
        return found

    def _long_run(self, beat: Beat) -> Finding:
        beats, bpm = self._limits.vt_beats, self._limits.vt_bpm
        if self._run.beats >= beats and self._run.rate_bpm > bpm and self._is_proved():
            rule = f"{beats} or more ventricular beats in a row above {bpm:g}/min"
            stated = {"vt_beats": float(beats), "vt_bpm": bpm}
            found = self._from_run("ventricular_tachycardia", beat.decided, rule, stated)
            self._tachycardia = found
            return found
        rule, stated = "3 or more ventricular beats in a row", {"run_beats": float(RUN_BEATS)}
        return self._from_run("ventricular_run", beat.decided, rule, stated)

    def _is_proved(self) -> bool:
        """Return whether a run needs no verification, or passed it at the last half second."""
        verdict = self._verdicts.tachycardia
        if not self._verdicts.active or self._run.beats >= CLEAR_RUN:
            return True
        return verdict is not None and verdict.accepted

    def _verified(self, at: int) -> list[Finding]:
        """Report a tachycardia that the verification accepts."""
        verdict = self._verdicts.tachycardia
        if verdict is None or not verdict.accepted:
            self._verified_since = None
            return []
        if self._verified_since is None:
            self._verified_since = at - VERIFIED_OVER if self._run.beats < 2 else self._run.first_r
        found = Finding(
            "ventricular_tachycardia",
            max(self._verified_since, 0),
            at,
            "ventricular beats of some lead in a row, verified by a model",
            {"vt_bpm": self._limits.vt_bpm},
            verdict.measured,
            probability=verdict.probability,
            model="alarms",
            reasons=self._run.reasons,
        )
        return [found]

    def _from_run(self, code: str, at: int, rule: str, limits: dict[str, float]) -> Finding:
        run = self._run
        measured: dict[str, float | str] = {
            "beats": float(run.beats),
            "rate_bpm": round(run.rate_bpm, 1),
        }
        if run.held:
            measured["held_beats"] = float(run.held)
        return Finding(
            code,
            run.first_r,
            at,
            rule,
            limits,
            measured,
            probability=round(run.probability / run.beats, 3),
            model="beats",
            reasons=run.reasons,
        )

    def _continued(self, beat: Beat) -> list[Finding]:
        """Report a tachycardia while its rate lasts, whatever the labels are."""
        last = self._tachycardia
        if last is None or last.at == beat.decided:
            return []
        rr = self._history.rr[-4:]
        rate = BPM * len(rr) / sum(rr) if min(rr) > 0 else 0.0
        lowest = max(self._limits.vt_bpm, VT_CONTINUES_SHARE * float(last.measured["rate_bpm"]))
        if rate <= lowest or beat.decided - last.at > VT_CONTINUES_S * ANALYSIS_RATE_HZ:
            self._tachycardia = None
            return []
        return [last._replace(at=beat.decided)]

    def _bigeminy(self, beat: Beat) -> Finding:
        limit = self._limits.bigeminy_beats
        return Finding(
            "bigeminy",
            self._singles[0].beat.r_index,
            beat.decided,
            f"{limit} ventricular beats, each after one other beat",
            {"bigeminy_beats": float(limit)},
            {"ventricular_beats": float(self._alternating)},
            model="beats",
            reasons=tuple(self._singles),
        )

    def _frequent(self, reason: Reason) -> list[Finding]:
        limit = self._limits.frequent_per_min
        self._minute.append(reason)
        onset = self._minute[0].beat.r_index
        span_s = (reason.beat.r_index - onset) / ANALYSIS_RATE_HZ
        if len(self._minute) < limit or span_s > 60:
            return []
        return [
            Finding(
                "frequent_ventricular",
                onset,
                reason.beat.decided,
                f"{limit} ventricular beats within a minute",
                {"frequent_per_min": float(limit)},
                {"ventricular_beats": float(limit), "within_s": span_s},
                model="beats",
                reasons=tuple(self._minute),
            )
        ]
