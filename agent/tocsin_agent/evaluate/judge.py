"""One record: run the agent, and compare what it says with the reference.

Alarms are judged against what the same rules, with the same limits, say of the reference's own
beats: a true alarm is one that a perfect detector and classifier would have rung. A rung alarm is
true if it begins within `ALARM_WINDOW_S` of a reference episode; IEC 60601-2-27 gives an alarm ten
seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tocsin_agent.alarms import ALARMS, Alarms, AlertEvent, Transition
from tocsin_agent.alert import Kind, Phase
from tocsin_agent.ec57.annotations import (
    AAMI_CLASS,
    Annotations,
    make_annotations,
    read_annotations,
    read_header,
)
from tocsin_agent.ec57.beats import BeatComparison, Score, compare_beats
from tocsin_agent.ec57.episodes import EpisodeKind, EpisodeResult, compare_episodes
from tocsin_agent.monitor import LabelledBeat, PatientMonitor
from tocsin_agent.rhythm import Beat, Limits, Rhythm
from tocsin_agent.sources import open_source
from tocsin_agent.sources.base import EndOfStream
from tocsin_dsp.beats import AFTER
from tocsin_dsp.errors import SourceError, SourceFault, TocsinError
from tocsin_dsp.quality import HOP, Hop, LeadState
from tocsin_dsp.resample import ANALYSIS_RATE_HZ
from tocsin_models import load_beat_model

BLOCK_S = 60.0
LEARNING_S = 300.0
ALARM_WINDOW_S = 10.0
WORST = 10
LABEL_LATENCY = AFTER + 1
"""Analysis samples after R at which a reference beat is known to the rules: when ours are, so that
the same silence is or is not told. Delays are counted from so much earlier: from the fact."""
_RHYTHMS = {"atrial_fibrillation": ("(AFIB", "(N"), "ventricular_fibrillation": ("[", "]")}


class Task(NamedTuple):
    """One record to judge; a worker needs nothing else."""

    path: str
    record: str
    paced: bool
    leads: tuple[str, ...] | None
    reference: str = "atr"


class AlarmCount(NamedTuple):
    """Alarms of one code on one record; `delays_s` are those of the true ones."""

    true: int
    false: int
    missed: int
    delays_s: tuple[float, ...]


class Judgement(NamedTuple):
    """What one record gives. `beats` and the rest are None where the reference has none."""

    record: str
    rate_hz: float
    hours: float
    beats: BeatComparison | None
    paced: bool
    af: EpisodeResult | None
    vf: EpisodeResult | None
    alarms: dict[str, AlarmCount]
    latencies_s: tuple[float, ...]
    raised: tuple[tuple[str, float, float], ...]  # code, detected and ended, in seconds


def judge(task: Task) -> Judgement:
    """Run the agent over a record and judge it.

    Raises
    ------
    SourceError
        If the record or its reference cannot be read.
    """
    beats, alerts, rate_hz, samples = run_agent(task.path, task.leads)
    reference = _reference(task)
    detected = _as_annotations(beats, alerts, task.record, rate_hz, samples)
    has_beats = reference is not None and reference.has_beats()
    compared = compare_beats(reference, detected) if reference and has_beats else None
    af = vf = None
    if reference is not None:
        af = compare_episodes(reference, detected, EpisodeKind.AF)
        vf = compare_episodes(_with_vf_marks(reference), detected, EpisodeKind.VF)
    alarms = _judge_alarms(reference, alerts, samples) if reference and has_beats else {}
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
        raised=_raised(alerts, rate_hz),
    )


def judge_or_say(task: Task) -> Judgement | str:
    """Judge a record in a worker, or say why it could not be."""
    try:
        return judge(task)
    except TocsinError as error:
        return str(error)


def run_agent(
    path: str, leads: tuple[str, ...] | None
) -> tuple[list[LabelledBeat], list[AlertEvent], float, int]:
    """Run the monitor over a record; return beats, alerts, its rate and its length in samples."""
    beats: list[LabelledBeat] = []
    alerts: list[AlertEvent] = []
    with open_source(path, block_s=BLOCK_S, leads=named(path, leads)) as source:
        monitor = PatientMonitor(source.spec, model=load_beat_model())
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


def named(path: str, leads: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return leads by name; those given by column, such as ``0``, are looked up in the record.

    Raises
    ------
    SourceError
        If the record has no such column.
    """
    if leads is None or not any(lead.isdigit() for lead in leads):
        return leads
    with open_source(path, block_s=BLOCK_S) as source:
        there = source.spec.leads
    beyond = [lead for lead in leads if lead.isdigit() and int(lead) >= len(there)]
    if beyond:
        raise SourceError(
            SourceFault.NOT_FOUND, f"{path} has no lead {', '.join(beyond)}: it has {len(there)}"
        )
    return tuple(there[int(lead)] if lead.isdigit() else lead for lead in leads)


def _reference(task: Task) -> Annotations | None:
    path = Path(task.path)
    file = path.with_name(f"{path.name}.{task.reference}")
    return (
        read_annotations(file, read_header(path.with_name(f"{path.name}.hea")))
        if file.is_file()
        else None
    )


def _as_annotations(
    beats: list[LabelledBeat],
    alerts: list[AlertEvent],
    record: str,
    rate_hz: float,
    samples: int,
) -> Annotations:
    """Say what the agent said in the terms of an annotation file."""
    marks = [(b.r_index, b.label, "") for b in beats]
    for alert in alerts:
        if alert.code in _RHYTHMS and alert.phase is not Phase.UPDATE:
            mark = _RHYTHMS[alert.code][alert.phase is Phase.END]
            at = alert.onset_index if alert.phase is Phase.ONSET else alert.detected_index
            marks.append((at, *(("+", mark) if mark.startswith("(") else (mark, ""))))
    return make_annotations(
        [m[0] for m in marks],
        [m[1] for m in marks],
        rate_hz=rate_hz,
        record=record,
        n_samples=samples,
        aux=[m[2] for m in marks],
    )


def _with_vf_marks(reference: Annotations) -> Annotations:
    """Rewrite rhythm marks of fibrillation and flutter (vfdb) as the onset and end that are judged.

    A reference that has such marks of its own is returned as it is.
    """
    if "[" in reference.symbol:
        return reference
    samples, symbols, inside = [], [], False
    for at, aux in zip(reference.sample, reference.aux, strict=True):
        if not aux.startswith("("):
            continue
        fibrillates = aux.rstrip("\0") in {"(VF", "(VFL", "(VFIB"}
        if fibrillates != inside:
            samples.append(int(at))
            symbols.append("[" if fibrillates else "]")
            inside = fibrillates
    return make_annotations(
        samples, symbols, rate_hz=reference.rate_hz, record=reference.record,
        n_samples=reference.n_samples,
    )  # fmt: skip


def reference_alarms(reference: Annotations, samples: int) -> list[Transition]:
    """Return what the rules say of the reference's own beats, in a clean signal."""
    scale = ANALYSIS_RATE_HZ / reference.rate_hz
    rhythm, alarms = Rhythm(("reference",), Limits()), Alarms()
    items: list[tuple[int, int, Beat | Hop]] = []
    for at, symbol in zip(reference.sample.tolist(), reference.symbol, strict=True):
        if symbol in AAMI_CLASS:
            r_index = round(at * scale)
            label = AAMI_CLASS[symbol]
            decided = r_index + LABEL_LATENCY
            items.append((decided, 1, Beat(r_index, decided, label, 1.0, "reference")))
    stop = round(samples * scale)
    good = (LeadState.GOOD,)
    items += [(at, 0, Hop(at, good, (1.0,))) for at in range(HOP, stop + 1, HOP)]
    told: list[Transition] = []
    for now, _, item in sorted(items, key=lambda i: i[:2]):
        told += alarms.step(now, rhythm.pass_time(now))
        told += alarms.step(now, rhythm.take(item))
    return told + alarms.close_all(stop, "the recording ended")


def _judge_alarms(
    reference: Annotations, alerts: Iterable[AlertEvent], samples: int
) -> dict[str, AlarmCount]:
    """Pair rung alarms with those of the reference, from the end of the learning period on."""
    rate_hz = reference.rate_hz
    truth: dict[str, list[list[float]]] = {}
    for t in reference_alarms(reference, samples):
        seconds = (t.at - LABEL_LATENCY) / ANALYSIS_RATE_HZ
        if t.phase is Phase.ONSET:
            truth.setdefault(t.episode.code, []).append([seconds, seconds])
        elif t.phase is Phase.END:
            truth[t.episode.code][-1][1] = seconds
    rung: dict[str, list[float]] = {}
    for alert in alerts:
        seconds = alert.detected_index / rate_hz
        physiological = ALARMS[alert.code].kind is Kind.PHYSIOLOGICAL
        if alert.phase is Phase.ONSET and physiological and seconds >= LEARNING_S:
            rung.setdefault(alert.code, []).append(seconds)
    return {
        code: _pair(rung.get(code, []), truth.get(code, []))
        for code in sorted(rung.keys() | truth.keys())
    }


def _pair(rung: list[float], truth: list[list[float]]) -> AlarmCount:
    """Pair one code's alarms: each reference episode with the first that falls to it."""
    window = ALARM_WINDOW_S
    met = [[t for t in rung if onset - window <= t <= end + window] for onset, end in truth]
    counted = [i for i, (onset, _) in enumerate(truth) if onset >= LEARNING_S]
    delays = tuple(round(min(met[i]) - truth[i][0], 3) for i in counted if met[i])
    right = {t for ts in met for t in ts}
    return AlarmCount(
        true=len(right),
        false=len(rung) - len(right),
        missed=sum(not met[i] for i in counted),
        delays_s=delays,
    )


def _raised(alerts: Iterable[AlertEvent], rate_hz: float) -> tuple[tuple[str, float, float], ...]:
    """Return each physiological episode: code, when it rang and when it was over."""
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
    """Return what went most wrong in a record: missed or false V first, then beats."""
    if judgement.beats is None:
        return []
    rate_hz = judgement.rate_hz
    found = []
    for pair in judgement.beats.pairs:
        labels = pair.label
        grave = 0 if "V" in labels.upper() else 1
        at = pair.reference if pair.reference is not None else pair.test
        if labels[0] != labels[1].upper() and at is not None:
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
    """Return a score as the result has it: percent, null where there is nothing to divide by."""
    return {
        "se": _percent(score.tp, score.tp + score.fn),
        "ppv": _percent(score.tp, score.tp + score.fp),
        "tp": score.tp,
        "fn": score.fn,
        "fp": score.fp,
    }


def _percent(part: int, whole: int) -> float | None:
    return round(float(100.0 * np.float64(part) / whole), 3) if whole else None
