"""Trust: noise does not repeat itself, a heart does; and neither rests where nothing can rest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tocsin_dsp.beats import FEATURES, SHAPE, BeatView
from tocsin_dsp.signal import FloatArray
from tocsin_dsp.trust import AGREEMENT_OVER, QUALITY_OVER, LeadTrust

CLEAR, RESTLESS, WITHOUT_REST = 1.0, 0.4, 0.0
QRS = np.exp(-0.5 * ((np.arange(SHAPE) - 35) / 3.0) ** 2)


def noise(seed: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def judged(trust: LeadTrust, shapes: Iterable[FloatArray], quality: float) -> list[bool]:
    """Give what is believed of beats that come with every half second."""
    believed = []
    for number, shape in enumerate(shapes):
        trust.hear(quality)
        view = BeatView(
            125 * number, 125 * number + 91, 1.0, 0.5, 1.0, True,
            np.stack((shape, QRS)), np.zeros(len(FEATURES)),
        )  # fmt: skip
        believed.append(trust.believes(view))
    return believed


@pytest.mark.parametrize("quality", [CLEAR, 0.7, RESTLESS, 0.2, WITHOUT_REST])
def test_beats_that_repeat_are_believed_however_bad_the_signal(quality: float) -> None:
    assert all(judged(LeadTrust(), [QRS] * 60, quality))


def test_beats_of_every_shape_are_believed_in_a_clear_signal() -> None:
    assert all(judged(LeadTrust(), map(noise, range(60)), CLEAR))


def test_crests_that_never_repeat_in_a_restless_signal_are_doubted() -> None:
    believed = judged(LeadTrust(), map(noise, range(60)), RESTLESS)
    assert not any(believed[AGREEMENT_OVER:])


def test_what_has_no_rest_at_all_is_believed() -> None:
    """Fibrillation has neither rest nor one shape."""
    assert all(judged(LeadTrust(), map(noise, range(60)), WITHOUT_REST)[QUALITY_OVER:])


def test_the_first_beats_of_a_tachycardia_are_judged_by_the_calm_before_it() -> None:
    trust = LeadTrust()
    judged(trust, [QRS] * 20, CLEAR)
    assert all(judged(trust, map(noise, range(5)), RESTLESS))


def test_a_lead_is_believed_again_soon_after_the_noise() -> None:
    trust = LeadTrust()
    judged(trust, map(noise, range(60)), RESTLESS)
    assert all(judged(trust, [QRS] * 20, CLEAR)[QUALITY_OVER:])


def test_gain_and_flat_windows_do_not_matter() -> None:
    assert all(judged(LeadTrust(), [QRS, 1e-6 * QRS] * 30, RESTLESS))
    assert len(judged(LeadTrust(), [np.zeros(SHAPE)] * 5, RESTLESS)) == 5
