"""Finite impulse response filters: design by windowed sinc, and convolution.

Only FIR filters are used: their memory is finite, so a gap, a spike or a day of zeros has no effect
after one filter length, NaN marks exactly the outputs that depend on a missing sample, and a
symmetric kernel delays every wave by the same known time (Oppenheim & Schafer, Discrete-Time
Signal Processing, ch. 7).
"""

from __future__ import annotations

import numpy as np

from tocsin_dsp.arrays import windows
from tocsin_dsp.exact import all_known, on_coefficient_grid, rounded
from tocsin_dsp.signal import FloatArray

FRAME = 25  # outputs of one matrix product


def bandpass(low: float, high: float, taps: int) -> FloatArray:
    """Design a band-pass of zero gain at 0 Hz and unit gain at mid-band, on the grid.

    Parameters
    ----------
    low, high : float
        -6 dB frequencies in cycles per sample.
    taps : int
        Length, odd.

    Returns
    -------
    ndarray of float64, shape (taps,)
    """
    t = np.arange(taps) - (taps - 1) / 2
    h = (2 * high * np.sinc(2 * high * t) - 2 * low * np.sinc(2 * low * t)) * np.hamming(taps)
    h -= h.mean()
    gain = float(np.abs(np.sum(h * np.exp(-2j * np.pi * t * (low + high) / 2))))
    return on_coefficient_grid(h / gain, total=0.0)


class Fir:
    """Convolve rows of samples with a kernel on the coefficient grid; exact, so block-invariant.

    Latency: an output belongs to the sample (taps - 1) / 2 before the one that completes it.

    Parameters
    ----------
    kernel : ndarray of float64, shape (taps,)
        On the coefficient grid.
    """

    def __init__(self, kernel: FloatArray) -> None:
        # Long blocks: a product of frames with a matrix of shifted kernels is faster.
        self._frame = np.zeros((FRAME + len(kernel) - 1, FRAME))
        for column in range(FRAME):
            self._frame[column : column + len(kernel), column] = kernel[::-1]
        self._reversed = np.ascontiguousarray(kernel[::-1])  # short blocks: window by window

    def of(self, x: FloatArray) -> FloatArray:
        """Filter samples on the sample grid.

        Parameters
        ----------
        x : ndarray of float64, shape (rows, taps - 1 + n)

        Returns
        -------
        ndarray of float64, shape (rows, n)
            On the sample grid, NaN where a sample within the kernel is missing.
        """
        n = x.shape[1] - len(self._reversed) + 1
        frames = n // FRAME
        if frames < 4:  # all rows at once; outputs that span two rows are computed and left out
            y = rounded(windows(x.ravel(), len(self._reversed)).dot(self._reversed))
            return np.ndarray((len(x), n), y.dtype, y, strides=(8 * x.shape[1], 8))
        if not all_known(x):  # a matrix product would spread NaN
            return rounded(np.array([np.correlate(row, self._reversed, "valid") for row in x]))
        y = np.empty((len(x), n))
        done = frames * FRAME
        for row in range(len(x)):
            inputs = windows(x[row], len(self._frame))[:done:FRAME]
            np.matmul(inputs, self._frame, out=y[row, :done].reshape(frames, FRAME))
            if done < n:
                y[row, done:] = np.correlate(x[row, done:], self._reversed, "valid")
        return rounded(y)
