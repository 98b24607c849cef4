"""The examples of the model of alarms: candidates of the databases, their truth and weight."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, read_annotations, read_header
from tocsin_agent.lab.evaluate.alarm_scoring import vf_marks
from tocsin_agent.lab.evaluate.challenge import alarms_of
from tocsin_agent.lab.evaluate.databases import database_folder
from tocsin_agent.lab.patients import DS1
from tocsin_training.alarms.collect import NOISY, Rows, collect

GROUPS, SEED = 5, 0
VT_KIND, VF_KIND = "Ventricular_Tachycardia", "Ventricular_Flutter_Fib"
CHALLENGES = ("cinc2015", "cinc2015_long")
QUIET = ("nstdb", "leadi_motion", NOISY)  # no ventricular alarm is true there
BEATS = ("mitdb", "svdb")  # annotated by beat
BEFORE_S, TRUE_S, EARLIER_S = 10.0, 5.0, 15.0  # of an alarm: judged, surely true, surely not yet
TRUE_WEIGHT, OTHER_VT, OTHER_VF, EARLIER = 5.0, 6.0, 1.0, 2.0  # of a record
BEATS_TRUE, BEATS_FALSE = 8.0, 100.0
VFDB_TRUE, VFDB_FALSE = 3.0, 1.0


class Examples(NamedTuple):
    """Candidates with their truth, their weight and the group of their record."""

    x: NDArray[np.float32]
    true: NDArray[np.bool_]
    weight: NDArray[np.float64]
    group: NDArray[np.int64]  # -1 in no test
    name: NDArray[np.str_]  # database/record
    judged: NDArray[np.bool_]  # within the seconds before an alarm of this kind


def group_of(database: str, record: str) -> int:
    """Return the group of a record; -1 for one that is in no training set."""
    if database in CHALLENGES:
        shuffled = np.random.default_rng(SEED).permutation(1000)
        return int(shuffled[int(re.sub(r"\D", "", record)) // 6] % GROUPS)
    if database in {"mitdb", "nstdb", NOISY}:  # records of the same patients
        patient = record[:3]
        return DS1.index(patient) % GROUPS if patient in DS1 else -1
    return sum(map(ord, record)) % GROUPS


def per_record(rows: Rows, chosen: NDArray[np.bool_], capped: bool) -> NDArray[np.float64]:
    """Return weights that are 1 a record in total; less for one of few candidates if capped."""
    weight = np.zeros(len(rows.record))
    for record in set(rows.record[chosen].tolist()):
        of_it = chosen & (rows.record == record)
        count = int(of_it.sum())
        weight[of_it] = (min(1.0, count / 10) if capped else 1.0) / count
    return weight


def of_challenge(database: str, rows: Rows, label: str) -> Examples:
    """Return the examples of a database of alarms."""
    kind = VT_KIND if label == "VT" else VF_KIND
    listed = alarms_of(database_folder(database))
    kinds = np.array([listed[r].kind for r in rows.record.tolist()])
    true = np.array([listed[r].true for r in rows.record.tolist()])
    before = np.array([listed[r].at_s for r in rows.record.tolist()]) - rows.at_s
    own = kinds == kind
    judged = own & (before >= 0) & (before < BEFORE_S)
    other = ~own & (before > -1)
    if label == "VF":
        other &= kinds != VT_KIND
    weight = np.where(true, TRUE_WEIGHT, 1.0) * per_record(
        rows, judged & ~(true & (before > TRUE_S)), capped=False
    )
    weight += (OTHER_VT if label == "VT" else OTHER_VF) * per_record(rows, other, capped=True)
    if label == "VT":
        weight += EARLIER * per_record(rows, own & ~true & (before > EARLIER_S), capped=True)
    return _examples(database, rows, own & true, weight, judged)


def of_beats(database: str, rows: Rows) -> Examples:
    """Return the examples of a database annotated by beat: tachycardia against all else."""
    truth = np.zeros(len(rows.record), np.int64)
    trained = np.zeros(len(rows.record), bool)
    for record in set(rows.record.tolist()):
        of_it = rows.record == record
        truth[of_it] = _tachycardia(database, record, rows.at_s[of_it])
        trained[of_it] = group_of(database, record) >= 0
    weight = BEATS_TRUE * per_record(rows, trained & (truth == 1), capped=True)
    weight += BEATS_FALSE * per_record(rows, trained & (truth == 0), capped=True)
    return _examples(database, rows, truth == 1, weight, np.zeros(len(truth), bool))


def of_rhythms(database: str, rows: Rows) -> Examples:
    """Return the examples of a database with marks of fibrillation."""
    truth = np.full(len(rows.record), -1)
    for record in set(rows.record.tolist()):
        of_it = rows.record == record
        truth[of_it] = _fibrillation(database, record, rows.at_s[of_it])
    weight = VFDB_TRUE * per_record(rows, truth == 1, capped=True)
    weight += VFDB_FALSE * per_record(rows, truth == 0, capped=True)
    return _examples(database, rows, truth == 1, weight, np.zeros(len(truth), bool))


def of_quiet(database: str, rows: Rows) -> Examples:
    """Return the examples of a database in which no ventricular alarm is true."""
    none = np.zeros(len(rows.record), bool)
    return _examples(database, rows, none, per_record(rows, ~none, capped=True), none)


def examples(label: str, without: Collection[str] = ()) -> Examples:
    """Return all examples of a label, but for those of some databases annotated by beat."""
    parts = [of_challenge(name, collect(name), label) for name in CHALLENGES]
    parts += [of_quiet(name, collect(name)) for name in QUIET]
    if label == "VT":
        parts += [of_beats(name, collect(name)) for name in BEATS if name not in without]
    else:
        parts += [of_rhythms(name, collect(name)) for name in ("cudb", "vfdb")]
    return joined(parts)


def joined(parts: Sequence[Examples]) -> Examples:
    """Return the examples of several databases as one."""
    return Examples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def some(given: Examples, chosen: NDArray[np.bool_]) -> Examples:
    """Return the examples that are chosen."""
    return Examples(*(part[chosen] for part in given))  # type: ignore[arg-type]


def _examples(
    database: str,
    rows: Rows,
    true: NDArray[np.bool_],
    weight: NDArray[np.float64],
    judged: NDArray[np.bool_],
) -> Examples:
    names = rows.record.tolist()
    group = np.array([group_of(database, record) for record in names], np.int64)
    named = np.array([f"{database}/{record}" for record in names], dtype=str)
    return Examples(rows.x, true, weight, group, named, judged)


def _tachycardia(database: str, record: str, at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return by second: 1 within a tachycardia, -1 near one or in flutter, 0 elsewhere."""
    reference = read_annotations(*_files(database, record))
    rate = reference.rate_hz
    beats = [
        (at / rate, AAMI_CLASS[symbol])
        for at, symbol in zip(reference.sample.tolist(), reference.symbol, strict=True)
        if symbol in AAMI_CLASS
    ]
    truth = np.zeros(len(at_s), np.int64)
    mark_tachycardias(truth, at_s, tachycardias(beats))
    for start, stop in _flutter(list(vf_marks(reference)), rate):
        truth[(at_s > start - 2) & (at_s < stop + 10)] = -1
    return truth


def tachycardias(beats: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    """Return begin and end of each tachycardia: 5 or more ventricular beats above 100/min."""
    runs = [run for run in _runs(beats) if len(run) >= 5]
    return [(r[0], r[-1]) for r in runs if 60 * (len(r) - 1) / (r[-1] - r[0]) > 100]


def mark_tachycardias(
    truth: NDArray[np.int64], at_s: NDArray[np.float64], spans: Sequence[tuple[float, float]]
) -> None:
    """Write 1 where a tachycardia is surely recognisable, -1 near one; the rest stays as it is."""
    for start, stop in spans:
        truth[(at_s > start - 1) & (at_s < stop + 9) & (truth == 0)] = -1
        truth[(at_s > start + 2) & (at_s < stop + 5)] = 1


def _runs(beats: Sequence[tuple[float, str]]) -> list[list[float]]:
    """Return the times of ventricular beats in a row."""
    runs: list[list[float]] = [[]]
    for at, label in beats:
        if label == "V":
            runs[-1].append(at)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _flutter(marks: list[tuple[int, bool]], rate_hz: float) -> list[tuple[float, float]]:
    spans, onset = [], None
    for at, begins in marks:
        if begins:
            onset = at / rate_hz
        elif onset is not None:
            spans.append((onset, at / rate_hz))
            onset = None
    return spans if onset is None else [*spans, (onset, np.inf)]


def _fibrillation(database: str, record: str, at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return by second: 1 in fibrillation for some seconds, -1 near it or in VT, 0 elsewhere."""
    reference = read_annotations(*_files(database, record))
    rate = reference.rate_hz
    begins = [0.0] + [at / rate for at, _ in vf_marks(reference)]
    now = [False] + [on for _, on in vf_marks(reference)]
    rhythm = zip(reference.sample.tolist(), reference.aux, strict=True)
    named = [(at / rate, aux) for at, aux in rhythm if aux]
    vt = [aux == "(VT" for _, aux in named]

    def state(at: float) -> int:
        if now[int(np.searchsorted(begins, at, side="right")) - 1]:
            return 1
        last = int(np.searchsorted([t for t, _ in named], at, side="right")) - 1
        return -1 if last >= 0 and vt[last] else 0

    truth = []
    for at in at_s.tolist():
        recent = {state(at - 2), state(at - 4)}
        truth.append(recent.pop() if len(recent) == 1 else -1)
    return np.array(truth)


def _files(database: str, record: str) -> tuple[Path, Any]:
    path = database_folder(database) / record
    return path.with_name(f"{record}.atr"), read_header(path.with_name(f"{record}.hea"))
