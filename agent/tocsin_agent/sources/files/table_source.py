"""A table of samples as a source, whatever its file format: its clock, its gaps, its leads."""

from __future__ import annotations

import itertools
import logging
import math
from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Recording
from tocsin_agent.sources.files.guard import file_id, guarded, reading
from tocsin_agent.sources.files.table_columns import TableColumns
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.files.time_column import (
    Clock,
    place,
    read_clock,
    scale_of,
    start_of,
    without_midnight,
)
from tocsin_dsp.signal import FloatArray, StreamSpec

_LOG = logging.getLogger(__name__)
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Some consecutive rows.

    Parameters
    ----------
    samples : ndarray of float64, shape (n, leads)
        As stored.
    times : ndarray of float64, shape (n, clocks), or None
        The columns that are clocks, the best one first; None where the table has none.
    """

    samples: FloatArray
    times: FloatArray | None


class Table(Protocol):
    """An open table."""

    columns: TableColumns

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows; a wrong one raises `SourceError` after those before it."""

    def close(self) -> None:
        """Close the file."""


class TableSource(Recording):
    """A table: one row a sample, one column a lead.

    Columns that are clocks, counters, labels or other signals are not leads. A time column
    (numbers, ISO dates, `h:mm:ss`) is read as a whole first: see `time_column`. A given rate takes
    precedence over it.

    Parameters
    ----------
    path : Path
        The file.
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
        self._table: Table | None = None

    @abstractmethod
    def _open_table(self, used: Sequence[int] | None) -> Table:
        """Open the file; `used` names the columns of the leads, where they are known."""

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        table = self._table = self._open_table(None)
        columns = table.columns
        first = next(table.pieces(), None)
        if first is None:
            raise SourceError(SourceFault.MALFORMED, f"{self.path} has no samples")
        with reading(self.path, "a table"):
            columns.look_at(first.samples)
            if first.times is not None:
                columns.look_at_clocks(first.times)
            rate_hz, index, self.start_utc = self._clock(columns, first)
        self.spec = StreamSpec(
            stream_id=file_id(self.path),
            rate_hz=rate_hz,
            leads=columns.leads,
            calibrated=columns.calibrated,
        )
        self.contents = columns.contents(rate_hz)
        for note in columns.notes:
            _LOG.warning("%s: %s", self.path, note)
        table.close()
        self._table = self._open_table(columns.used)
        return guarded(self.path, "a table", self._rows(self._table, index))

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._table is not None:
            self._table.close()

    def _clock(
        self, columns: TableColumns, first: Piece
    ) -> tuple[float, NDArray[np.int64] | None, datetime | None]:
        """Return the rate, the places of the rows, and the start; read the time column once."""
        if first.times is None:
            return self._rate_without_times(columns), None, None
        times_s, clock = self._read_times(columns, first.times[:, columns.clock])
        self.seconds = float(times_s[-1] - times_s[0])
        start = _start_of(columns, first)
        given, stated = self.options.rate_hz, columns.head.rate_hz
        # The rate that the device states is better than that of uneven times of arrival.
        measured = clock.rate_hz if clock.even else stated or clock.rate_hz
        rate_hz = given or measured or stated
        if rate_hz is None or (given is None and clock.problem is not None and stated is None):
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path}: the time column gives no rate ({clock.problem}): give rate_hz "
                "(`--rate-hz` of tocsin replay), which takes precedence over the column",
            )
        ratio = (clock.rate_hz or math.inf) / rate_hz
        if abs(ratio - 1) > 0.02 or clock.problem is not None:
            why = clock.problem or f"it gives {clock.rate_hz:g} Hz"
            columns.notes.append(f"the time column is ignored ({why}): {rate_hz:g} Hz is used")
            self.seconds = None
            return rate_hz, None, start
        if not clock.even and given is None and stated is None:
            columns.notes.append(
                f"the time column is uneven; over its whole length it gives {rate_hz:g} Hz"
            )
        elif clock.even and given is None and stated and abs(stated / rate_hz - 1) > 1e-3:
            columns.notes.append(
                f"states {stated:g} Hz; the time column gives {rate_hz:g} Hz, which is used"
            )
        index = place(np.diff(times_s), rate_hz) if clock.even else clock.places
        return rate_hz, index, start

    def _rate_without_times(self, columns: TableColumns) -> float:
        """Return the rate of a table without a time column."""
        given, stated = self.options.rate_hz, columns.head.rate_hz
        if given is not None and stated is not None and abs(stated / given - 1) > 1e-3:
            columns.notes.append(f"states {stated:g} Hz; the given rate of {given:g} Hz is used")
        rate_hz = given or stated
        if rate_hz is None:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} has no time column and states no rate: give rate_hz "
                "(`--rate-hz` of tocsin replay)",
            )
        return rate_hz

    def _read_times(self, columns: TableColumns, first: FloatArray) -> tuple[FloatArray, Clock]:
        """Return the whole time column in seconds, of which `first` begins it, and its clock."""
        times_s = self._all_times(columns)
        times_s *= scale_of(first, columns.time_unit_s)
        times_s = without_midnight(times_s)
        clock = read_clock(times_s)
        if columns.time_unit_s is None and clock.even and _counts_by_one(first):
            clock = clock._replace(
                rate_hz=None,
                places=None,
                problem="it counts by one, so it may number the rows or be in ms",
            )
        return times_s, clock

    def _all_times(self, columns: TableColumns) -> FloatArray:
        """Read the time column of the whole file, or up to the first wrong row."""
        parts = []
        table = self._open_table(columns.used)
        try:
            for piece in table.pieces():
                if piece.times is not None:
                    parts.append(piece.times[:, columns.clock].copy())  # noqa: PERF401 - what was read counts
        except SourceError:  # reported after the rows before it, when the samples are read
            pass
        finally:
            table.close()
        return np.concatenate(parts)

    @staticmethod
    def _rows(table: Table, index: NDArray[np.int64] | None) -> Generator[tuple[int, FloatArray]]:
        row = 0
        for piece in table.pieces():
            samples = table.columns.to_mv(piece.samples)
            samples[np.isinf(samples)] = np.nan  # beyond the range of floating point
            rows = len(samples)
            if index is None:
                yield row, samples
            else:
                places = index[row : row + rows]
                cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), rows]
                for begin, end in itertools.pairwise(cuts):
                    yield int(places[begin]), samples[begin:end]
            row += rows


def _counts_by_one(times: FloatArray) -> bool:
    return len(times) > 1 and bool((np.diff(times) == 1.0).all())


def _start_of(columns: TableColumns, first: Piece) -> datetime | None:
    """Return UTC of the first row, by the first clock that counts from 1970."""
    assert first.times is not None  # noqa: S101 - there is a clock
    for at in range(first.times.shape[1]):
        size = scale_of(first.times[:, at], columns.unit_of_clock_s(at))
        start = start_of(float(first.times[0, at]) * size)
        if start is None:
            continue
        if at == columns.clock or start.time() != time():
            return start
        # A date beside a time of day; time that begins at 0 is that since the start.
        unit_s = columns.time_unit_s
        of_day_s = float(first.times[0, columns.clock]) * (unit_s or 0.0)
        return start + timedelta(seconds=of_day_s) if 0.0 < of_day_s < _DAY_S else None
    return None
