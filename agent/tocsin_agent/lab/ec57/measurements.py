"""Measurement by measurement: what mxm(1) of the WFDB Applications Guide compares.

A measurement, such as a heart rate, is a `MEASURE` annotation (`=`) whose text begins with a number
and whose subtype says what was measured. Each measurement of the test file is compared with the one
of the reference that is nearest in time.

Written from the manual page. It does not show the columns of the program's own table, so those
of `lines` are ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tocsin_agent.lab.ec57.annotations import Annotations, same_time_base
from tocsin_agent.lab.ec57.period import LEARNING_PERIOD_S, judged_period
from tocsin_agent.lab.ec57.reading import ForwardReader
from tocsin_agent.lab.ec57.statistics import Row, aggregate, closing_lines, figure, whole

MEASURE = "="
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # as scanf(3) reads `%lf`
_WIDTH = 54


class Measurement(NamedTuple):
    """A number at a sample."""

    sample: int
    value: float


@dataclass(frozen=True)
class MeasurementOptions:
    """What is compared.

    Parameters
    ----------
    start_s, end_s : float, float or None
        What is judged, see `judged_period`.
    measurement_type : int
        Subtype of the annotations that are compared.
    normalized : bool
        Give the error in percent of the mean reference measurement, and not in its unit.
    """

    start_s: float = LEARNING_PERIOD_S
    end_s: float | None = None
    measurement_type: int = 0
    normalized: bool = True


@dataclass(frozen=True)
class MeasurementResult:
    """The comparison of one record.

    Parameters
    ----------
    record : str
        Its name.
    count : int
        How many measurements of the test were compared.
    squares : float
        Sum of their squared errors.
    reference_sum : float
        Sum of the reference measurements that they were compared with.
    normalized : bool
        Whether `error` is in percent.
    """

    record: str
    count: int
    squares: float
    reference_sum: float
    normalized: bool = True

    @property
    def mean_reference(self) -> float | None:
        """Mean of the reference measurements as often as they were used."""
        return self.reference_sum / self.count if self.count else None

    @property
    def error(self) -> float | None:
        """RMS error; None where there is none, or where it is normalized by a mean of 0."""
        if not self.count:
            return None
        rms = math.sqrt(self.squares / self.count)
        if not self.normalized:
            return rms
        mean = self.mean_reference
        return 100 * rms / abs(mean) if mean else None

    def row(self) -> Row:
        """Return what `aggregate` needs."""
        return Row(
            self.record,
            sums={
                "measurements": self.count,
                "squared_errors": self.squares,
                "reference": self.reference_sum,
            },
            means={"error": self.error, "mean_reference": self.mean_reference},
        )


def compare_measurements(
    reference: Annotations, test: Annotations, options: MeasurementOptions | None = None
) -> MeasurementResult:
    """Compare the measurements of two annotation files of one record.

    Parameters
    ----------
    reference, test : Annotations
        What is true, and what is judged. A test in another rate is rescaled to the reference's.
    options : MeasurementOptions, optional
        The standard's where left out.

    Notes
    -----
    Of two reference measurements that are equally near, the earlier is taken. One outside the
    period that is judged may be the nearest.
    """
    options = options or MeasurementOptions()
    test = same_time_base(reference, test)
    start, end = judged_period(reference, test, options.start_s, options.end_s)
    truth = _measurements(reference, options.measurement_type)
    count, squares, reference_sum = 0, 0.0, 0.0
    nearest, following = next(truth, None), next(truth, None)
    for measured in _measurements(test, options.measurement_type):
        if nearest is None or measured.sample > end:
            break
        if measured.sample < start:
            continue
        while following is not None and _is_nearer(following, nearest, measured.sample):
            nearest, following = following, next(truth, None)
        count += 1
        squares += (measured.value - nearest.value) ** 2
        reference_sum += nearest.value
    return MeasurementResult(reference.record, count, squares, reference_sum, options.normalized)


def _is_nearer(one: Measurement, other: Measurement, sample: int) -> bool:
    return abs(one.sample - sample) < abs(other.sample - sample)


def _measurements(annotations: Annotations, measurement_type: int) -> Iterator[Measurement]:
    """Give the measurements of one type; a text that is no number is none."""
    for mark in ForwardReader(annotations):
        if mark.symbol == MEASURE and mark.subtype == measurement_type:
            number = _NUMBER.match(mark.aux)
            if number:
                yield Measurement(mark.sample, float(number[0]))


def lines(results: Sequence[MeasurementResult], *, statistics: bool = True) -> list[str]:
    """Return a table, a line a record, and below it the rows Sum, Gross and Average.

    Gross is the error over all measurements, average the mean of the records' errors.
    """
    of_what = "RMS error (%)" if not results or results[0].normalized else "RMS error"
    heading = f"Record  Measurements{of_what:>19}  Mean reference"
    table = [heading, *(_line(f" {result.record:<5}", result) for result in results)]
    if not statistics or not results:
        return table
    total = aggregate([result.row() for result in results])
    gross = MeasurementResult(
        "Gross",
        sum(result.count for result in results),
        sum(result.squares for result in results),
        sum(result.reference_sum for result in results),
        results[0].normalized,
    )
    average = "".join(
        figure(total.average[key], width, 2)
        for key, width in (("error", 19), ("mean_reference", 16))
    )
    closing = [f"{'Sum':6}{whole(gross.count, 14)}", _line(gross.record, gross)]
    closing.append(f"{'Average':20}{average}")
    return [*table, *closing_lines(_WIDTH, closing, "", total.records)]


def _line(name: str, result: MeasurementResult) -> str:
    return (
        f"{name:6}{whole(result.count, 14)}"
        f"{figure(result.error, 19, 2)}{figure(result.mean_reference, 16, 2)}"
    )
