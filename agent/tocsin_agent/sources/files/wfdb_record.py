"""A PhysioNet (WFDB) record as a source; needs the extra `replay`."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.base import Recording
from tocsin_agent.sources.files.guard import guarded
from tocsin_agent.sources.files.record_folders import record_roots
from tocsin_agent.sources.files.selection import choose, distinct
from tocsin_agent.sources.files.signal_names import (
    Role,
    mv_per_unit,
    nominal_mv_per_unit,
    role_of,
)
from tocsin_agent.sources.files.wfdb_header import Header, SignalLine, read_header
from tocsin_dsp.signal import FloatArray, StreamSpec

_LOG = logging.getLogger(__name__)

_CHUNK_S = 300.0

# Bytes of a sample, by format (header(5)); compressed formats are not listed.
_BYTES = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}
_COMPRESSED = {"508", "516", "524"}
# The code of a missing sample, by format.
_MISSING = {
    "16": -32768,
    "24": -(1 << 23),
    "32": -(1 << 31),
    "61": -32768,
    "80": -128,
    "160": -32768,
    "212": -2048,
    "310": -512,
    "311": -512,
    "508": -128,
    "516": -32768,
    "524": -(1 << 23),
}

# The formats in which that code lies at the end of the converter's range.
_RESERVED = {fmt: _MISSING[fmt] for fmt in ("16", "61", "212", "310", "311")}


class WfdbSource(Recording):
    """A WFDB record, read in chunks, so that memory does not depend on its length.

    Parameters
    ----------
    name : str
        `database/record`, searched in the folders of `record_roots`, or the path of a record with
        or without `.hea`.
    leads : sequence of str, optional
        Signal names, in the wanted order; of one rate. By default the ECG leads, as their names and
        units say (`signal_names`); of several rates, the one that most of them have.
    block_s : float
        Seconds of signal in a block.

    Notes
    -----
    The stream id is `database/record` if the record lies in one of the known folders, however it
    was named; elsewhere it is the name with a hash of header and signal files, so that two records
    of one name differ. Header times have no zone and are taken as UTC. A signal file that is
    shorter than its header states is read to its end, then `SourceFault.TRUNCATED` is raised.

    A null segment of a multi-segment record is a gap of the index; a lead that a segment does not
    have is NaN there. A lead with several samples a frame has its own rate. A unit that states no
    size (`NU`, `adu`) and a gain of 0 make the stream uncalibrated.
    """

    def __init__(
        self, name: str, *, leads: Sequence[str] | None = None, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.name = name
        self._wanted = tuple(leads) if leads else None

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        import_wfdb()
        path, known_as = find_record(self.name)
        record = _Record.of(path)
        signals = _distinct(record.signals)
        choice = choose(path, signals, self._wanted)
        chosen = [signals[i] for i in choice.used]
        for note in (*record.header.notes, *choice.notes):
            _LOG.warning("%s: %s", self.name, note)
        shortfall = record.cut()
        self.spec = StreamSpec(
            stream_id=known_as or f"{path.name}#{record.content_hash()}",
            rate_hz=chosen[0].rate_hz,
            leads=tuple(signal.name for signal in chosen),
            range_mv=_range_mv(chosen),
            calibrated=all(signal.calibrated for signal in chosen),
        )
        self.start_utc = record.header.start_utc
        self.contents = choice.contents
        last = record.parts[-1]
        self.seconds = (last.first + (last.frames or 0)) / record.header.frame_rate_hz
        return guarded(path, "a WFDB record", record.chunks(chosen, shortfall))


class _Signal(NamedTuple):
    """One signal of the record, as its lines in all segments describe it."""

    column: int
    name: str
    unit: str
    mv_per_unit: float | None  # None: not a voltage
    calibrated: bool
    rate_hz: float
    range_mv: tuple[float, float] | None


@dataclass(slots=True)
class _Part:
    """A segment, or the record itself: where it begins, and which of its channels are which."""

    first: int  # frames
    frames: int | None
    header: Header | None  # None: a gap
    columns: dict[int, int]  # column of the record to channel of this part


@dataclass(slots=True)
class _Record:
    """Header and parts of a record; one part where it has no segments."""

    path: Path
    header: Header
    parts: list[_Part]
    names: list[str]

    @classmethod
    def of(cls, path: Path) -> _Record:
        header = read_header(_header_of(path))
        if header.signals:
            names = [line.name or f"ECG{i + 1}" for i, line in enumerate(header.signals)]
            same = {i: i for i in range(len(names))}
            return cls(path, header, [_Part(0, header.frames, header, same)], names)
        return cls._of_segments(path, header)

    @classmethod
    def _of_segments(cls, path: Path, header: Header) -> _Record:
        """Read the headers of the segments; a first one of length 0 is a layout, which names."""
        parts: list[_Part] = []
        names: list[str] | None = None
        by_name = header.segments[0].frames == 0 and header.segments[0].name != "~"
        first = 0
        for number, segment in enumerate(header.segments):
            part = None
            if segment.name != "~":
                part = _segment_header(path, segment.name)
                if abs(part.frame_rate_hz / header.frame_rate_hz - 1.0) > 1e-3:
                    raise SourceError(
                        SourceFault.MALFORMED,
                        f"{part.path} states {part.frame_rate_hz:g} Hz, the record that lists it "
                        f"{header.frame_rate_hz:g} Hz: correct the wrong one of the two headers",
                    )
                here = [line.name or f"ECG{i + 1}" for i, line in enumerate(part.signals)]
                if names is None:
                    names = here
                if number == 0 and by_name:
                    continue
                if not by_name and here != names:
                    raise SourceError(
                        SourceFault.MALFORMED,
                        f"{part.path} has the signals {', '.join(here)}, the first segment "
                        f"{', '.join(names)}: a record whose segments differ needs a layout "
                        "segment",
                    )
                if by_name:
                    columns = {names.index(n): i for i, n in enumerate(here) if n in names}
                else:
                    columns = {i: i for i in range(len(here))}
                parts.append(_Part(first, segment.frames, part, columns))
            first += segment.frames
        return cls(path, replace(header, frames=first), parts, names or [])

    @property
    def signals(self) -> list[_Signal]:
        """The signals, each as the first part that has it describes it."""
        found: list[_Signal] = []
        whole = not self.header.segments
        for column, name in enumerate(self.names):
            there = [p for p in self.parts if column in p.columns and p.header is not None]
            if not there:
                found.append(_Signal(column, name, "", None, False, 0.0, None))
                continue
            lines = [_line(part, column) for part in there]
            rates = {self.header.frame_rate_hz * line.samples_per_frame for line in lines}
            if len(rates) > 1:
                raise SourceError(
                    SourceFault.MALFORMED, f"{self.path}: signal {name!r} changes its sampling rate"
                )
            size = mv_per_unit(lines[0].unit)
            known = size is not None and all(line.calibrated for line in lines)
            if size is None and role_of(name) is Role.ECG:
                size = nominal_mv_per_unit(lines[0].unit)
            # Each segment has its own gain, and so its own range.
            limits = _limits(lines[0], size) if whole and known and size is not None else None
            found.append(_Signal(column, name, lines[0].unit, size, known, rates.pop(), limits))
        return found

    def cut(self) -> str | None:
        """Limit the parts to what their files hold; return in words what is missing."""
        for number, part in enumerate(self.parts):
            shortfall = self._cut(part)
            if shortfall is not None:
                del self.parts[number + 1 :]
                if not number and not part.frames:
                    raise SourceError(SourceFault.TRUNCATED, shortfall)
                return shortfall
        if not any(part.frames for part in self.parts):
            raise SourceError(SourceFault.TRUNCATED, f"{self.path} has no samples")
        return None

    def _cut(self, part: _Part) -> str | None:
        assert part.header is not None  # noqa: S101 - gaps are no parts
        stated, lines = part.frames, part.header.signals
        shortfall = None
        for file_name in dict.fromkeys(line.file_name for line in lines):
            of_file = [line for line in lines if line.file_name == file_name]
            file = _signal_file(self.path, part.header, file_name)
            per_sample = _BYTES.get(of_file[0].fmt)
            if per_sample is None:
                if of_file[0].fmt not in _COMPRESSED:
                    raise SourceError(
                        SourceFault.MALFORMED,
                        f"{part.header.path} states the unknown storage format {of_file[0].fmt}",
                    )
                if stated is None:
                    raise SourceError(
                        SourceFault.MALFORMED,
                        f"{part.header.path} states no length, which a compressed record needs: "
                        "write it as fourth field of the first line",
                    )
                continue
            per_frame = per_sample * sum(line.samples_per_frame for line in of_file)
            held = max(0, int((file.stat().st_size - of_file[0].byte_offset) / per_frame + 1e-9))
            if stated is None:
                part.frames = held if part.frames is None else min(part.frames, held)
            elif held < (part.frames or 0):
                part.frames = held
                shortfall = f"{file} is truncated: {held} of {stated} samples a lead exist"
        return shortfall

    def content_hash(self) -> str:
        files = [_header_of(self.path)]
        for part in self.parts:
            if part.header is not None:
                files.append(part.header.path)
                names = (line.file_name for line in part.header.signals)
                files += [_signal_file(self.path, part.header, name) for name in names]
        digest = hashlib.sha256()
        for file in dict.fromkeys(files):
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()[:12]

    def chunks(
        self, chosen: list[_Signal], shortfall: str | None
    ) -> Generator[tuple[int, FloatArray]]:
        """Yield the samples of the chosen signals, part by part."""
        per_frame = round(chosen[0].rate_hz / self.header.frame_rate_hz)
        for part in self.parts:
            if any(signal.column in part.columns for signal in chosen):
                for frame, samples in self._of_part(part, chosen, per_frame):
                    yield (part.first + frame) * per_frame, samples
        if shortfall is not None:
            raise SourceError(SourceFault.TRUNCATED, f"{shortfall}; get the record again")

    def _of_part(
        self, part: _Part, chosen: list[_Signal], per_frame: int
    ) -> Generator[tuple[int, FloatArray]]:
        frames = part.frames or 0
        step = max(1, round(_CHUNK_S * self.header.frame_rate_hz))
        reader = _Samples(self.path, part, [s.column for s in chosen if s.column in part.columns])
        for first in range(0, frames, step):
            last = min(first + step, frames)
            try:
                stored = reader.read(first, last)
            except (ValueError, IndexError, OSError, RuntimeError) as error:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"{self.path}: samples {part.first + first} to {part.first + last} cannot be "
                    f"read ({error})",
                ) from error
            samples = np.full(((last - first) * per_frame, len(chosen)), np.nan)
            for i, signal in enumerate(chosen):
                if signal.column in stored:
                    line = _line(part, signal.column)
                    size = mv_per_unit(line.unit)
                    samples[:, i] = _physical(stored[signal.column], line)
                    samples[:, i] *= size if size is not None else signal.mv_per_unit or np.nan
            yield first, samples


class _Samples:
    """Reads stored samples of one part, in order, by the package wfdb."""

    def __init__(self, path: Path, part: _Part, columns: list[int]) -> None:
        # The decoder of wfdb itself: `rdrecord` would parse the header again, and refuse it.
        from wfdb.io._signal import _rd_segment  # noqa: PLC0415

        self._decode = _rd_segment
        self._part = part
        self._columns = columns
        assert part.header is not None  # noqa: S101 - gaps are no parts
        self._lines = part.header.signals
        self._files = [_signal_file(path, part.header, line.file_name).name for line in self._lines]
        self._folder = str(path.parent)
        self._initial = [line.initial for line in self._lines]

    def read(self, first: int, last: int) -> dict[int, NDArray[Any]]:
        lines = self._lines
        channels = [self._part.columns[column] for column in self._columns]
        signals = self._decode(
            file_name=self._files,
            dir_name=self._folder,
            pn_dir=None,
            fmt=[line.fmt for line in lines],
            n_sig=len(lines),
            sig_len=self._part.frames,
            byte_offset=[line.byte_offset for line in lines],
            samps_per_frame=[line.samples_per_frame for line in lines],
            skew=[line.skew for line in lines],
            init_value=self._initial,
            sampfrom=first,
            sampto=last,
            channels=channels,
            ignore_skew=False,
        )
        for channel, values in zip(channels, signals, strict=True):
            if lines[channel].fmt == "8":  # differences: the next chunk begins at this one's end
                self._initial[channel] = int(values[-1])
        return dict(zip(self._columns, signals, strict=True))


def _line(part: _Part, column: int) -> SignalLine:
    assert part.header is not None  # noqa: S101 - gaps are no parts
    return part.header.signals[part.columns[column]]


def _physical(stored: NDArray[Any], line: SignalLine) -> FloatArray:
    values = stored.astype(np.float64)
    missing = _MISSING.get(line.fmt)
    absent = stored == missing if missing is not None else None
    values -= line.baseline
    values /= line.gain
    if absent is not None:
        values[absent] = np.nan
    return values


def _limits(line: SignalLine, size: float) -> tuple[float, float] | None:
    """Return the range of the converter in mV, where the header states it."""
    if not line.resolution or not line.calibrated:
        return None
    half = 1 << (line.resolution - 1)
    lowest = max(line.zero - half, _RESERVED.get(line.fmt, line.zero - half - 1) + 1)
    codes = np.array([lowest, line.zero + half - 1], dtype=np.float64)
    low, high = sorted(((codes - line.baseline) / line.gain * size).tolist())
    # a range without 0 mV contradicts the baseline: use neither
    return (low, high) if low < 0.0 < high else None


def find_record(name: str) -> tuple[Path, str | None]:
    """Find a record's header.

    Parameters
    ----------
    name : str
        A path or `database/record`.

    Returns
    -------
    path : Path
        Of the record, without `.hea`.
    known_as : str or None
        `database/record` if it lies in one of the folders of `record_roots`.

    Raises
    ------
    SourceError
        `NOT_FOUND`, with every path that was tried; `fetchable` if the name can be that of a
        PhysioNet record.
    """
    plain = name.removesuffix(".hea")
    roots = record_roots()
    tried = [Path(plain).expanduser()]
    if not tried[0].is_absolute():
        tried = [*(root / plain for root in roots), *tried]
    for path in tried:
        if _header_of(path).is_file():
            return path, _known_as(path, roots)
    places = "\n".join(f"  {_header_of(path)}" for path in tried)
    fetchable = re.fullmatch(r"[a-z0-9][a-z0-9-]*(/[\w-]+)+", plain) is not None
    hint = f"\nto get it from PhysioNet: tocsin fetch {plain}" if fetchable else ""
    raise SourceError(
        SourceFault.NOT_FOUND,
        f"no record {name!r}: none of these headers exists\n{places}{hint}",
        fetchable=fetchable,
    )


def _header_of(path: Path) -> Path:
    return path.parent / f"{path.name}.hea"


def _known_as(path: Path, roots: Sequence[Path]) -> str | None:
    resolved = path.resolve()
    for root in roots:
        if resolved.is_relative_to(root.resolve()):
            relative = resolved.relative_to(root.resolve())
            if len(relative.parts) > 1:
                return relative.as_posix()
    return None


def import_wfdb() -> ModuleType:
    """Import wfdb, 200 MB that the core does without; raises `MissingExtraError`."""
    return import_extra("wfdb", "replay", "a WFDB record")


def _segment_header(path: Path, name: str) -> Header:
    found = _beside(path.parent / f"{name}.hea")
    if found is None:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"{_header_of(path)} names the segment {name}, but {path.parent / name}.hea does not "
            f"exist; {_advice(path)}",
        )
    header = read_header(found)
    if not header.signals:
        raise SourceError(
            SourceFault.MALFORMED, f"{found} is a segment that has segments: replay it by itself"
        )
    return header


def _beside(file: Path) -> Path | None:
    """Return a file, or the one of its folder that differs in upper and lower case only."""
    if file.is_file():
        return file
    if not file.parent.is_dir():
        return None
    alike = [p for p in file.parent.iterdir() if p.name.lower() == file.name.lower()]
    return alike[0] if len(alike) == 1 and alike[0].is_file() else None


def _signal_file(path: Path, header: Header, file_name: str) -> Path:
    """Return a signal file: as the header names it, else named as the header file is."""
    found = _beside(path.parent / file_name)
    if found is None and len({line.file_name for line in header.signals}) == 1:
        found = _beside(header.path.with_suffix(Path(file_name).suffix))
    if file_name == "~":
        raise SourceError(
            SourceFault.MALFORMED,
            f"{header.path} is the layout of a record with segments and has no samples: replay the "
            "record that lists it",
        )
    if found is None:
        raise SourceError(
            SourceFault.NOT_FOUND,
            f"{header.path} names the signal file {file_name}, but {path.parent / file_name} does "
            f"not exist; {_advice(path)}",
        )
    return found


def _advice(path: Path) -> str:
    known_as = _known_as(path, record_roots())
    return f"get it with: tocsin fetch {known_as}" if known_as else "get the record again"


def _distinct(signals: list[_Signal]) -> list[_Signal]:
    names = distinct([signal.name for signal in signals])
    return [signal._replace(name=name) for signal, name in zip(signals, names, strict=True)]


def _range_mv(chosen: list[_Signal]) -> tuple[float, float] | None:
    """Return the range that all chosen leads share; None if they differ."""
    limits = {signal.range_mv for signal in chosen}
    return limits.pop() if len(limits) == 1 else None
