"""The input of the signal processing: a stream description and blocks of its samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.errors import SignalError, SignalFault

FloatArray: TypeAlias = NDArray[np.float64]

MIN_RATE_HZ, MAX_RATE_HZ = 100.0, 2000.0
MAX_LEADS = 16
ABSURD_MV = 15.0
"""Peak-to-peak range above which it is no surface ECG."""


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
        The lowest and highest value that the converter can give, where the source knows it: a
        sample at either end is saturated.
    synthetic : bool
        True for samples that come from no patient; every alert then says so.
    calibrated : bool
        False where the true gain is unknown and mV are nominal.
    marks_only : bool
        True where the device sends intervals between beats and no ECG: a sample is 1 where a beat
        is, else 0.

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
    marks_only: bool = False

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
    """Consecutive samples of a stream, any number of them.

    Parameters
    ----------
    spec : StreamSpec
        The stream that they belong to.
    start_index : int
        Index of the first row on the source's clock. An index beyond the next expected one states
        a gap; a smaller one states that samples repeat or that the clock jumped back.
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


def cut(block: SampleBlock, rows: int) -> list[SampleBlock]:
    """Return a block as parts of at most so many rows; one that is not longer as it is."""
    if len(block) <= rows:
        return [block]
    spec, start, x = block.spec, block.start_index, block.samples_mv
    return [SampleBlock(spec, start + i, x[i : i + rows]) for i in range(0, len(x), rows)]
