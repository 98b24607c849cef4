"""Trust: noise does not repeat itself, a heart does, and fibrillation is seen as such."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tocsin_dsp.beats.beats import FEATURES, SHAPE, BeatView
from tocsin_dsp.leads.trust import (
    AGREED_BEFORE,
    AGREEMENT_OVER,
    FIBRILLATES,
    QUALITY_OVER,
    STILL,
    LeadTrust,
    Trust,
)
from tocsin_dsp.signal import FloatArray

CLEAR, RESTLESS, WITHOUT_REST = 1.0, 0.4, 0.0
QRS = np.exp(-0.5 * ((np.arange(SHAPE) - 35) / 3.0) ** 2)


def noise(seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def view_of(number: int, shape: FloatArray) -> BeatView:
    return BeatView(
        125 * number, 125 * number + 91, 1.0, 0.5, 1.0, True,
        np.stack((shape, QRS)), np.zeros(len(FEATURES)),
    )  # fmt: skip


def judged(trust: LeadTrust, shapes: Iterable[FloatArray], quality: float) -> list[Trust]:
    """Give what is thought of beats that come with every half second."""
    thought = []
    for number, shape in enumerate(shapes):
        trust.hear(quality)
        thought.append(trust.judge(view_of(number, shape)).trust)
    return thought


@pytest.mark.parametrize("quality", [CLEAR, 0.7, RESTLESS, 0.2, WITHOUT_REST])
def test_beats_that_repeat_are_believed_however_bad_the_signal(quality: float) -> None:
    """Without rest all but the first of a stream, which nothing was before that it could repeat."""
    assert set(judged(LeadTrust(), [QRS] * 60, quality)[quality == WITHOUT_REST :]) == {
        Trust.BELIEVED
    }


def test_the_first_beats_of_a_stream_are_believed_where_there_is_rest() -> None:
    assert judged(LeadTrust(), [QRS], CLEAR) == [Trust.BELIEVED]
    told = judged(LeadTrust(), map(noise, range(20)), RESTLESS)
    assert set(told[: AGREED_BEFORE - 1]) == {Trust.BELIEVED}
    assert set(told[2 * AGREED_BEFORE :]) == {Trust.DOUBTED}
    assert set(judged(LeadTrust(), map(noise, range(20)), WITHOUT_REST)) == {Trust.NOISE}


@pytest.mark.parametrize("quality", [0.2, RESTLESS, 0.9])
def test_no_label_is_more_certain_than_that_there_is_a_heart(quality: float) -> None:
    trust, views = LeadTrust(), [view_of(n, noise(n)) for n in range(2 * AGREEMENT_OVER)]
    trust.hear(quality)
    certain = [trust.judge(view).max_confidence for view in views[:-1]]
    assert set(certain[AGREEMENT_OVER:]) == {quality}
    trust.see(views[-1].decided, 0.95)
    assert trust.judge(views[-1]).max_confidence == 0.95


def test_one_beat_like_another_may_be_chance_where_nothing_rests() -> None:
    alike = [noise(0) + 0.5 * noise(number) for number in range(1, 4)]  # by 0.8
    told = judged(LeadTrust(), alike, WITHOUT_REST)
    assert told == [Trust.NOISE, Trust.NOISE, Trust.BELIEVED]


def test_beats_of_every_shape_are_believed_in_a_clear_signal() -> None:
    assert set(judged(LeadTrust(), map(noise, range(60)), CLEAR)) == {Trust.BELIEVED}


def test_beats_that_alternate_are_believed_however_bad_the_signal() -> None:
    """In bigeminy, and where T waves are counted, every second one is alike."""
    beats = [noise(number % 2) for number in range(60)]
    assert set(judged(LeadTrust(), beats, RESTLESS)) == {Trust.BELIEVED}


@pytest.mark.parametrize(
    ("quality", "thought"), [(RESTLESS, Trust.DOUBTED), (WITHOUT_REST, Trust.NOISE)]
)
def test_crests_that_never_repeat_are_doubted_and_without_any_rest_are_noise(
    quality: float, thought: Trust
) -> None:
    told = judged(LeadTrust(), map(noise, range(60)), quality)
    assert set(told[AGREEMENT_OVER:]) == {thought}


def test_what_looks_like_fibrillation_is_believed_without_rest_or_one_shape() -> None:
    trust, shapes = LeadTrust(), [noise(seed) for seed in range(60)]
    judged(trust, shapes, WITHOUT_REST)
    trust.see(0, FIBRILLATES)  # the beats below are decided from 91 on, 125 apart
    told = judged(trust, shapes, WITHOUT_REST)
    seen = [thought is Trust.BELIEVED for thought in told]
    assert seen == [91 + 125 * number <= STILL for number in range(60)]


def test_the_first_beats_of_a_tachycardia_are_judged_by_the_calm_before_it() -> None:
    trust = LeadTrust()
    judged(trust, [QRS] * 20, CLEAR)
    assert set(judged(trust, map(noise, range(5)), RESTLESS)) == {Trust.BELIEVED}


def test_a_lead_is_believed_again_soon_after_the_noise() -> None:
    trust = LeadTrust()
    judged(trust, map(noise, range(60)), RESTLESS)
    assert set(judged(trust, [QRS] * 20, CLEAR)[QUALITY_OVER:]) == {Trust.BELIEVED}


def test_gain_and_flat_windows_do_not_matter() -> None:
    assert set(judged(LeadTrust(), [QRS, 1e-6 * QRS] * 30, RESTLESS)) == {Trust.BELIEVED}
    assert len(judged(LeadTrust(), [np.zeros(SHAPE)] * 5, RESTLESS)) == 5
