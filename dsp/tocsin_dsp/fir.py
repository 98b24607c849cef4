"""Finite impulse response filters: design by windowed sinc, and a streaming convolution.

Only FIR filters are used: their memory is finite, so a gap, a spike or a day of silence is
forgotten after one filter length, NaN marks exactly the outputs that it touched, and a symmetric
kernel delays every wave by the same known time (Oppenheim & Schafer, Discrete-Time Signal
Processing, ch. 7).
"""

from __future__ import annotations

import numpy as np

from tocsin_dsp.fixed import on_coefficient_grid, rounded
from tocsin_dsp.signal import FloatArray, windows

FRAME = 25


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


class StreamingFir:
    """Convolve a stream with a kernel on the coefficient grid; exact, so block-invariant.

    Output i belongs to input i - (taps - 1) / 2; the first ones are NaN, since the samples before
    the stream are not known. Latency: (taps - 1) / 2 samples.

    Parameters
    ----------
    kernel : ndarray of float64, shape (taps,)
        On the coefficient grid.
    """

    def __init__(self, kernel: FloatArray) -> None:
        self._kernel = kernel
        # Many outputs cost less as products of frames with a matrix that holds the kernel.
        self._frame = np.zeros((FRAME + len(kernel) - 1, FRAME))
        for column in range(FRAME):
            self._frame[column : column + len(kernel), column] = kernel[::-1]
        self._reversed = np.ascontiguousarray(kernel[::-1])  # a convolution less its checks
        self.reset()

    def reset(self) -> None:
        """Forget the samples seen."""
        self._history = np.full(len(self._kernel) - 1, np.nan)

    def push(self, x: FloatArray) -> FloatArray:
        """Filter samples of shape (n,) on the sample grid; n outputs on the sample grid."""
        if len(x) == 0:
            return x
        extended = np.concatenate((self._history, x))
        self._history = extended[len(x) :]
        frames = len(x) // FRAME
        if frames < 4 or not np.isfinite(extended.sum()):  # a product would spread what is missing
            return rounded(np.correlate(extended, self._reversed, "valid"))
        y = np.empty(len(x))
        done = frames * FRAME
        seen = windows(extended, len(self._frame))[:done:FRAME]
        np.matmul(seen, self._frame, out=y[:done].reshape(frames, FRAME))
        if done < len(x):
            y[done:] = np.correlate(extended[done:], self._reversed, "valid")
        return rounded(y)
