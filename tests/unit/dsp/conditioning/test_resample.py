"""The resampler: its band, its time grid, and missing samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.exact import on_sample_grid

RATES = [100.0, 125.0, 128.0, 200.0, 250.0, 257.0, 333.3, 359.9, 360.0, 500.0, 1000.0, 2000.0]


def gain_db(rate_hz: float, frequency_hz: float) -> float:
    """Return the greatest gain in dB in the steady part of a tone of 1 mV."""
    seconds = 6.0
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    angle = 2 * np.pi * frequency_hz * t
    y = Resampler(rate_hz, 2).push(on_sample_grid(np.column_stack((np.sin(angle), np.cos(angle)))))
    k = np.arange(len(y)) / ANALYSIS_RATE_HZ
    middle = (k > 1.0) & (k < seconds - 1.0)
    angle = 2 * np.pi * frequency_hz * k[middle]
    basis = np.column_stack((np.sin(angle), np.cos(angle)))
    weights, *_ = np.linalg.lstsq(basis, y[middle], rcond=None)
    return float(20 * np.log10(np.hypot(*weights).max()))


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("frequency_hz", [0.05, 0.67, 5.0, 10.0, 20.0])
def test_the_band_of_the_qrs_passes_unchanged(rate_hz: float, frequency_hz: float) -> None:
    assert gain_db(rate_hz, frequency_hz) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("rate_hz", [r for r in RATES if r > 125.0])
@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_mains_is_removed(rate_hz: float, mains_hz: float) -> None:
    assert gain_db(rate_hz, mains_hz) <= -40.0


@pytest.mark.parametrize("rate_hz", RATES)
def test_it_agrees_with_an_ideal_low_pass_of_the_same_band(rate_hz: float) -> None:
    """A band-limited signal is unchanged at the times of the analysis grid."""
    draws = np.random.default_rng(4)
    tones = draws.uniform(0.5, 20.0, 12)
    phases, heights = draws.uniform(0, 6.28, 12), draws.normal(0, 0.3, 12)

    def true(t: NDArray[Any]) -> NDArray[Any]:
        y: NDArray[Any] = (np.sin(2 * np.pi * tones * t[:, None] + phases) * heights).sum(axis=1)
        return y

    x = on_sample_grid(true(np.arange(round(10 * rate_hz)) / rate_hz))[:, None]
    y = Resampler(rate_hz, 1).push(x)[:, 0]
    exact = float(Resampler(rate_hz, 1).ratio) * ANALYSIS_RATE_HZ / rate_hz  # 359.9 is a fraction
    wanted = true(np.arange(len(y)) * exact / ANALYSIS_RATE_HZ)
    known = np.isfinite(y)
    assert np.abs(y - wanted)[known].max() < 0.02
    assert known.mean() > 0.98


@pytest.mark.parametrize(
    ("rate_hz", "up", "down"), [(360.0, 25, 36), (500.0, 1, 2), (1000.0, 1, 4)]
)
def test_it_agrees_with_scipy(rate_hz: float, up: int, down: int) -> None:
    draws = np.random.default_rng(6)
    sos = signal.butter(8, 18.0, fs=rate_hz, output="sos")
    x = signal.sosfiltfilt(sos, draws.normal(0, 1.0, round(20 * rate_hz)))
    peer = signal.resample_poly(x, up, down)
    y = Resampler(rate_hz, 1).push(on_sample_grid(x[:, None]))[:, 0]
    inside = slice(250, len(y) - 250)
    assert np.abs(y[inside] - peer[: len(y)][inside]).max() < 0.02


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_missing_sample_is_missing_for_one_filter_length_and_no_longer(rate_hz: float) -> None:
    x = np.ones((round(4 * rate_hz), 2))
    at = round(2 * rate_hz)
    x[at, 0] = np.nan
    resampler = Resampler(rate_hz, 2)
    y = resampler.push(x)
    hit = np.flatnonzero(np.isnan(y[:, 0]) & ~np.isnan(y[:, 1])) * float(resampler.ratio)
    assert hit.min() > at - resampler.half_span - 1
    assert hit.max() < at + resampler.half_span + 1
    assert len(hit) >= 2 * resampler.half_span / float(resampler.ratio) - 4
    assert (y[~np.isnan(y)] == 1.0).all()  # the gain at 0 Hz is exact


@pytest.mark.parametrize("rate_hz", RATES)
def test_it_returns_all_complete_outputs_and_its_latency_is_75_ms(rate_hz: float) -> None:
    resampler = Resampler(rate_hz, 1)
    n = round(3 * rate_hz) + 1
    y = resampler.push(np.zeros((n, 1)))
    assert resampler.next_output == len(y)
    behind = n - (len(y) - 1) * float(resampler.ratio) - 1
    assert resampler.half_span - 1 <= behind < resampler.half_span + float(resampler.ratio)
    assert resampler.half_span / rate_hz <= 0.084 or rate_hz < 128


def test_the_grid_is_the_same_wherever_the_stream_begins() -> None:
    x = on_sample_grid(np.random.default_rng(7).normal(0, 1, (3600, 1)))
    whole = Resampler(360.0, 1)
    y = whole.push(x)
    late = Resampler(360.0, 1)
    late.restart(1001)
    first = late.next_output
    z = late.push(x[1001:])
    known = ~np.isnan(z[:, 0])
    assert (z[known] == y[first:][known]).all()
    assert known.mean() > 0.95
