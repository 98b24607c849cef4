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
    multiple_of_a_unit,
    mv_per_unit,
    nominal_mv_per_unit,
    role_of,
    seconds_per_unit,
    split_unit,
)
from tocsin_agent.sources.files.table_exports import Column, known_export
from tocsin_dsp.signal import MAX_LEADS

MAX_LINE = 1 << 16  # characters
MISSING_CELLS = {"", "nan", "na", "n/a", "null", "none", "-"}
HEAD_LINES = 200  # in which the first sample must be
_ALIKE = 4  # rows that say that words among numbers are no heading

_RATE = re.compile(
    r"(?:sampl\w*[ _]?(?:rate|freq\w*)|abtast\w*|messrate|frequen\w*|\bfs|rate_hz)\W+"
    r"([0-9]+(?:[.,][0-9]+)?)\s*(khz)?",
    re.IGNORECASE,
)
_UNIT = re.compile(r"^\W*(?:unit|units|einheit)\W+(\S+?)\W*$", re.IGNORECASE)
_LEAD = re.compile(r"^\W*(?:lead|ableitung)\W+(.+?)\W*$", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines say.

    Parameters
    ----------
    lines : int
        How many lines stand before the samples.
    delimiter : str
        Comma, semicolon, tab, or a blank for any number of blanks.
    decimal_comma : bool
        True where a comma in a cell is a decimal comma.
    columns : tuple of Column
        One a cell; a trailing empty cell has none.
    trailing : bool
        True where each line ends with a delimiter.
    rate_hz : float or None
        Where a line states it.
    notes : tuple of str
        What was assumed.
    """

    lines: int
    delimiter: str
    decimal_comma: bool
    columns: tuple[Column, ...]
    trailing: bool
    rate_hz: float | None
    notes: tuple[str, ...]

    def leads(self) -> list[int]:
        """Return the columns that are taken as leads, by name."""
        volts = [
            i
            for i, column in enumerate(self.columns)
            if column.role is not Role.LABEL
            and (
                column.unit is None
                or mv_per_unit(column.unit) is not None
                or nominal_mv_per_unit(column.unit) is not None
            )
        ]
        return [volts[i] for i in ecg_leads([self._lead_name(i) for i in volts])]

    def _lead_name(self, i: int) -> str:
        column = self.columns[i]
        return column.name if column.role is not Role.UNKNOWN else "signal"


def cells_of(line: str, delimiter: str) -> list[str]:
    """Split a line into cells without quotes and blanks; a blank stands for any number of them."""
    if delimiter == " ":
        return [cell.strip("\"'") for cell in line.split()]
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
    width = len(cells_of(lines[first], delimiter)) if first < len(lines) else 0
    if not width and len(content) > 1:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has no line of samples in its first {len(lines)} lines: a line of names and "
            "one line a sample expected",
        )
    remarks = [line.strip("#% \t") for line in lines[:first]]
    export = known_export(path, remarks, width)
    if export is not None:
        trailing = width == len(export.columns) + 1
        if first < len(lines) and not cells_of(lines[first], delimiter)[0]:
            first += 1  # AcqKnowledge: the number of samples
        return Head(first, delimiter, comma, export.columns, trailing, export.rate_hz, export.notes)
    rows = [_heading(line, delimiter, width) for i, line in content if i < first]
    stated_units, names = _names([row for row in rows if row], width)
    names = names or _commented(lines[:first], delimiter, width, is_cell)
    unit, lead, rate_hz = _stated(remarks, delimiter)
    if not names:
        if width > 1 or not (unit or lead or rate_hz):
            raise _unnamed(path, first, width)
        names = [re.sub(r"^lead\s+", "", lead, flags=re.IGNORECASE) if lead else "ECG"]
    trailing = len(names) > 1 and not names[-1] and role_of(names[0]) is not Role.OTHER
    counts: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    if names[0].lower() == "sample #" and not stated_units:
        counts = (200.0, 1024.0)
        notes = ("an export of MIT-BIH in counts: 200 counts a mV around 1024 assumed",)
    columns = tuple(
        _column(text, stated_units[i] if stated_units else None, unit, counts)
        for i, text in enumerate(names[:-1] if trailing else names)
    )
    notes += _not_understood(columns, names)
    return Head(first, delimiter, comma, columns, trailing, rate_hz, notes)


def _not_understood(columns: Sequence[Column], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        f"the unit {multiple!r} of {column.name} is not understood: mV assumed, not calibrated; "
        "give --unit, or --unit counts with --gain"
        for column, text in zip(columns, names, strict=False)
        if not column.calibrated and (multiple := multiple_of_a_unit(text))
    )


def _commented(
    lines: Sequence[str], delimiter: str, width: int, is_cell: Callable[[str, bool], bool]
) -> list[str]:
    """Return names in a comment, as `numpy.savetxt` writes them: the last line of that width."""
    for line in reversed(lines):
        if line.lstrip().startswith(("#", "%")):
            cells = _heading(line.lstrip("#% \t").rstrip(), delimiter, width)
            words = not any(is_cell(cell, True) for cell in cells)
            if width > 1 and len(cells) == width and words:
                return cells
    return []


def _column(
    heading: str, below: str | None, of_all: str | None, counts: tuple[float, float] | None
) -> Column:
    """Return a column by its heading, the unit in the line below, and that of all samples."""
    name, own = split_unit(heading)
    own = own or below
    role = role_of(name)
    if own is None and of_all is not None and role in {Role.ECG, Role.UNKNOWN}:
        own = of_all
    if role is Role.COUNTER and own is not None and mv_per_unit(own) is not None:
        role = Role.UNKNOWN  # `Sample (mV)`
    understood = own is not None or multiple_of_a_unit(heading) is None
    return Column(name, own, role, counts, calibrated=understood)


def _unnamed(path: Path, first: int, width: int) -> SourceError:
    """Return the error for a table without names; its advice works when it is followed."""
    if width > MAX_LEADS + 8:
        return SourceError(
            SourceFault.MALFORMED,
            f"{path}:{first + 1}: a line has {width} numbers: this looks like one beat or one "
            "recording a line (as in Kaggle's heartbeat sets); one sample a line expected",
        )
    row = ",".join(["time", "II", *(f"V{i}" for i in range(1, width))][: max(width, 1)])
    return SourceError(
        SourceFault.MALFORMED,
        f"{path}:{first + 1}: the first line must name the columns; put a line such as "
        f"`{row if width > 1 else 'II'}` before the samples ({max(width, 1)} names)",
    )


def _heading(line: str, delimiter: str, width: int) -> list[str]:
    """Split a line above the samples; names between blanks may have blanks themselves."""
    cells = cells_of(line, delimiter)
    if delimiter == " " and len(cells) != width:
        return [cell for cell in re.split(r"\t|\s{2,}", line.strip()) if cell]
    return cells


def _plain(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("#", "%"))


def _first_sample(
    lines: Sequence[str], content: list[tuple[int, str]], is_cell: Callable[[str, bool], bool]
) -> tuple[int, str, bool]:
    """Return the line of the first sample, the delimiter, and whether commas are decimal commas."""
    heading = content[0][1]
    for at, (number, line) in enumerate(content):
        above = content[at - 1][1] if at else ""
        rows = [text for _, text in content[at : at + _ALIKE]]
        # A blank may separate date and time, and name and unit: a row of numbers comes first.
        listed = "," in line and _is_row(cells_of(line, ","), is_cell, comma=False)
        for delimiter in (";", "\t", " "):
            if delimiter in line.strip():
                cells = cells_of(line, delimiter)
                if delimiter == " " and listed and not _is_row(cells, is_cell, comma=True):
                    continue
                if _begins(rows, above, delimiter, is_cell, comma=True):
                    return number, delimiter, any(_DECIMAL_COMMA.fullmatch(c) for c in cells)
        named = "," in above and not (_UNIT.match(above.replace(",", " ")) or _RATE.search(above))
        single = _DECIMAL_COMMA.fullmatch(line.strip()) and not named
        if single and (above or _all_decimal([text for _, text in content[at:]])):
            return number, ";", True
        if _begins(rows, above, ",", is_cell, comma=False):
            return number, ",", False
    delimiter = max(",;\t", key=heading.count)
    return len(lines), delimiter, False


def _begins(
    rows: list[str],
    above: str,
    delimiter: str,
    is_cell: Callable[[str, bool], bool],
    *,
    comma: bool,
) -> bool:
    """Return whether samples begin: numbers only, or numbers and words alike in several rows."""
    cells = [cells_of(row, delimiter) for row in rows]
    if delimiter == " " and len(cells[0]) < 2:
        return False
    if _is_row(cells[0], is_cell, comma=comma):
        return True
    heading = cells_of(above, delimiter)
    if len(rows) < _ALIKE or len(heading) != len(cells[0]) or len(heading) < 2:
        return False
    if any(_number_or_time(cell, is_cell, comma=comma) for cell in heading):
        return False
    kinds = {tuple(_number_or_time(cell, is_cell, comma=comma) for cell in row) for row in cells}
    return len(kinds) == 1 and any(next(iter(kinds)))


def _number_or_time(cell: str, is_cell: Callable[[str, bool], bool], *, comma: bool) -> bool:
    return cell.lower() not in MISSING_CELLS and is_cell(cell, comma)


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
    if len(fitting) > 1 and (
        all(_is_unit(cell) for cell in fitting[-1])
        or any(mv_per_unit(cell) is not None for cell in fitting[-1])
    ):
        units = fitting.pop()
    if width == 1 and fitting and any(mark in fitting[-1][0] for mark in ",:="):
        return units, []  # `Unit,µV` before a column without a name
    return units, fitting[-1] if fitting else []


def _is_unit(cell: str) -> bool:
    return (
        mv_per_unit(cell) is not None
        or nominal_mv_per_unit(cell) is not None
        or (seconds_per_unit(cell) is not None)
        or re.fullmatch(r"\(?[hms:.]+\)?|sample( number)?|-|", cell.lower()) is not None
    )


def _stated(remarks: list[str], delimiter: str) -> tuple[str | None, str | None, float | None]:
    """Return unit, lead and rate, where lines before the samples state them."""
    unit = lead = None
    rate_hz = None
    for remark in remarks:
        if found := _RATE.search(remark):
            rate_hz = float(found[1].replace(",", ".")) * (1000.0 if found[2] else 1.0)
        if found := _UNIT.match(remark.replace(delimiter, " ")):
            unit = found[1]
        if found := _LEAD.match(remark.replace(delimiter, " ")):
            lead = found[1]
    return unit if unit and mv_per_unit(unit) is not None else None, lead, rate_hz
