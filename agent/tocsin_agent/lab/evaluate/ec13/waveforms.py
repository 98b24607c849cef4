"""Test waveforms in mV at `RATE_HZ`, one lead: QRS and T waves, pulses, drift, line noise.

Every waveform has amplifier noise of `NOISE_MV` and steps of `STEP_MV`. A pulse that is shorter
than a sample raises that sample by its mean over it, as a converter that integrates does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tocsin_dsp.signal import FloatArray

RATE_HZ = 500.0
NOISE_MV = 0.002
"""Standard deviation of the amplifier's noise."""
STEP_MV = 0.001
"""Smallest step of the converter."""
T_DURATION_S, QT_S = 0.180, 0.350
"""The T wave of the test of tall T waves: its duration, and where it ends after the QRS began."""


def silence(seconds: float, seed: int = 1) -> FloatArray:
    """Return amplifier noise alone, shape (n,)."""
    return np.random.default_rng(seed).normal(0.0, NOISE_MV, round(seconds * RATE_HZ))


def every(interval_s: float, first_s: float, stop_s: float) -> FloatArray:
    """Return times at equal intervals from the first until before the stop, seconds."""
    return np.arange(first_s, stop_s, interval_s)


def add_qrs(x: FloatArray, at_s: Iterable[float], mv: float, duration_s: float) -> FloatArray:
    """Add triangles with their peaks at these times; return the same array."""
    for peak_s in at_s:
        _add(x, peak_s, (-duration_s / 2, 0.0, duration_s / 2), (0.0, mv, 0.0))
    return x


def add_wide(x: FloatArray, at_s: Iterable[float], mv: float) -> FloatArray:
    """Add wide beats: a slow, notched upstroke, a T wave of opposite sign; 160 ms and 200 ms."""
    place = (-0.07, -0.03, -0.015, 0.02, 0.09, 0.16, 0.26, 0.34)
    shape = (0.0, 0.6, 0.55, 1.0, 0.0, -0.05, -0.3, 0.0)
    for peak_s in at_s:
        _add(x, peak_s, place, tuple(mv * value for value in shape))
    return x


def add_t_waves(
    x: FloatArray, qrs_s: Iterable[float], mv: float, qrs_duration_s: float
) -> FloatArray:
    """Add a raised cosine after each QRS, which ends `QT_S` after the QRS began."""
    for peak_s in qrs_s:
        start = peak_s - qrs_duration_s / 2 + QT_S - T_DURATION_S
        first, stop = round(start * RATE_HZ), round((start + T_DURATION_S) * RATE_HZ)
        phase = 2 * np.pi * (np.arange(first, stop) / RATE_HZ - start) / T_DURATION_S
        inside = slice(max(first, 0), min(stop, len(x)))
        x[inside] += mv / 2 * (1 - np.cos(phase))[: inside.stop - inside.start]
    return x


def add_pulses(
    x: FloatArray, at_s: Iterable[float], mv: float, duration_s: float, *,
    overshoot_mv: float = 0.0, recovery_s: float = 0.1,
) -> FloatArray:  # fmt: skip
    """Add rectangular pacing pulses, each with an exponential overshoot of opposite sign."""
    for start_s in at_s:
        first = int(start_s * RATE_HZ)
        last = int((start_s + duration_s) * RATE_HZ)
        for sample in range(first, min(last + 1, len(x))):
            begins = max(start_s, sample / RATE_HZ)
            ends = min(start_s + duration_s, (sample + 1) / RATE_HZ)
            x[sample] += mv * max(ends - begins, 0.0) * RATE_HZ
        if overshoot_mv:
            after = np.arange(last + 1, len(x)) / RATE_HZ - (start_s + duration_s)
            x[last + 1 :] -= np.sign(mv) * overshoot_mv * np.exp(-after / recovery_s)
    return x


def add_sine(x: FloatArray, peak_to_peak_mv: float, frequency_hz: float) -> FloatArray:
    """Add line noise."""
    t = np.arange(len(x)) / RATE_HZ
    x += peak_to_peak_mv / 2 * np.sin(2 * np.pi * frequency_hz * t)
    return x


def add_drift(x: FloatArray, peak_to_peak_mv: float, frequency_hz: float) -> FloatArray:
    """Add a triangular drift of the baseline."""
    phase = (np.arange(len(x)) / RATE_HZ * frequency_hz) % 1.0
    x += peak_to_peak_mv * (np.abs(2 * phase - 1) - 0.5)
    return x


def converted(x: FloatArray) -> FloatArray:
    """Return the samples in steps of the converter."""
    return np.round(x / STEP_MV) * STEP_MV


def _add(
    x: FloatArray, at_s: float, place_s: tuple[float, ...], shape_mv: tuple[float, ...]
) -> None:
    first = max(int((at_s + place_s[0]) * RATE_HZ), 0)
    stop = min(int((at_s + place_s[-1]) * RATE_HZ) + 2, len(x))
    t = np.arange(first, stop) / RATE_HZ - at_s
    x[first:stop] += np.interp(t, place_s, shape_mv, left=0.0, right=0.0)
