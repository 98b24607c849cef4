"""Half minutes of rhythm: which are described, and their features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tocsin_dsp.beats.delineation import Delineated
from tocsin_dsp.beats.waves import UNKNOWN
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.rhythms.irregularity import (
    EVERY,
    FEATURES,
    LIMIT,
    OVER,
    IrregularityObserver,
    IrregularWindow,
)

RATE = ANALYSIS_RATE_HZ
NAMES = list(FEATURES)


def described(
    rr_s: Sequence[float],
    labels: str = "",
    *,
    p_score: float = 0.1,
    trusted: bool = True,
    at: int | None = None,
) -> IrregularWindow | None:
    """Describe beats with these intervals, all N where no labels are given."""
    observer, now = IrregularityObserver(), 0.0
    for i, rr in enumerate(rr_s):
        now += rr
        label = labels[i % len(labels)] if labels else "N"
        waves = Delineated(UNKNOWN._replace(p_score=p_score))
        observer.take(round(now * RATE), label, waves, trusted=trusted)
    return observer.describe(round(now * RATE) + 1 if at is None else at)


def random_rr(n: int = 35, seed: int = 1) -> list[float]:
    """Return independent intervals."""
    return [float(rr) for rr in np.random.default_rng(seed).uniform(0.5, 1.1, n)]


def feature(window: IrregularWindow | None, name: str) -> float:
    assert window is not None
    centre, gain = FEATURES[name]
    return float(window.features[NAMES.index(name)]) / gain + centre


def test_a_regular_rhythm_is_not_described() -> None:
    assert described([0.8] * 35) is None
    assert described((0.8 + 0.005 * np.sin(np.arange(35))).tolist()) is None


def test_an_irregular_rhythm_is_described_within_the_limits() -> None:
    window = described(random_rr())
    assert window is not None
    assert window.features.shape == (len(FEATURES),)
    assert np.isfinite(window.features).all()
    assert np.abs(window.features).max() <= LIMIT
    assert feature(window, "mean_rr_s") == pytest.approx(0.8, abs=0.1)
    assert window.difference > 0.1


def test_the_last_half_minute_counts() -> None:
    before = random_rr(40)
    observer, now = IrregularityObserver(), 0.0
    for rr in before + [0.8] * 45:
        now += rr
        waves = Delineated(UNKNOWN._replace(p_score=0.1))
        observer.take(round(now * RATE), "N", waves, trusted=True)
    assert observer.describe(round(now * RATE) + 1) is None


def test_fibrillation_is_less_predictable_than_bigeminy() -> None:
    chance, pairs = described(random_rr()), described([0.6, 1.0] * 18)
    assert feature(chance, "sample_entropy") > feature(pairs, "sample_entropy") + 1
    assert feature(chance, "scatter") > feature(pairs, "scatter") + 0.4
    assert feature(pairs, "repeats") < -0.8 < feature(chance, "repeats")


def test_ventricular_beats_are_left_out() -> None:
    assert described([0.8, 0.8, 0.8, 0.5, 1.1] * 8, "NNNVN") is None
    assert described([0.8, 0.8, 0.8, 0.5, 1.1] * 8, "NNNSN") is not None


def test_without_its_early_beats_ectopy_is_regular() -> None:
    ectopy = described([0.8, 0.8, 0.8, 0.8, 0.5, 1.1] * 6, "NNNNSN")
    assert feature(ectopy, "over_10_percent") > 0.3
    assert feature(ectopy, "normal_difference") == pytest.approx(0.0, abs=0.01)
    assert feature(ectopy, "normal_over_10_percent") == pytest.approx(0.0, abs=0.01)
    chance = described(random_rr(), "NNNNSN")
    assert feature(chance, "normal_difference") > 0.1
    assert feature(chance, "normal_over_10_percent") > 0.5


def test_features_among_normal_beats_are_typical_where_there_are_few() -> None:
    bigeminy = described([0.6, 1.0] * 18, "SN")
    assert feature(bigeminy, "normal_difference") == pytest.approx(0.07)
    assert feature(bigeminy, "normal_over_10_percent") == pytest.approx(0.3)


def test_low_trust_beats_are_left_out() -> None:
    assert described(random_rr(), trusted=False) is None


@pytest.mark.parametrize("beats", [0, 1, 2, 5, 6])
def test_too_few_beats_are_not_described(beats: int) -> None:
    assert described(random_rr()[:beats], at=20 * RATE) is None


def test_a_pause_is_not_an_interval() -> None:
    assert described([0.8] * 12 + [9.0] + [0.8] * 12) is None


def test_p_waves_are_counted() -> None:
    assert described(random_rr(), p_score=0.9) is None
    assert feature(described(random_rr(), p_score=0.1), "share_with_p") == 0.0
    assert feature(described(random_rr(), p_score=float("nan")), "share_with_p") == 0.5


def test_the_window_is_a_whole_number_of_steps() -> None:
    assert OVER % EVERY == 0
