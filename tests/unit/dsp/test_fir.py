"""The streaming FIR filter and the design of the QRS band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import BAND, SMOOTH
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.fir import Fir, bandpass

KERNELS = {"band": BAND, "smooth": SMOOTH}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_it_is_scipys_filter(kernel: NDArray[Any]) -> None:
    x = on_sample_grid(np.random.default_rng(1).normal(0, 1, 1000))
    (y,) = Fir(kernel).of(x[None])
    wanted = on_sample_grid(signal.lfilter(kernel, 1.0, x))[len(kernel) - 1 :]
    np.testing.assert_allclose(y, wanted, atol=2e-6)


def test_the_band_is_that_of_the_qrs() -> None:
    w, h = signal.freqz(BAND, worN=4096, fs=ANALYSIS_RATE_HZ)
    db = 20 * np.log10(np.maximum(np.abs(h), 1e-9))
    assert db[(w > 11) & (w < 17)].min() > -1.5
    assert db[w > 45].max() < -35  # the resampler removes 45 dB before
    assert np.abs(h[0]) == 0.0


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
@pytest.mark.parametrize("missing", [slice(0), slice(400, 403)])
def test_a_long_block_gives_the_bits_of_single_samples(
    kernel: NDArray[Any], missing: slice
) -> None:
    x = on_sample_grid(np.random.default_rng(2).normal(0, 1, 1013))
    x[missing] = np.nan
    fir, taps, rows = Fir(kernel), len(kernel), np.stack((x, -x[::-1]))
    singly = [fir.of(rows[:, i : i + taps]) for i in range(1013 - taps + 1)]
    np.testing.assert_array_equal(fir.of(rows), np.concatenate(singly, axis=1))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_it_delays_every_wave_by_the_same_time(kernel: NDArray[Any]) -> None:
    assert (kernel == kernel[::-1]).all()


def test_a_design_passes_mid_band_and_stops_zero_frequency() -> None:
    h = bandpass(0.05, 0.15, 41)
    middle = np.exp(-2j * np.pi * 0.1 * np.arange(41))
    assert abs(h @ middle) == pytest.approx(1.0, abs=1e-3)
    assert h.sum() == 0.0


@pytest.mark.parametrize("n", [60, 600])
def test_nan_marks_exactly_the_outputs_that_it_affects(n: int) -> None:
    x = np.ones((2, n))
    x[1, 40] = np.nan
    missing = np.isnan(Fir(BAND).of(x))
    assert not missing[0].any()
    assert missing[1].nonzero()[0].tolist() == list(range(10, min(41, n - 30)))
