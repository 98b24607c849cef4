"""A Parquet table as a source; needs the extra `parquet`, pyarrow, which has 170 MB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.files.guard import existing, reading
from tocsin_agent.sources.files.signal_names import Role, role_of, split_unit
from tocsin_agent.sources.files.table_columns import TableColumns
from tocsin_agent.sources.files.table_exports import Column
from tocsin_agent.sources.files.table_head import Head
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.files.table_source import Piece, TableSource
from tocsin_dsp.signal import FloatArray

_ROWS = 65_536  # of a batch in memory
_MAX_GROUP_BYTES = 512 << 20  # of a row group, which is decoded as a whole
_WHAT = "a Parquet file"


class ParquetSource(TableSource):
    """A Parquet table: one row a sample, one column a lead.

    Names, units in names, clocks and other columns are read as those of a CSV file are. A column of
    timestamps is a clock; one of lists, words or booleans is no lead.

    Parameters
    ----------
    path, options, block_s
        As in `TableSource`.
    """

    def _open_table(self, used: Sequence[int] | None) -> _ParquetTable:
        import_extra("pyarrow", "parquet", _WHAT)
        with reading(existing(self.path), _WHAT):
            return _ParquetTable(self.path, self.options, used)


class _ParquetTable:
    """Reads the rows in batches."""

    def __init__(self, path: Path, options: TableOptions, used: Sequence[int] | None) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - of an extra

        self._path = path
        self._file = pq.ParquetFile(path, memory_map=True)  # closed with the last reference to it
        groups = self._file.metadata
        largest = max(
            (groups.row_group(i).total_byte_size for i in range(groups.num_row_groups)), default=0
        )
        if largest > _MAX_GROUP_BYTES:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{path} has a row group of {largest >> 20} MB, {_MAX_GROUP_BYTES >> 20} MB are "
                "the most: write it with smaller row groups",
            )
        fields = list(self._file.schema_arrow)
        head = Head(0, ",", False, tuple(map(_column, fields)), False, _rate_of(self._file), ())
        self.columns = TableColumns(path, head, options, used)
        self._names = [field.name for field in fields]

    def close(self) -> None:
        self._file.close()

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows in batches."""
        wanted = [*self.columns.clocks, *self.columns.used]
        names = [self._names[i] for i in wanted]
        batches = self._file.iter_batches(batch_size=_ROWS, columns=names)
        clocks = len(self.columns.clocks)
        while True:
            with reading(self._path, _WHAT):
                batch = next(batches, None)
                if batch is None:
                    return
                values = np.column_stack([_numbers(batch.column(name)) for name in names])
            if len(values):
                times = values[:, :clocks] if clocks else None
                yield Piece(values[:, clocks:], times)


def _column(field: Any) -> Column:  # noqa: ANN401 - a pyarrow field
    import pyarrow.types as kinds  # noqa: PLC0415 - of an extra

    name, unit = split_unit(field.name)
    role = role_of(name)
    if kinds.is_temporal(field.type):
        return Column(name, "s", Role.CLOCK)
    number = (
        kinds.is_floating(field.type)
        or kinds.is_integer(field.type)
        or kinds.is_decimal(field.type)
    )
    return Column(name, unit, role if number else Role.LABEL)


def _numbers(column: Any) -> FloatArray:  # noqa: ANN401 - a pyarrow array
    """Return a column as float64: timestamps in seconds since 1970, nulls as NaN."""
    import pyarrow as pa  # noqa: PLC0415 - of an extra

    kind = column.type
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s")
    if pa.types.is_temporal(kind):
        per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        if pa.types.is_time32(kind):
            column = column.cast(pa.int32())
        column = column.cast(pa.int64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64) / per_second
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    out = np.array(values, dtype=np.float64)
    out[np.isinf(out)] = np.nan
    return out


def _rate_of(file: Any) -> float | None:  # noqa: ANN401 - a pyarrow file
    """Return the rate that the file's own metadata states."""
    stored = file.schema_arrow.metadata or {}
    for key in (b"rate_hz", b"fs", b"sampling_rate"):
        try:
            return float(stored[key])
        except (KeyError, ValueError):
            continue
    return None
