"""An EDF or EDF+ recording as a source; needs the extra `edf`."""

from __future__ import annotations

import logging
from collections.abc import Generator
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.files.guard import existing, guarded, reading
from tocsin_agent.sources.files.selection import FileSignal, SignalFile, distinct
from tocsin_agent.sources.files.signal_names import MV_PER_COUNT
from tocsin_dsp.signal import FloatArray

_LOG = logging.getLogger(__name__)
_CHUNK_S = 60.0  # of signal in memory
_CHUNKS_MAPPED = 30
_MAX_RECORD_BYTES = 16 << 20  # of one data record; EDF recommends 61,440
_MAX_S = 366 * 86_400.0
_WHAT = "an EDF file"


class EdfSource(SignalFile):
    """An EDF or EDF+ file, read in chunks of a minute by the package edfio.

    Parameters
    ----------
    path : Path
        The file.
    leads : sequence of str, optional
        Labels, in the wanted order; by default the ECG leads (`signal_names`) of the rate that most
        of them have.
    block_s : float
        Seconds of signal in a block.

    Notes
    -----
    The start has no zone and is taken as UTC. In a discontinuous file (EDF+D) the time of each data
    record is read from its annotations, and what lies between two records is a gap. A file with
    fewer data records than its header states is read to its end, then `SourceFault.TRUNCATED` is
    raised; -1 in the header, written by a recorder that was switched off, is no fault.
    """

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        import_extra("edfio", "edf", _WHAT)
        with reading(existing(self.path), _WHAT):
            layout = _Layout.of(self.path)
            file = _open(self.path)
            _check_sizes(self.path, file, layout)
            found = list(file.signals)
            names = distinct([signal.label for signal in found])
            signals = [_signal(*pair) for pair in zip(names, found, strict=True)]
            reversed_ranges = [
                name
                for name, signal in zip(names, found, strict=True)
                if signal.digital_max < signal.digital_min
            ]
            onsets_s = layout.onsets_s(self.path, int(file.num_data_records))
        if onsets_s is not None:
            onsets_s -= onsets_s[0]  # edfio adds it to the start
        used = self._choose(signals)
        chosen = [signals[i] for i in used]
        for signal in chosen:
            if signal.name in reversed_ranges:
                _LOG.warning(
                    "%s: the digital minimum of %s is above its maximum: its polarity may be wrong",
                    self.path,
                    signal.name,
                )
        record_s = float(file.data_record_duration)
        last_s = float(onsets_s[-1]) if onsets_s is not None else (_records(file) - 1) * record_s
        self.seconds = last_s + record_s
        try:
            self.start_utc = file.startdatetime.replace(tzinfo=UTC)
        except ValueError:  # an anonymised or wrong date
            self.start_utc = None
        sizes = [float(signal.mv_per_unit or np.nan) for signal in chosen]
        chunks = _chunks(self.path, used, sizes, onsets_s, layout)
        return guarded(self.path, _WHAT, chunks)


def _signal(name: str, signal: Any) -> FileSignal:  # noqa: ANN401
    rate_hz = float(signal.sampling_frequency)
    scaled = signal.digital_max != signal.digital_min and signal.physical_max != signal.physical_min
    if scaled or FileSignal.of(name, signal.physical_dimension, rate_hz).mv_per_unit is None:
        return FileSignal.of(name, signal.physical_dimension, rate_hz)
    # Without a range for its counts, edfio returns the counts themselves.
    return FileSignal(name, signal.physical_dimension, rate_hz, MV_PER_COUNT, calibrated=False)


class _Layout(NamedTuple):
    """What edfio does not state: where the annotations of a data record are, and its size."""

    header_bytes: int
    record_bytes: int
    stated: int  # data records; -1: not known when the header was written
    discontinuous: bool
    annotations: tuple[int, int] | None  # first byte and length in a data record

    @classmethod
    def of(cls, path: Path) -> _Layout:
        with path.open("rb") as stream:
            fixed = stream.read(256)
            count = _number(fixed[252:256], "number of signals")
            if not 0 < count <= 10_000:
                raise ValueError(f"it states {count} signals")
            fields = stream.read(256 * count)
        if len(fixed) < 256 or len(fields) < 256 * count:
            raise ValueError("its header is cut off")
        at = 216 * count
        samples = [
            _number(fields[at + 8 * i : at + 8 * i + 8], "samples of a data record")
            for i in range(count)
        ]
        if min(samples) < 0:
            raise ValueError("it states a negative number of samples")
        labels = [fields[16 * i : 16 * i + 16].strip() for i in range(count)]
        place = None
        if b"EDF Annotations" in labels:
            i = labels.index(b"EDF Annotations")
            place = (2 * sum(samples[:i]), 2 * samples[i])
        return cls(
            256 * (count + 1),
            2 * sum(samples),
            _number(fixed[236:244], "number of data records"),
            fixed[192:197] == b"EDF+D",
            place,
        )

    def onsets_s(self, path: Path, records: int) -> NDArray[np.float64] | None:
        """Return when each data record begins, after the file's start; None if continuous."""
        if not self.discontinuous or self.annotations is None or not records:
            return None
        first, length = self.annotations
        onsets = np.empty(records)
        with path.open("rb") as stream:
            for record in range(records):
                stream.seek(self.header_bytes + record * self.record_bytes + first)
                stamp = stream.read(length).partition(b"\x14")[0].partition(b"\x15")[0]
                onsets[record] = float(stamp)
        if not np.isfinite(onsets).all() or (np.diff(onsets) <= 0).any():
            raise ValueError("the times of its data records do not increase")
        if onsets[0] < 0 or onsets[-1] > _MAX_S:
            raise ValueError(f"its data records begin {onsets[0]:g} to {onsets[-1]:g} s after it")
        return onsets


def _number(field: bytes, name: str) -> int:
    try:
        return int(field)
    except ValueError:
        raise ValueError(f"its {name} is {field!r}") from None


def _open(path: Path) -> Any:  # noqa: ANN401
    import edfio  # noqa: PLC0415 - of an extra

    return edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1")


def _records(file: Any) -> int:  # noqa: ANN401
    return int(file.num_data_records)


def _check_sizes(path: Path, file: Any, layout: _Layout) -> None:  # noqa: ANN401
    """Refuse what has no samples, or data records that would fill the memory."""
    if layout.record_bytes > _MAX_RECORD_BYTES:
        raise SourceError(
            SourceFault.MALFORMED,
            f"{path}: one data record has {layout.record_bytes / 1e6:.0f} MB, "
            f"{_MAX_RECORD_BYTES / 1e6:.0f} MB are the most: write it with data records of 1 s",
        )
    if _records(file) < 1:
        raise SourceError(SourceFault.TRUNCATED, f"{path} has no whole data record")
    if not float(file.data_record_duration) > 0:
        raise SourceError(
            SourceFault.MALFORMED, f"{path} states data records of no length, as for annotations"
        )


def _chunks(
    path: Path,
    channels: list[int],
    sizes: list[float],
    onsets_s: NDArray[np.float64] | None,
    layout: _Layout,
) -> Generator[tuple[int, FloatArray]]:
    """Yield whole data records, about a minute at once; a chunk ends before a gap."""
    file = _open(path)
    record_s, records = float(file.data_record_duration), _records(file)
    per_record = int(file.signals[channels[0]].samples_per_data_record)
    rate_hz = per_record / record_s
    if onsets_s is None:
        starts = np.arange(records, dtype=np.int64) * per_record
    else:
        starts = np.rint(onsets_s * rate_hz).astype(np.int64)
    cuts = set((np.flatnonzero(np.abs(np.diff(starts) - per_record) > 1) + 1).tolist())
    step = max(1, round(_CHUNK_S / record_s))
    first, mapped = 0, 0
    begin = int(starts[0])
    while first < records:
        if mapped >= _CHUNKS_MAPPED * step:
            file = _open(path)  # edfio maps the file: what was read stays in memory until it closes
            mapped = 0
        last = next((r for r in range(first + 1, min(first + step, records)) if r in cuts), None)
        last = last or min(first + step, records)
        columns = [
            np.asarray(file.signals[channel].get_data_slice(first * record_s, last * record_s))
            * size
            for channel, size in zip(channels, sizes, strict=True)
        ]
        samples = np.column_stack(columns).astype(np.float64)
        samples[~np.isfinite(samples)] = np.nan
        if first in cuts:  # a new stretch; its samples follow one another exactly
            begin = max(int(starts[first]), begin)
        yield begin, samples
        begin += len(samples)
        mapped += last - first
        first = last
    if layout.stated > records:
        raise SourceError(
            SourceFault.TRUNCATED,
            f"{path} is truncated: {records} of {layout.stated} data records exist; get the file "
            "again",
        )
