"""Weighing candidates: a known shape is probable, a new one is not until it recurs."""

from __future__ import annotations

import numpy as np

from tocsin_dsp.detection.shapes import (
    REACH,
    SCOPE,
    UNKNOWN_ALIKE,
    Candidate,
    Remembered,
    Shapes,
)
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

NARROW, WIDE = 4.0, 14.0


def wave(width: float, reach: int, at: int = 0, height: float = 1.0) -> FloatArray:
    t = np.arange(-reach, reach + 1) - at
    return on_sample_grid(height * np.exp(-0.5 * (t / width) ** 2))


def known() -> Shapes:
    return Shapes([Remembered(wave(NARROW, REACH), 1.0, 200) for _ in range(10)])


def odds(shapes: Shapes, lead: FloatArray, level: float = 1.0) -> float:
    candidate = Candidate(1027, level, True, 0.1, 1000, 1084, 1.0, np.zeros(36))
    return shapes.weigh(candidate, 1000, lead, 0.3).odds


def test_a_known_shape_is_probable_and_another_is_not() -> None:
    assert odds(known(), wave(NARROW, SCOPE)) > 3.0
    assert odds(known(), wave(WIDE, SCOPE)) < 1.0
    assert odds(known(), -wave(NARROW, SCOPE)) < 0.0
    assert odds(known(), np.zeros(2 * SCOPE + 1), 0.01) < 0.0


def test_the_r_peak_is_where_the_shape_fits_best() -> None:
    candidate = Candidate(1027, 1.0, True, 0.1, 1000, 1084, 1.0, np.zeros(36))
    assert known().weigh(candidate, 1000, wave(NARROW, SCOPE, at=9), 0.3).r_index == 1009


def test_a_new_shape_that_recurs_becomes_known() -> None:
    shapes, wide = known(), wave(WIDE, SCOPE, height=2.0)
    first = odds(shapes, wide, 2.0)
    for _ in range(UNKNOWN_ALIKE):
        odds(shapes, wide, 2.0)
    assert odds(shapes, wide, 2.0) > first + 1.0


def test_missing_samples_count_as_zero() -> None:
    lead = wave(NARROW, SCOPE)
    lead[:30] = np.nan
    assert odds(known(), lead) > 3.0


def test_gain_and_polarity_of_a_patient_do_not_matter() -> None:
    for gain in (2.0**-10, -1.0, 2.0**10):
        scaled = Shapes([Remembered(gain * wave(NARROW, REACH), abs(gain), 200)] * 10)
        unscaled = odds(known(), wave(NARROW, SCOPE))
        assert abs(odds(scaled, gain * wave(NARROW, SCOPE), abs(gain)) - unscaled) < 1e-3
