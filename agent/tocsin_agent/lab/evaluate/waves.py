"""Evaluation of wave delineation on a database with annotations for each lead.

Each lead is processed alone, as by a monitor of one lead. Where a lead `L` of record `R` is
annotated in `R.L` with P (`p`), QRS (`N`) and T (`t`) waves, each between its onset `(` and end
`)`, as in the Lobachevsky University database (Kalyakulina et al., IEEE Access 8:186181, 2020), the
waves found are matched with those within 150 ms, and the errors of their points compared with the
tolerances of the CSE working party (Eur. Heart J. 6:815, 1985). Only the part between the first and
the last annotated wave is judged, since the rest was not annotated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.ec57.annotations import Annotations, read_annotations, read_header
from tocsin_agent.lab.evaluate.databases import Selection
from tocsin_agent.monitor.patient import FLUSH_S
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.files.wfdb_record import WfdbSource
from tocsin_dsp.beats.waves import P_SCORE
from tocsin_dsp.conditioning.condition import Conditioned, Conditioner
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.errors import TocsinError
from tocsin_dsp.leads.leads import LeadBeat, LeadSet
from tocsin_dsp.signal import FloatArray, SampleBlock

MATCH_S = 0.15  # s, greatest distance of matching waves
CSE_MS = {"P onset": 10.2, "P end": 12.7, "QRS onset": 6.5, "QRS end": 11.6, "T end": 30.6}
"""Two standard deviations between readers, with which one standard deviation is compared."""

POINTS = ("P onset", "P peak", "P end", "QRS onset", "QRS end", "T peak", "T end")
_CHUNK_S = 400.0  # s, read at once
_LONGEST_PR_S = 0.4  # s before the QRS in which a P wave belongs to the beat
_WAVES = {"p": "P", "N": "QRS", "t": "T"}


class Wave(NamedTuple):
    """The points of a wave, s from the start of the record; NaN where unknown."""

    onset_s: float
    peak_s: float
    end_s: float


class BeatP(NamedTuple):
    """The P wave score of one beat, and whether the reference has a P wave."""

    score: float
    true: bool


class LeadJudgement(NamedTuple):
    """One lead: errors of points in ms, waves hit, missed and false, and P waves by beat."""

    record: str
    lead: str
    rhythm: str
    errors_ms: dict[str, list[float]]
    counts: dict[str, tuple[int, int, int]]
    p: list[BeatP]


def half(records: Iterable[str], which: str) -> tuple[str, ...]:
    """Return the records with odd numbers, for the choice of constants, or even ones, for test.

    Raises
    ------
    SourceError
        If a record's name does not end in a number.
    """
    numbers = {record: re.search(r"(\d+)$", record) for record in records}
    if unnumbered := [record for record, number in numbers.items() if number is None]:
        raise SourceError(SourceFault.MALFORMED, f"{unnumbered[0]} has no number")
    odd = which == "odd"
    return tuple(r for r, number in numbers.items() if number and int(number[1]) % 2 == odd)


def evaluate_waves(
    selection: Selection, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Delineate and judge every annotated lead of the selected records.

    Returns
    -------
    dict
        By group (`all leads`, then each lead): points with mean and SD of the error in ms, and
        waves with Se and +P in percent; by rhythm: Se and Sp of the presence of a P wave; and the
        records that failed.
    """
    judged: list[LeadJudgement] = []
    failed: dict[str, str] = {}
    for done, record in enumerate(selection.records, start=1):
        try:
            judged += judge_record(selection.folder / record)
        except TocsinError as error:
            failed[record] = str(error)
        if progress is not None:
            progress(done, len(selection.records))
    leads = sorted({j.lead for j in judged})
    groups = {"all leads": judged} | {n: [j for j in judged if j.lead == n] for n in leads}
    rhythms = sorted({j.rhythm for j in judged})
    return {
        "schema": "tocsin/waves/v1",
        "database": selection.database,
        "subset": selection.subset,
        "records": [r for r in selection.records if r not in failed],
        "missing": list(selection.missing),
        "failed": failed,
        "leads": len(judged),
        "groups": {name: _group(of) for name, of in groups.items()},
        "p_by_rhythm": {r: _p_by_beat([j for j in judged if j.rhythm == r]) for r in rhythms}
        | {"all": _p_by_beat(judged)},
    }


def judge_record(path: Path) -> list[LeadJudgement]:
    """Judge each annotated lead of one record.

    Raises
    ------
    SourceError
        If the record cannot be read or none of its leads is annotated.
    """
    header = read_header(path.with_name(f"{path.name}.hea"))
    samples, names = _samples(path)
    rhythm = _rhythm(path)
    judged = []
    for column, name in enumerate(names):
        annotated = path.with_name(f"{path.name}.{name}")
        if annotated.is_file():
            reference = read_annotations(annotated, header)
            beats = _beats(samples, column)
            judged.append(_judge(path.name, name, rhythm, _marked(reference), beats))
    if not judged:
        raise SourceError(SourceFault.NOT_FOUND, f"no annotation file {path}.LEAD for any lead")
    return judged


def _samples(path: Path) -> tuple[Conditioned, tuple[str, ...]]:
    """Return the analysis samples of a record, with the missing ones that flush its last beats."""
    with WfdbSource(str(path), block_s=_CHUNK_S) as source:
        condition = Conditioner(source.spec)
        pieces = []
        while True:
            try:
                block = source.read(0.0)
            except EndOfStream:
                break
            if block is not None:
                pieces.append(condition.push(block))
        missing = np.full((round(FLUSH_S * source.spec.rate_hz), len(source.spec.leads)), np.nan)
        flush = SampleBlock(source.spec, condition.next_index or 0, missing)
        pieces.append(condition.push(flush))
    return Conditioned(0, np.concatenate([p.samples for p in pieces]), True), source.spec.leads


def _rhythm(path: Path) -> str:
    """Return the rhythm stated in the header, empty if there is none."""
    text = path.with_name(f"{path.name}.hea").read_text(encoding="utf-8", errors="replace")
    stated = re.search(r"^#\s*Rhythm:\s*([^.\n]+)", text, re.MULTILINE)
    return stated[1].strip().lower() if stated else ""


def _marked(reference: Annotations) -> dict[str, list[Wave]]:
    """Return the annotated waves, by kind."""
    waves: dict[str, list[Wave]] = {"P": [], "QRS": [], "T": []}
    at = (reference.sample / reference.rate_hz).tolist()
    symbols = ("", *reference.symbol, "")
    for i, symbol in enumerate(reference.symbol):
        if symbol in _WAVES:
            onset = at[i - 1] if symbols[i] == "(" else np.nan
            end = at[i + 1] if symbols[i + 2] == ")" else np.nan
            waves[_WAVES[symbol]].append(Wave(onset, at[i], end))
    return waves


def _beats(samples: Conditioned, column: int) -> list[LeadBeat]:
    """Return the beats found in this lead alone."""
    lead = samples._replace(samples=samples.samples[:, column : column + 1])
    return [item for item in LeadSet(1).push(lead, []) if isinstance(item, LeadBeat)]


def _judge(
    record: str, lead: str, rhythm: str, marked: dict[str, list[Wave]], beats: list[LeadBeat]
) -> LeadJudgement:
    """Match the waves found with the annotated ones, and count."""
    errors: dict[str, list[float]] = {point: [] for point in POINTS}
    result = LeadJudgement(record, lead, rhythm, errors, {}, [])
    if not marked["QRS"]:
        return result
    r_s = [beat.view.r_index / ANALYSIS_RATE_HZ for beat in beats]
    pairs = _pairs([w.peak_s for w in marked["QRS"]], r_s)
    judged = _judged(marked, r_s, pairs)
    for kind, waves in _ours(beats).items():
        there = [k for k, w in enumerate(waves) if np.isfinite(w.peak_s) and judged[kind][k]]
        if kind == "QRS":
            matched = pairs
        else:
            found = _pairs([w.peak_s for w in marked[kind]], [waves[k].peak_s for k in there])
            matched = [(theirs, there[mine]) for theirs, mine in found]
        hit = len(matched)
        result.counts[kind] = (hit, len(marked[kind]) - hit, len(there) - hit)
        for theirs, mine in matched:
            _add_errors(errors, kind, marked[kind][theirs], waves[mine])
    before = [np.nan, *(w.peak_s for w in marked["QRS"])]
    for theirs, mine in pairs:
        if judged["P"][mine] and not np.isnan(score := beats[mine].waves.p_score):
            at = marked["QRS"][theirs].peak_s
            since = np.fmax(before[theirs], at - _LONGEST_PR_S)
            result.p.append(BeatP(score, any(since < w.peak_s < at for w in marked["P"])))
    return result


def _judged(
    marked: dict[str, list[Wave]], r_s: list[float], pairs: list[tuple[int, int]]
) -> dict[str, list[bool]]:
    """Return which beats are judged by their QRS, P and T: those between the annotated ones."""
    first, last = marked["QRS"][0].peak_s, marked["QRS"][-1].peak_s
    within = [first - MATCH_S <= r <= last + MATCH_S for r in r_s]
    judged = {kind: list(within) for kind in ("QRS", "P", "T")}
    # A P wave before the first QRS, or a T wave after the last, may not be annotated.
    begins = min((w.peak_s for w in marked["P"]), default=first) < first
    ends = max((w.peak_s for w in marked["T"]), default=last) > last
    for theirs, mine in pairs:
        truth = marked["QRS"][theirs].peak_s
        judged["P"][mine] &= begins or truth > first
        judged["T"][mine] &= ends or truth < last
    return judged


def _add_errors(errors: dict[str, list[float]], kind: str, truth: Wave, found: Wave) -> None:
    """Add the errors of a wave in ms, of each point that both have."""
    for name, true_s, found_s in zip(Wave._fields, truth, found, strict=True):
        point = f"{kind} {name.removesuffix('_s')}"
        if point in errors and np.isfinite(true_s) and np.isfinite(found_s):
            errors[point].append(1e3 * (found_s - true_s))


def _ours(beats: list[LeadBeat]) -> dict[str, list[Wave]]:
    """Return the waves of each beat; its T wave is reported with the next beat."""
    waves = [[v / ANALYSIS_RATE_HZ for v in beat.waves] for beat in beats]
    names = beats[0].waves._fields if beats else ()
    by_name = [dict(zip(names, w, strict=True)) for w in waves]
    none = dict.fromkeys(("previous_t_onset", "previous_t_peak", "previous_t_end"), np.nan)
    after = [*by_name[1:], none]
    return {
        "P": [Wave(w["p_onset"], w["p_peak"], w["p_end"]) for w in by_name],
        "QRS": [
            Wave(w["qrs_onset"], beat.view.r_index / ANALYSIS_RATE_HZ, w["qrs_end"])
            for w, beat in zip(by_name, beats, strict=True)
        ],
        "T": [Wave(*(w[name] for name in none)) for w in after][: len(beats)],
    }


def _pairs(truth: Sequence[float], ours: Sequence[float]) -> list[tuple[int, int]]:
    """Match each time at most once within the tolerance, the nearest pairs first."""
    near = sorted(
        (abs(a - b), i, k)
        for i, a in enumerate(truth)
        for k, b in enumerate(ours)
        if abs(a - b) <= MATCH_S
    )
    used_i, used_k, pairs = set[int](), set[int](), []
    for _, i, k in near:
        if i not in used_i and k not in used_k:
            used_i.add(i)
            used_k.add(k)
            pairs.append((i, k))
    return sorted(pairs)


def _group(judged: Sequence[LeadJudgement]) -> dict[str, Any]:
    points, waves = {}, {}
    for point in POINTS:
        errors = np.array([e for j in judged for e in j.errors_ms[point]])
        if len(errors) == 0:
            continue
        centiles = np.percentile(np.abs(errors), [50, 90])
        mean, sd = float(errors.mean()), float(errors.std())
        tolerance = CSE_MS.get(point)
        points[point] = {
            "n": len(errors),
            "mean_ms": round(mean, 2),
            "sd_ms": round(sd, 2),
            "p50_abs_ms": round(float(centiles[0]), 2),
            "p90_abs_ms": round(float(centiles[1]), 2),
            "cse_ms": tolerance,
            "within_cse": None if tolerance is None else sd <= tolerance,
        }
    for kind in _WAVES.values():
        hit, missed, false = (
            sum(j.counts[kind][k] for j in judged if kind in j.counts) for k in range(3)
        )
        waves[kind] = {
            "se": _percent(hit, hit + missed),
            "ppv": _percent(hit, hit + false),
            "hit": hit,
            "missed": missed,
            "false": false,
        }
    return {"points": points, "waves": waves}


def _p_by_beat(judged: Sequence[LeadJudgement]) -> dict[str, Any]:
    beats = [beat for j in judged for beat in j.p]
    score, true = np.array([b.score for b in beats]), np.array([b.true for b in beats], bool)
    found = score >= P_SCORE
    return {
        "with_p": int(true.sum()),
        "without_p": int((~true).sum()),
        "se": _percent(int((found & true).sum()), int(true.sum())),
        "sp": _percent(int((~found & ~true).sum()), int((~true).sum())),
        "auc": _area(score[true], score[~true]),
    }


def _area(with_p: FloatArray, without_p: FloatArray) -> float | None:
    """Return the area under the ROC curve of the P wave score; ties count half."""
    if not len(with_p) or not len(without_p):
        return None
    ordered = np.sort(without_p)
    below = np.searchsorted(ordered, with_p, "left") + np.searchsorted(ordered, with_p, "right")
    return round(float(below.mean()) / (2 * len(ordered)), 4)


def _percent(part: int, whole: int) -> float | None:
    return round(100.0 * part / whole, 2) if whole else None
