"""Which alarms were due, which rang, and how late.

An alarm of the beat rules is due when the same rules, with the same limits, find its condition in
the reference's own beats: it is what a perfect detector and classifier would have rung. One of a
rhythm (fibrillation, atrial or ventricular) is due once the reference's rhythm marks have said so
for as long as the alarm's definition asks.

The rules keep an alarm open for a while after its condition was last seen, so that one alarm may
stand for many occurrences. Here each occurrence counts by itself: an alarm is true if it begins
within `ALARM_WINDOW_S` of an occurrence (IEC 60601-2-27 gives an alarm ten seconds), and its delay
counts from the moment when the definition held in that occurrence, not from the first of those
that a perfect alarm would have held together. A reference alarm is missed where no true alarm began
in any of its occurrences and none that was open saw the condition there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tocsin_agent.lab.ec57.annotations import (
    AAMI_CLASS,
    RHYTHM,
    VF_END,
    VF_ONSET,
    Annotations,
    make_annotations,
)
from tocsin_agent.messages.alert import Kind, Phase
from tocsin_agent.monitor.alarms.episodes import Alarms, Episode, Transition
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS, JudgedBy
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import Rhythm
from tocsin_agent.monitor.timeline import Beat
from tocsin_dsp.beats.beats import AFTER
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

LEARNING_S = 300.0
ALARM_WINDOW_S = 10.0
LABEL_LATENCY = AFTER + 1
"""Analysis samples after R at which a reference beat is known to the rules: when ours are, so that
the same silence is or is not told. Delays are counted from so much earlier: from the fact."""
MATCH_WINDOW_S = 0.15
VF_RHYTHMS = ("(VF", "(VFL", "(VFIB")


class Occurrence(NamedTuple):
    """From when an alarm's definition holds to when it last does, in seconds."""

    due: float
    last: float


class Rung(NamedTuple):
    """An alarm of ours: when it began, and when its condition was last seen, in seconds."""

    at: float
    last: float


class AlarmCount(NamedTuple):
    """Alarms of one code on one record; `delays_s` are those of the reference alarms found."""

    true: int
    false: int
    missed: int
    delays_s: tuple[float, ...]

    @property
    def told(self) -> int:
        """How many alarms rang or should have."""
        return self.true + self.false + self.missed


def judge_alarms(
    reference: Annotations, alerts: Iterable[AlertEvent], samples: int
) -> dict[str, AlarmCount]:
    """Count the physiological alarms from the end of the learning period on.

    Every code that the reference can judge is there, with zeros where nothing rang or was due. What
    it cannot judge is left out: without beats the alarms of the beat rules, without rhythm marks
    those of rhythms.
    """
    rung = _rung(alerts, reference.rate_hz)
    due: dict[str, list[list[Occurrence]]] = {}
    if reference.has_beats():
        due = due_by_beats(reference, samples)
        codes = _judged_by(JudgedBy.BEATS)
    else:
        codes = set()
    if RHYTHM in reference.symbol or VF_ONSET in reference.symbol:
        by_rhythm = _judged_by(JudgedBy.AF_MARKS, JudgedBy.VF_MARKS)
        codes |= by_rhythm
        due |= {code: due_by_rhythm(reference, code, samples) for code in by_rhythm}
    return {code: pair(rung.get(code, []), due.get(code, [])) for code in sorted(codes)}


def pair(rung: Sequence[Rung], due: Sequence[Sequence[Occurrence]]) -> AlarmCount:
    """Count one code's alarms.

    Parameters
    ----------
    rung : sequence of Rung
        Ours; those of the learning period count neither as true nor as false.
    due : sequence of sequence of Occurrence
        What each alarm of the reference stands for; those that begin while learning cannot be
        missed.
    """
    window = ALARM_WINDOW_S
    counted = [alarm for alarm in rung if alarm.at >= LEARNING_S]
    everything = [occurrence for one in due for occurrence in one]
    right = [alarm for alarm in counted if any(_near(alarm, o) for o in everything)]
    delays, missed = [], 0
    for occurrences in due:
        if occurrences[0].due < LEARNING_S:
            continue
        met = [alarm for alarm in right if any(_near(alarm, o) for o in occurrences)]
        if met:
            delays.append(round(_delay(min(met), occurrences), 3))
        elif not any(
            alarm.at <= o.last + window and alarm.last >= o.due - window
            for alarm in rung
            for o in occurrences
        ):
            missed += 1
    return AlarmCount(len(right), len(counted) - len(right), missed, tuple(delays))


def _near(alarm: Rung, occurrence: Occurrence) -> bool:
    return occurrence.due - ALARM_WINDOW_S <= alarm.at <= occurrence.last + ALARM_WINDOW_S


def _delay(alarm: Rung, occurrences: Sequence[Occurrence]) -> float:
    """Return the delay behind the occurrence that an alarm tells; negative if it is early.

    That is the latest near it that has begun. Two observers mark a beat a little differently: what
    begins within the match window of a beat has begun.
    """
    near = [o.due for o in occurrences if _near(alarm, o)]
    begun = [due for due in near if due <= alarm.at + MATCH_WINDOW_S]
    return alarm.at - (begun[-1] if begun else near[0])


def reference_alarms(reference: Annotations, samples: int) -> list[Transition]:
    """Return what the rules say of the reference's own beats, in a clean signal."""
    return [transition for told, _ in _heard(reference, samples) for transition in told]


def due_by_beats(reference: Annotations, samples: int) -> dict[str, list[list[Occurrence]]]:
    """Return the occurrences that each alarm of the beat rules stands for, by code."""
    due: dict[str, list[list[Occurrence]]] = {}
    current: dict[str, Episode] = {}
    for told, findings in _heard(reference, samples):
        for transition in told:
            if transition.phase is Phase.ONSET:
                current[transition.episode.code] = transition.episode
                due.setdefault(transition.episode.code, []).append([])
        for finding in findings:
            episode = current.get(finding.code)
            if episode is None or episode.last.at != finding.at:
                continue  # a graver condition silences it
            occurrences = due[finding.code][-1]
            seconds = (finding.at - LABEL_LATENCY) / ANALYSIS_RATE_HZ
            if len(occurrences) < episode.occurrences:
                occurrences.append(Occurrence(seconds, seconds))
            else:
                occurrences[-1] = occurrences[-1]._replace(last=seconds)
    return due


def due_by_rhythm(reference: Annotations, code: str, samples: int) -> list[list[Occurrence]]:
    """Return when an alarm of a rhythm is due by the reference's marks: one for each stretch."""
    is_vf = code in _judged_by(JudgedBy.VF_MARKS)
    marks = vf_marks(reference) if is_vf else af_marks(reference)
    (limit,) = ALARMS[code].limits
    lasts_s = float(getattr(Limits(), limit))
    due, onset = [], None
    for sample, begins in (*marks, (samples, False)):
        if begins and onset is None:
            onset = sample
        elif not begins and onset is not None:
            start, end = onset / reference.rate_hz, sample / reference.rate_hz
            if end - start >= lasts_s:
                due.append([Occurrence(start + lasts_s, end)])
            onset = None
    return due


def _judged_by(*references: JudgedBy) -> set[str]:
    """Return the codes that are judged by any of these."""
    judged = ((code, alarm.judged_by) for code, alarm in ALARMS.items())
    return {code for code, judging in judged if judging and judging.by in references}


def af_marks(reference: Annotations) -> Iterator[tuple[int, bool]]:
    """Give each rhythm mark's sample, and whether atrial fibrillation begins there."""
    marks = zip(reference.sample.tolist(), reference.symbol, reference.aux, strict=True)
    yield from ((at, aux == "(AFIB") for at, symbol, aux in marks if symbol == RHYTHM)


def vf_marks(reference: Annotations) -> Iterator[tuple[int, bool]]:
    """Give the marks of ventricular flutter and fibrillation, and whether it begins there.

    They are `[` and `]` where the reference has such marks, and its rhythm marks otherwise (vfdb).
    """
    marks = list(zip(reference.sample.tolist(), reference.symbol, reference.aux, strict=True))
    if VF_ONSET in reference.symbol:
        pairs = {VF_ONSET: True, VF_END: False}
        yield from ((at, pairs[symbol]) for at, symbol, _ in marks if symbol in pairs)
    else:
        yield from ((at, aux in VF_RHYTHMS) for at, symbol, aux in marks if symbol == RHYTHM)


def with_vf_marks(reference: Annotations) -> Annotations:
    """Return a reference with VF marked as `[` and `]`, as EC57 judges it, and nothing else.

    A reference that has such marks of its own is returned as it is.
    """
    if VF_ONSET in reference.symbol:
        return reference
    samples, symbols, inside = [], [], False
    for at, begins in vf_marks(reference):
        if begins != inside:
            samples.append(at)
            symbols.append(VF_ONSET if begins else VF_END)
            inside = begins
    return make_annotations(
        samples, symbols, rate_hz=reference.rate_hz, record=reference.record,
        n_samples=reference.n_samples,
    )  # fmt: skip


def _heard(
    reference: Annotations, samples: int
) -> Iterator[tuple[list[Transition], list[Finding]]]:
    """Let the rules hear the reference's beats: what is told and what was found, step by step."""
    scale = ANALYSIS_RATE_HZ / reference.rate_hz
    rhythm, alarms = Rhythm(("reference",), Limits()), Alarms()
    items: list[tuple[int, int, Beat | Hop]] = []
    for at, symbol in zip(reference.sample.tolist(), reference.symbol, strict=True):
        if symbol in AAMI_CLASS:
            r_index = round(at * scale)
            decided = r_index + LABEL_LATENCY
            beat = Beat(r_index, decided, AAMI_CLASS[symbol], 1.0, "reference")
            items.append((decided, 1, beat))
    stop = round(samples * scale)
    good = (LeadState.GOOD,)
    items += [(at, 0, Hop(at, good, (1.0,))) for at in range(HOP, stop + 1, HOP)]
    for now, _, item in sorted(items, key=lambda i: i[:2]):
        for findings in (rhythm.pass_time(now), rhythm.take(item)):
            for finding in findings:
                yield alarms.step(finding.at, [finding]), [finding]
            yield alarms.step(now, []), []
    yield alarms.close_all(stop, "the recording ended"), []


def _rung(alerts: Iterable[AlertEvent], rate_hz: float) -> dict[str, list[Rung]]:
    """Return our physiological alarms by code."""
    begun: dict[str, tuple[str, float]] = {}
    rung: dict[str, list[Rung]] = {}
    for alert in alerts:
        seconds = alert.detected_index / rate_hz
        if alert.phase is Phase.ONSET and alert.kind is Kind.PHYSIOLOGICAL:
            begun[alert.alert_id] = (alert.code, seconds)
        elif alert.phase is Phase.END and alert.alert_id in begun:
            code, at = begun.pop(alert.alert_id)
            last = max(at, seconds - ALARMS[code].hold_s)
            rung.setdefault(code, []).append(Rung(at, last))
    for code, at in begun.values():  # cut off
        rung.setdefault(code, []).append(Rung(at, at))
    return {code: sorted(of_code) for code, of_code in rung.items()}
