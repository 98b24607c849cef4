"""Statistics over many records: sums, gross and average, as EC57:2012 4.3.5 and sumstats(1) ask.

A comparison gives one `Row` a record. *Gross* pools the counts of all records, so that every event
weighs the same; *average* is the mean of the records' own percentages, so that every record weighs
the same, and leaves out the records where a percentage has no meaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Ratio(NamedTuple):
    """A share of something: counts, or seconds.

    Parameters
    ----------
    part, whole : float
        What was right, and of how much.
    """

    part: float
    whole: float

    @property
    def percent(self) -> float | None:
        """The share in percent; None where there was nothing to be right about."""
        return 100.0 * self.part / self.whole if self.whole else None

    @property
    def whole_percent(self) -> int | None:
        """The same to the nearest whole percent, a half upwards, as rxr(1) and epicmp(1) do."""
        return None if self.percent is None else nearest(self.percent)


def nearest(value: float) -> int:
    """Round to the nearest whole number, a half upwards."""
    return math.floor(value + 0.5)


@dataclass(frozen=True)
class Row:
    """What one record gives to the statistics of a table.

    Parameters
    ----------
    record : str
        Its name.
    sums : mapping of str to float
        What is added up over records: counts and durations.
    ratios : mapping of str to Ratio
        What is pooled for gross, and averaged in percent.
    means : mapping of str to (float or None)
        What is only averaged, such as an error.
    pooled : mapping of str to Ratio
        Takes the place of a ratio in gross and average, where sumstats(1) counts it otherwise than
        the row of a record.
    """

    record: str
    sums: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    means: Mapping[str, float | None] = field(default_factory=dict)
    pooled: Mapping[str, Ratio] = field(default_factory=dict)

    def pooled_ratio(self, key: str) -> Ratio:
        """Return what the statistics over records take for a ratio."""
        return self.pooled.get(key, self.ratios[key])


@dataclass(frozen=True)
class Aggregate:
    """What all records give together; keys are those of the rows.

    Parameters
    ----------
    records : int
        How many rows there were.
    sums : mapping of str to float
        Of every key of `Row.sums`.
    pools : mapping of str to Ratio
        What is right and of how much, over all records; of every key of `Row.ratios`.
    average : mapping of str to (float or None)
        Mean over the records that have a figure, of every key of `Row.ratios` and `Row.means`.
    averaged : mapping of str to int
        How many records have a figure, of the same keys.
    """

    records: int
    sums: Mapping[str, float]
    pools: Mapping[str, Ratio]
    average: Mapping[str, float | None]
    averaged: Mapping[str, int]

    @property
    def gross(self) -> dict[str, float | None]:
        """The pools in percent."""
        return {key: pool.percent for key, pool in self.pools.items()}


def aggregate(rows: Sequence[Row]) -> Aggregate:
    """Add records up.

    Parameters
    ----------
    rows : sequence of Row
        One a record, all with the same keys.
    """
    if not rows:
        return Aggregate(0, {}, {}, {}, {})
    first = rows[0]
    ratios = {key: [row.pooled_ratio(key) for row in rows] for key in first.ratios}
    figures = {key: [one.percent for one in of_key] for key, of_key in ratios.items()}
    figures |= {key: [row.means[key] for row in rows] for key in first.means}
    return Aggregate(
        records=len(rows),
        sums={key: sum(row.sums[key] for row in rows) for key in first.sums},
        pools={
            key: Ratio(sum(one.part for one in of_key), sum(one.whole for one in of_key))
            for key, of_key in ratios.items()
        },
        average={key: mean(of_key) for key, of_key in figures.items()},
        averaged={key: sum(one is not None for one in of_key) for key, of_key in figures.items()},
    )


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the figures that there are; None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def figure(value: float | None, width: int, decimals: int = 0) -> str:
    """Return a number for a table, or `-` where there is none, right-aligned."""
    return f"{'-' if value is None else f'{value:.{decimals}f}':>{width}}"


def percent_figure(value: float | None, width: int) -> str:
    """Return a percentage to the nearest whole for a table, a half upwards, or `-`."""
    return f"{'-' if value is None else nearest(value):>{width}}"


def whole(value: float, width: int) -> str:
    """Return a count for a table, right-aligned."""
    return f"{round(value):>{width}d}"


def closing_lines(rule_width: int, rows: Iterable[str], footer: str, records: int) -> list[str]:
    """Return what sumstats(1) puts under a table.

    Parameters
    ----------
    rule_width : int
        Length of the line drawn under the records.
    rows : iterable of str
        The rows Sum, Gross and Average, as far as the table has them.
    footer : str
        The line of totals, empty where the table has none.
    records : int
        How many records there were.
    """
    lines = ["_" * rule_width, *rows]
    if footer:
        lines.append(footer)
    return [*lines, "", f"Summary of results from {records} records"]
