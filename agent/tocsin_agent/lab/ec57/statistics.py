"""Statistics over many records: sums, gross and average, as EC57:2012 4.3.5 and sumstats(1) ask.

A comparison gives one `Row` a record. *Gross* pools the counts of all records, so that every event
weighs the same; *average* is the mean of the records' own percentages, so that every record weighs
the same, and leaves out the records where a percentage has no meaning.
"""

from __future__ import annotations

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
    gross, average : mapping of str to (float or None)
        In percent, of every key of `Row.ratios`; `average` has the keys of `Row.means` as well.
    """

    records: int
    sums: Mapping[str, float]
    gross: Mapping[str, float | None]
    average: Mapping[str, float | None]


def aggregate(rows: Sequence[Row]) -> Aggregate:
    """Add records up.

    Parameters
    ----------
    rows : sequence of Row
        One a record, all with the same keys.
    """
    if not rows:
        return Aggregate(0, {}, {}, {})
    first = rows[0]
    ratios = {key: [row.pooled_ratio(key) for row in rows] for key in first.ratios}
    gross = {
        key: Ratio(sum(one.part for one in of_key), sum(one.whole for one in of_key)).percent
        for key, of_key in ratios.items()
    }
    average = {key: _mean(one.percent for one in of_key) for key, of_key in ratios.items()}
    average |= {key: _mean(row.means[key] for row in rows) for key in first.means}
    return Aggregate(
        records=len(rows),
        sums={key: sum(row.sums[key] for row in rows) for key in first.sums},
        gross=gross,
        average=average,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def figure(value: float | None, width: int, decimals: int = 0) -> str:
    """Return a number for a table, or `-` where there is none, right-aligned."""
    return f"{'-' if value is None else f'{value:.{decimals}f}':>{width}}"


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
