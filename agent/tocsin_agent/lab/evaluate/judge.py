"""Run the agent over one record and compare its beats and alarms with the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.ec57.annotations import (
    AAMI_CLASS,
    VF_END,
    VF_ONSET,
    Annotations,
    make_annotations,
    read_annotations,
    read_header,
    require_beats,
)
from tocsin_agent.lab.ec57.beats import BeatComparison, BeatOptions, Score, compare_beats
from tocsin_agent.lab.ec57.episodes import EpisodeKind, EpisodeResult, compare_episodes
from tocsin_agent.lab.evaluate.alarm_scoring import AlarmCount, judge_alarms, with_vf_marks
from tocsin_agent.lab.evaluate.challenge2017 import rhythm_of
from tocsin_agent.lab.evaluate.databases import Reference
from tocsin_agent.lab.evaluate.objects import fetched
from tocsin_agent.lab.evaluate.vf_seconds import VfSeconds, judge_seconds
from tocsin_agent.messages.alert import Phase
from tocsin_agent.monitor import LabelledBeat, PatientMonitor
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.monitor.alarms.table import ALARMS, JudgedBy
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.errors import TocsinError
from tocsin_models import ALARMS as ALARM_MODEL
from tocsin_models import Models, load_model, load_models

BLOCK_S = 60.0  # s, the results do not depend on it
WORST = 10  # errors of a record that are reported
_MARKS = {
    code: (VF_ONSET, VF_END) if alarm.judged_by.by is JudgedBy.VF_MARKS else (alarm.wfdb, "(N")
    for code, alarm in ALARMS.items()
    if alarm.wfdb is not None
    and alarm.judged_by is not None
    and alarm.judged_by.by is not JudgedBy.BEATS
}
"""Marks of begin and end, by the code of an alarm that is judged by rhythm marks."""


class Task(NamedTuple):
    """One record to judge, with all that a worker process needs."""

    path: str
    record: str
    paced: bool
    leads: tuple[str, ...] | None
    reference: Reference | None = Reference("atr")  # None where there are no annotations
    verifier: str | None = None  # path of the model that verifies alarms, else the shipped one
    url: str | None = None  # of the database in an object store, in place of `path`


class Judgement(NamedTuple):
    """The result of one record; `beats`, `af` and `vf` are None without such a reference."""

    record: str
    rate_hz: float
    hours: float
    beats: BeatComparison | None
    paced: bool
    af: EpisodeResult | None
    vf: EpisodeResult | None
    alarms: dict[str, AlarmCount]
    latencies_s: tuple[float, ...]
    raised: tuple[tuple[str, float, float], ...]  # code, onset and end of each alarm, s
    classes: bool = True  # whether the reference has the classes of beats
    rhythm: str = "~"  # the class of `challenge2017`
    notes: tuple[str, ...] = ()  # corrections of the reference
    vf_seconds: VfSeconds | None = None  # None without marks of fibrillation
    labels: Mapping[str, int] = {}  # number of beats by label of the agent
    only_normal: bool = False  # whether the reference has beats, and none that is not of class N


def judge(task: Task) -> Judgement:
    """Run the agent over a record and judge it.

    Raises
    ------
    SourceError
        If the record or its reference cannot be read.
    """
    beats, alerts, rate_hz, samples = run_agent(task.path, task.leads, task.verifier)
    reference = _reference(task)
    detected = _as_annotations(beats, alerts, task.record, rate_hz, samples)
    compared = af = vf = None
    if reference is not None and reference.has_beats():
        compared = compare_beats(reference, detected, _judged(reference, task.reference))
    if reference is not None:
        af = compare_episodes(reference, detected, EpisodeKind.AF)
        vf = compare_episodes(with_vf_marks(reference), detected, EpisodeKind.VF)
    alarms = judge_alarms(reference, alerts, samples) if reference else {}
    latencies = tuple((b.decided_index - b.r_index) / rate_hz for b in beats)
    return Judgement(
        record=task.record,
        rate_hz=rate_hz,
        hours=samples / rate_hz / 3600,
        beats=compared,
        paced=task.paced,
        af=af,
        vf=vf,
        alarms=alarms,
        latencies_s=latencies,
        raised=raised_alarms(alerts, rate_hz),
        classes=task.reference is None or not task.reference.partial,
        rhythm=rhythm_of(beats, alerts, rate_hz, samples),
        notes=reference.notes if reference else (),
        vf_seconds=judge_seconds(reference, alerts, samples) if reference else None,
        labels=Counter(beat.label for beat in beats),
        only_normal=compared is not None and _only_normal(reference),
    )


def _only_normal(reference: Annotations | None) -> bool:
    classes = {AAMI_CLASS[s] for s in reference.symbol if s in AAMI_CLASS} if reference else set()
    return classes == {"N"}


def judge_or_fail(task: Task) -> Judgement | str:
    """Judge a record in a worker; return the reason where it cannot be judged."""
    try:
        if task.url is None:
            return judge(task)
        annotators = [task.reference.annotator] if task.reference else []
        with fetched(task.url, task.record, annotators) as path:
            return judge(task._replace(path=str(path)))
    except TocsinError as error:
        return str(error)


def run_agent(
    path: str,
    leads: tuple[str, ...] | None,
    verifier: str | None = None,
    limits: Limits | None = None,
) -> tuple[list[LabelledBeat], list[AlertEvent], float, int]:
    """Run the monitor over a record; return beats, alerts, sampling rate and length in samples."""
    models = _shipped_models()
    if verifier is not None:
        models = models._replace(alarms=load_model(ALARM_MODEL, Path(verifier)))
    beats: list[LabelledBeat] = []
    alerts: list[AlertEvent] = []
    with open_source(path, block_s=BLOCK_S, leads=named(path, leads)) as source:
        monitor = PatientMonitor(source.spec, limits, models)
        samples = 0
        try:
            while True:
                block = source.read(1.0)
                if block is None:
                    continue
                samples = block.stop_index
                report = monitor.push(block)
                beats += report.beats
                alerts += report.alerts
        except EndOfStream:
            report = monitor.finish()
    return beats + report.beats, alerts + report.alerts, source.spec.rate_hz, samples


@cache
def _shipped_models() -> Models:
    """Return the shipped models, loaded once in a process."""
    return load_models()


def named(path: str, leads: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names of leads, of which some may be given by column, such as ``0``.

    Raises
    ------
    SourceError
        If the record has no such column.
    """
    if leads is None or not any(lead.isdigit() for lead in leads):
        return leads
    with open_source(path, block_s=BLOCK_S) as source:
        names = source.spec.leads
    beyond = [lead for lead in leads if lead.isdigit() and int(lead) >= len(names)]
    if beyond:
        raise SourceError(
            SourceFault.NOT_FOUND, f"{path} has no lead {', '.join(beyond)}: it has {len(names)}"
        )
    return tuple(names[int(lead)] if lead.isdigit() else lead for lead in leads)


def _reference(task: Task) -> Annotations | None:
    if task.reference is None:
        return None
    path = Path(task.path)
    file = path.with_name(f"{path.name}.{task.reference.annotator}")
    reference = read_annotations(file, read_header(path.with_name(f"{path.name}.hea")))
    if not len(reference):
        raise SourceError(SourceFault.MALFORMED, f"{file} contains nothing to compare with")
    if task.reference.partial:
        require_beats(reference, file)
    return reference if task.reference.beats else _without_beats(reference)


def _without_beats(reference: Annotations) -> Annotations:
    kept = [i for i, symbol in enumerate(reference.symbol) if symbol not in AAMI_CLASS]
    return make_annotations(
        reference.sample[kept], [reference.symbol[i] for i in kept], rate_hz=reference.rate_hz,
        record=reference.record, n_samples=reference.n_samples, subtype=reference.subtype[kept],
        aux=[reference.aux[i] for i in kept],
    )  # fmt: skip


def _judged(reference: Annotations, kind: Reference | None) -> BeatOptions:
    """Return the part to judge: from the first beat to the last where not all are marked."""
    if kind is None or not kind.partial:
        return BeatOptions()
    window_s = BeatOptions().match_window_s
    marks = zip(reference.sample.tolist(), reference.symbol, strict=True)
    beats = [sample / reference.rate_hz for sample, symbol in marks if symbol in AAMI_CLASS]
    return BeatOptions(start_s=max(beats[0] - window_s, 0.0), end_s=beats[-1] + window_s)


def _as_annotations(
    beats: list[LabelledBeat],
    alerts: list[AlertEvent],
    record: str,
    rate_hz: float,
    samples: int,
) -> Annotations:
    """Return the beats and rhythm alarms of the agent as annotations."""
    marks = [(b.r_index, b.label, "") for b in beats]
    for alert in alerts:
        if alert.code in _MARKS and alert.phase is not Phase.UPDATE:
            mark = _MARKS[alert.code][alert.phase is Phase.END]
            held = round(ALARMS[alert.code].hold_s * rate_hz)  # after its condition last held
            at = alert.onset_index if alert.phase is Phase.ONSET else alert.detected_index - held
            marks.append((at, *(("+", mark) if mark.startswith("(") else (mark, ""))))
    return make_annotations(
        [m[0] for m in marks],
        [m[1] for m in marks],
        rate_hz=rate_hz,
        record=record,
        n_samples=samples,
        aux=[m[2] for m in marks],
    )


def raised_alarms(
    alerts: Iterable[AlertEvent], rate_hz: float
) -> tuple[tuple[str, float, float], ...]:
    """Return each alarm: code, onset and end, s."""
    begun: dict[str, tuple[str, float]] = {}
    raised = []
    for alert in alerts:
        if alert.phase is Phase.ONSET:
            begun[alert.alert_id] = (alert.code, alert.detected_index / rate_hz)
        elif alert.phase is Phase.END:
            code, at = begun.pop(alert.alert_id)
            raised.append((code, at, alert.detected_index / rate_hz))
    return tuple(raised)


def worst_misses(judgement: Judgement) -> list[dict[str, Any]]:
    """Return the worst errors in a record: missed and false V first, then other beats."""
    if judgement.beats is None:
        return []
    rate_hz = judgement.rate_hz
    found = []
    for pair in judgement.beats.pairs:
        labels = pair.label
        grave = 0 if "V" in labels.upper() else 1
        at = pair.reference if pair.reference is not None else pair.test
        real, test = labels[0], labels[1].upper()
        wrong = real != test if judgement.classes else (real in "OX") != (test in "OX")
        if wrong and at is not None:
            found.append((grave, at, labels))
    return [
        {
            "record": judgement.record,
            "sample": at,
            "seconds": round(at / rate_hz, 3),
            "reference": labels[0],
            "test": labels[1].upper(),
        }
        for _, at, labels in sorted(found)[:WORST]
    ]


def score_dict(score: Score) -> dict[str, Any]:
    """Return a score as in the result: percent, None where the denominator is 0."""
    return {
        "se": _percent(score.tp, score.tp + score.fn),
        "ppv": _percent(score.tp, score.tp + score.fp),
        "tp": score.tp,
        "fn": score.fn,
        "fp": score.fp,
    }


def _percent(part: int, whole: int) -> float | None:
    return round(float(100.0 * np.float64(part) / whole), 3) if whole else None
