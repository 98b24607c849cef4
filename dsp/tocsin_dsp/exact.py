"""Exact arithmetic: the reason why results do not depend on how the samples are cut into blocks.

A sum of floating-point products depends on the order in which it is taken, and a BLAS takes it in
whatever order suits the block at hand. So samples and filter coefficients are put on binary grids
that are coarse enough for every product and every partial sum of a filter to be exact in float64:
samples are multiples of 2^-20 mV (1 nV) within ±4096 mV, coefficients multiples of 2^-18 with
absolute sum below 4. Products are then multiples of 2^-38 and sums stay below 2^14: 52 bits. Exact
sums have one value in every order, on every machine, with or without fused multiply-add.
"""

from __future__ import annotations

from math import isnan

import numpy as np

from tocsin_dsp.arrays import is_any
from tocsin_dsp.signal import FloatArray

SAMPLE_STEP_MV = 2.0**-20
SAMPLE_LIMIT_MV = 2.0**12
COEFFICIENT_STEP = 2.0**-18
COEFFICIENT_SUM_LIMIT = 4.0

_LOWEST, _HIGHEST = np.array(-SAMPLE_LIMIT_MV), np.array(SAMPLE_LIMIT_MV)
_ROUNDER = np.array(1.5 * 2.0**52 * SAMPLE_STEP_MV)


def on_sample_grid(x_mv: FloatArray) -> FloatArray:
    """Round millivolts to the sample grid; NaN stays, infinities become NaN, the rest is clipped.

    Parameters
    ----------
    x_mv : ndarray of float64, any shape

    Returns
    -------
    ndarray of float64, same shape
    """
    x = rounded(x_mv)
    infinite = np.isinf(x_mv)
    if is_any(infinite):
        x[infinite] = np.nan
    return x


def all_known(x_mv: FloatArray) -> bool:
    """Return whether no sample on the grid is missing: NaN is the greatest for `argmax`."""
    return x_mv.size == 0 or not isnan(x_mv.item(x_mv.argmax()))


def rounded(x_mv: FloatArray) -> FloatArray:
    """Round the output of a filter to the sample grid; no value may be infinite."""
    # At the height of `_ROUNDER` a float64 has the steps of the grid: the sum is rounded to it.
    x: FloatArray = x_mv.clip(_LOWEST, _HIGHEST)
    x += _ROUNDER
    x -= _ROUNDER
    return x


def on_coefficient_grid(h: FloatArray, total: float) -> FloatArray:
    """Round filter coefficients to the grid so that they still sum to `total` exactly.

    The rounding remainder goes to the largest coefficient, where its relative effect is smallest,
    so that the gain at 0 Hz is exact: 1 for a low-pass, 0 for a band-pass whatever the electrode
    offset.

    Parameters
    ----------
    h : ndarray of float64, shape (taps,)
    total : float
        The wanted sum, a multiple of the step.

    Returns
    -------
    ndarray of float64, shape (taps,)
    """
    grid = np.rint(h / COEFFICIENT_STEP) * COEFFICIENT_STEP
    grid[np.argmax(np.abs(grid))] += total - grid.sum()
    assert np.abs(grid).sum() < COEFFICIENT_SUM_LIMIT  # noqa: S101 - an error of the design
    return grid
