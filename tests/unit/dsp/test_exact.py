"""The grids on which filter arithmetic is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tocsin_dsp.conditioning.resample import Resampler
from tocsin_dsp.detection.candidates import BAND, SMOOTH
from tocsin_dsp.exact import (
    COEFFICIENT_STEP,
    COEFFICIENT_SUM_LIMIT,
    SAMPLE_LIMIT_MV,
    SAMPLE_STEP_MV,
    all_known,
    on_coefficient_grid,
    on_sample_grid,
)


def test_samples_move_by_half_a_step_at_most_and_rounding_again_changes_nothing() -> None:
    x = np.random.default_rng(1).normal(0.0, 3.0, 10_000)
    on = on_sample_grid(x)
    assert np.abs(on - x).max() <= SAMPLE_STEP_MV / 2
    assert (on / SAMPLE_STEP_MV == np.rint(on / SAMPLE_STEP_MV)).all()
    assert (on_sample_grid(on) == on).all()


def test_nan_infinities_and_values_beyond_the_limit() -> None:
    big = SAMPLE_LIMIT_MV
    given = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 5000.0, -5000.0, 1e-300])
    wanted = np.array([np.nan, np.nan, np.nan, big, -big, big, -big, 0.0])
    np.testing.assert_array_equal(on_sample_grid(given), wanted)
    assert given[1] == np.inf  # the caller's array is not changed


def test_halves_are_rounded_to_the_even_multiple() -> None:
    limit = SAMPLE_LIMIT_MV / SAMPLE_STEP_MV
    steps = np.arange(-20, 21) / 4 + np.array([[0.0], [2.0**30], [1 - limit], [limit - 1]])
    wanted = np.rint(steps.clip(-limit, limit)) * SAMPLE_STEP_MV
    np.testing.assert_array_equal(on_sample_grid(steps * SAMPLE_STEP_MV), wanted)


def test_one_missing_sample_anywhere_is_found() -> None:
    x = on_sample_grid(np.random.default_rng(4).normal(0.0, 3.0, (40, 3)))
    assert all_known(x)
    assert all_known(x[:0])
    for at in range(x.size):
        gap = x.copy()
        gap.flat[at] = np.nan
        assert not all_known(gap)
        assert not all_known(gap.T)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (7,), (7, 3)])
def test_the_shape_is_kept(shape: tuple[int, ...]) -> None:
    assert on_sample_grid(np.zeros(shape)).shape == shape


@pytest.mark.parametrize("total", [0.0, 1.0])
def test_coefficients_keep_their_sum_exactly(total: float) -> None:
    h = np.random.default_rng(2).normal(0.0, 0.05, 31)
    h += (total - h.sum()) / len(h)
    on = on_coefficient_grid(h, total=total)
    assert on.sum() == total
    assert (on / COEFFICIENT_STEP == np.rint(on / COEFFICIENT_STEP)).all()
    assert np.sort(np.abs(on - h))[-2] <= COEFFICIENT_STEP / 2


def test_a_design_too_large_for_exact_sums_is_refused() -> None:
    with pytest.raises(AssertionError):
        on_coefficient_grid(np.full(5, 1.0), total=5.0)


def all_kernels() -> list[NDArray[Any]]:
    resamplers = [Resampler(rate, 1) for rate in (100.0, 257.0, 360.0, 2000.0)]
    columns = [m[:, c] for r in resamplers for m in r._matrices for c in range(m.shape[1])]
    return [BAND, SMOOTH, *columns]


def test_sums_of_products_have_one_value_in_every_order() -> None:
    draws = np.random.default_rng(3)
    for kernel in all_kernels()[::7]:
        assert np.abs(kernel).sum() < COEFFICIENT_SUM_LIMIT
        x = on_sample_grid(draws.choice([-1.0, 1.0], len(kernel)) * SAMPLE_LIMIT_MV)
        x[::3] = on_sample_grid(draws.normal(0.0, 1.0, len(x[::3])))
        products = x * kernel
        forward = sum(products.tolist())
        assert forward == sum(products[::-1].tolist())
        assert forward == float(x @ kernel)
        assert forward == sum(draws.permutation(products).tolist())
