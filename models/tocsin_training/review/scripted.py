"""Readers by script: they answer from the reference annotations, with a stated rate of errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, Annotations
from tocsin_agent.lab.evaluate.alarm_scoring import Occurrence, due_by_beats
from tocsin_agent.lab.review.cases import Case
from tocsin_agent.lab.review.folder import Answer
from tocsin_agent.messages.reading import ANY, Verdict
from tocsin_training.alarms.examples import tachycardias
from tocsin_training.alarms.reviewed import VT

ONSET_SD_S = 0.1
"""Standard deviation of where a reader puts an onset."""


class Truth(NamedTuple):
    """What the reference of a record says: its beats, and where each alarm is due, s."""

    rate_hz: float
    beats: tuple[tuple[int, str], ...]
    due: dict[str, list[list[Occurrence]]]


def truth_of(reference: Annotations, samples: int) -> Truth:
    """Return what the reference of a record says."""
    marks = zip(reference.sample.tolist(), reference.symbol, strict=True)
    beats = tuple((at, AAMI_CLASS[symbol]) for at, symbol in marks if symbol in AAMI_CLASS)
    return Truth(reference.rate_hz, beats, due_by_beats(reference, samples))


def read_case(case: Case, truth: Truth, errors: float, rng: np.random.Generator) -> Answer:
    """Answer a case as a reader would.

    Parameters
    ----------
    case : Case
    truth : Truth
    errors : float
        Probability of a wrong verdict: `false` for a condition that is there, `true` (of a silent
        stretch: `other`, tachycardia) for one that is not. A twentieth of it is the probability of
        a wrong label of a beat, V for another one and N for V.
    rng : Generator
    """
    beats = tuple((at - case.start, s) for at, s in truth.beats if case.start <= at < case.stop)
    found = tachycardias([(at / truth.rate_hz, label) for at, label in beats])
    about_vt = case.asked in {VT, ANY}
    there = bool(found) if about_vt else _due(case, truth)
    wrong = bool(rng.random() < errors)
    slips = rng.random(len(beats)) < errors / 20
    seen = tuple(
        (at, ("N" if label == "V" else "V") if slip else label)
        for (at, label), slip in zip(beats, slips.tolist(), strict=True)
    )
    if there != wrong:
        if not about_vt:
            onset = None if case.onset is None else case.onset - case.start
            return Answer(Verdict.TRUE, case.asked, onset, None, seen)
        begin, end = found[0] if found else (0.0, (case.stop - case.start) / case.rate_hz)
        verdict = Verdict.TRUE if case.asked == VT else Verdict.OTHER
        return Answer(verdict, VT, *_moved(begin, end, case, rng), seen)
    if found and not about_vt:
        return Answer(Verdict.OTHER, VT, *_moved(*found[0], case, rng), seen)
    return Answer(Verdict.FALSE, "", None, None, seen)


def _due(case: Case, truth: Truth) -> bool:
    start, stop = case.start / case.rate_hz, case.stop / case.rate_hz
    everything = (o for one in truth.due.get(case.asked, ()) for o in one)
    return any(o.due < stop and o.last > start for o in everything)


def _moved(begin_s: float, end_s: float, case: Case, rng: np.random.Generator) -> tuple[int, int]:
    """Return an onset and an end, each put where a reader would put it."""
    last = case.stop - case.start - 1
    onset, end = (
        int(np.clip(round((at + rng.normal(0, ONSET_SD_S)) * case.rate_hz), 0, last))
        for at in (begin_s, end_s)
    )
    return onset, max(onset, end)
