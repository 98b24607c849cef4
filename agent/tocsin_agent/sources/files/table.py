"""Tables of a user's own samples: CSV and NumPy files."""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import math
import re
import tokenize
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Recording
from tocsin_agent.sources.files.signal_names import (
    Role,
    mv_per_unit,
    nominal_mv_per_unit,
    seconds_per_unit,
)
from tocsin_agent.sources.files.table_head import HEAD_LINES, MISSING_CELLS, read_head
from tocsin_agent.sources.files.time_column import place, read_clock, scale_of, start_of
from tocsin_dsp.signal import MAX_LEADS, FloatArray, StreamSpec

_LINES = 20_000  # lines of a CSV file in memory
_LOOK_ROWS = 100  # rows that say what a column holds
_ROWS = 100_000  # rows of an array that are converted at once
_UNITS_MV = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "V": 1e3}

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Properties that a table does not state itself.

    Parameters
    ----------
    rate_hz : float, optional
        Samples per second; not needed for a table with a time column (CSV) or an entry `rate_hz`
        (npz).
    leads : tuple of str, optional
        CSV: the columns to take. Arrays: the names of the columns; `ECG1`, `ECG2` … by default.
    unit : str
        `mV`, `uV`, `V` or `counts`.
    gain : float, optional
        Counts per mV, for `counts`.
    baseline : float
        The count for 0 mV.
    """

    rate_hz: float | None = None
    leads: tuple[str, ...] | None = None
    unit: str = "mV"
    gain: float | None = None
    baseline: float = 0.0

    def __post_init__(self) -> None:
        if self.unit == "counts":
            if not self.gain or not math.isfinite(self.gain):
                raise SourceError(
                    SourceFault.MALFORMED, "unit is counts: give gain, the counts in a millivolt"
                )
        elif self.unit not in _UNITS_MV:
            raise SourceError(
                SourceFault.MALFORMED,
                f"unit is {self.unit!r}: one of {', '.join([*_UNITS_MV, 'counts'])} expected",
            )

    def to_mv(self, values: FloatArray) -> FloatArray:
        """Convert stored values, of any shape, to millivolts."""
        if self.unit == "counts":
            return (values - self.baseline) / (self.gain or math.nan)
        return values * _UNITS_MV[self.unit]


class CsvSource(Recording):
    """A CSV file: one line a sample, one column a lead.

    `table_head` reads the first lines: names, units (which take precedence over the option `unit`,
    unless that is `counts`), rate. The separator is a comma, a semicolon or a tab; where it is not
    a comma, decimal commas are accepted. `#` and `%` begin comment lines. An empty cell is a
    missing sample; in a file of one column so is an empty line between two samples, in other files
    it is ignored. Columns that are clocks, counters, labels or other signals are not leads.

    A time column (numbers, ISO dates, `h:mm:ss`) is read as a whole first: see `time_column`. A
    given rate takes precedence over it.

    Parameters
    ----------
    path : Path
        The file, UTF-8.
    options : TableOptions
        What the file does not state.
    block_s : float
        Seconds of signal in a block.
    """

    def __init__(
        self, path: Path, options: TableOptions | None = None, *, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.path = path
        self.options = options or TableOptions()
        self._stream: TextIO | None = None

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        self._stream = _open_text(self.path)
        table = _CsvTable(self.path, self._stream, self.options)
        first = next(table.pieces(), None)
        if first is None:
            raise SourceError(SourceFault.MALFORMED, f"{self.path} has no samples")
        table.look_at(first)
        rate_hz, index, self.start_utc = self._clock(table, first)
        self.spec = StreamSpec(stream_id=_file_id(self.path), rate_hz=rate_hz, leads=table.leads)
        for note in table.notes:
            _LOG.warning("%s: %s", self.path, note)
        self._stream.close()
        self._stream = _open_text(self.path)
        return self._rows(_CsvTable(self.path, self._stream, self.options, table.columns), index)

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._stream is not None:
            self._stream.close()

    def _clock(
        self, table: _CsvTable, first: _Piece
    ) -> tuple[float, NDArray[np.int64] | None, datetime | None]:
        """Return the rate, the places of the rows, and the start; read the time column once."""
        given, stated = self.options.rate_hz, table.head.rate_hz
        if first.times is None:
            if given is not None and stated is not None and abs(stated / given - 1) > 1e-3:
                table.notes.append(f"states {stated:g} Hz; the given rate of {given:g} Hz is used")
            rate_hz = given or stated
            if rate_hz is None:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self.path} has no time column and states no rate: give rate_hz "
                    "(`--rate-hz` of tocsin replay)",
                )
            return rate_hz, None, None
        size = scale_of(first.times, table.time_unit_s)
        times_s = _all_times(self.path, self.options, table.columns) * size
        clock = read_clock(times_s)
        start = start_of(float(times_s[0]))
        rate_hz = given or clock.rate_hz or stated
        if rate_hz is None or (given is None and clock.problem is not None and stated is None):
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path}: the time column gives no rate ({clock.problem}): give rate_hz "
                "(`--rate-hz` of tocsin replay), which takes precedence over the column",
            )
        ratio = (clock.rate_hz or math.inf) / rate_hz
        if abs(ratio - 1) > 0.02 or clock.problem is not None:
            why = clock.problem or f"it gives {clock.rate_hz:g} Hz"
            table.notes.append(f"the time column is ignored ({why}): {rate_hz:g} Hz is used")
            return rate_hz, None, start
        if not clock.even and given is None:
            table.notes.append(
                f"the time column is uneven; over its whole length it gives {rate_hz:g} Hz"
            )
        index = place(np.diff(times_s), rate_hz) if clock.even else clock.places
        return rate_hz, index, start

    def _rows(
        self, table: _CsvTable, index: NDArray[np.int64] | None
    ) -> Generator[tuple[int, FloatArray]]:
        row = 0
        for piece in table.pieces():
            samples = table.to_mv(piece.samples)
            rows = len(samples)
            if index is None:
                yield row, samples
            else:
                places = index[row : row + rows]
                cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), rows]
                for begin, end in itertools.pairwise(cuts):
                    yield int(places[begin]), samples[begin:end]
            row += rows


class ArraySource(Recording):
    """A NumPy file: shape (n,) or (n, leads); NaN is a missing sample.

    In an `.npz` archive the samples are the array `ecg` or `signal`, or the only array that is not
    a scalar; `rate_hz` and `leads` may be further entries. An `.npy` file is mapped, not loaded.
    Files with pickled objects are refused.

    Parameters
    ----------
    path : Path
        `.npy` or `.npz`.
    options : TableOptions
        What the file does not state; takes precedence over what it states.
    block_s : float
        Seconds of signal in a block.
    """

    def __init__(
        self, path: Path, options: TableOptions | None = None, *, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.path = path
        self.options = options or TableOptions()

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        values, rate_hz, leads = _load_array(self.path)
        if self.options.rate_hz is not None:
            rate_hz = self.options.rate_hz
        if rate_hz is None:
            raise SourceError(
                SourceFault.MALFORMED, f"{self.path} does not state its sampling rate: give rate_hz"
            )
        columns = values.shape[1]
        names = self.options.leads or leads or tuple(f"ECG{i + 1}" for i in range(columns))
        if len(names) != columns:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} has {columns} columns, but {len(names)} leads are named: "
                f"{', '.join(names)}",
            )
        self.spec = StreamSpec(stream_id=_file_id(self.path), rate_hz=rate_hz, leads=names)
        return self._rows(values)

    def _rows(self, values: NDArray[Any]) -> Generator[tuple[int, FloatArray]]:
        for first in range(0, len(values), _ROWS):
            piece = np.array(values[first : first + _ROWS], dtype=np.float64)
            piece[np.isinf(piece)] = np.nan
            yield first, self.options.to_mv(piece)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some consecutive lines of a CSV file."""

    samples: FloatArray
    times: FloatArray | None


class _CsvTable:
    """Reads the first lines, then the others in pieces; errors name the line and the cell."""

    def __init__(
        self,
        path: Path,
        stream: TextIO,
        options: TableOptions,
        columns: Sequence[int] | None = None,
    ) -> None:
        self._path = path
        self._options = options
        first = list(itertools.islice(stream, HEAD_LINES))
        self.head = head = read_head(path, [line.rstrip("\r\n") for line in first], _is_cell)
        rest = itertools.chain(first[head.lines :], stream)
        self._lines = _content_lines(rest, head.lines)
        self.notes = list(head.notes)
        self._width = len(head.columns) + head.trailing
        clocks = [i for i, column in enumerate(head.columns) if column.role is Role.CLOCK]
        # A device's own clock is better than that of the phone that received its packets.
        ranked = sorted(clocks, key=lambda i: "phone" in head.columns[i].name.lower())
        self._time = ranked[0] if ranked else None
        self.columns = list(columns) if columns is not None else self._chosen()
        if len({head.columns[i].name for i in self.columns}) < len(self.columns):
            names = ", ".join(head.columns[i].name for i in self.columns)
            raise SourceError(SourceFault.MALFORMED, f"{path}: lead names repeat: {names}")

    @property
    def leads(self) -> tuple[str, ...]:
        return tuple(self.head.columns[i].name for i in self.columns)

    @property
    def time_unit_s(self) -> float | None:
        unit = None if self._time is None else self.head.columns[self._time].unit
        return None if unit is None else seconds_per_unit(unit)

    def _chosen(self) -> list[int]:
        """Return the columns of the wanted leads, or those that are named as one."""
        columns = self.head.columns
        names = [column.name for column in columns]
        if self._options.leads is None:
            found = self.head.leads()
            if not found:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self._path} has no column that is an ECG; its columns are "
                    f"{', '.join(names)}. Choose with the leads option",
                )
            left = [
                names[i]
                for i, column in enumerate(columns)
                if i not in found and i != self._time and column.role is not Role.COUNTER
            ]
            if left:
                self.notes.append(f"not taken as leads: {', '.join(left)}; choose with --leads")
            return found
        absent = [lead for lead in self._options.leads if lead not in names]
        if absent:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"{self._path} has no column {', '.join(absent)}; its columns are "
                f"{', '.join(names)}",
            )
        return [names.index(lead) for lead in self._options.leads]

    def look_at(self, first: _Piece) -> None:
        """Leave out columns whose name says nothing and whose values are a clock or labels."""
        if self._options.leads is not None or len(first.samples) < _LOOK_ROWS:
            return
        for at, column in reversed(list(enumerate(self.columns))):
            named = self.head.columns[column]
            what = _what_is_no_ecg(first.samples[:, at])
            if named.role is Role.UNKNOWN and what is not None and len(self.columns) > 1:
                del self.columns[at]
                self.notes.append(f"not taken as a lead: {named.name}, whose values are {what}")

    def to_mv(self, values: FloatArray) -> FloatArray:
        """Convert stored values to millivolts, each column by its unit, else by the option."""
        options = self._options
        if options.unit == "counts":
            return options.to_mv(values)
        out = options.to_mv(values)
        for at, column in enumerate(self.columns):
            unit = self.head.columns[column].unit
            size = None if unit is None else (mv_per_unit(unit) or nominal_mv_per_unit(unit))
            if size is not None:
                out[:, at] = values[:, at] * size
            elif self.head.counts is not None and options.unit == "mV":
                gain, baseline = self.head.counts
                out[:, at] = (values[:, at] - baseline) / gain
        return out

    def pieces(self) -> Iterator[_Piece]:
        """Yield the lines in pieces; a wrong line raises after the lines before it."""
        sample_lines = self._sample_lines()
        while lines := list(itertools.islice(sample_lines, _LINES)):
            error = None
            try:
                values = self._fast(lines)
            except ValueError:
                values, error = self._cell_by_cell(lines)
            if len(values):
                times = None if self._time is None else values[:, self._time]
                yield _Piece(values[:, self.columns], times)
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
        values = np.loadtxt(
            io.StringIO(text), delimiter=self.head.delimiter, ndmin=2, comments=None
        )
        if values.shape != (len(lines), self._width) or np.isinf(values).any():
            raise ValueError(values.shape)
        return values

    def _cell_by_cell(self, lines: list[tuple[int, str]]) -> tuple[FloatArray, SourceError | None]:
        rows: list[list[float]] = []
        for number, line in lines:
            cells = line.split(self.head.delimiter)
            if len(cells) != self._width:
                return _array(rows, self._width), SourceError(
                    SourceFault.MALFORMED,
                    f"{self._path}:{number}: {len(cells)} cells, {self._width} expected",
                )
            row = []
            for column, cell in enumerate(cells):
                value = self._number(cell, timed=self._is_clock(column))
                if value is None or (column == self._time and math.isnan(value)):
                    what = "not a time" if column == self._time else "not a number"
                    return _array(rows, self._width), SourceError(
                        SourceFault.MALFORMED,
                        f"{self._path}:{number}: cell {column + 1} is {cell.strip()!r}: {what}",
                    )
                row.append(value)
            rows.append(row)
        return _array(rows, self._width), None

    def _is_clock(self, column: int) -> bool:
        columns = self.head.columns
        return column < len(columns) and columns[column].role is Role.CLOCK

    def _number(self, cell: str, *, timed: bool) -> float | None:
        text = cell.strip().strip("\"'").strip()
        if text.lower() in MISSING_CELLS:
            return math.nan
        value = _parsed(text, comma=self.head.decimal_comma or self.head.delimiter != ",")
        if value is None and timed:
            value = seconds_of(text)
            if value is not None and self.time_unit_s not in {None, 1.0}:
                value /= self.time_unit_s or 1.0
        return value


def _array(rows: list[list[float]], width: int) -> FloatArray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _parsed(text: str, *, comma: bool) -> float | None:
    try:
        value = float(text.replace(",", ".") if comma else text)
    except ValueError:
        return None
    return None if math.isinf(value) else value


def seconds_of(text: str) -> float | None:
    """Return the seconds in `h:mm:ss.sss`, or since 1970 of an ISO date; None for other text."""
    plain = text.strip("[]")
    clock = re.fullmatch(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)", plain)
    if clock:
        second = float(clock[3].replace(",", "."))
        return int(clock[1] or 0) * 3600.0 + int(clock[2]) * 60.0 + second
    if not re.match(r"\d{4}-\d{2}-\d{2}", plain):
        return None
    try:
        moment = datetime.fromisoformat(plain.replace(",", "."))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_cell(text: str, comma: bool) -> bool:
    return (
        text.lower() in MISSING_CELLS
        or _parsed(text, comma=comma) is not None
        or seconds_of(text) is not None
    )


def _what_is_no_ecg(values: FloatArray) -> str | None:
    """Say what a column holds that rises all the time, or has a few whole values."""
    present = values[np.isfinite(values)]
    if len(present) < _LOOK_ROWS:
        return None
    if (np.diff(present) > 0).mean() > 0.95:
        return "a clock or a counter"
    if len(np.unique(present)) <= 8 and (present == np.rint(present)).all():
        return "labels"
    return None


def _all_times(path: Path, options: TableOptions, columns: Sequence[int]) -> FloatArray:
    """Read the time column of the whole file, or up to the first wrong line."""
    parts = []
    with _open_text(path) as stream:
        try:
            for piece in _CsvTable(path, stream, options, columns).pieces():
                if piece.times is not None:
                    parts.append(piece.times)  # noqa: PERF401 - what was read counts
        except SourceError:  # reported after the lines before it, when the samples are read
            pass
    return np.concatenate(parts)


def _open_text(path: Path) -> TextIO:
    try:
        # bytes that are not UTF-8 become a cell that is not a number, reported with its line
        return path.open(encoding="utf-8-sig", errors="replace", newline=None)
    except OSError as error:
        raise _unreadable(path, error) from error


def _content_lines(lines: Iterable[str], before: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=before + 1):
        text = line.strip(" \r\n")
        if not text.startswith(("#", "%")):
            yield number, text


def _load_array(path: Path) -> tuple[NDArray[Any], float | None, tuple[str, ...] | None]:
    rate_hz: float | None = None
    leads: tuple[str, ...] | None = None
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                stored = {name: archive[name] for name in archive.files}
            if "rate_hz" in stored:
                rate_hz = float(stored.pop("rate_hz"))
            if "leads" in stored:
                leads = tuple(str(name) for name in np.atleast_1d(stored.pop("leads")))
            values = _signal_of(path, stored)
        else:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, TypeError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise SourceError(
            SourceFault.MALFORMED, f"{path} is not a readable NumPy file ({error})"
        ) from error
    if values.dtype.kind not in "fiu" or values.ndim not in {1, 2} or not values.size:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has {values.dtype} of shape {values.shape}; numbers of shape (n,) or "
            "(n, leads) expected",
        )
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.shape[1] > MAX_LEADS:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has shape {values.shape}: at most {MAX_LEADS} leads in columns expected; "
            "transpose it if the leads are rows",
        )
    return values, rate_hz, leads


def _signal_of(path: Path, stored: dict[str, NDArray[Any]]) -> NDArray[Any]:
    for name in ("ecg", "signal"):
        if name in stored:
            return stored[name]
    arrays = [array for array in stored.values() if array.ndim]
    if len(arrays) != 1:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path} has {', '.join(stored) or 'no array'}: name the signal `ecg`",
        )
    return arrays[0]


def _unreadable(path: Path, error: OSError) -> SourceError:
    reason = SourceFault.NOT_FOUND if isinstance(error, FileNotFoundError) else SourceFault.LOST
    return SourceError(reason, f"{path} cannot be read: {error.strerror or error}")


def _file_id(path: Path) -> str:
    """Return a stream id of file name and content; the folder does not matter."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{path.name}#{digest[:12]}"
