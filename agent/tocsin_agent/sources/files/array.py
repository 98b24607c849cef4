"""Arrays of samples: NumPy files."""

from __future__ import annotations

import logging
import tokenize
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Content, Recording
from tocsin_agent.sources.files.guard import file_id, guarded, reading
from tocsin_agent.sources.files.table_columns import what_is_no_ecg
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_dsp.signal import MAX_LEADS, FloatArray, StreamSpec

_LOG = logging.getLogger(__name__)
_LOOK_ROWS = 20_000  # rows that say what a column holds
_ROWS = 100_000  # rows that are converted at once
_MAX_ARCHIVE_BYTES = 1 << 30  # of an array in an archive, which is read as a whole


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
        stored, rate_hz, leads = self._load()
        values = self._checked(stored)
        given = self.options.rate_hz
        if given is not None:
            if rate_hz is not None and abs(rate_hz / given - 1) > 1e-3:
                _LOG.warning(
                    "%s: states %g Hz; the given rate of %g Hz is used", self.path, rate_hz, given
                )
            rate_hz = given
        if rate_hz is None:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} does not state its sampling rate: give rate_hz (`--rate-hz`)",
            )
        if not (self.options.leads or leads):
            with reading(self.path, "an array"):
                values = self._without_clock(values)
        columns = values.shape[1]
        names = self.options.leads or leads or tuple(f"ECG{i + 1}" for i in range(columns))
        if len(names) != columns:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} has {columns} columns, but {len(names)} leads are named: "
                f"{', '.join(names)}",
            )
        self.spec = StreamSpec(stream_id=file_id(self.path), rate_hz=rate_hz, leads=names)
        self.contents = tuple(Content(name, "", rate_hz, used=True, reason="") for name in names)
        self.seconds = len(values) / rate_hz
        return guarded(self.path, "an array", self._rows(values))

    def _load(self) -> tuple[NDArray[Any], float | None, tuple[str, ...] | None]:
        """Return the stored array, and rate and names where the file states them."""
        with reading(self.path, "a NumPy file"):
            return _load_array(self.path)

    def _checked(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return an array of shape (n, leads)."""
        if values.dtype.kind not in "fiu" or values.ndim not in {1, 2} or not values.size:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} has {values.dtype} of shape {values.shape}; numbers of shape (n,) or "
                "(n, leads) expected",
            )
        if values.ndim == 1:
            values = values[:, np.newaxis]
        if values.shape[1] > MAX_LEADS:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} has shape {values.shape}: at most {MAX_LEADS} leads in columns "
                "expected; transpose it if the leads are rows",
            )
        return values

    def _without_clock(self, values: NDArray[Any]) -> NDArray[Any]:
        """Leave out columns that are a clock or labels, where there are others."""
        first = np.array(values[:_LOOK_ROWS], dtype=np.float64)
        columns = [column[np.isfinite(column)] for column in first.T]
        found = {
            i: what
            for i, column in enumerate(columns)
            if len(np.unique(column)) > 1 and (what := what_is_no_ecg(column)) is not None
        }
        if len(found) in {0, len(columns)}:
            return values
        for i, what in found.items():
            _LOG.warning(
                "%s: column %d is not taken as a lead: its values are %s", self.path, i + 1, what
            )
        return values[:, [i for i in range(values.shape[1]) if i not in found]]

    def _rows(self, values: NDArray[Any]) -> Generator[tuple[int, FloatArray]]:
        for first in range(0, len(values), _ROWS):
            piece = np.array(values[first : first + _ROWS], dtype=np.float64)
            piece[np.isinf(piece)] = np.nan
            yield first, self.options.to_mv(piece)


def _load_array(path: Path) -> tuple[NDArray[Any], float | None, tuple[str, ...] | None]:
    rate_hz: float | None = None
    leads: tuple[str, ...] | None = None
    with path.open("rb") as file:
        archived = file.read(2) == b"PK"
    if not archived:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False), None, None
        except (SyntaxError, tokenize.TokenError) as error:
            raise ValueError(str(error)) from error
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for entry in archive.zip.infolist():
            if entry.file_size > _MAX_ARCHIVE_BYTES:
                raise ValueError(f"{entry.filename} has {entry.file_size} bytes: save it as .npy")
        stored = {name: archive[name] for name in archive.files}
    if "rate_hz" in stored:
        rate_hz = float(stored.pop("rate_hz"))
    if "leads" in stored:
        leads = tuple(str(name) for name in np.atleast_1d(stored.pop("leads")))
    return _signal_of(path, stored), rate_hz, leads


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
