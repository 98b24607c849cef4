"""Scripted rhythms have the properties that textbooks state."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from tocsin_dsp.beats.rr import FEATURES
from tocsin_models.labels import LABELS
from tocsin_training.data.scripted import (
    MINUTES,
    PARTS,
    Draws,
    Rhythm,
    alternating,
    dropped,
    exertion,
    fibrillation,
    flutter,
    pauses,
    runs,
    scripted,
    single,
    two_to_one,
    wenckebach,
)

Script = Callable[[Draws], Rhythm]
ECTOPIC: tuple[Script, ...] = (single, alternating, runs)
FROM_THE_NODE: tuple[Script, ...] = (
    two_to_one,
    dropped,
    wenckebach,
    pauses,
    fibrillation,
    flutter,
    exertion,
)


def draws(seed: int) -> Draws:
    return np.random.default_rng(seed)


def test_every_rhythm_is_used() -> None:
    assert set(PARTS) == {*ECTOPIC, *FROM_THE_NODE}


@pytest.mark.parametrize("script", PARTS)
@pytest.mark.parametrize("seed", range(5))
def test_intervals_are_physiological(script: Script, seed: int) -> None:
    for rr, label in islice(script(draws(seed)), 500):
        assert 0.0 < rr < 12
        assert label in ("N", "S")


@pytest.mark.parametrize("script", FROM_THE_NODE)
def test_beats_after_block_and_pause_and_in_fibrillation_are_not_ectopic(script: Script) -> None:
    assert {label for _, label in islice(script(draws(1)), 500)} == {"N"}


@pytest.mark.parametrize("script", ECTOPIC)
@pytest.mark.parametrize("seed", range(5))
def test_an_ectopic_beat_is_early(script: Script, seed: int) -> None:
    beats = list(islice(script(draws(seed)), 3000))
    early, others = ([rr for rr, label in beats if label == of] for of in "SN")
    assert np.median(early) < 0.95 * np.median(others)


def test_atrial_runs_may_be_most_of_a_recording() -> None:
    shares = [
        np.mean([label == "S" for _, label in islice(runs(draws(seed)), 2000)])
        for seed in range(40)
    ]
    assert min(shares) < 0.2
    assert max(shares) > 0.75


def test_a_number_gives_the_same_patient_and_another_number_another() -> None:
    scripted.cache_clear()
    features, labels = scripted(3)
    scripted.cache_clear()
    again, same = scripted(3)
    np.testing.assert_array_equal(features, again)
    np.testing.assert_array_equal(labels, same)
    assert len(scripted(4)[1]) != len(labels)


def test_a_patient_has_the_features_of_a_monitored_one() -> None:
    features, labels = scripted(0)
    assert features.shape == (len(labels), len(FEATURES))
    assert {LABELS[label] for label in np.unique(labels)} <= {"N", "S"}
    assert features[:, 0].sum() == pytest.approx(
        MINUTES * 60, rel=0.25
    )  # long intervals are left out
