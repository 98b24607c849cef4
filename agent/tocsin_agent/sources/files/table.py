"""Tables of a user's own samples: CSV and NumPy files."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import re
import tokenize
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Recording
from tocsin_dsp.signal import MAX_LEADS, FloatArray, StreamSpec

_LINES = 20_000  # lines of a CSV file in memory
_ROWS = 100_000  # rows of an array that are converted at once
_UNITS_MV = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "V": 1e3}
_TIME_S = {"time": 1.0, "t": 1.0, "time_s": 1.0, "seconds": 1.0, "time_ms": 1e-3}
_MISSING_CELLS = {"", "nan", "na", "n/a", "null", "none", "-"}
_NAME = re.compile(r"[^\W\d][\w .+-]*")


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
    """A CSV file: one line a sample, one column a lead, lead names in the first line.

    The first line shows the separator (comma, semicolon or tab); with semicolons, decimal commas
    are accepted. `#` begins a comment line. An empty cell is a missing sample; in a file of one
    column so is an empty line between two samples, in other files it is ignored. A column `time`,
    `t`, `time_s`, `seconds` or `time_ms` is the time: it gives the rate, or is checked against a
    given rate, and a step of more than 1.5 samples states a gap.

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
        pieces = table.pieces()
        first = next(pieces, None)
        if first is None:
            raise SourceError(SourceFault.MALFORMED, f"{self.path} has no samples")
        clock = _TimeColumn.settle(self.path, first, self.options.rate_hz)
        self.spec = StreamSpec(
            stream_id=_file_id(self.path), rate_hz=clock.rate_hz, leads=table.leads
        )
        return self._rows(itertools.chain([first], pieces), clock)

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._stream is not None:
            self._stream.close()

    def _rows(
        self, pieces: Iterable[_Piece], clock: _TimeColumn
    ) -> Generator[tuple[int, FloatArray]]:
        for piece in pieces:
            samples = self.options.to_mv(piece.samples)
            for index, begin, end in clock.runs(piece):
                yield index, samples[begin:end]


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
    times_s: FloatArray | None
    line_numbers: Sequence[int]


class _CsvTable:
    """Reads the header, then the lines in pieces; errors name the line and the cell."""

    def __init__(self, path: Path, stream: TextIO, options: TableOptions) -> None:
        self._path = path
        self._lines = _content_lines(stream)
        number, header = next((line for line in self._lines if line[1]), (1, ""))
        if not header:
            raise SourceError(SourceFault.MALFORMED, f"{path} is empty: a header line expected")
        self._delimiter = max(",;\t", key=header.count)
        names = [cell.strip().strip("\"'") for cell in header.split(self._delimiter)]
        wrong = [name for name in names if not _NAME.fullmatch(name)]
        if wrong:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{path}:{number}: the first line must name the columns, and {wrong[0]!r} is not a "
                "name; put a line such as `time,II,V1` before the samples",
            )
        self._width = len(names)
        timed = [i for i, name in enumerate(names) if name.lower() in _TIME_S]
        self._time = timed[0] if timed else None
        self._time_scale = _TIME_S[names[timed[0]].lower()] if timed else 1.0
        there = [name for i, name in enumerate(names) if i != self._time]
        self.leads = options.leads or tuple(there)
        absent = [lead for lead in self.leads if lead not in there]
        if absent:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"{path} has no column {', '.join(absent)}; its columns are {', '.join(names)}",
            )
        self._columns = [names.index(lead) for lead in self.leads]

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
                numbers = [number for number, _ in lines[: len(values)]]
                times = None if self._time is None else values[:, self._time] * self._time_scale
                yield _Piece(values[:, self._columns], times, numbers)
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
        if self._delimiter == ";":
            text = text.replace(",", ".")
        values = np.loadtxt(io.StringIO(text), delimiter=self._delimiter, ndmin=2, comments=None)
        if values.shape != (len(lines), self._width) or np.isinf(values).any():
            raise ValueError(values.shape)
        return values

    def _cell_by_cell(self, lines: list[tuple[int, str]]) -> tuple[FloatArray, SourceError | None]:
        rows: list[list[float]] = []
        for number, line in lines:
            cells = line.split(self._delimiter)
            if len(cells) != self._width:
                return self._so_far(rows), SourceError(
                    SourceFault.MALFORMED,
                    f"{self._path}:{number}: {len(cells)} cells, {self._width} expected",
                )
            row = []
            for column, cell in enumerate(cells):
                value = self._number(cell)
                if value is None or (column == self._time and math.isnan(value)):
                    what = "not a time" if column == self._time else "not a number"
                    return self._so_far(rows), SourceError(
                        SourceFault.MALFORMED,
                        f"{self._path}:{number}: cell {column + 1} is {cell.strip()!r}: {what}",
                    )
                row.append(value)
            rows.append(row)
        return self._so_far(rows), None

    def _so_far(self, rows: list[list[float]]) -> FloatArray:
        return np.array(rows, dtype=np.float64).reshape(len(rows), self._width)

    def _number(self, cell: str) -> float | None:
        text = cell.strip().strip("\"'").strip()
        if text.lower() in _MISSING_CELLS:
            return math.nan
        if self._delimiter == ";":
            text = text.replace(",", ".")
        try:
            value = float(text)
        except ValueError:
            return None
        return None if math.isinf(value) else value


class _TimeColumn:
    """Turns times into sample indices; without a time column it counts lines."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._path = path
        self._next_index = 0
        self._last_s: float | None = None

    @classmethod
    def settle(cls, path: Path, first: _Piece, rate_hz: float | None) -> _TimeColumn:
        """Take the rate from the first lines, or check the given one against them."""
        measured = None
        if first.times_s is not None and len(first.times_s) > 1:
            steps = np.diff(first.times_s)
            steps = steps[steps > 0]
            if len(steps):
                kept = steps[steps < 1.5 * float(np.median(steps))]
                measured = _round_rate(1.0 / float(kept.mean()))
        if rate_hz is None:
            if measured is None:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{path} has no time column with increasing times: give rate_hz",
                )
            return cls(path, measured)
        if measured is not None and abs(measured / rate_hz - 1.0) > 0.02:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{path}: rate_hz is {rate_hz:g}, but the time column gives {measured:g}",
            )
        return cls(path, rate_hz)

    def runs(self, piece: _Piece) -> Iterator[tuple[int, int, int]]:
        """Cut a piece at jumps of the time: (start_index, first row, row after the last)."""
        rows = len(piece.samples)
        if piece.times_s is None:
            yield self._next_index, 0, rows
            self._next_index += rows
            return
        times = piece.times_s
        before = times[0] - 1.0 / self.rate_hz if self._last_s is None else self._last_s
        steps = np.diff(times, prepend=before)
        back = np.flatnonzero(steps <= 0)
        stop = int(back[0]) if len(back) else rows
        begin = 0
        for row in np.flatnonzero(steps[:stop] * self.rate_hz > 1.5).tolist():
            if row > begin:
                yield self._next_index, begin, row
            self._next_index += row - begin + round(float(steps[row]) * self.rate_hz) - 1
            begin = row
        if stop > begin:
            yield self._next_index, begin, stop
        self._next_index += stop - begin
        self._last_s = float(times[-1])
        if stop < rows:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self._path}:{piece.line_numbers[stop]}: the time does not increase",
            )


def _round_rate(rate_hz: float) -> float:
    """Round a rate that is a whole number but for the rounding of times in the file."""
    whole = round(rate_hz)
    return float(whole) if whole and abs(rate_hz / whole - 1.0) < 1e-3 else rate_hz


def _open_text(path: Path) -> TextIO:
    try:
        # bytes that are not UTF-8 become a cell that is not a number, reported with its line
        return path.open(encoding="utf-8-sig", errors="replace", newline=None)
    except OSError as error:
        raise _unreadable(path, error) from error


def _content_lines(stream: TextIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(stream, start=1):
        text = line.strip(" \r\n")
        if not text.startswith("#"):
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
