"""Conditioning: blocks of a source in, continuous analysis samples out.

Rules for missing and repeated samples, the same for every source:

- The samples of pacing pulses are missing (`tocsin_dsp.conditioning.pulses`), unless the gain is
  unknown: the limit is a slope in mV.
- NaN and infinities are missing samples of one lead. The last value is held over a run of them
  for `BRIDGE_S`; later ones stay missing.
- A block that starts late states a gap: the samples in between are missing in all leads. After a
  gap longer than `LONGEST_GAP_S` the filters restart at the new index instead.
- A block that starts early repeats samples: those already received are dropped. If it starts more
  than `REPEAT_S` early, the source's clock jumped back: its samples are taken as the next ones, and
  the offset between the source's index and ours is kept from then on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tocsin_dsp.conditioning.pulses import PulseFilter
from tocsin_dsp.conditioning.resample import Resampler
from tocsin_dsp.exact import all_known, on_sample_grid
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

BRIDGE_S = 0.04  # s, the last value is held so long
LONGEST_GAP_S = 10.0  # s, after a longer gap the filters restart
REPEAT_S = 2.0  # s, a block that starts earlier than this is a jump of the clock


class Conditioned(NamedTuple):
    """Analysis samples of all leads.

    `start` is the analysis index of the first row of `samples` (n, leads), mV, NaN where missing.
    `restarted` states that the rows before it do not exist: no window, filter or RR interval may
    reach across. `jumped_by` is the number of source samples by which the source's clock jumped
    back, else 0.
    """

    start: int
    samples: FloatArray
    restarted: bool = False
    jumped_by: int = 0

    @property
    def stop(self) -> int:
        """Analysis index after the last row."""
        return self.start + len(self.samples)


class Conditioner:
    """Bridge, band-limit and resample a stream by the rules of this module.

    Latency: that of the resampler, 0.073 s.

    Parameters
    ----------
    spec : StreamSpec
    """

    def __init__(self, spec: StreamSpec) -> None:
        self._spec = spec
        self._pulses = PulseFilter(spec.rate_hz, len(spec.leads))
        self._resampler = Resampler(spec.rate_hz, len(spec.leads))
        self._bridge = int(BRIDGE_S * spec.rate_hz)
        self._next: int | None = None
        self._offset = 0
        self._last = np.full(len(spec.leads), np.nan)  # last known value, mV
        self._missing_for = np.full(len(spec.leads), self._bridge + 1)  # samples
        self._all_known = False  # the last sample is, in every lead

    def to_source(self, analysis_index: int) -> int:
        """Return the source index nearest in time to an analysis index, none below 0."""
        ratio = self._resampler.ratio
        twice = 2 * analysis_index * ratio.numerator + ratio.denominator  # rounds half up
        return max(twice // (2 * ratio.denominator) + self._offset, 0)

    @property
    def next_index(self) -> int | None:
        """Source index of the sample that is expected next; None before the first block."""
        return None if self._next is None else self._next + self._offset

    @property
    def delay(self) -> int:
        """Source samples by which an analysis sample lags the newest source sample."""
        return self._resampler.half_span

    def push(self, block: SampleBlock) -> Conditioned:
        """Accept the next block of the stream; return all analysis samples that it completes."""
        samples = on_sample_grid(block.samples_mv)
        rate = self._spec.rate_hz
        start = block.start_index - self._offset
        restarted, jumped_by = False, 0
        if self._next is None:
            restarted = True
        elif start - self._next > LONGEST_GAP_S * rate:
            restarted = True
            self._missing_for[:] = self._bridge + 1
            self._all_known = False
        elif start > self._next:
            gap = np.full((start - self._next, samples.shape[1]), np.nan)
            samples = np.concatenate((gap, samples))
        elif self._next - start > max(REPEAT_S * rate, 1):
            jumped_by = self._next - start
            self._offset -= jumped_by
        elif start < self._next:
            samples = samples[self._next - start :]
        if restarted:
            self._resampler.restart(start)
            self._pulses.restart()
            self._next = start
        at = self._resampler.next_output
        assert self._next is not None  # noqa: S101 - set above
        self._next += len(samples)
        if self._spec.calibrated:
            samples = self._pulses.push(samples)
        bridged = self._bridged(samples)
        return Conditioned(at, self._resampler.push(bridged), restarted, jumped_by)

    def _bridged(self, x: FloatArray) -> FloatArray:
        """Hold the last value over short runs of missing samples."""
        if len(x) == 0:
            return x
        if self._all_known and all_known(x):
            self._last = x[-1]
            return x
        missing = np.isnan(x)
        rows = np.arange(len(x))[:, None]
        known = np.maximum.accumulate(np.where(missing, -1 - self._missing_for, rows), axis=0)
        age = rows - known  # samples since the last known one
        held = np.where(known >= 0, np.take_along_axis(x, known.clip(0), 0), self._last)
        out = np.where(missing & (age <= self._bridge), held, x)
        self._last = held[-1].copy()
        self._missing_for = np.minimum(age[-1], self._bridge + 1)
        self._all_known = not self._missing_for.any()
        return out
