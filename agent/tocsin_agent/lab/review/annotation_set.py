"""The result of a review: WFDB annotations of the reviewed stretches, and where they come from.

::

    review-set.json       provenance: cases, answers, readers, agreement, hashes, versions
    svdb/800.rev          annotations of a record, in its own samples
    cases/case-001.rev    of a case without a record, beside its own header and samples

In an annotation file a note `"` with the text `review-001 true ventricular_tachycardia` begins a
reviewed stretch and one with `end` ends it. Between them are the beats, and `(VT`, `(N` and so on
where a rhythm begins. Outside them nothing was reviewed: that is not "normal".
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from tocsin_agent import __version__
from tocsin_agent.durable_file import replace_file
from tocsin_agent.errors import LabError
from tocsin_agent.lab.annotate import MNEMONICS, RHYTHMS, Mark, write_marks
from tocsin_agent.lab.review.agreement import Kappa
from tocsin_agent.lab.review.cases import Case
from tocsin_agent.lab.review.folder import require_new
from tocsin_agent.lab.review.settling import Comparison, Settled
from tocsin_agent.messages.reading import Verdict

FILE, ANNOTATOR = "review-set.json", "rev"
NOTE, RHYTHM = '"', "+"


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """A case with its answer, in samples of its record."""

    case: Case
    verdict: Verdict
    condition: str
    onset: int | None
    end: int | None
    by: str


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Two readers compared."""

    readers: tuple[str, str]
    adjudicator: str | None
    verdicts: Kappa
    beats: Kappa
    disputed: dict[str, int]


class ReviewSet(msgspec.Struct, frozen=True, kw_only=True):
    """`review-set.json`."""

    schema: str = "tocsin/review-set/v1"
    software: str = f"tocsin {__version__}"
    models: dict[str, str]
    made_at: datetime
    agreement: Agreement
    files: dict[str, str]
    """SHA-256 of each annotation file."""
    cases: tuple[Reviewed, ...]


class Published(NamedTuple):
    """A set that was written: its folder and its provenance."""

    folder: Path
    provenance: ReviewSet


def publish(
    review: Path,
    into: Path,
    models: dict[str, str],
    found: Comparison,
    settled: Sequence[Settled],
    *,
    adjudicator: str | None,
) -> Published:
    """Write the annotation set of a review.

    Raises
    ------
    LabError
        If the folder is not new.
    """
    require_new(into)
    by_record: dict[str, list[Settled]] = {}
    for one in settled:
        by_record.setdefault(one.case.record or f"cases/{one.case.case}", []).append(one)
    files: dict[str, str] = {}
    for record, of_it in sorted(by_record.items()):
        database, _, name = record.rpartition("/")
        place = into / Path(database).name
        ordered = sorted(of_it, key=lambda one: one.case.start)
        marks = list(dict.fromkeys(mark for one in ordered for mark in _marks(one)))
        file = write_marks(name, place, ANNOTATOR, marks, rate_hz=ordered[0].case.rate_hz)
        files[file.relative_to(into).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
        if not ordered[0].case.record:
            for suffix in (".hea", ".dat"):
                shutil.copyfile(review / "cases" / f"{name}{suffix}", place / f"{name}{suffix}")
    about: dict[str, int] = {}
    for disputed in found.disputed:
        about[disputed.about] = about.get(disputed.about, 0) + 1
    provenance = ReviewSet(
        models=models,
        made_at=datetime.now(UTC).replace(microsecond=0),
        agreement=Agreement(
            readers=found.readers,
            adjudicator=adjudicator,
            verdicts=found.verdicts,
            beats=found.beats,
            disputed=about,
        ),
        files=files,
        cases=tuple(map(_reviewed, settled)),
    )
    text = msgspec.json.format(msgspec.json.encode(provenance), indent=1)
    into.mkdir(parents=True, exist_ok=True)
    replace_file(into / FILE, text + b"\n")
    return Published(into, provenance)


def read_set(folder: Path) -> ReviewSet:
    """Read a set, and check that its annotation files are those that were reviewed.

    Raises
    ------
    LabError
        If it is missing, or a file was changed since.
    """
    try:
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=ReviewSet)
    except (OSError, msgspec.DecodeError) as error:
        raise LabError(
            f"{folder} holds no annotation set ({error}): make one by `tocsin review publish`"
        ) from error
    for name, digest in found.files.items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise LabError(f"{file} is missing or not the one of {FILE}: publish the review again")
    return found


def _reviewed(one: Settled) -> Reviewed:
    case, answer = one.case, one.answer
    return Reviewed(
        case=case,
        verdict=answer.verdict,
        condition=answer.condition,
        onset=None if answer.onset is None else case.start + answer.onset,
        end=None if answer.end is None else case.start + answer.end,
        by=one.by,
    )


def _marks(one: Settled) -> list[Mark]:
    """Return the annotations of a case, in samples of its record."""
    case, answer = one.case, one.answer
    number = case.case.rpartition("-")[2]
    said = " ".join(part for part in (answer.verdict.value, answer.condition) if part)
    marks = [Mark(case.start, NOTE, f"review-{number} {said}")]
    marks += [Mark(case.start + at, MNEMONICS[label]) for at, label in one.beats]
    rhythm = RHYTHMS.get(answer.condition)
    if rhythm is not None:
        onset = answer.onset if answer.onset is not None else 0
        end = answer.end if answer.end is not None else case.stop - case.start - 1
        marks.append(Mark(case.start + onset, RHYTHM, rhythm))
        marks.append(Mark(case.start + max(end, onset), RHYTHM, "(N"))
    marks.append(Mark(case.stop - 1, NOTE, f"review-{number} end"))
    return sorted(marks, key=lambda mark: mark.sample)
