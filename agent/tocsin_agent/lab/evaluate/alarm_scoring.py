"""Scoring of alarms: which were due, which were raised, and their delay.

An alarm of the beat rules is due when the same rules, with the same limits, find its condition in
the beats of the reference: it is the alarm that a perfect detector and classifier would raise. An
alarm of a rhythm (atrial or ventricular fibrillation) is due once the rhythm marks of the reference
have lasted for the time in the alarm's definition.

The rules hold an alarm for some time after its condition ends, so that one alarm may cover several
occurrences. Here each occurrence counts by itself: an alarm is true if it begins within
`ALARM_WINDOW_S` of an occurrence (IEC 60601-2-27 allows ten seconds), and its delay counts from the
time at which the definition held in that occurrence, not in the first occurrence that a perfect
alarm would cover. A reference alarm is missed if no true alarm began in any of its occurrences and
no open alarm found the condition in them.
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
"""Alarms of the first minutes of a long record are not judged, as EC57 leaves out its beats."""
SHORT_S = 600.0
"""Of a shorter record all alarms are judged."""
"""Seconds at the start of a record in which alarms are not judged."""
ALARM_WINDOW_S = 10.0
"""Seconds within which an alarm must begin around an occurrence to be true."""
LABEL_LATENCY = AFTER + 1
"""Analysis samples after R at which the rules receive a reference beat: those of the agent's beats,
so that both find the same pauses. Delays are counted without it, from the event itself."""
MATCH_WINDOW_S = 0.15
"""Seconds by which two annotators may mark a beat differently."""
VF_RHYTHMS = ("(VF", "(VFL", "(VFIB")


class Occurrence(NamedTuple):
    """The first and the last time at which an alarm's definition holds, s."""

    due: float
    last: float


class RaisedAlarm(NamedTuple):
    """An alarm of the agent: its begin and the last time at which its condition held, s."""

    at: float
    last: float


class AlarmCount(NamedTuple):
    """Alarms of one code on one record, and the delays of the reference alarms found."""

    true: int
    false: int
    missed: int
    delays_s: tuple[float, ...]

    @property
    def total(self) -> int:
        """Number of alarms that were raised or due."""
        return self.true + self.false + self.missed


def judge_alarms(
    reference: Annotations,
    alerts: Iterable[AlertEvent],
    samples: int,
    limits: Limits | None = None,
) -> dict[str, AlarmCount]:
    """Count the physiological alarms from the end of the learning period on.

    The result has every code that the reference can judge, with zeros where no alarm was raised or
    due. Without reference beats the alarms of the beat rules are left out, without rhythm marks
    those of rhythms. `limits` are those of the agent.
    """
    raised = _raised(alerts, reference.rate_hz)
    learning = learning_s(samples / reference.rate_hz)
    due: dict[str, list[list[Occurrence]]] = {}
    if reference.has_beats():
        due = due_by_beats(reference, samples, limits)
        codes = _judged_by(JudgedBy.BEATS)
    else:
        codes = set()
    if RHYTHM in reference.symbol or VF_ONSET in reference.symbol:
        by_rhythm = _judged_by(JudgedBy.AF_MARKS, JudgedBy.VF_MARKS)
        codes |= by_rhythm
        due |= {code: due_by_rhythm(reference, code, samples) for code in by_rhythm}
    return {code: pair(raised.get(code, []), due.get(code, []), learning) for code in sorted(codes)}


def learning_s(lasts_s: float) -> float:
    """Return from when on the alarms of a record are judged, s."""
    return LEARNING_S if lasts_s >= SHORT_S else 0.0


def pair(
    raised: Sequence[RaisedAlarm],
    due: Sequence[Sequence[Occurrence]],
    learning: float = LEARNING_S,
) -> AlarmCount:
    """Count one code's alarms.

    Parameters
    ----------
    raised : sequence of RaisedAlarm
        Those of the agent; in the learning period they are neither true nor false.
    due : sequence of sequence of Occurrence
        The occurrences of each alarm of the reference; those that begin in the learning period
        cannot be missed.
    learning : float
        The length of the learning period, s.
    """
    window = ALARM_WINDOW_S
    counted = [alarm for alarm in raised if alarm.at >= learning]
    everything = [occurrence for one in due for occurrence in one]
    right = [alarm for alarm in counted if any(_near(alarm, o) for o in everything)]
    delays, missed = [], 0
    for occurrences in due:
        if occurrences[0].due < learning:
            continue
        met = [alarm for alarm in right if any(_near(alarm, o) for o in occurrences)]
        if met:
            delays.append(round(_delay(min(met), occurrences), 3))
        elif not any(
            alarm.at <= o.last + window and alarm.last >= o.due - window
            for alarm in raised
            for o in occurrences
        ):
            missed += 1
    return AlarmCount(len(right), len(counted) - len(right), missed, tuple(delays))


def _near(alarm: RaisedAlarm, occurrence: Occurrence) -> bool:
    return occurrence.due - ALARM_WINDOW_S <= alarm.at <= occurrence.last + ALARM_WINDOW_S


def _delay(alarm: RaisedAlarm, occurrences: Sequence[Occurrence]) -> float:
    """Return the delay of an alarm after its occurrence; negative if it is early.

    That is the latest near occurrence that has begun, within the match window of a beat.
    """
    near = [o.due for o in occurrences if _near(alarm, o)]
    begun = [due for due in near if due <= alarm.at + MATCH_WINDOW_S]
    return alarm.at - (begun[-1] if begun else near[0])


def reference_alarms(reference: Annotations, samples: int) -> list[Transition]:
    """Return the alarms of the rules applied to the beats of the reference, in a clean signal."""
    steps = _applied_rules(reference, samples)
    return [transition for transitions, _ in steps for transition in transitions]


def due_by_beats(
    reference: Annotations, samples: int, limits: Limits | None = None
) -> dict[str, list[list[Occurrence]]]:
    """Return the occurrences of each alarm of the beat rules, by code."""
    due: dict[str, list[list[Occurrence]]] = {}
    current: dict[str, Episode] = {}
    for transitions, findings in _applied_rules(reference, samples, limits):
        for transition in transitions:
            if transition.phase is Phase.ONSET:
                current[transition.episode.code] = transition.episode
                due.setdefault(transition.episode.code, []).append([])
        for finding in findings:
            episode = current.get(finding.code)
            if episode is None or episode.last.at != finding.at:
                continue  # a graver condition suppresses it
            occurrences = due[finding.code][-1]
            seconds = (finding.at - LABEL_LATENCY) / ANALYSIS_RATE_HZ
            if len(occurrences) < episode.occurrences:
                occurrences.append(Occurrence(seconds, seconds))
            else:
                occurrences[-1] = occurrences[-1]._replace(last=seconds)
    return due


def due_by_rhythm(reference: Annotations, code: str, samples: int) -> list[list[Occurrence]]:
    """Return when an alarm of a rhythm is due by the marks of the reference, once per episode."""
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
    """Yield the sample of each rhythm mark, and whether atrial fibrillation begins there."""
    marks = zip(reference.sample.tolist(), reference.symbol, reference.aux, strict=True)
    yield from ((at, aux == "(AFIB") for at, symbol, aux in marks if symbol == RHYTHM)


def vf_marks(reference: Annotations) -> Iterator[tuple[int, bool]]:
    """Yield the marks of ventricular flutter and fibrillation, and whether it begins there.

    They are `[` and `]` where the reference has such marks, and its rhythm marks otherwise (vfdb).
    """
    marks = list(zip(reference.sample.tolist(), reference.symbol, reference.aux, strict=True))
    if VF_ONSET in reference.symbol:
        pairs = {VF_ONSET: True, VF_END: False}
        yield from ((at, pairs[symbol]) for at, symbol, _ in marks if symbol in pairs)
    else:
        yield from ((at, aux in VF_RHYTHMS) for at, symbol, aux in marks if symbol == RHYTHM)


def with_vf_marks(reference: Annotations) -> Annotations:
    """Return a reference with VF marked as `[` and `]`, as in EC57, and no other annotations.

    A reference that has such marks is returned unchanged.
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


def _applied_rules(
    reference: Annotations, samples: int, limits: Limits | None = None
) -> Iterator[tuple[list[Transition], list[Finding]]]:
    """Apply the rules to the beats of the reference; yield transitions and findings by step."""
    scale = ANALYSIS_RATE_HZ / reference.rate_hz
    rhythm, alarms = Rhythm(("reference",), limits or Limits()), Alarms()
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


def _raised(alerts: Iterable[AlertEvent], rate_hz: float) -> dict[str, list[RaisedAlarm]]:
    """Return the physiological alarms of the agent by code."""
    begun: dict[str, tuple[str, float]] = {}
    raised: dict[str, list[RaisedAlarm]] = {}
    for alert in alerts:
        seconds = alert.detected_index / rate_hz
        if alert.phase is Phase.ONSET and alert.kind is Kind.PHYSIOLOGICAL:
            begun[alert.alert_id] = (alert.code, seconds)
        elif alert.phase is Phase.END and alert.alert_id in begun:
            code, at = begun.pop(alert.alert_id)
            last = max(at, seconds - ALARMS[code].hold_s)
            raised.setdefault(code, []).append(RaisedAlarm(at, last))
    for code, at in begun.values():  # without an end
        raised.setdefault(code, []).append(RaisedAlarm(at, at))
    return {code: sorted(of_code) for code, of_code in raised.items()}
