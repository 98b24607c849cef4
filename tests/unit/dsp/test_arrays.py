"""Windows of a signal, its newest rows, flags, and the median of a few values."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_dsp.arrays import NewestRows, is_any, median, windows


@pytest.mark.parametrize(("width", "step"), [(1, 1), (5, 1), (4, 3), (20, 1)])
def test_each_row_is_the_window_that_begins_there(width: int, step: int) -> None:
    x = np.arange(20.0)
    rows = windows(x, width, step)
    assert len(rows) == 20 - (width - 1) * step
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row, x[i : i + width * step : step])


def test_a_column_of_an_array_is_accepted() -> None:
    x = np.arange(60.0).reshape(20, 3)[:, 1]
    np.testing.assert_array_equal(windows(x, 4)[5], x[5:9])
    np.testing.assert_array_equal(windows(x[:, None], 4)[5, 0], x[5:9])


def test_windows_are_taken_lead_by_lead() -> None:
    x = np.arange(40.0).reshape(20, 2)
    rows = windows(x, 6)
    assert rows.shape == (15, 2, 6)
    np.testing.assert_array_equal(rows[7, 1], x[7:13, 1])


@pytest.mark.parametrize("shape", [(0,), (7,), (3, 4)])
def test_any_flag_is_found(shape: tuple[int, ...]) -> None:
    flags = np.zeros(shape, np.bool_)
    assert not is_any(flags)
    for at in range(flags.size):
        flags[:] = False
        flags.flat[at] = True
        assert is_any(flags)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_median_equals_numpy(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).tolist()
    assert median(values) == np.median(values)


def test_the_newest_rows_are_kept_and_earlier_views_stay() -> None:
    signal = np.arange(400.0).reshape(200, 2)
    newest, start = NewestRows(signal[:7]), 7
    given = []
    for size in (3, 0, 1, 2, 7, 40, 5, 5, 5, 1, 60):
        rows = newest.add(signal[start : start + size])
        given.append((rows, rows.copy()))
        start += size
        np.testing.assert_array_equal(rows, signal[start - size - 7 : start])
    for rows, before in given:
        np.testing.assert_array_equal(rows, before)
