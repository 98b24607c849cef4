"""Each rule between the models and the labels, with it and without it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from support.labels import in_leads, shaped
from tocsin_agent.monitor.labels.classifiers import NO_ANSWER, Answer
from tocsin_agent.monitor.labels.corrections import (
    AF_LASTS_S,
    ALL_RULES,
    FEWEST_INTERVALS,
    FEWEST_SHAPES,
    NARROW_S,
    UNLIKE,
    USUAL,
    Corrections,
    LabelRules,
)
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Irregularity
from tocsin_dsp.beats.beats import SHAPE
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.rhythms.irregularity import EVERY
from tocsin_models import LABELS

RULES = LabelRules._fields


def without(rule: str) -> LabelRules:
    return ALL_RULES._replace(**{rule: False})


def answer(*of_all: float) -> Answer:
    best = max(range(len(of_all)), key=of_all.__getitem__)
    probabilities = np.array(of_all, np.float32).tolist()
    return Answer(LABELS[best], of_all[best], round(of_all[0] + of_all[1], 3), probabilities)


V = answer(0.1, 0.2, 0.6, 0.05, 0.05)
S = answer(0.3, 0.6, 0.1, 0.0, 0.0)


N = answer(0.9, 0.1, 0.0, 0.0, 0.0)


def begun(rules: LabelRules = ALL_RULES, beats: int = FEWEST_INTERVALS) -> Corrections:
    """Give corrections of a stream after its first beats."""
    corrections = Corrections(("II",), Limits(), rules)
    for i in range(beats):
        corrections.beat(shaped(0.99, 0.08, i), N)
    return corrections


def corrected(detected: LeadBeat, given: Answer, rules: LabelRules = ALL_RULES) -> Beat:
    return begun(rules).beat(detected, given)


# -- narrow --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("likeness", "qrs_s", "label"),
    [
        (USUAL + 0.01, NARROW_S - 0.01, "S"),
        (USUAL - 0.01, NARROW_S - 0.01, "V"),
        (USUAL + 0.01, NARROW_S + 0.01, "V"),
        (USUAL + 0.01, math.nan, "V"),
    ],
)
def test_a_narrow_beat_of_the_usual_shape_is_not_ventricular(
    likeness: float, qrs_s: float, label: str
) -> None:
    beat = corrected(shaped(likeness, qrs_s), V)
    assert beat.label == label
    assert beat.probability == pytest.approx(0.6 if label == "V" else 0.2)


@pytest.mark.parametrize("given", [answer(0.6, 0.1, 0.2, 0.05, 0.05), answer(0, 0, 0.2, 0, 0.8)])
def test_other_labels_stay(given: Answer) -> None:
    assert corrected(shaped(0.99, 0.08), given).label == given.label


def test_without_the_rule_it_stays_ventricular() -> None:
    beat = corrected(shaped(0.99, 0.08), V, without("narrow"))
    assert (beat.label, beat.probability) == ("V", 0.6)


# -- first beats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("beats", [0, FEWEST_INTERVALS - 1])
def test_no_beat_is_early_before_a_rhythm_is_known(beats: int) -> None:
    beat = begun(beats=beats).beat(shaped(0.99, 0.08), S)
    assert (beat.label, beat.probability) == ("N", S.n_or_s)
    assert corrected(shaped(0.99, 0.08), S).label == "S"


@pytest.mark.parametrize(
    ("beats", "likeness", "label"),
    [
        (FEWEST_SHAPES - 1, UNLIKE - 0.1, "Q"),
        (FEWEST_SHAPES - 1, UNLIKE + 0.1, "V"),
        (FEWEST_SHAPES, UNLIKE - 0.1, "V"),
    ],
)
def test_no_beat_is_ventricular_by_shape_alone_before_a_shape_is_usual(
    beats: int, likeness: float, label: str
) -> None:
    beat = begun(beats=beats).beat(shaped(likeness, 0.16), V)
    assert beat.label == label
    assert beat.probability == pytest.approx(0.05 if label == "Q" else 0.6)


def test_beats_that_cannot_be_read_make_nothing_known() -> None:
    corrections, unreadable = begun(beats=0), shaped(0.99, 0.08)
    unreadable = unreadable._replace(view=unreadable.view._replace(readable=False))
    for _ in range(FEWEST_INTERVALS):
        corrections.beat(unreadable, NO_ANSWER)
    assert corrections.beat(shaped(0.99, 0.08), S).label == "N"


def test_without_the_rule_the_first_beats_have_the_labels_of_the_classifier() -> None:
    rules = without("first_beats")
    assert begun(rules, 0).beat(shaped(0.99, 0.08), S).label == "S"
    assert begun(rules, 0).beat(shaped(0.0, 0.16), V).label == "V"


# -- low trust -----------------------------------------------------------------------------------


def in_noise(rules: LabelRules, quality: float = 0.0) -> Beat:
    """Give the tenth of beats of changing shape in a lead of that quality."""
    corrections, draws = begun(rules), np.random.default_rng(1)
    for at in range(HOP, 20 * HOP, HOP):
        corrections.take_hop(Hop(at, (LeadState.NOISY,), (quality,)))
    beats = []
    for r in range(1000, 3000, 200):
        detected = in_leads(r, 0.9)
        shapes = draws.standard_normal((2, SHAPE))
        detected = detected._replace(view=detected.view._replace(shapes=shapes))
        beats.append(corrections.beat(detected, answer(0.05, 0.0, 0.95, 0.0, 0.0)))
    return beats[-1]


def test_noise_is_unknown() -> None:
    beat = in_noise(ALL_RULES)
    assert (beat.label, beat.probability, beat.trusted) == ("Q", 0.0, False)


def test_a_beat_of_low_trust_is_at_most_as_probable_as_its_lead_is_trusted() -> None:
    beat = in_noise(ALL_RULES, 0.4)
    assert (beat.label, beat.trusted) == ("V", False)
    assert beat.probability == pytest.approx(0.4, abs=0.05)


def test_without_the_rule_the_label_stays_and_the_trust_is_still_stated() -> None:
    beat = in_noise(without("low_trust"))
    assert (beat.label, beat.probability, beat.trusted) == ("V", 0.95, False)


# -- tachycardia ---------------------------------------------------------------------------------


def in_tachycardia(rules: LabelRules) -> list[Beat]:
    """Give wide beats at 150/min: five V, then N."""
    corrections, beats = begun(rules), []
    for i in range(10):
        detected = shaped(0.0, 0.16, 1000 + 100 * i)
        shapes = np.stack((np.sin(np.arange(SHAPE) / 5.0), np.cos(np.arange(SHAPE) / 5.0)))
        detected = detected._replace(view=detected.view._replace(shapes=shapes))
        given = answer(0.0, 0.0, 0.8, 0.2, 0.0) if i < 5 else answer(0.9, 0.0, 0.1, 0.0, 0.0)
        beats.append(corrections.beat(detected, given))
    return beats


def test_what_continues_a_tachycardia_stays_ventricular() -> None:
    beats = in_tachycardia(ALL_RULES)
    assert [b.label for b in beats] == ["V"] * 10
    assert [b.held for b in beats] == [False] * 5 + [True] * 5
    assert beats[-1].probability == pytest.approx(0.8)


def test_without_the_rule_the_labels_are_the_classifiers() -> None:
    beats = in_tachycardia(without("tachycardia"))
    assert "".join(b.label for b in beats) == "VVVVVNNNNN"
    assert not any(b.held for b in beats)


# -- in fibrillation -----------------------------------------------------------------------------


def fibrillating(rules: LabelRules) -> tuple[Corrections, int]:
    """Give corrections after as much atrial fibrillation as is needed, and when that is."""
    corrections = begun(rules)
    windows = round(AF_LASTS_S) // 5
    for i in range(1, windows + 1):
        corrections.take_half_minute(Irregularity(i * EVERY, 0.96, 0.0, 0.2))
    return corrections, windows * EVERY


def test_in_atrial_fibrillation_no_beat_is_supraventricular() -> None:
    corrections, at = fibrillating(ALL_RULES)
    beat = corrections.beat(shaped(0.5, 0.08, at + 100), S)
    assert (beat.label, beat.probability) == ("S", 0.6)
    corrected = corrections.in_rhythm(beat)
    assert (corrected.label, corrected.probability) == ("N", 0.9)
    assert math.isnan(corrected.likeness)
    wide = beat._replace(label="V")
    assert corrections.in_rhythm(wide) is wide


def test_elsewhere_it_is_and_without_the_rule_it_stays() -> None:
    beat = corrected(shaped(0.5, 0.08), S)
    assert Corrections(("II",), Limits()).in_rhythm(beat) is beat
    corrections, at = fibrillating(without("in_fibrillation"))
    beat = corrections.beat(shaped(0.5, 0.08, at + 100), S)
    assert corrections.in_rhythm(beat) is beat


def test_every_rule_has_a_name() -> None:
    assert RULES == ("narrow", "first_beats", "low_trust", "tachycardia", "in_fibrillation")
