"""What flows in: a described stream, cut into blocks of samples."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.errors import SignalError, SignalFault

FloatArray: TypeAlias = NDArray[np.float64]

MIN_RATE_HZ, MAX_RATE_HZ = 100.0, 2000.0
MAX_LEADS = 16


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One continuous recording by one device, as its source describes it.

    Parameters
    ----------
    stream_id : str
        Names the recording; the same recording read again has the same id, and so the same alerts.
    rate_hz : float
        Samples per second of the source's own clock, 100 to 2000.
    leads : tuple of str
        One name a column, such as ``("MLII", "V1")``; 1 to 16.
    range_mv : tuple of float, optional
        The lowest and highest value the converter can give, where the source knows it: a sample
        that sits there is saturated.
    synthetic : bool
        True where no patient was ever behind the samples; every alert then says so.
    calibrated : bool
        False where the gain is a convention and mV are nominal.

    Raises
    ------
    SignalError
        For a rate or leads outside the limits.
    """

    stream_id: str
    rate_hz: float
    leads: tuple[str, ...]
    range_mv: tuple[float, float] | None = None
    synthetic: bool = False
    calibrated: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_hz) and MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ):
            raise SignalError(
                SignalFault.RATE,
                f"a sampling rate of {self.rate_hz:g} Hz is outside {MIN_RATE_HZ:g} to "
                f"{MAX_RATE_HZ:g} Hz: check the source's header or the configured rate_hz",
            )
        if not 1 <= len(self.leads) <= MAX_LEADS:
            raise SignalError(
                SignalFault.LEADS, f"{len(self.leads)} leads given, 1 to {MAX_LEADS} expected"
            )
        if len(set(self.leads)) != len(self.leads):
            raise SignalError(SignalFault.LEADS, f"lead names repeat: {', '.join(self.leads)}")


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Consecutive samples of a stream, however many came at once.

    Parameters
    ----------
    spec : StreamSpec
        The stream that they belong to.
    start_index : int
        Index of the first row on the source's clock. More than the samples seen so far states a
        gap; less states that the clock jumped back.
    samples_mv : ndarray of float64, shape (n, leads)
        Millivolts; a missing sample is NaN. Treated as read-only.

    Raises
    ------
    SignalError
        If the columns are not the leads of the spec.
    """

    spec: StreamSpec
    start_index: int
    samples_mv: FloatArray

    def __post_init__(self) -> None:
        if self.samples_mv.ndim != 2 or self.samples_mv.shape[1] != len(self.spec.leads):
            raise SignalError(
                SignalFault.SHAPE,
                f"a block of shape {self.samples_mv.shape} was given, (n, "
                f"{len(self.spec.leads)}) expected for leads {', '.join(self.spec.leads)}",
            )

    @property
    def stop_index(self) -> int:
        """Index just after the last row."""
        return self.start_index + len(self.samples_mv)

    def __len__(self) -> int:
        return len(self.samples_mv)


def windows(x: FloatArray, width: int, step: int = 1) -> FloatArray:
    """Look at all windows of a signal at once; rows of it are taken much faster than by indices.

    Parameters
    ----------
    x : ndarray of float64, shape (n, ...)
    width : int
        Samples in a window, every `step`-th one of the signal.

    Returns
    -------
    ndarray of float64, shape (n - (width - 1) * step, ..., width)
        A view, of a copy if x is not contiguous: row i holds `x[i : i + width * step : step]`.
    """
    if not x.flags.c_contiguous:
        x = x.copy()
    each = x.strides
    shape = (len(x) - (width - 1) * step, *x.shape[1:], width)
    return np.ndarray(shape, x.dtype, x, strides=(*each, each[0] * step))


def middle(values: Collection[float]) -> float:
    """Return the median of at least one value; `statistics.median` costs as much again."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
