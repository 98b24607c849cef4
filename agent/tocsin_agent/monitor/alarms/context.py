"""What the context of a patient changes in the alarms: pure functions of context and limits.

Rates beyond which a child or a neonate is in danger are those of Paediatric Advanced Life Support:
a narrow tachycardia of 180/min or more in a child, of 220/min or more in an infant, is probably not
sinus rhythm, and a child below 60/min is resuscitated (Topjian et al., Circulation 142:S469, 2020);
the awake rate of infants up to three months is 85 to 205/min in its table. A pause is one of three
times the usual cycle (Silka et al., Heart Rhythm 18:1888, 2021), at the median rates of Fleming et
al. (Lancet 377:1011, 2011), 127/min at birth and 84/min at ten years. Atrial fibrillation that is
known is controlled below 110/min at rest (Van Gelder et al., N. Engl. J. Med. 362:1363, 2010).

Looked up in public text: 180 and 220/min (two summaries of the guideline), 85 to 205/min (web
appendix of Fleming et al.), 127/min (its abstract, which also says 145/min at one month: three
cycles are then 1.2 s, not 1.5 s), 110/min (abstract of Van Gelder et al.). The papers exist, but
the text that gives 60/min, three cycles, and 84/min has not been seen.

Ventricular tachycardia, fibrillation and asystole are the same for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from tocsin_agent.messages.alert import Kind, Priority
from tocsin_agent.messages.context import AgeClass, PatientContext
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

AGE_LIMITS: Mapping[AgeClass, Mapping[str, float]] = {
    AgeClass.ADULT: {},
    AgeClass.CHILD: {"bradycardia_bpm": 60.0, "tachycardia_bpm": 180.0, "pause_s": 2.0},
    AgeClass.NEONATE: {"bradycardia_bpm": 85.0, "tachycardia_bpm": 220.0, "pause_s": 1.5},
}
"""The limits of an age class, where the configuration leaves the default."""
USUAL_SHARE = 0.2
"""Rates within this share of the usual rate raise no alarm."""
AF_FAST_BPM, AF_SLOW_BPM = 110.0, 50.0
"""Known atrial fibrillation raises an alarm from the first rate up and from the second down."""
PACED_SUPPRESSES = (
    *("ventricular_run", "couplet", "bigeminy", "frequent_ventricular"),
    *("accelerated_ventricular_rhythm", "r_on_t"),
    "trend_ectopy",
)
"""What wide beats of a pacemaker look like."""
_CODES = {
    "bradycardia_bpm": "extreme_bradycardia",
    "tachycardia_bpm": "extreme_tachycardia",
    "pause_s": "pause",
}
_UNITS = {"bradycardia_bpm": "/min", "tachycardia_bpm": "/min", "pause_s": " s"}
_AF = "atrial_fibrillation"


class Effect(NamedTuple):
    """What a context changes.

    Attributes
    ----------
    limits : Limits
        Those that apply.
    suppressed : dict
        By code of an alarm that is not raised: why.
    af_on_rate : bool
        Atrial fibrillation raises an alarm only on its rate.
    notes : dict
        By code of an alarm: what the context changed, for the evidence.
    """

    limits: Limits
    suppressed: dict[str, str]
    af_on_rate: bool
    notes: dict[str, str]

    @property
    def is_none(self) -> bool:
        """True where findings stay as they are."""
        return not (self.suppressed or self.af_on_rate or self.notes)


def effect_of(context: PatientContext, limits: Limits) -> Effect:
    """Return what a context changes in the configured limits and in the alarms.

    Parameters
    ----------
    context : PatientContext
        Its do-not-alarm list contains what applies now: this module knows no time.
    limits : Limits
        As configured. One that is not at its default is the site's choice, and age leaves it.
    """
    changed: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name, value in AGE_LIMITS[context.age].items():
        if getattr(limits, name) == getattr(Limits(), name):
            changed[name] = value
            notes[_CODES[name]] = f"{context.age}: {_instead(name, value, limits)}"
    if context.usual_rate_bpm is not None:
        for name, value in _around(context.usual_rate_bpm, changed, limits).items():
            changed[name] = value
            notes[_CODES[name]] = (
                f"usual rate {context.usual_rate_bpm:g}/min: {_instead(name, value, limits)}"
            )
    suppressed = dict.fromkeys(PACED_SUPPRESSES, "the patient is paced") if context.paced else {}
    if context.atrial_fibrillation:
        suppressed["trend_atrial_fibrillation"] = "atrial fibrillation is known"
    for entry in context.do_not_alarm:
        suppressed[entry.code] = f"switched off until {entry.until:%Y-%m-%d %H:%M} UTC"
    return Effect(
        msgspec.structs.replace(limits, **changed) if changed else limits,
        suppressed,
        context.atrial_fibrillation,
        notes,
    )


def why_not(effect: Effect, code: str, rate_bpm: float | None) -> str:
    """Return why a condition may not raise an alarm at this heart rate; empty if it may."""
    if code == _AF and effect.af_on_rate and code not in effect.suppressed:
        if rate_bpm is None:
            return "atrial fibrillation is known"
        if AF_SLOW_BPM < rate_bpm < AF_FAST_BPM:
            return f"atrial fibrillation is known, {rate_bpm:.0f}/min"
    return effect.suppressed.get(code, "")


class Suppression(NamedTuple):
    """A condition that was found and raised no alarm, because of the context.

    `at` is an analysis index in the monitor, and a source sample in its report.
    """

    code: str
    at: int
    reason: str


class Suppressions:
    """Reports each suppressed condition once, until it has not been found for its hold time."""

    def __init__(self) -> None:
        self._until: dict[str, int] = {}

    def take(
        self, effect: Effect, findings: Iterable[Finding], rate_bpm: float | None
    ) -> list[Suppression]:
        """Return what begins to be suppressed; arguments as in `admit`."""
        begun = []
        for finding in findings:
            if reason := why_not(effect, finding.code, rate_bpm):
                if finding.at >= self._until.get(finding.code, 0):
                    begun.append(Suppression(finding.code, finding.at, reason))
                hold_s = ALARMS[finding.code].hold_s
                self._until[finding.code] = finding.at + round(hold_s * ANALYSIS_RATE_HZ)
        return begun


def admit(effect: Effect, findings: Iterable[Finding], rate_bpm: float | None) -> list[Finding]:
    """Return the findings that may raise an alarm, each with what the context changed for it.

    Parameters
    ----------
    effect : Effect
    findings : iterable of Finding
    rate_bpm : float or None
        The heart rate now.
    """
    admitted = []
    for finding in findings:
        if why_not(effect, finding.code, rate_bpm):
            continue
        note = effect.notes.get(finding.code)
        if finding.code == _AF and effect.af_on_rate:
            note = f"known, raised for its rate of {rate_bpm:.0f}/min"
        if note is not None:
            finding = finding._replace(measured=finding.measured | {"context": note})  # noqa: PLW2901
        admitted.append(finding)
    return admitted


def closed_by(before: Effect, after: Effect) -> dict[str, str]:
    """Return the alarms that a new context ends, and why: they are suppressed from now on."""
    closed = {
        code: f"no longer reported: {why}"
        for code, why in after.suppressed.items()
        if code not in before.suppressed
    }
    if after.af_on_rate and not before.af_on_rate:
        closed.setdefault(_AF, "no longer reported: atrial fibrillation is known")
    return closed


def refuse(context: PatientContext) -> str:
    """Return why a context cannot be accepted; empty if it can."""
    for entry in context.do_not_alarm:
        alarm = ALARMS.get(entry.code)
        if alarm is None:
            return f"do_not_alarm: there is no alarm {entry.code!r}; docs/alerts.md lists them"
        if alarm.priority is Priority.HIGH or alarm.kind is not Kind.PHYSIOLOGICAL:
            return (
                f"do_not_alarm: {entry.code} cannot be switched off: only alarms of the patient "
                "of medium and low priority can"
            )
    return ""


def _around(usual_bpm: float, changed: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """Return the limits of rate that lie within the usual rate's range, moved to its edge."""
    low, high = (1 - USUAL_SHARE) * usual_bpm, (1 + USUAL_SHARE) * usual_bpm
    moved = {}
    if low < changed.get("bradycardia_bpm", limits.bradycardia_bpm):
        moved["bradycardia_bpm"] = round(low, 1)
    if high > changed.get("tachycardia_bpm", limits.tachycardia_bpm):
        moved["tachycardia_bpm"] = round(high, 1)
    return moved


def _instead(name: str, value: float, limits: Limits) -> str:
    return f"limit {value:g}{_UNITS[name]} instead of {getattr(limits, name):g}{_UNITS[name]}"
