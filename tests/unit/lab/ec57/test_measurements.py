"""The measurement-by-measurement comparison, by what the manual page of mxm says."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.ec57.measurements import (
    MeasurementOptions,
    MeasurementResult,
    compare_measurements,
    lines,
)

FROM_START = MeasurementOptions(start_s=0)


def measured(*values: tuple[int, str] | tuple[int, str, int], rate_hz: float = 1.0) -> Annotations:
    return make_annotations(
        [value[0] for value in values],
        "=" * len(values),
        subtype=[value[2] if len(value) > 2 else 0 for value in values],
        aux=[value[1] for value in values],
        rate_hz=rate_hz,
        n_samples=10_000,
        record="r",
    )


def test_each_is_compared_with_the_nearest_in_time() -> None:
    reference = measured((10, "60"), (20, "80"), (30, "100"))
    test = measured((11, "63"), (14, "60"), (26, "96"), (500, "100"))
    result = compare_measurements(reference, test, FROM_START)
    assert (result.count, result.squares) == (4, 9 + 16)
    assert result.mean_reference == (60 + 60 + 100 + 100) / 4
    assert result.error == pytest.approx(100 * (25 / 4) ** 0.5 / 80)


def test_of_two_equally_near_the_earlier_counts() -> None:
    result = compare_measurements(measured((10, "1"), (20, "2")), measured((15, "1")), FROM_START)
    assert result.squares == 0


def test_unnormalized_the_error_has_the_unit_of_the_measurement() -> None:
    options = MeasurementOptions(start_s=0, normalized=False)
    reference, test = measured((10, "-5"), (20, "5")), measured((10, "-4"), (20, "6"))
    assert compare_measurements(reference, test, options).error == 1.0
    by_mean = compare_measurements(reference, test, FROM_START)
    assert by_mean.mean_reference == 0
    assert by_mean.error is None


def test_only_one_type_within_the_period_counts() -> None:
    reference = measured((299, "60"), (400, "70", 1), (500, "80"))
    test = measured((299, "0"), (300, "60"), (400, "1", 1))
    assert compare_measurements(reference, test).count == 1
    other = MeasurementOptions(measurement_type=1)
    assert compare_measurements(reference, test, other).squares == 69**2
    before = MeasurementOptions(start_s=0, end_s=299)
    assert compare_measurements(reference, test, before).squares == 3600


@pytest.mark.parametrize(
    ("text", "value"),
    [("85", 85.0), (" -12.4 bpm", -12.4), ("1.2e3", 1200.0), (".5", 0.5), ("none", None)],
)
def test_numbers_as_scanf_reads_them(text: str, value: float | None) -> None:
    result = compare_measurements(measured((10, text)), measured((10, "0")), FROM_START)
    assert (result.count, result.reference_sum) == ((0, 0.0) if value is None else (1, value))


def test_another_rate_is_rescaled() -> None:
    reference, test = measured((100, "1"), (200, "2")), measured((400, "2"), rate_hz=2.0)
    assert compare_measurements(reference, test, FROM_START).squares == 0


def test_the_table() -> None:
    results = [MeasurementResult("100", 4, 25, 320), MeasurementResult("101", 0, 0, 0)]
    assert lines(results) == [
        "Record  Measurements      RMS error (%)  Mean reference",
        " 100               4               3.12           80.00",
        " 101               0                  -               -",
        "_" * 54,
        "Sum                4",
        "Gross              4               3.12           80.00",
        "Average                            3.12           80.00",
        "",
        "Summary of results from 2 records",
    ]
    assert len(lines([])) == 1
