"""Array helpers that several stages share.

A live block is short, so the number of operations decides its cost and not the samples. Constants
of an operation on arrays are arrays of no dimension (`np.array(1.5)`): NumPy converts a float of
Python each time, which costs a quarter of the operation. `argmax` costs a third of a reduction.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.signal import FloatArray


class NewestRows:
    """The newest rows of a signal, without a copy of all of them at every addition.

    Parameters
    ----------
    rows : ndarray of float64, shape (kept, leads)
        The rows to begin with; as many are kept beside those of each addition.
    """

    def __init__(self, rows: FloatArray) -> None:
        self._kept = len(rows)
        self._held, self._stop = rows, self._kept

    def add(self, rows: FloatArray) -> FloatArray:
        """Return the kept rows and the new ones after them, as a view that stays as it is."""
        first, stop = self._stop - self._kept, self._stop + len(rows)
        if stop > len(self._held):  # another array, so that earlier views stay as they are
            held = np.empty((self._kept + max(self._kept, len(rows)), rows.shape[1]))
            held[: self._kept] = self._held[first : self._stop]
            first, stop = 0, self._kept + len(rows)
            self._held = held
        self._held[stop - len(rows) : stop] = rows
        self._stop = stop
        return self._held[first:stop]


def windows(x: FloatArray, width: int, step: int = 1) -> FloatArray:
    """Return all windows of a signal as rows; slicing its rows is faster than fancy indexing.

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


def is_any(flags: NDArray[np.bool_]) -> bool:
    """Return whether any of the flags is true, in less than half the time of `flags.any()`."""
    return flags.size > 0 and bool(flags.item(flags.argmax()))


def median(values: Collection[float]) -> float:
    """Return the median of at least one value, in half the time of `statistics.median`."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
