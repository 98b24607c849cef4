"""The folder of a review: what readers get, and what they give back.

::

    review.json            what is reviewed and why; readers do not need it
    cases/RECORDS          names of the cases, for programs that read WFDB
    cases/case-001.hea     a stretch of ECG, .dat with its samples
    cases/case-001.agent   the beats as the agent labelled them
    cases/cases.csv        what is asked about each case
    cases/review.html      the same as one page, for readers without a program for WFDB
    cases/cases.json, case-001.json   the same for the console
    answers/NAME.json      the answers of a reader, from the page or the console
    answers/NAME.csv       the same from another program: case,verdict,condition,onset_s,end_s
    answers/NAME/case-001.atr   and the beats of a case as this reader corrected them

Times in an answer are seconds from the beginning of the case. A reader without beats accepts those
of the agent.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tocsin_agent import __version__
from tocsin_agent.durable_file import replace_file
from tocsin_agent.errors import LabError, SourceError, SourceFault
from tocsin_agent.lab.annotate import MNEMONICS, Mark, write_marks
from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, Header, read_annotations
from tocsin_agent.lab.excerpt_file import write_excerpt
from tocsin_agent.lab.review.cases import Case
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.reading import (
    IndexedCase,
    Reading,
    Verdict,
    checked,
    decode_readings,
    encode_readings,
)
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.signal import FloatArray

REVIEW = "review.json"
AGENT, READER = "agent", "atr"
"""Annotators: the agent's beats, and a reader's."""
COLUMNS = ("case", "verdict", "condition", "onset_s", "end_s")


class Answer(NamedTuple):
    """A reader's answer to a case.

    Parameters
    ----------
    verdict : Verdict
        `other`: another condition than the one asked about is there, `condition`.
    condition : str
        Alarm code of the condition that is there; empty where none is.
    onset, end : int or None
        Samples from the beginning of the case.
    beats : tuple of (int, str) or None
        Samples from the beginning of the case and labels; None: those of the agent are right.
    """

    verdict: Verdict
    condition: str
    onset: int | None
    end: int | None
    beats: tuple[tuple[int, str], ...] | None = None


class Excerpt(NamedTuple):
    """The ECG of a case in mV, shape (n, leads), and the agent's beats from its beginning."""

    leads: tuple[str, ...]
    samples_mv: FloatArray
    beats: Sequence[tuple[int, str]]


class ReviewFile(msgspec.Struct, frozen=True, kw_only=True):
    """`review.json`."""

    schema: str = "tocsin/review-cases/v1"
    software: str = f"tocsin {__version__}"
    models: dict[str, str] = {}
    seed: int
    cases: tuple[Case, ...]


def cut(record: str, cases: Sequence[Case]) -> dict[str, tuple[tuple[str, ...], FloatArray]]:
    """Return leads and samples of several stretches of one record, which is read once."""
    pieces: dict[str, list[FloatArray]] = {case.case: [] for case in cases}
    last = max(case.stop for case in cases)
    with open_source(record, block_s=60.0) as source:
        leads = source.spec.leads
        try:
            while True:
                block = source.read(1.0)
                if block is None:
                    continue
                if block.start_index >= last:
                    break
                for case in cases:
                    begin = max(case.start - block.start_index, 0)
                    end = case.stop - block.start_index
                    if end > 0 and begin < len(block.samples_mv):
                        pieces[case.case].append(block.samples_mv[begin:end].copy())
        except EndOfStream:
            pass
    return {name: (leads, np.concatenate(found)) for name, found in pieces.items() if found}


def require_new(folder: Path) -> None:
    """Refuse a folder that holds something: answers, and files of a set, belong to other cases.

    Raises
    ------
    LabError
        If it does.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise LabError(f"{folder} is not empty: name a new folder")


def write_review(
    folder: Path, review: ReviewFile, excerpts: Iterable[tuple[Case, Excerpt]]
) -> None:
    """Write a new folder.

    Raises
    ------
    LabError
        If the folder is not new.
    """
    require_new(folder)
    into = folder / "cases"
    into.mkdir(parents=True, exist_ok=True)
    (folder / "answers").mkdir(exist_ok=True)
    for case, excerpt in excerpts:
        write_excerpt(into, case.case, case.rate_hz, excerpt.leads, excerpt.samples_mv)
        marks = [Mark(at, MNEMONICS[label]) for at, label in excerpt.beats]
        write_marks(case.case, into, AGENT, marks, rate_hz=case.rate_hz)
    names = [case.case for case in review.cases]
    (into / "RECORDS").write_text("\n".join(names) + "\n", encoding="utf-8")
    with (into / "cases.csv").open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(("case", "asked", "seconds", "onset_s"))
        for case in review.cases:
            onset = "" if case.onset is None else f"{(case.onset - case.start) / case.rate_hz:.3f}"
            seconds = (case.stop - case.start) / case.rate_hz
            rows.writerow((case.case, case.asked, f"{seconds:.1f}", onset))
    text = msgspec.json.format(msgspec.json.encode(review), indent=1)
    replace_file(folder / REVIEW, text + b"\n")


def read_review(folder: Path) -> ReviewFile:
    """Read what is reviewed.

    Raises
    ------
    LabError
        If the folder holds no review.
    """
    try:
        return msgspec.json.decode((folder / REVIEW).read_bytes(), type=ReviewFile)
    except (OSError, msgspec.DecodeError) as error:
        raise LabError(
            f"{folder} holds no review ({error}): make one by `tocsin review export`"
        ) from error


def agent_beats(folder: Path, case: Case) -> tuple[tuple[int, str], ...]:
    """Return the beats that the agent labelled in a case."""
    return _beats(folder / "cases" / f"{case.case}.{AGENT}", case)


def readers(folder: Path) -> list[str]:
    """Return the names of those who answered; a hidden file is no reader's."""
    found = (folder / "answers").iterdir() if (folder / "answers").is_dir() else ()
    files = (file for file in found if file.suffix in {".csv", ".json"})
    return sorted({file.stem for file in files if not file.name.startswith(".")})


def read_answers(folder: Path, reader: str, cases: Sequence[Case]) -> dict[str, Answer]:
    """Return the answers of a reader, by case.

    Raises
    ------
    LabError
        If there are none, in two files, or with a case, verdict, condition or time that cannot be.
    """
    table = folder / "answers" / f"{reader}.csv"
    page = table.with_suffix(".json")
    if not page.exists():
        if not table.exists():
            known = ", ".join(map(clean, readers(folder))) or "nobody"
            raise LabError(f"{folder} has no answers of {clean(reader)!r}: {known} answered")
        return _read_table(folder, reader, cases)
    if table.exists():
        raise LabError(f"{table} and {page} are answers of one reader: remove one of them")
    return read_readings(page, cases)


def read_readings(file: Path, cases: Sequence[Case]) -> dict[str, Answer]:
    """Read what a reader saved on the page or in the console.

    Raises
    ------
    LabError
        If it is something else, or an answer cannot be.
    """
    try:
        saved = decode_readings(file.read_bytes())
    except (OSError, ValueError) as error:
        raise LabError(f"{file} is not what the page saves: {error}") from error
    by_name = {case.case: case for case in cases}
    found: dict[str, Answer] = {}
    for name, one in saved.items():
        if name not in by_name:
            raise LabError(f"{file}: {name!r} is no case of this review")
        found[name] = _answer(one, by_name[name], f"{file}, {name}")
    return found


def write_answers(
    folder: Path, reader: str, cases: Sequence[Case], answers: Mapping[str, Answer]
) -> None:
    """Write the answers of a reader as `read_readings` reads them."""
    into = folder / "answers"
    into.mkdir(parents=True, exist_ok=True)
    readings = {
        case.case: _reading(answers[case.case], case.rate_hz)
        for case in cases
        if case.case in answers
    }
    replace_file(into / f"{reader}.json", encode_readings(readings))


def indexed(case: Case) -> IndexedCase:
    """Return a case as the index of readers has it."""
    return IndexedCase(case.case, case.asked, (case.stop - case.start) / case.rate_hz)


def _reading(answer: Answer, rate_hz: float) -> Reading:
    onset_s, end_s = (
        None if at is None else float(at / rate_hz) for at in (answer.onset, answer.end)
    )
    beats = None
    if answer.beats is not None:
        beats = tuple((float(at / rate_hz), label) for at, label in answer.beats)
    return Reading(answer.verdict, answer.condition, onset_s, end_s, beats)


def _answer(reading: Reading, case: Case, where: str) -> Answer:
    """Return a reading in samples."""
    try:
        sound = checked(reading, indexed(case), conditions=tuple(ALARMS), labels=tuple(MNEMONICS))
    except ValueError as error:
        raise LabError(f"{where}: {error}") from error
    length, beats = case.stop - case.start, None
    if sound.beats is not None:
        beats = tuple(
            sorted((min(round(at * case.rate_hz), length - 1), label) for at, label in sound.beats)
        )
    onset, end = (
        None if at is None else min(round(at * case.rate_hz), length)
        for at in (sound.onset_s, sound.end_s)
    )
    return Answer(sound.verdict, sound.condition, onset, end, beats)


def _read_table(folder: Path, reader: str, cases: Sequence[Case]) -> dict[str, Answer]:
    file = folder / "answers" / f"{reader}.csv"
    by_name = {case.case: case for case in cases}
    found: dict[str, Answer] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            if missing := set(COLUMNS) - set(rows.fieldnames or ()):
                raise LabError(f"{file} lacks {', '.join(sorted(missing))}: {', '.join(COLUMNS)}")
            for number, row in enumerate(rows, 2):
                case = by_name.get(row["case"])
                if case is None or case.case in found:
                    raise LabError(f"{file}, line {number}: {row['case']!r} is no case, or twice")
                answer = _row_answer(row, case, f"{file}, line {number}")
                beats = folder / "answers" / reader / f"{case.case}.{READER}"
                if beats.is_file():
                    answer = answer._replace(beats=_beats(beats, case))
                found[case.case] = answer
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"{file} cannot be read: {error}") from error
    return found


def _row_answer(row: Mapping[str, Any], case: Case, where: str) -> Answer:
    try:
        verdict = Verdict((row["verdict"] or "").strip().lower())
    except ValueError as error:
        raise LabError(
            f"{where}: the verdict is {row['verdict']!r}: one of {', '.join(Verdict)} expected"
        ) from error
    onset_s, end_s = (_seconds(row[name], f"{where}: {name}") for name in ("onset_s", "end_s"))
    return _answer(Reading(verdict, (row["condition"] or "").strip(), onset_s, end_s), case, where)


def _seconds(text: str | None, where: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise LabError(f"{where} is {text!r}: seconds expected")
    return seconds


def _beats(file: Path, case: Case) -> tuple[tuple[int, str], ...]:
    try:
        marks = read_annotations(file, Header(case.rate_hz, case.stop - case.start))
    except SourceError as error:
        if error.reason is SourceFault.NOT_FOUND:
            raise LabError(f"{file} is missing: export the review again") from error
        raise
    beats = zip(marks.sample.tolist(), marks.symbol, strict=True)
    return tuple((at, AAMI_CLASS[symbol]) for at, symbol in beats if symbol in AAMI_CLASS)
