"""The first lines of a table, as people and programs write them.

Names in the first line, with or without units; a line of units below them (`rdsamp`); lines of
`key: value` before them (Apple Watch, OpenBCI, OpenSignals, Kardia); a column without a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.signal_names import (
    Role,
    ecg_leads,
    mv_per_unit,
    nominal_mv_per_unit,
    role_of,
    seconds_per_unit,
    split_unit,
)

MISSING_CELLS = {"", "nan", "na", "n/a", "null", "none", "-"}
HEAD_LINES = 200  # in which the first sample must be

_RATE = re.compile(
    r"(?:sampl\w*[ _]?(?:rate|freq\w*)|abtast\w*|messrate|frequen\w*|\bfs|rate_hz)\W+"
    r"([0-9]+(?:[.,][0-9]+)?)",
    re.IGNORECASE,
)
_UNIT = re.compile(r"^\W*(?:unit|units|einheit)\W+(\S+?)\W*$", re.IGNORECASE)
_LEAD = re.compile(r"^\W*(?:lead|ableitung)\W+(.+?)\W*$", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name without unit, its unit, and what the name says that it is."""

    name: str
    unit: str | None
    role: Role


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines say.

    Parameters
    ----------
    lines : int
        How many lines stand before the samples.
    delimiter : str
        Comma, semicolon or tab.
    decimal_comma : bool
        True where a comma in a cell is a decimal comma.
    columns : tuple of Column
        One a cell; a trailing empty cell has none.
    trailing : bool
        True where each line ends with a delimiter.
    rate_hz : float or None
        Where a line states it.
    counts : tuple of float or None
        Gain and baseline, where the writer is known to store counts of that size.
    notes : tuple of str
        What was assumed.
    """

    lines: int
    delimiter: str
    decimal_comma: bool
    columns: tuple[Column, ...]
    trailing: bool
    rate_hz: float | None
    counts: tuple[float, float] | None
    notes: tuple[str, ...]

    def leads(self) -> list[int]:
        """Return the columns that are taken as leads, by name."""
        volts = [
            i
            for i, column in enumerate(self.columns)
            if column.unit is None
            or mv_per_unit(column.unit) is not None
            or nominal_mv_per_unit(column.unit) is not None
        ]
        return [volts[i] for i in ecg_leads([self._lead_name(i) for i in volts])]

    def _lead_name(self, i: int) -> str:
        column = self.columns[i]
        return column.name if column.role is not Role.UNKNOWN else "signal"


def cells_of(line: str, delimiter: str) -> list[str]:
    """Split a line into cells without quotes and blanks."""
    return [cell.strip().strip("\"'").strip() for cell in line.split(delimiter)]


def read_head(path: Path, lines: Sequence[str], is_cell: Callable[[str, bool], bool]) -> Head:
    """Read the first lines of a table.

    Parameters
    ----------
    path : Path
        For errors.
    lines : sequence of str
        The first lines, including comments.
    is_cell : callable
        Says whether a text is a number, a time or a missing value; the second argument is True
        where a comma may be a decimal comma.

    Raises
    ------
    SourceError
        `MALFORMED` where the columns have no names; the advice works when it is followed.
    """
    content = [(i, line) for i, line in enumerate(lines) if _plain(line)]
    if not content:
        raise SourceError(SourceFault.MALFORMED, f"{path} is empty: a header line expected")
    first, delimiter, comma = _first_sample(lines, content, is_cell)
    before = [(i, line) for i, line in content if i < first]
    width = len(cells_of(lines[first], delimiter)) if first < len(lines) else 0
    rows = [row for row in (cells_of(line, delimiter) for _, line in before) if row]
    remarks = [line.strip("#% \t") for line in lines[:first]]
    stated_units, names = _names(rows, width)
    unit, lead, rate_hz = _stated(remarks, delimiter)
    notes: list[str] = []
    if not names:
        if width > 1 or not (unit or lead or rate_hz):
            row = ",".join(["time", "II", *(f"V{i}" for i in range(1, width))][: max(width, 1)])
            raise SourceError(
                SourceFault.MALFORMED,
                f"{path}:{first + 1}: the first line must name the columns; put a line such as "
                f"`{row if width > 1 else 'II'}` before the samples ({max(width, 1)} names)",
            )
        names = [re.sub(r"^lead\s+", "", lead, flags=re.IGNORECASE) if lead else "ECG"]
    trailing = len(names) > 1 and not names[-1] and role_of(names[0]) is not Role.OTHER
    columns = []
    for i, text in enumerate(names[:-1] if trailing else names):
        name, own = split_unit(text)
        own = own or (stated_units[i] if stated_units else None)
        role = role_of(name)
        if own is None and unit is not None and role in {Role.ECG, Role.UNKNOWN}:
            own = unit
        if role is Role.COUNTER and own is not None and mv_per_unit(own) is not None:
            role = Role.UNKNOWN  # `Sample (mV)`
        columns.append(Column(name, own, role))
    counts = None
    if names and names[0].lower() == "sample #" and not stated_units:
        counts = (200.0, 1024.0)
        notes.append("an export of MIT-BIH in counts: 200 counts a mV around 1024 assumed")
    return Head(first, delimiter, comma, tuple(columns), trailing, rate_hz, counts, tuple(notes))


def _plain(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("#", "%"))


def _first_sample(
    lines: Sequence[str], content: list[tuple[int, str]], is_cell: Callable[[str, bool], bool]
) -> tuple[int, str, bool]:
    """Return the line of the first sample, the delimiter, and whether commas are decimal commas."""
    heading = content[0][1]
    for at, (number, line) in enumerate(content):
        above = content[at - 1][1] if at else ""
        for delimiter in (";", "\t"):
            if delimiter in line:
                cells = cells_of(line, delimiter)
                if _is_row(cells, is_cell, comma=True):
                    return number, delimiter, any(_DECIMAL_COMMA.fullmatch(c) for c in cells)
        single = _DECIMAL_COMMA.fullmatch(line.strip()) and "," not in above
        if single and (above or _all_decimal([text for _, text in content[at:]])):
            return number, ";", True
        if _is_row(cells_of(line, ","), is_cell, comma=False):
            return number, ",", False
    delimiter = max(",;\t", key=heading.count)
    return len(lines), delimiter, False


def _all_decimal(lines: list[str]) -> bool:
    return len(lines) > 1 and all(_DECIMAL_COMMA.fullmatch(line.strip()) for line in lines)


def _is_row(cells: list[str], is_cell: Callable[[str, bool], bool], *, comma: bool) -> bool:
    return all(is_cell(cell, comma) for cell in cells) and any(
        cell.lower() not in MISSING_CELLS for cell in cells
    )


def _names(rows: list[list[str]], width: int) -> tuple[list[str], list[str]]:
    """Return the line of units, if there is one, and the line of names: the last of that width."""
    fitting = [row for row in rows if len(row) == width] if width else rows[:1]
    units: list[str] = []
    if len(fitting) > 1 and all(_is_unit(cell) for cell in fitting[-1]):
        units = fitting.pop()
    if width == 1 and fitting and any(mark in fitting[-1][0] for mark in ",:="):
        return units, []  # `Unit,µV` before a column without a name
    return units, fitting[-1] if fitting else []


def _is_unit(cell: str) -> bool:
    return (
        mv_per_unit(cell) is not None
        or nominal_mv_per_unit(cell) is not None
        or (seconds_per_unit(cell) is not None)
        or re.fullmatch(r"[hms:.]+|sample( number)?|-|", cell.lower()) is not None
    )


def _stated(remarks: list[str], delimiter: str) -> tuple[str | None, str | None, float | None]:
    """Return unit, lead and rate, where lines before the samples state them."""
    unit = lead = None
    rate_hz = None
    for remark in remarks:
        if found := _RATE.search(remark):
            rate_hz = float(found[1].replace(",", "."))
        if found := _UNIT.match(remark.replace(delimiter, " ")):
            unit = found[1]
        if found := _LEAD.match(remark.replace(delimiter, " ")):
            lead = found[1]
        if "openbci raw" in remark.lower():
            unit = "uV"
    return unit if unit and mv_per_unit(unit) is not None else None, lead, rate_hz
