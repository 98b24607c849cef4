"""Trust: noise does not repeat itself, heart beats do, fibrillation is recognised."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tocsin_dsp.beats.beats import FEATURES, SHAPE, BeatView
from tocsin_dsp.leads.trust import (
    AGREEMENT_OVER,
    ASSUMED_AGREED,
    FIBRILLATES,
    FIBRILLATION_LASTS,
    QUALITY_OVER,
    LeadTrust,
    Trust,
)
from tocsin_dsp.signal import FloatArray

CLEAN, MODERATE, NOISY = 1.0, 0.4, 0.0  # qualities
QRS = np.exp(-0.5 * ((np.arange(SHAPE) - 35) / 3.0) ** 2)


def noise(seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def view_of(number: int, shape: FloatArray) -> BeatView:
    return BeatView(
        125 * number, 125 * number + 91, 1.0, 0.5, 1.0, True,
        np.stack((shape, QRS)), np.zeros(len(FEATURES)),
    )  # fmt: skip


def trust_of(trust: LeadTrust, shapes: Iterable[FloatArray], quality: float) -> list[Trust]:
    """Return the trust of beats of which one comes with every half second."""
    judged = []
    for number, shape in enumerate(shapes):
        trust.observe_quality(quality)
        judged.append(trust.judge(view_of(number, shape)).trust)
    return judged


@pytest.mark.parametrize("quality", [CLEAN, 0.7, MODERATE, 0.2, NOISY])
def test_beats_that_repeat_are_trusted_at_any_quality(quality: float) -> None:
    """In noise all but the first of a stream, since it repeats no beat before it."""
    assert set(trust_of(LeadTrust(), [QRS] * 60, quality)[quality == NOISY :]) == {Trust.FULL}


def test_the_first_beats_of_a_stream_are_trusted_unless_it_is_noisy() -> None:
    assert trust_of(LeadTrust(), [QRS], CLEAN) == [Trust.FULL]
    result = trust_of(LeadTrust(), map(noise, range(20)), MODERATE)
    assert set(result[: ASSUMED_AGREED - 1]) == {Trust.FULL}
    assert set(result[2 * ASSUMED_AGREED :]) == {Trust.LOW}
    assert set(trust_of(LeadTrust(), map(noise, range(20)), NOISY)) == {Trust.NOISE}


@pytest.mark.parametrize("quality", [0.2, MODERATE, 0.9])
def test_the_confidence_of_a_label_is_limited_by_quality_and_agreement(quality: float) -> None:
    trust, views = LeadTrust(), [view_of(n, noise(n)) for n in range(2 * AGREEMENT_OVER)]
    trust.observe_quality(quality)
    certain = [trust.judge(view).max_confidence for view in views[:-1]]
    assert set(certain[AGREEMENT_OVER:]) == {quality}
    trust.observe_waveform(views[-1].decided, 0.95)
    assert trust.judge(views[-1]).max_confidence == 0.95


def test_in_noise_one_similar_beat_may_be_chance() -> None:
    alike = [noise(0) + 0.5 * noise(number) for number in range(1, 4)]  # by 0.8
    result = trust_of(LeadTrust(), alike, NOISY)
    assert result == [Trust.NOISE, Trust.NOISE, Trust.FULL]


def test_beats_of_every_shape_are_trusted_in_a_clean_signal() -> None:
    assert set(trust_of(LeadTrust(), map(noise, range(60)), CLEAN)) == {Trust.FULL}


def test_beats_that_alternate_are_trusted_at_any_quality() -> None:
    """In bigeminy, and where T waves are detected as beats, every second one is similar."""
    beats = [noise(number % 2) for number in range(60)]
    assert set(trust_of(LeadTrust(), beats, MODERATE)) == {Trust.FULL}


@pytest.mark.parametrize(("quality", "expected"), [(MODERATE, Trust.LOW), (NOISY, Trust.NOISE)])
def test_peaks_that_never_repeat_have_low_trust_and_in_noise_are_noise(
    quality: float, expected: Trust
) -> None:
    result = trust_of(LeadTrust(), map(noise, range(60)), quality)
    assert set(result[AGREEMENT_OVER:]) == {expected}


def test_a_lead_that_fibrillates_is_trusted_in_noise_and_of_any_shape() -> None:
    trust, shapes = LeadTrust(), [noise(seed) for seed in range(60)]
    trust_of(trust, shapes, NOISY)
    trust.observe_waveform(0, FIBRILLATES)  # the beats below are decided from 91 on, 125 apart
    result = trust_of(trust, shapes, NOISY)
    trusted = [each is Trust.FULL for each in result]
    assert trusted == [91 + 125 * number <= FIBRILLATION_LASTS for number in range(60)]


def test_the_first_beats_of_a_tachycardia_are_judged_by_the_signal_before_it() -> None:
    trust = LeadTrust()
    trust_of(trust, [QRS] * 20, CLEAN)
    assert set(trust_of(trust, map(noise, range(5)), MODERATE)) == {Trust.FULL}


def test_a_lead_is_trusted_again_soon_after_noise() -> None:
    trust = LeadTrust()
    trust_of(trust, map(noise, range(60)), MODERATE)
    assert set(trust_of(trust, [QRS] * 20, CLEAN)[QUALITY_OVER:]) == {Trust.FULL}


def test_gain_and_flat_windows_do_not_matter() -> None:
    assert set(trust_of(LeadTrust(), [QRS, 1e-6 * QRS] * 30, MODERATE)) == {Trust.FULL}
    assert len(trust_of(LeadTrust(), [np.zeros(SHAPE)] * 5, MODERATE)) == 5
