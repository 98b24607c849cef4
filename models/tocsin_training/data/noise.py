"""Noise that nobody's heart is in: made, as loud as it may be, for teaching what is no beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

MADE = "made"  # its name among the databases
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # amplitude falls by this power of frequency
FLAT_BELOW_HZ = 0.2
SECONDS = 600
PIECE_S = 20  # so long as loud
LOUDNESS_MV = 0.05, 5.0


def made_noise(colour: str, number: int) -> NDArray[np.float64]:
    """Return ten minutes of noise at the analysis rate, shape (n,), in mV.

    Electrodes that move make noise much like brown noise, muscles like white (Clifford, Azuaje &
    McSharry, *Advanced Methods and Tools for ECG Data Analysis*, 2006, chapter 3).

    Parameters
    ----------
    colour : str
        One of `COLOURS`.
    number : int
        Another one for each.
    """
    draws = np.random.default_rng((number, list(COLOURS).index(colour)))
    count = SECONDS * ANALYSIS_RATE_HZ
    hz = np.fft.rfftfreq(count, 1 / ANALYSIS_RATE_HZ)
    spectrum = np.fft.rfft(draws.standard_normal(count))
    x = np.fft.irfft(spectrum / np.maximum(hz, FLAT_BELOW_HZ) ** COLOURS[colour], count)
    faint, loud = np.log(LOUDNESS_MV).tolist()
    level = np.exp(draws.uniform(faint, loud, SECONDS // PIECE_S))
    return np.asarray(x / x.std() * np.repeat(level, PIECE_S * ANALYSIS_RATE_HZ))
