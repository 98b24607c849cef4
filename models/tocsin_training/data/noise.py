"""Synthetic noise of any amplitude, to train models on signals without a heart in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

SYNTHETIC_NOISE = "synthetic-noise"  # its name among the databases
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # power of frequency by which amplitude falls
FLAT_BELOW_HZ = 0.2  # Hz, below which the spectrum is flat
SECONDS = 600  # s, length of a recording
PIECE_S = 20  # s, length of a piece of constant amplitude
AMPLITUDE_MV = 0.05, 5.0  # mV, range of the standard deviation of a piece


def synthetic_noise(colour: str, number: int) -> NDArray[np.float64]:
    """Return ten minutes of noise at the analysis rate, shape (n,), mV.

    Moving electrodes make noise similar to brown noise, muscles similar to white noise (Clifford,
    Azuaje & McSharry, *Advanced Methods and Tools for ECG Data Analysis*, 2006, chapter 3).

    Parameters
    ----------
    colour : str
        One of `COLOURS`.
    number : int
        Seed of the recording.
    """
    draws = np.random.default_rng((number, list(COLOURS).index(colour)))
    count = SECONDS * ANALYSIS_RATE_HZ
    hz = np.fft.rfftfreq(count, 1 / ANALYSIS_RATE_HZ)
    spectrum = np.fft.rfft(draws.standard_normal(count))
    x = np.fft.irfft(spectrum / np.maximum(hz, FLAT_BELOW_HZ) ** COLOURS[colour], count)
    smallest, largest = np.log(AMPLITUDE_MV).tolist()
    level = np.exp(draws.uniform(smallest, largest, SECONDS // PIECE_S))
    return np.asarray(x / x.std() * np.repeat(level, PIECE_S * ANALYSIS_RATE_HZ))
