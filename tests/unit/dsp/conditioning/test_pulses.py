"""Pacing pulses that no device marked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.pulses import LONGEST_S, REST_S, PulseFilter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler, response
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

RATE = 500


def ecg(seconds: float = 4.0, rate_hz: int = RATE) -> FloatArray:
    """Return triangles of 5 mV and 70 ms, shape (n, 1)."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz % 0.75
    return 5.0 * np.clip(1 - np.abs(t - 0.3) / 0.035, 0.0, None)[:, None]


@pytest.mark.parametrize("rate_hz", [125, 250, 500, 1000, 2000])
def test_the_steepest_ecg_passes_unchanged(rate_hz: int) -> None:
    x = ecg(rate_hz=rate_hz)
    assert PulseFilter(rate_hz, 1).push(x) is x


@pytest.mark.parametrize("mv", [2.0, -2.0, 700.0])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_a_pulse_becomes_missing_and_nothing_else(mv: float, samples: int) -> None:
    x = ecg()
    x[200 : 200 + samples] += mv
    y = PulseFilter(RATE, 1).push(x)
    assert np.isnan(y[200, 0])
    kept = ~np.isnan(y)
    assert kept.sum() >= len(x) - samples
    assert np.array_equal(y[kept], x[kept])
    if samples == 1 or abs(mv) > 100:
        assert np.array_equal(y[kept], ecg()[kept])


def test_a_step_is_accepted_after_the_longest_pulse() -> None:
    x = ecg()
    x[200:] += 50.0
    y = PulseFilter(RATE, 1).push(x)
    missing = np.isnan(y[:, 0]).nonzero()[0]
    assert missing.tolist() == list(range(200, 200 + round(LONGEST_S * RATE)))


def test_noise_as_steep_as_pulses_keeps_its_shape() -> None:
    x = np.random.default_rng(1).normal(0.0, 5.0, (10 * RATE, 1))
    missing = np.isnan(PulseFilter(RATE, 1).push(x)).mean()
    assert missing < 0.01


def test_two_pulses_apart_become_missing_both() -> None:
    x = ecg()
    x[200] += 20.0
    x[200 + round(REST_S * RATE) + 2] -= 20.0
    assert np.isnan(PulseFilter(RATE, 1).push(x)).sum() == 2


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    pulses=st.lists(st.tuples(st.integers(0, 399), st.integers(1, 12), st.floats(-9, 9))),
    gaps=st.lists(st.tuples(st.integers(0, 399), st.integers(1, 9))),
    cuts=st.lists(st.integers(0, 400)),
)
def test_any_cutting_gives_the_same_samples(
    pulses: list[tuple[int, int, float]], gaps: list[tuple[int, int]], cuts: list[int]
) -> None:
    x = np.zeros((400, 2))
    for start, length, mv in pulses:
        x[start : start + length, start % 2] += mv
    for start, length in gaps:
        x[start : start + length] = np.nan
    whole = PulseFilter(RATE, 2).push(x.copy())
    cut, bounds = PulseFilter(RATE, 2), [0, *sorted(cuts), 400]
    parts = [cut.push(x[a:b].copy()) for a, b in pairwise(bounds)]
    assert np.array_equal(np.concatenate(parts), whole, equal_nan=True)


def test_the_stated_response_is_that_of_the_resampler() -> None:
    stage, x = Resampler(1000.0, 1), np.zeros((2000, 1))
    x[1000] = 1.0
    y = stage.push(x)[:, 0]
    times = np.arange(len(y)) / ANALYSIS_RATE_HZ - 1.0
    whole = ~np.isnan(y)
    assert whole.sum() > ANALYSIS_RATE_HZ
    assert np.abs(y - response(times) / 1000)[whole].max() < 1e-4


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_stream_of_unknown_gain_is_not_filtered(calibrated: bool) -> None:
    x = ecg()
    x[200:202] += 100.0
    spec = StreamSpec("pulse", RATE, ("I",), calibrated=calibrated)
    kept = Conditioner(spec).push(SampleBlock(spec, 0, x)).samples
    assert bool(np.nanmax(np.abs(kept)) < 10.0) is calibrated
