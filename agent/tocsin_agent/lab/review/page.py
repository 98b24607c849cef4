"""One page for a reader without a program for WFDB: `cases/review.html`, and what it saves.

The page holds the ECG of all cases and needs no server and no network. It shows three leads at 125
samples a second, which is enough to read a rhythm; the files beside it have the whole signal.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from tocsin_agent.errors import LabError
from tocsin_agent.lab.annotate import MNEMONICS
from tocsin_agent.lab.review.cases import Case
from tocsin_agent.lab.review.folder import Answer, Excerpt, Verdict, checked
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_dsp.signal import FloatArray

PAGE = "review.html"
SHOWN_HZ, SHOWN_LEADS = 125.0, 3
_COUNTS_PER_MV, _MISSING = 200.0, -32768
_PLACE = "/*DATA*/null"


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer as the page saves it; times in seconds from the beginning of the case."""

    verdict: Verdict
    condition: str = ""
    onset_s: float | None = None
    end_s: float | None = None
    beats: tuple[tuple[Annotated[float, Meta(ge=0)], str], ...] | None = None


class SavedAnswers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that the page saves."""

    schema: Literal["tocsin/review-answers/v1"]
    answers: dict[str, Saved]


def write_page(folder: Path, excerpts: Iterable[tuple[Case, Excerpt]]) -> Path:
    """Write the page of some cases into a folder and return its path."""
    data = {
        "conditions": sorted(ALARMS),
        "labels": list(MNEMONICS),
        "cases": sorted((_shown(*one) for one in excerpts), key=lambda one: str(one["case"])),
    }
    template = (files("tocsin_agent.lab.review") / "page.html").read_text(encoding="utf-8")
    # `</` would end the script in which the data are.
    text = msgspec.json.encode(data).decode().replace("</", "<\\/")
    file = folder / PAGE
    file.write_text(template.replace(_PLACE, text), encoding="utf-8")
    return file


def read_saved(file: Path, cases: Sequence[Case]) -> dict[str, Answer]:
    """Read what a reader saved.

    Raises
    ------
    LabError
        If it is something else, or an answer cannot be.
    """
    try:
        saved = msgspec.json.decode(file.read_bytes(), type=SavedAnswers)
    except (OSError, msgspec.DecodeError) as error:
        raise LabError(f"{file} is not what the page saves: {error}") from error
    by_name = {case.case: case for case in cases}
    found: dict[str, Answer] = {}
    for name, one in saved.answers.items():
        if name not in by_name:
            raise LabError(f"{file}: {name!r} is no case of this review")
        found[name] = _answer(one, by_name[name], f"{file}, {name}")
    return found


def _answer(one: Saved, case: Case, where: str) -> Answer:
    length, beats = case.stop - case.start, None
    if one.beats is not None:
        beats = tuple((min(round(at * case.rate_hz), length - 1), label) for at, label in one.beats)
        if wrong := sorted({label for _, label in beats} - set(MNEMONICS)):
            raise LabError(f"{where}: {', '.join(wrong)} is no label of a beat")
    onset, end = (
        None if at is None else round(at * case.rate_hz) for at in (one.onset_s, one.end_s)
    )
    return checked(Answer(one.verdict, one.condition, onset, end, beats), case, where)


def _shown(case: Case, excerpt: Excerpt) -> dict[str, object]:
    step = max(1, round(case.rate_hz / SHOWN_HZ))
    samples = _thinned(excerpt.samples_mv[:, :SHOWN_LEADS], step)
    counts = np.clip(np.rint(samples * _COUNTS_PER_MV), -32767, 32767)
    packed = np.where(np.isnan(counts), _MISSING, counts).astype("<i2")
    return {
        "case": case.case,
        "asked": case.asked,
        "rate": case.rate_hz / step,
        "seconds": (case.stop - case.start) / case.rate_hz,
        "leads": excerpt.leads[:SHOWN_LEADS],
        "data": base64.b64encode(packed.tobytes()).decode(),
        "beats": [(round(at / case.rate_hz, 4), label) for at, label in excerpt.beats],
    }


def _thinned(samples: FloatArray, step: int) -> FloatArray:
    """Return means of `step` samples, so that nothing folds into the picture."""
    rows = len(samples) // step * step
    return np.asarray(samples[:rows].reshape(-1, step, samples.shape[1]).mean(axis=1))
