"""A CSV file as a source."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.guard import reading
from tocsin_agent.sources.files.signal_names import Role, seconds_per_unit
from tocsin_agent.sources.files.table_columns import TableColumns
from tocsin_agent.sources.files.table_head import (
    HEAD_LINES,
    MAX_LINE,
    MISSING_CELLS,
    Head,
    cells_of,
    read_head,
)
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.files.table_source import Piece, TableSource
from tocsin_agent.sources.files.time_column import seconds_of
from tocsin_dsp.signal import FloatArray

_LINES = 20_000  # lines of a CSV file in memory
_LINES_READ = 200  # at once


class CsvSource(TableSource):
    """A CSV file: one line a sample, one column a lead.

    `table_head` reads the first lines: names, units (which take precedence over the option `unit`,
    unless that is `counts`), rate. The separator is a comma, a semicolon, a tab or blanks; where it
    is not a comma, decimal commas are accepted. `#` and `%` begin comment lines. An empty cell is a
    missing sample; in a file of one column so is an empty line between two samples, in other files
    it is ignored. The file is UTF-8, UTF-16 with a byte order mark, or Latin-1.

    Parameters
    ----------
    path, options, block_s
        As in `TableSource`.
    """

    def _open_table(self, used: Sequence[int] | None) -> _CsvTable:
        stream = _open_text(self.path)
        try:
            with reading(self.path, "a table"):
                return _CsvTable(self.path, stream, self.options, used)
        except BaseException:
            stream.close()
            raise


class _CsvTable:
    """Reads the first lines, then the others in pieces; errors name the line and the cell."""

    def __init__(
        self, path: Path, stream: TextIO, options: TableOptions, used: Sequence[int] | None
    ) -> None:
        self._path = path
        self._stream = stream
        lines = _lines_of(path, stream)
        first = list(itertools.islice(lines, HEAD_LINES))
        self.head = head = read_head(path, [line.rstrip("\r\n") for line in first], _is_cell)
        rest = itertools.chain(first[head.lines :], lines)
        if head.lines < len(first):
            self.head = head = _with_text_clocks(head, first[head.lines])
        self._lines = _content_lines(rest, head.lines)
        self._width = len(head.columns) + head.trailing
        self.columns = TableColumns(path, head, options, used)

    def close(self) -> None:
        self._stream.close()

    def pieces(self) -> Iterator[Piece]:
        """Yield the lines in pieces; a wrong line raises after the lines before it."""
        sample_lines = self._sample_lines()
        while lines := list(itertools.islice(sample_lines, _LINES)):
            error = None
            try:
                values = self._fast(lines)
            except ValueError:
                values, error = self._cell_by_cell(lines)
            if len(values):
                clocks = self.columns.clocks
                times = values[:, clocks] if clocks else None
                yield Piece(values[:, self.columns.used], times)
            if error is not None:
                raise error

    def _sample_lines(self) -> Iterator[tuple[int, str]]:
        empty: list[int] = []
        for number, text in self._lines:
            if not text:
                empty.append(number)
                continue
            if self._width == 1:
                yield from ((line, "nan") for line in empty)
            empty = []
            yield number, text

    def _fast(self, lines: list[tuple[int, str]]) -> FloatArray:
        text = "\n".join(line for _, line in lines)
        if self.head.decimal_comma or self.head.delimiter != ",":
            text = text.replace(",", ".")
        if self.head.trailing:
            text = re.sub(
                rf"{self.head.delimiter}[ ]*$",
                f"{self.head.delimiter}nan",
                text,
                flags=re.MULTILINE,
            )
        delimiter = None if self.head.delimiter == " " else self.head.delimiter
        values = np.loadtxt(io.StringIO(text), delimiter=delimiter, ndmin=2, comments=None)
        if values.shape != (len(lines), self._width) or np.isinf(values).any():
            raise ValueError(values.shape)
        return values

    def _cell_by_cell(self, lines: list[tuple[int, str]]) -> tuple[FloatArray, SourceError | None]:
        rows: list[list[float]] = []
        for number, line in lines:
            cells = cells_of(line, self.head.delimiter)
            if len(cells) != self._width:
                return _array(rows, self._width), SourceError(
                    SourceFault.MALFORMED,
                    f"{self._path}:{number}: {len(cells)} cells, {self._width} expected",
                )
            row = []
            for column, cell in enumerate(cells):
                value = self._number(cell, column)
                is_time = column == self.columns.time
                if value is None or (is_time and math.isnan(value)):
                    what = "not a time" if is_time else "not a number"
                    return _array(rows, self._width), SourceError(
                        SourceFault.MALFORMED,
                        f"{self._path}:{number}: cell {column + 1} is {cell.strip()!r}: {what}",
                    )
                row.append(value)
            rows.append(row)
        return _array(rows, self._width), None

    def _number(self, cell: str, column: int) -> float | None:
        """Return the value of a cell; NaN for a cell of a column that is not used."""
        text = cell.strip().strip("\"'").strip()
        if text.lower() in MISSING_CELLS:
            return math.nan
        value = _parsed(text, comma=self.head.decimal_comma or self.head.delimiter != ",")
        if column >= len(self.head.columns):
            return value
        named = self.head.columns[column]
        if value is None and named.role is Role.CLOCK:
            value = seconds_of(text)
            size = seconds_per_unit(named.unit) if named.unit else None
            if value is not None and size not in {None, 1.0}:
                value /= size or 1.0
        if value is None and column not in {*self.columns.used, self.columns.time}:
            return math.nan  # a note or a label in words
        return value


def _with_text_clocks(head: Head, line: str) -> Head:
    """Give seconds as unit to clocks that are written as text: only numbers are of unknown unit."""
    cells = cells_of(line.strip(), head.delimiter)
    columns = tuple(
        replace(column, unit="s")
        if column.role is Role.CLOCK
        and column.unit is None
        and _parsed(cell, comma=True) is None
        and seconds_of(cell) is not None
        else column
        for column, cell in zip(head.columns, cells, strict=False)
    )
    return replace(head, columns=columns) if len(columns) == len(head.columns) else head


def _array(rows: list[list[float]], width: int) -> FloatArray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _parsed(text: str, *, comma: bool) -> float | None:
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError:
        return None
    return None if math.isinf(value) else value


def _is_cell(text: str, comma: bool) -> bool:
    return (
        text.lower() in MISSING_CELLS
        or _parsed(text, comma=comma) is not None
        or seconds_of(text) is not None
    )


def _lines_of(path: Path, stream: TextIO) -> Iterator[str]:
    """Yield lines; a longer one than any table has is refused before it fills the memory."""
    while True:
        with reading(path, "a text file"):
            lines = list(itertools.islice(iter(lambda: stream.readline(MAX_LINE), ""), _LINES_READ))
        for line in lines:
            if len(line) >= MAX_LINE:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{path} has a line of more than {MAX_LINE} characters: it is no table of one "
                    "sample a line",
                )
            yield line
        if not lines:
            return


def _open_text(path: Path) -> TextIO:
    with reading(path, "a text file"):
        with path.open("rb") as stream:
            first = stream.read(4096)
        encoding = "utf-16" if first[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
        # Bytes that are not UTF-8 become a cell that is not a number, reported with its line.
        return path.open(encoding=encoding, errors="replace", newline=None)


def _content_lines(lines: Iterable[str], before: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=before + 1):
        text = line.strip(" \r\n")
        if not text.startswith(("#", "%")):
            yield number, text
