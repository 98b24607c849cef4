"""How the models are asked: several leads, batches, failures."""

from __future__ import annotations

import numpy as np
import pytest

from support.labels import Answers, ByFeature, Fails, in_leads
from tocsin_agent.monitor.labels.classifiers import (
    OTHER_LEADS,
    Answer,
    Classifiers,
    Reply,
    rounded,
)
from tocsin_agent.monitor.timeline import Failure
from tocsin_dsp.rhythms.fibrillation import FEATURES, POINTS, Window
from tocsin_dsp.rhythms.irregularity import IrregularWindow
from tocsin_models import Models

BEATS_OF_LEADS = [
    in_leads(1000, 0.9),
    in_leads(1200, 0.7, 0.1),
    in_leads(1400, 0.6, 0.6, 0.2),
    in_leads(1600, 0.4),
]
ROWS = (1, 3, 6, 7)  # answers that are needed up to each of them


def replies(model: ByFeature | None, together: int) -> list[Reply[Answer]]:
    """Ask about beats, so many in a batch."""
    classifiers = Classifiers(Models(beats=model))
    parts = range(0, len(BEATS_OF_LEADS), together)
    return [r for i in parts for r in classifiers.beats(BEATS_OF_LEADS[i : i + together])]


def labels(given: list[Reply[Answer]]) -> list[str | None]:
    return [reply.answer and reply.answer.label for reply in given]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_the_answers_of_several_leads_are_averaged(together: int) -> None:
    own = 1 - OTHER_LEADS
    expected = [0.9, 0.7 * own + 0.1 * OTHER_LEADS, 0.6 * own + 0.4 * OTHER_LEADS, 0.4]
    answers = [reply.answer for reply in replies(ByFeature(), together)]
    for answer, v in zip(answers, expected, strict=True):
        assert answer is not None
        assert answer.label == ("V" if v > 0.5 else "N")
        assert answer.probability == pytest.approx(max(v, 1 - v), abs=1e-3)
        assert answer.n_or_s == pytest.approx(1 - v, abs=1e-3)
        assert answer.of_all == pytest.approx([1 - v, 0, v, 0, 0])


@pytest.mark.parametrize("together", [1, 2, 4])
@pytest.mark.parametrize("answers", range(8))
def test_a_beat_without_all_its_rows_has_no_answer(together: int, answers: int) -> None:
    given = replies(ByFeature(answers), together)
    complete = sum(stop <= answers for stop in ROWS)
    assert None not in labels(given)[:complete]
    assert labels(given)[complete:] == [None] * (4 - complete)
    failed = [i for i, reply in enumerate(given) if reply.failures]
    assert failed == ([complete] if complete < 4 else []), "once, at the beat without its answer"


@pytest.mark.parametrize("together", [1, 2, 4])
def test_the_fallback_answers_the_failing_beat_in_all_leads(together: int) -> None:
    fallback = Answers(0.0, 0.0, 0.0, 0.0, 1.0)
    failing = ByFeature(4, fallback)  # it fails in the second lead of the third beat
    given = replies(failing, together)
    assert labels(given) == ["V", "N", "Q", "Q"]
    assert [reply.answer.probability for reply in given[2:] if reply.answer] == [1.0, 1.0]
    failure = Failure(1491, "beats", failing.id, fallback.id, "output")
    assert [reply.failures for reply in given] == [(), (), (failure,), ()]


def test_every_model_that_fails_at_an_item_is_reported() -> None:
    last = Fails("last")
    first = Fails("first", last)
    classifiers = Classifiers(Models(beats=first))
    given = classifiers.beats(BEATS_OF_LEADS[:2])
    assert [(f.failed, f.instead) for f in given[0].failures] == [
        (first.id, last.id),
        (last.id, None),
    ]
    assert given[1] == Reply(None, ())
    assert classifiers.model_ids == {"beats": None, "vf": None, "af": None, "alarms": None}


def test_windows_and_half_minutes_have_one_probability_each() -> None:
    classifiers = Classifiers(Models(vf=Answers(0.4321), af=Answers(0.9876)))
    shape, features = np.zeros(POINTS), np.zeros(len(FEATURES))
    windows = [Window(at, 0, 0.3, shape, features) for at in (1000, 1250)]
    assert classifiers.windows(windows) == [Reply(0.432, ())] * 2
    half_minutes = [IrregularWindow(5000, np.zeros(19), 0.1, 0.2)]
    assert classifiers.half_minutes(half_minutes) == [Reply(0.988, ())]


def test_without_a_model_nothing_is_answered_and_nothing_fails() -> None:
    assert replies(None, 4) == [Reply(None, ())] * 4
    assert Classifiers(Models()).beats([]) == []


def test_other_models_are_asked_from_then_on() -> None:
    classifiers = Classifiers(Models(beats=Answers(1, 0, 0, 0, 0)))
    assert labels(classifiers.beats(BEATS_OF_LEADS[:1])) == ["N"]
    classifiers.use(Models(beats=Answers(0, 0, 0, 1, 0)))
    assert labels(classifiers.beats(BEATS_OF_LEADS[:1])) == ["F"]


@pytest.mark.parametrize("decimals", [3, 4])
def test_one_answer_is_rounded_as_an_array_of_them(decimals: int) -> None:
    halves = (np.arange(1000) + 0.5) / 10**decimals  # where decimal rounding would differ
    given = np.concatenate((halves, np.random.default_rng(3).random(1000))).astype(np.float32)
    expected = given.astype(float).round(decimals).tolist()
    assert [rounded(value, decimals) for value in given.tolist()] == expected
    assert [round(value, decimals) for value in halves.tolist()] != halves.round(decimals).tolist()
