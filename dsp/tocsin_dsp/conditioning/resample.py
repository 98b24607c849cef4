"""Resampling from any source rate to the analysis rate, band-limited in the same step.

A polyphase windowed-sinc interpolator (Crochiere & Rabiner, Multirate Digital Signal Processing,
ch. 2). The low-pass passes the ECG's band for monitoring (to about 30 Hz; IEC 60601-2-27 asks for
0.67 to 40 Hz) and is 45 dB down at 50 and 60 Hz, so that mains hum ends here. Outputs are made a
frame at a time by one matrix product. Because the arithmetic is exact (see `tocsin_dsp.exact`), a
frame may be computed again whenever more of its inputs arrive, with the same bits.

Latency: `Resampler.half_span` source samples, about 73 ms.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, lcm

import numpy as np

from tocsin_dsp.arrays import windows
from tocsin_dsp.exact import all_known, on_coefficient_grid, rounded
from tocsin_dsp.signal import FloatArray

ANALYSIS_RATE_HZ = 250
CUTOFF_HZ = 40.0
SPAN_S = 0.146  # s, length of the interpolation filter
KAISER_BETA = 4.5  # of its window
FRAME = 25  # outputs of one matrix product


def response(times_s: FloatArray) -> FloatArray:
    """Return the impulse response of the low-pass at times around its centre, any shape, 1/s."""
    half = SPAN_S / 2
    taper = np.sqrt(np.clip(1 - (times_s / half) ** 2, 0, None))
    window = np.where(np.abs(times_s) < half, np.i0(KAISER_BETA * taper), 0.0)
    return 2 * CUTOFF_HZ * np.sinc(2 * CUTOFF_HZ * times_s) * window / np.i0(KAISER_BETA)


class Resampler:
    """Convert source samples to analysis samples on an absolute time grid.

    Output k is the band-limited signal at time k / 250 s, that is at source sample
    k * rate / 250, wherever the stream begins and however it is cut.

    Parameters
    ----------
    rate_hz : float
        Source rate, 100 to 2000 Hz; taken as the nearest fraction with denominator up to 20.
    leads : int
        Number of columns.
    """

    def __init__(self, rate_hz: float, leads: int) -> None:
        rate = Fraction(rate_hz).limit_denominator(20)
        self.ratio = rate / ANALYSIS_RATE_HZ  # source samples per analysis sample
        self.half_span = max(ceil(SPAN_S * rate / 2), 7)
        self._leads = leads
        # The filter phases repeat after `groups` frames; each has a matrix.
        groups = lcm(self.ratio.denominator, FRAME) // FRAME
        self._period = int(groups * FRAME * self.ratio)
        self._bases = [int(g * FRAME * self.ratio) - self.half_span for g in range(groups)]
        cutoff = min(CUTOFF_HZ / float(rate), 0.42)
        self._matrices = [self._matrix(g, cutoff) for g in range(groups)]
        self._beyond = np.zeros((max(len(m) for m in self._matrices), leads))
        self._supports = [(m != 0).astype(np.float64) for m in self._matrices]
        self.restart(0)

    def _matrix(self, group: int, cutoff: float) -> FloatArray:
        """Return the (inputs, FRAME) matrix of one frame of the period."""
        base = self._bases[group]
        outputs = range(group * FRAME, (group + 1) * FRAME)
        span = int(outputs[-1] * self.ratio) + self.half_span + 1 - base
        matrix = np.zeros((span, FRAME))
        for column, k in enumerate(outputs):
            t = np.arange(span) - float(k * self.ratio - base)
            taper = np.sqrt(np.clip(1 - (t / self.half_span) ** 2, 0, None))
            window = np.where(np.abs(t) < self.half_span, np.i0(KAISER_BETA * taper), 0.0)
            h = np.sinc(2 * cutoff * t) * window
            matrix[:, column] = on_coefficient_grid(h / h.sum(), total=1.0)
        return matrix

    def _base(self, frame: int) -> int:
        """Return the source index of the first input of a frame."""
        return frame // len(self._bases) * self._period + self._bases[frame % len(self._bases)]

    def restart(self, start_index: int) -> None:
        """Reset; the next sample has this source index, earlier ones are missing."""
        self._next = ceil(start_index / self.ratio)
        self._origin = self._base(self._next // FRAME)
        self._buffer = np.full((start_index - self._origin, self._leads), np.nan)

    @property
    def next_output(self) -> int:
        """Analysis index of the next output."""
        return self._next

    def push(self, x: FloatArray) -> FloatArray:
        """Resample the next source samples.

        Parameters
        ----------
        x : ndarray of float64, shape (n, leads)
            On the sample grid, NaN where missing.

        Returns
        -------
        ndarray of float64, shape (m, leads)
            All analysis samples whose inputs are complete, beginning with `next_output` as it was
            before the call; on the sample grid, NaN where an input within the filter is missing.
        """
        known = len(self._buffer) + len(x)
        padded = np.concatenate((self._buffer, x, self._beyond))  # the last frame may be incomplete
        buffer = padded[:known]
        up, down = self.ratio.denominator, self.ratio.numerator
        stop = -(-(self._origin + known - self.half_span) * up // down)
        if stop <= self._next:
            self._buffer = buffer
            return np.empty((0, self._leads))
        any_missing = not all_known(padded)
        if any_missing:
            missing = np.isnan(padded)
            padded = np.where(missing, 0.0, padded)
        first, last = self._next // FRAME, (stop - 1) // FRAME
        out = np.empty((last + 1 - first, FRAME, self._leads))
        groups = len(self._matrices)
        for frame in range(first, min(first + groups, last + 1)):  # with those of equal phase
            group = frame % groups
            rows = slice(self._base(frame) - self._origin, None, self._period)
            same = out[frame - first :: groups]
            _apply(padded, rows, self._matrices[group], same)
            if any_missing:
                touched = np.empty(same.shape)
                _apply(missing.astype(np.float64), rows, self._supports[group], touched)
                same[touched > 0] = np.nan
        result = rounded(
            out.reshape(-1, self._leads)[self._next - first * FRAME : stop - first * FRAME]
        )
        self._next = stop
        origin = self._base(stop // FRAME)
        self._buffer = buffer[origin - self._origin :]
        self._origin = origin
        return result


def _apply(x: FloatArray, rows: slice, matrix: FloatArray, out: FloatArray) -> None:
    """Multiply the windows of x that begin at `rows` by the matrix, one for each frame of `out`.

    `out` has the shape (frames, n, leads).
    """
    frames, n, leads = out.shape
    inputs = windows(x, len(matrix))[rows][:frames]
    made = inputs.reshape(-1, len(matrix)).dot(matrix)
    out[:] = made.reshape(frames, leads, n).swapaxes(1, 2)
