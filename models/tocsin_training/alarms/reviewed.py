"""A reviewed annotation set (`tocsin review publish`) as one more database, by patient.

Only what lies within a reviewed stretch is an example: elsewhere nobody looked. A set with a
patient of a test set is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from tocsin_agent.errors import LabError
from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, Header, read_annotations
from tocsin_agent.lab.patients import DS2
from tocsin_agent.lab.review.annotation_set import ANNOTATOR, Reviewed, read_set
from tocsin_agent.lab.review.inputs import patient_of
from tocsin_agent.messages.reading import ANY
from tocsin_training.alarms.collect import Rows, collect
from tocsin_training.alarms.examples import (
    BEATS_FALSE,
    BEATS_TRUE,
    Examples,
    group_of,
    mark_tachycardias,
    per_record,
    tachycardias,
)

VT = "ventricular_tachycardia"
TEST_PATIENTS = frozenset(f"mitdb/{record}" for record in DS2)


def reviewed_cases(folder: Path, held_out: Collection[str] = ()) -> list[Reviewed]:
    """Return the cases of a set whose ECG is that of a record.

    Parameters
    ----------
    folder : Path
    held_out : collection of str
        Patients that may not be trained on, beside those of the test sets.

    Raises
    ------
    LabError
        If a case is of a patient of a test set or of one that is held out.
    """
    cases = [one for one in read_set(folder).cases if one.case.record]
    forbidden = TEST_PATIENTS | set(held_out)
    patients = {patient_of(one.case.record) for one in cases} | {one.case.patient for one in cases}
    if mixed := sorted(patients & forbidden):
        raise LabError(
            f"{folder} has cases of patients of a test set ({', '.join(mixed)}): review others, "
            "or a test would be of patients that were trained on"
        )
    return cases


def of_review(folder: Path, cases: Sequence[Reviewed], database: str, rows: Rows) -> Examples:
    """Return the examples of a database that were reviewed: tachycardia against all else.

    An answer about a tachycardia, or about a silent stretch, decides by itself; where another alarm
    was reviewed, the beats do.
    """
    truth = np.full(len(rows.record), -1)
    for one in cases:
        of, _, record = one.case.record.rpartition("/")
        if of == database:
            rate = one.case.rate_hz
            start, stop = one.case.start / rate, one.case.stop / rate
            at = np.flatnonzero((rows.record == record) & (rows.at_s >= start) & (rows.at_s < stop))
            found = np.zeros(len(at), np.int64)
            mark_tachycardias(found, rows.at_s[at], _tachycardias(folder, one))
            # Of stretches that overlap, one with a tachycardia decides.
            truth[at] = np.where(truth[at] == 1, 1, found)
    weight = BEATS_TRUE * per_record(rows, truth == 1, capped=True)
    weight += BEATS_FALSE * per_record(rows, truth == 0, capped=True)
    names = rows.record.tolist()
    return Examples(
        rows.x,
        truth == 1,
        weight,
        np.array([group_of(database, record) for record in names], np.int64),
        np.array([f"{database}/{record}" for record in names], dtype=str),
        np.zeros(len(names), bool),
    )


def examples_of_set(folder: Path) -> list[Examples]:
    """Return the examples of a set, one part for each database that its records are of.

    Raises
    ------
    LabError
        As `reviewed_cases`.
    """
    cases = reviewed_cases(folder)
    databases = sorted({one.case.record.rpartition("/")[0] for one in cases})
    return [of_review(folder, cases, name, collect(name)) for name in databases]


def _tachycardias(folder: Path, one: Reviewed) -> list[tuple[float, float]]:
    """Return the tachycardias of a stretch, s of the record."""
    case, rate = one.case, one.case.rate_hz
    if one.condition == VT:
        onset = one.onset if one.onset is not None else case.start
        end = one.end if one.end is not None else case.stop
        return [(onset / rate, end / rate)]
    if case.asked in {VT, ANY}:
        return []
    database, _, record = case.record.rpartition("/")
    file = folder / Path(database).name / f"{record}.{ANNOTATOR}"
    marks = read_annotations(file, Header(rate, None))
    beats = [
        (at / rate, AAMI_CLASS[symbol])
        for at, symbol in zip(marks.sample.tolist(), marks.symbol, strict=True)
        if symbol in AAMI_CLASS and case.start <= at < case.stop
    ]
    return tachycardias(beats)
