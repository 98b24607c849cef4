"""Scoring of alarms: which were due, which were raised, and their delay."""

from __future__ import annotations

from itertools import accumulate

import pytest

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.evaluate.alarm_scoring import (
    AlarmCount,
    Occurrence,
    RaisedAlarm,
    due_by_beats,
    due_by_rhythm,
    judge_alarms,
    pair,
    reference_alarms,
    with_vf_marks,
)
from tocsin_agent.messages.alert import Phase

RATE_HZ = 360.0
HOUR = round(3600 * RATE_HZ)


def beats(text: str, first_s: float = 1.0) -> Annotations:
    """Return beats 0.8 s apart; a ventricular one comes 0.4 s after the one before it."""
    steps = accumulate([first_s, *(0.4 if label == "V" else 0.8 for label in text[1:])])
    samples = [round(RATE_HZ * s) for s in steps]
    return make_annotations(samples, text, rate_hz=RATE_HZ, n_samples=samples[-1] + 3600)


def rhythm(*marks: tuple[float, str]) -> Annotations:
    return make_annotations(
        [round(RATE_HZ * s) for s, _ in marks], "+" * len(marks), rate_hz=RATE_HZ,
        n_samples=HOUR, aux=[text for _, text in marks],
    )  # fmt: skip


def test_the_rules_raise_alarms_on_the_reference() -> None:
    at = [360 * i for i in range(1, 11)] + [360 * 15 + 360 * i for i in range(10)]
    reference = make_annotations(at, "N" * 20, rate_hz=360.0, n_samples=360 * 30)
    raised = [(t.episode.code, t.phase) for t in reference_alarms(reference, 360 * 30)]
    assert ("pause", Phase.ONSET) in raised
    assert ("asystole", Phase.ONSET) in raised


def test_one_reference_alarm_covers_every_couplet_in_its_time() -> None:
    reference = beats("N" * 9 + "VV" + "N" * 30 + "VV" + "N" * 9)
    ((first, second),) = due_by_beats(reference, reference.n_samples or 0)["couplet"]
    assert first.due == first.last == pytest.approx(1 + 8 * 0.8 + 2 * 0.4 + 0.8, abs=0.01)
    assert second.due == pytest.approx(first.due + 30 * 0.8 + 2 * 0.4, abs=0.01)


def test_a_run_that_continues_is_one_occurrence() -> None:
    reference = beats("N" * 9 + "VVVV" + "N" * 9)
    (((due, last),),) = due_by_beats(reference, reference.n_samples or 0)["ventricular_run"]
    assert last - due == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("raised", "due", "expected"),
    [
        ([(400, 400)], [[(400.5, 410)]], AlarmCount(1, 0, 0, (-0.5,))),
        ([(400, 400)], [[(411, 420)]], AlarmCount(0, 1, 1, ())),
        ([(402, 402), (430, 430)], [[(400, 405)]], AlarmCount(1, 1, 0, (2.0,))),
        ([], [[(100, 120)]], AlarmCount(0, 0, 0, ())),  # in the learning period
        ([(305, 305)], [[(100, 310)]], AlarmCount(1, 0, 0, ())),
    ],
)
def test_an_alarm_is_true_near_a_true_occurrence(
    raised: list[tuple[float, float]], due: list[list[tuple[float, float]]], expected: AlarmCount
) -> None:
    assert counted(raised, due) == expected


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ([(450.4, 450.4)], AlarmCount(1, 0, 0, (0.4,))),  # the first missed, the second found
        ([(400.4, 450.0)], AlarmCount(1, 0, 0, (0.4,))),
        ([(399.9, 450.0)], AlarmCount(1, 0, 0, (-0.1,))),
        ([(449.9, 450.0)], AlarmCount(1, 0, 0, (-0.1,))),  # the second, marked a little earlier
        ([(445.0, 450.0)], AlarmCount(1, 0, 0, (-5.0,))),  # too late for the first
        ([(430.0, 430.0)], AlarmCount(0, 1, 1, ())),  # between two couplets, and of neither
    ],
)
def test_a_delay_counts_from_the_occurrence_of_the_alarm(
    raised: list[tuple[float, float]], expected: AlarmCount
) -> None:
    assert counted(raised, [[(400, 400), (450, 450)]]) == expected


@pytest.mark.parametrize(("last", "missed"), [(395, 0), (389, 1)])
def test_an_occurrence_within_an_open_alarm_is_not_missed(last: float, missed: int) -> None:
    assert counted([(350, last)], [[(400, 400)]]) == AlarmCount(0, 1, missed, ())


def counted(raised: list[tuple[float, float]], due: list[list[tuple[float, float]]]) -> AlarmCount:
    return pair([RaisedAlarm(*r) for r in raised], [[Occurrence(*o) for o in one] for one in due])


def test_an_alarm_of_a_rhythm_is_due_when_it_has_lasted() -> None:
    reference = rhythm((0, "(N"), (600, "(AFIB"), (700, "(N"), (800, "(AFIB"), (829, "(N"))
    assert due_by_rhythm(reference, "atrial_fibrillation", HOUR) == [[Occurrence(630.0, 700.0)]]
    open_end = rhythm((0, "(N"), (600, "(VFL"))
    due = due_by_rhythm(open_end, "ventricular_fibrillation", HOUR)
    assert due == [[Occurrence(604.0, 3600.0)]]


def test_marks_of_fibrillation_are_converted_to_those_of_ec57() -> None:
    marked = with_vf_marks(rhythm((0, "(N"), (600, "(VF"), (610, "(VFL"), (620, "(N")))
    assert marked.symbol == ("[", "]")
    assert (marked.sample / RATE_HZ).tolist() == [600, 620]


def test_a_reference_judges_only_the_alarms_that_it_can() -> None:
    assert judge_alarms(beats("N" * 9), [], HOUR).keys() >= {"couplet", "asystole"}
    assert "atrial_fibrillation" not in judge_alarms(beats("N" * 9), [], HOUR)
    found = judge_alarms(rhythm((0, "(N"), (600, "(AFIB")), [], HOUR)
    assert found["atrial_fibrillation"] == AlarmCount(0, 0, 1, ())
    assert "couplet" not in found
